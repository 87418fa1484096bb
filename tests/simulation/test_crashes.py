"""A process dies at an effect boundary: before or after an append, a synced batch or a send.

Whatever it had promised is durable before anybody can know it, so after its restart nobody
ever sees two digests for one (type, height, view) (I9), and all nodes converge (SAFE-3).
"""

from collections.abc import Iterable, Sequence

import pytest

from nodes.frames import Channel
from nodes.ports import Put, Vote
from nodes.storage.memory import MemoryStorage
from nodes.storage.safety_store import MemorySafetyStore
from tests.simulation.byzantine import SignatureLog
from tests.simulation.cluster import TIMEOUT_MS, Cluster, Crash

NEVER = 1_000_000


class Fuse:
    """Ends a process at its n-th effect boundary, and says how many there were."""

    def __init__(self) -> None:
        self.left = NEVER
        self.reached: list[str] = []

    def burn(self, boundary: str) -> None:
        """One boundary."""
        self.reached.append(boundary)
        self.left -= 1
        if self.left == 0:
            raise Crash


class FusedStorage(MemoryStorage):
    """Dies before or after a batch."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    def write(self, batch: Sequence[Put]) -> None:
        """All or nothing."""
        self._fuse.burn("before commit")
        super().write(batch)
        self._fuse.burn("after commit")


class FusedSafetyStore(MemorySafetyStore):
    """Dies before or after an append."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    def append(self, votes: Sequence[Vote]) -> None:
        """All or nothing."""
        self._fuse.burn("before append")
        super().append(votes)
        self._fuse.burn("after append")


def fused(victim: int) -> tuple[Cluster, Fuse, SignatureLog]:
    """Four validators whose primary of view 0 is 0; ``victim`` has the fuse."""
    cluster, fuse, log = Cluster(4), Fuse(), SignatureLog()
    cluster.nodes[victim].storage = FusedStorage(fuse)
    cluster.nodes[victim].safety = FusedSafetyStore(fuse)

    def burn_first(receiver: int, frame: bytes) -> Iterable[bytes]:
        if frame[0] == Channel.CONSENSUS:
            fuse.burn("before send")
        return (frame,)

    def judge(sender: int, receiver: int, frame: bytes) -> int:
        log.saw(frame)
        return cluster.random.randint(1, 5)

    cluster.lies[victim] = burn_first
    cluster.judge = judge
    cluster.start()
    cluster.run(1_500)
    assert cluster.heights() == [1] * 4
    return cluster, fuse, log


def agrees(cluster: Cluster, via: int) -> None:
    """One more transaction is committed by every live node."""
    sent = cluster.registration(via)
    cluster.submit(via, sent)
    assert cluster.run(100 * TIMEOUT_MS, lambda: cluster.committed_everywhere([sent]))
    cluster.check_agreement()


@pytest.mark.parametrize("victim", [0, 1])
def test_every_kind_of_boundary_is_reached(victim):
    cluster, fuse, log = fused(victim)
    fuse.reached.clear()
    agrees(cluster, 2)
    kinds = {"before append", "after append", "before commit", "after commit", "before send"}
    assert set(fuse.reached) == kinds
    assert len(fuse.reached) >= 12
    log.check()


@pytest.mark.parametrize("again", [0, 3], ids=["once", "twice"])
@pytest.mark.parametrize("point", range(1, 25))
@pytest.mark.parametrize("victim", [0, 1], ids=["leader", "follower"])
def test_I9_a_crash_at_any_boundary_never_leads_to_two_signatures(victim, point, again):
    cluster, fuse, log = fused(victim)
    fuse.left = point
    cluster.submit(2, cluster.registration(2))
    dead = lambda: cluster.nodes[victim].driver is None  # noqa: E731  # it is a question
    if not cluster.run(200, dead):
        cluster.submit(3, cluster.registration(3))
    assert cluster.run(5_000, dead)
    fuse.left = again or NEVER
    cluster.start(victim)
    cluster.submit(3, cluster.registration(3))
    if again:
        assert cluster.run(20 * TIMEOUT_MS, dead)
        fuse.left = NEVER
        cluster.start(victim)
    agrees(cluster, 2)
    # Its votes are needed now.
    cluster.kill(3)
    agrees(cluster, 2)
    log.check()


@pytest.mark.parametrize("point", range(1, 21, 2))
def test_I9_a_crash_of_the_primary_that_opens_a_view(point):
    cluster, fuse, log = fused(1)
    cluster.kill(0)
    fuse.left = point
    cluster.submit(2, cluster.registration(2))
    assert cluster.run(10 * TIMEOUT_MS, lambda: cluster.nodes[1].driver is None)
    fuse.left = NEVER
    cluster.run(100)
    cluster.start(1)
    agrees(cluster, 2)
    cluster.start(0)
    agrees(cluster, 3)
    log.check()


@pytest.mark.parametrize("rotation", [1, 1_000], ids=["as primary", "as backup"])
def test_L4_a_validator_that_lost_its_ledger_and_kept_its_votes_follows_until_it_is_back(rotation):
    cluster, log = Cluster(4, rotation=rotation), SignatureLog()
    held = False

    def judge(sender: int, receiver: int, frame: bytes) -> int | None:
        log.saw(frame)
        return None if held and receiver == 3 and frame[0] == Channel.BLOCKS else 2

    cluster.judge = judge
    cluster.start()
    for via in (0, 1, 2):
        agrees(cluster, via)
    cluster.kill(3)
    cluster.nodes[3].storage = MemoryStorage()
    held = True
    cluster.start(3)
    # It has work and no blocks: its timers fire at heights that its key has settled.
    cluster.submit(3, cluster.registration(3))
    cluster.run(10 * TIMEOUT_MS)
    assert cluster.nodes[3].driver is not None
    assert cluster.nodes[3].driver.replica.height == 1
    held = False
    agrees(cluster, 3)
    # It votes again: with another one down, its vote is needed.
    cluster.kill(0)
    agrees(cluster, 3)
    log.check()
