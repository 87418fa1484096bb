"""A small chain in memory: real signatures, real proofs, made by slow and obvious provers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from ledger.crypto.hashing import Tag, hash_tagged
from ledger.light.bundles import (
    LogBundle,
    LogEntriesBundle,
    LogEntryBundle,
    MembershipChange,
    StateBundle,
)
from ledger.light.trust import TrustedChain, trust_genesis
from ledger.merkle.proof import StateProof
from ledger.primitives import ZERO_HASH, Hash32, Height, MemberId, TimestampMs
from ledger.types.block import Header
from ledger.types.certificate import CertifiedHeader
from ledger.types.entries import (
    LogRoot,
    StatusChange,
    access_log,
    encode_view_hashes,
    patient_log,
    release_log,
    view_key,
)
from ledger.types.genesis import Genesis
from ledger.types.membership import Membership
from tests.vectors import fixed

PATIENT, OTHER_PATIENT = fixed.patient(1), fixed.patient(2)
LIST = patient_log(PATIENT)
HOLDER = fixed.hospital(0)
BLOCK_MS = 1_000
MAX_AGE_MS = 120_000

Leaf = tuple[Hash32, Hash32]
"""Position and value hash."""


def leaves_of(values: dict[bytes, bytes]) -> list[Leaf]:
    """All leaves of the state tree, unsorted: the provers below do not care."""
    return [
        (hash_tagged(Tag.STATE_KEY, key), Hash32(sha256(value).digest()))
        for key, value in values.items()
    ]


def bit(position: bytes, depth: int) -> int:
    """Bit ``depth`` of a position, most significant first."""
    return position[depth // 8] >> (7 - depth % 8) & 1


def subtree(leaves: Sequence[Leaf], depth: int = 0) -> Hash32:
    """Root of the state tree over these leaves, from its definition."""
    if not leaves:
        return ZERO_HASH
    if len(leaves) == 1:
        return Hash32(sha256(b"\x00" + leaves[0][0] + leaves[0][1]).digest())
    left = subtree([leaf for leaf in leaves if not bit(leaf[0], depth)], depth + 1)
    right = subtree([leaf for leaf in leaves if bit(leaf[0], depth)], depth + 1)
    return Hash32(sha256(b"\x01" + left + right).digest())


def prove_state(values: dict[bytes, bytes], key: bytes) -> StateProof:
    """The proof of presence or absence of ``key``."""
    position, leaves, siblings = hash_tagged(Tag.STATE_KEY, key), leaves_of(values), []
    while len(leaves) > 1:
        depth = len(siblings)
        siblings.append(
            subtree([x for x in leaves if bit(x[0], depth) != bit(position, depth)], depth + 1)
        )
        leaves = [x for x in leaves if bit(x[0], depth) == bit(position, depth)]
    bits = "".join("0" if sibling == ZERO_HASH else "1" for sibling in siblings)
    padded = bits + "0" * (-len(bits) % 8)
    return StateProof(
        len(siblings),
        bytes(int(padded[i : i + 8], 2) for i in range(0, len(padded), 8)),
        tuple(sibling for sibling in siblings if sibling != ZERO_HASH),
        leaves[0] if leaves and leaves[0][0] != position else None,
    )


def log_root(entries: Sequence[bytes]) -> Hash32:
    """RFC 6962, 2.1."""
    if not entries:
        return Hash32(sha256().digest())
    if len(entries) == 1:
        return Hash32(sha256(b"\x00" + entries[0]).digest())
    k = split(len(entries))
    left, right = log_root(entries[:k]), log_root(entries[k:])
    return Hash32(sha256(b"\x01" + left + right).digest())


def prove_inclusion(entries: Sequence[bytes], index: int) -> tuple[Hash32, ...]:
    """RFC 6962, 2.1.1."""
    if len(entries) == 1:
        return ()
    k = split(len(entries))
    if index < k:
        return (*prove_inclusion(entries[:k], index), log_root(entries[k:]))
    return (*prove_inclusion(entries[k:], index - k), log_root(entries[:k]))


def split(count: int) -> int:
    """Largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1


