"""Full copies: a resident asks a hospital for whole records; the hospital decides, once."""

from dataclasses import dataclass
from typing import Self

from contracts.actions import ActionContract
from contracts.lookup import find_copies, find_hospitals
from ledger import codec
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.errors import NotCanonical
from ledger.limits import COPY_MS_MAX
from ledger.primitives import MemberId, PatientKey, TimestampMs
from ledger.types.residents import (
    REFUSAL_REASONS,
    CopyRequest,
    copies_key,
    encode_copies,
    one_of,
)


def copy_open(
    state: StateView, patient: PatientKey, hospital: MemberId | None, time_ms: TimestampMs
) -> bool:
    """Whether a full copy of that hospital's records may be read; None: of any hospital's."""
    return any(
        hospital in (None, copy.hospital) and copy.state == "approved" and time_ms < copy.until_ms
        for copy in find_copies(state, patient)
    )


@dataclass(frozen=True, slots=True)
class RequestCopy:
    """To ask one hospital for the full copy of the own records there."""

    hospital: MemberId

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[hospital]; raises PeerFault."""
        (hospital,) = codec.array(args, 1, "copy/request")
        return cls(MemberId(codec.text(hospital, "copy/request", 32)))

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Keeps the request; returns (). In this order:

        a) it is a hospital of this chain: ``copy/unknown-hospital``
        b) no request waits there, and no copy is open: ``copy/asked-already``
        """
        patient = context.signer.patient
        if patient is None:
            raise Refused("copy/not-permitted")
        if self.hospital not in find_hospitals(state):
            raise Refused("copy/unknown-hospital")
        for copy in find_copies(state, patient):
            open_now = copy.state == "requested" or context.time_ms < copy.until_ms
            if copy.hospital == self.hospital and open_now:
                raise Refused("copy/asked-already")
        _put(patient, CopyRequest(self.hospital, "requested", None, TimestampMs(0)), state)
        return ()


@dataclass(frozen=True, slots=True)
class DecideCopy:
    """This hospital's answer."""

    patient: PatientKey
    refused: str | None
    """One of REFUSAL_REASONS; None: approved."""
    until_ms: TimestampMs
    """Where it is approved, how long the copy may be read; else 0."""

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[patient, reason of refusal or nil, until]; raises PeerFault."""
        what = "copy/decide"
        patient, reason, until = codec.array(args, 3, what)
        refused = None if reason is None else one_of(REFUSAL_REASONS, reason, what)
        until_ms = TimestampMs(codec.uint(until, what))
        if refused is not None and until_ms:
            raise NotCanonical(what, "a refusal has no end")
        return cls(PatientKey(codec.binary(patient, what, PatientKey.SIZE)), refused, until_ms)

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Keeps the answer; returns (). In this order:

        a) a request waits at this hospital: ``copy/no-request``
        b) an approval ends later than now, and within COPY_MS_MAX: ``copy/bad-end``
        """
        hospital = context.signer.member
        waiting = CopyRequest(hospital, "requested", None, TimestampMs(0))
        if waiting not in find_copies(state, self.patient):
            raise Refused("copy/no-request")
        left = self.until_ms - context.time_ms
        if self.refused is None and not 0 < left <= COPY_MS_MAX:
            raise Refused("copy/bad-end", COPY_MS_MAX)
        answer = "approved" if self.refused is None else "refused"
        _put(self.patient, CopyRequest(hospital, answer, self.refused, self.until_ms), state)
        return ()


def _put(patient: PatientKey, copy: CopyRequest, state: StateView) -> None:
    others = [c for c in find_copies(state, patient) if c.hospital != copy.hospital]
    state.put(copies_key(patient), encode_copies([*others, copy]))


COPY = ActionContract("copy", {"request": RequestCopy, "decide": DecideCopy})
