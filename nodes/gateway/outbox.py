"""From a decision to its receipt, across crashes: keep the signed bytes, submit, settle.

The bytes are on disk before they are submitted. After a crash the same bytes are submitted
again: an id is executed once, so nothing is doubled. Only when the chain has passed the height
until which they were valid, and its logs show that they took no effect, are new bytes made.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ledger.codec import Value
from ledger.errors import CallerBug, LedgerError, WorldFault
from ledger.primitives import Hash32, Height, MemberId
from ledger.types.block import Receipt
from ledger.types.entries import (
    Row,
    StatusChange,
    decode_patient_entry,
    patient_log,
    release_log,
)
from ledger.types.transaction import SignedTransaction
from nodes.gateway.records_db import (
    PUBLISH,
    REGISTER,
    SUPERSEDE,
    WITHDRAW,
    DeidentifiedVersion,
    OutboxItem,
    Record,
    RecordsDb,
    Version,
)

ATTEMPTS_MAX = 5
"""How often bytes are submitted and waited for before the run is given up, to be repeated."""
_ACTIONS = {
    REGISTER: ("index", "register"),
    SUPERSEDE: ("index", "supersede"),
    WITHDRAW: ("index", "mark_entered_in_error"),
    PUBLISH: ("release", "publish"),
}


class Submitter(Protocol):
    """The chain, as the gateway's key sees it through its own validator."""

    def build(
        self, contract: str, action: str, args: Sequence[Value], height: Height
    ) -> SignedTransaction:
        """A fresh signed transaction that is valid for some heights after ``height``."""

    async def newest_height(self) -> Height:
        """The newest committed height, to bound the validity of what is built."""

    async def submit(self, transactions: Sequence[SignedTransaction]) -> None:
        """Hands them over; what is pending or committed already is no error. Raises LedgerError."""

    async def wait(self, transaction_id: Hash32) -> Receipt | None:
        """The receipt, or None where it does not come within the client's time."""

    async def log(self, key: bytes) -> tuple[Height, Sequence[bytes]]:
        """All entries of a log and the height of the header that proves them complete."""


IN_FLIGHT_MAX = 8
"""Transactions submitted and not yet settled: keeps the chain busy while records are read."""


@dataclass(eq=False)
class OutcomeUnknown(WorldFault):
    """The network did not say in time what became of a transaction; it stays in the outbox."""

    transaction_id: Hash32
    reason: str
    template = (
        "transaction {transaction_id} has no receipt yet ({reason}); nothing is lost: "
        "index again when the network answers"
    )


@dataclass(eq=False)
class ReceiptUnusable(CallerBug):
    """A receipt does not have the shape that the contract promises."""

    kind: str
    template = "receipt of {kind}: not the fields that this gateway's version expects"


