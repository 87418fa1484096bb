"""The committed chain and what waits for it, on one machine: blocks are built, checked, applied.

Synchronous, with store and clock injected. It decides nothing about agreement: ``driver.py``
asks it for a block to propose, whether another's may be voted for, and to apply what is decided.
"""

from collections.abc import Sequence
from contextlib import suppress

from ledger import catchup
from ledger.catchup import CommittedBlock, Diverged
from ledger.contract_api import ContractTable
from ledger.crypto.keys import Verified
from ledger.errors import PeerFault
from ledger.execution import (
    BlockResult,
    InvalidBlock,
    Position,
    TransactionRefused,
    VerifiedTransaction,
    build_block,
    check_transaction,
    current_voters,
    execute,
    select,
    verify_block,
)
from ledger.limits import BLOCK_BYTES_MAX, BLOCK_TIME_AHEAD_MAX_MS, BLOCK_TRANSACTIONS_MAX
from ledger.mempool import AlreadyKnown, Mempool, MempoolFull
from ledger.primitives import ZERO_HASH, Hash32, Height, MemberId, TimestampMs
from ledger.state import State
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate
from ledger.types.genesis import Genesis, Member, UserKey
from ledger.types.membership import Voters
from ledger.types.transaction import SignedTransaction, verify_transaction
from nodes.ports import Clock, TraceSink
from nodes.storage.ledger_store import LedgerStore

RESULTS_MAX = 4
"""Results of proposals at one height; each view may bring another one."""

Admission = TransactionRefused | MempoolFull | AlreadyKnown | None
"""Why a transaction was not taken into the mempool; None where it was."""


