"""The resident's page in Chromium: every screen, what it refuses, and what it never shows."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.conftest import WebChecks
from tests.browser.page_world import Device, World, open_world
from tests.contracts.support import patient

Run = Callable[[Callable[[World], Awaitable[None]]], None]


@pytest.fixture(scope="module")
def world(web_checks: WebChecks, web_tools: Path) -> Iterator[World]:
    stack = AsyncExitStack()
    axe = web_tools / "axe-core/axe.min.js"
    made = web_checks.run(open_world(stack, web_checks.browser, axe))
    yield made
    web_checks.run(stack.aclose())


@pytest.fixture
def run(web_checks: WebChecks, world: World) -> Run:
    return lambda journey: web_checks.run(journey(world))


async def enrolled(world: World, number: int, **device: str) -> Device:
    """A phone of a patient of that number, with records."""
    await world.registered(patient(number))
    phone = await world.device(**device)
    await phone.enrol(patient(number))
    return phone


def test_enrolment_binds_the_key_whose_digits_agree(run: Run) -> None:
    async def journey(world: World) -> None:
        await world.registered(patient(20))
        phone = await world.device()
        await phone.picture("01-enrol")
        outcome = phone.page.locator(".outcome")
        await phone.post("yilian-enrol:AAAA")
        await expect(outcome).to_contain_text("no whole one-time code")
        registrar = await world.staff("hospital-a/registrar")
        code, _ = await registrar.new_enrolment(patient(20), "guardian")
        await phone.post(code.to_text(), "My daughter")
        await phone.heading("Read these digits to the registrar")
        await phone.picture("02-enrol-digits")
        # A second phone that saw the code does not replace the first one's key.
        thief = await world.device()
        await thief.post(code.to_text())
        await expect(thief.page.locator(".outcome")).to_contain_text("Another key was posted")
        await phone.page.reload()  # closed and opened again: the same key waits
        await phone.bind(registrar, code)
        await expect(phone.page.locator(".cards .card")).to_have_count(4)
        extractable = await phone.page.evaluate(
            """async () => {
                const { Store } = await import("/page/store.js");
                const [identity] = await (await Store.open()).all("identities");
                return identity.pair.privateKey.extractable;
            }"""
        )
        assert extractable is False
        await phone.go("Device", "This device")
        await expect(phone.page.locator("dl").first).to_contain_text("Guardian")
        await phone.picture("03-device")
        await phone.clean()

    run(journey)
