"""The sparse binary Merkle tree over all state keys: changes it in batches, makes proofs.

The position of a key is H("state-key", key), most significant bit first. A leaf is
SHA-256(0x00 + position + SHA-256(value)), a node SHA-256(0x01 + left + right), an empty subtree
32 zero bytes, and a subtree with one leaf is that leaf: so the root depends on the keys and
values alone, never on their history.

The store keeps pages of four levels. The path of a page holds one byte, 0 to 15, for each four
bits that lead to it; the root page has the empty path. A page has 16 slots, one for each subtree
four levels further down. A slot is

- empty: no leaf,
- 64 bytes: the one leaf, as its position and the SHA-256 of its value,
- 32 bytes: the hash of a subtree of at least two leaves, which has a page of its own.

Stored, a page is 16 bytes, the lengths of its slots, and then the slots. The only page with fewer
than two leaves below it is the root page of a state with one key; an empty state has no page.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TypeAlias

from ledger.contract_api import Column, StateReader
from ledger.crypto.hashing import Tag, prefix
from ledger.errors import StateDamaged
from ledger.merkle.proof import StateProof
from ledger.primitives import ZERO_HASH, Hash32

Page: TypeAlias = list[bytes]
"""16 slots."""
Change: TypeAlias = tuple[bytes, bytes]
"""Position, and the slot of the leaf that shall be there: 64 bytes, or empty to delete."""

_SLOTS = 16
_LEVELS = 4
_EMPTY = bytes(ZERO_HASH)
_LEAF_BYTES = 64
_KEY_PREFIX = prefix(Tag.STATE_KEY)


class _Nothing:
    """A state without keys."""

    def get(self, column: Column, key: bytes) -> bytes | None:
        return None


_NOTHING = _Nothing()


def position_of(key: bytes) -> bytes:
    """H("state-key", key)."""
    return sha256(_KEY_PREFIX + len(key).to_bytes(4, "big") + key).digest()


def root(reader: StateReader) -> Hash32:
    """The root of the stored tree."""
    return Hash32(_hash(_fold(_load(reader, b""))))


def update(
    reader: StateReader, changes: Mapping[bytes, bytes | None]
) -> tuple[Hash32, dict[bytes, bytes | None]]:
    """The root after ``changes`` (state key to value, None deletes), and the pages to write.

    One pass in the order of the positions: each page on the way is read, hashed and written
    once, however many of its keys change. The writes map a page's path to its bytes, None
    deletes; they change nothing until the caller stores them. Raises StateDamaged.
    """
    writes: dict[bytes, bytes | None] = {}
    ordered = []
    for key, value in changes.items():
        position = position_of(key)
        leaf = b"" if value is None else position + sha256(value).digest()
        ordered.append((position, leaf))
    ordered.sort()
    top = _change_page(reader, b"", ordered, writes)
    return Hash32(_hash(top)), writes


def subtree(
    path: bytes, leaves: Sequence[tuple[bytes, bytes]]
) -> tuple[bytes, dict[bytes, bytes | None]]:
    """The slot of a subtree that has these leaves and no other, and all its pages.

    ``leaves`` are positions below ``path`` with the SHA-256 of their values, positions rising.
    """
    changes = [(position, position + value_hash) for position, value_hash in leaves]
    pages: dict[bytes, bytes | None] = {}
    if not path:
        return _change_page(_NOTHING, b"", changes, pages), pages
    return _grow(_NOTHING, path, b"", changes, pages), pages


def join(path: bytes, slots: Page) -> tuple[bytes, bytes | None]:
    """The slot of the subtree at ``path`` over 16 slots, and its page if it has one."""
    top = _fold(slots)
    return top, _encode(slots) if len(top) == 32 or (top and not path) else None


def slots_at(reader: StateReader, path: bytes) -> Page:
    """The 16 slots of a stored page; raises StateDamaged where there is none."""
    return _load(reader, path)


def hash_of(slot: bytes) -> Hash32:
    """What a slot is for the node above it; of a root page's slot, the root."""
    return Hash32(_hash(slot))


def prove(reader: StateReader, key: bytes) -> StateProof:
    """Shows the value of ``key``, or that it has none, under ``root(reader)``."""
    position = position_of(key)
    siblings: list[bytes] = []
    path = b""
    node = b""
    while True:
        levels = [_load(reader, path)]
        while len(levels) <= _LEVELS:
            levels.append(_level_above(levels[-1]))
        nibble = _nibble(position, len(path))
        for up in range(_LEVELS, -1, -1):
            node = levels[up][nibble >> up]
            if len(node) != 32:
                return _proof(siblings, node, position)
            if up:
                siblings.append(levels[up - 1][nibble >> up - 1 ^ 1])
        path += bytes((nibble,))


