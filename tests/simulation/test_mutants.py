"""A change of the simulator must still find the planted bugs that it found before."""

import json
from multiprocessing import get_context

import pytest

from tests.simulation.mutants.patching import Edit, EditFailed, edited
from tests.simulation.mutants.search import FOUND_FILE, PAGE_FILE, again, page
from tests.simulation.mutants.table import MUTANTS

FOUND = json.loads(FOUND_FILE.read_text(encoding="utf-8"))
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_planted_bug_still_fits_the_code(mutant):
    functions = [edit.function() for edit in mutant.edits]
    before = [function.__code__ for function in functions]
    with edited(mutant.edits):
        assert all(f.__code__ is not code for f, code in zip(functions, before, strict=True))
    assert [function.__code__ for function in functions] == before


@pytest.mark.parametrize("row", FOUND, ids=lambda row: row["name"])
def test_a_planted_bug_is_found_where_it_was_found(row):
    # In a new process: caches of this one keep what the correct code computed, such as quorums.
    with get_context("spawn").Pool(1) as pool:
        said = pool.apply(again, (BY_NAME[row["name"]], row["found_by"], row["at"]))
    assert said.partition(":")[0] == row["property"]


def test_an_edit_of_what_is_not_there_fails_loudly():
    edits = [Edit("ledger.quorum:quorum", "no such text", ""), Edit("ledger.quorum:gone", "", "")]
    for edit in edits:
        with pytest.raises(EditFailed), edited([edit]):
            pass


def test_every_planted_bug_is_found_and_the_page_says_where():
    assert [row["name"] for row in FOUND] == [mutant.name for mutant in MUTANTS]
    assert all(row["found_by"] for row in FOUND)
    assert PAGE_FILE.read_text(encoding="utf-8") == page(FOUND)


def test_no_two_planted_bugs_have_one_name():
    assert len(BY_NAME) == len(MUTANTS) >= 44
