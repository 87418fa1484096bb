"""What is believed of a snapshot: only what leads to one certified header.

A *task* is an item with the hash that its content must lead to. The header gives the first tasks;
each chunk that is accepted gives those below it. A chunk that does not lead to the hash of its
task is refused with the first reason found, whoever sent it, and nothing of it is kept.

The state is under the header's state root, logs are under their [count, root] in it. What can be
replayed is not: the headers of the heights whose ids are remembered follow from the certified one
by their parents' hashes, and each has the root of its receipts, which name the ids.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger.catchup import check_body
from ledger.errors import ProofInvalid
from ledger.limits import LOG_PIECE_ENTRIES, VALID_UNTIL_HEIGHTS_MAX
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.merkle.state_tree import hash_of, join, position_of, subtree
from ledger.primitives import Hash32, Height
from ledger.snapshot.messages import (
    NODES_MAX,
    PATH_NIBBLES_MAX,
    BlockChunk,
    BlockItem,
    Chunk,
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
    SubtreeItem,
)
from ledger.types.block import Header
from ledger.types.entries import LogRoot, log_root_of


@dataclass(frozen=True, slots=True)
class Task:
    """A part of the snapshot that is not here yet."""

    item: Item
    expected: Hash32
    """What its content must lead to."""


def history(height: Height) -> range:
    """The heights whose executed ids are remembered after the block of ``height``."""
    return range(max(1, height - VALID_UNTIL_HEIGHTS_MAX), height + 1)


def first_tasks(header: Header) -> tuple[Task, ...]:
    """All that is to be fetched of the snapshot under a certified header."""
    return (
        Task(SubtreeItem(b""), header.state_root),
        Task(BlockItem(), header.hash),
        Task(HeadersItem(), header.hash),
    )


def short_log(value: bytes) -> LogRoot | None:
    """Count and root of a log whose entries go with its leaf: one of at most one piece."""
    log = log_root_of(value)
    return log if log is not None and log.count <= LOG_PIECE_ENTRIES else None


def part_entries(count: int) -> int:
    """Entries in each part of a node over ``count`` entries, more than one piece; a power of two.

    The parts are pieces, or where these are more than NODES_MAX, NODES_MAX pieces each.
    """
    return LOG_PIECE_ENTRIES * (1 if count <= LOG_PIECE_ENTRIES * NODES_MAX else NODES_MAX)


def accept(task: Task, header: Header, untrusted: Chunk) -> tuple[Task, ...]:
    """The tasks below a chunk that is the content of ``task``; else raises PeerFault.

    ``header`` is the snapshot's. Nearly every refusal is a ProofInvalid whose reason says what is
    wrong; a block that is not its header's is NotCanonical.
    """
    match task.item, untrusted:
        case SubtreeItem(path), LeavesChunk(leaves):
            return _accept_leaves(path, task.expected, leaves)
        case SubtreeItem(path), PageChunk(slots):
            return _accept_page(path, task.expected, slots)
        case ((LogItem() | ReceiptsItem() as item), EntriesChunk(entries)):
            _accept_entries(item, task.expected, entries)
            return ()
        case ((LogItem() | ReceiptsItem() as item), NodesChunk(nodes)):
            return _accept_nodes(item, task.expected, nodes)
        case HeadersItem(), HeadersChunk(headers):
            return _accept_headers(header, headers)
        case BlockItem(), BlockChunk(block):
            if block.hash != task.expected:
                raise ProofInvalid("block of a snapshot", "it is another than the certified one")
            check_body(block)
            return ()
        case _:
            raise ProofInvalid("snapshot chunk", "it is of another kind than was asked for")


def _accept_leaves(path: bytes, expected: Hash32, leaves: Sequence[Leaf]) -> tuple[Task, ...]:
    what = "leaves of the state"
    below = path.hex()[1::2]
    hashes: list[tuple[bytes, bytes]] = []
    tasks: list[Task] = []
    for leaf in leaves:
        position = position_of(leaf.key)
        if not position.hex().startswith(below):
            raise ProofInvalid(what, "one belongs to another subtree")
        if hashes and position <= hashes[-1][0]:
            raise ProofInvalid(what, "they are not in the order of their positions")
        hashes.append((position, sha256(leaf.value).digest()))
    slot, _ = subtree(path, hashes)
    if hash_of(slot) != expected:
        raise ProofInvalid(what, "they do not lead to the hash of their subtree")
    for leaf in leaves:
        tasks.extend(_accept_log(leaf))
    return tuple(tasks)


def _accept_log(leaf: Leaf) -> Iterator[Task]:
    """Checks a short log's entries; the task of a long log."""
    log, short = log_root_of(leaf.value), short_log(leaf.value)
    if (short is None) is not (leaf.entries is None):
        raise ProofInvalid("log", "entries where none belong, or none where some do")
    if short is not None and leaf.entries is not None:
        _check_entries("log", short.count, short.root, leaf.entries)
    elif log is not None:
        yield Task(LogItem(leaf.key, 0, log.count), log.root)


