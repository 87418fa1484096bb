"""All lies and, beside each kind of them, the honest answer that it distorts."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from ledger.light.permissions import grant_key
from ledger.light.trust import advance
from ledger.types.entries import access_log
from ledger.types.residents import directives_key, share_key
from tests.hostile import visits
from tests.hostile.every_lie import EVERY_LIE
from tests.hostile.lies import RELEASES, now
from tests.hostile.lies_in_bytes import PERMISSION, USER, with_permissions
from tests.hostile.lies_of_consent import OTHER_SHARE, SHARE, TOKEN, with_wishes
from tests.hostile.lies_of_permissions import OPENED
from tests.hostile.visits import Visit
from tests.light.kit import LIST, OTHER_PATIENT, PATIENT, story
from tests.vectors import fixed, make_light

OF_RECORDS = ("disclosure", "deidentified")
"""Calls whose refused vectors are lies of a gateway about a record."""


@dataclass(frozen=True)
class Told:
    """A lie as a server tells it."""

    name: str
    error: str
    visit: Visit


def told(n: int = 4) -> Iterator[Told]:
    """Every lie, on a network of ``n`` hospitals."""
    for name, (error, lie) in EVERY_LIE.items():
        yield Told(name, error.__name__, lie(story(n)))
    for name, case in recorded_records():
        if "error" in case:
            yield Told(f"a record: {name}", case["error"], visit_of(case))


@cache
def recorded_records() -> tuple[tuple[str, dict[str, Any]], ...]:
    """The vectors about records."""
    return tuple(
        (name.partition(": ")[2], case)
        for name, case in make_light.recorded("disclosures.json").items()
        if case["call"] in OF_RECORDS
    )


def visit_of(case: dict[str, Any]) -> Visit:
    """A vector about a record, asked of a server."""
    arguments = [make_light.read_argument(each) for each in case["arguments"]]
    if case["call"] == "disclosure":
        return visits.read_record(*arguments)
    return visits.read_released(*arguments)


def honest(n: int = 4) -> Iterator[tuple[str, Visit]]:
    """Visits that are answered truly; every client must accept each."""
    chain = with_wishes(with_permissions(story(n)))
    first = chain.commit()
    start, document = chain.trusted, chain.genesis
    kept = advance(start, (), first)
    chain.commit([*chain.voters, n])
    chain.commit([*chain.voters[1:], n + 1])
    newest = chain.commit()
    at = now(chain)
    trusted = advance(start, chain.changes, newest)
    yield "genesis", visits.read_genesis(document.encode(), document.chain_id)
    yield "first visit", visits.refresh(start, chain.changes, newest, at)
    yield "return visit", visits.refresh(kept, chain.changes, newest, at)
    yield "nothing new", visits.refresh(trusted, (), newest, at)
    yield "list", visits.read_list(trusted, chain.log_bundle(newest, LIST), PATIENT, at)
    yield "log", visits.read_log(trusted, chain.log_bundle(newest, LIST), LIST, at)
    reads = chain.log_bundle(newest, access_log(PATIENT))
    yield "access log", visits.read_accesses(trusted, reads, PATIENT, at)
    for name, key in (
        ("value", LIST),
        ("permission", PERMISSION),
        ("own key", USER),
        ("absence", b"nothing here"),
    ):
        yield name, visits.read_state(trusted, chain.state_bundle(newest, key), key, at)
    one = chain.entry_bundle(newest, RELEASES, 4)
    yield "entry", visits.read_entry(trusted, one, RELEASES, at)
    some = chain.entries_bundle(newest, RELEASES, 0, 4, 8)
    yield "entries", visits.read_entries(trusted, some, RELEASES, at)
    for name, patient in (("directives", PATIENT), ("no directives", fixed.patient(77))):
        wishes = chain.state_bundle(newest, directives_key(patient))
        yield name, visits.read_directives(trusted, wishes, patient, at)
    share = chain.state_bundle(newest, share_key(SHARE))
    yield "share of a link", visits.read_share(trusted, share, SHARE, TOKEN, at)
    yield "own share", visits.read_own_share(trusted, share, SHARE, PATIENT, at)
    other = chain.state_bundle(newest, share_key(OTHER_SHARE))
    yield "a child's share", visits.read_own_share(trusted, other, OTHER_SHARE, OTHER_PATIENT, at)
    for name, entry in (("permission", fixed.disclosed()), ("share", OPENED)):
        granted = chain.state_bundle(newest, grant_key(entry))
        yield f"what covered: {name}", visits.read_certificate(trusted, granted, entry, at)
    for name, case in recorded_records():
        if "result" in case:
            yield f"a record: {name}", visit_of(case)
