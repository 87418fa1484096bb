"""Before a node without blocks takes part: a snapshot from its peers, or nothing.

Synchronous, with every port injected, like the driver that is started after it: the simulator
runs this very file. No peer is trusted. A peer that sends something false is named and asked
nothing more; one that stays silent is asked nothing more of this snapshot. Where none is offered or
can be had the store is left empty, and the node executes the blocks from the first one on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ledger.errors import PeerFault, StateDamaged
from ledger.light.trust import trust_genesis
from ledger.limits import SNAPSHOT_HEIGHTS_MIN
from ledger.primitives import Height, MemberId
from ledger.snapshot.check import Task, accept, first_tasks
from ledger.snapshot.messages import (
    BlockChunk,
    Chunk,
    ChunksAnswer,
    SnapshotOffer,
    SnapshotQuery,
)
from ledger.snapshot.offers import Offers
from ledger.snapshot.plan import FetchPlan
from ledger.types.block import Block
from ledger.types.certificate import CertifiedHeader
from ledger.types.genesis import Genesis
from nodes import frames
from nodes.frames import Channel
from nodes.ports import Clock, Storage, TraceSink, Transport
from nodes.storage.fetched import FetchedSnapshot

QUERY_INTERVAL_MS = 500
"""How often peers are asked what they offer; also the slowest tick."""
LONELY_MS = 3_000
"""After so long a node that hears too few peers says what it waits for."""
GATHER_MS = 1_000
"""How long others may join the first offer, so that more than one peer is asked."""
ROUNDS_MAX = 5
"""Snapshots that are tried in a row without a chunk from any of them."""
CHUNKS_PER_TRACE = 500
"""How often the trace says how far it is."""


@dataclass(slots=True)
class SyncWorld:
    """The ports of a node that has no chain yet."""

    clock: Clock
    transport: Transport
    trace: TraceSink
    storage: Storage
    settle: Callable[[Height], None]
    """Called before the store gets the snapshot's height, as before any block (A2)."""


@dataclass(slots=True)
class _Fetch:
    """A snapshot that is being fetched."""

    certified: CertifiedHeader
    plan: FetchPlan
    block: Block | None = None
    lost_by: frozenset[MemberId] = frozenset()
    """Peers that offered it and have it no more."""