def _accept_page(path: bytes, expected: Hash32, slots: Sequence[bytes]) -> tuple[Task, ...]:
    what = "page of the state tree"
    if len(path) == PATH_NIBBLES_MAX:
        raise ProofInvalid(what, "no page is so deep")
    if any(len(slot) not in (0, 32, 64) for slot in slots):
        raise ProofInvalid(what, "a slot of another length than 0, 32 or 64")
    top, _ = join(path, list(slots))
    # One leaf is answered as a leaf: a page of it would only ask for the same leaf again.
    if len(top) != 32 or top != expected:
        raise ProofInvalid(what, "it does not lead to the hash of its subtree")
    return tuple(
        Task(SubtreeItem(path + bytes((nibble,))), hash_of(slot))
        for nibble, slot in enumerate(slots)
        if slot
    )


def _accept_entries(
    item: LogItem | ReceiptsItem, expected: Hash32, entries: Sequence[bytes]
) -> None:
    what = "log" if isinstance(item, LogItem) else "receipts"
    count = item.stop - item.start
    if count > LOG_PIECE_ENTRIES:
        raise ProofInvalid(what, "entries, where the roots of pieces were asked for")
    _check_entries(what, count, expected, entries)


def _check_entries(what: str, count: int, root: Hash32, entries: Sequence[bytes]) -> None:
    if len(entries) != count:
        raise ProofInvalid(what, "another number of entries than was asked for")
    if root_of([leaf_hash(entry) for entry in entries]) != root:
        raise ProofInvalid(what, "the entries do not lead to the root")


def _accept_nodes(
    item: LogItem | ReceiptsItem, expected: Hash32, nodes: Sequence[Hash32]
) -> tuple[Task, ...]:
    what = "log" if isinstance(item, LogItem) else "receipts"
    count = item.stop - item.start
    size = part_entries(count)
    if count <= LOG_PIECE_ENTRIES:
        raise ProofInvalid(what, "roots of pieces, where entries were asked for")
    if len(nodes) != -(-count // size):
        raise ProofInvalid(what, "another number of pieces than there are")
    if root_of(nodes) != expected:
        raise ProofInvalid(what, "the pieces do not lead to the root")
    starts = range(item.start, item.stop, size)
    return tuple(
        Task(_part(item, start, min(start + size, item.stop)), node)
        for start, node in zip(starts, nodes, strict=True)
    )


def _part(item: LogItem | ReceiptsItem, start: int, stop: int) -> Item:
    if isinstance(item, LogItem):
        return LogItem(item.log, start, stop)
    return ReceiptsItem(item.height, start, stop)


def _accept_headers(newest: Header, headers: Sequence[Header]) -> tuple[Task, ...]:
    what = "headers before the snapshot"
    heights = history(newest.height)
    if len(headers) != len(heights) - 1:
        raise ProofInvalid(what, "another number of them than was asked for")
    chain = [newest]
    for header in headers:
        above = chain[-1]
        if header.hash != above.parent or header.height != above.height - 1:
            raise ProofInvalid(what, "one is not the parent of the one above it")
        chain.append(header)
    return tuple(
        Task(ReceiptsItem(header.height, 0, header.transaction_count), header.receipt_root)
        for header in chain
        if header.transaction_count
    )
