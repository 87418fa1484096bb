"""FHIR mapping: strict reading, fields, twins, dependencies, whose it is."""

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.primitives import MemberId
from nodes.gateway import fhir
from nodes.gateway.fhir_types import PATIENT_ELEMENT, RESOURCE_TYPES
from nodes.gateway.patients import IdentifierRules, PatientIndex
from nodes.gateway.records import REASONS, PatientIdentifier, Unusable

NATIONAL = "urn:oid:2.16.156.10011.1.3"
RULES = IdentifierRules(MemberId("hospital-a"), (NATIONAL,))


def flat(text: str) -> dict[bytes, bytes]:
    value = fhir.parse_json(text.encode())
    assert isinstance(value, dict)
    fields = fhir.flatten(value)
    paths = {field.path: field.value for field in fields}
    assert len(paths) == len(fields)
    return paths


def reason(call, *args) -> str:
    with pytest.raises(Unusable) as caught:
        call(*args)
    assert caught.value.code in REASONS
    return caught.value.code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty-file"),
        (b"  \n", "empty-file"),
        (b"\xef\xbb\xbf", "empty-file"),
        (b'{"a": 1', "not-json"),
        (b'{"a": 1} {"b": 2}', "not-json"),
        (b'{"a": 01}', "not-json"),
        (b'{"a": 1.}', "not-json"),
        (b"{'a': 1}", "not-json"),
        (b'{"a": "\n"}', "not-json"),
        (b'{"a": NaN}', "number"),
        (b'{"a": -Infinity}', "number"),
        (b'{"a": 1, "a": 1}', "duplicate-name"),
        (b'{"b": {"a": 1, "\\u0061": 2}}', "duplicate-name"),
        ('{"a": "张三"}'.encode("gb18030"), "not-utf8"),
        ('{"a": "x"}'.encode("utf-16"), "not-utf8"),
        ('{"a": "x"}'.encode("utf-16-le"), "not-utf8"),
        (b'{"a": "\xed\xa0\x80"}', "not-utf8"),
        (b"[" * 100_000, "nested-too-deep"),
        (b'{"a":' * 100_000, "nested-too-deep"),
        (b"[" + b"{}," * 500_000 + b"1]", "file-too-large"),
    ],
)
def test_json_that_is_refused(data: bytes, code: str) -> None:
    assert reason(fhir.parse_json, data) == code


def test_numbers_keep_their_written_text() -> None:
    fields = flat('{"a": 1.50, "b": 1e2, "c": -0, "d": 123456789012345678901234567890.10}')
    assert list(fields.values()) == [b"1.50", b"1e2", b"-0", b"123456789012345678901234567890.10"]


def test_fields_of_every_kind_of_value() -> None:
    text = '\ufeff{"id":"x","meta":{"a":1},"text":{"b":1},"c":{"id":"y","text":"t"},"d":[],"e":{},'
    text += '"f":[true,null,{"g":"\\u00e9\\n\\/\\""}]}'
    assert flat(text) == {
        b"/c/id": b'"y"',
        b"/c/text": b'"t"',
        b"/d": b"[]",
        b"/e": b"{}",
        b"/f/0": b"true",
        b"/f/1": b"null",
        b"/f/2/g": '"é\\n/\\""'.encode(),
    }


def test_the_order_of_members_does_not_matter_and_a_value_does() -> None:
    assert flat('{"a":1,"b":"x"}') == flat('{"b":"x", "a":1}')
    assert flat('{"a":1}') != flat('{"a":"1"}') != flat('{"a":1.0}')


