"""FHIR R4 as commitments need it: strict JSON, fields, whose it is, what and when. Pure.

Numbers keep the text they were written with (1.50 stays 1.50). Everything that cannot become a
record raises ``Unusable`` with a reason; no other exception leaves this module.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import NoReturn, TypeAlias, cast
from unicodedata import normalize

from ledger.commitment import Field
from ledger.limits import COMMITMENT_FIELDS_MAX, FIELD_PATH_BYTES_MAX
from nodes.gateway.fhir_types import (
    CODE_ELEMENTS,
    CODE_ELEMENTS_DEFAULT,
    DATE_NAMES,
    EFFECTIVE_ELEMENTS,
    PARTICIPANT_TYPES,
    PATIENT_ELEMENT,
    PATIENTLESS_WITHOUT_REFERENCE,
    RESOURCE_TYPES,
    SIBLING_DEPENDENCIES,
    STATED_ELEMENTS,
    STATUS_ELEMENTS,
)
from nodes.gateway.records import Content, PatientIdentifier, Unusable

RESOURCE_DEPTH_MAX = 32
"""Nesting of one resource; real ones stay under 12."""
PARSED_BYTES_MAX = 96 * 1024 * 1024
"""Memory of the values of one document: 16 MB of ``{},{},`` would take half a gigabyte."""
LEFT_OUT = frozenset({"id", "meta", "text"})
"""Top-level elements that servers rewrite; they are not content (decision 9)."""
BUNDLE_TYPES = frozenset({"batch", "collection", "document", "message", "searchset", "transaction"})
"""Bundles that hold each record once, as it stands."""


class Number(str):
    """A JSON number exactly as it was written."""

    __slots__ = ()


Json: TypeAlias = "str | Number | bool | list[Json] | dict[str, Json] | None"
Resource: TypeAlias = "dict[str, Json]"

_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")
_DATE = re.compile(
    r"\d{4}-\d{2}(?:-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2})?)?)?",
    re.ASCII,
)
_REFERENCE = re.compile(r"([A-Za-z]+)/([A-Za-z0-9.\-]{1,64})(?:/_history/[A-Za-z0-9.\-]+)?$")
_LITERALS = {True: b"true", False: b"false", None: b"null"}


def _unique(pairs: list[tuple[str, Json]]) -> Resource:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Unusable("duplicate-name")
    return result


def _no_number(_text: str) -> NoReturn:
    raise Unusable("number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_float=Number,
    parse_int=Number,
    parse_constant=_no_number,
    strict=True,
)


def _parsed_bytes(data: bytes) -> int:
    """At most so much memory its values take: what little text can open and separate many of."""
    return 200 * data.count(b"{") + 72 * data.count(b"[") + 72 * data.count(b",")


def parse_json(data: bytes) -> Json:
    """The JSON value of ``data``: UTF-8 with or without a BOM, no member twice, no NaN.

    Raises Unusable: empty-file, not-utf8, not-json, duplicate-name, number, nested-too-deep,
    file-too-large.
    """
    if _parsed_bytes(data) > PARSED_BYTES_MAX:
        raise Unusable("file-too-large")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unusable("not-utf8") from None
    if not text.strip():
        raise Unusable("empty-file")
    if text[0] == "\0" or text[1:2] == "\0":
        raise Unusable("not-utf8")
    try:
        return cast(Json, _DECODER.decode(text))
    except RecursionError:
        raise Unusable("nested-too-deep") from None
    except ValueError:
        raise Unusable("not-json") from None


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource of a file, not yet looked into."""

    position: int
    """Place in the Bundle, from 1; 1 for a single resource."""
    full_url: str
    """What references within the Bundle may say; empty where there is none."""
    value: Json


def entries(document: Json) -> Iterator[Entry]:
    """The resources of a document: its entries if it is a Bundle, else itself.

    Raises Unusable: bundle-type, bad-bundle. An entry that holds no resource (a deletion,
    say) is passed on to fail by itself.
    """
    if not isinstance(document, dict) or document.get("resourceType") != "Bundle":
        yield Entry(1, "", document)
        return
    kind = document.get("type")
    if not isinstance(kind, str) or kind not in BUNDLE_TYPES:
        raise Unusable("bundle-type")
    items = document.get("entry", [])
    if not isinstance(items, list):
        raise Unusable("bad-bundle")
    for position, item in enumerate(items, 1):
        if not isinstance(item, dict):
            yield Entry(position, "", None)
            continue
        full_url = item.get("fullUrl", "")
        yield Entry(position, full_url if isinstance(full_url, str) else "", item.get("resource"))


