"""What is appended to the provable logs, and the state keys under which each log's root lies.

A patient's log holds rows and changes of their status, so that one complete list also proves
which rows are superseded or entered in error (LIGHT-2).
"""

from dataclasses import dataclass
from typing import TypeAlias

from ledger import codec
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.errors import NotCanonical, PeerFault
from ledger.limits import ROWS_PER_TRANSACTION_MAX, SEALED_BYTES_MAX, VIEW_VERSIONS_MAX
from ledger.primitives import Hash32, Height, KeyId, MemberId, PatientKey, TimestampMs

ENTRY_BYTES_MAX = SEALED_BYTES_MAX + 512

STATUSES = ("entered-in-error", "erased", "superseded")
VIEWS = ("clinical", "deidentified", "resident")
PURPOSES = ("ETREAT", "HRESCH", "PATRQT", "TREAT")
"""HL7 v3-PurposeOfUse: emergency treatment, research, patient request, treatment."""
BASES = ("break-glass", "permission", "share")
"""Why a disclosure was allowed; break-glass: an emergency, against the patient's directives."""

_ROW, _STATUS = 0, 1


def patient_log(patient: PatientKey) -> bytes:
    """State key of the log of a patient's rows."""
    return b"patient/" + patient


def access_log(patient: PatientKey) -> bytes:
    """State key of the log of disclosures of a patient's records."""
    return b"access/" + patient


def release_log(member: MemberId) -> bytes:
    """State key of the log of a hospital's de-identified roots."""
    return b"release/" + member.encode()


def release_access_log(member: MemberId) -> bytes:
    """State key of the log of vendors' reads of a hospital's de-identified records."""
    return b"release-access/" + member.encode()


def row_status(row_hash: Hash32) -> bytes:
    """State key that exists only where a row was superseded, entered in error or erased."""
    return b"row/" + row_hash + b"/status"


def member_key(member: MemberId) -> bytes:
    """State key of a member's record."""
    return b"member/" + member.encode()


def user_key(key_id: KeyId) -> bytes:
    """State key of a registered key."""
    return b"key/" + key_id


def permission_key(permission: Hash32) -> bytes:
    """State key of a committed permission; its id is the id of the asking transaction."""
    return b"permission/" + permission


def group_key(epoch: int) -> bytes:
    """State key of the wrapped group key of an epoch."""
    return b"group-key/" + str(epoch).encode()


PARAMETERS_KEY = b"parameters"


def view_key(view: str) -> bytes:
    """State key of the hashes of a view's rule files: ``encode_view_hashes``."""
    return b"view/" + view.encode()


def encode_view_hashes(hashes: tuple[Hash32, ...]) -> bytes:
    """[hash of version 1, of version 2, ...]; the last is in force, none is ever taken away."""
    return codec.encode(hashes)


def decode_view_hashes(data: bytes) -> tuple[Hash32, ...]:
    """Raises NotCanonical, TooLarge or OutOfRange."""
    what = "view hashes"
    items = codec.array_up_to(
        codec.decode(data, 64 * VIEW_VERSIONS_MAX, what), VIEW_VERSIONS_MAX, what
    )
    return tuple(Hash32(codec.binary(item, what, Hash32.SIZE)) for item in items)


