"""The resident's page in Chromium: every screen, what it refuses, and what it never shows."""

import re
from collections.abc import Callable

import pytest
from playwright.async_api import Page, Route, expect

from ledger import codec
from nodes.client.http import RequestRefused
from nodes.view_rules.files import newest_rules
from tests.browser.page_world import Device, Run, World, enrolled
from tests.browser.records import CANARY, HOSTILE
from tests.contracts.support import patient


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


def test_LIGHT_2_the_list_is_complete_and_records_are_read(run: Run, phone: Device) -> None:
    async def journey(world: World) -> None:
        page = phone.page
        await phone.home()
        await expect(page.locator(".proof")).to_contain_text("The list is complete: 4 records")
        await expect(page.locator(".proof")).to_contain_text("Against height")
        await phone.picture("10-records")
        await page.get_by_role("link", name="No. 1 ·").click()
        await phone.heading("Finding")
        await expect(page.locator("main")).to_contain_text("6.30 mmol/L")  # 6.3 is another text
        await expect(page.locator("main")).to_contain_text("Nothing is hidden")
        await phone.picture("11-record")
        await page.go_back()
        await page.get_by_role("link", name="No. 2 ·").click()
        await phone.heading("Prescription")
        hidden = page.locator(".hidden")
        await expect(hidden).to_contain_text('hidden by the view "resident", version 1')
        rules = newest_rules("resident")
        await expect(hidden.locator("dt")).to_have_text(["medication-details"])
        await expect(hidden.locator("dd")).to_have_text([rules.texts["medication-details"]["en"]])
        assert CANARY not in await page.content()
        await phone.picture("12-record-hidden")
        await page.go_back()
        await page.get_by_role("link", name="No. 4 ·").click()
        await phone.heading("Imaging study")
        await expect(page.locator("main")).to_contain_text("1 previews, verified pixel by pixel")
        shades = await page.evaluate(
            """() => {
                const canvas = document.querySelector("canvas.preview");
                const { data } = canvas.getContext("2d").getImageData(0, 0, 128, 128);
                return new Set(data).size;
            }"""
        )
        assert shades > 50
        await phone.picture("13-study")
        await phone.clean()

    run(journey)


def test_what_a_record_says_is_text_and_never_markup(run: Run, phone: Device) -> None:
    async def journey(world: World) -> None:
        await phone.home()
        await phone.page.get_by_role("link", name="No. 3 ·").click()
        await phone.heading("Report")
        main = phone.page.locator("main")
        await expect(main.locator(".lead")).to_have_text(HOSTILE)
        await expect(main).to_contain_text(f"{HOSTILE} {{name}} 结论")
        # A record commits to no narrative, so none is shown.
        await expect(main).not_to_contain_text("First line")
        await expect(main).not_to_contain_text(CANARY)
        # Which of two rules hid the contained medicine is not told: its path is hidden too.
        rules = ["quoted-medication", "reference-text"]
        await expect(main.locator(".hidden dt")).to_have_text(rules)
        assert await phone.page.evaluate("globalThis.hacked") is None
        assert await main.locator("img, script").count() == 0
        await phone.picture("14-hostile")
        await phone.clean()

    run(journey)


