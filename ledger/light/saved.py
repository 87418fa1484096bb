"""Saved proofs: one file that anyone with the genesis document can verify offline, for ever.

A saved proof is not bounded in age: it shows what the chain held at its header, and the report
says when that was (LIGHT-3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ledger import codec
from ledger.codec import Value
from ledger.commitment import Disclosure, field_leaf
from ledger.errors import NotCanonical, PeerFault
from ledger.light.bundles import (
    BUNDLE_BYTES_MAX,
    CHANGES_BYTES_MAX,
    STATE_KEY_BYTES_MAX,
    LogBundle,
    LogEntriesBundle,
    LogEntryBundle,
    MembershipChange,
    StateBundle,
    changes_from_value,
    decode_bundle,
)
from ledger.light.records import (
    ListedRow,
    PatientList,
    RuleBook,
    VerifiedRecord,
    list_of,
    released_record,
    rule_book,
    verify_record,
)
from ledger.light.trust import (
    HEADER_AHEAD_MAX_MS,
    TrustedChain,
    WrongChain,
    check_age,
    follow,
    trust_genesis,
    verify_header,
)
from ledger.light.verify import (
    VerifiedEntry,
    VerifiedLog,
    VerifiedValue,
    log_entry_under,
    log_under,
    state_under,
)
from ledger.light.view_rules import ViewRules
from ledger.limits import DISCLOSURE_BYTES_MAX
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.primitives import U64_MAX, Hash32, PatientKey
from ledger.types.block import Header
from ledger.types.entries import Disclosed, view_key

SAVED_PROOF_BYTES_MAX = BUNDLE_BYTES_MAX + CHANGES_BYTES_MAX + DISCLOSURE_BYTES_MAX

_PATIENT, _ACCESS, _RELEASE = b"patient/", b"access/", b"release/"

Provable: TypeAlias = StateBundle | LogBundle | LogEntryBundle
Proved: TypeAlias = VerifiedValue | VerifiedLog | VerifiedEntry
Opened: TypeAlias = tuple[Disclosure, RuleBook]
"""A disclosure, and the rules of its view that the chain holds."""


@dataclass(eq=False)
class DisclosureUnplaced(PeerFault):
    """The disclosure of a saved proof is of no record that its bundle proves."""

    reason: str
    template = "saved proof: {reason}"


@dataclass(frozen=True, slots=True)
class SavedProof:
    """Everything that was verified once, to be verified again by others."""

    chain_id: Hash32
    changes: tuple[MembershipChange, ...]
    """All membership changes from genesis up to the bundle's header."""
    bundle: Provable
    disclosure: Disclosure | None
    """Fields of one record in the bundle: of a row in a complete list, or of a released root."""
    key: bytes
    """State key that the bundle is about."""
    rules: StateBundle | None
    """The hashes of the view's rules, with a disclosure; of the same memberships."""

    def encode(self) -> bytes:
        """["saved-proof", chain id, [change, ...], bundle, disclosure or nil, key, rules or nil].

        Rules are the bytes of a state bundle.
        """
        return codec.encode(
            [
                "saved-proof",
                self.chain_id,
                [change.to_value() for change in self.changes],
                self.bundle.encode(),
                None if self.disclosure is None else self.disclosure.encode(),
                self.key,
                None if self.rules is None else self.rules.encode(),
            ]
        )

    @staticmethod
    def decode(data: bytes) -> "SavedProof":
        """Raises NotCanonical, TooLarge or OutOfRange; nothing is verified here."""
        value = codec.decode(data, SAVED_PROOF_BYTES_MAX, "saved proof")
        fields = codec.array(value, 7, "saved proof")
        if fields[0] != "saved-proof":
            raise NotCanonical("saved proof", "another kind of file")
        bundle = decode_bundle(codec.binary(fields[3], "saved bundle", BUNDLE_BYTES_MAX))
        if isinstance(bundle, MembershipChange | LogEntriesBundle):
            raise NotCanonical("saved proof", "it holds one value, one list or one entry")
        return SavedProof(
            Hash32(codec.binary(fields[1], "saved chain id", 32)),
            changes_from_value(fields[2]),
            bundle,
            _disclosure(fields[4]),
            codec.binary(fields[5], "saved key", STATE_KEY_BYTES_MAX),
            _rules_bundle(fields[6]),
        )


@dataclass(frozen=True, slots=True)
class SavedProofReport:
    """What a saved proof proves."""

    key: bytes
    header: Header
    """The certified header under which it holds."""
    age_ms: int | None
    """Age of that header; None where the caller gave no time."""
    proved: Proved
    patient_list: PatientList | None
    """The complete list, where ``key`` is a patient's log."""
    accesses: tuple[Disclosed, ...] | None
    """The complete access log, where ``key`` is one."""
    row: ListedRow | None
    """The row to which ``record`` belongs, where it stands in a patient's list."""
    record: VerifiedRecord | None
    """The disclosed fields, where there is a disclosure."""


