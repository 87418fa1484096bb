"""The page compares its ledger with a printed checkpoint and with a second hospital (SAFE-1)."""

import base64
import io
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import segno
from playwright.async_api import Page, Route, expect

from ledger.light.checkpoint import Checkpoint, checkpoint_of
from ledger.light.witnesses import verify_fork
from nodes.client.chain import ChainClient
from nodes.client.http import HttpClient
from nodes.client.session import LightSession
from tests.api.consortium import Consortium, consortium
from tests.browser.page_world import Device, Run, World, enrolled
from tests.contracts.support import GENESIS, digest, patient

PAPER = "Compare with the paper"
TEXT = "Text of the checkpoint"


async def printed(made: Consortium) -> Checkpoint:
    """What the hospital of a consortium prints now."""
    url = next(iter(made.gateways.values())).url
    async with HttpClient(url, None) as http:
        session = LightSession(ChainClient(http, "/v1/chain"), GENESIS, now_ms=made.node.now_ms)
        return checkpoint_of(await session.refresh())


async def forked(stack: AsyncExitStack) -> Consortium:
    """The same validators certify other blocks from height 2 on."""
    made = await stack.enter_async_context(consortium("hospital-a", "hospital-b"))
    await made.release("hospital-b", 3)
    return made


def code_of(text: str) -> bytes:
    """The picture of a QR code."""
    found = io.BytesIO()
    segno.make_qr(text, error="m").save(found, kind="png", scale=6)
    return found.getvalue()


async def check_screen(world: World, number: int) -> Device:
    phone = await enrolled(world, number)
    await phone.go("Device", "This device")
    await phone.page.get_by_role("link", name="Check the ledger").click()
    await phone.heading("Check the ledger")
    return phone


async def submit(page: Page, text: str) -> None:
    await page.get_by_label(TEXT).fill(text)
    await page.get_by_role("button", name=PAPER).click()


def test_LIGHT_1_a_printed_checkpoint_is_scanned_and_agrees(run: Run) -> None:
    async def journey(world: World) -> None:
        phone = await check_screen(world, 30)
        page = phone.page
        await phone.picture("70-check")
        paper = await printed(world.made)
        text = paper.text
        # From a picture of the code.
        scan = page.get_by_label("Or a picture of the code")
        await scan.set_input_files({"name": "a.txt", "mimeType": "image/png", "buffer": b"no"})
        await expect(page.locator(".scan .failed")).to_contain_text("no picture")
        await scan.set_input_files(
            {"name": "paper.png", "mimeType": "image/png", "buffer": code_of(text)}
        )
        await expect(page.get_by_label(TEXT)).to_have_value(text)
        await page.get_by_role("button", name=PAPER).click()
        proof = page.locator(".proof")
        await expect(proof).to_contain_text(f"the block printed for height {paper.height}")
        await expect(proof).to_contain_text(paper.header_hash.hex())
        await phone.picture("71-check-agrees")
        # Through the camera, in whose place a canvas shows the paper.
        await page.get_by_label(TEXT).fill("")
        await page.evaluate(SHOW_TO_CAMERA, base64.b64encode(code_of(text)).decode())
        await page.get_by_role("button", name="Scan with the camera").click()
        await expect(page.get_by_label(TEXT)).to_have_value(text)
        await expect(page.locator("video")).to_have_count(0)
        assert await page.evaluate("globalThis.track.readyState") == "ended"
        await phone.clean()

    run(journey)


SHOW_TO_CAMERA = """async (png) => {
    const bytes = Uint8Array.from(atob(png), (c) => c.charCodeAt(0));
    const paper = await createImageBitmap(new Blob([bytes]));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [640, 480];
    const context = canvas.getContext("2d");
    const draw = () => {
        context.fillStyle = "#999";
        context.fillRect(0, 0, 640, 480);
        context.drawImage(paper, 150, 90, 320, 320);
    };
    setInterval(draw, 50);
    draw();
    navigator.mediaDevices.getUserMedia = async () => {
        const stream = canvas.captureStream(20);
        globalThis.track = stream.getTracks()[0];
        return stream;
    };
}"""


