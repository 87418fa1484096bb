"""A hostile validator over real TLS: ``./scripts/fuzz --peer``.

It holds one member's true keys and stands in that member's place. A correct replica inside of
it follows heights and views by what the others say, so that its lies fit; what that replica
sends is distorted, and lies are sent beside it.
"""

import asyncio
import json
import ssl
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from contracts.registry import Registry
from ledger.errors import LedgerError
from ledger.limits import FRAME_BYTES_MAX
from ledger.primitives import MemberId
from ledger.types.genesis import Member
from nodes.config import NodeConfig, load_config
from nodes.local_network import LocalNetwork
from nodes.runtime import NodeRuntime
from nodes.signer.key_files import FileSigner
from nodes.storage.ledger_store import LedgerStore
from nodes.storage.memory import MemoryStorage
from nodes.storage.safety_store import MemorySafetyStore
from nodes.transport.peer_links import PeerLinks
from nodes.transport.pki import client_context, server_context
from tests.fuzz.lies import Lies, Sent
from tests.network.support import (
    Load,
    assert_kept,
    commit,
    make_network,
    names,
    ready,
    settled,
    stopping,
)

ROTATION = 20
"""Heights after which the primary changes, so that the hostile one is primary again and again."""
PROGRESS_MS = 1_000
RSS_MIB_MAX = 300
FRAMES_EACH_LINK = 500
"""Frames between two connections that break the framing, and with it the link; it takes a while
until the link is there again, in which nothing can be sent."""
KEPT_CHECKED_MAX = 300
"""Acknowledged transactions whose effect is proved in the end; a long run has thousands."""
LOG_BYTES_MAX = 10 * 1024 * 1024
"""Of one correct validator."""
LIES_EACH_PAUSE = 3
ACKNOWLEDGED_EACH_ROUND = 3
FRAMES_EACH_ROUND = 1_000


class _Quiet:
    """A trace that only counts."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()

    def emit(self, event: str, /, **fields: int | str) -> None:
        """One more of its kind."""
        self.events[event] += 1


class HostilePeer:
    """Implements ``nodes.ports.Transport`` for the replica inside."""

    def __init__(self, network: LocalNetwork, member: str, seed: int) -> None:
        self.sent: Counter[str] = Counter()
        """Frames by the lie that they belong to."""
        self._turns = 0
        self._link_breaks_at = FRAMES_EACH_LINK
        self._genesis = network.genesis
        self._config = load_config(NodeConfig, network.config(member, "node"))
        self._member = MemberId(member)
        self._others = [v.member for v in self._genesis.membership.validators if v.member != member]
        index = self._genesis.membership.index_of(self._member)
        assert index is not None
        self._random = Random(seed)
        self._signer = FileSigner.load(self._config.consensus_key)
        self._lies = Lies(self._genesis, index, self._signer, self._random)
        self.trace = _Quiet()
        anchors = network.hospitals
        self._client = client_context(self._config.tls, anchors, check_hostname=False)
        server = server_context(self._config.tls, anchors, require_client=True)
        self._links = PeerLinks(
            self._genesis,
            self._member,
            self._config.peer_listen,
            server,
            self._client,
            self._heard,
            self.trace,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["HostilePeer"]:
        """Linked with the others, and following, until the block ends."""
        store = LedgerStore(MemoryStorage(), Registry(), self._genesis)
        async with AsyncExitStack() as stack:
            self.node = NodeRuntime(
                self._genesis,
                self._member,
                Registry(),
                store,
                MemorySafetyStore(),
                self._signer,
                self.trace,
            )
            await self._links.start()
            stack.push_async_callback(self._links.close)
            self.node.start(self, self._links.connected)
            stack.push_async_callback(self.node.stop)
            yield self

    def _heard(self, peer: MemberId, data: bytes) -> None:
        self._lies.hear(data)
        self.node.on_frame(peer, data)

    def check_following(self) -> None:
        """Raises what ended the replica inside: from then on no lie would fit."""
        if self.node.failed.done():
            self.node.failed.result()

    def set_peers(self, members: Sequence[Member]) -> None:
        """Whom the replica inside wants to be linked with."""
        self._links.set_peers(members)

    def send(self, member: MemberId, frame: bytes, priority: bool = False) -> None:
        """What the replica inside sends to one."""
        for _, data in self._lies.distort(frame):
            self._links.send(member, data, priority)
            self.sent["replica"] += 1

    def broadcast(self, frame: bytes, priority: bool = False) -> None:
        """What it sends to all."""
        self._post("replica", self._lies.distort(frame))

    def _post(self, name: str, frames: Sequence[Sent]) -> None:
        for to, data in frames:
            chosen = self._others if to is None else [self._others[to % len(self._others)]]
            for member in chosen:
                before = self._links.dropped(member)
                self._links.send(member, data, self._random.random() < 0.5)
                self.sent[name] += self._links.dropped(member) == before

    async def lie(self, frames: int) -> None:
        """Sends so many frames more, as fast as the links take them."""
        aim = self.sent.total() + frames
        while self.sent.total() < aim:
            self._turns += 1
            if self.sent.total() >= self._link_breaks_at:
                self._link_breaks_at = self.sent.total() + FRAMES_EACH_LINK
                await self._break_framing()
            self._post(*self._lies.next())
            if self._turns % LIES_EACH_PAUSE == 0:
                await asyncio.sleep(0.001)

    async def _break_framing(self) -> None:
        """One more connection, which says something about lengths that is not so."""
        member = self._genesis.member(self._random.choice(self._others))
        assert member is not None
        host, _, port = member.endpoints.peer.rpartition(":")
        junk = self._random.choice(
            (
                b"\xff\xff\xff\xff",
                (FRAME_BYTES_MAX + 1).to_bytes(4, "big") + bytes(100),
                FRAME_BYTES_MAX.to_bytes(4, "big") + bytes(1_000_000),
                b"\x00\x00\x00\x10" + bytes(15),
                bytes(40_000),
                b"\x00\x00",
                self._random.randbytes(5_000),
            )
        )
        with suppress(OSError, ssl.SSLError):
            _, writer = await asyncio.open_connection(host, int(port), ssl=self._client)
            writer.write(junk)
            self.sent["broken framing"] += 1
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
            await writer.wait_closed()


@dataclass(frozen=True)
class Report:
    """What a run has shown; the judges have raised otherwise."""

    frames: int
    by_lie: dict[str, int]
    acknowledged: int
    height: int
    followed: int
    """Height that the replica inside the hostile validator has reached."""
    view_changes: int
    peak_rss_mib: int
    """The highest of the correct validators."""
    faults: int
    """Counted against the hostile member by the others."""


def peak_rss_mib(pid: int) -> int:
    """The most memory that a process ever held."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return (
        int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        // 1024
    )