def test_ACC_1_who_read_is_shown_and_a_reader_is_restricted(run: Run, phone: Device) -> None:
    async def journey(world: World) -> None:
        number = 21
        await phone.home()
        doctor = await world.staff("hospital-b/treating")
        before = await doctor.request_permission(patient(number), "TREAT")
        await doctor.read(patient(number), 0, before)
        await phone.go("Who read", "Who read my records")
        cards = phone.page.locator(".cards .card")
        await expect(cards.first).to_contain_text("Staff of hospital-b")
        await expect(cards.first).to_contain_text("treatment")
        covered = f"Permission {before.hex()[:12]}: everything, treatment, until height"
        await expect(cards.first).to_contain_text(covered)
        await expect(cards.first).to_contain_text("They leave this reader the same.")
        await cards.first.get_by_role("link", name="Restrict this reader").click()
        await phone.heading("Who may read")
        await phone.page.get_by_role("button", name="Put on the ledger").click()
        await expect(phone.page.locator(".forbids")).to_contain_text("hospital-b, key")
        await phone.picture("20-consent")
        with pytest.raises(RequestRefused) as refused:
            await doctor.read(patient(number), 0, before)
        assert refused.value.code == "permission/ended"
        emergency = await doctor.request_permission(patient(number), "ETREAT")
        await doctor.read(patient(number), 0, emergency)
        await phone.go("Who read", "Who read my records")
        await expect(cards.first).to_contain_text("Break-glass")
        await expect(cards.first).to_contain_text(f"Permission {emergency.hex()[:12]}:")
        await expect(cards.nth(1)).to_contain_text("They forbid it, except in an emergency.")
        await phone.picture("21-readers")
        await phone.go("Permissions", "Who may read")
        # Narrow: the hospital may read without the details of medication; then take both back.
        await phone.page.get_by_label("Who", exact=True).select_option("hospital-b")
        await phone.page.get_by_label("May read").select_option("summary")
        await phone.page.get_by_role("button", name="Put on the ledger").click()
        await expect(cards).to_have_count(2)
        for left in (1, 0):
            await phone.page.get_by_role("button", name="Withdraw").last.click()
            await expect(phone.page.get_by_role("button", name="Withdraw")).to_have_count(left)
        await doctor.read(patient(number), 0, before)
        await phone.page.get_by_role("button", name="Ask for a full copy").click()
        await expect(cards).to_contain_text("Asked, not decided yet")
        await phone.page.get_by_role("button", name="Ask for a full copy").click()
        await expect(phone.page.locator(".failed")).to_contain_text("asked this hospital already")
        await phone.clean()

    run(journey)


def test_a_share_is_opened_with_its_passcode_and_ended(run: Run, phone: Device) -> None:
    async def journey(world: World) -> None:
        page = phone.page
        await phone.home()
        await phone.go("Shares", "Shares")
        await page.get_by_role("link", name="New share").click()
        await phone.heading("New share")
        await phone.picture("30-new-share")
        for record in ("No. 1", "No. 3"):
            await page.get_by_role("checkbox", name=record).check()
        await page.get_by_label("What it is for").fill("Second opinion <b>")
        await page.get_by_label("Passcode", exact=True).fill("4711")
        await page.get_by_role("button", name="Make the share").click()
        await phone.heading("The share is ready")
        await phone.picture("31-share-made")
        address = await page.get_by_role("link", name="Open the link").get_attribute("href")
        assert address is not None
        assert await decoded(page) == address
        # The token stands behind #, and so in no request of this page.
        assert not [url for url in phone.urls if "/v1/shares/" in url]

        stranger = await world.device(path=address.removeprefix(world.origin))
        await stranger.heading("Somebody shares records with you")
        await stranger.picture("32-recipient")
        outcome = stranger.page.locator(".outcome")
        await stranger.page.get_by_label("Passcode").fill("1234")
        await stranger.page.get_by_role("button", name="Open").click()
        await expect(outcome).to_contain_text("The passcode is wrong; 4 attempts are left")
        await stranger.page.get_by_label("Passcode").fill("4711")
        await stranger.page.get_by_role("button", name="Open").click()
        await stranger.heading("Finding")
        await expect(stranger.page.locator("article")).to_have_count(2)
        await expect(stranger.page.locator("main")).to_contain_text("6.30 mmol/L")
        await stranger.picture("33-shared-record")
        assert await stranger.page.evaluate("indexedDB.databases()") == []
        await stranger.clean()

        await page.get_by_role("link", name="To my shares").click()
        await phone.heading("Shares")
        await expect(page.locator(".card")).to_contain_text("4 wrong passcodes left")
        await phone.picture("34-shares")
        await page.get_by_role("button", name="End this share").click()
        await expect(page.locator(".card .status")).to_have_text("Ended")
        await stranger.page.reload()
        await stranger.page.get_by_label("Passcode").fill("4711")
        await stranger.page.get_by_role("button", name="Open").click()
        await expect(outcome).to_contain_text("The sender has ended this share")
        await phone.go("Who read", "Who read my records")
        opening = page.locator(".card").first
        await expect(opening).to_contain_text("Somebody with a link of yours")
        await expect(opening).to_contain_text(re.compile("Share [0-9a-f]{12}: without details"))
        await phone.clean()

    run(journey)


