"""What verified logs mean: a patient's complete list, a record, who read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ledger.commitment import Disclosure, field_leaf, verify_disclosure
from ledger.crypto.sealing import Metadata, unseal
from ledger.errors import PeerFault, ProofInvalid
from ledger.light.bundles import LogBundle, LogEntryBundle
from ledger.light.trust import TrustedChain
from ledger.light.verify import VerifiedLog, verify_log_bundle, verify_log_entry_bundle
from ledger.light.view_rules import ViewRules, kind_of
from ledger.primitives import ZERO_HASH, Hash32, MemberId, PatientKey
from ledger.types.block import Header
from ledger.types.entries import (
    Disclosed,
    Row,
    access_log,
    decode_patient_entry,
    decode_view_hashes,
    patient_log,
    release_log,
)

_SEVERITY = {None: 0, "superseded": 1, "entered-in-error": 2, "erased": 3}


@dataclass(eq=False)
class EntryRefused(PeerFault):
    """An entry of a certified log breaks the rules of that log."""

    index: int
    reason: str
    template = "entry {index}: {reason}; report it to the consortium"


@dataclass(eq=False)
class WrongView(PeerFault):
    """A disclosure is of another view than was asked for, or names other rules of it."""

    found: str
    rules: Hash32
    expected: str
    template = "disclosure: view {found} by rules {rules}, {expected} is wanted"


@dataclass(eq=False)
class UnknownRules(PeerFault):
    """The chain has view rules in force that this program does not have."""

    view: str
    rules: Hash32
    template = "view {view}: its rules {rules} are not known here; install a newer version"


@dataclass(eq=False)
class AgainstRules(PeerFault):
    """A disclosure shows or hides what the rules of its view do not."""

    view: str
    version: int
    reason: str
    template = "view {view} version {version}: {reason}; report it to the hospital"


@dataclass(frozen=True, slots=True)
class ListedRow:
    """One row of a patient's complete list."""

    index: int
    """Place in the patient's log; requests for the record name it."""
    row: Row
    row_hash: Hash32
    status: str | None
    """None while valid as it stands; else the most severe of what was recorded about it."""


@dataclass(frozen=True, slots=True)
class PatientList:
    """All rows of one patient under one verified header."""

    rows: tuple[ListedRow, ...]
    header: Header


@dataclass(frozen=True, slots=True)
class VerifiedRecord:
    """What a disclosure shows of one record, every field verified against the chain."""

    fields: Mapping[bytes, bytes]
    """Path to value."""
    hidden: tuple[Hash32, ...]
    """Leaves of the fields that were not shown."""
    hiding_rules: tuple[str, ...]
    """Ids of the rules that can hide something of such a record. Where there is one, each hidden
    field is hidden by it; else ``hiding_rule`` tells, from a full copy."""
    view: str
    version: int
    """Of the view's rules, whose hash the chain holds."""

    @property
    def hidden_count(self) -> int:
        """How many fields of the record were not shown."""
        return len(self.hidden)


class RuleBook:
    """The rules of one view that the chain holds and this program knows."""

    def __init__(
        self, view: str, hashes: Sequence[Hash32], known: Mapping[Hash32, ViewRules]
    ) -> None:
        """``hashes`` is a verified value of ``view_key(view)``; the last one is in force.

        Raises WrongView where a file is of another view or version than the chain says.
        """
        self.view = view
        self._hashes = tuple(hashes)
        self._known = known
        for version, digest in enumerate(self._hashes, 1):
            rules = known.get(digest)
            if rules is not None and (rules.view, rules.version) != (view, version):
                raise WrongView(rules.view, digest, f"{view} version {version}")

    @property
    def in_force(self) -> ViewRules:
        """The newest rules; raises UnknownRules."""
        if not self._hashes:
            raise UnknownRules(self.view, ZERO_HASH)
        return self.of(self._hashes[-1])

    def of(self, digest: Hash32) -> ViewRules:
        """Rules that are, or were once, in force; raises WrongView or UnknownRules."""
        if digest not in self._hashes:
            raise WrongView(self.view, digest, "one that the chain holds")
        if digest not in self._known:
            raise UnknownRules(self.view, digest)
        return self._known[digest]


def rule_book(view: str, value: bytes | None, known: Mapping[Hash32, ViewRules]) -> RuleBook:
    """The rules of a view, from the verified value of ``view_key(view)``.

    Raises NotCanonical, TooLarge, OutOfRange or WrongView.
    """
    return RuleBook(view, () if value is None else decode_view_hashes(value), known)


def verify_patient_list(
    trusted: TrustedChain,
    bundle: LogBundle,
    patient: PatientKey,
    now_ms: int,
    max_age_ms: int,
) -> PatientList:
    """All rows of ``patient`` with their status (LIGHT-1, LIGHT-2, LIGHT-3).

    Raises what ``verify_log_bundle`` and ``list_of`` raise.
    """
    log = verify_log_bundle(trusted, bundle, patient_log(patient), now_ms, max_age_ms)
    return list_of(log, patient)


