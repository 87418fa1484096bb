"""LIGHT-1: a sample of the mutants of the light client in JavaScript is judged again."""

from playwright.async_api import Page

from tests.browser.conftest import WebChecks
from tests.hostile.mutants import survivors
from tests.hostile.mutants.edits import JAVASCRIPT, mutants, unchanged

SAMPLE = 12


def test_LIGHT_1_a_sample_of_the_mutants_in_javascript_is_noticed(
    web_checks: WebChecks, light_page: Page
) -> None:
    assert web_checks.run(web_checks.mutants.survives(light_page, unchanged(JAVASCRIPT[0])))
    chosen = survivors.sample(mutants(JAVASCRIPT), SAMPLE)
    assert len(chosen) == SAMPLE
    survived = {
        identity
        for identity, mutant in chosen.items()
        if web_checks.run(web_checks.mutants.survives(light_page, mutant))
    }
    assert survived == survivors.explained().keys() & chosen.keys()
