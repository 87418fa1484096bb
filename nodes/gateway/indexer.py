"""Brings the chain's index up to date with the stores: what is new, changed, or of someone else.

One run settles what an earlier run left, scans the stores, and for each record decides by its
commitment under the stored secret: the same root is unchanged, another supersedes the row, a
record of another patient is withdrawn and registered anew. Runs may be killed at any point; one
run at a time per database.
"""

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ledger.codec import Value
from ledger.commitment import SECRET_BYTES, RecordCommitment, commit_record
from ledger.crypto.sealing import SEALING_NONCE_BYTES, Metadata, patient_key, seal
from ledger.errors import OutOfRange, TooLarge
from ledger.light.view_rules import ViewRules
from ledger.limits import ROWS_PER_TRANSACTION_MAX, TRANSACTION_BYTES_MAX
from ledger.primitives import Hash32, PatientKey
from nodes.gateway.deidentify import deidentify
from nodes.gateway.directory_store import DirectoryStore, shown_name
from nodes.gateway.outbox import IN_FLIGHT_MAX, Outbox
from nodes.gateway.records import Content, Found, Problem, Unusable
from nodes.gateway.records_db import (
    REGISTER,
    SUPERSEDE,
    WITHDRAW,
    DeidentifiedVersion,
    OutboxItem,
    Record,
    RecordsDamaged,
    RecordsDb,
    Version,
)

PROBLEMS_LISTED_MAX = 20_000
"""Problems kept one by one: a file of broken lines has millions of them."""
METADATA_BLOCK_BYTES = 64
METADATA_BYTES_MIN = 128
"""Metadata are padded to these, so that a row's length does not tell its kind (PRIV-2)."""
_ROW_BYTES_EXTRA = 80
_TRANSACTION_BYTES_EXTRA = 512


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IndexKeys:
    """The secrets that hospitals share."""

    patient_secret: bytes = field(repr=False)
    group_key: bytes = field(repr=False)
    epoch: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is."""

    records: int
    committed: int
    problems: int


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """What one run did."""

    files: int
    """Files in which something was found, record or problem."""
    records: int
    """Records that were read and mapped."""
    indexed: int
    unchanged: int
    superseded: int
    withdrawn: int
    """Rows marked entered in error because the record is of another patient now."""
    missing: int
    """Records on chain that no store showed in this run."""
    problems: int
    problems_by_reason: dict[str, int]
    problems_listed: tuple[Problem, ...]
    """The first of them; all are counted."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    kind: str
    record: Record
    found: Found


@dataclass(slots=True)
class _Run:
    """The counts and the memory of one run."""

    files: set[bytes | str] = field(default_factory=set)
    records: int = 0
    unchanged: int = 0
    done: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    listed: list[Problem] = field(default_factory=list)
    seen: dict[str, tuple[bytes, Hash32]] = field(default_factory=dict)
    """Record id to secret and root of what was read first."""
    moved: list[_Prepared] = field(default_factory=list)

    def count(self, problem: Problem) -> None:
        """Counts a problem, and lists it while there is room."""
        self.reasons[problem.code] += 1
        if len(self.listed) < PROBLEMS_LISTED_MAX:
            self.listed.append(problem)


def padded(metadata: Metadata) -> bytes:
    """Encoded metadata, the locator lengthened by spaces to a multiple of the block."""
    size = len(metadata.encode())
    target = max(size, METADATA_BYTES_MIN)
    target += -target % METADATA_BLOCK_BYTES
    while True:
        # The length of a text's header depends on its length: at most two bytes to try.
        for spaces in range(target - size, max(target - size - 3, -1), -1):
            encoded = replace(metadata, locator=metadata.locator + " " * spaces).encode()
            if len(encoded) == target:
                return encoded
        target += METADATA_BLOCK_BYTES


def recommit(content: Content, secret: bytes) -> RecordCommitment:
    """The commitment of a record's content under a stored secret; raises Unusable."""
    try:
        return commit_record(content.fields, content.dependencies, secret)
    except TooLarge:
        raise Unusable("too-many-elements") from None


