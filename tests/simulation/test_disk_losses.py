"""A node that lost its chain but not its promises keeps them; one that reads rot ends."""

import pytest

from ledger.consensus.messages import Commit, Prepare, PrePrepare, ViewChange
from ledger.contract_api import Column
from nodes.storage.errors import StorageCorrupt
from nodes.storage.memory import MemoryStorage
from tests.simulation.byzantine import consensus_message
from tests.simulation.cluster import TIMEOUT_MS, Cluster


def agreed(cluster: Cluster, via: int, times: int = 1) -> None:
    """That many more transactions are committed by every live node."""
    for _ in range(times):
        sent = cluster.registration(via)
        cluster.submit(via, sent)
        assert cluster.run(100 * TIMEOUT_MS, lambda s=sent: cluster.committed_everywhere([s]))
    cluster.check_agreement()


def lose_chain(cluster: Cluster, index: int) -> None:
    """Its process ends, and the operator moves its ledger aside."""
    cluster.kill(index)
    cluster.nodes[index].storage = MemoryStorage()
    cluster.nodes[index].committed.clear()


def test_SAFE_1_a_node_that_lost_its_chain_still_says_what_it_prepared():
    cluster = Cluster(4)
    cluster.start()
    agreed(cluster, 1, times=3)
    changes: list[ViewChange] = []
    hold_back, lost = True, False

    def judge(sender: int, receiver: int, frame: bytes) -> int | None:
        message = consensus_message(frame)
        if isinstance(message, Commit) and hold_back:
            return None
        if isinstance(message, PrePrepare | Prepare) and lost and receiver == 3:
            return None  # else it would prepare the block once more
        if isinstance(message, ViewChange) and sender == 3:
            changes.append(message)
        return 2

    cluster.judge = judge
    cluster.submit(1, cluster.registration(1))
    cluster.run(100)
    height = cluster.nodes[3].store.height + 1
    assert any(vote.height == height for vote in cluster.nodes[3].safety.votes())
    lose_chain(cluster, 3)
    lost = True
    cluster.start(3)
    assert cluster.run(TIMEOUT_MS // 2, lambda: cluster.nodes[3].store.height == height - 1)
    assert cluster.run(5 * TIMEOUT_MS, lambda: any(c.height == height for c in changes))
    assert all(c.prepared is not None for c in changes if c.height == height)
    hold_back = lost = False
    agreed(cluster, 2)


def test_LIVE_1_a_node_that_lost_its_chain_does_not_vote_on_heights_that_are_settled():
    cluster = Cluster(4)
    cluster.start()
    agreed(cluster, 1, times=4)
    lose_chain(cluster, 3)
    # Nobody answers for a while: timers fire at a height that it had settled before.
    cluster.judge = lambda sender, receiver, frame: None if receiver == 3 else 2
    cluster.start(3)
    cluster.submit(3, cluster.registration(3))
    cluster.run(10 * TIMEOUT_MS)
    assert cluster.nodes[3].driver is not None
    cluster.judge = lambda sender, receiver, frame: 2
    agreed(cluster, 2)
    cluster.kill(0)
    agreed(cluster, 2)


def test_SAFE_1_a_primary_that_lost_its_chain_proposes_nothing_else():
    cluster = Cluster(4)
    cluster.start()
    agreed(cluster, 1, times=3)
    seen: set[bytes] = set()
    height = cluster.nodes[0].store.height + 1

    def judge(sender: int, receiver: int, frame: bytes) -> int | None:
        message = consensus_message(frame)
        if isinstance(message, PrePrepare) and (message.height, message.view) == (height, 0):
            seen.add(message.block.hash)
            return None
        return 2

    cluster.judge = judge
    cluster.submit(1, cluster.registration(1))
    cluster.run(100)
    assert len(seen) == 1
    lose_chain(cluster, 0)
    cluster.start(0)
    cluster.submit(1, cluster.registration(1))
    cluster.run(3 * TIMEOUT_MS)
    assert cluster.nodes[0].driver is not None
    assert len(seen) == 1
    agreed(cluster, 2)


class _Rotten(MemoryStorage):
    """Every value of one column has one bit flipped from now on."""

    def rot(self, column: int) -> None:
        for key, stored in self._sealed.items():
            if key[0] == column:
                self._sealed[key] = stored[:-1] + bytes([stored[-1] ^ 1])


@pytest.mark.parametrize("column", [Column.VALUE, Column.EXECUTED])
def test_L2_an_admission_that_reads_rot_ends_the_node(column):
    cluster = Cluster(4)
    storage = _Rotten()
    cluster.nodes[2].storage = storage
    cluster.start()
    sent = cluster.registration(1)
    cluster.submit(2, sent)
    assert cluster.run(10 * TIMEOUT_MS, lambda: cluster.committed_everywhere([sent]))
    # Its id is looked for among the executed ones first, then its signer in the state.
    again = sent if column == Column.EXECUTED else cluster.registration(1)
    verified = cluster.nodes[2].driver.chain.verify(again)
    cluster.nodes[2].store._cache.clear()
    storage.rot(column)
    with pytest.raises(StorageCorrupt):
        cluster.nodes[2].driver.admit([verified], from_client=True)