def _proof(siblings: Sequence[bytes], end: bytes, position: bytes) -> StateProof:
    """The proof of a path that has these siblings, root side first, and ends in this slot."""
    bits = "".join("1" if sibling else "0" for sibling in siblings)
    size = (len(bits) + 7) // 8
    return StateProof(
        depth=len(bits),
        bitmap=int(bits.ljust(8 * size, "0") or "0", 2).to_bytes(size, "big"),
        siblings=tuple(Hash32(_hash(sibling)) for sibling in siblings if sibling),
        other=(Hash32(end[:32]), Hash32(end[32:])) if end and end[:32] != position else None,
    )


def _change_page(
    reader: StateReader,
    path: bytes,
    changes: Sequence[Change],
    writes: dict[bytes, bytes | None],
) -> bytes:
    """Applies ``changes``, sorted and all below ``path``; the slot that the page then is."""
    stored = reader.get(Column.PAGE, path)
    page = _decode(stored, path)
    top = _change_slots(reader, path, page, changes, writes)
    if len(top) == 32 or (top and not path):
        if (encoded := _encode(page)) != stored:
            writes[path] = encoded
    elif stored is not None:
        writes[path] = None
    return top


def _change_slots(
    reader: StateReader,
    path: bytes,
    page: Page,
    changes: Sequence[Change],
    writes: dict[bytes, bytes | None],
) -> bytes:
    """Applies ``changes`` to the slots of ``page`` and to the pages below; what it folds to."""
    depth, start, count = len(path), 0, len(changes)
    while start < count:
        position, leaf = changes[start]
        nibble = _nibble(position, depth)
        end = start + 1
        while end < count and _nibble(changes[end][0], depth) == nibble:
            end += 1
        slot = page[nibble]
        if len(slot) == 32:
            below = path + bytes((nibble,))
            page[nibble] = _change_page(reader, below, changes[start:end], writes)
        elif slot or end > start + 1:
            below = path + bytes((nibble,))
            page[nibble] = _grow(reader, below, slot, changes[start:end], writes)
        else:
            page[nibble] = leaf
        start = end
    return _fold(page)


def _grow(
    reader: StateReader,
    path: bytes,
    slot: bytes,
    changes: Sequence[Change],
    writes: dict[bytes, bytes | None],
) -> bytes:
    """A subtree that had no page, only a leaf in ``slot`` or nothing, after ``changes``."""
    leaves = dict(changes)
    if slot:
        leaves.setdefault(slot[:32], slot)
    kept = sorted((position, leaf) for position, leaf in leaves.items() if leaf)
    if len(kept) < 2:
        return kept[0][1] if kept else b""
    page = [b""] * _SLOTS
    top = _change_slots(reader, path, page, kept, writes)
    writes[path] = _encode(page)
    return top


def _nibble(position: bytes, depth: int) -> int:
    byte = position[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


def _hash(slot: bytes) -> bytes:
    """What a slot is for the node above it."""
    if len(slot) == _LEAF_BYTES:
        return sha256(b"\x00" + slot).digest()
    return slot or _EMPTY


def _fold(level: Page) -> bytes:
    """What the subtree over these slots is: nothing, its one leaf, or its hash."""
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def _level_above(level: Page) -> Page:
    """Pairs of subtrees joined; most of the time of an update is spent in these lines."""
    hashed = sha256
    above: Page = []
    add = above.append
    for at in range(0, len(level), 2):
        left, right = level[at], level[at + 1]
        if left and right:
            if len(left) == 64:
                left = hashed(b"\x00" + left).digest()
            if len(right) == 64:
                right = hashed(b"\x00" + right).digest()
            add(hashed(b"\x01" + left + right).digest())
        elif len(left) == 32:
            add(hashed(b"\x01" + left + _EMPTY).digest())
        elif len(right) == 32:
            add(hashed(b"\x01" + _EMPTY + right).digest())
        else:
            add(left or right)
    return above


def _load(reader: StateReader, path: bytes) -> Page:
    return _decode(reader.get(Column.PAGE, path), path)


def _encode(page: Page) -> bytes:
    return bytes(map(len, page)) + b"".join(page)


def _decode(stored: bytes | None, path: bytes) -> Page:
    """The slots of a stored page; raises StateDamaged where it cannot be what was stored."""
    if stored is None:
        if path:
            raise StateDamaged("state tree", f"the page at {path.hex()} is missing")
        return [b""] * _SLOTS
    page, start = [], _SLOTS
    for size in stored[:_SLOTS]:
        page.append(stored[start : start + size])
        start += size
    if start != len(stored) or len(page) != _SLOTS:
        raise StateDamaged("state tree", f"the page at {path.hex()} has a wrong length")
    return page
