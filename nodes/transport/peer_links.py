"""Links between validators: mutually authenticated TLS 1.3, one frame after another.

How frames lie on the stream is in ``framing.py``. Each side sends only on the connection that it
opened and receives only on those that it accepted, so that two connections between the same two
validators are the rule and no tie has to be broken. A newer connection from the same member
replaces the older one.

Votes leave before bodies, and between the parts of one. What was handed to the system already goes
first: at most one write here and ``_UNSENT_BYTES`` there, and what is under way on the network.
"""

import asyncio
import random
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import cast

from ledger.errors import OutOfRange, PeerFault, WorldFault
from ledger.limits import FRAME_BYTES_MAX, VALIDATORS_MAX
from ledger.primitives import MemberId
from ledger.types.genesis import Genesis, Member
from nodes.observability.logs import emit_unexpected
from nodes.ports import TraceSink
from nodes.token_bucket import TokenBucket
from nodes.transport.framing import FrameQueues, FrameReader
from nodes.transport.pki import PeerNotRecognised, peer_member, trust

HANDSHAKE_SECONDS = 5.0
HALF_OPEN_MAX = 64
"""Accepted connections that have not finished their handshake."""
HANDSHAKES_PER_SECOND = 20
HANDSHAKES_BURST = 2 * VALIDATORS_MAX
"""From one address: a handshake costs 2 ms; all validators may be behind one, and restart."""
_ADDRESSES_MAX = 1_024
"""Addresses that are counted; more begin anew."""
READ_BYTES_PER_SECOND = 32 * 1024 * 1024
READ_BURST_BYTES = 4 * FRAME_BYTES_MAX
FRAME_COST_BYTES = 8 * 1024
"""A frame counts as so many bytes more: 4,000 small ones are read from one peer in a second.

An honest peer at full load sends a fifth of the bytes and a quarter of the frames. What is more is
read later, not lost: the sender's connection fills up and its own queues drop (R3).
"""
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MAX_SECONDS = 5.0
_STEADY_SECONDS = 1.0
"""A link that lived this long was accepted by the other side; back-off begins anew."""
_UNACKNOWLEDGED_MS = 10_000
"""A peer that does not acknowledge for so long is gone (power cut, cable)."""
_UNSENT_BYTES = 128 * 1024
"""Bytes that the system holds of one connection without sending them yet."""

OnFrame = Callable[[MemberId, bytes], None]


@dataclass(eq=False)
class CannotListen(WorldFault):
    """The address for peers is taken or not ours."""

    address: str
    reason: str
    template = "peer_listen {address}: {reason}: stop what uses it, or set another address"


