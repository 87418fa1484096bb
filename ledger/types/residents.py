"""What the state holds for residents: their keys, their wishes, full copies and shares.

Each is one value of the state or one log, so that its whole can be proved to who has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ledger import codec
from ledger.codec import Value
from ledger.crypto.hashing import Tag, hash_tagged, signing_digest
from ledger.crypto.keys import PublicKey
from ledger.errors import NotCanonical
from ledger.limits import (
    DIRECTIVES_MAX,
    MEMBERS_MAX,
    RESIDENT_KEYS_MAX,
    SHARE_ATTEMPTS_MAX,
    SHARE_ROWS_MAX,
)
from ledger.primitives import Hash32, KeyId, MemberId, Nonce, PatientKey, TimestampMs
from ledger.types.entries import PURPOSES, VIEWS

RESIDENT_ROLES = ("guardian", "resident")
"""Roles of keys that act for a patient: another person's until a set time, or the own."""
COPY_STATES = ("approved", "refused", "requested")
REFUSAL_REASONS = ("identity-not-proved", "no-records", "serious-harm", "third-party")
"""Why a full copy is refused. No free text: what people write may name a person (PRIV-1)."""


def resident_keys_key(patient: PatientKey) -> bytes:
    """State key of the keys that act for a patient."""
    return b"resident-keys/" + patient


def directives_key(patient: PatientKey) -> bytes:
    """State key of a patient's directives: who may read, who may not."""
    return b"consent/" + patient


def copies_key(patient: PatientKey) -> bytes:
    """State key of a patient's requests for a full copy."""
    return b"copies/" + patient


def share_key(share: Hash32) -> bytes:
    """State key of a share; its id is the id of the transaction that made it."""
    return b"share/" + share


def shares_log(patient: PatientKey) -> bytes:
    """State key of the log of the ids of all shares of a patient, oldest first."""
    return b"shares/" + patient


def enrolment_digest(
    chain_id: Hash32,
    patient: PatientKey,
    hospital: MemberId,
    role: str,
    challenge: Nonce,
    key: PublicKey,
) -> Hash32:
    """What a resident's new key signs: nobody binds a key that they do not hold."""
    return signing_digest(
        Tag.SIGN_ENROLMENT,
        chain_id,
        patient,
        hospital.encode(),
        role.encode(),
        challenge,
        key.encoded,
    )


def share_token_hash(token: bytes) -> Hash32:
    """What the chain holds of a share's token of 32 random bytes, which stands in its link."""
    return hash_tagged(Tag.SHARE_LINK, token)


def share_verifier(token: bytes, passcode: str) -> Hash32:
    """What the chain holds of a passcode; the token, which it does not hold, is the salt."""
    return hash_tagged(Tag.SHARE_PASSCODE, token, passcode.encode())


def share_content_key(token: bytes) -> bytes:
    """The key under which a share's files travel: ``key`` of the link."""
    return hash_tagged(Tag.SHARE_CONTENT, token)


def encode_resident_keys(keys: Sequence[KeyId]) -> bytes:
    """[key id, ...], rising."""
    return codec.encode(sorted(keys))


def decode_resident_keys(data: bytes) -> tuple[KeyId, ...]:
    """Raises NotCanonical, TooLarge or OutOfRange."""
    what = "resident keys"
    items = codec.array_up_to(codec.decode(data, 1_024, what), RESIDENT_KEYS_MAX, what)
    keys = tuple(KeyId(codec.binary(item, what, KeyId.SIZE)) for item in items)
    _check_rising(keys, what)
    return keys


@dataclass(frozen=True, slots=True)
class Directive:
    """What one reader, one member or everybody may read; nothing else, while it holds."""

    member: MemberId | None
    """None: everybody."""
    reader: KeyId | None
    """One key of that member; None: the whole member."""
    views: tuple[str, ...]
    """Sorted; without views or purposes it permits nothing."""
    purposes: tuple[str, ...]
    until_ms: TimestampMs
    """From then on it is as if it were not there (block time)."""

    @property
    def subject(self) -> tuple[MemberId | None, KeyId | None]:
        """Whom it is about; a patient has one directive for each subject."""
        return self.member, self.reader

    def to_value(self) -> Value:
        """[member or nil, key id or nil, [view, ...], [purpose, ...], until]."""
        return (self.member, self.reader, self.views, self.purposes, self.until_ms)

    @staticmethod
    def from_value(value: Value) -> "Directive":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        what = "directive"
        fields = codec.array(value, 5, what)
        member, reader = subject_of(fields[0], fields[1])
        return Directive(
            member,
            reader,
            _names(fields[2], VIEWS, what),
            _names(fields[3], PURPOSES, what),
            TimestampMs(codec.uint(fields[4], what)),
        )


def subject_of(member: Value, reader: Value) -> tuple[MemberId | None, KeyId | None]:
    """[member or nil, key id or nil] of a directive; a reader without a member is refused."""
    what = "directive subject"
    if member is None and reader is not None:
        raise NotCanonical(what, "a reader is named with its member")
    return (
        None if member is None else MemberId(codec.text(member, what, 32)),
        None if reader is None else KeyId(codec.binary(reader, what, KeyId.SIZE)),
    )


def encode_directives(directives: Sequence[Directive]) -> bytes:
    """[directive, ...] by subject: everybody, members, then readers of each."""
    ordered = sorted(directives, key=_place)
    return codec.encode([directive.to_value() for directive in ordered])


def _place(directive: Directive) -> tuple[str, bytes]:
    return directive.member or "", directive.reader or b""


