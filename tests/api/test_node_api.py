"""The validator's HTTP interface: what it serves verifies, and what it is sent is bounded."""

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from ledger import codec
from ledger.light import records, verify
from ledger.light.bundles import (
    LogBundle,
    LogEntriesBundle,
    LogEntryBundle,
    StateBundle,
    decode_bundle,
    decode_changes,
)
from ledger.light.trust import TrustedChain, advance, trust_genesis
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.primitives import Height, Nonce
from ledger.types.block import Block, Receipt
from ledger.types.certificate import CertifiedHeader
from ledger.types.entries import PARAMETERS_KEY, patient_log, release_log
from ledger.types.transaction import SignedTransaction, Transaction, sign_transaction
from nodes.api.server import create_app
from nodes.observability.logs import LogSink
from tests.api.network import TestNode
from tests.contracts.support import GENESIS, USERS, digest, patient

AGE = 60_000

ROWS = patient_log(patient(8)).hex()
"""A log that has no entries."""


def transaction(user: str, contract: str, action: str, *args: codec.Value, nonce: int = 0):
    signer, registered = USERS[user]
    body = Transaction(
        GENESIS.chain_id, contract, action, args, registered.public_key.key_id,
        Nonce(nonce.to_bytes(16, "big")), Height(500),
    )  # fmt: skip
    return sign_transaction(body, signer)


def register(number: int, *roots: int) -> SignedTransaction:
    rows = tuple((patient(number), digest(root), b"sealed") for root in roots)
    return transaction("hospital-a/gateway", "index", "register", 1, rows)


@pytest.fixture
def node() -> TestNode:
    return TestNode()


@pytest.fixture
async def client(node: TestNode) -> AsyncIterator[TestClient]:
    async with TestClient(TestServer(create_app(node, LogSink("error")))) as client:
        yield client


async def trusted_by(client: TestClient) -> TrustedChain:
    answer = await client.get("/v1/headers/latest")
    newest = CertifiedHeader.decode(await answer.read())
    answer = await client.get("/v1/memberships?from=0")
    return advance(
        trust_genesis(GENESIS.encode(), GENESIS.chain_id),
        decode_changes(await answer.read()),
        newest,
    )


async def submit(client: TestClient, *transactions: SignedTransaction) -> list[dict[str, str]]:
    answer = await client.post(
        "/v1/transactions", data=codec.encode([item.encoded for item in transactions])
    )
    assert answer.status == 200
    return (await answer.json())["results"]


async def test_submitted_transaction_is_told_with_its_receipt(client: TestClient) -> None:
    signed = register(1, 1, 2)
    results = await submit(client, signed)
    assert [(item["id"], item["status"]) for item in results] == [(signed.id.hex(), "accepted")]
    answer = await (await client.get(f"/v1/transactions/{signed.id.hex()}?wait=10")).json()
    assert (answer["status"], answer["height"], answer["index"]) == ("committed", 1, 0)
    assert answer["receipt"]["code"] == "ok"
    receipt = Receipt.decode(bytes.fromhex(answer["receipt"]["encoded"]))
    assert receipt == Receipt(signed.id, "ok", ((0, 1),))


async def test_pending_and_unknown_are_told_apart(client: TestClient, node: TestNode) -> None:
    node.stopped = True
    signed = register(1, 1)
    await submit(client, signed)
    for transaction_id, status in ((signed.id, "pending"), (digest(9), "unknown")):
        answer = await (await client.get(f"/v1/transactions/{transaction_id.hex()}")).json()
        assert answer == {"id": transaction_id.hex(), "status": status}


