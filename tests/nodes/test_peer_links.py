"""Links between validators over real TLS on loopback."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import uvloop

from ledger.limits import FRAME_BYTES_MAX
from ledger.primitives import MemberId
from ledger.types.genesis import Endpoints, Genesis, Member
from nodes.frames import Channel
from nodes.transport import peer_links
from nodes.transport.framing import PART_BYTES, QUEUE_FRAMES_MAX
from nodes.transport.peer_links import (
    Address,
    BadEndpoint,
    CannotListen,
    PeerLinks,
)
from nodes.transport.pki import TlsFiles, client_context, server_context
from tests.nodes.network import forged, network, tls

A, B, C = (MemberId(f"hospital-{i}") for i in (1, 2, 3))
SECONDS = 10.0
BODY, BODIES = bytes([Channel.BODY]), bytes([Channel.BLOCKS])
NOWHERE = Address("", 0)


@dataclass
class Trace:
    events: list[tuple[str, dict[str, int | str]]] = field(default_factory=list)

    def emit(self, event: str, /, **fields: int | str) -> None:
        self.events.append((event, fields))

    def of(self, event: str) -> list[dict[str, int | str]]:
        return [fields for name, fields in self.events if name == event]


@dataclass
class End:
    """One validator's links, and what came in."""

    links: PeerLinks
    trace: Trace
    frames: list[tuple[str, bytes]] = field(default_factory=list)
    address: Address = NOWHERE


def make(
    member: MemberId,
    own: TlsFiles | None = None,
    genesis: Genesis | None = None,
    on_frame: Callable[[MemberId, bytes], None] | None = None,
    address: Address | None = None,
) -> End:
    genesis = genesis or network()[1]
    validator = genesis.member(member)
    assert validator is not None
    own = own or tls(member)
    trace = Trace()
    frames: list[tuple[str, bytes]] = []
    links = PeerLinks(
        genesis,
        member,
        address or Address.parse(validator.endpoints.peer) or NOWHERE,
        server_context(own, genesis.members, require_client=True),
        client_context(own, genesis.members, check_hostname=False),
        on_frame or (lambda peer, frame: frames.append((peer, frame))),
        trace,
    )
    return End(links, trace, frames)


@asynccontextmanager
async def running(*ends: End) -> AsyncIterator[None]:
    for end in ends:
        end.address = await end.links.start()
    try:
        yield
    finally:
        for end in ends:
            await end.links.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  conditions are states of real sockets
            await asyncio.sleep(0.01)


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Every test runs on both loops: they differ in how they start TLS and pause."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@pytest.fixture(autouse=True)
def _quick_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_links, "BACKOFF_MAX_SECONDS", 0.2)


async def test_all_connect_and_frames_arrive_whole_and_in_order() -> None:
    a, b, c = make(A), make(B), make(C)
    async with running(a, b, c):
        await until(lambda: a.links.connected() == {B, C} and b.links.connected() == {A, C})
        sent = [b"", b"x", BODY + bytes(range(256)) * 300, b"last"]
        for frame in sent:
            a.links.send(B, frame)
        a.links.broadcast(b"to all")
        b.links.send(A, b"back")
        await until(lambda: len(b.frames) == 5 and len(c.frames) == 1 and len(a.frames) == 1)
        assert b.frames == [(A, frame) for frame in [*sent, b"to all"]]
        assert c.frames == [(A, b"to all")]
        assert a.frames == [(B, b"back")]
        assert a.links.connected() == {B, C}


async def test_the_largest_frame_passes_and_a_larger_one_is_never_sent() -> None:
    a, b = make(A), make(B)
    async with running(a, b):
        await until(lambda: B in a.links.connected())
        largest = BODIES + bytes(FRAME_BYTES_MAX - 1)
        a.links.send(B, largest + b"x")
        a.links.send(B, largest)
        await until(lambda: b.frames)
        assert b.frames == [(A, largest)]
        assert a.links.dropped(B) == 1


