"""Rules of a view as data: which fields of a record a reader is shown, and which rule hid others.

A rule file is JSON. The chain holds its hash, so a holder and a client apply the same rules: the
client refuses what is shown against them, and hidden fields where no rule hides any.

    {"view": "resident", "version": 1, "texts": {"<rule id>": {"en": "...", "zh": "..."}},
     "forms": {"<form>": "<regex>"}, "terms": {"<code system>": "<regex>"}, "never": ["<regex>"],
     "shapes": {"<shape>": ["<path>:<form>", ...]},
     "rules": [{"id": "...", "kinds": ["*"], "action": "hide", "paths": ["**/contained/**"]}],
     "otherwise": {"id": "...", "action": "show"}}

The first rule that names a path decides. Paths are without indexes of arrays; ``*`` in a name is
any text, ``**`` any number of names. ``year`` shows the coarser twin alone.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NoReturn, TypeAlias

from ledger.crypto.hashing import Tag, hash_tagged
from ledger.errors import NotCanonical, TooLarge
from ledger.primitives import Hash32
from ledger.types.entries import VIEWS

RULES_BYTES_MAX = 256 * 1024
SHOW, HIDE, YEAR = "show", "hide", "year"
DICOM = "DICOM"
"""Kind of a record without ``/resourceType``: a study."""
EVERY_KIND = "*"
SYSTEM_FORM, CODE_FORM = "system", "code"
"""Forms that every file has: a code system of ``terms``, and a code that its system allows."""
BAND = b'"90 or older"'
"""What a ``~band`` twin says; there is no other band."""

_WHAT = "view rules"
_INDEX = re.compile(r"/\d{1,7}(?=/|\Z)", re.ASCII)
_UNLIKE = re.compile(r"\\[sSZA]")
"""What the two languages read in two ways."""
_RESOURCE_TYPE = b"/resourceType"
_ANYWHERE = "(?:/[^/]+)*"
_TWINS = ("year", "month", "band")

_MALFORMED = (
    AttributeError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    re.error,
)

Json: TypeAlias = "str | int | list[Json] | dict[str, Json]"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a view does with one path, and the rule that says so."""

    rule: str
    action: str
    """SHOW, HIDE or YEAR."""
    form: str
    """Form that a shown value must have; empty for any."""


@dataclass(frozen=True, slots=True)
class _Rule:
    id: str
    kinds: frozenset[str]
    action: str
    paths: tuple[tuple[re.Pattern[str], str], ...]
    """Pattern of a path without indexes, and the form of its value."""


@dataclass(frozen=True, eq=False)
class ViewRules:
    """One rule file, decoded."""

    view: str
    version: int
    hash: Hash32
    """H("view-rules", bytes of the file): what the chain holds."""
    texts: Mapping[str, Mapping[str, str]]
    """Id of each rule that hides, to language, to what it hides, for people."""
    _rules: tuple[_Rule, ...] = field(repr=False)
    _otherwise: Decision = field(repr=False)
    _forms: Mapping[str, re.Pattern[str]] = field(repr=False)
    _terms: Mapping[str, re.Pattern[str]] = field(repr=False)
    _never: tuple[re.Pattern[str], ...] = field(repr=False)

    @staticmethod
    def decode(data: bytes) -> "ViewRules":
        """Raises NotCanonical or TooLarge for a file that is no rule file."""
        if len(data) > RULES_BYTES_MAX:
            raise TooLarge(_WHAT, len(data), RULES_BYTES_MAX)
        try:
            return _decoded(data)
        except _MALFORMED:
            raise NotCanonical(_WHAT, "they are malformed") from None

    def decide(self, kind: str, path: bytes) -> Decision:
        """What happens to the exact value at ``path`` of a record of ``kind``."""
        return _decide(self, kind, _INDEX.sub("", path.decode("utf-8", "replace")))

    def shows(self, kind: str, path: bytes) -> bool:
        """Whether a field is shown; ``path`` may be that of a twin."""
        exact, _, twin = path.partition(b"~")
        action = self.decide(kind, exact).action
        if not twin or action == HIDE:
            return action == SHOW
        if twin.decode("utf-8", "replace") not in _TWINS:
            return False
        return action == SHOW or twin in (b"year", b"band")

    def hiding(self, kind: str) -> tuple[str, ...]:
        """Ids of the rules that can hide something of a record of ``kind``, in their order."""
        found: dict[str, None] = {}
        for rule in self._rules:
            if _is_for(rule, kind):
                if rule.action != SHOW:
                    found[rule.id] = None
                if any(pattern.pattern == _ANYWHERE for pattern, _ in rule.paths):
                    return tuple(found)  # nothing comes to the rules below
        if self._otherwise.action == HIDE:
            found[self._otherwise.rule] = None
        return tuple(found)

    def allows(self, kind: str, path: bytes, fields: Mapping[bytes, bytes]) -> bool:
        """Whether the value at a shown ``path`` has the form that its rule asks for.

        ``fields`` are all of the record that are shown: a code is judged by its system.
        """
        exact, _, twin = path.partition(b"~")
        decision = self.decide(kind, exact)
        value = fields[path].decode("utf-8", "replace")
        if twin:
            return value == BAND.decode() if twin == b"band" else _is_date(value)
        if not decision.form:
            return True
        if any(pattern.search(value) for pattern in self._never):
            return False
        if decision.form == SYSTEM_FORM:
            return self._codes_of(value) is not None
        if decision.form == CODE_FORM:
            system = fields.get(exact.rpartition(b"/")[0] + b"/system", b"")
            codes = self._codes_of(system.decode("utf-8", "replace"))
            return codes is not None and codes.fullmatch(value[1:-1]) is not None
        return self._forms[decision.form].fullmatch(value) is not None

    def _codes_of(self, system: str) -> re.Pattern[str] | None:
        """What codes of a code system look like, given its JSON text; None where it is unknown."""
        name = system[1:-1]
        return self._terms.get(name) or self._terms.get(name.rpartition("/")[0] + "/*")


