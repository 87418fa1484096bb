"""The append-only tree of RFC 6962 (and RFC 9162): roots, growth, and the making of proofs (B6).

A leaf is SHA-256(0x00 + entry), a node SHA-256(0x01 + left + right), the split lies at the largest
power of two below the number of leaves, and the root of an empty tree is SHA-256 of nothing.
All functions take leaf hashes, 32 bytes each, in the order of the log. A peer's path is checked
by ``ledger.merkle.proof``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

from ledger.errors import CallerBug, NotCanonical
from ledger.limits import LOG_PIECE_ENTRIES
from ledger.primitives import Hash32

EMPTY_ROOT = Hash32(sha256(b"").digest())
"""Root of a log without entries."""

_COUNT_BYTES = 8
_PIECE_LEVEL = LOG_PIECE_ENTRIES.bit_length() - 1


@dataclass(eq=False)
class NoSuchLeaf(CallerBug):
    """A proof was asked for a place that the log does not have."""

    position: int
    count: int
    template = "log tree: position {position} is not within its {count} leaves"


def leaf_hash(entry: bytes) -> Hash32:
    """SHA-256(0x00 + entry)."""
    return Hash32(sha256(b"\x00" + entry).digest())


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 + left + right) of two hashes of 32 bytes."""
    return sha256(b"\x01" + left + right).digest()


def root_of(leaf_hashes: Sequence[bytes]) -> Hash32:
    """Root over all ``leaf_hashes``; n leaves cost n - 1 hashes."""
    if not leaf_hashes:
        return EMPTY_ROOT
    level = leaf_hashes
    while len(level) > 1:
        level = _level_above(level)
    return Hash32(level[0])


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    """Pairs hashed, an odd last one carried up: level by level this is the split of RFC 6962."""
    hashed = sha256
    above = [
        hashed(b"\x01" + left + right).digest()
        for left, right in zip(level[::2], level[1::2], strict=False)
    ]
    if len(level) % 2:
        above.append(level[-1])
    return above


def levels_of(leaf_hashes: Sequence[bytes]) -> tuple[Sequence[bytes], ...]:
    """All levels of the tree, leaves first; many paths of one tree are made from them."""
    levels = [leaf_hashes]
    while len(levels[-1]) > 1:
        levels.append(_level_above(levels[-1]))
    return tuple(levels)


def path_in(levels: Sequence[Sequence[bytes]], index: int) -> tuple[Hash32, ...]:
    """Siblings from leaf ``index`` up to the root, lowest first; raises NoSuchLeaf."""
    if not 0 <= index < len(levels[0]):
        raise NoSuchLeaf(index, len(levels[0]))
    siblings = [(level, (index >> height) ^ 1) for height, level in enumerate(levels[:-1])]
    return tuple(Hash32(level[place]) for level, place in siblings if place < len(level))


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> tuple[Hash32, ...]:
    """``path_in`` of a tree from which one path is wanted; raises NoSuchLeaf."""
    return path_in(levels_of(leaf_hashes), index)


def consistency_path(leaf_hashes: Sequence[bytes], old_count: int) -> tuple[Hash32, ...]:
    """Shows that the first ``old_count`` leaves are a prefix (RFC 9162, 2.1.4.1).

    Empty when the old log was empty or nothing was appended; raises NoSuchLeaf.
    """
    if not 0 <= old_count <= len(leaf_hashes):
        raise NoSuchLeaf(old_count, len(leaf_hashes))
    if old_count in (0, len(leaf_hashes)):
        return ()
    path = []
    rest, old, whole_is_old = leaf_hashes, old_count, True
    while old != len(rest):
        split = 1 << (len(rest) - 1).bit_length() - 1
        if old <= split:
            path.append(root_of(rest[split:]))
            rest = rest[:split]
        else:
            path.append(root_of(rest[:split]))
            rest, old, whole_is_old = rest[split:], old - split, False
    if not whole_is_old:
        path.append(root_of(rest))
    return tuple(reversed(path))


@dataclass(frozen=True, slots=True)
class Frontier:
    """What must be kept of a log to append to it: the roots of its complete subtrees."""

    EMPTY: ClassVar["Frontier"]

    count: int
    """Number of leaves, below 2^64."""
    peaks: tuple[Hash32, ...]
    """One root for each bit that is set in ``count``, largest subtree first."""

    def append(self, leaf_hashes: Iterable[bytes]) -> "Frontier":
        """The frontier after these leaves; one node hash per leaf on average."""
        return self.grow(leaf_hashes)[0]

    def grow(self, leaf_hashes: Iterable[bytes]) -> tuple["Frontier", list[bytes]]:
        """``append``, and the root of each piece of LOG_PIECE_ENTRIES that became complete."""
        count, peaks, pieces, hashed = self.count, list[bytes](self.peaks), list[bytes](), sha256
        for node in leaf_hashes:
            size, level = count, 0
            while size & 1:
                node = hashed(b"\x01" + peaks.pop() + node).digest()
                size >>= 1
                level += 1
                if level == _PIECE_LEVEL:
                    pieces.append(node)
            peaks.append(node)
            count += 1
        return Frontier(count, tuple(map(Hash32, peaks))), pieces

    @staticmethod
    def of_pieces(pieces: Iterable[bytes], leaf_hashes: Iterable[bytes]) -> "Frontier":
        """The frontier of a log with these whole pieces and, after them, these leaves."""
        whole, rest = Frontier.EMPTY.append(pieces), Frontier.EMPTY.append(leaf_hashes)
        return Frontier(whole.count * LOG_PIECE_ENTRIES + rest.count, whole.peaks + rest.peaks)

    @property
    def root(self) -> Hash32:
        """Root of the whole log."""
        if not self.peaks:
            return EMPTY_ROOT
        node: bytes = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return Hash32(node)

    def encode(self) -> bytes:
        """Count, 8 bytes big-endian, and the peaks: kept by the store, never sent."""
        return self.count.to_bytes(_COUNT_BYTES, "big") + b"".join(self.peaks)

    @staticmethod
    def decode(data: bytes) -> "Frontier":
        """Raises NotCanonical unless there is exactly one peak per set bit of the count."""
        count = int.from_bytes(data[:_COUNT_BYTES], "big")
        if len(data) != _COUNT_BYTES + 32 * count.bit_count():
            raise NotCanonical("frontier", "its length does not follow from its count")
        peaks = (Hash32(data[at : at + 32]) for at in range(_COUNT_BYTES, len(data), 32))
        return Frontier(count, tuple(peaks))


Frontier.EMPTY = Frontier(0, ())