async def test_votes_leave_before_bodies() -> None:
    a, b = make(A), make(B)
    async with running(a, b):
        await until(lambda: B in a.links.connected())
        for i in range(100):
            a.links.send(B, b"body %d" % i)
        a.links.send(B, b"vote 1", priority=True)
        a.links.send(B, b"vote 2", priority=True)
        await until(lambda: len(b.frames) == 102)
        assert [frame for _, frame in b.frames[:3]] == [b"vote 1", b"vote 2", b"body 0"]


async def test_R2_a_vote_leaves_between_the_parts_of_a_body() -> None:
    a, b = make(A), make(B)
    async with running(a, b):
        await until(lambda: B in a.links.connected())
        body = BODIES + bytes(FRAME_BYTES_MAX - 1)
        link = a.links._outgoing[B]
        link.pause_writing()
        a.links.send(B, body)
        await asyncio.sleep(0)
        link._transport.write(link._queues.next_write())  # type: ignore[union-attr]  # connected
        a.links.send(B, b"vote", priority=True)
        link.resume_writing()
        await until(lambda: len(b.frames) == 2)
        assert b.frames == [(A, b"vote"), (A, body)]
        assert len(body) > 2 * PART_BYTES


async def test_R3_a_full_queue_drops_its_own_class_only() -> None:
    a, b = make(A), make(B)
    async with running(a, b):
        await until(lambda: B in a.links.connected())
        for i in range(QUEUE_FRAMES_MAX + 50):
            a.links.send(B, b"%d" % i)
        a.links.send(B, b"vote", priority=True)
        assert a.links.dropped(B) == 50
        await until(lambda: len(b.frames) == QUEUE_FRAMES_MAX + 1)
        assert b.frames[-1] == (A, b"%d" % (QUEUE_FRAMES_MAX - 1))


async def test_R3_the_bytes_of_a_queue_are_bounded() -> None:
    a, b = make(A), make(B)
    async with running(a, b):
        await until(lambda: B in a.links.connected())
        body = BODIES + bytes(FRAME_BYTES_MAX - 1)
        for _ in range(6):
            a.links.send(B, body)
        assert a.links.dropped(B) == 2
        await until(lambda: len(b.frames) == 4)


async def test_frames_to_nobody_are_dropped() -> None:
    a = make(A)
    async with running(a):
        a.links.send(B, b"x")
        a.links.send(A, b"x")
        a.links.send(MemberId("stranger"), b"x")
        a.links.broadcast(b"x")
        assert a.links.connected() == set()
        assert (a.links.dropped(B), a.links.dropped(C)) == (2, 1)


async def test_a_peer_that_comes_back_is_found_again() -> None:
    a, b = make(A), make(B)
    async with running(a):
        async with running(b):
            await until(lambda: B in a.links.connected())
        await until(lambda: B not in a.links.connected())
        again = make(B)
        async with running(again):
            await until(lambda: B in a.links.connected() and A in again.links.connected())
            a.links.send(B, b"hello again")
            await until(lambda: again.frames)
            assert again.frames == [(A, b"hello again")]


async def test_a_handler_that_fails_does_not_end_the_reader() -> None:
    seen: list[bytes] = []

    def handler(_peer: MemberId, frame: bytes) -> None:
        seen.append(frame)
        if frame == b"bad":
            raise ZeroDivisionError("a text that must not be logged")

    a, b = make(A), make(B, on_frame=handler)
    async with running(a, b):
        await until(lambda: B in a.links.connected())
        for frame in (b"bad", b"good", b"bad", b"end"):
            a.links.send(B, frame)
        await until(lambda: len(seen) == 4)
        assert [fields["error"] for fields in b.trace.of("frame_failed")] == [
            "ZeroDivisionError"
        ] * 2
        assert "must not be logged" not in str(b.trace.events)


# -- whoever is not who it should be -----------------------------------------------------------


