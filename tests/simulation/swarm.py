"""One seed: a cluster in bad weather under judgement, then a calm one that must make progress."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from heapq import heappop, heappush
from pathlib import Path
from typing import cast

from ledger.consensus.replica import Replica
from ledger.crypto.keys import PublicKey
from ledger.errors import WorldFault
from ledger.primitives import Hash32, Height, Nonce, TimestampMs
from ledger.types.transaction import SignedTransaction, sign_transaction
from nodes.driver import Driver, World
from nodes.frames import Channel, encode_transactions, frame
from nodes.ports import SafetyStore
from nodes.state_sync import StateSync, SyncWorld
from nodes.storage.ledger_store import LedgerStore
from nodes.storage.safety_store import FileSafetyStore, open_to_vote
from tests.simulation import cluster, oracle
from tests.simulation.beliefs import BeliefJudge
from tests.simulation.cluster import Cluster, Crash, SimulatedClock, deliver, gateway_signer
from tests.simulation.disk import SAFETY_FILE, Disk, DiskPath, DiskStorage
from tests.simulation.judges import ChainJudge, LightJudge, PromiseJudge
from tests.simulation.liars import Liar, damaged
from tests.simulation.losses import Losses
from tests.simulation.options import Options
from tests.simulation.violation import Violation
from tests.simulation.votes import Votes, signer_of
from tests.vectors import fixed
from tests.vectors.fixed import FixedSigner

REPLAYABLE_FRAMES = 300


@dataclass
class NodeClock:
    """The simulated time as one machine believes it."""

    base: SimulatedClock
    skew_ms: int
    drift: int = 0
    """Its timers run so many per mille fast; its wall clock is set from outside."""

    def monotonic_ms(self) -> int:
        """Simulated time, as fast as this machine counts it."""
        return self.base.monotonic_ms() * (1_000 + self.drift) // 1_000

    def true_ms(self, ms: int) -> int:
        """How long it really takes until this machine has counted ``ms``."""
        return -(-ms * 1_000 // (1_000 + self.drift))

    def wall_ms(self) -> TimestampMs:
        """Off by the skew."""
        return TimestampMs(self.base.wall_ms() + self.skew_ms)


class Swarm(Cluster):
    """The cluster of one seed, with its faults and its judges."""

    def __init__(self, options: Options) -> None:
        super().__init__(options.n, options.seed)
        self.options = options
        self.genesis = cluster.genesis(
            options.n, options.rotation, options.empty_ms, options.timeout_ms
        )
        self.snapshots_from = options.snapshots or None
        self.snapshot_interval = options.snapshots or self.snapshot_interval
        self.random.seed(f"run {options}")
        self.faults: Counter[str] = Counter()
        self.trace = sha256()
        for index, behaviours in options.liars:
            if "twin" in behaviours:
                self.add_twin(index)
                self.faults["byzantine twin"] += 1
        self.disks = [Disk(self.random, self.faults) for _ in self.nodes]
        for node, disk in zip(self.nodes, self.disks, strict=True):
            node.storage, node.safety = DiskStorage(disk), None
            FileSafetyStore.create(cast(Path, DiskPath(disk, SAFETY_FILE)))
        self.losses = Losses(self, options.losers)
        self.clocks = [
            NodeClock(self.clock, options.skews_ms[node.index], options.drifts[node.index])
            for node in self.nodes
        ]
        self.faults["clock skew"] += sum(clock.skew_ms != 0 for clock in self.clocks)
        self.faults["clock drift"] += sum(clock.drift != 0 for clock in self.clocks)
        self.liars: dict[int, Liar] = {}
        for index, node in enumerate(self.nodes):
            lies = dict(options.liars).get(node.index)
            if lies is not None:
                self.liars[index] = Liar(self, index, lies, self.random, self.faults)
                self.lies[index] = self.liars[index]
        self.judge = self._weather
        self.calm = False
        self.blocked: set[tuple[int, int]] = set()
        self.clogged: dict[tuple[int, int], int] = {}
        """Until when a link holds frames back."""
        self.slow: dict[tuple[int, int], int] = {}
        """How much longer frames take on a link."""
        self.paused: dict[int, int] = {}
        self.submitted: list[SignedTransaction] = []
        self._recent: list[tuple[int, int, bytes]] = []
        self.chain = ChainJudge(self.genesis)
        lying = [fixed.validator_signer(i).public_key.key_id for i in options.byzantine]
        self.promises = PromiseJudge(lying, self.chain.voting)
        law = oracle.Law(self.genesis.chain_id, options.rotation, self.chain.voting)
        self.beliefs = BeliefJudge(law)
        self.votes = Votes(self)
        self.light = LightJudge(self.genesis, self.chain.blocks)
        self._views: dict[int, int] = {}

    def honest(self) -> list[int]:
        """Nodes of correct members; a twin is none."""
        return [i for i, n in enumerate(self.nodes) if n.index not in self.options.byzantine]

    def reliable(self) -> list[int]:
        """Correct nodes that vote, and know what they signed."""
        remember = (i for i in self.honest() if i not in self.losses.forgetful)
        return [i for i in remember if self.votes.may_vote(i)]

    def faulty(self) -> set[int]:
        """Places of the members that lie or have forgotten what they signed."""
        forgetful = {self.nodes[index].index for index in self.losses.forgetful}
        return forgetful | self.options.byzantine

    def keys(self) -> dict[PublicKey, FixedSigner]:
        """All consensus keys that there ever were."""
        signers = [fixed.validator_signer(i) for i in range(self.options.n)]
        return {signer.public_key: signer for signer in (*signers, *self.votes.new_keys)}

    def liars_among(self, height: int) -> list[tuple[int, FixedSigner]]:
        """Index and key of those who vote on ``height`` and lie or may have forgotten."""
        voting = self.chain.voting[height]
        found = []
        for place in sorted(self.faulty()):
            key, index = fixed.validator_signer(place), voting.index_of(fixed.hospital(place))
            if index is not None and voting.validators[index].public_key == key.public_key:
                found.append((index, key))
        return found

    def storage(self, index: int) -> DiskStorage:
        """The ledger database of a node."""
        return cast(DiskStorage, self.nodes[index].storage)

    def use_storage(self, index: int, storage: DiskStorage) -> None:
        """Another database is in its place; what clients were told must not be asked of it."""
        self.nodes[index].storage, self.nodes[index].store = storage, None
        self.chain.forgotten(index)

    def alive(self) -> list[int]:
        """Nodes whose process runs."""
        return [i for i, node in enumerate(self.nodes) if node.driver or node.sync]

    def running_at(self, index: int) -> tuple[Driver, LedgerStore]:
        """A node's process; raises Violation where it has none although nothing ended it."""
        node = self.nodes[index]
        if node.driver is None or node.store is None:
            raise Violation("HALT", f"validator {index} does not run")
        return node.driver, node.store

    def note(self, fault: str) -> None:
        """Counts a fault; when it happened is part of the trace."""
        self.faults[fault] += 1
        self.trace.update(f"{self.clock.now_ms} {fault}\n".encode())

    # -- processes ----------------------------------------------------------------------------

    def _start_driver(self, index: int) -> None:
        super()._start_driver(index)
        if index in self.reliable():
            view = self.running_at(index)[0].replica.view
            key_id = signer_of(self.nodes[index]).public_key.key_id
            if view < self.promises.highest_view_of[key_id]:
                raise Violation("I10", f"validator {index} came back in view {view}")

    def _sync_world(self, index: int) -> SyncWorld:
        self.nodes[index].store = None
        safety = self._open_safety(index, Height(0))
        settle = (lambda _: None) if safety is None else safety.settle
        return replace(super()._sync_world(index), clock=self.clocks[index], settle=settle)

    def _open_safety(self, index: int, height: Height) -> FileSafetyStore | None:
        path = cast(Path, DiskPath(self.disks[index], SAFETY_FILE))
        return open_to_vote(path, height, self.nodes[index].trace)

    def world(self, index: int, store: LedgerStore) -> World:
        """Its own clock, its own disk, and the judges in front of its clients."""
        self._views.pop(index, None)
        self.beliefs.restarted(index)
        node = self.nodes[index]
        safety = self._open_safety(index, store.height)
        if index in self.honest():
            self.losses.check_vote(index, safety is not None)
            self.chain.reopened(index, store, self.storage(index))
        if index in self.losses.forgetful:
            self.promises.forgets(signer_of(node).public_key.key_id)
        return replace(
            super().world(index, store),
            clock=self.clocks[index],
            safety=cast(SafetyStore | None, safety),
            committed=partial(self._committed, index, store),
        )

    def _committed(
        self, index: int, store: LedgerStore, height: Height, ids: Sequence[Hash32]
    ) -> None:
        node = self.nodes[index]
        node.committed.update(dict.fromkeys(ids, height))
        if index in self.honest():
            before = self.chain.newest
            self.chain.committed(index, store, self.storage(index), height)
            if self.chain.newest != before:
                self.note("votes changed")

    def kill(self, *indexes: int) -> None:
        """Power fails: what was not synced may be gone."""
        for index in indexes:
            super().kill(index)
            self.disks[index].crash()
            self.disks[index].restarted()

    def _turn_of(self, index: int, turn: Callable[[], object]) -> None:
        node, disk = self.nodes[index], self.disks[index]
        try:
            turn()
        except Crash:
            self.kill(index)
        except Violation:
            raise
        except Exception as error:  # noqa: BLE001  # every end of a process is judged
            self._ended(index, error)
        else:
            if disk.rot_found:
                raise Violation("HALT", f"validator {index} read rot and goes on")
            if node.driver is not None and node.index not in self.options.byzantine:
                self._check_replica(index, node.driver.replica)

    def _check_replica(self, index: int, replica: Replica) -> None:
        # Unknown where a node came back with a block that it had told nobody of.
        if replica.height in self.chain.voting:
            doubtful = [place for place, _ in self.liars_among(replica.height)]
            self.beliefs.turned(index, replica, doubtful)
        if index not in self.losses.forgetful and self.votes.may_vote(index):
            if replica.view < self._views.get(index, 0):
                raise Violation("I10", f"the view of validator {index} fell to {replica.view}")
            self._views[index] = replica.view

    def _ended(self, index: int, error: Exception) -> None:
        """A process ended by itself: because of its disk, or because it may do as it likes."""
        disk = self.disks[index]
        if disk.rot_found and isinstance(error, WorldFault):
            self.note("rot found")
            self.losses.move_aside(index)
            if self.calm:
                self.start(index)
        elif (disk.failed and isinstance(error, WorldFault)) or self._may_guess(index):
            self.kill(index)
        else:
            what = f"validator {index}: {type(error).__name__}: {error}"
            raise Violation("HALT", what) from error

    def _may_guess(self, index: int) -> bool:
        """Whether this node may end for no reason: it lies, or votes without its memory."""
        lies = self.nodes[index].index in self.options.byzantine
        return lies or index in self.losses.forgetful - self.losses.must_observe

    def _sync_turn(self, index: int, sync: StateSync) -> None:
        super()._sync_turn(index, sync)
        store = self.nodes[index].store
        if store is not None and store.base > 0:
            self.note("snapshot fetched")

    # -- network ------------------------------------------------------------------------------

    def post(self, sender: int, receiver: int, frame: bytes) -> None:
        """A process may end before any of its sends; what correct ones send is judged."""
        self.disks[sender].fuse.burn("before send")
        if sender not in self.lies:
            said = self.promises.sent(self.nodes[sender].index, frame)
            driver = self.nodes[sender].driver
            if said is not None and driver is not None:
                self.beliefs.sent(sender, said, driver.replica)
        super().post(sender, receiver, frame)

    def inject(self, sender: int, receiver: int, frame: bytes) -> None:
        """The network repeats, brings back and damages frames before it delays or loses them."""
        options, happens = self.options, self._happens
        if not self.calm:
            if happens(options.duplicate, "duplicate"):
                super().inject(sender, receiver, frame)
            if self._recent and happens(options.replay, "replay"):
                super().inject(*self.random.choice(self._recent))
            if happens(options.corrupt, "corrupt"):
                frame = damaged(frame, self.random)
            elif happens(options.truncate, "truncate"):
                frame = frame[: self.random.randrange(len(frame))]
            if options.replay:
                self._recent.append((sender, receiver, frame))
                del self._recent[:-REPLAYABLE_FRAMES]
        super().inject(sender, receiver, frame)

    def _happens(self, per_mille: int, fault: str) -> bool:
        if per_mille == 0 or self.random.randrange(1_000) >= per_mille:
            return False
        self.faults[fault] += 1
        return True

    def _weather(self, sender: int, receiver: int, frame: bytes) -> int | None:
        if (sender, receiver) in self.blocked:
            self.faults["partitioned frame"] += 1
            return None
        delay = self.random.randint(1, self.options.delay_ms)
        if self.calm:
            return delay
        if (sender, receiver) in self.slow:
            self.faults["slow link"] += 1
            delay += self.slow[sender, receiver]
        if self._happens(self.options.loss, "loss"):
            return None
        if self._happens(self.options.reorder, "reorder"):
            delay += self.random.randint(1, 20 * self.options.delay_ms)
        clogged = self.clogged.get((sender, receiver), 0) - self.clock.now_ms
        if clogged > 0:
            self.faults["clogged frame"] += 1
            return clogged + delay
        self.faults["delay"] += delay > 1
        return delay

    def _due(self) -> Iterator[int]:
        now = self.clock.now_ms
        for index, node in enumerate(self.nodes):
            process = node.driver or node.sync
            if process is not None:
                idle = self.clocks[index].true_ms(process.idle_ms())
                yield max(now + idle, self.paused.get(index, 0))
        if self._frames:
            yield self._frames[0][0]

    def _turn(self) -> None:
        now = self.clock.now_ms
        while self._frames and self._frames[0][0] <= now:
            _, number, sender, receiver, data = heappop(self._frames)
            woken = self.paused.get(receiver, 0)
            driver, member = self.nodes[receiver].driver, fixed.hospital(self.nodes[sender].index)
            sync = self.nodes[receiver].sync
            if woken > now:
                heappush(self._frames, (woken, number, sender, receiver, data))
            elif driver is not None or sync is not None:
                if receiver in self.liars:
                    self.liars[receiver].hears(data)
                self.trace.update(b"%d %d %d %d " % (now, sender, receiver, len(data)) + data)
                if sync is not None:
                    self._turn_of(receiver, partial(sync.on_frame, member, data))
                elif driver is not None:
                    self._turn_of(receiver, partial(deliver, driver, member, data))
        for index, node in enumerate(self.nodes):
            if self.paused.get(index, 0) > now:
                continue
            if node.sync is not None and node.sync.idle_ms() == 0:
                self._turn_of(index, partial(self._sync_turn, index, node.sync))
            elif node.driver is not None and node.driver.idle_ms() == 0:
                self._turn_of(index, node.driver.tick)

    # -- work ---------------------------------------------------------------------------------

    def hand_in(self, index: int, sent: SignedTransaction) -> None:
        """A client of that node's validator sends a transaction to it."""
        self._turn_of(index, lambda: self.submit(index, sent))

    def client(self, index: int) -> SignedTransaction:
        """A client of that node's validator sends a new transaction to it."""
        member = self.random.randrange(self.options.n)
        sent = self.registration(member, 1 + self.random.randrange(4))
        self.submitted.append(sent)
        self.hand_in(index, sent)
        return sent

    def hostile_client(self, receiver: int) -> None:
        """Transactions that nobody may execute reach a validator: three kinds."""
        good = self.registration(0)
        expired = replace(good.body, valid_until=Height(0), nonce=Nonce(good.body.nonce[::-1]))
        bad = [
            sign_transaction(replace(good.body, signer=expired.signer), gateway_signer(1)).encoded,
            sign_transaction(expired, gateway_signer(0)).encoded,
            *(old.encoded for old in self.submitted[:3]),
        ]
        self.note("bad transactions")
        sender = self.random.randrange(len(self.nodes))
        if self.nodes[sender].index != self.nodes[receiver].index:
            self.inject(sender, receiver, frame(Channel.TRANSACTIONS, encode_transactions(bad)))
