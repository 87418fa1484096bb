"""The resident's page in Chromium over two gateways and a chain that executes and certifies."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, expect

from ledger.primitives import Hash32, PatientKey
from nodes.client.enrolment import EnrolmentCode
from nodes.client.hospital import HospitalClient
from tests.api.consortium import Consortium, consortium
from tests.browser.records import RESOURCES, fhir_record, study_record
from tests.contracts.support import GENESIS, USERS, YEAR_MS, patient
from tests.project.tree import ROOT

PHONE = {"width": 390, "height": 844}
SCREENSHOTS = ROOT / "build/screenshots"
WATCH = """
globalThis.violations = [];
addEventListener("securitypolicyviolation",
    (event) => violations.push(`${event.effectiveDirective} ${event.blockedURI}`));
"""


@dataclass
class World:
    """What the tests of the page share; everything runs in the browser's loop."""

    made: Consortium
    browser: Browser
    axe: str
    stack: AsyncExitStack

    @property
    def origin(self) -> str:
        return self.made.gateways["hospital-a"].url

    @property
    def seconds(self) -> float:
        """Seconds since 1970 at which the devices' clocks stand: just after the newest block."""
        return self.made.node.now_ms() / 1000

    async def device(self, language: str = "en", path: str = "/", **more: Any) -> "Device":
        """A fresh phone that shows the page."""
        context = await self.browser.new_context(
            viewport=PHONE, device_scale_factor=2, locale=language, **more
        )
        self.stack.push_async_callback(context.close)
        await context.add_init_script(WATCH)
        await context.clock.set_fixed_time(self.seconds)
        page = await context.new_page()
        page.set_default_timeout(15_000)
        device = Device(self, context, page)
        page.on("console", lambda m: device.note(m.type, m.text))
        page.on("pageerror", lambda error: device.problems.append(str(error)))
        page.on("request", lambda request: device.urls.append(request.url))
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
        await page.goto(self.origin + path)
        return device

    async def staff(self, user: str) -> HospitalClient:
        http = await self.made.http(user, user.split("/")[0])
        client = HospitalClient(http, GENESIS, USERS[user][0])
        client.session._now_ms = self.made.node.now_ms
        return client

    async def registered(self, patient: PatientKey) -> list[Hash32]:
        """All records of records.py for a patient, at hospital-a; their roots."""
        study, file = study_record()
        records = [*map(fhir_record, RESOURCES), study]
        rows = await self.made.register("hospital-a", patient, records)
        source = self.made.gateways["hospital-a"].source
        for row in rows:
            source.attachments[row.root] = ()
        source.attachments[rows[-1].root] = (file,)
        return [row.root for row in rows]


@dataclass
class Device:
    """One phone with its own storage."""

    world: World
    context: BrowserContext
    page: Page
    problems: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def note(self, kind: str, text: str) -> None:
        # A refused request is expected in many tests; what breaks the policy is not.
        if kind == "error" and "Failed to load resource" not in text:
            self.problems.append(text)

    async def enrol(self, patient: PatientKey, role: str = "resident", label: str = "Me") -> None:
        """The whole way: code, key, digits, the registrar's binding, the proof."""
        registrar = await self.world.staff("hospital-a/registrar")
        code, _ = await registrar.new_enrolment(patient, role)
        await self.post(code.to_text(), label)
        await self.bind(registrar, code)

    async def post(self, text: str, label: str = "Me") -> None:
        await self.page.get_by_label("Text of the one-time code").fill(text)
        await self.page.get_by_label("Name on this device").fill(label)
        await self.page.get_by_role("button", name="Make the key").click()

    async def bind(self, registrar: HospitalClient, code: EnrolmentCode) -> None:
        digits = await self.page.locator(".digits").text_content()
        posted = await registrar.posted_key(code)
        assert posted is not None
        key, possession = posted
        assert digits == f"{int.from_bytes(key.key_id[:4], 'big') % 1_000_000:06}"
        until = self.world.made.node.now_ms() + YEAR_MS
        await registrar.bind_resident(code, key, possession, until)
        await self.heading("My records")

    async def heading(self, text: str) -> None:
        """Waits until the screen of that heading is there."""
        found = self.page.locator("h1", has_text=text)
        try:
            await expect(found).to_be_visible()
        except AssertionError:
            said = await self.page.get_by_role("alert").all_text_contents()
            raise AssertionError(f"{text}: {said} {self.problems}") from None

    async def home(self) -> None:
        """The list of records, as at the beginning of a visit."""
        await self.context.clock.set_fixed_time(self.world.seconds)
        await self.page.goto(self.world.origin + "/#records")
        await self.page.reload()
        await self.heading("My records")

    async def go(self, tab: str, heading: str) -> None:
        await self.page.get_by_role("link", name=tab, exact=True).click()
        await self.heading(heading)

    async def picture(self, name: str) -> None:
        """Keeps what the whole screen looks like, and asks axe about it."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
        wide = await self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{name} is {wide} pixels too wide"
        await self.accessible(name)

    async def accessible(self, name: str) -> None:
        if not await self.page.evaluate("'axe' in globalThis"):
            await self.page.evaluate(self.world.axe)
        found = await self.page.evaluate(
            "axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations.map("
            "(v) => [v.id, v.help, v.nodes.map((n) => n.html).slice(0, 3)]))"
        )
        assert found == [], f"{name}: {found}"

    async def clean(self) -> None:
        """Nothing broke the policy, went to another host, or failed unforeseen."""
        self.problems.extend(await self.page.evaluate("globalThis.violations"))
        assert self.problems == []
        hosts = {url.split("/")[2] for url in self.urls if url.startswith("http")}
        assert hosts == {self.world.origin.split("/")[2]}


expect.set_options(timeout=20_000)  # on a busy machine


async def open_world(stack: AsyncExitStack, browser: Browser, axe: Path) -> World:
    made = await stack.enter_async_context(consortium("hospital-a", "hospital-b"))
    return World(made, browser, await asyncio.to_thread(axe.read_text), stack)


Run = Callable[[Callable[[World], Awaitable[None]]], None]


async def enrolled(world: World, number: int, **device: str) -> Device:
    """A phone of a patient of that number, with records."""
    await world.registered(patient(number))
    phone = await world.device(**device)
    await phone.enrol(patient(number))
    return phone
