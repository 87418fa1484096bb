"""Twins, exhaustively: each way in which four views can split five instances of four validators.

One validator is twinned: two correct processes with one key, each with a disk of its own, so that
it equivocates without knowing. A scenario says who, and for each of four views in which of the 16
ways the five instances fall into at most two groups: 4 * 16**4 = 262,144 scenarios. The idea is
that of Bano et al., "Twins: BFT systems made robust" (OPODIS 2021), where they are sampled.

The rule. Round r = 0, 1, 2, 3 has the partition of view r. In it each frame reaches those in its
sender's group, at once and in the order of sending, and nobody else. A round ends when nothing is
on its way, or it is cut short: an even round as soon as somebody is prepared (signs a COMMIT), an
odd one as soon as somebody has decided a height that nobody had decided before. What is on its way
then is lost, so that prepared and decided validators meet others that are not. Then time passes,
the partition is switched, all clocks tick in the order of the instances, and whoever is still in a
view below r leaves it as if its timer had fired: so the round is the view, also for groups that
are too small to go on by themselves. A block falls due in each round. After round 3 nothing is
lost any more, both twins go on, only the drivers' own timers drive the views, and all correct
validators must commit the same further block.

What runs is production code: driver, core, voter, mempool, execution, contracts and store, with
the safety store in memory. Signatures are the simulator's fast ones. Blocks are empty; those of
two instances differ in their time.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from unittest.mock import patch

from contracts.registry import Registry
from ledger.consensus import messages
from ledger.consensus.events import Fired, Timer
from ledger.consensus.messages import Commit, Message
from ledger.crypto.keys import Verified
from ledger.primitives import Hash32, Height, MemberId, TimestampMs
from ledger.types.genesis import Member
from nodes.driver import Driver, World
from nodes.frames import Channel
from nodes.ports import Put
from nodes.storage.ledger_store import LedgerStore
from nodes.storage.memory import MemoryStorage
from nodes.storage.safety_store import MemorySafetyStore
from tests.simulation import cluster, oracle
from tests.simulation.beliefs import BeliefJudge
from tests.simulation.byzantine import SignatureLog
from tests.simulation.cluster import SimulatedClock, deliver
from tests.simulation.decoding import KEPT_RESULTS, shared_decoding
from tests.simulation.fast_signatures import fast_signatures
from tests.simulation.violation import Violation
from tests.vectors import fixed

VALIDATORS, VIEWS = 4, 4
INSTANCES = VALIDATORS + 1
PARTITIONS = 2 ** (INSTANCES - 1)
"""Ways to put the instances into at most two groups: instance 0 is in the first."""
SCENARIOS = VALIDATORS * PARTITIONS**VIEWS
TIMEOUT_MS, EMPTY_MS, ROUND_MS = 1_000, 1_500, 2_000
PATIENCE_MS = 600 * TIMEOUT_MS
ROTATION = 1_000
HEIGHTS_MAX = 1_000
"""More than any scenario decides."""
CUT_WHEN_PREPARED = (True, False, True, False)
"""Of each round: whether it is cut when somebody is prepared, else when somebody has decided."""


@dataclass(frozen=True)
class Scenario:
    """Who is twinned, and the partition of each view."""

    number: int

    @property
    def twinned(self) -> int:
        """The validator that runs twice: as instance of its own index, and as the last one."""
        return self.number // PARTITIONS**VIEWS

    @property
    def partitions(self) -> tuple[int, ...]:
        """Of views 0 to 3. Bit i - 1 says whether instance i is apart from instance 0."""
        rest = self.number % PARTITIONS**VIEWS
        return tuple(rest // PARTITIONS ** (VIEWS - 1 - view) % PARTITIONS for view in range(VIEWS))

    def __str__(self) -> str:
        splits = []
        for partition in self.partitions:
            sides = side_of(partition)
            groups = ["".join(str(i) for i in range(INSTANCES) if sides[i] == s) for s in (0, 1)]
            splits.append("|".join(group for group in groups if group))
        return f"scenario {self.number}: {self.twinned} is also 4; views {', '.join(splits)}"


def side_of(partition: int) -> tuple[int, ...]:
    """The group of each instance."""
    return tuple(2 * partition >> i & 1 for i in range(INSTANCES))


def sample(count: int, seed: int) -> list[Scenario]:
    """``count`` different scenarios, the same for the same seed everywhere."""
    numbers = Random(f"twins {seed}").sample(range(SCENARIOS), count)
    return [Scenario(number) for number in numbers]


@dataclass(frozen=True)
class TwinsOutcome:
    """What came of a scenario; ``violation`` is empty if every property held."""

    scenario: Scenario
    violation: str
    property_id: str
    heights: tuple[int, ...]
    """Of the correct validators after the four views."""
    final_height: int
    """Of all of them in the end."""
    equivocations: int
    """(type, height, view) for which the twins signed two things."""
    noticed: int
    """How often an instance saw two votes of one signer."""
    view: int
    """The highest in the end."""


@dataclass
class _Clock:
    """The common time; its time of day differs between instances, and so do their blocks."""

    base: SimulatedClock
    ahead_ms: int

    def monotonic_ms(self) -> int:
        return self.base.now_ms

    def wall_ms(self) -> TimestampMs:
        return TimestampMs(self.base.wall_ms() + self.ahead_ms)


@dataclass
class _Sink:
    """Counts what an instance notices; everything else it says is for operators."""

    counts: Counter[str] = field(default_factory=Counter)

    def emit(self, event: str, /, **fields: int | str) -> None:
        self.counts[event] += 1


class TwinsJudge(SignatureLog):
    """SAFE-1 over all COMMITs that were ever signed, and I9 of all that are not twinned."""

    def __init__(self, twinned: int, quorum: int) -> None:
        super().__init__()
        self._twinned, self._quorum = twinned, quorum
        self._known: set[tuple[int, bytes]] = set()
        self._signers: dict[tuple[int, int, Hash32], set[int]] = defaultdict(set)
        self._certified: dict[int, Hash32] = {}
        self.prepared_in: set[int] = set()
        """Views in which somebody signed a COMMIT."""

    def sent(self, place: int, frame: bytes) -> None:
        """An instance of validator ``place`` handed this frame to its links."""
        if (place, frame) not in self._known:
            self._known.add((place, frame))
            self.saw(frame)

    @property
    def equivocations(self) -> int:
        """(type, height, view) for which the twins signed two things."""
        return sum(
            len(contents) > 1
            for (_, signer, _, _), contents in self._digests.items()
            if signer == self._twinned
        )

    def _note(self, kind: str, message: Message, content: bytes) -> None:
        super()._note(kind, message, content)
        place = (kind, message.signer, message.height, message.view)
        if message.signer != self._twinned and len(self._digests[place]) > 1:
            raise Violation("I9", "{} of validator {} at ({}, {}) was signed twice".format(*place))
        if isinstance(message, Commit):
            signers = self._signers[message.height, message.view, message.block_hash]
            signers.add(message.signer)
            self.prepared_in.add(message.view)
            if len(signers) >= self._quorum:
                self.certified(message.height, message.block_hash)

    def certified(self, height: int, block: Hash32) -> None:
        """There is a certificate for ``block``, or whoever saw all COMMITs could make one."""
        if self._certified.setdefault(height, block) != block:
            raise Violation("SAFE-1", f"two blocks of height {height} can be certified")


class TwinsRunner:
    """Runs scenarios one after another; what is the same in all of them is made once."""

    def __init__(self) -> None:
        self.genesis = cluster.genesis(VALIDATORS, ROTATION, EMPTY_MS, TIMEOUT_MS)
        self.quorum = oracle.quorum(VALIDATORS)
        storage = MemoryStorage()
        LedgerStore(storage, Registry(), self.genesis)
        self.beginning = [Put(key, value) for key, value in storage.scan(b"")]

    def run(self, scenario: Scenario) -> TwinsOutcome:
        """All rounds and the calm end."""
        network = _Network(self, scenario)
        violation, property_id = "", ""
        try:
            network.rounds()
            network.calm()
        except Violation as found:
            violation, property_id = str(found), found.property_id
        return TwinsOutcome(
            scenario,
            violation,
            property_id,
            network.heights_after_rounds,
            min(network.heights()),
            network.judge.equivocations,
            sum(sink.counts["equivocation"] for sink in network.sinks),
            max(driver.replica.view for driver in network.drivers),
        )


class _Network:
    """Five instances, the frames between them and one scenario."""

    def __init__(self, runner: TwinsRunner, scenario: Scenario) -> None:
        self.genesis, self.scenario, self._quorum = runner.genesis, scenario, runner.quorum
        self.places = (*range(VALIDATORS), scenario.twinned)
        self.members = [fixed.hospital(place) for place in self.places]
        self.correct = [i for i in range(INSTANCES) if self.places[i] != scenario.twinned]
        self.clock = SimulatedClock()
        self.judge = TwinsJudge(scenario.twinned, runner.quorum)
        self.sinks = [_Sink() for _ in range(INSTANCES)]
        self.frames: deque[tuple[int, int, bytes]] = deque()
        self.reached: list[tuple[int, ...]] = []
        """Whom a frame of each instance reaches in the present round."""
        self.split(0)
        self.views = [0] * INSTANCES
        voting = dict.fromkeys(range(1, HEIGHTS_MAX), self.genesis.membership)
        self.beliefs = BeliefJudge(oracle.Law(self.genesis.chain_id, ROTATION, voting))
        self.heights_after_rounds: tuple[int, ...] = ()
        self.decided = 0
        """The highest height that any instance has committed."""
        self.stores: list[LedgerStore] = []
        self.drivers: list[Driver] = []
        for index in range(INSTANCES):
            self.drivers.append(self._driver(index, runner))

    def _driver(self, index: int, runner: TwinsRunner) -> Driver:
        storage = MemoryStorage()
        storage.write(runner.beginning)
        store = LedgerStore(storage, Registry(), self.genesis)
        self.stores.append(store)
        world = World(
            clock=_Clock(self.clock, index),
            transport=_Links(self, index),
            trace=self.sinks[index],
            store=store,
            safety=MemorySafetyStore(),
            signer=fixed.validator_signer(self.places[index]),
            committed=partial(self._committed, index),
        )
        return Driver(self.genesis, self.members[index], Registry(), world)

    def split(self, partition: int) -> None:
        """From now on frames stay within the groups of ``partition``."""
        sides = side_of(partition)
        everyone = range(INSTANCES)
        self.reached = [
            tuple(b for b in everyone if sides[a] == sides[b] and self.places[a] != self.places[b])
            for a in everyone
        ]

    def _committed(self, index: int, height: Height, ids: Sequence[Hash32]) -> None:
        certified = self.stores[index].certified_header(height)
        certificate = certified.certificate
        wrong = oracle.flaw(certificate, self.genesis.membership, self.genesis.chain_id)
        if wrong or certificate.block_hash != certified.header.hash:
            raise Violation("LIGHT-1", f"certificate of block {height}: {wrong or 'another block'}")
        self.judge.certified(height, certified.header.hash)
        self.decided = max(self.decided, height)

    def heights(self) -> list[int]:
        """Committed heights of the correct validators."""
        return [self.stores[i].height for i in self.correct]

    # -- turns ----------------------------------------------------------------------------------

    def rounds(self) -> None:
        """The four views with their partitions."""
        for index, driver in enumerate(self.drivers):
            self._turn(index, driver.start)
            self._turn(index, driver.tick)
        self._drain()  # everyone has heard everyone once, and nobody has proposed yet
        for view, partition in enumerate(self.scenario.partitions):
            decided = self.decided
            self.clock.now_ms += ROUND_MS
            self.split(partition)
            for index, driver in enumerate(self.drivers):
                self._turn(index, driver.tick)
                if driver.replica.view < view:
                    timer = Timer.PROGRESS if driver.replica.entered else Timer.NEW_VIEW
                    self._turn(index, partial(driver._step, Fired(timer)))
            if CUT_WHEN_PREPARED[view]:
                self._drain(lambda view=view: view in self.judge.prepared_in)
            else:
                self._drain(lambda decided=decided: self.decided > decided)
        self.heights_after_rounds = tuple(self.heights())

    def calm(self) -> None:
        """LIVE-1: with all links whole, every correct validator commits one block more."""
        self.split(0)
        goal = max(self.heights()) + 1
        end = self.clock.now_ms + PATIENCE_MS
        while min(self.heights()) < goal:
            self.clock.now_ms += max(1, min(driver.idle_ms() for driver in self.drivers))
            if self.clock.now_ms > end:
                raise Violation("LIVE-1", f"correct validators stay at {self.heights()}")
            for index, driver in enumerate(self.drivers):
                if driver.idle_ms() == 0:
                    self._turn(index, driver.tick)
            self._drain()

    def _drain(self, cut: Callable[[], bool] = lambda: False) -> None:
        while self.frames and not cut():
            sender, receiver, data = self.frames.popleft()
            driver = self.drivers[receiver]
            self._turn(receiver, partial(deliver, driver, self.members[sender], data))
        self.frames.clear()

    def _turn(self, index: int, turn: Callable[[], object]) -> None:
        try:
            turn()
        except Violation:
            raise
        except Exception as error:
            what = f"instance {index}: {type(error).__name__}: {error}"
            raise Violation("HALT", what) from error
        replica = self.drivers[index].replica
        if replica.view < self.views[index]:
            raise Violation("I10", f"the view of instance {index} fell to {replica.view}")
        self.views[index] = replica.view
        if index in self.correct:
            self.beliefs.turned(index, replica, [self.scenario.twinned])


@dataclass
class _Links:
    """An instance's links, as the round leaves them."""

    network: _Network
    index: int

    def set_peers(self, members: Sequence[Member]) -> None:
        """The members never change."""

    def send(self, member: MemberId, frame: bytes, priority: bool = False) -> None:
        network = self.network
        network.judge.sent(network.places[self.index], frame)
        for receiver in network.reached[self.index]:
            if network.members[receiver] == member:
                network.frames.append((self.index, receiver, frame))

    def broadcast(self, frame: bytes, priority: bool = False) -> None:
        network = self.network
        if frame[0] == Channel.CONSENSUS:
            network.judge.sent(network.places[self.index], frame)
        for receiver in network.reached[self.index]:
            network.frames.append((self.index, receiver, frame))


@contextmanager
def shared_verifying() -> Iterator[None]:
    """Inside, a message is verified once: here all have the same membership."""
    verify = messages.Verifier.verify
    verified: dict[int, tuple[Message, Verified[Message]]] = {}

    def verify_once(verifier: messages.Verifier, message: Message) -> Verified[Message]:
        known = verified.get(id(message))
        if known is None or known[0] is not message:
            if len(verified) >= KEPT_RESULTS:
                verified.clear()
            known = verified[id(message)] = message, verify(verifier, message)
        return known[1]

    with patch.object(messages.Verifier, "verify", verify_once):
        yield


def outcomes(scenarios: Sequence[Scenario]) -> Iterator[TwinsOutcome]:
    """Of all scenarios, in their order."""
    with fast_signatures(), shared_decoding(), shared_verifying():
        runner = TwinsRunner()
        for scenario in scenarios:
            yield runner.run(scenario)
