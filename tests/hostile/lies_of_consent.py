"""Lies about directives and shares: shown as they were, widened, or of somebody else."""

from dataclasses import replace
from typing import Any

from ledger import codec
from ledger.errors import NotCanonical, ProofInvalid
from ledger.light.consent import ShareClosed, WrongShare
from ledger.light.trust import StaleAnswer
from ledger.light.verify import WrongKey
from ledger.primitives import TimestampMs
from ledger.types.residents import (
    Directive,
    Share,
    directives_key,
    encode_directives,
    share_key,
)
from tests.hostile import visits
from tests.hostile.lies import lie, now
from tests.hostile.visits import Visit
from tests.light.kit import MAX_AGE_MS, OTHER_PATIENT, PATIENT, Chain
from tests.vectors import fixed

DIRECTIVES, OTHER_DIRECTIVES = directives_key(PATIENT), directives_key(OTHER_PATIENT)
TOKEN = b"t" * 32
SHARE, OTHER_SHARE = (fixed.named_hash(name) for name in ("share", "another share"))
UNTIL = TimestampMs(fixed.TIME_MS + 900_000)
EVERYBODY = Directive(None, None, (), (), UNTIL)
HOSPITAL = Directive(fixed.hospital(1), None, ("resident",), ("ETREAT", "TREAT"), UNTIL)
WISHES = (EVERYBODY, fixed.directive(), HOSPITAL)


def with_wishes(chain: Chain) -> Chain:
    """Directives and shares of two patients."""
    chain.values[DIRECTIVES] = encode_directives(WISHES)
    chain.values[OTHER_DIRECTIVES] = encode_directives(WISHES[:1])
    chain.values[share_key(SHARE)] = fixed.share().encode()
    other = replace(fixed.share(), patient=OTHER_PATIENT, token_hash=fixed.named_hash("token"))
    chain.values[share_key(OTHER_SHARE)] = other.encode()
    return chain


def ask_directives(chain: Chain, bundle: Any) -> Visit:
    return visits.read_directives(chain.trusted, bundle, PATIENT, now(chain))


def ask_share(chain: Chain, bundle: Any, token: bytes = TOKEN) -> Visit:
    return visits.read_share(chain.trusted, bundle, SHARE, token, now(chain))


def with_directives(chain: Chain, *directives: Directive) -> Visit:
    """The honest proof beside other directives."""
    bundle = with_wishes(chain).state_bundle(chain.commit(), DIRECTIVES)
    return ask_directives(chain, replace(bundle, value=encode_directives(directives)))


def certified_directives(chain: Chain, *values: Any) -> Visit:
    """A quorum certifies directives as they come."""
    with_wishes(chain).values[DIRECTIVES] = codec.encode(list(values))
    return ask_directives(chain, chain.state_bundle(chain.commit(), DIRECTIVES))


def with_share(chain: Chain, share: Share) -> Visit:
    """The honest proof beside another share."""
    bundle = with_wishes(chain).state_bundle(chain.commit(), share_key(SHARE))
    return ask_share(chain, replace(bundle, value=share.encode()))


def certified_share(chain: Chain, share: Share) -> Visit:
    """A share that the chain holds, shown to whoever has the link."""
    with_wishes(chain).values[share_key(SHARE)] = share.encode()
    return ask_share(chain, chain.state_bundle(chain.commit(), share_key(SHARE)))


# Directives


@lie(ProofInvalid)
def a_directive_is_left_out(chain: Chain) -> Visit:
    return with_directives(chain, *WISHES[1:])


@lie(ProofInvalid)
def a_directive_is_made_up(chain: Chain) -> Visit:
    return with_directives(chain, *WISHES, replace(HOSPITAL, member=fixed.hospital(2)))


@lie(ProofInvalid)
def a_directive_is_widened(chain: Chain) -> Visit:
    return with_directives(chain, *WISHES[:2], replace(HOSPITAL, views=("clinical", "resident")))


@lie(ProofInvalid)
def a_directive_is_prolonged(chain: Chain) -> Visit:
    longer = replace(HOSPITAL, until_ms=TimestampMs(UNTIL + 1))
    return with_directives(chain, *WISHES[:2], longer)


@lie(ProofInvalid)
def no_directives_are_said_of_a_patient_with_some(chain: Chain) -> Visit:
    bundle = with_wishes(chain).state_bundle(chain.commit(), DIRECTIVES)
    return ask_directives(chain, replace(bundle, value=None))


@lie(WrongKey)
def the_directives_of_another_patient(chain: Chain) -> Visit:
    bundle = with_wishes(chain).state_bundle(chain.commit(), OTHER_DIRECTIVES)
    return ask_directives(chain, bundle)


@lie(ProofInvalid)
def the_directives_of_another_patient_under_this_key(chain: Chain) -> Visit:
    bundle = with_wishes(chain).state_bundle(chain.commit(), OTHER_DIRECTIVES)
    return ask_directives(chain, replace(bundle, key=DIRECTIVES))


