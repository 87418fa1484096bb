"""What a light client trusts, and how that grows: genesis, then certified headers.

Only headers at which the membership changed are followed; every other header between them may
be skipped, because the membership that certifies the newest one is known (LIGHT-1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger import codec
from ledger.errors import NotCanonical, PeerFault
from ledger.light.bundles import MembershipChange
from ledger.limits import BLOCK_TIME_AHEAD_MAX_MS
from ledger.primitives import ZERO_HASH, Hash32, Height, TimestampMs
from ledger.types.block import Header
from ledger.types.certificate import CertifiedHeader, verify_certified_header
from ledger.types.genesis import Genesis
from ledger.types.membership import MEMBERSHIP_BYTES_MAX, Membership

HEADER_AHEAD_MAX_MS = 2 * BLOCK_TIME_AHEAD_MAX_MS
"""Validators allow a block BLOCK_TIME_AHEAD_MAX_MS; the client's clock may be as far off."""

TRUSTED_CHAIN_BYTES_MAX = 2 * MEMBERSHIP_BYTES_MAX + 256


@dataclass(eq=False)
class WrongChain(PeerFault):
    """A genesis document or header belongs to another network than the trusted one."""

    what: str
    found: Hash32
    expected: Hash32
    template = (
        "{what}: it belongs to chain {found}, {expected} is trusted; "
        "get the genesis document from your hospital and compare its chain id"
    )


@dataclass(eq=False)
class MembershipUnknown(PeerFault):
    """The membership that votes after or on a header was not shown."""

    height: Height
    trusted: Height
    template = (
        "height {height}: its membership is not known from height {trusted}; "
        "fetch the membership changes since then"
    )


@dataclass(eq=False)
class HeaderGoesBack(PeerFault):
    """A header lies below the trusted one, or is not later than it."""

    height: Height
    trusted: Height
    template = (
        "height {height} comes before the trusted height {trusted}, or its time does; "
        "ask again, or ask another server"
    )


@dataclass(eq=False)
class ConflictingHeader(PeerFault):
    """A different header at the trusted height: keep both, one of them proves a fault."""

    height: Height
    found: Hash32
    trusted: Hash32
    template = "height {height}: header {found} is not the trusted {trusted}; report both"


@dataclass(eq=False)
class StaleAnswer(PeerFault):
    """An answer rests on a header older than the bound (LIGHT-3)."""

    height: Height
    age_ms: int
    limit_ms: int
    template = (
        "height {height}: the answer is {age_ms} ms old, {limit_ms} ms are allowed; "
        "ask again, or ask another server"
    )


@dataclass(eq=False)
class HeaderFromTheFuture(PeerFault):
    """A header's time is further ahead of this device's clock than the bound (LIGHT-3)."""

    height: Height
    ahead_ms: int
    limit_ms: int
    template = (
        "height {height}: its time is {ahead_ms} ms ahead of this device, {limit_ms} ms are "
        "allowed; check the clock of this device"
    )


@dataclass(frozen=True, slots=True)
class TrustedChain:
    """The newest header that a client verified, and the memberships around it."""

    chain_id: Hash32
    height: Height
    """0 means that only the genesis document is trusted."""
    header_hash: Hash32
    """Zero at height 0, which has no header."""
    time_ms: TimestampMs
    voters: Membership
    """Votes on ``height``."""
    membership: Membership
    """Votes on the next height."""

    def encode(self) -> bytes:
        """["trusted-chain", chain id, height, header hash, time, voters, membership]."""
        return codec.encode(
            [
                "trusted-chain",
                self.chain_id,
                self.height,
                self.header_hash,
                self.time_ms,
                self.voters.encode(),
                self.membership.encode(),
            ]
        )

    @staticmethod
    def decode(data: bytes) -> "TrustedChain":
        """From the client's own store; raises NotCanonical, TooLarge or OutOfRange."""
        value = codec.decode(data, TRUSTED_CHAIN_BYTES_MAX, "trusted chain")
        fields = codec.array(value, 7, "trusted chain")
        if fields[0] != "trusted-chain":
            raise NotCanonical("trusted chain", "another kind of file")
        voters, membership = (
            Membership.decode(codec.binary(item, "membership", MEMBERSHIP_BYTES_MAX))
            for item in fields[5:]
        )
        return TrustedChain(
            Hash32(codec.binary(fields[1], "trusted chain id", 32)),
            Height(codec.uint(fields[2], "trusted height")),
            Hash32(codec.binary(fields[3], "trusted header hash", 32)),
            TimestampMs(codec.uint(fields[4], "trusted time")),
            voters,
            membership,
        )


