"""One hospital's validator as a running process: opens everything, serves, ends in order."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from shutil import disk_usage

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from contracts.registry import Registry
from ledger.errors import PeerFault, WorldFault
from ledger.types.genesis import Genesis
from nodes.api.http import Problem, peer_certificate, start_site
from nodes.api.server import create_app
from nodes.config import NodeConfig, load_genesis
from nodes.ports import TraceSink
from nodes.runtime import NodeRuntime
from nodes.signer.key_files import FileSigner
from nodes.storage.ledger_store import LedgerStore
from nodes.storage.leveldb import LevelDbStorage
from nodes.storage.safety_store import open_to_vote
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
        store = LedgerStore(storage, Registry(), genesis)
        safety = open_to_vote(config.safety_path, store.height, trace)
        if safety is not None:
            stack.callback(safety.close)
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
        validators = [genesis.member(v.member) for v in genesis.membership.validators]
        anchors = [member for member in validators if member is not None]
        links = PeerLinks(
            genesis,
            config.member,
            config.peer_listen,
            server_context(config.tls, anchors, require_client=True),
            client_context(config.tls, anchors, check_hostname=False),
            node.on_frame,
            trace,
        )
        await links.start()
        stack.push_async_callback(links.close)
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
    async with serve_validator(config, trace) as node:
        node.failed.add_done_callback(lambda _: stopped.set())
        await stopped.wait()
        if node.failed.done():
            node.failed.result()
    trace.emit("node_stopped")
