"""Record commitments against a twin of the specification's text, and forged disclosures."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import codec, commitment
from ledger.commitment import (
    DEPENDENCIES_PATH,
    BadRecord,
    Disclosure,
    Field,
    RecordCommitment,
    SplitDependency,
    commit_record,
    disclose,
    verify_disclosure,
)
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.errors import NotCanonical, PeerFault, ProofInvalid, TooLarge
from ledger.limits import FIELD_PATH_BYTES_MAX
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.primitives import Hash32
from tests.ledger.test_log_tree import twin_root

RULES = hash_tagged(Tag.VIEW_RULES, b"a rule file")

SECRET = bytes(range(32))
VALUES = {
    b"/resourceType": b'"Observation"',
    b"/status": b'"final"',
    b"/valueQuantity/value": b"1.50",
    b"/valueQuantity/unit": b'"mmol/L"',
    b"/code/text": b'"glucose"',
    b"/effectiveDateTime": b'"2024-02-29"',
    b"/effectiveDateTime~year": b'"2024"',
}
DEPENDENCIES = [
    (b"/valueQuantity/value", b"/valueQuantity/unit"),
    (b"/valueQuantity/value", b"/status"),
]
SHOWN = {b"/resourceType", b"/status", b"/valueQuantity/value", b"/valueQuantity/unit"}


def commit(
    values: Mapping[bytes, bytes] = VALUES,
    dependencies: Sequence[tuple[bytes, bytes]] = DEPENDENCIES,
    secret: bytes = SECRET,
) -> RecordCommitment:
    return commit_record([Field(*item) for item in values.items()], dependencies, secret)


def twin_leaf(path: bytes, value: bytes, secret: bytes = SECRET) -> bytes:
    salt = hmac.new(secret, path, "sha256").digest()[:16]
    return hash_tagged(Tag.FIELD, salt, path, value)


def twin_commit(
    values: Mapping[bytes, bytes], dependencies: Sequence[tuple[bytes, bytes]], secret: bytes
) -> bytes:
    """The specification's text on the record commitment, literally."""
    leaves = {path: twin_leaf(path, value, secret) for path, value in values.items()}
    pairs = sorted({(leaves[path], leaves[required]) for path, required in dependencies})
    listed = codec.encode(pairs)
    return twin_root(sorted([*leaves.values(), twin_leaf(b"@dependencies", listed, secret)]))


PATHS = st.binary(max_size=12).map(lambda text: b"/" + text)


@given(
    st.dictionaries(PATHS, st.binary(max_size=12), max_size=24),
    st.binary(min_size=32, max_size=32),
    st.data(),
)
@settings(max_examples=120, deadline=None)
def test_any_record_has_the_root_of_the_specification_and_any_part_verifies(
    values: dict[bytes, bytes], secret: bytes, data: st.DataObject
) -> None:
    paths = sorted(values)
    pair = st.tuples(st.sampled_from(paths), st.sampled_from(paths)) if paths else st.nothing()
    dependencies = data.draw(st.lists(pair, max_size=4)) if paths else []
    made = commit(values, dependencies, secret)
    assert made.root == twin_commit(values, dependencies, secret)
    assert made.leaf_count == len(values) + 1
    chosen = {path for path in paths if data.draw(st.booleans())}
    split = {pair for pair in dependencies if pair[0] in chosen and pair[1] not in chosen}
    if split:
        with pytest.raises(SplitDependency) as caught:
            disclose(made, chosen.__contains__, "resident", RULES)
        assert caught.value.split == len(split)
        return
    disclosure = disclose(made, chosen.__contains__, "resident", RULES)
    again = Disclosure.decode(disclosure.encode())
    assert again == disclosure
    assert verify_disclosure(again, made.root) == {path: values[path] for path in chosen}


@given(st.permutations(list(VALUES.items())), st.permutations(DEPENDENCIES))
@settings(max_examples=20, deadline=None)
def test_EXEC_1_the_order_of_fields_and_dependencies_changes_nothing(
    items: list[tuple[bytes, bytes]], dependencies: list[tuple[bytes, bytes]]
) -> None:
    assert commit(dict(items), [*dependencies, dependencies[0]]) == commit()


