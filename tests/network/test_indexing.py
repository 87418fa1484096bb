"""Indexing by real gateways: killed at any point, repeated, and of records that change."""

import asyncio
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nodes.client.http import RequestRefused
from nodes.local_network import LocalNetwork
from tests.network.support import (
    NATIONAL_ID,
    SAMPLE,
    listed,
    locator,
    make_network,
    names,
    national_ids,
    read_documents,
    ready,
    record_id,
    run_index,
    staff,
    stopping,
    yilian,
)

pytestmark = pytest.mark.network

ROWS_PER_TRANSACTION = 5
"""Few, so that there are many points at which a run can be cut."""
Report = Mapping[str, Any]


def take_records(network: LocalNetwork, member: str, *sources: Path) -> Path:
    """Copies files and folders of the sample to a hospital's records."""
    target = network.directory / member / "records"
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, target / source.name)
        else:
            shutil.copy(source, target)
    return target


async def index_and_kill(
    network: LocalNetwork, member: str, reached: Callable[[Report], bool]
) -> bool:
    """Starts a run and kills the gateway -9 once it is so far; whether the run was still on."""
    async with staff(network, member, "administrator") as client:
        job = await client.start_index()
        while job["state"] == "running":
            report = job.get("report")
            assert isinstance(report, dict)
            if reached(report):
                break
            job = await client.index_job(str(job["id"]))
    network.kill(member, "gateway")
    network.start(member, "gateway")
    await ready(network)
    return job["state"] == "running"


async def released_roots(network: LocalNetwork, holder: str) -> list[str]:
    """Roots of all de-identified records of a hospital, as the vendor verifies them."""
    config = network.directory / "vendor-1" / "vendor.toml"
    words = ("vendor", "query", config, "--holder", holder, "--json")
    found = await asyncio.to_thread(yilian, *words)
    assert found.returncode == 0, found.stderr
    return [record["root"] for record in json.loads(found.stdout)["records"]]


def committed(target: int) -> Callable[[Report], bool]:
    """Whether a run has committed so many rows."""
    return lambda report: bool(report.get("committed", 0) >= target)


async def test_L3_a_gateway_killed_at_any_point_of_indexing_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    # The second hospital holds the same records and is never interrupted.
    with stopping(make_network(tmp_path / "net", 2, release_patients_min=1)) as network:
        killed, whole = names(network)
        for member in (killed, whole):
            records = take_records(network, member, *sorted((SAMPLE / "hospital-a").iterdir()))
        config = network.config(killed, "gateway")
        text = config.read_text("utf-8")
        few = f"rows_per_transaction = {ROWS_PER_TRANSACTION}"
        config.write_text(text.replace("rows_per_transaction = 100", few), "utf-8")
        network.start_all()
        await ready(network)
        await run_index(network, whole)

        targets = [0, *(chance.randrange(1, 80) for _ in range(4))]
        cut = [await index_and_kill(network, killed, committed(target)) for target in targets]
        assert all(cut), f"seed {seed}: {cut}"
        for _ in range(2):  # among the releases, or right after them
            await index_and_kill(network, killed, lambda r: r.get("phase") == "releasing")
        last = await run_index(network, killed)
        again = await run_index(network, killed)

        documents = read_documents(records / "fhir")
        expected = {record_id(r) for resources in documents.values() for r in resources}
        expected |= {f"study/{folder.name}" for folder in (records / "dicom").iterdir()}
        assert (last["problems"], last["superseded"], last["missing"]) == (0, 0, 0)
        assert (again["indexed"], again["unchanged"], again["released"]) == (0, len(expected), 0)
        rows = await listed(network, whole, NATIONAL_ID, national_ids(documents, NATIONAL_ID))
        for member in (killed, whole):
            own = [row.listed for row in rows if row.listed.row.member == member]
            found = Counter(locator(row) for row in rows if row.listed.row.member == member)
            assert found == dict.fromkeys(expected, 1), f"seed {seed}, {member}"
            assert {row.status for row in own} == {None}
        roots = {member: await released_roots(network, member) for member in (killed, whole)}
        assert 0 < len(roots[killed]) == len(roots[whole]), f"seed {seed}"
        for found_roots in roots.values():
            assert len(set(found_roots)) == len(found_roots)


def rewrite(file: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Changes the entries of a plain Bundle on disk."""
    document = json.loads(file.read_text("utf-8"))
    change(document["entry"])
    file.write_text(json.dumps(document, ensure_ascii=False), "utf-8")


async def test_a_changed_record_supersedes_its_row_and_a_removed_one_is_reported(
    tmp_path: Path,
) -> None:
    source = SAMPLE / "hospital-a" / "fhir" / "p-a100000.json"
    with stopping(make_network(tmp_path / "net", 1)) as network:
        (member,) = names(network)
        records = take_records(network, member, source)
        network.start_all()
        await ready(network)
        documents = read_documents(records)
        (resources,) = documents.values()
        people = national_ids(documents, NATIONAL_ID)
        chosen = next(i for i, r in enumerate(resources) if r["resourceType"] == "Observation")
        name, count = record_id(resources[chosen]), len(resources)

        assert (await run_index(network, member))["indexed"] == count
        same = await run_index(network, member)
        assert (same["indexed"], same["unchanged"], same["superseded"]) == (0, count, 0)

        file = records / source.name
        rewrite(file, lambda entries: entries[chosen]["resource"].update(status="amended"))
        changed = await run_index(network, member)
        counts = [changed[key] for key in ("indexed", "unchanged", "superseded", "missing")]
        assert counts == [0, count - 1, 1, 0]
        rows = await listed(network, member, NATIONAL_ID, people)
        assert len(rows) == count + 1
        versions = [row.listed for row in rows if locator(row) == name]
        assert [row.status for row in versions] == ["superseded", None]

        async with staff(network, member, "treating") as doctor:
            patient, newest = versions[1].row.patient, versions[1].index
            permission = await doctor.request_permission(patient, "TREAT")
            shown = await doctor.read(patient, newest, permission)
            assert shown.record.fields[b"/status"] == b'"amended"'

            rewrite(file, lambda entries: entries.pop(chosen))
            removed = await run_index(network, member)
            counts = [removed[key] for key in ("indexed", "unchanged", "superseded", "missing")]
            assert counts == [0, count - 1, 0, 1]
            assert len(await listed(network, member, NATIONAL_ID, people)) == count + 1
            with pytest.raises(RequestRefused) as refused:
                await doctor.read(patient, newest, permission)
            assert refused.value.status == 502
            assert name not in refused.value.detail
