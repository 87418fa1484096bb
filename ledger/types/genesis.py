"""The genesis document: from its bytes alone everything later is verified."""

from dataclasses import dataclass
from functools import cached_property

from ledger import codec
from ledger.codec import Value
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.crypto.keys import PUBLIC_KEY_BYTES_MAX, PublicKey
from ledger.errors import NotCanonical
from ledger.limits import MEMBERS_MAX, PROTOCOL_VERSION, USERS_IN_GENESIS_MAX
from ledger.primitives import Hash32, MemberId, PatientKey, TimestampMs
from ledger.types.entries import VIEWS
from ledger.types.membership import Membership, Validator, checked_membership

GENESIS_BYTES_MAX = 16 * 1024 * 1024
_NAME_MAX = 100
_CERTIFICATE_MAX = 4_096
_ENDPOINT_MAX = 200
USER_KEY_BYTES_MAX = 1_024
_ROLES_MAX = 16

MEMBER_KINDS = ("authority", "hospital", "vendor")
"""What an organisation may be; only a hospital has a vote and holds records."""
ROLES = (
    "administrator",
    "gateway",
    "guardian",
    "registrar",
    "resident",
    "treating",
    "validator",
    "vendor-service",
)
"""What a key may act as; the contracts say what each may do."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a member is reached; empty text where it has no such service."""

    peer: str
    """host:port of the validator's link to other validators."""
    node_api: str
    """https URL of the validator's interface."""
    gateway: str
    """https URL of the gateway."""


@dataclass(frozen=True, slots=True)
class Member:
    """An organisation of the consortium."""

    id: MemberId
    name: str
    """As people call it, in any script."""
    kind: str
    """One of MEMBER_KINDS."""
    ca_certificate: bytes
    """DER of its certificate authority: the trust anchor for its TLS certificates."""
    consensus_key: bytes
    """Encoded PublicKey of its validator; empty unless it is a hospital."""
    sealing_key: bytes
    """Encoded PublicKey to which the hospitals' group key is wrapped; empty unless a hospital."""
    endpoints: Endpoints
    licence_until_ms: TimestampMs
    """A vendor may query until then (block time)."""

    def to_value(self) -> Value:
        """[id, name, kind, CA, consensus key, sealing key, [peer, api, gateway], licence]."""
        e = self.endpoints
        return (
            self.id,
            self.name,
            self.kind,
            self.ca_certificate,
            self.consensus_key,
            self.sealing_key,
            (e.peer, e.node_api, e.gateway),
            self.licence_until_ms,
        )

    @staticmethod
    def from_value(value: Value) -> "Member":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(value, 8, "member")
        places = codec.array(fields[6], 3, "member endpoints")
        kind = codec.text(fields[2], "member kind", 16)
        if kind not in MEMBER_KINDS:
            raise NotCanonical("member kind", f"{kind!r} is none of {', '.join(MEMBER_KINDS)}")
        keys = [codec.binary(fields[i], "member key", PUBLIC_KEY_BYTES_MAX) for i in (4, 5)]
        for key in keys:
            if bool(key) != (kind == "hospital"):
                raise NotCanonical("member", "a hospital has both keys, others have none")
            if key:
                PublicKey.decode(key)
        return Member(
            MemberId(codec.text(fields[0], "member id", 32)),
            codec.text(fields[1], "member name", _NAME_MAX),
            kind,
            codec.binary(fields[3], "member CA certificate", _CERTIFICATE_MAX),
            keys[0],
            keys[1],
            Endpoints(*(codec.text(p, "member endpoint", _ENDPOINT_MAX) for p in places)),
            TimestampMs(codec.uint(fields[7], "member licence")),
        )


@dataclass(frozen=True, slots=True)
class UserKey:
    """A key that may sign transactions: a person's, a system's or a resident's."""

    member: MemberId
    """Who answers for it; for a resident, the hospital that bound it."""
    public_key: PublicKey
    roles: tuple[str, ...]
    """Sorted, of ROLES."""
    valid_until_ms: TimestampMs
    """Compared with block time."""
    patient: PatientKey | None
    """Whom a resident or guardian reads for; nobody else has one."""

    def to_value(self) -> Value:
        """[member, public key, [role, ...], valid until, patient key or nil]."""
        return (
            self.member,
            self.public_key.encoded,
            self.roles,
            self.valid_until_ms,
            self.patient,
        )

    @staticmethod
    def decode(data: bytes) -> "UserKey":
        """The state value of ``user_key``; raises NotCanonical, TooLarge or OutOfRange."""
        return UserKey.from_value(codec.decode(data, USER_KEY_BYTES_MAX, "user key"))

    @staticmethod
    def from_value(value: Value) -> "UserKey":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(value, 5, "user key")
        roles = codec.array_up_to(fields[2], _ROLES_MAX, "user roles")
        names = tuple(codec.text(role, "user role", 32) for role in roles)
        if list(names) != sorted(set(names)) or not set(names) <= set(ROLES):
            raise NotCanonical("user roles", f"sorted roles of {', '.join(ROLES)} are wanted")
        patient = fields[4]
        if (patient is not None) != (names in (("guardian",), ("resident",))):
            raise NotCanonical("user key", "a resident or guardian alone has a patient key")
        return UserKey(
            MemberId(codec.text(fields[0], "user member", 32)),
            PublicKey.decode(codec.binary(fields[1], "user public key", PUBLIC_KEY_BYTES_MAX)),
            names,
            TimestampMs(codec.uint(fields[3], "user valid until")),
            None if patient is None else PatientKey(codec.binary(patient, "patient key", 32)),
        )


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the members agreed on when the network began."""

    release_patients_min: int
    """k: roots, and patients they come from, in one de-identified release."""
    rotation: int
    """Heights after which the primary changes also without a fault (V4); at least 1."""
    empty_block_interval_ms: int
    """After this long without a block an empty one is made; bounds an answer's age."""
    progress_timeout_ms: int
    """How long a pending transaction may wait before the primary is replaced; doubles per view."""