async def decoded(page: Page) -> str:
    """The text in the QR code on the screen."""
    text: str = await page.evaluate(
        """async () => {
            const { encodeQR } = await import("/vendor/qr/index.js");
            const canvas = document.querySelector(".qr canvas");
            const { data, width } = canvas.getContext("2d")
                .getImageData(0, 0, canvas.width, canvas.height);
            const address = document.querySelector(".qr a").href;
            const modules = encodeQR(address, "raw", { ecc: "low", border: 4 });
            const same = modules.every((row, y) =>
                row.every((dark, x) => (data[4 * (4 * y * width + 4 * x)] === 0) === dark));
            return same ? address : "another code";
        }"""
    )
    return text


def test_offline_reading_shows_what_was_read_and_says_how_old(run: Run) -> None:
    async def journey(world: World) -> None:
        phone = await enrolled(world, 25)
        page = phone.page
        await page.get_by_role("link", name="No. 1 ·").click()
        await phone.heading("Finding")
        await page.evaluate("navigator.serviceWorker.ready.then(() => 1)")
        await phone.context.set_offline(True)
        await phone.context.clock.set_fixed_time(world.seconds + 2 * 24 * 3600)
        await page.goto(world.origin + "/")
        await phone.heading("My records")
        await expect(page.locator(".proof.kept")).to_contain_text("2 days ago")
        await expect(page.locator(".badge")).to_have_count(1)
        await phone.picture("40-offline")
        await page.get_by_role("link", name="No. 1 ·").click()
        await phone.heading("Finding")
        await expect(page.locator(".proof.kept")).to_contain_text("verified again now")
        await page.go_back()
        await page.get_by_role("link", name="No. 3 ·").click()
        await expect(page.get_by_role("alert")).to_contain_text("was not read on this device")
        await phone.picture("41-offline-unread")
        # With the network back, an honest server's newest block is too old for this clock.
        await phone.context.set_offline(False)
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_role("alert")).to_contain_text("newest block is too old")
        await phone.context.clock.set_fixed_time(world.seconds)
        await page.get_by_role("button", name="Try again").click()
        # Not by ``heading``, which fails at an alert: the old one stays until the page has tried.
        await expect(page.get_by_role("heading", name="Report").first).to_be_visible()

    run(journey)


def test_LIGHT_1_nothing_unverified_is_shown(run: Run, phone: Device) -> None:
    async def journey(world: World) -> None:
        page = phone.page
        await phone.home()

        async def lying(pattern: str, lie: Callable[[bytes], bytes], says: str) -> None:
            async def answer(route: Route) -> None:
                honest = await route.fetch()
                await route.fulfill(response=honest, body=lie(await honest.body()))

            await page.route(pattern, answer)
            await page.reload()
            await expect(page.get_by_role("alert")).to_contain_text(says)
            assert await page.locator(".proof, .card, .record").count() == 0
            await page.unroute(pattern)

        await lying("**/records", without_last_entry, "is not complete")
        await phone.picture("50-failure")
        await lying("**/records", flipped, "server")
        await lying("**/headers/latest", lambda body: body[:-1] + b"\x00", "server")
        await page.reload()
        await phone.heading("My records")
        await page.get_by_role("link", name="No. 1 ·").click()
        await phone.heading("Finding")
        await lying("**/records/0?*", lambda body: body.replace(b"6.30", b"9.30"), "altered")
        await phone.go("Who read", "Who read my records")
        await lying("**/logs/*", without_entries, "is not complete")
        await phone.clean()

    run(journey)


