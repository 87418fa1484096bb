"""View rules: the engine, the shipped files, and what a client refuses because of them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.commitment import Disclosure, Field, RecordCommitment, commit_record, disclose
from ledger.errors import NotCanonical, PeerFault, ProofInvalid, TooLarge
from ledger.light.records import (
    AgainstRules,
    RuleBook,
    UnknownRules,
    WrongView,
    hiding_rule,
    record_under,
    rule_book,
)
from ledger.light.view_rules import DICOM, RULES_BYTES_MAX, ViewRules
from ledger.primitives import ZERO_HASH
from ledger.types.entries import encode_view_hashes
from nodes.gateway.fhir_types import RESOURCE_TYPES
from nodes.view_rules.files import known_rules, newest_rules, rule_files

RESIDENT, CLINICAL = newest_rules("resident"), newest_rules("clinical")
FILE: dict[str, Any] = {
    "view": "resident",
    "version": 1,
    "texts": {"notes": {"en": "Hidden.", "zh": "隐藏。"}},
    "forms": {"word": '"[a-z]+"'},
    "shapes": {"pair": ["one:word", "two"]},
    "rules": [
        {"id": "state", "kinds": ["Goal"], "action": "show", "paths": ["a/**/b*", "c:pair"]},
        {"id": "notes", "kinds": ["*"], "action": "hide", "paths": ["**/note/**"]},
    ],
    "otherwise": {"id": "rest", "action": "show"},
}


def rules(**changes: object) -> ViewRules:
    return ViewRules.decode(json.dumps(FILE | changes).encode())


def record(kind: str = "MedicationRequest") -> RecordCommitment:
    fields = {
        "/resourceType": kind,
        "/status": "active",
        "/medicationCodeableConcept/text": "simvastatin",
        "/dosageInstruction/0/text": "one a day",
        "/authoredOn": "2020-01-01",
    }
    made = [Field(path.encode(), f'"{value}"'.encode()) for path, value in fields.items()]
    return commit_record(made, (), bytes(32))


def view_of(made: RecordCommitment, view: ViewRules, kind: str = "MedicationRequest") -> Disclosure:
    return disclose(made, lambda path: view.shows(kind, path), view.view, view.hash)


@pytest.mark.parametrize(
    ("kind", "path", "rule"),
    [
        ("Goal", b"/a/b", "state"),
        ("Goal", b"/a/0/x/3/y/bcd/0", "state"),
        ("Goal", b"/c/one", "state"),
        ("Goal", b"/c/0/two", "state"),
        ("Goal", b"/c", "rest"),
        ("Goal", b"/c/two/three", "rest"),
        ("Goal", b"/note", "notes"),
        ("Goal", b"/x/note/2/text", "notes"),
        ("Goal", b"/notes", "rest"),
        ("Goal", b"/a/note/b", "state"),
        ("Flag", b"/a/note/b", "notes"),
        (DICOM, b"/note", "rest"),
    ],
)
def test_the_first_rule_that_names_a_path_decides(kind: str, path: bytes, rule: str) -> None:
    assert rules().decide(kind, path).rule == rule


def test_a_coarsened_element_shows_its_year_and_nothing_finer() -> None:
    item = {"id": "notes", "kinds": ["Goal"], "action": "year", "paths": ["startDate"]}
    found = rules(rules=[item])
    shown = {twin: found.shows("Goal", b"/startDate" + twin) for twin in (b"", b"~year", b"~month")}
    assert shown == {b"": False, b"~year": True, b"~month": False}
    assert found.shows("Flag", b"/startDate~month")
    assert not found.shows("Flag", b"/startDate~surprise")


@pytest.mark.parametrize(
    "changes",
    [
        {"view": "everything"},
        {"version": 0},
        {"version": True},
        {"version": "1"},
        {"rules": None},
        {"rules": [{}]},
        {"rules": [FILE["rules"][1] | {"action": "blur"}]},
        {"rules": [FILE["rules"][1] | {"paths": ["a:nothing"]}]},
        {"rules": [FILE["rules"][1] | {"paths": "a"}]},
        {"texts": {}},
        {"texts": FILE["texts"] | {"other": {}}},
        {"forms": {"word": "("}},
        {"shapes": {"pair": ["x:pair"]}},
        {"otherwise": {"id": "rest", "action": "hide"}},
    ],
)
def test_B1_what_is_no_rule_file_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(NotCanonical):
        rules(**changes)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
)
def test_B1_any_bytes_are_refused(data: bytes) -> None:
    for wrong in (data, b'{"version": 1.5}', b'{"a": 1, "a": 1}', b"[" * 10_000):
        with pytest.raises(PeerFault):
            ViewRules.decode(wrong)
    with pytest.raises(TooLarge):
        ViewRules.decode(bytes(RULES_BYTES_MAX + 1))


def test_each_shipped_file_is_found_by_its_hash_and_texts_are_in_both_languages() -> None:
    assert {(r.view, r.version) for r in known_rules().values()} == {
        ("clinical", 1),
        ("deidentified", 1),
        ("resident", 1),
    }
    for digest, data in rule_files().items():
        assert ViewRules.decode(data).hash == digest
        for texts in known_rules()[digest].texts.values():
            assert all(texts[language] for language in ("en", "zh"))
            assert set(texts) == {"en", "zh"}


MEDICATION_KINDS = sorted(kind for kind in RESOURCE_TYPES if kind.startswith("Medication"))


def test_which_rule_hid_what_is_certain_for_records_about_medication() -> None:
    assert len(MEDICATION_KINDS) == 6
    for kind in MEDICATION_KINDS:
        assert RESIDENT.hiding(kind) == ("medication-details",)
    assert RESIDENT.hiding(DICOM) == ("drugs-in-images",)
    assert newest_rules("deidentified").hiding("Consent") == ("not-named",)


def test_a_client_names_the_rule_and_a_full_copy_proves_it_for_each_field() -> None:
    made = record()
    hidden = record_under(made.root, view_of(made, RESIDENT), RESIDENT)
    assert (hidden.view, hidden.version, hidden.hidden_count) == ("resident", 1, 2)
    assert hidden.hiding_rules == ("medication-details",)
    full = view_of(made, CLINICAL)
    assert record_under(made.root, full, CLINICAL).hidden == ()
    assert hiding_rule(hidden, full, RESIDENT) == {
        b"/medicationCodeableConcept/text": "medication-details",
        b"/dosageInstruction/0/text": "medication-details",
    }
    with pytest.raises(ProofInvalid):
        hiding_rule(hidden, view_of(made, RESIDENT), RESIDENT)


def test_LIGHT_1_what_is_shown_or_hidden_against_the_rules_is_refused() -> None:
    made = record()

    def shown(path: bytes, view: ViewRules) -> Disclosure:
        """As the rules say, but for one field."""
        return disclose(
            made,
            lambda p: (p == path) != view.shows("MedicationRequest", p),
            view.view,
            view.hash,
        )

    drug, status, kind = b"/medicationCodeableConcept/text", b"/status", b"/resourceType"
    with pytest.raises(AgainstRules):
        record_under(made.root, shown(drug, RESIDENT), RESIDENT)
    with pytest.raises(AgainstRules):
        record_under(made.root, shown(drug, CLINICAL), CLINICAL)
    # Without its type a record passes for a study, of which other rules speak.
    with pytest.raises(AgainstRules):
        record_under(made.root, shown(kind, CLINICAL), CLINICAL)
    # A field too many that is hidden is found by the full copy.
    over_hidden = record_under(made.root, shown(status, RESIDENT), RESIDENT)
    with pytest.raises(AgainstRules):
        hiding_rule(over_hidden, view_of(made, CLINICAL), RESIDENT)
    with pytest.raises(WrongView):
        record_under(made.root, view_of(made, RESIDENT), CLINICAL)
    with pytest.raises(WrongView):
        record_under(made.root, replace(view_of(made, RESIDENT), rules=ZERO_HASH), RESIDENT)


def test_the_newest_rules_of_the_chain_are_in_force_and_older_ones_still_verify() -> None:
    old = rules()
    new = rules(version=2)
    known = {old.hash: old, new.hash: new}
    book = rule_book("resident", encode_view_hashes((old.hash, new.hash)), known)
    assert (book.in_force, book.of(old.hash)) == (new, old)
    with pytest.raises(WrongView):
        book.of(ZERO_HASH)
    with pytest.raises(WrongView):
        RuleBook("resident", [new.hash, old.hash], known)
    with pytest.raises(WrongView):
        RuleBook("clinical", [old.hash], known)
    unknown = RuleBook("resident", [old.hash, ZERO_HASH], known)
    assert unknown.of(old.hash) == old
    for ask in (lambda: unknown.in_force, lambda: rule_book("resident", None, known).in_force):
        with pytest.raises(UnknownRules):
            ask()
