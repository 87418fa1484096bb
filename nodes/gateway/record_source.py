"""Reads committed records again for a disclosure, and refuses what is not what was committed.

The content is read from the store, mapped and committed under the stored secret; only if that
gives the root on chain is any of it shown.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from ledger.commitment import Disclosure, RecordCommitment, commit_record, disclose
from ledger.types.entries import Row
from nodes.gateway.deidentify import RULES_VERSION, deidentify
from nodes.gateway.directory_store import DirectoryStore, Outcome
from nodes.gateway.disclosure import RecordAltered, Released, ReleasedPage
from nodes.gateway.indexer import recommit
from nodes.gateway.records import REASONS, Unusable
from nodes.gateway.records_db import DeidentifiedVersion, Record, RecordsDb, Version
from nodes.gateway.views import VIEW_VERSIONS, shown_paths

ATTACHMENT_VIEWS = frozenset({"clinical"})
"""Views with which the files of a study go along, whole."""
DEIDENTIFIED = "deidentified"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredRecords:
    """The records of one hospital's stores that are on chain."""

    db: RecordsDb
    stores: Mapping[str, DirectoryStore]
    """Store name to store."""

    async def read(self, index: int, row: Row, view: str) -> Released | None:
        """The view's part of the record behind ``row``; None where no current row is this.

        Raises RecordAltered; ``index`` is the row's in its patient's log.
        """
        return await asyncio.to_thread(self._read, index, row, view)

    async def released(self, kind: str, code: str, cursor: int, limit: int) -> ReleasedPage:
        """De-identified records from index ``cursor`` of the release log on.

        An empty ``kind`` or ``code`` stands for all. A record that was changed on disk since it
        was indexed is left out of the page: what it gives now was never committed.
        """
        return await asyncio.to_thread(self._released, kind, code, cursor, limit)

    def _read(self, index: int, row: Row, view: str) -> Released | None:
        record = self.db.find(row.root)
        if record is None or record.current is None or record.current.patient != row.patient:
            return None
        version = record.current
        try:
            store = self._store(version)
            content = store.read(version.files, record.id)
            commitment = recommit(content, version.secret)
            files = store.paths(version.files) if record.id.startswith("study/") else []
        except Unusable as problem:
            raise RecordAltered(index, REASONS[problem.code]) from None
        if commitment.root != row.root:
            raise RecordAltered(index, "its content is not what was registered")
        disclosure = _disclose(commitment, view, version.kind)
        attached = files if view in ATTACHMENT_VIEWS else []
        return Released(version.kind, disclosure, tuple(path.read_bytes() for path in attached))

    def _released(self, kind: str, code: str, cursor: int, limit: int) -> ReleasedPage:
        wanted = (
            (index, record)
            for index, record in self.db.released(cursor)
            if _matches(record, kind, code)
        )
        page = list(islice(wanted, limit + 1))
        following = page[limit][0] if len(page) > limit else None
        outcomes = self._outcomes([record for _, record in page[:limit]])
        shown = []
        for index, record in page[:limit]:
            disclosure = _deidentified(record, outcomes[record.id])
            if disclosure is not None:
                shown.append((index, disclosure))
        return ReleasedPage(tuple(shown), following)

    def _outcomes(self, records: Sequence[Record]) -> dict[str, Outcome]:
        """The contents of several records, each file read once."""
        places: dict[str, dict[str, Sequence[bytes]]] = {}
        for record in records:
            version = _held(record.current)
            places.setdefault(version.store, {})[record.id] = version.files
        outcomes: dict[str, Outcome] = {}
        for store, wanted in places.items():
            known = self.stores.get(store)
            if known is None:
                outcomes.update(dict.fromkeys(wanted, Outcome(None, "record-gone")))
            else:
                outcomes.update(known.read_many(wanted))
        return outcomes

    def _store(self, version: Version) -> DirectoryStore:
        if version.store not in self.stores:
            raise Unusable("record-gone")
        return self.stores[version.store]


def _matches(record: Record, kind: str, code: str) -> bool:
    version = _held(record.current)
    twin = _held(version.deidentified)
    if twin.rules_version != RULES_VERSION:
        return False
    return kind in ("", version.kind) and code in ("", twin.code)


def _deidentified(record: Record, outcome: Outcome) -> Disclosure | None:
    twin: DeidentifiedVersion = _held(_held(record.current).deidentified)
    if outcome.content is None:
        return None
    fields = deidentify(outcome.content, twin.year)
    if fields is None:
        return None
    commitment = commit_record(fields.fields, fields.dependencies, twin.secret)
    if commitment.root != twin.root:
        return None
    return _disclose(commitment, DEIDENTIFIED, fields.kind)


def _disclose(commitment: RecordCommitment, view: str, kind: str) -> Disclosure:
    return disclose(commitment, shown_paths(view, kind), view, VIEW_VERSIONS[view])


def _held(value: T | None) -> T:
    if value is None:
        raise Unusable("record-gone")
    return value
