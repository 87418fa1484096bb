"""Lies about what covered a disclosure: another permission or share, or too narrow a one."""

from dataclasses import replace
from typing import Any

from ledger.errors import ProofInvalid
from ledger.light.permissions import DisclosureNotCovered, grant_key
from ledger.light.trust import StaleAnswer
from ledger.light.verify import WrongKey
from ledger.limits import PERMISSION_HEIGHTS
from ledger.primitives import Height, TimestampMs
from ledger.types.entries import Disclosed
from ledger.types.residents import share_key
from tests.hostile import visits
from tests.hostile.lies import lie, now
from tests.hostile.lies_in_bytes import OTHER_PERMISSION, PERMISSION, with_permissions
from tests.hostile.lies_of_consent import OTHER_SHARE, SHARE, with_wishes
from tests.hostile.visits import Visit
from tests.light.kit import MAX_AGE_MS, OTHER_PATIENT, Chain
from tests.vectors import fixed

READ = fixed.disclosed()
"""Under PERMISSION."""
BROKEN = replace(READ, basis="break-glass", purpose="ETREAT")
OPENED = Disclosed(
    "share",
    SHARE,
    fixed.share().creator,
    fixed.share().holder,
    fixed.share().holder,
    "resident",
    "PATRQT",
    fixed.share().rows,
    Height(9),
    TimestampMs(fixed.TIME_MS + 9_000),
)
"""Under SHARE, in the last second in which it is open."""


def world(chain: Chain) -> Chain:
    """A chain with permissions and shares."""
    return with_wishes(with_permissions(chain))


def ask(chain: Chain, bundle: Any, entry: Disclosed = READ) -> Visit:
    return visits.read_certificate(chain.trusted, bundle, entry, now(chain))


def certified(chain: Chain, entry: Disclosed, **granted: Any) -> Visit:
    """A quorum certifies the permission of an entry with those fields."""
    key = grant_key(entry)
    world(chain).values[key] = replace(fixed.permission(), **granted).encode()
    return ask(chain, chain.state_bundle(chain.commit(), key), entry)


def certified_share(chain: Chain, entry: Disclosed = OPENED, **granted: Any) -> Visit:
    """A quorum certifies the share of an entry with those fields."""
    world(chain).values[share_key(SHARE)] = replace(fixed.share(), **granted).encode()
    return ask(chain, chain.state_bundle(chain.commit(), share_key(SHARE)), entry)


# Permissions


@lie(DisclosureNotCovered)
def a_disclosure_under_no_permission(chain: Chain) -> Visit:
    return ask(chain, chain.state_bundle(chain.commit(), PERMISSION))


@lie(DisclosureNotCovered)
def a_disclosure_under_the_permission_of_another_reader(chain: Chain) -> Visit:
    return certified(chain, READ, reader=fixed.named_hash("another reader"))


@lie(DisclosureNotCovered)
def a_disclosure_under_the_permission_of_another_hospital(chain: Chain) -> Visit:
    return certified(chain, READ, reader_member=fixed.hospital(2))


@lie(DisclosureNotCovered)
def a_disclosure_under_a_permission_about_another_patient(chain: Chain) -> Visit:
    return certified(chain, READ, patient=OTHER_PATIENT)


@lie(DisclosureNotCovered)
def a_disclosure_under_a_permission_for_releases(chain: Chain) -> Visit:
    return certified(chain, READ, patient=None, holder=fixed.hospital(1))


@lie(DisclosureNotCovered)
def a_disclosure_of_more_than_the_permitted_view(chain: Chain) -> Visit:
    return certified(chain, READ, view="resident")


@lie(DisclosureNotCovered)
def a_disclosure_for_another_purpose_than_permitted(chain: Chain) -> Visit:
    return certified(chain, READ, purpose="HRESCH")


@lie(DisclosureNotCovered)
def a_disclosure_after_the_permission_had_ended(chain: Chain) -> Visit:
    return certified(chain, READ, expires=Height(READ.height - 2))


@lie(DisclosureNotCovered)
def a_disclosure_before_the_permission_was_given(chain: Chain) -> Visit:
    return certified(chain, READ, expires=Height(READ.height + PERMISSION_HEIGHTS + 1))


@lie(DisclosureNotCovered)
def a_break_glass_without_an_emergency(chain: Chain) -> Visit:
    return certified(chain, replace(READ, basis="break-glass"))


@lie(ProofInvalid)
def an_ended_permission_is_prolonged_over_a_disclosure(chain: Chain) -> Visit:
    ended = replace(fixed.permission(), expires=Height(2))
    world(chain).values[PERMISSION] = ended.encode()
    bundle = chain.state_bundle(chain.commit(), PERMISSION)
    return ask(chain, replace(bundle, value=fixed.permission().encode()))


@lie(ProofInvalid)
def a_permission_is_said_not_to_exist(chain: Chain) -> Visit:
    bundle = world(chain).state_bundle(chain.commit(), PERMISSION)
    return ask(chain, replace(bundle, value=None))


@lie(WrongKey)
def another_permission_than_the_disclosure_names(chain: Chain) -> Visit:
    return ask(chain, world(chain).state_bundle(chain.commit(), OTHER_PERMISSION))


@lie(StaleAnswer)
def what_covered_a_disclosure_is_shown_as_it_was(chain: Chain) -> Visit:
    old = world(chain).state_bundle(chain.commit(), PERMISSION)
    return visits.read_certificate(chain.trusted, old, READ, now(chain) + MAX_AGE_MS)


# Shares


@lie(DisclosureNotCovered)
def an_opening_of_no_share(chain: Chain) -> Visit:
    return ask(chain, chain.state_bundle(chain.commit(), share_key(SHARE)), OPENED)


@lie(DisclosureNotCovered)
def an_opening_of_a_share_of_another_patient(chain: Chain) -> Visit:
    return certified_share(chain, patient=OTHER_PATIENT)


@lie(DisclosureNotCovered)
def an_opening_of_a_share_that_another_key_made(chain: Chain) -> Visit:
    return certified_share(chain, creator=fixed.named_hash("another reader"))


@lie(DisclosureNotCovered)
def an_opening_by_another_hospital_than_the_shares(chain: Chain) -> Visit:
    return certified_share(chain, holder=fixed.hospital(2))


@lie(DisclosureNotCovered)
def an_opening_of_more_records_than_were_shared(chain: Chain) -> Visit:
    return certified_share(chain, rows=(3,))


@lie(DisclosureNotCovered)
def an_opening_of_more_than_the_shared_view(chain: Chain) -> Visit:
    return certified_share(chain, replace(OPENED, view="clinical"))


@lie(DisclosureNotCovered)
def an_opening_after_the_share_had_expired(chain: Chain) -> Visit:
    return certified_share(chain, until_ms=OPENED.time_ms)


@lie(DisclosureNotCovered)
def an_opening_for_another_purpose_than_the_patients(chain: Chain) -> Visit:
    return certified_share(chain, replace(OPENED, purpose="TREAT"))


@lie(WrongKey)
def another_share_than_was_opened(chain: Chain) -> Visit:
    return ask(chain, world(chain).state_bundle(chain.commit(), share_key(OTHER_SHARE)), OPENED)
