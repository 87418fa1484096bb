"""Re-make the sample population under network-configs/sample/.

The records come from clinosim (MIT licence), run in a virtual environment of its own; the people
and the DICOM studies are invented here (sample_people, sample_dicom). The same versions give the
same bytes: fixed seed, fixed end date, no time of day, gzip without a time stamp.
"""

import argparse
import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sample_dicom import write_study
from sample_people import NATIONAL_ID_SYSTEM, Person, person, staff_name

ROOT = Path(__file__).resolve().parent.parent
GENERATOR = "clinosim==0.6.5"
SEED, POPULATION, END_DATE = 7, 160, "2026-11-01"
HOSPITALS = ("hospital-a", "hospital-b", "hospital-c", "hospital-d")
PATIENTS = 28
CAPS = {
    "Encounter": 8,
    "Condition": 8,
    "Observation": 30,
    "MedicationRequest": 10,
    "MedicationAdministration": 3,
    "DiagnosticReport": 6,
    "ImagingStudy": 2,
    "AllergyIntolerance": 3,
    "Immunization": 4,
    "Procedure": 3,
    "Composition": 3,
    "DocumentReference": 2,
}
"""Kinds that the sample holds, and the most of each for one patient."""

GENERATED_NAME = re.compile(r"\b[A-Z][A-Za-z'-]+ [A-Z][A-Za-z'-]+\b")
GENERATED_PATIENT_KEY = re.compile(r"POP-\d*(?:-BABY)?")

Resource = dict[str, Any]


