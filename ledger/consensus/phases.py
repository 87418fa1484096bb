"""What belongs to the height being decided, and what a replica starts from."""

from dataclasses import dataclass, field

from ledger.consensus.effects import Vote
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
from ledger.types.membership import Membership


@dataclass(frozen=True, slots=True)
class Settings:
    """What does not change while a replica runs."""

    membership: Membership
    index: int | None
    """Own place in the membership; None for an observer, which never votes."""
    rotation: int
    """Heights after which the primary changes also without a fault."""
    progress_timeout_ms: int
    """Base of the view-change timers."""
    resend_interval_ms: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a replica stands after a restart, from the ledger and the safety store."""

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
    checked: dict[Hash32, bool] = field(default_factory=dict)
    """Blocks of this height that were executed here, and whether the result was right."""
    proposing: bool = False
    """A MakeProposal is unanswered, or this (height, view) was proposed."""
    decided: bool = False
    """A CommitBlock was given out."""
    prepares: VoteBook[Prepare] = field(default_factory=VoteBook)
    commits: VoteBook[Commit] = field(default_factory=VoteBook)
    prepared: PreparedCertificate | None = None
    bodies: dict[Hash32, Block] = field(default_factory=dict)
    sent: dict[str, Message] = field(default_factory=dict)
    """Own messages of the current view, by type, to be repeated."""

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
