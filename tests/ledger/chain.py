"""A chain in memory: what execution tests apply blocks to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from contracts.registry import Registry
from ledger.contract_api import Column, ContractTable
from ledger.crypto.keys import Verified
from ledger.execution import BlockResult, Position, build_block, execute, genesis_changes
from ledger.primitives import ZERO_HASH, Hash32, Height, MemberId, TimestampMs
from ledger.state import Write
from ledger.types.block import Block
from ledger.types.transaction import SignedTransaction
from tests.contracts.support import GENESIS

PROPOSER = MemberId("hospital-a")


@dataclass
class MemoryReader:
    """A StateReader over a dict."""

    data: dict[tuple[Column, bytes], bytes] = field(default_factory=dict)

    def get(self, column: Column, key: bytes) -> bytes | None:
        return self.data.get((column, key))

    def apply(self, writes: Sequence[Write]) -> None:
        for column, key, value in writes:
            if value is None:
                self.data.pop((column, key), None)
            else:
                self.data[column, key] = value


@dataclass
class Chain:
    """The state after ``height``, and where the next block goes."""

    contracts: ContractTable = field(default_factory=Registry)
    reader: MemoryReader = field(default_factory=MemoryReader)
    height: int = 0
    parent: Hash32 = ZERO_HASH
    time_ms: int = GENESIS.time_ms

    def __post_init__(self) -> None:
        self.reader.apply(genesis_changes(self.reader, self.contracts, GENESIS).writes)

    @property
    def position(self) -> Position:
        return Position(
            GENESIS.chain_id,
            Height(self.height + 1),
            self.parent,
            TimestampMs(self.time_ms),
            GENESIS.membership,
        )

    @property
    def next_time(self) -> TimestampMs:
        return TimestampMs(self.time_ms + 1_000)

    @property
    def place(self) -> tuple[MemoryReader, ContractTable, Hash32, Height, TimestampMs]:
        """The arguments of ``execute`` and ``select`` before the transactions."""
        height = Height(self.height + 1)
        return self.reader, self.contracts, GENESIS.chain_id, height, self.next_time

    def make(self, *txs: Verified[SignedTransaction]) -> tuple[Block, BlockResult]:
        """The next block, and what it does; changes nothing."""
        result = execute(*self.place, txs)
        return build_block(self.position, self.next_time, PROPOSER, txs, result), result

    def extend(self, *txs: Verified[SignedTransaction]) -> BlockResult:
        """Makes the next block and applies it."""
        block, result = self.make(*txs)
        self.reader.apply(result.writes)
        self.height, self.parent, self.time_ms = (
            block.header.height,
            block.hash,
            block.header.time_ms,
        )
        return result
