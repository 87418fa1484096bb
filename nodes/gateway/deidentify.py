"""De-identified records: what may be shown without saying whose it is. Rules are data. Pure.

Allow-list by default: an element that no rule names is dropped, so a new element of a new
release of FHIR is dropped too. Names, numbers, addresses, telephones, references, free text,
display texts, extensions and pixels are named by no rule. Dates become years. Whoever is, or
becomes in the year of the release, 90 or older has no year of birth but a band.
DICOM: a few attributes of each instance, numbered instead of named by UID; no pixels yet.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from ledger.commitment import Field
from nodes.gateway.fhir import dependencies
from nodes.gateway.fhir_types import words
from nodes.gateway.records import Content

RULES_VERSION = 1
"""Raised whenever the same record would give other fields."""
AGE_BAND_FROM = 90
BAND = b'"90 or older"'

_CONCEPT = "coding/system coding/code"
_CODING = "system code"
_QUANTITY = "value comparator unit system code"
_SHAPES = {
    "plain": "",
    "year": "~year",
    "concept": _CONCEPT,
    "coding": _CODING,
    "quantity": _QUANTITY,
    "money": "value currency",
    "period": "start~year end~year",
    "range": " ".join(f"{end}/{part}" for end in ("low", "high") for part in _QUANTITY.split()),
    "ratio": " ".join(
        f"{end}/{part}" for end in ("numerator", "denominator") for part in _QUANTITY.split()
    ),
}
_VALUES = (
    "valueQuantity:quantity valueCodeableConcept:concept valueBoolean valueInteger "
    "valueRange:range valueRatio:ratio dataAbsentReason:concept interpretation:concept"
)
_DOSE = (
    "sequence asNeededBoolean timing/repeat/frequency timing/repeat/period "
    "timing/repeat/periodUnit route:concept doseAndRate/type:concept "
    "doseAndRate/doseQuantity:quantity doseAndRate/doseRange:range"
)


def _under(parent: str, rules: str) -> str:
    return " ".join(f"{parent}/{rule}" for rule in rules.split())


RULES = {
    "Patient": "gender birthDate:year",
    "Observation": "status category:concept code:concept effectiveDateTime:year "
    "effectivePeriod:period method:concept bodySite:concept "
    f"{_VALUES} referenceRange/low:quantity referenceRange/high:quantity "
    f"component/code:concept {_under('component', _VALUES)}",
    "Condition": "clinicalStatus:concept verificationStatus:concept category:concept "
    "severity:concept code:concept bodySite:concept onsetDateTime:year abatementDateTime:year",
    "Procedure": "status category:concept code:concept bodySite:concept outcome:concept "
    "performedDateTime:year performedPeriod:period",
    "MedicationRequest": "status intent doNotPerform medicationCodeableConcept:concept "
    f"authoredOn:year {_under('dosageInstruction', _DOSE)}",
    "MedicationStatement": "status medicationCodeableConcept:concept effectiveDateTime:year "
    f"effectivePeriod:period {_under('dosage', _DOSE)}",
    "MedicationAdministration": "status medicationCodeableConcept:concept "
    "effectiveDateTime:year effectivePeriod:period dosage/route:concept dosage/dose:quantity",
    "Immunization": "status statusReason:concept vaccineCode:concept occurrenceDateTime:year "
    "primarySource doseQuantity:quantity",
    "AllergyIntolerance": "clinicalStatus:concept verificationStatus:concept type category "
    "criticality code:concept recordedDate:year reaction/manifestation:concept "
    "reaction/severity",
    "DiagnosticReport": "status category:concept code:concept effectiveDateTime:year "
    "effectivePeriod:period conclusionCode:concept",
    "Encounter": "status class:coding type:concept serviceType:concept period:period",
    "ImagingStudy": "status modality:coding numberOfSeries numberOfInstances started:year "
    "series/modality:coding series/bodySite:coding series/numberOfInstances",
    "CarePlan": "status intent category:concept period:period "
    "activity/detail/status activity/detail/code:concept",
    "Goal": "lifecycleStatus achievementStatus:concept category:concept startDate:year",
    "ServiceRequest": "status intent doNotPerform category:concept code:concept authoredOn:year",
    "Claim": "status type:concept use created:year item/productOrService:concept",
    "ExplanationOfBenefit": "status type:concept use created:year outcome "
    "item/productOrService:concept",
}
"""Resource type -> what may be shown: ``path`` or ``path:shape``, without array indexes."""

DICOM_ATTRIBUTES = words(
    """
    00080016 00080060 00180015 00180050 00180060 00180088 00181151 00185100 00280002 00280004
    00280008 00280010 00280011 00280030 00280100 00280101 00280102 00280103 00281050 00281051
    00281052 00281053 00282110
    """
)
"""SOP class, modality, body part, geometry of acquisition and of the pixels; nothing else."""

_INDEX = re.compile(rb"/\d+(?=/|$)")
_SCALAR = re.compile(rb"true|false|-?\d{1,12}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,3})?")
_TOKEN = re.compile(
    rb'"[A-Za-z0-9][A-Za-z0-9 ._:/^+%(){}\[\]*#&-]{0,99}"|"[<>]=?"|"%"|"[{\[(][^" ]{1,40}"'
)
_LONG_NUMBER = re.compile(rb"\d{11}")
_LONG_CODE_SYSTEMS = (b'"http://snomed.info/sct"', b'"urn:iso:std:iso:11073:10101"')


@dataclass(frozen=True, slots=True)
class Deidentified:
    """Fields of the second commitment, and how they are found."""

    kind: str
    code_system: str
    code: str
    fields: tuple[Field, ...]
    dependencies: tuple[tuple[bytes, bytes], ...]


def deidentify(content: Content, year: int) -> Deidentified | None:
    """The record without identity as of ``year``, or None where no rule is for its kind.

    ``year`` bounds the age that a year of birth may tell; the same year gives the same fields.
    """
    if content.id.startswith("study/"):
        fields = _dicom(content)
    elif content.kind in RULES:
        fields = [field for field in content.fields if _is_shown(content.kind, field.path)]
        fields = _without_telling_values(fields)
        if content.kind == "Patient":
            fields = [_band_of_age(field, year) for field in fields]
    else:
        return None
    shown = {field.value for field in fields}
    code = f'"{content.code}"'.encode()
    findable = code in shown or content.id.startswith("study/")
    return Deidentified(
        content.kind,
        content.code_system if findable else "",
        content.code if findable else "",
        tuple(fields),
        dependencies(fields),
    )


@cache
def _allowed(kind: str) -> frozenset[bytes]:
    paths = {"/resourceType"}
    for rule in RULES[kind].split():
        path, _, shape = rule.partition(":")
        parts = _SHAPES[shape or "plain"].split()
        for part in parts or [""]:
            paths.add(f"/{path}{'' if not part or part[0] == '~' else '/'}{part}")
    return frozenset(path.encode() for path in paths)


@lru_cache(maxsize=16_384)
def _is_shown(kind: str, path: bytes) -> bool:
    return _INDEX.sub(b"", path) in _allowed(kind)


def _without_telling_values(fields: list[Field]) -> list[Field]:
    """Drops values that no code, unit, number or date has, and whatever depends on them.

    A code that looks like a telephone or identity number is dropped unless its code system
    has codes of that length; a coded element is never kept without its system.
    """
    values = {field.path: field.value for field in fields}
    dropped = {field.path for field in fields if not _is_harmless(field, values)}
    if not dropped:
        return fields
    dropped |= {
        field.path for field in fields if field.path.rpartition(b"/")[0] in _parents(dropped)
    }
    return [field for field in fields if field.path not in dropped]


def _parents(paths: set[bytes]) -> set[bytes]:
    return {parent for path in paths if (parent := path.rpartition(b"/")[0])}


def _is_harmless(field: Field, values: dict[bytes, bytes]) -> bool:
    value = field.value
    if not value.startswith(b'"'):
        return _SCALAR.fullmatch(value) is not None
    if not _TOKEN.fullmatch(value):
        return False
    parent, _, name = field.path.rpartition(b"/")
    if name == b"code" and parent:
        system = values.get(parent + b"/system")
        if system is None:
            return False
        if system in _LONG_CODE_SYSTEMS:
            return True
    # A system may be an object identifier, whose arcs are no numbers of people.
    return name == b"system" or _LONG_NUMBER.search(value) is None


def _band_of_age(field: Field, year: int) -> Field:
    if field.path != b"/birthDate~year":
        return field
    born = int(field.value.strip(b'"'))
    if year - born >= AGE_BAND_FROM - 1:
        return Field(b"/birthDate~band", BAND)
    return field


def _dicom(content: Content) -> list[Field]:
    """Allowed attributes, each instance under its number in the order of the UIDs."""
    numbers: dict[bytes, int] = {}
    fields = [Field(b"/resourceType", b'"ImagingStudy"')]
    for field in sorted(content.fields, key=lambda field: field.path):
        _, instance, attribute = field.path.split(b"/", 2)
        number = numbers.setdefault(instance, len(numbers) + 1)
        if attribute.decode() in DICOM_ATTRIBUTES:
            fields.append(Field(b"/instance/%d/%s" % (number, attribute), field.value))
    return fields
