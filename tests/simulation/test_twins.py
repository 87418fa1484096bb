"""A sample of the twins scenarios holds, and twins find bugs that are planted."""

import pytest

from tests.simulation import cluster, twins_run
from tests.simulation.mutants.patching import Edit, EditFailed, edited
from tests.simulation.twins import INSTANCES, SCENARIOS, Scenario, outcomes, sample, side_of

REPLICA = "ledger.consensus.replica:Replica."
REQUIRED = "ledger.consensus.view_change:required_block"
PLANTED = {
    "prepared blocks are dropped": Edit(
        REPLICA + "_vote_view_change", "self._round.prepared,", "None,"
    ),
    "the lowest view is proposed": Edit(REQUIRED, "return max(prepared", "return min(prepared"),
    "any certificate is proposed": Edit(
        REQUIRED,
        "return max(prepared, key=lambda proof: proof.view, default=None)",
        "return prepared[0] if prepared else None",
    ),
}


def test_SAFE_1_LIVE_1_hold_in_a_sample_of_all_twins_scenarios(capsys):
    assert twins_run.run(5_000, 1, 2, None, "test") == 0
    assert '"scenarios": 5000' in capsys.readouterr().out


@pytest.mark.parametrize("bug", PLANTED)
def test_SAFE_1_twins_find_a_planted_bug(bug):
    with edited([PLANTED[bug]]):
        cluster.genesis.cache_clear()
        found = (o for o in outcomes(sample(2_000, 1)) if o.violation)
        assert next(found).property_id in ("SAFE-1", "I6")


def test_every_scenario_is_a_different_one():
    assert Scenario(SCENARIOS - 1).twinned == 3
    assert len({side_of(partition) for partition in range(16)}) == 16
    assert all(side_of(partition)[0] == 0 for partition in range(16))
    places = {(s.twinned, s.partitions) for s in map(Scenario, range(0, SCENARIOS, 37))}
    assert len(places) == len(range(0, SCENARIOS, 37))
    assert len(side_of(0)) == INSTANCES


def test_an_edit_of_what_is_not_there_fails_loudly():
    with pytest.raises(EditFailed), edited([Edit(REQUIRED, "no such text", "")]):
        pass
    with pytest.raises(EditFailed), edited([Edit(REPLICA + "_no_such", "a", "b")]):
        pass
