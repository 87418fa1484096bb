"""The one way by which bytes of a record leave a hospital (ACC-1).

Everything is decided on what this hospital's own validator proves: the permission, the reader's
key, the patient's list. A record is read again from its store and compared with its row first;
then the disclosure is committed to the patient's access log; only then are bytes released.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger import codec
from ledger.codec import Value
from ledger.commitment import Disclosure
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.crypto.sealing import Metadata, row_key
from ledger.errors import PeerFault
from ledger.light.records import (
    ListedRow,
    PatientList,
    VerifiedRecord,
    open_sealed,
    verify_record,
)
from ledger.light.view_rules import ViewRules
from ledger.primitives import Hash32, KeyId, MemberId, PatientKey
from ledger.types.block import Receipt
from ledger.types.entries import Permission, Row, permission_key, release_log
from nodes.api.http import ANSWER_BYTES_MAX, Problem
from nodes.client.http import RequestRefused
from nodes.client.session import LightSession
from nodes.client.signing import SignedRequest
from nodes.client.transactions import ActionRefused
from nodes.gateway.auth import Caller
from nodes.ports import TraceSink

PAGE_RECORDS_MAX = 500
"""De-identified records in one answer."""
ATTACHMENTS_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Released:
    """One record, ready to leave."""

    kind: str
    """FHIR resource type, or "ImagingStudy"."""
    disclosure: Disclosure
    attachments: tuple[bytes, ...] = ()
    """What the fields only give digests of, such as the pixels of a frame."""

    def encode(self) -> bytes:
        """[kind, disclosure bytes, [attachment, ...]]."""
        return codec.encode([self.kind, self.disclosure.encode(), self.attachments])

    @staticmethod
    def decode(data: bytes) -> "Released":
        """Raises NotCanonical, TooLarge or OutOfRange; nothing is verified here."""
        what = "released record"
        fields = codec.array(codec.decode(data, ANSWER_BYTES_MAX, what), 3, what)
        attachments = codec.array_up_to(fields[2], ATTACHMENTS_MAX, "attachments")
        return Released(
            codec.text(fields[0], "record kind", 64),
            Disclosure.decode(codec.binary(fields[1], "disclosure", ANSWER_BYTES_MAX)),
            tuple(codec.binary(item, "attachment", ANSWER_BYTES_MAX) for item in attachments),
        )


@dataclass(frozen=True, slots=True)
class ReleasedPage:
    """Some de-identified records, in the order of the release log."""

    records: tuple[tuple[int, Disclosure], ...]
    """Index in the release log, and what is shown."""
    next_cursor: int | None


@dataclass(eq=False)
class RecordAltered(PeerFault):
    """A stored record is not what was registered; nothing of it may be shown."""

    index: int
    reason: str
    template = "record {index}: {reason}; compare the store with its backup"


class RecordSource(Protocol):
    """The hospital's records, as the gateway's database and stores hold them."""

    async def read(self, index: int, row: Row, rules: ViewRules) -> Released | None:
        """Reads the record again and shows what the rules show; None where it is not held.

        Raises RecordAltered where the content does not give the row's root any more.
        """

    async def released(self, kind: str, code: str, cursor: int, limit: int) -> ReleasedPage:
        """De-identified records from place ``cursor`` of the release log on."""

    async def released_images(self, index: int) -> tuple[bytes, ...] | None:
        """The de-identified DICOM files of one released study; None where it has none.

        Raises RecordAltered, or another PeerFault that says why the images are refused.
        """


class Submits(Protocol):
    """The gateway's own key on chain."""

    async def execute(self, contract: str, action: str, args: Sequence[Value]) -> Receipt:
        """Commits one action; raises ActionRefused, NotAdmitted or NotCommitted."""


