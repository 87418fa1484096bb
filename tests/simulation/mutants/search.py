"""``--mutants``: plants one bug after another, and looks for the seed whose judges name it."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from tests.simulation import twins
from tests.simulation.mutants.patching import edited
from tests.simulation.mutants.table import MUTANTS, Mutant
from tests.simulation.options import draw
from tests.simulation.phases import run_seed

FOUND_FILE = Path(__file__).with_name("found.json")
"""Where each mutant was found; the suite looks there again."""
PAGE_FILE = Path(__file__).parents[3] / "docs" / "mutants.md"
SEEDS_MAX = 400
TWINS_MAX = 200


@dataclass(frozen=True)
class Finding:
    """How a mutant was found."""

    name: str
    found_by: str
    """"simulator", "twins", or empty where it was not."""
    at: int
    """The seed, or the number of the scenario."""
    tries: int
    """Seeds and scenarios run until then."""
    property_id: str
    """The first property that did not hold."""


def simulated(mutant: Mutant, seed: int) -> str:
    """What the judges say of one seed with the bug planted; empty if nothing."""
    with edited(mutant.edits):
        return run_seed(draw(seed)).violation


def twinned(mutant: Mutant, number: int) -> str:
    """What the judges say of one twins scenario."""
    with edited(mutant.edits):
        (outcome,) = twins.outcomes([twins.Scenario(number)])
        return f"{outcome.property_id}: {outcome.violation}" if outcome.violation else ""


def search(mutant: Mutant, seeds_max: int = SEEDS_MAX) -> Finding:
    """Seeds from 0 on, and twins between them, until a property does not hold."""
    scenarios = [each.number for each in twins.sample(TWINS_MAX, 0)]
    for tries in range(1, seeds_max + 1):
        said = simulated(mutant, tries - 1)
        if said:
            return Finding(mutant.name, "simulator", tries - 1, tries, said.partition(":")[0])
        if tries <= len(scenarios):
            number = scenarios[tries - 1]
            said = twinned(mutant, number)
            if said:
                return Finding(mutant.name, "twins", number, tries, said.partition(":")[0])
    return Finding(mutant.name, "", 0, seeds_max, "")


def again(mutant: Mutant, found_by: str, at: int) -> str:
    """What is said of the mutant where it was found before."""
    return simulated(mutant, at) if found_by == "simulator" else twinned(mutant, at)


def findings(processes: int, seeds_max: int) -> Iterator[Finding]:
    """Of all mutants, as they come; a process each, because caches keep what a bug computed."""
    with get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(partial(search, seeds_max=seeds_max), MUTANTS)


def page(table: Sequence[Mapping[str, object]]) -> str:
    """The page of the documentation that says what is found, where, and by which property."""
    tries = [int(str(row["seeds"])) for row in table if row["found_by"]]
    rows = [
        f"| {row['name']} | {row['what']} | {row['source']} | {row['found_by']} {row['at']} |"
        f" {row['seeds']} | {row['property']} |"
        for row in table
    ]
    return "\n".join(
        [
            "# Planted bugs",
            "",
            f"{len(tries)} of {len(table)} planted bugs are found, after {median(tries):g} seeds in"
            f" the median and {max(tries)} at most. `./scripts/simulate --mutants` plants one after"
            " another, runs seeds from 0 on, a twins scenario after each, and writes this page.",
            "The bugs are edits of shipped functions (`tests/simulation/mutants/table.py`); the"
            " judges know the protocol from its text (`oracle.py`), so that none weakens with the"
            " code. `./scripts/test` finds each again where it was found.",
            "",
            "| name | bug | who had it, or the rule | found at | seeds | property |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def run(processes: int, seeds_max: int = SEEDS_MAX) -> int:
    """Searches for all, writes what was found, prints JSON; exit code 1 where one was not."""
    found: dict[str, Finding] = {}
    for finding in findings(processes, seeds_max):
        found[finding.name] = finding
        print(finding, file=sys.stderr, flush=True)
    table = [
        {
            "name": mutant.name,
            "what": mutant.what,
            "source": mutant.source,
            "seeds": found[mutant.name].tries,
            "found_by": found[mutant.name].found_by,
            "at": found[mutant.name].at,
            "property": found[mutant.name].property_id,
        }
        for mutant in MUTANTS
    ]
    lines = ",\n".join(" " + json.dumps(row) for row in table)
    FOUND_FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    PAGE_FILE.write_text(page(table), encoding="utf-8")
    tries = [row.tries for row in found.values() if row.found_by]
    summary = {
        "mutants": len(MUTANTS),
        "found": len(tries),
        "median_seeds": median(tries) if tries else None,
        "table": table,
    }
    print(json.dumps(summary))
    return 0 if len(tries) == len(MUTANTS) else 1
