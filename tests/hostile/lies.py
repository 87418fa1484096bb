"""Named lies of a server, and the error that each must meet in every client (LIGHT-1 to LIGHT-3).

A lie makes a visit out of a chain. Where it needs certified falsehood (a rule broken by the chain
itself), a quorum signs it here.
"""

from collections.abc import Callable
from dataclasses import replace

from ledger.crypto.hashing import Tag, signing_digest
from ledger.errors import BadSignature, NotCanonical, PeerFault, ProofInvalid
from ledger.light.bundles import LogBundle, LogEntryBundle, MembershipChange
from ledger.light.records import EntryRefused
from ledger.light.trust import (
    ConflictingHeader,
    HeaderFromTheFuture,
    HeaderGoesBack,
    MembershipUnknown,
    StaleAnswer,
    TrustedChain,
    WrongChain,
    advance,
)
from ledger.light.verify import ListIncomplete, WrongKey
from ledger.primitives import ZERO_HASH, TimestampMs, View
from ledger.types.certificate import (
    CertificateMismatch,
    CertifiedHeader,
    InsufficientSignatures,
    QuorumCertificate,
)
from ledger.types.entries import LogRoot, StatusChange, access_log, patient_log, release_log
from ledger.types.membership import Membership
from tests.hostile import visits
from tests.hostile.visits import Untrusted, Visit, read_accesses, read_genesis, refresh
from tests.light.kit import (
    BLOCK_MS,
    HOLDER,
    LIST,
    MAX_AGE_MS,
    OTHER_PATIENT,
    PATIENT,
    Chain,
    story,
)
from tests.vectors import fixed
from tests.vectors.fixed import FixedSigner

RELEASES = release_log(HOLDER)
Lie = Callable[[Chain], Visit]
LIES: dict[str, tuple[type[PeerFault], Lie]] = {}


def lie(error: type[PeerFault]) -> Callable[[Lie], Lie]:
    def register(told: Lie) -> Lie:
        LIES[told.__name__.replace("_", " ")] = (error, told)
        return told

    return register


def now(chain: Chain) -> int:
    return fixed.TIME_MS + chain.height * BLOCK_MS + 500


def read_list(chain: Chain, bundle: Untrusted, trusted: TrustedChain | None = None) -> Visit:
    return visits.read_list(trusted or chain.trusted, bundle, PATIENT, now(chain))


def read_state(chain: Chain, bundle: Untrusted, trusted: TrustedChain | None = None) -> Visit:
    return visits.read_state(trusted or chain.trusted, bundle, LIST, now(chain))


def read_entry(chain: Chain, bundle: Untrusted) -> Visit:
    return visits.read_entry(chain.trusted, bundle, RELEASES, now(chain))


def honest_list(chain: Chain) -> LogBundle:
    return chain.log_bundle(chain.commit(), LIST)


def honest_entry(chain: Chain, index: int = 4) -> LogEntryBundle:
    return chain.entry_bundle(chain.commit(), RELEASES, index)


def with_entries(chain: Chain, change: Callable[[list[bytes]], object]) -> Visit:
    """The honest list with its entries changed."""
    bundle = honest_list(chain)
    entries = list(bundle.entries)
    change(entries)
    return read_list(chain, replace(bundle, entries=tuple(entries)))


def with_certificate(chain: Chain, change: Callable[[CertifiedHeader], CertifiedHeader]) -> Visit:
    """The honest list under a changed certified header."""
    bundle = honest_list(chain)
    certified = change(bundle.state.certified)
    return read_list(chain, replace(bundle, state=replace(bundle.state, certified=certified)))


def signed_by(certified: CertifiedHeader, pairs: list[tuple[int, FixedSigner]]) -> CertifiedHeader:
    return replace(certified, certificate=fixed.certificate(certified.header, pairs))


def certified_lie(chain: Chain, *entries: bytes) -> Visit:
    """A quorum certifies a patient's log that ends in ``entries``."""
    chain.append(LIST, *entries)
    return read_list(chain, honest_list(chain))


# The list


