"""A snapshot while it is fetched: verified chunks go to where a ledger store has them.

Until all is there the store has no newest height and cannot be taken for a chain. Beside each
chunk lies the hash that it was verified against, so that whoever fetches after a crash, also a
later snapshot, asks only for what is missing or has changed: state keys and entries of logs are
never deleted, so that what an older snapshot had is overwritten or stays true.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

from ledger import codec
from ledger.codec import Value
from ledger.contract_api import Column
from ledger.errors import StateDamaged
from ledger.light.bundles import MembershipChange
from ledger.limits import CODEC_ITEMS_MAX, FRAME_BYTES_MAX, LOG_PIECE_ENTRIES
from ledger.merkle.log_tree import Frontier, leaf_hash
from ledger.merkle.state_tree import Page, hash_of, join, position_of, subtree
from ledger.primitives import Hash32, Height
from ledger.snapshot.check import Task, history, short_log
from ledger.snapshot.messages import (
    SLOTS,
    Chunk,
    EntriesChunk,
    HeadersChunk,
    Leaf,
    LeavesChunk,
    LogItem,
    ReceiptsItem,
)
from ledger.state import Write, entry_key
from ledger.types.block import Block, Receipt
from ledger.types.certificate import CertifiedHeader
from ledger.types.entries import LogRoot, log_root_of
from nodes.ports import Put, Storage
from nodes.storage.layout import (
    BLOCK,
    CERTIFIED,
    CHANGE,
    COLUMN,
    EVIDENCE,
    FETCHED,
    HEADER,
    RECEIPTS,
    Newest,
    height_bytes,
    puts,
)
from nodes.storage.ledger_store import WrongGenesis
from nodes.storage.snapshots import leaves_below, log_entries, log_pieces

_CHAIN = FETCHED + b"chain"
_HEIGHT = FETCHED + b"height"
_DONE = FETCHED + b"done"
_STAGED = FETCHED + b"receipts"
_BATCH_PUTS = 4_096


def is_empty(storage: Storage) -> bool:
    """Whether a store has no block yet; it may have the genesis state or a part of a snapshot."""
    newest = Newest.read(storage)
    return newest is None or newest.height == 0


class FetchedSnapshot:
    """The part of a snapshot that is here."""

    def __init__(self, storage: Storage, chain_id: Hash32) -> None:
        """Raises WrongGenesis where another chain was begun."""
        self._storage = storage
        self._chain_id = chain_id
        stored, newest = storage.get(_CHAIN), Newest.read(storage)
        for found in (stored, None if newest is None else newest.chain_id):
            if found is not None and found != chain_id:
                raise WrongGenesis(found, chain_id)
        self.begun = stored is not None
        """Whether something may be here."""
        self._height = self._newest = int.from_bytes(storage.get(_HEIGHT) or b"", "big")

    def fits(self, height: Height) -> bool:
        """Whether what is here may lie under a snapshot of ``height``: nothing of it is newer."""
        return self._newest <= height

    def begin(self, height: Height) -> None:
        """Marks the store, before the first chunk; the genesis state goes, if it is there."""
        self._height = height
        if not self.begun:
            self._storage.write([*self._deleted(b""), Put(_CHAIN, self._chain_id)])
            self.begun = True

    def _deleted(self, prefix: bytes) -> Iterator[Put]:
        """Double votes that were seen stay, whatever becomes of the chain (I15)."""
        for key, _ in self._storage.scan(prefix):
            if key != _CHAIN and not key.startswith(EVIDENCE):
                yield Put(key, None)

    def known(self, task: Task) -> Sequence[Task] | None:
        """The long logs below a chunk that is here; None where it is not, or another is."""
        stored = self._storage.get(_done(task))
        if stored is None:
            return None
        expected, logs = codec.array(codec.decode(stored, FRAME_BYTES_MAX, "fetched"), 2, "fetched")
        if expected != task.expected:
            return None
        return [_log_task(log) for log in codec.array_up_to(logs, CODEC_ITEMS_MAX, "fetched")]

    def keep(self, task: Task, chunk: Chunk, below: Sequence[Task]) -> None:
        """Stores a chunk that ``check.accept`` took, in one batch; ``below`` is what it gave.

        Pages, nodes and headers lead to other chunks, and the block is small: after a crash they
        are asked for again.
        """
        match task.item, chunk:
            case _, LeavesChunk(leaves):
                batch = [*puts(write for leaf in leaves for write in _leaf_writes(leaf))]
            case LogItem(log, start, _), EntriesChunk(entries):
                batch = [*puts(_entry_writes(log, start, entries, task.expected))]
            case ReceiptsItem(height, start, _), EntriesChunk(entries):
                staged = _STAGED + height_bytes(height) + height_bytes(start)
                batch = [Put(staged, codec.encode(entries))]
            case _, HeadersChunk(headers):
                self._storage.write(
                    [Put(HEADER + height_bytes(h.height), h.encode()) for h in headers]
                )
                return
            case _:
                return
        items = [(each.item, each.expected) for each in below]
        logs = [(i.log, i.stop, root) for i, root in items if isinstance(i, LogItem)]
        batch.append(Put(_done(task), codec.encode([task.expected, logs])))
        if self._height > self._newest:
            self._newest = self._height
            batch.append(Put(_HEIGHT, height_bytes(self._height)))
        self._storage.write(batch)

    def finish(
        self,
        certified: CertifiedHeader,
        block: Block,
        changes: Sequence[MembershipChange],
        settle: Callable[[Height], None],
    ) -> Iterator[None]:
        """Makes the store a ledger store whose newest block is ``block``, in some steps.

        Everything that is derived is made from what is stored, up to the state root: raises
        StateDamaged where that is not the certified one. Only the last step, one batch, gives
        the store its height; a crash before it costs these steps again.
        """
        header = certified.header
        yield from self._clear([COLUMN[Column.EXECUTED], RECEIPTS])
        yield from self._make_executed(header.height)
        top: Page = []
        for first in range(SLOTS):
            slots: Page = []
            for second in range(SLOTS):
                slots.append(self._make_subtree(bytes((first, second))))
                yield
            top.append(self._join(bytes((first,)), slots))
        root = hash_of(self._join(b"", top))
        if root != header.state_root:
            raise StateDamaged("fetched snapshot", "it does not have the certified state root")
        settle(header.height)
        self._storage.write(
            [
                *(put for change in changes for put in _change(change)),
                _certified(certified),
                Put(BLOCK + height_bytes(header.height), block.encoded),
                *(Put(key, None) for key, _ in self._storage.scan(FETCHED)),
                Newest(self._chain_id, header.height, header.height, root).put,
            ]
        )

    def clear(self) -> Iterator[None]:
        """Deletes all, in some steps: what says that chunks are here first, the mark last."""
        yield from self._clear([_DONE, b""])
        self._storage.write([Put(_CHAIN, None)])
        self.begun, self._newest = False, 0

    def _clear(self, prefixes: Sequence[bytes]) -> Iterator[None]:
        for prefix in prefixes:
            batch: list[Put] = []
            for put in self._deleted(prefix):
                batch.append(put)
                if len(batch) == _BATCH_PUTS:
                    self._storage.write(batch)
                    batch = []
                    yield
            self._storage.write(batch)

    def _make_executed(self, height: Height) -> Iterator[None]:
        """Receipts and executed ids of all heights that are remembered."""
        batch: list[Put] = []
        for each in history(height):
            receipts: list[bytes] = []
            for _, stored in self._storage.scan(_STAGED + height_bytes(each)):
                part = codec.decode(stored, FRAME_BYTES_MAX, "fetched receipts")
                rows = codec.array_up_to(part, LOG_PIECE_ENTRIES, "fetched receipts")
                receipts.extend(codec.binary(row, "receipt", FRAME_BYTES_MAX) for row in rows)
            batch.append(Put(RECEIPTS + height_bytes(each), codec.encode(receipts)))
            batch.extend(puts(_executed_writes(each, receipts)))
            if len(batch) >= _BATCH_PUTS:
                self._storage.write(batch)
                batch = []
                yield
        self._storage.write(batch)

    def _make_subtree(self, path: bytes) -> bytes:
        """Pages and frontiers below ``path``; its slot."""
        writes: list[Write] = []
        leaves: list[tuple[bytes, bytes]] = []
        for key, value in leaves_below(self._storage, path):
            leaves.append((position_of(key), sha256(value).digest()))
            if (log := log_root_of(value)) is not None and log.count:
                writes.append((Column.FRONTIER, key, self._frontier(key, log).encode()))
        slot, pages = subtree(path, leaves)
        writes.extend((Column.PAGE, place, page) for place, page in pages.items())
        self._storage.write([*puts(writes)])
        return slot

    def _join(self, path: bytes, slots: Page) -> bytes:
        slot, page = join(path, slots)
        if page is not None:
            self._storage.write([*puts([(Column.PAGE, path, page)])])
        return slot

    def _frontier(self, key: bytes, log: LogRoot) -> Frontier:
        whole = log.count - log.count % LOG_PIECE_ENTRIES
        pieces = log_pieces(self._storage, key, 0, whole)
        rest = log_entries(self._storage, key, whole, log.count)
        frontier = Frontier.of_pieces(pieces, map(leaf_hash, rest))
        if (frontier.count, frontier.root) != (log.count, log.root):
            raise StateDamaged("fetched log", "it does not have its certified root")
        return frontier


def _done(task: Task) -> bytes:
    return _DONE + codec.encode(task.item.to_value())


def _log_task(value: Value) -> Task:
    """From [log's state key, count, root]."""
    key, count, root = codec.array(value, 3, "fetched log")
    log = codec.binary(key, "fetched log", FRAME_BYTES_MAX)
    return Task(
        LogItem(log, 0, codec.uint(count, "fetched log")),
        Hash32(codec.binary(root, "fetched log", 32)),
    )


def _leaf_writes(leaf: Leaf) -> Iterator[Write]:
    yield Column.VALUE, leaf.key, leaf.value
    log = short_log(leaf.value)
    if log is not None and leaf.entries is not None:
        yield from _entry_writes(leaf.key, 0, leaf.entries, log.root)


def _entry_writes(
    log: bytes, start: int, entries: Sequence[bytes], root: Hash32
) -> Iterator[Write]:
    """Entries of one piece of a log, and its root once it is whole."""
    for index, entry in enumerate(entries, start):
        yield Column.LOG, entry_key(log, index), entry
    if len(entries) == LOG_PIECE_ENTRIES:
        yield Column.LOG_PIECE, entry_key(log, start // LOG_PIECE_ENTRIES), root


def _executed_writes(height: int, receipts: Sequence[bytes]) -> Iterator[Write]:
    for index, encoded in enumerate(receipts):
        transaction_id = Receipt.decode(encoded).transaction_id
        yield Column.EXECUTED, transaction_id, codec.encode([height, index])


def _change(change: MembershipChange) -> tuple[Put, Put]:
    at = height_bytes(change.certified.header.height)
    return _certified(change.certified), Put(CHANGE + at, change.membership.encode())


def _certified(certified: CertifiedHeader) -> Put:
    return Put(CERTIFIED + height_bytes(certified.header.height), certified.encode())
