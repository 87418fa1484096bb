"""The disclosure flow over HTTP: nothing leaves without a committed permission (ACC-1)."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ledger import codec
from ledger.codec import Value
from ledger.errors import LedgerError, PeerFault
from ledger.light.verify import ListIncomplete
from ledger.light.view_rules import ViewRules
from ledger.primitives import Hash32, MemberId, Nonce, TimestampMs
from ledger.types.entries import ReleaseDisclosed, release_access_log
from nodes.api.http import Problem
from nodes.client.enrolment import EnrolmentCode
from nodes.client.hospital import HospitalClient
from nodes.client.http import HttpClient, RequestRefused
from nodes.client.records import NoSuchRow
from nodes.client.signing import SignedRequest, stamp_request
from nodes.client.transactions import ActionRefused
from nodes.gateway.disclosure import Released
from nodes.resident.client import NotBound, ResidentClient
from nodes.vendor.client import PageRepeats, VendorClient
from nodes.view_rules.files import newest_rules
from tests.api.consortium import Consortium, consortium
from tests.contracts.support import CHALLENGE, GENESIS, NOW, USERS, YEAR_MS, FixedSigner, patient

DOCTOR_B = "hospital-b/treating"
PATIENT = patient(1)


@pytest.fixture
async def two() -> AsyncIterator[Consortium]:
    async with consortium("hospital-a", "hospital-b") as made:
        yield made


def with_clock(session, made: Consortium) -> None:
    session._now_ms = made.node.now_ms


async def doctor(made: Consortium, user: str = DOCTOR_B) -> HospitalClient:
    http = await made.http(user, user.split("/")[0])
    client = HospitalClient(http, GENESIS, USERS[user][0])
    with_clock(client.session, made)
    return client


async def resident(made: Consortium, user: str = "resident-1") -> ResidentClient:
    client = ResidentClient(await made.http(user, "hospital-a"), GENESIS, USERS[user][0])
    with_clock(client.session, made)
    return client


async def vendor(made: Consortium, user: str = "vendor-new/vendor-service") -> VendorClient:
    http = await made.http(user, "hospital-a")
    client = VendorClient(http, GENESIS, USERS[user][0], MemberId("hospital-a"))
    with_clock(client.session, made)
    return client


async def accesses(made: Consortium) -> list[tuple[str, str, str, tuple[int, ...]]]:
    session = made.gateways["hospital-a"].desk.session
    _, found = await session.access_log(PATIENT)
    return [(item.reader_member, item.holder, item.view, item.rows) for item in found]


async def test_ACC_1_a_doctor_reads_a_record_that_another_hospital_holds(two: Consortium) -> None:
    await two.register("hospital-a", PATIENT)
    client = await doctor(two)
    permission = await client.request_permission(PATIENT, "TREAT")
    listed = await client.list(PATIENT, permission)
    assert [item.metadata.kind for item in listed.records if item.metadata] == [
        "Observation",
        "MedicationRequest",
    ]
    shown = await client.read(PATIENT, 1, permission)
    assert shown.kind == "MedicationRequest"
    assert shown.record.fields[b"/medicationCodeableConcept/text"] == b'"canary-medicine"'
    assert (shown.record.hidden_count, shown.attachments) == (0, (b"pixels",))
    assert await accesses(two) == [
        ("hospital-b", "hospital-b", "clinical", ()),
        ("hospital-b", "hospital-a", "clinical", (1,)),
    ]


async def test_ACC_1_own_records_are_recorded_too(two: Consortium) -> None:
    await two.register("hospital-b", PATIENT)
    client = await doctor(two)
    permission = await client.request_permission(PATIENT, "ETREAT")
    assert (await client.read(PATIENT, 0, permission)).kind == "Condition"
    assert await accesses(two) == [("hospital-b", "hospital-b", "clinical", (0,))]


async def test_a_resident_lists_reads_and_sees_who_read(two: Consortium) -> None:
    await two.register("hospital-a", PATIENT)
    client = await resident(two)
    listed = await client.list()
    # The metadata of a medication record would tell its code, which the view hides.
    kinds = [item.metadata and item.metadata.kind for item in listed.records]
    assert kinds == ["Observation", None]
    assert await accesses(two) == []  # seeing the own list is no disclosure
    shown = await client.show(1)
    assert shown.record.fields[b"/status"] == b'"active"'
    assert b"canary-medicine" not in shown.disclosure.encode()
    assert shown.record.hidden_count == 1
    _, log = await client.accesses()
    assert [(item.view, item.purpose, item.rows) for item in log] == [("resident", "PATRQT", (1,))]


async def test_a_resident_sees_no_one_elses_list(two: Consortium) -> None:
    await two.register("hospital-a", patient(2))
    http = await two.http("resident-1", "hospital-a")
    with pytest.raises(RequestRefused) as refused:
        await http.get(f"/v1/patients/{patient(2).hex()}/records")
    assert refused.value.code == "record/not-available"


async def test_an_unbound_key_is_told_what_to_do(two: Consortium) -> None:
    signer = FixedSigner(99)
    http = HttpClient(two.gateways["hospital-a"].url, None, None)
    async with http:
        client = ResidentClient(http, GENESIS, signer)
        with_clock(client.session, two)
        with pytest.raises(NotBound):
            await client.patient()


async def test_a_registrar_binds_a_resident(two: Consortium) -> None:
    await two.register("hospital-a", patient(5))
    registrar = await doctor(two, "hospital-a/registrar")
    key = await registrar.patient("system", "1")
    assert key == await registrar.patient("system", "1") != await registrar.patient("system", "2")
    signer = FixedSigner(98)
    code = EnrolmentCode(
        GENESIS.chain_id, MemberId("hospital-a"), patient(5), "resident", CHALLENGE
    )
    until = TimestampMs(NOW + YEAR_MS)
    await registrar.bind_resident(code, signer.public_key, code.prove(signer), until)
    http = HttpClient(two.gateways["hospital-a"].url, None, None)
    async with http:
        client = ResidentClient(http, GENESIS, signer)
        with_clock(client.session, two)
        assert await client.patient() == patient(5)


async def test_K4_no_permission_and_no_record_answer_alike(two: Consortium) -> None:
    await two.register("hospital-a", PATIENT)
    client = await doctor(two)
    own = await client.request_permission(PATIENT, "TREAT")
    http = await two.http(DOCTOR_B, "hospital-b")
    colleague = await two.http("hospital-b/registrar", "hospital-b")
    foreign = await two.http(DOCTOR_B, "hospital-a")
    of_other = await client.request_permission(patient(9), "TREAT")
    record = f"/v1/patients/{PATIENT.hex()}/records"
    questions = {
        "no permission named": (http, f"{record}/0"),
        "unknown permission": (http, f"{record}/0?permission={'00' * 32}"),
        "permission for another patient": (http, f"{record}/0?permission={of_other.hex()}"),
        "permission of a colleague": (colleague, f"{record}/0?permission={own.hex()}"),
        "no such row": (http, f"{record}/7?permission={own.hex()}"),
        "no such patient": (http, f"/v1/patients/{'11' * 32}/records/0?permission={own.hex()}"),
        "list without permission": (http, record),
        "list with a foreign permission": (http, f"{record}?permission={of_other.hex()}"),
        "de-identified with a patient's": (http, f"/v1/deidentified?permission={own.hex()}"),
        "foreign gateway for a third": (foreign, f"{record}/9?permission={own.hex()}"),
    }
    answers = {}
    for name, (asker, target) in questions.items():
        with pytest.raises(RequestRefused) as refused:
            await asker.get(target)
        answers[name] = (refused.value.status, refused.value.code, refused.value.detail)
    assert set(answers.values()) == {
        (404, "record/not-available", "there is no such record, or no permission for it")
    }
    assert await accesses(two) == []


async def test_access_rules_refuse_on_chain(two: Consortium) -> None:
    client = await doctor(two)
    for purpose in ("HRESCH", "PATRQT"):
        with pytest.raises(ActionRefused) as refused:
            await client.request_permission(PATIENT, purpose)
        assert refused.value.code == "access/not-permitted"


async def test_tampered_record_is_named_and_withheld(two: Consortium) -> None:
    rows = await two.register("hospital-a", PATIENT)
    two.gateways["hospital-a"].source.records[rows[0].root][1][b"/status"] = b'"canary-value"'
    client = await doctor(two)
    permission = await client.request_permission(PATIENT, "TREAT")
    with pytest.raises(RequestRefused) as refused:
        await client.read(PATIENT, 0, permission)
    assert refused.value.code == "record/altered"
    assert "record 0 of hospital-a" in refused.value.detail
    assert "canary" not in str(refused.value)
    assert await accesses(two) == []  # what was not disclosed is not in the access log
    assert (await client.read(PATIENT, 1, permission)).kind == "MedicationRequest"


@pytest.mark.parametrize(
    "lie", ["other record", "changed value", "other view", "no bytes", "other pixels"]
)
async def test_LIGHT_1_a_lying_holder_is_caught_by_the_readers_gateway(
    two: Consortium, lie: str
) -> None:
    await two.register("hospital-a", PATIENT)
    client = await doctor(two)
    permission = await client.request_permission(PATIENT, "TREAT")
    desk = two.gateways["hospital-b"].desk
    honest = desk.ask_holder

    async def lying(holder: MemberId, body: bytes) -> bytes:
        released = Released.decode(await honest(holder, body))
        if lie == "other record":
            _, listed = await desk.session.patient_list(PATIENT)
            source = two.gateways["hospital-a"].source
            other = await source.read(1, listed.rows[1].row, newest_rules("clinical"))
            assert other is not None
            return other.encode()
        disclosure = released.disclosure
        if lie == "other pixels":
            return replace(released, attachments=(b"pixel5",)).encode()
        if lie == "no bytes":
            return b""
        if lie == "other view":
            disclosure = replace(disclosure, view="resident")
        if lie == "changed value":
            shown = [(p, v.replace(b"final", b"wrong"), s) for p, v, s in disclosure.shown]
            disclosure = replace(disclosure, shown=tuple(shown))
        return replace(released, disclosure=disclosure).encode()

    object.__setattr__(desk, "ask_holder", lying)
    with pytest.raises(RequestRefused) as refused:
        await client.read(PATIENT, 0, permission)
    assert refused.value.code == "record/not-verified"
    assert "record 0 as hospital-a sent it" in refused.value.detail


def passed_on(made: Consortium, user: str, permission: Hash32, index: int = 0) -> list[Value]:
    """What a gateway passes on for a reader: permission, patient, index, signed request."""
    target = f"/v1/patients/{PATIENT.hex()}/records/{index}?permission={permission.hex()}"
    stamp = stamp_request(
        USERS[user][0],
        GENESIS.chain_id,
        "GET",
        target,
        b"",
        time_ms=TimestampMs(made.node.now_ms()),
        nonce=Nonce(os.urandom(16)),
    )
    return [permission, PATIENT, index, SignedRequest(target, stamp).to_value()]


async def test_ACC_1_the_holder_checks_by_itself_that_the_reader_asked(two: Consortium) -> None:
    await two.register("hospital-a", PATIENT)
    permission = await (await doctor(two)).request_permission(PATIENT, "TREAT")
    api = two.gateways["hospital-a"].api
    good = passed_on(two, DOCTOR_B, permission)
    assert Released.decode(await api.release_for(codec.encode(good)))
    fresh = passed_on(two, DOCTOR_B, permission)
    refused = {
        "the same request again": good,
        "another reader's signature": passed_on(two, "hospital-a/treating", permission),
        "another index than was signed": [*fresh[:2], 1, fresh[3]],
        "another permission than was signed": [Hash32(bytes(32)), *fresh[1:]],
        "a permission that does not exist": passed_on(two, DOCTOR_B, Hash32(bytes(32))),
        "a record that does not exist": passed_on(two, DOCTOR_B, permission, 5),
        "a changed nonce": [*fresh[:3], [*fresh[3][:3], bytes(16), fresh[3][4]]],
    }
    for name, body in refused.items():
        with pytest.raises(Problem) as problem:
            await api.release_for(codec.encode(body))
        assert problem.value.code in ("record/not-available", "request/not-accepted"), name


async def test_releases_needs_a_tls_certificate(two: Consortium) -> None:
    http = await two.http(DOCTOR_B, "hospital-a")
    with pytest.raises(RequestRefused) as refused:
        await http.post("/v1/releases", codec.encode([bytes(32), bytes(32), 0]))
    assert refused.value.code == "request/no-certificate"


async def test_LIGHT_2_a_row_left_out_by_the_server_is_noticed(two: Consortium) -> None:
    await two.register("hospital-a", PATIENT)
    client = await resident(two)
    http = client._reader._http
    honest = http.get

    async def lying(target: str) -> bytes:
        data = await honest(target)
        if not target.endswith("/records"):
            return data
        bundle, keys = codec.decode(data, 10**7, "answer")
        return codec.encode([[*bundle[:5], bundle[5][:-1]], keys])

    http.get = lying
    with pytest.raises(ListIncomplete):
        await client.list()


async def test_no_row_of_that_index(two: Consortium) -> None:
    await two.register("hospital-a", PATIENT)
    with pytest.raises(NoSuchRow):
        await (await resident(two)).show(7)


async def test_a_vendor_pages_through_verified_records(two: Consortium) -> None:
    roots = await two.release("hospital-a", 5)
    client = await vendor(two)
    permission = await client.request_permission("HRESCH")
    found = [item async for item in client.query(permission, "Observation", page=2)]
    assert [item.root for item in found] == roots
    assert {item.record.view for item in found} == {"deidentified"}
    assert [item async for item in client.query(permission, "Condition")] == []
    store = two.node.store
    log = release_access_log(MemberId("hospital-a"))
    entries = [ReleaseDisclosed.decode(e) for e in store.log_entries(log, 0, 4)]
    assert [entry.count for entry in entries] == [2, 2, 1, 0]


async def test_ACC_1_released_images_need_a_permission_and_are_recorded(two: Consortium) -> None:
    await two.release("hospital-a", 5)
    client = await vendor(two)
    permission = await client.request_permission("HRESCH")
    assert await client.images(permission, 0) == (b"image",)
    log = release_access_log(MemberId("hospital-a"))
    (entry,) = map(ReleaseDisclosed.decode, two.node.store.log_entries(log, 0, 1))
    assert (entry.count, entry.permission) == (1, permission)
    for index, which, code in (
        (0, Hash32(bytes(32)), "record/not-available"),
        (1, permission, "release/images-refused"),
        (2, permission, "record/not-available"),
    ):
        with pytest.raises(RequestRefused) as refused:
            await client.images(which, index)
        assert refused.value.code == code
    _, entries = await client.session.log(log)
    assert len(entries.entries) == 1


async def test_anyone_is_given_a_rule_file_by_its_hash(two: Consortium) -> None:
    http = await two.http("vendor-new/vendor-service", "hospital-a", signed=False)
    rules = newest_rules("resident")
    data = await http.get(f"/v1/view-rules/{rules.hash.hex()}")
    assert ViewRules.decode(data).hash == rules.hash
    with pytest.raises(RequestRefused) as refused:
        await http.get(f"/v1/view-rules/{bytes(32).hex()}")
    assert refused.value.code == "view-rules/unknown"


async def test_a_vendor_notices_a_changed_record_and_a_repeated_page(two: Consortium) -> None:
    await two.release("hospital-a", 4)
    client = await vendor(two)
    permission = await client.request_permission("HRESCH")
    source = two.gateways["hospital-a"].source
    source.releases[1][1][b"/valueInteger"] = b"99"
    with pytest.raises(PeerFault):
        _ = [item async for item in client.query(permission)]
    source.releases[1] = source.releases[0]
    http = client._http
    honest = http.get

    async def repeating(target: str) -> bytes:
        return await honest(target.replace("cursor=2", "cursor=0"))

    http.get = repeating
    with pytest.raises((PageRepeats, PeerFault)):
        _ = [item async for item in client.query(permission, page=2)]


async def test_a_vendor_without_licence_is_refused(two: Consortium) -> None:
    for _ in range(6):
        two.node.store.append([])  # block time passes the end of the licence
    client = await vendor(two, "vendor-old/vendor-service")
    with pytest.raises(ActionRefused) as refused:
        await client.request_permission("HRESCH")
    assert refused.value.code == "access/not-permitted"


async def test_index_jobs_and_patients_are_for_own_staff(two: Consortium) -> None:
    admin = await doctor(two, "hospital-a/administrator")
    job = await admin.start_index()
    again = await admin.index_job(str(job["id"]))
    assert again["id"] == job["id"]
    with pytest.raises(RequestRefused) as refused:
        await admin.index_job("unknown")
    assert refused.value.code == "index/no-such-job"
    for user in (DOCTOR_B, "resident-1", "vendor-new/vendor-service"):
        http = await two.http(user, "hospital-a")
        with pytest.raises(RequestRefused) as refused:
            await http.post_json("/v1/index/jobs", {})
        assert (refused.value.status, refused.value.code) == (403, "request/not-permitted")
        with pytest.raises(RequestRefused) as refused:
            await http.post_json("/v1/patients", {"system": "s", "value": "1"})
        assert refused.value.status == 403


async def test_unverifiable_answers_of_the_own_validator_stop_everything(two: Consortium) -> None:
    await two.register("hospital-a", PATIENT)
    client = await doctor(two)
    permission = await client.request_permission(PATIENT, "TREAT")
    prove = two.node.store.prove_state

    def forged(key: bytes):
        certified, value, proof = prove(key)
        swapped = certified.certificate.signatures[::-1]
        certificate = replace(certified.certificate, signatures=swapped)
        return replace(certified, certificate=certificate), value, proof

    two.node.store.prove_state = forged  # type: ignore[method-assign]
    http = await two.http(DOCTOR_B, "hospital-b")
    with pytest.raises(RequestRefused) as refused:
        await http.get(f"/v1/patients/{PATIENT.hex()}/records?permission={permission.hex()}")
    assert (refused.value.status, refused.value.code) == (502, "chain/not-verified")


async def test_chain_calls_are_passed_on_and_no_others(two: Consortium) -> None:
    http = await two.http("resident-1", "hospital-a", signed=False)
    assert await http.get("/v1/chain/genesis") == GENESIS.encode()
    assert (await http.get_json("/v1/chain/status"))["member"] == "hospital-a"
    for target in ("/v1/chain/admin", "/v1/chain/headers/latest/../../x", "/v1/chain"):
        with pytest.raises(LedgerError):
            await http.get(target)
    with pytest.raises(RequestRefused) as refused:
        await http.post("/v1/chain/headers", b"")
    assert refused.value.status == 404


def test_released_record_survives_its_encoding_and_junk_is_refused() -> None:
    for junk in (b"", b"\x90", codec.encode(["k", b"", []]), codec.encode([1, 2, 3])):
        with pytest.raises(PeerFault):
            Released.decode(junk)
