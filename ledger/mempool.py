"""Verified transactions that wait for a block: bounded, fair between members (R2).

Every operation costs O(1) per transaction, amortised. There is no clock in here: arrival
times are the caller's, and only their differences mean anything.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from ledger.crypto.keys import Verified
from ledger.errors import PeerFault, WorldFault
from ledger.limits import MEMPOOL_BYTES_MAX, MEMPOOL_PER_MEMBER_MAX, MEMPOOL_TRANSACTIONS_MAX
from ledger.primitives import Hash32, Height, MemberId
from ledger.types.transaction import SignedTransaction


@dataclass(eq=False)
class MempoolFull(WorldFault):
    """No room for another transaction now; send it again after the next blocks."""

    bound: str
    """Which bound is reached: transactions, bytes, and the same of one member."""
    limit: int
    template = "mempool: full: {limit} {bound}; retry later"


@dataclass(eq=False)
class AlreadyKnown(PeerFault):
    """The transaction waits here already; nothing needs to be done."""

    transaction_id: Hash32
    template = "transaction {transaction_id}: waits in the mempool already"


@dataclass(frozen=True, slots=True)
class _Entry:
    transaction: Verified[SignedTransaction]
    member: MemberId
    arrival_ms: int


@dataclass(slots=True)
class _Queue:
    """One member's transactions, in arrival order."""

    ids: OrderedDict[Hash32, None]
    size_bytes: int


class Mempool:
    """The waiting transactions of one node."""

    def __init__(
        self,
        *,
        transactions_max: int = MEMPOOL_TRANSACTIONS_MAX,
        bytes_max: int = MEMPOOL_BYTES_MAX,
        per_member_max: int = MEMPOOL_PER_MEMBER_MAX,
    ) -> None:
        self._transactions_max = transactions_max
        self._bytes_max = bytes_max
        self._per_member_max = per_member_max
        # A member gets the same share of the bytes as of the places, or a few large
        # transactions would shut out all others.
        self._per_member_bytes_max = bytes_max * per_member_max // transactions_max
        # OrderedDict, because dict finds its first key in O(n) after n removals in front.
        self._entries: OrderedDict[Hash32, _Entry] = OrderedDict()
        self._by_bytes: dict[bytes, Verified[SignedTransaction]] = {}
        self._queues: OrderedDict[MemberId, _Queue] = OrderedDict()
        self._by_expiry: dict[int, set[Hash32]] = {}
        self._expiries: list[int] = []
        self._size_bytes = 0

    def __len__(self) -> int:
        """How many transactions wait."""
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Sum of the lengths of the waiting transactions' bytes."""
        return self._size_bytes

    def add(self, transaction: Verified[SignedTransaction], member: MemberId, now_ms: int) -> None:
        """Takes a transaction that passed ``execution.check_transaction`` for ``member``.

        Raises AlreadyKnown by its id, or MempoolFull.
        """
        signed = transaction.value
        if signed.id in self._entries:
            raise AlreadyKnown(signed.id)
        size = len(signed.encoded)
        queue = self._queues.get(member)
        self._check_room(size, queue)
        if queue is None:
            queue = self._queues[member] = _Queue(OrderedDict(), 0)
        queue.ids[signed.id] = None
        queue.size_bytes += size
        self._size_bytes += size
        self._entries[signed.id] = _Entry(transaction, member, now_ms)
        self._by_bytes[signed.encoded] = transaction
        if signed.body.valid_until not in self._by_expiry:
            self._by_expiry[signed.body.valid_until] = set()
            heapq.heappush(self._expiries, signed.body.valid_until)
        self._by_expiry[signed.body.valid_until].add(signed.id)

    def get(self, transaction_id: Hash32) -> Verified[SignedTransaction] | None:
        """The waiting transaction of that id."""
        entry = self._entries.get(transaction_id)
        return None if entry is None else entry.transaction

    def get_by_bytes(self, encoded: bytes) -> Verified[SignedTransaction] | None:
        """The waiting transaction of exactly these bytes, so that no signature is checked twice.

        By all of its bytes, not by its id: the signature is part of what was verified (B7).
        """
        return self._by_bytes.get(encoded)

    def candidates(
        self, limit_count: int, limit_bytes: int
    ) -> tuple[Verified[SignedTransaction], ...]:
        """The next transactions for a block: one of each member in turn, oldest first.

        Stops before the one that would exceed a limit. Members take turns in the order in which
        their queues began. Nothing is removed.
        """
        chosen: list[Verified[SignedTransaction]] = []
        turns = [iter(queue.ids) for queue in self._queues.values()]
        while turns:
            waiting = []
            for turn in turns:
                transaction_id = next(turn, None)
                if transaction_id is None:
                    continue
                transaction = self._entries[transaction_id].transaction
                limit_bytes -= len(transaction.value.encoded)
                if limit_bytes < 0 or len(chosen) >= limit_count:
                    return tuple(chosen)
                chosen.append(transaction)
                waiting.append(turn)
            turns = waiting
        return tuple(chosen)

    def remove(self, ids: Iterable[Hash32]) -> None:
        """Forgets these transactions; ids that do not wait here are skipped."""
        for transaction_id in ids:
            entry = self._entries.pop(transaction_id, None)
            if entry is not None:
                self._by_expiry[entry.transaction.value.body.valid_until].discard(transaction_id)
                self._forget(entry)

    def expire(self, height: Height) -> tuple[Hash32, ...]:
        """Forgets what may no longer be executed at ``height``; returns the ids, sorted."""
        expired: list[Hash32] = []
        while self._expiries and self._expiries[0] < height:
            for transaction_id in self._by_expiry.pop(heapq.heappop(self._expiries)):
                self._forget(self._entries.pop(transaction_id))
                expired.append(transaction_id)
        return tuple(sorted(expired))

    def oldest(self) -> tuple[Verified[SignedTransaction], int] | None:
        """The transaction that waits longest, and when it came; None when nothing waits."""
        entry = next(iter(self._entries.values()), None)
        return None if entry is None else (entry.transaction, entry.arrival_ms)

    def _check_room(self, size: int, queue: _Queue | None) -> None:
        if len(self._entries) >= self._transactions_max:
            raise MempoolFull("transactions", self._transactions_max)
        if self._size_bytes + size > self._bytes_max:
            raise MempoolFull("bytes", self._bytes_max)
        if queue is not None and len(queue.ids) >= self._per_member_max:
            raise MempoolFull("transactions of this member", self._per_member_max)
        if size + (0 if queue is None else queue.size_bytes) > self._per_member_bytes_max:
            raise MempoolFull("bytes of this member", self._per_member_bytes_max)

    def _forget(self, entry: _Entry) -> None:
        """Takes a removed entry out of all indexes but the one of expiry."""
        signed = entry.transaction.value
        size = len(signed.encoded)
        del self._by_bytes[signed.encoded]
        self._size_bytes -= size
        queue = self._queues[entry.member]
        del queue.ids[signed.id]
        queue.size_bytes -= size
        if not queue.ids:
            del self._queues[entry.member]