@given(st.sampled_from(sorted(VALUES)), st.binary(max_size=8), st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_changed_path_value_or_secret_gives_another_root(
    path: bytes, text: bytes, change_path: bool
) -> None:
    values = dict(VALUES)
    value = values.pop(path)
    if change_path:
        values[path + b"~" + text] = value
        assert commit(values, []).root != commit(VALUES, []).root
    else:
        values[path] = value + b" " + text
        assert commit(values).root != commit().root
    assert commit(secret=bytes(32)).root != commit().root


def test_a_record_without_fields_still_has_its_dependencies() -> None:
    made = commit({}, [])
    assert made.root == root_of([leaf_hash(twin_leaf(DEPENDENCIES_PATH, b"\x90"))])
    assert verify_disclosure(disclose(made, lambda _: False, "clinical", RULES), made.root) == {}


def test_PRIV_1_hidden_fields_leave_only_hashes_and_reprs_show_nothing() -> None:
    made = commit()
    disclosure = disclose(made, SHOWN.__contains__, "resident", RULES)
    assert b"glucose" not in disclosure.encode()
    assert b"/code/text" not in disclosure.encode()
    assert SECRET not in disclosure.encode()
    for thing in (made, disclosure, Field(b"/code/text", b'"glucose"')):
        assert "glucose" not in repr(thing)
        assert "status" not in repr(thing)


BAD_RECORDS: dict[str, tuple[list[Field], list[tuple[bytes, bytes]], bytes]] = {
    "a path twice": ([Field(b"/a", b"1"), Field(b"/a", b"2")], [], SECRET),
    "a field twice": ([Field(b"/a", b"1"), Field(b"/a", b"1")], [], SECRET),
    "a reserved path": ([Field(DEPENDENCIES_PATH, b"\x90")], [], SECRET),
    "a dependency of no field": ([Field(b"/a", b"1")], [(b"/b", b"/a")], SECRET),
    "a dependency on no field": ([Field(b"/a", b"1")], [(b"/a", b"/b")], SECRET),
    "a short secret": ([Field(b"/a", b"1")], [], SECRET[:31]),
    "a long secret": ([Field(b"/a", b"1")], [], SECRET + b"\x00"),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_a_bad_record_is_a_callers_bug(name: str) -> None:
    fields, dependencies, secret = BAD_RECORDS[name]
    with pytest.raises(BadRecord):
        commit_record(fields, dependencies, secret)


def test_a_record_beyond_a_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = b"/" + b"a" * (FIELD_PATH_BYTES_MAX - 1)
    commit({longest: b"1"}, [])
    with pytest.raises(TooLarge):
        commit({longest + b"a": b"1"}, [])
    monkeypatch.setattr(commitment, "COMMITMENT_FIELDS_MAX", 2)
    with pytest.raises(TooLarge):
        commit()
    two = {b"/a": b"1", b"/b": b"2"}
    pairs = [(one, other) for one in two for other in two]
    commit(two, pairs[:2])
    with pytest.raises(TooLarge):
        commit(two, pairs[:3])


@given(st.lists(st.binary(max_size=300), max_size=5))
@settings(max_examples=40, deadline=None)
def test_what_is_committed_can_be_disclosed_within_the_limit(values: list[bytes]) -> None:
    record = {b"/%d" % number: value for number, value in enumerate(values)}
    made = commit(record, [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commitment, "DISCLOSURE_BYTES_MAX", 0)
        with pytest.raises(TooLarge) as caught:
            commit(record, [])
        patch.setattr(commitment, "DISCLOSURE_BYTES_MAX", caught.value.size)
        assert commit(record, []) == made
    for choice in (set(record), set[bytes]()):
        disclosure = disclose(made, choice.__contains__, "deidentified", RULES)
        assert len(disclosure.encode()) <= caught.value.size


MADE = commit()
GOOD = disclose(MADE, SHOWN.__contains__, "resident", RULES)


def shown_leaf(path: bytes) -> Hash32:
    return Hash32(MADE.leaves[[item[0] for item in MADE.fields].index(path)])


def hide(path: bytes) -> Disclosure:
    """One shown field moved among the hidden ones."""
    return replace(
        GOOD,
        shown=tuple(item for item in GOOD.shown if item[0] != path),
        hidden=tuple(sorted([*GOOD.hidden, shown_leaf(path)])),
    )


def change(place: int, path: bytes | None = None, **changed: bytes) -> Disclosure:
    shown = list(GOOD.shown)
    old = shown[place]
    shown[place] = (
        changed.get("new_path", old[0]),
        changed.get("value", old[1]),
        changed.get("salt", old[2]),
    )
    return replace(GOOD, shown=tuple(shown))


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 1,))


def own_tree(listed: bytes) -> tuple[Disclosure, Hash32]:
    """A disclosure that leads to its root, over one field and these dependencies."""
    salt = bytes(16)
    shown = ((b"/a", b"1", salt), (DEPENDENCIES_PATH, listed, salt))
    leaves = sorted(hash_tagged(Tag.FIELD, item[2], item[0], item[1]) for item in shown)
    root = root_of([leaf_hash(leaf) for leaf in leaves])
    return Disclosure("clinical", RULES, shown, ()), root


A_LEAF = hash_tagged(Tag.FIELD, bytes(16), b"/a", b"1")
HIGH, LOW = bytes((255,)) * 32, bytes(32)


def bad_disclosures() -> dict[str, tuple[Disclosure, Hash32, str]]:
    """Each differs in one thing from a valid disclosure; with a part of the reason."""
    root, hidden, shown = MADE.root, GOOD.hidden, GOOD.shown
    path, value, salt = shown[0]
    extra = Hash32(bytes(31) + b"\x01")
    return {
        "a value changed": (change(1, value=flip(shown[1][1])), root, "root"),
        "a number rewritten": (change(3, value=b"1.5"), root, "root"),
        "a value emptied": (change(1, value=b""), root, "root"),
        "a path changed": (change(1, new_path=b"/s"), root, "root"),
        "a byte moved from path to value": (
            change(1, new_path=shown[1][0][:-1], value=shown[1][0][-1:] + shown[1][1]),
            root,
            "root",
        ),
        "a salt flipped": (change(0, salt=flip(salt)), root, "root"),
        "a salt cut": (change(0, salt=salt[:-1]), root, "salt"),
        "a salt extended": (change(0, salt=salt + b"\x00"), root, "salt"),
        "a shown field left out": (replace(GOOD, shown=shown[1:]), root, "root"),
        "a hidden leaf left out": (replace(GOOD, hidden=hidden[1:]), root, "root"),
        "all hidden leaves left out": (replace(GOOD, hidden=()), root, "root"),
        "a hidden leaf added": (replace(GOOD, hidden=(extra, *hidden)), root, "root"),
        "a hidden leaf flipped": (
            replace(GOOD, hidden=(*hidden[:-1], Hash32(flip(hidden[-1])))),
            root,
            "root",
        ),
        "a hidden leaf twice": (replace(GOOD, hidden=(hidden[0], *hidden)), root, "sorted"),
        "hidden leaves not sorted": (replace(GOOD, hidden=hidden[::-1]), root, "sorted"),
        "a field twice": (replace(GOOD, shown=(shown[0], *shown)), root, "sorted"),
        "fields not sorted": (replace(GOOD, shown=shown[::-1]), root, "sorted"),
        "two values for a path": (
            replace(GOOD, shown=(shown[0], (path, flip(value), salt), *shown[1:])),
            root,
            "sorted",
        ),
        "a field both shown and hidden": (
            replace(GOOD, hidden=tuple(sorted([*hidden, shown_leaf(path)]))),
            root,
            "both",
        ),
        "another root": (GOOD, Hash32(flip(root)), "root"),
        "root of another record": (GOOD, commit(secret=bytes(32)).root, "root"),
        "dependencies hidden": (hide(DEPENDENCIES_PATH), root, "not shown"),
        "value without its unit": (hide(b"/valueQuantity/unit"), root, "depends on"),
        "value without its status": (hide(b"/status"), root, "depends on"),
        "nothing": (Disclosure("resident", RULES, (), ()), root, "root"),
        "dependencies that are no codec value": (*own_tree(b"\xc1"), "malformed"),
        "dependencies that are no array": (*own_tree(b"\x00"), "malformed"),
        "a pair of three": (*own_tree(codec.encode([[LOW, LOW, LOW]])), "malformed"),
        "a pair of short leaves": (*own_tree(codec.encode([[LOW[1:], LOW]])), "malformed"),
        "pairs not sorted": (*own_tree(codec.encode([[HIGH, LOW], [LOW, LOW]])), "sorted"),
        "a pair twice": (*own_tree(codec.encode([[LOW, LOW], [LOW, LOW]])), "sorted"),
        "a dependency on a leaf that is not there": (
            *own_tree(codec.encode([[A_LEAF, LOW]])),
            "depends on",
        ),
    }


@pytest.mark.parametrize("name", bad_disclosures())
def test_LIGHT_1_a_forged_disclosure_is_refused(name: str) -> None:
    disclosure, root, reason = bad_disclosures()[name]
    with pytest.raises(ProofInvalid) as caught:
        verify_disclosure(disclosure, root)
    assert reason in caught.value.reason


def test_the_disclosures_that_the_forged_ones_start_from_are_valid() -> None:
    assert verify_disclosure(GOOD, MADE.root) == {path: VALUES[path] for path in SHOWN}
    disclosure, root = own_tree(codec.encode([[LOW, HIGH], [A_LEAF, A_LEAF]]))
    assert verify_disclosure(disclosure, root) == {b"/a": b"1"}


def test_too_many_leaves_are_refused_before_they_are_hashed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commitment, "COMMITMENT_FIELDS_MAX", MADE.leaf_count - 2)
    with pytest.raises(ProofInvalid, match="more leaves"):
        verify_disclosure(GOOD, MADE.root)