@dataclass(frozen=True, slots=True)
class Row:
    """One record in the index: minimal, nothing in clear (decision 7)."""

    member: MemberId
    """The hospital that holds the record."""
    patient: PatientKey
    root: Hash32
    """Commitment root of the record."""
    epoch: int
    """Epoch of the group key under which the metadata are sealed."""
    sealed: bytes
    """Kind, code, effective time and locator, for the hospitals."""
    supersedes: Hash32 | None
    """Hash of the row that this one replaces."""

    def encode(self) -> bytes:
        """[0, member, patient key, root, epoch, sealed, superseded row hash or nil]."""
        return codec.encode(
            [
                _ROW,
                self.member,
                self.patient,
                self.root,
                self.epoch,
                self.sealed,
                self.supersedes,
            ]
        )

    @property
    def hash(self) -> Hash32:
        """H("row", bytes)."""
        return hash_tagged(Tag.ROW, self.encode())


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A row of the same patient and hospital is no longer valid as it stands."""

    member: MemberId
    patient: PatientKey
    row: Hash32
    """Hash of the row it is about."""
    status: str
    """One of STATUSES."""

    def encode(self) -> bytes:
        """[1, member, patient key, row hash, status]."""
        return codec.encode([_STATUS, self.member, self.patient, self.row, self.status])


PatientEntry: TypeAlias = Row | StatusChange


def decode_patient_entry(data: bytes) -> PatientEntry:
    """An entry of a patient's log; raises NotCanonical, TooLarge or OutOfRange."""
    value = codec.decode(data, ENTRY_BYTES_MAX, "patient log entry")
    if isinstance(value, tuple) and value and value[0] == _STATUS:
        fields = codec.array(value, 5, "status change")
        status = codec.text(fields[4], "status", 32)
        if status not in STATUSES:
            raise NotCanonical("status", f"{status!r} is none of {', '.join(STATUSES)}")
        return StatusChange(
            MemberId(codec.text(fields[1], "status member", 32)),
            PatientKey(codec.binary(fields[2], "status patient", 32)),
            Hash32(codec.binary(fields[3], "status row", 32)),
            status,
        )
    fields = codec.array(value, 7, "row")
    if fields[0] != _ROW:
        raise NotCanonical("patient log entry", "unknown kind")
    supersedes = fields[6]
    return Row(
        MemberId(codec.text(fields[1], "row member", 32)),
        PatientKey(codec.binary(fields[2], "row patient", 32)),
        Hash32(codec.binary(fields[3], "row root", 32)),
        codec.uint(fields[4], "row epoch"),
        codec.binary(fields[5], "row sealed metadata", SEALED_BYTES_MAX),
        None if supersedes is None else Hash32(codec.binary(supersedes, "superseded row", 32)),
    )


@dataclass(frozen=True, slots=True)
class Permission:
    """A committed answer "yes" to a request to read; bytes leave a gateway only under one."""

    reader: KeyId
    reader_member: MemberId
    patient: PatientKey | None
    """Whose records; None for a release."""
    holder: MemberId | None
    """Whose de-identified releases; None for a patient's records."""
    view: str
    purpose: str
    expires: Height
    """Last height at which a disclosure may be recorded under it."""

    def encode(self) -> bytes:
        """[reader, reader member, patient or nil, holder or nil, view, purpose, expires]."""
        return codec.encode(
            [
                self.reader,
                self.reader_member,
                self.patient,
                self.holder,
                self.view,
                self.purpose,
                self.expires,
            ]
        )

    @staticmethod
    def decode(data: bytes) -> "Permission":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(codec.decode(data, 512, "permission"), 7, "permission")
        patient, holder = fields[2], fields[3]
        return Permission(
            KeyId(codec.binary(fields[0], "permission reader", 32)),
            MemberId(codec.text(fields[1], "permission reader member", 32)),
            None
            if patient is None
            else PatientKey(codec.binary(patient, "permission patient", 32)),
            None if holder is None else MemberId(codec.text(holder, "permission holder", 32)),
            codec.text(fields[4], "permission view", 16),
            codec.text(fields[5], "permission purpose", 16),
            Height(codec.uint(fields[6], "permission expiry")),
        )


