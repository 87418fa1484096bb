"""Governance: against a dumb model over many blocks, and every way to be refused."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from contracts.governance import validator_key
from contracts.lookup import find_hospitals, find_member, find_user, find_view_hashes
from ledger.codec import Value
from ledger.execution import current_voters
from ledger.limits import (
    MEMBERS_MAX,
    PROPOSAL_HEIGHTS,
    VALIDATORS_MAX,
    VIEW_VERSIONS_MAX,
)
from ledger.primitives import Hash32, Height, KeyId, MemberId, TimestampMs
from ledger.types.entries import encode_view_hashes, member_key, view_key
from ledger.types.genesis import Endpoints, Member, UserKey
from ledger.types.governance import (
    HOSPITALS_KEY,
    PROPOSALS_LOG,
    USERS_ADMITTED_MAX,
    Admit,
    Proposal,
    SetViewRules,
    TakeVote,
    encode_hospitals,
    possession_digest,
    proposal_key,
)
from ledger.types.membership import VOTERS_KEY, Membership, Validator, Voters
from tests.contracts.support import (
    GENESIS,
    HOSPITALS,
    LATER,
    USERS,
    Caller,
    FixedSigner,
    genesis_state,
    patient,
)
from tests.vectors.fixed import named_hash

PROPOSE, APPROVE, RENEW = (f"governance/{action}" for action in ("propose", "approve", "renew_key"))
NEW = "hospital-new"


def administrator(name: str) -> UserKey:
    """Of a hospital of genesis, or of one that is admitted."""
    known = USERS.get(f"{name}/administrator")
    if known is not None:
        return known[1]
    key = FixedSigner(5_000 + int.from_bytes(name.encode()[-3:])).public_key
    return UserKey(MemberId(name), key, ("administrator",), LATER, None)


def candidate(name: str = NEW, kind: str = "hospital", key: int = 9_000) -> Member:
    keys = [FixedSigner(key + i).public_key.encoded if kind == "hospital" else b"" for i in (0, 1)]
    places = Endpoints("h:1", "https://h:2", "https://h:3")
    return Member(MemberId(name), name, kind, b"certificate", *keys, places, TimestampMs(0))


def admission(name: str = NEW, kind: str = "hospital", key: int = 9_000) -> Value:
    member = candidate(name, kind, key)
    return Admit(member, (administrator(name),)).to_value()


def renewal(name: str, signer: FixedSigner, chain: Hash32 = GENESIS.chain_id) -> tuple[Value, ...]:
    proof = signer.sign(possession_digest(chain, MemberId(name), signer.public_key))
    return signer.public_key.encoded, proof


def carry(caller: Caller, change: Value, *hospitals: str) -> Hash32:
    """Proposes, and lets the others approve; the proposal's id."""
    first, *others = hospitals or HOSPITALS[:3]
    proposal, carried = caller.call(administrator(first), PROPOSE, change)
    for name in others:
        _, carried = caller.call(administrator(name), APPROVE, proposal)
    assert carried == 1
    return Hash32(proposal)


def voting(caller: Caller) -> list[str]:
    return [v.member for v in current_voters(caller.state).membership.validators]


# -- against a model ----------------------------------------------------------------------------


def smallest_quorum(n: int) -> int:
    """By its meaning: any two share one more than the tolerated faults."""
    f = (n - 1) // 3
    return next(q for q in range(1, n + 1) if 2 * q - n > f)


