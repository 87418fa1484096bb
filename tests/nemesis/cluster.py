"""The validators of one run: real processes, their disks and clocks, and what became of each."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from ledger.errors import LedgerError
from ledger.quorum import faults_tolerated, quorum
from ledger.types.genesis import Genesis
from nodes.client.chain import ChainClient
from nodes.client.http import HttpClient
from nodes.network_setup import create_network, numbered_plan
from nodes.transport.pki import TlsFiles, client_context
from tests.nemesis.isolation import Loopback, Namespaces, faketime_library
from tests.nemesis.proxy import CLIENTS, Proxy

PEER_PORT, API_PORT = 7101, 7102
NODE_FILE = "node.toml"
CLIENT_SECONDS = 8.0
EXIT_FAULT = 3
"""Exit code of a validator that ended itself."""


@dataclass
class Node:
    """One validator."""

    number: int
    name: str
    home: Path
    process: subprocess.Popen[bytes] | None = None
    stopped: bool = False
    """By SIGSTOP."""
    excuse: str = ""
    """The fault that explains it if this process ends by itself; empty: nothing does."""
    observer: bool = False
    height: int = 0
    """Highest that it ever reported."""
    view_changes: int = 0
    """Counted by this process so far."""
    rss_kib_max: int = 0
    exits: list[str] = field(default_factory=list)

    @property
    def data(self) -> Path:
        """Ledger and safety store."""
        return self.home / "node-data"

    @property
    def ledger(self) -> Path:
        """The LevelDB directory."""
        return self.data / "ledger"

    @property
    def safety(self) -> Path:
        """The safety store."""
        return self.data / "safety.log"

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> Path:
        """What it says."""
        return self.home / "node.log"


class Cluster:
    """Makes the network, starts and ends validators, and watches them."""

    def __init__(self, directory: Path, count: int, random: Random, isolated: bool) -> None:
        self.count = count
        self.quorum = quorum(count)
        self.tolerated = faults_tolerated(count)
        self.place: Namespaces | Loopback
        self.place = Namespaces(count) if isolated else Loopback(count, self._pid)
        self.directory = directory / "network"
        self.genesis = self._create()
        self.nodes = [
            Node(i, member.id, self.directory / member.id)
            for i, member in enumerate(m for m in self.genesis.members if m.kind == "hospital")
        ]
        self.proxy = Proxy(random, self._source)
        self.restarts = 0
        self.view_changes = 0
        self.unexplained: list[str] = []
        self._clients: dict[int, HttpClient] = {}

    def _create(self) -> Genesis:
        plan = numbered_plan(self.count, base_port=PEER_PORT - 1)
        hospitals = tuple(
            hospital.model_copy(update={"host": self.place.proxy_host(i)})
            for i, hospital in enumerate(plan.hospitals)
        )
        changes = {
            "hospitals": hospitals,
            "min_free_bytes": 256 * 1024,
            "empty_block_interval_ms": 5_000,
            "progress_timeout_ms": 1_000,
            "rotation": 25,
        }
        return create_network(self.directory, plan.model_copy(update=changes))

    async def start(self) -> None:
        """Sets the place up, and starts proxies and validators."""
        self.place.set_up()
        for node in self.nodes:
            endpoints = self.genesis.members[node.number].endpoints
            public = self.place.proxy_host(node.number)
            own = self.place.node_host(node.number)
            file = node.home / NODE_FILE
            text = file.read_text("utf-8")
            # The genesis document names the proxy; the validator itself listens behind it.
            file.write_text(text.replace(f'"{public}:', f'"{own}:'), "utf-8")
            for url in (endpoints.peer, endpoints.node_api.removeprefix("https://")):
                port = int(url.rpartition(":")[2])
                await self.proxy.listen(node.name, public, port, (own, port))
            if isinstance(self.place, Namespaces):
                self.place.mount_disk(node.data)
            self.set_clock(node, 0)
            self.start_node(node)

    async def close(self) -> None:
        """Ends everything."""
        for node in self.nodes:
            self.kill(node)
        for client in self._clients.values():
            await client.close()
        await self.proxy.close()

    def _pid(self, number: int) -> int | None:
        process = self.nodes[number].process
        return None if process is None else process.pid

    def _source(self, peer: tuple[str, int]) -> str:
        number = self.place.source(peer)
        return CLIENTS if number is None else self.nodes[number].name

    # -- processes ----------------------------------------------------------------------------

    def start_node(self, node: Node) -> None:
        """Starts its process, with the clock that its file says."""
        words = [
            sys.executable,
            "-m",
            "nodes.cli.main",
            "node",
            "run",
            str(node.home / NODE_FILE),
        ]
        environment = dict(os.environ)
        library = faketime_library()
        if library is not None:
            environment |= {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(node.home / "clock"),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        with node.log.open("ab") as log:
            node.process = subprocess.Popen(
                self.place.command(node.number, words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        node.view_changes = 0
        node.stopped = False

    def restart_node(self, node: Node) -> None:
        """Starts it again."""
        self.restarts += 1
        self.start_node(node)

    def kill(self, node: Node) -> None:
        """kill -9."""
        if node.process is not None:
            self._note_exit(node)
        if node.process is not None:
            node.process.kill()
            node.process.wait()
            node.process = None
        node.stopped = False

    def pause(self, node: Node) -> None:
        """SIGSTOP."""
        if node.running and node.process is not None:
            node.process.send_signal(signal.SIGSTOP)
            node.stopped = True

    def resume(self, node: Node) -> None:
        """SIGCONT."""
        if node.process is not None and node.stopped:
            node.process.send_signal(signal.SIGCONT)
        node.stopped = False

    def set_clock(self, node: Node, seconds: int) -> None:
        """Its wall clock is off by so much, within two seconds from now."""
        (node.home / "clock").write_text(f"{seconds:+d}\n")

    async def renew_key(self, node: Node, within_s: float) -> str:
        """``yilian keys renew`` of a stopped validator, killed after so long.

        Returns what it said if it did not succeed, else nothing.
        """
        words = [
            sys.executable,
            "-m",
            "nodes.cli.main",
            "keys",
            "renew",
            str(node.home / NODE_FILE),
        ]
        process = await asyncio.create_subprocess_exec(
            *self.place.command(node.number, words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), within_s)
        except TimeoutError:
            process.kill()
            await process.wait()
            return f"killed after {within_s:.1f} s"
        return "" if process.returncode == 0 else said.decode("utf-8", "replace")[-300:]

    def _note_exit(self, node: Node) -> bool:
        """Whether its process ended by itself; an end that nothing explains is kept."""
        process = node.process
        if process is None or (code := process.poll()) is None:
            return False
        node.process = None
        words = node.log.read_text("utf-8", "replace").strip().splitlines() or ["no log"]
        text = f"{node.name} exit {code} ({node.excuse or 'unexplained'}): {words[-1][:300]}"
        node.exits.append(text)
        if not node.excuse or code != EXIT_FAULT:
            self.unexplained.append(text)
        return True

    def exited(self) -> list[Node]:
        """Validators that ended by themselves since the last call."""
        return [node for node in self.nodes if self._note_exit(node)]

    # -- questions ----------------------------------------------------------------------------

    def client(self, number: int) -> HttpClient:
        """A validator's interface, over the proxy, as the gateway of another hospital."""
        if number not in self._clients:
            keys = self.nodes[(number + 1) % self.count].home / "keys"
            own = TlsFiles(keys / "gateway-tls.crt", keys / "gateway-tls.pem")
            member = self.genesis.members[number]
            context = client_context(own, [member])
            url = member.endpoints.node_api
            self._clients[number] = HttpClient(url, context, timeout_s=CLIENT_SECONDS)
        return self._clients[number]

    async def status(self, node: Node) -> Mapping[str, Any] | None:
        """What it says of itself, or None."""
        if not node.running or node.stopped:
            return None
        try:
            status = await ChainClient(self.client(node.number)).status()
        except LedgerError:
            return None
        self._watch(node, status)
        return status

    def _watch(self, node: Node, status: Mapping[str, Any]) -> None:
        node.height = max(node.height, int(status["height"]))
        node.observer = bool(status["observer"])
        changes = int(status["view_changes"])
        self.view_changes += max(0, changes - node.view_changes)
        node.view_changes = changes
        if node.process is None:
            return  # it was killed while it answered
        with suppress(OSError, StopIteration):  # it ends just now
            lines = Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
            rss = next(line for line in lines if line.startswith("VmRSS"))
            node.rss_kib_max = max(node.rss_kib_max, int(rss.split()[1]))

    @property
    def height(self) -> int:
        """Highest that any validator reported."""
        return max(node.height for node in self.nodes)

    async def caught_up(self, node: Node, seconds: float) -> bool:
        """Whether it passes, in time, the height that the network has now.

        If it ends meanwhile, it is started again, and its end is judged by its excuse.
        """
        wanted = self.height + 1
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = await self.status(node)
            if status is not None and int(status["height"]) > wanted:
                return True
            if not node.running:
                self._note_exit(node)
                await asyncio.sleep(1)
                if not node.running:
                    self.restart_node(node)
            await asyncio.sleep(0.3)
        return False


def copy_into(source: Path, target: Path) -> None:
    """What is in ``target`` becomes a copy of what is in ``source``; the directory itself stays."""
    target.mkdir(mode=0o700, exist_ok=True)
    for item in target.iterdir():
        shutil.rmtree(item) if item.is_dir() else item.unlink()
    shutil.copytree(source, target, dirs_exist_ok=True)
