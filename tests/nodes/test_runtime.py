"""The running node: what ends it, and what its clients are told."""

import asyncio

import pytest

from contracts.registry import Registry
from nodes.frames import Channel, encode_transactions, frame
from nodes.runtime import NodeRuntime
from nodes.storage.errors import StorageCorrupt
from nodes.storage.ledger_store import LedgerStore
from nodes.storage.memory import MemoryStorage
from nodes.storage.safety_store import MemorySafetyStore
from tests.simulation.cluster import Cluster, Trace
from tests.vectors import fixed


class NoLinks:
    """A transport to nobody."""

    def send(self, member: str, frame: bytes, priority: bool = False) -> None:
        """Loses it."""

    def broadcast(self, frame: bytes, priority: bool = False) -> None:
        """Loses it."""

    def set_peers(self, members: object) -> None:
        """Has none all the same."""


class RottenStorage(MemoryStorage):
    """Storage whose stored bytes a test may change."""

    def rot(self) -> None:
        for key, stored in self._sealed.items():
            self._sealed[key] = stored[:-1] + bytes([stored[-1] ^ 1])


@pytest.mark.parametrize("by", ["client", "peer"])
async def test_L2_rot_that_an_admission_reads_ends_the_node(by: str) -> None:
    cluster = Cluster(4)
    storage, trace = RottenStorage(), Trace()
    store = LedgerStore(storage, Registry(), cluster.genesis)
    node = NodeRuntime(
        cluster.genesis,
        fixed.hospital(0),
        Registry(),
        store,
        MemorySafetyStore(),
        fixed.validator_signer(0),
        trace,
    )
    node.start(NoLinks(), set)
    storage.rot()
    store._cache.clear()
    sent = cluster.registration(1).encoded
    try:
        if by == "client":
            with pytest.raises(StorageCorrupt):
                await node.submit([sent])
        else:
            node.on_frame(
                fixed.hospital(1), frame(Channel.TRANSACTIONS, encode_transactions([sent]))
            )
        with pytest.raises(StorageCorrupt):
            await asyncio.wait_for(asyncio.shield(node.failed), 30)
        assert trace.count("stopped") == 1
    finally:
        await node.stop()


async def test_B4_bytes_that_are_committed_while_their_signature_is_checked_are_accepted() -> None:
    # The only validator of its network commits what it admits in the same turn.
    cluster = Cluster(1)
    store = LedgerStore(MemoryStorage(), Registry(), cluster.genesis)
    member, signer = fixed.hospital(0), fixed.validator_signer(0)
    node = NodeRuntime(
        cluster.genesis, member, Registry(), store, MemorySafetyStore(), signer, Trace()
    )
    node.start(NoLinks(), set)
    sent = cluster.registration(0)
    try:
        # All are checked at once; when the second is admitted, the first is committed.
        results = await asyncio.gather(*(node.submit([sent.encoded]) for _ in range(3)))
    finally:
        await node.stop()
    assert store.executed(sent.id) is not None
    assert [item.code for result in results for item in result] == ["ok"] * 3
