"""What happens to a swarm: steps of trouble, then a calm in which a core must make progress."""

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import cast

from tests.simulation.disk import BOUNDARIES, DiskStorage, simulated_disks
from tests.simulation.fast_signatures import fast_signatures
from tests.simulation.judges import Violation
from tests.simulation.options import Options
from tests.simulation.swarm import Swarm

PATIENCE_TIMEOUTS = 600
"""Simulated time for the liveness phase, in progress timeouts; views may back off to 64 each."""
JUMPS_MS = (-86_400_000, -60_000, 60_000, 86_400_000)
FULL_DISK_BYTES = 20_000
"""A disk that runs full has less space left than this."""


@dataclass(frozen=True)
class Outcome:
    """What came of a seed; ``violation`` is empty if every property held."""

    options: Options
    violation: str
    faults: Counter[str]
    height: int
    view_changes: int
    lies_refused: int
    """Forged headers that the light client refused."""
    trace: str


def run_seed(options: Options) -> Outcome:
    """Everything that happens under ``options``, and the first property that did not hold."""
    signatures = nullcontext() if options.real_signatures else fast_signatures()
    with signatures, simulated_disks(options.rewrite_bytes):
        swarm = Swarm(options)
        violation = ""
        try:
            _Trouble(swarm).run()
            _calm(swarm)
        except Violation as found:
            violation = str(found)
        stores = [node.store for node in swarm.nodes if node.store is not None]
        return Outcome(
            options,
            violation,
            swarm.faults,
            max(store.height for store in stores),
            sum(swarm.nodes[i].trace.count("view_change") for i in swarm.honest()),
            swarm.light.refused,
            swarm.trace.hexdigest(),
        )


class _Trouble:
    """The safety phase: one thing after another goes wrong, and nothing false may come of it."""

    def __init__(self, swarm: Swarm) -> None:
        self.swarm, self.random, options = swarm, swarm.random, swarm.options
        # At most f clocks jump: more would let block times run ahead, which only time can heal.
        f = (options.n - 1) // 3
        self._jumpers = self.random.sample(range(options.n), f)
        self._actions: list[Callable[[], None]] = [self._work, self._look, self._hostile_work]
        if options.crashes:
            self._actions += [self._crash, self._restart, self._fill, *[self._fuse] * 4]
            self._actions += [self._restart_all, self._pause, self._jump]
        if options.partitions:
            self._actions += [self._partition, self._one_way, self._heal, self._clog]

    def run(self) -> None:
        """All steps."""
        swarm = self.swarm
        swarm.start()
        for _ in range(swarm.options.steps):
            self.random.choice(self._actions)()
            self._work()
            swarm.run(self.random.randint(10, 2 * swarm.options.timeout_ms))

    def _work(self) -> None:
        for index in self.random.choices(self.swarm.alive() or [0], k=self.random.randint(0, 3)):
            if self.swarm.nodes[index].driver is not None:
                self.swarm.client(index)

    def _hostile_work(self) -> None:
        self.swarm.hostile_client(self.random.randrange(len(self.swarm.nodes)))

    def _look(self) -> None:
        """The light client asks one of the correct nodes; others tell it lies."""
        index = self.random.choice(self.swarm.honest())
        look(self.swarm, index)

    # -- processes and machines ---------------------------------------------------------------

    def _crash(self) -> None:
        alive = self.swarm.alive()
        if alive:
            self.swarm.note("crash")
            self.swarm.kill(self.random.choice(alive))

    def _fuse(self) -> None:
        alive = self.swarm.alive()
        if alive:
            fuse = self.swarm.disks[self.random.choice(alive)].fuse
            fuse.only = self.random.choice(("", *BOUNDARIES))
            fuse.left = self.random.randint(1, 3 if fuse.only else 60)

    def _restart(self) -> None:
        for index in range(len(self.swarm.nodes)):
            if self.swarm.nodes[index].driver is None and self.random.random() < 0.8:
                self.swarm.note("restart")
                self.swarm.start(index)

    def _restart_all(self) -> None:
        self.swarm.note("restart of all")
        self.swarm.kill(*self.swarm.alive())
        self.swarm.run(self.random.randint(0, 5_000))
        self.swarm.start()

    def _fill(self) -> None:
        space = self.random.randint(0, FULL_DISK_BYTES)
        self.swarm.disks[self.random.randrange(len(self.swarm.disks))].space = space

    def _pause(self) -> None:
        self.swarm.note("pause")
        index = self.random.randrange(len(self.swarm.nodes))
        pause = self.random.randint(1, 8 * self.swarm.options.timeout_ms)
        self.swarm.paused[index] = self.swarm.clock.now_ms + pause

    def _jump(self) -> None:
        if self._jumpers:
            self.swarm.note("clock jump")
            jumper = self.random.choice(self._jumpers)
            self.swarm.clocks[jumper].skew_ms = self.random.choice(JUMPS_MS)

    # -- links --------------------------------------------------------------------------------

    def _pairs(self) -> list[tuple[int, int]]:
        places = range(len(self.swarm.nodes))
        return [(a, b) for a in places for b in places if a != b]

    def _partition(self) -> None:
        self.swarm.note("partition")
        sides = [self.random.randrange(2) for _ in self.swarm.nodes]
        self.swarm.blocked = {(a, b) for a, b in self._pairs() if sides[a] != sides[b]}

    def _one_way(self) -> None:
        self.swarm.note("one-way partition")
        share = self.random.random() / 2
        self.swarm.blocked = {pair for pair in self._pairs() if self.random.random() < share}

    def _heal(self) -> None:
        self.swarm.blocked = set()

    def _clog(self) -> None:
        self.swarm.note("clog")
        until = self.swarm.clock.now_ms + self.random.randint(1, 6 * self.swarm.options.timeout_ms)
        for pair in self._pairs():
            if self.random.random() < 0.3:
                self.swarm.clogged[pair] = until


