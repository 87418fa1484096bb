"""Publishes de-identified roots in batches that hide which patient each is of (PRIV-2).

Why a guess succeeds with probability 1/k at best: a batch holds m >= k roots of m different
patients, in the order of their bytes. A root is a hash under a secret of its own, so its bytes
and its place say nothing; who knows which m patients are in the batch has m candidates for each
root, all alike. Two roots of one patient in one batch would make that patient the better guess,
so there are none. Batches are made as even, hence as large, as the waiting roots allow.

A patient with many more records than k-1 others leaves roots over: they wait, and are counted.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ledger.limits import ROOTS_PER_RELEASE_MAX
from ledger.primitives import PatientKey
from nodes.gateway.outbox import IN_FLIGHT_MAX, Outbox
from nodes.gateway.records_db import PUBLISH, OutboxItem, RecordsDb, Waiting


@dataclass(frozen=True, slots=True)
class ReleaseSummary:
    """What one run published."""

    batches: int
    released: int
    waiting: int
    """Roots that cannot be released yet without narrowing a guess to fewer than k patients."""


def plan_batches(
    waiting: Iterable[Waiting], k: int, limit: int = ROOTS_PER_RELEASE_MAX
) -> list[list[Waiting]]:
    """Batches of k to ``limit`` roots, at most one of each patient, each sorted by root.

    As many roots as possible are placed: with B batches a patient gives at most B of them, so
    the largest B for which sum(min(count, B)) >= k B leaves the fewest over. Each patient's
    roots then go to consecutive batches, round and round, which keeps the batches even.
    """
    by_patient: defaultdict[PatientKey, list[Waiting]] = defaultdict(list)
    for item in sorted(waiting, key=lambda item: item.root):
        by_patient[item.patient].append(item)
    counts = [len(items) for items in by_patient.values()]
    number = _batch_count(counts, k)
    if number == 0:
        return []
    # More than ``limit`` patients with about as many roots each: more, smaller batches do, as long
    # as each still has k; where it would not, what exceeds the limit waits for the next run.
    placed = sum(min(count, number) for count in counts)
    number = max(number, min(-(-placed // limit), placed // k))
    batches: list[list[Waiting]] = [[] for _ in range(number)]
    place = 0
    for _, items in sorted(by_patient.items()):
        for item in items[: min(number, number * limit - place)]:
            batches[place % number].append(item)
            place += 1
    return [sorted(batch, key=lambda item: item.root) for batch in batches]


def _batch_count(counts: Sequence[int], k: int) -> int:
    """The largest number of batches that all reach k; the surplus is concave in it."""
    low, high = 0, max(counts, default=0)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(count, middle) for count in counts) >= k * middle:
            low = middle
        else:
            high = middle - 1
    return low


class Releases:
    """The releases of one hospital; never at the same time as a run of its indexer."""

    def __init__(self, db: RecordsDb, outbox: Outbox, k: int) -> None:
        """``k`` is the network's parameter ``release_patients_min``."""
        self._db = db
        self._outbox = outbox
        self._k = k

    async def run(self) -> ReleaseSummary:
        """Publishes whatever may be; raises OutcomeUnknown where the network does not answer."""
        await self._outbox.settle_all()
        waiting = await asyncio.to_thread(lambda: list(self._db.waiting()))
        batches = await asyncio.to_thread(plan_batches, waiting, self._k)
        released = published = 0
        for first in range(0, len(batches), IN_FLIGHT_MAX):
            part = batches[first : first + IN_FLIGHT_MAX]
            sent = [(batch, await self._send(batch)) for batch in part]
            for batch, item in sent:
                if (await self._outbox.settle(item)).ok:
                    published += 1
                    released += len(batch)
        return ReleaseSummary(published, released, len(waiting) - released)

    async def _send(self, batch: Sequence[Waiting]) -> OutboxItem:
        roots = tuple(item.root for item in batch)
        ids = [item.record_id for item in batch]
        return await self._outbox.send(PUBLISH, (roots,), ids, ())
