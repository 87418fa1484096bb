"""What belongs to the height being decided, and what a replica starts from."""

from dataclasses import dataclass, field

from ledger.consensus.effects import Vote
from ledger.consensus.events import Seat
from ledger.consensus.messages import (
    Commit,
    Message,
    Prepare,
    PreparedCertificate,
    PrePrepare,
)
from ledger.consensus.votes import VoteBook
from ledger.primitives import Hash32, Height, View
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate

BODIES_MAX = 4
"""Bodies kept over a view change beside the prepared one, which its holders can always serve."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What does not change while a replica runs."""

    rotation: int
    """Heights after which the primary changes also without a fault."""
    progress_timeout_ms: int
    """Base of the view-change timers."""
    resend_interval_ms: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a replica stands after a restart, from the ledger and the safety store."""

    seat: Seat
    """Who votes on ``height``."""
    height: Height
    """The height to decide next."""
    parent: Hash32
    """Hash of the block below; zero at height 1."""
    last_certificate: QuorumCertificate | None
    view: View
    entered: bool
    """Whether a vote or certificate proves that ``view`` was entered."""
    recast: tuple[Vote, ...] = ()
    """Own votes at (height, view), to be signed and sent again: same bytes, same signature."""
    accepted: PrePrepare | None = None
    """The proposal this backup voted for in (height, view)."""
    prepared: PreparedCertificate | None = None
    """Of ``height``, with the highest view."""
    bodies: tuple[Block, ...] = ()
    """Bodies of ``height`` that may have to be proposed again."""


@dataclass(slots=True)
class Round:
    """All that belongs to the height being decided."""

    proposal: PrePrepare | None = None
    """Accepted in the current view."""
    valid: set[Hash32] = field(default_factory=set)
    """Blocks of this height that were executed here, with the result that they state."""
    proposing: bool = False
    """A MakeProposal is unanswered, or this (height, view) was proposed."""
    decided: bool = False
    """A CommitBlock was given out."""
    prepares: VoteBook[Prepare] = field(default_factory=VoteBook)
    commits: VoteBook[Commit] = field(default_factory=VoteBook)
    prepared: PreparedCertificate | None = None
    bodies: dict[Hash32, Block] = field(default_factory=dict)
    wanted: set[Hash32] = field(default_factory=set)
    """Bodies that were asked for; no others are taken."""
    sent: dict[str, Message] = field(default_factory=dict)
    """Own messages of the current view, by type, to be repeated."""

    def leave_view(self) -> None:
        """Forgets what belongs to one view only, and all but the newest bodies."""
        self.proposal = None
        self.proposing = False
        self.sent = {}
        self.wanted = set()
        prepared = None if self.prepared is None else self.prepared.block_hash
        spare = [block_hash for block_hash in self.bodies if block_hash != prepared]
        for block_hash in spare[:-BODIES_MAX]:
            del self.bodies[block_hash]

    def wants(self, message: PrePrepare | Prepare | Commit, view: View) -> bool:
        """Whether a vote of this height is not known yet and may still count."""
        match message:
            case PrePrepare():
                known = self.proposal is not None and self.proposal.block == message.block
                return message.view == view and not known
            case Prepare():
                return message.view >= view and not self.prepares.has(message)
            case Commit():
                return not self.commits.has(message)

    def prepared_certificate(self, quorum: int) -> PreparedCertificate | None:
        """The proposal with PREPAREs of q-1 distinct backups, if there are that many."""
        proposal = self.proposal
        if proposal is None:
            return None
        votes = self.prepares.matching(proposal.view, proposal.block.hash)[: quorum - 1]
        if len(votes) < quorum - 1:
            return None
        return PreparedCertificate(
            proposal.height,
            proposal.view,
            proposal.block.hash,
            proposal.signature,
            tuple(vote.signer for vote in votes),
            tuple(vote.signature for vote in votes),
        )

    def quorum_certificate(self, view: View, block_hash: Hash32, quorum: int) -> QuorumCertificate:
        """The first q COMMITs for that block in that view; the caller knows there are q."""
        votes = self.commits.matching(view, block_hash)[:quorum]
        return QuorumCertificate(
            votes[0].height,
            view,
            block_hash,
            tuple(vote.signer for vote in votes),
            tuple(vote.signature for vote in votes),
        )
