"""The snapshots that a node keeps for others, and what it answers about them.

A snapshot is a view of the whole store at one height: nothing is copied, and the chain goes on.
After a restart there is one of the newest height, so that a node has nearly always one to offer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ledger import codec
from ledger.contract_api import Column
from ledger.errors import PeerFault, StateDamaged
from ledger.light.bundles import MEMBERSHIP_CHANGES_PAGE, MembershipChange
from ledger.limits import LOG_PIECE_ENTRIES, SNAPSHOTS_KEPT
from ledger.merkle import state_tree
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.primitives import Hash32
from ledger.snapshot.check import history, part_entries, short_log
from ledger.snapshot.messages import (
    ANSWER_BYTES,
    CHUNK_BYTES,
    NODES_MAX,
    BlockChunk,
    BlockItem,
    Chunk,
    ChunksAnswer,
    ChunksRequest,
    EntriesChunk,
    HeadersChunk,
    HeadersItem,
    Item,
    Leaf,
    LeavesChunk,
    LogItem,
    NodesChunk,
    PageChunk,
    ReceiptsItem,
    SnapshotOffer,
    SnapshotQuery,
    SubtreeItem,
    changes_that_fit,
)
from ledger.state import entry_key
from ledger.types.block import Block, Header
from ledger.types.certificate import CertifiedHeader
from ledger.types.membership import Membership
from nodes.ports import Storage, StorageView
from nodes.storage.layout import (
    BLOCK,
    CERTIFIED,
    COLUMN,
    HEADER,
    RECEIPTS,
    decode_receipts,
    height_bytes,
    leaf_in,
    place_of,
)

Changes: TypeAlias = Callable[[int, int], Sequence[tuple[CertifiedHeader, Membership]]]
"""The first so many membership changes after a height, lowest first."""


@dataclass(eq=False)
class NoSuchPart(PeerFault):
    """A peer asked for something that a snapshot does not have."""

    what: str
    template = "snapshot: it has no such {what}"


class Snapshots:
    """The newest snapshots of one store."""

    def __init__(self, storage: Storage, interval: int, changes: Changes) -> None:
        self._storage = storage
        self._interval = interval
        self._changes = changes
        self._kept: list[Snapshot] = []

    def opened(self, newest: CertifiedHeader | None) -> None:
        """The store was opened at this height; None before the first block."""
        if newest is not None:
            self._keep(newest)

    def committed(self, newest: CertifiedHeader) -> None:
        """A block is durable."""
        if newest.header.height % self._interval == 0:
            self._keep(newest)

    def _keep(self, certified: CertifiedHeader) -> None:
        self._kept = [*self._kept, Snapshot(self._storage.view(), certified)][-SNAPSHOTS_KEPT:]

    def offered(self, untrusted_query: bytes) -> bytes:
        """``offer`` for what a peer sent; raises PeerFault."""
        return self.offer(SnapshotQuery.decode(untrusted_query)).encode()

    def answered(self, untrusted_request: bytes) -> bytes:
        """``answer`` for what a peer sent; raises PeerFault."""
        return self.answer(ChunksRequest.decode(untrusted_request)).encode()

    def offer(self, query: SnapshotQuery) -> SnapshotOffer:
        """What there is, for who knows the membership changes up to a height."""
        found = self._changes(query.known, MEMBERSHIP_CHANGES_PAGE + 1)
        changes = [MembershipChange(certified, to) for certified, to in found]
        sent = changes_that_fit(changes)
        headers = [kept.certified for kept in self._kept] if len(sent) == len(changes) else []
        return SnapshotOffer(sent, tuple(headers))

    def answer(self, request: ChunksRequest) -> ChunksAnswer:
        """Chunks for the first items, as many as fit; raises PeerFault for a false request."""
        snapshot = next((s for s in self._kept if s.hash == request.snapshot), None)
        chunks: list[Chunk] = []
        size = 0
        for item in request.items if snapshot is not None else ():
            if size > ANSWER_BYTES or snapshot is None:
                break
            chunks.append(chunk := snapshot.chunk(item))
            size += _cost(chunk)
        return ChunksAnswer(request.id, tuple(chunks))


def _cost(chunk: Chunk) -> int:
    """Bytes read or sent for a chunk, whichever are more: neither may hold up the votes."""
    if isinstance(chunk, PageChunk | NodesChunk):
        return CHUNK_BYTES
    return len(codec.encode(chunk.to_value()))


class Snapshot:
    """A store as it was at one height."""

    def __init__(self, view: StorageView, certified: CertifiedHeader) -> None:
        self._view = view
        self.certified = certified

    @property
    def hash(self) -> Hash32:
        """Of its header."""
        return self.certified.header.hash

    def get(self, column: Column, key: bytes) -> bytes | None:
        """As StateReader; used for pages."""
        return self._view.get(place_of(column, key))

    def chunk(self, item: Item) -> Chunk:
        """The content of an item; raises NoSuchPart."""
        match item:
            case SubtreeItem(path):
                return self._subtree(path)
            case LogItem(log, start, stop):
                return self._log(log, start, stop)
            case ReceiptsItem(height, start, stop):
                return self._receipts(height, start, stop)
            case BlockItem():
                return BlockChunk(Block.decode(self._at(BLOCK, self.certified.header.height)))
            case HeadersItem():
                heights = history(self.certified.header.height)[:-1]
                return HeadersChunk(tuple(self._header(height) for height in reversed(heights)))

    def _at(self, kind: bytes, height: int) -> bytes:
        stored = self._view.get(kind + height_bytes(height))
        if stored is None:
            raise NoSuchPart("height")
        return stored

    def _header(self, height: int) -> Header:
        """Also of a height below this store's base: what was fetched can be handed on."""
        stored = self._view.get(CERTIFIED + height_bytes(height))
        if stored is not None:
            return CertifiedHeader.decode(stored).header
        return Header.decode(self._at(HEADER, height))

    def _subtree(self, path: bytes) -> Chunk:
        leaves: list[Leaf] = []
        size = 0
        for key, value in leaves_below(self._view, path):
            log = short_log(value)
            entries = None if log is None else tuple(log_entries(self._view, key, 0, log.count))
            size += len(key) + len(value) + sum(map(len, entries or ()))
            if leaves and size > CHUNK_BYTES:
                return PageChunk(tuple(state_tree.slots_at(self, path)))
            leaves.append(Leaf(key, value, entries))
        if path and not leaves:
            raise NoSuchPart("subtree")
        return LeavesChunk(tuple(leaves))

    def _log(self, log: bytes, start: int, stop: int) -> Chunk:
        if stop - start <= LOG_PIECE_ENTRIES:
            return EntriesChunk(tuple(_asked(log_entries(self._view, log, start, stop), "entry")))
        nodes = []
        for first, after in _parts(start, stop):
            whole = after - after % LOG_PIECE_ENTRIES
            pieces = list(_asked(log_pieces(self._view, log, first, whole), "piece"))
            if whole < after:
                rest = _asked(log_entries(self._view, log, whole, after), "entry")
                pieces.append(root_of([leaf_hash(entry) for entry in rest]))
            nodes.append(root_of(pieces))
        return NodesChunk(tuple(nodes))

    def _receipts(self, height: int, start: int, stop: int) -> Chunk:
        receipts = decode_receipts(self._at(RECEIPTS, height))
        if stop > len(receipts):
            raise NoSuchPart("receipt")
        if stop - start <= LOG_PIECE_ENTRIES:
            return EntriesChunk(receipts[start:stop])
        parts = _parts(start, stop)
        return NodesChunk(
            tuple(root_of(list(map(leaf_hash, receipts[first:after]))) for first, after in parts)
        )


