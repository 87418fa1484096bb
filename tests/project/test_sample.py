"""The shipped sample: counts, identity numbers of nobody, and FHIR and DICOM that agree."""

import gzip
import importlib
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pydicom
import pytest

from ledger.primitives import MemberId
from nodes.gateway.directory_store import DirectoryStore
from nodes.gateway.patients import IdentifierRules
from nodes.gateway.records import Found

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "network-configs" / "sample"
HOSPITALS = ("hospital-a", "hospital-b", "hospital-c", "hospital-d")
NATIONAL_ID_SYSTEM = "urn:oid:2.16.156.10011.1.3"

Resource = dict[str, Any]


def _resources(path: Path) -> list[Resource]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    if ".ndjson" in path.name:
        return [json.loads(line) for line in text.splitlines()]
    return [entry["resource"] for entry in json.loads(text)["entry"]]


@pytest.fixture(scope="module")
def resources() -> dict[str, list[Resource]]:
    """All FHIR resources of each hospital."""
    return {
        hospital: [
            resource
            for path in sorted((SAMPLE / hospital / "fhir").iterdir())
            for resource in _resources(path)
        ]
        for hospital in HOSPITALS
    }


@pytest.fixture(scope="module")
def instances() -> dict[str, list[pydicom.Dataset]]:
    """All DICOM instances of each hospital, pixels left in the file."""
    return {
        hospital: [
            pydicom.dcmread(path, stop_before_pixels=True)
            for path in sorted((SAMPLE / hospital / "dicom").rglob("*.dcm"))
        ]
        for hospital in HOSPITALS
    }


def _identifier(patient: Resource, system: str) -> str:
    values = {item["system"]: item["value"] for item in patient["identifier"]}
    return str(values[system])


def _national_id(patient: Resource) -> str:
    return _identifier(patient, NATIONAL_ID_SYSTEM)


def _subject(resource: Resource) -> str:
    reference = resource.get("subject") or resource["patient"]
    return str(reference["reference"]).removeprefix("Patient/")


def _patients(resources: list[Resource]) -> dict[str, Resource]:
    return {item["id"]: item for item in resources if item["resourceType"] == "Patient"}


def test_size_fits_a_public_clone() -> None:
    total = sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file())
    assert total <= 3_000_000


def test_population_is_spread_over_the_hospitals(resources: dict[str, list[Resource]]) -> None:
    hospitals_of: dict[str, set[str]] = defaultdict(set)
    for hospital, held in resources.items():
        people = {_national_id(patient) for patient in _patients(held).values()}
        assert len(people) >= 8
        for person in people:
            hospitals_of[person].add(hospital)
    assert len(hospitals_of) >= 20
    assert sum(len(held) >= 2 for held in hospitals_of.values()) >= 8
    assert 1_500 <= sum(map(len, resources.values())) <= 2_500


def test_hospitals_hold_comparable_counts(resources: dict[str, list[Resource]]) -> None:
    counts = [len(held) for held in resources.values()]
    assert max(counts) <= 1.25 * min(counts)


def test_each_kind_for_release_covers_eight_patients(
    resources: dict[str, list[Resource]],
) -> None:
    for held in resources.values():
        for kind in ("Observation", "MedicationRequest", "Condition", "Encounter"):
            assert len({_subject(item) for item in held if item["resourceType"] == kind}) >= 8


def test_most_patients_have_medication(resources: dict[str, list[Resource]]) -> None:
    for held in resources.values():
        with_medication = {
            _subject(item) for item in held if item["resourceType"] == "MedicationRequest"
        }
        assert 2 * len(with_medication) > len(_patients(held))


def test_ids_are_unique_and_references_resolve(resources: dict[str, list[Resource]]) -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, list):
            return [found for item in value for found in references(item)]
        if not isinstance(value, dict):
            return []
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        return own + [found for item in value.values() for found in references(item)]

    for held in resources.values():
        names = Counter(f"{item['resourceType']}/{item['id']}" for item in held)
        assert set(names.values()) == {1}
        for item in held:
            assert set(references(item)) <= set(names)


