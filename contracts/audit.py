"""Audit: each disclosure, in a log that the person concerned can prove complete (ACC-1)."""

import itertools
from dataclasses import dataclass
from typing import Self

from contracts.access import basis_of
from contracts.actions import ActionContract
from contracts.lookup import find_permission, find_row
from ledger import codec
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.errors import NotCanonical
from ledger.limits import ROWS_PER_TRANSACTION_MAX
from ledger.primitives import Hash32
from ledger.types.entries import (
    Disclosed,
    Permission,
    ReleaseDisclosed,
    access_log,
    release_access_log,
)


@dataclass(frozen=True, slots=True)
class Disclose:
    """This hospital's gateway released records of a patient, or only the list of them."""

    permission: Hash32
    rows: tuple[int, ...]
    """Indexes in the patient's log, strictly rising; empty for the list of records."""

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[permission, [index, ...]], at most ROWS_PER_TRANSACTION_MAX; raises PeerFault."""
        what = "audit/disclose"
        permission, rows = codec.array(args, 2, what)
        indexes = codec.array_up_to(rows, ROWS_PER_TRANSACTION_MAX, what)
        checked = tuple(codec.uint(index, what) for index in indexes)
        if any(a >= b for a, b in itertools.pairwise(checked)):
            raise NotCanonical(what, "the indexes are not strictly rising")
        return cls(Hash32(codec.binary(permission, what, Hash32.SIZE)), checked)

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Appends to the patient's access log; returns (index there,). In this order:

        a) the permission exists and has not expired; it is for a patient's records
        b) its reader may still read for it: ``audit/not-permitted-now``; a directive, the end of a
           key or of a full copy counts from its own block on
        c) each index is a row of this hospital: ``audit/not-own-row`` with (index,)

        A row keeps being readable, and its reading recorded, when its status has changed.
        """
        permission = _valid_permission(self.permission, context, state)
        patient = permission.patient
        if patient is None:
            raise Refused("audit/permission-for-release")
        holder = context.signer.member
        basis = basis_of(
            permission.reader,
            patient,
            permission.view,
            permission.purpose,
            holder if self.rows else None,
            context.time_ms,
            state,
        )
        if basis is None:
            raise Refused("audit/not-permitted-now")
        for index in self.rows:
            row = find_row(state, patient, index)
            if row is None or row.member != holder:
                raise Refused("audit/not-own-row", index)
        disclosed = Disclosed(
            basis,
            self.permission,
            permission.reader,
            permission.reader_member,
            holder,
            permission.view,
            permission.purpose,
            self.rows,
            context.height,
            context.time_ms,
        )
        return (state.append(access_log(patient), disclosed.encode()),)


@dataclass(frozen=True, slots=True)
class DiscloseRelease:
    """This hospital's gateway showed de-identified records to a vendor."""

    permission: Hash32
    count: int
    digest: Hash32

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[permission, number of records, digest over them]; raises PeerFault."""
        what = "audit/disclose_release"
        permission, count, digest = codec.array(args, 3, what)
        return cls(
            Hash32(codec.binary(permission, what, Hash32.SIZE)),
            codec.uint(count, what),
            Hash32(codec.binary(digest, what, Hash32.SIZE)),
        )

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Appends to the hospital's release access log; returns (index there,). In this order:

        a) the permission exists and has not expired
        b) it is for this hospital's releases: ``audit/not-holder``
        """
        permission = _valid_permission(self.permission, context, state)
        holder = context.signer.member
        if permission.holder != holder:
            raise Refused("audit/not-holder")
        disclosed = ReleaseDisclosed(
            self.permission,
            permission.reader,
            permission.reader_member,
            permission.purpose,
            self.count,
            self.digest,
            context.height,
            context.time_ms,
        )
        return (state.append(release_access_log(holder), disclosed.encode()),)


def _valid_permission(permission_id: Hash32, context: CallContext, state: StateView) -> Permission:
    permission = find_permission(state, permission_id)
    if permission is None:
        raise Refused("audit/no-such-permission")
    if permission.expires < context.height:
        raise Refused("audit/permission-expired", permission.expires)
    return permission


AUDIT = ActionContract("audit", {"disclose": Disclose, "disclose_release": DiscloseRelease})