def test_a_view_that_splits_a_dependency_is_a_callers_bug() -> None:
    with pytest.raises(SplitDependency) as caught:
        disclose(MADE, lambda path: path == b"/valueQuantity/value", "resident", RULES)
    assert caught.value.field_values() == {"view": "resident", "split": 2}
    with pytest.raises(BadRecord):
        disclose(MADE, SHOWN.__contains__, "everything", RULES)


BAD_ENCODINGS: dict[str, bytes] = {
    "empty": b"",
    "truncated": GOOD.encode()[:-1],
    "extended": GOOD.encode() + b"\xc0",
    "three fields": codec.encode(["resident", RULES, GOOD.shown]),
    "five fields": codec.encode(["resident", RULES, GOOD.shown, GOOD.hidden, None]),
    "unknown view": codec.encode(["Resident", 1, GOOD.shown, GOOD.hidden]),
    "view of a wrong type": codec.encode([b"resident", RULES, GOOD.shown, GOOD.hidden]),
    "version of a wrong type": codec.encode(["resident", "1", GOOD.shown, GOOD.hidden]),
    "no list of fields": codec.encode(["resident", RULES, None, GOOD.hidden]),
    "a field of two": codec.encode(["resident", RULES, [GOOD.shown[0][:2]], GOOD.hidden]),
    "a path of text": codec.encode(["resident", RULES, [["/a", b"1", bytes(16)]], []]),
    "a path too long": codec.encode(["resident", RULES, [[bytes(1025), b"1", bytes(16)]], []]),
    "a value of a wrong type": codec.encode(["resident", RULES, [[b"/a", 1, bytes(16)]], []]),
    "a salt of 15 bytes": codec.encode(["resident", RULES, [[b"/a", b"1", bytes(15)]], []]),
    "a salt of 17 bytes": codec.encode(["resident", RULES, [[b"/a", b"1", bytes(17)]], []]),
    "a hidden leaf of 31 bytes": codec.encode(["resident", RULES, [], [bytes(31)]]),
    "a hidden leaf of 33 bytes": codec.encode(["resident", RULES, [], [bytes(33)]]),
}


