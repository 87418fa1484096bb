"""A TCP proxy in front of each validator: what ``tc netem`` would do, where the kernel has none.

Bytes are delayed, held back, dribbled, flipped; connections are cut. Inside a TLS link doubled or
reordered bytes can only break it, as flipped ones do; doubled frames are the simulator's part.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

CHUNK_BYTES = 65_536
DRIBBLE_BYTES = 64
CLIENTS = "clients"
"""Source of every connection that no validator opened."""


@dataclass
class Path:
    """The way from one source to one target, and what is wrong with it now."""

    delay_ms: int = 0
    """Each piece waits up to so long."""
    flip: float = 0.0
    """Probability that a byte of a piece is flipped."""
    dribble: bool = False
    """Bytes come in small pieces."""
    refuse: bool = False
    """New connections are closed at once."""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: nothing passes, and nobody is told."""
    connections: set[asyncio.Transport] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.open.set()

    def heal(self) -> None:
        """Nothing is wrong any more; what was held back goes on its way."""
        self.delay_ms, self.flip, self.dribble, self.refuse = 0, 0.0, False, False
        self.open.set()

    def cut(self) -> None:
        """Ends each connection at once, without a farewell."""
        for transport in list(self.connections):
            transport.abort()


class Proxy:
    """All listeners of one network."""

    def __init__(self, random: Random, source_of: Callable[[tuple[str, int]], str]) -> None:
        """``source_of`` says which validator a connection comes from, or CLIENTS."""
        self._random = random
        self._source_of = source_of
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.paths: dict[tuple[str, str], Path] = {}
        self.bytes_passed = 0

    def path(self, source: str, target: str) -> Path:
        """From ``source`` (a validator, or CLIENTS) to the validator ``target``."""
        return self.paths.setdefault((source, target), Path())

    async def listen(self, target: str, host: str, port: int, real: tuple[str, int]) -> None:
        """Passes connections to ``host:port`` on to ``real``."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(target, real, reader, writer)

        self._servers.append(await asyncio.start_server(serve, host, port))

    async def close(self) -> None:
        """Ends listeners and connections."""
        for server in self._servers:
            server.close()
        for path in self.paths.values():
            path.heal()
            path.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(
        self,
        target: str,
        real: tuple[str, int],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        path = self.path(self._source_of(writer.get_extra_info("peername")[:2]), target)
        if path.refuse:
            writer.transport.abort()
            return
        await path.open.wait()
        try:
            onward_reader, onward_writer = await asyncio.open_connection(*real)
        except OSError:
            writer.transport.abort()
            return
        both = {writer.transport, onward_writer.transport}
        path.connections |= both
        pumps = [
            asyncio.create_task(self._pump(path, reader, onward_writer)),
            asyncio.create_task(self._pump(path, onward_reader, writer)),
        ]
        self._tasks.update(pumps)
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._tasks.difference_update(pumps)
            path.connections -= both
            for transport in both:
                transport.close()  # what was read is still written

    async def _pump(
        self, path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                self.bytes_passed += len(data)
                if path.delay_ms:
                    await asyncio.sleep(self._random.randrange(path.delay_ms) / 1000)
                if not path.open.is_set():
                    await path.open.wait()
                if path.flip and self._random.random() < path.flip:
                    data = self._flipped(data)
                await self._write(path, writer, data)
            await writer.drain()
        except OSError:
            return  # one side is gone; the caller ends the other

    async def _write(self, path: Path, writer: asyncio.StreamWriter, data: bytes) -> None:
        position = 0
        while position < len(data) and path.dribble:
            writer.write(data[position : position + DRIBBLE_BYTES])
            position += DRIBBLE_BYTES
            await asyncio.sleep(0.01)
        writer.write(data[position:])
        await writer.drain()

    def _flipped(self, data: bytes) -> bytes:
        position = self._random.randrange(len(data))
        flipped = data[position] ^ (1 << self._random.randrange(8))
        return data[:position] + bytes([flipped]) + data[position + 1 :]