def generate(cache: Path) -> Path:
    """Run the generator in its own virtual environment; return the folder of NDJSON files."""
    output = cache / "clinosim"
    if not (output / "fhir_r4" / "Patient.ndjson").exists():
        cache.mkdir(parents=True, exist_ok=True)
        (cache / ".gitignore").write_text("*\n")  # the cache is never part of the project
        environment = cache / "generator-venv"
        print(f"Installing {GENERATOR} into {environment} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([environment / "bin/pip", "install", "--quiet", GENERATOR], check=True)
        print("Generating records, about a quarter of a minute ...", file=sys.stderr)
        arguments = f"simulate --country US -p {POPULATION} --seed {SEED} --end {END_DATE}"
        command = [str(environment / "bin/clinosim"), *arguments.split(), "--format", "fhir-r4"]
        subprocess.run([*command, "-o", str(output)], check=True, stdout=subprocess.DEVNULL)
    return output / "fhir_r4"


def read_kind(source: Path, kind: str) -> Iterator[Resource]:
    """The resources of one kind, in the order of their ids."""
    with (source / f"{kind}.ndjson").open(encoding="utf-8") as lines:
        yield from sorted(map(json.loads, lines), key=lambda resource: resource["id"])


def subject_of(resource: Resource) -> str:
    """Id of the patient that a resource is about."""
    reference = resource.get("subject") or resource["patient"]
    return str(reference["reference"]).removeprefix("Patient/")


def encounter_of(resource: Resource) -> str | None:
    """Id of the encounter that a resource belongs to, or None."""
    if resource["resourceType"] == "Encounter":
        return str(resource["id"])
    context = resource.get("context", {})
    candidates = [resource.get("encounter"), context, *context.get("encounter", [])]
    for candidate in candidates:
        reference = (candidate or {}).get("reference", "")
        if reference.startswith("Encounter/"):
            return str(reference.removeprefix("Encounter/"))
    return None


def load(source: Path) -> tuple[dict[str, Resource], dict[str, list[Resource]]]:
    """All patients by id, and the wanted resources of each."""
    patients = {patient["id"]: patient for patient in read_kind(source, "Patient")}
    records: dict[str, list[Resource]] = defaultdict(list)
    for kind in CAPS:
        for resource in read_kind(source, kind):
            if kind != "ImagingStudy" or resource.get("series"):
                records[subject_of(resource)].append(resource)
    return patients, records


def choose(patients: dict[str, Resource], records: dict[str, list[Resource]]) -> list[str]:
    """The patients of the sample: imaging first, all with several encounters and medication."""

    def count(patient_id: str, kind: str) -> int:
        return sum(resource["resourceType"] == kind for resource in records[patient_id])

    fit = [
        patient_id
        for patient_id in patients
        if count(patient_id, "Encounter") >= 4 and count(patient_id, "MedicationRequest") >= 4
    ]
    fit.sort(key=lambda patient_id: (count(patient_id, "ImagingStudy") == 0, patient_id))
    return fit[:PATIENTS]


def hospitals_of(index: int) -> tuple[str, ...]:
    """Where patient `index` has records; every hospital gets twelve of the 28 patients."""
    home, turn = index % 4, index // 4
    steps = {0: (0, 1), 2: (0, 2), 4: (0, 3), 6: (0, 1, 2)}.get(turn, (0,))
    return tuple(HOSPITALS[(home + step) % 4] for step in steps)


def share_out(records: list[Resource], hospitals: tuple[str, ...]) -> dict[str, list[Resource]]:
    """Cut one patient's records to the caps and give each encounter to one hospital, in turn."""
    encounters = [item for item in records if item["resourceType"] == "Encounter"]
    having: dict[str, set[str | None]] = defaultdict(set)
    for item in records:
        having[item["resourceType"]].add(encounter_of(item))
    encounters.sort(
        key=lambda item: (
            item["id"] not in having["ImagingStudy"],
            item["id"] not in having["MedicationRequest"],
            item["id"] not in having["Condition"],
            item["period"]["start"],
            item["id"],
        )
    )
    kept = encounters[: CAPS["Encounter"]]
    order = {item["id"]: position for position, item in enumerate(kept)}
    ranked: dict[str, list[tuple[int, int, str, Resource]]] = defaultdict(list)
    seen: dict[tuple[str, str | None], int] = defaultdict(int)
    for item in records:
        kind, encounter = item["resourceType"], encounter_of(item)
        if encounter is None or encounter in order:
            seen[kind, encounter] += 1
            # What belongs to no encounter (problem lists, vaccines) is dealt out one by one.
            position = order[encounter] if encounter else seen[kind, encounter] - 1
            ranked[kind].append((seen[kind, encounter], position, item["id"], item))
    shares: dict[str, list[Resource]] = {hospital: [] for hospital in hospitals}
    for kind, cap in CAPS.items():
        for _, position, _, item in sorted(ranked[kind], key=lambda entry: entry[:3])[:cap]:
            shares[hospitals[position % len(hospitals)]].append(item)
    return shares


def patient_resource(original: Resource, invented: Person, hospital: str, index: int) -> Resource:
    """The Patient of one hospital: its own record number, the national number, invented contact."""
    mrn = f"{hospital[-1].upper()}{100_000 + index * 271:06d}"
    phone = {"system": "phone", "value": invented.phone, "use": "mobile"}
    return {
        "resourceType": "Patient",
        "id": f"p-{mrn.lower()}",
        "identifier": [
            {"use": "usual", "system": f"https://{hospital}.example/mrn", "value": mrn},
            {"use": "official", "system": NATIONAL_ID_SYSTEM, "value": invented.national_id},
        ],
        "active": True,
        "name": [
            {
                "use": "official",
                "text": invented.name,
                "family": invented.family,
                "given": [invented.given],
            }
        ],
        "telecom": [phone],
        "gender": original["gender"],
        "birthDate": original["birthDate"],
        "deceasedBoolean": False,
        "address": [
            {
                "use": "home",
                "text": invented.province + invented.city + invented.district + invented.street,
                "line": [invented.street],
                "district": invented.district,
                "city": invented.city,
                "state": invented.province,
                "postalCode": "000000",
                "country": "CN",
            }
        ],
        "contact": [{"name": {"text": staff_name(index + 500)}, "telecom": [phone]}],
        "communication": [
            {"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "zh-CN"}]}}
        ],
    }


@dataclass(frozen=True)
class Translator:
    """Replaces the generator's people by the invented ones, wherever they are named."""

    names: dict[str, str]
    """Generated name of a member of staff -> invented name."""
    mrn: str
    """Record number that replaces the generator's key of the patient."""
    present: frozenset[str]
    """References that resolve within this hospital, as `Kind/id`."""

    def text(self, value: str) -> str:
        """`value` with each name of staff and each patient key replaced."""
        return GENERATED_NAME.sub(
            lambda match: self.names.get(match[0], match[0]),
            GENERATED_PATIENT_KEY.sub(self.mrn, value),
        )

    def resource(self, value: Any) -> Any:
        """A copy of a JSON value; references to what this hospital lacks keep their text only."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.resource(item) for item in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("data"), str) and "contentType" in value:
            return self._attachment(value)
        copied = {key: self.resource(item) for key, item in value.items()}
        reference = copied.get("reference")
        if isinstance(reference, str) and reference not in self.present:
            del copied["reference"]
            copied.setdefault("display", reference.partition("/")[0])
        return copied

    def _attachment(self, value: Resource) -> Resource:
        text = self.text(base64.b64decode(value["data"]).decode("utf-8")).encode()
        digest = hashlib.sha1(text, usedforsecurity=False).digest()  # FHIR R4 asks for SHA-1 here
        return {
            **value,
            "data": base64.b64encode(text).decode(),
            "size": len(text),
            "hash": base64.b64encode(digest).decode(),
        }


def staff_names(source: Path) -> dict[str, str]:
    """An invented name for each name of staff that the generator wrote."""
    staff = [item["name"][0] for item in read_kind(source, "Practitioner")]
    names = sorted({f"{name['given'][0]} {name['family']}" for name in staff})
    return {name: staff_name(position) for position, name in enumerate(names)}


def localise(
    share: list[Resource], patient: Resource, generator_id: str, names: dict[str, str]
) -> list[Resource]:
    """One patient's resources as this hospital holds them, the Patient first."""
    present = {f"{item['resourceType']}/{item['id']}" for item in share}
    present.add(f"Patient/{generator_id}")
    translator = Translator(names, patient["identifier"][0]["value"], frozenset(present))
    resources = [patient]
    for item in share:
        copied = translator.resource(item)
        for element in ("subject", "patient"):
            if element in copied:
                copied[element] = {"reference": f"Patient/{patient['id']}"}
        resources.append(copied)
    return resources


def write(path: Path, text: str) -> None:
    """Write `text` as UTF-8, compressed without a time stamp when the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode()
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=9, mtime=0)
    path.write_bytes(content)


def bundle(resources: list[Resource]) -> str:
    """A FHIR collection Bundle as one JSON text."""
    entries = [{"resource": resource} for resource in resources]
    document = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


def write_hospital(folder: Path, people: list[list[Resource]], *, ndjson: bool) -> None:
    """Write one hospital's FHIR side: a Bundle per patient, or NDJSON per kind.

    One file of each hospital stays plain, so that both forms are read in every demonstration.
    """
    if not ndjson:
        for position, resources in enumerate(people):
            ending = "json" if position == 0 else "json.gz"
            write(folder / "fhir" / f"{resources[0]['id']}.{ending}", bundle(resources))
        return
    kinds: dict[str, list[str]] = defaultdict(list)
    for resources in people:
        for resource in resources:
            line = json.dumps(resource, ensure_ascii=False, separators=(",", ":"))
            kinds[resource["resourceType"]].append(line + "\n")
    for kind, lines in sorted(kinds.items()):
        ending = "ndjson" if kind in {"Patient", "MedicationRequest"} else "ndjson.gz"
        write(folder / "fhir" / f"{kind}.{ending}", "".join(lines))


def make(source: Path, target: Path) -> None:
    """Make the whole sample under `target`; hospital folders there are replaced."""
    patients, records = load(source)
    names = staff_names(source)
    by_hospital: dict[str, list[list[Resource]]] = {hospital: [] for hospital in HOSPITALS}
    for hospital in HOSPITALS:
        shutil.rmtree(target / hospital, ignore_errors=True)
    for index, patient_id in enumerate(choose(patients, records)):
        original = patients[patient_id]
        male = original["gender"] == "male"
        invented = person(index, male=male, birth_date=original["birthDate"])
        shares = share_out(records[patient_id], hospitals_of(index))
        for hospital, share in shares.items():
            patient = patient_resource(original, invented, hospital, index)
            resources = localise(share, patient, patient_id, names)
            studies = [item for item in resources if item["resourceType"] == "ImagingStudy"]
            for turn, study in enumerate(studies, start=index):
                write_study(target / hospital / "dicom", study, patient, invented, hospital, turn)
            by_hospital[hospital].append(resources)
    for position, hospital in enumerate(HOSPITALS):
        write_hospital(target / hospital, by_hospital[hospital], ndjson=position % 2 == 1)
        count = sum(map(len, by_hospital[hospital]))
        print(f"{hospital}: {len(by_hospital[hospital])} patients, {count} resources")


def main() -> None:
    """Parse the command line and re-make the sample."""
    parser = argparse.ArgumentParser(prog="scripts/make-sample", description=__doc__)
    default_target = ROOT / "network-configs" / "sample"
    parser.add_argument("--target", type=Path, default=default_target, help="where to write")
    default_cache = ROOT / ".cache" / "sample"
    parser.add_argument("--cache", type=Path, default=default_cache, help="generator and output")
    options = parser.parse_args()
    make(generate(options.cache), options.target)


if __name__ == "__main__":
    main()