@pytest.mark.parametrize(
    ("name", "value", "twins"),
    [
        ("birthDate", "1980-02-03", {"year": "1980", "month": "1980-02"}),
        ("issued", "2019-03-04T10:11:12.530+08:00", {"year": "2019", "month": "2019-03"}),
        ("onsetDateTime", "2019-03", {"year": "2019", "month": "2019-03"}),
        ("birthDate", "1980", {"year": "1980"}),
        ("code", "1980", {}),
        ("code", "2019-13x", {}),
        ("value", "20190304", {}),
        ("birthDate", "١٩٨٠", {}),
    ],
)
def test_dates_have_coarser_twins(name: str, value: str, twins: dict[str, str]) -> None:
    fields = flat(json.dumps({name: value}))
    del fields[f"/{name}".encode()]
    assert fields == {f"/{name}~{k}".encode(): f'"{v}"'.encode() for k, v in twins.items()}


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        ({"a/b": 1}, "bad-name"),
        ({"a~b": 1}, "bad-name"),
        ({"": 1}, "bad-name"),
        ({"0": 1}, "bad-name"),
        ({"é": 1}, "bad-name"),
        ({"a": "\ud800"}, "not-utf8"),
        ({"a" * 1100: 1}, "path-too-long"),
        (json.loads('{"a":' * 40 + "1" + "}" * 40), "nested-too-deep"),
        (json.loads('{"a":' + "[" * 40 + "]" * 40 + "}"), "nested-too-deep"),
    ],
)
def test_resources_that_cannot_be_flattened(resource: dict[str, object], code: str) -> None:
    assert reason(fhir.flatten, resource) == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "missing-type"),
        ([], "missing-type"),
        ("x", "missing-type"),
        ({}, "missing-type"),
        ({"resourceType": 3}, "missing-type"),
        ({"resourceType": ["Patient"]}, "missing-type"),
        ({"resourceType": "Pateint", "id": "1"}, "unknown-type"),
        ({"resourceType": "Bundle", "id": "1"}, "nested-bundle"),
        ({"resourceType": "Patient"}, "missing-id"),
        ({"resourceType": "Patient", "id": ""}, "bad-id"),
        ({"resourceType": "Patient", "id": "a b"}, "bad-id"),
        ({"resourceType": "Patient", "id": "a\n"}, "bad-id"),
        ({"resourceType": "Patient", "id": "x" * 65}, "bad-id"),
        ({"resourceType": "Patient", "id": ["x"]}, "bad-id"),
        ({"resourceType": "Patient", "id": fhir.Number("1")}, "bad-id"),
    ],
)
def test_what_is_no_resource(value: object, code: str) -> None:
    assert reason(fhir.checked_resource, value) == code


@pytest.mark.parametrize("kind", ["history", "", None, ["collection"], {"a": 1}])
def test_bundles_of_other_types_are_refused(kind: object) -> None:
    document = {"resourceType": "Bundle", "type": kind, "entry": []}
    assert reason(lambda: list(fhir.entries(document))) == "bundle-type"


@pytest.mark.parametrize("entry", [3, {}, "x"])
def test_bundles_with_a_bad_entry_list_are_refused(entry: object) -> None:
    document = {"resourceType": "Bundle", "type": "collection", "entry": entry}
    assert reason(lambda: list(fhir.entries(document))) == "bad-bundle"


def test_an_entry_that_is_no_object_stops_no_other() -> None:
    document = {"resourceType": "Bundle", "type": "collection", "entry": [3, [], {"resource": {}}]}
    found = [(entry.position, entry.value) for entry in fhir.entries(document)]
    assert found == [(1, None), (2, None), (3, {})]


