"""The running node ends when its disk gives it rot, whoever made it read there."""

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
