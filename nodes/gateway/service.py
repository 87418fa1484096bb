"""One hospital's gateway as a running process: opens everything, serves, closes in order."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from ledger.crypto.sealing import patient_key, unwrap_group_key, wrap_context
from ledger.primitives import Height, MemberId, PatientKey
from ledger.types.genesis import Genesis
from nodes.api.http import start_site
from nodes.client.chain import ChainClient
from nodes.client.connect import gateway_of, member_of, node_of
from nodes.client.http import HttpClient
from nodes.client.session import LightSession
from nodes.client.transactions import TransactionClient
from nodes.config import GatewayConfig, load_genesis
from nodes.gateway.auth import RequestAuthenticator
from nodes.gateway.directory_store import DirectoryStore
from nodes.gateway.disclosure import DisclosureDesk
from nodes.gateway.enrolments import Enrolments
from nodes.gateway.index_run import IndexRun
from nodes.gateway.indexer import IndexKeys
from nodes.gateway.outbox import Outbox
from nodes.gateway.page import hospital_origins
from nodes.gateway.patients import IdentifierRules
from nodes.gateway.records_db import RecordsDb
from nodes.gateway.resident_api import ResidentApi
from nodes.gateway.server import GatewayApi, IndexJobs, create_app
from nodes.gateway.shares import ShareDesk
from nodes.gateway.sources import StoreSource, verify_attachments
from nodes.ports import TraceSink
from nodes.signer.key_files import FileSigner, load_private_key, load_secret
from nodes.storage.leveldb import LevelDbStorage
from nodes.transport.pki import PeerNotRecognised, peer_member, server_context

FIRST_EPOCH = 1
"""The epoch whose group key the genesis document holds, wrapped to each hospital."""


class ChainSubmitter(TransactionClient):
    """The gateway's key on chain, as the indexer needs it (``nodes.gateway.outbox.Submitter``)."""

    def __init__(self, session: LightSession, signer: FileSigner) -> None:
        super().__init__(session.chain, session.genesis.chain_id, signer)
        self._session = session

    async def log(self, key: bytes) -> tuple[Height, Sequence[bytes]]:
        """All entries of a log, proved complete, and the height at which they are."""
        _, found = await self._session.log(key)
        return found.header.height, found.entries


@dataclass(frozen=True, slots=True)
class Holders:
    """The other hospitals' gateways, reached with this gateway's own certificate."""

    clients: dict[MemberId, HttpClient]

    async def ask(self, holder: MemberId, body: bytes) -> bytes:
        """Sends a request for a release to the hospital that holds the record."""
        return await self.clients[holder].post("/v1/releases", body)


@asynccontextmanager
async def serve_gateway(
    config: GatewayConfig, trace: TraceSink
) -> AsyncIterator[asyncio.Future[None]]:
    """Serves until the block ends; raises WorldFault where something is missing or taken.

    Yields a future that fails when the gateway may not go on.
    """
    async with AsyncExitStack() as stack:
        genesis = load_genesis(config.genesis)
        signer = FileSigner.load(config.user_key("gateway"))
        node = node_of(member_of(genesis, config.member), config.tls, config.node_api)
        await stack.enter_async_context(node)
        session = LightSession(ChainClient(node), genesis)
        submitter = ChainSubmitter(session, signer)
        storage = LevelDbStorage(config.data_dir / "records")
        stack.callback(storage.close)
        db = RecordsDb(storage)
        stores = _stores(config)
        secret = load_secret(config.patient_secret)
        group_keys = {FIRST_EPOCH: _group_key(config, genesis)}
        k = genesis.parameters.release_patients_min if config.release.enabled else None
        run = IndexRun(
            db,
            tuple(stores.values()),
            IndexKeys(secret, group_keys[FIRST_EPOCH], FIRST_EPOCH),
            Outbox(db, submitter, config.member),
            config.rows_per_transaction,
            k,
            partial(session.view_rules, "deidentified"),
        )
        jobs = IndexJobs(run, trace)
        stack.push_async_callback(jobs.stop)
        desk = DisclosureDesk(
            config.member,
            session,
            submitter,
            StoreSource(db, stores, trace),
            group_keys,
            (await _holders(config, genesis, stack)).ask,
            verify_attachments,
            trace,
        )
        rules = _rules(config)

        def find_patient(system: str, value: str) -> PatientKey:
            identity = rules.identity(system, value)
            return patient_key(secret, identity.system, identity.value)

        authenticator = RequestAuthenticator(genesis.chain_id, session.state)
        api = GatewayApi(
            config.member,
            authenticator,
            desk,
            node,
            jobs,
            find_patient,
            lambda certificate: _gateway_member(certificate, genesis),
            _resident_api(config, authenticator, desk),
        )
        app = create_app(api, trace, hospital_origins(genesis))
        site = await start_site(app, config.listen.host, config.listen.port, _tls(config, genesis))
        stack.push_async_callback(site.close)
        trace.emit("gateway_started", port=site.port)
        yield jobs.failed


def _resident_api(
    config: GatewayConfig, authenticator: RequestAuthenticator, desk: DisclosureDesk
) -> ResidentApi:
    chain_id = desk.session.genesis.chain_id
    shares = ShareDesk(config.member, desk)
    return ResidentApi(config.member, authenticator, Enrolments(chain_id, config.member), shares)


def _tls(config: GatewayConfig, genesis: Genesis) -> ssl.SSLContext:
    """Anyone may connect; a certificate is checked where one is shown (``/v1/releases``)."""
    context = server_context(config.tls, genesis.members, require_client=False)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _gateway_member(certificate: bytes, genesis: Genesis) -> MemberId:
    member, service = peer_member(certificate, genesis.member)
    if service != "gateway":
        raise PeerNotRecognised(f"it is for a {service}, not for a gateway")
    return member


async def _holders(config: GatewayConfig, genesis: Genesis, stack: AsyncExitStack) -> Holders:
    clients = {}
    for member in genesis.members:
        if member.kind == "hospital" and member.id != config.member and member.endpoints.gateway:
            client = gateway_of(genesis, member.id, None, config.tls)
            clients[member.id] = await stack.enter_async_context(client)
    return Holders(clients)


def _rules(config: GatewayConfig) -> IdentifierRules:
    return IdentifierRules(config.member, config.national_id_systems)


def _stores(config: GatewayConfig) -> dict[str, DirectoryStore]:
    rules = _rules(config)
    return {item.name: DirectoryStore(item.name, item.path, rules) for item in config.stores}


def _group_key(config: GatewayConfig, genesis: Genesis) -> bytes:
    """The first group key, unwrapped with this hospital's sealing key; raises SealBroken."""
    wrapped = dict(genesis.wrapped_group_keys)[config.member]
    context = wrap_context(FIRST_EPOCH, config.member)
    return unwrap_group_key(load_private_key(config.sealing_key), wrapped, context)


async def run_until_stopped(config: GatewayConfig, trace: TraceSink) -> None:
    """Serves until SIGTERM or SIGINT; raises what ended the gateway, if something did."""
    import signal

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with serve_gateway(config, trace) as failed:
        failed.add_done_callback(lambda _: stopped.set())
        await stopped.wait()
        if failed.done():
            failed.result()
    trace.emit("gateway_stopped")
