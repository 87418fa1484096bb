"""The shipped scripts and those of the checks hold to the types that their comments state."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project.tree import ROOT

HERE = Path(__file__).parent
TOOLS = ROOT / "build/web-checks"
PINNED = ("package.json", "package-lock.json")


@pytest.fixture(scope="session")
def tsc() -> Path:
    """The pinned compiler; installed again where the lock file changed."""
    lock = (HERE / "package-lock.json").read_bytes()
    installed = TOOLS / "installed-lock.json"
    if not installed.is_file() or installed.read_bytes() != lock:
        TOOLS.mkdir(parents=True, exist_ok=True)
        for name in PINNED:
            shutil.copy(HERE / name, TOOLS / name)
        npm = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(npm, cwd=TOOLS, check=True, capture_output=True)
        installed.write_bytes(lock)
    return TOOLS / "node_modules/.bin/tsc"


def checked(tsc: Path, *arguments: str) -> str:
    """What the compiler says; nothing where all is well."""
    done = subprocess.run([tsc, *arguments], cwd=HERE, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_every_script_is_typed_strictly(tsc: Path) -> None:
    assert checked(tsc, "--project", ".") == ""


def test_the_compiler_notices(tsc: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.js"
    wrong.write_text("/** @param {Uint8Array} a */\nexport const f = (a) => a.size;\n")
    options = [
        "--ignoreConfig",
        "--strict",
        "--allowJs",
        "--checkJs",
        "--noEmit",
        "--lib",
        "ES2023",
    ]
    assert "TS2339" in checked(tsc, *options, str(wrong))


def test_the_lock_file_names_no_server() -> None:
    assert "resolved" not in (HERE / "package-lock.json").read_text(encoding="utf-8")
