"""What a node that fetches a snapshot asks of its peers, and what they answer. Nothing is verified.

A part of a snapshot is named by an *item*, and what is sent for it is a *chunk*. Each chunk can
be checked alone, by ``check``, so that whoever sent a false one is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ledger import codec
from ledger.codec import Value
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.errors import NotCanonical
from ledger.light.bundles import (
    LOG_ENTRY_BYTES_MAX,
    MEMBERSHIP_CHANGES_PAGE,
    STATE_KEY_BYTES_MAX,
    STATE_VALUE_BYTES_MAX,
    MembershipChange,
    changes_from_value,
)
from ledger.limits import (
    BLOCK_BYTES_MAX,
    CODEC_ITEMS_MAX,
    FRAME_BYTES_MAX,
    LOG_PIECE_ENTRIES,
    SNAPSHOTS_KEPT,
    VALID_UNTIL_HEIGHTS_MAX,
)
from ledger.primitives import Hash32, Height
from ledger.types.block import HEADER_BYTES_MAX, RECEIPT_BYTES_MAX, Block, Header
from ledger.types.certificate import CertifiedHeader

ITEMS_PER_REQUEST = 16
REQUEST_BYTES_MAX = 64 + ITEMS_PER_REQUEST * (STATE_KEY_BYTES_MAX + 32)
PATH_NIBBLES_MAX = 64
"""A position has 256 bits, and a node of the tree's pages stands for four."""
NODES_MAX = 4_096
"""Hashes of one answer about a long log."""
SLOTS = 16
ENTRY_BYTES_MAX = max(LOG_ENTRY_BYTES_MAX, RECEIPT_BYTES_MAX)
"""One entry of a log, or one receipt."""
CHUNK_BYTES = 128 * 1024
"""A subtree of more is answered with its page; a single leaf with its short log may be larger."""
ANSWER_BYTES = 128 * 1024
"""No chunk is added to an answer of more."""
_CHUNK_BYTES_MAX = (
    LOG_PIECE_ENTRIES * (ENTRY_BYTES_MAX + 3) + STATE_KEY_BYTES_MAX + STATE_VALUE_BYTES_MAX + 64
)

if max(_CHUNK_BYTES_MAX, BLOCK_BYTES_MAX) + ANSWER_BYTES + 1_024 > FRAME_BYTES_MAX:
    raise RuntimeError("snapshot: the largest answer fits a frame")


@dataclass(frozen=True, slots=True)
class SnapshotQuery:
    """Asks which snapshots there are."""

    known: Height
    """Membership changes up to this height are known."""

    def encode(self) -> bytes:
        """[known height]."""
        return codec.encode([self.known])

    @staticmethod
    def decode(data: bytes) -> "SnapshotQuery":
        """Raises PeerFault."""
        (known,) = codec.array(codec.decode(data, 64, "snapshot query"), 1, "snapshot query")
        return SnapshotQuery(Height(codec.uint(known, "known height")))


@dataclass(frozen=True, slots=True)
class SnapshotOffer:
    """The answer: snapshots that are kept, and the membership changes that lead to them."""

    changes: tuple[MembershipChange, ...]
    """After the known height, lowest first; as many as fit."""
    headers: tuple[CertifiedHeader, ...]
    """One for each snapshot; none while changes are missing that did not fit."""

    def encode(self) -> bytes:
        """[[membership-change, ...], [certified header, ...]]."""
        changes = [change.to_value() for change in self.changes]
        return codec.encode([changes, [header.to_value() for header in self.headers]])

    @staticmethod
    def decode(data: bytes) -> "SnapshotOffer":
        """Raises PeerFault."""
        what = "snapshot offer"
        changes, headers = codec.array(codec.decode(data, FRAME_BYTES_MAX, what), 2, what)
        return SnapshotOffer(
            changes_from_value(changes),
            tuple(
                CertifiedHeader.from_value(header)
                for header in codec.array_up_to(headers, SNAPSHOTS_KEPT, what)
            ),
        )


def changes_that_fit(changes: Sequence[MembershipChange]) -> tuple[MembershipChange, ...]:
    """The first of ``changes`` that one offer has room for."""
    size, kept = 0, list[MembershipChange]()
    for change in changes[:MEMBERSHIP_CHANGES_PAGE]:
        size += len(change.encode())
        if kept and size > FRAME_BYTES_MAX // 2:
            break
        kept.append(change)
    return tuple(kept)