def test_SAFE_1_a_checkpoint_that_does_not_fit_is_named(run: Run) -> None:
    async def journey(world: World) -> None:
        phone = await check_screen(world, 31)
        page = phone.page
        paper = await printed(world.made)
        async with AsyncExitStack() as stack:
            fork = await printed(await forked(stack))
        outcome = page.locator("form .failed").last
        for number, (text, says) in enumerate(
            (
                (replace(paper, chain_id=digest(1)).text, "belongs to another ledger"),
                (replace(paper, height=paper.height + 900).text, "This server is behind"),
                (fork.text, "The ledger has forked, or the paper is false"),
                (replace(paper, membership_hash=digest(2)).text, "does not name the hospitals"),
                (paper.text[:-7], "no whole checkpoint"),
            )
        ):
            await submit(page, text)
            await expect(outcome).to_contain_text(says)
            await expect(page.locator(".proof")).to_have_count(0)
            await phone.picture(f"72-check-refused-{number}")
        await expect(outcome).not_to_contain_text("forked")
        await phone.clean()

    run(journey)


def test_SAFE_1_a_second_hospital_is_asked_and_a_fork_is_kept(run: Run) -> None:
    async def journey(world: World) -> None:
        phone = await check_screen(world, 32)
        page = phone.page
        told: list[str] = []

        async def answers(made: Consortium, lie: Callable[[bytes], bytes] = bytes) -> None:
            """hospital-b.example is the gateway of ``made``."""

            async def answer(route: Route) -> None:
                told.append(route.request.url)
                path = "/" + route.request.url.split("/", 3)[3]
                honest = await route.fetch(url=made.gateways["hospital-b"].url + path)
                await route.fulfill(response=honest, body=lie(await honest.body()))

            await page.unroute_all()
            await page.route("https://hospital-b.example/**", answer)
            await page.get_by_role("button", name="Ask and compare").click()

        await answers(world.made)
        proof = page.locator(".proof")
        await expect(proof).to_contain_text("hospital-a and hospital-b agree")
        await expect(proof).to_contain_text("Newest block of hospital-b")
        assert told
        assert not [url for url in told if patient(32).hex() in url]
        await phone.picture("73-witness-agrees")

        outcome = page.locator("form .failed").last
        await answers(world.made, lambda body: body[:-1] + bytes([body[-1] ^ 1]))
        await expect(outcome).to_contain_text("hospital-b:")
        await phone.picture("74-witness-lies")
        async with AsyncExitStack() as stack:
            await answers(await forked(stack))
            panel = page.get_by_role("alert")
            await expect(panel).to_contain_text("hospital-b and hospital-a show different blocks")
            await phone.picture("75-fork")
            async with page.expect_download() as saving:
                await page.get_by_role("link", name="Save the evidence").click()
        evidence = (await (await saving.value).path()).read_bytes()
        fork = verify_fork(GENESIS.encode(), evidence)
        assert set(fork.hospitals) == {"hospital-a", "hospital-b"}
        assert fork.same_view
        assert len(fork.signed_both) == GENESIS.membership.quorum

        await page.unroute_all()
        await page.route("https://hospital-b.example/**", lambda route: route.abort())
        await page.get_by_role("button", name="Ask and compare").click()
        await expect(outcome).to_contain_text("hospital-b cannot be reached")
        # The policy lets the page ask no other server.
        blocked = await page.evaluate("fetch('https://hospital-z.example/').catch(() => 'no')")
        assert blocked == "no"
        found = await page.evaluate("globalThis.violations.splice(0)")
        assert found == ["connect-src https://hospital-z.example/"]
        assert [url for url in phone.urls if "hospital-z" in url] == []

    run(journey)
