"""Sharing: a resident lets whoever has a link and its passcode read some records for a while.

The chain holds neither the link's token nor the passcode, only hashes salted by the token's 256
random bits, so that nobody can try passcodes on what the chain tells. The hospital that holds
the records serves the share. It commits each wrong passcode before it answers, so that neither
a restart nor a second process of it gives more tries than the resident allowed.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Self

from contracts.access import may_share
from contracts.actions import ActionContract
from contracts.lookup import find_row, find_share
from ledger import codec
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.errors import NotCanonical
from ledger.limits import SHARE_ATTEMPTS_MAX, SHARE_MS_MAX, SHARE_ROWS_MAX
from ledger.primitives import Hash32, TimestampMs
from ledger.types.entries import VIEWS, Disclosed, access_log
from ledger.types.residents import Share, one_of, share_key, shares_log


@dataclass(frozen=True, slots=True)
class Create:
    """To share own records that one hospital holds."""

    rows: tuple[int, ...]
    view: str
    token_hash: Hash32
    verifier: Hash32
    until_ms: TimestampMs
    attempts: int

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[[index, ...], view, token hash, verifier, until, attempts]; raises PeerFault."""
        what = "share/create"
        rows, view, token_hash, verifier, until, attempts = codec.array(args, 6, what)
        items = codec.array_up_to(rows, SHARE_ROWS_MAX, what)
        indexes = tuple(codec.uint(item, what) for item in items)
        if not indexes or any(a >= b for a, b in itertools.pairwise(indexes)):
            raise NotCanonical(what, "one index or more, strictly rising, is wanted")
        wrong = codec.uint(attempts, what, SHARE_ATTEMPTS_MAX)
        if wrong == 0:
            raise NotCanonical(what, "at least one attempt is wanted")
        return cls(
            indexes,
            one_of(VIEWS, view, what),
            Hash32(codec.binary(token_hash, what, Hash32.SIZE)),
            Hash32(codec.binary(verifier, what, Hash32.SIZE)),
            TimestampMs(codec.uint(until, what)),
            wrong,
        )

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Keeps and lists the share; returns (its id, its holder). In this order:

        a) each index is a row of the own list: ``share/no-such-row`` with (index,)
        b) one hospital holds them all: ``share/several-holders``
        c) the view may be read by the signer there: ``share/not-permitted``
        d) it ends later than now, and within SHARE_MS_MAX: ``share/bad-end``
        """
        patient = context.signer.patient
        if patient is None:
            raise Refused("share/not-permitted")
        holders = []
        for index in self.rows:
            row = find_row(state, patient, index)
            if row is None:
                raise Refused("share/no-such-row", index)
            holders.append(row.member)
        holder = holders[0]
        if set(holders) != {holder}:
            raise Refused("share/several-holders")
        if not may_share(patient, holder, self.view, context.time_ms, state):
            raise Refused("share/not-permitted")
        if not 0 < self.until_ms - context.time_ms <= SHARE_MS_MAX:
            raise Refused("share/bad-end", SHARE_MS_MAX)
        share_id: Hash32 = context.transaction_id
        share = Share(
            patient,
            context.key_id,
            holder,
            self.rows,
            self.view,
            self.token_hash,
            self.verifier,
            self.until_ms,
            self.attempts,
            ended=False,
        )
        state.put(share_key(share_id), share.encode())
        state.append(shares_log(patient), share_id)
        return share_id, holder


@dataclass(frozen=True, slots=True)
class _OfShare:
    share: Hash32

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[share]; raises PeerFault."""
        (share,) = codec.array(args, 1, "share")
        return cls(Hash32(codec.binary(share, "share", Hash32.SIZE)))

    def found(self, state: StateView) -> Share:
        """The share, or ``share/no-such-share``."""
        share = find_share(state, self.share)
        if share is None:
            raise Refused("share/no-such-share")
        return share

    def served(self, context: CallContext, state: StateView) -> Share:
        """The share, if the signer's hospital serves it, ``share/not-holder`` otherwise, and it can
        still be opened: ``share/ended``, ``share/expired`` or ``share/locked``."""
        share = self.found(state)
        if share.holder != context.signer.member:
            raise Refused("share/not-holder")
        closed = share.closed(context.time_ms)
        if closed is not None:
            raise Refused(f"share/{closed}")
        return share


@dataclass(frozen=True, slots=True)
class End(_OfShare):
    """To end a share now: by whoever acts for the patient, or the hospital that serves it."""

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Returns (). Refused: ``no-such-share``, ``not-permitted``, ``ended`` already."""
        share = self.found(state)
        signer = context.signer
        serves = "administrator" in signer.roles and signer.member == share.holder
        if signer.patient != share.patient and not serves:
            raise Refused("share/not-permitted")
        if share.ended:
            raise Refused("share/ended")
        state.put(share_key(self.share), replace(share, ended=True).encode())
        return ()


@dataclass(frozen=True, slots=True)
class Fail(_OfShare):
    """The serving hospital was given the link with a wrong passcode."""

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Takes one attempt; returns (attempts left,). Refused: ``no-such-share``,
        ``not-holder``, ``ended``, ``expired``, ``locked``."""
        share = self.served(context, state)
        left = share.attempts_left - 1
        state.put(share_key(self.share), replace(share, attempts_left=left).encode())
        return (left,)


@dataclass(frozen=True, slots=True)
class Open(_OfShare):
    """The serving hospital was given link and passcode, and lets the records be read."""

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Appends to the patient's access log; returns (index there,). Refused as ``Fail``, and
        ``not-permitted`` where the view may not be shared any more."""
        share = self.served(context, state)
        if not may_share(share.patient, share.holder, share.view, context.time_ms, state):
            raise Refused("share/not-permitted")
        disclosed = Disclosed(
            "share",
            self.share,
            share.creator,
            share.holder,
            share.holder,
            share.view,
            "PATRQT",
            share.rows,
            context.height,
            context.time_ms,
        )
        return (state.append(access_log(share.patient), disclosed.encode()),)


SHARE = ActionContract("share", {"create": Create, "end": End, "fail": Fail, "open": Open})
