"""What both HTTP servers share: bounded bodies, problem answers, time-outs, start and stop."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ledger.errors import PeerFault, WorldFault
from nodes.observability.logs import emit_unexpected
from nodes.ports import TraceSink

REQUEST_BYTES_MAX = 256 * 1024
"""Body of one request; larger ones are refused before they are read (R3)."""
ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""Body of one answer; a study with more pixels than this needs another way."""
REQUEST_SECONDS_MAX = 60.0
"""A request that takes longer, to arrive or to be answered, is given up."""

MSGPACK: Final = "application/msgpack"
PROBLEM: Final = "application/problem+json"


class Problem(Exception):
    """An error answer: HTTP status, a code for programs and a sentence for people."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        retry_after_s: int | None = None,
        members: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """``members`` are added to the answer (RFC 9457, extension members)."""
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.members = members
        super().__init__(code)


def problem_answer(problem: Problem) -> web.Response:
    """The problem as ``application/problem+json`` (RFC 9457)."""
    body = {
        "type": f"urn:yilian:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        **problem.members,
    }
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
    return web.Response(
        status=problem.status, text=json.dumps(body), content_type=PROBLEM, headers=headers
    )


def msgpack_answer(body: bytes) -> web.Response:
    """Codec bytes as an answer; too many of them are a problem answer instead."""
    if len(body) > ANSWER_BYTES_MAX:
        raise Problem(
            413, "answer/too-large", f"the answer has {len(body)} bytes, {ANSWER_BYTES_MAX} allowed"
        )
    return web.Response(body=body, content_type=MSGPACK)


async def read_json_texts(request: web.Request, *names: str) -> dict[str, str]:
    """The request's JSON object, which has exactly these members, all texts."""
    try:
        value = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise Problem(400, "request/malformed", "the body is no JSON") from None
    if not isinstance(value, dict) or set(value) != set(names):
        wanted = ", ".join(names) or "none"
        raise Problem(400, "request/malformed", f"a JSON object with the members: {wanted}")
    if not all(isinstance(item, str) for item in value.values()):
        raise Problem(400, "request/malformed", "every member of the body is a text")
    return value


def from_hex(text: str, size: int, what: str) -> bytes:
    """``text`` as ``size`` bytes (any number up to 512 if 0); raises a 400 problem."""
    try:
        value = bytes.fromhex(text) if text.isalnum() else b""
    except ValueError:
        value = b""
    if not value or len(value) > 512 or (size and len(value) != size):
        wanted = f"{size} bytes" if size else "1 to 512 bytes"
        raise Problem(400, "request/malformed", f"{what}: {wanted} in hex are wanted")
    return value


def from_decimal(text: str, limit: int, what: str) -> int:
    """``text`` as a whole number of at most ``limit``; raises a 400 problem."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= limit):
        raise Problem(400, "request/malformed", f"{what}: a whole number up to {limit} is wanted")
    return int(text)


def answer_errors(trace: TraceSink, peer_fault: Problem | None = None) -> Middleware:
    """Middleware that turns every exception into a problem answer.

    ``PeerFault`` is the caller's fault (400), unless ``peer_fault`` says what it means in this
    server. An unforeseen exception is answered without its text.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if "Content-Encoding" in request.headers:
                raise Problem(415, "request/compressed", "send the body without compression")
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                return await handler(request)
        except Problem as problem:
            answer = problem
        except web.HTTPException as error:
            phrase = HTTPStatus(error.status).phrase.lower()
            answer = Problem(error.status, f"http/{error.status}", phrase)
        except TimeoutError:
            answer = Problem(504, "request/timed-out", "it took too long; try again", 5)
        except PeerFault as error:
            trace.emit("peer_fault", error=type(error).__name__)
            answer = peer_fault or Problem(400, "request/malformed", str(error))
        except WorldFault as error:
            emit_unexpected(trace, "request_failed", error)
            answer = Problem(503, "server/unavailable", "a part of this server is down", 5)
        except Exception as error:  # noqa: BLE001  # the last resort: say 500, go on serving
            emit_unexpected(trace, "request_failed", error)
            answer = Problem(500, "server/failed", "the server failed; its log says where")
        trace.emit("request_answered", status=answer.status, code=answer.code)
        return problem_answer(answer)

    return middleware


def peer_certificate(request: web.Request) -> bytes | None:
    """DER of the certificate that the other end proved to hold, or None."""
    transport = request.transport
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    return tls.getpeercert(binary_form=True) if isinstance(tls, ssl.SSLObject) else None


@dataclass(frozen=True, slots=True)
class Site:
    """A server that listens."""

    runner: web.AppRunner
    port: int

    async def close(self) -> None:
        """Stops listening, gives open requests 5 s, closes all connections."""
        await self.runner.cleanup()


async def start_site(
    app: web.Application, host: str, port: int, tls: ssl.SSLContext | None
) -> Site:
    """Serves ``app``; port 0 takes a free one. Raises CannotListen."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=5.0,
        keepalive_timeout=30.0,
        auto_decompress=False,
        max_line_size=8_190,
        max_field_size=4_096,
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls, backlog=256)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise CannotListen(host, port, error.strerror or type(error).__name__) from None
    return Site(runner, runner.addresses[0][1])


@dataclass(eq=False)
class CannotListen(WorldFault):
    """The address of a server is taken or is not of this machine."""

    host: str
    port: int
    reason: str
    template = "cannot listen on {host}:{port} ({reason}); set another address or stop its user"
