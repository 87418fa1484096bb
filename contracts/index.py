"""Index: what records exist, as minimal rows in each patient's log (decision 7).

That a root is new cannot be known cheaply and need not be: roots are salted, so equal rows are
one record registered twice, and a status then applies to both.
"""

from dataclasses import dataclass
from typing import Self

from contracts.actions import ActionContract
from contracts.lookup import find_row
from ledger import codec
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.errors import OutOfRange
from ledger.limits import ROWS_PER_TRANSACTION_MAX, SEALED_BYTES_MAX
from ledger.primitives import Hash32, PatientKey
from ledger.types.entries import Row, StatusChange, group_key, patient_log, row_status


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a hospital says about one record."""

    patient: PatientKey
    root: Hash32
    sealed: bytes

    @classmethod
    def parse(cls, value: Value, what: str) -> Self:
        """[patient, root, sealed]; raises PeerFault."""
        patient, root, sealed = codec.array(value, 3, what)
        return cls(
            PatientKey(codec.binary(patient, what, PatientKey.SIZE)),
            Hash32(codec.binary(root, what, Hash32.SIZE)),
            codec.binary(sealed, what, SEALED_BYTES_MAX),
        )

    def append(
        self, epoch: int, supersedes: Hash32 | None, context: CallContext, state: StateView
    ) -> int:
        """Appends the row to the patient's log; returns its index there."""
        member = context.signer.member
        row = Row(member, self.patient, self.root, epoch, self.sealed, supersedes)
        return state.append(patient_log(self.patient), row.encode())


@dataclass(frozen=True, slots=True)
class Register:
    """New records of this hospital, of any patients."""

    epoch: int
    records: tuple[Commitment, ...]

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[epoch, [[patient, root, sealed], ...]], 1 to ROWS_PER_TRANSACTION_MAX rows."""
        what = "index/register"
        epoch, rows = codec.array(args, 2, what)
        rows = codec.array_up_to(rows, ROWS_PER_TRANSACTION_MAX, what)
        if not rows:
            raise OutOfRange(what, "0 rows")
        return cls(
            codec.uint(epoch, what),
            tuple(Commitment.parse(row, what) for row in rows),
        )

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Appends one row for each record; returns ([index in its patient's log, ...],)."""
        _check_epoch(self.epoch, state)
        return (tuple(r.append(self.epoch, None, context, state) for r in self.records),)


@dataclass(frozen=True, slots=True)
class Supersede:
    """A record was changed in its store: the new version replaces the old row."""

    index: int
    """Of the old row in the patient's log."""
    epoch: int
    record: Commitment

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[patient, index, epoch, root, sealed]."""
        what = "index/supersede"
        patient, index, epoch, root, sealed = codec.array(args, 5, what)
        return cls(
            codec.uint(index, what),
            codec.uint(epoch, what),
            Commitment.parse((patient, root, sealed), what),
        )

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Appends the status, then the new row; returns (index of status, index of row)."""
        _check_epoch(self.epoch, state)
        patient = self.record.patient
        old = _own_valid_row(patient, self.index, context, state)
        changed = _change_status(patient, old, "superseded", context, state)
        return changed, self.record.append(self.epoch, old, context, state)


@dataclass(frozen=True, slots=True)
class MarkEnteredInError:
    """A record should never have been registered for this patient."""

    patient: PatientKey
    index: int

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[patient, index]."""
        what = "index/mark_entered_in_error"
        patient, index = codec.array(args, 2, what)
        return cls(
            PatientKey(codec.binary(patient, what, PatientKey.SIZE)), codec.uint(index, what)
        )

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Appends the status; returns (its index in the patient's log,)."""
        old = _own_valid_row(self.patient, self.index, context, state)
        return (_change_status(self.patient, old, "entered-in-error", context, state),)


def _check_epoch(epoch: int, state: StateView) -> None:
    # Under a group key that is not on chain nobody but the signer could read the metadata.
    if state.get(group_key(epoch)) is None:
        raise Refused("index/unknown-epoch", epoch)


def _own_valid_row(
    patient: PatientKey, index: int, context: CallContext, state: StateView
) -> Hash32:
    """Hash of the row at ``index``, if it is there, of the signer's member, and unchanged."""
    row = find_row(state, patient, index)
    if row is None:
        raise Refused("index/no-such-row", index)
    if row.member != context.signer.member:
        raise Refused("index/not-own-row", index)
    row_hash = row.hash
    if state.get(row_status(row_hash)) is not None:
        raise Refused("index/already-changed", index)
    return row_hash


def _change_status(
    patient: PatientKey, row_hash: Hash32, status: str, context: CallContext, state: StateView
) -> int:
    """Writes [status, height] for the row and appends the change; returns its index."""
    change = StatusChange(context.signer.member, patient, row_hash, status)
    state.put(row_status(row_hash), codec.encode([status, context.height]))
    return state.append(patient_log(patient), change.encode())


INDEX = ActionContract(
    "index",
    {
        "register": Register,
        "supersede": Supersede,
        "mark_entered_in_error": MarkEnteredInError,
    },
)