@dataclass(frozen=True, slots=True)
class Disclosed:
    """One entry of a patient's access log: these rows went to this reader for this purpose."""

    basis: str
    """One of BASES."""
    permission: Hash32
    """Id of the permission, or of the share."""
    reader: KeyId
    """For a share, the key that made it: whoever opened it has none."""
    reader_member: MemberId
    holder: MemberId
    """The hospital that released."""
    view: str
    purpose: str
    rows: tuple[int, ...]
    """Indexes in the patient's log; empty when only the list of records was released."""
    height: Height
    time_ms: TimestampMs

    def encode(self) -> bytes:
        """[basis, permission, reader, reader member, holder, view, purpose, rows, height, time]."""
        return codec.encode(
            [
                self.basis,
                self.permission,
                self.reader,
                self.reader_member,
                self.holder,
                self.view,
                self.purpose,
                self.rows,
                self.height,
                self.time_ms,
            ]
        )

    @staticmethod
    def decode(data: bytes) -> "Disclosed":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(codec.decode(data, 4_096, "access entry"), 10, "access entry")
        basis = codec.text(fields[0], "access basis", 16)
        if basis not in BASES:
            raise NotCanonical("access basis", f"one of {', '.join(BASES)} is wanted")
        rows = codec.array_up_to(fields[7], ROWS_PER_TRANSACTION_MAX, "access rows")
        return Disclosed(
            basis,
            Hash32(codec.binary(fields[1], "access permission", 32)),
            KeyId(codec.binary(fields[2], "access reader", 32)),
            MemberId(codec.text(fields[3], "access reader member", 32)),
            MemberId(codec.text(fields[4], "access holder", 32)),
            codec.text(fields[5], "access view", 16),
            codec.text(fields[6], "access purpose", 16),
            tuple(codec.uint(row, "access row") for row in rows),
            Height(codec.uint(fields[8], "access height")),
            TimestampMs(codec.uint(fields[9], "access time")),
        )


@dataclass(frozen=True, slots=True)
class ReleaseDisclosed:
    """One entry of a hospital's release access log: a vendor read de-identified records."""

    permission: Hash32
    reader: KeyId
    reader_member: MemberId
    purpose: str
    count: int
    """How many de-identified records were shown."""
    digest: Hash32
    """Commits the gateway to which ones; only gateway and reader can recompute it."""
    height: Height
    time_ms: TimestampMs

    def encode(self) -> bytes:
        """[permission, reader, reader member, purpose, count, digest, height, time]."""
        return codec.encode(
            [
                self.permission,
                self.reader,
                self.reader_member,
                self.purpose,
                self.count,
                self.digest,
                self.height,
                self.time_ms,
            ]
        )

    @staticmethod
    def decode(data: bytes) -> "ReleaseDisclosed":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        what = "release access entry"
        fields = codec.array(codec.decode(data, 512, what), 8, what)
        return ReleaseDisclosed(
            Hash32(codec.binary(fields[0], what, 32)),
            KeyId(codec.binary(fields[1], what, 32)),
            MemberId(codec.text(fields[2], what, 32)),
            codec.text(fields[3], what, 16),
            codec.uint(fields[4], what),
            Hash32(codec.binary(fields[5], what, 32)),
            Height(codec.uint(fields[6], what)),
            TimestampMs(codec.uint(fields[7], what)),
        )


@dataclass(frozen=True, slots=True)
class LogRoot:
    """Value of a log's state key."""

    count: int
    root: Hash32
    """Log-tree root over the entries' bytes, RFC 6962 shape."""

    def encode(self) -> bytes:
        """[count, root]."""
        return codec.encode([self.count, self.root])

    @staticmethod
    def decode(data: bytes) -> "LogRoot":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        count, root = codec.array(codec.decode(data, 64, "log root"), 2, "log root")
        return LogRoot(codec.uint(count, "log count"), Hash32(codec.binary(root, "log root", 32)))


def log_root_of(value: bytes) -> LogRoot | None:
    """Count and root where ``value`` is that of a log; no other value of a state has that form."""
    # 0x92 begins an array of two; 36 to 44 bytes are a count and a hash of 32 bytes.
    if not (36 <= len(value) <= 44 and value[0] == 0x92 and value[-34:-32] == b"\xc4\x20"):
        return None
    try:
        return LogRoot.decode(value)
    except PeerFault:
        return None
