"""Hospitals get and lose the vote, and renew keys, while the chain goes on (M1, M2, A2)."""

from collections.abc import Iterable

import pytest

from ledger.light.bundles import MembershipChange
from ledger.light.trust import advance, trust_genesis
from ledger.types.block import Receipt
from ledger.types.governance import Change, GiveVote, TakeVote
from ledger.types.transaction import SignedTransaction
from nodes.storage.memory import MemoryStorage
from nodes.storage.safety_store import MemorySafetyStore
from tests.simulation.cluster import TIMEOUT_MS, Cluster
from tests.vectors import fixed
from tests.vectors.fixed import FixedSigner

PATIENCE_MS = 100 * TIMEOUT_MS


def commit(cluster: Cluster, through: int, sent: SignedTransaction) -> Receipt:
    """Hands a transaction to one validator; its receipt once all live nodes have it."""
    cluster.submit(through, sent)
    assert cluster.run(PATIENCE_MS, lambda: cluster.committed_everywhere([sent]))
    store = cluster.nodes[through].store
    height, place = store.executed(sent.id)
    receipt = store.receipt(height, place)
    assert receipt.ok, receipt
    return receipt


def decide(cluster: Cluster, change: Change, by: Iterable[int]) -> int:
    """The hospitals of ``by`` propose and approve; the height that carried it."""
    first, *others = by
    receipt = commit(cluster, first, cluster.governed(first, "propose", change.to_value()))
    for member in others:
        if receipt.fields[1]:
            break
        approval = cluster.governed(member, "approve", receipt.fields[0])
        receipt = commit(cluster, member, approval)
    assert receipt.fields[1] == 1, "it is not carried"
    return cluster.nodes[first].store.height


def work(cluster: Cluster, through: int, rounds: int = 3) -> None:
    for _ in range(rounds):
        commit(cluster, through, cluster.registration(through))
    cluster.check_agreement()


def voters(cluster: Cluster, node: int = 0) -> list[str]:
    return [v.member for v in cluster.nodes[node].driver.membership.validators]


def light_client_follows(cluster: Cluster, node: int) -> int:
    """From genesis to the newest header of ``node``; the number of changes on the way."""
    store = cluster.nodes[node].store
    changes = tuple(MembershipChange(*each) for each in store.membership_changes(0, 100))
    trusted = trust_genesis(cluster.genesis.encode(), cluster.genesis.chain_id)
    newest = store.certified_header(store.height)
    assert advance(trusted, changes, newest).height == store.height
    return len(changes)


def test_M1_a_vote_that_is_taken_counts_up_to_its_height_and_not_after():
    cluster = Cluster(4)
    cluster.start()
    carried = decide(cluster, TakeVote(fixed.hospital(3)), (0, 1, 2))
    work(cluster, 3)
    store = cluster.nodes[0].store
    before, after = store.header(carried), store.header(carried + 1)
    assert before.membership == cluster.genesis.membership.hash
    assert before.next_membership == after.membership == after.next_membership
    assert after.membership != before.membership
    assert voters(cluster) == [fixed.hospital(i) for i in range(3)]
    assert cluster.nodes[3].driver.observer
    for height in range(carried + 1, store.height + 1):
        assert max(store.certificate(height).signers) < 3
    # Two of the three are needed now; the fourth cannot stand in.
    cluster.kill(1, 2)
    sent = cluster.registration(0)
    cluster.submit(0, sent)
    assert not cluster.run(20 * TIMEOUT_MS, lambda: cluster.committed_everywhere([sent]))
    cluster.start(1)
    assert cluster.run(PATIENCE_MS, lambda: cluster.committed_everywhere([sent]))
    assert light_client_follows(cluster, 3) == 1


@pytest.mark.parametrize("rotation", [1, 1_000])
@pytest.mark.parametrize("n", [4, 5, 7])
def test_M1_votes_come_and_go_and_the_chain_goes_on(n, rotation):
    cluster = Cluster(n, seed=n, rotation=rotation)
    cluster.start()
    for leaver in (0, n - 1, 1):
        others = [i for i in range(n) if i != leaver]
        decide(cluster, TakeVote(fixed.hospital(leaver)), others)
        work(cluster, leaver)
        decide(cluster, GiveVote(fixed.hospital(leaver)), others)
        work(cluster, leaver)
    assert voters(cluster) == [fixed.hospital(i) for i in range(n)]
    assert light_client_follows(cluster, 0) == 6
    assert not any(node.trace.count("peer_fault") for node in cluster.nodes)


def test_M1_a_primary_that_dies_as_the_membership_changes_is_replaced():
    cluster = Cluster(5)
    cluster.start()
    decide(cluster, TakeVote(fixed.hospital(1)), (0, 2, 3, 4))
    cluster.kill(0)
    work(cluster, 2)
    decide(cluster, GiveVote(fixed.hospital(1)), (2, 3, 4))
    work(cluster, 1)
    cluster.start(0)
    work(cluster, 0)
    assert light_client_follows(cluster, 0) == 2


