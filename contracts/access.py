"""Access: who may read what, for which purpose. A "yes" is a permission on chain (ACC-1).

The default rules come first: what none of them allows is refused. Then the patient's directives
may take away, except from whoever reads for the patient. An emergency overrides them, and that
is told: the basis of such a disclosure is ``break-glass`` (ACC-2). A permission is no more than
this answer: it is asked again for each disclosure, so a directive takes effect in its block.
"""

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Self

from contracts.actions import ActionContract
from contracts.copies import copy_open
from contracts.lookup import find_directives, find_member, find_permission, find_user
from ledger import codec
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.limits import PERMISSION_HEIGHTS
from ledger.primitives import Hash32, Height, KeyId, MemberId, PatientKey, TimestampMs
from ledger.types.entries import PURPOSES, VIEWS, Permission, permission_key
from ledger.types.genesis import Member, UserKey
from ledger.types.residents import one_of, permits

NOT_PERMITTED = "access/not-permitted"
EMERGENCY = "ETREAT"
"""The purpose for which directives do not count."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to be allowed: all of it must fit."""

    kind: str
    """Kind of the reader's member."""
    role: str
    subject: str
    """What is asked for: "any-patient", "own-patient" (whom the reader acts for), "own-copy" (the
    same, where a hospital approved a full copy) or "release"."""
    view: str
    purposes: Set[str]


RULES = (
    Rule("hospital", "treating", "any-patient", "clinical", {"TREAT", "ETREAT"}),
    Rule("hospital", "treating", "any-patient", "resident", {"TREAT", "ETREAT"}),
    Rule("hospital", "resident", "own-patient", "resident", {"PATRQT"}),
    Rule("hospital", "resident", "own-copy", "clinical", {"PATRQT"}),
    Rule("hospital", "guardian", "own-patient", "resident", {"PATRQT"}),
    Rule("hospital", "guardian", "own-copy", "clinical", {"PATRQT"}),
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
    full_copy: bool = False,
) -> bool:
    """Whether the default rules let ``reader`` of ``member`` have the view.

    ``patient`` is None for a release. A vendor's licence must cover block time, whatever it asks
    for. ``full_copy``: a full copy was approved for the patient and may still be read.
    """
    if member.kind == "vendor" and member.licence_until_ms <= time_ms:
        return False
    subjects = {"release"} if patient is None else {"any-patient"}
    if patient is not None and patient == reader.patient:
        subjects.add("own-patient")
        if full_copy:
            subjects.add("own-copy")
    return any(
        rule.kind == member.kind
        and rule.role in reader.roles
        and rule.subject in subjects
        and rule.view == view
        and purpose in rule.purposes
        for rule in RULES
    )


def basis_of(
    key_id: KeyId,
    patient: PatientKey,
    view: str,
    purpose: str,
    holder: MemberId | None,
    time_ms: TimestampMs,
    state: StateView,
) -> str | None:
    """Why a key may read a patient's records now: one of BASES; None: it may not.

    ``holder`` is the hospital that discloses, None where that is not known yet. A key that has
    ended reads nothing, whatever was permitted to it before.
    """
    reader = find_user(state, key_id)
    if reader is None or reader.valid_until_ms <= time_ms:
        return None
    member = find_member(state, reader.member)
    copied = copy_open(state, patient, holder, time_ms)
    if member is None or not decide(reader, member, patient, view, purpose, time_ms, copied):
        return None
    who = (reader.member, key_id)
    if reader.patient == patient:
        return "permission"
    if permits(find_directives(state, patient), who, view, purpose, time_ms):
        return "permission"
    return "break-glass" if purpose == EMERGENCY else None


def may_share(
    patient: PatientKey, holder: MemberId, view: str, time_ms: TimestampMs, state: StateView
) -> bool:
    """Whether who acts for a patient may show others the view: what they may read themselves."""
    return view == "resident" or (view == "clinical" and copy_open(state, patient, holder, time_ms))


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
            one_of(VIEWS, view, what),
            one_of(PURPOSES, purpose, what),
        )

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Writes the permission; returns (permission id, last height at which it holds)."""
        time_ms = context.time_ms
        if not basis_of(
            context.key_id, self.patient, self.view, self.purpose, None, time_ms, state
        ):
            raise Refused(NOT_PERMITTED)
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
        return cls(MemberId(codec.text(holder, what, 32)), one_of(PURPOSES, purpose, what))

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """As Request; a holder that is no hospital of this chain: ``access/unknown-holder``."""
        holder = find_member(state, self.holder)
        if holder is None or holder.kind != "hospital":
            raise Refused("access/unknown-holder", self.holder)
        member = find_member(state, context.signer.member)
        reader, time_ms = context.signer, context.time_ms
        if member is None or not decide(
            reader, member, None, "deidentified", self.purpose, time_ms
        ):
            raise Refused(NOT_PERMITTED)
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
    expires = Height(context.height + PERMISSION_HEIGHTS)
    member = context.signer.member
    permission = Permission(context.key_id, member, patient, holder, view, purpose, expires)
    # The id of the asking transaction is unique, so no permission is ever overwritten.
    permission_id: Hash32 = context.transaction_id
    state.put(permission_key(permission_id), permission.encode())
    return permission_id, expires


ACCESS = ActionContract(
    "access", {"request": Request, "request_release": RequestRelease, "revoke": Revoke}
)
