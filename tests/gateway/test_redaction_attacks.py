"""What an attacker gets out of redacted records: no better than chance, and the attacks do work.

Each attack is run twice: against what is disclosed, and against a broken scheme that it must
beat, so that a pass says something.
"""

import gzip
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import sqrt
from pathlib import Path

import pytest

from ledger.commitment import (
    DEPENDENCIES_PATH,
    Disclosure,
    RecordCommitment,
    commit_record,
    disclose,
    field_leaf,
)
from ledger.primitives import Hash32, PatientKey
from nodes.gateway import fhir
from nodes.gateway.deidentify import deidentify
from nodes.gateway.records import Content
from nodes.gateway.records_db import Waiting
from nodes.gateway.releases import plan_batches
from nodes.view_rules.files import newest_rules
from tests.gateway.world import observation

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "fhir-r4"
RESIDENT, DEIDENTIFIED = newest_rules("resident"), newest_rules("deidentified")
SYSTEM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CODE = b"/medicationCodeableConcept/coding/0/code"
FEW_DRUGS = (
    *("197361", "197591", "308136", "310798", "310965", "311989", "312961"),
    *("313782", "314076", "314231", "562251", "617310", "665078", "745679"),
    *("748856", "849574", "856987", "860975", "866412", "993770"),
)
"""RxNorm codes of common drugs, for machines without the sample."""
SIGMAS = 5
"""A fair guess exceeds its mean by so many deviations once in three million runs."""


def content(resource: dict[str, object]) -> Content:
    return fhir.content(
        fhir.checked_resource(fhir.parse_json(json.dumps(resource).encode())), frozenset()
    )


def prescription(code: str) -> Content:
    return content(
        {
            "resourceType": "MedicationRequest",
            "id": "m",
            "status": "active",
            "intent": "order",
            "medicationCodeableConcept": {"coding": [{"system": SYSTEM, "code": code}]},
            "subject": {"reference": "Patient/p"},
            "authoredOn": "2020-01-02",
        }
    )


def sample_drugs() -> tuple[str, ...]:
    """All drug codes of the FHIR sample."""
    return tuple(sorted({code for record in sample_prescriptions() for code in _codes(record)}))


def _codes(resource: dict) -> Iterator[str]:
    for coding in resource.get("medicationCodeableConcept", {}).get("coding", []):
        yield coding["code"]


def sample_prescriptions() -> Iterator[dict]:
    for file in sorted(DATA.glob("*.json.gz")):
        for entry in json.loads(gzip.decompress(file.read_bytes()))["entry"]:
            if entry["resource"]["resourceType"] == "MedicationRequest":
                yield entry["resource"]


def committed(record: Content, name: str) -> RecordCommitment:
    secret = sha256(b"secret of " + name.encode()).digest()
    return commit_record(record.fields, record.dependencies, secret)


def resident(made: RecordCommitment, kind: str) -> Disclosure:
    return disclose(made, lambda path: RESIDENT.shows(kind, path), RESIDENT.view, RESIDENT.hash)


def guess(seen: Disclosure, drugs: Sequence[str], salts: Iterable[bytes]) -> str:
    """The drug one of whose leaves, under any salt tried, is nearest to a hidden leaf.

    Where a salt is right the distance is 0; else it is a fair draw among the drugs.
    """
    hidden = [int.from_bytes(leaf[:8]) for leaf in seen.hidden]
    tried = list(salts)

    def distance(code: str) -> int:
        leaves = (field_leaf(CODE, f'"{code}"'.encode(), salt) for salt in tried)
        return min(int.from_bytes(leaf[:8]) ^ h for leaf in leaves for h in hidden)

    return min(drugs, key=distance)


def known_salts(seen: Disclosure) -> list[bytes]:
    """Everything 16 bytes long that the reader holds, and what a careless scheme would use."""
    shown = [salt for _, _, salt in seen.shown]
    return [bytes(16), sha256(CODE).digest()[:16], *shown[:4], *(h[:16] for h in seen.hidden[:2])]


def exceeds_chance(hits: int, runs: int, chance: float) -> bool:
    return hits > runs * chance + SIGMAS * sqrt(runs * chance * (1 - chance))


DRUGS = [
    pytest.param(lambda: FEW_DRUGS, id="built-in"),
    pytest.param(
        sample_drugs,
        id="sample",
        marks=pytest.mark.skipif(
            not DATA.is_dir(), reason="the FHIR sample is not beside the project"
        ),
    ),
]


@pytest.mark.parametrize("source", DRUGS)
def test_G3_a_dictionary_of_all_drugs_finds_a_hidden_one_no_better_than_chance(
    source: Callable[[], tuple[str, ...]],
) -> None:
    drugs, runs = source(), 400
    assert len(drugs) >= 20
    chosen = random.Random(7)
    hits = told = 0
    for number in range(runs):
        code = chosen.choice(drugs)
        made = committed(prescription(code), f"{number}")
        seen = resident(made, "MedicationRequest")
        assert code.encode() not in b"".join(value for _, value, _ in seen.shown)
        hits += guess(seen, drugs, known_salts(seen)) == code
        # The attack works: with the salt of that one field, each guess is right.
        salt = next(salt for path, _, salt in made.fields if path == CODE)
        told += guess(seen, drugs, [*known_salts(seen), salt]) == code
    assert told == runs
    assert not exceeds_chance(hits, runs, 1 / len(drugs)), (hits, runs, len(drugs))


