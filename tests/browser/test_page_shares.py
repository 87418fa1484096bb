"""LIGHT-1: the recipient's page refuses a share that is closed, whatever its server shows."""

import base64
import json
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import expect

from ledger.primitives import Hash32
from ledger.types.residents import share_content_key, share_token_hash, share_verifier
from tests.browser.page_world import Device, Run, World
from tests.contracts.support import GENESIS, patient

TOKEN = b"s" * 32
PASSCODE = "4711"
Close = Callable[[World, Hash32], Awaitable[None]]
BLOCK_MS = 100
"""Between two blocks of the chain of these tests."""


async def share(world: World, blocks: int, attempts: int = 1) -> Hash32:
    """A share of record 0 of the first resident that is open for so many blocks."""
    await world.registered(patient(1))
    newest = world.made.node.store.header(world.made.node.store.height)
    until = newest.time_ms + (blocks + 1) * BLOCK_MS
    args = ([0], "resident", share_token_hash(TOKEN), share_verifier(TOKEN, PASSCODE))
    return await world.made.execute("resident-1", "share", "create", *args, until, attempts)


async def recipient(world: World, share_id: Hash32) -> Device:
    """Somebody who opens the link."""
    fields = {
        "url": f"{world.origin}/v1/shares/{share_id.hex()}/{TOKEN.hex()}",
        "key": _base64url(share_content_key(TOKEN)),
        "exp": 0,
        "flag": "P",
        "label": "",
        "v": 1,
        "chain": GENESIS.chain_id.hex(),
    }
    link = "shlink:/" + _base64url(json.dumps(fields).encode())
    device = await world.device(path=f"/share.html#{link}")
    await device.page.get_by_label("Passcode").fill(PASSCODE)
    await device.page.get_by_role("button", name="Open").click()
    return device


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def serves_anything(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway checks no share, and commits no opening, which the chain would refuse."""
    desk = world.made.gateways["hospital-a"].api.residents.shares

    async def pretend(action: str, share_id: Hash32) -> None:
        assert action == "open"

    monkeypatch.setattr(desk, "_check", lambda share: None)
    monkeypatch.setattr(desk, "_execute", pretend)


async def expire(world: World, share_id: Hash32) -> None:
    for _ in range(5):
        world.made.node.store.append([])


async def end(world: World, share_id: Hash32) -> None:
    await world.made.execute("resident-1", "share", "end", share_id)


async def lock(world: World, share_id: Hash32) -> None:
    await world.made.execute("hospital-a/gateway", "share", "fail", share_id)


@pytest.mark.parametrize(
    ("close", "state"), [(expire, "Expired"), (end, "Ended"), (lock, "Locked")]
)
def test_LIGHT_1_a_closed_share_that_its_server_shows_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, close: Close, state: str
) -> None:
    async def journey(world: World) -> None:
        share_id = await share(world, 5)
        await close(world, share_id)
        with monkeypatch.context() as lying:
            serves_anything(world, lying)
            device = await recipient(world, share_id)
            told = device.page.locator(".outcome")
            await expect(told).to_contain_text("The ledger proves that this share is closed")
            await expect(told).to_contain_text(state)
            assert await device.page.locator("article, .proof").count() == 0
        await device.picture(f"35-closed-{state.lower()}")
        await device.clean()

    run(journey)


def test_a_share_is_opened_in_its_last_block_by_any_clock(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def journey(world: World) -> None:
        # The opening is the last block in which it is open; the devices' clocks are past its end.
        share_id = await share(world, 2)
        desk = world.made.gateways["hospital-a"].api.residents.shares
        store = world.made.node.store
        monkeypatch.setattr(desk, "_now_ms", lambda: store.header(store.height).time_ms)
        device = await recipient(world, share_id)
        await device.heading("Finding")
        await expect(device.page.locator("main")).to_contain_text("6.30 mmol/L")
        await device.clean()

    run(journey)
