"""The main job as a newcomer runs it, and a real population indexed whole."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.network.support import (
    listed,
    locator,
    make_network,
    names,
    national_ids,
    read_documents,
    ready,
    record_id,
    run_index,
    stopping,
)
from tests.project.tree import ROOT

pytestmark = pytest.mark.network

FACTS = {
    "validators", "height", "records_indexed", "rows_committed", "hospital_read_verified",
    "vendor_records_verified", "vendor_identifiers_found", "resident_list_complete",
    "resident_medication_hidden", "tamper_detected", "omission_detected", "view_changes",
    "restarted_node_same_root", "seconds",
}  # fmt: skip
"""Members of the JSON line, as they are promised to whoever reads it."""
STORY_SECONDS = 240
"""A story that takes longer hangs."""
RESIDENT_KIB_MAX = 300 * 1024
POPULATION = ROOT.parent / "shared" / "data" / "fhir-r4"
US_SSN = "http://hl7.org/fhir/sid/us-ssn"


def processes(directory: Path) -> dict[int, str]:
    """Command lines of all processes that name a directory, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue  # no process, or it has just ended
        if str(directory) in words:
            found[int(entry.name)] = words
    return found


def peak_kib(process: int) -> int:
    """The most memory that a process has had in use."""
    status = Path(f"/proc/{process}/status").read_text("utf-8")
    return int(status.split("VmHWM:")[1].split()[0])


@contextmanager
def demonstration(directory: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """``scripts/demo.py`` as a process; a watchdog ends one that hangs."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "demo.py"), *words, "--dir", str(directory)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if "--json" not in words else subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # Ended by then unless the test failed; Ctrl-C lets it stop its own processes.
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_the_whole_story_ends_with_every_check_true(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    with demonstration(directory, "--once", "--json") as process:
        output, told = process.communicate(timeout=STORY_SECONDS)
    assert process.returncode == 0, told
    facts = json.loads(output.splitlines()[-1])
    assert set(facts) == FACTS
    assert [name for name, value in facts.items() if value is False] == []
    assert facts["validators"] == 4
    assert facts["rows_committed"] == facts["records_indexed"] > 1_800
    assert facts["vendor_identifiers_found"] == 0
    for name in ("height", "vendor_records_verified", "view_changes"):
        assert facts[name] > 0, name
    assert processes(directory) == {}


def until_invited(process: subprocess.Popen[str]) -> str:
    """What the story prints up to its last command to try."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "vendor query" in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def test_the_network_stays_up_until_ctrl_c_stops_every_process(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    with demonstration(directory) as process:
        told = until_invited(process)
        running = processes(directory)
        services = Counter(
            service for words in running.values() for service in ("node", "gateway")
            if f" {service} run " in words
        )  # fmt: skip
        assert services == {"node": 4, "gateway": 4}, running
        peaks = {process_id: peak_kib(process_id) for process_id in running}
        assert len(peaks) == 9  # the story itself, too
        assert max(peaks.values()) < RESIDENT_KIB_MAX, (peaks, running)
        # The three commands that it invites to try do what they say.
        lines = [line.strip() for line in told.splitlines()]
        invited = [line for line in lines if line.split(" ")[0].endswith("/yilian")]
        assert len(invited) == 3
        for line in invited:
            command = [sys.executable, "-m", "nodes.cli.main", *line.split(" ")[1:]]
            tried = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
            )
            assert (tried.returncode, tried.stderr) == (0, ""), line.split(" ")[1:3]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    assert processes(directory) == {}


def test_ctrl_c_in_the_middle_stops_every_process_too(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    with demonstration(directory) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "1. Index" in line:
                break
        assert processes(directory) != {}
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 1, rest
    assert "Stopped before the end" in rest
    assert "Traceback" not in rest
    assert processes(directory) == {}


@pytest.mark.skipif(not POPULATION.is_dir(), reason=f"{POPULATION.name} is not beside the project")
async def test_every_resource_of_real_patients_is_indexed_or_listed_with_its_reason(
    tmp_path: Path,
) -> None:
    files = sorted(POPULATION.glob("*.json.gz"), key=lambda path: path.stat().st_size)[:3]
    with stopping(make_network(tmp_path / "net", 1)) as network:
        (member,) = names(network)
        records = network.directory / member / "records"
        for file in files:
            shutil.copy(file, records)
        network.start_all()
        await ready(network)
        report = await run_index(network, member)
        documents = read_documents(records)
        rows = await listed(network, member, US_SSN, national_ids(documents, US_SSN))
    held = Counter(map(locator, rows))
    assert max(held.values()) == 1
    assert report["indexed"] == len(held)
    problems = {(item["file"], item["position"]): item["code"] for item in report["problem_list"]}
    assert all(problems.values())
    assert len(problems) == report["problems"] == sum(report["problems_by_reason"].values())
    resources = {
        (name, position): record_id(resource)
        for name, found in documents.items()
        for position, resource in enumerate(found, 1)
    }
    assert len(resources) == report["indexed"] + report["problems"] > 200
    indexed = {place for place, name in resources.items() if name in held}
    assert indexed | set(problems) == set(resources)
    assert indexed & set(problems) == set()