def _parts(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The ranges under the parts of a node; raises NoSuchPart where no tree has such a node."""
    size = part_entries(stop - start)
    if start % size or stop - start > size * NODES_MAX:
        raise NoSuchPart("node")
    return ((first, min(first + size, stop)) for first in range(start, stop, size))


def leaves_below(view: StorageView, path: bytes) -> Iterator[tuple[bytes, bytes]]:
    """State keys and values below a page of the tree, in the order of their positions."""
    column = COLUMN[Column.VALUE]
    nibbles = path.hex()[1::2]
    whole = bytes.fromhex(nibbles[: len(nibbles) // 2 * 2])
    start = whole + bytes((path[-1] << 4,)) if len(path) % 2 else whole
    for place, stored in view.scan(column + whole, column + start):
        if len(path) % 2 and place[1 + len(whole)] >> 4 != path[-1]:
            break
        yield leaf_in(stored)


def log_entries(view: StorageView, log: bytes, start: int, stop: int) -> Iterator[bytes]:
    """Entries of a log; raises StateDamaged where one is missing."""
    return _numbered(view, Column.LOG, log, start, stop)


def log_pieces(view: StorageView, log: bytes, start: int, stop: int) -> Iterator[bytes]:
    """Roots of the whole pieces between two entries; raises StateDamaged."""
    first, after = start // LOG_PIECE_ENTRIES, stop // LOG_PIECE_ENTRIES
    return _numbered(view, Column.LOG_PIECE, log, first, after)


def _numbered(
    view: StorageView, column: Column, log: bytes, start: int, stop: int
) -> Iterator[bytes]:
    wanted = start
    place = COLUMN[column] + log
    for key, value in view.scan(place, COLUMN[column] + entry_key(log, start)):
        # Another log's key may begin with this one's; its entries are longer keys.
        if wanted == stop or key != COLUMN[column] + entry_key(log, wanted):
            break
        yield value
        wanted += 1
    if wanted != stop:
        raise StateDamaged("log", f"{column.name} {wanted} is missing")


def _asked(rows: Iterator[bytes], what: str) -> Iterator[bytes]:
    """``rows`` that a peer asked for: what is missing is the peer's mistake."""
    try:
        yield from rows
    except StateDamaged:
        raise NoSuchPart(what) from None