def trust_genesis(genesis_bytes: bytes, expected_chain_id: Hash32 | None) -> TrustedChain:
    """Height 0 of the network of that document, which the caller got from someone it trusts.

    Raises WrongChain where ``expected_chain_id`` is given and differs; NotCanonical, TooLarge
    or OutOfRange where the bytes are no genesis document.
    """
    genesis = Genesis.decode(genesis_bytes)
    if expected_chain_id is not None and genesis.chain_id != expected_chain_id:
        raise WrongChain("genesis document", genesis.chain_id, expected_chain_id)
    membership = genesis.membership
    return TrustedChain(
        genesis.chain_id, Height(0), ZERO_HASH, genesis.time_ms, membership, membership
    )


def verify_header(trusted: TrustedChain, untrusted: CertifiedHeader) -> Header:
    """The header, if the chain that is trusted leads to it. Checks, cheap ones first:

    a) it is of this chain: WrongChain
    b) it does not lie below the trusted height, nor above it with a time not later:
       HeaderGoesBack; at the trusted height it is the trusted header: ConflictingHeader
    c) the membership that it names is the trusted one: MembershipUnknown
    d) that membership certified it: what ``verify_certified_header`` raises
    """
    header = untrusted.header
    if header.chain_id != trusted.chain_id:
        raise WrongChain("header", header.chain_id, trusted.chain_id)
    rises = header.height > trusted.height and header.time_ms > trusted.time_ms
    same = header.height == trusted.height
    if not (rises or same):
        raise HeaderGoesBack(header.height, trusted.height)
    if same and header.hash != trusted.header_hash:
        raise ConflictingHeader(header.height, header.hash, trusted.header_hash)
    membership = trusted.voters if same else trusted.membership
    if header.membership != membership.hash:
        raise MembershipUnknown(header.height, trusted.height)
    return verify_certified_header(untrusted, membership, trusted.chain_id)


def follow(trusted: TrustedChain, changes: Sequence[MembershipChange]) -> TrustedChain:
    """The chain trusted up to the last of ``changes``, which are given lowest height first.

    Each change is certified by the membership trusted so far. Raises what ``verify_header``
    raises, HeaderGoesBack where a change does not lie above what is trusted before it, and
    MembershipUnknown where its membership is not the one that its header names.
    """
    for change in changes:
        height = change.certified.header.height
        if height <= trusted.height:
            raise HeaderGoesBack(height, trusted.height)
        header = verify_header(trusted, change.certified)
        if header.next_membership != change.membership.hash:
            raise MembershipUnknown(height, trusted.height)
        trusted = _step(trusted, header, change.membership)
    return trusted


def advance(
    trusted: TrustedChain, changes: Sequence[MembershipChange], newest: CertifiedHeader
) -> TrustedChain:
    """The chain trusted up to ``newest``, by way of the membership ``changes`` before it.

    Raises what ``follow`` and ``verify_header`` raise, and MembershipUnknown where ``newest``
    changes the membership and is not the last of ``changes``.
    """
    trusted = follow(trusted, changes)
    header = verify_header(trusted, newest)
    if header.height == trusted.height:
        return trusted
    if header.next_membership != header.membership:
        raise MembershipUnknown(header.height, trusted.height)
    return _step(trusted, header, trusted.membership)


def check_age(
    header: Header, now_ms: int, max_age_ms: int, max_ahead_ms: int = HEADER_AHEAD_MAX_MS
) -> int:
    """The header's age in ms at ``now_ms``, not below 0 (LIGHT-3).

    Raises StaleAnswer above ``max_age_ms``; HeaderFromTheFuture where its time is more than
    ``max_ahead_ms`` after ``now_ms``.
    """
    age = now_ms - header.time_ms
    if age > max_age_ms:
        raise StaleAnswer(header.height, age, max_age_ms)
    if -age > max_ahead_ms:
        raise HeaderFromTheFuture(header.height, -age, max_ahead_ms)
    return max(age, 0)


def _step(trusted: TrustedChain, header: Header, membership: Membership) -> TrustedChain:
    return TrustedChain(
        trusted.chain_id,
        header.height,
        header.hash,
        header.time_ms,
        trusted.membership,
        membership,
    )