def decode_directives(data: bytes) -> tuple[Directive, ...]:
    """Raises NotCanonical, TooLarge or OutOfRange."""
    what = "directives"
    items = codec.array_up_to(codec.decode(data, 16_384, what), DIRECTIVES_MAX, what)
    found = tuple(Directive.from_value(item) for item in items)
    _check_rising([_place(directive) for directive in found], what)
    return found


def permits(
    directives: Sequence[Directive],
    reader: tuple[MemberId, KeyId],
    view: str,
    purpose: str,
    time_ms: TimestampMs,
) -> bool:
    """Whether the directives leave a reader (member, key) what the default rules allow.

    ``time_ms`` is block time: of the block for the contract, of the header for a light client. The
    most specific directive that has not ended decides alone.
    """
    member, key_id = reader
    live = {d.subject: d for d in directives if time_ms < d.until_ms}
    for subject in ((member, key_id), (member, None), (None, None)):
        if subject in live:
            return view in live[subject].views and purpose in live[subject].purposes
    return True


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """A resident's request for the full copy of one hospital's records, and its answer."""

    hospital: MemberId
    state: str
    """One of COPY_STATES."""
    reason: str | None
    """One of REFUSAL_REASONS where it is refused."""
    until_ms: TimestampMs
    """Where it is approved, the whole records may be read until then (block time); else 0."""

    def to_value(self) -> Value:
        """[hospital, state, reason or nil, until]."""
        return (self.hospital, self.state, self.reason, self.until_ms)

    @staticmethod
    def from_value(value: Value) -> "CopyRequest":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        what = "copy request"
        fields = codec.array(value, 4, what)
        return CopyRequest(
            MemberId(codec.text(fields[0], what, 32)),
            one_of(COPY_STATES, fields[1], what),
            None if fields[2] is None else one_of(REFUSAL_REASONS, fields[2], what),
            TimestampMs(codec.uint(fields[3], what)),
        )


def encode_copies(copies: Sequence[CopyRequest]) -> bytes:
    """[copy request, ...] by hospital."""
    return codec.encode([c.to_value() for c in sorted(copies, key=lambda c: c.hospital)])


def decode_copies(data: bytes) -> tuple[CopyRequest, ...]:
    """Raises NotCanonical, TooLarge or OutOfRange."""
    what = "copy requests"
    items = codec.array_up_to(codec.decode(data, 128 * MEMBERS_MAX, what), MEMBERS_MAX, what)
    found = tuple(CopyRequest.from_value(item) for item in items)
    _check_rising([copy.hospital for copy in found], what)
    return found


@dataclass(frozen=True, slots=True)
class Share:
    """Some of a patient's records at one hospital, for whoever has the link and the passcode."""

    patient: PatientKey
    creator: KeyId
    holder: MemberId
    """Holds the records and serves the share."""
    rows: tuple[int, ...]
    """Indexes in the patient's log, strictly rising."""
    view: str
    token_hash: Hash32
    verifier: Hash32
    until_ms: TimestampMs
    """Not opened from then on (block time)."""
    attempts_left: int
    """Wrong passcodes that are still borne; at 0 it is locked for ever."""
    ended: bool

    def encode(self) -> bytes:
        """[patient, creator, holder, [row, ...], view, token hash, verifier, until, attempts left,
        1 if ended]."""
        return codec.encode(
            [
                self.patient,
                self.creator,
                self.holder,
                self.rows,
                self.view,
                self.token_hash,
                self.verifier,
                self.until_ms,
                self.attempts_left,
                int(self.ended),
            ]
        )

    def closed(self, time_ms: int) -> str | None:
        """Why it cannot be opened: "ended", "expired" or "locked"; None if it can."""
        if self.ended:
            return "ended"
        if self.until_ms <= time_ms:
            return "expired"
        return "locked" if self.attempts_left == 0 else None

    @staticmethod
    def decode(data: bytes) -> "Share":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        what = "share"
        fields = codec.array(codec.decode(data, 1_024, what), 10, what)
        items = codec.array_up_to(fields[3], SHARE_ROWS_MAX, what)
        rows = tuple(codec.uint(item, what) for item in items)
        if not rows or any(a >= b for a, b in pairwise(rows)):
            raise NotCanonical(what, "one row or more, strictly rising, is wanted")
        return Share(
            PatientKey(codec.binary(fields[0], what, 32)),
            KeyId(codec.binary(fields[1], what, 32)),
            MemberId(codec.text(fields[2], what, 32)),
            rows,
            one_of(VIEWS, fields[4], what),
            Hash32(codec.binary(fields[5], what, 32)),
            Hash32(codec.binary(fields[6], what, 32)),
            TimestampMs(codec.uint(fields[7], what)),
            codec.uint(fields[8], what, SHARE_ATTEMPTS_MAX),
            bool(codec.uint(fields[9], what, 1)),
        )


def one_of(names: Sequence[str], value: Value, what: str) -> str:
    """``value``, if it is one of these texts; raises NotCanonical or TooLarge."""
    name = codec.text(value, what, 32)
    if name not in names:
        raise NotCanonical(what, f"one of {', '.join(names)} is wanted")
    return name


def _check_rising(places: Sequence[bytes | str | tuple[str, bytes]], what: str) -> None:
    if list(places) != sorted(set(places)):
        raise NotCanonical(what, "the items are not in strictly rising order")


def _names(value: Value, known: Sequence[str], what: str) -> tuple[str, ...]:
    names = tuple(one_of(known, item, what) for item in codec.array_up_to(value, len(known), what))
    if list(names) != sorted(set(names)):
        raise NotCanonical(what, "the names are not sorted, or one is there twice")
    return names