@pytest.mark.parametrize("name", BAD_ENCODINGS)
def test_B1_a_malformed_disclosure_is_refused(name: str) -> None:
    with pytest.raises((NotCanonical, TooLarge)):
        Disclosure.decode(BAD_ENCODINGS[name])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_LIGHT_1_a_flipped_bit_changes_the_view_or_is_refused(data: st.DataObject) -> None:
    encoded = bytearray(GOOD.encode())
    bit = data.draw(st.integers(0, 8 * len(encoded) - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    try:
        disclosure = Disclosure.decode(bytes(encoded))
        verify_disclosure(disclosure, MADE.root)
    except PeerFault:
        return
    # The root does not cover these two: whoever asked compares them with what was asked for.
    assert replace(disclosure, view=GOOD.view, rules=GOOD.rules) == GOOD


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_a_decoder_raises_peer_faults_only(data: bytes) -> None:
    try:
        disclosure = Disclosure.decode(data)
    except PeerFault:
        return
    assert disclosure.encode() == data


def test_a_leaf_is_what_the_specification_says() -> None:
    salt = hmac.new(SECRET, b"/a", sha256).digest()[:16]
    pieces = [b"field", salt, b"/a", b"1"]
    framed = b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces)
    made = commit({b"/a": b"1"}, [])
    assert sha256(framed).digest() in made.leaves
