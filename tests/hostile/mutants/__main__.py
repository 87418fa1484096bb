"""Mutation testing of both light clients: one check changed, and somebody must notice.

Changes each comparison, condition and refusal of the verifiers, one at a time, asks the vectors
(lies among them) and prints each mutant that survives as a line of JSON. Fails where one is not
explained in tests/hostile/survivors.json. A run of all writes docs/mutants-light.md.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from tests.hostile.mutants import survivors
from tests.hostile.mutants.edits import (
    JAVASCRIPT,
    PYTHON,
    Identity,
    Mutant,
    mutants,
    unchanged,
)
from tests.hostile.mutants.judges import (
    UNIT_TESTS,
    MutantServer,
    python_survives,
    recorded_cases,
)

Report = Callable[[Mutant, bool], None]


def _python(chosen: Collection[Mutant], report: Report) -> None:
    cases = recorded_cases()
    judged = {UNIT_TESTS.get(mutant.path): mutant.path for mutant in chosen}
    for path in judged.values():
        if not python_survives(unchanged(path), cases):
            raise AssertionError(f"{path}, unchanged, is refused by its vectors or tests")
    for mutant in chosen:
        report(mutant, python_survives(mutant, cases))


async def _javascript(chosen: Collection[Mutant], report: Report) -> None:
    from aiohttp import web
    from playwright.async_api import async_playwright

    from tests.browser import conftest

    server = MutantServer(recorded_cases(conftest.OTHER_TEXT))
    runner = web.AppRunner(conftest.application([], server))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=conftest.chromium(), args=conftest.FLAGS
        )
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/checks/")
        if not await server.survives(page, unchanged(JAVASCRIPT[0])):
            raise AssertionError("the unchanged client does not agree with its vectors")
        for mutant in chosen:
            report(mutant, await server.survives(page, mutant))
        await browser.close()
    await runner.cleanup()


def _chosen(options: argparse.Namespace) -> dict[Identity, Mutant]:
    """The mutants that the arguments name."""
    paths = [
        path
        for path in (*PYTHON, *JAVASCRIPT)
        if options.only is None or (path.endswith(".py") == (options.only == "python"))
    ]
    found = mutants([path for path in paths if not options.file or path in options.file])
    if options.again is not None:
        lines = Path(options.again).read_text(encoding="utf-8").splitlines()
        kept = {line for line in lines if line.startswith('{"file"')}
        found = {each: mutant for each, mutant in found.items() if survivors.show(each) in kept}
    return found if options.sample is None else survivors.sample(found, options.sample)


def main() -> int:
    """Prints each survivor as it is found, what is wrong with them, and a last line of JSON."""
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("--only", choices=("python", "javascript"))
    parser.add_argument("--file", nargs="*", help="paths of verifiers, instead of all")
    parser.add_argument("--again", metavar="OUTPUT", help="only what an earlier run printed")
    parser.add_argument("--sample", type=int, help="that many of them, always the same")
    parser.add_argument("--list", action="store_true", help="print the mutants, judge none")
    options = parser.parse_args()
    chosen, existing = _chosen(options), mutants()
    if options.list:
        print("\n".join(survivors.show(identity) for identity in chosen))
        return 0
    survived: set[Identity] = set()

    def report(mutant: Mutant, survives: bool) -> None:
        if survives and mutant.identity is not None:
            survived.add(mutant.identity)
            print(survivors.show(mutant.identity), flush=True)

    by_language = {
        language: [mutant for mutant in chosen.values() if mutant.path in paths]
        for language, paths in survivors.LANGUAGES.items()
    }
    if by_language["Python"]:
        _python(by_language["Python"], report)
    if by_language["JavaScript"]:
        asyncio.run(_javascript(by_language["JavaScript"], report))
    reasons = survivors.explained()
    wrong = list(survivors.wrong(chosen.keys(), survived, existing.keys(), reasons))
    print("\n".join(wrong), file=sys.stderr)
    counts = {language: len(each) for language, each in by_language.items()}
    if not wrong and chosen.keys() == existing.keys():
        survivors.write(reasons, counts)
    print(json.dumps({"mutants": counts, "survivors": len(survived), "wrong": len(wrong)}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
