"""One turn of a validator: take an event, step the core, make votes durable, sign, send, apply.

Synchronous, with every port injected: the simulator runs this very file under a simulated
clock, network and disk. ``runtime.py`` is the asyncio shell around it.

What another party sent can only raise PeerFault in here; it is counted against the peer and
dropped. Any other error ends the process: halting is better than going on wrong.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ledger import catchup
from ledger.catchup import BlockRequest, CatchUpPlan, CommittedBlock, Status
from ledger.consensus import effects as do
from ledger.consensus.effects import Effect, Effects, Vote
from ledger.consensus.events import (
    Applied,
    BodyFound,
    CertificateSeen,
    Checked,
    Event,
    Fired,
    Overlooked,
    Proposed,
    Received,
    Seat,
    Timer,
    WorkPending,
)
from ledger.consensus.messages import (
    Message,
    NewView,
    PrePrepare,
    Verifier,
    decode_message,
    encode_message,
    signatures_in,
)
from ledger.consensus.phases import Recovered, Settings
from ledger.consensus.replica import Replica
from ledger.contract_api import ContractTable
from ledger.crypto.keys import Signer
from ledger.errors import NotCanonical, PeerFault
from ledger.execution import VerifiedTransaction
from ledger.primitives import Hash32, Height, MemberId, View
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate, verify_quorum_certificate
from ledger.types.genesis import Genesis
from ledger.types.membership import Membership
from nodes import frames
from nodes.chain import Admission, Chain
from nodes.evidence import EvidenceBook
from nodes.frames import Channel
from nodes.ports import Clock, SafetyStore, TraceSink, Transport
from nodes.quotas import SIGNATURE_US, Quotas, answer_us
from nodes.storage.ledger_store import LedgerStore
from nodes.voting import Voter, recover

RESEND_INTERVAL_MS = 500
"""How often own messages and the status are repeated, also the driver's slowest tick; twice in a
progress timeout where that is more often, or what is lost once would cost the view."""
OVERLOOKED_TIMEOUTS = 5
"""Progress timeouts that a transaction may wait while blocks are made without it."""
_AHEAD_CHANNELS = frozenset({Channel.CONSENSUS, Channel.STATUS, Channel.CERTIFICATE})


@dataclass(slots=True)
class World:
    """The ports of one validator."""

    clock: Clock
    transport: Transport
    trace: TraceSink
    store: LedgerStore
    safety: SafetyStore | None
    """None makes the node an observer: it follows and answers, and never votes (A2)."""
    signer: Signer | None
    committed: Callable[[Height, Sequence[Hash32]], None]
    """Told after a block is durable."""


@dataclass(slots=True)
class _Peer:
    status: Status = field(default_factory=lambda: Status(Height(0), View(0), True))
    heard: bool = False
    helped_ms: int = 0
    """When it was last told how the current view began."""


class Driver:
    """A validator without its event loop."""

    def __init__(
        self, genesis: Genesis, member: MemberId, contracts: ContractTable, world: World
    ) -> None:
        self._genesis = genesis
        timeout_ms = genesis.parameters.progress_timeout_ms
        self._resend_ms = min(RESEND_INTERVAL_MS, max(1, timeout_ms // 2))
        self._member = member
        self._world = world
        self._store = world.store
        self.chain_id = genesis.chain_id
        self.chain = Chain(genesis, member, contracts, world.store, world.clock, world.trace)
        self.mempool = self.chain.mempool
        self.voters = self.chain.voters()
        """Who votes on the next height."""
        self.peers: dict[MemberId, _Peer] = {}
        """All other hospitals, voting or not: who does not vote follows, and may vote one day."""
        self.quotas = Quotas(world.clock, world.trace, self.membership.quorum)
        self.view_changes = 0
        """View changes this process has seen."""
        self._plan = CatchUpPlan(self.membership.witness, timeout_ms)
        self._timers: dict[Timer, int] = {}
        self._applied_at_ms = world.clock.monotonic_ms()
        self._next_status_ms = 0
        self._blamed_at_ms = self._reminded_at_ms = self._applied_at_ms
        """When a primary was last blamed for overlooking a transaction, and told of it."""
        self._voter: Voter | None = None
        self.evidence = EvidenceBook(
            self.chain, world.store, world.signer, world.trace, self._applied_at_ms
        )
        self._behind_own_votes = False
        """Whether the ledger was lost: it lacks blocks that this node voted for or settled."""
        self.replica = Replica(self._settings(), self._recovered(self._take_seat()))

    @property
    def membership(self) -> Membership:
        """Votes on the next height."""
        return self.voters.membership

    @property
    def observer(self) -> bool:
        """Whether this node has no vote now."""
        return self._voter is None

    def _take_seat(self) -> Seat:
        """Who votes on the next height, and this node's place if it may: with its key (M1, A2).

        While its chain is behind its own votes it may not: it cannot say there what it promised.
        """
        world, self.voters = self._world, self.chain.voters()
        self._verifier = Verifier(self.chain_id, self.voters, self._genesis.parameters.rotation)
        index = self.membership.index_of(self._member)
        self._voter = None
        if world.safety is None or world.signer is None or index is None:
            return Seat(self.membership, None)
        if self.membership.validators[index].public_key != world.signer.public_key:
            return Seat(self.membership, None)
        self._behind_own_votes = self._store.height + 1 < world.safety.highest_height
        if self._behind_own_votes:
            return Seat(self.membership, None)
        self._voter = Voter(self.chain_id, index, world.signer, world.safety)
        return Seat(self.membership, index)

    def _meet_hospitals(self) -> None:
        """Links with whoever is a hospital of the network now."""
        others = [each for each in self.chain.hospitals() if each.id != self._member]
        if {each.id for each in others} != self.peers.keys():
            self.peers = {each.id: self.peers.get(each.id, _Peer()) for each in others}
            self._world.transport.set_peers(others)

    def _settings(self) -> Settings:
        parameters = self._genesis.parameters
        return Settings(parameters.rotation, parameters.progress_timeout_ms, self._resend_ms)

    def _recovered(self, seat: Seat) -> Recovered:
        height = self._store.height
        certificate = self._store.certificate(height) if height else None
        parent = self.chain.position().parent
        return recover(seat, Height(height + 1), parent, certificate, self._world.safety)

    def _vote_again(self, seat: Seat) -> Effects:
        """The chain has come to where this node voted last: it remembers what it promised there.

        Without that it would leave a view without its prepared certificate (SAFE-1).
        """
        recovered, old = self._recovered(seat), self.replica
        if (old.view, old.entered) > (recovered.view, recovered.entered):
            same = old.view == recovered.view
            recovered = replace(
                recovered,
                view=old.view,
                entered=old.entered,
                recast=recovered.recast if same else (),
                accepted=recovered.accepted if same else None,
            )
        self._timers.clear()
        self.replica = Replica(self._settings(), recovered)
        return self.replica.start()

    # -- turns ------------------------------------------------------------------------------

    def start(self) -> None:
        """First turn after construction."""
        self._meet_hospitals()
        self._drain(self.replica.start())

    def tick(self) -> int:
        """Fires what is due; returns milliseconds until the next tick is needed."""
        now = self._world.clock.monotonic_ms()
        for timer in [t for t, due in self._timers.items() if due <= now]:
            # An earlier timer's effects may have cancelled this one.
            if self._timers.pop(timer, None) is not None:
                self._step(Fired(timer))
        if now >= self._next_status_ms:
            self._next_status_ms = now + self._resend_ms
            self._mind_the_oldest(now)
            self._report_evidence(now)
            self._send_all(Channel.STATUS, self._status().encode())
            self._step(WorkPending(self._work_pending()))
        self._ask_for_blocks()
        return self.idle_ms()

    def _report_evidence(self, now: int) -> None:
        place = None if self._voter is None else self.membership.index_of(self._member)
        reports = self.evidence.reports(place, now)
        if reports:
            self.admit(reports, from_client=True)

    def _mind_the_oldest(self, now: int) -> None:
        """V5: what waits too long is passed on again, and then its primary is replaced.

        Blocks are made, or the progress timer would have replaced it before.
        """
        arrived = self.chain.oldest_arrival_ms()
        if arrived is None:
            return
        patience = OVERLOOKED_TIMEOUTS * self._genesis.parameters.progress_timeout_ms
        if now - max(arrived, self._blamed_at_ms) >= patience:
            self._blamed_at_ms = now
            self._step(Overlooked())
        elif now - max(arrived, self._reminded_at_ms) >= patience // 2:
            self._reminded_at_ms = now
            self._drain([do.ShareWork()])

    def idle_ms(self) -> int:
        """Milliseconds until ``tick`` has something to do."""
        due = min([*self._timers.values(), self._next_status_ms])
        return max(0, due - self._world.clock.monotonic_ms())

    def admit(
        self, transactions: Sequence[VerifiedTransaction], from_client: bool
    ) -> list[Admission]:
        """Puts verified transactions into the mempool; the reason for each that is not taken.

        Those of a client are passed on to all validators, so that a primary which ignores
        them is replaced by the others' timers (V5).
        """
        answers = self.chain.admit(transactions)
        accepted = [
            transaction.value.encoded
            for transaction, refusal in zip(transactions, answers, strict=True)
            if refusal is None
        ]
        if from_client:
            self._share(accepted)
        if accepted:
            self._step(WorkPending(True))
        return answers

    def _share(self, encoded: Sequence[bytes]) -> None:
        for part in frames.frame_parts(encoded):
            self._send_all(Channel.TRANSACTIONS, frames.encode_transactions(part))

    def on_frame(self, peer: MemberId, data: bytes) -> None:
        """One frame of a connected validator; whatever it holds, only PeerFault comes of it."""
        channel = None
        try:
            channel, payload = frames.split_frame(data)
            if self.quotas.admits(peer, channel, len(data)):
                self._on_channel(peer, channel, payload)
        except PeerFault as fault:
            self.quotas.blame(peer, channel, fault)

    def _on_channel(self, peer: MemberId, channel: Channel, payload: bytes) -> None:
        match channel:
            case Channel.CONSENSUS:
                self._on_message(peer, decode_message(payload))
            case Channel.STATUS:
                self._on_status(peer, Status.decode(payload))
            case Channel.CERTIFICATE:
                certificate = QuorumCertificate.decode(payload)
                self._on_certificate(peer, certificate)
            case Channel.BLOCK_REQUEST:
                self._serve_blocks(peer, BlockRequest.decode(payload))
            case Channel.BLOCKS:
                self._on_blocks(peer, payload)
            case Channel.BODY_REQUEST:
                self._serve_body(peer, payload)
            case Channel.BODY if self.replica.wants_bodies():  # else another peer was faster
                self._step(BodyFound(catchup.decode_body(payload)))
            case Channel.SNAPSHOT_QUERY:
                self._send(peer, Channel.SNAPSHOT_OFFER, self._store.snapshots.offered(payload))
            case Channel.CHUNKS_REQUEST:
                self._send(peer, Channel.CHUNKS, self._store.snapshots.answered(payload))
            case Channel.SNAPSHOT_OFFER | Channel.CHUNKS:
                pass  # late: it was asked for before this driver started
            case Channel.TRANSACTIONS:
                raise NotCanonical("frame", "transactions are verified before they come here")

    def _on_certificate(self, peer: MemberId, certificate: QuorumCertificate) -> None:
        own = self.replica
        if certificate.height < own.height and not own.is_ahead(certificate.view):
            return
        if certificate.height + 1 < self.voters.since:
            return  # who voted there is not at hand; the sender is behind, too
        self.quotas.charge(peer, Channel.CERTIFICATE, len(certificate.signers) * SIGNATURE_US)
        with self._no_blame_above(certificate.height):
            voters = self.voters.of(certificate.height)
            verify_quorum_certificate(certificate, voters, self.chain_id)
            self._step(CertificateSeen(certificate))

    @contextmanager
    def _no_blame_above(self, height: Height) -> Iterator[None]:
        """Who votes above the height being decided is not known yet, so a bad signature may be
        a good one of another membership: it is dropped, and nobody is blamed (M1)."""
        try:
            yield
        except PeerFault:
            if height <= self.replica.height:
                raise

    def _on_message(self, peer: MemberId, message: Message) -> None:
        if not self.replica.wants(message):
            return  # before its signatures cost work (R4)
        self.quotas.charge(peer, Channel.CONSENSUS, signatures_in(message) * SIGNATURE_US)
        with self._no_blame_above(message.height):
            self._on_wanted(message)

    def _on_wanted(self, message: Message) -> None:
        if isinstance(message, PrePrepare):
            catchup.check_body(message.block)
        elif isinstance(message, NewView):
            catchup.check_body(message.proposal.block)
        self._step(Received(self._verifier.verify(message)))

    # -- effects ----------------------------------------------------------------------------

    def _step(self, event: Event) -> None:
        self._drain(self.replica.step(event))

    def _drain(self, effects: Effects) -> None:
        queue: deque[Effect] = deque(effects)
        while queue:
            effect = queue.popleft()
            if isinstance(effect, Vote):
                votes = [effect]
                while queue and isinstance(queue[0], Vote):
                    votes.append(queue.popleft())  # type: ignore[arg-type]  # checked by isinstance
                queue.extend(self._cast(votes))
            else:
                queue.extend(self._perform(effect))

    def _cast(self, votes: Sequence[Vote]) -> Effects:
        if self._voter is None:
            return []
        follow: Effects = []
        for message in self._voter.cast(votes):
            self._broadcast(message)
            follow.extend(self.replica.voted(message))
        return follow

    def _perform(self, effect: Effect) -> Effects:
        match effect:
            case do.Broadcast(message=message):
                self._broadcast(message)
            case do.MakeProposal(height=height, view=view):
                return self.replica.step(Proposed(height, view, self.chain.build()))
            case do.CheckBlock(block=block):
                return self.replica.step(Checked(block.hash, self.chain.check(block)))
            case do.CommitBlock(block=block, certificate=certificate):
                return self._apply(block, certificate)
            case do.FetchBody(block_hash=block_hash):
                self._send_all(Channel.BODY_REQUEST, block_hash)
            case do.ShareWork():
                limits = frames.TRANSACTIONS_PER_FRAME, frames.SHARED_BYTES_MAX
                waiting = self.mempool.candidates(*limits)
                self._share([each.value.encoded for each in waiting])
            case do.CatchUp(height=height):
                self._world.trace.emit("behind", height=self._store.height, others=height)
                self._ask_for_blocks()
            case do.SetTimer(timer=timer, delay_ms=delay_ms):
                self._timers[timer] = self._world.clock.monotonic_ms() + delay_ms
            case do.CancelTimer(timer=timer):
                self._timers.pop(timer, None)
            case do.Equivocation(first=first, second=second):
                now = self._world.clock.monotonic_ms()
                self.evidence.saw(first, second, self.membership, now)
            case do.Note(event=name, height=height, view=view):
                self.view_changes += name == "view_change"
                self._world.trace.emit(name, height=height, view=view)
        return []

    def _broadcast(self, message: Message) -> None:
        self._send_all(Channel.CONSENSUS, encode_message(message))

    def _send_all(self, channel: Channel, payload: bytes) -> None:
        self._world.transport.broadcast(frames.frame(channel, payload), channel in _AHEAD_CHANNELS)

    def _send(self, peer: MemberId, channel: Channel, payload: bytes) -> None:
        self._world.transport.send(peer, frames.frame(channel, payload), channel in _AHEAD_CHANNELS)

    # -- blocks -----------------------------------------------------------------------------

    def _apply(self, block: Block, certificate: QuorumCertificate) -> Effects:
        if self._world.safety is not None:
            self._world.safety.settle(block.header.height)
        ids = self.chain.apply(block, certificate)
        self._applied_at_ms = self._world.clock.monotonic_ms()
        self._world.trace.emit(
            "committed", height=certificate.height, view=certificate.view, transactions=len(ids)
        )
        self._world.committed(block.header.height, ids)
        was_behind, seat = self._behind_own_votes, self._take_seat()
        self._meet_hospitals()
        if was_behind and not self._behind_own_votes:
            return self._vote_again(seat)
        return self.replica.step(Applied(block, certificate, self._work_pending(), seat))

    def _work_pending(self) -> bool:
        """Whether a block is due: transactions wait, or the newest block is too old (V6).

        The first block is due at once, because before it nothing can be proved; but a node that
        hears no quorum yet does not blame the primary for that.
        """
        if len(self.mempool) > 0:
            return True
        voting = [self.peers.get(voter.member) for voter in self.membership.validators]
        if sum(peer is None or peer.heard for peer in voting) < self.membership.quorum:
            return False
        idle = self._world.clock.monotonic_ms() - self._applied_at_ms
        interval = self._genesis.parameters.empty_block_interval_ms
        return idle >= interval or self._store.height == 0

    # -- catch-up ---------------------------------------------------------------------------

    def _status(self) -> Status:
        return Status(self._store.height, self.replica.view, self.replica.entered)

    def _on_status(self, peer: MemberId, status: Status) -> None:
        self.peers[peer].status, self.peers[peer].heard = status, True
        self._plan.claimed(peer, status.height)
        own = self.replica
        behind = status.view < own.view or (status.view == own.view and not status.entered)
        now = self._world.clock.monotonic_ms()
        # Rarely, because a false status of some bytes is answered by a message of many (R4).
        if own.entered and behind and now - self.peers[peer].helped_ms >= self._resend_ms // 2:
            self.peers[peer].helped_ms = now
            if own.new_view is not None:
                self._send(peer, Channel.CONSENSUS, encode_message(own.new_view))
            elif own.last_certificate is not None:
                self._send(peer, Channel.CERTIFICATE, own.last_certificate.encode())
        self._ask_for_blocks()

    def _ask_for_blocks(self) -> None:
        now = self._world.clock.monotonic_ms()
        peer = self._plan.next_request(self._store.height, now)
        if peer is not None:
            request = BlockRequest(Height(self._store.height + 1))
            self._send(peer, Channel.BLOCK_REQUEST, request.encode())

    def _serve_blocks(self, peer: MemberId, request: BlockRequest) -> None:
        blocks = catchup.blocks_that_fit(request.first, self._committed)
        answer = catchup.encode_blocks(blocks)
        self.quotas.charge(peer, Channel.BLOCK_REQUEST, answer_us(len(answer), len(blocks)))
        self._send(peer, Channel.BLOCKS, answer)

    def _committed(self, height: Height) -> CommittedBlock | None:
        block, certificate = self._store.block(height), self._store.certificate(height)
        return None if block is None or certificate is None else CommittedBlock(block, certificate)

    def _on_blocks(self, peer: MemberId, payload: bytes) -> None:
        now, useful = self._world.clock.monotonic_ms(), False
        first = self._plan.asked_for(peer)
        try:
            blocks = catchup.decode_blocks(payload)
            if not blocks and self._plan.lacks(peer, first) == self.membership.witness:
                # One of them is honest: it began at a later snapshot.
                self._world.trace.emit("blocks_gone", height=first)
            for committed in blocks:
                if committed.block.header.height > self._store.height:
                    self._take(committed)  # else it was committed here meanwhile
            useful = any(committed.block.header.height >= first for committed in blocks)
        finally:
            self._plan.answered(peer, useful, now)
        self._ask_for_blocks()

    def _take(self, committed: CommittedBlock) -> None:
        block = self.chain.check_certified(committed)
        self._drain(self._apply(block, committed.certificate))

    def _serve_body(self, peer: MemberId, payload: bytes) -> None:
        if len(payload) == Hash32.SIZE:
            block = self.replica.body(Hash32(payload))
            if block is not None:
                self.quotas.charge(peer, Channel.BODY_REQUEST, answer_us(len(block.encoded)))
                self._send(peer, Channel.BODY, block.encoded)
