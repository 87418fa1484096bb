"""The nemesis: what it does to validators, disks, clocks and links, and how an operator heals it.

What destroys (disks, votes, clocks) hits at most f validators at a time, counting those that only
observe since their votes were lost, until they have a new key. Killing, pausing and cutting off
may hit any number.
"""

import asyncio
import itertools
import json
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random

from tests.nemesis.cluster import Cluster, Node, copy_into
from tests.nemesis.isolation import Namespaces, faketime_library
from tests.nemesis.proxy import CLIENTS
from tests.nemesis.proxy import Path as Way
from tests.nemesis.workload import Workload

CATCH_UP_SECONDS = 600.0
PROGRESS_SECONDS = 240.0
"""After a heal, clients are answered within this time, or the network is not live (LIVE-1)."""
RENEWAL_SECONDS = 60.0
"""After so long the command is killed, and run again."""

STOP_FILE = "stop"
"""Who makes this file in the run's directory ends the faults; what was done is judged."""

FORGETFUL = {
    *("backup_restored", "safety_truncated", "safety_flipped", "safety_lost", "safety_stale"),
}

Fault = Callable[[], Awaitable[None]]


class Nemesis:
    """Two tracks at once: one for processes, disks and clocks, one for links."""

    def __init__(
        self, cluster: Cluster, workload: Workload, random: Random, backups: Path, seconds: float
    ) -> None:
        self._cluster = cluster
        self._workload = workload
        self._random = random
        self._backups = backups
        self._began = time.monotonic()
        self._seconds = seconds
        self.faults: Counter[str] = Counter()
        self.forgetful: set[str] = set()
        """Validators that may not have known what they had signed."""
        self._journal = backups / "faults.jsonl"
        self._stop = backups / STOP_FILE
        self.not_possible: dict[str, str] = {}
        self.anomalies: list[str] = []

    def _count(self, kind: str, *what: str) -> None:
        """One fault has begun."""
        self.faults[kind] += 1
        if kind in FORGETFUL:
            self.forgetful.update(what[:1])
        at = time.strftime("%H:%M:%S", time.gmtime())
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps([at, kind, *what]) + "\n")

    @property
    def _left(self) -> float:
        """Seconds; none where somebody asked to end early."""
        if self._stop.exists():
            return 0.0
        return self._began + self._seconds - time.monotonic()

    async def run(self) -> None:
        """Until the time is over; everything is healed in the end."""
        await asyncio.gather(self._processes(), self._links())
        await self.heal()

    # -- track of processes, disks, clocks ----------------------------------------------------

    def _kinds(self) -> list[tuple[str, Fault]]:
        kinds: list[tuple[str, Fault]] = [
            ("kill", self._kill),
            ("kill_all", self._kill_all),
            ("pause", self._pause),
            ("ledger_truncated", self._ledger_truncated),
            ("ledger_flipped", self._ledger_flipped),
            ("backup_restored", self._backup_restored),
            ("safety_truncated", self._safety_truncated),
            ("safety_flipped", self._safety_flipped),
            ("safety_lost", self._safety_lost),
            ("safety_stale", self._safety_stale),
        ]
        if isinstance(self._cluster.place, Namespaces):
            kinds.append(("disk_full", self._disk_full))
        else:
            self.not_possible["disk_full"] = "no mount namespace"
        if faketime_library() is not None:
            kinds.append(("clock_jump", self._clock_jump))
        else:
            self.not_possible["clock_jump"] = "faketime is not installed"
        self._random.shuffle(kinds)
        return kinds

    def _sequence(self) -> Iterator[tuple[str, Fault]]:
        """Each kind once, however short the run; then again and again."""
        yield from self._kinds()
        while self._left > 0:
            yield from itertools.takewhile(lambda _: self._left > 0, self._kinds())

    async def _processes(self) -> None:
        for kind, fault in self._sequence():
            await fault()
            await self._progress(kind)
            await asyncio.sleep(self._random.uniform(1, 3))

    def _budget(self) -> int:
        """How many more validators may be destroyed now."""
        return self._cluster.tolerated - sum(node.observer for node in self._cluster.nodes)

    def _victims(self, count: int) -> list[Node]:
        voting = [node for node in self._cluster.nodes if not node.observer]
        return self._random.sample(voting, count)

    async def _progress(self, after: str) -> None:
        """LIVE-1: some client is answered; else the network does not recover."""
        before, deadline = self._workload.acknowledged, time.monotonic() + PROGRESS_SECONDS
        while self._workload.acknowledged == before:
            if time.monotonic() > deadline:
                text = f"no operation was answered for {PROGRESS_SECONDS:.0f} s after {after}"
                self.anomalies.append(text)
                return
            await asyncio.sleep(0.2)

    async def _kill(self) -> None:
        nodes = self._random.sample(self._cluster.nodes, self._random.randint(1, 2))
        for _ in range(self._random.randint(1, 2)):
            for node in nodes:
                self._count("kill", node.name)
                self._cluster.kill(node)
            await asyncio.sleep(self._random.uniform(0, 6))
            for node in nodes:
                self._cluster.restart_node(node)
            await asyncio.sleep(self._random.uniform(0, 3))

    async def _kill_all(self) -> None:
        """LIVE-2: all at once, started again in any order."""
        self._count("kill_all")
        nodes = self._random.sample(self._cluster.nodes, self._cluster.count)
        for node in nodes:
            self._cluster.kill(node)
        for node in nodes:
            self._cluster.restart_node(node)
            await asyncio.sleep(self._random.uniform(0, 0.5))

    async def _pause(self) -> None:
        nodes = self._random.sample(
            self._cluster.nodes, self._random.randint(1, self._cluster.count)
        )
        for node in nodes:
            self._count("pause", node.name)
            self._cluster.pause(node)
        await asyncio.sleep(self._random.uniform(1, 12))
        for node in nodes:
            self._cluster.resume(node)

    async def _destroy(self, kind: str, harm: Callable[[Node], str]) -> None:
        """Kills up to f, harms each one's files, starts them, and heals as the manual says."""
        budget = self._budget()
        if budget < 1:
            return
        nodes = self._victims(self._random.randint(1, budget))
        for node in nodes:
            self._cluster.kill(node)
        await asyncio.sleep(self._random.uniform(0, 2))
        for node in nodes:
            node.excuse = f"{kind}: {harm(node)}"
            self._count(kind, node.name, node.excuse)
            self._cluster.restart_node(node)
        await asyncio.sleep(self._random.uniform(2, 8))
        for node in nodes:
            await self._resynchronise(node)

    async def _resynchronise(self, node: Node) -> None:
        """As the manual says: stop, move ``ledger/`` aside, leave the safety store, start."""
        self._cluster.kill(node)
        aside = node.data / "ledger.aside"
        shutil.rmtree(aside, ignore_errors=True)
        if node.ledger.exists():
            node.ledger.rename(aside)
        node.excuse = ""  # cured: nothing explains it if it ends now
        self._cluster.restart_node(node)
        await self._caught_up(node)
        shutil.rmtree(aside, ignore_errors=True)

    async def _caught_up(self, node: Node) -> None:
        """It is as good as the others again; its next end is not excused."""
        if not await self._cluster.caught_up(node, CATCH_UP_SECONDS):
            self.anomalies.append(f"{node.name} does not catch up after {node.excuse}")
        node.excuse = ""

    def _files(self, node: Node, wanted: str) -> list[Path]:
        return sorted(path for path in node.ledger.glob(wanted) if path.stat().st_size)

    async def _ledger_truncated(self) -> None:
        """LevelDB's log loses its end, as in Jepsen's nemesis."""

        def harm(node: Node) -> str:
            path = self._random.choice(self._files(node, "*.log") or self._files(node, "*"))
            size = path.stat().st_size
            lost = min(size, self._random.choice((1, 100, 10_000, 1 << 20)))
            with path.open("r+b") as file:
                file.truncate(size - lost)
            return f"{path.name} lost {lost} of {size} bytes"

        await self._destroy("ledger_truncated", harm)

    async def _ledger_flipped(self) -> None:
        def harm(node: Node) -> str:
            path = self._random.choice(self._files(node, "[0-9M]*"))
            self._flip(path, self._random.randrange(path.stat().st_size))
            return f"{path.name}: a bit flipped"

        await self._destroy("ledger_flipped", harm)

    def _flip(self, path: Path, position: int) -> None:
        with path.open("r+b") as file:
            file.seek(position)
            byte = file.read(1)[0] ^ (1 << self._random.randrange(8))
            file.seek(position)
            file.write(bytes([byte]))

    async def _lose_votes(self, kind: str, harm: Callable[[Node], None], shows: bool) -> None:
        """Harms a safety store; the validator must then only observe, if it can know."""
        if self._budget() < 1:
            return
        (node,) = self._victims(1)
        self._cluster.kill(node)
        self._count(kind, node.name)
        node.excuse = kind
        harm(node)
        self._cluster.restart_node(node)
        await self._caught_up(node)
        if shows and not node.observer:
            self.anomalies.append(f"{node.name} votes after {kind}")
        await self._renew(node)

    async def _renew(self, node: Node) -> None:
        """As the manual says: stop, renew the key, start; then the validator votes again.

        The first try of the command may be killed; the next one goes on where it was.
        """
        if not node.observer:
            return
        self._cluster.kill(node)
        self._count("key_renewed", node.name)
        if self._random.random() < 0.5:
            await self._cluster.renew_key(node, within_s=self._random.uniform(0.5, 4))
        said, deadline = "", time.monotonic() + CATCH_UP_SECONDS
        while time.monotonic() < deadline:
            said = await self._cluster.renew_key(node, within_s=RENEWAL_SECONDS)
            if not said:
                break
        self._cluster.restart_node(node)
        while node.observer and time.monotonic() < deadline:
            await self._caught_up(node)
        if node.observer:
            self.anomalies.append(f"{node.name} does not vote with its new key: {said}")

    async def _safety_truncated(self) -> None:
        """As a torn last append: the votes of the newest height may be forgotten."""

        def harm(node: Node) -> None:
            size = node.safety.stat().st_size
            with node.safety.open("r+b") as file:
                file.truncate(max(20, size - self._random.randint(1, 60)))

        await self._lose_votes("safety_truncated", harm, False)

    async def _safety_flipped(self) -> None:
        await self._lose_votes("safety_flipped", lambda node: self._flip(node.safety, 30), True)

    async def _safety_lost(self) -> None:
        await self._lose_votes("safety_lost", lambda node: node.safety.unlink(), True)

    async def _safety_stale(self) -> None:
        """An old copy of the safety store beside the newer chain."""
        if self._budget() < 1:
            return
        node = self._random.choice([n for n in self._cluster.nodes if not n.observer])
        self._cluster.kill(node)
        old = self._backups / "safety.log"
        shutil.copy2(node.safety, old)
        self._cluster.restart_node(node)
        await self._caught_up(node)
        # Twice: the height that was last reported may be lower than the one of the copy.
        await self._caught_up(node)
        self._cluster.kill(node)
        self._count("safety_stale", node.name)
        node.excuse = "safety_stale"
        shutil.copy2(old, node.safety)
        self._cluster.restart_node(node)
        await self._caught_up(node)
        if not node.observer:
            self.anomalies.append(f"{node.name} votes with an old copy of its safety store")
        await self._renew(node)

    async def _backup_restored(self) -> None:
        """An old copy of chain and safety store together: by the manual nobody may do this.

        The validator cannot know, so that it counts as hostile until it is past what it forgot.
        """
        if self._budget() < 1:
            return
        (node,) = self._victims(1)
        self._cluster.kill(node)
        backup = self._backups / node.name
        shutil.rmtree(backup, ignore_errors=True)
        shutil.copytree(node.data, backup)
        self._cluster.restart_node(node)
        await self._caught_up(node)
        await asyncio.sleep(self._random.uniform(2, 6))
        self._cluster.kill(node)
        self._count("backup_restored", node.name)
        node.excuse = "backup_restored"
        copy_into(backup, node.data)
        self._cluster.restart_node(node)
        await self._caught_up(node)
        shutil.rmtree(backup)

    async def _disk_full(self) -> None:
        """Writes begin to fail; the validator ends itself and comes back when there is space."""
        place = self._cluster.place
        assert isinstance(place, Namespaces)
        budget = self._budget()
        if budget < 1:
            return
        nodes = self._victims(self._random.randint(1, budget))
        for node in nodes:
            self._count("disk_full", node.name)
            node.excuse = "disk_full"
            place.fill_disk(node.data, self._random.choice((0, 8_192, 65_536, 300_000)))
        await asyncio.sleep(self._random.uniform(4, 10))
        for node in nodes:
            place.free_disk(node.data)
        for node in nodes:
            if node.process is None:  # it ended, and was noted
                self._cluster.restart_node(node)
        for node in nodes:
            await self._caught_up(node)

    async def _clock_jump(self) -> None:
        budget = self._budget()
        if budget < 1:
            return
        nodes = self._victims(self._random.randint(1, budget))
        for node in nodes:
            self._count("clock_jump", node.name)
            seconds = self._random.choice((2, 6, 60, 3_600, 86_400))
            self._cluster.set_clock(node, seconds * self._random.choice((-1, 1)))
        await asyncio.sleep(self._random.uniform(4, 10))
        for node in nodes:
            self._cluster.set_clock(node, 0)
        await asyncio.sleep(2)
        for node in nodes:
            await self._caught_up(node)

    # -- track of links -----------------------------------------------------------------------

    async def _links(self) -> None:
        kinds: list[Fault] = []
        while self._left > 0:
            if not kinds:
                kinds = [self._delay, self._stall, self._cut, self._corrupt, self._dribble]
                kinds += [self._split, self._clients_cut]
                if isinstance(self._cluster.place, Namespaces):
                    kinds.append(self._link_down)
                else:
                    self.not_possible["link_down"] = "no network namespaces"
                self._random.shuffle(kinds)
            await kinds.pop()()
            await asyncio.sleep(self._random.uniform(1, 5))

    def _ways(self, part: float) -> list[Way]:
        """Some of the links between validators, each direction by itself."""
        names = [node.name for node in self._cluster.nodes]
        pairs = [(a, b) for a in names for b in names if a != b]
        chosen = self._random.sample(pairs, max(1, int(len(pairs) * part)))
        return [self._cluster.proxy.path(*pair) for pair in chosen]

    async def _for_a_while(self, kind: str, ways: list[Way], low: float, high: float) -> None:
        self._count(kind)
        await asyncio.sleep(self._random.uniform(low, high))
        for way in ways:
            way.heal()

    async def _delay(self) -> None:
        ways = self._ways(self._random.choice((0.3, 1.0)))
        for way in ways:
            way.delay_ms = self._random.choice((20, 100, 400))
        await self._for_a_while("delay", ways, 3, 10)

    async def _stall(self) -> None:
        ways = self._ways(0.4)
        for way in ways:
            way.open.clear()
        await self._for_a_while("stall", ways, 1, 8)

    async def _cut(self) -> None:
        ways = self._ways(0.6)
        for _ in range(self._random.randint(1, 4)):
            for way in ways:
                way.cut()
            await asyncio.sleep(self._random.random())
        await self._for_a_while("cut", ways, 0, 1)

    async def _corrupt(self) -> None:
        ways = self._ways(0.4)
        for way in ways:
            way.flip = self._random.choice((0.01, 0.1))
        await self._for_a_while("corrupt", ways, 2, 8)

    async def _dribble(self) -> None:
        ways = self._ways(0.3)
        for way in ways:
            way.dribble = True
        await self._for_a_while("dribble", ways, 2, 6)

    async def _split(self) -> None:
        """Two groups that hear nothing of each other; clients reach both."""
        names = [node.name for node in self._cluster.nodes]
        self._random.shuffle(names)
        size = self._random.randint(1, len(names) - 1)
        one, other = names[:size], names[size:]
        pairs = [(a, b) for a in one for b in other] + [(a, b) for a in other for b in one]
        ways = [self._cluster.proxy.path(*pair) for pair in pairs]
        for way in ways:
            way.refuse = True
            way.open.clear()
            if self._random.random() < 0.5:
                way.cut()
        await self._for_a_while("split", ways, 3, 12)

    async def _clients_cut(self) -> None:
        """Clients lose their connections while they wait for answers."""
        ways = [self._cluster.proxy.path(CLIENTS, node.name) for node in self._cluster.nodes]
        chosen = self._random.sample(ways, self._random.randint(1, len(ways)))
        for way in chosen:
            way.delay_ms = 200
            way.cut()
        await self._for_a_while("clients_cut", chosen, 0.5, 3)

    async def _link_down(self) -> None:
        place = self._cluster.place
        assert isinstance(place, Namespaces)
        nodes = self._random.sample(
            self._cluster.nodes, self._random.randint(1, self._cluster.count // 2 + 1)
        )
        for node in nodes:
            self._count("link_down", node.name)
            place.link(node.number, False)
        await asyncio.sleep(self._random.uniform(2, 14))
        for node in nodes:
            place.link(node.number, True)

    # -- the end ------------------------------------------------------------------------------

    async def heal(self) -> None:
        """All validators run, all links are whole."""
        for way in self._cluster.proxy.paths.values():
            way.heal()
        for node in self._cluster.nodes:
            self._cluster.resume(node)
            self._cluster.set_clock(node, 0)
            if not node.running:
                self._cluster.restart_node(node)
