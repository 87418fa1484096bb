"""Real drivers, cores, contracts and signatures under a simulated clock, network and disk."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from heapq import heapify, heappop, heappush
from typing import Protocol

from contracts.registry import Registry
from ledger.codec import Value
from ledger.crypto.keys import Verified
from ledger.errors import BadSignature, PeerFault
from ledger.limits import SNAPSHOT_INTERVAL_HEIGHTS
from ledger.primitives import Hash32, Height, MemberId, Nonce, TimestampMs
from ledger.types.genesis import Genesis, Member, Parameters, UserKey
from ledger.types.governance import possession_digest
from ledger.types.transaction import SignedTransaction, Transaction, sign_transaction
from nodes.driver import Driver, World
from nodes.frames import Channel, decode_transactions, split_frame
from nodes.quotas import SIGNATURE_US
from nodes.state_sync import StateSync, SyncWorld
from nodes.storage.fetched import is_empty
from nodes.storage.ledger_store import LedgerStore
from nodes.storage.memory import MemoryStorage
from nodes.storage.safety_store import MemorySafetyStore
from tests.vectors import fixed
from tests.vectors.fixed import FixedSigner

YEARS_MS = 10 * 365 * 86_400_000
START_MS = 1_000_000
TIMEOUT_MS = 1_000


@cache
def genesis(
    n: int, rotation: int = 1_000, empty_ms: int = 60_000, timeout_ms: int = TIMEOUT_MS
) -> Genesis:
    """``n`` hospitals, each with keys of a gateway and an administrator, valid for years."""
    document = fixed.genesis(n)
    users = [
        UserKey(
            fixed.hospital(i),
            signer(i).public_key,
            (role,),
            TimestampMs(fixed.TIME_MS + YEARS_MS),
            None,
        )
        for i in range(n)
        for role, signer in (("gateway", gateway_signer), ("administrator", administrator_signer))
    ]
    return replace(
        document,
        parameters=Parameters(2, rotation, empty_ms, timeout_ms),
        users=tuple(sorted(users, key=lambda user: user.public_key.key_id)),
    )


@cache
def gateway_signer(index: int) -> FixedSigner:
    """Key of a hospital's gateway."""
    return FixedSigner(f"gateway {index}")


@cache
def administrator_signer(index: int) -> FixedSigner:
    """Key of a hospital's administrator."""
    return FixedSigner(f"administrator {index}")


@dataclass
class SimulatedClock:
    """One clock for all; ``skew_ms`` moves a node's wall clock only."""

    now_ms: int = START_MS

    def monotonic_ms(self) -> int:
        """Simulated time."""
        return self.now_ms

    def wall_ms(self) -> TimestampMs:
        """Simulated time of day."""
        return TimestampMs(fixed.TIME_MS + self.now_ms)


class Judge(Protocol):
    """Decides what the network does with a frame: deliver after ms, or None to lose it."""

    def __call__(self, sender: int, receiver: int, frame: bytes) -> int | None:
        """Delay in ms."""


@dataclass
class Trace:
    """Keeps what a node said."""

    events: list[tuple[str, dict[str, int | str]]] = field(default_factory=list)

    def emit(self, event: str, /, **fields: int | str) -> None:
        """Appends."""
        self.events.append((event, fields))

    def count(self, event: str) -> int:
        """How often ``event`` was said."""
        return sum(name == event for name, _ in self.events)


class Lie(Protocol):
    """What a validator sends to a receiver instead of a frame."""

    def __call__(self, receiver: int, frame: bytes) -> Iterable[bytes]:
        """Any number of frames; raises Crash to end the process instead."""


class Crash(Exception):
    """The process ends here and now."""


@dataclass
class Node:
    """A validator's disk, and its process while it runs."""

    index: int
    """Place in the membership; a twin has another's."""
    storage: MemoryStorage = field(default_factory=MemoryStorage)
    safety: MemorySafetyStore | None = field(default_factory=MemorySafetyStore)
    trace: Trace = field(default_factory=Trace)
    signer: FixedSigner | None = None
    """Its consensus key where that is not the one of genesis any more."""
    driver: Driver | None = None
    sync: StateSync | None = None
    """Before the driver, where the disk holds no chain and the cluster has snapshots."""
    store: LedgerStore | None = None
    committed: dict[Hash32, Height] = field(default_factory=dict)


