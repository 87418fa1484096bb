"""All processes of a network directory on this machine: for trying out, tests and measurements.

Every hospital gets its validator and its gateway as processes of their own, exactly as an
operator would start them; their output goes to ``<member>/node.log`` and ``gateway.log``.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import LedgerError, WorldFault
from ledger.types.genesis import Genesis, Member
from nodes.client.chain import GATEWAY_PREFIX, ChainClient
from nodes.client.connect import gateway_of, member_of, node_of
from nodes.client.http import HttpClient
from nodes.config import GatewayConfig, load_config, load_genesis

STOP_SECONDS = 10.0
"""A process that does not end within this time after SIGTERM is killed."""
SERVICES = ("node", "gateway")


@dataclass(eq=False)
class ProcessEnded(WorldFault):
    """A process ended although nobody stopped it."""

    name: str
    exit_code: int
    log: str
    template = "{name} ended with exit code {exit_code}: see {log}"


@dataclass(eq=False)
class NotReady(WorldFault):
    """The network did not come up in time."""

    waited_seconds: int
    name: str
    log: str
    template = "{name} does not answer after {waited_seconds} s: see {log}"


class LocalNetwork:
    """The processes of one network directory, made by ``network_setup.create_network``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.genesis: Genesis = load_genesis(directory / "genesis.bin")
        self._processes: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    @property
    def hospitals(self) -> tuple[Member, ...]:
        """Members that run a validator and a gateway."""
        return tuple(m for m in self.genesis.members if m.kind == "hospital")

    def config(self, member: str, service: str) -> Path:
        """Configuration file of a member's service."""
        return self.directory / member / f"{service}.toml"

    def log(self, member: str, service: str) -> Path:
        """Where a service's output goes."""
        return self.directory / member / f"{service}.log"

    def start(self, member: str, service: str) -> None:
        """Starts one process; it appends to its log."""
        command = [sys.executable, "-m", "nodes.cli.main", service, "run"]
        with self.log(member, service).open("ab") as log:
            self._processes[(member, service)] = subprocess.Popen(  # noqa: S603  # own program
                [*command, str(self.config(member, service))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C reaches only the parent, which then stops these in order.
                start_new_session=True,
            )

    def start_all(self) -> None:
        """Starts every validator, then every gateway."""
        for service in SERVICES:
            for hospital in self.hospitals:
                self.start(hospital.id, service)

    def kill(self, member: str, service: str) -> None:
        """kill -9: the process has no chance to tidy up."""
        process = self._processes.pop((member, service))
        process.kill()
        process.wait()

    def check_alive(self) -> None:
        """Raises ProcessEnded if a process is gone that nobody stopped."""
        for (member, service), process in self._processes.items():
            code = process.poll()
            if code is not None:
                raise ProcessEnded(f"{member} {service}", code, str(self.log(member, service)))

    def pid(self, member: str, service: str) -> int:
        """Process id, for measurements."""
        return self._processes[(member, service)].pid

    def stop_all(self) -> None:
        """SIGTERM to all, gateways first; what does not end in time is killed."""
        for service in reversed(SERVICES):
            group = {k: p for k, p in self._processes.items() if k[1] == service}
            for process in group.values():
                if process.poll() is None:
                    os.kill(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            for key, process in group.items():
                try:
                    process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                del self._processes[key]

    async def wait_ready(self, seconds: float = 30.0) -> None:
        """Returns when every started service answers and proves; raises NotReady or ProcessEnded.

        Before the first block nothing can be proved, so that one is waited for, too.
        """
        deadline = time.monotonic() + seconds
        for member, service in list(self._processes):
            while True:
                self.check_alive()
                with suppress(LedgerError):  # it may be starting; the deadline decides
                    if (await self.status(member, service))["height"]:
                        break
                if time.monotonic() > deadline:
                    log = str(self.log(member, service))
                    raise NotReady(int(seconds), f"{member} {service}", log)
                await asyncio.sleep(0.1)

    def node_client(self, member: str) -> HttpClient:
        """The validator's interface, reached as its own gateway reaches it."""
        config = load_config(GatewayConfig, self.config(member, "gateway"))
        return node_of(member_of(self.genesis, member), config.tls, config.node_api)

    async def status(self, member: str, service: str = "node") -> Mapping[str, object]:
        """Status of a validator, directly or through its gateway."""
        if service == "node":
            async with self.node_client(member) as http:
                return await ChainClient(http).status()
        async with gateway_of(self.genesis, member, None) as http:
            return await ChainClient(http, GATEWAY_PREFIX).status()

    async def wait_for(
        self, members: Sequence[str], what: Callable[[Mapping[str, object]], bool], seconds: float
    ) -> bool:
        """Whether ``what`` holds for the status of all ``members`` within ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(LedgerError):  # it may be starting; the deadline decides
                if all([what(await self.status(member)) for member in members]):
                    return True
            await asyncio.sleep(0.1)
        return False
