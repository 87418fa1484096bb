"""Access: who may read what, for which purpose. A "yes" is a permission on chain (ACC-1)."""

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Self

from contracts.actions import ActionContract
from contracts.lookup import find_member, find_permission
from ledger import codec
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.errors import NotCanonical
from ledger.limits import PERMISSION_HEIGHTS
from ledger.primitives import Hash32, Height, KeyId, MemberId, PatientKey, TimestampMs
from ledger.types.entries import PURPOSES, VIEWS, Permission, permission_key
from ledger.types.genesis import Member, UserKey

NOT_PERMITTED = "access/not-permitted"


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to be allowed: all of it must fit."""

    kind: str
    """Kind of the reader's member."""
    role: str
    subject: str
    """What is asked for: "any-patient", "own-patient" (the reader's own) or "release"."""
    view: str
    purposes: Set[str]


RULES = (
    Rule("hospital", "treating", "any-patient", "clinical", {"TREAT", "ETREAT"}),
    Rule("hospital", "resident", "own-patient", "resident", {"PATRQT"}),
    Rule("vendor", "vendor-service", "release", "deidentified", {"HRESCH", "TREAT"}),
)
"""The default rules; what none of them allows is refused."""


def decide(
    reader: UserKey,
    member: Member,
    patient: PatientKey | None,
    view: str,
    purpose: str,
    time_ms: TimestampMs,
) -> bool:
    """Whether ``reader`` of ``member`` may have the view; ``patient`` is None for a release.

    A vendor's licence must cover block time, whatever it asks for.
    """
    if member.kind == "vendor" and member.licence_until_ms <= time_ms:
        return False
    subjects = {"release"} if patient is None else {"any-patient"}
    if patient is not None and patient == reader.patient:
        subjects.add("own-patient")
    return any(
        rule.kind == member.kind
        and rule.role in reader.roles
        and rule.subject in subjects
        and rule.view == view
        and purpose in rule.purposes
        for rule in RULES
    )


@dataclass(frozen=True, slots=True)
class Request:
    """To read a patient's records."""

    patient: PatientKey
    view: str
    purpose: str

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[patient, view, purpose]; raises PeerFault."""
        what = "access/request"
        patient, view, purpose = codec.array(args, 3, what)
        return cls(
            PatientKey(codec.binary(patient, what, PatientKey.SIZE)),
            _one_of(VIEWS, view, what),
            _one_of(PURPOSES, purpose, what),
        )

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Writes the permission; returns (permission id, last height at which it holds)."""
        return _permit(self.patient, None, self.view, self.purpose, context, state)


@dataclass(frozen=True, slots=True)
class RequestRelease:
    """To read the de-identified records that one hospital has released."""

    holder: MemberId
    purpose: str

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[holder member, purpose]; raises PeerFault."""
        what = "access/request_release"
        holder, purpose = codec.array(args, 2, what)
        return cls(MemberId(codec.text(holder, what, 32)), _one_of(PURPOSES, purpose, what))

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """As Request; a holder that is no hospital of this chain: ``access/unknown-holder``."""
        holder = find_member(state, self.holder)
        if holder is None or holder.kind != "hospital":
            raise Refused("access/unknown-holder", self.holder)
        return _permit(None, self.holder, "deidentified", self.purpose, context, state)


@dataclass(frozen=True, slots=True)
class Revoke:
    """To end a permission before its last height."""

    permission: Hash32

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[permission]; raises PeerFault."""
        what = "access/revoke"
        (permission,) = codec.array(args, 1, what)
        return cls(Hash32(codec.binary(permission, what, Hash32.SIZE)))

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Sets the last height to the one below; returns (it,). In this order:

        a) the permission exists: ``access/no-such-permission``
        b) the signer may end it: ``access/not-permitted``
        c) it has not ended: ``access/permission-expired`` with (its last height,)

        Whoever reads under it finds it expired, from the next transaction of this block on.
        """
        permission = find_permission(state, self.permission)
        if permission is None:
            raise Refused("access/no-such-permission")
        if not may_revoke(context.signer, context.key_id, permission):
            raise Refused(NOT_PERMITTED)
        if permission.expires < context.height:
            raise Refused("access/permission-expired", permission.expires)
        ended = replace(permission, expires=Height(context.height - 1))
        state.put(permission_key(self.permission), ended.encode())
        return (ended.expires,)


def may_revoke(user: UserKey, key_id: KeyId, permission: Permission) -> bool:
    """Whether a key may end a permission: who asked, whom it is about, or who releases under it."""
    return (
        key_id == permission.reader
        or (user.patient is not None and user.patient == permission.patient)
        or ("administrator" in user.roles and user.member == permission.holder)
    )


def _permit(
    patient: PatientKey | None,
    holder: MemberId | None,
    view: str,
    purpose: str,
    context: CallContext,
    state: StateView,
) -> tuple[Value, ...]:
    reader = context.signer
    member = find_member(state, reader.member)
    if member is None or not decide(reader, member, patient, view, purpose, context.time_ms):
        raise Refused(NOT_PERMITTED)
    expires = Height(context.height + PERMISSION_HEIGHTS)
    permission = Permission(context.key_id, reader.member, patient, holder, view, purpose, expires)
    # The id of the asking transaction is unique, so no permission is ever overwritten.
    permission_id: Hash32 = context.transaction_id
    state.put(permission_key(permission_id), permission.encode())
    return permission_id, expires


def _one_of(names: tuple[str, ...], value: Value, what: str) -> str:
    name = codec.text(value, what, 16)
    if name not in names:
        raise NotCanonical(what, f"one of {', '.join(names)} is wanted")
    return name


ACCESS = ActionContract(
    "access", {"request": Request, "request_release": RequestRelease, "revoke": Revoke}
)
