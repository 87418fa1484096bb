"""The default rules of access, exhaustively against an oracle, and what a permission says."""

import dataclasses
import itertools

import pytest

from contracts.access import decide
from ledger.limits import PERMISSION_HEIGHTS
from ledger.primitives import KeyId, MemberId
from ledger.types.entries import PURPOSES, VIEWS, Permission, permission_key
from ledger.types.genesis import MEMBER_KINDS, ROLES, Endpoints, Member, UserKey
from tests.contracts.support import LATER, NOW, USERS, Caller, patient

REFUSED = ("access/not-permitted", ())
DOCTOR = "hospital-a/treating"
VENDOR = "vendor-new/vendor-service"

GRANTED = {
    "hospital treating own clinical TREAT",
    "hospital treating own clinical ETREAT",
    "hospital treating other clinical TREAT",
    "hospital treating other clinical ETREAT",
    "hospital treating own resident TREAT",
    "hospital treating own resident ETREAT",
    "hospital treating other resident TREAT",
    "hospital treating other resident ETREAT",
    "hospital resident own resident PATRQT",
    "hospital guardian own resident PATRQT",
    "vendor vendor-service release deidentified HRESCH",
    "vendor vendor-service release deidentified TREAT",
}
"""The oracle: every case that is granted, in words. A treating key has no patient of its own."""

LICENCES = {"expired": NOW - 1, "at its end": NOW, "valid": NOW + 1}


def oracle(kind, role, target, view, purpose, licence) -> bool:
    if kind == "vendor" and licence != "valid":
        return False
    return f"{kind} {role} {target} {view} {purpose}" in GRANTED


def member(kind: str, licence_ms: int) -> Member:
    return Member(MemberId("m"), "m", kind, b"", b"", b"", Endpoints("", "", ""), licence_ms)


CASES = list(
    itertools.product(MEMBER_KINDS, ROLES, ("own", "other", "release"), VIEWS, PURPOSES, LICENCES)
)


def test_ACC_1_the_rules_grant_exactly_what_the_oracle_grants():
    key = USERS[DOCTOR][0].public_key
    granted = 0
    for kind, role, target, view, purpose, licence in CASES:
        own = patient(1)
        reader = UserKey(MemberId("m"), key, (role,), LATER, own)
        asked = {"own": own, "other": patient(2), "release": None}[target]
        allowed = decide(reader, member(kind, LICENCES[licence]), asked, view, purpose, NOW)
        assert allowed == oracle(kind, role, target, view, purpose, licence)
        granted += allowed
    assert len(CASES) == 3 * 8 * 3 * 3 * 4 * 3
    assert granted == 10 * len(LICENCES) + 2


def test_ACC_1_roles_add_up_and_never_mix():
    key = USERS[DOCTOR][0].public_key
    for first, second in itertools.combinations(ROLES, 2):
        both = UserKey(MemberId("m"), key, tuple(sorted((first, second))), LATER, patient(1))
        ones = [UserKey(MemberId("m"), key, (role,), LATER, patient(1)) for role in (first, second)]
        for kind, asked, view, purpose in itertools.product(
            MEMBER_KINDS, (patient(1), patient(2), None), VIEWS, PURPOSES
        ):
            rest = (member(kind, NOW + 1), asked, view, purpose, NOW)
            assert decide(both, *rest) == any(decide(one, *rest) for one in ones)


def test_ACC_1_through_the_contract_each_user_gets_what_the_oracle_grants():
    kinds = {"authority": "authority", "vendor-new": "vendor", "vendor-old": "vendor"}
    for (name, (_, user)), view, purpose in itertools.product(USERS.items(), VIEWS, PURPOSES):
        kind = kinds.get(user.member, "hospital")
        licence = "expired" if user.member == "vendor-old" else "valid"
        (role,) = user.roles
        for number in (1, 2):
            target = "own" if user.patient == patient(number) else "other"
            refused = Caller().refusal(name, "access/request", patient(number), view, purpose)
            allowed = oracle(kind, role, target, view, purpose, licence)
            assert refused == (None if allowed else REFUSED)
        refused = Caller().refusal(name, "access/request_release", "hospital-a", purpose)
        allowed = oracle(kind, role, "release", "deidentified", purpose, licence)
        assert refused == (None if allowed else REFUSED)


