"""What verified logs mean: a patient's complete list, a record, who read it."""

from collections.abc import Mapping
from dataclasses import dataclass

from ledger.commitment import Disclosure, verify_disclosure
from ledger.crypto.sealing import Metadata, unseal
from ledger.errors import PeerFault
from ledger.light.bundles import LogBundle, LogEntryBundle
from ledger.light.trust import TrustedChain
from ledger.light.verify import VerifiedLog, verify_log_bundle, verify_log_entry_bundle
from ledger.primitives import Hash32, MemberId, PatientKey
from ledger.types.block import Header
from ledger.types.entries import (
    Disclosed,
    Row,
    access_log,
    decode_patient_entry,
    patient_log,
    release_log,
)

KNOWN_VIEW_VERSION = 1
"""The version of the views; a disclosure's root does not cover it, so others are refused."""

_SEVERITY = {None: 0, "superseded": 1, "entered-in-error": 2, "erased": 3}


@dataclass(eq=False)
class EntryRefused(PeerFault):
    """An entry of a certified log breaks the rules of that log."""

    index: int
    reason: str
    template = "entry {index}: {reason}; report it to the consortium"


@dataclass(eq=False)
class WrongView(PeerFault):
    """A disclosure is of another view, or of another version of it, than was asked for."""

    found: str
    version: int
    expected: str
    template = "disclosure: view {found} version {version}, {expected} is wanted"


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
    hidden_count: int
    """Fields of the record that were not shown."""
    view: str
    """What the holder calls this selection of fields."""
    version: int


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


def verify_record(listed: ListedRow, disclosure: Disclosure) -> VerifiedRecord:
    """What ``disclosure`` shows of the record of a verified row.

    Raises ProofInvalid, or WrongView where the version of the view is not known.
    """
    return record_under(listed.row.root, disclosure)


def record_under(root: Hash32, disclosure: Disclosure) -> VerifiedRecord:
    """The same for a root that the caller verified; raises ProofInvalid or WrongView."""
    if disclosure.view_version != KNOWN_VIEW_VERSION:
        raise WrongView(disclosure.view, disclosure.view_version, f"version {KNOWN_VIEW_VERSION}")
    fields = verify_disclosure(disclosure, root)
    return VerifiedRecord(fields, len(disclosure.hidden), disclosure.view, disclosure.view_version)


def verify_deidentified(
    trusted: TrustedChain,
    bundle: LogEntryBundle,
    disclosure: Disclosure,
    holder: MemberId,
    now_ms: int,
    max_age_ms: int,
) -> VerifiedRecord:
    """A de-identified record whose root ``holder`` released.

    Raises what ``verify_log_entry_bundle`` and ``released_record`` raise.
    """
    log_key = release_log(holder)
    entry = verify_log_entry_bundle(trusted, bundle, log_key, now_ms, max_age_ms)
    return released_record(entry.entry, disclosure)


def released_record(entry: bytes, disclosure: Disclosure) -> VerifiedRecord:
    """The record behind a verified entry of a release log, which is its root.

    Raises OutOfRange where the entry is no root, WrongView unless the view is "deidentified",
    ProofInvalid where the disclosure does not lead to the root.
    """
    root = Hash32(entry)
    if disclosure.view != "deidentified":
        raise WrongView(disclosure.view, disclosure.view_version, "deidentified")
    return record_under(root, disclosure)


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