async def connect(
    end: End, own: TlsFiles | None, anchors: Genesis | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare TLS client of ``end``."""
    members = (anchors or network()[1]).members
    context = client_context(own, members, check_hostname=False)
    return await asyncio.open_connection(end.address.host, end.address.port, ssl=context)


async def ends(reader: asyncio.StreamReader) -> bool:
    """Whether the other side closes the connection."""
    try:
        async with asyncio.timeout(SECONDS):
            return await reader.read(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


@pytest.mark.parametrize(
    "who",
    ["no certificate", "gateway", "vendor", "itself", "forged by B", "stranger", "unknown"],
)
async def test_K3_only_other_validators_get_in(tmp_path: Path, who: str) -> None:
    own = {
        "no certificate": lambda: None,
        "gateway": lambda: tls(B, "gateway"),
        "vendor": lambda: tls("vendor-1", "vendor"),
        "itself": lambda: tls(A),
        "forged by B": lambda: forged(tmp_path, B, C),
        "stranger": lambda: forged(tmp_path, "", B),
        "unknown": lambda: forged(tmp_path, B, "hospital-9"),
    }[who]()
    a = make(A)
    async with running(a):
        try:
            reader, writer = await connect(a, own)
            writer.write((1).to_bytes(4, "big") + b"x")
        except (ssl.SSLError, ConnectionError):
            pass  # refused within the handshake
        else:
            assert await ends(reader)
            writer.close()
        await until(lambda: a.trace.of("peer_refused"))
        assert a.frames == []


async def test_K3_a_validator_is_not_taken_for_another(tmp_path: Path) -> None:
    # What listens at B's address has a certificate that C's authority made out for B.
    impostor = make(B, own=forged(tmp_path, C, B))
    a = make(A)
    async with running(impostor, a):
        await until(lambda: [f for f in a.trace.of("peer_unreachable") if f["peer"] == B])
        await asyncio.sleep(0.3)
        assert B not in a.links.connected()
        assert all("authority" in str(f["reason"]) for f in a.trace.of("peer_unreachable")
                   if f["peer"] == B)  # fmt: skip


async def test_K3_a_validator_at_anothers_address_is_not_sent_to() -> None:
    genesis = network()[1]
    c = genesis.member(C)
    assert c is not None
    swapped = replace(
        genesis,
        members=tuple(
            replace(m, endpoints=replace(m.endpoints, peer=c.endpoints.peer)) if m.id == B else m
            for m in genesis.members
        ),
    )
    a, real = make(A, genesis=swapped), make(C)
    async with running(real, a):
        await until(lambda: C in a.links.connected() and a.trace.of("peer_unreachable"))
        assert a.links.connected() == {C}
        assert f"{C}'s, {B}'s was wanted" in str(a.trace.of("peer_unreachable"))


@pytest.mark.parametrize(
    "data",
    [
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        (1).to_bytes(4, "big") + b"a" + b"\xff\xff\xff\xff" + bytes(1000),
        FRAME_BYTES_MAX.to_bytes(4, "big") + bytes([Channel.STATUS]),
        (100).to_bytes(4, "big") + b"\x63",
    ],
)
async def test_a_frame_too_large_ends_the_link_before_anything_is_allocated(data: bytes) -> None:
    a = make(A)
    async with running(a):
        reader, writer = await connect(a, tls(B))
        writer.write(data)
        assert await ends(reader)
        writer.close()
        assert [fields["peer"] for fields in a.trace.of("peer_fault")] == [B]
        assert a.frames in ([], [(B, b"a")])


async def test_frames_may_come_a_byte_at_a_time_and_be_cut_off() -> None:
    a = make(A)
    async with running(a):
        reader, writer = await connect(a, tls(B))
        for byte in (3).to_bytes(4, "big") + b"abc" + (0).to_bytes(4, "big") + b"\x00\x00":
            writer.write(bytes([byte]))
            await writer.drain()
        await until(lambda: len(a.frames) == 2)
        writer.close()
        assert a.frames == [(B, b"abc"), (B, b"")]
        del reader


async def test_A3_a_newer_connection_replaces_the_older_one() -> None:
    a = make(A)
    async with running(a):
        first_reader, first = await connect(a, tls(B))
        first.write((1).to_bytes(4, "big") + b"1")
        await until(lambda: a.frames)
        _, second = await connect(a, tls(B))
        assert await ends(first_reader)
        second.write((1).to_bytes(4, "big") + b"2")
        await until(lambda: len(a.frames) == 2)
        assert len(a.trace.of("peer_replaced")) == 1
        first.close()
        second.close()


async def test_R3_half_open_connections_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_links, "HALF_OPEN_MAX", 2)
    a, b = make(A), make(B)
    async with running(a):
        silent = [await asyncio.open_connection(a.address.host, a.address.port) for _ in range(2)]
        await until(lambda: a.links._half_open == 2)
        third, third_writer = await asyncio.open_connection(a.address.host, a.address.port)
        assert await ends(third)
        for _, writer in [*silent, (third, third_writer)]:
            writer.close()
        async with running(b):
            await until(lambda: A in b.links.connected() and a.links._incoming)


async def test_R3_a_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_links, "HANDSHAKE_SECONDS", 0.2)
    a = make(A)
    async with running(a):
        reader, writer = await asyncio.open_connection(a.address.host, a.address.port)
        assert await ends(reader)
        writer.close()
        await until(lambda: not a.links._half_open)


async def test_junk_instead_of_a_handshake_is_refused() -> None:
    a = make(A)
    async with running(a):
        reader, writer = await asyncio.open_connection(a.address.host, a.address.port)
        writer.write(bytes(range(256)) * 20)
        assert await ends(reader)
        writer.close()
        await until(lambda: a.trace.of("peer_refused"))


async def test_nothing_is_accepted_on_a_connection_that_this_side_opened() -> None:
    # A "validator" that answers on the wrong connection.
    genesis = network()[1]
    b = genesis.member(B)
    assert b is not None
    place = Address.parse(b.endpoints.peer)
    assert place is not None

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((1).to_bytes(4, "big") + b"x")
        await writer.drain()

    context = server_context(tls(B), genesis.members, require_client=True)
    server = await asyncio.start_server(answer, place.host, place.port, ssl=context)
    a = make(A)
    async with running(a):
        await until(lambda: [f for f in a.trace.of("peer_unreachable") if f["peer"] == B])
        assert a.frames == []
    server.close()


async def test_an_address_in_use_is_named() -> None:
    a = make(A)
    async with running(a):
        with pytest.raises(CannotListen) as caught:
            await make(A).links.start()
        assert caught.value.address == str(a.address)


async def test_a_genesis_without_addresses_is_refused() -> None:
    genesis = network()[1]
    bare = replace(
        genesis,
        members=tuple(
            replace(m, endpoints=replace(m.endpoints, peer="nowhere")) for m in genesis.members
        ),
    )
    with pytest.raises(BadEndpoint):
        make(A, genesis=bare)


async def test_links_over_ipv6() -> None:
    a = make(A, address=Address("::1", 0))
    async with running(a):
        _, writer = await connect(a, tls(B))
        writer.write((2).to_bytes(4, "big") + b"v6")
        await until(lambda: a.frames == [(B, b"v6")])
        writer.close()


async def test_a_failed_accept_does_not_deafen(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    real, failures = loop.sock_accept, [OSError(24, "Too many open files")] * 2

    async def accept(listening: object) -> object:
        if failures:
            raise failures.pop()
        return await real(listening)  # type: ignore[arg-type]  # passed through

    a, b = make(A), make(B)
    monkeypatch.setattr(peer_links, "BACKOFF_FIRST_SECONDS", 0.01)
    a_loop = LoopWith(loop, accept)
    monkeypatch.setattr(peer_links.asyncio, "get_running_loop", lambda: a_loop)
    async with running(a, b):
        await until(lambda: A in b.links.connected() and B in a.links.connected())
    assert len(a.trace.of("accept_failed") + b.trace.of("accept_failed")) == 2


class LoopWith:
    """An event loop with another ``sock_accept``; uvloop's own attributes cannot be set."""

    def __init__(self, loop: object, accept: object) -> None:
        self._loop = loop
        self.sock_accept = accept

    def __getattr__(self, name: str) -> object:
        return getattr(self._loop, name)


async def test_closing_ends_every_task() -> None:
    before = asyncio.all_tasks()
    a, b = make(A), make(B)
    async with running(a, b):
        await until(lambda: B in a.links.connected())
        assert asyncio.all_tasks() > before
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7101", Address("127.0.0.1", 7101)),
        ("ledger.example:0", Address("ledger.example", 0)),
        ("[::1]:65535", Address("::1", 65535)),
        ("", None),
        ("host", None),
        (":1", None),
        ("host:", None),
        ("host:65536", None),
        ("host:+1", None),
        ("host:1 ", None),
    ],
)
def test_addresses(text: str, address: Address | None) -> None:
    assert Address.parse(text) == address
    if address is not None:
        assert str(address) == text