class Outbox:
    """Sends what was decided and records what became of it."""

    def __init__(self, db: RecordsDb, submitter: Submitter, member: MemberId) -> None:
        self._db = db
        self._submitter = submitter
        self._member = member

    async def send(
        self, kind: str, args: Sequence[Value], record_ids: Sequence[str], records: Sequence[Record]
    ) -> OutboxItem:
        """Signs and keeps a transaction with its records, then submits it."""
        contract, action = _ACTIONS[kind]
        height = await self._submitter.newest_height()
        transaction = self._submitter.build(contract, action, args, height)
        item = await asyncio.to_thread(self._db.enqueue, kind, transaction, record_ids, records)
        await self._submit(item)
        return item

    async def settle_all(self) -> list[tuple[OutboxItem, Receipt]]:
        """Finishes whatever an earlier run left; call before anything new is decided."""
        items = await asyncio.to_thread(self._db.outbox)
        for item in items:
            await self._submit(item)
        return [(item, await self.settle(item)) for item in items]

    async def settle(self, item: OutboxItem) -> Receipt:
        """Waits for the outcome and records it; raises OutcomeUnknown.

        A refusal is an outcome: what was pending is dropped, and the next scan finds it again.
        """
        reason = "it was submitted and not committed in time"
        for _ in range(ATTEMPTS_MAX):
            receipt = await self._receipt(item)
            if receipt is None:
                height = await self._submitter.newest_height()
                if height > item.transaction.body.valid_until:
                    receipt, item = await self._after_expiry(item)
            if receipt is not None:
                await asyncio.to_thread(self._record, item, receipt)
                return receipt
            reason = await self._submit(item) or reason
        raise OutcomeUnknown(item.transaction.id, reason)

    async def _submit(self, item: OutboxItem) -> str:
        """Submits; returns the kind of the refusal, or an empty text.

        Refused at the door, lost or taken: its outcome decides, not this answer, because what
        was executed before a crash is refused as a repetition, too.
        """
        try:
            await self._submitter.submit([item.transaction])
        except LedgerError as error:
            return type(error).__name__
        return ""

    async def _receipt(self, item: OutboxItem) -> Receipt | None:
        try:
            return await self._submitter.wait(item.transaction.id)
        except WorldFault:
            return None

    async def _after_expiry(self, item: OutboxItem) -> tuple[Receipt | None, OutboxItem]:
        """The receipt, made again from the logs, of what took effect; else a fresh transaction.

        Logs that are proved at a height after the validity cannot change in this respect.
        """
        fields = await self._effect(item)
        if fields is not None:
            return Receipt(item.transaction.id, "ok", fields), item
        body = item.transaction.body
        height = await self._submitter.newest_height()
        fresh = self._submitter.build(body.contract, body.action, body.args, height)
        return None, await asyncio.to_thread(self._db.replace, item, fresh)

    async def _effect(self, item: OutboxItem) -> tuple[Value, ...] | None:
        """The receipt's fields if the logs show the effect, None if they show its absence."""
        if item.kind == PUBLISH:
            roots = [_twin(record).root for record in self._records(item)]
            entries = await self._log(item, release_log(self._member))
            first = min(roots)
            return (entries.index(first), len(roots)) if first in entries else None
        records = self._records(item)
        if item.kind == WITHDRAW:
            return await self._withdrawal(item, records[0])
        indexes = []
        for record in records:
            version = _pending(record)
            entries = await self._log(item, patient_log(version.patient))
            index = _row_index(entries, version.root)
            if index is None:
                return None
            indexes.append(index)
        if item.kind == SUPERSEDE:
            return (indexes[0] - 1, indexes[0])
        return (tuple(indexes),)

    async def _withdrawal(self, item: OutboxItem, record: Record) -> tuple[Value, ...] | None:
        version = _current(record)
        entries = await self._log(item, patient_log(version.patient))
        index = _row_index(entries, version.root)
        row = None if index is None else decode_patient_entry(entries[index])
        for place, data in enumerate(entries):
            entry = decode_patient_entry(data)
            if isinstance(entry, StatusChange) and isinstance(row, Row) and entry.row == row.hash:
                return (place,)
        return None

    async def _log(self, item: OutboxItem, key: bytes) -> Sequence[bytes]:
        height, entries = await self._submitter.log(key)
        if height <= item.transaction.body.valid_until:
            raise OutcomeUnknown(item.transaction.id, "its logs are proved at an older height only")
        return entries

    def _records(self, item: OutboxItem) -> list[Record]:
        records = [self._db.record(record_id) for record_id in item.record_ids]
        return [record for record in records if record is not None]

    def _record(self, item: OutboxItem, receipt: Receipt) -> None:
        before = self._records(item)
        after: list[Record | None]
        if not receipt.ok:
            after = [_dropped(record, item.kind) for record in before]
        elif item.kind == WITHDRAW:
            after = [None for _ in before]
        elif item.kind == PUBLISH:
            after = list(_released(before, receipt))
        else:
            indexes = _row_indexes(item.kind, receipt)
            if len(indexes) != len(before):
                raise ReceiptUnusable(item.kind)
            after = [
                Record(record.id, replace(_pending(record), index=index), None)
                for record, index in zip(before, indexes, strict=True)
            ]
        self._db.settle(item, before, after)


def _row_index(entries: Sequence[bytes], root: Hash32) -> int | None:
    for index, data in enumerate(entries):
        entry = decode_patient_entry(data)
        if isinstance(entry, Row) and entry.root == root:
            return index
    return None


def _row_indexes(kind: str, receipt: Receipt) -> list[int]:
    found = receipt.fields[0] if kind == REGISTER else receipt.fields[1:]
    if not isinstance(found, tuple):
        raise ReceiptUnusable(kind)
    return [index for index in found if isinstance(index, int)]


def _pending(record: Record) -> Version:
    if record.pending is None:
        raise ReceiptUnusable("a record that is not pending")
    return record.pending


def _current(record: Record) -> Version:
    if record.current is None:
        raise ReceiptUnusable("a record that is not on chain")
    return record.current


def _twin(record: Record) -> DeidentifiedVersion:
    twin = _current(record).deidentified
    if twin is None:
        raise ReceiptUnusable(PUBLISH)
    return twin


def _dropped(record: Record, kind: str) -> Record | None:
    if kind in (PUBLISH, WITHDRAW):
        return record
    return None if record.current is None else replace(record, pending=None)


def _released(records: Sequence[Record], receipt: Receipt) -> Sequence[Record]:
    first = receipt.fields[0]
    if not isinstance(first, int):
        raise ReceiptUnusable(PUBLISH)
    released = []
    for place, record in enumerate(records):
        twin = replace(_twin(record), released=first + place)
        current = replace(_current(record), deidentified=twin)
        released.append(replace(record, current=current))
    return released