@lie(ListIncomplete)
def a_row_is_dropped(chain: Chain) -> Visit:
    return with_entries(chain, lambda entries: entries.pop(2))


@lie(ListIncomplete)
def the_list_is_truncated(chain: Chain) -> Visit:
    return with_entries(chain, lambda entries: entries.pop())


@lie(ListIncomplete)
def the_list_is_empty(chain: Chain) -> Visit:
    return with_entries(chain, lambda entries: entries.clear())


@lie(ListIncomplete)
def a_row_is_doubled(chain: Chain) -> Visit:
    return with_entries(chain, lambda entries: entries.append(entries[0]))


@lie(ProofInvalid)
def a_row_is_doubled_over_another(chain: Chain) -> Visit:
    return with_entries(chain, lambda entries: entries.__setitem__(1, entries[0]))


@lie(ProofInvalid)
def rows_are_reordered(chain: Chain) -> Visit:
    return with_entries(chain, lambda entries: entries.reverse())


@lie(ProofInvalid)
def a_row_is_replaced_by_a_made_up_one(chain: Chain) -> Visit:
    return with_entries(chain, lambda entries: entries.__setitem__(1, fixed.row(9).encode()))


@lie(ProofInvalid)
def a_row_of_another_patient_stands_in(chain: Chain) -> Visit:
    other = chain.logs[patient_log(OTHER_PATIENT)][0]
    return with_entries(chain, lambda entries: entries.__setitem__(0, other))


@lie(ProofInvalid)
def a_rows_last_byte_is_changed(chain: Chain) -> Visit:
    def change(entries: list[bytes]) -> None:
        entries[0] = entries[0][:-1] + bytes([entries[0][-1] ^ 1])

    return with_entries(chain, change)


@lie(ProofInvalid)
def a_row_has_extra_bytes(chain: Chain) -> Visit:
    return with_entries(chain, lambda entries: entries.__setitem__(0, entries[0] + b"\x00"))


@lie(ListIncomplete)
def a_status_is_hidden(chain: Chain) -> Visit:
    return with_entries(chain, lambda entries: entries.pop(3))


@lie(ProofInvalid)
def a_status_is_replaced_by_a_row(chain: Chain) -> Visit:
    return with_entries(chain, lambda entries: entries.__setitem__(3, entries[0]))


@lie(WrongKey)
def the_list_of_another_patient(chain: Chain) -> Visit:
    return read_list(chain, chain.log_bundle(chain.commit(), patient_log(OTHER_PATIENT)))


@lie(ProofInvalid)
def the_list_of_another_patient_under_this_key(chain: Chain) -> Visit:
    bundle = chain.log_bundle(chain.commit(), patient_log(OTHER_PATIENT))
    return read_list(chain, replace(bundle, state=replace(bundle.state, key=LIST)))


@lie(ProofInvalid)
def no_list_is_said_of_one_that_exists(chain: Chain) -> Visit:
    bundle = honest_list(chain)
    return read_list(chain, LogBundle(replace(bundle.state, value=None), ()))


@lie(ListIncomplete)
def rows_are_shown_of_a_list_that_does_not_exist(chain: Chain) -> Visit:
    entries = tuple(chain.logs[LIST])
    del chain.values[LIST]
    certified = chain.commit()
    return read_list(chain, LogBundle(chain.state_bundle(certified, LIST), entries))


@lie(ProofInvalid)
def a_smaller_count_and_root_with_its_rows(chain: Chain) -> Visit:
    bundle = honest_list(chain)
    shorter = Chain(chain.n)
    shorter.append(LIST, *bundle.entries[:2])
    state = replace(bundle.state, value=shorter.values[LIST])
    return read_list(chain, LogBundle(state, bundle.entries[:2]))


@lie(ProofInvalid)
def the_count_is_raised(chain: Chain) -> Visit:
    bundle = honest_list(chain)
    log = LogRoot.decode(bundle.state.value or b"")
    state = replace(bundle.state, value=LogRoot(log.count + 1, log.root).encode())
    return read_list(chain, LogBundle(state, (*bundle.entries, bundle.entries[0])))


