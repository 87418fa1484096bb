"""Pages of a log: every item is proved by itself, and none twice."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ledger.errors import PeerFault, ProofInvalid
from ledger.light.bundles import LogEntriesBundle
from ledger.light.verify import (
    WrongKey,
    verify_log_entries_bundle,
    verify_log_entry_bundle,
)
from ledger.primitives import Hash32
from ledger.types.entries import release_log
from tests.light.kit import HOLDER, LIST, MAX_AGE_MS, Chain, story

RELEASES = release_log(HOLDER)
Item = tuple[int, bytes, tuple[Hash32, ...]]


def read(chain: Chain, bundle: LogEntriesBundle) -> object:
    now = bundle.state.certified.header.time_ms
    return verify_log_entries_bundle(chain.trusted, bundle, RELEASES, now, MAX_AGE_MS)


def page(chain: Chain) -> LogEntriesBundle:
    return chain.entries_bundle(chain.commit(), RELEASES, 1, 3, 4)


def test_LIGHT_1_a_page_verifies_and_each_of_its_entries_alone() -> None:
    chain = story(4)
    bundle = page(chain)
    entries = read(chain, bundle)
    assert [entry.index for entry in entries] == [1, 3, 4]
    now = bundle.state.certified.header.time_ms
    for number, entry in enumerate(entries):
        alone = bundle.entry(number)
        found = verify_log_entry_bundle(chain.trusted, alone, RELEASES, now, MAX_AGE_MS)
        assert found == entry
    assert read(chain, replace(bundle, items=())) == ()


CHANGES: dict[str, Callable[[tuple[Item, ...]], tuple[Item, ...]]] = {
    "an entry twice": lambda items: (items[0], *items),
    "two entries swapped": lambda items: (items[1], items[0], items[2]),
    "another index": lambda items: ((2, *items[0][1:]), *items[1:]),
    "an index past the end": lambda items: (*items[:2], (10**6, *items[2][1:])),
    "another entry": lambda items: ((1, items[1][1], items[0][2]), *items[1:]),
    "another path": lambda items: ((1, items[0][1], items[1][2]), *items[1:]),
    "a shorter path": lambda items: ((1, items[0][1], items[0][2][:-1]), *items[1:]),
    "a longer path": lambda items: ((1, items[0][1], items[0][2] * 2), *items[1:]),
    "no path": lambda items: ((1, items[0][1], ()), *items[1:]),
    "one bit of an entry": lambda items: (
        (1, bytes([items[0][1][0] ^ 1]) + items[0][1][1:], items[0][2]),
        *items[1:],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_LIGHT_1_a_page_with_a_lie_is_refused(name: str) -> None:
    chain = story(4)
    bundle = page(chain)
    with pytest.raises(ProofInvalid):
        read(chain, replace(bundle, items=CHANGES[name](bundle.items)))


def test_LIGHT_1_a_page_of_another_log_or_of_an_absent_one_is_refused() -> None:
    chain = story(4)
    other = chain.entries_bundle(chain.commit(), LIST, 0)
    with pytest.raises(WrongKey):
        read(chain, other)
    bundle = page(chain)
    absent = replace(bundle, state=chain.state_bundle(bundle.state.certified, b"nothing"))
    with pytest.raises(PeerFault):
        read(chain, absent)