# -- whoever sends too much ----------------------------------------------------------------------


def small(number: int) -> bytes:
    return (3).to_bytes(4, "big") + bytes([Channel.STATUS]) + number.to_bytes(2, "big")


async def test_R3_reading_pauses_over_the_budget_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer_links, "READ_BURST_BYTES", 20 * peer_links.FRAME_COST_BYTES)
    monkeypatch.setattr(peer_links, "READ_BYTES_PER_SECOND", 200 * peer_links.FRAME_COST_BYTES)
    a = make(A)
    async with running(a):
        _, writer = await connect(a, tls(B))
        writer.write(b"".join(map(small, range(100))))
        await until(lambda: B in a.links._incoming and a.links._incoming[B]._paused)
        assert len(a.frames) < 100
        await until(lambda: len(a.frames) == 100)
        assert [frame for _, frame in a.frames] == [small(n)[4:] for n in range(100)]
        writer.write(small(7))
        await until(lambda: len(a.frames) == 101)
        writer.close()


async def test_R3_what_is_not_read_stays_with_its_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_links, "READ_BURST_BYTES", 10_000)
    monkeypatch.setattr(peer_links, "READ_BYTES_PER_SECOND", 1)
    a, c = make(A), make(C)
    async with running(a, c):
        _, writer = await connect(a, tls(B))
        writer.write(b"".join(map(small, range(60_000))) * 60)  # 25 MB
        await until(lambda: B in a.links._incoming and a.links._incoming[B]._paused)
        await until(lambda: A in c.links.connected())
        for number in range(50):
            c.links.send(A, b"vote %d" % number, priority=True)
        # Another peer's votes pass meanwhile.
        await until(lambda: (C, b"vote 0") in a.frames)
        assert len(a.links._incoming[B]._reader) < 2 * 1024 * 1024
        assert sum(peer == B for peer, _ in a.frames) < 10
        writer.transport.abort()


