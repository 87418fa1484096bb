"""LIGHT-1, LIGHT-2, LIGHT-3: each named lie of a real server is refused as what it is.

Here in Python; ``tests/browser/test_lies.py`` tells the same lies to the client in Chromium.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast
from unittest.mock import MagicMock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from ledger.errors import PeerFault
from nodes.api.facade import NodeFacade
from nodes.api.server import create_app
from nodes.client.http import HttpClient
from nodes.gateway.server import GatewayApi
from nodes.gateway.server import create_app as gateway_app
from tests.hostile.every_lie import EVERY_LIE
from tests.hostile.server import add_lies, address
from tests.hostile.table import Told, honest, told
from tests.hostile.visits import Visit
from tests.light.calls import CALLS, verdict
from tests.light.kit import OTHER_PATIENT, PATIENT, story

ALL = list(told())
HONEST = list(honest())


@asynccontextmanager
async def served(visits: list[Visit]) -> AsyncIterator[str]:
    """The running server's address."""
    app = web.Application()
    add_lies(app, visits)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def outcomes(visits: list[Visit]) -> list[dict[str, object]]:
    """What the Python client makes of each answer, fetched as the product fetches."""
    found = []
    async with served(visits) as origin:
        for number, visit in enumerate(visits):
            async with HttpClient(origin + address(number), None) as http:
                bodies = {path: await http.get(path) for path in visit.answers}
            assert bodies == visit.answers
            found.append(verdict(visit.call, visit.given(bodies)))
    return found


async def test_LIGHT_1_LIGHT_2_LIGHT_3_each_lie_of_a_server_is_refused() -> None:
    found = await outcomes([each.visit for each in ALL])
    assert misjudged(ALL, found) == {}
    assert all(each["message"] for each in found)


async def test_visits_ask_only_what_the_real_servers_answer() -> None:
    node = create_app(cast(NodeFacade, SimpleNamespace(store=None)), no_trace)
    gateway = gateway_app(cast(GatewayApi, MagicMock()), no_trace)
    for path in {path for each in ALL for path in each.visit.answers}:
        of_chain = not path.startswith(("/v1/patients/", "/v1/deidentified"))
        asked = make_mocked_request("GET", path)
        found = await (node if of_chain else gateway).router.resolve(asked)
        assert found.http_exception is None, path


def no_trace(event: object) -> None:
    """Nothing is traced: no handler runs."""


def misjudged(lies: list[Told], found: list[dict[str, object]]) -> dict[str, object]:
    """The lies that were believed, or were refused as something else than they are."""
    pairs = zip(lies, found, strict=True)
    return {lie.name: each for lie, each in pairs if each.get("error") != lie.error}


async def test_LIGHT_1_what_the_lies_distort_is_believed_when_true() -> None:
    found = await outcomes([visit for _, visit in HONEST])
    pairs = zip(HONEST, found, strict=True)
    assert {name: each for (name, _), each in pairs if "result" not in each} == {}


def test_each_kind_of_visit_is_paid_truly_and_falsely() -> None:
    kinds = Counter(each.visit.call for each in ALL)
    assert set(kinds) == {visit.call for _, visit in HONEST}
    assert len(ALL) == len({each.name for each in ALL}) >= 120


@pytest.mark.parametrize("n", [1, 7])
def test_LIGHT_1_the_lies_are_refused_on_networks_of_other_sizes(n: int) -> None:
    lies = list(told(n))
    assert misjudged(lies, [verdict(each.visit.call, each.visit.direct()) for each in lies]) == {}


def test_PRIV_1_no_error_holds_a_patient_key() -> None:
    for error, lie in EVERY_LIE.values():
        visit = lie(story(1))
        with pytest.raises(error) as caught:
            CALLS[visit.call](*visit.direct())
        assert isinstance(caught.value, PeerFault)
        for patient in (PATIENT, OTHER_PATIENT):
            assert patient not in caught.value.field_values().values()
            assert patient.hex()[:12] not in str(caught.value)
