"""The vendor's client: de-identified records, each verified against a release root."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlencode

from ledger import codec
from ledger.commitment import Disclosure
from ledger.crypto.keys import Signer
from ledger.errors import PeerFault
from ledger.light.bundles import (
    PAGE_ENTRIES_MAX,
    LogEntriesBundle,
    LogEntryBundle,
    bundle_from_value,
)
from ledger.light.records import VerifiedRecord, released_record
from ledger.primitives import Hash32, MemberId
from ledger.types.entries import Permission, permission_key, release_log
from ledger.types.genesis import Genesis
from nodes.client.chain import GATEWAY_PREFIX, ChainClient
from nodes.client.http import ANSWER_BYTES_MAX, AnswerUnreadable, HttpClient
from nodes.client.session import LightSession
from nodes.client.transactions import TransactionClient

PAGE_RECORDS = 50
IMAGES_MAX = 4_096
"""DICOM files of one study."""


@dataclass(eq=False)
class PageRepeats(PeerFault):
    """A page holds a record that was given before: paging would count it twice, or never end."""

    holder: MemberId
    index: int
    template = "{holder}: release {index} was given before; report it to the hospital"


@dataclass(frozen=True, slots=True)
class DeidentifiedRecord:
    """One record, verified."""

    holder: MemberId
    index: int
    """Place in the holder's release log."""
    root: Hash32
    record: VerifiedRecord
    proof: LogEntryBundle
    disclosure: Disclosure


class VendorClient:
    """One vendor's service over the gateway of one hospital."""

    def __init__(
        self, http: HttpClient, genesis: Genesis, signer: Signer, holder: MemberId
    ) -> None:
        """``http`` signs its requests with ``signer``'s key and reaches ``holder``'s gateway."""
        chain = ChainClient(http, GATEWAY_PREFIX)
        self.session = LightSession(chain, genesis)
        self._http = http
        self._holder = holder
        self._transactions = TransactionClient(chain, genesis.chain_id, signer)

    async def request_permission(self, purpose: str) -> Hash32:
        """A committed, proved permission for the holder's releases; raises ActionRefused."""
        receipt = await self._transactions.execute(
            "access", "request_release", [self._holder, purpose]
        )
        found = await self.session.state(permission_key(receipt.transaction_id))
        if found.value is None or Permission.decode(found.value).holder != self._holder:
            raise AnswerUnreadable(self._http.base_url, "the permission is not on the chain")
        return receipt.transaction_id

    async def query(
        self, permission: Hash32, kind: str = "", code: str = "", page: int = PAGE_RECORDS
    ) -> AsyncIterator[DeidentifiedRecord]:
        """Every released record of that kind and code, page after page, each verified.

        Empty ``kind`` or ``code`` means any. Stops with an error at the first that fails.
        """
        cursor: int | None = 0
        last = -1
        while cursor is not None:
            records, cursor = await self._page(permission, kind, code, cursor, page)
            for record in records:
                if record.index <= last:
                    raise PageRepeats(self._holder, record.index)
                last = record.index
                yield record

    async def images(self, permission: Hash32, index: int) -> tuple[bytes, ...]:
        """De-identified DICOM files of a released study, not yet verified against its record.

        Raises RequestRefused, with the reason where their pixels may show a person.
        """
        target = f"/v1/deidentified/{index}/images?permission={permission.hex()}"
        data = await self._http.get(target)
        what = "de-identified images"
        files = codec.array_up_to(codec.decode(data, ANSWER_BYTES_MAX, what), IMAGES_MAX, what)
        return tuple(codec.binary(item, what, ANSWER_BYTES_MAX) for item in files)

    async def _page(
        self, permission: Hash32, kind: str, code: str, cursor: int, limit: int
    ) -> tuple[list[DeidentifiedRecord], int | None]:
        query = urlencode(
            {
                "permission": permission.hex(),
                "kind": kind,
                "code": code,
                "cursor": cursor,
                "limit": limit,
            }
        )
        trusted = await self.session.refresh()
        data = await self._http.get(f"/v1/deidentified?{query}")
        what = "de-identified page"
        fields = codec.array(codec.decode(data, ANSWER_BYTES_MAX, what), 3, what)
        after = None if fields[0] is None else codec.uint(fields[0], "cursor")
        if after is not None and after <= cursor:
            raise PageRepeats(self._holder, after)
        shown = codec.array_up_to(fields[2], PAGE_ENTRIES_MAX, what)
        if not shown:
            return [], after
        bundle = bundle_from_value(fields[1])
        if not isinstance(bundle, LogEntriesBundle) or len(bundle.items) != len(shown):
            raise AnswerUnreadable(self._http.base_url, "records come without their proofs")
        entries = self.session.check_log_entries(trusted, bundle, release_log(self._holder))
        book = await self.session.view_rules("deidentified")
        records = []
        for number, (entry, item) in enumerate(zip(entries, shown, strict=True)):
            disclosure = Disclosure.decode(codec.binary(item, "disclosure", ANSWER_BYTES_MAX))
            records.append(
                DeidentifiedRecord(
                    self._holder,
                    entry.index,
                    Hash32(entry.entry),
                    released_record(entry.entry, disclosure, book),
                    bundle.entry(number),
                    disclosure,
                )
            )
        return records, after
