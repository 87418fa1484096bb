"""A chain in this process that executes and certifies for real, behind the node's interface.

Each submission becomes one block with a certificate of a quorum of the test's consensus keys.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contracts.registry import Registry
from ledger import execution
from ledger.contract_api import Column
from ledger.crypto.keys import PublicKey, Verified
from ledger.errors import PeerFault
from ledger.primitives import ZERO_HASH, Hash32, Height, KeyId, TimestampMs, View
from ledger.types.block import Header
from ledger.types.certificate import QuorumCertificate, commit_digest
from ledger.types.entries import user_key
from ledger.types.genesis import Genesis, UserKey
from ledger.types.transaction import SignedTransaction, verify_transaction
from nodes.api.facade import SubmitResult
from nodes.storage.ledger_store import LedgerStore
from nodes.storage.memory import MemoryStorage
from tests.contracts.support import GENESIS, HOSPITALS, USERS, FixedSigner

REGISTRY = Registry()
KEYS = {user.public_key.key_id: user.public_key for _, user in USERS.values()}


class MemoryChain(LedgerStore):
    """The node's own store, in memory, with a way to commit without a consensus."""

    def __init__(self) -> None:
        super().__init__(MemoryStorage(), REGISTRY, GENESIS)

    def append(self, transactions: Sequence[Verified[SignedTransaction]]) -> None:
        """One block with these transactions."""
        parent = self.header(self.height) if self.height else None
        time_ms = TimestampMs((parent.time_ms if parent else GENESIS.time_ms) + 100)
        position = execution.Position(
            GENESIS.chain_id,
            Height(self.height + 1),
            parent.hash if parent else ZERO_HASH,
            parent.time_ms if parent else GENESIS.time_ms,
            GENESIS.membership,
        )
        result = execution.execute(
            self, REGISTRY, GENESIS.chain_id, position.height, time_ms, transactions
        )
        proposer = GENESIS.membership.validators[0].member
        block = execution.build_block(position, time_ms, proposer, transactions, result)
        self.commit(block, certify(block.header), result)


def certify(header: Header) -> QuorumCertificate:
    """A quorum's certificate for a header."""
    digest = commit_digest(header.chain_id, header.height, View(0), header.hash)
    signers = tuple(range(GENESIS.membership.quorum))
    signatures = tuple(FixedSigner(1_000 + index).sign(digest) for index in signers)
    assert len(HOSPITALS) == GENESIS.membership.n
    return QuorumCertificate(header.height, View(0), header.hash, signers, signatures)


@dataclass
class TestNode:
    """``NodeFacade``: commits what it is given at once, or keeps it while ``stopped``."""

    __test__ = False
    store: MemoryChain = field(default_factory=MemoryChain)
    stopped: bool = False
    full: bool = False
    waiting: set[Hash32] = field(default_factory=set)
    submissions: int = 0

    @property
    def genesis(self) -> Genesis:
        return GENESIS

    async def submit(self, encoded: Sequence[bytes]) -> list[SubmitResult]:
        self.submissions += 1
        verified, results = [], []
        for data in encoded:
            try:
                signed = SignedTransaction.decode(data)
                key = self._key(signed.body.signer)
                verified.append(verify_transaction(signed, key))
            except PeerFault as error:
                results.append(SubmitResult(None, "refused", "transaction/malformed", str(error)))
                continue
            if self.full:
                results.append(SubmitResult(signed.id, "refused", "mempool/full", "full"))
                continue
            results.append(SubmitResult(signed.id, "accepted", "ok", ""))
        if self.stopped:
            self.waiting |= {item.value.id for item in verified}
        elif not self.full:
            self.store.append(verified)
        return results

    def _key(self, signer: KeyId) -> PublicKey:
        """A key of the tests, or one that was bound since."""
        value = self.store.get(Column.VALUE, user_key(signer))
        if signer in KEYS or value is None:
            return KEYS[signer]
        return UserKey.decode(value).public_key

    async def wait_committed(self, transaction_id: Hash32, timeout_ms: int) -> None:
        return None

    def pending(self, transaction_id: Hash32) -> bool:
        return transaction_id in self.waiting

    def status(self) -> Mapping[str, object]:
        return {"member": "hospital-a", "height": self.store.height}

    def now_ms(self) -> int:
        """The clock of everyone in the test: a second after the newest block."""
        header = self.store.header(self.store.height) if self.store.height else None
        return (header.time_ms if header else GENESIS.time_ms) + 1_000
