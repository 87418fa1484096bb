"""The validators that vote on a height, in a fixed order; their place is their index.

Who votes next is part of the state, under ``VOTERS_KEY``, so that a block may change it: the
change takes effect at the next height (M1), and the header names both memberships.
"""

from dataclasses import dataclass
from functools import cached_property

from ledger import codec
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.crypto.keys import PUBLIC_KEY_BYTES_MAX, PublicKey
from ledger.errors import NotCanonical
from ledger.limits import VALIDATORS_MAX
from ledger.primitives import Hash32, Height, MemberId, View
from ledger.quorum import quorum, witness

MEMBERSHIP_BYTES_MAX = VALIDATORS_MAX * (PUBLIC_KEY_BYTES_MAX + 64)
VOTERS_BYTES_MAX = 2 * MEMBERSHIP_BYTES_MAX + 64
VOTERS_KEY = b"voters"
"""State key of the ``Voters`` of the next height."""


@dataclass(frozen=True, slots=True)
class Validator:
    """One hospital's vote."""

    member: MemberId
    """The organisation that runs it."""
    public_key: PublicKey
    """The consensus key; it signs votes and nothing else."""


@dataclass(frozen=True)
class Membership:
    """All validators of one height."""

    validators: tuple[Validator, ...]
    """1 to VALIDATORS_MAX, sorted by member id, no member and no key twice."""

    @property
    def n(self) -> int:
        """How many validators there are."""
        return len(self.validators)

    @cached_property
    def quorum(self) -> int:
        """Votes that decide."""
        return quorum(self.n)

    @cached_property
    def witness(self) -> int:
        """f+1: votes of which one is surely correct."""
        return witness(self.n)

    def primary(self, height: Height, view: View, rotation: int) -> int:
        """Index of the primary: (view + height div rotation) mod n."""
        return (view + height // rotation) % self.n

    def index_of(self, member: MemberId) -> int | None:
        """Place of ``member``, or None if it has no vote."""
        for index, validator in enumerate(self.validators):
            if validator.member == member:
                return index
        return None

    def encode(self) -> bytes:
        """[[member, public key], ...]."""
        return codec.encode([[v.member, v.public_key.encoded] for v in self.validators])

    @staticmethod
    def decode(data: bytes) -> "Membership":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        rows = codec.array_up_to(
            codec.decode(data, MEMBERSHIP_BYTES_MAX, "membership"), VALIDATORS_MAX, "membership"
        )
        validators = []
        for row in rows:
            member, key = codec.array(row, 2, "validator")
            encoded_key = codec.binary(key, "validator key", PUBLIC_KEY_BYTES_MAX)
            validators.append(
                Validator(
                    MemberId(codec.text(member, "validator member", 32)),
                    PublicKey.decode(encoded_key),
                )
            )
        return checked_membership(tuple(validators))

    @cached_property
    def hash(self) -> Hash32:
        """H("membership", bytes): what headers carry."""
        return hash_tagged(Tag.MEMBERSHIP, self.encode())


def checked_membership(validators: tuple[Validator, ...]) -> Membership:
    """A membership, if it is not empty, sorted, and names no member and no key twice."""
    members = [validator.member for validator in validators]
    keys = {validator.public_key.encoded for validator in validators}
    if not 1 <= len(members) <= VALIDATORS_MAX:
        raise NotCanonical("membership", f"{len(members)} validators")
    if members != sorted(set(members)) or len(keys) != len(members):
        raise NotCanonical("membership", "unsorted, or a member or key occurs twice")
    return Membership(validators)


@dataclass(frozen=True)
class Voters:
    """Who votes on the next height, and who voted before the last change."""

    since: Height
    """First height on which ``membership`` votes."""
    membership: Membership
    previous: Membership | None
    """Voted on the height below ``since``; None where ``since`` is 1."""

    def of(self, height: Height) -> Membership:
        """Who votes on ``height``, which is at least ``since`` - 1."""
        return self.membership if height >= self.since or not self.previous else self.previous

    def changed(self, height: Height, membership: Membership) -> "Voters":
        """The same after a block of ``height`` that gives the vote to ``membership``."""
        return Voters(Height(height + 1), membership, self.membership)

    @cached_property
    def encoded(self) -> bytes:
        """[since, membership bytes, previous membership bytes or nil]."""
        previous = None if self.previous is None else self.previous.encode()
        return codec.encode([self.since, self.membership.encode(), previous])

    @staticmethod
    def decode(data: bytes) -> "Voters":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(codec.decode(data, VOTERS_BYTES_MAX, "voters"), 3, "voters")
        since = Height(codec.uint(fields[0], "voters since"))
        if (since <= 1) != (fields[2] is None):
            raise NotCanonical("voters", "only those of height 1 have no predecessors")
        current = codec.binary(fields[1], "voters", MEMBERSHIP_BYTES_MAX)
        previous = None
        if fields[2] is not None:
            previous = Membership.decode(
                codec.binary(fields[2], "voters before", MEMBERSHIP_BYTES_MAX)
            )
        return Voters(since, Membership.decode(current), previous)
