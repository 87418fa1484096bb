"""Evidence: that a validator signed two things for one place, on record for ever.

It changes no vote by itself: the hospitals see it and decide (``governance``).
"""

from dataclasses import dataclass
from typing import Self

from contracts.actions import ActionContract
from contracts.lookup import find_user
from ledger import codec
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.errors import PeerFault
from ledger.limits import EVIDENCE_HEIGHTS
from ledger.types.evidence import EVIDENCE_BYTES_MAX, EVIDENCE_LOG, Evidence, evidence_key


@dataclass(frozen=True, slots=True)
class Report:
    """A validator has seen a double vote."""

    evidence: Evidence

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[evidence bytes]; raises PeerFault."""
        (data,) = codec.array(args, 1, "evidence/report")
        return cls(Evidence.decode(codec.binary(data, "evidence/report", EVIDENCE_BYTES_MAX)))

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Records it; returns (member). Checks, cheap ones first:

        a) the vote is not of a height to come, nor too old: ``evidence/wrong-height``
        b) the key is or was a validator's: ``evidence/unknown-key``
        c) nothing is recorded of that key: ``evidence/already-recorded``
        d) both signatures are its own: ``evidence/not-proved``
        """
        evidence = self.evidence
        if not context.height - EVIDENCE_HEIGHTS <= evidence.height <= context.height + 1:
            raise Refused("evidence/wrong-height")
        accused = find_user(state, evidence.key_id)
        if accused is None or accused.roles != ("validator",):
            raise Refused("evidence/unknown-key")
        if state.get(evidence_key(evidence.key_id)) is not None:
            raise Refused("evidence/already-recorded", accused.member)
        try:
            evidence.verify(context.chain_id, accused.public_key)
        except PeerFault:
            raise Refused("evidence/not-proved", accused.member) from None
        state.put(evidence_key(evidence.key_id), evidence.encode())
        state.append(EVIDENCE_LOG, evidence.key_id)
        return (accused.member,)


EVIDENCE = ActionContract("evidence", {"report": Report})