@lie(StaleAnswer)
def a_withdrawn_directive_is_shown_as_it_was(chain: Chain) -> Visit:
    old = with_wishes(chain).state_bundle(chain.commit(), DIRECTIVES)
    return visits.read_directives(chain.trusted, old, PATIENT, now(chain) + MAX_AGE_MS)


@lie(NotCanonical)
def certified_directives_that_are_not_in_order(chain: Chain) -> Visit:
    return certified_directives(chain, *(each.to_value() for each in WISHES[::-1]))


@lie(NotCanonical)
def two_certified_directives_about_one_hospital(chain: Chain) -> Visit:
    wider = replace(HOSPITAL, views=("clinical", "resident"))
    return certified_directives(chain, HOSPITAL.to_value(), wider.to_value())


@lie(NotCanonical)
def a_certified_directive_about_a_reader_of_nobody(chain: Chain) -> Visit:
    reader = fixed.named_hash("reader")
    return certified_directives(chain, [None, reader, ["resident"], ["TREAT"], UNTIL])


@lie(NotCanonical)
def a_certified_directive_with_a_purpose_that_does_not_exist(chain: Chain) -> Visit:
    return certified_directives(chain, [None, None, ["resident"], ["CURIOSITY"], UNTIL])


# Shares, to whoever has the link


@lie(ShareClosed)
def an_expired_share_is_served(chain: Chain) -> Visit:
    chain.height = 9  # the next block has the time at which it ends
    return certified_share(chain, fixed.share())


@lie(ShareClosed)
def an_ended_share_is_served(chain: Chain) -> Visit:
    return certified_share(chain, replace(fixed.share(), ended=True))


@lie(ShareClosed)
def a_locked_share_is_served(chain: Chain) -> Visit:
    return certified_share(chain, replace(fixed.share(), attempts_left=0))


@lie(ProofInvalid)
def an_ended_share_is_said_to_go_on(chain: Chain) -> Visit:
    with_wishes(chain).values[share_key(SHARE)] = replace(fixed.share(), ended=True).encode()
    bundle = chain.state_bundle(chain.commit(), share_key(SHARE))
    return ask_share(chain, replace(bundle, value=fixed.share().encode()))


@lie(StaleAnswer)
def an_ended_share_is_shown_as_it_was(chain: Chain) -> Visit:
    old = with_wishes(chain).state_bundle(chain.commit(), share_key(SHARE))
    return visits.read_share(chain.trusted, old, SHARE, TOKEN, now(chain) + MAX_AGE_MS)


@lie(ProofInvalid)
def an_expired_share_is_prolonged(chain: Chain) -> Visit:
    chain.height = 9
    return with_share(chain, replace(fixed.share(), until_ms=UNTIL))


@lie(ProofInvalid)
def attempts_are_given_back(chain: Chain) -> Visit:
    return with_share(chain, replace(fixed.share(), attempts_left=10))


@lie(ProofInvalid)
def a_row_is_added_to_a_share(chain: Chain) -> Visit:
    return with_share(chain, replace(fixed.share(), rows=(0, 1, 3)))


@lie(WrongShare)
def a_share_with_another_token_than_the_link(chain: Chain) -> Visit:
    bundle = with_wishes(chain).state_bundle(chain.commit(), share_key(SHARE))
    return ask_share(chain, bundle, b"u" * 32)


@lie(WrongShare)
def a_share_that_was_never_made(chain: Chain) -> Visit:
    return ask_share(chain, chain.state_bundle(chain.commit(), share_key(SHARE)))


@lie(WrongKey)
def another_share_than_that_of_the_link(chain: Chain) -> Visit:
    bundle = with_wishes(chain).state_bundle(chain.commit(), share_key(OTHER_SHARE))
    return ask_share(chain, bundle)


@lie(NotCanonical)
def a_certified_share_whose_rows_do_not_rise(chain: Chain) -> Visit:
    return certified_share(chain, replace(fixed.share(), rows=(3, 0)))


# Shares, to their patient


@lie(WrongShare)
def a_share_of_another_patient_among_the_own(chain: Chain) -> Visit:
    bundle = with_wishes(chain).state_bundle(chain.commit(), share_key(OTHER_SHARE))
    return visits.read_own_share(chain.trusted, bundle, OTHER_SHARE, PATIENT, now(chain))


@lie(ProofInvalid)
def an_open_share_is_said_to_have_ended(chain: Chain) -> Visit:
    bundle = with_wishes(chain).state_bundle(chain.commit(), share_key(SHARE))
    ended = replace(bundle, value=replace(fixed.share(), ended=True).encode())
    return visits.read_own_share(chain.trusted, ended, SHARE, PATIENT, now(chain))


@lie(ProofInvalid)
def an_own_share_is_said_not_to_exist(chain: Chain) -> Visit:
    bundle = with_wishes(chain).state_bundle(chain.commit(), share_key(SHARE))
    return visits.read_own_share(
        chain.trusted, replace(bundle, value=None), SHARE, PATIENT, now(chain)
    )