@pytest.mark.skipif(not DATA.is_dir(), reason="the FHIR sample is not beside the project")
def test_G3_no_leaf_of_the_dictionary_stands_in_any_prescription_of_the_sample() -> None:
    drugs = [f'"{code}"'.encode() for code in sample_drugs()]
    records = 0
    for number, resource in enumerate(sample_prescriptions()):
        made = committed(content(resource), f"sample {number}")
        seen = resident(made, "MedicationRequest")
        hidden = set(seen.hidden)
        assert hidden
        leaves = {field_leaf(CODE, drug, salt) for drug in drugs for salt in known_salts(seen)[:4]}
        assert not leaves & hidden
        records += 1
    assert records == 496


def test_G3_what_still_leaks_is_what_the_documentation_says() -> None:
    """Values of hidden fields change hashes alone; their number and dependencies are seen."""
    short, long = (
        resident(committed(prescription(code), "same"), "MedicationRequest")
        for code in ("1", "9" * 40)
    )
    assert len(short.hidden) == len(long.hidden) == 2
    assert len(short.encode()) == len(long.encode())
    changed = [one[0] for one, other in zip(short.shown, long.shown, strict=True) if one != other]
    # The pairs of leaves name hashes of hidden leaves, so they differ; their number does not.
    assert changed == [DEPENDENCIES_PATH]
    more = prescription("1")
    extra = replace(more.fields[0], path=b"/dosageInstruction/0/text")
    richer = resident(
        committed(replace(more, fields=(*more.fields, extra)), "same"), "MedicationRequest"
    )
    assert len(richer.hidden) == 3


# -- who is behind a released root ---------------------------------------------------------------


@dataclass(frozen=True)
class Registered:
    """What the chain shows of one record, and to whom it really belongs."""

    patient: PatientKey
    row_root: Hash32
    released_root: Hash32
    row_leaves: frozenset[bytes]
    released_leaves: frozenset[bytes]


def registered(patient: int, number: int) -> Registered:
    record = content(observation(number, patient))
    row = committed(record, f"row {patient} {number}")
    twin = deidentify(record, 2026, DEIDENTIFIED)
    assert twin is not None
    secret = sha256(f"twin {patient} {number}".encode()).digest()
    released = commit_record(twin.fields, twin.dependencies, secret)
    return Registered(
        PatientKey(sha256(b"patient %d" % patient).digest()),
        row.root,
        released.root,
        frozenset(row.leaves),
        frozenset(released.leaves),
    )


Linker = Callable[[Registered, int, Sequence[Registered]], PatientKey]
"""From a released root's place in its batch and the batch's patients to a guess; it may use
all of the chain's data, but not ``patient`` of the record that it is asked about."""


def by_nearest_root(asked: Registered, _place: int, rows: Sequence[Registered]) -> PatientKey:
    wanted = int.from_bytes(asked.released_root)
    return min(rows, key=lambda row: int.from_bytes(row.row_root) ^ wanted).patient


def by_order_of_rows(_asked: Registered, place: int, rows: Sequence[Registered]) -> PatientKey:
    return rows[place].patient


def by_order_of_roots(_asked: Registered, place: int, rows: Sequence[Registered]) -> PatientKey:
    return sorted(rows, key=lambda row: row.row_root)[place].patient


def by_order_of_patients(_asked: Registered, place: int, rows: Sequence[Registered]) -> PatientKey:
    return sorted(rows, key=lambda row: row.patient)[place].patient


def by_shared_leaf(asked: Registered, place: int, rows: Sequence[Registered]) -> PatientKey:
    """Looks for a leaf of the disclosed twin among the leaves of disclosed rows."""
    for row in rows:
        if asked.released_leaves & row.row_leaves:
            return row.patient
    return rows[place].patient


LINKERS = (
    by_nearest_root,
    by_order_of_rows,
    by_order_of_roots,
    by_order_of_patients,
    by_shared_leaf,
)
PATIENTS, RECORDS, K = 16, 30, 8
ALL = [registered(patient, number) for number in range(RECORDS) for patient in range(PATIENTS)]
BY_ROOT = {item.released_root: item for item in ALL}


def linked(linker: Linker, batches: Sequence[Sequence[Registered]]) -> int:
    hits = 0
    for batch in batches:
        # Who is in the batch is public at worst; in which order they were registered, too.
        rows = sorted(batch, key=ALL.index)
        for place, asked in enumerate(batch):
            hits += linker(asked, place, rows) == asked.patient
    return hits


def batches() -> list[list[Registered]]:
    waiting = [Waiting(str(n), item.patient, item.released_root) for n, item in enumerate(ALL)]
    return [[BY_ROOT[item.root] for item in batch] for batch in plan_batches(waiting, K)]


@pytest.mark.parametrize("linker", LINKERS)
def test_PRIV_2_no_linker_does_better_than_one_in_a_batch(linker: Linker) -> None:
    made = batches()
    runs = sum(map(len, made))
    assert runs == len(ALL)
    assert min(map(len, made)) >= K
    chance = len(made) / runs
    assert not exceeds_chance(linked(linker, made), runs, chance), linker.__name__


def test_PRIV_2_the_linkers_work_against_batches_that_are_made_badly() -> None:
    unsorted = [sorted(batch, key=ALL.index) for batch in batches()]
    assert linked(by_order_of_rows, unsorted) == len(ALL)
    one_secret = [
        [replace(item, released_leaves=item.row_leaves) for item in batch] for batch in batches()
    ]
    hits = 0
    for batch in one_secret:
        hits += sum(by_shared_leaf(item, 0, batch) == item.patient for item in batch)
    assert hits == len(ALL)
    same_root = [[replace(i, row_root=i.released_root) for i in batch] for batch in batches()]
    hits = sum(
        by_nearest_root(item, 0, batch) == item.patient for batch in same_root for item in batch
    )
    assert hits == len(ALL)
