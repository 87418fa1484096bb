"""Salted commitments to the fields of one record, and disclosures of some of them.

The leaf of a field is H("field", salt, path, value); its salt comes from a secret of the record,
so a hidden leaf says nothing about its field. The root is the log-tree root over all leaves in
the order of their bytes. One more field, ``@dependencies``, lists pairs of leaves: where the
first is shown, the second must be (status with value, unit with quantity).

Errors name no path and no value (PRIV-1).
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import TypeAlias

from ledger import codec
from ledger.crypto.hashing import Tag, prefix
from ledger.errors import CallerBug, NotCanonical, PeerFault, ProofInvalid, TooLarge
from ledger.limits import (
    COMMITMENT_FIELDS_MAX,
    DISCLOSURE_BYTES_MAX,
    FIELD_PATH_BYTES_MAX,
    SALT_BYTES,
)
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.primitives import Hash32
from ledger.types.entries import VIEWS

DEPENDENCIES_PATH = b"@dependencies"
"""Path of the field that every record has beside its own; no other begins with @."""
SECRET_BYTES = 32

Shown: TypeAlias = tuple[bytes, bytes, bytes]
"""Path, value and salt of a field."""

_WHAT = "disclosure"
_FIELD_BYTES_EXTRA = 34
"""At most so many bytes does a field take in a disclosure beside its path and its value: salt
and codec headers when shown; a hidden one takes 34 in all."""
_HEAD_BYTES = 96
_FIELD_PREFIX = prefix(Tag.FIELD) + SALT_BYTES.to_bytes(4, "big")


@dataclass(eq=False)
class BadRecord(CallerBug):
    """The fields, dependencies or secret of a record are not what the protocol allows."""

    reason: str
    template = "record commitment: {reason}"


@dataclass(eq=False)
class SplitDependency(CallerBug):
    """A view shows a field without one that must be shown with it; correct the view's rules."""

    view: str
    split: int
    template = "view {view}: {split} fields are shown without one they depend on"


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a record."""

    path: bytes = field(repr=False)
    """Where it stands in the record; unique within it, at most FIELD_PATH_BYTES_MAX bytes."""
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RecordCommitment:
    """A record's root and everything that is needed to disclose parts of it: keep it secret."""

    root: Hash32
    fields: tuple[Shown, ...] = field(repr=False)
    """All fields with their salts, ``@dependencies`` included, sorted by path."""
    leaves: tuple[bytes, ...] = field(repr=False)
    """The leaf of each of ``fields``, in their order."""
    dependencies: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    """Leaf and required leaf, sorted and unique."""

    @property
    def leaf_count(self) -> int:
        """Number of leaves, that of ``@dependencies`` included."""
        return len(self.leaves)


def commit_record(
    fields: Sequence[Field], dependencies: Sequence[tuple[bytes, bytes]], secret: bytes
) -> RecordCommitment:
    """Commits to ``fields``, of which each pair in ``dependencies`` names path and required path.

    ``secret`` is 32 random bytes of this record alone. Raises TooLarge where the record exceeds
    a limit, so that every disclosure of what is committed can be encoded; BadRecord where a
    path is reserved or occurs twice, a dependency names none, or the secret has a wrong length.
    """
    if len(secret) != SECRET_BYTES:
        raise BadRecord(f"the secret has {len(secret)} bytes, {SECRET_BYTES} are wanted")
    if len(fields) > COMMITMENT_FIELDS_MAX:
        raise TooLarge("fields of a record", len(fields), COMMITMENT_FIELDS_MAX)
    salted = sorted([(item.path, item.value, _salt(secret, item.path)) for item in fields])
    leaves = {path: field_leaf(path, value, salt) for path, value, salt in salted}
    _check_paths(salted, leaves)
    pairs = _dependency_leaves(dependencies, leaves)
    listed = codec.encode(pairs)
    own = (DEPENDENCIES_PATH, listed, _salt(secret, DEPENDENCIES_PATH))
    leaves[DEPENDENCIES_PATH] = field_leaf(*own)
    salted.append(own)
    salted.sort()
    _check_size(salted)
    return RecordCommitment(
        root=_root(sorted(leaves.values())),
        fields=tuple(salted),
        leaves=tuple([leaves[item[0]] for item in salted]),
        dependencies=pairs,
    )


