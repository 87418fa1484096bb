"""LIVE-1, SAFE-1, SAFE-3: a validator that lies in every way it can, over real TLS."""

from pathlib import Path

import pytest

from tests.fuzz.peer import RSS_MIB_MAX, run_against_peer

pytestmark = pytest.mark.network
FRAMES = 20_000


async def test_LIVE_1_SAFE_1_SAFE_3_a_hostile_validator_neither_stops_nor_splits_the_others(
    tmp_path: Path,
) -> None:
    # The judges are in it: commits in each round of frames, agreement, no exit, memory.
    report = await run_against_peer(tmp_path / "net", FRAMES, seconds=0, seed=1)
    assert report.frames >= FRAMES
    assert report.peak_rss_mib <= RSS_MIB_MAX
    assert report.acknowledged >= 3 * FRAMES // 1_000
    assert report.faults > 0
    # It spoke as one who follows, in every way that it knows.
    assert report.followed > 1
    assert min(report.by_lie.values()) > 0
    assert len(report.by_lie) == 19
