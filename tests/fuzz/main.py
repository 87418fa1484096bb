"""``./scripts/fuzz``: every decoder under the fuzzer, one after another, or a hostile peer."""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fuzz.decoders import DECODERS
from tests.project.tree import ROOT

FOLDER = ROOT / "build" / "fuzz"
SECONDS = 60
START_SECONDS_MAX = 120
"""For imports, and for the input that is under way when the time is over."""
_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


@dataclass(frozen=True)
class Run:
    """What became of one decoder."""

    decoder: str
    executions: int
    findings: tuple[str, ...]
    """Files with an input that breaks a property, from the project's folder."""
    exit_code: int


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("fuzz", description="Look for inputs that break a decoder.")
    parser.add_argument("--decoder", action="append", choices=DECODERS, help="only this one")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each decoder")
    parser.add_argument("--peer", action="store_true", help="a hostile validator instead")
    parser.add_argument("--seed", type=int, default=1, help="of the hostile validator")
    parser.add_argument("--list", action="store_true", help="names of all decoders")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    return parser.parse_args(words)


def run(name: str, seconds: int) -> Run:
    """One decoder in a process of its own; its log lies beside its corpus."""
    folder = FOLDER / re.sub(r"\W+", "-", name)
    folder.mkdir(parents=True, exist_ok=True)
    before = set(_findings(folder))
    with (folder / "log.txt").open("w+", encoding="utf-8", errors="replace") as log:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", name, str(seconds), str(folder)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            timeout=seconds + START_SECONDS_MAX,
            check=False,
        )
        log.seek(0)
        counted = _EXECUTIONS.findall(log.read())
    found = sorted(set(_findings(folder)) - before)
    places = tuple(path.relative_to(ROOT).as_posix() for path in found)
    return Run(name, int(counted[-1]) if counted else 0, places, done.returncode)


def _findings(folder: Path) -> list[Path]:
    return [
        path for kind in ("crash", "oom", "timeout", "leak") for path in folder.glob(f"{kind}-*")
    ]


def main(words: Sequence[str] | None = None) -> int:
    """0 where nothing was found."""
    arguments = _arguments(words)
    if arguments.list:
        print("\n".join(DECODERS))
        return 0
    if arguments.peer:
        from tests.fuzz.peer import run_for

        return run_for(arguments.seconds, arguments.seed, arguments.json)
    runs = []
    for name in arguments.decoder or DECODERS:
        done = run(name, arguments.seconds)
        runs.append(done)
        mark = "  ".join(done.findings) or ("" if done.exit_code == 0 else f"exit {done.exit_code}")
        print(f"{name:34} {done.executions:12,}  {mark}", flush=True)
    broken = sum(bool(done.findings) or done.exit_code != 0 for done in runs)
    executions = sum(done.executions for done in runs)
    print(f"{len(runs)} decoders, {executions:,} executions, {broken} with findings.")
    if arguments.json:
        print(json.dumps({"executions": executions, "runs": [asdict(done) for done in runs]}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