# -- items ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeadersItem:
    """The headers below the snapshot's, down to the oldest height whose ids are remembered."""

    def to_value(self) -> Value:
        """[0]."""
        return (0,)


@dataclass(frozen=True, slots=True)
class BlockItem:
    """The block of the snapshot's height."""

    def to_value(self) -> Value:
        """[1]."""
        return (1,)


@dataclass(frozen=True, slots=True)
class SubtreeItem:
    """All leaves below one page of the state tree."""

    path: bytes
    """One byte, 0 to 15, for each four bits of the positions below it."""

    def to_value(self) -> Value:
        """[2, path]."""
        return (2, self.path)


@dataclass(frozen=True, slots=True)
class LogItem:
    """Some entries of a long log: those under one node of its tree."""

    log: bytes
    start: int
    stop: int

    def to_value(self) -> Value:
        """[3, log's state key, first index, index after the last]."""
        return (3, self.log, self.start, self.stop)


@dataclass(frozen=True, slots=True)
class ReceiptsItem:
    """Some receipts of one block: those under one node of their tree."""

    height: Height
    start: int
    stop: int

    def to_value(self) -> Value:
        """[4, height, first index, index after the last]."""
        return (4, self.height, self.start, self.stop)


Item: TypeAlias = HeadersItem | BlockItem | SubtreeItem | LogItem | ReceiptsItem


def _item(value: Value) -> Item:
    kind = value[0] if isinstance(value, tuple) and value else None
    if kind == 0:
        codec.array(value, 1, "snapshot item")
        return HeadersItem()
    if kind == 1:
        codec.array(value, 1, "snapshot item")
        return BlockItem()
    if kind == 2:
        path = codec.binary(
            codec.array(value, 2, "subtree item")[1], "subtree path", PATH_NIBBLES_MAX
        )
        if any(nibble >= SLOTS for nibble in path):
            raise NotCanonical("subtree path", "a byte above 15")
        return SubtreeItem(path)
    if kind == 3:
        _, log, start, stop = codec.array(value, 4, "log item")
        return LogItem(
            codec.binary(log, "log key", STATE_KEY_BYTES_MAX), *_range(start, stop, "log item")
        )
    if kind == 4:
        _, height, start, stop = codec.array(value, 4, "receipts item")
        return ReceiptsItem(
            Height(codec.uint(height, "receipts height")), *_range(start, stop, "receipts item")
        )
    raise NotCanonical("snapshot item", "unknown kind")


def _range(start: Value, stop: Value, what: str) -> tuple[int, int]:
    first, after = codec.uint(start, what), codec.uint(stop, what)
    if first >= after:
        raise NotCanonical(what, "an empty range")
    return first, after


@dataclass(frozen=True, slots=True)
class ChunksRequest:
    """Asks for some chunks of one snapshot."""

    snapshot: Hash32
    """Hash of the snapshot's header."""
    items: tuple[Item, ...]

    def encode(self) -> bytes:
        """[header hash, [item, ...]]."""
        return codec.encode([self.snapshot, [item.to_value() for item in self.items]])

    @property
    def id(self) -> Hash32:
        """H("chunks-request", bytes): the answer repeats it, and answers nothing else."""
        return hash_tagged(Tag.CHUNKS_REQUEST, self.encode())

    @staticmethod
    def decode(data: bytes) -> "ChunksRequest":
        """Raises PeerFault."""
        what = "chunks request"
        snapshot, items = codec.array(codec.decode(data, REQUEST_BYTES_MAX, what), 2, what)
        return ChunksRequest(
            Hash32(codec.binary(snapshot, what, 32)),
            tuple(_item(item) for item in codec.array_up_to(items, ITEMS_PER_REQUEST, what)),
        )


# -- chunks ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeadersChunk:
    """Of a HeadersItem, highest first."""

    headers: tuple[Header, ...]

    def to_value(self) -> Value:
        """[0, [header bytes, ...]]."""
        return (0, [header.encode() for header in self.headers])


