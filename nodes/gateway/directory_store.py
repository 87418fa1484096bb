"""A directory of FHIR and DICOM files as a store of records: read, never written.

Files are visited in sorted order; symbolic links that lead out of the directory are not followed.
JSON files are read whole up to a limit, NDJSON line by line, DICOM files value by value, so that
memory stays bounded whatever lies in the directory. What cannot be a record is a ``Problem``.
"""

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from nodes.gateway import dicom, fhir
from nodes.gateway.patients import IdentifierRules, PatientIndex
from nodes.gateway.records import Content, Found, PatientIdentifier, Problem, Unusable

BUNDLE_BYTES_MAX = 16 * 1024 * 1024
"""One JSON file, decompressed: it is parsed whole, which takes about ten times its size."""
LINE_BYTES_MAX = 8 * 1024 * 1024
"""One line of NDJSON: one resource."""
STREAM_BYTES_MAX = 2 * 1024 * 1024 * 1024
"""One NDJSON file, decompressed; stops an archive that unpacks to far more than it holds."""
_CHUNK = 1024 * 1024
_PATIENT_LINE = re.compile(rb'"resourceType"\s*:\s*"Patient"')


@dataclass(frozen=True, slots=True)
class _File:
    name: bytes
    """Path within the store."""
    path: Path
    kind: str
    """"json", "ndjson" or "dicom"."""


def shown_name(name: bytes) -> str:
    """A path within a store for people, on any file system."""
    return name.decode("utf-8", "backslashreplace")


