"""More lies: in the bytes of an answer, in records, in values of the state, on a return visit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ledger import codec
from ledger.errors import BadSignature, NotCanonical, OutOfRange, ProofInvalid, TooLarge
from ledger.light.bundles import LogEntriesBundle, encode_changes
from ledger.light.trust import (
    HEADER_AHEAD_MAX_MS,
    HeaderFromTheFuture,
    MembershipUnknown,
    StaleAnswer,
    WrongChain,
)
from ledger.light.verify import WrongKey
from ledger.primitives import Hash32, Height
from ledger.types.certificate import CertificateMismatch, CertifiedHeader, InsufficientSignatures
from ledger.types.entries import permission_key, user_key
from tests.hostile import visits
from tests.hostile.lies import (
    RELEASES,
    honest_entry,
    honest_list,
    lie,
    now,
    read_entry,
    read_list,
    read_state,
    signed_by,
)
from tests.hostile.visits import Visit, read_genesis, refresh
from tests.light.kit import LIST, MAX_AGE_MS, Chain, story
from tests.vectors import fixed

PERMISSION, OTHER_PERMISSION = (
    permission_key(Hash32(fixed.named_hash(name))) for name in ("permission", "another permission")
)
USER = user_key(fixed.FixedSigner("resident").public_key.key_id)


def reencoded(data: bytes, place: tuple[int, ...], change: Callable[[Any], Any]) -> bytes:
    """The array with what stands at ``place`` changed."""

    def rebuilt(value: Any, rest: tuple[int, ...]) -> Any:
        if not rest:
            return change(value)
        items = list(value)
        items[rest[0]] = rebuilt(items[rest[0]], rest[1:])
        return items

    return codec.encode(rebuilt(codec.decode(data, len(data), "answer"), place))


def honest_state(chain: Chain, key: bytes = LIST) -> bytes:
    return chain.state_bundle(chain.commit(), key).encode()


# Bytes


@lie(NotCanonical)
def the_answer_has_a_byte_too_many(chain: Chain) -> Visit:
    return read_state(chain, honest_state(chain) + b"\x00")


@lie(NotCanonical)
def the_answer_is_cut_short(chain: Chain) -> Visit:
    return read_state(chain, honest_state(chain)[:-1])


@lie(NotCanonical)
def the_answer_is_empty(chain: Chain) -> Visit:
    return read_list(chain, b"")


@lie(NotCanonical)
def the_answer_is_a_page_for_people(chain: Chain) -> Visit:
    return read_list(chain, b"<!doctype html><title>Your complete list</title>")


@lie(NotCanonical)
def the_answer_is_encoded_in_a_longer_form(chain: Chain) -> Visit:
    data = honest_state(chain)
    return read_state(chain, b"\xdc\x00" + bytes([data[0] - 0x90]) + data[1:])


@lie(NotCanonical)
def the_answer_is_of_a_kind_that_does_not_exist(chain: Chain) -> Visit:
    return read_state(chain, reencoded(honest_state(chain), (0,), lambda _: "truth"))


@lie(NotCanonical)
def a_list_is_offered_for_a_value(chain: Chain) -> Visit:
    return read_state(chain, honest_list(chain))


@lie(NotCanonical)
def one_value_is_offered_for_a_list(chain: Chain) -> Visit:
    return read_list(chain, honest_state(chain))


@lie(NotCanonical)
def a_field_is_added(chain: Chain) -> Visit:
    return read_state(chain, reencoded(honest_state(chain), (), lambda items: [*items, None]))


@lie(NotCanonical)
def the_proof_has_a_field_too_many(chain: Chain) -> Visit:
    return read_state(chain, reencoded(honest_state(chain), (4,), lambda items: [*items, None]))


@lie(NotCanonical)
def a_sibling_is_a_byte_short(chain: Chain) -> Visit:
    return read_state(chain, reencoded(honest_state(chain), (4, 2, 0), lambda hash_: hash_[:-1]))


@lie(TooLarge)
def an_entry_is_longer_than_any(chain: Chain) -> Visit:
    return read_list(chain, reencoded(honest_list(chain).encode(), (5, 0), lambda _: bytes(4_097)))


@lie(TooLarge)
def a_path_is_longer_than_any(chain: Chain) -> Visit:
    data = honest_entry(chain).encode()
    return read_entry(chain, reencoded(data, (7,), lambda _: [bytes(32)] * 65))


@lie(NotCanonical)
def the_header_is_of_another_version(chain: Chain) -> Visit:
    def change(header: bytes) -> bytes:
        return reencoded(header, (0,), lambda version: version + 1)

    return read_state(chain, reencoded(honest_state(chain), (1, 0), change))


@lie(NotCanonical)
def the_certificate_has_a_field_too_many(chain: Chain) -> Visit:
    def change(certificate: bytes) -> bytes:
        return reencoded(certificate, (), lambda items: [*items, b""])

    return read_state(chain, reencoded(honest_state(chain), (1, 1), change))


@lie(OutOfRange)
def the_certified_hash_is_a_byte_short(chain: Chain) -> Visit:
    def change(certificate: bytes) -> bytes:
        return reencoded(certificate, (2,), lambda hash_: hash_[:-1])

    return read_state(chain, reencoded(honest_state(chain), (1, 1), change))


@lie(TooLarge)
def a_signer_is_beyond_every_membership(chain: Chain) -> Visit:
    def change(certificate: bytes) -> bytes:
        return reencoded(certificate, (3, 0), lambda _: 2**53 + 1)

    return read_state(chain, reencoded(honest_state(chain), (1, 1), change))


# Values of the state


def with_permissions(chain: Chain) -> Chain:
    """Two permissions of different readers, and the key of a resident."""
    chain.values[PERMISSION] = fixed.permission().encode()
    other = replace(fixed.permission(), reader_member=fixed.hospital(1))
    chain.values[OTHER_PERMISSION] = other.encode()
    chain.values[USER] = codec.encode(fixed.genesis().users[0].to_value())
    return chain


def ask_permission(chain: Chain, bundle: Any) -> Visit:
    return visits.read_state(chain.trusted, bundle, PERMISSION, now(chain))


@lie(ProofInvalid)
def a_permission_is_given_to_another_reader(chain: Chain) -> Visit:
    bundle = with_permissions(chain).state_bundle(chain.commit(), PERMISSION)
    return ask_permission(chain, replace(bundle, value=chain.values[OTHER_PERMISSION]))


@lie(ProofInvalid)
def a_permission_is_prolonged(chain: Chain) -> Visit:
    bundle = with_permissions(chain).state_bundle(chain.commit(), PERMISSION)
    longer = replace(fixed.permission(), expires=Height(fixed.permission().expires + 1))
    return ask_permission(chain, replace(bundle, value=longer.encode()))


@lie(WrongKey)
def another_permission_is_shown(chain: Chain) -> Visit:
    return ask_permission(
        chain, with_permissions(chain).state_bundle(chain.commit(), OTHER_PERMISSION)
    )


@lie(ProofInvalid)
def a_revoked_permission_is_shown(chain: Chain) -> Visit:
    value = with_permissions(chain).values.pop(PERMISSION)
    return ask_permission(
        chain, replace(chain.state_bundle(chain.commit(), PERMISSION), value=value)
    )


@lie(StaleAnswer)
def a_revoked_permission_is_shown_as_it_was(chain: Chain) -> Visit:
    old = with_permissions(chain).state_bundle(chain.commit(), PERMISSION)
    late = now(chain) + MAX_AGE_MS
    return visits.read_state(chain.trusted, old, PERMISSION, late)


@lie(ProofInvalid)
def a_permission_is_said_to_be_revoked(chain: Chain) -> Visit:
    bundle = with_permissions(chain).state_bundle(chain.commit(), PERMISSION)
    return ask_permission(chain, replace(bundle, value=None))


@lie(ProofInvalid)
def a_residents_key_is_bound_to_somebody_else(chain: Chain) -> Visit:
    bundle = with_permissions(chain).state_bundle(chain.commit(), USER)
    bound = replace(fixed.genesis().users[0], patient=fixed.patient(9))
    value = codec.encode(bound.to_value())
    return visits.read_state(chain.trusted, replace(bundle, value=value), USER, now(chain))


@lie(ProofInvalid)
def a_residents_key_is_said_to_be_unknown(chain: Chain) -> Visit:
    bundle = with_permissions(chain).state_bundle(chain.commit(), USER)
    return visits.read_state(chain.trusted, replace(bundle, value=None), USER, now(chain))


# Some entries


def with_items(chain: Chain, change: Callable[[LogEntriesBundle], LogEntriesBundle]) -> Visit:
    bundle = chain.entries_bundle(chain.commit(), RELEASES, 0, 4, 8)
    return visits.read_entries(chain.trusted, change(bundle), RELEASES, now(chain))


@lie(ProofInvalid)
def one_of_some_entries_is_doubled(chain: Chain) -> Visit:
    return with_items(chain, lambda b: replace(b, items=(b.items[0], *b.items)))


@lie(ProofInvalid)
def some_entries_are_turned_around(chain: Chain) -> Visit:
    return with_items(chain, lambda b: replace(b, items=b.items[::-1]))


@lie(ProofInvalid)
def the_contents_of_two_entries_are_swapped(chain: Chain) -> Visit:
    def swap(bundle: LogEntriesBundle) -> LogEntriesBundle:
        a, b, c = bundle.items
        return replace(bundle, items=((a[0], b[1], a[2]), (b[0], a[1], b[2]), c))

    return with_items(chain, swap)


@lie(ProofInvalid)
def entries_are_shown_of_a_log_that_does_not_exist(chain: Chain) -> Visit:
    whole = chain.entries_bundle(chain.commit(), RELEASES, 0, 4, 8)
    del chain.values[RELEASES]
    state = chain.state_bundle(chain.commit(), RELEASES)
    return visits.read_entries(chain.trusted, replace(whole, state=state), RELEASES, now(chain))


# Return visits


@lie(WrongChain)
def an_address_in_the_genesis_document_is_changed(chain: Chain) -> Visit:
    members = chain.genesis.members
    moved = replace(members[0], name=members[0].name + "!")
    forged = replace(chain.genesis, members=(moved, *members[1:]))
    return read_genesis(forged.encode(), chain.genesis.chain_id)


@lie(NotCanonical)
def the_genesis_document_has_a_byte_too_many(chain: Chain) -> Visit:
    return read_genesis(chain.genesis.encode() + b"\x00", chain.genesis.chain_id)


@lie(StaleAnswer)
def an_old_header_as_the_newest(chain: Chain) -> Visit:
    return refresh(chain.trusted, (), chain.commit(), now(chain) + MAX_AGE_MS)


@lie(HeaderFromTheFuture)
def the_newest_header_is_from_the_future(chain: Chain) -> Visit:
    newest = chain.commit()
    early = newest.header.time_ms - HEADER_AHEAD_MAX_MS - 1
    return refresh(chain.trusted, (), newest, early)


@lie(WrongChain)
def the_newest_header_of_a_foreign_chain(chain: Chain) -> Visit:
    return refresh(chain.trusted, (), story(chain.n + 1).commit(), now(chain) + 1_000)


@lie(BadSignature)
def signatures_made_for_another_chain(chain: Chain) -> Visit:
    newest = chain.commit()
    foreign = replace(newest.header, chain_id=fixed.genesis(chain.n + 1).chain_id)
    signatures = signed_by(CertifiedHeader(foreign, newest.certificate), chain.signers())
    certificate = replace(newest.certificate, signatures=signatures.certificate.signatures)
    return refresh(chain.trusted, (), replace(newest, certificate=certificate), now(chain))


@lie(InsufficientSignatures)
def a_change_with_a_signature_too_few(chain: Chain) -> Visit:
    signers = chain.signers()[:-1]
    certified = chain.commit([*chain.voters, chain.n])
    change = replace(chain.changes[0], certified=signed_by(certified, signers))
    return refresh(chain.trusted, [change], chain.commit(), now(chain))


@lie(CertificateMismatch)
def a_change_with_the_certificate_of_another_header(chain: Chain) -> Visit:
    before = chain.commit()
    chain.commit([*chain.voters, chain.n])
    certified = replace(chain.changes[0].certified, certificate=before.certificate)
    change = replace(chain.changes[0], certified=certified)
    return refresh(chain.trusted, [change], chain.commit(), now(chain))


@lie(MembershipUnknown)
def a_change_that_is_none_with_a_made_up_membership(chain: Chain) -> Visit:
    certified = chain.commit()
    change = visits.MembershipChange(certified, fixed.membership(range(20, 24)))
    return refresh(chain.trusted, [change], chain.commit(), now(chain))


@lie(WrongChain)
def a_change_of_a_foreign_chain(chain: Chain) -> Visit:
    foreign = story(chain.n + 1)
    foreign.commit([*foreign.voters, 20])
    return refresh(chain.trusted, foreign.changes, chain.commit(), now(chain))


@lie(NotCanonical)
def a_change_whose_members_are_not_in_order(chain: Chain) -> Visit:
    chain.commit([*chain.voters, chain.n])
    told = reencoded(
        encode_changes(tuple(chain.changes)),
        (0, 2),
        lambda membership: reencoded(membership, (), lambda rows: rows[::-1]),
    )
    return refresh(chain.trusted, told, chain.commit(), now(chain))


@lie(NotCanonical)
def the_changes_are_no_list(chain: Chain) -> Visit:
    return refresh(chain.trusted, codec.encode("none"), chain.commit(), now(chain))


@lie(NotCanonical)
def the_newest_header_has_a_byte_too_many(chain: Chain) -> Visit:
    return refresh(chain.trusted, (), chain.commit().encode() + b"\x00", now(chain))


@lie(OutOfRange)
def a_member_has_no_proper_name(chain: Chain) -> Visit:
    chain.commit([*chain.voters, chain.n])
    told = reencoded(
        encode_changes(tuple(chain.changes)),
        (0, 2),
        lambda membership: reencoded(membership, (0, 0), lambda name: name.upper()),
    )
    return refresh(chain.trusted, told, chain.commit(), now(chain))
