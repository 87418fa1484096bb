"""Hospitals join, get and lose votes, and renew keys, on real processes; clients follow."""

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ledger.types.membership import VOTERS_KEY
from nodes.cli.show import save_proof
from nodes.cli.status import gather_status, validators_of
from nodes.client.chain import ChainClient
from nodes.client.session import LightSession
from nodes.local_network import LocalNetwork
from tests.network.support import (
    SETTLE_SECONDS,
    Done,
    Load,
    assert_kept,
    commit,
    settled,
    validators,
    yilian,
)

pytestmark = pytest.mark.network
FIFTH = "hospital-5"


async def run(*words: str | Path) -> Done:
    return await asyncio.to_thread(yilian, *words)


async def done(*words: str | Path) -> Any:
    """What a command that succeeds prints."""
    result = await run(*words, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


async def until_seen(
    network: LocalNetwork, member: str, what: Callable[[Mapping[str, Any]], bool]
) -> None:
    """Returns once ``yilian status`` shows a validator like that."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            found = await gather_status(await validators_of(network.directory))
            if any(s["member"] == member and "error" not in s and what(s) for s in found):
                return
            await asyncio.sleep(0.2)


async def signers(network: LocalNetwork, member: str) -> tuple[int, ...]:
    """Who signed the newest block, followed and verified from the genesis document on."""
    async with network.node_client(member) as http:
        session = LightSession(ChainClient(http), network.genesis)
        await session.refresh()
        return (await session.chain.newest_header()).certificate.signers


async def assert_provable(network: LocalNetwork, member: str, folder: Path) -> None:
    """A saved proof of the newest state leads from the genesis document through all changes."""
    file = folder / "voters.proof"
    file.unlink(missing_ok=True)
    async with network.node_client(member) as http:
        session = LightSession(ChainClient(http), network.genesis)
        bundle, _ = await session.state_bundle(VOTERS_KEY)
        await save_proof(file, session, bundle, None)
    report = await done("light", "verify", file, "--genesis", network.directory / "genesis.bin")
    assert report["verified"] is True


async def test_A2_a_validator_that_lost_its_memory_votes_again_with_a_new_key(
    tmp_path: Path,
) -> None:
    async with validators(tmp_path / "net", 4) as network:
        kept = await commit(network, "hospital-1", 3)
        config = network.config("hospital-3", "node")
        network.kill("hospital-3", "node")
        safety = network.directory / "hospital-3" / "node-data" / "safety.log"
        key = network.directory / "hospital-3" / "keys" / "consensus.pem"
        safety.unlink()
        old = key.read_bytes()
        network.start("hospital-3", "node")
        await network.wait_ready()
        await until_seen(network, "hospital-3", lambda s: s["observer"])
        refused = await run("keys", "renew", config)
        assert refused.returncode == 3
        assert "another process uses it" in refused.stderr
        assert key.read_bytes() == old
        network.kill("hospital-3", "node")
        renewed = await done("keys", "renew", config)
        assert renewed["member"] == "hospital-3"
        assert safety.exists()
        assert old in [path.read_bytes() for path in key.parent.glob("consensus-*.pem")]
        network.start("hospital-3", "node")
        await network.wait_ready()
        await until_seen(network, "hospital-3", lambda s: not s["observer"])
        # The quorum of three needs its vote now.
        network.kill("hospital-4", "node")
        kept += await commit(network, "hospital-1", 3)
        assert await signers(network, "hospital-1") == (0, 1, 2)
        await assert_provable(network, "hospital-1", tmp_path)
        network.start("hospital-4", "node")
        await network.wait_ready()
        await settled(network)
        await assert_kept(network, kept)


async def test_M3_the_running_primary_renews_its_key_under_load(tmp_path: Path) -> None:
    async with validators(tmp_path / "net", 4) as network:
        load = Load(network)
        await load.more(10)
        primary = str((await network.status("hospital-1"))["primary"])
        load.kill(primary)
        await done("keys", "renew", network.config(primary, "node"))
        network.start(primary, "node")
        await network.wait_ready()
        await until_seen(network, primary, lambda s: not s["observer"])
        await load.more(10)
        await load.end()
        other = next(m.id for m in network.hospitals if m.id != primary)
        network.kill(other, "node")
        load.acknowledged += await commit(network, primary, 3)
        place = [m.id for m in network.hospitals].index(primary)
        assert place in await signers(network, primary)
        network.start(other, "node")
        await network.wait_ready()
        await settled(network)
        await assert_kept(network, load.acknowledged)


async def join(network: LocalNetwork, folder: Path) -> Path:
    """A fifth hospital makes its own keys in its own place; its admission file."""
    genesis = network.directory / "genesis.bin"
    made = await done(
        "network", "join", folder, "--genesis", genesis,
        "--id", FIFTH, "--name", "第五医院", "--base-port", "0",
    )  # fmt: skip
    shutil.move(folder / FIFTH, network.directory / FIFTH)
    config = network.config(FIFTH, "node")
    text = config.read_text("utf-8")
    config.write_text(
        text.replace(f"min_free_bytes = {2 * 1024**3}", "min_free_bytes = 0"), "utf-8"
    )
    return Path(made["admission"])


async def carry(network: LocalNetwork, *words: str | Path, approving: tuple[int, ...]) -> None:
    """The first hospital proposes, those of these numbers approve."""
    action, *rest = words
    made = await done("governance", action, network.config("hospital-1", "node"), *rest)
    for number in approving:
        assert made["carried"] is False
        config = network.config(f"hospital-{number}", "node")
        waiting = await done("governance", "list", config)
        assert [item["proposal"] for item in waiting] == [made["proposal"]]
        made = await done("governance", "approve", config, made["proposal"])
    assert made["carried"] is True


async def test_M1_M2_a_fifth_hospital_joins_votes_and_leaves(tmp_path: Path) -> None:
    async with validators(tmp_path / "net", 4) as network:
        kept = await commit(network, "hospital-1", 3)
        admission = await join(network, tmp_path / "new")
        await carry(network, "propose-admission", admission, approving=(2, 3))
        # M2: with one of four down, and the new one not up yet, five could not go on.
        network.kill("hospital-4", "node")
        first = network.config("hospital-1", "node")
        refused = await run("governance", "propose-vote", first, FIFTH)
        assert refused.returncode == 3
        assert "hospital-4, hospital-5" in refused.stderr
        assert await done("governance", "list", first) == []
        network.start("hospital-4", "node")
        network.start(FIFTH, "node")
        await until_seen(network, FIFTH, lambda s: s["height"] > 0)
        await until_seen(network, "hospital-4", lambda s: s["height"] > 0)
        height = int(str((await network.status("hospital-1"))["height"]))
        await until_seen(network, FIFTH, lambda s: s["height"] >= height)
        await carry(network, "propose-vote", FIFTH, approving=(2, 3))
        await until_seen(network, FIFTH, lambda s: not s["observer"] and FIFTH in s["voters"])
        kept += await commit(network, "hospital-1", 2)
        # Five vote: the quorum is four, and needs the fifth once another is gone.
        network.kill("hospital-4", "node")
        kept += await commit(network, "hospital-1", 2)
        assert await signers(network, "hospital-1") == (0, 1, 2, 4)
        refused = await run("governance", "propose-removal", first, "hospital-2")
        assert refused.returncode == 0, refused.stderr  # three of four would be live
        network.start("hospital-4", "node")
        await until_seen(network, "hospital-4", lambda s: not s["observer"])
        await assert_provable(network, "hospital-1", tmp_path)
        waiting = await done("governance", "list", first)
        assert [item["member"] for item in waiting] == ["hospital-2"]
        made = await done("governance", "propose-removal", first, FIFTH)
        for number in (2, 3, 4):
            config = network.config(f"hospital-{number}", "node")
            made = await done("governance", "approve", config, made["proposal"])
        assert made["carried"] is True
        kept += await commit(network, "hospital-2", 2)
        shown = await run("status", network.directory)
        assert shown.returncode == 0
        lines = [line for line in shown.stdout.splitlines() if FIFTH in line]
        assert len(lines) == 1
        assert "no vote" in lines[0]
        assert max(await signers(network, "hospital-1")) < 4
        await assert_provable(network, "hospital-3", tmp_path)
        await assert_kept(network, kept)