def test_a_permission_says_who_what_why_and_until_when():
    caller = Caller(height=7)
    permission_id, expires = caller.call(DOCTOR, "access/request", patient(4), "clinical", "TREAT")
    assert expires == 7 + PERMISSION_HEIGHTS
    assert Permission.decode(caller.state.values[permission_key(permission_id)]) == Permission(
        KeyId(USERS[DOCTOR][0].key_id),
        MemberId("hospital-a"),
        patient(4),
        None,
        "clinical",
        "TREAT",
        expires,
    )
    release_id, _ = caller.call(VENDOR, "access/request_release", "hospital-b", "HRESCH")
    assert release_id != permission_id
    permission = Permission.decode(caller.state.values[permission_key(release_id)])
    assert (permission.patient, permission.holder) == (None, "hospital-b")
    assert (permission.view, permission.purpose) == ("deidentified", "HRESCH")


@pytest.mark.parametrize("holder", ["nobody", "vendor-new", "authority"])
def test_a_release_is_asked_of_a_hospital(holder):
    refused = Caller().refusal(VENDOR, "access/request_release", holder, "TREAT")
    assert refused == ("access/unknown-holder", (holder,))


def test_T3_a_licence_ends_at_block_time():
    end = int(LATER)
    last = Caller(time_ms=end - 1).refusal(VENDOR, "access/request_release", "hospital-a", "TREAT")
    assert last is None
    after = Caller(time_ms=end).refusal(VENDOR, "access/request_release", "hospital-a", "TREAT")
    assert after == REFUSED


@pytest.mark.parametrize(
    "args",
    [
        (),
        (patient(1), "clinical"),
        (patient(1), "clinical", "TREAT", 0),
        (patient(1)[1:], "clinical", "TREAT"),
        (None, "clinical", "TREAT"),
        ("1" * 32, "clinical", "TREAT"),
        (patient(1), "whole", "TREAT"),
        (patient(1), "Clinical", "TREAT"),
        (patient(1), b"clinical", "TREAT"),
        (patient(1), "clinical", "treat"),
        (patient(1), "clinical", "MARKETING"),
        (patient(1), "clinical", None),
        (patient(1), "clinical", "TREAT" * 20),
    ],
)
def test_bad_arguments_permit_nothing(args):
    assert Caller().refusal(DOCTOR, "access/request", *args) == ("access/bad-arguments", ())


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("hospital-a",),
        ("hospital-a", "TREAT", 0),
        ("Hospital-A", "TREAT"),
        ("", "TREAT"),
        (b"hospital-a", "TREAT"),
        ("hospital-a", "NONE"),
        ("hospital-a", 1),
    ],
)
def test_bad_arguments_release_nothing(args):
    assert Caller().refusal(VENDOR, "access/request_release", *args) == ("access/bad-arguments", ())


@pytest.mark.parametrize("args", [(), (b"short",), ("1" * 32,), (None,), (bytes(32), 0)])
def test_bad_arguments_revoke_nothing(args):
    assert Caller().refusal(DOCTOR, "access/revoke", *args) == ("access/bad-arguments", ())


def test_ACC_1_nothing_is_disclosed_after_a_revocation_in_the_same_block_either():
    caller = Caller(height=7)
    permission, _ = caller.call(DOCTOR, "access/request", patient(1), "clinical", "TREAT")
    disclosure = ("hospital-b/gateway", "audit/disclose", permission, ())
    assert caller.refusal(*disclosure) is None
    before = Permission.decode(caller.state.values[permission_key(permission)])
    assert caller.call("resident-1", "access/revoke", permission) == (6,)
    assert caller.refusal(*disclosure) == ("audit/permission-expired", (6,))
    after = Permission.decode(caller.state.values[permission_key(permission)])
    assert after == dataclasses.replace(before, expires=6)
    again = caller.refusal("resident-1", "access/revoke", permission)
    assert again == ("access/permission-expired", (6,))