@dataclass(frozen=True)
class Genesis:
    """The document on which all members agreed; the chain id is its hash."""

    network: str
    time_ms: TimestampMs
    """Time of height 0; block 1 must be later."""
    parameters: Parameters
    members: tuple[Member, ...]
    """Sorted by id; at least one hospital."""
    users: tuple[UserKey, ...]
    """Sorted by key id."""
    wrapped_group_keys: tuple[tuple[MemberId, bytes], ...]
    """The group key of epoch 1, wrapped to each hospital's sealing key; sorted by member."""
    view_rules: tuple[tuple[str, Hash32], ...]
    """Hash of the rule file of each of VIEWS, in their order."""

    def encode(self) -> bytes:
        """[version, network, time, [k, rotation, interval, timeout], members, users, wraps, rules].

        Rules are [[view, hash], ...].
        """
        p = self.parameters
        return codec.encode(
            [
                PROTOCOL_VERSION,
                self.network,
                self.time_ms,
                [
                    p.release_patients_min,
                    p.rotation,
                    p.empty_block_interval_ms,
                    p.progress_timeout_ms,
                ],
                [member.to_value() for member in self.members],
                [user.to_value() for user in self.users],
                [[member, wrapped] for member, wrapped in self.wrapped_group_keys],
                [[view, digest] for view, digest in self.view_rules],
            ]
        )

    @staticmethod
    def decode(data: bytes) -> "Genesis":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(codec.decode(data, GENESIS_BYTES_MAX, "genesis"), 8, "genesis")
        if fields[0] != PROTOCOL_VERSION:
            raise NotCanonical("genesis", f"version {fields[0]!r} is not {PROTOCOL_VERSION}")
        numbers = codec.array(fields[3], 4, "genesis parameters")
        parameters = Parameters(*(codec.uint(n, "genesis parameter") for n in numbers))
        if 0 in (parameters.release_patients_min, parameters.rotation):
            raise NotCanonical("genesis parameters", "k and rotation are at least 1")
        members = codec.array_up_to(fields[4], MEMBERS_MAX, "genesis members")
        users = codec.array_up_to(fields[5], USERS_IN_GENESIS_MAX, "genesis users")
        wraps = codec.array_up_to(fields[6], MEMBERS_MAX, "genesis wrapped keys")
        rules = codec.array(fields[7], len(VIEWS), "genesis view rules")
        genesis = Genesis(
            codec.text(fields[1], "genesis network", _NAME_MAX),
            TimestampMs(codec.uint(fields[2], "genesis time")),
            parameters,
            tuple(Member.from_value(member) for member in members),
            tuple(UserKey.from_value(user) for user in users),
            tuple(_wrap(wrap) for wrap in wraps),
            tuple(_view_rules(item) for item in rules),
        )
        genesis._check_order()
        return genesis

    def _check_order(self) -> None:
        ids = [member.id for member in self.members]
        if ids != sorted(set(ids)):
            raise NotCanonical("genesis members", "unsorted, or one occurs twice")
        keys = [user.public_key.key_id for user in self.users]
        if keys != sorted(set(keys)):
            raise NotCanonical("genesis users", "unsorted by key id, or one occurs twice")
        unknown = {user.member for user in self.users} - set(ids)
        if unknown:
            raise NotCanonical("genesis users", f"{min(unknown)} is no member")
        if any(validator.public_key.key_id in keys for validator in self.membership.validators):
            raise NotCanonical("genesis users", "a consensus key acts as nothing else")
        wrapped = [member for member, _ in self.wrapped_group_keys]
        if wrapped != [member.id for member in self.members if member.kind == "hospital"]:
            raise NotCanonical("genesis wrapped keys", "one for each hospital is wanted")
        if tuple(view for view, _ in self.view_rules) != VIEWS:
            raise NotCanonical("genesis view rules", f"{', '.join(VIEWS)} are wanted")

    @cached_property
    def chain_id(self) -> Hash32:
        """H("genesis", bytes)."""
        return hash_tagged(Tag.GENESIS, self.encode())

    @cached_property
    def membership(self) -> Membership:
        """The validators of height 1: one for each hospital."""
        return checked_membership(
            tuple(
                Validator(member.id, PublicKey(member.consensus_key))
                for member in self.members
                if member.kind == "hospital"
            )
        )

    def member(self, member_id: str) -> Member | None:
        """The member of that id."""
        return next((member for member in self.members if member.id == member_id), None)


def _wrap(value: Value) -> tuple[MemberId, bytes]:
    member, wrapped = codec.array(value, 2, "genesis wrapped key")
    return (
        MemberId(codec.text(member, "wrapped key member", 32)),
        codec.binary(wrapped, "wrapped key", 512),
    )


def _view_rules(value: Value) -> tuple[str, Hash32]:
    view, digest = codec.array(value, 2, "genesis view rules")
    return (
        codec.text(view, "genesis view", 16),
        Hash32(codec.binary(digest, "genesis view rules", Hash32.SIZE)),
    )
