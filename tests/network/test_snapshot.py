"""A validator whose chain is gone is killed while it fetches a snapshot, and goes on."""

import asyncio
import shutil
from pathlib import Path

import pytest

from contracts.registry import Registry
from nodes.local_network import LocalNetwork
from nodes.storage.fetched import FetchedSnapshot, is_empty
from nodes.storage.ledger_store import LedgerStore
from nodes.storage.leveldb import LevelDbStorage
from tests.network.support import SETTLE_SECONDS, assert_kept, commit, names, settled, validators

pytestmark = pytest.mark.network


def ledger(network: LocalNetwork, member: str) -> Path:
    return network.directory / member / "node-data" / "ledger"


def half_fetched(network: LocalNetwork, member: str) -> bool:
    """Whether a part of a snapshot is on the disk of a validator that does not run."""
    storage = LevelDbStorage(ledger(network, member))
    found = is_empty(storage) and FetchedSnapshot(storage, network.genesis.chain_id).begun
    storage.close()
    return found


async def said(network: LocalNetwork, member: str, event: str) -> None:
    """Returns when the member's log has the event."""
    log = network.log(member, "node")
    async with asyncio.timeout(SETTLE_SECONDS):
        while f'"event": "{event}"' not in log.read_text(encoding="utf-8"):
            network.check_alive()
            await asyncio.sleep(0.005)


async def test_SAFE_3_a_fetch_that_was_killed_is_taken_up_again(tmp_path: Path) -> None:
    async with validators(tmp_path / "net", 4) as network:
        first, *others = names(network)
        ids = [*await commit(network, first, 20), *await commit(network, others[0], 20)]
        # A node that starts keeps a snapshot of its newest height for others.
        for member in others:
            network.kill(member, "node")
            network.start(member, "node")
            await network.wait_ready()
        network.kill(first, "node")
        config = network.config(first, "node")
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("snapshot_min_height = 1000", "snapshot_min_height = 1"))
        for _ in range(10):  # it may be quicker than the blow
            shutil.rmtree(ledger(network, first))
            network.log(first, "node").write_text("")
            network.start(first, "node")
            await said(network, first, "snapshot_begun")
            network.kill(first, "node")
            if half_fetched(network, first):
                break
        else:
            raise AssertionError("it was never killed in the middle")
        network.start(first, "node")
        await network.wait_ready()
        await said(network, first, "snapshot_complete")
        ids += await commit(network, others[1], 3)
        # Three of four must vote, so its vote counts; it was not made an observer.
        network.kill(others[0], "node")
        ids += await commit(network, first, 3)
        network.start(others[0], "node")
        await network.wait_ready()
        await settled(network)
        await assert_kept(network, ids)
        assert not (await network.status(first))["observer"]
        network.kill(first, "node")
        storage = LevelDbStorage(ledger(network, first))
        assert LedgerStore(storage, Registry(), network.genesis).base > 0
        storage.close()
