"""One index run of a gateway as a job: rows first, then releases, with progress as JSON members."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ledger.light.records import RuleBook
from nodes.gateway.directory_store import DirectoryStore
from nodes.gateway.indexer import Indexer, IndexKeys, IndexSummary, Progress
from nodes.gateway.outbox import Outbox
from nodes.gateway.records_db import RecordsDb
from nodes.gateway.releases import Releases, ReleaseSummary
from nodes.gateway.server import Report


@dataclass(frozen=True, slots=True)
class IndexRun:
    """Everything that a run needs; call it to run."""

    db: RecordsDb
    stores: Sequence[DirectoryStore]
    keys: IndexKeys
    outbox: Outbox
    rows_per_transaction: int
    release_patients_min: int | None
    """k of the network, or None where this hospital releases nothing."""
    deidentified_rules: Callable[[], Awaitable[RuleBook]]
    """The rules of that view as the chain holds them."""

    async def __call__(self, progress: Callable[[Report], None]) -> Report:
        """Indexes, releases, and returns the summary; raises WorldFault, UnknownRules."""
        indexer = Indexer(
            self.db,
            self.stores,
            self.keys,
            self.outbox,
            year=datetime.now(UTC).year,
            rules=(await self.deidentified_rules()).in_force,
            progress=lambda at: progress(_progress(at)),
            rows_per_transaction=self.rows_per_transaction,
        )
        summary = await indexer.run()
        released = ReleaseSummary(0, 0, 0)
        if self.release_patients_min is not None:
            progress(_summary(summary, released) | {"phase": "releasing"})
            released = await Releases(self.db, self.outbox, self.release_patients_min).run()
        return _summary(summary, released)


def _progress(at: Progress) -> Report:
    return {
        "phase": "indexing",
        "records": at.records,
        "committed": at.committed,
        "problems": at.problems,
    }


def _summary(summary: IndexSummary, released: ReleaseSummary) -> Report:
    return {
        "phase": "done",
        "files": summary.files,
        "records": summary.records,
        "indexed": summary.indexed,
        "unchanged": summary.unchanged,
        "superseded": summary.superseded,
        "withdrawn": summary.withdrawn,
        "missing": summary.missing,
        "problems": summary.problems,
        "problems_by_reason": summary.problems_by_reason,
        "problem_list": [
            {"file": p.file, "position": p.position, "code": p.code, "text": p.text}
            for p in summary.problems_listed
        ],
        "released": released.released,
        "release_batches": released.batches,
        "release_waiting": released.waiting,
    }
