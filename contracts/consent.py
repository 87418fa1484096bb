"""Consent: what a resident permits and forbids beyond the default rules.

A directive is about everybody, one member, or one key of a member. The most specific one that
has not ended decides alone: it permits the views and purposes that it names and no others, so
to grant, to narrow and to forbid are one action. Where none is left, the default rules decide. The
decision is ``permits`` of ``ledger.types.residents``, which light clients share.
"""

from dataclasses import dataclass
from typing import Self

from contracts.actions import ActionContract
from contracts.lookup import find_directives, find_member, find_user
from ledger import codec
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.limits import DIRECTIVES_MAX
from ledger.primitives import KeyId, MemberId, PatientKey
from ledger.types.residents import Directive, directives_key, encode_directives, subject_of


def own_patient(context: CallContext) -> PatientKey:
    """Whom the signer, a resident or guardian, acts for."""
    patient = context.signer.patient
    if patient is None:
        raise Refused("consent/not-permitted")
    return patient


@dataclass(frozen=True, slots=True)
class Direct:
    """To grant, narrow or forbid."""

    directive: Directive

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[member or nil, key id or nil, [view, ...], [purpose, ...], until]; raises PeerFault."""
        return cls(Directive.from_value(args))

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Replaces the directive of that subject; returns (number of directives,). In this order:

        a) the member is one of this chain: ``consent/unknown-member``
        b) the key is one of that member: ``consent/unknown-reader``
        c) it ends later than now: ``consent/ended``
        d) there are at most DIRECTIVES_MAX: ``consent/too-many``; ended ones are dropped
        """
        directive = self.directive
        if directive.member is not None and find_member(state, directive.member) is None:
            raise Refused("consent/unknown-member")
        if directive.reader is not None:
            user = find_user(state, directive.reader)
            if user is None or user.member != directive.member:
                raise Refused("consent/unknown-reader")
        if directive.until_ms <= context.time_ms:
            raise Refused("consent/ended", directive.until_ms)
        kept = _others(directive.subject, context, state)
        if len(kept) >= DIRECTIVES_MAX:
            raise Refused("consent/too-many", DIRECTIVES_MAX)
        state.put(directives_key(own_patient(context)), encode_directives((*kept, directive)))
        return (len(kept) + 1,)


@dataclass(frozen=True, slots=True)
class Withdraw:
    """To take back a directive, so that a less specific one or the default rules decide."""

    subject: tuple[MemberId | None, KeyId | None]

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[member or nil, key id or nil]; raises PeerFault."""
        member, reader = codec.array(args, 2, "consent/withdraw")
        return cls(subject_of(member, reader))

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Returns (number of directives,); without one: ``consent/no-such-directive``."""
        patient = own_patient(context)
        if self.subject not in {d.subject for d in find_directives(state, patient)}:
            raise Refused("consent/no-such-directive")
        kept = _others(self.subject, context, state)
        state.put(directives_key(patient), encode_directives(kept))
        return (len(kept),)


def _others(
    subject: tuple[MemberId | None, KeyId | None], context: CallContext, state: StateView
) -> tuple[Directive, ...]:
    found = find_directives(state, own_patient(context))
    return tuple(d for d in found if d.subject != subject and context.time_ms < d.until_ms)


CONSENT = ActionContract("consent", {"direct": Direct, "withdraw": Withdraw})