def _check_paths(salted: Sequence[Shown], leaves: dict[bytes, bytes]) -> None:
    if len(leaves) != len(salted):
        raise BadRecord("a path occurs twice")
    longest = max(map(len, leaves), default=0)
    if longest > FIELD_PATH_BYTES_MAX:
        raise TooLarge("path of a field", longest, FIELD_PATH_BYTES_MAX)
    if DEPENDENCIES_PATH in leaves:
        raise BadRecord("a field has the path that is kept for the dependencies")


def _dependency_leaves(
    dependencies: Sequence[tuple[bytes, bytes]], leaves: dict[bytes, bytes]
) -> tuple[tuple[bytes, bytes], ...]:
    try:
        pairs = {(leaves[path], leaves[required]) for path, required in dependencies}
    except KeyError:
        raise BadRecord("a dependency names a path that the record does not have") from None
    if len(pairs) > COMMITMENT_FIELDS_MAX:
        raise TooLarge("dependencies of a record", len(pairs), COMMITMENT_FIELDS_MAX)
    return tuple(sorted(pairs))


def _check_size(salted: Sequence[Shown]) -> None:
    size = _HEAD_BYTES + len(salted) * _FIELD_BYTES_EXTRA
    size += sum([len(path) + len(value) for path, value, _ in salted])
    if size > DISCLOSURE_BYTES_MAX:
        raise TooLarge("record", size, DISCLOSURE_BYTES_MAX)


def _salt(secret: bytes, path: bytes) -> bytes:
    return hmac.digest(secret, path, "sha256")[:SALT_BYTES]


def field_leaf(path: bytes, value: bytes, salt: bytes) -> bytes:
    """H("field", salt, path, value)."""
    sizes = len(path).to_bytes(4, "big"), len(value).to_bytes(4, "big")
    return sha256(_FIELD_PREFIX + salt + sizes[0] + path + sizes[1] + value).digest()


def _root(leaves: Sequence[bytes]) -> Hash32:
    """Log-tree root over sorted leaves."""
    return root_of([leaf_hash(leaf) for leaf in leaves])


@dataclass(frozen=True, slots=True)
class Disclosure:
    """Some fields of a record, and the leaves of all others.

    The root does not cover ``view`` and ``rules``: they are what the discloser says, and
    ``ledger.light.records`` checks them against the chain and against what is shown.
    """

    view: str
    """One of entries.VIEWS."""
    rules: Hash32
    """Hash of the rule file that says what the view shows."""
    shown: tuple[Shown, ...] = field(repr=False)
    """Sorted by path; ``@dependencies`` is always among them."""
    hidden: tuple[Hash32, ...] = field(repr=False)
    """Sorted."""

    def encode(self) -> bytes:
        """[view, hash of its rules, [[path, value, salt], ...], [hidden leaf, ...]]."""
        return codec.encode([self.view, self.rules, self.shown, self.hidden])

    @staticmethod
    def decode(data: bytes) -> "Disclosure":
        """Raises NotCanonical or TooLarge; ``verify_disclosure`` does the rest."""
        value = codec.decode(data, DISCLOSURE_BYTES_MAX, _WHAT)
        view, rules, shown, hidden = codec.array(value, 4, _WHAT)
        name = codec.text(view, "disclosure's view", 16)
        if name not in VIEWS:
            raise NotCanonical("disclosure's view", f"it is none of {', '.join(VIEWS)}")
        leaves_max = COMMITMENT_FIELDS_MAX + 1
        return Disclosure(
            name,
            Hash32(_exact(rules, "disclosure's rules", Hash32.SIZE)),
            tuple([_shown(item) for item in codec.array_up_to(shown, leaves_max, _WHAT)]),
            tuple([_hidden(item) for item in codec.array_up_to(hidden, leaves_max, _WHAT)]),
        )


def _shown(value: codec.Value) -> Shown:
    path, content, salt = codec.array(value, 3, "disclosed field")
    return (
        codec.binary(path, "path of a disclosed field", FIELD_PATH_BYTES_MAX),
        codec.binary(content, "value of a disclosed field", DISCLOSURE_BYTES_MAX),
        _exact(salt, "salt of a disclosed field", SALT_BYTES),
    )


