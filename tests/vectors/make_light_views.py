"""The vectors of view rules and of sealed rows: cases for ``make_light``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger import codec
from ledger.crypto import sealing
from ledger.light.view_rules import RULES_BYTES_MAX, ViewRules
from ledger.primitives import ZERO_HASH
from ledger.types.entries import VIEWS, StatusChange, encode_view_hashes
from nodes.view_rules.files import rule_files
from tests.vectors import fixed
from tests.vectors.make_light_edges import book_edges

if TYPE_CHECKING:
    from tests.vectors.make_light import Cases

VIEWS_FILE = Path(__file__).resolve().parent / "views.json"
NOTES: dict[str, Any] = {"id": "notes", "kinds": ["*"], "action": "hide", "paths": ["**/note/**"]}
FILE: dict[str, Any] = {
    "view": "resident",
    "version": 1,
    "texts": {"notes": {"en": "Hidden.", "zh": "隐藏。"}},
    "forms": {"word": '"[a-z]+"', "any": ".*", "end": "a$.?"},
    "terms": {"urn:a": "[^]]\\.?\\d{1,2}", "urn:b/*": "x|y"},
    "never": ["\\d{5}"],
    "shapes": {"pair": ["one:word", "two", "three:other"], "other": ["x.y", "*z:any"]},
    "rules": [
        {
            "id": "state",
            "kinds": ["Goal"],
            "action": "show",
            "paths": ["a/**/b*", "c:pair", "d:code", "system:system", "end:end"],
        },
        NOTES,
        {"id": "notes", "kinds": ["Flag", "DICOM"], "action": "year", "paths": ["start"]},
    ],
    "otherwise": {"id": "rest", "action": "show"},
}
"""A rule file that has one of everything."""
ODD: dict[str, Any] = {
    "rules": [
        {"id": "word", "kinds": ["Goal"], "action": "show", "paths": [":word"]},
        {"id": "all", "kinds": ["Flag"], "action": "show", "paths": ["a", "**"]},
        NOTES,
    ],
}
"""A path without a name, and a rule that leaves nothing to those below it."""
REFUSED: dict[str, dict[str, Any]] = {
    "another view": {"view": "everything"},
    "version 0": {"version": 0},
    "a version that is a truth": {"version": True},
    "a version that is a text": {"version": "1"},
    "no rules": {"rules": None},
    "an empty rule": {"rules": [{}]},
    "another action": {"rules": [NOTES | {"action": "blur"}]},
    "a form that is not there": {"rules": [NOTES | {"paths": ["a:nothing"]}]},
    "a form that is not there beside one that is": {"rules": [NOTES | {"paths": ["b", "a:no"]}]},
    "texts that are pairs": {"texts": [["notes", {"en": "Hidden."}]]},
    "a form of any space": {"forms": FILE["forms"] | {"space": "\\s+"}},
    "a form of no space": {"forms": FILE["forms"] | {"full": "\\S+"}},
    "a form with the end of a text": {"forms": FILE["forms"] | {"end": "a\\Z"}},
    "a form with the beginning of a text": {"never": ["\\Aa"]},
    "paths that are a text": {"rules": [NOTES | {"paths": "a"}]},
    "a path that is a number": {"rules": [NOTES | {"paths": [1]}]},
    "a kind that is a number": {"rules": [NOTES | {"kinds": [1]}]},
    "no texts": {"texts": {}},
    "texts that are a list": {"texts": ["notes"]},
    "a text too many": {"texts": FILE["texts"] | {"other": {}}},
    "a form that is no pattern": {"forms": FILE["forms"] | {"word": "("}},
    "a shape in itself": {"shapes": {"pair": ["x:pair"]}},
    "a shape that is a text": {"shapes": FILE["shapes"] | {"other": "xy"}},
    "a shape of a number": {"shapes": FILE["shapes"] | {"other": [1]}},
    "an unused shape that is none": {"shapes": FILE["shapes"] | {"more": 1}},
    "shapes that are null": {"shapes": None},
    "a text that is a number": {"texts": {"notes": {"en": 1}}},
    "a rest whose id is a number": {"otherwise": {"id": 1, "action": "show"}},
    "never that is a text": {"never": "ab"},
    "never that is null": {"never": None},
    "forms that are null": {"forms": None},
    "hidden otherwise, without a text": {"otherwise": {"id": "rest", "action": "hide"}},
}
TEXT = json.dumps(FILE)
BROKEN = {
    "nothing": "",
    "a list": "[]",
    "a number with a point": TEXT.replace('"version": 1', '"version": 1.0'),
    "a number with an exponent": TEXT.replace('"version": 1', '"version": 1e0'),
    "no number": TEXT.replace('"version": 1', '"version": 1, "more": NaN'),
    "a name twice": TEXT.replace('"version": 1', '"version": 1, "version": 1'),
    "a name without a value": TEXT.replace('"version": 1', '"version": 1, "more" 1'),
    "a name that is a number": TEXT.replace('"version": 1', '"version": 1, 2: 2'),
    "an unknown word": TEXT.replace('"version": 1', '"version": 1, "more": none'),
    "deep": "[" * 10_000,
    "a byte order mark": "\ufeff" + TEXT,
    "two values": TEXT + TEXT,
    "a comma at the end": TEXT[:-1] + ",}",
    "no end": TEXT[:-1],
    "a line in a text": TEXT.replace("Hidden.", "Hid\nden."),
    "a zero before a number": TEXT.replace('"version": 1', '"version": 01'),
    "a remark": TEXT + " // all",
    "no texts": json.dumps({name: FILE[name] for name in FILE if name != "texts"} | {"rules": []}),
}
DECIDED = [
    ("Goal", "/a/b"), ("Goal", "/a/0/x/3/y/bcd/0"), ("Goal", "/c/one"), ("Goal", "/c/0/two"),
    ("Goal", "/c"), ("Goal", "/c/two/three"), ("Goal", "/c/three/x.y"), ("Goal", "/c/three/xzy"),
    ("Goal", "/c/three/zzz"), ("Goal", "/note"), ("Goal", "/x/note/2/text"), ("Goal", "/notes"),
    ("Goal", "/a/note/b"), ("Flag", "/a/note/b"), ("DICOM", "/note"), ("Flag", "/start"),
    ("Flag", "/start~year"), ("Flag", "/start~month"), ("Flag", "/start~band"),
    ("Flag", "/note~year"), ("Goal", "/start~month"), ("Goal", "/start~surprise"), ("Goal", ""),
    ("Goal", "/c/12345678/one"), ("Goal", "/c/1234567/one"), ("Goal", "/c/\uff11/one"),
    ("Goal", "/a\n/b"), ("Goal", "/c/one\n"), ("Goal", "/c/one/0\n"),
]  # fmt: skip
VALUES = {
    "a word": ("/c/one", '"word"'),
    "no word": ("/c/one", '"Word"'),
    "a word and a line": ("/c/one", '"word"\n'),
    "any": ("/c/three/z", '"\u2028\r"'),
    "any but a line": ("/c/three/z", '"\n"'),
    "before the last line": ("/end", "a\n"),
    "what never is": ("/c/three/z", '"12345"'),
    "no form": ("/c/two", '"12345"'),
    "a year": ("/c/two~year", '"2020"'),
    "a month": ("/c/two~month", '"2020-01"'),
    "a day": ("/c/two~month", '"2020-01-01"'),
    "a band": ("/c/two~band", '"90 or older"'),
    "another band": ("/c/two~band", '"80 or older"'),
}


def view_cases(cases: "Cases") -> None:
    """Rule files read and refused, what they decide, and the book of them."""
    everything = [json.dumps(FILE, ensure_ascii=False).encode()]
    cases.accept("one of everything", "view rules", everything)
    cases.accept("escaped and spread out", "view rules", [json.dumps(FILE, indent=2).encode()])
    for name, changes in REFUSED.items():
        data = json.dumps(FILE | changes).encode()
        cases.refuse("NotCanonical", name, "view rules", [data])
    for name, text in BROKEN.items():
        cases.refuse("NotCanonical", name, "view rules", [text.encode()])
    no_utf8 = TEXT.encode().replace(b"Hidden.", b"Hidden\xff")
    cases.refuse("NotCanonical", "no UTF-8", "view rules", [no_utf8])
    deep = TEXT.replace('"version": 1', f'"version": 1, "more": {"[" * 99}0{"]" * 99}')
    cases.accept("more, as deep as may be", "view rules", [deep.encode()])
    spaces = RULES_BYTES_MAX - len(TEXT)
    cases.accept("as many bytes as allowed", "padded rules", TEXT.encode(), spaces)
    cases.refuse("TooLarge", "a byte too many", "padded rules", TEXT.encode(), spaces + 1)
    odd = [json.dumps(FILE | ODD).encode()]
    for kind in ("Goal", "Flag"):
        cases.accept(f"odd rules that hide {kind}", "hiding", odd, kind.encode())
    for path in ("/", "/:word", "~x", "~year"):
        cases.accept(f"odd {path!r}", "decision", odd, b"Goal", path.encode())
    for kind, path in DECIDED:
        name = f"{kind} {path!r}"
        cases.accept(name, "decision", everything, kind.encode(), path.encode())
    cases.accept("bytes that are no text", "decision", everything, b"Goal", b"/c/\xff\xe4\xb8/x")
    for kind in ("Goal", "Flag", "DICOM"):
        cases.accept(f"hiding {kind}", "hiding", everything, kind.encode())
    goal = (b"/resourceType", b'"Goal"')
    for name, (path, value) in VALUES.items():
        cases.accept(name, "allowed", everything, [goal, (path.encode(), value.encode())])
    for system, code in (
        ("urn:a", "a.12"), ("urn:a", "]1"), ("urn:b/any", "x"), ("urn:b/any", "xy"),
        ("urn:b", "x"), ("urn:c", "x"),
    ):  # fmt: skip
        fields = [("/system", f'"{system}"'), ("/d", f'"{code}"')]
        pairs = [(path.encode(), value.encode()) for path, value in fields]
        cases.accept(f"{code} of {system}", "allowed", everything, [goal, *pairs])
    shipped_cases(cases)
    book_cases(cases)


def shipped_cases(cases: "Cases") -> None:
    """The decisions of ``views.json`` by the files that are shipped."""
    recorded = json.loads(VIEWS_FILE.read_text(encoding="utf-8"))
    files = {json.loads(data)["view"]: data for data in rule_files().values()}
    for view in VIEWS:
        one = [files[view]]
        cases.accept(f"shipped {view}", "view rules", one)
        for kind, decisions in recorded["decisions"][view].items():
            cases.accept(f"{view} hides {kind}", "hiding", one, kind.encode())
            for path in decisions:
                name = f"{view} {kind} {path}"
                cases.accept(name, "decision", one, kind.encode(), path.encode())
    fields = {"/resourceType": '"Observation"'} | recorded["fields of an Observation"]
    pairs = [(path.encode(), value.encode()) for path, value in fields.items()]
    cases.accept("forms of an Observation", "allowed", [files["deidentified"]], pairs)


def book_cases(cases: "Cases") -> None:
    """Rules in force and before, not known, and of another view or version."""
    first, second = (json.dumps(FILE | {"version": i}).encode() for i in (1, 2))
    hashes = [ViewRules.decode(data).hash for data in (first, second)]
    both, one = encode_view_hashes(tuple(hashes)), encode_view_hashes((hashes[0],))
    turned, view = encode_view_hashes(tuple(hashes[::-1])), b"resident"
    cases.accept("the newest", "rules in force", view, both, [first, second])
    cases.accept("the only", "rules in force", view, one, [first, second])
    cases.accept("the first of two", "rules of", view, both, [first], hashes[0])
    for error, name, value, files in (
        ("UnknownRules", "the newest is not known", both, [first]),
        ("UnknownRules", "the chain has none", None, [first]),
        ("UnknownRules", "an empty list", encode_view_hashes(()), [first]),
        ("WrongView", "versions turned", turned, [first, second]),
        ("NotCanonical", "no list", b"\x00", [first]),
        ("OutOfRange", "a short hash", codec.encode([bytes(31)]), [first]),
    ):
        cases.refuse(error, name, "rules in force", view, value, files)
    cases.refuse("WrongView", "another view", "rules in force", b"clinical", both, [first])
    cases.refuse("WrongView", "never in force", "rules of", view, one, [first, second], hashes[1])
    cases.refuse("UnknownRules", "a file is missing", "rules of", view, both, [first], hashes[1])
    cases.refuse("WrongView", "none at all", "rules of", view, None, [], ZERO_HASH)
    book_edges(cases)


def sealed_cases(cases: "Cases") -> None:
    """Rows opened with their own keys, and with others."""
    row = fixed.row()
    key = sealing.row_key(fixed.GROUP_KEY, row.sealed)
    cases.accept("a row", "sealed", row.encode(), key)
    other = sealing.row_key(fixed.GROUP_KEY, fixed.row(2).sealed)
    cases.refuse("SealBroken", "the key of another row", "sealed", row.encode(), other)
    change = StatusChange(row.member, row.patient, row.hash, "erased").encode()
    cases.refuse("NotCanonical", "no row", "sealed", change, key)
    plain = ["Observation", "urn:local", "1", "", "place", None]
    for name, metadata in {
        "texts without numbers": codec.encode(["Other", *plain[1:]]),
        "an index": codec.encode([22, 1, "1", "2020", "place", "index"]),
    }.items():
        cases.accept(name, "sealed", *sealed_row(metadata))
    for error, name, metadata in (
        ("NotCanonical", "a term as text", codec.encode(plain)),
        ("NotCanonical", "five parts", codec.encode(plain[1:])),
        ("NotCanonical", "a part of bytes", codec.encode([0, 0, b"1", "", "", None])),
        ("NotCanonical", "nothing sealed", b""),
        ("TooLarge", "a number that no term has", codec.encode([2**40, *plain[1:]])),
    ):
        found = sealed_row(metadata)
        cases.refuse(error, name, "sealed", *found)
    for size in (0, 12, 27, len(row.sealed) - 1):
        cut = replace(row, sealed=row.sealed[:size]).encode()
        cases.refuse("SealBroken", f"{size} bytes", "sealed", cut, key)
    moved = replace(row, root=fixed.named_hash("other")).encode()
    cases.refuse("SealBroken", "another root", "sealed", moved, key)
    given = replace(row, patient=fixed.patient(2)).encode()
    cases.refuse("SealBroken", "another patient", "sealed", given, key)


def sealed_row(metadata: bytes) -> tuple[bytes, bytes]:
    """A row with these metadata, and its key."""
    row = fixed.row()
    sealed = sealing.seal(fixed.GROUP_KEY, bytes(12), row.patient, row.root, metadata)
    key = sealing.row_key(fixed.GROUP_KEY, sealed)
    return replace(row, sealed=sealed).encode(), key
