"""One hospital's validator as a running process: opens everything, serves, ends in order."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from shutil import disk_usage

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from contracts.registry import Registry
from ledger.errors import PeerFault, WorldFault
from ledger.primitives import Height, MemberId
from ledger.types.genesis import Genesis
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
from nodes.transport.pki import client_context, peer_member, server_context


@dataclass(eq=False)
class NotThisMember(WorldFault):
    """The configuration and the keys do not belong to a validator of this network."""

    member: str
    reason: str
    template = "member {member}: {reason}: check member, genesis and keys_dir in node.toml"


@asynccontextmanager
async def serve_validator(config: NodeConfig, trace: TraceSink) -> AsyncIterator[NodeRuntime]:
    """Takes part until the block ends; raises WorldFault where something is missing or taken."""
    async with AsyncExitStack() as stack:
        genesis = load_genesis(config.genesis)
        signer = FileSigner.load(config.consensus_key)
        _check_member(config, genesis, signer)
        storage = LevelDbStorage(config.ledger_path)
        stack.callback(storage.close)
        opened = None if is_empty(storage) else LedgerStore(storage, Registry(), genesis)
        height = Height(0) if opened is None else opened.height
        safety = open_to_vote(config.safety_path, height, trace)
        if safety is not None:
            stack.callback(safety.close)
        receiver = _Receiver()
        links = _links(config, genesis, receiver, trace)
        await links.start()
        stack.push_async_callback(links.close)
        if opened is None and config.snapshot_min_height:
            settle = (lambda _: None) if safety is None else safety.settle
            world = SyncWorld(SystemClock(), links, trace, storage, settle)
            sync = SyncRuntime(StateSync(genesis, config.member, world, config.snapshot_min_height))
            receiver.target = sync.on_frame
            await sync.run()
        store = opened or LedgerStore(storage, Registry(), genesis)
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
            create_app(node, trace, members_only(genesis)),
            config.api_listen.host,
            config.api_listen.port,
            server_context(config.tls, genesis.members, require_client=True),
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
    config: NodeConfig, genesis: Genesis, receiver: _Receiver, trace: TraceSink
) -> PeerLinks:
    validators = [genesis.member(v.member) for v in genesis.membership.validators]
    anchors = [member for member in validators if member is not None]
    return PeerLinks(
        genesis,
        config.member,
        config.peer_listen,
        server_context(config.tls, anchors, require_client=True),
        client_context(config.tls, anchors, check_hostname=False),
        receiver,
        trace,
    )


def _check_member(config: NodeConfig, genesis: Genesis, signer: FileSigner) -> None:
    index = genesis.membership.index_of(config.member)
    if index is None:
        raise NotThisMember(config.member, "it has no vote in the genesis document")
    if genesis.membership.validators[index].public_key != signer.public_key:
        raise NotThisMember(config.member, "its consensus key is another than the genesis names")


def members_only(genesis: Genesis) -> Middleware:
    """Serves only TLS peers whose certificate the authority of their own member issued (K3)."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            peer_member(peer_certificate(request), genesis)
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
