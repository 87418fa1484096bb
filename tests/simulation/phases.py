"""What happens to a swarm: steps of trouble, then a calm in which a core must make progress."""

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from ledger.light.bundles import MEMBERSHIP_CHANGES_PAGE, MembershipChange
from ledger.primitives import Hash32, Height, MemberId, View
from ledger.types.certificate import CertifiedHeader
from ledger.types.evidence import evidence_key
from tests.simulation import oracle
from tests.simulation.audits import audit, check_memory
from tests.simulation.decoding import shared_decoding
from tests.simulation.disk import BOUNDARIES, simulated_disks
from tests.simulation.fast_signatures import fast_signatures
from tests.simulation.options import Options
from tests.simulation.swarm import Swarm
from tests.simulation.violation import Violation
from tests.vectors import fixed

PATIENCE_TIMEOUTS = 600
"""Simulated time for the liveness phase, in progress timeouts; views may back off to 64 each."""
QUIET_BLOCKS = 20
"""While these are made after all faults have ended, no view may change."""
QUIET_PATIENCE_TIMEOUTS = 20
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
    with signatures, shared_decoding(), simulated_disks(options.rewrite_bytes):
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
            max((store.height for store in stores), default=0),
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
            self._actions += [self._break_sync, self._crash_again]
        if options.losers:
            self._actions += [swarm.losses.strike] * 4
        if options.governs:
            self._actions += [swarm.votes.propose] * 3 + [swarm.votes.renew] * 4
        if options.partitions:
            self._actions += [self._partition, self._one_way, self._ring, self._heal]
            self._actions += [self._clog, self._swizzle, self._slow_links]

    def run(self) -> None:
        """All steps."""
        swarm = self.swarm
        swarm.start()
        for _ in range(swarm.options.steps):
            self.random.choice(self._actions)()
            self._work()
            swarm.run(self.random.randint(10, 2 * swarm.options.timeout_ms))
            check_memory(swarm)

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

    def _crash_again(self) -> None:
        """A crash, and another one while the process is still finding its way back."""
        alive = self.swarm.alive()
        if not alive:
            return
        index = self.random.choice(alive)
        self.swarm.kill(index)
        self.swarm.start(index)
        self.swarm.run(self.random.randint(0, 20))
        if self.swarm.nodes[index].driver is not None:
            self.swarm.note("crash after restart")
            self.swarm.kill(index)
            self.swarm.start(index)

    def _break_sync(self) -> None:
        alive = self.swarm.alive()
        if alive:
            self.swarm.disks[self.random.choice(alive)].sync_fails = True

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

    def _ring(self) -> None:
        """Everyone hears its two neighbours only."""
        self.swarm.note("ring partition")
        size = len(self.swarm.nodes)
        near = {1, size - 1}
        self.swarm.blocked = {(a, b) for a, b in self._pairs() if (a - b) % size not in near}

    def _heal(self) -> None:
        self.swarm.blocked, self.swarm.slow = set(), {}

    def _slow_links(self) -> None:
        longest = self.swarm.options.timeout_ms
        for pair in self._pairs():
            if self.random.random() < 0.2:
                self.swarm.slow[pair] = self.random.randint(1, longest)

    def _swizzle(self) -> None:
        """Some nodes are clogged one after another, and set free in another order."""
        self.swarm.note("swizzle clog")
        places = range(len(self.swarm.nodes))
        chosen = self.random.sample(places, self.random.randint(1, len(places)))
        for until in (self.swarm.clock.now_ms + 60_000, 0):
            for index in self.random.sample(chosen, len(chosen)):
                for pair in self._pairs():
                    if index in pair:
                        self.swarm.clogged[pair] = until
                self.swarm.run(self.random.randint(1, self.swarm.options.timeout_ms // 2))

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
        known = swarm.light.trusted.height
        answers: list[tuple[CertifiedHeader, list[MembershipChange]]] = []

        def answer() -> None:
            changes = store.membership_changes(known, MEMBERSHIP_CHANGES_PAGE)
            newest = store.certified_header(store.height)
            answers.append((newest, [MembershipChange(*each) for each in changes]))

        swarm._turn_of(index, answer)
        for newest, changes in answers:
            swarm.light.asks(newest, changes, swarm.liars_among(newest.header.height))


def _calm(swarm: Swarm) -> None:
    """The liveness phase: LIVE-1 for a core of at least q correct nodes; others may stay dead."""
    core = _heal_all(swarm)
    patience = PATIENCE_TIMEOUTS * swarm.options.timeout_ms
    if not swarm.run(patience, lambda: all(swarm.nodes[i].driver for i in core)):
        raise Violation("LIVE-1", f"one of core {core} still looks for a snapshot")
    waiting = [
        sent
        for sent in swarm.submitted
        if any(swarm.running_at(i)[0].mempool.get(sent.id) is not None for i in core)
    ]
    waiting += [swarm.client(index) for index in core]
    _commits(swarm, core, {sent.id for sent in waiting})
    _stays_calm(swarm, core)
    _puts_evidence_on_chain(swarm, core)
    for index in core:
        swarm.chain.check_state(index, swarm.running_at(index)[1], swarm.storage(index))
        look(swarm, index)
    swarm.chain.check_complete({i: swarm.running_at(i)[1] for i in core})
    audit(swarm, core)


def _heal_all(swarm: Swarm) -> list[int]:
    """All faults end; a core of correct nodes runs, and no others need to."""
    options, random = swarm.options, swarm.random
    swarm.calm, swarm.blocked, swarm.paused = True, set(), {}
    for node, clock in zip(swarm.nodes, swarm.clocks, strict=True):
        clock.skew_ms = options.skews_ms[node.index]
    swarm.losses.replace_rotten()
    quorum = oracle.quorum(swarm.chain.newest.n)
    reliable = [i for i in swarm.reliable() if not _lacks_own_blocks(swarm, i)]
    # Then a change may be carried or heard of now, and all may be needed after it: also one whom
    # it gives a vote.
    changing = swarm.votes.pending or _change_is_unheard(swarm, reliable)
    if changing:
        quorum = len(reliable)
    core = sorted(random.sample(reliable, random.randint(quorum, len(reliable))))
    for index, disk in enumerate(swarm.disks):
        disk.space, disk.fuse.left, disk.sync_fails = None, 0, False
        if index in core or (changing and index in swarm.honest()):
            if swarm.nodes[index].driver is None or disk.failed:
                swarm.kill(index)
                swarm.start(index)
        elif index in reliable or random.random() < 0.5:
            swarm.note("node stays dead")
            swarm.kill(index)
    return core


def _lacks_own_blocks(swarm: Swarm, index: int) -> bool:
    """Whether it lost its ledger, and has no vote until it has fetched what it had voted for.

    Such a one is faulty until then: where another may stay dead, nobody may have that block.
    """
    driver = swarm.nodes[index].driver
    return index in swarm.options.losers and (driver is None or driver.observer)


def _change_is_unheard(swarm: Swarm, reliable: list[int]) -> bool:
    """Whether some do not have the block of the newest change of votes: their quorum is another.

    The only one that has the block might stay dead.
    """
    voting = swarm.chain.voting
    changed_at = max((h for h in voting if h > 1 and voting[h] != voting[h - 1]), default=None)
    if changed_at is None:
        return False
    stores = [swarm.nodes[index].store for index in reliable]
    return any(store is None or store.height < changed_at - 1 for store in stores)


def _commits(swarm: Swarm, core: list[int], wanted: set[Hash32]) -> None:
    """LIVE-1: all of ``wanted`` is committed by the whole core."""

    def done() -> bool:
        heights = {swarm.running_at(i)[1].height for i in core}
        if len(heights) > 1 or not wanted <= swarm.chain.where.keys():
            return False
        # Somebody outside of the core may have been the first to have the block.
        return max(swarm.chain.where[sent][0] for sent in wanted) <= min(heights)

    if not swarm.run(PATIENCE_TIMEOUTS * swarm.options.timeout_ms, done):
        missing = len(wanted - swarm.chain.where.keys())
        heights = [swarm.running_at(i)[1].height for i in core]
        raise Violation("LIVE-1", f"{missing} transactions wait in core {core} at {heights}")


def _stays_calm(swarm: Swarm, core: list[int]) -> None:
    """LIVE-1: once a quorum of the core is in one view, it stays there while primaries are correct.

    A node that left a view alone has promised not to vote in it any more, and stays ahead of the
    others until they leave, too. While a liar votes in its place, that need not be soon; when the
    liars leave with it, or where f is 0, the others follow at once. Further nobody goes.
    """
    core = [index for index in core if swarm.votes.may_vote(index)]
    patience, timeout = QUIET_PATIENCE_TIMEOUTS, swarm.options.timeout_ms
    membership = swarm.chain.newest
    quorum = oracle.quorum(membership.n)

    def apart() -> int:
        return len(core) - len(_together(swarm, core))

    # Who lacks what the others are deciding may run out of patience: that comes first to an end.
    if not swarm.run(PATIENCE_TIMEOUTS * timeout, lambda: _nothing_pending(swarm, core)):
        waiting = {i: len(swarm.running_at(i)[0].mempool) for i in core}
        raise Violation("LIVE-1", f"work waits for ever in the core: {waiting}")
    settled = swarm.run(patience * timeout, lambda: len(core) - apart() >= quorum)
    if not settled and apart() > membership.n - quorum:
        swarm.run(PATIENCE_TIMEOUTS * timeout, lambda: apart() <= membership.n - quorum)
    if swarm.chain.newest != membership:
        return  # a change was carried meanwhile: other primaries, and all begin anew
    views = {i: swarm.running_at(i)[0].replica.view for i in core}
    if apart() > membership.n - quorum:
        raise Violation("LIVE-1", f"so many of the core are apart that no quorum is left: {views}")
    together = _together(swarm, core)
    replica = swarm.running_at(together[0])[0].replica
    view, rotation = replica.view, swarm.options.rotation
    furthest = max(
        node.driver.replica.view for i in swarm.reliable() if (node := swarm.nodes[i]).driver
    )
    ahead = range(replica.height, replica.height + QUIET_BLOCKS + 1)
    primaries = {
        membership.primary(Height(h), View(v), rotation)
        for h in ahead
        for v in range(view, furthest + 1)
    }
    seats = {membership.index_of(fixed.hospital(swarm.nodes[i].index)) for i in core}
    if not settled or not primaries <= seats:
        return  # a primary that is dead or lies is replaced, as it should be
    for _ in range(QUIET_BLOCKS):
        _commits(swarm, core, {swarm.client(swarm.random.choice(core)).id})
        if replica.height not in ahead or swarm.chain.newest != membership:
            return  # a liar's own transactions made more blocks; the next primary may be another
        after = {i: swarm.running_at(i)[0].replica.view for i in core}
        if max(after.values()) > furthest:
            raise Violation("LIVE-1", f"view {view} became {after} though nothing fails any more")


def _nothing_pending(swarm: Swarm, core: list[int]) -> bool:
    """Whether the whole core has the same blocks and no transaction waits for another one."""
    running = [swarm.running_at(i) for i in core]
    heights = {store.height for _, store in running}
    return len(heights) == 1 and not any(len(driver.mempool) for driver, _ in running)


def _puts_evidence_on_chain(swarm: Swarm, core: list[int]) -> None:
    """I15: what a correct validator saw of double votes, in whatever life, is on record.

    Only those who vote report: one whose vote was just taken keeps it until it votes again.
    """
    voters = set(core) & set(swarm.reliable())

    def done() -> bool:
        # The first to have the block drops it; all are asked for it below.
        level = len({swarm.running_at(i)[1].height for i in core}) == 1
        return level and not any(list(swarm.running_at(i)[0].evidence.pending()) for i in voters)

    if not swarm.run(PATIENCE_TIMEOUTS * swarm.options.timeout_ms, done):
        raise Violation("I15", f"evidence waits in core {core}")
    chain = swarm.running_at(core[0])[0].chain
    for index in voters - set(swarm.options.losers):
        for event, seen in swarm.nodes[index].trace.events:
            if event == "equivocation":
                voting = swarm.chain.voting[int(seen["height"])]
                accused = voting.index_of(MemberId(str(seen["member"])))
                assert accused is not None
                key = voting.validators[accused].public_key
                if chain.state_value(evidence_key(key.key_id)) is None:
                    raise Violation("I15", f"what validator {index} saw is not on the chain")


def _together(swarm: Swarm, core: list[int]) -> list[int]:
    """The most nodes of the core that have entered the same view."""
    views: dict[int, list[int]] = {}
    for index in core:
        replica = swarm.running_at(index)[0].replica
        if replica.entered:
            views.setdefault(replica.view, []).append(index)
    return max(views.values(), key=len, default=[])