@dataclass(eq=False)
class BadEndpoint(WorldFault):
    """A hospital was registered without a usable address of its node."""

    member: str
    found: str
    template = "peer endpoint of {member}: {found!r} is not host:port"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens or is reached."""

    host: str
    port: int

    @staticmethod
    def parse(text: str) -> "Address | None":
        """From ``host:port`` or ``[v6]:port``; None where it is neither."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdecimal():
            return None
        number = int(port)
        if number > 65_535:
            return None
        return Address(host.removeprefix("[").removesuffix("]"), number)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class PeerLinks:
    """Implements ``nodes.ports.Transport`` over asyncio."""

    def __init__(
        self,
        genesis: Genesis,
        member: MemberId,
        listen: Address,
        server: ssl.SSLContext,
        client: ssl.SSLContext,
        on_frame: OnFrame,
        trace: TraceSink,
    ) -> None:
        """Links ``member`` with all other hospitals of ``genesis``, until ``set_peers`` is called.

        ``server`` demands client certificates; ``client`` need not check host names, since the
        certificate of a peer is matched with the member that was meant. ``on_frame`` is called
        in the event loop. Raises BadEndpoint.
        """
        self._members = {each.id: each for each in genesis.members if each.kind == "hospital"}
        self._listen = listen
        self._server_context = server
        self._client_context = client
        self._on_frame = on_frame
        self._trace = trace
        self._outgoing = {
            each.id: _Outgoing(each.id, _endpoint(each))
            for each in self._members.values()
            if each.id != member
        }
        self._incoming: dict[MemberId, _Incoming] = {}
        self._read_budgets: dict[MemberId, TokenBucket] = {}
        """Of members, not of connections: a new connection brings no new budget."""
        self._handshakes: dict[str, TokenBucket] = {}
        """By address."""
        self._half_open = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: socket.socket | None = None

    async def start(self) -> Address:
        """Listens and begins to connect; returns where it listens. Raises CannotListen."""
        try:
            self._listening = socket.create_server(
                (self._listen.host, self._listen.port),
                family=socket.AF_INET6 if ":" in self._listen.host else socket.AF_INET,
                backlog=HALF_OPEN_MAX,
            )
        except OSError as error:
            raise CannotListen(str(self._listen), error.strerror or str(error)) from None
        self._listening.setblocking(False)
        self._spawn(self._accept(self._listening))
        for link in self._outgoing.values():
            self._spawn(self._keep_connected(link))
        return Address(*self._listening.getsockname()[:2])

    async def close(self) -> None:
        """Stops listening, closes every link, ends every task."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()
        for accepted in list(self._incoming.values()):
            accepted.abort()
        for link in self._outgoing.values():
            link.abort()

    def set_peers(self, members: Sequence[Member]) -> None:
        """Begins links to those that are new, and ends those to all others, both ways.

        A member without usable endpoint or authority is left out: it was admitted by a mistake
        that must not stop anybody else.
        """
        wanted = self._members = {member.id: member for member in members}
        for member_id in self._outgoing.keys() - wanted.keys():
            self._outgoing.pop(member_id).abort()
            incoming = self._incoming.get(member_id)
            if incoming is not None:
                incoming.abort()
        for member_id in sorted(wanted.keys() - self._outgoing.keys()):
            member = wanted[member_id]
            try:
                link = _Outgoing(member_id, _endpoint(member))
                trust(self._client_context, member)
                trust(self._server_context, member)
            except (BadEndpoint, OutOfRange) as error:
                self._trace.emit("peer_unreachable", peer=member_id, reason=str(error))
                continue
            self._outgoing[member_id] = link
            self._spawn(self._keep_connected(link))

    def send(self, member: MemberId, frame: bytes, priority: bool = False) -> None:
        """Queues one frame; drops it when the member is not connected or its queue is full."""
        link = self._outgoing.get(member)
        if link is not None:
            link.send(frame, priority)

    def broadcast(self, frame: bytes, priority: bool = False) -> None:
        """``send`` to every other validator."""
        for link in self._outgoing.values():
            link.send(frame, priority)

    def connected(self) -> set[MemberId]:
        """Members to which frames can be sent now."""
        return {member for member, link in self._outgoing.items() if link.is_connected}

    def dropped(self, member: MemberId) -> int:
        """Frames for ``member`` that were not sent, since the start."""
        return self._outgoing[member].dropped

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- connections that this side opens -----------------------------------------------------

    async def _keep_connected(self, link: "_Outgoing") -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while self._outgoing.get(link.member) is link:
            began = loop.time()
            try:
                lost = await self._connect(link)
            except (OSError, PeerNotRecognised) as error:
                reason = str(error) if isinstance(error, PeerFault) else type(error).__name__
            else:
                self._trace.emit("peer_connected", peer=link.member)
                await lost.wait()
                reason = "connection lost"
                if loop.time() - began >= _STEADY_SECONDS:
                    failures = 0
            if failures == 0:
                self._trace.emit("peer_unreachable", peer=link.member, reason=reason)
            ceiling = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(failures, 10))
            failures += 1
            # Jitter keeps the validators of a restarted network from meeting at the same instant.
            await asyncio.sleep(ceiling * random.uniform(0.5, 1.0))  # noqa: S311  no secret

    async def _connect(self, link: "_Outgoing") -> asyncio.Event:
        """Opens and checks one connection; the event is set when it ends."""
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: link,
                link.address.host,
                link.address.port,
                ssl=self._client_context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        try:
            self._check(transport, link.member)
        except PeerNotRecognised:
            transport.abort()
            raise
        return link.opened(transport)

    def _check(self, transport: asyncio.BaseTransport, wanted: MemberId | None) -> MemberId:
        """The validator at the other end; raises PeerNotRecognised."""
        tls = transport.get_extra_info("ssl_object")
        member, service = peer_member(tls.getpeercert(binary_form=True), self._find)
        if service != "node" or member not in self._outgoing:
            raise PeerNotRecognised(f"{member} {service} is no other validator")
        if wanted is not None and member != wanted:
            raise PeerNotRecognised(f"it is {member}'s, {wanted}'s was wanted")
        return member

    def _find(self, member: str) -> Member | None:
        return next((each for each in self._members.values() if each.id == member), None)

    # -- connections that this side accepts ---------------------------------------------------

    async def _accept(self, listening: socket.socket) -> None:
        """Takes connections; TLS follows, for at most HALF_OPEN_MAX at a time.

        Accepted by hand, because a loop's own TLS server shows a connection only after its
        handshake, so that nothing would bound the handshakes that are under way.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as error:
                # Out of file descriptors, or the peer has gone already: neither may deafen us.
                self._trace.emit("accept_failed", reason=type(error).__name__)
                await asyncio.sleep(BACKOFF_FIRST_SECONDS)
                continue
            if self._half_open >= HALF_OPEN_MAX or not self._may_shake_hands(str(address[0])):
                connection.close()
                continue
            self._half_open += 1
            self._spawn(self._authenticate(connection))

    def _may_shake_hands(self, host: str) -> bool:
        """Whether that address has not had too many handshakes; counts one."""
        if len(self._handshakes) > _ADDRESSES_MAX:
            self._handshakes.clear()
        new = TokenBucket(HANDSHAKES_PER_SECOND, HANDSHAKES_BURST)
        bucket, now = self._handshakes.setdefault(host, new), _now_ms()
        if bucket.left(now) <= 0:
            return False
        bucket.spend(1, now)
        return True

    async def _authenticate(self, connection: socket.socket) -> None:
        link = _Incoming(self)
        try:
            secured, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: link,
                connection,
                ssl=self._server_context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
            member = self._check(secured, None)
        except (OSError, PeerNotRecognised) as error:
            reason = str(error) if isinstance(error, PeerFault) else type(error).__name__
            self._trace.emit("peer_refused", reason=reason)
            link.abort()
            connection.close()
            return
        finally:
            self._half_open -= 1
        older = self._incoming.get(member)
        if older is not None:
            # A3: after a crash this is normal; two processes with one key look the same.
            self._trace.emit("peer_replaced", peer=member)
            older.abort()
        self._incoming[member] = link
        new = TokenBucket(READ_BYTES_PER_SECOND, READ_BURST_BYTES)
        link.admitted(member, secured, self._read_budgets.setdefault(member, new))

    def received(self, member: MemberId, frame: bytes) -> None:
        """Hands one frame on; whatever goes wrong with it, the link goes on."""
        try:
            self._on_frame(member, frame)
        except Exception as error:  # noqa: BLE001  an exception in a handler never ends a reader
            emit_unexpected(self._trace, "frame_failed", error)

    def refused(self, member: MemberId, reason: str) -> None:
        """A peer broke the framing; its link was closed."""
        self._trace.emit("peer_fault", peer=member, reason=reason)

    def ended(self, link: "_Incoming", member: MemberId) -> None:
        """An accepted connection is gone."""
        if self._incoming.get(member) is link:
            del self._incoming[member]