async def run_against_peer(directory: Path, frames: int, seconds: float, seed: int) -> Report:
    """Three correct validators and one hostile; until so many frames and seconds are over.

    Asserts that transactions go on being committed in each round of frames, that the correct
    validators agree, keep what they acknowledged, never end, and stay within RSS_MIB_MAX.
    """
    plan = {"rotation": ROTATION, "progress_timeout_ms": PROGRESS_MS}
    with stopping(make_network(directory, 4, **plan)) as network:
        hostile, *correct = names(network)
        for member in correct:
            network.start(member, "node")
        await ready(network, correct)
        async with HostilePeer(network, hostile, seed).running() as peer:
            load = Load(network, correct)
            end = asyncio.get_running_loop().time() + seconds
            while peer.sent.total() < frames or asyncio.get_running_loop().time() < end:
                await _round(network, peer, load)
                peer.check_following()
            await load.end()
            faults = [await _faults(network, member, hostile) for member in correct]
        await commit(network, correct[0])
        status = await settled(network, correct)
        count = min(len(load.acknowledged), KEPT_CHECKED_MAX)
        await assert_kept(network, Random(seed).sample(load.acknowledged, count), correct)
        network.check_alive()
        peaks = [peak_rss_mib(network.pid(member, "node")) for member in correct]
        assert max(peaks) <= RSS_MIB_MAX, peaks
        logs = [network.log(member, "node").stat().st_size for member in correct]
        assert max(logs) <= LOG_BYTES_MAX, logs
        return Report(
            frames=peer.sent.total(),
            by_lie=dict(sorted(peer.sent.items())),
            acknowledged=len(load.acknowledged),
            height=int(str(status["height"])),
            followed=peer.node.store.height,
            view_changes=int(str(status["view_changes"])),
            peak_rss_mib=max(peaks),
            faults=sum(faults),
        )


async def _round(network: LocalNetwork, peer: HostilePeer, load: Load) -> None:
    try:
        await asyncio.gather(peer.lie(FRAMES_EACH_ROUND), load.more(ACKNOWLEDGED_EACH_ROUND))
    finally:
        network.check_alive()  # says why nothing is committed any more


async def _faults(network: LocalNetwork, member: str, of: str) -> int:
    with suppress(LedgerError):
        peers = (await network.status(member))["peers"]
        assert isinstance(peers, list)
        return sum(int(peer["faults"]) for peer in peers if peer["member"] == of)
    return 0


def run_for(seconds: int, seed: int, as_json: bool) -> int:
    """``./scripts/fuzz --peer``: prints what was sent; 0 where everything held."""
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(run_against_peer(Path(folder) / "network", 0, seconds, seed))
    for name, count in report.by_lie.items():
        print(f"{name:26} {count:10,}")
    print(
        f"{report.frames:,} frames, {report.acknowledged:,} transactions committed, height "
        f"{report.height:,}, {report.view_changes} view changes, {report.peak_rss_mib} MiB at most."
    )
    if as_json:
        print(json.dumps(asdict(report)))
    return 0