class Cluster:
    """``n`` validators and the network between them; the same seed gives the same run."""

    def __init__(self, n: int, seed: int = 0, rotation: int = 1_000, empty_ms: int = 60_000):
        self.genesis = genesis(n, rotation, empty_ms)
        self.random = random.Random(seed)
        self.clock = SimulatedClock()
        self.nodes = [Node(i) for i in range(n)]
        self.judge: Judge = lambda sender, receiver, frame: self.random.randint(1, 5)
        self.snapshots_from: int | None = None
        """Empty nodes fetch a snapshot of at least this height; None: they execute all blocks."""
        self.snapshot_interval = SNAPSHOT_INTERVAL_HEIGHTS
        self.lies: dict[int, Lie] = {}
        """Of those who send something else than their drivers say."""
        self.valid_until = Height(900)
        """Of the transactions that are made."""
        self._frames: list[tuple[int, int, int, int, bytes]] = []
        self._sequence = 0
        self._nonce = 0

    # -- processes --------------------------------------------------------------------------

    def start(self, *indexes: int) -> None:
        """Starts processes on whatever their disks hold; all of them without arguments."""
        for index in indexes or range(len(self.nodes)):
            self._turn_of(index, partial(self._boot, index))

    def _boot(self, index: int) -> None:
        node = self.nodes[index]
        if self.snapshots_from is not None and is_empty(node.storage):
            node.sync = StateSync(
                self.genesis,
                fixed.hospital(node.index),
                self._sync_world(index),
                self.snapshots_from,
            )
        else:
            self._start_driver(index)

    def _start_driver(self, index: int) -> None:
        node = self.nodes[index]
        node.store = LedgerStore(node.storage, Registry(), self.genesis, self.snapshot_interval)
        world = self.world(index, node.store)
        node.driver = Driver(self.genesis, fixed.hospital(node.index), Registry(), world)
        node.driver.start()

    def _sync_world(self, index: int) -> SyncWorld:
        node = self.nodes[index]
        settle = (lambda _: None) if node.safety is None else node.safety.settle
        transport = SimulatedTransport(self, index)
        return SyncWorld(self.clock, transport, node.trace, node.storage, settle)

    def world(self, index: int, store: LedgerStore) -> World:
        """The ports of a process that starts."""
        node = self.nodes[index]
        return World(
            clock=self.clock,
            transport=SimulatedTransport(self, index),
            trace=node.trace,
            store=store,
            safety=node.safety,
            signer=node.signer or fixed.validator_signer(node.index),
            committed=lambda height, ids: node.committed.update(dict.fromkeys(ids, height)),
        )

    def add_twin(self, index: int) -> int:
        """Another process with the key of that validator, and a disk of its own."""
        self.nodes.append(Node(index))
        return len(self.nodes) - 1

    def kill(self, *indexes: int) -> None:
        """Processes are gone at once; their disks stay."""
        for index in indexes:
            self.nodes[index].driver = self.nodes[index].sync = None
            self._frames = [f for f in self._frames if f[3] != index]
            heapify(self._frames)

    def post(self, sender: int, receiver: int, frame: bytes) -> None:
        """Hands a frame to the network, or what its sender makes of it."""
        lie = self.lies.get(sender)
        for sent in (frame,) if lie is None else lie(receiver, frame):
            self.inject(sender, receiver, sent)

    def inject(self, sender: int, receiver: int, frame: bytes) -> None:
        """A frame in the name of ``sender``, whether or not its process runs."""
        delay = self.judge(sender, receiver, frame)
        if delay is not None:
            self.later(delay, sender, receiver, frame)

    def later(self, ms: int, sender: int, receiver: int, frame: bytes) -> None:
        """A frame arrives after ``ms``."""
        self._sequence += 1
        due = self.clock.now_ms + ms
        heappush(self._frames, (due, self._sequence, sender, receiver, frame))

    # -- time -------------------------------------------------------------------------------

    def run(self, ms: int, until: Callable[[], bool] | None = None) -> bool:
        """Lets ``ms`` pass, or less once ``until`` holds; whether it held (or none was given)."""
        end = self.clock.now_ms + ms
        while self.clock.now_ms <= end:
            if until is not None and until():
                return True
            following = min(self._due(), default=end + 1)
            if following > end:
                break
            self.clock.now_ms = max(self.clock.now_ms, following)
            self._turn()
        self.clock.now_ms = max(self.clock.now_ms, end)
        return until is None or until()

    def _due(self) -> Iterator[int]:
        """When something is to happen next, for each thing that may."""
        yield from (self.clock.now_ms + driver.idle_ms() for driver in self.running())
        yield from (self.clock.now_ms + n.sync.idle_ms() for n in self.nodes if n.sync is not None)
        if self._frames:
            yield self._frames[0][0]

    def _turn(self) -> None:
        while self._frames and self._frames[0][0] <= self.clock.now_ms:
            _, _, sender, receiver, frame = heappop(self._frames)
            driver, member = self.nodes[receiver].driver, self.nodes[sender].index
            sync = self.nodes[receiver].sync
            if sync is not None:
                self._turn_of(receiver, partial(sync.on_frame, fixed.hospital(member), frame))
            elif driver is not None:
                self._turn_of(receiver, partial(deliver, driver, fixed.hospital(member), frame))
        for index, node in enumerate(self.nodes):
            if node.sync is not None and node.sync.idle_ms() == 0:
                self._turn_of(index, partial(self._sync_turn, index, node.sync))
            elif node.driver is not None and node.driver.idle_ms() == 0:
                self._turn_of(index, node.driver.tick)

    def _sync_turn(self, index: int, sync: StateSync) -> None:
        sync.tick()
        if sync.done:
            self.nodes[index].sync = None
            self._start_driver(index)

    def _turn_of(self, index: int, turn: Callable[[], object]) -> None:
        try:
            turn()
        except Crash:
            self.kill(index)

    def running(self) -> list[Driver]:
        """Drivers of the live processes."""
        return [node.driver for node in self.nodes if node.driver is not None]

    # -- work and judgement -------------------------------------------------------------------

    def transaction(
        self,
        member: int,
        contract: str,
        action: str,
        *args: Value,
        by: Callable[[int], FixedSigner] = gateway_signer,
    ) -> SignedTransaction:
        """A signed transaction of a gateway, or of whoever is named."""
        self._nonce += 1
        body = Transaction(
            self.genesis.chain_id,
            contract,
            action,
            tuple(args),
            by(member).public_key.key_id,
            Nonce(self._nonce.to_bytes(16, "big")),
            self.valid_until,
        )
        return sign_transaction(body, by(member))

    def governed(self, member: int, action: str, *args: Value) -> SignedTransaction:
        """What a hospital's administrator signs."""
        return self.transaction(member, "governance", action, *args, by=administrator_signer)

    def renewal(self, member: int, key: FixedSigner) -> SignedTransaction:
        """A hospital renews its consensus key."""
        digest = possession_digest(self.genesis.chain_id, fixed.hospital(member), key.public_key)
        return self.governed(member, "renew_key", key.public_key.encoded, key.sign(digest))

    def registration(self, member: int, patient: int = 1) -> SignedTransaction:
        """Registers one new row."""
        self._nonce += 1
        row = fixed.row(self._nonce)
        return self.transaction(
            member, "index", "register", 1, ((fixed.patient(patient), row.root, row.sealed),)
        )

    def submit(self, index: int, *transactions: SignedTransaction) -> Sequence[object]:
        """As a client of that validator does."""
        driver = self.nodes[index].driver
        assert driver is not None
        return driver.admit([driver.chain.verify(t) for t in transactions], from_client=True)

    def heights(self) -> list[int]:
        """Committed height of each live node."""
        return [n.store.height for n in self.nodes if n.driver is not None and n.store]

    def committed_everywhere(self, transactions: Sequence[SignedTransaction]) -> bool:
        """Whether every live node has committed all of them."""
        ids = {t.id for t in transactions}
        return all(ids <= set(n.committed) for n in self.nodes if n.driver is not None)

    def check_agreement(self) -> None:
        """SAFE-1 and EXEC-1 over all disks: one block and one state root for each height."""
        for height in range(1, max(n.store.height for n in self.nodes if n.store) + 1):
            headers = {
                header.hash
                for node in self.nodes
                if node.store and (header := node.store.header(height)) is not None
            }
            assert len(headers) == 1, f"height {height} has {len(headers)} blocks"


