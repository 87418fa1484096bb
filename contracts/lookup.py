"""What contracts read from the state, as typed values.

The decoders are remembered by the bytes they decoded: members, keys and parameters seldom
change, and every transaction needs them. A pure function's memory cannot change its result.
"""

from functools import lru_cache

from ledger import codec
from ledger.codec import Value
from ledger.contract_api import StateView
from ledger.errors import NotCanonical
from ledger.primitives import Hash32, KeyId, MemberId, PatientKey
from ledger.types.entries import (
    PARAMETERS_KEY,
    Permission,
    Row,
    decode_patient_entry,
    decode_view_hashes,
    member_key,
    patient_log,
    permission_key,
    user_key,
    view_key,
)
from ledger.types.genesis import Member, Parameters, UserKey
from ledger.types.governance import HOSPITALS_KEY, Proposal, decode_hospitals, proposal_key
from ledger.types.residents import (
    CopyRequest,
    Directive,
    Share,
    copies_key,
    decode_copies,
    decode_directives,
    decode_resident_keys,
    directives_key,
    resident_keys_key,
    share_key,
)

MEMBER_BYTES_MAX = 8_192


def parameters_value(parameters: Parameters) -> Value:
    """[k, rotation, empty block interval, progress timeout], as in the genesis document."""
    return (
        parameters.release_patients_min,
        parameters.rotation,
        parameters.empty_block_interval_ms,
        parameters.progress_timeout_ms,
    )


def find_parameters(state: StateView) -> Parameters:
    """What the members agreed on; the genesis state always has it."""
    data = state.get(PARAMETERS_KEY)
    if data is None:
        raise NotCanonical("state", "the network's parameters are missing")
    return _decode_parameters(data)


def find_member(state: StateView, member: MemberId) -> Member | None:
    """The organisation of that id."""
    data = state.get(member_key(member))
    return None if data is None else _decode_member(data)


def find_user(state: StateView, key_id: KeyId) -> UserKey | None:
    """The registration of a key; whether it is still valid is the caller's question."""
    data = state.get(user_key(key_id))
    return None if data is None else _decode_user(data)


def find_permission(state: StateView, permission: Hash32) -> Permission | None:
    """The committed permission of that id, expired or not."""
    data = state.get(permission_key(permission))
    return None if data is None else Permission.decode(data)


def find_hospitals(state: StateView) -> tuple[MemberId, ...]:
    """Ids of all hospitals, sorted; those that vote and those that do not."""
    data = state.get(HOSPITALS_KEY)
    return () if data is None else decode_hospitals(data)


def find_proposal(state: StateView, proposal: Hash32) -> Proposal | None:
    """The proposal of that id, lapsed or carried or not."""
    data = state.get(proposal_key(proposal))
    return None if data is None else Proposal.decode(data)


def find_resident_keys(state: StateView, patient: PatientKey) -> tuple[KeyId, ...]:
    """The keys that act for a patient; some may have expired meanwhile."""
    data = state.get(resident_keys_key(patient))
    return () if data is None else decode_resident_keys(data)


def find_directives(state: StateView, patient: PatientKey) -> tuple[Directive, ...]:
    """What a patient permits and forbids; some may have ended meanwhile."""
    data = state.get(directives_key(patient))
    return () if data is None else decode_directives(data)


def find_copies(state: StateView, patient: PatientKey) -> tuple[CopyRequest, ...]:
    """A patient's newest request to each hospital for a full copy."""
    data = state.get(copies_key(patient))
    return () if data is None else decode_copies(data)


def find_share(state: StateView, share: Hash32) -> Share | None:
    """The share of that id, whether or not it can be opened."""
    data = state.get(share_key(share))
    return None if data is None else Share.decode(data)


def find_view_hashes(state: StateView, view: str) -> tuple[Hash32, ...]:
    """Hashes of the rule files of a view, oldest first."""
    data = state.get(view_key(view))
    return () if data is None else decode_view_hashes(data)


def find_row(state: StateView, patient: PatientKey, index: int) -> Row | None:
    """The row at ``index`` of a patient's log; None past its end or for a status change."""
    data = state.log_entry(patient_log(patient), index)
    if data is None:
        return None
    entry = decode_patient_entry(data)
    return entry if isinstance(entry, Row) else None


@lru_cache(maxsize=16)
def _decode_parameters(data: bytes) -> Parameters:
    fields = codec.array(codec.decode(data, 64, "parameters"), 4, "parameters")
    return Parameters(*(codec.uint(field, "parameter") for field in fields))


@lru_cache(maxsize=1_024)
def _decode_member(data: bytes) -> Member:
    return Member.from_value(codec.decode(data, MEMBER_BYTES_MAX, "member"))


@lru_cache(maxsize=4_096)
def _decode_user(data: bytes) -> UserKey:
    return UserKey.decode(data)