@lie(EntryRefused)
def a_certified_row_of_another_patient(chain: Chain) -> Visit:
    return certified_lie(chain, replace(fixed.row(8), patient=OTHER_PATIENT).encode())


@lie(EntryRefused)
def a_certified_status_of_a_row_that_is_not_there(chain: Chain) -> Visit:
    change = StatusChange(HOLDER, PATIENT, fixed.row(8).hash, "erased")
    return certified_lie(chain, change.encode())


@lie(EntryRefused)
def a_certified_status_before_its_row(chain: Chain) -> Visit:
    change = StatusChange(HOLDER, PATIENT, fixed.row(8).hash, "superseded")
    return certified_lie(chain, change.encode(), fixed.row(8).encode())


@lie(EntryRefused)
def a_certified_status_by_another_hospital(chain: Chain) -> Visit:
    change = StatusChange(fixed.hospital(2), PATIENT, fixed.row(1).hash, "superseded")
    return certified_lie(chain, change.encode())


@lie(EntryRefused)
def a_certified_status_of_another_patient(chain: Chain) -> Visit:
    change = StatusChange(HOLDER, OTHER_PATIENT, fixed.row(1).hash, "superseded")
    return certified_lie(chain, change.encode())


@lie(EntryRefused)
def a_certified_row_supersedes_one_that_is_not_there(chain: Chain) -> Visit:
    return certified_lie(chain, fixed.row(8, supersedes=fixed.row(9).hash).encode())


@lie(EntryRefused)
def a_certified_row_supersedes_another_hospitals(chain: Chain) -> Visit:
    return certified_lie(chain, fixed.row(8, member=2, supersedes=fixed.row(1).hash).encode())


@lie(NotCanonical)
def a_certified_entry_that_is_none(chain: Chain) -> Visit:
    return certified_lie(chain, b"\x01")


@lie(NotCanonical)
def a_certified_log_value_that_is_none(chain: Chain) -> Visit:
    chain.values[LIST] = b"\x01"
    return read_list(chain, honest_list(chain))


@lie(NotCanonical)
def a_certified_access_entry_that_is_none(chain: Chain) -> Visit:
    chain.append(access_log(PATIENT), fixed.row().encode())
    bundle = chain.log_bundle(chain.commit(), access_log(PATIENT))
    return read_accesses(chain.trusted, bundle, PATIENT, now(chain))


@lie(ListIncomplete)
def a_reader_is_left_out_of_the_access_log(chain: Chain) -> Visit:
    bundle = replace(chain.log_bundle(chain.commit(), access_log(PATIENT)), entries=())
    return read_accesses(chain.trusted, bundle, PATIENT, now(chain))


@lie(WrongKey)
def the_access_log_of_another_patient(chain: Chain) -> Visit:
    bundle = chain.log_bundle(chain.commit(), access_log(OTHER_PATIENT))
    return read_accesses(chain.trusted, bundle, PATIENT, now(chain))


# The state proof


def with_proof(chain: Chain, **fields: object) -> Visit:
    bundle = chain.state_bundle(chain.commit(), LIST)
    return read_state(chain, replace(bundle, proof=replace(bundle.proof, **fields)))


@lie(ProofInvalid)
def absent_is_said_of_a_present_key(chain: Chain) -> Visit:
    return read_state(chain, replace(chain.state_bundle(chain.commit(), LIST), value=None))


@lie(ProofInvalid)
def present_is_said_of_an_absent_key(chain: Chain) -> Visit:
    value = chain.values.pop(LIST)
    return read_state(chain, replace(chain.state_bundle(chain.commit(), LIST), value=value))


@lie(ProofInvalid)
def an_absence_proof_of_another_key(chain: Chain) -> Visit:
    absent = chain.state_bundle(chain.commit(), b"nothing here")
    return read_state(chain, replace(absent, key=LIST))


@lie(ProofInvalid)
def the_value_is_changed(chain: Chain) -> Visit:
    bundle = chain.state_bundle(chain.commit(), LIST)
    return read_state(chain, replace(bundle, value=(bundle.value or b"") + b"\x00"))


