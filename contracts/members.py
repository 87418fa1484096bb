"""Members: the keys that organisations register, and what the state begins with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from contracts.actions import ActionContract
from contracts.governance import validator_key
from contracts.lookup import find_user, parameters_value
from ledger import codec
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.crypto.keys import PUBLIC_KEY_BYTES_MAX, PublicKey
from ledger.primitives import Height, PatientKey, TimestampMs
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

_WHAT = "members/bind_resident"


@dataclass(frozen=True, slots=True)
class BindResident:
    """A hospital that has seen the person binds the key on the person's device."""

    patient: PatientKey
    public_key: PublicKey
    valid_until_ms: TimestampMs

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[patient key, public key, valid until]; raises PeerFault."""
        patient, public_key, valid_until = codec.array(args, 3, _WHAT)
        return cls(
            PatientKey(codec.binary(patient, _WHAT, PatientKey.SIZE)),
            PublicKey.decode(codec.binary(public_key, _WHAT, PUBLIC_KEY_BYTES_MAX)),
            TimestampMs(codec.uint(valid_until, _WHAT)),
        )

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Registers the key with role resident; returns (key id,).

        A key that is registered already stays as it is: ``members/key-exists``. Otherwise a
        registrar could take over another person's key.
        """
        key_id = self.public_key.key_id
        if find_user(state, key_id) is not None:
            raise Refused("members/key-exists")
        user = UserKey(
            context.signer.member,
            self.public_key,
            ("resident",),
            self.valid_until_ms,
            self.patient,
        )
        state.put(user_key(key_id), codec.encode(user.to_value()))
        return (key_id,)


def genesis_values(genesis: Genesis) -> Sequence[tuple[bytes, bytes]]:
    """State keys and values at height 0: members, keys, parameters, group key of epoch 1, views."""
    hospitals = tuple(m.id for m in genesis.members if m.kind == "hospital")
    validators = [validator_key(v.member, v.public_key) for v in genesis.membership.validators]
    wraps = [(member, wrapped) for member, wrapped in genesis.wrapped_group_keys]
    return [
        *((member_key(m.id), codec.encode(m.to_value())) for m in genesis.members),
        *((user_key(k.public_key.key_id), codec.encode(k.to_value())) for k in validators),
        (HOSPITALS_KEY, encode_hospitals(hospitals)),
        *((user_key(u.public_key.key_id), codec.encode(u.to_value())) for u in genesis.users),
        (VOTERS_KEY, Voters(Height(1), genesis.membership, None).encoded),
        (PARAMETERS_KEY, codec.encode(parameters_value(genesis.parameters))),
        (group_key(1), codec.encode(wraps)),
        *((view_key(view), encode_view_hashes((digest,))) for view, digest in genesis.view_rules),
    ]


MEMBERS = ActionContract("members", {"bind_resident": BindResident})
