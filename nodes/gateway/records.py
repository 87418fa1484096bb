"""The values that pass between a store, the mapping, the indexer and the database."""

from dataclasses import dataclass

from ledger.commitment import Field
from ledger.errors import PeerFault

REASONS = {
    "ambiguous-identifier": "the patient has two current national identifiers; correct the Patient",
    "ambiguous-patient": "several patients answer to the reference; make it unambiguous",
    "bad-bundle": "the entry member of a Bundle is a list",
    "bad-id": "a resource id is 1 to 64 letters, digits, hyphens and dots",
    "bad-name": "member names are letters, digits and underscore, and begin with no digit",
    "bad-uid": "a UID is at most 64 digits and dots; the study, series and instance need one",
    "broken-link": "a symbolic link leads nowhere; correct or remove it",
    "bundle-type": "Bundles of this type hold no current records; export a collection",
    "conflicting-duplicate": "the same record was read before with other content; keep one of them",
    "conflicting-patient": "the files of one study name different patients; correct the PACS",
    "cannot-list": "the directory is missing or cannot be opened; check its path and permissions",
    "cannot-read": "the file could not be read; check permissions and the disk",
    "damaged-archive": "the .gz file is truncated or damaged; export it again",
    "duplicate": "the same record with the same content was read before; nothing is lost",
    "duplicate-name": "an object has two members of one name, so its meaning is not certain",
    "empty-file": "the file has no content",
    "file-too-large": "the file exceeds the limit for its kind; export NDJSON, or split it",
    "frame-too-large": "a decoded frame would exceed the limit",
    "line-too-long": "a line exceeds the limit of one resource",
    "link-outside": "a symbolic link leads out of the store and is never followed",
    "locator-too-long": "id, code and dates together exceed what sealed metadata can hold",
    "missing-id": "the resource has no id, so that it could not be found again",
    "missing-type": "the object has no resourceType",
    "nested-bundle": "a Bundle within a Bundle is not read; export its resources",
    "nested-too-deep": "objects are nested deeper than the limit",
    "no-patient": "records of this kind belong to no patient, and are not indexed",
    "no-patient-reference": "the record does not say whose it is",
    "not-dicom": "the file is no readable DICOM file, or is truncated",
    "not-json": "the text is no valid JSON, or is truncated",
    "not-record": "only .json, .ndjson, their .gz and DICOM files are indexed",
    "not-utf8": "JSON must be UTF-8; convert the file from its present character set",
    "number": "numbers are JSON numbers; NaN and Infinity are not",
    "path-too-long": "the path of an element exceeds the limit",
    "record-gone": "the store does not hold the record any more where it was found",
    "study-incomplete": "another file of the same study cannot be indexed; see that file",
    "subject-no-patient": "the subject is a group, device or place, not a patient",
    "too-many-elements": "the record has more elements than one commitment may hold",
    "undecodable-pixels": "pixels cannot be decoded; install the codec or transcode the study",
    "unknown-patient": "the Patient that is referred to is not in this store",
    "unknown-type": "the resourceType is none of FHIR R4",
    "wrong-charset": "text does not fit the declared SpecificCharacterSet; correct the attribute",
}
"""Every reason for which something that was read is not indexed, and what to do about it."""


@dataclass(eq=False)
class Unusable(PeerFault):
    """What a store holds cannot become a record; ``code`` is a key of REASONS."""

    code: str
    position: int = 0
    """Which of several files it is about, from 1; 0 where there is only one."""
    template = "{code}"

    def __str__(self) -> str:
        return f"{self.code}: {REASONS[self.code]}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something read from a store that is not indexed, and why. No patient data inside."""

    file: str
    """Path within the store, for the hospital's own eyes."""
    position: int
    """Entry of the Bundle or line of the file, from 1; 0 for the file as a whole."""
    code: str
    """Key of REASONS, or the receipt code with which the chain refused the row."""

    @property
    def text(self) -> str:
        """The reason in words."""
        return REASONS.get(self.code, "refused by the network; see the receipt code")


@dataclass(frozen=True, slots=True)
class PatientIdentifier:
    """What a patient key is made from."""

    system: str
    value: str


@dataclass(frozen=True, slots=True)
class Content:
    """One record as it stands in its store, mapped; pure function of the bytes read."""

    id: str
    """``<resourceType>/<id>``, or ``study/<StudyInstanceUID>``: unique within a hospital."""
    kind: str
    """FHIR resource type; "ImagingStudy" for a DICOM study."""
    code_system: str
    code: str
    effective: str
    national_index: str | None
    fields: tuple[Field, ...]
    dependencies: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One record met in a scan."""

    files: tuple[bytes, ...]
    """Paths within the store, as the operating system has them; several for a study."""
    position: int
    """Entry of the Bundle or line of the file, from 1; 0 for a study."""
    content: Content
    patient: PatientIdentifier
