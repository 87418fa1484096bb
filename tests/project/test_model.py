"""The Spin model of the agreement behaves as its page says (bounded run)."""

import shutil
import subprocess

import pytest

from tests.project.tree import ROOT

MISSING = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_SAFE_1_the_model_holds_and_its_broken_variants_do_not() -> None:
    result = subprocess.run(
        [ROOT / "scripts" / "model", "--quick"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[-1] == "All as expected."
    assert sum(" holds " in line for line in lines) == 2
    assert sum(" fails " in line for line in lines) == 5