@lie(ProofInvalid)
def a_sibling_is_changed(chain: Chain) -> Visit:
    bundle = chain.state_bundle(chain.commit(), LIST)
    changed = (fixed.named_hash("x"), *bundle.proof.siblings[1:])
    return read_state(chain, replace(bundle, proof=replace(bundle.proof, siblings=changed)))


@lie(ProofInvalid)
def siblings_are_swapped(chain: Chain) -> Visit:
    bundle = chain.state_bundle(chain.commit(), LIST)
    swapped = replace(bundle.proof, siblings=bundle.proof.siblings[::-1])
    assert len(swapped.siblings) > 1
    return read_state(chain, replace(bundle, proof=swapped))


@lie(ProofInvalid)
def a_sibling_too_many(chain: Chain) -> Visit:
    bundle = chain.state_bundle(chain.commit(), LIST)
    more = replace(bundle.proof, siblings=(*bundle.proof.siblings, ZERO_HASH))
    return read_state(chain, replace(bundle, proof=more))


@lie(ProofInvalid)
def the_proof_is_deeper_than_its_bitmap(chain: Chain) -> Visit:
    return with_proof(chain, depth=200)


@lie(ProofInvalid)
def the_bitmap_has_extra_bytes(chain: Chain) -> Visit:
    bundle = chain.state_bundle(chain.commit(), LIST)
    longer = replace(bundle.proof, bitmap=bundle.proof.bitmap + b"\x00")
    return read_state(chain, replace(bundle, proof=longer))


@lie(ProofInvalid)
def a_proof_of_presence_names_another_leaf(chain: Chain) -> Visit:
    return with_proof(chain, other=(fixed.named_hash("a"), fixed.named_hash("b")))


@lie(ProofInvalid)
def the_roots_of_two_keys_are_swapped(chain: Chain) -> Visit:
    bundle = chain.state_bundle(chain.commit(), LIST)
    return read_state(chain, replace(bundle, value=chain.values[RELEASES]))


@lie(ProofInvalid)
def a_proof_of_an_older_state(chain: Chain) -> Visit:
    old = chain.state_bundle(chain.commit(), LIST)
    chain.append(LIST, fixed.row(6).encode())
    return read_state(chain, replace(old, certified=chain.commit()))


# One entry


@lie(ProofInvalid)
def the_entry_is_changed(chain: Chain) -> Visit:
    return read_entry(chain, replace(honest_entry(chain), entry=fixed.named_hash("made up")))


@lie(ProofInvalid)
def the_entry_is_moved_by_one(chain: Chain) -> Visit:
    return read_entry(chain, replace(honest_entry(chain), index=5))


@lie(ProofInvalid)
def the_entry_lies_past_the_end(chain: Chain) -> Visit:
    return read_entry(chain, replace(honest_entry(chain), index=9))


@lie(ProofInvalid)
def the_path_is_short(chain: Chain) -> Visit:
    bundle = honest_entry(chain)
    return read_entry(chain, replace(bundle, path=bundle.path[:-1]))


@lie(ProofInvalid)
def the_path_is_long(chain: Chain) -> Visit:
    bundle = honest_entry(chain)
    return read_entry(chain, replace(bundle, path=(*bundle.path, bundle.path[0])))


@lie(ProofInvalid)
def the_path_is_reversed(chain: Chain) -> Visit:
    bundle = honest_entry(chain)
    return read_entry(chain, replace(bundle, path=bundle.path[::-1]))


@lie(ProofInvalid)
def a_node_is_offered_as_an_entry(chain: Chain) -> Visit:
    bundle = honest_entry(chain, index=0)
    node = b"\x01" + bundle.path[0] + bundle.path[0]
    return read_entry(chain, replace(bundle, entry=node, path=bundle.path[1:]))


@lie(WrongKey)
def an_entry_of_another_log(chain: Chain) -> Visit:
    return read_entry(chain, chain.entry_bundle(chain.commit(), LIST, 0))


