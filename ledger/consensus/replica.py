"""The PBFT automaton for one height at a time: ``step(event) -> Effects``, no I/O.

Rules that the code below cites:
- A replica votes only in a view that it has entered, and the view only rises (I10).
- It enters a view by a valid NEW-VIEW, by a certificate made in that view, or because it is 0.
  Either proves that a quorum left all lower views, at that height or below; so nothing
  can be decided above that height in a lower view any more.
- It prepares what it executed itself (decision 2), commits what is prepared, and decides on q
  COMMITs of one view.
"""

from ledger.consensus import effects as do
from ledger.consensus.effects import Effects
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
from ledger.consensus.messages import Commit, Message, NewView, Prepare, PrePrepare, ViewChange
from ledger.consensus.pace import Pace
from ledger.consensus.phases import Recovered, Round, Settings
from ledger.consensus.view_change import (
    ViewChanges,
    proposal_follows,
    required_block,
    target_height,
    view_to_join,
)
from ledger.primitives import Hash32, Height, View
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate

NEXT_HEIGHT_MESSAGES_MAX = 4
"""Messages of one signer kept for the next height while this one is being decided."""


class Replica:
    """One validator's part in the agreement."""

    def __init__(self, settings: Settings, recovered: Recovered) -> None:
        self._settings = settings
        self._sit(recovered.seat)
        self.height = recovered.height
        self.view = recovered.view
        self.entered = recovered.entered
        self._parent = recovered.parent
        self.last_certificate = recovered.last_certificate
        """Certificate of the height below."""
        self._round = Round(prepared=recovered.prepared)
        for block in recovered.bodies:
            self._round.bodies[block.hash] = block
        self._view_changes = ViewChanges()
        self.new_view: NewView | None = None
        """The message that opened the current view, for replicas that missed it."""
        self._waiting_new_view: NewView | None = None
        self._next_height: dict[int, list[Message]] = {}
        self._resent_at: tuple[Height, View] | None = None
        self._pace = Pace(settings)
        self._work_pending = False
        self._recovered = recovered
        self._effects: Effects = self._pace.effects

    def _sit(self, seat: Seat) -> None:
        self._membership, self._index = seat.membership, seat.index
        self._quorum = seat.membership.quorum

    @property
    def primary(self) -> int:
        """Index of the primary of the current height and view."""
        return self._membership.primary(self.height, self.view, self._settings.rotation)

    def body(self, block_hash: Hash32) -> Block | None:
        """Body of a block of the current height, for a primary that must propose it again."""
        return self._round.bodies.get(block_hash)

    def wants_bodies(self) -> bool:
        """Whether a body was asked for that has not come."""
        return bool(self._round.wanted)

    def is_ahead(self, view: View) -> bool:
        """Whether ``view`` is not entered yet and not below the one this replica is in."""
        return view > self.view or (view == self.view and not self.entered)

    def start(self) -> Effects:
        """First effects after construction: pick up where the safety store says."""
        self._effects = self._pace.effects = []
        self._pace.resend()
        recovered = self._recovered
        if not self.entered:
            self._vote_view_change()
        # A primary that proposed in this view must not make a second proposal.
        self._round.proposing = bool(recovered.recast)
        self._effects.extend(recovered.recast)
        # Only then: where the clock was set back, the block is refused, and the view is left.
        if self.entered and recovered.accepted is not None:
            self._accept(recovered.accepted)
        return self._effects

    def step(self, event: Event) -> Effects:
        """Applies one event; whatever it is, it never raises on another party's account."""
        self._effects = self._pace.effects = []
        match event:
            case Received(message=verified):
                self._on_message(verified.value)
            case WorkPending(pending=pending):
                self._on_work(pending)
            case Proposed(height=height, view=view, block=block):
                self._on_proposed(height, view, block)
            case Checked(block_hash=block_hash, valid=valid):
                self._on_checked(block_hash, valid)
            case BodyFound(block=block):
                self._on_body(block)
            case Applied():
                self._on_applied(event)
            case CertificateSeen(certificate=certificate):
                self._on_certificate(certificate)
            case Overlooked():
                if self.entered:
                    self._leave_view("transaction_overlooked")
            case Fired(timer=timer):
                self._on_timer(timer)
        return self._effects

    # -- messages ---------------------------------------------------------------------------

    def wants(self, message: Message) -> bool:
        """Whether ``message`` could change anything; asked before its signatures cost work (R4)."""
        match message:
            case NewView():
                return self.is_ahead(message.view)
            case ViewChange():
                news = self._view_changes.tells_news(message)
                return news and message.height >= self.height and self.is_ahead(message.view)
            case _ if message.height == self.height:
                return self._round.wants(message, self.view)
            case _:
                return message.height == self.height + 1

    def _on_message(self, message: Message) -> None:
        match message:
            case NewView():
                self._on_new_view(message)
            case ViewChange():
                self._on_view_change(message)
            case _ if message.height == self.height + 1:
                self._keep_for_next(message)
            case _ if message.height != self.height:
                return
            case PrePrepare():
                self._on_pre_prepare(message)
            case Prepare() if self._counted(self._round.prepares.add(message), message):
                self._try_prepared()
            case Commit() if self._counted(self._round.commits.add(message), message):
                self._try_decide()

    def _counted(self, conflicting: Message | None, message: Message) -> bool:
        if conflicting is not None:
            self._effects.append(do.Equivocation(conflicting, message))
            return False
        return True

    def _keep_for_next(self, message: PrePrepare | Prepare | Commit) -> None:
        kept = self._next_height.setdefault(message.signer, [])
        if message not in kept:
            kept.append(message)
            del kept[:-NEXT_HEIGHT_MESSAGES_MAX]

    def _on_pre_prepare(self, message: PrePrepare) -> None:
        current = self._round.proposal
        if message.view != self.view or not self.entered:
            return
        if current is not None:
            if current.block.hash != message.block.hash:
                self._effects.append(do.Equivocation(current, message))
            return
        if message.block.header.parent != self._parent:
            self._leave_view("proposal_with_wrong_parent")
            return
        self._accept(message)

    def _accept(self, proposal: PrePrepare) -> None:
        """Takes ``proposal`` as the one of this view; it is executed before it is voted for."""
        block = proposal.block
        self._round.proposal = proposal
        self._round.bodies[block.hash] = block
        self._pace.proposal_came()
        if block.hash in self._round.valid:
            self._on_checked(block.hash, True)
        else:
            self._effects.append(do.CheckBlock(block))

    def _on_checked(self, block_hash: Hash32, valid: bool) -> None:
        proposal = self._round.proposal
        current = proposal is not None and proposal.block.hash == block_hash and self.entered
        if not valid:
            # Not remembered: a block from the future is valid a little later (T1).
            decided = self._round.commits.decided(self._quorum)
            if decided is not None and decided[1] == block_hash:
                self._effects.append(do.CatchUp(self.height))
            elif current:
                self._leave_view("invalid_proposal")
            return
        self._round.valid.add(block_hash)
        if proposal is not None and current:
            if self._index is not None and proposal.signer != self._index:
                self._effects.append(do.VotePrepare(proposal))
            self._try_prepared()
        self._try_decide()

    def _try_prepared(self) -> None:
        """Pre-prepare and q-1 PREPAREs of distinct backups, and executed here: COMMIT."""
        proposal = self._round.proposal
        if proposal is None or not self.entered or self._index is None:
            return
        block_hash = proposal.block.hash
        already = self._round.prepared
        if already is not None and already.view == self.view:
            return
        if block_hash not in self._round.valid:
            return
        prepared = self._round.prepared_certificate(self._quorum)
        if prepared is None:
            return
        self._round.prepared = prepared
        self._effects.append(do.VoteCommit(self.height, self.view, block_hash, prepared))

    def _try_decide(self) -> None:
        """q COMMITs for one block in one view decide, whichever view this replica is in."""
        decided = self._round.commits.decided(self._quorum)
        if decided is None or self._round.decided:
            return
        view, block_hash = decided
        block = self._round.bodies.get(block_hash)
        if block is None:
            # Decided without this replica: catch-up brings body and certificate together.
            self._effects.append(do.CatchUp(self.height))
            return
        if block_hash not in self._round.valid:
            self._effects.append(do.CheckBlock(block))
            return
        self._round.decided = True
        certificate = self._round.quorum_certificate(view, block_hash, self._quorum)
        self._effects.append(do.CommitBlock(block, certificate))

    # -- progress ---------------------------------------------------------------------------

    def _on_work(self, pending: bool) -> None:
        self._work_pending = pending
        self._await_proposal()
        self._try_propose()

    def _await_proposal(self) -> None:
        if self.entered and self._work_pending:
            self._pace.await_proposal(of_another=self._index != self.primary)

    def _try_propose(self) -> None:
        round_ = self._round
        if not self.entered or self.primary != self._index:
            return
        if round_.proposing or round_.proposal is not None or not self._work_pending:
            return
        round_.proposing = True
        self._effects.append(do.MakeProposal(self.height, self.view))

    def _on_proposed(self, height: Height, view: View, block: Block) -> None:
        if (height, view) != (self.height, self.view):
            return
        self._round.valid.add(block.hash)
        self._round.bodies[block.hash] = block
        if self.entered:
            self._effects.append(do.VotePrePrepare(height, view, block))
        else:
            self._open_view(block)

    def _on_applied(self, event: Applied) -> None:
        certificate = event.certificate
        if certificate.height != self.height:
            return
        self._take_seat(event.seat)
        primary = self.primary
        self.height = Height(self.height + 1)
        self._parent = event.block.hash
        self.last_certificate = certificate
        self._work_pending = event.work_pending
        self._round = Round()
        self._pace.committed(self.primary == primary)
        self._enter_by(certificate)
        self._view_changes.forget_below(View(self.view + self.entered))
        if not self.entered:
            self._vote_view_change()
        waiting, self._waiting_new_view = self._waiting_new_view, None
        if waiting is not None:
            self._on_new_view(waiting)
        kept, self._next_height = self._next_height, {}
        for messages in kept.values():
            for message in messages:
                self._on_message(message)
        self._await_proposal()
        self._try_propose()

    def _take_seat(self, seat: Seat) -> None:
        """Others may vote from the next height on: places have changed, so votes are void (M1)."""
        if seat.membership != self._membership:
            self.entered = False  # by votes that are void; unless the block's certificate shows it
            self._view_changes = ViewChanges()
            self._next_height = {}
            self._waiting_new_view = None
            self.new_view = None
        self._sit(seat)

    def _on_certificate(self, certificate: QuorumCertificate) -> None:
        if certificate.height >= self.height:
            self._effects.append(do.CatchUp(certificate.height))
            return
        if self._enter_by(certificate):
            self._after_entering()

    def _enter_by(self, certificate: QuorumCertificate) -> bool:
        """Enters the certificate's view if it is ahead: a quorum voted in it, below here."""
        if not self.is_ahead(certificate.view):
            return False
        self._become(certificate.view, entered=True)
        return True

    # -- view change ------------------------------------------------------------------------

    def _leave_view(self, reason: str) -> None:
        if self._index is None:
            return  # an observer follows the others by their certificates
        self._effects.append(do.Note(reason, self.height, self.view))
        self._pace.view_failed()
        self._effects.append(do.ShareWork())
        self._change_to(View(self.view + 1))

    def _change_to(self, view: View) -> None:
        self._become(view, entered=False)
        self._effects.append(do.Note("view_change", self.height, view))
        self._vote_view_change()
        self._try_open_view()

    def _become(self, view: View, entered: bool, new_view: NewView | None = None) -> None:
        """The current view's proposal, messages and timers are gone; votes and bodies stay."""
        self.view, self.entered, self.new_view = view, entered, new_view
        self._round.leave_view()
        self._pace.view_left()

    def _vote_view_change(self) -> None:
        if self._index is None:
            return
        content = self.last_certificate, self._round.prepared, self._membership.hash
        self._effects.append(do.VoteViewChange(self.height, self.view, *content))

    def _on_view_change(self, message: ViewChange) -> None:
        if message.height > self.height:
            self._effects.append(do.CatchUp(Height(message.height - 1)))
        if not self._view_changes.is_newer(message):
            self._counted(self._view_changes.conflicting(message), message)
            return
        self._view_changes.add(message)
        if message.signer == self._index:
            self._round.sent["view-change"] = message
        wanted = self._view_changes.views_of_others(self._index)
        join = view_to_join(self.view, wanted, self._membership.witness)
        if join is not None and self._index is not None:
            self._pace.view_failed()
            self._change_to(join)
        else:
            self._try_open_view()

    def _try_open_view(self) -> None:
        """Starts the view's timer once a quorum left for it; opens it as its primary.

        Views above this one count for the timer: a peer that is a view ahead would else
        leave the others waiting for a quorum that never meets.
        """
        if self.entered:
            return
        if self._view_changes.at_least(self.view) >= self._quorum:
            self._pace.await_new_view()
        changes = self._view_changes.quorum_for(self.view, self._quorum)
        if len(changes) < self._quorum:
            return
        height = target_height(changes)
        if height > self.height:
            self._effects.append(do.CatchUp(Height(height - 1)))
            return
        if height < self.height or self._index != self.primary:
            return
        if self._round.proposing:
            return
        required = required_block(changes)
        if required is None:
            self._round.proposing = True
            self._effects.append(do.MakeProposal(self.height, self.view))
            return
        body = self._body_or_fetch(required.block_hash)
        if body is not None:
            self._open_view(body)

    def _body_or_fetch(self, block_hash: Hash32) -> Block | None:
        body = self._round.bodies.get(block_hash)
        if body is None:
            self._round.wanted.add(block_hash)
            self._effects.append(do.FetchBody(block_hash))
        return body

    def _open_view(self, block: Block) -> None:
        changes = self._view_changes.quorum_for(self.view, self._quorum)
        required = required_block(changes)
        if required is not None and required.block_hash != block.hash:
            # A view-change with a prepared block came while a new block was being made.
            self._round.proposing = False
            body = self._body_or_fetch(required.block_hash)
            if body is None:
                return
            block = body
        self._round.proposing = True
        self._effects.append(do.VoteNewView(self.height, self.view, tuple(changes), block))

    def _on_body(self, block: Block) -> None:
        if block.hash not in self._round.wanted:
            return  # nobody asked: else a peer could fill the memory
        self._round.wanted.discard(block.hash)
        self._round.bodies[block.hash] = block
        self._try_open_view()
        self._try_decide()

    def _on_new_view(self, message: NewView) -> None:
        view, height = message.proposal.view, message.proposal.height
        if not self.is_ahead(view):
            return
        if not proposal_follows(message):
            self._effects.append(do.Note("new_view_refused", height, view))
            if view == self.view:
                self._leave_view("invalid_new_view")
            return
        if height > self.height:
            self._waiting_new_view = message
            self._effects.append(do.CatchUp(Height(height - 1)))
            return
        self._become(view, entered=True, new_view=message)
        self._effects.append(do.Note("new_view", self.height, view))
        if height == self.height:
            self._on_pre_prepare(message.proposal)
        self._after_entering()

    def _after_entering(self) -> None:
        self._await_proposal()
        self._try_prepared()
        self._try_propose()

    # -- own votes, timers -------------------------------------------------------------------

    def voted(self, message: Message) -> Effects:
        """An own message is durable and signed: it counts like any other, and is repeated."""
        self._effects = self._pace.effects = []
        if isinstance(message, PrePrepare | Prepare | Commit) and (
            (message.height, message.view) == (self.height, self.view)
        ):
            self._round.sent[type(message).__name__] = message
        self._on_message(message)
        return self._effects

    def _on_timer(self, timer: Timer) -> None:
        self._pace.fired(timer)
        match timer:
            case Timer.PROGRESS:
                if self.entered and (self._work_pending or self._round.proposal is not None):
                    self._leave_view("no_progress")
            case Timer.PATIENCE:
                if self._pace.is_too_slow():
                    self._leave_view("slow_primary")
            case Timer.NEW_VIEW:
                if not self.entered:
                    self._leave_view("no_new_view")
            case Timer.RESEND:
                self._on_resend()

    def _on_resend(self) -> None:
        """Repeats the own messages of a view that has not moved since the last time."""
        self._pace.resend()
        if self._resent_at == (self.height, self.view):
            self._effects.extend(do.Broadcast(message) for message in self._round.sent.values())
            self._effects.extend(do.FetchBody(missing) for missing in sorted(self._round.wanted))
            if not self.entered:
                self._effects.append(do.ShareWork())
            if len(self._next_height) >= self._membership.witness:
                self._effects.append(do.CatchUp(self.height))
        self._resent_at = (self.height, self.view)
