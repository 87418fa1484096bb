"""The mempool against a dumb model: bounds, fairness, order, expiry (R2)."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ledger.crypto.keys import Verified
from ledger.mempool import AlreadyKnown, Mempool, MempoolFull
from ledger.primitives import Hash32, Height, MemberId
from ledger.types.transaction import SignedTransaction
from tests.contracts.support import signed

MEMBERS = tuple(MemberId(name) for name in ("hospital-a", "hospital-b", "vendor-new"))
LIMITS = {"transactions_max": 6, "bytes_max": 1_800, "per_member_max": 4}


def transaction(number: int, size: int = 0, valid_until: int = 9) -> Verified[SignedTransaction]:
    return signed(
        "hospital-a/gateway", "index/x", bytes(size), nonce=number, valid_until=valid_until
    )


POOL = [transaction(i, size=90 * (i % 4), valid_until=5 + i % 7) for i in range(16)]
INDEX = st.integers(0, len(POOL) - 1)


class MempoolMachine(RuleBasedStateMachine):
    """The model: one list of (transaction, member, arrival), in arrival order."""

    def __init__(self) -> None:
        super().__init__()
        self.mempool = Mempool(**LIMITS)
        self.model: list[tuple[Verified[SignedTransaction], MemberId, int]] = []
        self.order: list[MemberId] = []
        self.now = 0

    def _size(self, member: MemberId | None = None) -> int:
        return sum(len(t.value.encoded) for t, m, _ in self.model if member in (None, m))

    @rule(index=INDEX, member=st.sampled_from(MEMBERS))
    def add(self, index, member):
        tx, self.now = POOL[index], self.now + 1
        size = len(tx.value.encoded)
        mine = [m for _, m, _ in self.model if m == member]
        if any(t == tx for t, _, _ in self.model):
            with pytest.raises(AlreadyKnown) as known:
                self.mempool.add(tx, member, self.now)
            assert known.value.transaction_id == tx.value.id
            return
        if len(self.model) == 6:
            expected = ("transactions", 6)
        elif self._size() + size > 1_800:
            expected = ("bytes", 1_800)
        elif len(mine) == 4:
            expected = ("transactions of this member", 4)
        elif self._size(member) + size > 1_200:
            expected = ("bytes of this member", 1_200)
        else:
            self.mempool.add(tx, member, self.now)
            self.model.append((tx, member, self.now))
            if member not in self.order:
                self.order.append(member)
            return
        with pytest.raises(MempoolFull) as full:
            self.mempool.add(tx, member, self.now)
        assert (full.value.bound, full.value.limit) == expected

    @rule(indexes=st.lists(INDEX, max_size=4))
    def remove(self, indexes):
        ids = [POOL[i].value.id for i in indexes]
        self.mempool.remove([*ids, Hash32(bytes(32))])
        self.model = [entry for entry in self.model if entry[0].value.id not in ids]
        self._keep_order()

    @rule(height=st.integers(3, 13))
    def expire(self, height):
        gone = {t.value.id for t, _, _ in self.model if t.value.body.valid_until < height}
        assert self.mempool.expire(Height(height)) == tuple(sorted(gone))
        self.model = [entry for entry in self.model if entry[0].value.id not in gone]
        self._keep_order()

    @rule(count=st.integers(0, 8), size=st.integers(0, 2_000))
    def candidates(self, count, size):
        # One transaction of each member in turn; a member's turn begins when its queue does.
        queues = [[t for t, m, _ in self.model if m == member] for member in self.order]
        turns: list[Verified[SignedTransaction]] = []
        while any(queues):
            turns += [queue.pop(0) for queue in queues if queue]
        expected: list[Verified[SignedTransaction]] = []
        for tx in turns:
            if len(expected) == count or sum_bytes([*expected, tx]) > size:
                break
            expected.append(tx)
        assert self.mempool.candidates(count, size) == tuple(expected)

    @invariant()
    def it_holds_what_the_model_holds(self):
        assert len(self.mempool) == len(self.model)
        assert self.mempool.size_bytes == self._size()
        oldest = self.mempool.oldest()
        assert (oldest and oldest[1]) == (self.model[0][2] if self.model else None)
        waiting = {t.value.id for t, _, _ in self.model}
        for tx in POOL:
            expected = tx if tx.value.id in waiting else None
            assert self.mempool.get(tx.value.id) is expected
            assert self.mempool.get_by_bytes(bytes(bytearray(tx.value.encoded))) is expected

    def _keep_order(self) -> None:
        present = {m for _, m, _ in self.model}
        self.order = [m for m in self.order if m in present]


def sum_bytes(transactions: list[Verified[SignedTransaction]]) -> int:
    return sum(len(tx.value.encoded) for tx in transactions)


MempoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_R2_mempool_agrees_with_its_model = MempoolMachine.TestCase


def test_R2_a_flood_of_one_member_delays_others_by_one_place_only():
    mempool = Mempool()
    flood, quiet = MEMBERS[:2]
    for number in range(50):
        mempool.add(transaction(number), flood, number)
    mempool.add(transaction(50), quiet, 50)
    order = [tx.value.body.nonce[-1] for tx in mempool.candidates(100, 10**6)]
    assert order == [0, 50, *range(1, 50)]


def test_R2_a_member_cannot_fill_the_bytes_of_the_others():
    mempool = Mempool(transactions_max=10, bytes_max=10_000, per_member_max=5)
    mempool.add(transaction(0, size=4_000), MEMBERS[0], 0)
    with pytest.raises(MempoolFull) as full:
        mempool.add(transaction(1, size=4_000), MEMBERS[0], 0)
    assert full.value.bound == "bytes of this member"
    mempool.add(transaction(1, size=4_000), MEMBERS[1], 0)


def test_R2_each_bound_is_reached_exactly_and_no_further():
    size = len(transaction(0).value.encoded)
    cases = {
        ("transactions", 3): Mempool(transactions_max=3, bytes_max=10**6, per_member_max=3),
        ("bytes", 3 * size): Mempool(transactions_max=9, bytes_max=3 * size, per_member_max=9),
        ("transactions of this member", 3): Mempool(
            transactions_max=9, bytes_max=10**6, per_member_max=3
        ),
        ("bytes of this member", 3 * size): Mempool(
            transactions_max=8, bytes_max=6 * size, per_member_max=4
        ),
    }
    for (bound, limit), mempool in cases.items():
        for number in range(3):
            mempool.add(transaction(number), MEMBERS[0], number)
        with pytest.raises(MempoolFull) as full:
            mempool.add(transaction(3), MEMBERS[0], 3)
        assert (full.value.bound, full.value.limit) == (bound, limit)
        assert len(mempool) == 3
        assert len(mempool.candidates(3, 3 * size)) == 3
        assert len(mempool.candidates(3, 3 * size - 1)) == 2
        assert len(mempool.candidates(2, 3 * size)) == 2


def test_B7_other_bytes_of_the_same_id_are_not_found_as_verified():
    mempool = Mempool()
    tx = transaction(1)
    mempool.add(tx, MEMBERS[0], 0)
    encoded = bytearray(tx.value.encoded)
    encoded[-1] ^= 1
    other = SignedTransaction.decode(bytes(encoded))
    assert other.id == tx.value.id
    assert mempool.get_by_bytes(other.encoded) is None
    assert mempool.get_by_bytes(tx.value.encoded) is tx


def test_what_waits_longest_comes_first_until_the_last():
    mempool = Mempool()
    for number in range(300):
        mempool.add(transaction(number), MEMBERS[0], number)
    for number in range(299):
        (oldest,) = mempool.candidates(1, 10**6)
        assert mempool.oldest() == (oldest, number)
        mempool.remove([oldest.value.id])
    assert len(mempool) == 1