@dataclass(frozen=True, slots=True)
class BlockChunk:
    """Of a BlockItem."""

    block: Block

    def to_value(self) -> Value:
        """[1, block bytes]."""
        return (1, self.block.encoded)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A state key, its value, and the entries where it is a log of one piece."""

    key: bytes
    value: bytes
    entries: tuple[bytes, ...] | None


@dataclass(frozen=True, slots=True)
class LeavesChunk:
    """Of a SubtreeItem, in the order of their positions."""

    leaves: tuple[Leaf, ...]

    def to_value(self) -> Value:
        """[2, [[state key, value, [entry, ...] or nil], ...]]."""
        return (2, [(leaf.key, leaf.value, leaf.entries) for leaf in self.leaves])


@dataclass(frozen=True, slots=True)
class PageChunk:
    """Of a SubtreeItem of too many leaves: what its 16 parts are, as the state tree has them."""

    slots: tuple[bytes, ...]

    def to_value(self) -> Value:
        """[3, [slot, ...]]: 16 slots; nothing, a leaf (64 bytes), or the hash of a subtree."""
        return (3, self.slots)


@dataclass(frozen=True, slots=True)
class EntriesChunk:
    """Of a LogItem or ReceiptsItem of at most one piece."""

    entries: tuple[bytes, ...]

    def to_value(self) -> Value:
        """[4, [entry or receipt bytes, ...]]."""
        return (4, self.entries)


@dataclass(frozen=True, slots=True)
class NodesChunk:
    """Of a longer LogItem or ReceiptsItem: the roots of its parts."""

    nodes: tuple[Hash32, ...]

    def to_value(self) -> Value:
        """[5, [hash, ...]]."""
        return (5, self.nodes)


Chunk: TypeAlias = HeadersChunk | BlockChunk | LeavesChunk | PageChunk | EntriesChunk | NodesChunk


def _chunk(value: Value) -> Chunk:
    kind, content = codec.array(value, 2, "snapshot chunk")
    if kind == 0:
        rows = codec.array_up_to(content, VALID_UNTIL_HEIGHTS_MAX, "headers chunk")
        return HeadersChunk(
            tuple(Header.decode(codec.binary(row, "header", HEADER_BYTES_MAX)) for row in rows)
        )
    if kind == 1:
        return BlockChunk(Block.decode(codec.binary(content, "block", BLOCK_BYTES_MAX)))
    if kind == 2:
        rows = codec.array_up_to(content, CODEC_ITEMS_MAX, "leaves chunk")
        return LeavesChunk(tuple(_leaf(row) for row in rows))
    if kind == 3:
        slots = codec.array(content, SLOTS, "page chunk")
        return PageChunk(tuple(codec.binary(slot, "slot", 64) for slot in slots))
    if kind == 4:
        return EntriesChunk(_entries(content, "entries chunk"))
    if kind == 5:
        nodes = codec.array_up_to(content, NODES_MAX, "nodes chunk")
        return NodesChunk(tuple(Hash32(codec.binary(node, "node", 32)) for node in nodes))
    raise NotCanonical("snapshot chunk", "unknown kind")


def _leaf(value: Value) -> Leaf:
    key, content, entries = codec.array(value, 3, "leaf")
    return Leaf(
        codec.binary(key, "state key", STATE_KEY_BYTES_MAX),
        codec.binary(content, "state value", STATE_VALUE_BYTES_MAX),
        None if entries is None else _entries(entries, "entries of a leaf"),
    )


def _entries(value: Value, what: str) -> tuple[bytes, ...]:
    rows = codec.array_up_to(value, LOG_PIECE_ENTRIES, what)
    return tuple(codec.binary(row, what, ENTRY_BYTES_MAX) for row in rows)


@dataclass(frozen=True, slots=True)
class ChunksAnswer:
    """Chunks for the first items of a request, in their order; none if the snapshot is gone."""

    request: Hash32
    """Which request this answers."""
    chunks: tuple[Chunk, ...]

    def encode(self) -> bytes:
        """[request's id, [chunk, ...]]."""
        return codec.encode([self.request, [chunk.to_value() for chunk in self.chunks]])

    @staticmethod
    def decode(data: bytes) -> "ChunksAnswer":
        """Raises PeerFault."""
        what = "chunks answer"
        request, chunks = codec.array(codec.decode(data, FRAME_BYTES_MAX, what), 2, what)
        return ChunksAnswer(
            Hash32(codec.binary(request, what, 32)),
            tuple(_chunk(chunk) for chunk in codec.array_up_to(chunks, ITEMS_PER_REQUEST, what)),
        )
