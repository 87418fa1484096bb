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
    Proposed,
    Received,
    Timer,
    WorkPending,
)
from ledger.consensus.messages import (
    Commit,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
)
from ledger.consensus.phases import Recovered, Round, Settings
from ledger.consensus.view_change import (
    proposal_follows,
    required_block,
    target_height,
    view_to_join,
)
from ledger.primitives import Hash32, Height, View
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate

TIMEOUT_DOUBLINGS_MAX = 6
"""Back-off stops growing at 64 times the base; the f+1 rule realigns views meanwhile (V1)."""
NEXT_HEIGHT_MESSAGES_MAX = 4
"""Messages of one signer kept for the next height while this one is being decided."""


class Replica:
    """One validator's part in the agreement."""

    def __init__(self, settings: Settings, recovered: Recovered) -> None:
        self._settings, self._membership = settings, settings.membership
        self._quorum = settings.membership.quorum
        self.height = recovered.height
        self.view = recovered.view
        self.entered = recovered.entered
        self._parent = recovered.parent
        self.last_certificate = recovered.last_certificate
        """Certificate of the height below."""
        self._round = Round(prepared=recovered.prepared)
        for block in recovered.bodies:
            self._round.bodies[block.hash] = block
        self._view_changes: dict[int, ViewChange] = {}
        self.new_view: NewView | None = None
        """The message that opened the current view, for replicas that missed it."""
        self._waiting_new_view: NewView | None = None
        self._next_height: dict[int, list[Message]] = {}
        self._running: set[Timer] = set()
        self._resent_at: tuple[Height, View] | None = None
        self._failures = 0
        self._work_pending = False
        self._recovered = recovered
        self._effects: Effects = []

    @property
    def primary(self) -> int:
        """Index of the primary of the current height and view."""
        return self._membership.primary(self.height, self.view, self._settings.rotation)

    def body(self, block_hash: Hash32) -> Block | None:
        """Body of a block of the current height, for a primary that must propose it again."""
        return self._round.bodies.get(block_hash)

    def start(self) -> Effects:
        """First effects after construction: pick up where the safety store says."""
        self._effects = []
        self._set(Timer.RESEND, self._settings.resend_interval_ms)
        recovered = self._recovered
        if not self.entered:
            self._vote_view_change()
        elif recovered.accepted is not None:
            self._accept(recovered.accepted)
        # A primary that proposed in this view must not make a second proposal.
        self._round.proposing = bool(recovered.recast)
        self._effects.extend(recovered.recast)
        return self._effects

    def step(self, event: Event) -> Effects:
        """Applies one event; whatever it is, it never raises on another party's account."""
        self._effects = []
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
            case Fired(timer=timer):
                self._on_timer(timer)
        return self._effects

    # -- messages ---------------------------------------------------------------------------

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
        self._set(Timer.PROGRESS, self._timeout_ms())
        valid = self._round.checked.get(block.hash)
        if valid is None:
            self._effects.append(do.CheckBlock(block))
        else:
            self._on_checked(block.hash, valid)

    def _on_checked(self, block_hash: Hash32, valid: bool) -> None:
        proposal = self._round.proposal
        self._round.checked[block_hash] = valid
        if proposal is not None and proposal.block.hash == block_hash and self.entered:
            if not valid:
                self._leave_view("invalid_proposal")
                return
            if self._settings.index is not None and proposal.signer != self._settings.index:
                self._effects.append(do.VotePrepare(proposal))
            self._try_prepared()
        self._try_decide()

    def _try_prepared(self) -> None:
        """Pre-prepare and q-1 PREPAREs of distinct backups, and executed here: COMMIT."""
        proposal = self._round.proposal
        if proposal is None or not self.entered or self._settings.index is None:
            return
        block_hash = proposal.block.hash
        already = self._round.prepared
        if already is not None and already.view == self.view:
            return
        if not self._round.checked.get(block_hash):
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
        valid = self._round.checked.get(block_hash)
        if block is None or valid is False:
            # Decided without this replica: catch-up brings body and certificate together.
            self._effects.append(do.CatchUp(self.height))
            return
        if valid is None:
            self._effects.append(do.CheckBlock(block))
            return
        self._round.decided = True
        certificate = self._round.quorum_certificate(view, block_hash, self._quorum)
        self._effects.append(do.CommitBlock(block, certificate))

    # -- progress ---------------------------------------------------------------------------

    def _on_work(self, pending: bool) -> None:
        self._work_pending = pending
        if pending:
            self._arm_progress_once()
            self._try_propose()

    def _try_propose(self) -> None:
        round_ = self._round
        if not self.entered or self.primary != self._settings.index:
            return
        if round_.proposing or round_.proposal is not None or not self._work_pending:
            return
        round_.proposing = True
        self._effects.append(do.MakeProposal(self.height, self.view))

    def _on_proposed(self, height: Height, view: View, block: Block) -> None:
        if (height, view) != (self.height, self.view):
            return
        self._round.checked[block.hash] = True
        self._round.bodies[block.hash] = block
        if self.entered:
            self._effects.append(do.VotePrePrepare(height, view, block))
        else:
            self._open_view(block)

    def _on_applied(self, event: Applied) -> None:
        certificate = event.certificate
        if certificate.height != self.height:
            return
        self.height = Height(self.height + 1)
        self._parent = event.block.hash
        self.last_certificate = certificate
        self._work_pending = event.work_pending
        self._round = Round()
        self._failures = 0
        self._cancel(Timer.PROGRESS)
        self._enter_by(certificate)
        self._view_changes = {
            signer: change
            for signer, change in self._view_changes.items()
            if change.view > self.view or (change.view == self.view and not self.entered)
        }
        if not self.entered:
            self._vote_view_change()
        waiting, self._waiting_new_view = self._waiting_new_view, None
        if waiting is not None:
            self._on_new_view(waiting)
        kept, self._next_height = self._next_height, {}
        for messages in kept.values():
            for message in messages:
                self._on_message(message)
        if self._work_pending:
            self._arm_progress_once()
            self._try_propose()

    def _on_certificate(self, certificate: QuorumCertificate) -> None:
        if certificate.height >= self.height:
            self._effects.append(do.CatchUp(certificate.height))
            return
        if self._enter_by(certificate):
            self._after_entering()

    def _enter_by(self, certificate: QuorumCertificate) -> bool:
        """Enters the certificate's view if it is ahead: a quorum voted in it, below here."""
        ahead = certificate.view > self.view
        if not ahead and (certificate.view != self.view or self.entered):
            return False
        self._become(certificate.view)
        self.entered = True
        self.new_view = None
        self._cancel(Timer.NEW_VIEW)
        return True

    # -- view change ------------------------------------------------------------------------

    def _leave_view(self, reason: str) -> None:
        if self._settings.index is None:
            return  # an observer follows the others by their certificates
        self._effects.append(do.Note(reason, self.height, self.view))
        self._failures += 1
        self._change_to(View(self.view + 1))

    def _change_to(self, view: View) -> None:
        self._become(view)
        self.entered = False
        self.new_view = None
        self._cancel(Timer.PROGRESS)
        self._cancel(Timer.NEW_VIEW)
        self._effects.append(do.Note("view_change", self.height, view))
        self._vote_view_change()
        self._try_open_view()

    def _become(self, view: View) -> None:
        """The current view's proposal and messages are gone; votes and bodies stay."""
        self.view = view
        self._round.proposal = None
        self._round.proposing = False
        self._round.sent = {}

    def _vote_view_change(self) -> None:
        if self._settings.index is None:
            return
        self._effects.append(
            do.VoteViewChange(self.height, self.view, self.last_certificate, self._round.prepared)
        )

    def _on_view_change(self, message: ViewChange) -> None:
        if message.height > self.height:
            self._effects.append(do.CatchUp(Height(message.height - 1)))
        earlier = self._view_changes.get(message.signer)
        newer = earlier is None or (message.view, message.height) > (
            earlier.view,
            earlier.height,
        )
        if not newer:
            return
        self._view_changes[message.signer] = message
        if message.signer == self._settings.index:
            self._round.sent["view-change"] = message
        wanted = [
            change.view
            for signer, change in self._view_changes.items()
            if signer != self._settings.index
        ]
        join = view_to_join(self.view, wanted, self._membership.witness)
        if join is not None and self._settings.index is not None:
            self._failures += 1
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
        left = sum(change.view >= self.view for change in self._view_changes.values())
        if left >= self._quorum and Timer.NEW_VIEW not in self._running:
            self._set(Timer.NEW_VIEW, self._timeout_ms())
        changes = self._changes_for(self.view)
        if len(changes) < self._quorum:
            return
        height = target_height(changes)
        if height > self.height:
            self._effects.append(do.CatchUp(Height(height - 1)))
            return
        if height < self.height or self._settings.index != self.primary:
            return
        if self._round.proposing:
            return
        required = required_block(changes)
        if required is None:
            self._round.proposing = True
            self._effects.append(do.MakeProposal(self.height, self.view))
            return
        body = self._round.bodies.get(required.block_hash)
        if body is None:
            self._effects.append(do.FetchBody(required.block_hash))
            return
        self._open_view(body)

    def _changes_for(self, view: View) -> list[ViewChange]:
        """Exactly q view-changes for ``view``: those of the highest heights, by signer."""
        changes = [c for c in self._view_changes.values() if c.view == view]
        changes.sort(key=lambda change: (-change.height, change.signer))
        return sorted(changes[: self._quorum], key=lambda change: change.signer)

    def _open_view(self, block: Block) -> None:
        changes = self._changes_for(self.view)
        required = required_block(changes)
        if required is not None and required.block_hash != block.hash:
            # A view-change with a prepared block came while a new block was being made.
            self._round.proposing = False
            body = self._round.bodies.get(required.block_hash)
            if body is None:
                self._effects.append(do.FetchBody(required.block_hash))
                return
            block = body
        self._round.proposing = True
        self._effects.append(do.VoteNewView(self.height, self.view, tuple(changes), block))

    def _on_body(self, block: Block) -> None:
        if block.header.height != self.height:
            return
        self._round.bodies[block.hash] = block
        self._try_open_view()
        self._try_decide()

    def _on_new_view(self, message: NewView) -> None:
        view, height = message.proposal.view, message.proposal.height
        if view < self.view or (view == self.view and self.entered):
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
        self._become(view)
        self.entered = True
        self.new_view = message
        self._cancel(Timer.NEW_VIEW)
        self._effects.append(do.Note("new_view", self.height, view))
        if height == self.height:
            self._on_pre_prepare(message.proposal)
        self._after_entering()

    def _after_entering(self) -> None:
        if self._work_pending:
            self._arm_progress_once()
        self._try_prepared()
        self._try_propose()

    # -- own votes, timers -------------------------------------------------------------------

    def voted(self, message: Message) -> Effects:
        """An own message is durable and signed: it counts like any other, and is repeated."""
        self._effects = []
        if isinstance(message, PrePrepare | Prepare | Commit) and (
            (message.height, message.view) == (self.height, self.view)
        ):
            self._round.sent[type(message).__name__] = message
        self._on_message(message)
        return self._effects

    def _on_timer(self, timer: Timer) -> None:
        self._running.discard(timer)
        match timer:
            case Timer.PROGRESS:
                if self.entered and (self._work_pending or self._round.proposal is not None):
                    self._leave_view("no_progress")
            case Timer.NEW_VIEW:
                if not self.entered:
                    self._leave_view("no_new_view")
            case Timer.RESEND:
                self._on_resend()

    def _on_resend(self) -> None:
        """Repeats the own messages of a view that has not moved since the last time."""
        self._set(Timer.RESEND, self._settings.resend_interval_ms)
        if self._resent_at == (self.height, self.view):
            self._effects.extend(do.Broadcast(message) for message in self._round.sent.values())
            changes = self._changes_for(self.view)
            if not self.entered and len(changes) == self._quorum:
                required = required_block(changes)
                if required is not None and required.block_hash not in self._round.bodies:
                    self._effects.append(do.FetchBody(required.block_hash))
            if len(self._next_height) >= self._membership.witness:
                self._effects.append(do.CatchUp(self.height))
        self._resent_at = (self.height, self.view)

    def _timeout_ms(self) -> int:
        return self._settings.progress_timeout_ms << min(self._failures, TIMEOUT_DOUBLINGS_MAX)

    def _arm_progress_once(self) -> None:
        """Starts the progress timer unless it runs: new work must not postpone it (V1)."""
        if self.entered and Timer.PROGRESS not in self._running:
            self._set(Timer.PROGRESS, self._timeout_ms())

    def _set(self, timer: Timer, delay_ms: int) -> None:
        self._running.add(timer)
        self._effects.append(do.SetTimer(timer, delay_ms))

    def _cancel(self, timer: Timer) -> None:
        self._running.discard(timer)
        self._effects.append(do.CancelTimer(timer))