@dataclass
class Chain:
    """A network of ``n`` hospitals whose blocks are made by hand."""

    n: int
    height: int = 0
    values: dict[bytes, bytes] = field(default_factory=dict)
    logs: dict[bytes, list[bytes]] = field(default_factory=dict)
    changes: list[MembershipChange] = field(default_factory=list)
    voters: list[int] = field(default_factory=list)
    """Hospitals that vote on the next height."""

    def __post_init__(self) -> None:
        self.voters = list(range(self.n))

    @property
    def genesis(self) -> Genesis:
        """The document that a client begins with."""
        return fixed.genesis(self.n)

    @property
    def trusted(self) -> TrustedChain:
        """What a new client trusts."""
        return trust_genesis(self.genesis.encode(), None)

    @property
    def membership(self) -> Membership:
        """Votes on the next height."""
        return fixed.membership(self.voters)

    def append(self, log: bytes, *entries: bytes) -> None:
        """Appends to a log and sets its [count, root]."""
        self.logs.setdefault(log, []).extend(entries)
        kept = self.logs[log]
        self.values[log] = LogRoot(len(kept), log_root(kept)).encode()

    def header(self, next_voters: list[int] | None = None) -> Header:
        """The next header over the state as it is now."""
        height = self.height + 1
        following = self.membership if next_voters is None else fixed.membership(next_voters)
        return Header(
            chain_id=self.genesis.chain_id,
            height=Height(height),
            time_ms=TimestampMs(fixed.TIME_MS + height * BLOCK_MS),
            parent=fixed.named_hash(f"parent of {height}"),
            proposer=MemberId("hospital-00"),
            transaction_count=0,
            transaction_root=log_root([]),
            receipt_root=log_root([]),
            state_root=subtree(leaves_of(self.values)),
            membership=self.membership.hash,
            next_membership=following.hash,
        )

    def certify(self, header: Header, view: int = 0) -> CertifiedHeader:
        """By the smallest quorum of those who vote on the next height."""
        return CertifiedHeader(header, fixed.certificate(header, self.signers(), view))

    def signers(self) -> list[tuple[int, fixed.FixedSigner]]:
        """A quorum of (index, key)."""
        quorum = self.membership.quorum
        return [(i, fixed.validator_signer(who)) for i, who in enumerate(self.voters[:quorum])]

    def commit(self, next_voters: list[int] | None = None) -> CertifiedHeader:
        """Makes the next block, and remembers its membership change if there is one."""
        certified = self.certify(self.header(next_voters))
        self.height += 1
        if next_voters is not None:
            self.voters = next_voters
            self.changes.append(MembershipChange(certified, self.membership))
        return certified

    def state_bundle(self, certified: CertifiedHeader, key: bytes) -> StateBundle:
        """Answer about one key, as the state is now."""
        return StateBundle(certified, key, self.values.get(key), prove_state(self.values, key))

    def log_bundle(self, certified: CertifiedHeader, log: bytes) -> LogBundle:
        """Answer with one whole log."""
        return LogBundle(self.state_bundle(certified, log), tuple(self.logs.get(log, ())))

    def entry_bundle(self, certified: CertifiedHeader, log: bytes, index: int) -> LogEntryBundle:
        """Answer with one entry of a log."""
        entries = self.logs[log]
        path = prove_inclusion(entries, index)
        return LogEntryBundle(self.state_bundle(certified, log), index, entries[index], path)

    def entries_bundle(
        self, certified: CertifiedHeader, log: bytes, *indexes: int
    ) -> LogEntriesBundle:
        """Answer with some entries of a log."""
        ones = [self.entry_bundle(certified, log, index) for index in indexes]
        items = tuple((one.index, one.entry, one.path) for one in ones)
        return LogEntriesBundle(self.state_bundle(certified, log), items)


def story(n: int) -> Chain:
    """Two patients, a superseded row, one entered in error, reads, releases; no block yet.

    Patient 1's log: row 1, row 2, row 3 of another hospital, row 2 in error, row 1 superseded,
    row 4 which supersedes it.
    """
    chain = Chain(n)
    first, second, other = fixed.row(1), fixed.row(2), fixed.row(3, member=1)
    chain.append(
        LIST,
        first.encode(),
        second.encode(),
        other.encode(),
        StatusChange(HOLDER, PATIENT, second.hash, "entered-in-error").encode(),
        StatusChange(HOLDER, PATIENT, first.hash, "superseded").encode(),
        fixed.row(4, supersedes=first.hash).encode(),
    )
    foreign = replace(fixed.row(5), patient=OTHER_PATIENT)
    chain.append(patient_log(OTHER_PATIENT), foreign.encode())
    chain.append(access_log(PATIENT), fixed.disclosed().encode())
    chain.append(release_log(HOLDER), *(fixed.named_hash(f"release {i}") for i in range(9)))
    chain.values[b"parameters"] = b"\x94\x08\x64\x01\x02"
    for view, rules in fixed.VIEW_RULES.items():
        chain.values[view_key(view)] = encode_view_hashes((rules.hash,))
    return chain