class GovernanceMachine(RuleBasedStateMachine):
    """The model: keys by hospital, who votes, and proposals as plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.caller = Caller()
        self.keys = {name: FixedSigner(1_000 + i) for i, name in enumerate(HOSPITALS)}
        self.used: list[KeyId] = [signer.key_id for signer in self.keys.values()]
        self.votes = set(HOSPITALS)
        self.history: list[tuple[int, frozenset[tuple[str, KeyId]]]] = [(1, self._membership())]
        self.proposals: list[tuple[Hash32, str, str, int, set[str]]] = []
        self.carried: set[Hash32] = set()
        self.next_key = 20_000

    def _membership(self) -> frozenset[tuple[str, KeyId]]:
        return frozenset((name, self.keys[name].key_id) for name in self.votes)

    def _fresh(self) -> FixedSigner:
        self.next_key += 2
        return FixedSigner(self.next_key)

    def _pick(self, number: int) -> str:
        return sorted(self.keys)[number % len(self.keys)]

    def _why_not(self, kind: str, name: str) -> str | None:
        if kind == "admit":
            return "member-exists" if name in self.keys else None
        if kind == "give-vote":
            return "votes-already" if name in self.votes else None
        if name not in self.votes:
            return "does-not-vote"
        return "last-validator" if self.votes == {name} else None

    def _is_carried(self, approvals: set[str]) -> bool:
        return len(approvals & self.votes) >= smallest_quorum(len(self.votes))

    def _change_votes(self, votes: set[str], keys: dict[str, FixedSigner]) -> str | None:
        if self.history[-1][0] > self.caller.height:
            return "change-in-this-block"
        self.votes, self.keys = votes, keys
        self.history.append((self.caller.height + 1, self._membership()))
        return None

    def _carry(self, kind: str, name: str) -> str | None:
        if kind == "give-vote":
            return self._change_votes(self.votes | {name}, self.keys)
        if kind == "take-vote":
            return self._change_votes(self.votes - {name}, self.keys)
        self.keys[name] = self.admitted
        self.used.append(self.admitted.key_id)
        return None

    def _ask(self, who: str, action: str, *args: Value) -> tuple[Value, ...] | str:
        refused = None
        before = dict(self.caller.state.values)
        try:
            return self.caller.call(administrator(who), action, *args)
        except Exception as error:
            refused = getattr(error, "code", None)
            if refused is None:
                raise
        assert self.caller.state.values == before
        return refused.removeprefix("governance/")

    @rule(
        who=st.integers(0, 6),
        kind=st.sampled_from(["give-vote", "take-vote"]),
        whom=st.integers(0, 6),
    )
    def propose(self, who: int, kind: str, whom: int) -> None:
        self._propose(self._pick(who), kind, self._pick(whom), (kind, self._pick(whom)))

    @rule(who=st.integers(0, 6), number=st.integers(0, 3))
    def propose_admission(self, who: int, number: int) -> None:
        name = f"new-{number}"
        key = 30_000 + 10 * number
        self._propose(self._pick(who), "admit", name, admission(name, key=key))

    def _propose(self, who: str, kind: str, name: str, change: Value) -> None:
        expected = self._why_not(kind, name)
        answer = self._ask(who, PROPOSE, change)
        if expected is None and self._is_carried({who}):
            expected = self._carry_admitted(kind, name)
            if expected is None:
                self.carried.add(Hash32(answer[0]))
        if expected is not None:
            assert answer == expected
            return
        assert answer[1] == int(answer[0] in self.carried)
        self.proposals.append((Hash32(answer[0]), kind, name, self.caller.height, {who}))

    def _carry_admitted(self, kind: str, name: str) -> str | None:
        if kind == "admit":
            self.admitted = FixedSigner(30_000 + 10 * int(name[-1]))
        return self._carry(kind, name)

    @rule(who=st.integers(0, 6), which=st.integers(0, 5))
    def approve(self, who: int, which: int) -> None:
        if not self.proposals:
            return
        name = self._pick(who)
        proposal, kind, whom, height, approvals = self.proposals[-1 - which % len(self.proposals)]
        expected = None
        if proposal in self.carried:
            expected = "already-carried"
        elif self.caller.height > height + PROPOSAL_HEIGHTS:
            expected = "lapsed"
        elif name in approvals:
            expected = "already-approved"
        answer = self._ask(name, APPROVE, proposal)
        if expected is None and self._is_carried(approvals | {name}):
            expected = self._why_not(kind, whom) or self._carry_admitted(kind, whom)
            if expected is None:
                self.carried.add(proposal)
        if expected is not None:
            assert answer == expected
            return
        approvals.add(name)
        assert answer == (proposal, int(proposal in self.carried))

    @rule(who=st.integers(0, 6))
    def renew(self, who: int) -> None:
        name, key = self._pick(who), self._fresh()
        answer = self._ask(name, RENEW, *renewal(name, key))
        keys = self.keys | {name: key}
        if name in self.votes:
            expected = self._change_votes(self.votes, keys)
        else:
            expected, self.keys = None, keys
        if expected is not None:
            assert answer == expected
            return
        self.used.append(key.key_id)
        assert answer == (key.key_id,)

    @rule(who=st.integers(0, 6), whose=st.integers(0, 6))
    def renew_with_a_key_in_use(self, who: int, whose: int) -> None:
        name = self._pick(who)
        key = self.keys[self._pick(whose)]
        assert self._ask(name, RENEW, *renewal(name, key)) == "key-exists"

    @rule(blocks=st.sampled_from([1, 1, 1, 2, PROPOSAL_HEIGHTS, PROPOSAL_HEIGHTS + 1]))
    def next_block(self, blocks: int) -> None:
        self.caller.height += blocks

    @invariant()
    def the_state_says_what_the_model_says(self) -> None:
        state = self.caller.state
        found = Voters.decode(state.values[VOTERS_KEY])
        since, members = self.history[-1]
        assert found.since == since
        assert _pairs(found.membership) == members
        if len(self.history) == 1:
            assert found.previous is None
        else:
            assert found.previous is not None
            assert _pairs(found.previous) == self.history[-2][1]
        assert list(find_hospitals(state)) == sorted(self.keys)
        for name, signer in self.keys.items():
            member = find_member(state, MemberId(name))
            assert member is not None
            assert member.consensus_key == signer.public_key.encoded
            assert find_user(state, signer.key_id) == validator_key(
                MemberId(name), signer.public_key
            )

    @invariant()
    def every_proposal_is_listed_in_its_order(self) -> None:
        listed = self.caller.state.logs.get(PROPOSALS_LOG, [])
        assert listed == [proposal for proposal, *_ in self.proposals]

    @invariant()
    def one_step_at_a_time_and_no_key_votes_for_two(self) -> None:
        assert len(self.used) == len(set(self.used))
        heights = [height for height, _ in self.history]
        assert heights == sorted(set(heights))
        owners: dict[KeyId, str] = {}
        for (_, before), (_, after) in pairwise(self.history):
            assert len({name for name, _ in before ^ after}) == 1
        for _, members in self.history:
            for name, key in members:
                assert owners.setdefault(key, name) == name


def _pairs(membership: Membership) -> frozenset[tuple[str, KeyId]]:
    rows = [(str(v.member), v.public_key.key_id) for v in membership.validators]
    assert rows == sorted(rows, key=lambda row: row[0])
    return frozenset(rows)


GovernanceMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
test_M1_M2_governance_agrees_with_its_model = GovernanceMachine.TestCase


# -- what is carried ----------------------------------------------------------------------------


def test_M1_a_vote_that_is_given_counts_from_the_next_height_on() -> None:
    caller = Caller(height=7)
    carry(caller, admission())
    assert voting(caller) == list(HOSPITALS)
    before = current_voters(caller.state)
    carry(caller, ("give-vote", NEW))
    now = current_voters(caller.state)
    assert voting(caller) == [*HOSPITALS, NEW]
    assert (now.since, now.previous) == (8, before.membership)
    assert now.of(Height(7)) == before.membership
    assert now.of(Height(8)) == now.membership
    assert now.membership.validators[-1].public_key == FixedSigner(9_000).public_key


def test_M2_the_quorum_is_that_of_those_who_vote_now() -> None:
    caller = Caller()
    carry(caller, admission())
    carry(caller, ("give-vote", NEW))
    caller.height += 1
    # Five vote: three are not enough any more, and the fifth counts.
    proposal, carried = caller.call(administrator(NEW), PROPOSE, ("take-vote", "hospital-b"))
    for name in HOSPITALS[:2]:
        assert carried == 0
        _, carried = caller.call(administrator(name), APPROVE, proposal)
    assert carried == 0
    _, carried = caller.call(administrator("hospital-c"), APPROVE, proposal)
    assert carried == 1
    assert voting(caller) == ["hospital-a", "hospital-c", "hospital-d", NEW]


def test_M2_approvals_of_hospitals_without_a_vote_do_not_count() -> None:
    caller = Caller()
    carry(caller, admission())
    proposal, _ = caller.call(administrator(NEW), PROPOSE, ("give-vote", NEW))
    for name in HOSPITALS[:2]:
        assert caller.call(administrator(name), APPROVE, proposal) == (proposal, 0)
    assert caller.call(administrator("hospital-d"), APPROVE, proposal) == (proposal, 1)


def test_M2_an_approval_counts_once_its_hospital_votes() -> None:
    caller = Caller()
    carry(caller, admission())
    early, _ = caller.call(administrator(NEW), PROPOSE, ("take-vote", "hospital-a"))
    carry(caller, ("give-vote", NEW))
    caller.height += 1
    assert caller.call(administrator("hospital-b"), APPROVE, early) == (early, 0)
    assert caller.call(administrator("hospital-c"), APPROVE, early) == (early, 0)
    assert caller.call(administrator("hospital-d"), APPROVE, early) == (early, 1)


def test_an_admitted_organisation_acts_by_the_keys_that_came_with_it() -> None:
    caller = Caller()
    member = candidate("vendor-third", "vendor")
    service = replace(administrator("vendor-third"), roles=("vendor-service",))
    key = FixedSigner(9_500).public_key
    users = (administrator("vendor-third"), replace(service, public_key=key))
    carry(caller, Admit(member, users).to_value())
    assert find_member(caller.state, member.id) == member
    assert [find_user(caller.state, user.public_key.key_id) for user in users] == list(users)
    assert member.id not in find_hospitals(caller.state)
    assert voting(caller) == list(HOSPITALS)


def test_a_carried_proposal_stays_on_record() -> None:
    caller = Caller(height=9)
    proposal = carry(caller, ("take-vote", "hospital-d"), *HOSPITALS[1:])
    assert Proposal.decode(caller.state.values[proposal_key(proposal)]) == Proposal(
        TakeVote(MemberId("hospital-d")), Height(9), tuple(map(MemberId, HOSPITALS[1:])), True
    )


def test_M2_votes_can_be_taken_down_to_the_last_and_no_further() -> None:
    caller = Caller()
    carry(caller, ("take-vote", "hospital-a"), *HOSPITALS[:3])
    for gone, approving in (("hospital-b", HOSPITALS[1:3]), ("hospital-c", HOSPITALS[2:])):
        caller.height += 1
        carry(caller, ("take-vote", gone), *approving)
    caller.height += 1
    refused = caller.refusal(administrator("hospital-d"), PROPOSE, ("take-vote", "hospital-d"))
    assert refused == ("governance/last-validator", ())


def test_M3_a_renewed_key_votes_from_the_next_height_and_the_old_one_is_still_known() -> None:
    caller, old, new = Caller(height=11), FixedSigner(1_001), FixedSigner(9_100)
    caller.call(administrator("hospital-b"), RENEW, *renewal("hospital-b", new))
    now = current_voters(caller.state)
    assert now.since == 12
    assert now.membership.validators[1] == Validator(MemberId("hospital-b"), new.public_key)
    assert find_user(caller.state, old.key_id) is not None  # old votes can still be proved


def test_A2_a_hospital_without_a_vote_renews_its_key_and_changes_no_votes() -> None:
    caller, new = Caller(), FixedSigner(9_100)
    carry(caller, admission())
    before = caller.state.values[VOTERS_KEY]
    caller.call(administrator(NEW), RENEW, *renewal(NEW, new))
    assert caller.state.values[VOTERS_KEY] == before
    carry(caller, ("give-vote", NEW))
    assert current_voters(caller.state).membership.validators[-1].public_key == new.public_key


# -- what is refused ----------------------------------------------------------------------------


def refused(change: Value, caller: Caller | None = None) -> str:
    code, _ = (caller or Caller()).refusal(administrator("hospital-a"), PROPOSE, change)
    return code.removeprefix("governance/")


def admit(*users: UserKey, **changes: object) -> Value:
    return Admit(replace(candidate(), **changes), users or (administrator(NEW),)).to_value()


OWN = administrator(NEW)
REFUSALS: dict[str, tuple[Value, str]] = {
    "a member's id": (admit(id=MemberId("hospital-b")), "member-exists"),
    "a vendor's id": (admit(id=MemberId("vendor-new")), "member-exists"),
    "a consensus key that votes": (
        admit(consensus_key=FixedSigner(1_001).public_key.encoded),
        "key-exists",
    ),
    "a user's key as consensus key": (
        admit(consensus_key=USERS["resident-1"][0].public_key.encoded),
        "key-exists",
    ),
    "its own administrator's key as consensus key": (
        admit(consensus_key=OWN.public_key.encoded),
        "key-exists",
    ),
    "a key twice": (admit(OWN, replace(OWN, roles=("gateway",))), "key-exists"),
    "a registered key": (
        admit(OWN, replace(OWN, public_key=USERS["resident-1"][0].public_key)),
        "key-exists",
    ),
    "a key of another hospital": (
        admit(OWN, replace(administrator("x-1"), member=MemberId("hospital-a"))),
        "foreign-key",
    ),
    "a resident's key": (
        admit(OWN, replace(administrator("x-1"), roles=("resident",), patient=patient(1))),
        "foreign-key",
    ),
    "a key that acts as a validator": (
        admit(
            OWN,
            replace(
                administrator(NEW), public_key=FixedSigner(9_300).public_key, roles=("validator",)
            ),
        ),
        "foreign-key",
    ),
    "nobody who administers": (admit(replace(OWN, roles=("gateway",))), "no-administrator"),
    "no keys": (Admit(candidate(), ()).to_value(), "no-administrator"),
    "a vote for nobody": (("give-vote", "nobody"), "unknown-hospital"),
    "a vote for a vendor": (("give-vote", "vendor-new"), "unknown-hospital"),
    "a vote twice": (("give-vote", "hospital-b"), "votes-already"),
    "the vote of nobody": (("take-vote", "nobody"), "does-not-vote"),
    "the vote of a vendor": (("take-vote", "vendor-new"), "does-not-vote"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_M2_what_makes_no_sense_is_refused_when_it_is_proposed(name: str) -> None:
    change, code = REFUSALS[name]
    assert refused(change) == code


def test_M2_a_full_set_of_validators_takes_no_more() -> None:
    caller = Caller()
    carry(caller, admission())
    rows = [
        Validator(MemberId(f"h-{i:03}"), FixedSigner(40_000 + i).public_key)
        for i in range(VALIDATORS_MAX)
    ]
    caller.state.put(VOTERS_KEY, Voters(Height(1), Membership(tuple(rows)), None).encoded)
    assert refused(("give-vote", NEW), caller) == "too-many-validators"


def test_no_more_hospitals_are_admitted_than_can_be_listed() -> None:
    full = tuple(MemberId(f"h-{i:04}") for i in range(MEMBERS_MAX))
    caller = Caller()
    caller.state.put(HOSPITALS_KEY, encode_hospitals(full))
    assert refused(admission(), caller) == "too-many-hospitals"
    caller.state.put(HOSPITALS_KEY, encode_hospitals(full[1:]))
    assert caller.refusal(administrator("hospital-a"), PROPOSE, admission()) is None


def test_a_proposal_holds_the_approval_of_every_hospital_there_may_be() -> None:
    many = tuple(MemberId(f"h{i:031}") for i in range(MEMBERS_MAX))
    certificate, name = bytes(4_096), "医" * 100
    member = replace(candidate(), ca_certificate=certificate, name=name)
    users = tuple(administrator(f"h-{i:02}") for i in range(USERS_ADMITTED_MAX))
    proposal = Proposal(Admit(member, users), Height(1), many, False)
    assert Proposal.decode(proposal.encode()) == proposal


def test_an_approval_is_refused_by_what_stands_against_it() -> None:
    caller, second = Caller(), administrator("hospital-b")
    assert caller.refusal(second, APPROVE, bytes(32)) == ("governance/unknown-proposal", ())
    change = ("take-vote", "hospital-d")
    proposal, _ = caller.call(administrator("hospital-a"), PROPOSE, change)
    again = caller.refusal(administrator("hospital-a"), APPROVE, proposal)
    assert again == ("governance/already-approved", ())
    caller.height += PROPOSAL_HEIGHTS
    caller.call(second, APPROVE, proposal)
    caller.height += 1
    late = caller.refusal(administrator("hospital-c"), APPROVE, proposal)
    assert late == ("governance/lapsed", ())
    done = carry(caller, change)
    late = caller.refusal(administrator("hospital-d"), APPROVE, done)
    assert late == ("governance/already-carried", ())


def test_M2_a_proposal_that_makes_no_sense_any_more_is_refused_when_it_would_be_carried() -> None:
    caller = Caller()
    change = ("take-vote", "hospital-d")
    waiting, _ = caller.call(administrator("hospital-a"), PROPOSE, change)
    caller.call(administrator("hospital-b"), APPROVE, waiting)
    carry(caller, change)
    caller.height += 1
    # Two of three that vote now: one more approval carries it.
    late = caller.refusal(administrator("hospital-c"), APPROVE, waiting)
    assert late == ("governance/does-not-vote", ())


@pytest.mark.parametrize("second", ["take-vote", "renew"])
def test_M2_the_second_change_of_votes_in_a_block_waits_for_the_next(second: str) -> None:
    caller = Caller()
    carry(caller, admission())
    waiting, _ = caller.call(administrator("hospital-a"), PROPOSE, ("take-vote", "hospital-d"))
    caller.call(administrator("hospital-b"), APPROVE, waiting)
    carry(caller, ("give-vote", NEW))
    calls: dict[str, tuple[Value, ...]] = {
        "take-vote": (APPROVE, waiting),
        "renew": (RENEW, *renewal("hospital-c", FixedSigner(9_100))),
    }
    who = administrator("hospital-c")
    if second == "take-vote":  # five vote now, so the fourth approval would carry it
        caller.call(administrator(NEW), APPROVE, waiting)
    action, *args = calls[second]
    assert caller.refusal(who, str(action), *args) == ("governance/change-in-this-block", ())
    caller.height += 1
    assert caller.refusal(who, str(action), *args) is None


def test_A2_a_key_is_renewed_only_by_who_holds_it() -> None:
    new, who = FixedSigner(9_100), administrator("hospital-a")
    elsewhere = Hash32(bytes(32))
    for args in (
        renewal("hospital-b", new),
        renewal("hospital-a", new, elsewhere),
        (new.public_key.encoded, FixedSigner(9_101).sign(elsewhere)),
        (new.public_key.encoded, renewal("hospital-a", FixedSigner(9_101))[1]),
    ):
        assert Caller().refusal(who, RENEW, *args) == ("governance/not-possessed", ())


def test_A2_a_key_that_was_ever_registered_is_never_a_new_one() -> None:
    caller, who = Caller(), administrator("hospital-a")
    caller.call(who, RENEW, *renewal("hospital-a", FixedSigner(9_100)))
    caller.height += 1
    for number in (1_000, 1_001, 9_100, USERS["resident-1"][0].secret):
        refused = caller.refusal(who, RENEW, *renewal("hospital-a", FixedSigner(number)))
        assert refused == ("governance/key-exists", ())


def test_a_registered_signer_of_no_member_renews_nothing() -> None:
    state = genesis_state()
    del state.values[member_key(MemberId("hospital-a"))]
    refused = Caller(state).refusal(administrator("hospital-a"), RENEW, b"", b"")
    assert refused == ("governance/not-permitted", ())


BAD_CHANGES: tuple[Value, ...] = (
    (),
    "give-vote",
    ("give-vote",),
    ("give-vote", "hospital-a", 0),
    ("give-vote", "Hospital A"),
    ("give-vote", b"hospital-a"),
    ("take-vote", None),
    ("change-quorum", "hospital-a"),
    ("admit", candidate().to_value()),
    ("admit", candidate().to_value(), (OWN.to_value(),) * (USERS_ADMITTED_MAX + 1)),
    ("admit", candidate().to_value(), (None,)),
    ("admit", replace(candidate(), consensus_key=b"").to_value(), (OWN.to_value(),)),
    ("admit", replace(candidate(), kind="validator").to_value(), (OWN.to_value(),)),
    ("admit", replace(candidate(), ca_certificate=bytes(4_097)).to_value(), (OWN.to_value(),)),
)


@pytest.mark.parametrize("change", BAD_CHANGES, ids=range(len(BAD_CHANGES)))
def test_a_change_that_is_none_proposes_nothing(change: Value) -> None:
    assert refused(change) == "bad-arguments"


@pytest.mark.parametrize(
    ("action", "args"),
    [
        (PROPOSE, ()),
        (PROPOSE, (("take-vote", "hospital-a"), 0)),
        (APPROVE, ()),
        (APPROVE, (bytes(31),)),
        (APPROVE, ("0" * 32,)),
        (APPROVE, (bytes(32), 0)),
        (RENEW, ()),
        (RENEW, renewal("hospital-a", FixedSigner(9_100))[:1]),
        (RENEW, (*renewal("hospital-a", FixedSigner(9_100)), 0)),
        (RENEW, (b"", renewal("hospital-a", FixedSigner(9_100))[1])),
        (RENEW, (FixedSigner(9_100).public_key.encoded, bytes(64))),
        (RENEW, (FixedSigner(9_100).public_key.encoded, None)),
    ],
)
def test_bad_arguments_change_nothing(action: str, args: tuple[Value, ...]) -> None:
    refused = Caller().refusal(administrator("hospital-a"), action, *args)
    assert refused == ("governance/bad-arguments", ())


# -- rules of views ------------------------------------------------------------------------------


def test_a_quorum_puts_other_view_rules_into_force_and_keeps_the_old_ones():
    caller = Caller()
    (first,) = find_view_hashes(caller.state, "resident")
    rules = named_hash("rules 2")
    proposal, carried = caller.call(
        administrator("hospital-a"), PROPOSE, SetViewRules("resident", rules).to_value()
    )
    assert (carried, find_view_hashes(caller.state, "resident")) == (0, (first,))
    for name in HOSPITALS[1:3]:
        caller.call(administrator(name), APPROVE, proposal)
    assert find_view_hashes(caller.state, "resident") == (first, rules)
    assert len(find_view_hashes(caller.state, "clinical")) == 1


def test_rules_that_a_view_had_before_are_never_a_new_version():
    caller = Caller()
    (first,) = find_view_hashes(caller.state, "resident")
    change = SetViewRules("resident", first).to_value()
    refused = caller.refusal(administrator("hospital-a"), PROPOSE, change)
    assert refused == ("governance/rules-exist", ())
    full = tuple(named_hash(f"rules {i}") for i in range(VIEW_VERSIONS_MAX))
    caller.state.put(view_key("resident"), encode_view_hashes(full))
    refused = caller.refusal(administrator("hospital-a"), PROPOSE, change)
    assert refused == ("governance/too-many-versions", ())
    unknown = ("set-view-rules", "everything", bytes(32))
    refused = caller.refusal(administrator("hospital-a"), PROPOSE, unknown)
    assert refused == ("governance/bad-arguments", ())