def checked_resource(value: Json) -> Resource:
    """``value`` as a resource of a known type with an id.

    Raises Unusable: missing-type, unknown-type, nested-bundle, missing-id, bad-id.
    """
    kind = value.get("resourceType") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(kind, str):
        raise Unusable("missing-type")
    if kind not in RESOURCE_TYPES:
        raise Unusable("unknown-type")
    if kind == "Bundle":
        raise Unusable("nested-bundle")
    identity = value.get("id")
    if identity is None:
        raise Unusable("missing-id")
    if type(identity) is not str or not _ID.fullmatch(identity):
        raise Unusable("bad-id")
    return value


def flatten(resource: Resource) -> list[Field]:
    """Fields of a resource with their coarser twins, unsorted (spec, Record commitment).

    Raises Unusable: bad-name, nested-too-deep, path-too-long, too-many-elements, not-utf8.
    """
    fields: list[Field] = []
    try:
        for name, value in resource.items():
            if name not in LEFT_OUT:
                _walk(value, name, "/" + _checked_name(name), fields, 1)
    except UnicodeEncodeError:
        # An escaped lone surrogate is JSON, and still no text that UTF-8 can write.
        raise Unusable("not-utf8") from None
    if len(fields) >= COMMITMENT_FIELDS_MAX:
        raise Unusable("too-many-elements")
    return fields


def _checked_name(name: str) -> str:
    if not (name.isascii() and name.isidentifier()):
        raise Unusable("bad-name")
    return name


def _walk(value: Json, name: str, path: str, fields: list[Field], depth: int) -> None:
    kind = type(value)
    if kind is dict or kind is list:
        if depth >= RESOURCE_DEPTH_MAX:
            raise Unusable("nested-too-deep")
        if not value:
            fields.append(Field(_path(path), b"{}" if kind is dict else b"[]"))
        elif kind is dict:
            for member, item in cast(Resource, value).items():
                _walk(item, member, f"{path}/{_checked_name(member)}", fields, depth + 1)
        else:
            for index, item in enumerate(cast("list[Json]", value)):
                _walk(item, name, f"{path}/{index}", fields, depth + 1)
        return
    encoded_path = _path(path)
    if kind is str:
        text = cast(str, value)
        fields.append(Field(encoded_path, encode_basestring(text).encode()))
        # The cheap test first: most strings are no dates.
        if text[:4].isdigit():
            _add_twins(text, name, encoded_path, fields)
    elif kind is Number:
        fields.append(Field(encoded_path, cast(str, value).encode()))
    else:
        fields.append(Field(encoded_path, _LITERALS[cast("bool | None", value)]))


def _path(path: str) -> bytes:
    encoded = path.encode()
    if len(encoded) > FIELD_PATH_BYTES_MAX - len("~month"):
        raise Unusable("path-too-long")
    return encoded


def _add_twins(text: str, name: str, path: bytes, fields: list[Field]) -> None:
    if _DATE.fullmatch(text):
        fields.append(Field(path + b"~year", f'"{text[:4]}"'.encode()))
        fields.append(Field(path + b"~month", f'"{text[:7]}"'.encode()))
    elif len(text) == 4 and text.isascii() and name in DATE_NAMES:
        fields.append(Field(path + b"~year", f'"{text}"'.encode()))


def dependencies(fields: list[Field]) -> tuple[tuple[bytes, bytes], ...]:
    """Pairs (path, required path) that follow from STATUS_ELEMENTS and SIBLING_DEPENDENCIES."""
    paths = {field.path for field in fields}
    statuses = [path for path in paths if path.startswith(_STATUS) and b"~" not in path]
    pairs: list[tuple[bytes, bytes]] = []
    for path in paths:
        if path.startswith(_STATED):
            pairs.extend((path, status) for status in statuses)
        parent, _, name = path.rpartition(b"/")
        for required in _SIBLINGS.get(name, ()):
            sibling = parent + required
            if sibling in paths:
                pairs.append((path, sibling))
    return tuple(sorted(set(pairs)))


_STATUS = tuple(path.encode() for path in STATUS_ELEMENTS)
_STATED = tuple(path.encode() for path in STATED_ELEMENTS)
_SIBLINGS = {
    name.encode(): tuple(b"/" + required.encode() for required in names)
    for name, names in SIBLING_DEPENDENCIES.items()
}


