"""A chain in this process that executes and certifies for real, behind the node's interface.

Each submission becomes one block with a certificate of a quorum of the test's consensus keys.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.registry import Registry
from ledger import execution
from ledger.contract_api import Column
from ledger.crypto.keys import Verified
from ledger.errors import PeerFault
from ledger.merkle import state_tree
from ledger.merkle.proof import StateProof
from ledger.primitives import ZERO_HASH, Hash32, Height, TimestampMs, View
from ledger.types.block import Block, Header, Receipt
from ledger.types.certificate import CertifiedHeader, QuorumCertificate, commit_digest
from ledger.types.genesis import Genesis
from ledger.types.transaction import SignedTransaction, verify_transaction
from nodes.api.facade import SubmitResult
from tests.contracts.support import GENESIS, HOSPITALS, USERS, FixedSigner

REGISTRY = Registry()
KEYS = {user.public_key.key_id: user.public_key for _, user in USERS.values()}


@dataclass
class MemoryChain:
    """The committed chain: ``ReadableStore`` over dictionaries."""

    state: dict[tuple[Column, bytes], bytes] = field(default_factory=dict)
    blocks: list[tuple[Block, QuorumCertificate, tuple[Receipt, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._write(execution.genesis_changes(self, REGISTRY, GENESIS).writes)

    @property
    def height(self) -> Height:
        return Height(len(self.blocks))

    def get(self, column: Column, key: bytes) -> bytes | None:
        return self.state.get((column, key))

    def _write(self, writes: Sequence[tuple[Column, bytes, bytes | None]]) -> None:
        for column, key, value in writes:
            if value is None:
                self.state.pop((column, key), None)
            else:
                self.state[column, key] = value

    def header(self, height: int) -> Header | None:
        return self.blocks[height - 1][0].header if 0 < height <= self.height else None

    def block(self, height: int) -> Block | None:
        return self.blocks[height - 1][0] if 0 < height <= self.height else None

    def certificate(self, height: int) -> QuorumCertificate | None:
        return self.blocks[height - 1][1] if 0 < height <= self.height else None

    def certified_header(self, height: int) -> CertifiedHeader | None:
        if not 0 < height <= self.height:
            return None
        block, certificate, _ = self.blocks[height - 1]
        return CertifiedHeader(block.header, certificate)

    def receipts(self, height: int) -> tuple[Receipt, ...]:
        return self.blocks[height - 1][2]

    def executed(self, transaction_id: Hash32) -> tuple[Height, int] | None:
        for block, _, receipts in self.blocks:
            for index, receipt in enumerate(receipts):
                if receipt.transaction_id == transaction_id:
                    return block.header.height, index
        return None

    def prove_state(self, key: bytes) -> tuple[CertifiedHeader, bytes | None, StateProof]:
        certified = self.certified_header(self.height)
        assert certified is not None
        return certified, self.get(Column.VALUE, key), state_tree.prove(self, key)

    def log_entries(self, log: bytes, start: int, stop: int) -> Iterator[bytes]:
        for index in range(start, stop):
            entry = self.get(Column.LOG, log + index.to_bytes(8, "big"))
            assert entry is not None
            yield entry

    def commit(self, transactions: Sequence[Verified[SignedTransaction]]) -> None:
        """One block with these transactions."""
        parent = self.header(self.height)
        time_ms = TimestampMs((parent.time_ms if parent else GENESIS.time_ms) + 100)
        position = execution.Position(
            GENESIS.chain_id,
            Height(self.height + 1),
            parent.hash if parent else ZERO_HASH,
            parent.time_ms if parent else GENESIS.time_ms,
            GENESIS.membership,
            GENESIS.membership,
        )
        result = execution.execute(
            self, REGISTRY, GENESIS.chain_id, position.height, time_ms, transactions
        )
        proposer = GENESIS.membership.validators[0].member
        block = execution.build_block(position, time_ms, proposer, transactions, result)
        self._write(result.writes)
        self.blocks.append((block, certify(block.header), result.receipts))


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
                key = KEYS[signed.body.signer]
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
            self.store.commit(verified)
        return results

    async def wait_committed(self, transaction_id: Hash32, timeout_ms: int) -> None:
        return None

    def pending(self, transaction_id: Hash32) -> bool:
        return transaction_id in self.waiting

    def status(self) -> Mapping[str, object]:
        return {"member": "hospital-a", "height": self.store.height}

    def now_ms(self) -> int:
        """The clock of everyone in the test: a second after the newest block."""
        header = self.store.header(self.store.height)
        return (header.time_ms if header else GENESIS.time_ms) + 1_000