async def test_R3_a_new_connection_brings_no_new_budget() -> None:
    a = make(A)
    async with running(a):
        _, first = await connect(a, tls(B))
        await until(lambda: B in a.links._incoming)
        budget = a.links._incoming[B]._budget
        first.write(small(1))
        await until(lambda: a.frames)
        _, second = await connect(a, tls(B))
        await until(lambda: a.trace.of("peer_replaced"))
        assert a.links._incoming[B]._budget is budget
        first.close()
        second.close()


async def test_R3_handshakes_from_one_address_are_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer_links, "HANDSHAKES_BURST", 2)
    monkeypatch.setattr(peer_links, "HANDSHAKES_PER_SECOND", 1)
    a = make(A)
    async with running(a):
        for _ in range(2):
            reader, writer = await connect(a, None)
            assert await ends(reader)
            writer.close()
        cut_off = 0
        for _ in range(20):
            try:
                _, writer = await connect(a, None)
                writer.close()
            except (ssl.SSLError, ConnectionError):
                cut_off += 1
        assert cut_off > 0
        assert len(a.trace.of("peer_refused")) < 22
        # It passes: the address is heard again a little later.
        b = make(B)
        async with running(b):
            await until(lambda: A in b.links.connected() and B in a.links._incoming)


# -- hospitals that come and go -------------------------------------------------------------------


