"""The proxy passes bytes on unchanged, and does each kind of harm when it is told to."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random

import pytest

from tests.nemesis.proxy import CLIENTS, Path, Proxy

HOST = "127.0.0.1"
MESSAGE = bytes(range(256)) * 40


@dataclass
class Line:
    """An echo server behind a proxy."""

    proxy: Proxy
    address: tuple[str, int]

    @property
    def path(self) -> Path:
        return self.proxy.path(CLIENTS, "a")

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address)

    async def echo(self, message: bytes = MESSAGE) -> bytes:
        reader, writer = await self.open()
        writer.write(message)
        try:
            return await reader.readexactly(len(message))
        finally:
            writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1_000):
        writer.write(data)
    writer.close()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    echo = await asyncio.start_server(_echo, HOST, 0)
    with socket.create_server((HOST, 0)) as free:
        address = free.getsockname()
    proxy = Proxy(Random(1), lambda peer: CLIENTS)
    await proxy.listen("a", *address, echo.sockets[0].getsockname())
    yield Line(proxy, address)
    await proxy.close()
    echo.close()


async def test_bytes_pass_unchanged_also_when_late_or_in_small_pieces(line):
    assert await line.echo() == MESSAGE
    line.path.delay_ms = 5
    assert await line.echo() == MESSAGE
    line.path.heal()
    line.path.dribble = True
    assert await line.echo(MESSAGE[:500]) == MESSAGE[:500]
    assert line.proxy.bytes_passed == 2 * (2 * len(MESSAGE) + 500)


async def test_what_is_held_back_comes_after_the_heal(line):
    reader, writer = await line.open()
    writer.write(b"before")
    assert await reader.readexactly(6) == b"before"
    line.path.open.clear()
    writer.write(b"held")
    answer = asyncio.create_task(reader.readexactly(4))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(answer), 0.05)
    line.path.heal()
    assert await answer == b"held"
    writer.close()


async def test_flipped_bits_are_few_and_nothing_is_lost(line):
    line.path.flip = 1.0
    found = await line.echo(MESSAGE[:100])
    changed = [a ^ b for a, b in zip(found, MESSAGE, strict=False) if a != b]
    # Once on the way there and once back: two bytes, or two bits of one, or the same bit twice.
    assert len(found) == 100
    assert sum(bit.bit_count() for bit in changed) in (0, 2)


async def test_cut_connections_end_and_new_ones_are_refused_until_the_heal(line):
    reader, writer = await line.open()
    writer.write(b"before")
    await reader.readexactly(6)
    line.path.refuse = True
    line.path.cut()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await reader.readexactly(1)
    writer.close()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await line.echo()
    line.path.heal()
    assert await line.echo() == MESSAGE
