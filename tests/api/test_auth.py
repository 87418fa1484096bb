"""Signed requests: every part is signed, each is accepted once, and refusals look alike."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.light.verify import VerifiedValue
from ledger.primitives import Hash32, Nonce, TimestampMs
from ledger.types.block import Header
from ledger.types.entries import user_key
from ledger.types.genesis import UserKey
from nodes.api.http import Problem
from nodes.client.signing import (
    KEY_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIME_HEADER,
    stamp_request,
)
from nodes.gateway import auth
from nodes.gateway.auth import RequestAuthenticator
from tests.contracts.support import GENESIS, NOW, USERS, FixedSigner
from tests.vectors import fixed

USER = "hospital-a/treating"
TARGET = "/v1/patients?x=1"
BODY = b'{"system": "s", "value": "v"}'
NONCE = Nonce(bytes(16))


@dataclass
class Clock:
    now: int = NOW

    def __call__(self) -> int:
        return self.now


def header_at(time_ms: int) -> Header:
    return replace(fixed.header(), time_ms=TimestampMs(time_ms))


def authenticator(clock: Clock, block_time_ms: int = NOW) -> RequestAuthenticator:
    users = {user_key(user.public_key.key_id): user for _, user in USERS.values()}

    async def find(key: bytes) -> VerifiedValue:
        user: UserKey | None = users.get(key)
        value = None if user is None else encode(user.to_value())
        return VerifiedValue(value, header_at(block_time_ms))

    return RequestAuthenticator(GENESIS.chain_id, find, clock)


def signed(user: str = USER, time_ms: int = NOW, nonce: Nonce = NONCE) -> dict[str, str]:
    stamp = stamp_request(
        USERS[user][0], GENESIS.chain_id, "POST", TARGET, BODY,
        time_ms=TimestampMs(time_ms), nonce=nonce,
    )  # fmt: skip
    return dict(stamp.headers())


async def test_a_signed_request_names_its_caller() -> None:
    caller = await authenticator(Clock()).authenticate("POST", TARGET, signed(), BODY)
    assert caller.user == USERS[USER][1]


async def test_R1_a_request_is_accepted_once() -> None:
    checker = authenticator(Clock())
    await checker.authenticate("POST", TARGET, signed(), BODY)
    with pytest.raises(Problem) as refused:
        await checker.authenticate("POST", TARGET, signed(), BODY)
    assert refused.value.code == "request/not-accepted"
    other = signed(nonce=Nonce(b"1" * 16))
    assert await checker.authenticate("POST", TARGET, other, BODY)
    # The same nonce of another key is another request.
    assert await checker.authenticate("POST", TARGET, signed("resident-1"), BODY)


async def test_R1_a_request_stays_refused_until_it_is_too_old_anyway() -> None:
    clock = Clock()
    checker = authenticator(clock)
    ahead = signed(time_ms=NOW + auth.REQUEST_AGE_MAX_MS)
    await checker.authenticate("POST", TARGET, ahead, BODY)
    for step in range(0, 2 * auth.REQUEST_AGE_MAX_MS + 2, 15_000):
        clock.now = NOW + step
        fresh = signed(time_ms=clock.now, nonce=Nonce(step.to_bytes(16, "big")[::-1]))
        if step:
            await checker.authenticate("POST", TARGET, fresh, BODY)
        with pytest.raises(Problem):
            await checker.authenticate("POST", TARGET, ahead, BODY)


Change = Callable[[dict[str, str]], tuple[str, str, dict[str, str], bytes]]


def _with(name: str, value: str) -> Change:
    return lambda headers: ("POST", TARGET, headers | {name: value}, BODY)


def _without(name: str) -> Change:
    return lambda headers: ("POST", TARGET, {k: v for k, v in headers.items() if k != name}, BODY)


CHANGES: dict[str, tuple[Change, str]] = {
    "other method": (lambda h: ("GET", TARGET, h, BODY), "request/not-accepted"),
    "other path": (lambda h: ("POST", "/v1/patient?x=1", h, BODY), "request/not-accepted"),
    "other query": (lambda h: ("POST", "/v1/patients?x=2", h, BODY), "request/not-accepted"),
    "query dropped": (lambda h: ("POST", "/v1/patients", h, BODY), "request/not-accepted"),
    "other body": (lambda h: ("POST", TARGET, h, BODY + b" "), "request/not-accepted"),
    "no body": (lambda h: ("POST", TARGET, h, b""), "request/not-accepted"),
    "other time": (_with(TIME_HEADER, str(NOW + 1)), "request/not-accepted"),
    "other nonce": (_with(NONCE_HEADER, "11" * 16), "request/not-accepted"),
    "unknown key": (
        _with(KEY_HEADER, FixedSigner(77).key_id.hex()),
        "request/not-accepted",
    ),
    "key of another": (
        _with(KEY_HEADER, USERS["resident-1"][0].key_id.hex()),
        "request/not-accepted",
    ),
    "junk signature": (_with(SIGNATURE_HEADER, "01" + "11" * 64), "request/not-accepted"),
    "unknown suite": (_with(SIGNATURE_HEADER, "02" + "11" * 64), "request/not-accepted"),
    "too old": (_with(TIME_HEADER, str(NOW - 60_001)), "request/too-old"),
    "from the future": (_with(TIME_HEADER, str(NOW + 60_001)), "request/too-old"),
    "time not a number": (_with(TIME_HEADER, "1e12"), "request/unsigned"),
    "time in other digits": (_with(TIME_HEADER, "١٢"), "request/unsigned"),
    "time too large": (_with(TIME_HEADER, "9" * 30), "request/unsigned"),
    "key too short": (_with(KEY_HEADER, "00"), "request/unsigned"),
    "signature too long": (_with(SIGNATURE_HEADER, "01" * 66), "request/unsigned"),
    "nonce not hex": (_with(NONCE_HEADER, "zz" * 16), "request/unsigned"),
    "no key": (_without(KEY_HEADER), "request/unsigned"),
    "no time": (_without(TIME_HEADER), "request/unsigned"),
    "no nonce": (_without(NONCE_HEADER), "request/unsigned"),
    "no signature": (_without(SIGNATURE_HEADER), "request/unsigned"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_B3_every_part_of_a_request_is_signed(change: str) -> None:
    alter, code = CHANGES[change]
    checker = authenticator(Clock())
    with pytest.raises(Problem) as refused:
        await checker.authenticate(*alter(signed()))
    assert (refused.value.status, refused.value.code) == (401, code)
    # A refused request uses up no nonce.
    assert await checker.authenticate("POST", TARGET, signed(), BODY)


async def test_B3_a_request_for_another_chain_is_refused() -> None:
    stamp = stamp_request(
        USERS[USER][0], Hash32(bytes(32)), "POST", TARGET, BODY,
        time_ms=TimestampMs(NOW), nonce=NONCE,
    )  # fmt: skip
    with pytest.raises(Problem):
        await authenticator(Clock()).authenticate("POST", TARGET, dict(stamp.headers()), BODY)


async def test_K5_validity_of_a_key_is_decided_on_block_time() -> None:
    checker = authenticator(Clock(), block_time_ms=NOW - 2)
    assert await checker.authenticate("POST", TARGET, signed("expired"), BODY)
    # A key that the newest block has ended is valid for one ms more, and in no later block.
    for time_ms in (NOW - 1, NOW):
        checker = authenticator(Clock(), block_time_ms=time_ms)
        with pytest.raises(Problem) as refused:
            await checker.authenticate("POST", TARGET, signed("expired"), BODY)
        assert refused.value.code == "request/not-accepted"


async def test_R2_remembered_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "NONCES_MAX", 2)
    clock = Clock()
    checker = authenticator(clock)
    for number in range(2):
        headers = signed(nonce=Nonce(bytes([number]) * 16))
        await checker.authenticate("POST", TARGET, headers, BODY)
    with pytest.raises(Problem) as refused:
        await checker.authenticate("POST", TARGET, signed(nonce=Nonce(b"9" * 16)), BODY)
    assert refused.value.status == 503
    clock.now += 2 * auth.REQUEST_AGE_MAX_MS + 1
    later = signed(time_ms=clock.now, nonce=Nonce(b"9" * 16))
    assert await checker.authenticate("POST", TARGET, later, BODY)


@given(st.dictionaries(st.sampled_from([KEY_HEADER, TIME_HEADER, NONCE_HEADER]), st.text()))
async def test_any_headers_give_a_problem_and_nothing_else(headers: dict[str, str]) -> None:
    with pytest.raises(Problem):
        await authenticator(Clock()).authenticate("POST", TARGET, signed() | headers, BODY + b"x")