def _hidden(value: codec.Value) -> Hash32:
    return Hash32(_exact(value, "hidden leaf", 32))


def _exact(value: codec.Value, what: str, size: int) -> bytes:
    data = codec.binary(value, what, size)
    if len(data) != size:
        raise NotCanonical(what, f"{size} bytes are wanted")
    return data


def disclose(
    commitment: RecordCommitment, shown_paths: Callable[[bytes], bool], view: str, rules: Hash32
) -> Disclosure:
    """Shows the fields whose path ``shown_paths`` accepts, and ``@dependencies``.

    Raises BadRecord for an unknown view, SplitDependency where the choice does not show all
    that what it shows depends on.
    """
    if view not in VIEWS:
        raise BadRecord(f"the view is none of {', '.join(VIEWS)}")
    shown, hidden, visible = [], [], set()
    for item, leaf in zip(commitment.fields, commitment.leaves, strict=True):
        if item[0] == DEPENDENCIES_PATH or shown_paths(item[0]):
            shown.append(item)
            visible.add(leaf)
        else:
            hidden.append(Hash32(leaf))
    split = _split(commitment.dependencies, visible)
    if split:
        raise SplitDependency(view, split)
    return Disclosure(view, rules, tuple(shown), tuple(sorted(hidden)))


def verify_disclosure(disclosure: Disclosure, root: Hash32) -> dict[bytes, bytes]:
    """Path to value of what is shown, without ``@dependencies``; raises ProofInvalid.

    Checks, in this order: number of leaves; fields in the order of their paths; hidden leaves in
    order; no leaf twice; root; dependencies shown, well formed, and none of them split.
    """
    shown, hidden = disclosure.shown, disclosure.hidden
    if len(shown) + len(hidden) > COMMITMENT_FIELDS_MAX + 1:
        raise ProofInvalid(_WHAT, "it has more leaves than a record may have")
    if any(len(salt) != SALT_BYTES for _, _, salt in shown):
        raise ProofInvalid(_WHAT, "a salt has a wrong length")
    fields = {path: value for path, value, _ in shown}
    if not _ascending([path for path, _, _ in shown]):
        raise ProofInvalid(_WHAT, "the fields are not sorted by path, or one occurs twice")
    if not _ascending(hidden) or any(len(leaf) != 32 for leaf in hidden):
        raise ProofInvalid(_WHAT, "the hidden leaves are not sorted, or one occurs twice")
    visible = {field_leaf(*item) for item in shown}
    leaves = sorted([*visible, *hidden])
    if not _ascending(leaves):
        raise ProofInvalid(_WHAT, "a leaf is both shown and hidden")
    if _root(leaves) != root:
        raise ProofInvalid(_WHAT, "it does not lead to the root")
    listed = fields.pop(DEPENDENCIES_PATH, None)
    if listed is None:
        raise ProofInvalid(_WHAT, "the dependencies are not shown")
    if _split(_decode_dependencies(listed), visible):
        raise ProofInvalid(_WHAT, "a field is shown without one that it depends on")
    return fields


def _ascending(items: Sequence[bytes]) -> bool:
    return all(map(bytes.__lt__, items, items[1:]))


def _split(pairs: Sequence[tuple[bytes, bytes]], visible: set[bytes]) -> int:
    """How many pairs have the first leaf visible and the second not."""
    return sum(1 for leaf, required in pairs if leaf in visible and required not in visible)


def _decode_dependencies(listed: bytes) -> tuple[tuple[bytes, bytes], ...]:
    try:
        items = codec.array_up_to(
            codec.decode(listed, DISCLOSURE_BYTES_MAX, "dependencies"),
            COMMITMENT_FIELDS_MAX,
            "dependencies",
        )
        pairs = []
        for item in items:
            leaf, required = codec.array(item, 2, "dependency")
            pairs.append((_exact(leaf, "dependency", 32), _exact(required, "dependency", 32)))
    except PeerFault as error:
        raise ProofInvalid(_WHAT, "the dependencies are malformed") from error
    if any(one >= other for one, other in pairwise(pairs)):
        raise ProofInvalid(_WHAT, "the dependencies are not sorted, or one occurs twice")
    return tuple(pairs)
