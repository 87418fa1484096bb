"""Proof bundles: an answer of a server with everything needed to verify it.

Nothing is verified here; the functions of ``trust`` and ``verify`` take these values.
"""

from dataclasses import dataclass
from typing import TypeAlias

from ledger import codec
from ledger.codec import Value
from ledger.errors import NotCanonical
from ledger.limits import TRANSACTION_BYTES_MAX
from ledger.merkle.proof import StateProof
from ledger.primitives import Hash32
from ledger.types.certificate import CertifiedHeader
from ledger.types.membership import MEMBERSHIP_BYTES_MAX, Membership

STATE_KEY_BYTES_MAX = 256
STATE_VALUE_BYTES_MAX = TRANSACTION_BYTES_MAX
LOG_ENTRY_BYTES_MAX = 4_096
LOG_ENTRIES_MAX = 65_536
"""Entries of one list that can be proved complete in one answer."""
BUNDLE_BYTES_MAX = 128 * 1024 * 1024
"""LOG_ENTRIES_MAX rows of the largest size take 100 MiB."""
MEMBERSHIP_CHANGES_MAX = 4_096
CHANGES_BYTES_MAX = 32 * 1024 * 1024
"""Membership changes that lead from one trusted header to another."""
MEMBERSHIP_CHANGES_PAGE = 256
"""Membership changes of one answer."""
PAGE_ENTRIES_MAX = 1_000
"""Entries of one page, each with its path."""
INCLUSION_PATH_MAX = 64
"""A log counts at most 2^64 entries."""


@dataclass(frozen=True, slots=True)
class StateBundle:
    """The value of one state key, or its absence."""

    certified: CertifiedHeader
    key: bytes
    value: bytes | None
    """None: the key is claimed to be absent."""
    proof: StateProof

    def to_value(self) -> Value:
        """["state", certified header, key, value or nil, state proof]."""
        return ("state", *_state_fields(self))

    def encode(self) -> bytes:
        """Canonical bytes of ``to_value``."""
        return codec.encode(self.to_value())


@dataclass(frozen=True, slots=True)
class LogBundle:
    """All entries of one log, so that the list is complete (LIGHT-2)."""

    state: StateBundle
    """The log's [count, root]; absent for an empty log."""
    entries: tuple[bytes, ...]

    def to_value(self) -> Value:
        """["log", certified header, key, value or nil, state proof, [entry, ...]]."""
        return ("log", *_state_fields(self.state), self.entries)

    def encode(self) -> bytes:
        """Canonical bytes of ``to_value``."""
        return codec.encode(self.to_value())


@dataclass(frozen=True, slots=True)
class LogEntryBundle:
    """One entry of a log, with its place."""

    state: StateBundle
    index: int
    entry: bytes
    path: tuple[Hash32, ...]
    """Inclusion path, leaf side first (RFC 6962)."""

    def to_value(self) -> Value:
        """["log-entry", certified header, key, value, state proof, index, entry, [hash, ...]]."""
        return ("log-entry", *_state_fields(self.state), self.index, self.entry, self.path)

    def encode(self) -> bytes:
        """Canonical bytes of ``to_value``."""
        return codec.encode(self.to_value())


@dataclass(frozen=True, slots=True)
class LogEntriesBundle:
    """Some entries of one log, each with its place, under one state proof."""

    state: StateBundle
    items: tuple[tuple[int, bytes, tuple[Hash32, ...]], ...]
    """Index, entry and inclusion path (leaf side first) of each, by rising index."""

    def entry(self, number: int) -> LogEntryBundle:
        """The proof of one of them alone, to be kept or passed on."""
        return LogEntryBundle(self.state, *self.items[number])

    def to_value(self) -> Value:
        """["log-entries", certified header, key, value, proof, [[index, entry, [hash]], ...]]."""
        return ("log-entries", *_state_fields(self.state), self.items)

    def encode(self) -> bytes:
        """Canonical bytes of ``to_value``."""
        return codec.encode(self.to_value())


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """A certified header whose ``next_membership`` is the hash of ``membership``."""

    certified: CertifiedHeader
    membership: Membership

    def to_value(self) -> Value:
        """["membership-change", certified header, membership bytes]."""
        return ("membership-change", self.certified.to_value(), self.membership.encode())

    def encode(self) -> bytes:
        """Canonical bytes of ``to_value``."""
        return codec.encode(self.to_value())