def list_of(log: VerifiedLog, patient: PatientKey) -> PatientList:
    """The rows in a verified log of a patient, statuses applied.

    Raises NotCanonical, TooLarge or OutOfRange for bytes that are no entry, EntryRefused for
    one of another patient, or about a row that is not an earlier one of the same hospital.
    """
    rows: list[tuple[int, Row, Hash32]] = []
    # By hash: where the same row stands twice, a status is about both.
    known: dict[Hash32, tuple[MemberId, str | None]] = {}
    for index, data in enumerate(log.entries):
        entry = decode_patient_entry(data)
        if entry.patient != patient:
            raise EntryRefused(index, "it belongs to another patient")
        if isinstance(entry, Row):
            target, status = entry.supersedes, "superseded"
        else:
            target, status = entry.row, entry.status
        if target is not None:
            if target not in known:
                raise EntryRefused(index, "it changes a row that does not come before it")
            member, before = known[target]
            if member != entry.member:
                raise EntryRefused(index, "it changes a row of another hospital")
            known[target] = (member, max(before, status, key=_SEVERITY.__getitem__))
        if isinstance(entry, Row):
            row_hash = entry.hash
            rows.append((index, entry, row_hash))
            known.setdefault(row_hash, (entry.member, None))
    return PatientList(
        tuple(ListedRow(index, row, row_hash, known[row_hash][1]) for index, row, row_hash in rows),
        log.header,
    )


def verify_record(listed: ListedRow, disclosure: Disclosure, rules: ViewRules) -> VerifiedRecord:
    """What ``disclosure`` shows of the record of a verified row, by these rules and no others.

    Raises ProofInvalid, WrongView or AgainstRules.
    """
    return record_under(listed.row.root, disclosure, rules)


def record_under(root: Hash32, disclosure: Disclosure, rules: ViewRules) -> VerifiedRecord:
    """The same for a root that the caller verified. Checks, in this order:

    a) view and rules: WrongView; b) leaves, root and dependencies: ProofInvalid;
    c) that each shown field is one that the rules show, in the form they ask for, and that
       nothing is hidden where no rule hides: AgainstRules.
    """
    if (disclosure.view, disclosure.rules) != (rules.view, rules.hash):
        expected = f"{rules.view} version {rules.version}"
        raise WrongView(disclosure.view, disclosure.rules, expected)
    fields = verify_disclosure(disclosure, root)
    kind = kind_of(fields)
    for path in fields:
        if not (rules.shows(kind, path) and rules.allows(kind, path, fields)):
            raise AgainstRules(rules.view, rules.version, "a field is shown that it hides")
    hiding = rules.hiding(kind)
    if disclosure.hidden and not hiding:
        raise AgainstRules(rules.view, rules.version, "a field is hidden that it shows")
    return VerifiedRecord(fields, disclosure.hidden, hiding, rules.view, rules.version)


def hiding_rule(
    record: VerifiedRecord, full_copy: Disclosure, rules: ViewRules
) -> dict[bytes, str]:
    """Path of each field that ``record`` hides to the rule that hides it, from a full copy.

    ``full_copy`` is a verified disclosure of the same record that shows these fields too; its
    leaves are the same. Raises AgainstRules where a field is hidden that the rules show, and
    ProofInvalid where the copy does not show it.
    """
    kind = kind_of({path: value for path, value, _ in full_copy.shown})
    leaves = {field_leaf(*item): item[0] for item in full_copy.shown}
    found = {}
    for leaf in record.hidden:
        if leaf not in leaves:
            raise ProofInvalid("full copy", "it does not show a field that was hidden")
        path = leaves[leaf]
        if rules.shows(kind, path):
            raise AgainstRules(rules.view, rules.version, "a field is hidden that it shows")
        found[path] = rules.decide(kind, path.partition(b"~")[0]).rule
    return found


def verify_deidentified(
    trusted: TrustedChain,
    bundle: LogEntryBundle,
    disclosure: Disclosure,
    holder: MemberId,
    book: RuleBook,
    now_ms: int,
    max_age_ms: int,
) -> VerifiedRecord:
    """A de-identified record whose root ``holder`` released.

    Raises what ``verify_log_entry_bundle`` and ``released_record`` raise.
    """
    log_key = release_log(holder)
    entry = verify_log_entry_bundle(trusted, bundle, log_key, now_ms, max_age_ms)
    return released_record(entry.entry, disclosure, book)


def released_record(entry: bytes, disclosure: Disclosure, book: RuleBook) -> VerifiedRecord:
    """The record behind a verified entry of a release log, which is its root.

    It was made by the rules that were in force then. Raises OutOfRange where the entry is no
    root, WrongView unless the view is "deidentified", UnknownRules, and as ``record_under``.
    """
    root = Hash32(entry)
    if (disclosure.view, book.view) != ("deidentified", "deidentified"):
        raise WrongView(disclosure.view, disclosure.rules, "deidentified")
    return record_under(root, disclosure, book.of(disclosure.rules))


def verify_access_log(
    trusted: TrustedChain,
    bundle: LogBundle,
    patient: PatientKey,
    now_ms: int,
    max_age_ms: int,
) -> tuple[Disclosed, ...]:
    """Everyone who was shown something of ``patient``, oldest first (ACC-1).

    Raises what ``verify_log_bundle`` raises, and NotCanonical, TooLarge or OutOfRange.
    """
    log = verify_log_bundle(trusted, bundle, access_log(patient), now_ms, max_age_ms)
    return tuple(Disclosed.decode(entry) for entry in log.entries)


def open_sealed(row: Row, row_key: bytes) -> Metadata:
    """The sealed metadata of a row, with the key of that row alone.

    Raises SealBroken, NotCanonical or TooLarge.
    """
    return Metadata.decode(unseal(row_key, row.patient, row.root, row.sealed))