class Indexer:
    """The indexing of one hospital's stores."""

    def __init__(
        self,
        db: RecordsDb,
        stores: Sequence[DirectoryStore],
        keys: IndexKeys,
        outbox: Outbox,
        *,
        year: int,
        rules: ViewRules,
        progress: Callable[[Progress], None] = lambda _progress: None,
        rows_per_transaction: int = ROWS_PER_TRANSACTION_MAX,
    ) -> None:
        """``year`` is the current one; ages are banded as of it. ``rules`` de-identify."""
        self._db = db
        self._stores = stores
        self._keys = keys
        self._outbox = outbox
        self._year = year
        self._rules = rules
        self._progress = progress
        self._rows_max = min(rows_per_transaction, ROWS_PER_TRANSACTION_MAX)

    async def run(self) -> IndexSummary:
        """One pass over all stores; raises OutcomeUnknown where the network does not answer.

        Reading, mapping and hashing run in a thread, so that the caller's loop stays free.
        """
        run = _Run()
        await self._outbox.settle_all()
        await self._commit_all(self._batches(self._scan(run)), run)
        # Only now are the withdrawn rows off the list, and their records new to it.
        withdrawn = (item for item in run.moved if self._db.record(item.record.id) is None)
        await self._commit_all(self._batches(withdrawn), run)
        missing = await asyncio.to_thread(self._missing, run)
        return IndexSummary(
            files=len(run.files),
            records=run.records,
            indexed=run.done[REGISTER],
            unchanged=run.unchanged,
            superseded=run.done[SUPERSEDE],
            withdrawn=run.done[WITHDRAW],
            missing=missing,
            problems=run.reasons.total(),
            problems_by_reason=dict(sorted(run.reasons.items())),
            problems_listed=tuple(run.listed),
        )

    def _missing(self, run: _Run) -> int:
        return sum(record.id not in run.seen for record in self._db.records())

    async def _commit_all(self, batches: Iterator[list[_Prepared]], run: _Run) -> None:
        in_flight: deque[tuple[OutboxItem, list[_Prepared]]] = deque()
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            records = [prepared.record for prepared in batch]
            ids = [record.id for record in records]
            item = await self._outbox.send(batch[0].kind, self._args(batch), ids, records)
            in_flight.append((item, batch))
            if len(in_flight) >= IN_FLIGHT_MAX:
                await self._settle(in_flight.popleft(), run)
        while in_flight:
            await self._settle(in_flight.popleft(), run)

    async def _settle(self, sent: tuple[OutboxItem, list[_Prepared]], run: _Run) -> None:
        item, batch = sent
        receipt = await self._outbox.settle(item)
        if receipt.ok:
            run.done[item.kind] += len(batch)
        else:
            for prepared in batch:
                run.count(_problem(prepared.found, receipt.code))
        committed = run.done[REGISTER] + run.done[SUPERSEDE]
        self._progress(Progress(run.records, committed, run.reasons.total()))

    def _args(self, batch: Sequence[_Prepared]) -> tuple[Value, ...]:
        kind, record = batch[0].kind, batch[0].record
        if kind == WITHDRAW:
            old = _present(record.current)
            return (old.patient, _present(old.index))
        rows = [_present(prepared.record.pending) for prepared in batch]
        triples = tuple((row.patient, row.root, row.sealed) for row in rows)
        if kind == REGISTER:
            return (self._keys.epoch, triples)
        patient, root, sealed = triples[0]
        index = _present(_present(record.current).index)
        return (patient, index, self._keys.epoch, root, sealed)

    def _batches(self, prepared: Iterator[_Prepared]) -> Iterator[list[_Prepared]]:
        """Registrations by the transaction's limits; each other action by itself."""
        batch: list[_Prepared] = []
        size = _TRANSACTION_BYTES_EXTRA
        for item in prepared:
            if item.kind != REGISTER:
                yield [item]
                continue
            row = len(_present(item.record.pending).sealed) + _ROW_BYTES_EXTRA
            if batch and (len(batch) == self._rows_max or size + row > TRANSACTION_BYTES_MAX):
                yield batch
                batch, size = [], _TRANSACTION_BYTES_EXTRA
            batch.append(item)
            size += row
        if batch:
            yield batch

    def _scan(self, run: _Run) -> Iterator[_Prepared]:
        for store in self._stores:
            for item in store.scan():
                if isinstance(item, Problem):
                    run.files.add(item.file)
                    run.count(item)
                    continue
                run.records += 1
                run.files.update(shown_name(name) for name in item.files)
                try:
                    prepared = self._consider(store, item, run)
                except Unusable as problem:
                    run.count(_problem(item, problem.code))
                else:
                    if prepared is not None:
                        yield prepared

    def _consider(self, store: DirectoryStore, found: Found, run: _Run) -> _Prepared | None:
        """What to do about one record, or None where its row is as it should be."""
        content = found.content
        _check_first(content, run)
        patient = self._patient(found)
        record = self._db.record(content.id)
        current = None if record is None else record.current
        if current is not None and recommit(content, current.secret).root == current.root:
            run.seen[content.id] = (current.secret, current.root)
            if current.patient == patient:
                run.unchanged += 1
                self._refresh(record, current, store, found)
                return None
        version = self._version(store, found, patient)
        run.seen[content.id] = (version.secret, version.root)
        if current is None:
            return _Prepared(REGISTER, Record(content.id, None, version), found)
        if current.patient == patient:
            return _Prepared(SUPERSEDE, Record(content.id, current, version), found)
        run.moved.append(_Prepared(REGISTER, Record(content.id, None, version), found))
        return _Prepared(WITHDRAW, Record(content.id, current, None), found)

    def _patient(self, found: Found) -> PatientKey:
        identity = found.patient
        try:
            return patient_key(self._keys.patient_secret, identity.system, identity.value)
        except OutOfRange:
            raise Unusable("no-patient-reference") from None

    def _refresh(
        self, record: Record | None, current: Version, store: DirectoryStore, found: Found
    ) -> None:
        """Follows a file that was moved, and rules of de-identification that have changed."""
        twin = current.deidentified
        if twin is not None and twin.rules_version != self._rules.version:
            twin = self._deidentified(found.content)
        fresh = replace(current, store=store.name, files=found.files, deidentified=twin)
        if fresh != current and record is not None:
            self._db.update(record, replace(record, current=fresh))

    def _version(self, store: DirectoryStore, found: Found, patient: PatientKey) -> Version:
        content = found.content
        secret = secrets.token_bytes(SECRET_BYTES)
        root = recommit(content, secret).root
        metadata = Metadata(
            content.kind,
            content.code_system,
            content.code,
            content.effective,
            content.id,
            content.national_index,
        )
        nonce = secrets.token_bytes(SEALING_NONCE_BYTES)
        try:
            sealed = seal(self._keys.group_key, nonce, patient, root, padded(metadata))
        except TooLarge:
            raise Unusable("locator-too-long") from None
        return Version(
            store.name,
            found.files,
            content.kind,
            patient,
            root,
            secret,
            self._keys.epoch,
            sealed,
            None,
            self._deidentified(content),
        )

    def _deidentified(self, content: Content) -> DeidentifiedVersion | None:
        twin = deidentify(content, self._year, self._rules)
        if twin is None:
            return None
        secret = secrets.token_bytes(SECRET_BYTES)
        root = commit_record(twin.fields, twin.dependencies, secret).root
        return DeidentifiedVersion(root, secret, self._rules.version, self._year, twin.code, None)


def _check_first(content: Content, run: _Run) -> None:
    if content.id in run.seen:
        secret, root = run.seen[content.id]
        same = recommit(content, secret).root == root
        raise Unusable("duplicate" if same else "conflicting-duplicate")


def _problem(found: Found, code: str) -> Problem:
    return Problem(shown_name(found.files[0]), found.position, code)


def _present(value: T | None) -> T:
    if value is None:
        raise RecordsDamaged("a record lacks what its state promises")
    return value
