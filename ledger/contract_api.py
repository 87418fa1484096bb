"""What a contract sees and how execution finds it. ``ledger`` never imports ``contracts``."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from ledger.codec import Value
from ledger.primitives import Hash32, Height, KeyId, MemberId, TimestampMs
from ledger.types.genesis import Genesis, Member, UserKey


class Column(IntEnum):
    """The kinds of key in a validator's state; the store keeps each apart."""

    VALUE = 1
    """state key -> value: the leaves of the state tree."""
    PAGE = 2
    """path -> page of the state tree; derived from VALUE."""
    FRONTIER = 3
    """log's state key -> roots of its complete subtrees; derived from LOG."""
    LOG = 4
    """log's state key and index (8 bytes big-endian) -> entry bytes; never overwritten."""
    EXECUTED = 5
    """transaction id -> [height, index]; remembered VALID_UNTIL_HEIGHTS_MAX heights."""
    LOG_PIECE = 6
    """log's state key and number of a piece (8 bytes) -> root of these LOG_PIECE_ENTRIES entries,
    once there are so many; derived from LOG."""


class StateReader(Protocol):
    """Read access to the state after one committed block."""

    def get(self, column: Column, key: bytes) -> bytes | None:
        """The bytes under ``key``, or None."""


class StateView(Protocol):
    """What a contract may do to the state; undone as a whole if the action is refused."""

    def get(self, key: bytes) -> bytes | None:
        """Value of a state key."""

    def put(self, key: bytes, value: bytes) -> None:
        """Sets a state key."""

    def append(self, log: bytes, entry: bytes) -> int:
        """Appends to the log whose state key is ``log``; returns the entry's index."""

    def log_count(self, log: bytes) -> int:
        """How many entries the log has."""

    def log_entry(self, log: bytes, index: int) -> bytes | None:
        """One entry's bytes, or None past the end."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """Everything else that an action may depend on; no clock, no randomness (D2)."""

    chain_id: Hash32
    height: Height
    time_ms: TimestampMs
    """Block time."""
    transaction_id: Hash32
    key_id: KeyId
    signer: UserKey
    """The signer's registration, valid at this block's time."""


class Refused(Exception):
    """An action's refusal: becomes the receipt's code and fields, and changes nothing."""

    def __init__(self, code: str, *fields: Value) -> None:
        self.code = code
        self.fields: tuple[Value, ...] = fields
        super().__init__(code)


class Contract(Protocol):
    """One contract: a set of typed actions."""

    @property
    def name(self) -> str:
        """What transactions call it by."""

    def call(
        self, action: str, args: tuple[Value, ...], context: CallContext, state: StateView
    ) -> tuple[Value, ...]:
        """Runs one action; returns the receipt's fields or raises Refused."""


class ContractTable(Protocol):
    """The contracts of an execution version."""

    def find(self, name: str) -> Contract | None:
        """The contract of that name."""

    def genesis_values(self, genesis: Genesis) -> Sequence[tuple[bytes, bytes]]:
        """State keys and values at height 0."""

    def signer(self, state: StateView, key_id: KeyId) -> UserKey | None:
        """The registration of a key, or None; validity is execution's question."""

    def member(self, state: StateView, member: MemberId) -> Member | None:
        """The organisation of that id."""

    def hospitals(self, state: StateView) -> Sequence[MemberId]:
        """Ids of all hospitals, voting or not."""
