"""Two hospitals compared: a fork, a stale or a lying server is named, and a fork is kept."""

from dataclasses import dataclass

from ledger import codec
from ledger.codec import Value
from ledger.errors import NotCanonical, PeerFault
from ledger.light.bundles import CHANGES_BYTES_MAX, MembershipChange, changes_from_value
from ledger.light.trust import (
    TrustedChain,
    WrongChain,
    advance,
    check_age,
    follow,
    trust_genesis,
    verify_header,
)
from ledger.primitives import Hash32, Height, MemberId
from ledger.types.block import Header
from ledger.types.certificate import CERTIFIED_HEADER_BYTES_MAX, CertifiedHeader
from ledger.types.membership import Membership

FORK_BYTES_MAX = 2 * (CHANGES_BYTES_MAX + CERTIFIED_HEADER_BYTES_MAX) + 256


@dataclass(eq=False)
class WitnessRefused(PeerFault):
    """One hospital's server said something that does not hold, or is too old."""

    hospital: MemberId
    error: str
    """Class of the error that its answer met."""
    reason: str
    template = "{hospital}: {reason}"


@dataclass(eq=False)
class Forked(PeerFault):
    """Two hospitals show different certified headers at one height."""

    height: Height
    first: MemberId
    first_hash: Hash32
    second: MemberId
    second_hash: Hash32
    template = (
        "height {height}: {first} shows header {first_hash}, {second} shows {second_hash}, and "
        "both are certified; trust neither, and hand the evidence to the consortium"
    )


@dataclass(eq=False)
class NoFork(PeerFault):
    """Two testimonies do not contradict each other."""

    reason: str
    template = "fork: {reason}"


@dataclass(frozen=True, slots=True)
class Testimony:
    """What one hospital's server says of a height."""

    hospital: MemberId
    changes: tuple[MembershipChange, ...]
    """Membership changes up to ``certified``, from where the listener's trust begins."""
    certified: CertifiedHeader

    def to_value(self) -> Value:
        """[hospital, [membership-change, ...], certified header]."""
        changes = [change.to_value() for change in self.changes]
        return (self.hospital, changes, self.certified.to_value())


@dataclass(frozen=True, slots=True)
class ForkReport:
    """What evidence of a fork proves."""

    height: Height
    headers: tuple[Header, Header]
    hospitals: tuple[MemberId, MemberId]
    """Who showed each of them."""
    signed_both: tuple[MemberId, ...]
    """Validators whose key signed both; in one view, each of them is guilty."""
    same_view: bool


def hear(trusted: TrustedChain, testimony: Testimony) -> TrustedChain:
    """The chain trusted up to what a hospital shows; raises WitnessRefused."""
    try:
        return advance(trusted, testimony.changes, testimony.certified)
    except PeerFault as error:
        raise _refused(testimony.hospital, error) from None


def hear_newest(
    trusted: TrustedChain, testimony: Testimony, now_ms: int, max_age_ms: int
) -> TrustedChain:
    """The same of a newest header, which must not be older than the bound (LIGHT-3)."""
    heard = hear(trusted, testimony)
    try:
        check_age(testimony.certified.header, now_ms, max_age_ms)
    except PeerFault as error:
        raise _refused(testimony.hospital, error) from None
    return heard


def compare(trusted: TrustedChain, first: Testimony, second: Testimony) -> TrustedChain:
    """What both hospitals say of one height, where they agree.

    Raises WitnessRefused for the one whose testimony does not hold, ``second`` where it is about
    another height, and Forked where both hold and contradict each other.
    """
    one, other = hear(trusted, first), hear(trusted, second)
    if one.height != other.height:
        reason = f"height {other.height} was shown, {one.height} was asked for"
        raise WitnessRefused(second.hospital, "OtherHeight", reason)
    if one.header_hash != other.header_hash:
        raise Forked(
            one.height, first.hospital, one.header_hash, second.hospital, other.header_hash
        )
    return one


def encode_fork(chain_id: Hash32, first: Testimony, second: Testimony) -> bytes:
    """["fork", chain id, testimony, testimony], changes from genesis: evidence for a file."""
    return codec.encode(["fork", chain_id, first.to_value(), second.to_value()])


def is_fork(data: bytes) -> bool:
    """Whether a file claims to be evidence of a fork."""
    return data[:6] == codec.encode(["fork", 0, 0, 0])[:6]


def verify_fork(genesis_bytes: bytes, data: bytes) -> ForkReport:
    """What the evidence proves, from the genesis document alone (SAFE-1).

    Raises NotCanonical, TooLarge or OutOfRange; WrongChain; WitnessRefused where a testimony does
    not hold; NoFork where they are about two heights or say the same.
    """
    fields = codec.array(codec.decode(data, FORK_BYTES_MAX, "fork"), 4, "fork")
    if fields[0] != "fork":
        raise NotCanonical("fork", "another kind of file")
    chain_id = Hash32(codec.binary(fields[1], "fork chain id", 32))
    trusted = trust_genesis(genesis_bytes, None)
    if chain_id != trusted.chain_id:
        raise WrongChain("fork", chain_id, trusted.chain_id)
    first, second = _testimony(fields[2]), _testimony(fields[3])
    one, other = _voters(trusted, first), _voters(trusted, second)
    headers = first.certified.header, second.certified.header
    if headers[0].height != headers[1].height:
        raise NoFork("the headers are of two heights")
    if headers[0].hash == headers[1].hash:
        raise NoFork("the headers are the same")
    both = _signers(first, one) & _signers(second, other)
    views = first.certified.certificate.view, second.certified.certificate.view
    return ForkReport(
        headers[0].height,
        headers,
        (first.hospital, second.hospital),
        tuple(sorted(MemberId(member) for member, _ in both)),
        views[0] == views[1],
    )


def _refused(hospital: MemberId, error: PeerFault) -> WitnessRefused:
    return WitnessRefused(hospital, type(error).__name__, str(error))


def _testimony(value: Value) -> Testimony:
    fields = codec.array(value, 3, "testimony")
    return Testimony(
        MemberId(codec.text(fields[0], "testimony hospital", 32)),
        changes_from_value(fields[1]),
        CertifiedHeader.from_value(fields[2]),
    )


def _voters(trusted: TrustedChain, testimony: Testimony) -> Membership:
    """Who certified the header of a testimony; raises WitnessRefused."""
    try:
        followed = follow(trusted, testimony.changes)
        header = verify_header(followed, testimony.certified)
    except PeerFault as error:
        raise _refused(testimony.hospital, error) from None
    return followed.voters if header.height == followed.height else followed.membership


def _signers(testimony: Testimony, voters: Membership) -> set[tuple[str, bytes]]:
    """Member and key of each signer."""
    chosen = (voters.validators[index] for index in testimony.certified.certificate.signers)
    return {(each.member, each.public_key.encoded) for each in chosen}
