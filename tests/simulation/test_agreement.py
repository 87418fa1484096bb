"""Agreement, view change, restart and catch-up, on real drivers in simulated time."""

import itertools
from dataclasses import replace

import pytest

from ledger.catchup import Status
from ledger.consensus.messages import Commit, NewView, Prepare, PrePrepare
from ledger.primitives import Height, View
from nodes.driver import World
from nodes.frames import Channel, frame
from nodes.storage.ledger_store import LedgerStore
from tests.simulation.byzantine import consensus_message
from tests.simulation.cluster import TIMEOUT_MS, Cluster
from tests.simulation.swarm import NodeClock
from tests.vectors import fixed


def started(n: int, **options: int) -> Cluster:
    cluster = Cluster(n, **options)
    cluster.start()
    cluster.run(100)
    return cluster


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
def test_LIVE_1_transactions_commit_on_every_node_for_each_n(n):
    cluster = started(n)
    sent = [cluster.registration(i % n, patient=1 + i % 3) for i in range(12)]
    for i, transaction in enumerate(sent):
        assert cluster.submit(i % n, transaction) == [None]
    assert cluster.run(2_000, lambda: cluster.committed_everywhere(sent))
    cluster.check_agreement()
    assert all(driver.replica.view == 0 for driver in cluster.running())


def test_V6_an_idle_network_makes_an_empty_block_after_the_interval():
    cluster = started(4, empty_ms=5_000)
    assert cluster.run(7_000, lambda: min(cluster.heights()) >= 1)
    assert cluster.nodes[0].store.header(1).transaction_count == 0
    assert all(driver.replica.view == 0 for driver in cluster.running())


def test_LIVE_1_the_chain_goes_on_after_the_primary_dies():
    cluster = started(4)
    first = cluster.registration(1)
    cluster.submit(1, first)
    assert cluster.run(2_000, lambda: cluster.committed_everywhere([first]))
    cluster.kill(0)
    second = [cluster.registration(1), cluster.registration(2)]
    cluster.submit(1, second[0])
    cluster.submit(2, second[1])
    assert cluster.run(10 * TIMEOUT_MS, lambda: cluster.committed_everywhere(second))
    assert {driver.replica.view for driver in cluster.running()} == {1}
    cluster.check_agreement()


def test_SAFE_3_a_killed_node_catches_up_and_votes_again():
    cluster = started(4)
    cluster.kill(0)
    sent = [cluster.registration(1) for _ in range(5)]
    for transaction in sent:
        cluster.submit(1, transaction)
        assert cluster.run(20 * TIMEOUT_MS, lambda: cluster.heights()[0] >= 1)
    assert cluster.run(5_000, lambda: cluster.committed_everywhere(sent))
    cluster.start(0)
    top = max(cluster.heights())
    assert cluster.run(5_000, lambda: min(cluster.heights()) >= top)
    roots = {node.store.state_root for node in cluster.nodes}
    assert len(roots) == 1
    # It is needed now: with another node down, q can only be reached with its votes.
    cluster.kill(2)
    after = cluster.registration(3)
    cluster.submit(3, after)
    assert cluster.run(30 * TIMEOUT_MS, lambda: cluster.committed_everywhere([after]))
    cluster.check_agreement()


def test_V2_view_changes_leave_no_height_out():
    cluster = started(4)
    for victim in (0, 1, 2):  # each is primary when it dies
        cluster.kill(victim)
        sent = cluster.registration(3)
        cluster.submit(3, sent)
        assert cluster.run(60 * TIMEOUT_MS, lambda sent=sent: cluster.committed_everywhere([sent]))
        cluster.start(victim)
        cluster.run(2 * TIMEOUT_MS)
    assert {driver.replica.view for driver in cluster.running()} == {3}
    for node in cluster.nodes:
        headers = [node.store.header(h) for h in range(1, node.store.height + 1)]
        assert [header.height for header in headers] == list(range(1, len(headers) + 1))
        assert all(b.parent == a.hash for a, b in itertools.pairwise(headers))


@pytest.mark.parametrize("skew_ms", [-86_400_000, -3_600_000, 86_400_000])
def test_T2_who_catches_up_does_not_ask_its_own_clock(skew_ms):
    class OneClockJumped(Cluster):
        def world(self, index: int, store: LedgerStore) -> World:
            clock = NodeClock(self.clock, skew_ms if index == 3 else 0)
            return replace(super().world(index, store), clock=clock)

    cluster = OneClockJumped(4)
    cluster.start(0, 1, 2)
    for _ in range(5):
        cluster.submit(1, cluster.registration(1))
        cluster.run(500)
    top = max(cluster.heights())
    assert top >= 5
    cluster.start(3)
    assert cluster.run(5_000, lambda: cluster.heights()[3] >= top)
    # Whether it takes part or not: the others decide, and it follows.
    after = cluster.registration(2)
    cluster.submit(2, after)
    assert cluster.run(60 * TIMEOUT_MS, lambda: cluster.committed_everywhere([after]))
    cluster.check_agreement()


def test_LIVE_2_the_network_continues_from_its_disks_after_a_full_stop():
    cluster = started(4)
    sent = [cluster.registration(i) for i in range(4)]
    for i, transaction in enumerate(sent):
        cluster.submit(i, transaction)
    assert cluster.run(2_000, lambda: cluster.committed_everywhere(sent))
    cluster.kill(0, 1, 2, 3)
    cluster.run(10_000)
    cluster.start()
    after = cluster.registration(2)
    cluster.submit(2, after)
    assert cluster.run(10 * TIMEOUT_MS, lambda: cluster.committed_everywhere([after]))
    cluster.check_agreement()