def test_identity_numbers_are_well_formed_and_of_nobody(
    resources: dict[str, list[Resource]],
) -> None:
    weights = [2 ** (17 - position) % 11 for position in range(17)]
    for held in resources.values():
        for patient in _patients(held).values():
            number = _national_id(patient)
            assert len(number) == 18
            assert number.startswith("999999")
            assert number[6:14] == patient["birthDate"].replace("-", "")
            assert int(number[16]) % 2 == (1 if patient["gender"] == "male" else 0)
            last = 10 if number[17] == "X" else int(number[17])
            # ISO 7064 MOD 11-2: the whole number is congruent to 1.
            total = sum(int(digit) * weight for digit, weight in zip(number, weights, strict=False))
            assert (total + last) % 11 == 1


def test_one_person_has_one_name_and_birth_date_everywhere(
    resources: dict[str, list[Resource]],
) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for held in resources.values():
        for patient in _patients(held).values():
            facts = (patient["name"][0]["text"], patient["birthDate"])
            assert seen.setdefault(_national_id(patient), facts) == facts
    assert len({name for name, _ in seen.values()}) == len(seen)


def test_dicom_agrees_with_fhir(
    resources: dict[str, list[Resource]], instances: dict[str, list[pydicom.Dataset]]
) -> None:
    for hospital in HOSPITALS:
        patients = _patients(resources[hospital])
        expected: dict[str, tuple[Resource, Resource]] = {}
        for study in resources[hospital]:
            if study["resourceType"] == "ImagingStudy":
                for series in study["series"]:
                    for instance in series["instance"]:
                        expected[instance["uid"]] = (study, patients[_subject(study)])
        assert {data.SOPInstanceUID for data in instances[hospital]} == set(expected)
        for data in instances[hospital]:
            study, patient = expected[data.SOPInstanceUID]
            _assert_same_study(data, study)
            _assert_same_patient(data, patient, hospital)


def _assert_same_study(data: pydicom.Dataset, study: Resource) -> None:
    assert study["identifier"][0]["value"] == f"urn:oid:{data.StudyInstanceUID}"
    assert study["series"][0]["uid"] == data.SeriesInstanceUID
    assert study["modality"][0]["code"] == data.Modality
    assert study["started"][:10].replace("-", "") == data.StudyDate
    assert data.StudyInstanceUID.startswith("2.25.")
    assert len(data.StudyInstanceUID) <= 64


def _assert_same_patient(data: pydicom.Dataset, patient: Resource, hospital: str) -> None:
    name = patient["name"][0]
    assert data.PatientID == _identifier(patient, f"https://{hospital}.example/mrn")
    assert data.OtherPatientIDsSequence[0].PatientID == _national_id(patient)
    assert data.PatientName.ideographic == f"{name['family']}^{name['given'][0]}"
    assert data.PatientBirthDate == patient["birthDate"].replace("-", "")
    assert data.PatientSex == patient["gender"][0].upper()


def test_the_gateway_reads_all_of_it_and_knows_each_person(
    resources: dict[str, list[Resource]],
) -> None:
    for hospital in HOSPITALS:
        rules = IdentifierRules(MemberId(hospital), (NATIONAL_ID_SYSTEM,))
        store = DirectoryStore("sample", SAMPLE / hospital, rules)
        found = [item for item in store.scan() if isinstance(item, Found)]
        studies = list((SAMPLE / hospital / "dicom").iterdir())
        assert len(list(store.scan())) == len(found)  # no problems
        assert len(found) == len(resources[hospital]) + len(studies)
        people = {_national_id(patient) for patient in _patients(resources[hospital]).values()}
        assert {item.patient.value for item in found} == people
        assert {item.patient.system for item in found} == {NATIONAL_ID_SYSTEM}


def test_every_hospital_has_images_that_decode() -> None:
    for hospital in HOSPITALS:
        paths = sorted((SAMPLE / hospital / "dicom").rglob("*.dcm"))
        assert paths
        for path in paths:
            assert pydicom.dcmread(path).pixel_array.size > 0


def test_writing_is_deterministic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("make_sample")
    for name in ("one.json.gz", "two.json.gz"):
        script.write(tmp_path / name, '{"a": "王"}')
    assert (tmp_path / "one.json.gz").read_bytes() == (tmp_path / "two.json.gz").read_bytes()
    people = [script.person(7, male=True, birth_date="1970-01-31") for _ in range(2)]
    assert people[0] == people[1]
