"""Measures the light client on bytes alone: bytes and times of visits and lists; prints JSON.

Chains are made by hand with real signatures. Python verifies in this process, Chromium in the
client of the page, once as it is and once with a processor that is 6 times slower.
"""

import argparse
import asyncio
import json
import statistics
import time
from typing import Any

from aiohttp import web
from playwright.async_api import async_playwright

from ledger.light.bundles import encode_changes
from ledger.light.trust import advance
from tests.browser import conftest
from tests.hostile.mutants.judges import MutantServer
from tests.light.calls import verdict
from tests.light.kit import LIST, PATIENT, Chain
from tests.vectors import fixed

VALIDATORS = (4, 31, 100)
CHANGES = (0, 10, 100)
ROWS = (10, 1_000, 10_000)
SLOWER = 6
NOW_MS = fixed.TIME_MS + 10_000_000
AGE_MS = 10_000_000

IN_BROWSER = """async ({ call, args, times }) => {
  const light = await import('/light/index.js');
  const visits = {
    "first visit": async (genesis, changes, newest, now, maxAge) => {
      const start = light.trustGenesis(genesis, null);
      const header = light.CertifiedHeader.decode(newest);
      await light.advance(start, light.decodeChanges(changes), header);
      light.checkAge(header.header, now, maxAge);
    },
    refresh: async (kept, changes, newest, now, maxAge) => {
      const header = light.CertifiedHeader.decode(newest);
      const trusted = light.TrustedChain.decode(kept);
      const advanced = await light.advance(trusted, light.decodeChanges(changes), header);
      light.checkAge(header.header, now, maxAge);
      advanced.encode();
    },
    "patient list": async (chain, data, patient, now, maxAge) => {
      const bundle = light.decodeBundleOf(data, light.LogBundle);
      await light.verifyPatientList(light.TrustedChain.decode(chain), bundle, patient, now, maxAge);
    },
  };
  const given = args.map((each) =>
    typeof each === 'number' ? BigInt(each) : light.fromHex(each));
  const found = [];
  for (let i = 0; i < times; i++) {
    const begin = performance.now();
    await visits[call](...given);
    found.push(performance.now() - begin);
  }
  found.sort((a, b) => a - b);
  return found[found.length >> 1];
}"""
"""What a page does with bytes that it has fetched; anything that does not verify is thrown."""


def visits(sizes: int | None) -> dict[str, dict[str, tuple[str, list[Any], int]]]:
    """By kind and size: the call, its arguments, and the bytes that are fetched."""
    found: dict[str, dict[str, Any]] = {"return_visit": {}, "first_visit": {}, "list": {}}
    for n in VALIDATORS[:sizes]:
        for count in CHANGES[:sizes]:
            chain = Chain(n)
            start, document = chain.trusted, chain.genesis.encode()
            before = chain.commit()
            for number in range(count):
                # The last one loses its vote and gets it again.
                chain.commit(list(range(n - 1 + number % 2)))
            newest = chain.commit().encode()
            told = encode_changes(tuple(chain.changes))
            rest = [told, newest, NOW_MS, AGE_MS]
            size = len(told) + len(newest)
            name = f"{n}x{count}"
            found["first_visit"][name] = ("first visit", [document, *rest], size + len(document))
            if count == 0:
                kept = advance(start, (), before).encode()
                found["return_visit"][str(n)] = ("refresh", [kept, *rest], size)
    for count in ROWS[:sizes]:
        chain = Chain(4)
        chain.append(LIST, *(fixed.row(number).encode() for number in range(count)))
        data = chain.log_bundle(chain.commit(), LIST).encode()
        arguments = [chain.trusted.encode(), data, PATIENT, NOW_MS, AGE_MS]
        found["list"][str(count)] = ("patient list", arguments, len(data))
    return found


def python_ms(call: str, arguments: list[Any], times: int) -> float:
    """Median time of the call in this process."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        outcome = verdict(call, arguments)
        found.append((time.perf_counter() - begin) * 1_000)
        if "error" in outcome:
            raise AssertionError(outcome)
    return round(statistics.median(found), 2)


async def chromium_ms(page: Any, call: str, arguments: list[Any], times: int) -> float:
    """Median time in the page."""
    written = [each if isinstance(each, int) else each.hex() for each in arguments]
    given = {"call": call, "args": written, "times": times}
    return round(float(await page.evaluate(IN_BROWSER, given)), 2)


async def measure(times: int, sizes: int | None) -> dict[str, dict[str, dict[str, float]]]:
    """All sizes, or the first of each kind, in Python and in Chromium."""
    runner = web.AppRunner(conftest.application([], MutantServer([])))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    result: dict[str, dict[str, dict[str, float]]] = {}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=conftest.chromium(), args=conftest.FLAGS
        )
        page = await (await browser.new_context()).new_page()
        await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/checks/")
        processor = await page.context.new_cdp_session(page)
        for kind, each in visits(sizes).items():
            result[kind] = {}
            for size, (call, arguments, fetched) in each.items():
                figures: dict[str, float] = {"bytes": fetched}
                figures["python_ms"] = python_ms(call, arguments, times)
                figures["chromium_ms"] = await chromium_ms(page, call, arguments, times)
                await processor.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
                figures["chromium_slow_ms"] = await chromium_ms(page, call, arguments, times)
                await processor.send("Emulation.setCPUThrottlingRate", {"rate": 1})
                result[kind][size] = figures
        await browser.close()
    await runner.cleanup()
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench light", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the last line, in JSON")
    parser.add_argument("--times", type=int, default=9, help="repetitions, of which the median")
    parser.add_argument("--sizes", type=int, help="only the first sizes of each kind")
    options = parser.parse_args()
    found = asyncio.run(measure(options.times, options.sizes))
    if not options.json:
        for kind, sizes in found.items():
            for size, figures in sizes.items():
                print(kind, size, *(f"{name} {value}" for name, value in figures.items()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
