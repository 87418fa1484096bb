"""Reading a patient's records: what the hospital's and the resident's client have in common.

Every answer is verified against the chain before anything of it is returned.
"""

from dataclasses import dataclass

from ledger import codec
from ledger.commitment import Disclosure
from ledger.crypto.sealing import Metadata
from ledger.errors import PeerFault
from ledger.light.bundles import BUNDLE_BYTES_MAX, LogBundle, bundle_from_value
from ledger.light.records import (
    ListedRow,
    PatientList,
    VerifiedRecord,
    open_sealed,
    verify_record,
)
from ledger.limits import CODEC_ITEMS_MAX
from ledger.primitives import Hash32, PatientKey
from ledger.types.entries import Permission, permission_key
from nodes.client.http import ANSWER_BYTES_MAX, AnswerUnreadable, HttpClient
from nodes.client.session import LightSession
from nodes.client.transactions import TransactionClient

_ATTACHMENTS_MAX = 4_096


@dataclass(eq=False)
class NoSuchRow(PeerFault):
    """The verified list has no row of that index."""

    index: int
    template = "the patient's list has no record {index}; list the records first"


@dataclass(frozen=True, slots=True)
class ListedRecord:
    """A row of the verified list, opened as far as the gateway gave its key."""

    listed: ListedRow
    metadata: Metadata | None
    """None where the gateway did not give the key, or gave a wrong one."""


@dataclass(frozen=True, slots=True)
class RecordList:
    """A complete list, verified."""

    proof: LogBundle
    verified: PatientList
    records: tuple[ListedRecord, ...]


def find_row(listed: PatientList, index: int) -> ListedRow:
    """The row of that index in a verified list; raises NoSuchRow."""
    for row in listed.rows:
        if row.index == index:
            return row
    raise NoSuchRow(index)


@dataclass(frozen=True, slots=True)
class ShownRecord:
    """One record as it was disclosed, every shown field verified."""

    listed: ListedRow
    kind: str
    record: VerifiedRecord
    disclosure: Disclosure
    attachments: tuple[bytes, ...]
    """Not verified here: their digests are among the fields, in a form that the kind defines."""


class PatientReader:
    """One key's way to the records of a patient, through one gateway."""

    def __init__(
        self, http: HttpClient, session: LightSession, transactions: TransactionClient
    ) -> None:
        """``http`` signs its requests with the key that also signs ``transactions``."""
        self._http = http
        self.session = session
        self._transactions = transactions

    async def request_permission(self, patient: PatientKey, view: str, purpose: str) -> Hash32:
        """Asks the chain; the id of the permission once it is committed and proved.

        Raises ActionRefused where the rules do not allow it.
        """
        receipt = await self._transactions.execute("access", "request", [patient, view, purpose])
        found = await self.session.state(permission_key(receipt.transaction_id))
        if found.value is None or Permission.decode(found.value).patient != patient:
            raise AnswerUnreadable(self._http.base_url, "the permission is not on the chain")
        return receipt.transaction_id

    async def list(self, patient: PatientKey, permission: Hash32 | None) -> RecordList:
        """The complete list (LIGHT-2); without a permission only a resident's own."""
        query = "" if permission is None else f"?permission={permission.hex()}"
        # What is trusted before the question is what the answer must build on.
        trusted = await self.session.refresh()
        data = await self._http.get(f"/v1/patients/{patient.hex()}/records{query}")
        what = "record list"
        fields = codec.array(codec.decode(data, BUNDLE_BYTES_MAX, what), 2, what)
        bundle = bundle_from_value(fields[0])
        if not isinstance(bundle, LogBundle):
            raise AnswerUnreadable(self._http.base_url, "the list is not proved complete")
        verified = self.session.check_list(trusted, bundle, patient)
        keys = _row_keys(fields[1])
        records = tuple(
            ListedRecord(item, _open(item, keys.get(item.index))) for item in verified.rows
        )
        return RecordList(bundle, verified, records)

    async def read(self, listed: ListedRow, permission: Hash32, view: str) -> ShownRecord:
        """One record in the view that the permission is for, verified against its row."""
        target = f"/v1/patients/{listed.row.patient.hex()}/records/{listed.index}"
        data = await self._http.get(f"{target}?permission={permission.hex()}")
        what = "record"
        fields = codec.array(codec.decode(data, ANSWER_BYTES_MAX, what), 3, what)
        disclosure = Disclosure.decode(codec.binary(fields[1], "disclosure", ANSWER_BYTES_MAX))
        rules = (await self.session.view_rules(view)).in_force
        record = verify_record(listed, disclosure, rules)
        attachments = codec.array_up_to(fields[2], _ATTACHMENTS_MAX, "attachments")
        return ShownRecord(
            listed,
            codec.text(fields[0], "record kind", 64),
            record,
            disclosure,
            tuple(codec.binary(item, "attachment", ANSWER_BYTES_MAX) for item in attachments),
        )


def _row_keys(value: codec.Value) -> dict[int, bytes]:
    """Index to row key, of those rows whose key was given."""
    keys: dict[int, bytes] = {}
    for pair in codec.array_up_to(value, CODEC_ITEMS_MAX, "row keys"):
        index, key = codec.array(pair, 2, "row key")
        if key is not None:
            keys[codec.uint(index, "row key index")] = codec.binary(key, "row key", 32)
    return keys


def _open(listed: ListedRow, key: bytes | None) -> Metadata | None:
    # A wrong key, or metadata that another hospital sealed badly, must not hide the row itself.
    if key is None or len(key) != 32:
        return None
    try:
        return open_sealed(listed.row, key)
    except PeerFault:
        return None
