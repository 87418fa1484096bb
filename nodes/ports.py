"""What the driver needs from the world. The simulator and the real node implement the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.primitives import Hash32, Height, MemberId, TimestampMs, View
from ledger.types.genesis import Member


class Clock(Protocol):
    """Two clocks: one for timers, one for block times."""

    def monotonic_ms(self) -> int:
        """Never goes back; only differences mean anything."""

    def wall_ms(self) -> TimestampMs:
        """UTC as this machine believes it."""


@dataclass(frozen=True, slots=True)
class Put:
    """Sets or deletes one key of the store."""

    key: bytes
    value: bytes | None
    """None deletes."""


class StorageView(Protocol):
    """What a store holds, or held when the view was taken."""

    def get(self, key: bytes) -> bytes | None:
        """The value, checked against its checksum; raises StorageCorrupt."""

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All keys that begin with ``prefix``, from ``start`` on, in the order of their bytes."""


class Storage(StorageView, Protocol):
    """An ordered key-value store with atomic, synced batches. One process, one writer."""

    def view(self) -> StorageView:
        """What it holds now; stays so whatever is written, until it is forgotten or closed."""

    def write(self, batch: Sequence[Put]) -> None:
        """All or nothing, on disk when it returns. Any error poisons the store (L1)."""

    def close(self) -> None:
        """Releases the store; it cannot be used afterwards."""


@dataclass(frozen=True, slots=True)
class Vote:
    """What a signer is about to promise: at most one digest for a (kind, height, view)."""

    kind: str
    """Tag of the message type that is signed."""
    height: Height
    view: View
    digest: Hash32
    payload: bytes
    """What must survive a crash beside the digest: proposal, prepared certificate or content."""


class SafetyStore(Protocol):
    """The append-only memory of one signer (section 2.3 of the reliability checklist)."""

    def votes(self) -> Sequence[Vote]:
        """All votes not yet pruned, oldest first."""

    def append(self, votes: Sequence[Vote]) -> None:
        """Durable when it returns; raises EquivocationRefused on another digest."""

    def prune(self, below: Height) -> None:
        """Forgets votes of heights below ``below``; the highest view is always kept."""

    def settle(self, height: Height) -> None:
        """Durably knows of ``height`` when it returns, voted at or not; forgets lower heights.

        Called before a block is stored, so that a safety store which is older than the chain,
        such as one from a backup, is found out at the next start (A2).
        """

    @property
    def below(self) -> Height:
        """Heights below it are settled: a vote there would be refused; 0 at first."""

    @property
    def highest_height(self) -> Height:
        """The highest height that was voted at or settled; 0 at first."""

    @property
    def highest_view(self) -> View:
        """The highest view of any vote ever recorded, also of forgotten ones; 0 at first."""


class Transport(Protocol):
    """Links to the other hospitals' nodes; losing, delaying and repeating frames is allowed."""

    def set_peers(self, members: Sequence[Member]) -> None:
        """Whom to be linked with from now on; links to others end."""

    def send(self, member: MemberId, frame: bytes, priority: bool = False) -> None:
        """Queues one frame; drops it when the member is not connected or its queue is full.

        Frames with ``priority`` (votes) leave before all others (bodies).
        """

    def broadcast(self, frame: bytes, priority: bool = False) -> None:
        """``send`` to every other validator."""


class TraceSink(Protocol):
    """Where the driver's trace events go; logs and metrics are made of them elsewhere."""

    def emit(self, event: str, /, **fields: int | str) -> None:
        """One event; fields never hold patient data or keys."""