class _Outgoing(asyncio.Protocol):
    """The sending side of one peer; its queues live as long as one connection."""

    def __init__(self, member: MemberId, address: Address) -> None:
        self.member = member
        self.address = address
        self.dropped = 0
        self._queues = FrameQueues()
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()
        self._writable = True
        self._flush_due = False

    @property
    def is_connected(self) -> bool:
        return self._transport is not None

    def opened(self, transport: asyncio.Transport) -> asyncio.Event:
        """The other side is who it should be; the event is set when the connection ends."""
        self._lost = asyncio.Event()
        self._writable = True
        if transport.is_closing():
            self._lost.set()
            return self._lost
        self._transport = transport
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        return self._lost

    def send(self, frame: bytes, priority: bool) -> None:
        if self._transport is None or not self._queues.put(frame, priority):
            self.dropped += 1
        elif not self._flush_due:
            # All frames of one loop turn leave in one write.
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        while self._transport is not None and self._writable:
            data = self._queues.next_write()
            if not data:
                return
            self._transport.write(data)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._flush()

    def data_received(self, data: bytes) -> None:
        # Nothing is ever sent this way; whoever does is not one of us.
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.dropped += self._queues.clear()
        self._lost.set()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Incoming(asyncio.Protocol):
    """The receiving side of one accepted connection."""

    def __init__(self, links: PeerLinks) -> None:
        self._links = links
        self._transport: asyncio.Transport | None = None
        self._member: MemberId | None = None
        self._budget = TokenBucket(READ_BYTES_PER_SECOND, READ_BURST_BYTES)
        self._reader = FrameReader()
        self._paused: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def admitted(self, member: MemberId, transport: asyncio.Transport, budget: TokenBucket) -> None:
        """TLS is up and the other side is ``member``; what it sent already is read now."""
        self._member, self._transport, self._budget = member, transport, budget
        if transport.is_closing():
            self._links.ended(self, member)
        self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._member is None:
            # At most what arrives in the loop turn in which the handshake ends.
            if len(self._reader) > FRAME_BYTES_MAX:
                self.abort()
            return
        self._budget.spend(len(data), _now_ms())
        if self._paused is None:
            self._deliver(self._member)

    def _deliver(self, member: MemberId) -> None:
        """Hands on what is whole, and reads no more for a while once the budget is spent."""
        resuming, self._paused = self._paused is not None, None
        try:
            while self._budget.left(_now_ms()) > 0:
                frame = self._reader.take()
                if frame is None:
                    if resuming and self._transport is not None:
                        self._transport.resume_reading()
                    return
                self._budget.spend(FRAME_COST_BYTES, _now_ms())
                self._links.received(member, frame)
        except PeerFault as fault:
            self._links.refused(member, str(fault))
            self.abort()
            return
        if self._transport is None or self._transport.is_closing():
            return
        if not resuming:
            self._transport.pause_reading()
        wait = self._budget.wait_ms(_now_ms()) / 1000
        self._paused = asyncio.get_running_loop().call_later(wait, self._deliver, member)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._paused is not None:
            self._paused.cancel()
        if self._member is not None:
            self._links.ended(self, self._member)

    def abort(self) -> None:
        # Nothing of what has come is handed on any more.
        self._reader = FrameReader()
        if self._transport is not None:
            self._transport.abort()


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)


def _endpoint(member: Member) -> Address:
    text = member.endpoints.peer
    address = Address.parse(text)
    if address is None:
        raise BadEndpoint(member.id, text)
    return address
