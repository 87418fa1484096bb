"""LIGHT-1, LIGHT-3: how trust grows from the genesis document, and the age of an answer."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import NotCanonical, PeerFault
from ledger.light.bundles import (
    Bundle,
    LogBundle,
    LogEntryBundle,
    MembershipChange,
    StateBundle,
    decode_bundle,
    decode_changes,
    encode_changes,
)
from ledger.light.trust import (
    HEADER_AHEAD_MAX_MS,
    HeaderFromTheFuture,
    StaleAnswer,
    TrustedChain,
    advance,
    check_age,
    follow,
    trust_genesis,
    verify_header,
)
from ledger.primitives import ZERO_HASH
from ledger.types.certificate import InsufficientSignatures
from ledger.types.entries import release_log
from tests.light.kit import HOLDER, LIST, Chain, prove_state, story


@pytest.mark.parametrize("n", [1, 4, 7])
def test_LIGHT_1_trust_begins_with_the_genesis_document(n: int) -> None:
    chain = Chain(n)
    trusted = trust_genesis(chain.genesis.encode(), chain.genesis.chain_id)
    assert trusted == chain.trusted
    assert (trusted.height, trusted.header_hash) == (0, ZERO_HASH)
    assert trusted.membership == trusted.voters == chain.membership


@pytest.mark.parametrize("n", [1, 4, 7])
def test_LIGHT_1_trust_follows_only_the_headers_that_change_the_membership(n: int) -> None:
    chain = Chain(n)
    for height in range(1, 30):
        chain.commit({7: [*chain.voters, n], 19: chain.voters[1:]}.get(height))
    assert [change.certified.header.height for change in chain.changes] == [7, 19]
    newest = chain.commit()
    trusted = advance(chain.trusted, chain.changes, newest)
    assert trusted.height == 30
    assert trusted.header_hash == newest.header.hash
    assert trusted.membership == chain.membership
    step = advance(chain.trusted, chain.changes[:1], chain.changes[0].certified)
    assert (step.height, step.voters.n, step.membership.n) == (7, n, n + 1)
    assert advance(step, chain.changes[1:], newest) == trusted


@pytest.mark.parametrize("n", [1, 4, 7])
def test_LIGHT_1_the_trusted_header_itself_may_be_shown_again(n: int) -> None:
    chain = Chain(n)
    certified = chain.commit([*chain.voters, n])
    trusted = follow(chain.trusted, chain.changes)
    assert verify_header(trusted, certified) == certified.header
    assert advance(trusted, (), certified) == trusted
    bare = replace(certified, certificate=replace(certified.certificate, signers=(), signatures=()))
    with pytest.raises(InsufficientSignatures):
        verify_header(trusted, bare)


def test_a_certificate_of_a_later_view_is_as_good() -> None:
    chain = Chain(4)
    assert verify_header(chain.trusted, chain.certify(chain.header(), view=9)).height == 1


def test_LIGHT_3_age_bounds_are_exact() -> None:
    header = Chain(1).header()
    assert check_age(header, header.time_ms + 100, 100) == 100
    assert check_age(header, header.time_ms - HEADER_AHEAD_MAX_MS, 100) == 0
    assert check_age(header, header.time_ms - 7, 100, max_ahead_ms=7) == 0
    with pytest.raises(StaleAnswer) as stale:
        check_age(header, header.time_ms + 101, 100)
    assert (stale.value.age_ms, stale.value.limit_ms) == (101, 100)
    with pytest.raises(HeaderFromTheFuture) as future:
        check_age(header, header.time_ms - HEADER_AHEAD_MAX_MS - 1, 100)
    assert future.value.ahead_ms == HEADER_AHEAD_MAX_MS + 1


def test_a_client_saves_its_trust_and_reads_it_again() -> None:
    chain = Chain(4)
    chain.commit([0, 1, 2, 3, 4])
    trusted = advance(chain.trusted, chain.changes, chain.commit())
    for each in (chain.trusted, trusted):
        data = each.encode()
        assert TrustedChain.decode(data) == each
        for wrong in (data[:-1], data + b"\x00", b"", data.replace(b"trusted", b"Trusted")):
            with pytest.raises(PeerFault):
                TrustedChain.decode(wrong)


def examples() -> dict[str, Bundle]:
    chain = story(4)
    change = MembershipChange(chain.commit([0, 1, 2, 3, 4]), chain.membership)
    certified = chain.commit()
    absent = StateBundle(certified, b"nothing", None, prove_state(chain.values, b"nothing"))
    return {
        "state": chain.state_bundle(certified, LIST),
        "absent": absent,
        "log": chain.log_bundle(certified, LIST),
        "empty log": LogBundle(absent, ()),
        "log-entry": chain.entry_bundle(certified, release_log(HOLDER), 3),
        "log-entries": chain.entries_bundle(certified, release_log(HOLDER), 1, 3),
        "membership-change": change,
    }


EXAMPLES = examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_B1_bundles_come_back(name: str) -> None:
    bundle = EXAMPLES[name]
    assert decode_bundle(bundle.encode()) == bundle


@pytest.mark.parametrize("name", EXAMPLES)
@settings(max_examples=60, deadline=None)
@given(drawn=st.data())
def test_B1_damaged_bundles_are_refused_or_come_back(name: str, drawn: st.DataObject) -> None:
    example = EXAMPLES[name].encode()
    start = drawn.draw(st.integers(0, len(example)))
    end = drawn.draw(st.integers(start, min(len(example), start + 8)))
    data = example[:start] + drawn.draw(st.binary(max_size=8)) + example[end:]
    try:
        again = decode_bundle(data).encode()
    except PeerFault:
        return
    assert again == data


def test_B1_membership_changes_come_back() -> None:
    change = EXAMPLES["membership-change"]
    assert isinstance(change, MembershipChange)
    assert decode_changes(encode_changes((change, change))) == (change, change)
    assert decode_changes(encode_changes(())) == ()
    with pytest.raises(NotCanonical):
        decode_changes(b"\x91" + EXAMPLES["state"].encode())


def test_an_entry_of_an_absent_log_is_no_bundle() -> None:
    entry = EXAMPLES["log-entry"]
    assert isinstance(entry, LogEntryBundle)
    wrong = replace(entry, state=replace(entry.state, value=None))
    with pytest.raises(NotCanonical):
        decode_bundle(wrong.encode())
