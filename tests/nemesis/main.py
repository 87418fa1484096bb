"""``./scripts/nemesis``: real validators, real faults, a check of what clients were told."""

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import uvloop

from ledger.errors import LedgerError
from nodes.client.http import RequestRefused
from tests.nemesis.checker import Checker
from tests.nemesis.cluster import Cluster
from tests.nemesis.faults import Nemesis
from tests.nemesis.history import History
from tests.nemesis.isolation import enter, missing_packages
from tests.nemesis.reader import ChainReader
from tests.nemesis.workload import Workload
from tests.project.tree import ROOT

BUILD = ROOT / "build" / "nemesis"
READY_SECONDS = 120.0
SETTLE_SECONDS = 600.0
REPORT_SECONDS = 30.0
ANOMALIES_SHOWN = 20


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("nemesis", description="Test real validators under faults.")
    parser.add_argument("--minutes", type=float, required=True, help="how long faults are made")
    parser.add_argument("--nodes", type=int, choices=range(4, 8), default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the choice of faults")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--loopback", action="store_true", help="use no namespaces")
    return parser.parse_args(words)


def say(text: str) -> None:
    """A line for whoever watches."""
    print(text, file=sys.stderr, flush=True)


class Run:
    """One run from the first process to the verdict."""

    def __init__(self, directory: Path, arguments: argparse.Namespace, isolated: bool) -> None:
        self._random = Random(f"yilian nemesis {arguments.seed}")
        self._directory = directory
        self._arguments = arguments
        self._seconds = arguments.minutes * 60
        self.cluster = Cluster(directory, arguments.nodes, self._random, isolated)
        self.history = History(directory / "history.jsonl")
        self.workload = Workload(self.cluster, self.history, self._random)
        self.reader = ChainReader(self.cluster.genesis, directory / "blocks.bin")
        self.anomalies: list[str] = []
        self.minutes = 0.0
        """For which faults were made in the end."""

    async def run(self) -> dict[str, object]:
        """The summary."""
        try:
            await self.cluster.start()
            await self._ready()
            self.nemesis = Nemesis(
                self.cluster, self.workload, self._random, self._directory, self._seconds
            )
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch())
                reading = group.create_task(self.reader.follow(self.cluster))
                clients = group.create_task(self.workload.run())
                began = time.monotonic()
                await self.nemesis.run()
                self.minutes = round((time.monotonic() - began) / 60, 1)
                self.workload.end()
                await clients
                height = await self._settled()
                watching.cancel()
                reading.cancel()
            await self._judge(height)
            return self._summary(height)
        finally:
            self.history.save()
            await self.cluster.close()

    async def _ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            all_status = [await self.cluster.status(node) for node in self.cluster.nodes]
            if all(status is not None and status["height"] for status in all_status):
                return
            await asyncio.sleep(0.2)
        raise TimeoutError("the validators do not begin")

    async def _watch(self) -> None:
        """Polls all validators; starts again what ended though no fault explains it."""
        reported = time.monotonic()
        while True:
            for node in self.cluster.nodes:
                await self.cluster.status(node)
            for node in self.cluster.exited():
                say(node.exits[-1])
                if not node.excuse:
                    self.cluster.restart_node(node)
            if time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                heights = " ".join(str(node.height) for node in self.cluster.nodes)
                faults = sum(self.nemesis.faults.values())
                acknowledged = self.workload.acknowledged
                say(f"heights {heights}, {acknowledged} acknowledged, {faults} faults")
            await asyncio.sleep(1)

    async def _settled(self) -> int:
        """Waits until nothing is pending and all validators have what was acknowledged.

        Returns a height behind which there are only empty blocks.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            found = [await self.cluster.status(node) for node in self.cluster.nodes]
            height = max(self.cluster.height, self.workload.height)
            if all(s and not s["mempool"] and s["height"] == height for s in found):
                return height
            await asyncio.sleep(0.2)
        heights = [node.height for node in self.cluster.nodes]
        self.anomalies.append(f"the validators do not come to one height: {heights}")
        return min(heights)

    async def _judge(self, height: int) -> None:
        cluster, reader = self.cluster, self.reader
        users = {user.public_key.key_id: user.member for user in cluster.genesis.users}
        voters = {v.public_key.key_id: v.member for v in cluster.genesis.membership.validators}
        checker = Checker(self.history.operations, users, voters, self.nemesis.forgetful)
        say(f"{len(reader.hashes)} of {height} heights are read; comparing with all validators")
        try:
            await self._read_to(height)
            for block in reader.blocks():
                checker.add(block)
            for node in cluster.nodes:
                same = await reader.compare(node.name, cluster.client(node.number))
                say(f"{node.name} has the newest {same} headers")
            for node in cluster.nodes:
                client = cluster.client(node.number)
                patients = list(self.workload.patients)
                await reader.compare_state(node.name, client, checker.model, patients)
        except LedgerError as error:
            self.anomalies.append(f"the chain does not verify: {error}")
        # A quorum that is asked meets one of these at least, also after f lost their disks.
        needed = cluster.count - cluster.quorum + 1 + cluster.tolerated
        found = [*reader.anomalies, *checker.finish(needed)]
        self.anomalies += [f"{anomaly.kind}: {anomaly.text}" for anomaly in found]
        self.anomalies += [f"exit: {text}" for text in cluster.unexplained]
        self.anomalies += [f"unreadable answer: {text}" for text in self.workload.unreadable]
        self.anomalies += self.nemesis.anomalies

    async def _read_to(self, height: int) -> None:
        """The last blocks, from who has them; raises the refusal of the last asked."""
        *others, last = self.cluster.nodes
        for node in others:
            with suppress(RequestRefused):
                await self.reader.read(self.cluster.client(node.number), height)
        await self.reader.read(self.cluster.client(last.number), height)

    def _summary(self, height: int) -> dict[str, object]:
        operations: dict[str, Counter[str]] = {}
        for op in self.history.operations:
            counts = operations.setdefault(op.kind, Counter(ok=0, refused=0, unknown=0))
            counts[op.outcome] += 1
        nodes = self.cluster.nodes
        return {
            "minutes": self.minutes,
            "nodes": self.cluster.count,
            "seed": self._arguments.seed,
            "place": type(self.cluster.place).__name__.lower(),
            "operations": operations,
            "faults": dict(sorted(self.nemesis.faults.items())),
            "not_possible": self.nemesis.not_possible,
            "admissions_refused": dict(self.workload.admissions),
            "heights": height,
            "view_changes": self.cluster.view_changes,
            "observers": sum(node.observer for node in nodes),
            "restarts": self.cluster.restarts,
            "explained_exits": sum(len(n.exits) for n in nodes) - len(self.cluster.unexplained),
            "unexplained_exits": len(self.cluster.unexplained),
            "rss_mib_max": max(node.rss_kib_max for node in nodes) // 1024,
            "proxied_mib": self.cluster.proxy.bytes_passed >> 20,
            "anomalies": len(self.anomalies),
        }


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 where there was an anomaly."""
    words = sys.argv[1:] if words is None else words
    arguments = _arguments(words)
    why = "asked for" if arguments.loopback else enter(words)
    if why:
        say(f"no namespaces ({why}): loopback addresses, without link down and full disks")
    if missing := missing_packages():
        say(f"some faults need: apt-get install {' '.join(missing)}")
    directory = BUILD / f"seed-{arguments.seed}-nodes-{arguments.nodes}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    run = Run(directory, arguments, not why)
    summary = uvloop.run(run.run())
    for text in run.anomalies[:ANOMALIES_SHOWN]:
        say(f"ANOMALY {text}")
    (directory / "anomalies.json").write_text(json.dumps(run.anomalies, indent=1))
    if arguments.json:
        print(json.dumps(summary))
    else:
        for name, value in summary.items():
            print(f"{name}: {value}")
    return 1 if run.anomalies else 0


if __name__ == "__main__":
    sys.exit(main())
