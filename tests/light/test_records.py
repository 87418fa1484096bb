"""What verified logs and disclosures mean: lists with their statuses, records, saved proofs."""

import random
from dataclasses import replace
from hashlib import sha256

import pytest

from ledger import codec
from ledger.commitment import Disclosure, Field, RecordCommitment, commit_record, disclose
from ledger.crypto import sealing
from ledger.crypto.sealing import SealBroken
from ledger.errors import NotCanonical, OutOfRange, PeerFault, ProofInvalid
from ledger.light.bundles import MembershipChange
from ledger.light.records import (
    ListedRow,
    PatientList,
    RuleBook,
    VerifiedRecord,
    WrongView,
    open_sealed,
    verify_access_log,
    verify_deidentified,
    verify_patient_list,
    verify_record,
)
from ledger.light.saved import (
    DisclosureUnplaced,
    SavedProof,
    SavedProofReport,
    verify_saved_proof,
)
from ledger.light.trust import HeaderFromTheFuture, MembershipUnknown, WrongChain
from ledger.light.verify import WrongKey
from ledger.primitives import MemberId
from ledger.types.entries import StatusChange, access_log, patient_log, release_log, view_key
from tests.light.kit import HOLDER, LIST, MAX_AGE_MS, OTHER_PATIENT, PATIENT, Chain, story
from tests.vectors import fixed

NOW = fixed.TIME_MS + 20_000
RELEASES = release_log(HOLDER)


def record(name: str) -> RecordCommitment:
    """A small medication record."""
    fields = [
        Field(b"/status", b'"active"'),
        Field(b"/quantity/value", b"1.50"),
        Field(b"/quantity/unit", b'"mg"'),
        Field(b"/note/0", b'"' + name.encode() + b'"'),
    ]
    pairs = [(b"/quantity/value", b"/quantity/unit")]
    return commit_record(fields, pairs, sha256(name.encode()).digest())


def shown(of: RecordCommitment, view: str = "resident") -> Disclosure:
    return disclose(of, lambda path: path != b"/note/0", view, RULES[view].hash)


RECORD = record("one")
RULES = fixed.VIEW_RULES
BOOK = RuleBook("deidentified", [RULES["deidentified"].hash], fixed.KNOWN_RULES)


def opened(row: ListedRow, disclosure: Disclosure) -> VerifiedRecord:
    return verify_record(row, disclosure, RULES["resident"])


def listed(chain: Chain) -> PatientList:
    bundle = chain.log_bundle(chain.commit(), LIST)
    return verify_patient_list(chain.trusted, bundle, PATIENT, NOW, MAX_AGE_MS)


def with_record(n: int = 4) -> Chain:
    """The story, a row for RECORD, and RECORD released."""
    chain = story(n)
    chain.append(LIST, replace(fixed.row(6), root=RECORD.root).encode())
    chain.append(RELEASES, RECORD.root)
    return chain


@pytest.mark.parametrize("n", [1, 4, 7])
def test_LIGHT_2_a_list_has_every_row_with_its_status(n: int) -> None:
    found = listed(story(n))
    assert [(row.index, row.status) for row in found.rows] == [
        (0, "superseded"),
        (1, "entered-in-error"),
        (2, None),
        (5, None),
    ]
    assert [row.row_hash for row in found.rows] == [row.row.hash for row in found.rows]
    assert found.header.height == 1


def test_LIGHT_2_the_empty_list_is_proved_too() -> None:
    chain = story(4)
    nobody = fixed.patient(77)
    bundle = chain.log_bundle(chain.commit(), patient_log(nobody))
    assert verify_patient_list(chain.trusted, bundle, nobody, NOW, MAX_AGE_MS).rows == ()


def test_a_status_is_about_every_copy_of_a_row() -> None:
    chain = story(4)
    chain.append(LIST, fixed.row(2).encode())
    assert [row.status for row in listed(chain).rows].count("entered-in-error") == 2


@pytest.mark.parametrize("order", [("erased", "superseded"), ("superseded", "erased")])
def test_the_most_severe_status_counts_whatever_came_last(order: tuple[str, str]) -> None:
    chain = story(4)
    third = fixed.row(3, member=1)
    for status in order:
        chain.append(LIST, StatusChange(third.member, PATIENT, third.hash, status).encode())
    assert listed(chain).rows[2].status == "erased"


def test_a_row_that_supersedes_marks_the_old_one_by_itself() -> None:
    chain = Chain(1)
    first = fixed.row(1)
    chain.append(LIST, first.encode(), fixed.row(2, supersedes=first.hash).encode())
    assert [row.status for row in listed(chain).rows] == ["superseded", None]


def test_a_record_shows_its_fields_and_counts_the_hidden_ones() -> None:
    row = listed(with_record()).rows[-1]
    verified = opened(row, shown(RECORD))
    assert verified.fields == {
        b"/status": b'"active"',
        b"/quantity/value": b"1.50",
        b"/quantity/unit": b'"mg"',
    }
    assert (verified.hidden_count, verified.view, verified.version) == (1, "resident", 1)


