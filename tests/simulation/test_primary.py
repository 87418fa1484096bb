"""A primary that answers, and yet holds transactions or the whole chain back, is replaced."""

import pytest

from ledger.consensus.messages import PrePrepare
from tests.simulation.byzantine import consensus_message
from tests.simulation.cluster import TIMEOUT_MS, Cluster


def calls(cluster: Cluster, event: str) -> int:
    return sum(node.trace.count(event) for node in cluster.nodes)


@pytest.mark.parametrize("n", [4, 7])
def test_V5_a_transaction_that_the_primary_leaves_out_is_ordered_by_the_next(n):
    cluster = Cluster(n)
    cluster.start()
    unwanted = cluster.registration(1)
    primary = cluster.nodes[0].driver
    of_all = primary.mempool.candidates
    primary.mempool.candidates = lambda *limits: tuple(
        each for each in of_all(*limits) if each.value.id != unwanted.id
    )
    cluster.submit(1, unwanted)
    others = []
    for _ in range(40):
        others.append(cluster.registration(2))
        cluster.submit(2, others[-1])
        cluster.run(TIMEOUT_MS // 4)
    assert cluster.committed_everywhere([unwanted, *others])
    assert calls(cluster, "transaction_overlooked") >= n - 1 - (n - 1) // 3
    assert calls(cluster, "no_progress") == 0
    cluster.check_agreement()


def test_V5_a_transaction_that_may_not_be_executed_any_more_costs_no_primary_its_place():
    cluster = Cluster(4)
    cluster.start()
    late = cluster.registration(1)
    driver = cluster.nodes[2].driver
    cluster.submit(2, late)
    assert cluster.run(1_000, lambda: cluster.committed_everywhere([late]))
    # As if it had come back into one mempool after it was executed.
    driver.mempool.add(driver.chain.verify(late), "hospital-01", cluster.clock.now_ms)
    cluster.run(20 * TIMEOUT_MS)
    assert len(driver.mempool) == 0
    assert calls(cluster, "transaction_overlooked") == 0


def slow(cluster: Cluster, by_ms: int) -> None:
    """Validator 0 sends each proposal of its own so much later."""

    def judge(sender: int, receiver: int, frame: bytes) -> int:
        message = consensus_message(frame) if sender == 0 else None
        return by_ms if isinstance(message, PrePrepare) else cluster.random.randint(1, 5)

    cluster.judge = judge


def rounds(cluster: Cluster, count: int) -> None:
    for _ in range(count):
        sent = cluster.registration(1)
        cluster.submit(1, sent)
        assert cluster.run(100 * TIMEOUT_MS, lambda sent=sent: cluster.committed_everywhere([sent]))


def test_V4_a_primary_that_is_always_just_in_time_is_replaced():
    cluster = Cluster(4)
    slow(cluster, TIMEOUT_MS * 9 // 10)
    cluster.start()
    rounds(cluster, 12)
    assert calls(cluster, "slow_primary") > 0
    assert calls(cluster, "no_progress") == 0
    assert {driver.replica.primary for driver in cluster.running()} == {1}


def test_V4_a_primary_that_is_slow_now_and_then_keeps_its_place():
    cluster = Cluster(4)
    cluster.start()
    for _ in range(10):
        slow(cluster, TIMEOUT_MS * 9 // 10)
        rounds(cluster, 2)
        slow(cluster, 5)
        rounds(cluster, 3)
    assert calls(cluster, "view_change") == 0


def test_V4_rotation_replaces_a_slow_primary_without_a_view_change():
    cluster = Cluster(4, rotation=1)
    slow(cluster, TIMEOUT_MS * 9 // 10)
    cluster.start()
    began = cluster.clock.now_ms
    rounds(cluster, 20)
    assert calls(cluster, "view_change") == 0
    assert cluster.clock.now_ms - began < 20 * TIMEOUT_MS // 2
