"""Binding a resident's key, and the state that genesis makes."""

import pytest

from contracts.lookup import find_member, find_parameters, find_user, find_view_hashes
from contracts.registry import Registry
from ledger import codec
from ledger.errors import NotCanonical
from ledger.types.entries import VIEWS, group_key
from nodes.view_rules.files import newest_rules
from tests.contracts.support import (
    GENESIS,
    HOSPITALS,
    LATER,
    MEMBERS,
    USERS,
    Caller,
    DictState,
    FixedSigner,
    genesis_state,
    patient,
)

NEW = FixedSigner(77)
BIND = "members/bind_resident"


def test_genesis_gives_every_member_key_and_parameter():
    state = genesis_state()
    registry = Registry()
    assert [find_member(state, m.id) for m in MEMBERS] == list(MEMBERS)
    for signer, user in USERS.values():
        assert registry.signer(state, signer.key_id) == user
    assert find_parameters(state) == GENESIS.parameters
    wraps = codec.decode(state.values[group_key(1)], 65_536, "wraps")
    assert wraps == tuple((name, b"wrapped") for name in HOSPITALS)
    assert [find_view_hashes(state, view) for view in VIEWS] == [
        (newest_rules(view).hash,) for view in VIEWS
    ]
    keys = [key for key, _ in registry.genesis_values(GENESIS)]
    assert len(keys) == len(set(keys)) == len(MEMBERS) + len(USERS) + len(HOSPITALS) + 4 + 3


def test_state_without_parameters_is_refused_not_guessed():
    with pytest.raises(NotCanonical):
        find_parameters(DictState())


def test_a_registrar_binds_a_key_of_its_own_hospital():
    caller = Caller()
    returned = caller.call("hospital-b/registrar", BIND, patient(9), NEW.public_key.encoded, LATER)
    assert returned == (NEW.key_id,)
    user = find_user(caller.state, NEW.key_id)
    assert user is not None
    assert (user.member, user.roles, user.patient) == ("hospital-b", ("resident",), patient(9))
    assert (user.public_key, user.valid_until_ms) == (NEW.public_key, LATER)


@pytest.mark.parametrize("name", ["resident-1", "hospital-a/gateway", "vendor-new/vendor-service"])
def test_a_registered_key_is_never_bound_again(name):
    caller = Caller()
    encoded = USERS[name][0].public_key.encoded
    refused = caller.refusal("hospital-a/registrar", BIND, patient(9), encoded, LATER)
    assert refused == ("members/key-exists", ())


@pytest.mark.parametrize(
    "args",
    [
        (),
        (patient(9), NEW.public_key.encoded),
        (patient(9), NEW.public_key.encoded, LATER, b""),
        (patient(9)[:31], NEW.public_key.encoded, LATER),
        (patient(9) + b"\0", NEW.public_key.encoded, LATER),
        (None, NEW.public_key.encoded, LATER),
        ("p" * 32, NEW.public_key.encoded, LATER),
        (patient(9), NEW.public_key.encoded[1:], LATER),
        (patient(9), b"\x02" + NEW.public_key.encoded[1:], LATER),
        (patient(9), NEW.public_key.encoded[:-1], LATER),
        (patient(9), NEW.public_key.encoded + b"\0", LATER),
        (patient(9), b"", LATER),
        (patient(9), NEW.public_key.encoded, None),
        (patient(9), NEW.public_key.encoded, b"1"),
        ((patient(9),), NEW.public_key.encoded, LATER),
    ],
)
def test_bad_arguments_bind_nothing(args):
    refused = Caller().refusal("hospital-a/registrar", BIND, *args)
    assert refused == ("members/bad-arguments", ())
