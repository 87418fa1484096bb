"""De-identified records: what the rules of the ``deidentified`` view leave of a record. Pure.

Allow-list: an element that no rule names is dropped, so a new element of a new release of FHIR is
dropped too; so is a value that does not have the form its rule asks for. Dates become years.
Whoever is, or becomes in the year of the release, 90 or older has no year of birth but a band.
Instances of a DICOM study are numbered instead of named by UID.
"""

import re
from dataclasses import dataclass

from ledger.commitment import Field
from ledger.light.view_rules import BAND, DICOM, YEAR, ViewRules
from nodes.gateway.fhir import dependencies
from nodes.gateway.pixel_risk import pixel_risk
from nodes.gateway.records import Content

AGE_BAND_FROM = 90

_UNITS_OF_YEARS = (b'"a"', b'"yr"', b'"year"', b'"years"')
_STUDY = "study/"
_FRAME = b"frame/"


@dataclass(frozen=True, slots=True)
class Deidentified:
    """Fields of the second commitment, and how they are found."""

    kind: str
    code_system: str
    code: str
    fields: tuple[Field, ...]
    dependencies: tuple[tuple[bytes, bytes], ...]


def deidentify(content: Content, year: int, rules: ViewRules) -> Deidentified | None:
    """The record without identity as of ``year``, or None where the rules show nothing of it.

    ``year`` bounds the age that a date may tell; the same year and rules give the same fields.
    """
    is_study = content.id.startswith(_STUDY)
    kind = DICOM if is_study else content.kind
    values = {field.path: field.value for field in content.fields}
    shown = {
        path: value
        for path, value in (_numbered(values) if is_study else values).items()
        if _is_shown(rules, kind, path)
    }
    fields = _banded(_well_formed(rules, kind, shown), year)
    if not fields.keys() - {b"/resourceType"}:
        return None
    code = f'"{content.code}"'.encode()
    findable = is_study or code in fields.values()
    made = [Field(*item) for item in fields.items()]
    return Deidentified(
        content.kind,
        content.code_system if findable else "",
        content.code if findable else "",
        tuple(made),
        dependencies(made),
    )


def _is_shown(rules: ViewRules, kind: str, path: bytes) -> bool:
    """Exact values where the rules show them; of dates that they coarsen, the year alone."""
    exact, _, twin = path.partition(b"~")
    if not twin:
        return rules.shows(kind, path)
    return twin == YEAR.encode() and rules.decide(kind, exact).action == YEAR


def _well_formed(rules: ViewRules, kind: str, fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Without values of another form than their rule's, and without what depends on them.

    A code goes with its system, a quantity with its unit: none is kept without the other.
    """
    dropped = {path for path in fields if not rules.allows(kind, path, fields)}
    dropped |= {path for path in fields if _lacks_unit(path, fields)}
    parents = {parent for path in dropped if (parent := path.rpartition(b"/")[0])}
    if kind == DICOM:
        parents = set()  # attributes of one instance do not depend on each other
    return {
        path: value
        for path, value in fields.items()
        if path not in dropped and path.rpartition(b"/")[0] not in parents
    }


def _lacks_unit(path: bytes, fields: dict[bytes, bytes]) -> bool:
    parent, _, name = path.rpartition(b"/")
    return name == b"value" and not {parent + b"/code", parent + b"/currency"} & fields.keys()


def _banded(fields: dict[bytes, bytes], year: int) -> dict[bytes, bytes]:
    """Without what tells an age of 90 or more: years are dropped, ages and birth banded."""
    result = {}
    for path, value in fields.items():
        if path.endswith(b"~year") and year - int(value.strip(b'"')) >= AGE_BAND_FROM - 1:
            if path == b"/birthDate~year":
                result[b"/birthDate~band"] = BAND
        elif path.endswith(b"/value") and _is_old_age(path, value, fields):
            result[path + b"~band"] = BAND
        else:
            result[path] = value
    return result


def _is_old_age(path: bytes, value: bytes, fields: dict[bytes, bytes]) -> bool:
    unit = fields.get(path.removesuffix(b"value") + b"code")
    return unit in _UNITS_OF_YEARS and re.match(rb"(9\d|\d{3,})(\D|$)", value) is not None


def _numbered(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Fields of a study, each instance under its number in the order of the UIDs.

    Without the frames of images whose pixels may show a person.
    """
    instances: dict[bytes, dict[bytes, bytes]] = {}
    for path in sorted(fields):
        _, instance, attribute = path.split(b"/", 2)
        instances.setdefault(instance, {})[attribute] = fields[path]
    result = {}
    for number, attributes in enumerate(instances.values(), 1):
        refused = pixel_risk(attributes) is not None
        for attribute, value in attributes.items():
            if not (refused and attribute.startswith(_FRAME)):
                result[b"/instance/%d/%s" % (number, attribute)] = value
    return result
