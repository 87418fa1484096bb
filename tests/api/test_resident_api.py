"""Enrolment and shares over HTTP, as a page and the recipient of a link call them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import aiohttp
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger import codec
from ledger.commitment import Disclosure
from ledger.light.bundles import LogEntriesBundle, StateBundle, bundle_from_value
from ledger.light.consent import verify_share
from ledger.light.records import ListedRow, verify_record
from ledger.light.verify import verify_log_entries_bundle, verify_state_bundle
from ledger.primitives import Hash32, Nonce
from ledger.types.block import Receipt
from ledger.types.entries import decode_patient_entry, patient_log, row_status
from ledger.types.genesis import Endpoints
from ledger.types.residents import share_content_key, share_token_hash, share_verifier
from nodes.client.enrolment import EnrolmentCode, post_key
from nodes.client.hospital import HospitalClient
from nodes.client.http import HttpClient, RequestRefused
from nodes.gateway.enrolments import LIFE_MS
from nodes.gateway.page import hospital_origins
from nodes.gateway.shares import LOCATION_LIFE_MS
from tests.api.consortium import Consortium, consortium
from tests.api.test_gateway import doctor, resident
from tests.contracts.support import GENESIS, NOW, YEAR_MS, FixedSigner, patient

PATIENT = patient(1)
TOKEN = b"t" * 32
DAY_MS = 24 * 3600 * 1000
REGISTRAR = "hospital-a/registrar"


@pytest.fixture
async def two() -> AsyncIterator[Consortium]:
    async with consortium("hospital-a", "hospital-b") as made:
        yield made


def code_of(error: pytest.ExceptionInfo[RequestRefused]) -> tuple[int, str]:
    return error.value.status, error.value.code


async def anyone(made: Consortium) -> HttpClient:
    return await made.http(REGISTRAR, "hospital-a", signed=False)


async def test_one_code_binds_one_key_that_proves_itself(two: Consortium) -> None:
    registrar, page = await doctor(two, REGISTRAR), await anyone(two)
    code, _ = await registrar.new_enrolment(patient(9), "guardian")
    assert EnrolmentCode.from_text(code.to_text()) == code
    assert await registrar.posted_key(code) is None
    signer, other = FixedSigner(701), FixedSigner(702)
    stranger = EnrolmentCode(code.chain_id, code.hospital, patient(8), code.role, code.challenge)
    with pytest.raises(RequestRefused) as error:
        await post_key(page, stranger, signer)
    assert code_of(error) == (400, "enrolment/not-possessed")
    for _ in range(2):  # sent again after an answer that was lost
        await post_key(page, code, signer)
    with pytest.raises(RequestRefused) as error:
        await post_key(page, code, other)
    assert code_of(error) == (409, "enrolment/used")
    posted = await registrar.posted_key(code)
    assert posted == (signer.public_key, code.prove(signer))
    await registrar.bind_resident(code, *posted, NOW + YEAR_MS)


async def test_K4_codes_are_made_by_registrars_and_end(
    two: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    treating: HospitalClient = await doctor(two)
    with pytest.raises(RequestRefused) as error:
        await treating.new_enrolment(PATIENT, "resident")
    assert code_of(error) == (403, "request/not-permitted")
    registrar, page = await doctor(two, REGISTRAR), await anyone(two)
    code, expires_ms = await registrar.new_enrolment(PATIENT, "resident")
    enrolments = two.gateways["hospital-a"].api.residents.enrolments
    assert expires_ms == two.node.now_ms() + LIFE_MS
    monkeypatch.setattr(enrolments, "_now_ms", lambda: expires_ms)
    for wanted in (code, EnrolmentCode(*code_fields(code), Nonce(bytes(16)))):
        with pytest.raises(RequestRefused) as error:
            await post_key(page, wanted, FixedSigner(703))
        assert code_of(error) == (404, "enrolment/unknown")


def code_fields(code: EnrolmentCode) -> tuple:
    return code.chain_id, code.hospital, code.patient, code.role


@dataclass
class Link:
    """A share as its recipient has it."""

    base: str
    share: Hash32

    async def open(
        self, passcode: object = "4711", token: bytes = TOKEN, **more: object
    ) -> tuple[int, dict]:
        body = {"recipient": "Dr. Who", "passcode": passcode} | more
        return await self.post(json.dumps(body).encode(), token)

    async def post(self, body: bytes, token: bytes = TOKEN) -> tuple[int, dict]:
        url = f"{self.base}/v1/shares/{self.share.hex()}/{token.hex()}"
        async with aiohttp.ClientSession() as http, http.post(url, data=body) as answer:
            return answer.status, await answer.json(content_type=None)


async def shared(made: Consortium, rows: list[int], attempts: int = 2) -> Link:
    until = made.node.now_ms() + DAY_MS
    args = (rows, "resident", share_token_hash(TOKEN), share_verifier(TOKEN, "4711"))
    share = await made.execute("resident-1", "share", "create", *args, until, attempts)
    return Link(made.gateways["hospital-a"].url, share)


async def bases(made: Consortium) -> list[tuple[str, bytes, tuple[int, ...]]]:
    _, entries = await (await resident(made)).accesses()
    return [(entry.basis, entry.permission, entry.rows) for entry in entries]


def opened(jwe: str, key: bytes) -> bytes:
    header, empty, *parts = jwe.split(".")
    iv, sealed, tag = (base64.urlsafe_b64decode(p + "=" * (-len(p) % 4)) for p in parts)
    fields = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    assert (fields["alg"], fields["enc"], empty) == ("dir", "A256GCM", "")
    return AESGCM(key).decrypt(iv, sealed + tag, header.encode())


async def test_LIGHT_1_a_recipient_without_an_account_verifies_what_was_shared(
    two: Consortium,
) -> None:
    await two.register("hospital-a", PATIENT)
    link = await shared(two, [1])
    session = (await resident(two)).session
    trusted = await session.refresh()
    status, manifest = await link.open()
    assert (status, manifest["status"], len(manifest["files"])) == (200, "finalized", 1)
    data = opened(manifest["files"][0]["embedded"], share_content_key(TOKEN))
    fields = codec.array(codec.decode(data, len(data), "shared"), 7, "shared")
    state, entries, row_state = (bundle_from_value(value) for value in fields[:3])
    assert isinstance(state, StateBundle)
    assert isinstance(entries, LogEntriesBundle)
    assert isinstance(row_state, StateBundle)
    now, age = two.node.now_ms(), 10**9
    share = verify_share(trusted, state, link.share, TOKEN, now, age).share
    assert (share.rows, share.ended) == ((1,), False)
    (entry,) = verify_log_entries_bundle(trusted, entries, patient_log(share.patient), now, age)
    row = decode_patient_entry(entry.entry)
    status_key = row_status(row.hash)
    assert verify_state_bundle(trusted, row_state, status_key, now, age).value is None
    rules = (await session.view_rules(share.view)).in_force
    listed = ListedRow(entry.index, row, row.hash, "valid")
    record = verify_record(listed, Disclosure.decode(fields[4]), rules)
    assert (record.view, fields[3]) == ("resident", "MedicationRequest")
    assert b"canary-medicine" not in data
    assert fields[6] is None  # the key of its metadata would tell the drug's code
    assert await bases(two) == [("share", link.share, (1,))]


async def test_an_opening_is_proved_even_where_the_share_is_ended_right_after_it(
    two: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two.register("hospital-a", PATIENT)
    link = await shared(two, [0])
    trusted = await (await resident(two)).session.refresh()
    desk = two.gateways["hospital-a"].api.residents.shares
    real = desk._execute

    async def then_ended(action: str, share_id: Hash32) -> Receipt:
        receipt = await real(action, share_id)
        await two.execute("resident-1", "share", "end", share_id)
        return receipt

    monkeypatch.setattr(desk, "_execute", then_ended)
    status, manifest = await link.open()
    assert status == 200
    data = opened(manifest["files"][0]["embedded"], share_content_key(TOKEN))
    state = bundle_from_value(codec.array(codec.decode(data, len(data), "shared"), 7, "shared")[0])
    assert isinstance(state, StateBundle)
    now, age = two.node.now_ms(), 10**9
    assert verify_share(trusted, state, link.share, TOKEN, now, age).closed is None
    monkeypatch.undo()
    assert (await link.open())[1]["code"] == "share/ended"
    ((share_id, found),) = await (await resident(two)).shares()
    assert (share_id, found.closed, found.share.rows) == (link.share, "ended", (0,))


async def test_ACC_1_wrong_passcodes_are_counted_on_the_chain_and_lock_the_share(
    two: Consortium,
) -> None:
    await two.register("hospital-a", PATIENT)
    link = await shared(two, [0, 1], attempts=3)
    assert (await link.open(token=b"u" * 32))[1]["code"] == "share/not-available"
    status, body = await link.open("4712")
    assert (status, body["code"], body["remainingAttempts"]) == (401, "share/wrong-passcode", 2)
    assert (await link.open())[0] == 200
    # Many at once, at most one of which may be right, share what is left.
    answers = await asyncio.gather(*(link.open(f"{n}") for n in range(6)))
    assert sorted(status for status, _ in answers) == [401, 401, 423, 423, 423, 423]
    # A desk that remembers nothing, as after a restart, gives no further try.
    gateway = two.gateways["hospital-a"]
    gateway.api.residents.shares.__init__(gateway.api.member, gateway.desk, two.node.now_ms)
    assert (await link.open())[1]["code"] == "share/locked"
    assert await bases(two) == [("share", link.share, (0, 1))]


async def test_an_ended_or_expired_share_is_refused_and_so_are_its_kept_files(
    two: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two.register("hospital-a", PATIENT)
    link = await shared(two, [0])
    status, manifest = await link.open(embeddedLengthMax=10)
    location = manifest["files"][0]["location"]
    assert (status, location.startswith(link.base)) == (200, True)

    async def fetch() -> int:
        async with aiohttp.ClientSession() as http, http.get(location) as answer:
            body = await answer.text()
            if answer.status == 200:
                assert opened(body, share_content_key(TOKEN))
            return answer.status

    assert await fetch() == 200
    shares = two.gateways["hospital-a"].api.residents.shares
    real = shares._now_ms
    with monkeypatch.context() as later:
        later.setattr(shares, "_now_ms", lambda: real() + LOCATION_LIFE_MS + 1)
        assert await fetch() == 404
        later.setattr(shares, "_now_ms", lambda: real() + DAY_MS + 1)
        assert (await link.open())[1]["code"] == "share/expired"
    await two.execute("resident-1", "share", "end", link.share)
    assert (await link.open())[1]["code"] == "share/ended"
    assert await fetch() == 410
    other = Link(two.gateways["hospital-b"].url, link.share)
    assert (await other.open())[0] == 404


async def test_ACC_1_a_record_that_was_altered_is_not_shared_nor_logged(two: Consortium) -> None:
    await two.register("hospital-a", PATIENT)
    link = await shared(two, [0])
    for _, fields, _ in two.gateways["hospital-a"].source.records.values():
        fields[b"/status"] = b'"altered"'
    status, body = await link.open()
    assert (status, body["code"]) == (502, "record/altered")
    assert await bases(two) == []


async def test_R3_a_manifest_request_is_checked_field_by_field(two: Consortium) -> None:
    await two.register("hospital-a", PATIENT)
    link = await shared(two, [0])
    good = {"recipient": "x", "passcode": "4712"}
    wrong: list[object] = [
        [],
        {},
        {"passcode": "4711"},
        good | {"recipient": ""},
        good | {"recipient": "x" * 201},
        good | {"passcode": "4" * 65},
        good | {"passcode": ""},
        good | {"passcode": 4711},
        good | {"passcode": "\ud800"},
        good | {"embeddedLengthMax": -1},
        good | {"embeddedLengthMax": True},
        good | {"embeddedLengthMax": "9"},
        good | {"other": "x" * 5_000},
    ]
    for body in wrong:
        status, problem = await link.post(json.dumps(body).encode())
        assert (status, problem["code"]) == (400, "request/malformed"), body
    for body in (b"", b"{", b"\xff", b"[" * 3_000):
        assert (await link.post(body))[0] == 400
    found = await (await resident(two)).session.own_share(link.share, PATIENT)
    assert found.share.attempts_left == 2  # none of these was a try


async def test_ACC_2_a_restricted_doctor_reads_nothing_and_an_emergency_is_marked(
    two: Consortium,
) -> None:
    await two.register("hospital-a", PATIENT)
    client = await doctor(two)
    before = await client.request_permission(PATIENT, "TREAT")
    until = two.node.now_ms() + DAY_MS
    await two.execute("resident-1", "consent", "direct", "hospital-b", None, [], [], until)
    with pytest.raises(RequestRefused) as error:
        await client.read(PATIENT, 0, before)
    assert code_of(error) == (403, "permission/ended")
    emergency = await client.request_permission(PATIENT, "ETREAT")
    await client.read(PATIENT, 0, emergency)
    (directive,) = (await (await resident(two)).directives()).directives
    assert (directive.subject, directive.until_ms) == (("hospital-b", None), until)
    await two.execute("resident-1", "consent", "withdraw", "hospital-b", None)
    assert (await (await resident(two)).directives()).directives == ()
    await client.read(PATIENT, 0, before)
    assert await bases(two) == [("break-glass", emergency, (0,)), ("permission", before, (0,))]
    # What covered each, as the chain proves it: still so where a permission was revoked since.
    await two.execute("resident-1", "access", "revoke", before)
    own = await resident(two)
    _, entries = await own.accesses()
    granted = [found.granted for found in await own.certificates(entries)]
    assert [each.purpose for each in granted] == ["ETREAT", "TREAT"]
    assert granted[1].expires + 1 > entries[1].height
    (found,) = await own.certificates([replace(entries[1], purpose="HRESCH")])
    assert str(found.reason) == "the permission is for another purpose"


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self' https://hospital-b.example; manifest-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types worker"
)
GUARDS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
CROSS = "Access-Control-Allow-Origin"


async def test_the_page_is_served_under_its_policy_and_again_in_few_bytes(two: Consortium) -> None:
    url = two.gateways["hospital-a"].url
    async with aiohttp.ClientSession() as http:
        listed = await (await http.get(f"{url}/files.json")).json()
        assert {"index.html", "share.html", "worker.js", "page/main.js", "lang/zh.json"} < {*listed}
        for name in ("", "files.json", *listed):
            async with http.get(f"{url}/{name}") as answer:
                assert answer.status == 200
                tag = answer.headers["ETag"]
                found = {header: answer.headers.get(header) for header in GUARDS}
                assert found == GUARDS, name
                assert CROSS not in answer.headers
            async with http.get(f"{url}/{name}", headers={"If-None-Match": tag}) as answer:
                assert (answer.status, await answer.read()) == (304, b"")
                assert {header: answer.headers.get(header) for header in GUARDS} == GUARDS


async def test_pages_of_other_hospitals_may_ask_for_what_anybody_may_ask(two: Consortium) -> None:
    url = two.gateways["hospital-a"].url
    async with aiohttp.ClientSession(headers={"Origin": "https://hospital-b.example"}) as http:
        for path in ("genesis", "headers/latest", "memberships?from=0", "state/00"):
            async with http.get(f"{url}/v1/chain/{path}") as answer:
                assert (answer.status, answer.headers.get(CROSS)) == (200, "*"), path
        for path in (
            "/v1/chain/status",
            f"/v1/patients/{PATIENT.hex()}/records",
            "/v1/view-rules/00",
        ):
            async with http.get(url + path) as answer:
                assert CROSS not in answer.headers, path


def test_only_addresses_of_hospitals_come_into_the_policy() -> None:
    hospital, other, vendor = GENESIS.members[1], GENESIS.members[2], GENESIS.members[-1]

    def named(*addresses: str) -> tuple[str, ...]:
        members = tuple(
            replace(member, endpoints=Endpoints("", "", address))
            for member, address in zip((hospital, other, vendor), addresses, strict=True)
        )
        return hospital_origins(replace(GENESIS, members=members))

    assert named("https://a.example:8443/x", "http://10.0.0.1", "https://v.example") == (
        "https://a.example:8443",
        "http://10.0.0.1",
    )
    for hostile in (
        "a.example:1",
        "*",
        "https://",
        "data:x",
        "https://a; script-src *",
        "https://*",
    ):
        assert named(hostile, "", "") == ()