class DirectoryStore:
    """One directory. ``name`` tells it from the hospital's other stores."""

    def __init__(
        self,
        name: str,
        root: Path,
        rules: IdentifierRules,
        national_index_systems: frozenset[str] = frozenset(),
    ) -> None:
        self.name = name
        self._root = Path(os.path.realpath(root))
        self._rules = rules
        self._index_systems = national_index_systems

    def scan(self) -> Iterator[Found | Problem]:
        """Every record, or the reason why something is none; FHIR first, then DICOM studies.

        Reads twice: whom a record is about may be said in a later file.
        """
        files: list[_File] = []
        for item in self._files():
            if isinstance(item, Problem):
                yield item
            else:
                files.append(item)
        patients = self._patients(files)
        for file in files:
            if file.kind != "dicom":
                yield from self._fhir_records(file, patients)
        yield from self._studies([file for file in files if file.kind == "dicom"], patients)

    def read(self, files: Sequence[bytes], record_id: str) -> Content:
        """One record as it stands now, from the files where a scan found it.

        Raises Unusable; ``record-gone`` where the files do not hold it any more.
        """
        return self.read_many({record_id: files})[record_id].value()

    def read_many(self, places: "dict[str, Sequence[bytes]]") -> "dict[str, Outcome]":
        """Several records by their ids, each file read once; what fails fails alone."""
        outcomes: dict[str, Outcome] = {}
        wanted: dict[bytes, set[str]] = {}
        for record_id, files in places.items():
            if record_id.startswith("study/"):
                outcomes[record_id] = self._read_study(files)
            else:
                wanted.setdefault(files[0], set()).add(record_id)
        for name, ids in wanted.items():
            outcomes.update(self._read_resources(name, ids))
        return outcomes

    def paths(self, files: Sequence[bytes]) -> list[Path]:
        """Where the files of a record lie; raises Unusable when one is gone or leads out."""
        return [self._resolved(name) for name in files]

    # Walking

    def _files(self) -> Iterator[_File | Problem]:
        root = os.fsencode(self._root)
        closed: list[OSError] = []
        for directory, folders, names in os.walk(root, onerror=closed.append):
            folders.sort()
            for name in sorted(names):
                yield self._classify(os.path.relpath(os.path.join(directory, name), root))
            for name in folders:
                relative = os.path.relpath(os.path.join(directory, name), root)
                if os.path.islink(os.path.join(directory, name)) and not self._inside(relative):
                    yield Problem(shown_name(relative), 0, "link-outside")
        for error in closed:
            relative = os.path.relpath(error.filename, root)
            yield Problem(shown_name(relative), 0, "cannot-list")

    def _classify(self, name: bytes) -> _File | Problem:
        path = Path(os.fsdecode(name))
        plain = path.with_suffix("") if path.suffix == ".gz" else path
        kind = {".json": "json", ".ndjson": "ndjson", ".dcm": "dicom"}.get(plain.suffix.lower())
        if path.suffix == ".gz" and kind == "dicom":
            kind = None
        try:
            if os.path.islink(self._root / path) and not os.path.exists(self._root / path):
                raise Unusable("broken-link")
            resolved = self._resolved(name)
            if kind is None and not path.suffix.strip(".0123456789") and dicom.is_dicom(resolved):
                kind = "dicom"
            if kind is None:
                empty = resolved.stat().st_size == 0
                return Problem(shown_name(name), 0, "empty-file" if empty else "not-record")
        except Unusable as problem:
            return Problem(shown_name(name), 0, problem.code)
        except OSError:
            return Problem(shown_name(name), 0, "cannot-read")
        return _File(name, resolved, kind)

    def _inside(self, name: bytes) -> bool:
        real = Path(os.path.realpath(self._root / os.fsdecode(name)))
        return real.is_relative_to(self._root)

    def _resolved(self, name: bytes) -> Path:
        path = self._root / os.fsdecode(name)
        if not self._inside(name):
            raise Unusable("link-outside")
        if not path.is_file():
            raise Unusable("record-gone" if not path.exists() else "cannot-read")
        return path

    # FHIR

    def _patients(self, files: Sequence[_File]) -> PatientIndex:
        index = PatientIndex(self._rules)
        for file in files:
            if file.kind == "dicom":
                continue
            for item in _resources(file, patients_only=True):
                if isinstance(item, Problem) or not isinstance(item.value, dict):
                    continue
                if item.value.get("resourceType") != "Patient":
                    continue
                try:
                    index.add(item.full_url, fhir.checked_resource(item.value))
                except Unusable:
                    continue  # the second reading names it, with everything that refers to it
        return index

    def _fhir_records(self, file: _File, patients: PatientIndex) -> Iterator[Found | Problem]:
        for item in _resources(file):
            if isinstance(item, Problem):
                yield item
                continue
            try:
                resource = fhir.checked_resource(item.value)
                subject = fhir.subject(resource)
                if resource["resourceType"] == "Patient":
                    self._rules.choose(fhir.patient_identifiers(resource))
                identity = patients.resolve(subject)
                content = fhir.content(resource, self._index_systems)
            except Unusable as problem:
                yield Problem(shown_name(file.name), item.position, problem.code)
            else:
                yield Found((file.name,), item.position, content, identity)

    def _read_resources(self, name: bytes, ids: set[str]) -> "dict[str, Outcome]":
        found: dict[str, Outcome] = {}
        try:
            file = self._classify(name)
            if isinstance(file, Problem):
                raise Unusable(file.code)
            for item in _resources(file):
                if isinstance(item, Problem):
                    continue
                value = item.value
                if not isinstance(value, dict):
                    continue
                record_id = f"{value.get('resourceType')}/{value.get('id')}"
                if record_id in ids and record_id not in found:
                    found[record_id] = _content_outcome(value, self._index_systems)
                    if len(found) == len(ids):
                        break
        except Unusable as problem:
            return {record_id: Outcome(None, problem.code) for record_id in ids}
        gone = Outcome(None, "record-gone")
        return {record_id: found.get(record_id, gone) for record_id in ids}

    # DICOM

    def _studies(self, files: Sequence[_File], patients: PatientIndex) -> Iterator[Found | Problem]:
        studies: dict[str, list[tuple[str, _File, dicom.InstanceHeader]]] = {}
        for file in files:
            try:
                header = dicom.read_header(file.path)
            except Unusable as problem:
                yield Problem(shown_name(file.name), 0, problem.code)
            else:
                studies.setdefault(header.study_uid, []).append((header.sop_uid, file, header))
        for _, instances in sorted(studies.items()):
            yield from self._study(sorted(instances, key=lambda item: item[:1]), patients)

    def _study(
        self,
        instances: Sequence[tuple[str, _File, dicom.InstanceHeader]],
        patients: PatientIndex,
    ) -> Iterator[Found | Problem]:
        files = [file for _, file, _ in instances]
        try:
            identity = _study_patient([header for _, _, header in instances], patients)
            content = dicom.study_content([file.path for file in files])
        except Unusable as problem:
            guilty = files[problem.position - 1] if problem.position else files[0]
            for file in files:
                code = problem.code if file is guilty else "study-incomplete"
                yield Problem(shown_name(file.name), 0, code)
        else:
            yield Found(tuple(file.name for file in files), 0, content, identity)

    def _read_study(self, files: Sequence[bytes]) -> "Outcome":
        try:
            return Outcome(dicom.study_content(self.paths(files)), "")
        except Unusable as problem:
            return Outcome(None, problem.code)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One record that was read again, or the reason why it cannot be."""

    content: Content | None
    code: str

    def value(self) -> Content:
        """The content; raises Unusable where there is none."""
        if self.content is None:
            raise Unusable(self.code)
        return self.content


def _content_outcome(value: fhir.Resource, index_systems: frozenset[str]) -> Outcome:
    try:
        return Outcome(fhir.content(fhir.checked_resource(value), index_systems), "")
    except Unusable as problem:
        return Outcome(None, problem.code)


def _study_patient(
    headers: Sequence[dicom.InstanceHeader], patients: PatientIndex
) -> PatientIdentifier:
    found = {(header.patient_id, header.issuer) for header in headers}
    if len(found) > 1:
        raise Unusable("conflicting-patient")
    patient_id, issuer = found.pop()
    if not patient_id:
        raise Unusable("no-patient-reference")
    return patients.dicom(patient_id, issuer)


def _resources(file: _File, patients_only: bool = False) -> Iterator[fhir.Entry | Problem]:
    """Resources of a JSON or NDJSON file; problems of the file or of single lines in between."""
    name = shown_name(file.name)
    try:
        with closing(_opened(file.path)) as stream:
            if file.kind == "json":
                yield from fhir.entries(fhir.parse_json(_whole(stream)))
            else:
                yield from _lines(stream, name, patients_only)
    except Unusable as problem:
        yield Problem(name, 0, problem.code)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        yield Problem(name, 0, "damaged-archive")
    except OSError:
        yield Problem(name, 0, "cannot-read")


def _opened(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def _whole(stream: BinaryIO) -> bytes:
    data = stream.read(BUNDLE_BYTES_MAX + 1)
    if len(data) > BUNDLE_BYTES_MAX:
        raise Unusable("file-too-large")
    return data


def _lines(stream: BinaryIO, name: str, patients_only: bool) -> Iterator[fhir.Entry | Problem]:
    total = number = 0
    while line := stream.readline(LINE_BYTES_MAX + 1):
        number += 1
        total += len(line)
        if len(line) > LINE_BYTES_MAX and not line.endswith(b"\n"):
            yield Problem(name, number, "line-too-long")
            while line and not line.endswith(b"\n") and total <= STREAM_BYTES_MAX:
                line = stream.readline(_CHUNK)
                total += len(line)
        elif line.strip() and (not patients_only or _PATIENT_LINE.search(line)):
            try:
                yield fhir.Entry(number, "", fhir.parse_json(line))
            except Unusable as problem:
                yield Problem(name, number, problem.code)
        if total > STREAM_BYTES_MAX:
            raise Unusable("file-too-large")
    if total == 0:
        raise Unusable("empty-file")
