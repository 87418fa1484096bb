"""``./scripts/simulate --twins``: all scenarios, or a sample, in chunks that are kept in a record.

With a record file an interrupted run goes on where it stopped: each line is one chunk. A record
holds the commit it was made at, and is refused by another.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from multiprocessing import Pool
from pathlib import Path

from tests.simulation.twins import SCENARIOS, Scenario, outcomes, sample

CHUNK = 1_024


def run_chunk(numbered: tuple[int, Sequence[int]]) -> dict[str, object]:
    """Counts over some scenarios, and all violations."""
    chunk, numbers = numbered
    counts: Counter[str] = Counter()
    violations: list[str] = []
    for outcome in outcomes([Scenario(number) for number in numbers]):
        counts["scenarios"] += 1
        counts["heights"] += outcome.final_height
        counts["decided_in_the_views"] += max(outcome.heights, default=0) > 0
        counts["twins_equivocated"] += outcome.equivocations > 0
        counts["equivocations"] += outcome.equivocations
        counts["noticed"] += outcome.noticed > 0
        if outcome.violation:
            violations.append(f"{outcome.scenario}: {outcome.violation}")
    return {"chunk": chunk, **counts, "violations": violations}


def run(count: int | None, seed: int, processes: int, record: Path | None, commit: str) -> int:
    """Prints one JSON object; exit code 1 where any property was violated."""
    scenarios = range(SCENARIOS) if count is None else [s.number for s in sample(count, seed)]
    chunks = [scenarios[start : start + CHUNK] for start in range(0, len(scenarios), CHUNK)]
    run_of = {"commit": commit, "sample": count, "seed": seed}
    rows: dict[int, dict[str, object]] = {}
    if record is not None and record.exists():
        head, *kept = map(json.loads, record.read_text().splitlines())
        if head != run_of:
            print(f"{record} is a record of {head}, not of {run_of}", file=sys.stderr)
            return 2
        rows = {row["chunk"]: row for row in kept}
    elif record is not None:
        record.write_text(json.dumps(run_of) + "\n")
    left = [(number, chunk) for number, chunk in enumerate(chunks) if number not in rows]
    with Pool(processes) as pool:
        for row in pool.imap_unordered(run_chunk, left):
            rows[int(str(row["chunk"]))] = row
            if record is not None:
                with record.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            print(f"{len(rows)} of {len(chunks)} chunks", file=sys.stderr, flush=True)
    counted: Counter[str] = Counter()
    violations: list[str] = []
    for _, row in sorted(rows.items()):
        counted.update({k: v for k, v in row.items() if isinstance(v, int) and k != "chunk"})
        violations += row["violations"]  # type: ignore[operator]  # a list of texts
    for violation in violations[:20]:
        print(f"FAILED commit={commit} {violation}", file=sys.stderr)
    print(json.dumps({**run_of, **counted, "violations": len(violations)}))
    return 1 if violations else 0
