"""Real networks for tests: made in a folder, run as processes, and asked as their users ask."""

import asyncio
import gzip
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from ledger.codec import Value
from ledger.errors import LedgerError
from ledger.primitives import Hash32, PatientKey
from ledger.types.entries import Permission, permission_key
from ledger.types.transaction import SignedTransaction
from nodes.client.chain import ChainClient
from nodes.client.connect import gateway_of
from nodes.client.hospital import HospitalClient
from nodes.client.http import HttpClient, RequestIdentity
from nodes.client.records import ListedRecord
from nodes.client.session import LightSession
from nodes.client.transactions import TransactionClient
from nodes.config import user_key_name
from nodes.local_network import LocalNetwork
from nodes.network_setup import create_network, numbered_plan
from nodes.signer.key_files import FileSigner
from tests.project.tree import ROOT

SAMPLE = ROOT / "network-configs" / "sample"
NATIONAL_ID = "urn:oid:2.16.156.10011.1.3"
COMMAND_SECONDS = 120
"""A command that takes longer hangs."""
SETTLE_SECONDS = 60.0
"""Nodes that have not met by then never will."""

Done = subprocess.CompletedProcess[str]


def make_network(directory: Path, hospitals: int, **changes: object) -> LocalNetwork:
    """A network on disk with free ports and the fields of the plan changed; nothing runs yet."""
    # The check of free space is tested elsewhere; a full machine must not fail these tests.
    plan = numbered_plan(hospitals).model_copy(update={"min_free_bytes": 0} | changes)
    create_network(directory, plan)
    return LocalNetwork(directory)


def names(network: LocalNetwork) -> list[str]:
    """Ids of the hospitals."""
    return [member.id for member in network.hospitals]


@contextmanager
def stopping(network: LocalNetwork) -> Iterator[LocalNetwork]:
    """Stops every process of the network at the end, whatever happens."""
    try:
        yield network
    finally:
        network.stop_all()


async def ready(network: LocalNetwork, members: Sequence[str] = ()) -> None:
    """Returns once every started process answers and the chain has its first block.

    Here and below ``members`` are those that count; without them it is all.
    """
    await network.wait_ready()

    def begun(status: Mapping[str, object]) -> bool:
        return status["height"] != 0

    assert await network.wait_for(members or names(network), begun, SETTLE_SECONDS)


@asynccontextmanager
async def validators(directory: Path, hospitals: int) -> AsyncIterator[LocalNetwork]:
    """A running network without gateways, each validator answering."""
    with stopping(make_network(directory, hospitals)) as network:
        for member in names(network):
            network.start(member, "node")
        await ready(network)
        yield network


