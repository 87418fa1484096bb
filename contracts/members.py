"""Members: the keys that organisations register, and what the state begins with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from contracts.actions import ActionContract
from contracts.governance import validator_key
from contracts.lookup import find_resident_keys, find_user, parameters_value
from ledger import codec
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.crypto.keys import PUBLIC_KEY_BYTES_MAX, PublicKey, verify_signature
from ledger.errors import NotCanonical, PeerFault
from ledger.limits import RESIDENT_KEY_MS_MAX, RESIDENT_KEYS_MAX
from ledger.primitives import Height, KeyId, Nonce, PatientKey, Signature, TimestampMs
from ledger.types.entries import (
    PARAMETERS_KEY,
    encode_view_hashes,
    group_key,
    member_key,
    user_key,
    view_key,
)
from ledger.types.genesis import Genesis, UserKey
from ledger.types.governance import HOSPITALS_KEY, encode_hospitals
from ledger.types.membership import VOTERS_KEY, Voters
from ledger.types.residents import (
    RESIDENT_ROLES,
    encode_resident_keys,
    enrolment_digest,
    one_of,
    resident_keys_key,
)


@dataclass(frozen=True, slots=True)
class BindResident:
    """A hospital that has seen the person binds the key on the person's device."""

    patient: PatientKey
    role: str
    """"resident", or "guardian": who reads for another person, a child, until the key ends."""
    public_key: PublicKey
    valid_until_ms: TimestampMs
    challenge: Nonce
    """Of the one-time code that the hospital gave the person."""
    possession: Signature
    """Of ``public_key`` over ``enrolment_digest``."""
    replaces: tuple[KeyId, ...]
    """Keys of this patient that end: those on a lost device."""

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[patient, role, public key, valid until, challenge, possession, [replaced key id, ...]];
        raises PeerFault."""
        what = "members/bind_resident"
        patient, role, key, until, challenge, possession, replaces = codec.array(args, 7, what)
        old = codec.array_up_to(replaces, RESIDENT_KEYS_MAX, what)
        return cls(
            PatientKey(codec.binary(patient, what, PatientKey.SIZE)),
            one_of(RESIDENT_ROLES, role, what),
            PublicKey.decode(codec.binary(key, what, PUBLIC_KEY_BYTES_MAX)),
            TimestampMs(codec.uint(until, what)),
            Nonce(codec.binary(challenge, what, Nonce.SIZE)),
            Signature(codec.binary(possession, what, Signature.SIZE)),
            tuple(KeyId(codec.binary(item, what, KeyId.SIZE)) for item in old),
        )

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Registers the key and lists it; returns (key id,). In this order:

        a) no key of that id was ever registered: ``members/key-exists``; otherwise a registrar
           could take over another person's key
        b) its holder asked for this: ``members/not-possessed``
        c) it ends later than now, and within RESIDENT_KEY_MS_MAX: ``members/bad-end``
        d) each replaced key acts for the patient: ``members/no-such-key``
        e) RESIDENT_KEYS_MAX act for the patient at most: ``members/too-many-keys``
        """
        key_id = self.public_key.key_id
        member = context.signer.member
        if find_user(state, key_id) is not None:
            raise Refused("members/key-exists")
        digest = enrolment_digest(
            context.chain_id, self.patient, member, self.role, self.challenge, self.public_key
        )
        try:
            verify_signature(self.public_key, self.possession, digest, "possession")
        except PeerFault:
            raise Refused("members/not-possessed") from None
        if not 0 < self.valid_until_ms - context.time_ms <= RESIDENT_KEY_MS_MAX:
            raise Refused("members/bad-end", RESIDENT_KEY_MS_MAX)
        active = _active_keys(self.patient, context, state)
        if not set(self.replaces) <= set(active):
            raise Refused("members/no-such-key")
        kept = [key for key in active if key not in self.replaces]
        if len(kept) >= RESIDENT_KEYS_MAX:
            raise Refused("members/too-many-keys", RESIDENT_KEYS_MAX)
        for old in self.replaces:
            _end_key(old, context, state)
        user = UserKey(member, self.public_key, (self.role,), self.valid_until_ms, self.patient)
        state.put(user_key(key_id), codec.encode(user.to_value()))
        state.put(resident_keys_key(self.patient), encode_resident_keys([*kept, key_id]))
        return (key_id,)


