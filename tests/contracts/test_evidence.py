"""Evidence of double votes: taken once for each key, and nobody can be framed."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.crypto.hashing import Tag
from ledger.errors import PeerFault
from ledger.limits import EVIDENCE_HEIGHTS
from ledger.primitives import Hash32, Height, KeyId, MemberId, View
from ledger.types.certificate import vote_digest
from ledger.types.evidence import EVIDENCE_LOG, VOTE_TAGS, Evidence, Statement, evidence_key
from ledger.types.governance import possession_digest
from tests.contracts.support import GENESIS, USERS, Caller, FixedSigner, digest

REPORT = "evidence/report"
REPORTER = "hospital-a/validator"
ACCUSED = FixedSigner(1_001)
"""The consensus key of hospital-b."""
HEIGHT, VIEW = Height(4), View(2)


def statement(
    stated: Hash32,
    tag: Tag = Tag.SIGN_COMMIT,
    signer: FixedSigner = ACCUSED,
    height: Height = HEIGHT,
    view: View = VIEW,
    chain: Hash32 = GENESIS.chain_id,
) -> Statement:
    return Statement(stated, signer.sign(vote_digest(tag, chain, height, view, stated)))


def double_vote(tag: Tag = Tag.SIGN_COMMIT, height: int = HEIGHT, number: int = 1) -> Evidence:
    """Two votes of the accused for one place."""
    first, second = (statement(digest(n), tag, height=Height(height)) for n in (number, number + 1))
    return Evidence(tag, Height(height), VIEW, ACCUSED.key_id, first, second)


def refused(evidence: Evidence, caller: Caller | None = None) -> str | None:
    answer = (caller or Caller()).refusal(REPORTER, REPORT, evidence.encode())
    return None if answer is None else answer[0].removeprefix("evidence/")


@pytest.mark.parametrize("tag", VOTE_TAGS)
def test_SAFE_4_a_double_vote_of_each_type_is_recorded_for_ever(tag: Tag) -> None:
    caller, evidence = Caller(), double_vote(tag)
    assert caller.call(REPORTER, REPORT, evidence.encode()) == ("hospital-b",)
    kept = caller.state.values[evidence_key(ACCUSED.key_id)]
    assert Evidence.decode(kept) == evidence
    assert caller.state.logs[EVIDENCE_LOG] == [ACCUSED.key_id]


def test_only_what_validators_sign_once_is_evidence() -> None:
    signing = {tag for tag in Tag if tag.value.startswith("sign-")}
    once = {Tag.SIGN_COMMIT, Tag.SIGN_PRE_PREPARE, Tag.SIGN_PREPARE, Tag.SIGN_VIEW_CHANGE}
    assert set(VOTE_TAGS) == once
    for tag in signing - once:
        with pytest.raises(PeerFault):
            Evidence.decode(double_vote(tag).encode())


def test_one_proof_for_each_key_whoever_reports_it() -> None:
    caller = Caller()
    caller.call(REPORTER, REPORT, double_vote().encode())
    for who in ("hospital-c/validator", "hospital-b/validator"):
        for again in (double_vote(), double_vote(Tag.SIGN_PREPARE, 5, 7)):
            answer = caller.refusal(who, REPORT, again.encode())
            assert answer == ("evidence/already-recorded", ("hospital-b",))


def test_A2_a_key_that_was_renewed_is_still_accused_and_the_new_one_is_not() -> None:
    caller, new = Caller(), FixedSigner(9_100)
    proof = new.sign(possession_digest(GENESIS.chain_id, MemberId("hospital-b"), new.public_key))
    administrator = "hospital-b/administrator"
    caller.call(administrator, "governance/renew_key", new.public_key.encoded, proof)
    assert refused(double_vote(), caller) is None
    assert evidence_key(new.key_id) not in caller.state.values
    assert evidence_key(ACCUSED.key_id) in caller.state.values


@pytest.mark.parametrize(
    ("height", "code"),
    [
        (EVIDENCE_HEIGHTS + 7, "wrong-height"),
        (EVIDENCE_HEIGHTS + 6, None),
        (EVIDENCE_HEIGHTS + 5, None),
        (6, None),
        (5, None),
        (4, "wrong-height"),
    ],
)
def test_evidence_is_of_heights_that_were_decided_of_late(height: int, code: str | None) -> None:
    evidence = double_vote(height=height)
    assert refused(evidence, Caller(height=EVIDENCE_HEIGHTS + 5)) == code


def test_a_young_chain_takes_evidence_of_its_first_height() -> None:
    assert refused(double_vote(height=1), Caller(height=1)) is None


def framed() -> dict[str, tuple[Evidence, str]]:
    """What somebody who does not hold the key can make of its honest votes."""
    good = double_vote()
    liar, one, two = FixedSigner(1_000), digest(1), digest(2)
    return {
        "a vote by another key": (
            replace(good, second=statement(two, signer=liar)),
            "not-proved",
        ),
        "both votes by another key": (
            replace(good, first=statement(one, signer=liar), second=statement(two, signer=liar)),
            "not-proved",
        ),
        "a vote of another type": (
            replace(good, second=statement(two, Tag.SIGN_PREPARE)),
            "not-proved",
        ),
        "a vote of another height": (
            replace(good, second=statement(two, height=Height(5))),
            "not-proved",
        ),
        "a vote of another view": (
            replace(good, second=statement(two, view=View(3))),
            "not-proved",
        ),
        "a vote of another chain": (
            replace(good, second=statement(two, chain=digest(9))),
            "not-proved",
        ),
        "one signature under two hashes": (
            replace(good, second=Statement(two, good.first.signature)),
            "not-proved",
        ),
        "another validator's key id": (replace(good, key_id=liar.key_id), "not-proved"),
        "the key of nobody": (replace(good, key_id=KeyId(bytes(32))), "unknown-key"),
        "a user's key": (
            replace(good, key_id=USERS["hospital-b/administrator"][0].key_id),
            "unknown-key",
        ),
    }


@pytest.mark.parametrize("name", framed())
def test_SAFE_4_nobody_is_framed_by(name: str) -> None:
    evidence, code = framed()[name]
    assert refused(evidence) == code


def test_two_equal_statements_and_two_in_the_wrong_order_are_no_evidence() -> None:
    good = double_vote()
    for evidence in (
        replace(good, second=good.first),
        replace(good, first=good.second, second=good.first),
        replace(good, tag=Tag.SIGN_TRANSACTION),
    ):
        assert refused(evidence) == "bad-arguments"


@settings(max_examples=300, deadline=None)
@given(bit=st.integers(0, 8 * len(double_vote().encode()) - 1))
def test_no_bit_of_evidence_can_be_changed(bit: int) -> None:
    data = bytearray(double_vote().encode())
    data[bit // 8] ^= 1 << bit % 8
    caller = Caller()
    code, _ = caller.refusal(REPORTER, REPORT, bytes(data)) or ("accepted", ())
    allowed = {"bad-arguments", "wrong-height", "unknown-key", "not-proved"}
    assert code.removeprefix("evidence/") in allowed
    assert evidence_key(ACCUSED.key_id) not in caller.state.values


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=600))
def test_any_bytes_are_refused_and_raise_nothing_else(data: bytes) -> None:
    assert Caller().refusal(REPORTER, REPORT, data) == ("evidence/bad-arguments", ())


@pytest.mark.parametrize(
    "args",
    [
        (),
        (double_vote().encode(), 0),
        (None,),
        ("evidence",),
        ((double_vote().encode(),),),
        (double_vote().encode() + b"\0",),
        (bytes(513),),
    ],
)
def test_bad_arguments_record_nothing(args) -> None:
    assert Caller().refusal(REPORTER, REPORT, *args) == ("evidence/bad-arguments", ())
