"""HTTP requests to a node or gateway: one host, bounded answers, typed errors.

Answers are not trusted here; whoever asked verifies them.
"""

import asyncio
import json
import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from ledger.crypto.keys import Signer
from ledger.errors import PeerFault, WorldFault
from ledger.primitives import Hash32, Nonce, TimestampMs
from nodes.client.clock import wall_ms
from nodes.client.signing import stamp_request

ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""A longer answer is given up while it arrives."""
_ERROR_BYTES_MAX = 16 * 1024
_CONNECT_SECONDS = 5.0


@dataclass(eq=False)
class Unreachable(WorldFault):
    """No answer came."""

    url: str
    reason: str
    template = "{url} does not answer ({reason}); check that it runs and that the address is right"


@dataclass(eq=False)
class ServerBusy(WorldFault):
    """The server says that it cannot answer now."""

    url: str
    code: str
    retry_after_s: int
    template = "{url} cannot answer now ({code}); try again in {retry_after_s} s"


@dataclass(eq=False)
class RequestRefused(PeerFault):
    """The server answered no."""

    target: str
    """Method and the route without its parameters."""
    status: int
    code: str
    detail: str
    template = "{target} was refused ({status} {code}): {detail}"


@dataclass(eq=False)
class AnswerUnreadable(PeerFault):
    """The server's answer is not of the form that was asked for."""

    url: str
    reason: str
    template = "{url}: {reason}; it may run another version, or not be what it claims"


@dataclass(frozen=True, slots=True)
class RequestIdentity:
    """The key with which requests are signed, and the chain for which it is registered."""

    signer: Signer
    chain_id: Hash32


class HttpClient:
    """A connection pool to one server; use it as an asynchronous context manager."""

    def __init__(
        self,
        base_url: str,
        tls: ssl.SSLContext | None,
        identity: RequestIdentity | None = None,
        timeout_s: float = 60.0,
        clock: Callable[[], int] = wall_ms,
    ) -> None:
        """With ``identity`` every request is signed; ``tls`` None only for plain HTTP in tests."""
        self._clock = clock
        self.base_url = base_url.rstrip("/")
        self._tls = tls
        self._identity = identity
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_SECONDS)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the pool; a later request opens a new one."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, target: str) -> bytes:
        """Body of a successful answer to GET."""
        return await self.request("GET", target, b"", None)

    async def get_json(self, target: str) -> Mapping[str, object]:
        """The JSON object in the answer to GET."""
        return self.parse_json(await self.get(target))

    async def post(self, target: str, body: bytes) -> bytes:
        """Body of the answer to a POST of codec bytes."""
        return await self.request("POST", target, body, "application/msgpack")

    async def post_json(self, target: str, value: Mapping[str, str]) -> Mapping[str, object]:
        """The JSON object in the answer to a POST of a JSON object."""
        body = json.dumps(value).encode()
        return self.parse_json(await self.request("POST", target, body, "application/json"))

    async def request(self, method: str, target: str, body: bytes, kind: str | None) -> bytes:
        """Sends one request; ``target`` is the path with its query, already percent-encoded.

        Raises Unreachable, ServerBusy (503), RequestRefused (any other error answer) or
        AnswerUnreadable.
        """
        headers = {"Accept-Encoding": "identity"} | ({"Content-Type": kind} if kind else {})
        url = URL(self.base_url + target, encoded=True)
        headers |= self._stamp(method, url.raw_path_qs, body)
        session = self._open_session()
        try:
            async with session.request(
                method, url, data=body or None, headers=headers, allow_redirects=False
            ) as answer:
                if answer.status == 200:
                    return await self._read(answer, ANSWER_BYTES_MAX)
                refusal = await self._read(answer, _ERROR_BYTES_MAX)
                raise self._error(f"{method} {_route(target)}", answer, refusal)
        except TimeoutError:
            raise Unreachable(self.base_url, "timed out") from None
        except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
            raise Unreachable(self.base_url, _reason(error)) from None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Without a context aiohttp verifies against the machine's own authorities.
            connector = aiohttp.TCPConnector(ssl=self._tls or True, limit=32)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    def _stamp(self, method: str, target: str, body: bytes) -> Mapping[str, str]:
        if self._identity is None:
            return {}
        return stamp_request(
            self._identity.signer,
            self._identity.chain_id,
            method,
            target,
            body,
            time_ms=TimestampMs(self._clock()),
            nonce=Nonce(secrets.token_bytes(Nonce.SIZE)),
        ).headers()

    async def _read(self, answer: aiohttp.ClientResponse, limit: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in answer.content.iter_chunked(65_536):
            size += len(chunk)
            if size > limit:
                raise AnswerUnreadable(self.base_url, f"the answer has more than {limit} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def _error(
        self, target: str, answer: aiohttp.ClientResponse, body: bytes
    ) -> ServerBusy | RequestRefused:
        try:
            problem = json.loads(body)
        except (ValueError, RecursionError):
            problem = None
        problem = problem if isinstance(problem, dict) else {}
        code = _printable(problem.get("code", "http/no-code"), 64)
        if answer.status == 503:
            after = answer.headers.get("Retry-After", "")
            usable = after.isascii() and after.isdigit() and len(after) <= 5
            return ServerBusy(self.base_url, code, min(int(after), 60) if usable else 1)
        detail = _printable(problem.get("detail", "no reason is given"), 300)
        return RequestRefused(target, answer.status, code, detail)

    def parse_json(self, body: bytes) -> Mapping[str, object]:
        """``body`` as a JSON object; raises AnswerUnreadable."""
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise AnswerUnreadable(self.base_url, "the answer is no JSON") from None
        if not isinstance(value, dict):
            raise AnswerUnreadable(self.base_url, "the answer is no JSON object")
        return value


async def retry_busy(seconds: float, busy: ServerBusy, deadline: float) -> float:
    """Waits as the server asked, with doubling; raises ``busy`` when ``deadline`` would pass.

    ``deadline`` is a time of the running loop's clock; returns the next waiting time.
    """
    loop = asyncio.get_running_loop()
    pause = max(seconds, float(busy.retry_after_s))
    if loop.time() + pause > deadline:
        raise busy
    # Clients that were refused together must not come back together.
    await asyncio.sleep(pause * (1 + secrets.randbelow(1000) / 2000))
    return min(seconds * 2, 8.0)


def _route(target: str) -> str:
    """The first three parts of a path: enough to know the call, without anyone's key in it."""
    return "/".join(target.split("?", maxsplit=1)[0].split("/")[:3])


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.strerror:
        return error.os_error.strerror
    return type(error).__name__


def _printable(value: object, limit: int) -> str:
    """Text of a server for a terminal: cut, and without control characters."""
    return "".join(c if c.isprintable() else "?" for c in str(value)[:limit])