async def test_LIGHT_1_bundles_verify_from_genesis_alone(client: TestClient) -> None:
    await submit(client, register(1, 1, 2, 3))
    trusted = await trusted_by(client)
    now = trusted.time_ms
    log = patient_log(patient(1))

    bundle = decode_bundle(await (await client.get(f"/v1/state/{PARAMETERS_KEY.hex()}")).read())
    assert isinstance(bundle, StateBundle)
    assert verify.verify_state_bundle(trusted, bundle, PARAMETERS_KEY, now, AGE).value

    bundle = decode_bundle(await (await client.get(f"/v1/logs/{log.hex()}")).read())
    assert isinstance(bundle, LogBundle)
    listed = records.verify_patient_list(trusted, bundle, patient(1), now, AGE)
    assert [item.row.root for item in listed.rows] == [digest(1), digest(2), digest(3)]

    bundle = decode_bundle(await (await client.get(f"/v1/logs/{log.hex()}/1")).read())
    assert isinstance(bundle, LogEntryBundle)
    assert verify.verify_log_entry_bundle(trusted, bundle, log, now, AGE).index == 1

    target = f"/v1/logs/{log.hex()}/entries?indexes=0,2"
    bundle = decode_bundle(await (await client.get(target)).read())
    assert isinstance(bundle, LogEntriesBundle)
    entries = verify.verify_log_entries_bundle(trusted, bundle, log, now, AGE)
    assert [entry.index for entry in entries] == [0, 2]


async def test_LIGHT_1_absence_is_proved(client: TestClient) -> None:
    await submit(client, register(1, 1))
    trusted = await trusted_by(client)
    log = patient_log(patient(7))
    bundle = decode_bundle(await (await client.get(f"/v1/logs/{log.hex()}")).read())
    assert isinstance(bundle, LogBundle)
    listed = records.verify_patient_list(trusted, bundle, patient(7), trusted.time_ms, AGE)
    assert listed.rows == ()


async def test_log_entries_stay_provable_while_the_log_grows(client: TestClient) -> None:
    log = release_log(USERS["hospital-a/gateway"][1].member)
    for start in (0, 3, 6):
        roots = tuple(digest(start + i) for i in range(3))
        await submit(
            client, transaction("hospital-a/gateway", "release", "publish", roots, nonce=start)
        )
        trusted = await trusted_by(client)
        for index in range(start + 3):
            data = await (await client.get(f"/v1/logs/{log.hex()}/{index}")).read()
            bundle = decode_bundle(data)
            assert isinstance(bundle, LogEntryBundle)
            found = verify.verify_log_entry_bundle(trusted, bundle, log, trusted.time_ms, AGE)
            assert (found.entry, found.count) == (digest(index), start + 3)


async def test_blocks_headers_and_genesis_are_served_as_they_are(client: TestClient) -> None:
    signed = register(1, 1)
    await submit(client, signed)
    assert await (await client.get("/v1/genesis")).read() == GENESIS.encode()
    data = await (await client.get("/v1/blocks/1")).read()
    block, certificate, receipts = codec.decode(data, 10**6, "answer")
    root = root_of([leaf_hash(receipt) for receipt in receipts])
    assert Block.decode(block).header.receipt_root == root
    assert Block.decode(block).transactions == (signed.encoded,)
    header = CertifiedHeader.decode(await (await client.get("/v1/headers/1")).read())
    assert header.certificate.encode() == certificate


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code"),
    [
        ("GET", "/v1/headers/99", b"", 404, "chain/no-such-height"),
        ("GET", "/v1/headers/0", b"", 404, "chain/no-such-height"),
        ("GET", "/v1/headers/-1", b"", 400, "request/malformed"),
        ("GET", "/v1/headers/1e3", b"", 400, "request/malformed"),
        ("GET", "/v1/blocks/99", b"", 404, "chain/no-such-height"),
        ("GET", "/v1/state/zz", b"", 400, "request/malformed"),
        ("GET", "/v1/state/" + "00" * 300, b"", 400, "request/malformed"),
        ("GET", "/v1/logs/" + PARAMETERS_KEY.hex(), b"", 404, "log/not-a-log"),
        ("GET", "/v1/logs/" + patient_log(patient(1)).hex() + "/5", b"", 404, "log/no-such-entry"),
        ("GET", "/v1/logs/" + patient_log(patient(8)).hex() + "/0", b"", 404, "log/no-such-entry"),
        ("GET", f"/v1/logs/{ROWS}/entries?indexes=0", b"", 404, "log/no-such-entry"),
        ("GET", f"/v1/logs/{ROWS}/entries?indexes=1,0", b"", 400, "request/malformed"),
        ("GET", f"/v1/logs/{ROWS}/entries", b"", 400, "request/malformed"),
        ("GET", "/v1/transactions/00", b"", 400, "request/malformed"),
        ("GET", "/v1/transactions/" + "00" * 32 + "?wait=99999999", b"", 400, "request/malformed"),
        ("GET", "/v1/nothing", b"", 404, "http/404"),
        ("POST", "/v1/genesis", b"", 405, "http/405"),
        ("POST", "/v1/transactions", b"", 400, "request/malformed"),
        ("POST", "/v1/transactions", b"\x81", 400, "request/malformed"),
        ("POST", "/v1/transactions", codec.encode([1]), 400, "request/malformed"),
        ("POST", "/v1/transactions", codec.encode([b""] * 501), 400, "request/malformed"),
        ("POST", "/v1/transactions", bytes(300_000), 413, "http/413"),
    ],
)  # fmt: skip
async def test_R3_bad_requests_get_a_problem_answer(
    client: TestClient, method: str, target: str, body: bytes, status: int, code: str
) -> None:
    await submit(client, register(1, 1))
    answer = await client.request(method, target, data=body or None)
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    problem = await answer.json()
    assert (problem["code"], problem["status"]) == (code, status)
    assert set(problem) == {"type", "title", "status", "detail", "code"}


