"""R2, R3, R4: one member with real keys floods a real network; the others go on within bounds."""

import asyncio
import sys
from ast import literal_eval
from pathlib import Path

import pytest

from nodes.local_network import LocalNetwork
from tests.network.support import (
    Load,
    assert_kept,
    make_network,
    names,
    ready,
    settled,
    stopping,
    yilian,
)
from tests.project.tree import ROOT

pytestmark = pytest.mark.network

SECONDS = 12
RESIDENT_MB_MAX = 300
LOG_BYTES_MAX = 256 * 1024
ATTACKER = "hospital-4"


def resident_mb_max(network: LocalNetwork, member: str) -> int:
    status = Path(f"/proc/{network.pid(member, 'node')}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


async def attacked(network: LocalNetwork, honest: list[str]) -> dict[str, int]:
    """One flood from begin to end; the attacker is told the height now and then."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.network.attacker"),
        *(str(network.directory), ATTACKER, str(SECONDS)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answer = asyncio.ensure_future(process.stdout.read())
    try:
        while not answer.done():
            height = (await network.status(honest[0]))["height"]
            process.stdin.write(f"{height}\n".encode())
            await asyncio.sleep(0.05)
    finally:
        if not answer.done():
            process.kill()
        await process.wait()
    found: dict[str, int] = literal_eval((await answer).decode())
    return found


async def test_LIVE_1_R3_a_member_that_floods_with_everything_stops_nobody(tmp_path: Path) -> None:
    with stopping(make_network(tmp_path / "net", 4)) as network:
        honest = [member for member in names(network) if member != ATTACKER]
        for member in honest:
            network.start(member, "node")
        await ready(network, honest)
        load = Load(network, honest)
        await load.more(10)
        before = len(load.acknowledged)
        sent = await attacked(network, honest)
        during = len(load.acknowledged) - before
        await load.more(10)
        await load.end()
        assert min(sent[kind] for kind in ("votes", "forged votes", "hints", "bodies")) > 0
        assert during >= SECONDS
        await settled(network, honest)
        await assert_kept(network, load.acknowledged[:20], honest)
        for member in honest:
            status = await network.status(member)
            peers = {peer["member"]: peer for peer in status["peers"]}
            assert peers[ATTACKER]["dropped"]
            assert not any(peers[m]["dropped"] for m in honest if m != member)
            assert resident_mb_max(network, member) < RESIDENT_MB_MAX
            assert network.log(member, "node").stat().st_size < LOG_BYTES_MAX
        shown = await asyncio.to_thread(yilian, "status", network.directory)
        assert "drops" in shown.stdout
