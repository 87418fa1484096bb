"""``./scripts/simulate``: runs seeds, counts what happened, and says how to see a failure again."""

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from multiprocessing import Pool
from pathlib import Path

from tests.simulation import twins_run
from tests.simulation.mutants import search
from tests.simulation.options import PROFILES, draw
from tests.simulation.phases import Outcome, run_seed

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 2
PROGRESS_EVERY = 100


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("simulate", description="Run the consensus simulator.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seeds", type=_seeds, help="A-B or one number")
    what.add_argument("--mutants", action="store_true", help="plant each known bug and find it")
    what.add_argument("--twins", action="store_true", help="every twins scenario")
    parser.add_argument("--sample", type=int, help="with --twins: only so many of them")
    parser.add_argument("--seed", type=int, default=1, help="with --sample: which ones")
    parser.add_argument("--record", type=Path, help="with --twins: file that keeps each chunk")
    parser.add_argument("--profile", choices=PROFILES, default="all", help="kinds of fault")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    return parser.parse_args(words)


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        seeds = range(int(first), int(last or first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not A-B") from None
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} holds no seed")
    return seeds


def commit() -> str:
    """Of the working tree, with a plus where files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def run_one(seed: int, profile: str) -> Outcome:
    """One seed, from nothing but its number."""
    return run_seed(draw(seed, profile))


def outcomes(seeds: range, profile: str) -> Iterator[Outcome]:
    """Of all seeds, in their order."""
    one = partial(run_one, profile=profile)
    if len(seeds) == 1:
        yield one(seeds[0])
        return
    with Pool(PROCESSES) as pool:
        yield from pool.imap(one, seeds, chunksize=4)


def summary(results: Sequence[Outcome]) -> dict[str, object]:
    """What the last line says with --json."""
    faults: Counter[str] = Counter()
    trace = sha256()
    for outcome in results:
        faults.update(outcome.faults)
        trace.update(outcome.trace.encode())
    return {
        "seeds": len(results),
        "violations": sum(outcome.violation != "" for outcome in results),
        "faults": dict(sorted(faults.items())),
        "heights": sum(outcome.height for outcome in results),
        "view_changes": sum(outcome.view_changes for outcome in results),
        "crashes": sum(faults[kind] for kind in faults if kind.startswith("crash")),
        "light_client_lies_refused": sum(outcome.lies_refused for outcome in results),
        "trace_hash": trace.hexdigest(),
    }


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 where any property was violated."""
    arguments = _arguments(words)
    at = commit()
    if arguments.mutants:
        return search.run(PROCESSES)
    if arguments.twins:
        return twins_run.run(arguments.sample, arguments.seed, PROCESSES, arguments.record, at)
    seeds: range = arguments.seeds
    print(
        f"commit {at}, seeds {seeds[0]}-{seeds[-1]}, profile {arguments.profile}", file=sys.stderr
    )
    if len(seeds) == 1:
        print(draw(seeds[0], arguments.profile), file=sys.stderr)
    results: list[Outcome] = []
    failures: list[str] = []
    for outcome in outcomes(seeds, arguments.profile):
        results.append(outcome)
        if outcome.violation:
            failures.append(f"FAILED commit={at} {outcome.options} violation: {outcome.violation}")
            print(failures[-1], file=sys.stderr, flush=True)
        if len(results) % PROGRESS_EVERY == 0:
            print(f"{len(results)} of {len(seeds)} seeds", file=sys.stderr, flush=True)
    counted = summary(results)
    if arguments.json:
        print(json.dumps(counted))
    else:
        for name, value in counted.items():
            print(f"{name}: {value}")
        if failures:
            print(failures[0])
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
