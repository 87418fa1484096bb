"""The state while a block is executed: what it writes, undone transaction by transaction.

Nothing is written through. ``finish`` turns all that was kept into the new state root and the
list of writes that the node stores in one batch with the block (L3).

A log key is written by ``append`` only, a value key by ``put`` only. A log's own value, its
[count, root], is made by ``finish``: until then ``get`` gives that of the block before.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from ledger.contract_api import Column, StateReader
from ledger.errors import CallerBug, PeerFault, StateDamaged
from ledger.limits import LOG_PIECE_ENTRIES
from ledger.merkle import state_tree
from ledger.merkle.log_tree import EMPTY_ROOT, Frontier, leaf_hash
from ledger.primitives import Hash32
from ledger.types.entries import LogRoot, log_root_of

Write: TypeAlias = tuple[Column, bytes, bytes | None]
"""Column, key and value; None deletes."""

_INDEX_BYTES = 8


@dataclass(eq=False)
class TransactionOrder(CallerBug):
    """``begin``, ``commit``, ``roll_back`` and ``finish`` were called in a wrong order."""

    call: str
    expected: str
    template = "State.{call}: called while {expected}"


@dataclass(eq=False)
class WrongKeyKind(CallerBug):
    """One state key is used both as a log and as a value."""

    call: str
    kind: str
    """First part of the key, up to its first slash; the rest may be about a patient."""
    template = "State.{call}: a key under {kind} is used both as a log and as a value"


@dataclass(frozen=True, slots=True)
class StateChanges:
    """What a block does to the state."""

    root: Hash32
    """Root of the state tree after it."""
    writes: tuple[Write, ...]
    """Each key once; entries and pieces of logs, frontiers, values and pages, each in the order of
    its keys."""


@dataclass(slots=True)
class _Log:
    """A log that this block has read or appended to."""

    old: LogRoot
    added: list[bytes] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.old.count + len(self.added)


class State:
    """The state after a block, with the writes of the next one on top; a ``StateView``.

    Outside ``begin`` and ``commit`` a write is kept at once: so is the genesis state made.
    """

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader
        self._values: dict[bytes, bytes] = {}
        self._logs: dict[bytes, _Log] = {}
        self._open = False
        self._old_values: list[tuple[bytes, bytes | None]] = []
        self._appended: list[_Log] = []

    def get(self, key: bytes) -> bytes | None:
        """Value of a state key."""
        if (value := self._values.get(key)) is not None:
            return value
        return self._reader.get(Column.VALUE, key)

    def put(self, key: bytes, value: bytes) -> None:
        """Sets a state key; no value has the form of a log's, so that logs are known by theirs."""
        if log_root_of(value) is not None:
            raise WrongKeyKind("put", _kind(key))
        log = self._logs.get(key)
        if log is not None and log.count:
            raise WrongKeyKind("put", _kind(key))
        if self._open:
            self._old_values.append((key, self._values.get(key)))
        self._values[key] = value

    def append(self, log: bytes, entry: bytes) -> int:
        """Appends to the log whose state key is ``log``; returns the entry's index."""
        if log in self._values:
            raise WrongKeyKind("append", _kind(log))
        found = self._log(log, "append")
        found.added.append(entry)
        if self._open:
            self._appended.append(found)
        return found.count - 1

    def log_count(self, log: bytes) -> int:
        """How many entries the log has."""
        return self._log(log, "log_count").count

    def log_entry(self, log: bytes, index: int) -> bytes | None:
        """One entry's bytes, or None where the log has no such index."""
        found = self._log(log, "log_entry")
        if not 0 <= index < found.count:
            return None
        if index >= found.old.count:
            return found.added[index - found.old.count]
        entry = self._reader.get(Column.LOG, entry_key(log, index))
        if entry is None:
            raise StateDamaged("log", f"entry {index} of {found.old.count} is missing")
        return entry

    def begin(self) -> None:
        """Opens a transaction: ``roll_back`` returns to here."""
        self._expect("begin", False)
        self._open = True

    def commit(self) -> None:
        """Keeps what the open transaction wrote."""
        self._expect("commit", True)
        self._close()

    def roll_back(self) -> None:
        """Undoes all that the open transaction wrote."""
        self._expect("roll_back", True)
        for key, old in reversed(self._old_values):
            if old is None:
                del self._values[key]
            else:
                self._values[key] = old
        for log in self._appended:
            log.added.pop()
        self._close()

    def finish(self) -> StateChanges:
        """The new root, and all writes; raises StateDamaged. Changes nothing, may be repeated."""
        self._expect("finish", False)
        entries: list[Write] = []
        frontiers: list[Write] = []
        pieces: list[Write] = []
        values = dict(self._values)
        for key, log in sorted(self._logs.items()):
            if not log.added:
                continue
            for index, entry in enumerate(log.added, log.old.count):
                entries.append((Column.LOG, entry_key(key, index), entry))
            frontier, made = self._frontier(key, log.old).grow(map(leaf_hash, log.added))
            for number, piece in enumerate(made, log.old.count // LOG_PIECE_ENTRIES):
                pieces.append((Column.LOG_PIECE, entry_key(key, number), piece))
            frontiers.append((Column.FRONTIER, key, frontier.encode()))
            values[key] = LogRoot(frontier.count, frontier.root).encode()
        root, pages = state_tree.update(self._reader, values)
        writes = (
            *entries,
            *pieces,
            *frontiers,
            *((Column.VALUE, key, value) for key, value in sorted(values.items())),
            *((Column.PAGE, path, page) for path, page in sorted(pages.items())),
        )
        return StateChanges(root, writes)

    def _log(self, key: bytes, call: str) -> _Log:
        log = self._logs.get(key)
        if log is None:
            log = self._logs[key] = _Log(self._log_root(key, call))
        return log

    def _log_root(self, key: bytes, call: str) -> LogRoot:
        value = self._reader.get(Column.VALUE, key)
        if value is None:
            return LogRoot(0, EMPTY_ROOT)
        try:
            return LogRoot.decode(value)
        except PeerFault as error:
            # The store checks its bytes, so a contract uses a value's key as that of a log.
            raise WrongKeyKind(call, _kind(key)) from error

    def _frontier(self, key: bytes, log: LogRoot) -> Frontier:
        """The stored frontier of a log, checked against the root that the state certifies."""
        stored = self._reader.get(Column.FRONTIER, key)
        if stored is None:
            frontier = Frontier.EMPTY
        else:
            try:
                frontier = Frontier.decode(stored)
            except PeerFault as error:
                raise StateDamaged("frontier of a log", str(error)) from error
        if (frontier.count, frontier.root) != (log.count, log.root):
            raise StateDamaged("frontier of a log", "it does not lead to the log's count and root")
        return frontier

    def _expect(self, call: str, is_open: bool) -> None:
        if self._open is not is_open:
            state = "a transaction is open" if self._open else "no transaction is open"
            raise TransactionOrder(call, state)

    def _close(self) -> None:
        self._open = False
        self._old_values.clear()
        self._appended.clear()


def entry_key(log: bytes, index: int) -> bytes:
    """Key in Column.LOG, and for pieces in LOG_PIECE: state key and index, 8 bytes big-endian."""
    return log + index.to_bytes(_INDEX_BYTES, "big")


def _kind(key: bytes) -> str:
    return key.partition(b"/")[0].decode("ascii", "replace")[:32]