@dataclass(frozen=True, slots=True)
class EndResidentKey:
    """A device is lost, or a guardian reads no more."""

    patient: PatientKey
    key_id: KeyId

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[patient, key id]; raises PeerFault."""
        what = "members/end_resident_key"
        patient, key_id = codec.array(args, 2, what)
        return cls(
            PatientKey(codec.binary(patient, what, PatientKey.SIZE)),
            KeyId(codec.binary(key_id, what, KeyId.SIZE)),
        )

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Ends the key; returns (). In this order:

        a) the signer is a registrar, the key itself, or the patient: ``members/not-permitted``
        b) the key acts for the patient: ``members/no-such-key``
        """
        signer = context.signer
        own = signer.roles == ("resident",) and signer.patient == self.patient
        if not (own or context.key_id == self.key_id or "registrar" in signer.roles):
            raise Refused("members/not-permitted")
        active = _active_keys(self.patient, context, state)
        if self.key_id not in active:
            raise Refused("members/no-such-key")
        _end_key(self.key_id, context, state)
        kept = [key for key in active if key != self.key_id]
        state.put(resident_keys_key(self.patient), encode_resident_keys(kept))
        return ()


def _active_keys(patient: PatientKey, context: CallContext, state: StateView) -> list[KeyId]:
    """The keys that act for a patient and have not expired."""
    return [
        key_id
        for key_id in find_resident_keys(state, patient)
        if (user := find_user(state, key_id)) and context.time_ms < user.valid_until_ms
    ]


def _end_key(key_id: KeyId, context: CallContext, state: StateView) -> None:
    """The key signs nothing in any later block; they are later than this one (T1).

    In this block it stays valid: a primary chooses transactions before it runs them, and its
    block would be invalid otherwise.
    """
    user = find_user(state, key_id)
    if user is None:
        raise NotCanonical("state", "a listed key is not there")
    ended = replace(user, valid_until_ms=TimestampMs(context.time_ms + 1))
    state.put(user_key(key_id), codec.encode(ended.to_value()))


def genesis_values(genesis: Genesis) -> Sequence[tuple[bytes, bytes]]:
    """State keys and values at height 0: members, keys, parameters, group key of epoch 1, views."""
    hospitals = tuple(m.id for m in genesis.members if m.kind == "hospital")
    validators = [validator_key(v.member, v.public_key) for v in genesis.membership.validators]
    wraps = [(member, wrapped) for member, wrapped in genesis.wrapped_group_keys]
    residents: dict[PatientKey, list[KeyId]] = {}
    for user in genesis.users:
        if user.patient is not None:
            residents.setdefault(user.patient, []).append(user.public_key.key_id)
    return [
        *((member_key(m.id), codec.encode(m.to_value())) for m in genesis.members),
        *((user_key(k.public_key.key_id), codec.encode(k.to_value())) for k in validators),
        (HOSPITALS_KEY, encode_hospitals(hospitals)),
        *((user_key(u.public_key.key_id), codec.encode(u.to_value())) for u in genesis.users),
        *((resident_keys_key(p), encode_resident_keys(keys)) for p, keys in residents.items()),
        (VOTERS_KEY, Voters(Height(1), genesis.membership, None).encoded),
        (PARAMETERS_KEY, codec.encode(parameters_value(genesis.parameters))),
        (group_key(1), codec.encode(wraps)),
        *((view_key(view), encode_view_hashes((digest,))) for view, digest in genesis.view_rules),
    ]


MEMBERS = ActionContract(
    "members", {"bind_resident": BindResident, "end_resident_key": EndResidentKey}
)
