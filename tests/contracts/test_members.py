"""Binding a resident's key, and the state that genesis makes."""

import pytest

from contracts.lookup import (
    find_member,
    find_parameters,
    find_resident_keys,
    find_user,
    find_view_hashes,
)
from contracts.registry import Registry
from ledger import codec
from ledger.errors import NotCanonical
from ledger.limits import RESIDENT_KEY_MS_MAX, RESIDENT_KEYS_MAX
from ledger.primitives import Nonce
from ledger.types.entries import VIEWS, group_key
from nodes.view_rules.files import newest_rules
from tests.contracts.support import (
    CHALLENGE,
    GENESIS,
    HOSPITALS,
    MEMBERS,
    NOW,
    USERS,
    YEAR_MS,
    Caller,
    DictState,
    FixedSigner,
    bind_args,
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
    assert len(keys) == len(set(keys)) == len(MEMBERS) + len(USERS) + len(HOSPITALS) + 6 + 3


def test_state_without_parameters_is_refused_not_guessed():
    with pytest.raises(NotCanonical):
        find_parameters(DictState())


def test_a_registrar_binds_a_key_of_its_own_hospital():
    caller = Caller()
    returned = caller.call("hospital-b/registrar", BIND, *bind_args(NEW, patient(9), "hospital-b"))
    assert returned == (NEW.key_id,)
    user = find_user(caller.state, NEW.key_id)
    assert user is not None
    assert (user.member, user.roles, user.patient) == ("hospital-b", ("resident",), patient(9))
    assert (user.public_key, user.valid_until_ms) == (NEW.public_key, NOW + YEAR_MS)
    assert find_resident_keys(caller.state, patient(9)) == (NEW.key_id,)


@pytest.mark.parametrize("name", ["resident-1", "hospital-a/gateway", "vendor-new/vendor-service"])
def test_a_registered_key_is_never_bound_again(name):
    caller = Caller()
    refused = caller.refusal("hospital-a/registrar", BIND, *bind_args(USERS[name][0], patient(9)))
    assert refused == ("members/key-exists", ())


def test_nobody_binds_a_key_that_asked_for_something_else():
    wanted = list(bind_args(NEW, patient(9)))
    stolen = FixedSigner(78).public_key.encoded
    other = Nonce(b"d" * Nonce.SIZE)
    for place, value in ((0, patient(8)), (1, "guardian"), (2, stolen), (4, other)):
        args = [*wanted]
        args[place] = value
        refused = Caller().refusal("hospital-a/registrar", BIND, *args)
        assert refused == ("members/not-possessed", ()), place
    refused = Caller().refusal("hospital-b/registrar", BIND, *wanted)
    assert refused == ("members/not-possessed", ())


@pytest.mark.parametrize("until", [0, NOW, NOW + RESIDENT_KEY_MS_MAX + 1, 2**63])
def test_a_key_ends_later_than_now_and_within_ten_years(until):
    args = bind_args(NEW, patient(9), until=until)
    refused = Caller().refusal("hospital-a/registrar", BIND, *args)
    assert refused == ("members/bad-end", (RESIDENT_KEY_MS_MAX,))


GOOD = bind_args(NEW, patient(9))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, patient(9)[:31]),
        (0, patient(9) + b"\0"),
        (0, None),
        (0, "p" * 32),
        (0, (patient(9),)),
        (1, "treating"),
        (1, None),
        (2, NEW.public_key.encoded[1:]),
        (2, b"\x02" + NEW.public_key.encoded[1:]),
        (2, NEW.public_key.encoded[:-1]),
        (2, NEW.public_key.encoded + b"\0"),
        (2, b""),
        (3, None),
        (3, b"1"),
        (4, CHALLENGE[1:]),
        (4, None),
        (5, b""),
        (5, None),
        (6, None),
        (6, (b"short",)),
        (6, (NEW.key_id,) * (RESIDENT_KEYS_MAX + 1)),
    ],
)
def test_bad_arguments_bind_nothing(place, value):
    args = [*GOOD]
    args[place] = value
    refused = Caller().refusal("hospital-a/registrar", BIND, *args)
    assert refused == ("members/bad-arguments", ())


@pytest.mark.parametrize("args", [(), GOOD[:-1], (*GOOD, 0)])
def test_another_number_of_arguments_binds_nothing(args):
    refused = Caller().refusal("hospital-a/registrar", BIND, *args)
    assert refused == ("members/bad-arguments", ())
