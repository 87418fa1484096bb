"""The Spin model of the agreement behaves as its page says (bounded run)."""

import shutil
import subprocess

import pytest

from tests.project.tree import ROOT

MISSING = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_SAFE_1_the_model_holds_and_its_broken_variants_do_not() -> None:
    result = _run("--quick")
    assert (result.returncode, result.stderr) == (0, "")
    # The script itself fails where a case does not come out as expected; here, that all were run.
    quick = [line.split() for line in _run("--list").stdout.splitlines() if " quick " in line]
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert [row[:2] for row in rows] == [case[:2] for case in quick]
    assert sum(verdict == "breaks" for _, verdict, *_ in rows) >= 9
    assert sum(verdict == "holds" for _, verdict, *_ in rows) >= 5


def _run(option: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "model", option],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
