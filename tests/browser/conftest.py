"""One headless Chromium and one web server for all tests that need a browser."""

import asyncio
import shutil
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, async_playwright

from tests.browser.page_world import Device, Run, World, enrolled, open_world
from tests.hostile.mutants.judges import MutantServer, recorded_cases
from tests.hostile.server import add_lies
from tests.hostile.visits import Visit
from tests.project.tree import ROOT

T = TypeVar("T")

WEB = ROOT / "nodes/resident/web"
CHECKS = Path(__file__).parent
OTHER_TEXT = ("types.json: membership with a compressed key",)
"""Refused by both in the same class, with other words: JavaScript parses no other form of a key."""
TOOLS = ROOT / "build/web-checks"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TYPES = {
    ".js": "text/javascript",
    ".json": "application/json",
    ".html": "text/html",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
EMPTY_PAGE = "<!doctype html><meta charset=utf-8><title>checks</title>"


@dataclass(frozen=True)
class WebChecks:
    """Where the page is served, and the browser that opens it.

    Playwright and the server have an event loop in a thread of their own, because pytest-asyncio
    needs the main thread's: hand coroutines to ``run``.
    """

    loop: asyncio.AbstractEventLoop
    browser: Browser
    origin: str
    lies: list[Visit]
    """What the hostile server of that address tells: see ``tests.hostile.server``."""
    mutants: MutantServer
    """Serves changed clients."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What ``coroutine`` returns in that loop; pages belong to it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(120)

    async def open(self, path: str = "/checks/", **context: Any) -> Page:
        """A page of its own profile; ``context``: as Playwright's ``new_context`` takes it."""
        page = await (await self.browser.new_context(**context)).new_page()
        await page.goto(self.origin + path)
        return page


async def file_under(folder: Path, request: web.Request) -> web.Response:
    """The file of that name; nothing outside ``folder``, and nothing of an unknown type."""
    path = (folder / request.match_info["name"]).resolve()
    if not path.is_relative_to(folder) or not path.is_file() or path.suffix not in TYPES:
        raise web.HTTPNotFound
    return web.Response(body=path.read_bytes(), content_type=TYPES[path.suffix], charset="utf-8")


def application(lies: list[Visit], mutants: MutantServer) -> web.Application:
    """/checks/ is an empty page and the scripts of this folder, /lies/ the hostile server,
    /mutants/ has changed clients; all else is the shipped page.
    """

    async def empty(request: web.Request) -> web.Response:
        return web.Response(text=EMPTY_PAGE, content_type="text/html")

    async def check(request: web.Request) -> web.Response:
        return await file_under(CHECKS, request)

    async def shipped(request: web.Request) -> web.Response:
        return await file_under(WEB, request)

    app = web.Application()
    add_lies(app, lies)
    mutants.add_to(app)
    app.router.add_get("/checks/", empty)
    app.router.add_get("/checks/{name:.+}", check)
    app.router.add_get("/{name:.+}", shipped)
    return app


def chromium() -> str:
    """Path of the browser."""
    executable = shutil.which("chromium")
    assert executable, "no Chromium was found; on Debian: apt-get install chromium"
    return executable


@pytest.fixture(scope="session")
def web_checks() -> Iterator[WebChecks]:
    """The running pair; started once for all tests."""
    executable = chromium()
    lies: list[Visit] = []
    mutants = MutantServer(recorded_cases(OTHER_TEXT))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="browser", daemon=True)
    thread.start()

    async def start() -> tuple[web.AppRunner, Any, Browser, str]:
        runner = web.AppRunner(application(lies, mutants))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        playwright = await async_playwright().start()
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        return runner, playwright, browser, f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def stop() -> None:
        await browser.close()
        await playwright.stop()
        await runner.cleanup()

    try:
        runner, playwright, browser, origin = asyncio.run_coroutine_threadsafe(
            start(), loop
        ).result(60)
        yield WebChecks(loop, browser, origin, lies, mutants)
        asyncio.run_coroutine_threadsafe(stop(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="session")
def web_tools() -> Path:
    """Where the pinned packages of npm are; installed again where the lock file changed."""
    lock = (CHECKS / "package-lock.json").read_bytes()
    installed = TOOLS / "installed-lock.json"
    if not installed.is_file() or installed.read_bytes() != lock:
        TOOLS.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(CHECKS / name, TOOLS / name)
        npm = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(npm, cwd=TOOLS, check=True, capture_output=True)
        installed.write_bytes(lock)
    return TOOLS / "node_modules"


@pytest.fixture(scope="session")
def light_page(web_checks: WebChecks) -> Page:
    """A page in which ``checks.verdicts`` and ``checks.names`` are those of calls.js."""

    async def ready() -> Page:
        page = await web_checks.open()
        await page.evaluate("async () => { globalThis.checks = await import('/checks/calls.js'); }")
        return page

    return web_checks.run(ready())


@pytest.fixture(scope="session")
def world(web_checks: WebChecks, web_tools: Path) -> Iterator[World]:
    """Two gateways over one chain that executes and certifies, for all tests of the page."""
    stack = AsyncExitStack()
    axe = web_tools / "axe-core/axe.min.js"
    made = web_checks.run(open_world(stack, web_checks.browser, axe))
    yield made
    web_checks.run(stack.aclose())


@pytest.fixture(scope="session")
def phone(web_checks: WebChecks, world: World) -> Device:
    """An enrolled phone for all tests that leave it as it was."""
    return web_checks.run(enrolled(world, 21))


@pytest.fixture
def run(web_checks: WebChecks, world: World) -> Run:
    """Runs a journey in the browser's loop."""
    return lambda journey: web_checks.run(journey(world))