def look(swarm: Swarm, index: int) -> None:
    """The light client follows what node ``index`` has."""
    store = swarm.nodes[index].store
    if swarm.nodes[index].driver is not None and store is not None and store.height:
        swarm.light.asks(store.certified_header(store.height), swarm.options.byzantine)


def _calm(swarm: Swarm) -> None:
    """The liveness phase: LIVE-1 for a core of at least q correct nodes; others may stay dead."""
    options, random = swarm.options, swarm.random
    swarm.calm, swarm.blocked, swarm.paused = True, set(), {}
    for node, clock in zip(swarm.nodes, swarm.clocks, strict=True):
        clock.skew_ms = options.skews_ms[node.index]
    honest, quorum = swarm.honest(), swarm.genesis.membership.quorum
    core = sorted(random.sample(honest, random.randint(quorum, len(honest))))
    for index, disk in enumerate(swarm.disks):
        disk.space, disk.fuse.left = None, 0
        if index in core:
            if swarm.nodes[index].driver is None or disk.failed:
                swarm.kill(index)
                swarm.start(index)
        elif index in honest or random.random() < 0.5:
            swarm.note("node stays dead")
            swarm.kill(index)
    waiting = [
        sent
        for sent in swarm.submitted
        if any(swarm.running_at(i)[0].mempool.get(sent.id) is not None for i in core)
    ]
    waiting += [swarm.client(index) for index in core]
    wanted = {sent.id for sent in waiting}

    def done() -> bool:
        heights = {swarm.running_at(i)[1].height for i in core}
        return len(heights) == 1 and wanted <= swarm.chain.where.keys()

    if not swarm.run(PATIENCE_TIMEOUTS * options.timeout_ms, done):
        missing = len(wanted - swarm.chain.where.keys())
        heights = [swarm.running_at(i)[1].height for i in core]
        raise Violation("LIVE-1", f"{missing} transactions wait in core {core} at {heights}")
    for index in core:
        storage = cast(DiskStorage, swarm.nodes[index].storage)
        swarm.chain.check_state(index, swarm.running_at(index)[1], storage)
        look(swarm, index)
    swarm.chain.check_complete({i: swarm.running_at(i)[1] for i in core})
