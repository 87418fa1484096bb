"""Clients against servers that are slow, full, verbose, old or hostile."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ledger.light.trust import HeaderGoesBack, StaleAnswer, WrongChain
from ledger.primitives import Height
from ledger.types.entries import PARAMETERS_KEY
from nodes.api.server import create_app
from nodes.client import http as http_module
from nodes.client import transactions
from nodes.client.chain import ChainClient
from nodes.client.http import (
    AnswerUnreadable,
    HttpClient,
    RequestRefused,
    ServerBusy,
    Unreachable,
)
from nodes.client.session import LightSession, TrustFileUnusable
from nodes.client.transactions import NotAdmitted, NotCommitted, TransactionClient
from nodes.observability.logs import LogSink
from tests.api.network import TestNode
from tests.contracts.support import GENESIS, USERS, digest, patient
from tests.vectors import fixed

ROWS = [[patient(1), digest(1), b"sealed"]]


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[HttpClient]:
    server = TestServer(app)
    await server.start_server()
    try:
        async with HttpClient(str(server.make_url("/")), None) as client:
            yield client
    finally:
        await server.close()


@asynccontextmanager
async def answering(answer: Callable[[], web.Response]) -> AsyncIterator[HttpClient]:
    async def handle(_: web.Request) -> web.Response:
        return answer()

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    async with serving(app) as client:
        yield client


@asynccontextmanager
async def chain() -> AsyncIterator[tuple[TestNode, ChainClient]]:
    node = TestNode()
    node.store.append([])
    async with serving(create_app(node, LogSink("error"))) as http:
        yield node, ChainClient(http)


def session_of(node: TestNode, client: ChainClient, file: Path | None = None) -> LightSession:
    return LightSession(client, GENESIS, trusted_file=file, now_ms=node.now_ms)


def gateway_key(client: ChainClient, user: str = "hospital-a/gateway") -> TransactionClient:
    return TransactionClient(client, GENESIS.chain_id, USERS[user][0])


async def test_no_server_is_named_without_a_traceback() -> None:
    async with HttpClient("http://127.0.0.1:9", None) as client:
        with pytest.raises(Unreachable) as failed:
            await client.get("/v1/status")
    assert "127.0.0.1:9 does not answer" in str(failed.value)


async def test_R3_an_endless_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "ANSWER_BYTES_MAX", 1_000)
    async with answering(lambda: web.Response(body=bytes(1_001))) as client:
        with pytest.raises(AnswerUnreadable):
            await client.get("/")


async def test_texts_of_a_server_are_cut_and_cannot_steer_a_terminal() -> None:
    body = {"code": "x/y", "detail": "\x1b[2J" + "a" * 10_000}
    async with answering(lambda: web.json_response(body, status=400)) as client:
        with pytest.raises(RequestRefused) as refused:
            await client.get("/")
    assert "\x1b" not in str(refused.value)
    assert len(refused.value.detail) == 300


@pytest.mark.parametrize("body", ["", "[]", "{", "null", "[" * 100_000, '"text"'])
async def test_anything_but_a_json_object_is_refused(body: str) -> None:
    async with answering(lambda: web.Response(text=body)) as client:
        with pytest.raises(AnswerUnreadable):
            await client.get_json("/")


async def test_redirects_are_not_followed() -> None:
    def away() -> web.Response:
        return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"})

    async with answering(away) as client:
        with pytest.raises(RequestRefused) as refused:
            await client.get("/")
    assert refused.value.status == 302


@pytest.mark.parametrize(
    ("told", "seconds"), [("7", 7), ("9999", 60), ("soon", 1), ("²", 1), ("9" * 5_000, 1)]
)
async def test_R2_a_busy_server_says_when_to_come_back(told: str, seconds: int) -> None:
    def busy() -> web.Response:
        return web.Response(status=503, headers={"Retry-After": told})

    async with answering(busy) as client:
        with pytest.raises(ServerBusy) as failed:
            await client.get("/")
    assert failed.value.retry_after_s == seconds


async def test_R1_a_transaction_is_built_submitted_and_told() -> None:
    async with chain() as (_, client):
        receipt = await gateway_key(client).execute("index", "register", [1, ROWS])
        assert receipt.fields == ((0,),)


async def test_R2_a_full_mempool_is_asked_again_until_the_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transactions, "SUBMIT_SECONDS", 0.0)
    async with chain() as (node, client):
        node.full = True
        key = gateway_key(client)
        with pytest.raises(ServerBusy):
            await key.submit([key.build("index", "register", [1, ROWS], Height(1))])


async def test_R2_the_same_bytes_are_sent_again_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with chain() as (node, client):
        node.full = True
        key = gateway_key(client)
        built = key.build("index", "register", [1, ROWS], Height(1))

        async def make_room(seconds: float, busy: ServerBusy, deadline: float) -> float:
            node.full = False
            return seconds

        monkeypatch.setattr(transactions, "retry_busy", make_room)
        await key.submit([built])
        assert node.submissions == 2
        receipt = await key.wait(built.id)
        assert receipt is not None
        assert receipt.ok


async def test_a_refused_transaction_names_its_code() -> None:
    async with chain() as (_, client):
        key = gateway_key(client)
        built = key.build("index", "register", [1, ROWS], Height(1))
        object.__setattr__(built, "encoded", built.encoded[:-1] + bytes([built.encoded[-1] ^ 1]))
        with pytest.raises(NotAdmitted) as refused:
            await key.submit([built])
        assert refused.value.code == "transaction/malformed"


async def test_LIVE_1_no_commit_in_time_is_the_worlds_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transactions, "COMMIT_SECONDS", 0.05)
    async with chain() as (node, client):
        node.stopped = True
        key = gateway_key(client)
        monkeypatch.setattr(key, "wait", lambda _id: _nothing())
        with pytest.raises(NotCommitted):
            await key.execute("index", "register", [1, ROWS])


async def _nothing() -> None:
    return None


def test_batches_fit_one_submission_each() -> None:
    key = TransactionClient(None, GENESIS.chain_id, USERS["hospital-a/gateway"][0])  # type: ignore[arg-type]  # nothing is sent
    large = key.build("index", "register", [b"x" * 60_000], Height(1))
    small = key.build("index", "register", [], Height(1))
    batches = list(transactions._batches([large] * 9 + [small] * 501))
    assert [item for batch in batches for item in batch] == [large] * 9 + [small] * 501
    assert all(sum(len(item.encoded) for item in batch) <= 240 * 1024 for batch in batches)
    assert all(len(batch) <= 500 for batch in batches)
    assert list(transactions._batches([])) == []


async def test_LIGHT_3_an_old_answer_is_refused() -> None:
    async with chain() as (node, client):
        session = LightSession(client, GENESIS, max_age_ms=999, now_ms=node.now_ms)
        with pytest.raises(StaleAnswer):
            await session.state(PARAMETERS_KEY)


async def test_LIGHT_1_a_server_cannot_take_a_session_back(tmp_path: Path) -> None:
    async with chain() as (node, client):
        session = session_of(node, client, tmp_path / "trusted")
        node.store.append([])
        assert (await session.refresh()).height == 2
    async with chain() as (older, client):
        again = session_of(older, client, tmp_path / "trusted")
        assert again.trusted.height == 2
        with pytest.raises(HeaderGoesBack):
            await again.state(PARAMETERS_KEY)
        with pytest.raises(HeaderGoesBack):
            await again.refresh()


async def test_what_is_trusted_grows_with_each_answer() -> None:
    async with chain() as (node, client):
        session = session_of(node, client)
        for height in (1, 2, 3):
            assert (await session.state(PARAMETERS_KEY)).value
            assert session.trusted.height == height
            node.store.append([])


async def test_LIGHT_1_another_networks_server_is_refused() -> None:
    async with chain() as (node, client):
        session = LightSession(client, fixed.genesis(), now_ms=node.now_ms)
        with pytest.raises(WrongChain):
            await session.refresh()


async def test_a_damaged_or_foreign_trust_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "trusted"
    async with chain() as (node, client):
        file.write_bytes(b"junk")
        with pytest.raises(TrustFileUnusable):
            session_of(node, client, file)
        file.unlink()
        await session_of(node, client, file).refresh()
        with pytest.raises(WrongChain):
            LightSession(client, fixed.genesis(), trusted_file=file)
