"""Checks proofs of the log tree and of the state tree; needs nothing but hashing (B6, LIGHT-1).

Each function returns None when the proof leads to the root, and else raises ProofInvalid, whose
reason names the first check that failed. Shape is checked before anything is hashed. There is
exactly one valid proof for each statement, so a proof has no bits that nobody checks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger import codec
from ledger.codec import Value
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.errors import NotCanonical, ProofInvalid
from ledger.merkle.log_tree import EMPTY_ROOT, leaf_hash, node_hash
from ledger.primitives import U64_MAX, ZERO_HASH, Hash32

STATE_DEPTH_MAX = 256
"""Bits of a position."""
STATE_PROOF_BYTES_MAX = 9_216
"""256 siblings, bitmap and other leaf, with their codec headers."""

_INCLUSION = "inclusion proof"
_CONSISTENCY = "consistency proof"
_STATE = "state proof"


def verify_inclusion(
    entry: bytes, index: int, count: int, path: Sequence[bytes], root: bytes
) -> None:
    """``entry`` is number ``index`` (from 0) of the ``count`` entries under ``root``.

    Checks, in this order: index within count; length of the path, which follows from both;
    32 bytes for each hash; root (RFC 9162, 2.1.3.2).
    """
    if not 0 <= index < count <= U64_MAX:
        raise ProofInvalid(_INCLUSION, "the index is not within the count")
    last = count - 1
    # Below the bit where index and last part, every level has a sibling; above it only where
    # the index goes right.
    shared = (index ^ last).bit_length()
    if len(path) != shared + (index >> shared).bit_count():
        raise ProofInvalid(_INCLUSION, "the path has another length than index and count demand")
    _check_hashes(_INCLUSION, path)
    node: bytes = leaf_hash(entry)
    for sibling in path:
        while not index & 1 and index == last:
            index, last = index >> 1, last >> 1
        node = node_hash(sibling, node) if index & 1 else node_hash(node, sibling)
        index, last = index >> 1, last >> 1
    if node != root:
        raise ProofInvalid(_INCLUSION, "the path does not lead to the root")


def verify_consistency(
    old_count: int, old_root: bytes, count: int, root: bytes, path: Sequence[bytes]
) -> None:
    """The log of ``count`` entries under ``root`` begins with the one under ``old_root``.

    Checks, in this order: old count at most count; the empty path where the old log is empty
    or the same; 32 bytes for each hash; length of the path; old root; root (RFC 9162, 2.1.4.2).
    """
    if not 0 <= old_count <= count <= U64_MAX:
        raise ProofInvalid(_CONSISTENCY, "the log became shorter")
    if old_count in (0, count):
        if path:
            raise ProofInvalid(_CONSISTENCY, "nothing is to be shown, yet the path is not empty")
        if old_count == 0 and old_root != EMPTY_ROOT:
            raise ProofInvalid(_CONSISTENCY, "the old root is not that of an empty log")
        if old_count == count and old_root != root:
            raise ProofInvalid(_CONSISTENCY, "two roots for the same count")
        return
    _check_hashes(_CONSISTENCY, path)
    index, last = old_count - 1, count - 1
    zeros = (old_count & -old_count).bit_length() - 1  # levels of the last complete subtree
    index, last = index >> zeros, last >> zeros
    # The old root itself is the first node where the old log is one complete subtree.
    nodes = list(path) if index else [old_root, *path]
    shared = (index ^ last).bit_length()
    if len(nodes) != 1 + shared + (index >> shared).bit_count():
        raise ProofInvalid(_CONSISTENCY, "the path has another length than the counts demand")
    old_node = node = nodes[0]
    for sibling in nodes[1:]:
        while not index & 1 and index == last:
            index, last = index >> 1, last >> 1
        if index & 1:
            old_node, node = node_hash(sibling, old_node), node_hash(sibling, node)
        else:
            node = node_hash(node, sibling)
        index, last = index >> 1, last >> 1
    if old_node != old_root:
        raise ProofInvalid(_CONSISTENCY, "the path does not lead to the old root")
    if node != root:
        raise ProofInvalid(_CONSISTENCY, "the path does not lead to the root")


def _check_hashes(what: str, path: Sequence[bytes]) -> None:
    # Parts of other lengths could be shifted between left and right without a change of hash.
    if any(len(node) != 32 for node in path):
        raise ProofInvalid(what, "a hash of the path is not 32 bytes long")


@dataclass(frozen=True, slots=True)
class StateProof:
    """Where one position of the state tree ends, and all that hangs beside the way there."""

    depth: int
    """Nodes from the root to where the path ends, 0 to 256."""
    bitmap: bytes
    """Bit i, most significant first: the sibling at depth i + 1 is not empty."""
    siblings: tuple[Hash32, ...]
    """The siblings that are not empty, root side first."""
    other: tuple[Hash32, Hash32] | None
    """Position and SHA-256(value) of the different leaf that ends the path, or None."""

    def to_value(self) -> Value:
        """[depth, bitmap, siblings, [position, value hash] or nil], to be nested in a bundle."""
        return [self.depth, self.bitmap, self.siblings, self.other]

    def encode(self) -> bytes:
        """Codec bytes of ``to_value``."""
        return codec.encode(self.to_value())

    @staticmethod
    def from_value(value: Value) -> "StateProof":
        """From a decoded value; raises NotCanonical or TooLarge. ``verify_state`` does the rest."""
        depth, bitmap, siblings, other = codec.array(value, 4, _STATE)
        pair = None if other is None else codec.array(other, 2, "state proof's other leaf")
        return StateProof(
            codec.uint(depth, "state proof's depth", STATE_DEPTH_MAX),
            codec.binary(bitmap, "state proof's bitmap", STATE_DEPTH_MAX // 8),
            tuple(
                _hash(sibling, "state proof's sibling")
                for sibling in codec.array_up_to(siblings, STATE_DEPTH_MAX, _STATE)
            ),
            None
            if pair is None
            else (_hash(pair[0], "other leaf's position"), _hash(pair[1], "other leaf's hash")),
        )

    @staticmethod
    def decode(data: bytes) -> "StateProof":
        """Raises NotCanonical or TooLarge."""
        return StateProof.from_value(codec.decode(data, STATE_PROOF_BYTES_MAX, _STATE))


def _hash(value: Value, what: str) -> Hash32:
    data = codec.binary(value, what, 32)
    if len(data) != 32:
        raise NotCanonical(what, "a hash of 32 bytes is wanted")
    return Hash32(data)


def verify_state(proof: StateProof, key: bytes, value: bytes | None, root: Hash32) -> None:
    """``key`` has ``value`` (None: is absent) in the state tree under ``root``.

    Checks, in this order: depth; length and spare bits of the bitmap; one sibling per bit, none
    of them empty, the deepest one present; the leaf that ends the path; root.
    """
    bits = _sibling_bits(proof)
    position = hash_tagged(Tag.STATE_KEY, key)
    way = int.from_bytes(position, "big")
    node = _end_of_path(proof, position, value)
    unused = list(proof.siblings)
    for depth in range(proof.depth, 0, -1):
        sibling = unused.pop() if bits & 1 else ZERO_HASH
        bits >>= 1
        right = way >> STATE_DEPTH_MAX - depth & 1
        node = node_hash(sibling, node) if right else node_hash(node, sibling)
    if node != root:
        raise ProofInvalid(_STATE, "the path does not lead to the root")


def _sibling_bits(proof: StateProof) -> int:
    """The bitmap without its spare bits; the lowest bit stands for the deepest sibling."""
    if not 0 <= proof.depth <= STATE_DEPTH_MAX:
        raise ProofInvalid(_STATE, "the depth is not within 0 to 256")
    if len(proof.bitmap) != (proof.depth + 7) // 8:
        raise ProofInvalid(_STATE, "the bitmap has another length than the depth demands")
    bits = int.from_bytes(proof.bitmap, "big")
    spare = 8 * len(proof.bitmap) - proof.depth
    if bits & (1 << spare) - 1:
        raise ProofInvalid(_STATE, "a spare bit of the bitmap is set")
    bits >>= spare
    if len(proof.siblings) != bits.bit_count():
        raise ProofInvalid(_STATE, "the number of siblings is not that of the bits set")
    if any(len(sibling) != 32 or sibling == ZERO_HASH for sibling in proof.siblings):
        raise ProofInvalid(_STATE, "a sibling is empty or not 32 bytes long")
    if proof.depth and not bits & 1:
        raise ProofInvalid(_STATE, "the deepest sibling is empty, so the path ends higher up")
    return bits


def _end_of_path(proof: StateProof, position: bytes, value: bytes | None) -> bytes:
    """Hash of the subtree in which the path ends, as the statement to be shown demands it."""
    if value is not None:
        if proof.other is not None:
            raise ProofInvalid(_STATE, "a proof of absence is offered for a value")
        return _leaf(position, sha256(value).digest())
    if proof.other is None:
        return ZERO_HASH
    other, value_hash = proof.other
    if len(other) != 32 or len(value_hash) != 32:
        raise ProofInvalid(_STATE, "the other leaf's hashes are not 32 bytes long")
    if other == position:
        raise ProofInvalid(_STATE, "the other leaf is the key's own")
    common = STATE_DEPTH_MAX - (int.from_bytes(other) ^ int.from_bytes(position)).bit_length()
    if common < proof.depth:
        raise ProofInvalid(_STATE, "the other leaf does not lie on the path")
    return _leaf(other, value_hash)


def _leaf(position: bytes, value_hash: bytes) -> bytes:
    return sha256(b"\x00" + position + value_hash).digest()
