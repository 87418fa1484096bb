"""The mutants of the light clients: their table is true, and some of them are judged again."""

import json
import subprocess
import sys

from tests.hostile.mutants import survivors
from tests.hostile.mutants.edits import JAVASCRIPT, PYTHON, mutants, text_of
from tests.hostile.mutants.judges import UNIT_TESTS
from tests.project.tree import ROOT

SAMPLE = 8
QUICK = [path for path in PYTHON if path not in UNIT_TESTS]
"""Verifiers that the vectors alone judge."""


def test_every_explained_survivor_is_still_a_mutant() -> None:
    reasons, existing = survivors.explained(), mutants()
    assert set(reasons) <= set(existing)
    assert all(reason.endswith(".") for reason in reasons.values())


def test_the_page_of_mutants_is_that_of_the_table() -> None:
    assert survivors.PAGE.read_text(encoding="utf-8") == survivors.page()


def test_every_mutant_is_an_edit_of_its_own() -> None:
    sources = {mutant.path: set[str]() for mutant in mutants().values()}
    assert set(sources) == {*PYTHON, *JAVASCRIPT}
    for mutant in mutants().values():
        changed = mutant.source()
        assert changed != text_of(mutant.path)
        assert changed not in sources[mutant.path], mutant
        sources[mutant.path].add(changed)


def test_a_run_tells_what_the_table_does_not() -> None:
    one, two, gone = list(mutants())[:3]
    existing = {one, two}
    assert list(survivors.wrong({one, two}, {one}, existing, {one: "It does the same."})) == []
    (line,) = survivors.wrong({one, two}, {two}, existing, {})
    assert line.startswith("not explained: ")
    (line,) = survivors.wrong({one}, set(), existing, {one: "It does the same."})
    assert line.startswith("explained, but noticed: ")
    (line,) = survivors.wrong({one}, set(), existing, {gone: "It does the same."})
    assert line.startswith("explained, but no longer there: ")
    assert list(survivors.wrong({one}, set(), existing, {two: "Not judged this time."})) == []


def test_LIGHT_1_a_sample_of_the_mutants_in_python_is_noticed() -> None:
    """In a process of its own, because each mutant is judged in a fork of it."""
    command = [sys.executable, "-m", "tests.hostile.mutants", "--sample", str(SAMPLE), "--file"]
    ended = subprocess.run(
        [*command, *QUICK], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["mutants"] == {"Python": SAMPLE, "JavaScript": 0}
    assert found["survivors"] < SAMPLE