class StateSync:
    """Fetches a snapshot, if there is one worth it; ``done`` says when the driver may start."""

    def __init__(
        self,
        genesis: Genesis,
        member: MemberId,
        world: SyncWorld,
        heights_min: int = SNAPSHOT_HEIGHTS_MIN,
    ) -> None:
        """Raises WrongGenesis where another chain was begun in this store."""
        self._world = world
        self._heights_min = heights_min
        validators = genesis.membership.validators
        self._peers = frozenset(v.member for v in validators if v.member != member)
        self._witness = genesis.membership.witness
        self._fetched = FetchedSnapshot(world.storage, genesis.chain_id)
        self._offers = Offers([trust_genesis(genesis.encode(), genesis.chain_id)])
        self._liars: set[MemberId] = set()
        self._fetch: _Fetch | None = None
        self._work: Iterator[None] | None = None
        """Steps on the own store; nothing is fetched meanwhile."""
        self._lonely = False
        self._again = self._discarded = False
        """Whether to begin anew once the store is empty again: after the first damage, once."""
        self._rounds = 0
        self._chunks = 0
        self._began_ms = world.clock.monotonic_ms()
        self._offered_ms: int | None = None
        self._next_query_ms = self._began_ms
        self.done = False

    # -- turns ------------------------------------------------------------------------------

    def tick(self) -> int:
        """Does what is due; returns milliseconds until the next tick is needed."""
        if self._work is not None:
            self._go_on(self._work)
        elif not self.done:
            self._query()
            if self._fetch is None:
                self._choose()
            else:
                self._ask(self._fetch)
        return self.idle_ms()

    def idle_ms(self) -> int:
        """Milliseconds until ``tick`` has something to do."""
        if self._work is not None:
            return 0
        now = self._world.clock.monotonic_ms()
        idle = max(0, self._next_query_ms - now)
        overdue = None if self._fetch is None else self._fetch.plan.idle_ms(now)
        return idle if overdue is None else min(idle, overdue)

    def on_frame(self, peer: MemberId, data: bytes) -> None:
        """One frame of a connected validator; what is meant for a driver is passed over."""
        if self.done or peer not in self._peers or peer in self._liars:
            return
        try:
            channel, payload = frames.split_frame(data)
            match channel:
                case Channel.SNAPSHOT_QUERY:
                    self._on_query(peer, payload)
                case Channel.SNAPSHOT_OFFER:
                    self._on_offer(peer, SnapshotOffer.decode(payload))
                case Channel.CHUNKS:
                    self._on_chunks(peer, ChunksAnswer.decode(payload))
                case _:
                    pass
        except PeerFault as fault:
            self._drop(peer, fault)

    def _drop(self, peer: MemberId, fault: PeerFault) -> None:
        """Names a peer that sent something false; nothing of it counts until the next start."""
        self._world.trace.emit("peer_fault", peer=peer, reason=str(fault))
        self._liars.add(peer)
        self._offers.forget(peer)
        if self._fetch is not None:
            self._fetch.plan.drop(peer)

    # -- which snapshot ---------------------------------------------------------------------

    def _query(self) -> None:
        now = self._world.clock.monotonic_ms()
        if now >= self._next_query_ms:
            self._next_query_ms = now + QUERY_INTERVAL_MS
            query = SnapshotQuery(self._offers.known)
            for peer in sorted(self._peers - self._liars):
                self._send(peer, Channel.SNAPSHOT_QUERY, query.encode())

    def _on_query(self, peer: MemberId, payload: bytes) -> None:
        """Only who has no chain asks, and this node has none either."""
        SnapshotQuery.decode(payload)
        self._offers.has_none(peer)
        self._send(peer, Channel.SNAPSHOT_OFFER, SnapshotOffer((), ()).encode())

    def _on_offer(self, peer: MemberId, untrusted: SnapshotOffer) -> None:
        self._offers.take(peer, untrusted)
        fetch = self._fetch
        if fetch is None:
            if self._work is None:
                self._choose()
        elif peer in self._offers.peers_of(fetch.plan.snapshot) and peer not in fetch.lost_by:
            fetch.plan.offered(peer)

    def _choose(self) -> None:
        now = self._world.clock.monotonic_ms()
        missing = self._peers - self._liars - self._offers.heard
        best = self._offers.best(self._heights_min)
        if best is not None:
            self._offered_ms = now if self._offered_ms is None else self._offered_ms
            if not missing or now - self._offered_ms >= GATHER_MS:
                self._begin(best)
        # f+1 peers that have none: one of them is honest.
        elif len(self._offers.heard) >= self._witness or not missing:
            self._do_without("no peer has one")
        elif not self._lonely and now - self._began_ms >= LONELY_MS:
            # Without them no block is made, either. Whoever began meanwhile at block 1 might wait
            # for blocks that nobody has any more, or execute years of them.
            self._lonely = True
            self._world.trace.emit(
                "waiting_for_peers", heard=len(self._offers.heard), needed=self._witness
            )

    def _begin(self, certified: CertifiedHeader) -> None:
        self._rounds += 1
        if self._rounds > ROUNDS_MAX:
            self._do_without("none can be fetched")
            return
        header = certified.header
        if not self._fetched.fits(header.height):
            # State is never deleted, so only what is older may lie under what is fetched.
            self._work, self._again = self._fetched.clear(), True
            return
        self._offers.tried(header.hash)
        self._fetched.begin(header.height)
        plan = FetchPlan(header.hash, self._fetched.known)
        plan.add(first_tasks(header))
        peers = self._offers.peers_of(header.hash)
        for peer in peers:
            plan.offered(peer)
        self._fetch, self._offered_ms = _Fetch(certified, plan), None
        self._world.trace.emit("snapshot_begun", height=header.height, peers=len(peers))
        self._ask(self._fetch)

    def _do_without(self, reason: str) -> None:
        self._world.trace.emit("no_snapshot", reason=reason)
        if self._fetched.begun:
            self._work = self._fetched.clear()
        else:
            self.done = True

    # -- chunks -----------------------------------------------------------------------------

    def _ask(self, fetch: _Fetch) -> None:
        now = self._world.clock.monotonic_ms()
        for peer in fetch.plan.give_up(now):
            self._world.trace.emit("peer_silent", peer=peer)
        if fetch.plan.finished and fetch.block is not None:
            changes = [
                change
                for change in self._offers.changes
                if change.certified.header.height <= fetch.certified.header.height
            ]
            self._work = self._fetched.finish(
                fetch.certified, fetch.block, changes, self._world.settle
            )
        elif not fetch.plan.providers:
            self._world.trace.emit("snapshot_lost", height=fetch.certified.header.height)
            self._fetch = None
        else:
            for peer, request in fetch.plan.requests(now):
                self._send(peer, Channel.CHUNKS_REQUEST, request.encode())

    def _on_chunks(self, peer: MemberId, untrusted: ChunksAnswer) -> None:
        fetch = self._fetch
        if fetch is None or self._work is not None:
            return  # a late answer
        tasks = fetch.plan.answered(peer, untrusted.request, len(untrusted.chunks))
        if tasks is None:
            return
        if not untrusted.chunks:
            fetch.lost_by |= {peer}
            fetch.plan.drop(peer)
        for place, (task, chunk) in enumerate(zip(tasks, untrusted.chunks, strict=True)):
            try:
                self._take(fetch, task, chunk)
            except PeerFault:
                fetch.plan.add(tasks[place:])
                raise
        self._ask(fetch)

    def _take(self, fetch: _Fetch, task: Task, untrusted: Chunk) -> None:
        below = accept(task, fetch.certified.header, untrusted)
        if isinstance(untrusted, BlockChunk):
            fetch.block = untrusted.block
        self._fetched.keep(task, untrusted, below)
        fetch.plan.add(below)
        self._rounds = 0
        self._chunks += 1
        if self._chunks % CHUNKS_PER_TRACE == 0:
            height = fetch.certified.header.height
            self._world.trace.emit("snapshot_progress", height=height, chunks=self._chunks)

    # -- the own store ----------------------------------------------------------------------

    def _go_on(self, work: Iterator[None]) -> None:
        """One step of what is under way; at its end the store is a chain's, or empty."""
        try:
            next(work)
        except StopIteration:
            if self._fetch is not None:
                height = self._fetch.certified.header.height
                self._world.trace.emit("snapshot_complete", height=height, chunks=self._chunks)
            self.done = not self._again
            self._work, self._fetch, self._again = None, None, False
        except StateDamaged as damage:
            self._world.trace.emit("snapshot_discarded", reason=str(damage))
            # From block 1 on it may not go: the others may have begun at a snapshot themselves.
            self._fetch, self._again, self._discarded = None, not self._discarded, True
            self._work = self._fetched.clear()

    def _send(self, peer: MemberId, channel: Channel, payload: bytes) -> None:
        self._world.transport.send(peer, frames.frame(channel, payload))
