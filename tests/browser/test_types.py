"""The shipped scripts and those of the checks hold to the types that their comments state."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def tsc(web_tools: Path) -> Path:
    """The pinned compiler."""
    return web_tools / ".bin/tsc"


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