def test_M1_who_slept_through_changes_catches_up_and_votes_again():
    cluster = Cluster(7)
    cluster.start()
    work(cluster, 0)
    cluster.kill(6)
    for leaver in (1, 2):
        others = [i for i in range(6) if i != leaver]
        decide(cluster, TakeVote(fixed.hospital(leaver)), others)
    decide(cluster, GiveVote(fixed.hospital(1)), (0, 2, 3, 4, 5))
    cluster.start(6)
    work(cluster, 6)
    assert not any(node.trace.count("peer_fault") for node in cluster.nodes)
    # Now 6 vote and the quorum is 4: with two of them dead the one that slept is needed.
    cluster.kill(3, 4)
    work(cluster, 6)


def test_LIVE_2_all_stop_after_a_change_and_go_on_from_their_disks():
    cluster = Cluster(4)
    cluster.start()
    decide(cluster, TakeVote(fixed.hospital(0)), (1, 2, 3))
    cluster.kill(0, 1, 2, 3)
    cluster.run(5_000)
    cluster.start()
    work(cluster, 0)
    assert voters(cluster, 1) == [fixed.hospital(i) for i in (1, 2, 3)]


def test_A2_an_observer_comes_back_with_a_renewed_key():
    cluster = Cluster(4)
    cluster.start()
    work(cluster, 0)
    cluster.kill(3)
    cluster.nodes[3].safety = None
    cluster.start(3)
    work(cluster, 3)
    assert cluster.nodes[3].driver.observer
    key = FixedSigner("validator 3, renewed")
    cluster.kill(3)
    cluster.nodes[3].signer, cluster.nodes[3].safety = key, MemorySafetyStore()
    cluster.start(3)
    work(cluster, 0)
    assert cluster.nodes[3].driver.observer
    commit(cluster, 1, cluster.renewal(3, key))
    assert not cluster.nodes[3].driver.observer
    cluster.kill(0)
    work(cluster, 3)
    assert light_client_follows(cluster, 3) == 1


def test_A2_the_old_key_of_a_renewed_validator_never_votes_again():
    cluster = Cluster(4)
    cluster.start()
    work(cluster, 0)
    commit(cluster, 0, cluster.renewal(2, FixedSigner("validator 2, renewed")))
    assert cluster.nodes[2].driver.observer
    cluster.kill(3)
    sent = cluster.registration(0)
    cluster.submit(0, sent)
    assert not cluster.run(20 * TIMEOUT_MS, lambda: cluster.committed_everywhere([sent]))


def test_M3_the_primary_renews_its_own_key():
    cluster = Cluster(4)
    cluster.start()
    key = FixedSigner("validator 0, renewed")
    commit(cluster, 0, cluster.renewal(0, key))
    cluster.kill(0)
    cluster.nodes[0].signer, cluster.nodes[0].safety = key, MemorySafetyStore()
    cluster.start(0)
    cluster.kill(1)
    work(cluster, 0)


def test_M1_a_new_disk_follows_all_changes_from_genesis():
    cluster = Cluster(5)
    cluster.start()
    decide(cluster, TakeVote(fixed.hospital(4)), (0, 1, 2, 3))
    commit(cluster, 0, cluster.renewal(1, FixedSigner("validator 1, renewed")))
    cluster.kill(4)
    cluster.nodes[4].storage = MemoryStorage()
    cluster.nodes[4].committed = {}
    cluster.start(4)
    height = cluster.nodes[0].store.height
    assert cluster.run(PATIENCE_MS, lambda: cluster.nodes[4].store.height >= height)
    cluster.check_agreement()
    assert light_client_follows(cluster, 4) == 2


def test_I10_a_validator_without_a_vote_remembers_the_view_that_it_left_for():
    cluster = Cluster(5)
    cluster.start()
    cluster.judge = lambda sender, receiver, frame: 2 if receiver != 4 else None
    sent = cluster.registration(4)
    cluster.submit(4, sent)
    cluster.run(3 * TIMEOUT_MS)  # alone, it leaves for a higher view
    left_for = cluster.nodes[4].driver.replica.view
    assert left_for > cluster.nodes[0].driver.replica.view
    cluster.judge = lambda sender, receiver, frame: 2
    decide(cluster, TakeVote(fixed.hospital(4)), (0, 1, 2, 3))
    work(cluster, 4)
    cluster.kill(4)
    cluster.start(4)
    assert cluster.nodes[4].driver.replica.view >= left_for
    decide(cluster, GiveVote(fixed.hospital(4)), (0, 1, 2, 3))
    work(cluster, 4)