async def test_R5_compressed_bodies_are_refused_unread(client: TestClient) -> None:
    answer = await client.post(
        "/v1/transactions", data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}
    )
    assert (answer.status, (await answer.json())["code"]) == (415, "request/compressed")


async def test_R2_a_full_mempool_is_told_with_a_time(client: TestClient, node: TestNode) -> None:
    node.full = True
    body = codec.encode([register(1, 1).encoded])
    answer = await client.post("/v1/transactions", data=body)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert (await answer.json())["code"] == "mempool/full"


async def test_before_the_first_block_nothing_can_be_proved(client: TestClient) -> None:
    for target in (f"/v1/state/{PARAMETERS_KEY.hex()}", "/v1/headers/latest"):
        answer = await client.get(target)
        assert (answer.status, (await answer.json())["code"]) == (503, "chain/no-block-yet")


async def test_one_undecodable_transaction_does_not_spoil_the_others(client: TestClient) -> None:
    good = register(1, 1)
    results = await submit(client, good)
    answer = await client.post("/v1/transactions", data=codec.encode([b"\x00"]))
    refused = (await answer.json())["results"][0]
    assert (refused["id"], refused["status"]) == (None, "refused")
    assert results[0]["status"] == "accepted"


async def test_PRIV_1_an_unforeseen_failure_tells_and_logs_no_text(
    node: TestNode, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError("canary-name-of-a-patient")

    node.status = fail  # type: ignore[method-assign,assignment]
    async with TestClient(TestServer(create_app(node, LogSink("debug")))) as client:
        answer = await client.get("/v1/status")
        assert answer.status == 500
        assert "canary" not in await answer.text()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert "canary" not in json.dumps(lines)
    failed = [line for line in lines if line["event"] == "request_failed"]
    assert failed[0]["error"] == "ValueError"
    assert failed[0]["where"].startswith("test_node_api.py:")


def test_P4_log_lines_are_json_and_long_texts_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    sink = LogSink("info", member="hospital-a")
    sink.emit("block_committed", height=3, note="x" * 1000)
    sink.emit("request_answered", size=1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1  # chatter is written at level debug only
    line = json.loads(lines[0])
    assert (line["event"], line["height"], line["member"]) == ("block_committed", 3, "hospital-a")
    assert len(line["note"]) == 200
    assert sink.counts == {"block_committed": 1, "request_answered": 1}