@lie(NotCanonical)
def an_entry_of_an_absent_log(chain: Chain) -> Visit:
    entry = honest_entry(chain)
    del chain.values[RELEASES]
    state = chain.state_bundle(chain.commit(), RELEASES)
    return read_entry(chain, replace(entry, state=state))


# The certificate


@lie(InsufficientSignatures)
def a_signature_is_missing(chain: Chain) -> Visit:
    return with_certificate(chain, lambda c: signed_by(c, chain.signers()[:-1]))


@lie(NotCanonical)
def one_signer_is_counted_twice(chain: Chain) -> Visit:
    return with_certificate(chain, lambda c: signed_by(c, [*chain.signers(), chain.signers()[-1]]))


@lie(NotCanonical)
def signers_are_not_sorted(chain: Chain) -> Visit:
    extra = (chain.n, fixed.validator_signer(chain.n))
    return with_certificate(chain, lambda c: signed_by(c, [extra, *chain.signers()]))


@lie(NotCanonical)
def an_outsider_signs(chain: Chain) -> Visit:
    outsider = (chain.n, fixed.validator_signer(chain.n))
    return with_certificate(chain, lambda c: signed_by(c, [*chain.signers(), outsider]))


@lie(BadSignature)
def one_signature_is_forged(chain: Chain) -> Visit:
    forged = [*chain.signers()[:-1], (chain.membership.quorum - 1, FixedSigner("outsider"))]
    return with_certificate(chain, lambda c: signed_by(c, forged))


@lie(NotCanonical)
def a_signer_has_no_signature(chain: Chain) -> Visit:
    return with_certificate(
        chain,
        lambda c: replace(
            c, certificate=replace(c.certificate, signatures=c.certificate.signatures[1:])
        ),
    )


@lie(BadSignature)
def the_signatures_are_prepares(chain: Chain) -> Visit:
    def change(certified: CertifiedHeader) -> CertifiedHeader:
        header = certified.header
        digest = signing_digest(
            Tag.SIGN_PREPARE,
            header.chain_id,
            header.height.to_bytes(8, "big"),
            bytes(8),
            header.hash,
        )
        pairs = chain.signers()
        certificate = QuorumCertificate(
            header.height,
            View(0),
            header.hash,
            tuple(index for index, _ in pairs),
            tuple(signer.sign(digest) for _, signer in pairs),
        )
        return CertifiedHeader(header, certificate)

    return with_certificate(chain, change)


@lie(BadSignature)
def the_certificate_claims_another_view(chain: Chain) -> Visit:
    return with_certificate(
        chain, lambda c: replace(c, certificate=replace(c.certificate, view=View(1)))
    )


@lie(CertificateMismatch)
def the_certificate_is_of_another_height(chain: Chain) -> Visit:
    old = chain.commit().certificate
    return with_certificate(chain, lambda c: replace(c, certificate=old))


@lie(CertificateMismatch)
def the_state_root_is_changed_under_the_certificate(chain: Chain) -> Visit:
    return with_certificate(
        chain,
        lambda c: replace(c, header=replace(c.header, state_root=fixed.named_hash("other"))),
    )


@lie(CertificateMismatch)
def the_time_is_changed_under_the_certificate(chain: Chain) -> Visit:
    return with_certificate(
        chain,
        lambda c: replace(c, header=replace(c.header, time_ms=TimestampMs(c.header.time_ms + 1))),
    )


# Chain, membership and age


@lie(WrongChain)
def a_foreign_chain(chain: Chain) -> Visit:
    foreign = story(chain.n + 1)
    return read_list(chain, foreign.log_bundle(foreign.commit(), LIST))


@lie(WrongChain)
def a_foreign_genesis(chain: Chain) -> Visit:
    return read_genesis(chain.genesis.encode(), fixed.genesis(chain.n + 1).chain_id)


@lie(StaleAnswer)
def an_old_header_within_a_true_chain(chain: Chain) -> Visit:
    bundle = honest_list(chain)
    late = now(chain) + MAX_AGE_MS
    return visits.read_list(chain.trusted, bundle, PATIENT, late)


