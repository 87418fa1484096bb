"""The log tree against RFC 6962: known vectors, a twin that copies its text, forged proofs."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import NotCanonical, ProofInvalid
from ledger.limits import LOG_PIECE_ENTRIES
from ledger.merkle.log_tree import (
    EMPTY_ROOT,
    Frontier,
    NoSuchLeaf,
    consistency_path,
    inclusion_path,
    leaf_hash,
    root_of,
)
from ledger.merkle.proof import verify_consistency, verify_inclusion
from ledger.primitives import Hash32

# Inputs and roots of the reference implementation of RFC 6962 (certificate-transparency).
RFC_ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
RFC_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
RFC_PATH_0_OF_8 = [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
]


def _split(count: int) -> int:
    split = 1
    while split * 2 < count:
        split *= 2
    return split


def twin_root(entries: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = _split(len(entries))
    return sha256(b"\x01" + twin_root(entries[:k]) + twin_root(entries[k:])).digest()


def twin_path(index: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1."""
    if len(entries) == 1:
        return []
    k = _split(len(entries))
    if index < k:
        return [*twin_path(index, entries[:k]), twin_root(entries[k:])]
    return [*twin_path(index - k, entries[k:]), twin_root(entries[:k])]


def twin_consistency(old: int, entries: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2."""
    if old == len(entries):
        return [] if whole else [twin_root(entries)]
    k = _split(len(entries))
    if old <= k:
        return [*twin_consistency(old, entries[:k], whole), twin_root(entries[k:])]
    return [*twin_consistency(old - k, entries[k:], False), twin_root(entries[:k])]


def entries_of(count: int) -> list[bytes]:
    return [b"entry %d" % number for number in range(count)]


def leaves_of(entries: Sequence[bytes]) -> list[Hash32]:
    return [leaf_hash(entry) for entry in entries]


def test_B6_roots_of_the_reference_implementation() -> None:
    leaves = leaves_of(RFC_ENTRIES)
    for count, root in enumerate(RFC_ROOTS):
        assert root_of(leaves[:count]).hex() == root
        assert Frontier.EMPTY.append(leaves[:count]).root.hex() == root


def test_B6_paths_of_the_reference_implementation() -> None:
    leaves = leaves_of(RFC_ENTRIES)
    assert [node.hex() for node in inclusion_path(leaves, 0)] == RFC_PATH_0_OF_8
    assert [node.hex() for node in consistency_path(leaves, 1)] == RFC_PATH_0_OF_8


def test_B6_every_small_log_is_what_the_rfc_says() -> None:
    for count in range(1, 34):
        entries = entries_of(count)
        leaves = leaves_of(entries)
        root = root_of(leaves)
        assert root == twin_root(entries)
        for index in range(count):
            path = inclusion_path(leaves, index)
            assert list(path) == twin_path(index, entries)
            verify_inclusion(entries[index], index, count, path, root)
        for old in range(1, count + 1):
            path = consistency_path(leaves, old)
            assert list(path) == twin_consistency(old, entries)
            verify_consistency(old, root_of(leaves[:old]), count, root, path)


@given(st.lists(st.binary(max_size=40), max_size=200), st.data())
@settings(max_examples=60, deadline=None)
def test_B6_a_frontier_grows_to_the_root_of_all_entries(
    entries: list[bytes], data: st.DataObject
) -> None:
    leaves = leaves_of(entries)
    frontier, done = Frontier.EMPTY, 0
    while done < len(leaves):
        step = data.draw(st.integers(1, len(leaves) - done))
        frontier = frontier.append(leaves[done : done + step])
        frontier = Frontier.decode(frontier.encode())
        done += step
        assert (frontier.count, frontier.root) == (done, root_of(leaves[:done]))
    assert frontier.root == twin_root(entries)


def test_a_proof_for_a_leaf_that_the_log_lacks_is_a_callers_bug() -> None:
    leaves = leaves_of(entries_of(5))
    for index in (-1, 5):
        with pytest.raises(NoSuchLeaf):
            inclusion_path(leaves, index)
    for old in (-1, 6):
        with pytest.raises(NoSuchLeaf):
            consistency_path(leaves, old)


@given(st.binary(max_size=120))
@settings(max_examples=200, deadline=None)
def test_a_frontier_decodes_to_itself_or_is_refused(data: bytes) -> None:
    try:
        frontier = Frontier.decode(data)
    except NotCanonical:
        return
    assert frontier.encode() == data


def test_a_frontier_of_the_wrong_length_is_refused() -> None:
    good = Frontier.EMPTY.append(leaves_of(entries_of(5))).encode()
    for bad in (b"", good[:-1], good + b"\x00", good[:8], good[:-32], good + bytes(32), good[1:]):
        with pytest.raises(NotCanonical):
            Frontier.decode(bad)


def flip(node: bytes, bit: int = 0) -> Hash32:
    return Hash32((int.from_bytes(node, "big") ^ 1 << bit).to_bytes(32, "big"))


def bad_inclusions() -> dict[str, tuple[bytes, int, int, list[bytes], bytes]]:
    """Each differs in one thing from a valid proof for entry 5 of 11."""
    entries = entries_of(11)
    leaves = leaves_of(entries)
    path = list[bytes](inclusion_path(leaves, 5))
    root = root_of(leaves)
    good = entries[5]
    inner = sha256(b"\x01" + leaves[4] + leaves[5]).digest()
    return {
        "truncated at the leaf": (good, 5, 11, path[1:], root),
        "truncated at the root": (good, 5, 11, path[:-1], root),
        "empty path": (good, 5, 11, [], root),
        "extended at the leaf": (good, 5, 11, [path[0], *path], root),
        "extended at the root": (good, 5, 11, [*path, root], root),
        "surplus empty hash": (good, 5, 11, [*path, bytes(32)], root),
        "first bit of a hash flipped": (good, 5, 11, [flip(path[0], 255), *path[1:]], root),
        "last bit of a hash flipped": (good, 5, 11, [*path[:-1], flip(path[-1])], root),
        "two hashes swapped": (good, 5, 11, [path[1], path[0], *path[2:]], root),
        "path reversed": (good, 5, 11, path[::-1], root),
        "short hash": (good, 5, 11, [path[0][:-1], *path[1:]], root),
        "long hash": (good, 5, 11, [path[0] + b"\x00", *path[1:]], root),
        "index one less": (good, 4, 11, path, root),
        "index one more": (good, 6, 11, path, root),
        "index is the count": (good, 11, 11, path, root),
        "index past a count that the path outgrows": (
            entries[1],
            1,
            1,
            [leaves[0]],
            root_of(leaves[:2]),
        ),
        "index negative": (good, -1, 11, path, root),
        "count with another shape": (good, 5, 17, path, root),
        "count too small": (good, 5, 5, path, root),
        "count is nil": (good, 0, 0, [], EMPTY_ROOT),
        "count over 64 bits": (good, 5, 2**64 + 11, path, root),
        "another entry": (entries[4], 5, 11, path, root),
        "entry changed": (good + b"\x00", 5, 11, path, root),
        "an inner node as an entry": (leaves[4] + leaves[5], 2, 6, path[1:], root),
        "leaf hash as an entry": (leaves[5], 5, 11, path, root),
        "root bit flipped": (good, 5, 11, path, flip(root)),
        "root of a shorter log": (good, 5, 11, path, root_of(leaves[:10])),
        "inner node as root": (good, 1, 2, path[:1], flip(inner)),
    }


@pytest.mark.parametrize("name", bad_inclusions())
def test_LIGHT_1_a_forged_inclusion_proof_is_refused(name: str) -> None:
    entry, index, count, path, root = bad_inclusions()[name]
    with pytest.raises(ProofInvalid):
        verify_inclusion(entry, index, count, path, root)


def bad_consistencies() -> dict[str, tuple[int, bytes, int, bytes, list[bytes]]]:
    """Each differs in one thing from a valid proof that 11 entries continue 6, or 8."""
    leaves = leaves_of(entries_of(11))
    path = list[bytes](consistency_path(leaves, 6))
    whole = list[bytes](consistency_path(leaves, 8))
    old, root, eight = root_of(leaves[:6]), root_of(leaves), root_of(leaves[:8])
    other = root_of(leaves_of([*entries_of(5), b"rewritten"]))
    return {
        "truncated at the leaf": (6, old, 11, root, path[1:]),
        "truncated at the root": (6, old, 11, root, path[:-1]),
        "empty path": (6, old, 11, root, []),
        "extended at the leaf": (6, old, 11, root, [path[0], *path]),
        "extended at the root": (6, old, 11, root, [*path, root]),
        "bit flipped": (6, old, 11, root, [flip(path[0]), *path[1:]]),
        "last hash flipped": (6, old, 11, root, [*path[:-1], flip(path[-1])]),
        "two hashes swapped": (6, old, 11, root, [path[1], path[0], *path[2:]]),
        "short hash": (6, old, 11, root, [path[0][:-1], *path[1:]]),
        "old count one less": (5, old, 11, root, path),
        "old count one more": (7, old, 11, root, path),
        "count with another shape": (6, old, 17, root, path),
        "roots swapped": (6, root, 11, old, path),
        "counts swapped": (11, old, 6, root, path),
        "old root of a rewritten log": (6, other, 11, root, path),
        "new root flipped": (6, old, 11, flip(root), path),
        "same count, two roots": (11, flip(root), 11, root, []),
        "same count, a path": (11, root, 11, root, [root]),
        "empty log, another root": (0, old, 11, root, []),
        "empty log, a path": (0, EMPTY_ROOT, 11, root, path),
        "negative old count": (-1, EMPTY_ROOT, 11, root, []),
        "old root repeated where it is implied": (8, eight, 11, root, [eight, *whole]),
        "old root flipped where it is implied": (8, flip(eight), 11, root, whole),
        "count over 64 bits": (6, old, 2**64, root, path),
    }


@pytest.mark.parametrize("name", bad_consistencies())
def test_LIGHT_1_a_forged_consistency_proof_is_refused(name: str) -> None:
    old_count, old_root, count, root, path = bad_consistencies()[name]
    with pytest.raises(ProofInvalid):
        verify_consistency(old_count, old_root, count, root, path)


def test_the_proofs_that_the_forged_ones_start_from_are_valid() -> None:
    entries = entries_of(11)
    leaves = leaves_of(entries)
    root = root_of(leaves)
    verify_inclusion(entries[5], 5, 11, inclusion_path(leaves, 5), root)
    for old in (0, 6, 8, 11):
        verify_consistency(old, root_of(leaves[:old]), 11, root, consistency_path(leaves, old))


@given(st.integers(1, 40), st.data())
@settings(max_examples=80, deadline=None)
def test_LIGHT_1_no_other_place_or_count_passes_for_an_entry(
    count: int, data: st.DataObject
) -> None:
    entries = entries_of(count)
    leaves = leaves_of(entries)
    index = data.draw(st.integers(0, count - 1))
    claimed = data.draw(st.integers(0, 45))
    path, root = inclusion_path(leaves, index), root_of(leaves)
    if claimed != index:
        with pytest.raises(ProofInvalid):
            verify_inclusion(entries[index], claimed, count, path, root)


@pytest.mark.parametrize("count", [0, 1, LOG_PIECE_ENTRIES - 1, LOG_PIECE_ENTRIES, 1_500])
def test_a_log_tells_the_root_of_each_piece_that_becomes_complete(count: int) -> None:
    leaves = [number.to_bytes(32, "big") for number in range(count)]
    half = count // 2
    before, first = Frontier.EMPTY.grow(leaves[:half])
    after, second = before.grow(leaves[half:])
    whole = range(0, count - LOG_PIECE_ENTRIES + 1, LOG_PIECE_ENTRIES)
    pieces = [root_of(leaves[at : at + LOG_PIECE_ENTRIES]) for at in whole]
    assert [*first, *second] == pieces
    rest = leaves[len(pieces) * LOG_PIECE_ENTRIES :]
    assert after == Frontier.EMPTY.append(leaves) == Frontier.of_pieces(pieces, rest)
