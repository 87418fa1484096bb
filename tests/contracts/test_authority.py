"""Who may call what: the table against the registry, and every refusal that it implies."""

import pytest

from contracts.authority import AUTHORITY, may_call
from contracts.registry import CONTRACTS, Registry
from ledger.types.genesis import MEMBER_KINDS, ROLES
from tests.contracts.support import USERS, VALIDATORS, Caller

ACTIONS = [(c.name, action) for c in CONTRACTS.values() for action in c.actions]


def test_the_table_names_exactly_the_actions_that_exist():
    assert set(AUTHORITY) == set(ACTIONS)


def test_the_table_names_only_kinds_and_roles_that_exist():
    callers = set().union(*AUTHORITY.values())
    assert {kind for kind, _ in callers} <= set(MEMBER_KINDS)
    assert {role for _, role in callers} <= set(ROLES)


@pytest.mark.parametrize(("contract", "action"), ACTIONS)
def test_K5_nobody_outside_the_table_reaches_an_action(contract, action):
    caller = Caller()
    kinds = {"authority": "authority", "vendor-new": "vendor", "vendor-old": "vendor"}
    reached = set()
    for name, (_, user) in {**USERS, **VALIDATORS}.items():
        kind = kinds.get(user.member, "hospital")
        refused = caller.refusal(name, f"{contract}/{action}")
        if refused == (f"{contract}/not-permitted", ()):
            continue
        assert refused == (f"{contract}/bad-arguments", ())
        reached |= {(kind, role) for role in user.roles}
    assert reached == AUTHORITY[contract, action]


def test_one_fitting_role_of_several_is_enough_and_the_kind_must_fit_it():
    roles = ("administrator", "gateway")
    assert may_call("index", "register", "hospital", roles)
    assert not may_call("index", "register", "vendor", roles)
    assert not may_call("index", "register", "hospital", ())
    assert not may_call("index", "erase", "hospital", roles)


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("action", ["", "call", "Register", "register ", "__class__", "注册"])
def test_an_unknown_action_is_refused(contract, action):
    caller = Caller()
    expected = (f"{contract}/unknown-action", ())
    assert caller.refusal("hospital-a/gateway", f"{contract}/{action}") == expected


def test_an_unknown_contract_is_not_found():
    assert Registry().find("members") is CONTRACTS["members"]
    assert [Registry().find(name) for name in ("", "Index", "policy")] == [None, None, None]


def test_every_name_fits_its_field_of_a_transaction_and_a_receipt():
    for contract, action in ACTIONS:
        assert len(contract) <= 40
        assert len(action) <= 40
        assert CONTRACTS[contract].name == contract
