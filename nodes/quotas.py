"""What one peer may cost this node: for each class of frame, a share of one core.

A frame is judged by what its peer spent before, and before it is decoded. A class has a bucket
of its own, so that a peer's bodies or transactions never use up what its votes need. Costs are
rounded-up estimates in microseconds of work, not measured while running: the simulator decides
the very same. Who pays is the peer that sent the frame, never the signer of what is in it.

The shares of all classes together are more than a core: each is what the class may need at its
own busiest time, and no honest peer needs two of the large ones at once. A peer that sends only
junk pays ``FAULT_US`` for each frame that is looked at, so it gets far less than its shares.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ledger.errors import PeerFault
from ledger.limits import MEMPOOL_TRANSACTIONS_MAX
from ledger.primitives import MemberId
from nodes.frames import Channel
from nodes.ports import Clock, TraceSink
from nodes.token_bucket import TokenBucket

FRAME_US = 20
"""Taking any frame and decoding a small one; measured: 5 us, and as much again in the link."""
KIB_US = 3
"""Decoding or building a KiB of blocks and checking its Merkle root; measured: 1.5 to 2.8 us."""
SIGNATURE_US = 100
"""One P-256 verification; measured: 47 us, up to 107 us on slow machines (R4)."""
BLOCK_US = 50
"""Reading one block from the store to serve it; measured: 31 us."""
FAULT_US = 10_000
"""What the protocol forbids costs its sender a hundred good signatures: 15 junk votes a second
are verified, the others are dropped unseen."""
REPORT_MS = 1_000
"""At most one report of faults and one of dropped frames in this time, for each peer."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one peer may cost in one class."""

    work_us_per_second: int
    burst_us: int
    frame_us: int = FRAME_US
    """Of each frame, whatever follows from it."""


SHARES: Mapping[Channel, Share] = {
    # 2 votes a block, 15,000 rows/s in blocks: 40 ms a second at 100 blocks/s. 15 % of a core
    # are three times that, 600 empty blocks/s, or 1,200 valid votes that nobody asked for.
    Channel.CONSENSUS: Share(150_000, 300_000),
    # Two a second are sent. Each may be answered with a NEW-VIEW, and starts a request.
    Channel.STATUS: Share(10_000, 20_000, 500),
    # Help for a replica that is behind: at most four a second are sent.
    Channel.CERTIFICATE: Share(20_000, 100_000),
    # 1,500 small blocks or 33 MB a second: who catches up executes them more slowly than that.
    Channel.BLOCK_REQUEST: Share(100_000, 300_000),
    # Only blocks that this node asked for are decoded; one request is under way at a time.
    Channel.BLOCKS: Share(200_000, 400_000),
    # One body in a view change, and again every half second until it has come.
    Channel.BODY_REQUEST: Share(20_000, 100_000),
    Channel.BODY: Share(20_000, 100_000),
    # Two a second, from a node without a chain; the changes of the membership are read for it.
    Channel.SNAPSHOT_QUERY: Share(10_000, 50_000, 1_000),
    # What was asked for before this node had a chain; it is not even decoded.
    Channel.SNAPSHOT_OFFER: Share(10_000, 50_000),
    Channel.CHUNKS: Share(10_000, 50_000),
    # One at a time, of at most two chunks read: 13 ms measured. Who fetches checks and stores
    # each answer, which takes longer than to give it.
    Channel.CHUNKS_REQUEST: Share(500_000, 1_000_000, 10_000),
    # Verified in threads. 5,000 a second are twice what four validators on two cores commit;
    # the burst is one full mempool.
    Channel.TRANSACTIONS: Share(500_000, MEMPOOL_TRANSACTIONS_MAX * SIGNATURE_US),
}


@dataclass(slots=True)
class _Account:
    """What is known of one peer's frames."""

    faults: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    buckets: dict[Channel, TokenBucket] = field(default_factory=dict)
    reported_ms: dict[str, int] = field(default_factory=dict)
    """When each event was last told of."""


class Quotas:
    """Budgets of all peers; an account is opened with a peer's first frame."""

    def __init__(self, clock: Clock, trace: TraceSink, quorum: int) -> None:
        """``quorum`` of the validators: so many view-changes are in the largest message."""
        self._clock = clock
        self._trace = trace
        # q view-changes of a signature, a certificate and a prepared certificate; two more.
        self._new_view_us = (2 + quorum * (2 * quorum + 1)) * SIGNATURE_US
        self._accounts: dict[MemberId, _Account] = {}

    def admits(self, peer: MemberId, channel: Channel, size: int) -> bool:
        """Charges a frame and says whether it may be looked at; counts it as dropped if not."""
        share, now = SHARES[channel], self._clock.monotonic_ms()
        bucket = self._bucket(peer, channel)
        if bucket.left(now) <= 0:
            self.drop(peer, channel)
            return False
        bucket.spend(share.frame_us + size * KIB_US // 1024, now)
        return True

    def charge(self, peer: MemberId, channel: Channel, work_us: int) -> None:
        """Charges the work that a frame turned out to be; asked for before it is done or after."""
        self._bucket(peer, channel).spend(work_us, self._clock.monotonic_ms())

    def blame(
        self, peer: MemberId, channel: Channel | None, fault: PeerFault, times: int = 1
    ) -> None:
        """Counts what a peer did wrong, so often; None is a frame of no known class."""
        account = self._account(peer)
        account.faults += times
        if channel is not None:
            self.charge(peer, channel, times * FAULT_US)
        if self._may_report(account, "peer_fault"):
            self._trace.emit("peer_fault", peer=peer, reason=str(fault), faults=account.faults)

    def drop(self, peer: MemberId, channel: Channel) -> None:
        """Counts a frame that is not looked at."""
        account, name = self._account(peer), channel.name.lower()
        account.dropped[name] += 1
        if self._may_report(account, "frames_dropped"):
            total = account.dropped.total()
            self._trace.emit("frames_dropped", peer=peer, channel=name, dropped=total)

    def faults(self, peer: MemberId) -> int:
        """What a peer did wrong since the start."""
        return self._account(peer).faults

    def dropped(self, peer: MemberId) -> Mapping[str, int]:
        """Frames of a peer that were not looked at since the start, by class."""
        return dict(sorted(self._account(peer).dropped.items()))

    def _may_report(self, account: _Account, event: str) -> bool:
        now = self._clock.monotonic_ms()
        if now - account.reported_ms.get(event, -REPORT_MS) < REPORT_MS:
            return False
        account.reported_ms[event] = now
        return True

    def _account(self, peer: MemberId) -> _Account:
        return self._accounts.setdefault(peer, _Account())

    def _bucket(self, peer: MemberId, channel: Channel) -> TokenBucket:
        buckets = self._account(peer).buckets
        bucket = buckets.get(channel)
        if bucket is None:
            share = SHARES[channel]
            # One NEW-VIEW of an honest primary must not shut its votes out.
            largest = self._new_view_us if channel is Channel.CONSENSUS else 0
            bucket = TokenBucket(share.work_us_per_second, share.burst_us + largest)
            buckets[channel] = bucket
        return bucket


def answer_us(size: int, blocks: int = 0) -> int:
    """Work of an answer of ``size`` bytes that holds so many stored blocks."""
    return FRAME_US + size * KIB_US // 1024 + blocks * BLOCK_US
