"""What the demonstration needs around the product: the records, their people, and the damage."""

import gzip
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nodes.client.records import ListedRecord

NATIONAL_ID = "urn:oid:2.16.156.10011.1.3"
_IDENTIFYING_CHARACTERS_MIN = 4
"""Shorter latin texts occur in ordinary words; Chinese names are two characters long."""


@dataclass
class Facts:
    """What the story established; the members of the JSON line."""

    validators: int = 0
    height: int = 0
    records_indexed: int = 0
    rows_committed: int = 0
    hospital_read_verified: bool = False
    vendor_records_verified: int = 0
    vendor_identifiers_found: int = -1
    resident_list_complete: bool = False
    resident_medication_hidden: bool = False
    tamper_detected: bool = False
    omission_detected: bool = False
    view_changes: int = 0
    restarted_node_same_root: bool = False
    seconds: float = 0.0

    def all_true(self) -> bool:
        """Whether nothing failed and nothing is missing."""
        flags = [value for value in vars(self).values() if isinstance(value, bool)]
        counts = (self.records_indexed, self.vendor_records_verified, self.view_changes)
        rows_match = self.rows_committed == self.records_indexed
        return all(flags) and all(counts) and rows_match and self.vendor_identifiers_found == 0


@dataclass(frozen=True, slots=True)
class Person:
    """A patient of the sample: what a doctor knows at the desk."""

    identifier: str
    hospitals: tuple[str, ...]
    """Hospitals that hold records of this person, sorted."""


def lay_out_records(target: Path, sample: Path, hospitals: list[str], added: Path | None) -> None:
    """Copies each hospital's records to ``target/<hospital>``, ``added`` files in turn.

    Copies, because the story damages one of them.
    """
    for hospital in hospitals:
        shutil.copytree(sample / hospital, target / hospital / "sample")
    if added is None:
        return
    files = sorted(path for path in added.rglob("*") if path.is_file())
    for number, source in enumerate(files):
        hospital = hospitals[number % len(hospitals)]
        copy = target / hospital / "added" / source.relative_to(added)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)


def patients(directory: Path) -> Iterator[dict]:
    """Every Patient resource in the FHIR files below ``directory``."""
    for path in sorted(directory.rglob("*")):
        name = path.name.removesuffix(".gz")
        if not name.endswith((".json", ".ndjson")) or not path.is_file():
            continue
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        try:
            text = data.decode("utf-8")
            documents = (
                [json.loads(line) for line in text.splitlines() if line.strip()]
                if name.endswith(".ndjson")
                else [json.loads(text)]
            )
        except ValueError:
            continue  # broken files are the gateway's to report
        for document in documents:
            entries = document.get("entry", [{"resource": document}])
            for entry in entries:
                if entry.get("resource", {}).get("resourceType") == "Patient":
                    yield entry["resource"]


def shared_people(records: Path, hospitals: list[str]) -> list[Person]:
    """People of the sample with records in two hospitals or more."""
    places: dict[str, set[str]] = {}
    for hospital in hospitals:
        for patient in patients(records / hospital / "sample"):
            for identifier in patient.get("identifier", []):
                if identifier.get("system") == NATIONAL_ID:
                    places.setdefault(identifier["value"], set()).add(hospital)
    return [
        Person(identifier, tuple(sorted(where)))
        for identifier, where in sorted(places.items())
        if len(where) >= 2
    ]


def has_study(records: Path, person: Person) -> bool:
    """Whether the first of the person's hospitals holds DICOM images of them."""
    from pydicom import dcmread

    for path in sorted((records / person.hospitals[0] / "sample").rglob("*.dcm")):
        header = dcmread(path, stop_before_pixels=True)
        others = header.get("OtherPatientIDsSequence", [])
        if any(item.PatientID == person.identifier for item in others):
            return True
    return False


def direct_identifiers(records: Path) -> set[str]:
    """Names, numbers, phones, addresses and full birth dates of all patients in the records."""
    found: set[str] = set()
    for patient in patients(records):
        found.update(item.get("value", "") for item in patient.get("identifier", []))
        found.update(item.get("value", "") for item in patient.get("telecom", []))
        found.add(patient.get("birthDate", ""))
        contacts = [contact.get("name", {}) for contact in patient.get("contact", [])]
        for name in [*patient.get("name", []), *contacts]:
            found.add(name.get("text", ""))
            given, family = " ".join(name.get("given", [])), name.get("family", "")
            found.update({f"{given} {family}", f"{family} {given}", family + given})
        for address in patient.get("address", []):
            found.update(address.get("line", []))
            found.add(address.get("text", ""))
    return {
        text.strip()
        for text in found
        if len(text.strip()) >= (2 if not text.isascii() else _IDENTIFYING_CHARACTERS_MIN)
    }


def identifier_pattern(identifiers: set[str]) -> re.Pattern[str]:
    """Matches any of the identifiers, the longest first."""
    ordered = sorted(identifiers, key=len, reverse=True)
    return re.compile("|".join(re.escape(text) for text in ordered))


def change_one_value(records: Path, resource_id: str) -> tuple[Path, bytes]:
    """Changes one value of one FHIR resource on disk; the file and what it held before."""
    for path in sorted(records.rglob("*")):
        name = path.name.removesuffix(".gz")
        if not name.endswith((".json", ".ndjson")):
            continue
        before = path.read_bytes()
        packed = path.suffix == ".gz"
        text = (gzip.decompress(before) if packed else before).decode("utf-8")
        place = re.search(rf'"id":\s*"{re.escape(resource_id)}"', text)
        if place is None:
            continue
        status = re.compile(r'"status":\s*"([a-z-]+)"').search(text, place.start())
        if status is None:
            continue
        changed = text[: status.start(1)] + "amended-by-hand" + text[status.end(1) :]
        data = changed.encode()
        path.write_bytes(gzip.compress(data) if packed else data)
        return path, before
    raise FileNotFoundError(f"no file below {records} holds the resource to change")


def number(values: Mapping[str, object], name: str) -> int:
    """The integer of that name in a JSON answer, or 0."""
    value = values.get(name, 0)
    return value if isinstance(value, int) else 0


def rows(values: Mapping[str, object], name: str) -> list[dict[str, object]]:
    """The list of that name in a JSON answer, or an empty one."""
    rows = values.get(name, [])
    return rows if isinstance(rows, list) else []


def first(records: tuple[ListedRecord, ...], holder: str | None, kind: str) -> ListedRecord:
    """The first record whose locator begins with ``kind``, at that hospital."""
    for record in records:
        held = holder is None or record.listed.row.member == holder
        if held and record.metadata is not None and record.metadata.locator.startswith(kind):
            return record
    raise RuntimeError(f"the sample has no {kind} of this patient at {holder}")
