"""The state tree against a twin that follows the specification to the letter, forged proofs."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import codec
from ledger.codec import Value
from ledger.contract_api import Column
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.errors import NotCanonical, PeerFault, ProofInvalid, StateDamaged
from ledger.merkle import state_tree
from ledger.merkle.proof import StateProof, verify_state
from ledger.primitives import ZERO_HASH, Hash32


class Pages:
    """A reader over pages in memory, to which writes are applied as the store would."""

    def __init__(self) -> None:
        self.stored: dict[bytes, bytes] = {}

    def get(self, column: Column, key: bytes) -> bytes | None:
        assert column is Column.PAGE
        return self.stored.get(key)

    def apply(self, changes: Mapping[bytes, bytes | None]) -> Hash32:
        root, writes = state_tree.update(self, changes)
        for path, page in writes.items():
            if page is None:
                del self.stored[path]  # what is deleted was there
            else:
                assert self.stored.get(path) != page  # nothing is written in vain
                self.stored[path] = page
        assert state_tree.root(self) == root
        return root


def bits_of(position: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in position)


def twin_root(values: Mapping[bytes, bytes]) -> bytes:
    """The specification's text on the state tree, literally."""
    leaves = {
        bits_of(hash_tagged(Tag.STATE_KEY, key)): sha256(
            b"\x00" + hash_tagged(Tag.STATE_KEY, key) + sha256(value).digest()
        ).digest()
        for key, value in values.items()
    }
    return _twin_subtree(leaves, 0)


def _twin_subtree(leaves: Mapping[str, bytes], depth: int) -> bytes:
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return next(iter(leaves.values()))
    halves = [
        _twin_subtree(
            {bits: leaf for bits, leaf in leaves.items() if bits[depth] == side}, depth + 1
        )
        for side in "01"
    ]
    return sha256(b"\x01" + halves[0] + halves[1]).digest()


def close_keys(shared_bits: int, count: int, seed: int = 0) -> list[bytes]:
    """Keys whose positions share their first bits, found by trying."""
    found: list[bytes] = []
    first, number = None, seed
    while len(found) < count:
        key = b"key %d" % number
        bits = bits_of(hash_tagged(Tag.STATE_KEY, key))[:shared_bits]
        first = first or bits
        if bits == first:
            found.append(key)
        number += 1
    return found


# Neighbours that share up to 11 bits give chains of pages with empty siblings.
POOL = [b"key %d" % number for number in range(40)] + close_keys(11, 4) + close_keys(9, 4, 5_000)
KEYS = st.sampled_from(POOL)
BATCH = st.dictionaries(KEYS, st.none() | st.binary(max_size=4), max_size=24)


@given(st.lists(BATCH, max_size=8))
@settings(max_examples=150, deadline=None)
def test_B6_any_batches_give_the_root_of_the_specification(
    batches: list[dict[bytes, bytes | None]],
) -> None:
    pages, values = Pages(), dict[bytes, bytes]()
    for batch in batches:
        root = pages.apply(batch)
        for key, value in batch.items():
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
        assert root == twin_root(values)
    # The pages, too, depend on the values alone: a collapse leaves nothing behind.
    fresh = Pages()
    fresh.apply(values)
    assert fresh.stored == pages.stored
    for key in POOL:
        proof = StateProof.decode(state_tree.prove(pages, key).encode())
        verify_state(proof, key, values.get(key), fresh.apply({}))


