"""De-identification and views: what is shown, and that it verifies."""

import json
from functools import partial
from pathlib import Path

import pytest

from ledger.commitment import (
    Disclosure,
    RecordCommitment,
    commit_record,
    disclose,
    verify_disclosure,
)
from nodes.gateway import fhir
from nodes.gateway.deidentify import deidentify
from nodes.gateway.directory_store import DirectoryStore
from nodes.gateway.patients import IdentifierRules
from nodes.gateway.records import Content, Found, Problem
from nodes.view_rules.files import newest_rules
from tests.gateway.world import MEMBER, observation, patient

RULES = {view: newest_rules(view) for view in ("clinical", "deidentified", "resident")}
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "fhir-r4"


def content(resource: dict[str, object]) -> Content:
    text = json.dumps(resource).replace('"value": 1.5,', '"value": 1.50,')
    value = fhir.parse_json(text.encode())
    return fhir.content(fhir.checked_resource(value), frozenset())


def twin(resource: dict[str, object], year: int = 2026) -> dict[bytes, bytes]:
    found = deidentify(content(resource), year, RULES["deidentified"])
    assert found is not None
    commit_record(found.fields, found.dependencies, b"s" * 32)
    return {field.path: field.value for field in found.fields}


def shown_of(view: str, kind: str, commitment: RecordCommitment) -> Disclosure:
    rules = RULES[view]
    return disclose(commitment, partial(rules.shows, kind), view, rules.hash)


MEDICATION = {
    "resourceType": "MedicationRequest",
    "id": "m1",
    "status": "active",
    "intent": "order",
    "contained": [{"resourceType": "Medication", "id": "c", "code": {"text": "Simvastatin"}}],
    "medicationCodeableConcept": {
        "coding": [{"system": "rx", "code": "316672", "display": "Simvastatin 10 MG"}],
        "text": "Simvastatin 10 MG",
    },
    "subject": {"reference": "Patient/p1", "display": "Simvastatin Zhang"},
    "authoredOn": "2011-06-07T04:46:42+00:00",
    "dosageInstruction": [
        {"sequence": 1, "text": "Simvastatin", "doseAndRate": [{"doseQuantity": {"value": 10.0}}]}
    ],
    "note": [{"text": "Simvastatin at night"}],
}


def test_an_observation_keeps_codes_values_and_the_year() -> None:
    assert twin(observation(1, 1)) == {
        b"/resourceType": b'"Observation"',
        b"/status": b'"final"',
        b"/code/coding/0/system": b'"http://loinc.org"',
        b"/code/coding/0/code": b'"8302-2"',
        b"/effectiveDateTime~year": b'"2019"',
        b"/valueQuantity/value": b"1.50",
        b"/valueQuantity/system": b'"http://unitsofmeasure.org"',
        b"/valueQuantity/code": b'"m"',
    }


@pytest.mark.parametrize(
    ("born", "path", "value"),
    [
        ("1980-01-01", b"/birthDate~year", b'"1980"'),
        ("1938-12-31", b"/birthDate~year", b'"1938"'),
        ("1937-12-31", b"/birthDate~band", b'"90 or older"'),
        ("1901", b"/birthDate~band", b'"90 or older"'),
    ],
)
def test_a_patient_has_gender_and_year_or_band(born: str, path: bytes, value: bytes) -> None:
    assert twin(patient(1, birthDate=born)) == {
        b"/resourceType": b'"Patient"',
        b"/gender": b'"female"',
        path: value,
    }


@pytest.mark.parametrize(
    "code", ["13900001234", "11010119800101123X", "Zhang San\n", "张三", "x" * 101, ""]
)
def test_PRIV_1_a_code_that_looks_like_a_person_is_dropped_with_what_needs_it(code: str) -> None:
    resource = observation(1, 1)
    resource["code"] = {"coding": [{"system": "http://hospital.test/local", "code": code}]}
    found = twin(resource)
    assert not any(path.startswith(b"/code") for path in found)
    assert b"/valueQuantity/value" in found


def test_long_codes_of_a_terminology_are_kept() -> None:
    resource = observation(1, 1)
    resource["code"] = {
        "coding": [{"system": "http://snomed.info/sct", "code": "16335031000119103"}]
    }
    assert twin(resource)[b"/code/coding/0/code"] == b'"16335031000119103"'


def test_an_unknown_kind_has_no_deidentified_record() -> None:
    assert (
        deidentify(
            content({"resourceType": "Consent", "id": "1", "patient": {}}),
            2026,
            RULES["deidentified"],
        )
        is None
    )


@pytest.mark.parametrize(
    "kind",
    [
        "MedicationRequest",
        "MedicationStatement",
        "Medication",
        "MedicationAdministration",
        "MedicationDispense",
    ],
)
def test_the_resident_sees_no_detail_of_medication(kind: str) -> None:
    record = content({**MEDICATION, "resourceType": kind})
    commitment = commit_record(record.fields, record.dependencies, b"s" * 32)
    disclosure = shown_of("resident", kind, commitment)
    values = verify_disclosure(disclosure, commitment.root)
    assert values[b"/status"] == b'"active"'
    assert b"/subject/reference" in values
    text = b" ".join([*values, *values.values()])
    assert not any(word in text for word in (b"Simvastatin", b"316672", b"dose", b"10.0"))


def test_other_records_do_not_quote_medicines_to_the_resident() -> None:
    shown = partial(RULES["resident"].shows, "Claim")
    assert not shown(b"/item/0/productOrService/coding/0/display")
    assert not shown(b"/prescription/reference")
    assert not shown(b"/contained/0/code/text")
    assert shown(b"/diagnosis/0/diagnosisReference/reference")
    shown = partial(RULES["resident"].shows, "Observation")
    assert not shown(b"/partOf/0/display")
    assert not shown(b"/medicationUsed/text")
    assert shown(b"/code/coding/0/display")
    assert shown(b"/subject/display")


def test_the_clinical_view_shows_all() -> None:
    assert RULES["clinical"].shows("MedicationRequest", b"/dosageInstruction/0/text")
    assert RULES["clinical"].hiding("MedicationRequest") == ()


@pytest.mark.skipif(not DATA.is_dir(), reason="the FHIR sample is not beside the project")
def test_real_records_are_read_whole_and_their_views_verify() -> None:
    store = DirectoryStore("data", DATA, IdentifierRules(MEMBER, ()))
    kinds: dict[str, int] = {}
    reasons: dict[str, int] = {}
    identity = set()
    for item in store.scan():
        if isinstance(item, Problem):
            reasons[item.code] = reasons.get(item.code, 0) + 1
            continue
        assert isinstance(item, Found)
        identity.add(item.patient)
        kind = item.content.kind
        kinds[kind] = kinds.get(kind, 0) + 1
        if kinds[kind] <= 25:
            _check_views(item.content)
    assert len(identity) == 40
    assert sum(kinds.values()) + sum(reasons.values()) == 15_734
    assert reasons == {"no-patient": 138}


def _check_views(record: Content) -> None:
    commitment = commit_record(record.fields, record.dependencies, b"s" * 32)
    for view in ("clinical", "resident"):
        shown = shown_of(view, record.kind, commitment)
        assert verify_disclosure(shown, commitment.root)[b"/resourceType"]
    found = deidentify(record, 2026, RULES["deidentified"])
    assert found is not None
    second = commit_record(found.fields, found.dependencies, b"t" * 32)
    whole = shown_of("deidentified", record.kind, second)
    text = b" ".join(verify_disclosure(whole, second.root).values())
    assert b"Patient/" not in text
    assert b"urn:uuid:" not in text
