"""What hospitals decide together about who belongs to the network and who votes (M1, M2)."""

from dataclasses import dataclass
from typing import TypeAlias

from ledger import codec
from ledger.codec import Value
from ledger.crypto.hashing import Tag, signing_digest
from ledger.crypto.keys import PublicKey
from ledger.errors import NotCanonical
from ledger.limits import MEMBERS_MAX
from ledger.primitives import Hash32, Height, MemberId
from ledger.types.entries import VIEWS
from ledger.types.genesis import Member, UserKey

USERS_ADMITTED_MAX = 16
"""Keys that come with a new organisation; it registers the others itself."""
PROPOSAL_BYTES_MAX = 64 * 1024
"""Of which MEMBERS_MAX approvals take the half."""
HOSPITALS_KEY = b"hospitals"
"""State key of the ids of all hospitals, voting or not: ``encode_hospitals``."""


PROPOSALS_LOG = b"proposals"
"""Log of the ids of all proposals, oldest first: what waits for an approval can be listed."""


@dataclass(frozen=True, slots=True)
class Admit:
    """A new organisation belongs to the network; a hospital is linked, and has no vote yet."""

    member: Member
    users: tuple[UserKey, ...]
    """Its first keys, of its administrator at least."""

    def to_value(self) -> Value:
        """["admit", member, [user key, ...]]."""
        return ("admit", self.member.to_value(), tuple(user.to_value() for user in self.users))


@dataclass(frozen=True, slots=True)
class GiveVote:
    """A hospital that belongs to the network votes from the next height on."""

    member: MemberId

    def to_value(self) -> Value:
        """["give-vote", member]."""
        return ("give-vote", self.member)


@dataclass(frozen=True, slots=True)
class TakeVote:
    """A hospital does not vote any more from the next height on."""

    member: MemberId

    def to_value(self) -> Value:
        """["take-vote", member]."""
        return ("take-vote", self.member)


@dataclass(frozen=True, slots=True)
class SetViewRules:
    """A view shows what another rule file says, from the next height on."""

    view: str
    """One of VIEWS."""
    rules: Hash32
    """H("view-rules", bytes of the file)."""

    def to_value(self) -> Value:
        """["set-view-rules", view, hash]."""
        return ("set-view-rules", self.view, self.rules)


Change: TypeAlias = Admit | GiveVote | TakeVote | SetViewRules


def change_from_value(value: Value) -> Change:
    """Raises NotCanonical, TooLarge or OutOfRange."""
    kind = value[0] if isinstance(value, tuple) and value else None
    if kind == "admit":
        _, member, users = codec.array(value, 3, "admit")
        keys = codec.array_up_to(users, USERS_ADMITTED_MAX, "admit users")
        return Admit(Member.from_value(member), tuple(UserKey.from_value(key) for key in keys))
    if kind in ("give-vote", "take-vote"):
        _, name = codec.array(value, 2, "change of votes")
        member_id = MemberId(codec.text(name, "change of votes", 32))
        return GiveVote(member_id) if kind == "give-vote" else TakeVote(member_id)
    if kind == "set-view-rules":
        _, view, rules = codec.array(value, 3, "change of view rules")
        named = codec.text(view, "change of view rules", 16)
        if named not in VIEWS:
            raise NotCanonical("change of view rules", f"it is for none of {', '.join(VIEWS)}")
        digest = codec.binary(rules, "change of view rules", Hash32.SIZE)
        return SetViewRules(named, Hash32(digest))
    raise NotCanonical("change", "it is none that is known")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that waits for a quorum of the voting hospitals, or was carried."""

    change: Change
    height: Height
    """Where it was made; it lapses after PROPOSAL_HEIGHTS."""
    approvals: tuple[MemberId, ...]
    """Sorted; those of hospitals that vote count."""
    carried: bool

    def encode(self) -> bytes:
        """[change, height, [member, ...], 1 if carried]."""
        return codec.encode(
            [self.change.to_value(), self.height, self.approvals, int(self.carried)]
        )

    @staticmethod
    def decode(data: bytes) -> "Proposal":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(codec.decode(data, PROPOSAL_BYTES_MAX, "proposal"), 4, "proposal")
        names = codec.array_up_to(fields[2], MEMBERS_MAX, "proposal approvals")
        approvals = tuple(MemberId(codec.text(name, "approval", 32)) for name in names)
        if list(approvals) != sorted(set(approvals)):
            raise NotCanonical("proposal approvals", "unsorted, or one occurs twice")
        return Proposal(
            change_from_value(fields[0]),
            Height(codec.uint(fields[1], "proposal height")),
            approvals,
            bool(codec.uint(fields[3], "proposal carried", 1)),
        )


def proposal_key(proposal: Hash32) -> bytes:
    """State key of a proposal; its id is the id of the proposing transaction."""
    return b"proposal/" + proposal


def encode_hospitals(ids: tuple[MemberId, ...]) -> bytes:
    """[member id, ...], sorted."""
    return codec.encode(ids)


def decode_hospitals(data: bytes) -> tuple[MemberId, ...]:
    """Raises NotCanonical, TooLarge or OutOfRange."""
    names = codec.array_up_to(
        codec.decode(data, 40 * MEMBERS_MAX, "hospitals"), MEMBERS_MAX, "hospitals"
    )
    return tuple(MemberId(codec.text(name, "hospital", 32)) for name in names)


def possession_digest(chain_id: Hash32, member: MemberId, key: PublicKey) -> Hash32:
    """What a new consensus key signs: so nobody can register another hospital's key."""
    return signing_digest(Tag.SIGN_POSSESSION, chain_id, member.encode(), key.encoded)