@dataclass(frozen=True, slots=True)
class DisclosureDesk:
    """Decides and records every disclosure of one hospital."""

    member: MemberId
    session: LightSession
    """Over the hospital's own validator."""
    chain: Submits
    source: RecordSource
    group_keys: Mapping[int, bytes]
    """Epoch to group key: opens the metadata of rows."""
    ask_holder: Callable[[MemberId, bytes], Awaitable[bytes]]
    """Sends a request body to another hospital's ``/v1/releases``."""
    check_attachments: Callable[[VerifiedRecord, tuple[bytes, ...]], None]
    """Raises PeerFault unless the attachments are what the verified fields say; takes time."""
    trace: TraceSink

    async def list_records(
        self, caller: Caller, patient: PatientKey, permission: Hash32 | None
    ) -> bytes:
        """[log bundle, [[index, row key or nil], ...]]; recorded unless it is the own list."""
        if permission is None:
            if caller.user.patient != patient:
                raise not_available()
            hide = True
        else:
            hide = (await self._permission(permission, caller.key_id, patient)).view != "clinical"
        bundle, listed = await self.session.patient_list(patient)
        if permission is not None:
            await self._record_disclosure(permission, ())
        rules = await self.rules("resident") if hide else None
        keys = [(item.index, self.row_key(item.row, rules)) for item in listed.rows]
        return codec.encode([bundle.to_value(), keys])

    async def read_record(
        self,
        caller: Caller,
        patient: PatientKey,
        index: int,
        permission: Hash32,
        signed: SignedRequest,
    ) -> bytes:
        """[kind, disclosure bytes, [attachment, ...]], from here or from the holder.

        The reader's ``signed`` request is passed on, so that the holder checks by itself who
        asks. What it sends is verified against the row that the own validator proves.
        """
        allowed = await self._permission(permission, caller.key_id, patient)
        listed = _find((await self.session.patient_list(patient))[1], index)
        if listed.row.member == self.member:
            return await self._release(permission, allowed, listed)
        body = codec.encode([permission, patient, index, signed.to_value()])
        try:
            answer = await self.ask_holder(listed.row.member, body)
            await self._check(Released.decode(answer), listed, await self.rules(allowed.view))
        except RequestRefused as refused:
            raise Problem(refused.status, refused.code, refused.detail) from None
        except PeerFault as error:
            self.trace.emit("record_not_verified", holder=listed.row.member, index=index)
            raise Problem(
                502,
                "record/not-verified",
                f"record {index} as {listed.row.member} sent it is not the registered one: {error}",
            ) from None
        return answer

    async def release(
        self, caller: Caller, permission: Hash32, patient: PatientKey, index: int
    ) -> bytes:
        """The same for a reader whose signed request another member's gateway passed on."""
        allowed = await self._permission(permission, caller.key_id, patient)
        listed = _find((await self.session.patient_list(patient))[1], index)
        if listed.row.member != self.member:
            raise not_available()
        return await self._release(permission, allowed, listed)

    async def deidentified(
        self, caller: Caller, permission: Hash32, kind: str, code: str, cursor: int, limit: int
    ) -> bytes:
        """[next cursor or nil, log-entries bundle, [disclosure bytes, ...]], recorded by page."""
        allowed = await self._permission(permission, caller.key_id, None)
        if allowed.holder != self.member or allowed.view != "deidentified":
            raise not_available()
        page = await self.source.released(kind, code, cursor, limit)
        log = release_log(self.member)
        if page.records:
            bundle, _ = await self.session.log_entries(log, [index for index, _ in page.records])
            proof: Value = bundle.to_value()
        else:
            proof = None
        items = [disclosure.encode() for _, disclosure in page.records]
        body = codec.encode([page.next_cursor, proof, items])
        digest = hash_tagged(Tag.API_BODY, body)
        await self._execute("disclose_release", [permission, len(items), digest])
        return body

    async def deidentified_images(self, caller: Caller, permission: Hash32, index: int) -> bytes:
        """[DICOM file, ...] of one released study, recorded as a page of one."""
        allowed = await self._permission(permission, caller.key_id, None)
        if allowed.holder != self.member or allowed.view != "deidentified":
            raise not_available()
        try:
            files = await self.source.released_images(index)
        except PeerFault as refused:
            raise Problem(422, "release/images-refused", str(refused)) from None
        if files is None:
            raise not_available()
        body = codec.encode(files)
        digest = hash_tagged(Tag.API_BODY, body)
        await self._execute("disclose_release", [permission, 1, digest])
        return body

    async def _permission(
        self, permission: Hash32, reader: KeyId, patient: PatientKey | None
    ) -> Permission:
        """The committed permission, if it is the reader's, for this patient, and not expired."""
        found = await self.session.state(permission_key(permission))
        if found.value is None:
            raise not_available()
        allowed = Permission.decode(found.value)
        if allowed.patient != patient or allowed.reader != reader:
            raise not_available()
        # The disclosure is committed one height later at the earliest.
        if allowed.expires <= found.header.height:
            raise Problem(403, "permission/expired", "the permission has expired; ask for another")
        return allowed

    async def _release(self, permission: Hash32, allowed: Permission, listed: ListedRow) -> bytes:
        released = await self.prepare(listed, allowed.view)
        await self._record_disclosure(permission, (listed.index,))
        return released.encode()

    async def prepare(self, listed: ListedRow, view: str) -> Released:
        """One own record, read again and compared with its row. The caller commits its disclosure
        before it gives a byte away (ACC-1)."""
        try:
            rules = await self.rules(view)
            released = await self.source.read(listed.index, listed.row, rules)
            if released is None:
                raise not_available()
            await self._check(released, listed, rules)
        except PeerFault as error:
            self.trace.emit("record_altered", index=listed.index)
            raise Problem(
                502,
                "record/altered",
                f"record {listed.index} of {self.member} is withheld: {error}",
            ) from None
        return released

    async def rules(self, view: str) -> ViewRules:
        """What the hospitals agreed that the view shows, as the own validator proves."""
        return (await self.session.view_rules(view)).in_force

    async def _check(self, released: Released, listed: ListedRow, rules: ViewRules) -> None:
        record = await asyncio.to_thread(verify_record, listed, released.disclosure, rules)
        if released.attachments:
            await asyncio.to_thread(self.check_attachments, record, released.attachments)

    async def _record_disclosure(self, permission: Hash32, rows: tuple[int, ...]) -> None:
        await self._execute("disclose", [permission, rows])

    async def _execute(self, action: str, args: Sequence[Value]) -> None:
        try:
            await self.chain.execute("audit", action, args)
        except ActionRefused as refused:
            self.trace.emit("disclosure_refused", code=refused.code)
            if refused.code == "audit/not-permitted-now":
                raise Problem(
                    403, "permission/ended", "the patient or the hospital has ended it"
                ) from None
            if refused.code == "audit/permission-expired":
                raise Problem(
                    403, "permission/expired", "the permission has expired; ask for another"
                ) from None
            raise not_available() from None
        self.trace.emit("disclosed", action=action)

    def row_key(self, row: Row, rules: ViewRules | None) -> bytes | None:
        """The key that opens this row's metadata, unless they would tell what ``rules`` hide."""
        group_key = self.group_keys.get(row.epoch)
        if group_key is None:
            return None
        key = row_key(group_key, row.sealed)
        if rules is not None and _tells_hidden_code(row, key, rules):
            return None
        return key


def _tells_hidden_code(row: Row, key: bytes, rules: ViewRules) -> bool:
    try:
        metadata: Metadata = open_sealed(row, key)
    except PeerFault:
        return True  # another hospital's mistake; nothing is known about it, so show nothing
    return bool(metadata.code) and not rules.shows(metadata.kind, b"/code")


def not_available() -> Problem:
    """The one answer for "no such record" and "no permission": neither may be told apart (K4)."""
    return Problem(404, "record/not-available", "there is no such record, or no permission for it")


def _find(listed: PatientList, index: int) -> ListedRow:
    for item in listed.rows:
        if item.index == index and item.status != "erased":
            return item
    raise not_available()
