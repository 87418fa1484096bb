"""Two gateways over one in-process chain, served on loopback, with committed real records."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from aiohttp.test_utils import TestServer

from ledger import codec
from ledger.commitment import Field, commit_record, disclose
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.crypto.sealing import Metadata, seal
from ledger.light.records import VerifiedRecord
from ledger.light.view_rules import ViewRules, kind_of
from ledger.primitives import Hash32, MemberId, PatientKey
from ledger.types.entries import Row
from nodes.api.http import Problem
from nodes.api.server import create_app as create_node_app
from nodes.client.chain import ChainClient
from nodes.client.http import HttpClient, RequestIdentity, RequestRefused
from nodes.client.session import LightSession
from nodes.client.transactions import TransactionClient
from nodes.gateway.auth import RequestAuthenticator
from nodes.gateway.dicom_release import PixelsAtRisk
from nodes.gateway.disclosure import (
    DisclosureDesk,
    RecordAltered,
    Released,
    ReleasedPage,
)
from nodes.gateway.enrolments import Enrolments
from nodes.gateway.page import hospital_origins
from nodes.gateway.resident_api import ResidentApi
from nodes.gateway.server import GatewayApi, IndexJobs, Report, create_app
from nodes.gateway.shares import ShareDesk
from nodes.gateway.sources import AttachmentsDiffer, verify_attachments
from nodes.observability.logs import LogSink
from nodes.view_rules.files import newest_rules
from tests.api.network import TestNode
from tests.contracts.support import GENESIS, USERS

GROUP_KEY = bytes(range(32))
RECORDS = {
    "hospital-a": (
        ("Observation", {b"/resourceType": b'"Observation"', b"/status": b'"final"'}),
        (
            "MedicationRequest",
            {
                b"/resourceType": b'"MedicationRequest"',
                b"/status": b'"active"',
                b"/medicationCodeableConcept/text": b'"canary-medicine"',
            },
        ),
    ),
    "hospital-b": (("Condition", {b"/resourceType": b'"Condition"', b"/id2": b'"x"'}),),
}


def secret_of(root_name: str) -> bytes:
    return hash_tagged(Tag.FIELD, root_name.encode())


@dataclass
class MemorySource:
    """``RecordSource`` over dictionaries; commits again at each reading, as a store would."""

    records: dict[Hash32, tuple[str, dict[bytes, bytes], bytes]] = field(default_factory=dict)
    """Root at registration -> kind, fields as they are now, secret."""
    attachments: dict[Hash32, tuple[bytes, ...]] = field(default_factory=dict)
    """By root; other records come with one that says "pixels"."""
    releases: list[tuple[str, dict[bytes, bytes], bytes]] = field(default_factory=list)
    withheld: bool = False

    async def read(self, index: int, row: Row, rules: ViewRules) -> Released | None:
        if self.withheld or row.root not in self.records:
            return None
        kind, fields, secret = self.records[row.root]
        commitment = commit_record([Field(*item) for item in fields.items()], (), secret)
        if commitment.root != row.root:
            raise RecordAltered(index, "its content is not what was registered")
        shown = disclose(commitment, partial(rules.shows, kind_of(fields)), rules.view, rules.hash)
        return Released(kind, shown, self.attachments.get(row.root, (b"pixels",)))

    async def released_images(self, index: int) -> tuple[bytes, ...] | None:
        if index == 1:
            raise PixelsAtRisk(1, "a name is burned in")
        return (b"image",) if index == 0 else None

    async def released(self, kind: str, code: str, cursor: int, limit: int) -> ReleasedPage:
        chosen = []
        for index, (its_kind, fields, secret) in enumerate(self.releases):
            if index >= cursor and kind in ("", its_kind):
                commitment = commit_record([Field(*item) for item in fields.items()], (), secret)
                rules = newest_rules("deidentified")
                shown = disclose(commitment, lambda _: True, rules.view, rules.hash)
                chosen.append((index, shown))
        after = chosen[limit][0] if len(chosen) > limit else None
        return ReleasedPage(tuple(chosen[:limit]), after)


@dataclass
class Gateway:
    """One served gateway."""

    member: str
    url: str
    desk: DisclosureDesk
    source: MemorySource
    api: GatewayApi


@dataclass
class Consortium:
    """The node, the gateways, and clients for any user."""

    node: TestNode
    gateways: dict[str, Gateway]
    stack: AsyncExitStack

    async def http(self, user: str, member: str, signed: bool = True) -> HttpClient:
        identity = RequestIdentity(USERS[user][0], GENESIS.chain_id) if signed else None
        client = HttpClient(self.gateways[member].url, None, identity, clock=self.node.now_ms)
        return await self.stack.enter_async_context(client)

    async def execute(self, user: str, contract: str, action: str, *args: codec.Value) -> Hash32:
        """Commits one action as any user; returns the transaction's id."""
        http = await self.http(user, "hospital-a", signed=False)
        chain = ChainClient(http, "/v1/chain")
        client = TransactionClient(chain, GENESIS.chain_id, USERS[user][0])
        return (await client.execute(contract, action, args)).transaction_id

    async def register(
        self,
        member: str,
        patient: PatientKey,
        records: Sequence[tuple[str, dict[bytes, bytes]]] | None = None,
    ) -> list[Row]:
        """Registers records, by default the member's RECORDS, and gives them to its gateway."""
        rows = []
        for number, (kind, fields) in enumerate(RECORDS[member] if records is None else records):
            secret = secret_of(f"{member}{number}{patient.hex()}")
            root = commit_record([Field(*item) for item in fields.items()], (), secret).root
            metadata = Metadata(kind, "system", "canary-code", "2024", "file", None).encode()
            nonce = secret[:12]
            sealed = seal(GROUP_KEY, nonce, patient, root, metadata)
            self.gateways[member].source.records[root] = (kind, dict(fields), secret)
            rows.append(Row(MemberId(member), patient, root, 1, sealed, None))
        entries = [[row.patient, row.root, row.sealed] for row in rows]
        await self.execute(f"{member}/gateway", "index", "register", 1, entries)
        return rows

    async def release(self, member: str, count: int) -> list[Hash32]:
        """Publishes de-identified records of a hospital, in the order of their roots."""
        made = []
        for number in range(count):
            secret = secret_of(f"release{number}")
            fields = {b"/resourceType": b'"Observation"', b"/valueInteger": str(number).encode()}
            root = commit_record([Field(*item) for item in fields.items()], (), secret).root
            made.append((root, ("Observation", fields, secret)))
        made.sort(key=lambda item: item[0])
        self.gateways[member].source.releases = [record for _, record in made]
        roots = [root for root, _ in made]
        await self.execute(f"{member}/gateway", "release", "publish", roots)
        return roots


