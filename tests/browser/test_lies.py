"""LIGHT-1, LIGHT-2, LIGHT-3: the browser's client refuses each lie of the hostile server."""

from typing import Any

from tests.browser.conftest import WebChecks
from tests.hostile.server import address
from tests.hostile.table import honest, told
from tests.hostile.visits import Visit

ALL = list(told())
HONEST = list(honest())
VISITS = [*(each.visit for each in ALL), *(visit for _, visit in HONEST)]


def outcomes(web_checks: WebChecks, visits: list[Visit], first: int) -> list[dict[str, Any]]:
    """What Chromium makes of the visits whose numbers begin with ``first``."""
    written = [
        visit.for_browser() | {"address": address(number)}
        for number, visit in enumerate(visits, first)
    ]

    async def pay() -> list[dict[str, Any]]:
        page = await web_checks.open()
        script = "async visits => (await import('/checks/visitor.js')).payAll(visits)"
        found: list[dict[str, Any]] = await page.evaluate(script, written)
        await page.context.close()
        return found

    return web_checks.run(pay())


def test_LIGHT_1_LIGHT_2_LIGHT_3_the_browser_refuses_each_lie(web_checks: WebChecks) -> None:
    web_checks.lies[:] = VISITS
    found = outcomes(web_checks, [each.visit for each in ALL], 0)
    pairs = zip(ALL, found, strict=True)
    assert {lie.name: each for lie, each in pairs if each.get("error") != lie.error} == {}


def test_LIGHT_1_the_browser_believes_what_is_true(web_checks: WebChecks) -> None:
    web_checks.lies[:] = VISITS
    found = outcomes(web_checks, [visit for _, visit in HONEST], len(ALL))
    pairs = zip(HONEST, found, strict=True)
    assert {name: each for (name, _), each in pairs if "result" not in each} == {}
