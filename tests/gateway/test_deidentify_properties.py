"""De-identification against anything: nothing unnamed is shown, nothing planted comes out."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.gateway import fhir
from nodes.gateway.deidentify import deidentify
from nodes.view_rules.files import newest_rules, rule_files

RULES = newest_rules("deidentified")
FILE: dict[str, Any] = json.loads(rule_files()[RULES.hash])
SYSTEMS = [system.replace("*", "v3-ActCode") for system in FILE["terms"]]
GOOD = {
    "system": "http://snomed.info/sct",
    "code": "271649006",
    "word": "final",
    "type": "",
    "flag": True,
    "number": 7,
    "comparator": "<",
    "currency": "CNY",
    "": "2020-05-06",
}
"""A value of each form."""


def named(kind: str) -> dict[str, str]:
    """Path without indexes to form, as the file says: read here by other means than the engine."""
    found: dict[str, str] = {}

    def add(path: str, form: str) -> None:
        if form not in FILE["shapes"]:
            found[path] = form
            return
        for part in FILE["shapes"][form]:
            name, _, inner = part.partition(":")
            add(f"{path}/{name}", inner)

    for rule in FILE["rules"]:
        if kind in rule["kinds"]:
            for entry in rule["paths"]:
                path, _, form = entry.partition(":")
                add(path, form)
    return found


KINDS = sorted({kind for rule in FILE["rules"] for kind in rule["kinds"]} - {"DICOM"})
NAMED = {kind: named(kind) for kind in KINDS}


def full(kind: str) -> dict[str, Any]:
    """A record of ``kind`` with every element that a rule names."""
    resource: dict[str, Any] = {}
    for path, form in NAMED[kind].items():
        at = resource
        *parents, last = path.split("/")
        for name in parents:
            at = at.setdefault(name, {})
        at[last] = GOOD[form]
    return resource | {"resourceType": kind, "id": "x"}


def shown(resource: dict[str, Any]) -> dict[str, str]:
    value = fhir.parse_json(json.dumps(resource).encode())
    record = fhir.content(fhir.checked_resource(value), frozenset())
    found = deidentify(record, 2026, RULES)
    fields = () if found is None else found.fields
    return {field.path.decode(): field.value.decode() for field in fields}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value can be planted: each leaf and each container."""
    if at and at != ("resourceType",) and at != ("id",):
        yield at
    items = value.items() if isinstance(value, dict) else ()
    for name, item in items:
        yield from places(item, (*at, name))


def with_planted(resource: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(resource))
    at = copy
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = value
    return copy


@st.composite
def identity_numbers(draw: st.DrawFn) -> str:
    """GB 11643: region, birth date, sequence, check digit."""
    region = draw(st.sampled_from(["110101", "310115", "440305", "650102", "999999"]))
    year = draw(st.integers(1900, 2026))
    month, day = draw(st.integers(1, 12)), draw(st.integers(1, 28))
    first = f"{region}{year}{month:02}{day:02}{draw(st.integers(0, 999)):03}"
    total = sum(int(digit) * pow(2, 17 - i, 11) for i, digit in enumerate(first))
    return first + "10X98765432"[total % 11]


MOBILES = st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True)
CARDS = st.from_regex(r"[A-Z][0-9]{8}", fullmatch=True)
CANARIES = identity_numbers() | MOBILES | CARDS
WRAPPINGS = st.sampled_from(["{}", "tel {}", "+86{}", "86{}", "{}^张三", "ID:{};", "-{}-"])