@pytest.mark.parametrize("kind", [PrePrepare, Prepare, Commit, NewView])
def test_SAFE_1_a_full_stop_while_one_kind_of_vote_is_lost_keeps_agreement(kind):
    """Every vote is durable before it leaves, so any cut leads to the same block later."""
    cluster = started(4)
    sent = cluster.registration(1)

    def lose_kind(sender: int, receiver: int, frame: bytes) -> int | None:
        message = consensus_message(frame)
        return None if isinstance(message, kind) and receiver != 3 else 2

    cluster.judge = lose_kind
    cluster.submit(1, sent)
    cluster.run(1_700)
    cluster.kill(0, 1, 2, 3)
    cluster.judge = lambda sender, receiver, frame: 2
    cluster.start()
    cluster.submit(2, cluster.registration(2))
    assert cluster.run(60 * TIMEOUT_MS, lambda: min(cluster.heights()) >= 1)
    cluster.check_agreement()


@pytest.mark.parametrize("seed", range(20))
def test_SAFE_1_lossy_network_with_crashes_agrees_and_then_converges(seed):
    cluster = Cluster(4 + seed % 4, seed=seed, rotation=1 + seed % 5)
    n = len(cluster.nodes)
    loss = cluster.random.uniform(0.0, 0.3)

    def lossy(sender: int, receiver: int, frame: bytes) -> int | None:
        return None if cluster.random.random() < loss else cluster.random.randint(1, 200)

    cluster.judge = lossy
    cluster.start()
    sent = []
    for step in range(12):
        alive = [i for i in range(n) if cluster.nodes[i].driver is not None]
        transaction = cluster.registration(step % n)
        if not alive:
            alive = [step % n]
            cluster.start(*alive)
        cluster.submit(cluster.random.choice(alive), transaction)
        sent.append(transaction)
        cluster.run(cluster.random.randint(10, 1_500))
        victim = cluster.random.randrange(n)
        if cluster.nodes[victim].driver is None:
            cluster.start(victim)
        elif len(alive) == n or cluster.random.random() < 0.2:
            cluster.kill(victim)
    cluster.judge = lambda sender, receiver, frame: 5
    cluster.start(*[i for i in range(n) if cluster.nodes[i].driver is None])
    after = cluster.registration(0)
    cluster.submit(0, after)
    # A transaction whose only holder was killed may be gone (it was not acknowledged), so
    # only the last one is demanded, and that all nodes reach the same height and root.
    assert cluster.run(200 * TIMEOUT_MS, lambda: cluster.committed_everywhere([after]))
    cluster.run(5_000)
    assert len(set(cluster.heights())) == 1
    assert len({node.store.state_root for node in cluster.nodes}) == 1
    cluster.check_agreement()
    acknowledged = {t for node in cluster.nodes for t in node.committed}
    for transaction_id in acknowledged:
        assert all(node.store.executed(transaction_id) for node in cluster.nodes)


def test_A2_a_node_without_its_safety_store_follows_and_never_votes():
    cluster = Cluster(4)
    cluster.nodes[3].safety = None
    cluster.start()
    sent = cluster.registration(1)
    cluster.submit(3, sent)
    assert cluster.run(2_000, lambda: cluster.committed_everywhere([sent]))
    votes = []

    def watch(sender: int, receiver: int, frame: bytes) -> int | None:
        if sender == 3 and consensus_message(frame) is not None:
            votes.append(frame)
        return 2

    cluster.judge = watch
    cluster.submit(3, cluster.registration(2))
    cluster.run(2_000)
    assert votes == []
    assert cluster.nodes[3].driver.observer


def test_LIVE_1_a_transaction_that_only_one_validator_holds_is_committed():
    """It was cut off when its client came; others pass on nothing that they never saw."""
    cluster = started(4)
    cluster.run(1_000)
    cluster.judge = lambda sender, receiver, frame: None if 1 in (sender, receiver) else 2
    sent = cluster.registration(1)
    cluster.submit(1, sent)
    cluster.run(10)
    cluster.judge = lambda sender, receiver, frame: 2
    assert cluster.run(20 * TIMEOUT_MS, lambda: cluster.committed_everywhere([sent]))
    cluster.check_agreement()


def test_LIVE_1_a_primary_that_restarts_after_its_new_view_follows_it():
    """Its NEW-VIEW is on disk and with nobody else; with one more down its votes are needed."""
    cluster = Cluster(4)
    cluster.judge = lambda sender, receiver, frame: (
        None if isinstance(consensus_message(frame), NewView) else 2
    )
    cluster.start(1, 2, 3)
    opened = cluster.nodes[1].trace
    assert cluster.run(10 * TIMEOUT_MS, lambda: opened.count("new_view") == 1)
    cluster.kill(1)
    cluster.judge = lambda sender, receiver, frame: 2
    cluster.start(1)
    assert cluster.run(2 * TIMEOUT_MS, lambda: min(cluster.heights()) == 1)
    assert {driver.replica.view for driver in cluster.running()} == {1}


def test_R4_a_flood_of_false_statuses_is_answered_rarely():
    cluster = started(4)
    cluster.kill(0)
    cluster.submit(1, cluster.registration(1))
    assert cluster.run(10 * TIMEOUT_MS, lambda: min(cluster.heights()) >= 1)
    answers = []
    cluster.judge = lambda sender, receiver, frame: answers.append(frame) if receiver == 0 else 2
    false = Status(Height(2), View(0), True).encode()
    for _ in range(200):
        cluster.nodes[1].driver.on_frame(fixed.hospital(0), frame(Channel.STATUS, false))
    assert len([data for data in answers if consensus_message(data) is not None]) == 1