def test_LIGHT_1_records_that_are_refused() -> None:
    row, good = listed(with_record()).rows[-1], shown(RECORD)
    first = good.shown[0]
    wrong = [
        shown(record("two")),
        replace(good, shown=good.shown[1:]),
        replace(good, shown=good.shown[:-1]),
        replace(good, shown=good.shown[::-1]),
        replace(good, shown=(*good.shown, good.shown[-1])),
        replace(good, hidden=()),
        replace(good, hidden=(*good.hidden, fixed.named_hash("more"))),
        replace(good, hidden=good.hidden * 2),
        replace(good, shown=((first[0], first[1] + b"x", first[2]), *good.shown[1:])),
        replace(good, shown=((first[0] + b"x", first[1], first[2]), *good.shown[1:])),
        replace(good, shown=((first[0], first[1], bytes(16)), *good.shown[1:])),
        replace(good, shown=((first[0], first[1], b""), *good.shown[1:])),
    ]
    for disclosure in wrong:
        with pytest.raises(ProofInvalid):
            opened(row, disclosure)
    with pytest.raises(ProofInvalid):
        opened(listed(with_record()).rows[0], good)
    with pytest.raises(WrongView):
        opened(row, replace(good, rules=RULES["clinical"].hash))


def test_PRIV_2_a_released_record_verifies_against_its_root_alone() -> None:
    chain = with_record()
    bundle = chain.entry_bundle(chain.commit(), RELEASES, 9)
    good = shown(RECORD, "deidentified")

    def verify(disclosure: Disclosure, holder: MemberId = HOLDER) -> object:
        return verify_deidentified(chain.trusted, bundle, disclosure, holder, BOOK, NOW, MAX_AGE_MS)

    assert verify(good) == replace(
        opened(listed(with_record()).rows[-1], shown(RECORD)), view="deidentified"
    )
    with pytest.raises(WrongView):
        verify(shown(RECORD, "clinical"))
    with pytest.raises(WrongView):
        verify(replace(good, rules=RULES["resident"].hash))
    with pytest.raises(ProofInvalid):
        verify(shown(record("two"), "deidentified"))
    with pytest.raises(WrongKey):
        verify(good, fixed.hospital(1))


def test_a_release_that_is_no_root_is_refused() -> None:
    chain = story(4)
    chain.append(RELEASES, bytes(31))
    bundle = chain.entry_bundle(chain.commit(), RELEASES, 9)
    with pytest.raises(OutOfRange):
        verify_deidentified(
            chain.trusted, bundle, shown(RECORD, "deidentified"), HOLDER, BOOK, NOW, MAX_AGE_MS
        )


def test_ACC_1_the_access_log_names_every_reader() -> None:
    chain = story(4)
    second = replace(fixed.disclosed(), purpose="ETREAT")
    chain.append(access_log(PATIENT), second.encode())
    bundle = chain.log_bundle(chain.commit(), access_log(PATIENT))
    found = verify_access_log(chain.trusted, bundle, PATIENT, NOW, MAX_AGE_MS)
    assert found == (fixed.disclosed(), second)


def test_sealed_metadata_of_a_listed_row_open_with_its_key() -> None:
    rows = listed(story(4)).rows
    key = sealing.row_key(fixed.GROUP_KEY, rows[0].row.sealed)
    assert open_sealed(rows[0].row, key) == fixed.METADATA
    with pytest.raises(SealBroken):
        open_sealed(rows[1].row, key)


def saved(kind: str) -> tuple[bytes, SavedProof]:
    """Genesis bytes and a proof over a chain whose membership changed twice."""
    chain = with_record()
    chain.commit([0, 1, 2, 3, 4])
    chain.commit()
    chain.commit([1, 2, 3, 4])
    certified = chain.commit()
    bundle = {
        "list": chain.log_bundle(certified, LIST),
        "release": chain.entry_bundle(certified, RELEASES, 9),
        "access": chain.log_bundle(certified, access_log(PATIENT)),
        "state": chain.state_bundle(certified, b"parameters"),
        "absence": chain.state_bundle(certified, b"nothing"),
        "row": chain.entry_bundle(certified, LIST, 2),
    }[kind]
    disclosure = {
        "list": shown(RECORD),
        "release": shown(RECORD, "deidentified"),
    }.get(kind)
    key = bundle.key if kind in ("state", "absence") else bundle.state.key
    rules = None
    if disclosure is not None:
        rules = chain.state_bundle(certified, view_key(disclosure.view))
    proof = SavedProof(chain.genesis.chain_id, tuple(chain.changes), bundle, disclosure, key, rules)
    return chain.genesis.encode(), proof


