"""Who is asking: verifies signed requests against the keys registered on chain."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from ledger.crypto.keys import verify_signature
from ledger.errors import BadSignature, OutOfRange
from ledger.light.verify import VerifiedValue
from ledger.primitives import Hash32, KeyId, MemberId, Nonce, Signature, TimestampMs
from ledger.types.entries import user_key
from ledger.types.genesis import UserKey
from nodes.api.http import Problem
from nodes.client.clock import wall_ms
from nodes.client.signing import (
    KEY_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIME_HEADER,
    RequestStamp,
    request_digest,
)

REQUEST_AGE_MAX_MS = 60_000
"""A request signed longer ago, or this far ahead, is refused."""
NONCES_MAX = 100_000
"""Requests of the last REQUEST_AGE_MAX_MS that are remembered; beyond it the gateway is busy."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A registered key that signed the request."""

    key_id: KeyId
    user: UserKey


class RequestAuthenticator:
    """Verifies requests once each; remembers nonces as long as their time is acceptable."""

    def __init__(
        self,
        chain_id: Hash32,
        find_key: Callable[[bytes], Awaitable[VerifiedValue]],
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        """``find_key`` gives the verified value of a state key."""
        self._chain_id = chain_id
        self._find_key = find_key
        self._now_ms = now_ms
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    async def authenticate(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Caller:
        """The caller. Checks, cheap ones first; every refusal but the first two looks alike:

        a) the four headers are well formed: 401 request/unsigned
        b) signed at most REQUEST_AGE_MAX_MS ago or ahead: 401 request/too-old
        c) the nonce was not used by this key: 401 request/not-accepted
        d) the key is registered, and valid at block time: 401 request/not-accepted
        e) the signature: 401 request/not-accepted
        """
        return await self.verify(method, target, stamp_of(headers), body)

    async def verify(self, method: str, target: str, stamp: RequestStamp, body: bytes) -> Caller:
        """``authenticate`` from b) on, for a stamp that came another way than as headers."""
        now = self._now_ms()
        if abs(now - stamp.time_ms) > REQUEST_AGE_MAX_MS:
            raise Problem(
                401, "request/too-old", "signed too long ago or in the future; check the clock"
            )
        used = stamp.key_id + stamp.nonce
        if used in self._seen:
            raise _not_accepted()
        found = await self._find_key(user_key(stamp.key_id))
        if found.value is None:
            raise _not_accepted()
        user = UserKey.decode(found.value)
        # What it asks for is committed one block later at the earliest; a key that was ended in
        # the newest block is valid there for the last time.
        if user.valid_until_ms <= found.header.time_ms + 1:
            raise _not_accepted()
        digest = request_digest(self._chain_id, method, target, body, stamp.time_ms, stamp.nonce)
        try:
            verify_signature(user.public_key, stamp.signature, digest, "request")
        except BadSignature:
            raise _not_accepted() from None
        self._remember(used, now)
        return Caller(stamp.key_id, user)

    def _remember(self, used: bytes, now: int) -> None:
        """Keeps the nonce; only signed ones come here, so strangers cannot fill the memory."""
        # While the key was looked up the same request may have passed.
        if used in self._seen:
            raise _not_accepted()
        while self._seen and next(iter(self._seen.values())) < now - 2 * REQUEST_AGE_MAX_MS:
            self._seen.popitem(last=False)
        if len(self._seen) >= NONCES_MAX:
            raise Problem(503, "request/too-many", "too many requests; try again", 5)
        self._seen[used] = now


async def identify(
    authenticator: RequestAuthenticator, request: web.Request, member: MemberId, *roles: str
) -> Caller:
    """Who signed the request; with ``roles``, one of ``member`` that has one of them."""
    caller = await authenticator.authenticate(
        request.method, request.raw_path, request.headers, await request.read()
    )
    own = caller.user.member == member and set(roles) & set(caller.user.roles)
    if roles and not own:
        raise Problem(403, "request/not-permitted", f"for {' or '.join(roles)} of this member")
    return caller


def stamp_of(headers: Mapping[str, str]) -> RequestStamp:
    """The stamp in a request's headers; raises Problem."""
    try:
        time_text = headers[TIME_HEADER]
        if not (time_text.isascii() and time_text.isdigit() and len(time_text) < 20):
            raise ValueError
        return RequestStamp(
            KeyId(bytes.fromhex(headers[KEY_HEADER])),
            TimestampMs(int(time_text)),
            Nonce(bytes.fromhex(headers[NONCE_HEADER])),
            Signature(bytes.fromhex(headers[SIGNATURE_HEADER])),
        )
    except (KeyError, ValueError, OutOfRange):
        raise Problem(
            401, "request/unsigned", f"the headers {KEY_HEADER}, ... of a signed request are wanted"
        ) from None


def _not_accepted() -> Problem:
    return Problem(401, "request/not-accepted", "the key or its signature is not accepted")