def verify_saved_proof(
    genesis_bytes: bytes,
    data: bytes,
    now_ms: int | None,
    known_rules: Mapping[Hash32, ViewRules],
) -> SavedProofReport:
    """Verifies everything in a saved proof, from the genesis document alone (LIGHT-1).

    ``known_rules`` are rule files of views, by their hashes.

    Checks, in this order: form; chain id (WrongChain); membership changes and header (what
    ``follow`` and ``verify_header`` raise); that the header is not of the future
    (HeaderFromTheFuture) where ``now_ms`` is given; content (what the functions of ``verify``
    and ``records`` raise); that the disclosure belongs to it (DisclosureUnplaced).
    """
    saved = SavedProof.decode(data)
    trusted = trust_genesis(genesis_bytes, None)
    if saved.chain_id != trusted.chain_id:
        raise WrongChain("saved proof", saved.chain_id, trusted.chain_id)
    voters = follow(trusted, saved.changes)
    header = verify_header(voters, _state_of(saved.bundle).certified)
    age = None if now_ms is None else check_age(header, now_ms, U64_MAX, HEADER_AHEAD_MAX_MS)
    opened = _opened(saved, voters, known_rules)
    if isinstance(saved.bundle, LogBundle):
        return _log_report(saved.key, log_under(header, saved.bundle, saved.key), age, opened)
    if isinstance(saved.bundle, LogEntryBundle):
        entry = log_entry_under(header, saved.bundle, saved.key)
        return _entry_report(saved.key, entry, age, opened)
    value = state_under(header, saved.bundle, saved.key)
    if opened is not None:
        raise DisclosureUnplaced("a state value has no record that could be disclosed")
    return SavedProofReport(saved.key, header, age, value, None, None, None, None)


def _opened(
    saved: SavedProof, voters: TrustedChain, known_rules: Mapping[Hash32, ViewRules]
) -> Opened | None:
    """The disclosure, if there is one, with the rules of its view as the chain holds them."""
    if saved.disclosure is None or saved.rules is None:
        if saved.disclosure is not None or saved.rules is not None:
            raise DisclosureUnplaced("a disclosure and the rules of its view come together")
        return None
    view = saved.disclosure.view
    header = verify_header(voters, saved.rules.certified)
    value = state_under(header, saved.rules, view_key(view)).value
    return saved.disclosure, rule_book(view, value, known_rules)


def _log_report(
    key: bytes, log: VerifiedLog, age: int | None, opened: Opened | None
) -> SavedProofReport:
    listed, accesses, row, record = None, None, None, None
    if key.startswith(_PATIENT):
        listed = list_of(log, PatientKey(key.removeprefix(_PATIENT)))
    elif key.startswith(_ACCESS):
        accesses = tuple(Disclosed.decode(entry) for entry in log.entries)
    if opened is not None:
        row, record = _open_listed(listed, *opened)
    return SavedProofReport(key, log.header, age, log, listed, accesses, row, record)


def _open_listed(
    listed: PatientList | None, disclosure: Disclosure, book: RuleBook
) -> tuple[ListedRow, VerifiedRecord]:
    leaves = [field_leaf(*item) for item in disclosure.shown]
    # Only finds the row, at the cost of one verification; ``verify_record`` decides.
    root = root_of([leaf_hash(leaf) for leaf in sorted([*leaves, *disclosure.hidden])])
    for row in listed.rows if listed else ():
        if row.row.root == root:
            return row, verify_record(row, disclosure, book.of(disclosure.rules))
    raise DisclosureUnplaced("the disclosed record is of no row in a patient's list")


def _entry_report(
    key: bytes, entry: VerifiedEntry, age: int | None, opened: Opened | None
) -> SavedProofReport:
    record = None
    if opened is not None:
        # A row alone says nothing of its status: its record needs the complete list.
        if not key.startswith(_RELEASE):
            raise DisclosureUnplaced("one entry proves a record only in a log of releases")
        record = released_record(entry.entry, *opened)
    return SavedProofReport(key, entry.header, age, entry, None, None, None, record)


def _state_of(bundle: Provable) -> StateBundle:
    return bundle if isinstance(bundle, StateBundle) else bundle.state


def _disclosure(value: Value) -> Disclosure | None:
    if value is None:
        return None
    return Disclosure.decode(codec.binary(value, "saved disclosure", DISCLOSURE_BYTES_MAX))


def _rules_bundle(value: Value) -> StateBundle | None:
    if value is None:
        return None
    bundle = decode_bundle(codec.binary(value, "saved rules", BUNDLE_BYTES_MAX))
    if not isinstance(bundle, StateBundle):
        raise NotCanonical("saved proof", "its rules are no state value")
    return bundle