def content(resource: Resource, national_index_systems: frozenset[str]) -> Content:
    """The record that ``resource`` is; raises Unusable."""
    kind = cast(str, resource["resourceType"])
    fields = flatten(resource)
    system, code = _code(resource, kind)
    return Content(
        id=f"{kind}/{resource['id']}",
        kind=kind,
        code_system=system,
        code=code,
        effective=_effective(resource),
        national_index=next(
            (
                normalize("NFC", identifier.value)
                for identifier in _identifiers(resource)
                if identifier.system in national_index_systems
            ),
            None,
        ),
        fields=tuple(fields),
        dependencies=dependencies(fields),
    )


def _code(resource: Resource, kind: str) -> tuple[str, str]:
    """System and code of the first coding that says what the record is, or two empty texts."""
    for name in CODE_ELEMENTS.get(kind, CODE_ELEMENTS_DEFAULT):
        element = resource.get(name)
        for concept in element if isinstance(element, list) else [element]:
            if not isinstance(concept, dict):
                continue
            codings = concept.get("coding", [concept])
            for coding in codings if isinstance(codings, list) else []:
                if isinstance(coding, dict):
                    system, code = coding.get("system"), coding.get("code")
                    if type(system) is str and type(code) is str:
                        return normalize("NFC", system), normalize("NFC", code)
    return "", ""


def _effective(resource: Resource) -> str:
    for path in EFFECTIVE_ELEMENTS:
        value: Json = resource
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if type(value) is str and len(value) <= 40:
            return normalize("NFC", value)
    return ""


@dataclass(frozen=True, slots=True)
class Subject:
    """How a record names its patient: by a reference, or by an identifier."""

    reference: str
    identifier: PatientIdentifier | None


def subject(resource: Resource) -> Subject:
    """Who the record says it is about; a Patient is about itself.

    Raises Unusable: no-patient, no-patient-reference, subject-no-patient.
    """
    kind = cast(str, resource["resourceType"])
    if kind == "Patient":
        return Subject(f"Patient/{resource['id']}", None)
    if kind in PARTICIPANT_TYPES:
        return _participant(resource)
    if kind not in PATIENT_ELEMENT:
        raise Unusable("no-patient")
    element = resource.get(PATIENT_ELEMENT[kind])
    if isinstance(element, list) and len(element) == 1:
        element = element[0]
    if element is None and kind in PATIENTLESS_WITHOUT_REFERENCE:
        raise Unusable("no-patient")
    if not isinstance(element, dict):
        raise Unusable("no-patient-reference")
    return _reference(element)


def _participant(resource: Resource) -> Subject:
    found = []
    participants = resource.get("participant")
    for item in participants if isinstance(participants, list) else []:
        actor = item.get("actor") if isinstance(item, dict) else None
        reference = actor.get("reference") if isinstance(actor, dict) else None
        if isinstance(reference, str) and "Patient/" in reference:
            found.append(Subject(reference, None))
    if len(found) != 1:
        raise Unusable("no-patient-reference" if not found else "ambiguous-patient")
    return found[0]


def _reference(element: Resource) -> Subject:
    reference = element.get("reference")
    if type(reference) is str and reference:
        match = _REFERENCE.search(reference)
        if match and match[1] != "Patient":
            raise Unusable("subject-no-patient")
        return Subject(reference, None)
    if element.get("type") not in (None, "Patient"):
        raise Unusable("subject-no-patient")
    found = _identifier(element.get("identifier"))
    if found is None:
        raise Unusable("no-patient-reference")
    return Subject("", found)


def patient_reference(reference: str) -> str | None:
    """``Patient/<id>`` of a relative or absolute reference, whatever its version."""
    match = _REFERENCE.search(reference)
    return f"Patient/{match[2]}" if match and match[1] == "Patient" else None


def _identifier(value: Json) -> PatientIdentifier | None:
    if not isinstance(value, dict):
        return None
    system, text = value.get("system", ""), value.get("value")
    if type(text) is not str or type(system) is not str or not text.strip():
        return None
    return PatientIdentifier(system, text)


def _identifiers(resource: Resource) -> list[PatientIdentifier]:
    """Current identifiers in the order written; what is marked ``old`` is left out."""
    items = resource.get("identifier")
    current = [
        item
        for item in (items if isinstance(items, list) else [items])
        if isinstance(item, dict) and item.get("use") != "old"
    ]
    return [found for found in map(_identifier, current) if found is not None]


def patient_identifiers(patient: Resource) -> list[PatientIdentifier]:
    """What a Patient is identified by, national or local, in the order written."""
    return _identifiers(patient)