@asynccontextmanager
async def consortium(*members: str) -> AsyncIterator[Consortium]:
    """Serves the node and the gateways of ``members`` until the block ends."""
    async with AsyncExitStack() as stack:
        node = TestNode()
        node.store.append([])
        node_url = await _serve(stack, create_node_app(node, LogSink("error")))
        made = Consortium(node, {}, stack)
        for member in members:
            await _gateway(made, member, node_url)
        yield made


async def _serve(stack: AsyncExitStack, app) -> str:  # type: ignore[no-untyped-def]  # web.Application
    server = TestServer(app)
    await server.start_server()
    stack.push_async_callback(server.close)
    return str(server.make_url("/")).rstrip("/")


async def _gateway(made: Consortium, member: str, node_url: str) -> None:
    signer = USERS[f"{member}/gateway"][0]
    http = await made.stack.enter_async_context(HttpClient(node_url, None))
    chain = ChainClient(http)
    session = LightSession(chain, GENESIS, now_ms=made.node.now_ms)
    source = MemorySource()
    desk = DisclosureDesk(
        MemberId(member),
        session,
        TransactionClient(chain, GENESIS.chain_id, signer),
        source,
        {1: GROUP_KEY},
        _asks(made),
        _check_attachments,
        LogSink("error"),
    )
    authenticator = RequestAuthenticator(GENESIS.chain_id, session.state, made.node.now_ms)
    api = GatewayApi(
        MemberId(member),
        authenticator,
        desk,
        http,
        IndexJobs(_index, LogSink("error")),
        lambda system, value: PatientKey(hash_tagged(Tag.KEY, system.encode(), value.encode())),
        lambda certificate: MemberId("nobody"),
        ResidentApi(
            MemberId(member),
            authenticator,
            Enrolments(GENESIS.chain_id, MemberId(member), made.node.now_ms),
            ShareDesk(MemberId(member), desk, made.node.now_ms),
        ),
    )
    url = await _serve(made.stack, create_app(api, LogSink("error"), hospital_origins(GENESIS)))
    made.gateways[member] = Gateway(member, url, desk, source, api)


def _asks(made: Consortium) -> Callable[[MemberId, bytes], Awaitable[bytes]]:
    """Calls the holder's interface as its server does for a peer whose certificate is checked."""

    async def ask(holder: MemberId, body: bytes) -> bytes:
        try:
            return await made.gateways[holder].api.release_for(body)
        except Problem as problem:
            raise RequestRefused("POST", problem.status, problem.code, problem.detail) from None

    return ask


def _check_attachments(record: VerifiedRecord, attachments: tuple[bytes, ...]) -> None:
    if any(data[128:132] == b"DICM" for data in attachments):
        verify_attachments(record, attachments)
    elif attachments != (b"pixels",):
        raise AttachmentsDiffer


async def _index(progress: Callable[[Report], None]) -> Report:
    progress({"files": 1})
    return {"files": 1, "indexed": 0}