@given(st.dictionaries(KEYS, st.binary(max_size=4), max_size=30), st.randoms())
@settings(max_examples=60, deadline=None)
def test_EXEC_1_order_and_batching_do_not_change_the_root(
    values: dict[bytes, bytes], random: object
) -> None:
    at_once, one_by_one = Pages(), Pages()
    root = at_once.apply(values)
    shuffled = list(values.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' Random has no public type
    for key, value in shuffled:
        one_by_one.apply({key: value})
    assert one_by_one.stored == at_once.stored
    assert state_tree.root(one_by_one) == root


def test_a_thousand_keys_have_the_root_of_the_specification() -> None:
    values = {b"key %d" % number: b"value %d" % number for number in range(1_000)}
    pages = Pages()
    assert pages.apply(values) == twin_root(values)
    removed = dict.fromkeys(list(values)[::2])
    left = {key: value for key, value in values.items() if key not in removed}
    assert pages.apply(removed) == twin_root(left)
    assert pages.apply(dict.fromkeys(left)) == ZERO_HASH
    assert pages.stored == {}


def test_an_empty_tree_has_the_empty_root() -> None:
    pages = Pages()
    assert state_tree.root(pages) == ZERO_HASH
    assert pages.apply({b"absent": None}) == ZERO_HASH
    verify_state(state_tree.prove(pages, b"absent"), b"absent", None, ZERO_HASH)


def test_a_missing_or_damaged_page_stops_the_node() -> None:
    pages = Pages()
    pages.apply(dict.fromkeys(POOL, b"value"))
    for path, page in list(pages.stored.items()):
        damages = [page[:-1], page + b"\x00", page[:8], b"", page[16:]] + [None] * (path != b"")
        for damaged in damages:
            broken = Pages()
            broken.stored = {k: v for k, v in pages.stored.items() if k != path}
            if damaged is not None:
                broken.stored[path] = damaged
            with pytest.raises(StateDamaged):
                broken.apply(dict.fromkeys(POOL, b"other"))


TREE_KEYS = [b"key %d" % number for number in range(300)]
TREE_VALUES = {key: b"value of " + key for key in TREE_KEYS}


def _tree() -> tuple[Pages, Hash32]:
    pages = Pages()
    return pages, pages.apply(TREE_VALUES)


PAGES, ROOT = _tree()
DEEP_KEY = max(TREE_KEYS, key=lambda key: state_tree.prove(PAGES, key).depth)
DEEP = state_tree.prove(PAGES, DEEP_KEY)


def _absent(with_other: bool) -> tuple[bytes, StateProof]:
    """An absent key whose path ends in another leaf, or in an empty subtree."""
    number = 0
    while True:
        key = b"absent %d" % number
        proof = state_tree.prove(PAGES, key)
        if (proof.other is not None) is with_other:
            return key, proof
        number += 1


OTHER_KEY, OTHER = _absent(with_other=True)
OTHER_LEAF = OTHER.other or (ZERO_HASH, ZERO_HASH)
GAP_KEY, GAP = _absent(with_other=False)
PAIR = close_keys(9, 2)
PAIR_PAGES = Pages()
PAIR_ROOT = PAIR_PAGES.apply(dict.fromkeys(PAIR, b"v"))


def flip(node: bytes) -> Hash32:
    return Hash32(node[:-1] + bytes((node[-1] ^ 1,)))


def set_depth(proof: StateProof, depth: int) -> StateProof:
    """The same siblings claimed for another depth, the bitmap cut or padded to fit."""
    flags = "".join(f"{byte:08b}" for byte in proof.bitmap)[: proof.depth].ljust(depth, "0")[:depth]
    size = (depth + 7) // 8
    bitmap = int(flags.ljust(8 * size, "0") or "0", 2).to_bytes(size, "big")
    return replace(proof, depth=depth, bitmap=bitmap)


def with_empty_sibling() -> StateProof:
    """A level whose sibling is empty, shown as a sibling of 32 zero bytes instead."""
    proof = state_tree.prove(PAIR_PAGES, PAIR[0])
    assert proof.bitmap[0] < 0x80
    return replace(
        proof,
        bitmap=bytes((proof.bitmap[0] | 0x80,)) + proof.bitmap[1:],
        siblings=(ZERO_HASH, *proof.siblings),
    )


def bad_state_proofs() -> dict[str, tuple[StateProof, bytes, bytes | None, Hash32]]:
    """Each differs in one thing from a valid proof."""
    value = TREE_VALUES[DEEP_KEY]
    position = Hash32(state_tree.position_of(DEEP_KEY))
    value_hash = Hash32(sha256(value).digest())
    siblings = DEEP.siblings
    spare = bytearray(DEEP.bitmap)
    spare[-1] |= 1
    assert DEEP.depth % 8
    holder = next(key for key in TREE_KEYS if state_tree.position_of(key) == OTHER_LEAF[0])
    far = next(
        key
        for key in TREE_KEYS
        if bits_of(state_tree.position_of(key))[0] != bits_of(state_tree.position_of(OTHER_KEY))[0]
    )
    far_leaf = (
        Hash32(state_tree.position_of(far)),
        Hash32(sha256(TREE_VALUES[far]).digest()),
    )
    deeper = set_depth(DEEP, DEEP.depth + 1)
    shallower = set_depth(DEEP, DEEP.depth - 1)

    def deep(**changed: object) -> tuple[StateProof, bytes, bytes | None, Hash32]:
        return replace(DEEP, **changed), DEEP_KEY, value, ROOT  # type: ignore[arg-type]  # test data

    return {
        "truncated at the leaf": deep(siblings=siblings[:-1]),
        "truncated at the root": deep(siblings=siblings[1:]),
        "no siblings": deep(siblings=()),
        "extended": deep(siblings=(*siblings, siblings[-1])),
        "surplus empty sibling": (with_empty_sibling(), PAIR[0], b"v", PAIR_ROOT),
        "an empty sibling at the end": deep(siblings=(*siblings[:-1], ZERO_HASH)),
        "bit of a sibling flipped": deep(siblings=(flip(siblings[0]), *siblings[1:])),
        "siblings swapped": deep(siblings=(siblings[1], siblings[0], *siblings[2:])),
        "siblings reversed": deep(siblings=siblings[::-1]),
        "short sibling": deep(siblings=(siblings[0][:-1], *siblings[1:])),
        "bitmap too long": deep(bitmap=DEEP.bitmap + b"\x00"),
        "bitmap too short": deep(bitmap=DEEP.bitmap[:-1]),
        "bitmap empty": deep(bitmap=b""),
        "spare bit set": deep(bitmap=bytes(spare)),
        "a bit cleared": deep(bitmap=bytes((DEEP.bitmap[0] & 0x7F,)) + DEEP.bitmap[1:]),
        "a bit moved": deep(bitmap=bytes((DEEP.bitmap[0] ^ 0xC0,)) + DEEP.bitmap[1:]),
        "depth one more": deep(depth=DEEP.depth + 1),
        "depth one less": deep(depth=DEEP.depth - 1),
        "depth negative": deep(depth=-1, bitmap=b"", siblings=()),
        "depth 257": deep(depth=257, bitmap=bytes(32) + b"\x80", siblings=siblings[:1]),
        "deepest sibling empty": (deeper, DEEP_KEY, value, ROOT),
        "shallower with a sibling left over": (shallower, DEEP_KEY, value, ROOT),
        "another value": (DEEP, DEEP_KEY, value + b"\x00", ROOT),
        "empty value": (DEEP, DEEP_KEY, b"", ROOT),
        "hash of the value as value": (DEEP, DEEP_KEY, value_hash, ROOT),
        "another key": (DEEP, TREE_KEYS[0], value, ROOT),
        "another root": (DEEP, DEEP_KEY, value, flip(ROOT)),
        "root of the empty tree": (DEEP, DEEP_KEY, value, ZERO_HASH),
        "presence as absence": (DEEP, DEEP_KEY, None, ROOT),
        "own leaf as the other": (
            replace(DEEP, other=(position, value_hash)),
            DEEP_KEY,
            None,
            ROOT,
        ),
        "own position, another value as the other": (
            replace(DEEP, other=(position, flip(value_hash))),
            DEEP_KEY,
            None,
            ROOT,
        ),
        "presence with an other leaf": (replace(DEEP, other=far_leaf), DEEP_KEY, value, ROOT),
        "absence as presence": (OTHER, OTHER_KEY, TREE_VALUES[holder], ROOT),
        "absence by a leaf, leaf left out": (replace(OTHER, other=None), OTHER_KEY, None, ROOT),
        "other leaf off the path": (replace(OTHER, other=far_leaf), OTHER_KEY, None, ROOT),
        "other leaf's position flipped": (
            replace(OTHER, other=(flip(OTHER_LEAF[0]), OTHER_LEAF[1])),
            OTHER_KEY,
            None,
            ROOT,
        ),
        "other leaf's value flipped": (
            replace(OTHER, other=(OTHER_LEAF[0], flip(OTHER_LEAF[1]))),
            OTHER_KEY,
            None,
            ROOT,
        ),
        "other leaf's hash short": (
            replace(OTHER, other=(OTHER_LEAF[0], OTHER_LEAF[1][:-1])),  # type: ignore[arg-type]  # forged
            OTHER_KEY,
            None,
            ROOT,
        ),
        "absence proof used for a present key": (OTHER, DEEP_KEY, None, ROOT),
        "gap as presence": (GAP, GAP_KEY, b"", ROOT),
        "gap with an other leaf": (replace(GAP, other=far_leaf), GAP_KEY, None, ROOT),
        "gap used for a present key": (GAP, DEEP_KEY, None, ROOT),
        "nothing at all": (StateProof(0, b"", (), None), GAP_KEY, None, ROOT),
        "empty tree claimed for a value": (StateProof(0, b"", (), None), GAP_KEY, b"", ZERO_HASH),
    }


@pytest.mark.parametrize("name", bad_state_proofs())
def test_LIGHT_1_a_forged_state_proof_is_refused(name: str) -> None:
    proof, key, value, root = bad_state_proofs()[name]
    with pytest.raises(ProofInvalid):
        verify_state(proof, key, value, root)


def test_the_proofs_that_the_forged_ones_start_from_are_valid() -> None:
    verify_state(DEEP, DEEP_KEY, TREE_VALUES[DEEP_KEY], ROOT)
    verify_state(OTHER, OTHER_KEY, None, ROOT)
    verify_state(GAP, GAP_KEY, None, ROOT)
    verify_state(state_tree.prove(PAIR_PAGES, PAIR[0]), PAIR[0], b"v", PAIR_ROOT)
    with pytest.raises(ProofInvalid, match="a sibling is empty"):
        verify_state(with_empty_sibling(), PAIR[0], b"v", PAIR_ROOT)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_LIGHT_1_no_single_flipped_bit_of_a_proof_passes(data: st.DataObject) -> None:
    key, value, proof = data.draw(
        st.sampled_from(
            [
                (DEEP_KEY, TREE_VALUES[DEEP_KEY], DEEP),
                (OTHER_KEY, None, OTHER),
                (GAP_KEY, None, GAP),
            ]
        )
    )
    encoded = bytearray(proof.encode())
    bit = data.draw(st.integers(0, 8 * len(encoded) - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    with pytest.raises(PeerFault):
        verify_state(StateProof.decode(bytes(encoded)), key, value, ROOT)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_a_state_proof_decodes_to_itself_or_is_refused(data: bytes) -> None:
    try:
        proof = StateProof.decode(data)
    except PeerFault:
        return
    assert proof.encode() == data


def test_a_state_proof_of_the_wrong_types_is_refused() -> None:
    good: list[Value] = [DEEP.depth, DEEP.bitmap, DEEP.siblings, None]
    assert StateProof.decode(codec.encode(good)) == DEEP
    wrongs: list[tuple[int, Value]] = [
        (0, b""),
        (0, 257),
        (1, 0),
        (1, bytes(33)),
        (2, None),
        (2, [bytes(31)]),
        (2, [bytes(33)]),
        (2, [bytes(32)] * 257),
        (3, b""),
        (3, [bytes(32)]),
        (3, [bytes(32), bytes(31)]),
        (3, [bytes(32), "x"]),
    ]
    for place, wrong in wrongs:
        with pytest.raises(PeerFault):
            StateProof.decode(codec.encode([*good[:place], wrong, *good[place + 1 :]]))
    for bad in (codec.encode(good[:3]), codec.encode([*good, None]), b"", DEEP.encode() + b"\xc0"):
        with pytest.raises(NotCanonical):
            StateProof.decode(bad)
