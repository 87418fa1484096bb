"""Validators are killed, lose their disks and their memory; the chain keeps what it said."""

import asyncio
import shutil
from pathlib import Path

import pytest

from ledger.types.certificate import verify_certified_header
from nodes.client.chain import ChainClient
from nodes.local_network import LocalNetwork
from tests.network.support import (
    SETTLE_SECONDS,
    Load,
    assert_kept,
    commit,
    names,
    settled,
    validators,
    yilian,
)

pytestmark = pytest.mark.network


def node_data(network: LocalNetwork, member: str) -> Path:
    return network.directory / member / "node-data"


async def signers(network: LocalNetwork, member: str) -> tuple[int, ...]:
    """Who signed the newest certificate, which holds."""
    async with network.node_client(member) as http:
        newest = await ChainClient(http).newest_header()
    genesis = network.genesis
    verify_certified_header(newest, genesis.membership, genesis.chain_id)
    return newest.certificate.signers


def start_all(network: LocalNetwork) -> None:
    for member in names(network):
        network.start(member, "node")


async def test_LIVE_1_the_primary_is_killed_under_load_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    async with validators(tmp_path / "net", 4) as network:
        load = Load(network)
        await load.more(20)
        primary = str((await network.status(names(network)[0]))["primary"])
        load.kill(primary)
        await load.more(40)
        await load.end()
        network.start(primary, "node")
        await network.wait_ready()
        await settled(network)
        for member in set(names(network)) - {primary}:
            assert (await network.status(member))["view_changes"] != 0
        assert len(set(load.acknowledged)) == len(load.acknowledged) >= 60
        await assert_kept(network, load.acknowledged)
        await commit(network, primary)
        assert (await network.status(primary))["observer"] is False


async def test_LIVE_2_SAFE_3_all_are_killed_at_once_and_go_on_from_their_disks(
    tmp_path: Path,
) -> None:
    async with validators(tmp_path / "net", 4) as network:
        load = Load(network)
        await load.more(20)
        for member in names(network):
            load.kill(member)
        await load.end()
        start_all(network)
        await network.wait_ready()
        later = [(await commit(network, member))[0] for member in names(network)]
        await settled(network)
        await assert_kept(network, [*load.acknowledged, *later])


async def test_LIVE_2_all_are_killed_again_and_again_while_they_come_up(tmp_path: Path) -> None:
    async with validators(tmp_path / "net", 4) as network:
        kept = await commit(network, "hospital-1", 10)
        for round_number in range(3):
            for member in names(network):
                network.kill(member, "node")
            start_all(network)
            # Killed at different points of the start: before any answers, after one, after two.
            for member in names(network)[:round_number]:
                await network.wait_for([member], lambda _: True, SETTLE_SECONDS)
        await network.wait_ready()
        kept += await commit(network, "hospital-2", 10)
        await settled(network)
        await assert_kept(network, kept)


async def test_LIVE_1_a_lost_ledger_is_fetched_again_and_the_node_votes(tmp_path: Path) -> None:
    async with validators(tmp_path / "net", 4) as network:
        kept = await commit(network, "hospital-1", 30)
        network.kill("hospital-2", "node")
        shutil.rmtree(node_data(network, "hospital-2") / "ledger")
        network.start("hospital-2", "node")
        await network.wait_ready()
        await settled(network)
        assert (await network.status("hospital-2"))["observer"] is False
        # With another validator gone, the quorum of three needs its vote.
        network.kill("hospital-4", "node")
        kept += await commit(network, "hospital-3", 3)
        assert await signers(network, "hospital-3") == (0, 1, 2)
        network.start("hospital-4", "node")
        await network.wait_ready()
        await settled(network)
        await assert_kept(network, kept)


async def test_SAFE_1_without_its_memory_of_votes_a_validator_only_observes(
    tmp_path: Path,
) -> None:
    async with validators(tmp_path / "net", 4) as network:
        kept = await commit(network, "hospital-1", 5)
        network.kill("hospital-3", "node")
        (node_data(network, "hospital-3") / "safety.log").unlink()
        network.start("hospital-3", "node")
        await network.wait_ready()
        # Through the observer itself, too: it passes on what it is given.
        kept += await commit(network, "hospital-1", 5) + await commit(network, "hospital-3", 5)
        await settled(network)
        observers = [m for m in names(network) if (await network.status(m))["observer"]]
        assert observers == ["hospital-3"]
        assert await signers(network, "hospital-3") == (0, 1, 3)
        shown = await asyncio.to_thread(yilian, "status", network.directory)
        assert shown.returncode == 0
        lines = [line for line in shown.stdout.splitlines() if "observer" in line]
        assert len(lines) == 1
        assert "hospital-3" in lines[0]
        assert not (node_data(network, "hospital-3") / "safety.log").exists()
        await assert_kept(network, kept)


async def test_A2_a_validator_with_an_old_copy_of_its_votes_only_observes(tmp_path: Path) -> None:
    async with validators(tmp_path / "net", 4) as network:
        kept = await commit(network, "hospital-1", 3)
        votes = node_data(network, "hospital-3") / "safety.log"
        network.kill("hospital-3", "node")
        copy = votes.read_bytes()
        network.start("hospital-3", "node")
        await network.wait_ready()
        kept += await commit(network, "hospital-3", 3)
        await settled(network)
        network.kill("hospital-3", "node")
        votes.write_bytes(copy)
        network.start("hospital-3", "node")
        await network.wait_ready()
        kept += await commit(network, "hospital-1", 3)
        await settled(network)
        assert (await network.status("hospital-3"))["observer"] is True
        assert "SafetyStoreStale" in network.log("hospital-3", "node").read_text("utf-8")
        await assert_kept(network, kept)


@pytest.mark.parametrize("hospitals", [1, 3])
async def test_LIVE_2_networks_without_fault_tolerance_commit_and_restart(
    hospitals: int, tmp_path: Path
) -> None:
    async with validators(tmp_path / "net", hospitals) as network:
        kept = [i for member in names(network) for i in await commit(network, member, 3)]
        network.stop_all()
        start_all(network)
        await network.wait_ready()
        kept += await commit(network, names(network)[-1], 3)
        await settled(network)
        await assert_kept(network, kept)