def checked(genesis: bytes, data: bytes, now_ms: int | None) -> SavedProofReport:
    return verify_saved_proof(genesis, data, now_ms, fixed.KNOWN_RULES)


KINDS = ("list", "release", "access", "state", "absence", "row")


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_proof_is_verified_from_the_genesis_document_alone(kind: str) -> None:
    genesis, proof = saved(kind)
    data = proof.encode()
    assert SavedProof.decode(data) == proof
    report = checked(genesis, data, NOW)
    assert (report.key, report.header.height) == (proof.key, 4)
    assert report.age_ms == NOW - report.header.time_ms
    assert checked(genesis, data, None) == replace(report, age_ms=None)
    assert (report.record is not None) == (proof.disclosure is not None)
    assert (report.patient_list is not None) == (kind == "list")
    assert (report.row is not None) == (kind == "list")
    assert (report.accesses is not None) == (kind == "access")
    if kind == "list":
        assert report.row.index == 6
        assert report.record.fields[b"/status"] == b'"active"'
    # However old it is: its age is shown, not bounded.
    assert checked(genesis, data, NOW + 10**12).age_ms == report.age_ms + 10**12
    with pytest.raises(HeaderFromTheFuture):
        checked(genesis, data, report.header.time_ms - 3_600_000)


@pytest.mark.parametrize("kind", KINDS)
def test_LIGHT_1_any_flipped_bit_of_a_saved_proof_is_refused(kind: str) -> None:
    genesis, proof = saved(kind)
    data = proof.encode()
    number, bits = int.from_bytes(data, "big"), 8 * len(data)
    places = random.Random(2).sample(range(bits), 250)
    # The first and last bytes hold the kind, the chain id, the disclosure and the key.
    for place in {*places, *range(80), *range(bits - 160, bits)}:
        with pytest.raises(PeerFault):
            checked(genesis, (number ^ 1 << place).to_bytes(len(data), "big"), NOW)


@pytest.mark.parametrize("kind", ["list", "release"])
def test_LIGHT_1_every_flipped_bit_of_a_disclosures_head_is_refused(kind: str) -> None:
    genesis, proof = saved(kind)
    assert proof.disclosure is not None
    data, head = proof.encode(), proof.disclosure.encode()[:24]
    start = data.index(head)
    for place in range(8 * len(head)):
        flipped = bytearray(data)
        flipped[start + place // 8] ^= 1 << place % 8
        with pytest.raises(PeerFault):
            checked(genesis, bytes(flipped), NOW)


def test_LIGHT_1_saved_proofs_that_are_refused() -> None:
    genesis, proof = saved("list")
    _, release = saved("release")
    _, state = saved("state")
    _, row = saved("row")
    assert proof.disclosure is not None
    disclosed = {"disclosure": proof.disclosure, "rules": proof.rules}
    other_rules = replace(proof.disclosure, rules=RULES["clinical"].hash)
    cases: list[tuple[type[PeerFault], bytes, SavedProof]] = [
        (WrongChain, fixed.genesis(5).encode(), proof),
        (WrongChain, genesis, replace(proof, chain_id=fixed.named_hash("other"))),
        (MembershipUnknown, genesis, replace(proof, changes=())),
        (MembershipUnknown, genesis, replace(proof, changes=proof.changes[:1])),
        (MembershipUnknown, genesis, replace(proof, changes=proof.changes[1:])),
        (WrongKey, genesis, replace(proof, key=patient_log(OTHER_PATIENT))),
        (WrongKey, genesis, replace(proof, key=b"")),
        (DisclosureUnplaced, genesis, replace(proof, disclosure=shown(record("two")))),
        (DisclosureUnplaced, genesis, replace(state, **disclosed)),
        (DisclosureUnplaced, genesis, replace(row, **disclosed)),
        (DisclosureUnplaced, genesis, replace(proof, rules=None)),
        (DisclosureUnplaced, genesis, replace(row, rules=proof.rules)),
        (WrongKey, genesis, replace(proof, rules=release.rules)),
        (WrongView, genesis, replace(release, **disclosed)),
        (WrongView, genesis, replace(proof, disclosure=other_rules)),
    ]
    for error, document, wrong in cases:
        with pytest.raises(error):
            checked(document, wrong.encode(), NOW)


def test_B1_what_is_no_saved_proof_is_refused() -> None:
    genesis, proof = saved("list")
    fields = list(codec.decode(proof.encode(), 10**7, "test"))
    change: MembershipChange = proof.changes[0]
    for wrong in (
        b"",
        genesis,
        proof.encode() + b"\x00",
        proof.encode()[:-1],
        codec.encode(["saved-prooF", *fields[1:]]),
        codec.encode([*fields[:3], change.encode(), *fields[4:]]),
        codec.encode([*fields, None]),
    ):
        with pytest.raises(NotCanonical):
            checked(genesis, wrong, NOW)