def planted(canary: str, wrapping: str) -> st.SearchStrategy[Any]:
    text = wrapping.format(canary)
    values: list[Any] = [text, [text], {"value": text}, [{"code": text, "system": text}]]
    values += [{"coding": [{"system": system, "code": canary}]} for system in SYSTEMS]
    values += [{"value": 1, "system": SYSTEMS[4], "code": canary}]
    values += [{"system": system, "code": canary} for system in SYSTEMS]
    if canary.isdigit():
        values += [int(canary), {"value": int(canary), "code": "m", "system": SYSTEMS[9]}]
    return st.sampled_from(values)


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from(KINDS), CANARIES, WRAPPINGS)
def test_PRIV_1_a_chinese_identifier_planted_anywhere_never_comes_out(
    data: st.DataObject, kind: str, canary: str, wrapping: str
) -> None:
    resource = full(kind)
    value = data.draw(planted(canary, wrapping))
    place = data.draw(st.sampled_from(list(places(resource))))
    extra = data.draw(st.booleans())
    where = (*place[:-1], "surprise") if extra else place
    text = " ".join(f"{p} {v}" for p, v in shown(with_planted(resource, where, value)).items())
    assert canary not in text


NAMES = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,11}", fullmatch=True) | st.sampled_from(
    sorted({part for paths in NAMED.values() for path in paths for part in path.split("/")})
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([*KINDS, "Consent", "Basic", "Questionnaire"]))
def test_no_element_without_a_rule_is_shown(data: st.DataObject, kind: str) -> None:
    resource = full(kind) if kind in KINDS else {"resourceType": kind, "id": "x"}
    for _ in range(data.draw(st.integers(1, 4))):
        options = [*places(resource), (data.draw(NAMES),)]
        resource = with_planted(resource, data.draw(st.sampled_from(options)), data.draw(VALUES))
    for path in shown(resource | {"resourceType": kind, "id": "x"}):
        exact, _, twin = re.sub(r"/\d+(?=/|~|$)", "", path)[1:].partition("~")
        assert exact in NAMED.get(kind, {}), path
        assert not (NAMED[kind][exact] == "" and twin == "")


def test_everything_that_a_rule_names_is_shown_where_it_is_well_formed() -> None:
    for kind in KINDS:
        paths = {path[1:].partition("~")[0] for path in shown(full(kind))}
        assert paths == set(NAMED[kind]), kind


@pytest.mark.parametrize(
    ("element", "kind"),
    [
        ("name", "names"),
        ("address", "geography smaller than a state"),
        ("birthDate", "dates"),
        ("telecom", "telephone, fax, electronic mail, web addresses"),
        ("identifier", "identity, social security, record, account, licence numbers"),
        ("photo", "full-face photographs"),
        ("contact", "household and relatives"),
        ("extension", "employer, ethnic group, biometrics and whatever else is added"),
        ("contained", "devices and vehicles"),
        ("generalPractitioner", "providers"),
        ("text", "free text"),
        ("maritalStatus", "household"),
    ],
)
def test_PRIV_1_safe_harbor_no_rule_names_these_of_a_patient(element: str, kind: str) -> None:
    patient = full("Patient") | {element: "1957-03-04" if element == "birthDate" else "canary"}
    found = shown(patient)
    assert not any("canary" in value for value in found.values()), kind
    assert set(found) <= {"/resourceType", "/gender", "/birthDate~year"}


@pytest.mark.parametrize("age", [89, 90, 104])
def test_PRIV_1_an_age_over_89_is_banded_wherever_it_stands(age: int) -> None:
    quantity = {"value": age, "code": "a", "system": "http://unitsofmeasure.org"}
    found = shown(full("Observation") | {"valueQuantity": quantity})
    assert (str(age) in found.values()) == (age < 90)
    assert ("/valueQuantity/value~band" in found) == (age >= 90)


def test_PRIV_1_a_year_that_tells_an_age_over_89_is_hidden() -> None:
    for year, kept in ((1936, False), (1937, False), (1938, True)):
        found = shown(full("Condition") | {"onsetDateTime": f"{year}-02-03"})
        assert ("/onsetDateTime~year" in found) == kept
        born = shown(full("Patient") | {"birthDate": f"{year}-02-03"})
        assert ("/birthDate~band" in born) != kept