def test_the_tables_name_types_of_r4_only() -> None:
    assert len(RESOURCE_TYPES) == 146
    assert set(PATIENT_ELEMENT) <= RESOURCE_TYPES


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["resourceType", "id", "subject", "reference", "code", "coding", "type"]
            )
            | st.text(string.printable, max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | JSON.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_give_records_or_reasons_and_nothing_else(data: bytes) -> None:
    try:
        for entry in fhir.entries(fhir.parse_json(data)):
            resource = fhir.checked_resource(entry.value)
            fhir.subject(resource)
            fhir.content(resource, frozenset({"x"}))
    except Unusable as problem:
        code = problem.code
    else:
        return
    assert code in REASONS


@settings(max_examples=200, deadline=None)
@given(JSON, st.sampled_from(sorted(PATIENT_ELEMENT)))
def test_any_resource_gives_a_content_or_a_reason(value: object, kind: str) -> None:
    more = value if isinstance(value, dict) else {"value": value}
    resource = (
        fhir.parse_json(json.dumps({**more, "resourceType": kind, "id": "1"}).encode())
        if not _has_nan(more)
        else {"resourceType": kind, "id": "1"}
    )
    assert isinstance(resource, dict)
    try:
        fhir.content(resource, frozenset())
        fhir.subject(resource)
    except Unusable as problem:
        code = problem.code
    else:
        return
    assert code in REASONS


def _has_nan(value: object) -> bool:
    text = json.dumps(value)
    return "NaN" in text or "Infinity" in text


def test_status_and_units_cannot_be_separated_from_values() -> None:
    text = json.dumps(
        {
            "resourceType": "Observation",
            "status": "final",
            "code": {"coding": [{"system": "s", "code": "c"}]},
            "valueQuantity": {"value": 1, "comparator": "<", "unit": "u", "code": "v"},
        }
    )
    value = fhir.parse_json(text.encode())
    assert isinstance(value, dict)
    pairs = fhir.dependencies(fhir.flatten(value))
    quantity = b"/valueQuantity/"
    assert {required for path, required in pairs if path == quantity + b"value"} == {
        b"/status",
        quantity + b"comparator",
        quantity + b"unit",
        quantity + b"code",
    }
    assert (b"/code/coding/0/code", b"/code/coding/0/system") in pairs


def index(*patients: dict[str, object]) -> PatientIndex:
    result = PatientIndex(RULES)
    for number, patient in enumerate(patients):
        result.add(f"https://fhir.test/Patient/{number}", patient)  # type: ignore[arg-type]  # plain JSON
    return result


def person(identity: str, *identifiers: tuple[str, str]) -> dict[str, object]:
    listed = [{"system": system, "value": value} for system, value in identifiers]
    return {"resourceType": "Patient", "id": identity, "identifier": listed}


def subject_of(kind: str, **element: object) -> fhir.Subject:
    return fhir.subject({"resourceType": kind, "id": "1", **element})  # type: ignore[dict-item]  # plain JSON


ANNA = person("a", ("mrn", "7"), (NATIONAL, " 11010119800101123x "))


@pytest.mark.parametrize(
    "reference", ["Patient/a", "urn:uuid:a", "https://fhir.test/Patient/0", "Patient/a/_history/3"]
)
def test_references_lead_to_the_national_identifier(reference: str) -> None:
    found = index(ANNA).resolve(subject_of("Observation", subject={"reference": reference}))
    assert found == PatientIdentifier(NATIONAL, "11010119800101123X")


def test_an_identifier_names_a_patient_as_well() -> None:
    by_number = subject_of("Claim", patient={"identifier": {"system": "mrn", "value": "7"}})
    assert index(ANNA).resolve(by_number).system == NATIONAL
    national = {"identifier": {"system": NATIONAL, "value": "x9"}}
    assert index().resolve(subject_of("Claim", patient=national)).value == "X9"


@pytest.mark.parametrize(
    ("kind", "element", "code"),
    [
        ("Organization", {}, "no-patient"),
        ("Practitioner", {}, "no-patient"),
        ("Device", {}, "no-patient"),
        ("Observation", {}, "no-patient-reference"),
        ("Observation", {"subject": "Patient/a"}, "no-patient-reference"),
        ("Observation", {"subject": {"reference": ""}}, "no-patient-reference"),
        ("Observation", {"subject": {"identifier": {"value": " "}}}, "no-patient-reference"),
        ("Observation", {"subject": {"reference": "Group/a"}}, "subject-no-patient"),
        ("Observation", {"subject": {"type": "Device", "identifier": {}}}, "subject-no-patient"),
        ("Appointment", {"participant": []}, "no-patient-reference"),
    ],
)
def test_records_without_a_patient_say_why(
    kind: str, element: dict[str, object], code: str
) -> None:
    assert reason(lambda: subject_of(kind, **element)) == code


def test_unknown_and_ambiguous_patients_are_never_guessed() -> None:
    known = index(ANNA, person("a", (NATIONAL, "2")), person("b", ("mrn", "7")))
    refer = {"reference": "Patient/c"}
    assert reason(known.resolve, subject_of("Observation", subject=refer)) == "unknown-patient"
    refer = {"reference": "Patient/a"}
    assert reason(known.resolve, subject_of("Observation", subject=refer)) == "ambiguous-patient"
    assert reason(known.dicom, "7", "") == "ambiguous-patient"
    twice = person("d", (NATIONAL, "1"), (NATIONAL, "2"))
    assert reason(index().add, "", twice) == "ambiguous-identifier"


def test_numbers_of_two_hospitals_never_meet() -> None:
    other = IdentifierRules(MemberId("hospital-b"), (NATIONAL,))
    assert RULES.identity("mrn", "7") != other.identity("mrn", "7")
    assert RULES.identity(NATIONAL, "7") == other.identity(NATIONAL, "7")
    assert index(person("z")).dicom("Z", "") == RULES.identity("patient-id", "Z")


def test_an_absolute_reference_to_another_patient_of_the_same_id_is_the_named_one() -> None:
    known = index(person("0", (NATIONAL, "1")), person("x", (NATIONAL, "2")))
    refer = {"reference": "https://fhir.test/Patient/1"}
    assert known.resolve(subject_of("Observation", subject=refer)).value == "2"