def others(*members: MemberId, **changes: object) -> list[Member]:
    """Those members as the state would have them; ``changes`` are of the last."""
    found = [network()[1].member(member) for member in members]
    assert all(found)
    *same, last = (each for each in found if each is not None)
    return [*same, replace(last, **changes)]


def without(*gone: MemberId) -> Genesis:
    """The network before those members were admitted."""
    genesis = network()[1]
    return replace(genesis, members=tuple(m for m in genesis.members if m.id not in gone))


async def test_K3_M2_a_hospital_is_linked_in_both_directions_once_it_is_admitted() -> None:
    a, b, c = make(A, genesis=without(C)), make(B, genesis=without(C)), make(C)
    async with running(a, b, c):
        await until(lambda: a.links.connected() == {B} and b.links.connected() == {A})
        await until(lambda: a.trace.of("peer_refused") and b.trace.of("peer_refused"))
        c.links.broadcast(b"let me in")
        a.links.set_peers(others(B, C))
        await until(lambda: a.links.connected() == {B, C})
        a.links.broadcast(b"welcome")
        # A side that is refused after its handshake believes to be connected for a moment.
        await until(lambda: c.links.broadcast(b"hello") or a.frames)
        await until(lambda: c.frames and b.frames)
        assert c.frames == b.frames == [(A, b"welcome")]
        assert set(a.frames) == {(C, b"hello")}
        # The other one has not applied that block yet, and goes on refusing.
        assert b.links.connected() == {A}


async def test_K3_a_hospital_that_is_no_peer_any_more_is_cut_off_both_ways() -> None:
    a, b, c = make(A), make(B), make(C)
    async with running(a, b, c):
        await until(lambda: a.links.connected() == {B, C} and c.links.connected() == {A, B})
        a.links.set_peers(others(B))
        await until(lambda: a.links.connected() == {B} and a.trace.of("peer_refused"))
        c.links.broadcast(b"to B alone")
        await until(lambda: b.frames)
        assert a.frames == []
        connected = len(a.trace.of("peer_connected"))
        a.links.set_peers(others(B))
        a.links.send(C, b"dropped")
        assert len(a.trace.of("peer_connected")) == connected
        assert a.links.connected() == {B}


async def test_a_hospital_comes_back_as_a_peer() -> None:
    a, c = make(A), make(C)
    async with running(a, c):
        await until(lambda: a.links.connected() == {C} and c.links.connected() == {A})
        a.links.set_peers([])
        await until(lambda: not a.links.connected() and a.trace.of("peer_refused"))
        a.links.set_peers(others(C))
        await until(lambda: a.links.connected() == {C})
        await until(lambda: c.links.send(A, b"again") or a.frames)
        assert set(a.frames) == {(C, b"again")}


@pytest.mark.parametrize(
    "changes",
    [{"endpoints": Endpoints("nowhere", "", "")}, {"ca_certificate": b"no certificate"}],
    ids=["endpoint", "authority"],
)
async def test_a_hospital_that_cannot_be_linked_stops_nobody_else(changes: dict) -> None:
    a, b = make(A, genesis=without(B, C)), make(B, genesis=without(C))
    async with running(a, b):
        a.links.set_peers(others(B, C, **changes))
        await until(lambda: a.links.connected() == {B} and b.links.connected() == {A})
        assert [event["peer"] for event in a.trace.of("peer_unreachable")].count(C) == 1
        a.links.send(C, b"dropped")
        a.links.broadcast(b"to B")
        await until(lambda: b.frames == [(A, b"to B")])
