"""Double votes are proved, kept over restarts, recorded once, and never of a correct validator."""

from dataclasses import replace

import pytest

from ledger.consensus.messages import (
    Commit,
    Prepare,
    PrePrepare,
    ViewChange,
    view_change_digest,
)
from ledger.primitives import Height, Signature, View
from ledger.types.evidence import Evidence, evidence_key
from tests.simulation import byzantine
from tests.simulation.byzantine import consensus_message, framed
from tests.simulation.cluster import TIMEOUT_MS, Cluster
from tests.vectors import fixed

PATIENCE_MS = 60 * TIMEOUT_MS
LIAR = 0


def double_proposals(cluster: Cluster) -> None:
    """Validator 0 sends another block beside each that it proposes."""

    def lie(receiver: int, data: bytes) -> list[bytes]:
        message = consensus_message(data)
        if not isinstance(message, PrePrepare):
            return [data]
        other = byzantine.with_state_root(message.block, fixed.named_hash("other"))
        return [data, framed(byzantine.pre_prepare(cluster, LIAR, other, message.view))]

    cluster.lies[LIAR] = lie


def recorded(cluster: Cluster, node: int, accused: int) -> Evidence | None:
    key_id = fixed.validator_signer(accused).public_key.key_id
    value = cluster.nodes[node].driver.chain.state_value(evidence_key(key_id))
    return None if value is None else Evidence.decode(value)


def everywhere(cluster: Cluster, accused: int) -> bool:
    live = [i for i, node in enumerate(cluster.nodes) if node.driver is not None and i != accused]
    return all(recorded(cluster, i, accused) is not None for i in live)


def reports(cluster: Cluster) -> list[str]:
    """Codes of the receipts of all reports on the chain."""
    store = cluster.nodes[1].store
    found = []
    for height in range(1, store.height + 1):
        block = store.block(height)
        for encoded, receipt in zip(block.transactions, store.receipts(height), strict=True):
            found += [receipt.code] if b"evidence" in encoded[:120] else []
    return found


@pytest.mark.parametrize("n", [4, 7])
def test_I15_a_primary_that_proposes_two_blocks_is_recorded_once(n):
    cluster = Cluster(n)
    double_proposals(cluster)
    cluster.start()
    cluster.submit(1, cluster.registration(1))
    assert cluster.run(PATIENCE_MS, lambda: everywhere(cluster, LIAR))
    cluster.run(PATIENCE_MS)
    assert reports(cluster).count("ok") == 1
    assert all(recorded(cluster, 1, other) is None for other in range(1, n))
    assert all(list(node.driver.evidence.pending()) == [] for node in cluster.nodes[1:])


@pytest.mark.parametrize("kind", [Prepare, Commit])
def test_I15_double_votes_of_a_backup_are_recorded(kind):
    cluster = Cluster(4, rotation=1)
    vote = byzantine.prepare if kind is Prepare else byzantine.commit

    def lie(receiver: int, data: bytes) -> list[bytes]:
        message = consensus_message(data)
        block = cluster.nodes[1].driver.replica.body(getattr(message, "block_hash", None))
        if not isinstance(message, kind) or block is None:
            return [data]
        fake = byzantine.with_state_root(block, fixed.named_hash("fake"))
        return [data, framed(vote(cluster, LIAR, fake, message.view))]

    cluster.lies[LIAR] = lie
    cluster.start()
    for _ in range(4):
        cluster.submit(1, cluster.registration(1))
        cluster.run(TIMEOUT_MS)
    assert cluster.run(PATIENCE_MS, lambda: everywhere(cluster, LIAR))
    expected = {Prepare: "sign-prepare", Commit: "sign-commit"}[kind]
    assert recorded(cluster, 1, LIAR).tag == expected


def test_I15_two_view_changes_for_one_place_are_recorded():
    cluster = Cluster(4)
    cluster.start()
    assert cluster.run(PATIENCE_MS, lambda: min(cluster.heights()) == 1)
    header = cluster.nodes[1].store.header(1)
    genesis = cluster.genesis
    for signers in ((0, 1, 2), (1, 2, 3)):
        keys = [(i, fixed.validator_signer(i)) for i in signers]
        last = fixed.certificate(header, keys)
        unsigned = ViewChange(Height(2), View(5), last, None, LIAR, Signature(bytes(65)))
        digest = view_change_digest(genesis.chain_id, genesis.membership.hash, unsigned)
        signed = replace(unsigned, signature=fixed.validator_signer(LIAR).sign(digest))
        for receiver in (1, 2, 3):
            cluster.inject(LIAR, receiver, framed(signed))
    assert cluster.run(PATIENCE_MS, lambda: everywhere(cluster, LIAR))
    assert recorded(cluster, 1, LIAR).tag == "sign-view-change"


def test_A4_evidence_survives_the_death_of_all_who_saw_it():
    cluster = Cluster(4)
    double_proposals(cluster)
    cluster.start()
    cluster.judge = lambda sender, receiver, frame: 1 if sender == LIAR else None
    cluster.submit(LIAR, cluster.registration(1))
    cluster.run(50)
    cluster.lies.clear()
    seen = [i for i in (1, 2, 3) if list(cluster.nodes[i].driver.evidence.pending())]
    assert seen == [1, 2, 3]
    cluster.kill(0, 1, 2, 3)
    cluster.judge = lambda sender, receiver, frame: 3
    cluster.start(1, 2, 3)
    assert cluster.run(PATIENCE_MS, lambda: everywhere(cluster, LIAR))


def test_an_observer_keeps_evidence_and_reports_nothing():
    cluster = Cluster(4)
    double_proposals(cluster)
    cluster.nodes[3].safety = None
    cluster.start()
    cluster.judge = lambda sender, receiver, frame: 1 if sender == LIAR and receiver == 3 else None
    cluster.submit(LIAR, cluster.registration(1))
    cluster.run(20 * TIMEOUT_MS)
    assert len(list(cluster.nodes[3].driver.evidence.pending())) == 1
    waiting = cluster.nodes[3].driver.mempool.candidates(10, 10**6)
    assert [each.value.body.contract for each in waiting] == ["index"]
