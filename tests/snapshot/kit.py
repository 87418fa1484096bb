"""A store with any state, headers and receipts; and a node that fetches it, without a network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.registry import Registry
from ledger import codec
from ledger.contract_api import Column
from ledger.light.bundles import MembershipChange
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.primitives import ZERO_HASH, Hash32, Height, MemberId, TimestampMs
from ledger.snapshot.check import Task, accept, first_tasks, history
from ledger.snapshot.messages import Chunk, ChunksAnswer, ChunksRequest
from ledger.snapshot.plan import FetchPlan
from ledger.state import State
from ledger.types.block import Block, Header, Receipt
from ledger.types.certificate import CertifiedHeader
from nodes.ports import Put
from nodes.storage.fetched import FetchedSnapshot
from nodes.storage.layout import (
    BLOCK,
    CERTIFIED,
    RECEIPTS,
    Newest,
    height_bytes,
    place_of,
    puts,
    value_in,
)
from nodes.storage.ledger_store import LedgerStore
from nodes.storage.memory import MemoryStorage
from nodes.storage.snapshots import Snapshots
from tests.vectors import fixed

GENESIS = fixed.genesis()
CHAIN = GENESIS.chain_id
PEER = MemberId("hospital-01")
NEVER = 1_000_000_000


@dataclass
class Source:
    """A chain of ``height`` blocks whose last state is given; the others' states do not matter."""

    values: Mapping[bytes, bytes] = field(default_factory=dict)
    logs: Mapping[bytes, Sequence[bytes]] = field(default_factory=dict)
    height: int = 3
    transactions: Callable[[int], int] = lambda height: height % 3
    storage: MemoryStorage = field(default_factory=MemoryStorage)

    def __post_init__(self) -> None:
        state = State(self)
        for key, value in self.values.items():
            state.put(key, value)
        for log, entries in self.logs.items():
            for entry in entries:
                state.append(log, entry)
        changes = state.finish()
        self.storage.write([*puts(changes.writes)])
        parent = ZERO_HASH
        for height in range(1, self.height + 1):
            parent = self._block(Height(height), parent, changes.root)
        self.storage.write([Newest(CHAIN, Height(0), Height(self.height), changes.root).put])

    def get(self, column: Column, key: bytes) -> bytes | None:
        """As a StateReader."""
        return value_in(column, key, self.storage.get(place_of(column, key)))

    def _block(self, height: Height, parent: Hash32, root: Hash32) -> Hash32:
        count = self.transactions(height)
        body = tuple(b"transaction %d/%d" % (height, i) for i in range(count))
        ids = [fixed.named_hash(f"{height}/{i}") for i in range(count)]
        receipts = [Receipt(each, "ok", (height,)).encode() for each in ids]
        header = Header(
            chain_id=CHAIN,
            height=height,
            time_ms=TimestampMs(fixed.TIME_MS + height),
            parent=parent,
            proposer=MemberId("hospital-00"),
            transaction_count=count,
            transaction_root=root_of([leaf_hash(each) for each in body]),
            receipt_root=root_of([leaf_hash(each) for each in receipts]),
            state_root=root,
            membership=GENESIS.membership.hash,
            next_membership=GENESIS.membership.hash,
        )
        signers = [(i, fixed.validator_signer(i)) for i in range(3)]
        last = height == self.height
        certificate = fixed.certificate(header, signers if last else [])
        at = height_bytes(height)
        batch = [
            Put(BLOCK + at, Block(header, body).encoded),
            Put(CERTIFIED + at, CertifiedHeader(header, certificate).encode()),
        ]
        if height in history(Height(self.height)):
            batch.append(Put(RECEIPTS + at, codec.encode(receipts)))
            batch.extend(
                puts(
                    (Column.EXECUTED, bytes(each), codec.encode([height, i]))
                    for i, each in enumerate(ids)
                )
            )
        self.storage.write(batch)
        return header.hash

    @property
    def certified(self) -> CertifiedHeader:
        """The snapshot's."""
        stored = self.storage.get(CERTIFIED + height_bytes(self.height))
        assert stored is not None
        return CertifiedHeader.decode(stored)

    @property
    def header(self) -> Header:
        """The snapshot's."""
        return self.certified.header

    def snapshots(self) -> Snapshots:
        """What a node with this store offers."""
        made = Snapshots(self.storage, 1, lambda after, limit: ())
        made.opened(self.certified)
        return made


Serve = Callable[[ChunksRequest], ChunksAnswer]


@dataclass
class Target:
    """A store that fetches."""

    storage: MemoryStorage = field(default_factory=MemoryStorage)
    taken: list[tuple[Task, Chunk]] = field(default_factory=list)
    settled: list[Height] = field(default_factory=list)

    def fetch(self, header: Header, serve: Serve, chunks: int = NEVER) -> bool:
        """Fetches at most so many chunks over encoded messages; whether nothing is missing."""
        fetched = FetchedSnapshot(self.storage, CHAIN)
        fetched.begin(header.height)
        plan = FetchPlan(header.hash, fetched.known)
        plan.offered(PEER)
        plan.add(first_tasks(header))
        while not plan.finished:
            ((_, request),) = plan.requests(0)
            answer = serve(ChunksRequest.decode(request.encode()))
            answer = ChunksAnswer.decode(answer.encode())
            tasks = plan.answered(PEER, answer.request, len(answer.chunks))
            assert tasks
            for task, chunk in zip(tasks, answer.chunks, strict=True):
                if not chunks:
                    return False
                below = accept(task, header, chunk)
                fetched.keep(task, chunk, below)
                plan.add(below)
                self.taken.append((task, chunk))
                chunks -= 1
        return True

    def finish(self, source: Source, changes: Sequence[MembershipChange] = ()) -> LedgerStore:
        """What the fetched store is, once opened."""
        stored = source.storage.get(BLOCK + height_bytes(source.height))
        assert stored is not None
        block = Block.decode(stored)
        fetched = FetchedSnapshot(self.storage, CHAIN)
        for _ in fetched.finish(source.certified, block, changes, self.settled.append):
            pass
        return LedgerStore(self.storage, Registry(), GENESIS)


def state_of(storage: MemoryStorage) -> list[tuple[bytes, bytes]]:
    """An ordered dump of all state columns, and of the receipts."""
    kinds = {*range(1, 7), RECEIPTS[0]}
    return [(key, value) for key, value in storage.scan(b"") if key[0] in kinds]