def yilian(*words: str | Path, stdin: str = "") -> Done:
    """Runs the command line as a process of its own, on a terminal of 80 columns."""
    return subprocess.run(
        [sys.executable, "-m", "nodes.cli.main", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80", "PYTHONUTF8": "1"},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def signer_of(network: LocalNetwork, member: str, role: str) -> FileSigner:
    """The key of a member's user."""
    return FileSigner.load(network.directory / member / "keys" / user_key_name(role))


@asynccontextmanager
async def staff(network: LocalNetwork, member: str, role: str) -> AsyncIterator[HospitalClient]:
    """A member of staff over the own hospital's gateway."""
    signer = signer_of(network, member, role)
    identity = RequestIdentity(signer, network.genesis.chain_id)
    async with gateway_of(network.genesis, member, identity) as http:
        yield HospitalClient(http, network.genesis, signer)


def read_documents(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """The resources of every FHIR file below a directory, by file name, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(directory.rglob("*.json*")):
        data = path.read_bytes()
        document = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        name = path.relative_to(directory).as_posix()
        found[name] = [entry["resource"] for entry in document["entry"]]
    return found


def record_id(resource: dict[str, Any]) -> str:
    """What a resource's locator says."""
    return f"{resource['resourceType']}/{resource['id']}"


def national_ids(documents: dict[str, list[dict[str, Any]]], system: str) -> set[str]:
    """The patients' numbers under one identifier system."""
    return {
        identifier["value"]
        for resources in documents.values()
        for resource in resources
        if resource["resourceType"] == "Patient"
        for identifier in resource["identifier"]
        if identifier.get("system") == system
    }


async def run_index(network: LocalNetwork, member: str) -> dict[str, Any]:
    """One whole index run of a gateway, as the administrator starts it; its report."""
    report = await asyncio.to_thread(yilian, "index", network.config(member, "gateway"), "--json")
    assert report.returncode == 0, report.stderr
    found: dict[str, Any] = json.loads(report.stdout)
    return found


async def listed(
    network: LocalNetwork, member: str, system: str, people: Iterable[str]
) -> list[ListedRecord]:
    """Every row of these people's complete lists, as a doctor's light client verifies them."""
    rows: list[ListedRecord] = []
    async with staff(network, member, "treating") as doctor:
        for person in sorted(people):
            patient = await doctor.patient(system, person)
            permission = await doctor.request_permission(patient, "TREAT")
            rows.extend((await doctor.list(patient, permission)).records)
    return rows


def locator(record: ListedRecord) -> str:
    """Where the holder keeps a record; the list's key opens it."""
    assert record.metadata is not None
    return record.metadata.locator.strip()


class Writer:
    """Commits permissions to read, which any doctor may ask for, through one validator."""

    def __init__(self, network: LocalNetwork, member: str) -> None:
        self.http: HttpClient = network.node_client(member)
        self.chain = ChainClient(self.http)
        signer = signer_of(network, member, "treating")
        self.transactions = TransactionClient(self.chain, network.genesis.chain_id, signer)

    async def __aenter__(self) -> "Writer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def build(self) -> SignedTransaction:
        """A fresh transaction, not yet sent."""
        args: list[Value] = [PatientKey(secrets.token_bytes(32)), "clinical", "TREAT"]
        height = await self.transactions.newest_height()
        return self.transactions.build("access", "request", args, height)

    async def commit(self) -> Hash32:
        """Commits one transaction; its id once the node has acknowledged it."""
        transaction = await self.build()
        await self.transactions.submit([transaction])
        receipt = await self.transactions.wait(transaction.id)
        assert receipt is not None
        assert receipt.ok
        return transaction.id


async def commit(network: LocalNetwork, member: str, count: int = 1) -> list[Hash32]:
    """Commits so many transactions at once through one validator."""
    async with Writer(network, member) as writer:
        return list(await asyncio.gather(*(writer.commit() for _ in range(count))))


async def assert_kept(
    network: LocalNetwork, ids: Sequence[Hash32], members: Sequence[str] = ()
) -> None:
    """SAFE-3: each node proves the effect of every acknowledged transaction."""
    for member in members or names(network):
        async with network.node_client(member) as http:
            session = LightSession(ChainClient(http), network.genesis)
            for transaction_id in ids:
                found = await session.state(permission_key(transaction_id))
                assert found.value is not None, f"{member} lost {transaction_id.hex()}"
                Permission.decode(found.value)


async def settled(network: LocalNetwork, members: Sequence[str] = ()) -> Mapping[str, object]:
    """The status that all validators share in the end: same height, same block, same root."""
    found: list[tuple[object, ...]] = []

    async def agree() -> Mapping[str, object]:
        while True:
            all_status = [await network.status(member) for member in members or names(network)]
            found[:] = [(s["height"], s["header_hash"], s["state_root"]) for s in all_status]
            if len(set(found)) == 1:
                return all_status[0]
            await asyncio.sleep(0.1)

    try:
        return await asyncio.wait_for(agree(), SETTLE_SECONDS)
    except TimeoutError:
        raise AssertionError(f"the validators differ: {found}") from None


class Load:
    """Each validator's doctor commits one transaction after another, until it is ended."""

    def __init__(self, network: LocalNetwork, members: Sequence[str] = ()) -> None:
        self.acknowledged: list[Hash32] = []
        self._network = network
        self._gone: set[str] = set()
        self._news: asyncio.Queue[Hash32] = asyncio.Queue()
        self._ended = False
        writers = members or names(network)
        self._tasks = [asyncio.create_task(self._write(member)) for member in writers]

    async def more(self, count: int) -> None:
        """Returns after so many more acknowledgements."""
        while not self._news.empty():
            self._news.get_nowait()
        async with asyncio.timeout(SETTLE_SECONDS):
            for _ in range(count):
                await self._news.get()

    def kill(self, member: str) -> None:
        """kill -9 of a validator; from now on its doctor may get no answer."""
        self._gone.add(member)
        self._network.kill(member, "node")

    async def end(self) -> None:
        """Lets the last transactions be answered; raises what a doctor should not have seen."""
        self._ended = True
        await asyncio.gather(*self._tasks)

    async def _write(self, member: str) -> None:
        async with Writer(self._network, member) as writer:
            while not self._ended:
                try:
                    transaction_id = await writer.commit()
                except LedgerError:
                    if member in self._gone:
                        return
                    raise
                self.acknowledged.append(transaction_id)
                self._news.put_nowait(transaction_id)