class Chain:
    """What a validator has committed, and the transactions that wait for a block."""

    def __init__(
        self,
        genesis: Genesis,
        member: MemberId,
        contracts: ContractTable,
        store: LedgerStore,
        clock: Clock,
        trace: TraceSink,
    ) -> None:
        self.chain_id = genesis.chain_id
        self.mempool = Mempool()
        self._genesis = genesis
        self._member = member
        self._contracts = contracts
        self._store = store
        self._clock = clock
        self._trace = trace
        self._results: dict[Hash32, BlockResult] = {}

    # -- transactions -----------------------------------------------------------------------

    def admit(self, transactions: Sequence[VerifiedTransaction]) -> list[Admission]:
        """Puts verified transactions into the mempool; one answer for each, in order."""
        answers: list[Admission] = []
        state = State(self._store)
        height, now = Height(self._store.height + 1), self._clock.wall_ms()
        arrival = self._clock.monotonic_ms()
        for transaction in transactions:
            executed = self._store.executed(transaction.value.id) is not None
            try:
                signer = check_transaction(
                    state, self._contracts, self.chain_id, height, now, executed, transaction
                )
                self.mempool.add(transaction, signer.member, arrival)
            except (TransactionRefused, AlreadyKnown, MempoolFull) as refusal:
                answers.append(refusal)
            else:
                answers.append(None)
        return answers

    def verify(self, signed: SignedTransaction) -> Verified[SignedTransaction]:
        """Checks the signature by the registered key; raises PeerFault."""
        return verify_transaction(signed, self._signer(signed).public_key)

    def _signer(self, signed: SignedTransaction) -> UserKey:
        signer = self._contracts.signer(State(self._store), signed.body.signer)
        if signer is None:
            raise TransactionRefused(signed.id, "transaction/unknown-signer")
        return signer

    def _verified(self, encoded: bytes) -> VerifiedTransaction:
        known = self.mempool.get_by_bytes(encoded)
        if known is not None:
            return known
        verified = self.verify(SignedTransaction.decode(encoded))
        # It waits here, too, so that its signature is not checked again when it is passed on.
        with suppress(AlreadyKnown, MempoolFull):
            member = self._signer(verified.value).member
            self.mempool.add(verified, member, self._clock.monotonic_ms())
        return verified

    def state_value(self, key: bytes) -> bytes | None:
        """The newest value of a state key."""
        return State(self._store).get(key)

    def hospitals(self) -> tuple[Member, ...]:
        """All hospitals of the network, voting or not."""
        state = State(self._store)
        found = (self._contracts.member(state, m) for m in self._contracts.hospitals(state))
        return tuple(member for member in found if member is not None)

    def voters(self) -> Voters:
        """Who votes on the next height."""
        return current_voters(State(self._store))

    def oldest_arrival_ms(self) -> int | None:
        """When the transaction came that waits longest of those that a block could hold now.

        What may not be executed any more, as when its signer's key has expired, is dropped on
        the way: no primary can be blamed for leaving it out.
        """
        state, height = State(self._store), Height(self._store.height + 1)
        while (oldest := self.mempool.oldest()) is not None:
            transaction, arrival = oldest
            executed = self._store.executed(transaction.value.id) is not None
            now = self._clock.wall_ms()
            try:
                check_transaction(
                    state, self._contracts, self.chain_id, height, now, executed, transaction
                )
            except TransactionRefused:
                self.mempool.remove([transaction.value.id])
            else:
                return arrival
        return None

    # -- the next block -----------------------------------------------------------------------

    def position(self) -> Position:
        """Where the next block goes."""
        height = self._store.height
        header = self._store.header(height) if height else None
        return Position(
            chain_id=self.chain_id,
            height=Height(height + 1),
            parent=ZERO_HASH if header is None else header.hash,
            parent_time_ms=self._genesis.time_ms if header is None else header.time_ms,
            membership=self.voters().membership,
        )

    def build(self) -> Block:
        """A block of what waits, executed here; it may be empty."""
        position = self.position()
        time_ms = TimestampMs(max(position.parent_time_ms + 1, self._clock.wall_ms()))
        waiting = self.mempool.candidates(BLOCK_TRANSACTIONS_MAX, BLOCK_BYTES_MAX)
        chosen, dropped = select(
            self._store, self._contracts, self.chain_id, position.height, time_ms, waiting
        )
        self.mempool.remove(refusal.transaction_id for refusal in dropped)
        result = execute(
            self._store, self._contracts, self.chain_id, position.height, time_ms, chosen
        )
        block = build_block(position, time_ms, self._member, chosen, result)
        self._remember(block, result)
        return block

    def check(self, block: Block) -> bool:
        """Whether a live proposal executes to its header, and is not from the future (T1)."""
        ahead = block.header.time_ms - self._clock.wall_ms()
        try:
            if ahead > BLOCK_TIME_AHEAD_MAX_MS:
                raise InvalidBlock(block.header.height, "time_ms", f"{ahead} ms ahead of here")
            self._execute(block)
        except PeerFault as fault:
            self._trace.emit("block_refused", height=block.header.height, reason=str(fault))
            return False
        return True

    def _execute(self, block: Block) -> BlockResult:
        """What the block does here; the newest results are kept until a block is committed."""
        known = self._results.get(block.hash)
        if known is not None:
            return known
        waiting = [self._verified(encoded) for encoded in block.transactions]
        result = verify_block(block, self.position(), waiting, self._store, self._contracts)
        return self._remember(block, result)

    def _remember(self, block: Block, result: BlockResult) -> BlockResult:
        while len(self._results) >= RESULTS_MAX:
            del self._results[next(iter(self._results))]
        self._results[block.hash] = result
        return result

    # -- commit -------------------------------------------------------------------------------

    def apply(self, block: Block, certificate: QuorumCertificate) -> list[Hash32]:
        """Stores a decided block, with all it does, in one batch; ids of its transactions."""
        result = self._execute(block)
        self._store.commit(block, certificate, result)
        self._results.clear()
        ids = [receipt.transaction_id for receipt in result.receipts]
        self.mempool.remove(ids)
        self.mempool.expire(Height(block.header.height + 1))
        return ids

    def check_certified(self, committed: CommittedBlock) -> Block:
        """The next block as a peer gives it, certified, and executed here before it is applied.

        Raises PeerFault where it is not the certified next block, and Diverged where it is and
        this node computes something else.
        """
        position = self.position()
        block = catchup.verify_next(
            committed, position.height, position.parent, position.membership, self.chain_id
        )
        catchup.check_body(block)
        try:
            self._execute(block)
        except PeerFault as fault:
            raise Diverged(position.height, str(fault)) from fault
        return block
