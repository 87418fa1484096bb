"""Budgets, with the time brought in; what one peer spends, no other peer and no class pays."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import BadSignature
from ledger.primitives import MemberId, TimestampMs
from nodes import quotas
from nodes.frames import Channel
from nodes.quotas import FAULT_US, FRAME_US, REPORT_MS, SHARES, SIGNATURE_US, Quotas, answer_us
from nodes.token_bucket import TokenBucket
from tests.simulation.cluster import Trace

A, B = MemberId("hospital-a"), MemberId("hospital-b")
QUORUM = 3


class Clock:
    """A clock that a test moves."""

    now_ms = 1_000

    def monotonic_ms(self) -> int:
        return self.now_ms

    def wall_ms(self) -> TimestampMs:
        return TimestampMs(self.now_ms)


def opened() -> tuple[Quotas, Clock, Trace]:
    clock, trace = Clock(), Trace()
    return Quotas(clock, trace, QUORUM), clock, trace


def burst(account: Quotas, peer: MemberId, channel: Channel, size: int = 100) -> int:
    """How many frames are admitted in one instant."""
    return next(n for n in itertools.count() if not account.admits(peer, channel, size))


def test_a_bucket_is_full_at_first_and_refills_with_time_up_to_its_burst() -> None:
    bucket = TokenBucket(10, 30)
    assert bucket.left(5) == 30
    bucket.spend(30, 5)
    assert (bucket.left(5), bucket.wait_ms(5)) == (0, 100)
    assert bucket.left(104) == 0
    assert bucket.left(105) == 1
    assert bucket.left(1_000_000) == 30


def test_R3_a_debt_ends_whatever_was_spent() -> None:
    bucket = TokenBucket(10, 30)
    bucket.spend(10**12, 0)
    assert bucket.left(0) == -30
    assert bucket.left(3_000) == 0
    assert bucket.left(3_100) == 1


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(10, 30)
    bucket.spend(30, 1_000)
    assert bucket.left(500) == 0
    assert bucket.left(1_000) == 0
    assert bucket.left(1_100) == 1


@given(
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 10**6)), max_size=50),
)
def test_R3_no_schedule_spends_more_than_burst_rate_and_one_cost(rate, capacity, steps):
    bucket, now, spent, largest = TokenBucket(rate, capacity), 0, 0, 0
    for later_ms, cost in steps:
        now += later_ms
        if bucket.left(now) > 0:
            bucket.spend(cost, now)
            # A debt beyond the burst is forgiven; costs of the node's own stay far below it.
            cost = min(cost, capacity)
            spent, largest = spent + cost, max(largest, cost)
        else:
            assert replace(bucket).left(now + bucket.wait_ms(now)) > 0
    assert spent <= capacity + rate * now // 1000 + largest + 1


@pytest.mark.parametrize("channel", Channel)
def test_R3_every_class_has_a_share_that_a_flood_uses_up_and_time_gives_back(
    channel: Channel,
) -> None:
    account, clock, _ = opened()
    assert burst(account, A, channel) > 0
    assert account.dropped(A) == {channel.name.lower(): 1}
    clock.now_ms += 1_000
    again = burst(account, A, channel)
    share = SHARES[channel]
    assert again == -(-share.work_us_per_second // share.frame_us)


@pytest.mark.parametrize("flooded", Channel)
def test_R3_a_flood_of_one_class_costs_no_other_class_and_no_other_peer(flooded: Channel) -> None:
    account, _, _ = opened()
    burst(account, A, flooded)
    for channel in Channel:
        assert account.admits(A, channel, 100) == (channel is not flooded)
        assert account.admits(B, channel, 100)
    assert account.dropped(B) == {}


def test_R4_bad_signatures_soon_cost_nothing_and_honest_votes_pass_again_after_a_while() -> None:
    account, clock, _ = opened()
    fault = BadSignature("commit of validator 3")
    looked_at = 0
    for _ in range(10_000):
        clock.now_ms += 1
        if account.admits(A, Channel.CONSENSUS, 150):
            looked_at += 1
            account.charge(A, Channel.CONSENSUS, SIGNATURE_US)
            account.blame(A, Channel.CONSENSUS, fault)
    # 15 a second, and the burst once.
    assert looked_at < 10 * 150_000 // FAULT_US + 40
    assert account.faults(A) == looked_at
    clock.now_ms += 4_000
    assert all(account.admits(A, Channel.CONSENSUS, 150) for _ in range(500))


def test_R4_junk_votes_of_one_peer_take_at_most_15_percent_of_a_core() -> None:
    """Valid signatures that nobody needs, as many as the peer can make, for 20 s."""
    account, clock, _ = opened()
    verified = 0
    for _ in range(20_000):
        clock.now_ms += 1
        for _ in range(4):
            if account.admits(A, Channel.CONSENSUS, 150):
                verified += 1
                account.charge(A, Channel.CONSENSUS, SIGNATURE_US)
    assert verified * (SIGNATURE_US + FRAME_US) / 20e6 < 0.17


@pytest.mark.parametrize(
    ("channel", "per_second", "size", "extra_us"),
    [
        # Two votes a block at 400 blocks/s, four times the measured rate.
        (Channel.CONSENSUS, 800, 150, SIGNATURE_US),
        # 15,000 rows/s in blocks of half a MiB, beside votes.
        (Channel.CONSENSUS, 20, 512 * 1024, SIGNATURE_US),
        # Repeats of all own messages, and statuses.
        (Channel.STATUS, 8, 20, 0),
        (Channel.CERTIFICATE, 4, 400, QUORUM * SIGNATURE_US),
        # 1,300 small blocks a second, or 4 MiB answers six times a second.
        (Channel.BLOCK_REQUEST, 20, 10, answer_us(64 * 1024, 64)),
        (Channel.BLOCK_REQUEST, 6, 10, answer_us(4 << 20, 4)),
        (Channel.BLOCKS, 16, 4 << 20, 0),
        (Channel.BODY_REQUEST, 2, 32, answer_us(2 << 20)),
        (Channel.BODY, 2, 2 << 20, 0),
        # 4,500 single transactions a second in frames of 500; 200 batches of 100 rows.
        (Channel.TRANSACTIONS, 9, 160_000, 500 * SIGNATURE_US),
        (Channel.TRANSACTIONS, 200, 25_000, SIGNATURE_US),
    ],
)
def test_R3_the_busiest_honest_peer_is_never_throttled(
    channel: Channel, per_second: int, size: int, extra_us: int
) -> None:
    account, clock, _ = opened()
    for number in range(60 * per_second):
        clock.now_ms = 1_000 + number * 1_000 // per_second
        assert account.admits(A, channel, size)
        account.charge(A, channel, extra_us)
    assert account.dropped(A) == {}


@pytest.mark.parametrize("quorum", [3, 7, 21, 86])
def test_V1_the_largest_new_view_does_not_shut_its_primary_out(quorum: int) -> None:
    account = Quotas(Clock(), Trace(), quorum)
    assert account.admits(A, Channel.CONSENSUS, 100_000)
    account.charge(A, Channel.CONSENSUS, (2 + quorum * (2 * quorum + 1)) * SIGNATURE_US)
    assert all(account.admits(A, Channel.CONSENSUS, 150) for _ in range(100))


def test_R3_drops_are_counted_by_class_and_reported_once_a_second() -> None:
    account, clock, trace = opened()
    began = clock.now_ms
    while clock.now_ms < began + 5_000:
        clock.now_ms += 1
        for channel in (Channel.STATUS, Channel.BODY):
            for _ in range(20):
                account.admits(A, channel, 10)
    reports = [fields for name, fields in trace.events if name == "frames_dropped"]
    assert 1 <= len(reports) <= 5_000 // REPORT_MS + 1
    dropped = account.dropped(A)
    assert set(dropped) == {"body", "status"}
    assert reports[-1]["peer"] == A
    assert 0 < int(reports[-1]["dropped"]) <= sum(dropped.values())
    assert account.dropped(B) == {}


def test_the_share_of_transactions_holds_a_full_mempool() -> None:
    account, _, _ = opened()
    for _ in range(quotas.MEMPOOL_TRANSACTIONS_MAX // 500 - 1):
        assert account.admits(A, Channel.TRANSACTIONS, 150_000)
        account.charge(A, Channel.TRANSACTIONS, 500 * SIGNATURE_US)
