"""The scripts a newcomer starts: they parse, are executable, and say what they do."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.tree import ROOT

BASH = (
    "scripts/lib.sh",
    "scripts/bench",
    "scripts/demo",
    "scripts/fuzz",
    "scripts/make-sample",
    "scripts/model",
    "scripts/nemesis",
    "scripts/simulate",
    "scripts/test",
    ".ci/run",
)
STARTED = ("scripts/demo", "scripts/test", "scripts/make-sample", ".ci/run")


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project folder with no input; the result holds its texts."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("script", BASH)
def test_bash_parses(script: str) -> None:
    result = run("bash", "-n", ROOT / script)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("script", STARTED)
def test_is_executable_and_names_its_interpreter(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")


@pytest.mark.parametrize("program", ["demo.py", "make_sample.py"])
def test_help_needs_no_network_and_nothing_running(program: str) -> None:
    result = run(sys.executable, ROOT / "scripts" / program, "--help")
    assert result.returncode == 0, result.stderr
    assert "usage:" in result.stdout.lower()


def test_ci_runs_the_same_checks_as_a_person() -> None:
    assert "exec ./scripts/test" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def library(call: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Source scripts/lib.sh and run one of its functions."""
    return run("bash", "-c", f". scripts/lib.sh; {call}", **environment)


def link_tools(folder: Path, *tools: str) -> None:
    """Make `folder` a PATH that has these tools and no other."""
    for tool in tools:
        (folder / tool).symlink_to(shutil.which(tool) or tool)


def test_finds_this_python() -> None:
    result = library("find_python", PYTHON=sys.executable)
    assert (result.returncode, result.stdout.strip()) == (0, sys.executable)


def test_says_what_to_install_when_there_is_no_python(tmp_path: Path) -> None:
    link_tools(tmp_path, "bash", "dirname")
    result = library("find_python", PATH=str(tmp_path), PYTHON="")
    assert result.returncode != 0
    assert "apt-get install python3" in result.stderr


def test_says_which_packages_the_build_of_plyvel_needs(tmp_path: Path) -> None:
    # A Python that claims to be too new for a wheel, and a machine without compiler or headers.
    too_new = tmp_path / "python"
    too_new.write_text(
        "#!/bin/sh\n"
        'case "$2" in *version_info*) exit 1;; *get_path*) echo /nowhere;; esac\n'
        '[ "$1" = --version ] && echo "Python 3.14.0"\n'
        "exit 0\n"
    )
    too_new.chmod(0o755)
    link_tools(tmp_path, "bash", "dirname", "sh")
    result = library(
        f"VENV=/nowhere; check_plyvel_can_be_installed {too_new}", PATH=str(tmp_path), CXX="no-c++"
    )
    assert result.returncode != 0
    assert "apt-get install g++ libleveldb-dev python3-dev" in result.stderr


def test_no_test_run_is_a_failure(tmp_path: Path) -> None:
    # The real script, with tools that succeed and a pytest that finds nothing (its exit 5).
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 5\n")
    for tool in ("ruff", "mypy"):
        (tmp_path / tool).write_text("#!/bin/sh\nexit 0\n")
    for tool in ("python", "ruff", "mypy"):
        (tmp_path / tool).chmod(0o755)
    script = (ROOT / "scripts/test").read_text(encoding="utf-8")
    copy = script.replace('. "$(dirname "$0")/lib.sh"', ". scripts/lib.sh")
    copy = copy.replace("prepare\n", f"PATH={tmp_path}:$PATH\n", 1)
    for arguments in ((), ("-k", "nothing")):
        result = run("bash", "-c", copy, "scripts/test", *arguments)
        assert result.returncode == 1, result.stderr
        assert "Some checks failed." in result.stderr


def test_the_bench_of_the_light_client_measures() -> None:
    program = ROOT / "scripts/bench_light.py"
    words = ("--json", "--times", "1", "--sizes", "1")
    result = run(sys.executable, program, *words, PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert {kind: list(sizes) for kind, sizes in found.items()} == {
        "return_visit": ["4"], "first_visit": ["4x0"], "list": ["10"],
    }  # fmt: skip
    figures = [each for sizes in found.values() for each in sizes.values()]
    assert all(each[name] > 0 for each in figures for name in ("bytes", "chromium_ms"))
