"""Double votes that this node has seen: kept over restarts, until they are on the chain."""

from collections.abc import Iterator
from dataclasses import dataclass

from ledger.consensus.double_votes import evidence_of
from ledger.consensus.messages import Message
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.crypto.keys import Signer
from ledger.execution import VerifiedTransaction
from ledger.limits import VALID_UNTIL_HEIGHTS_MAX
from ledger.primitives import Hash32, Height, KeyId, Nonce
from ledger.types.evidence import Evidence, evidence_key
from ledger.types.membership import Membership
from ledger.types.transaction import SignedTransaction, Transaction, sign_transaction
from nodes.chain import Chain
from nodes.ports import TraceSink
from nodes.storage.ledger_store import LedgerStore

STAGGER_MS = 2_000
"""A validator waits so much longer for each place before its own, so that mostly one reports."""


@dataclass(slots=True)
class _Pending:
    evidence: Evidence
    since_ms: int
    report: Hash32 | None = None
    """Id of the newest transaction that reports it."""


class EvidenceBook:
    """What was seen and is not on the chain yet; at most one double vote of each key."""

    def __init__(
        self, chain: Chain, store: LedgerStore, signer: Signer | None, trace: TraceSink, now_ms: int
    ) -> None:
        """``signer`` has this validator's consensus key; None where the node only observes."""
        self._chain, self._store, self._signer, self._trace = chain, store, signer, trace
        self._pending = {e.key_id: _Pending(e, now_ms) for e in store.pending_evidence()}

    def pending(self) -> Iterator[Evidence]:
        """What is not on the chain yet."""
        return (each.evidence for each in self._pending.values())

    def saw(self, one: Message, other: Message, membership: Membership, now_ms: int) -> None:
        """Keeps the proof, durably; the first one against a key is enough."""
        evidence = evidence_of(one, other, membership)
        if evidence.key_id in self._pending or self._recorded(evidence.key_id):
            return
        self._store.keep_evidence(evidence)
        self._pending[evidence.key_id] = _Pending(evidence, now_ms)
        accused = membership.validators[one.signer].member
        self._trace.emit("equivocation", member=accused, vote=evidence.tag, height=evidence.height)

    def reports(self, place: int | None, now_ms: int) -> list[VerifiedTransaction]:
        """Transactions that this validator, at ``place`` of the membership, should hand in now."""
        due: list[VerifiedTransaction] = []
        for key_id, each in list(self._pending.items()):
            # A report that was executed, and recorded nothing, was refused for good.
            refused = each.report is not None and self._store.executed(each.report) is not None
            if self._recorded(key_id) or refused:
                self._store.drop_evidence(key_id)
                del self._pending[key_id]
            elif place is None or self._signer is None:
                continue  # an observer keeps it until it votes again
            elif now_ms - each.since_ms >= place * STAGGER_MS and not self._waits(each.report):
                signed = self._report(each.evidence, self._signer)
                each.report = signed.id
                due.append(self._chain.verify(signed))
        return due

    def _recorded(self, key_id: KeyId) -> bool:
        return self._chain.state_value(evidence_key(key_id)) is not None

    def _waits(self, report: Hash32 | None) -> bool:
        return report is not None and self._chain.mempool.get(report) is not None

    def _report(self, evidence: Evidence, signer: Signer) -> SignedTransaction:
        reporter = signer.public_key.key_id
        nonce = hash_tagged(Tag.EVIDENCE_REPORT, evidence.encode(), reporter)[: Nonce.SIZE]
        body = Transaction(
            self._chain.chain_id,
            "evidence",
            "report",
            (evidence.encode(),),
            reporter,
            Nonce(nonce),
            Height(self._store.height + VALID_UNTIL_HEIGHTS_MAX // 2),
        )
        return sign_transaction(body, signer)