def test_ACC_1_what_no_permission_covers_is_named_and_hides_no_other(run: Run) -> None:
    async def journey(world: World) -> None:
        phone = await enrolled(world, 26)
        doctor = await world.staff("hospital-b/treating")
        for purpose in ("TREAT", "ETREAT"):
            await doctor.read(patient(26), 0, await doctor.request_permission(patient(26), purpose))
        asked: list[str] = []

        async def answer(route: Route) -> None:
            asked.append(route.request.url)
            honest = await route.fetch()
            body = await honest.body()
            lie = body.replace(b"\xa6ETREAT", b"\xa6HRESCH") if b"\xa6ETREAT" in body else body
            await route.fulfill(response=honest, body=lie)

        permissions = f"**/state/{b'permission/'.hex()}*"
        await phone.page.route(permissions, answer)
        await phone.go("Who read", "Who read my records")
        cards = phone.page.locator(".cards .card")
        await expect(cards).to_have_count(2)
        await expect(phone.page.locator(".warning")).to_contain_text("1 disclosures could not be")
        await expect(cards.nth(0)).to_contain_text("its proof does not fit")
        await expect(cards.nth(1)).to_contain_text("everything, treatment, until height")
        assert len(asked) == len(set(asked)) == 2
        await phone.picture("22-readers-uncovered")
        await phone.page.unroute(permissions)
        await phone.page.reload()
        await expect(cards).to_have_count(2)
        assert await phone.page.locator(".warning").count() == 0
        await phone.clean()

    run(journey)


def without_last_entry(body: bytes) -> bytes:
    """The list of records, one entry shorter."""
    bundle, keys = codec.array(codec.decode(body, len(body), "list"), 2, "list")
    fields = codec.array(bundle, 6, "bundle")
    entries = codec.array_up_to(fields[5], 100, "entries")
    return codec.encode([[*fields[:5], list(entries)[:-1]], keys])


def without_entries(body: bytes) -> bytes:
    fields = codec.array(codec.decode(body, len(body), "log"), 6, "log")
    return codec.encode([*fields[:5], []])


def flipped(body: bytes) -> bytes:
    """One bit of the certificate's last signature is another."""
    bundle, keys = codec.array(codec.decode(body, len(body), "list"), 2, "list")
    fields = list(codec.array(bundle, 6, "bundle"))
    header, certificate = codec.array(fields[1], 2, "certified header")
    assert isinstance(certificate, bytes)
    fields[1] = [header, certificate[:-1] + bytes([certificate[-1] ^ 1])]
    return codec.encode([fields, keys])


def test_both_languages_and_the_keyboard(run: Run, phone: Device) -> None:
    async def journey(world: World) -> None:
        page = phone.page
        await phone.home()
        await page.get_by_role("button", name="中文").click()
        await phone.heading("我的记录")
        assert await page.evaluate("document.documentElement.lang") == "zh-CN"
        await phone.picture("60-records-zh")
        await page.reload()  # the choice is kept
        for tab, heading in (
            ("谁看过", "谁看过我的记录"),
            ("授权", "谁可以查看"),
            ("分享", "分享"),
            ("本机", "本机"),
            ("我的记录", "我的记录"),
        ):
            await phone.go(tab, heading)
            await phone.picture(f"61-{tab}")
        # By keyboard alone: past the header to the first record.
        await page.reload()
        await phone.heading("我的记录")
        await page.keyboard.press("Tab")
        for _ in range(12):
            focused = await page.evaluate("document.activeElement.getAttribute('href') ?? ''")
            if focused.startswith("#record/"):
                break
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("article")).to_have_count(1)
        assert await page.evaluate("document.activeElement.id") == "main"
        await phone.picture("62-record-zh")
        # What hid a part is told in the language of the page, from the rule file.
        await page.go_back()
        await page.locator("a[href='#record/1']").click()
        told = newest_rules("resident").texts["medication-details"]["zh"]
        await expect(page.locator(".hidden dd")).to_have_text([told])
        await phone.picture("63-record-hidden-zh")
        await phone.clean()
        await page.get_by_role("button", name="English").click()

    run(journey)
