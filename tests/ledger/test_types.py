"""Wire types: one encoding each, and decoders that refuse everything else as a peer's fault."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import codec
from ledger.crypto.hashing import Tag, hash_tagged, signing_digest
from ledger.crypto.sealing import Metadata
from ledger.errors import BadSignature, NotCanonical, OutOfRange, PeerFault, TooLarge
from ledger.limits import BLOCK_BYTES_MAX, TRANSACTION_BYTES_MAX, VALIDATORS_MAX
from ledger.primitives import Hash32, Height, MemberId, Nonce, Signature, View
from ledger.types.block import Block, Header, Receipt
from ledger.types.certificate import (
    CertificateMismatch,
    CertifiedHeader,
    InsufficientSignatures,
    QuorumCertificate,
    verify_certified_header,
    verify_quorum_certificate,
)
from ledger.types.entries import (
    Disclosed,
    LogRoot,
    Permission,
    ReleaseDisclosed,
    decode_patient_entry,
    log_root_of,
)
from ledger.types.evidence import Evidence
from ledger.types.genesis import Genesis
from ledger.types.governance import Proposal
from ledger.types.membership import Membership, Validator, Voters, checked_membership
from ledger.types.residents import (
    Share,
    decode_copies,
    decode_directives,
    encode_copies,
    encode_directives,
)
from ledger.types.transaction import SignedTransaction, Transaction, verify_transaction
from tests.vectors import fixed
from tests.vectors.fixed import FixedSigner

Again = Callable[[bytes], bytes]

DECODERS: dict[str, tuple[bytes, Again]] = {
    "transaction": (fixed.transaction().encode(), lambda d: Transaction.decode(d).encode()),
    "signed transaction": (
        fixed.signed_transaction().encoded,
        lambda d: (lambda t: codec.encode([t.body.encode(), t.signature]))(
            SignedTransaction.decode(d)
        ),
    ),
    "header": (fixed.header().encode(), lambda d: Header.decode(d).encode()),
    "block": (fixed.block().encoded, lambda d: Block.decode(d).encoded),
    "receipt": (fixed.receipt().encode(), lambda d: Receipt.decode(d).encode()),
    "membership": (fixed.membership(range(4)).encode(), lambda d: Membership.decode(d).encode()),
    "certificate": (
        fixed.certified_header().certificate.encode(),
        lambda d: QuorumCertificate.decode(d).encode(),
    ),
    "certified header": (
        fixed.certified_header().encode(),
        lambda d: CertifiedHeader.decode(d).encode(),
    ),
    "genesis": (fixed.genesis().encode(), lambda d: Genesis.decode(d).encode()),
    "row": (fixed.row().encode(), lambda d: decode_patient_entry(d).encode()),
    "status change": (fixed.status_change().encode(), lambda d: decode_patient_entry(d).encode()),
    "permission": (fixed.permission().encode(), lambda d: Permission.decode(d).encode()),
    "directives": (
        encode_directives([fixed.directive()]),
        lambda d: encode_directives(decode_directives(d)),
    ),
    "copy requests": (
        encode_copies([fixed.copy_request()]),
        lambda d: encode_copies(decode_copies(d)),
    ),
    "share": (fixed.share().encode(), lambda d: Share.decode(d).encode()),
    "disclosed": (fixed.disclosed().encode(), lambda d: Disclosed.decode(d).encode()),
    "release disclosed": (
        fixed.release_disclosed().encode(),
        lambda d: ReleaseDisclosed.decode(d).encode(),
    ),
    "voters": (fixed.voters().encoded, lambda d: Voters.decode(d).encoded),
    "proposal": (
        fixed.proposal(fixed.admission()).encode(),
        lambda d: Proposal.decode(d).encode(),
    ),
    "evidence": (fixed.evidence().encode(), lambda d: Evidence.decode(d).encode()),
    "log root": (fixed.log_root().encode(), lambda d: LogRoot.decode(d).encode()),
    "metadata": (fixed.METADATA.encode(), lambda d: Metadata.decode(d).encode()),
}
each_type = pytest.mark.parametrize("name", DECODERS)

field_values = st.recursive(
    st.none()
    | st.integers(0, 2**64 - 1)
    | st.binary(max_size=66)
    | st.sampled_from([b"", bytes(32), bytes(65)])
    | st.sampled_from(["", "a", "hospital-00", "Hospital", "superseded"]),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=12,
)


def refused_or_same(again: Again, data: bytes) -> None:
    try:
        encoded = again(data)
    except PeerFault:
        return
    assert encoded == data


@each_type
def test_B1_an_example_of_each_type_comes_back(name: str) -> None:
    data, again = DECODERS[name]
    assert again(data) == data


@each_type
@settings(max_examples=60)
@given(data=st.binary(max_size=200))
def test_B1_any_bytes_are_refused_or_come_back(name: str, data: bytes) -> None:
    refused_or_same(DECODERS[name][1], data)


@each_type
@settings(max_examples=60, deadline=None)
@given(drawn=st.data())
def test_B1_damaged_examples_are_refused_or_come_back(name: str, drawn: st.DataObject) -> None:
    example, again = DECODERS[name]
    start = drawn.draw(st.integers(0, len(example)))
    end = drawn.draw(st.integers(start, min(len(example), start + 8)))
    refused_or_same(again, example[:start] + drawn.draw(st.binary(max_size=8)) + example[end:])


@each_type
@settings(max_examples=60, deadline=None)
@given(drawn=st.data())
def test_B2_a_field_of_another_kind_is_refused_or_comes_back(
    name: str, drawn: st.DataObject
) -> None:
    example, again = DECODERS[name]
    fields = list(codec.decode(example, len(example), name))
    fields[drawn.draw(st.integers(0, len(fields) - 1))] = drawn.draw(field_values)
    refused_or_same(again, codec.encode(fields))


@each_type
def test_B1_missing_and_surplus_fields_are_refused(name: str) -> None:
    example, again = DECODERS[name]
    fields = codec.decode(example, len(example), name)
    wrong = [example + b"\x00", example[:-1], b"", b"\xc0", b"\x80"]
    if name not in ("directives", "copy requests"):  # of a patient who has none
        wrong.append(codec.encode([]))
    if name not in ("membership", "directives", "copy requests"):  # lists of any number
        wrong += [codec.encode([*fields, None]), codec.encode(fields[:-1])]
    for data in wrong:
        with pytest.raises(PeerFault):
            again(data)


def test_B1_sizes_are_checked_before_anything_is_decoded() -> None:
    for decode, limit in (
        (SignedTransaction.decode, TRANSACTION_BYTES_MAX),
        (Transaction.decode, TRANSACTION_BYTES_MAX),
        (Block.decode, BLOCK_BYTES_MAX),
    ):
        with pytest.raises(TooLarge):
            decode(bytes(limit + 1))


def single_bit_flips(data: bytes) -> list[bytes]:
    number = int.from_bytes(data, "big")
    return [(number ^ 1 << place).to_bytes(len(data), "big") for place in range(8 * len(data))]


def test_B4_every_flipped_bit_of_a_signed_transaction_is_refused() -> None:
    key = FixedSigner("doctor").public_key
    encoded = fixed.signed_transaction().encoded
    verify_transaction(SignedTransaction.decode(encoded), key)
    for flipped in single_bit_flips(encoded):
        with pytest.raises(PeerFault):
            verify_transaction(SignedTransaction.decode(flipped), key)


def test_B5_every_flipped_bit_of_a_certified_header_is_refused() -> None:
    genesis = fixed.genesis(1)
    encoded = fixed.certified_header(1).encode()
    verify_certified_header(CertifiedHeader.decode(encoded), genesis.membership, genesis.chain_id)
    for flipped in single_bit_flips(encoded):
        with pytest.raises(PeerFault):
            verify_certified_header(
                CertifiedHeader.decode(flipped), genesis.membership, genesis.chain_id
            )


def test_B4_the_signature_is_no_part_of_a_transactions_id() -> None:
    body = fixed.transaction().encode()
    other = codec.encode([body, FixedSigner("vendor").sign(fixed.named_hash("anything"))])
    assert SignedTransaction.decode(other).id == fixed.signed_transaction().id


def test_B4_another_key_or_chain_is_refused() -> None:
    signed = fixed.signed_transaction()
    with pytest.raises(NotCanonical):
        verify_transaction(signed, FixedSigner("vendor").public_key)
    body = replace(signed.body, chain_id=fixed.named_hash("other chain"))
    moved = SignedTransaction.decode(codec.encode([body.encode(), signed.signature]))
    with pytest.raises(BadSignature):
        verify_transaction(moved, FixedSigner("doctor").public_key)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_B5_certificate_rules(n: int) -> None:
    members, chain_id = fixed.membership(range(n)), fixed.genesis(n).chain_id
    header, quorum = fixed.header(n), members.quorum
    pairs = [(i, fixed.validator_signer(i)) for i in range(n)]

    def check(*signers: tuple[int, FixedSigner]) -> None:
        certificate = fixed.certificate(header, list(signers))
        verify_quorum_certificate(certificate, members, chain_id)

    check(*pairs[:quorum])
    check(*pairs)
    check(*pairs[n - quorum :])
    with pytest.raises(InsufficientSignatures) as caught:
        check(*pairs[: quorum - 1])
    assert (caught.value.got, caught.value.needed) == (quorum - 1, quorum)
    for wrong in (
        [*pairs[:quorum], pairs[quorum - 1]],
        [pairs[0]] * quorum + [pairs[0]],
        [*pairs[:quorum], (n, FixedSigner("outsider"))],
        [*pairs, pairs[0]],
    ):
        with pytest.raises(NotCanonical):
            check(*wrong)
    with pytest.raises(BadSignature):
        check(*pairs[: quorum - 1], (quorum - 1, FixedSigner("outsider")))
    good = fixed.certificate(header, pairs[:quorum])
    for changed in (
        replace(good, view=View(1)),
        replace(good, height=Height(2)),
        replace(good, block_hash=fixed.named_hash("other block")),
    ):
        with pytest.raises(BadSignature):
            verify_quorum_certificate(changed, members, chain_id)
    with pytest.raises(BadSignature):
        verify_quorum_certificate(good, members, fixed.named_hash("other chain"))
    with pytest.raises(NotCanonical):
        verify_quorum_certificate(replace(good, signatures=()), members, chain_id)


def test_B5_junk_beside_a_quorum_is_refused() -> None:
    members, chain_id = fixed.membership(range(4)), fixed.genesis().chain_id
    pairs = [(i, fixed.validator_signer(i)) for i in range(3)]
    junk = fixed.certificate(fixed.header(), [*pairs, (3, FixedSigner("outsider"))])
    with pytest.raises(BadSignature):
        verify_quorum_certificate(junk, members, chain_id)


@pytest.mark.parametrize(
    "tag",
    [Tag.SIGN_PREPARE, Tag.SIGN_PRE_PREPARE, Tag.SIGN_VIEW_CHANGE, Tag.SIGN_NEW_VIEW, Tag.HEADER],
)
def test_B3_a_vote_of_another_kind_is_no_commit(tag: Tag) -> None:
    header, members = fixed.header(1), fixed.membership(range(1))
    zero = (0).to_bytes(8, "big")
    digest = signing_digest(tag, header.chain_id, (1).to_bytes(8, "big"), zero, header.hash)
    certificate = QuorumCertificate(
        Height(1), View(0), header.hash, (0,), (fixed.validator_signer(0).sign(digest),)
    )
    with pytest.raises(BadSignature):
        verify_quorum_certificate(certificate, members, header.chain_id)


def test_B5_a_header_needs_its_own_certificate() -> None:
    genesis, good = fixed.genesis(), fixed.certified_header()
    other = replace(good.header, state_root=fixed.named_hash("other state"))
    for wrong in (
        CertifiedHeader(other, good.certificate),
        CertifiedHeader(good.header, replace(good.certificate, height=Height(2))),
        CertifiedHeader(replace(good.header, membership=fixed.named_hash("x")), good.certificate),
        CertifiedHeader(replace(good.header, chain_id=fixed.named_hash("x")), good.certificate),
    ):
        with pytest.raises(CertificateMismatch):
            verify_certified_header(wrong, genesis.membership, genesis.chain_id)


def test_a_block_counts_its_transactions() -> None:
    block = fixed.block()
    for body in ((), block.transactions * 2):
        with pytest.raises(NotCanonical):
            Block.decode(Block(block.header, body).encoded)


def test_membership_rules() -> None:
    one, two = fixed.membership(range(2)).validators
    for wrong in (
        (),
        (two, one),
        (one, one),
        (one, Validator(two.member, one.public_key)),
        (one, Validator(one.member, two.public_key)),
    ):
        with pytest.raises(NotCanonical):
            checked_membership(wrong)
        with pytest.raises(NotCanonical):
            Membership.decode(Membership(wrong).encode())
    rows = [[f"m-{i:03d}", one.public_key.encoded] for i in range(VALIDATORS_MAX + 1)]
    with pytest.raises(PeerFault):
        Membership.decode(codec.encode(rows))


def test_membership_primary_takes_turns_with_views_and_heights() -> None:
    members = fixed.membership(range(4))
    assert [members.primary(Height(1), View(v), 10) for v in range(5)] == [0, 1, 2, 3, 0]
    assert [members.primary(Height(h), View(0), 10) for h in (9, 10, 39, 40)] == [0, 1, 3, 0]
    assert members.index_of(fixed.hospital(2)) == 2
    assert members.index_of(MemberId("vendor")) is None


def test_genesis_rules() -> None:
    good = fixed.genesis()
    hospital, doctor = good.member(fixed.hospital(0)), good.users[0]
    assert hospital is not None
    for wrong in (
        replace(good, members=good.members[::-1]),
        replace(good, members=(good.members[0], *good.members)),
        replace(good, users=good.users[::-1]),
        replace(good, users=(doctor, doctor)),
        replace(good, users=(replace(doctor, member=MemberId("nobody")),)),
        replace(good, users=(replace(doctor, public_key=fixed.validator_signer(1).public_key),)),
        replace(good, wrapped_group_keys=good.wrapped_group_keys[1:]),
        replace(good, parameters=replace(good.parameters, rotation=0)),
        replace(good, parameters=replace(good.parameters, release_patients_min=0)),
        replace(good, members=(replace(hospital, consensus_key=b""), *good.members[1:])),
        replace(good, members=(replace(hospital, kind="school"), *good.members[1:])),
        replace(good, users=(replace(doctor, roles=("king",)), good.users[1])),
        replace(good, users=(replace(doctor, patient=None, roles=("resident",)), good.users[1])),
    ):
        with pytest.raises(NotCanonical):
            Genesis.decode(wrong.encode())


def test_genesis_chain_id_depends_on_every_part() -> None:
    good = fixed.genesis()
    ids = {
        good.chain_id,
        replace(good, network="other").chain_id,
        replace(good, time_ms=good.time_ms + 1).chain_id,
        replace(good, users=()).chain_id,
        fixed.genesis(5).chain_id,
    }
    assert len(ids) == 5
    assert good.chain_id == hash_tagged(Tag.GENESIS, good.encode())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Hash32(bytes(31)),
        lambda: Hash32(bytes(33)),
        lambda: Nonce(bytes(15)),
        lambda: Signature(bytes(64)),
        lambda: Height(-1),
        lambda: View(2**64),
        lambda: MemberId(""),
        lambda: MemberId("-a"),
        lambda: MemberId("a-"),
        lambda: MemberId("A"),
        lambda: MemberId("a" * 33),
        lambda: MemberId("a\n"),
        lambda: MemberId("a/b"),
    ],
)
def test_B2_primitives_check_their_range(make: Callable[[], object]) -> None:
    with pytest.raises(OutOfRange):
        make()


def test_M1_voters_are_those_of_the_height() -> None:
    before, after = fixed.membership(range(4)), fixed.membership(range(5))
    genesis = Voters(Height(1), before, None)
    assert [genesis.of(Height(height)) for height in (0, 1, 2)] == [before] * 3
    changed = genesis.changed(Height(7), after)
    assert [changed.of(Height(height)) for height in (7, 8, 9)] == [before, after, after]
    assert Voters.decode(changed.encoded) == changed


@pytest.mark.parametrize(("since", "has_previous"), [(1, True), (0, True), (2, False)])
def test_M1_voters_of_height_1_alone_have_no_predecessors(since: int, has_previous: bool) -> None:
    members = fixed.membership(range(4))
    wrong = Voters(Height(since), members, members if has_previous else None)
    with pytest.raises(NotCanonical, match="predecessors"):
        Voters.decode(wrong.encoded)


def test_a_validator_is_found_by_its_member() -> None:
    members = fixed.membership(range(4))
    places = [members.index_of(fixed.hospital(number)) for number in range(5)]
    assert places == [0, 1, 2, 3, None]


@pytest.mark.parametrize("count", [0, 127, 128, 2**16, 2**32, 2**64 - 1])
def test_a_logs_value_is_told_from_others(count: int) -> None:
    log = LogRoot(count, fixed.named_hash("root"))
    value = log.encode()
    assert log_root_of(value) == log
    for other in (b"", value[:-1], value + b"\x00", b"\x93" + value[1:], b"\xc0" * len(value)):
        assert log_root_of(other) is None


def test_a_receipt_says_whether_its_action_took_effect() -> None:
    refused = fixed.receipt()
    assert not refused.ok
    assert replace(refused, code="ok").ok
