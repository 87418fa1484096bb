"""Real validators under real faults for three minutes: nothing lost, nothing out of order."""

import json
import subprocess

import pytest

from tests.project.tree import ROOT

MINUTES = 3
WITHIN_SECONDS = 1_800
"""A run that takes longer hangs."""
EVERYWHERE = {
    *("kill", "kill_all", "pause", "ledger_truncated", "ledger_flipped", "safety_truncated"),
    *("safety_flipped", "safety_lost", "safety_stale", "key_renewed"),
    *("backup_restored", "delay", "stall", "cut", "corrupt", "dribble", "split", "clients_cut"),
}
KINDS = {"append", "cas", "grant", "revoke", "read", "fresh"}


@pytest.mark.network
def test_SAFE_1_SAFE_3_LIVE_1_LIVE_2_hold_on_real_processes_under_faults():
    done = subprocess.run(
        [ROOT / "scripts/nemesis", "--minutes", str(MINUTES), "--seed", "1", "--json"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_SECONDS,
        check=False,
    )
    print(done.stderr)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["anomalies"], result["unexplained_exits"]) == (0, 0)
    faults = set(result["faults"])
    expected = EVERYWHERE | {"disk_full", "clock_jump", "link_down"} - set(result["not_possible"])
    assert expected - faults == set()
    assert result["observers"] == 0  # whose votes were destroyed has a new key
    assert set(result["operations"]) == KINDS
    assert all(counts["ok"] for counts in result["operations"].values())
    for kind in ("cas", "revoke", "read"):
        assert result["operations"][kind]["refused"]