Bundle: TypeAlias = StateBundle | LogBundle | LogEntryBundle | LogEntriesBundle | MembershipChange


def decode_bundle(data: bytes) -> Bundle:
    """Any proof bundle; raises NotCanonical, TooLarge or OutOfRange."""
    return bundle_from_value(codec.decode(data, BUNDLE_BYTES_MAX, "proof bundle"))


def encode_changes(changes: tuple[MembershipChange, ...]) -> bytes:
    """The answer to a question for membership changes: an array of bundles."""
    return codec.encode([change.to_value() for change in changes])


def decode_changes(data: bytes) -> tuple[MembershipChange, ...]:
    """Raises NotCanonical, TooLarge or OutOfRange."""
    return changes_from_value(codec.decode(data, CHANGES_BYTES_MAX, "membership changes"))


def changes_from_value(value: Value) -> tuple[MembershipChange, ...]:
    """The same, from a decoded array; raises NotCanonical, TooLarge or OutOfRange."""
    items = codec.array_up_to(value, MEMBERSHIP_CHANGES_MAX, "membership changes")
    return tuple(_membership_change(item) for item in items)


def bundle_from_value(value: Value) -> Bundle:
    """A proof bundle inside another; raises NotCanonical, TooLarge or OutOfRange."""
    kind = value[0] if isinstance(value, tuple) and value else None
    if kind == "state":
        return _state(codec.array(value, 5, "state bundle"))
    if kind == "log":
        fields = codec.array(value, 6, "log bundle")
        entries = codec.array_up_to(fields[5], LOG_ENTRIES_MAX, "log entries")
        return LogBundle(_state(fields), tuple(_entry(entry) for entry in entries))
    if kind == "log-entry":
        return _log_entry(codec.array(value, 8, "log-entry bundle"))
    if kind == "log-entries":
        return _log_entries(codec.array(value, 6, "log-entries bundle"))
    if kind == "membership-change":
        return _membership_change(value)
    raise NotCanonical("proof bundle", "unknown kind")


def _state_fields(state: StateBundle) -> tuple[Value, ...]:
    return (state.certified.to_value(), state.key, state.value, state.proof.to_value())


def _state(fields: tuple[Value, ...]) -> StateBundle:
    value = fields[3]
    return StateBundle(
        CertifiedHeader.from_value(fields[1]),
        codec.binary(fields[2], "state key", STATE_KEY_BYTES_MAX),
        None if value is None else codec.binary(value, "state value", STATE_VALUE_BYTES_MAX),
        StateProof.from_value(fields[4]),
    )


def _log_entry(fields: tuple[Value, ...]) -> LogEntryBundle:
    state = _state(fields)
    if state.value is None:
        raise NotCanonical("log-entry bundle", "an entry of a log that is absent")
    return LogEntryBundle(state, *_item(fields[5:]))


def _log_entries(fields: tuple[Value, ...]) -> LogEntriesBundle:
    items = codec.array_up_to(fields[5], PAGE_ENTRIES_MAX, "log entries")
    return LogEntriesBundle(
        _state(fields), tuple(_item(codec.array(item, 3, "log entry")) for item in items)
    )


def _item(fields: tuple[Value, ...]) -> tuple[int, bytes, tuple[Hash32, ...]]:
    """Index, entry and inclusion path."""
    path = codec.array_up_to(fields[2], INCLUSION_PATH_MAX, "inclusion path")
    return (
        codec.uint(fields[0], "entry index"),
        _entry(fields[1]),
        tuple(Hash32(codec.binary(item, "inclusion path", 32)) for item in path),
    )


def _membership_change(value: Value) -> MembershipChange:
    fields = codec.array(value, 3, "membership change")
    if fields[0] != "membership-change":
        raise NotCanonical("membership change", "another kind of bundle")
    return MembershipChange(
        CertifiedHeader.from_value(fields[1]),
        Membership.decode(codec.binary(fields[2], "membership", MEMBERSHIP_BYTES_MAX)),
    )


def _entry(value: Value) -> bytes:
    return codec.binary(value, "log entry", LOG_ENTRY_BYTES_MAX)