@dataclass
class SimulatedTransport:
    """A node's links."""

    cluster: Cluster
    index: int

    def set_peers(self, members: Sequence[Member]) -> None:
        """Everybody hears everybody."""

    def send(self, member: MemberId, frame: bytes, priority: bool = False) -> None:
        """Posts one frame."""
        place = self.cluster.genesis.membership.index_of(member)
        for receiver, node in enumerate(self.cluster.nodes):
            if node.index == place:
                self.cluster.post(self.index, receiver, frame)

    def broadcast(self, frame: bytes, priority: bool = False) -> None:
        """Posts to all others."""
        own = self.cluster.nodes[self.index].index
        for receiver, node in enumerate(self.cluster.nodes):
            if node.index != own:
                self.cluster.post(self.index, receiver, frame)


def deliver(driver: Driver, sender: MemberId, frame: bytes) -> None:
    """What the runtime does with a frame, without its threads."""
    if frame[:1] != bytes([Channel.TRANSACTIONS]):
        driver.on_frame(sender, frame)
        return
    quotas = driver.quotas
    if not quotas.admits(sender, Channel.TRANSACTIONS, len(frame)):
        return
    try:
        encoded = decode_transactions(split_frame(frame)[1])
        quotas.charge(sender, Channel.TRANSACTIONS, len(encoded) * SIGNATURE_US)
        decoded = [SignedTransaction.decode(t) for t in encoded]
    except PeerFault as fault:
        quotas.blame(sender, Channel.TRANSACTIONS, fault)
        return
    verified = [v for t in decoded for v in _verified(driver, sender, t)]
    driver.admit(verified, from_client=False)


def _verified(
    driver: Driver, sender: MemberId, signed: SignedTransaction
) -> Iterator[Verified[SignedTransaction]]:
    """The transaction, unless it waits here already or its signature is not good."""
    if driver.mempool.get_by_bytes(signed.encoded) is not None:
        return
    try:
        yield driver.chain.verify(signed)
    except BadSignature as fault:
        driver.quotas.blame(sender, Channel.TRANSACTIONS, fault)
    except PeerFault:
        return  # it costs its sender nothing: the signer may be known at another height
