"""Everything that can happen to a replica. Time reaches it as fired timers only."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from ledger.consensus.messages import Message
from ledger.crypto.keys import Verified
from ledger.primitives import Hash32, Height, View
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate
from ledger.types.membership import Membership


class Timer(StrEnum):
    """The replica's timers; setting one again replaces it."""

    PROGRESS = "progress"
    """Work is pending and nothing was committed: the primary is replaced."""
    NEW_VIEW = "new-view"
    """q replicas want a view and its primary does not open it: the next view."""
    PATIENCE = "patience"
    """Work is pending and the primary is late with its proposal (V4)."""
    RESEND = "resend"
    """Repeat what was last said, because links may lose it."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Who votes on a height, and the own place among them."""

    membership: Membership
    index: int | None
    """None for an observer, which never votes."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message whose signatures were verified; one's own come back this way too."""

    message: Verified[Message]


@dataclass(frozen=True, slots=True)
class WorkPending:
    """Whether there is anything to put into a block."""

    pending: bool


@dataclass(frozen=True, slots=True)
class Proposed:
    """Answer to MakeProposal: a block on top of the newest one, executed here."""

    height: Height
    view: View
    block: Block


@dataclass(frozen=True, slots=True)
class Checked:
    """Answer to CheckBlock: whether executing the block here gave what its header says."""

    block_hash: Hash32
    valid: bool


@dataclass(frozen=True, slots=True)
class BodyFound:
    """Answer to FetchBody; the body belongs to the hash."""

    block: Block


@dataclass(frozen=True, slots=True)
class Applied:
    """A block is durable, whichever way it came (vote or catch-up)."""

    block: Block
    certificate: QuorumCertificate
    work_pending: bool
    """Whether there is anything to put into the next block."""
    seat: Seat
    """Who votes on the next height."""


@dataclass(frozen=True, slots=True)
class CertificateSeen:
    """A verified certificate of a committed height: proof that its view was entered."""

    certificate: QuorumCertificate


@dataclass(frozen=True, slots=True)
class Overlooked:
    """A transaction waits here for long although blocks are made: maybe it is left out (V5)."""


@dataclass(frozen=True, slots=True)
class Fired:
    """A timer that was set and not cancelled."""

    timer: Timer


Event: TypeAlias = (
    Received
    | WorkPending
    | Proposed
    | Checked
    | BodyFound
    | Applied
    | CertificateSeen
    | Overlooked
    | Fired
)
