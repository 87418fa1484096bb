"""What a replica wants done, in order. The driver makes votes durable before it signs them."""

from dataclasses import dataclass
from typing import TypeAlias

from ledger.consensus.events import Timer
from ledger.consensus.messages import Message, PreparedCertificate, PrePrepare, ViewChange
from ledger.primitives import Hash32, Height, View
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate


@dataclass(frozen=True, slots=True)
class VotePrePrepare:
    """Promise (height, view) to this block and propose it. Durable first: the block."""

    height: Height
    view: View
    block: Block


@dataclass(frozen=True, slots=True)
class VotePrepare:
    """Promise to accept this proposal. Durable first: the proposal and its body."""

    proposal: PrePrepare


@dataclass(frozen=True, slots=True)
class VoteCommit:
    """Sign for the certificate. Durable first: the prepared certificate."""

    height: Height
    view: View
    block_hash: Hash32
    prepared: PreparedCertificate


@dataclass(frozen=True, slots=True)
class VoteViewChange:
    """Leave for ``view``. Durable first: the exact content."""

    height: Height
    view: View
    last_certificate: QuorumCertificate | None
    prepared: PreparedCertificate | None
    membership: Hash32
    """Hash of the membership that votes on the height."""


@dataclass(frozen=True, slots=True)
class VoteNewView:
    """Open ``view`` with these view-changes and this block. Durable first: the same."""

    height: Height
    view: View
    view_changes: tuple[ViewChange, ...]
    block: Block


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send a message again that was signed before, by this replica or another."""

    message: Message


@dataclass(frozen=True, slots=True)
class MakeProposal:
    """Build and execute a block for (height, view); answered by Proposed, if there is one."""

    height: Height
    view: View


@dataclass(frozen=True, slots=True)
class CheckBlock:
    """Execute a proposal and compare; answered by Checked."""

    block: Block


@dataclass(frozen=True, slots=True)
class CommitBlock:
    """The block is decided: make it durable in one synced batch; answered by Applied."""

    block: Block
    certificate: QuorumCertificate


@dataclass(frozen=True, slots=True)
class FetchBody:
    """Ask the others for the body of a prepared block; answered by BodyFound."""

    block_hash: Hash32


@dataclass(frozen=True, slots=True)
class ShareWork:
    """Pass what waits for a block on to the others: maybe nobody else knows of it (LIVE-1)."""


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Others have committed heights up to this one; fetch them."""

    height: Height


@dataclass(frozen=True, slots=True)
class SetTimer:
    """(Re)start a timer."""

    timer: Timer
    delay_ms: int


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Stop a timer, if it runs."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Equivocation:
    """One validator signed two digests for the same (type, height, view)."""

    first: Message
    second: Message


@dataclass(frozen=True, slots=True)
class Note:
    """Something an operator should see; no rule depends on it."""

    event: str
    height: Height
    view: View


Vote: TypeAlias = VotePrePrepare | VotePrepare | VoteCommit | VoteViewChange | VoteNewView
Effect: TypeAlias = (
    Vote
    | Broadcast
    | MakeProposal
    | CheckBlock
    | CommitBlock
    | FetchBody
    | ShareWork
    | CatchUp
    | SetTimer
    | CancelTimer
    | Equivocation
    | Note
)
Effects: TypeAlias = list[Effect]
