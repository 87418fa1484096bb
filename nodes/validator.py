"""One hospital's validator as a running process: opens everything, serves, ends in order."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from shutil import disk_usage

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from contracts.registry import Registry
from ledger.errors import PeerFault, WorldFault
from ledger.primitives import Height, MemberId
from ledger.state import State
from ledger.types.genesis import Genesis, Member
from nodes.api.http import Problem, peer_certificate, start_site
from nodes.api.server import create_app
from nodes.config import NodeConfig, load_genesis
from nodes.ports import TraceSink
from nodes.runtime import NodeRuntime, SystemClock
from nodes.signer.key_files import FileSigner
from nodes.state_sync import StateSync, SyncWorld
from nodes.storage.fetched import is_empty
from nodes.storage.ledger_store import LedgerStore
from nodes.storage.leveldb import LevelDbStorage
from nodes.storage.safety_store import open_to_vote
from nodes.sync_runtime import SyncRuntime
from nodes.transport.peer_links import PeerLinks
from nodes.transport.pki import (
    FindMember,
    certificate_file_der,
    client_context,
    peer_member,
    server_context,
    trust_file,
)


@dataclass(eq=False)
class NotThisMember(WorldFault):
    """The configuration and the keys do not belong to one hospital of this network."""

    member: str
    reason: str
    template = "member {member}: {reason}: check member, genesis and keys_dir in node.toml"


@asynccontextmanager
async def serve_validator(config: NodeConfig, trace: TraceSink) -> AsyncIterator[NodeRuntime]:
    """Takes part until the block ends; raises WorldFault where something is missing or taken."""
    async with AsyncExitStack() as stack:
        genesis = load_genesis(config.genesis)
        signer = FileSigner.load(config.consensus_key)
        # Before a chain is begun in an empty data directory: it may be the wrong genesis.
        _check_files(config, genesis.member)
        storage = LevelDbStorage(config.ledger_path)
        stack.callback(storage.close)
        opened = None if is_empty(storage) else LedgerStore(storage, Registry(), genesis)
        height = Height(0) if opened is None else opened.height
        safety = open_to_vote(config.safety_path, height, trace)
        if safety is not None:
            stack.callback(safety.close)
        receiver = _Receiver()
        # One for peers and interface: whom the links come to trust later, the interface serves.
        server = server_context(config.tls, genesis.members, require_client=True)
        if config.authority.exists():
            # A hospital that joined later is not in the genesis document, and no peer of itself.
            trust_file(server, config.authority)
        links = _links(config, genesis, server, receiver, trace)
        await links.start()
        stack.push_async_callback(links.close)
        if opened is None and config.snapshot_min_height:
            settle = (lambda _: None) if safety is None else safety.settle
            world = SyncWorld(SystemClock(), links, trace, storage, settle)
            sync = SyncRuntime(StateSync(genesis, config.member, world, config.snapshot_min_height))
            receiver.target = sync.on_frame
            await sync.run()
        store = opened or LedgerStore(storage, Registry(), genesis)
        find = member_finder(store)
        _check_registration(config, find, signer, trace)
        node = NodeRuntime(
            genesis,
            config.member,
            Registry(),
            store,
            safety,
            signer,
            trace,
            lambda: disk_usage(config.data_dir).free < config.min_free_bytes,
        )
        receiver.target = node.on_frame
        node.start(links, links.connected)
        stack.push_async_callback(node.stop)
        site = await start_site(
            create_app(node, trace, members_only(find)),
            config.api_listen.host,
            config.api_listen.port,
            server,
        )
        stack.push_async_callback(site.close)
        trace.emit("node_started", port=site.port, height=store.height)
        yield node


class _Receiver:
    """Where frames go: at first the state sync, then the node."""

    def __init__(self) -> None:
        self.target: Callable[[MemberId, bytes], None] = lambda peer, data: None

    def __call__(self, peer: MemberId, data: bytes) -> None:
        self.target(peer, data)


def _links(
    config: NodeConfig,
    genesis: Genesis,
    server: ssl.SSLContext,
    receiver: _Receiver,
    trace: TraceSink,
) -> PeerLinks:
    return PeerLinks(
        genesis,
        config.member,
        config.peer_listen,
        server,
        client_context(config.tls, genesis.members, check_hostname=False),
        receiver,
        trace,
    )


def member_finder(store: LedgerStore) -> FindMember:
    """Finds who belongs to the network by the newest state, or belonged to it from the start."""

    def find(name: str) -> Member | None:
        try:
            return Registry().member(State(store), MemberId(name))
        except PeerFault:  # no name that a member can have
            return None

    return find


def _check_files(config: NodeConfig, find: FindMember) -> None:
    """That certificate and configuration are of one hospital, where it is known."""
    member = find(config.member)
    if member is None:
        return
    if member.kind != "hospital":
        raise NotThisMember(config.member, f"it is a {member.kind}, which runs no validator")
    try:
        named = peer_member(certificate_file_der(config.tls.certificate), find)
    except PeerFault as fault:
        raise NotThisMember(config.member, str(fault)) from None
    if named != (config.member, "node"):
        raise NotThisMember(config.member, f"its certificate is the {named[1]}'s of {named[0]}")


def _check_registration(
    config: NodeConfig, find: FindMember, signer: FileSigner, trace: TraceSink
) -> None:
    """Says why this node will not vote, as far as the chain here knows.

    A hospital that is not known may have been admitted at a height that is not here yet; one
    with another key may have renewed it. Both follow the chain and find out.
    """
    _check_files(config, find)
    member = find(config.member)
    if member is None:
        trace.emit("observing_only", reason="NotAdmitted", advice=_NOT_ADMITTED)
    elif member.consensus_key != signer.public_key.encoded:
        trace.emit("observing_only", reason="KeyNotRegistered", advice=_OTHER_KEY)


_NOT_ADMITTED = "the chain as it is here does not know this member: see `yilian governance list`"
_OTHER_KEY = "the chain as it is here has another consensus key: see `yilian keys renew`"


def members_only(find: FindMember) -> Middleware:
    """Serves only TLS peers whose certificate the authority of their own member issued (K3)."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            peer_member(peer_certificate(request), find)
        except PeerFault as fault:
            raise Problem(403, "request/no-member", str(fault)) from None
        return await handler(request)

    return middleware


async def run_until_stopped(config: NodeConfig, trace: TraceSink) -> None:
    """Runs until SIGTERM or SIGINT; raises what ended the node, if something did."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    serving = asyncio.create_task(_serve(config, trace))
    serving.add_done_callback(lambda _: stopped.set())
    await stopped.wait()
    serving.cancel()
    with suppress(asyncio.CancelledError):  # it was asked to stop, perhaps before it was ready
        await serving
    trace.emit("node_stopped")


async def _serve(config: NodeConfig, trace: TraceSink) -> None:
    """Until it is cancelled; raises what ended the node, if something did."""
    async with serve_validator(config, trace) as node:
        await asyncio.wait([node.failed])
        node.failed.result()