def kind_of(fields: Mapping[bytes, bytes]) -> str:
    """Kind of the record that has these fields: its resource type, or DICOM."""
    value = fields.get(_RESOURCE_TYPE)
    return DICOM if value is None else value.decode("utf-8", "replace").strip('"')


def _is_for(rule: _Rule, kind: str) -> bool:
    return kind in rule.kinds or (EVERY_KIND in rule.kinds and kind != DICOM)


@lru_cache(maxsize=65_536)
def _decide(rules: ViewRules, kind: str, path: str) -> Decision:
    for rule in rules._rules:
        if _is_for(rule, kind):
            for pattern, form in rule.paths:
                if pattern.fullmatch(path):
                    return Decision(rule.id, rule.action, form)
    return rules._otherwise


def _is_date(value: str) -> bool:
    return re.fullmatch(r'"\d{4}(-\d{2})?"', value, re.ASCII) is not None


def _decoded(data: bytes) -> ViewRules:
    file = json.loads(
        data.decode(), object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float
    )
    view, version, otherwise = file["view"], file["version"], file["otherwise"]
    if view not in VIEWS or type(version) is not int or version < 1:
        raise ValueError("view or version")
    shapes = {name: _texts(parts) for name, parts in file.get("shapes", {}).items()}
    forms = {name: _compiled(text) for name, text in file.get("forms", {}).items()}
    rules = tuple(_rule(item, shapes) for item in file["rules"])
    used = {form for rule in rules for _, form in rule.paths}
    if not used <= {"", SYSTEM_FORM, CODE_FORM, *forms}:
        raise ValueError("a form that is not there")
    last = Decision(_text(otherwise["id"]), _action(otherwise["action"]), "")
    hiding = {rule.id for rule in rules if rule.action != SHOW}
    if last.action != SHOW:
        hiding.add(last.rule)
    texts = {
        rule: {language: _text(text) for language, text in languages.items()}
        for rule, languages in file["texts"].items()
    }
    if hiding != set(texts):
        raise ValueError("a text for each rule that hides, and no other")
    return ViewRules(
        view,
        version,
        hash_tagged(Tag.VIEW_RULES, data),
        texts,
        rules,
        last,
        forms,
        {system: _compiled(text) for system, text in file.get("terms", {}).items()},
        tuple(_compiled(text) for text in _texts(file.get("never", []))),
    )


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name twice")
    return result


def _no_float(_text: str) -> NoReturn:
    raise ValueError("a number with a point")


def _compiled(text: str) -> re.Pattern[str]:
    if _UNLIKE.search(text):
        raise ValueError("not the same in the light client in JavaScript")
    return re.compile(text, re.ASCII)


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError("a text")
    return value


def _texts(value: Json) -> list[str]:
    if not isinstance(value, list):
        raise TypeError("a list")
    return [_text(item) for item in value]


def _action(name: str) -> str:
    if name not in (SHOW, HIDE, YEAR):
        raise ValueError("an action that is not there")
    return name


def _rule(item: Mapping[str, Json], shapes: Mapping[str, Sequence[str]]) -> _Rule:
    patterns = tuple(
        (_pattern(path), form)
        for entry in _texts(item["paths"])
        for path, form in _expanded(entry, shapes)
    )
    kinds = frozenset(_texts(item["kinds"]))
    return _Rule(_text(item["id"]), kinds, _action(_text(item["action"])), patterns)


def _expanded(entry: str, shapes: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """(path, form) of ``path``, ``path:form``, or of each part of ``path:shape``."""
    path, _, name = entry.partition(":")
    if name not in shapes:
        yield path, name
        return
    for part in shapes[name]:
        yield from _expanded(f"{path}/{part}", shapes)


def _pattern(path: str) -> re.Pattern[str]:
    parts = (
        _ANYWHERE if name == "**" else "/" + re.escape(name).replace(r"\*", "[^/]*")
        for name in path.split("/")
    )
    return re.compile("".join(parts))