@lie(HeaderGoesBack)
def a_header_below_the_trusted_one(chain: Chain) -> Visit:
    old = honest_list(chain)
    return read_list(chain, old, advance(chain.trusted, (), chain.commit()))


@lie(HeaderGoesBack)
def a_later_header_with_an_earlier_time(chain: Chain) -> Visit:
    trusted = advance(chain.trusted, (), chain.commit())
    header = replace(chain.header(), time_ms=trusted.time_ms)
    return refresh(trusted, (), chain.certify(header), now(chain))


@lie(ConflictingHeader)
def a_second_certified_header_at_the_trusted_height(chain: Chain) -> Visit:
    trusted = advance(chain.trusted, (), chain.commit())
    chain.height -= 1
    chain.append(LIST, fixed.row(6).encode())
    return read_list(chain, honest_list(chain), trusted)


@lie(HeaderFromTheFuture)
def a_header_from_the_future(chain: Chain) -> Visit:
    bundle = honest_list(chain)
    return visits.read_log(chain.trusted, bundle, LIST, now(chain) - 60_000)


@lie(MembershipUnknown)
def a_membership_that_was_not_shown(chain: Chain) -> Visit:
    chain.commit([*chain.voters, chain.n])
    return read_list(chain, honest_list(chain))


@lie(MembershipUnknown)
def the_former_membership_goes_on(chain: Chain) -> Visit:
    former = list(chain.voters)
    chain.commit([*chain.voters, chain.n])
    trusted = advance(chain.trusted, chain.changes, chain.commit())
    chain.voters = former
    return read_list(chain, honest_list(chain), trusted)


@lie(BadSignature)
def the_former_membership_signs_for_the_new_one(chain: Chain) -> Visit:
    chain.commit([*chain.voters[1:], chain.n])
    trusted = advance(chain.trusted, chain.changes, chain.commit())
    bundle = honest_list(chain)
    quorum = chain.membership.quorum
    former = [(i, fixed.validator_signer(i)) for i in range(quorum)]
    certified = signed_by(bundle.state.certified, former)
    return read_list(
        chain, replace(bundle, state=replace(bundle.state, certified=certified)), trusted
    )


@lie(MembershipUnknown)
def a_change_to_another_membership_than_certified(chain: Chain) -> Visit:
    certified = chain.commit([*chain.voters, chain.n])
    false = MembershipChange(certified, fixed.membership([*chain.voters, 20]))
    return refresh(chain.trusted, [false], certified, now(chain))


@lie(BadSignature)
def a_change_that_only_the_newcomers_certify(chain: Chain) -> Visit:
    strangers = Membership(fixed.membership(range(20, 20 + chain.n)).validators)
    header = replace(chain.header(), next_membership=strangers.hash)
    pairs = [(i, fixed.validator_signer(20 + i)) for i in range(strangers.quorum)]
    certified = CertifiedHeader(header, fixed.certificate(header, pairs))
    return refresh(chain.trusted, [MembershipChange(certified, strangers)], certified, now(chain))


@lie(MembershipUnknown)
def a_change_is_left_out(chain: Chain) -> Visit:
    chain.commit([*chain.voters, chain.n])
    chain.commit([*chain.voters, chain.n + 1])
    return refresh(chain.trusted, chain.changes[1:], chain.commit(), now(chain))


@lie(HeaderGoesBack)
def a_change_is_told_twice(chain: Chain) -> Visit:
    chain.commit([*chain.voters, chain.n])
    return refresh(chain.trusted, chain.changes * 2, chain.commit(), now(chain))


@lie(MembershipUnknown)
def changes_in_the_wrong_order(chain: Chain) -> Visit:
    chain.commit([*chain.voters, chain.n])
    chain.commit([*chain.voters, chain.n + 1])
    return refresh(chain.trusted, chain.changes[::-1], chain.commit(), now(chain))


@lie(MembershipUnknown)
def the_newest_header_hides_its_change(chain: Chain) -> Visit:
    return refresh(chain.trusted, (), chain.commit([*chain.voters, chain.n]), now(chain))
