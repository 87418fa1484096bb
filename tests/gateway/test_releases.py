"""PRIV-2: how de-identified roots are put into batches."""

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.primitives import Hash32, PatientKey
from nodes.gateway.records_db import Waiting
from nodes.gateway.releases import plan_batches


def waiting(counts: list[int]) -> list[Waiting]:
    return [
        Waiting(
            f"{patient}/{number}",
            PatientKey(sha256(b"p%d" % patient).digest()),
            Hash32(sha256(b"%d/%d" % (patient, number)).digest()),
        )
        for patient, count in enumerate(counts)
        for number in range(count)
    ]


COUNTS = st.lists(st.integers(0, 12), max_size=14)


@settings(max_examples=200, deadline=None)
@given(COUNTS, st.integers(1, 8), st.integers(8, 20))
def test_PRIV_2_every_batch_has_k_patients_once_each(counts: list[int], k: int, limit: int) -> None:
    roots = waiting(counts)
    batches = plan_batches(roots, k, limit)
    for batch in batches:
        assert k <= len(batch)
        assert len({item.patient for item in batch}) == len(batch)
        assert [item.root for item in batch] == sorted({item.root for item in batch})
    placed = [item for batch in batches for item in batch]
    assert len(placed) == len(set(placed))
    assert set(placed) <= set(roots)
    sizes = [len(batch) for batch in batches]
    assert all(size <= limit for size in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1


@settings(max_examples=200, deadline=None)
@given(COUNTS, st.integers(1, 8))
def test_no_plan_leaves_fewer_over(counts: list[int], k: int) -> None:
    """The twin: take from the k patients who have most left, again and again."""
    left = list(counts)
    most = 0
    while sum(count > 0 for count in left) >= k:
        left.sort(reverse=True)
        left[:k] = [count - 1 for count in left[:k]]
        most += 1
    placed = sum(map(len, plan_batches(waiting(counts), k)))
    assert placed >= sum(counts) - sum(left)
    assert placed == sum(min(count, most) for count in counts)


def test_PRIV_2_no_batch_is_made_smaller_than_k_to_stay_within_the_limit() -> None:
    assert list(map(len, plan_batches(waiting([1] * 9), 5, 8))) == [8]


def test_a_release_stays_within_its_limit() -> None:
    sizes = list(map(len, plan_batches(waiting([1] * 2_500), 32)))
    assert sum(sizes) == 2_500
    assert max(sizes) <= 1_000
