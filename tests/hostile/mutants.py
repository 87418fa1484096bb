"""Mutation testing of both light clients: one check changed, and the vectors must notice.

``./scripts/mutate`` changes each comparison, condition and refusal of the verifiers, one at a time,
runs all vectors (lies among them) on the changed client, and prints the mutants that survive.
docs/light-client.md says why each of them may.
"""

import argparse
import ast
import asyncio
import importlib.abc
import importlib.util
import json
import os
import random
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tests.project.tree import ROOT

PYTHON = (
    "ledger/light/bundles.py",
    "ledger/light/checkpoint.py",
    "ledger/light/records.py",
    "ledger/light/saved.py",
    "ledger/light/trust.py",
    "ledger/light/verify.py",
    "ledger/light/witnesses.py",
    "ledger/types/certificate.py",
    "ledger/types/membership.py",
    "ledger/merkle/proof.py",
    "ledger/commitment.py",
)
JAVASCRIPT = tuple(
    f"nodes/resident/web/light/{name}.js"
    for name in (
        *("bundles", "certificate", "checkpoint", "codec", "disclosure", "entries", "genesis"),
        *("keys", "membership", "merkle", "records", "saved", "trust", "verify", "witnesses"),
    )
)
SECONDS_MAX = 60
"""A mutant that takes longer hangs, which is noticed."""

_SWAPPED: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
_JS_SWAPPED = {
    " === ": " !== ", " !== ": " === ", " < ": " <= ", " <= ": " < ", " > ": " >= ",
    " >= ": " > ", " && ": " || ", " || ": " && ", "!equal(": "equal(", ".some(": ".every(",
    ".every(": ".some(",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One text edit of one file."""

    path: str
    start: int
    end: int
    new: str

    def source(self) -> str:
        """The whole file, changed."""
        text = (ROOT / self.path).read_text(encoding="utf-8")
        return text[: self.start] + self.new + text[self.end :]

    def __str__(self) -> str:
        text = (ROOT / self.path).read_text(encoding="utf-8")
        line = text.count("\n", 0, self.start) + 1
        old = " ".join(text[self.start : self.end].split())
        context = text.splitlines()[line - 1].strip()
        return f"{self.path}:{line}: {old!r} -> {self.new!r} in `{context}`"


# Python


def python_mutants(path: str) -> Iterator[Mutant]:
    """Every comparison and condition of a module, and every refusal left out."""
    text = (ROOT / path).read_text(encoding="utf-8")
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line.encode()))
    data = text.encode()

    def at(line: int, column: int) -> int:
        return len(data[: lines[line - 1] + column].decode())

    def span(node: ast.expr) -> tuple[int, int]:
        end = at(node.end_lineno or 0, node.end_col_offset or 0)
        return at(node.lineno, node.col_offset), end

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for op, left, right in zip(node.ops, sides, node.comparators, strict=False):
                yield Mutant(path, span(left)[1], span(right)[0], f" {_SWAPPED[type(op)]} ")
        elif isinstance(node, ast.BoolOp):
            other = "or" if isinstance(node.op, ast.And) else "and"
            for left, right in zip(node.values, node.values[1:], strict=False):
                start, end = span(left)[1], span(right)[0]
                between = text[start:end]
                yield Mutant(path, start, end, re.sub(r"\b(and|or)\b", other, between))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield Mutant(path, span(node)[0], span(node.operand)[0], "")
        elif isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise):
            yield Mutant(path, *span(node.test), "False")


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a changed source."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = mutant.path.removesuffix(".py").replace("/", ".")
        self._mutant = mutant

    def find_spec(self, name: str, path: object, target: object = None) -> Any:
        if name != self._name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=self._mutant.path)

    def exec_module(self, module: ModuleType) -> None:
        code = compile(self._mutant.source(), self._mutant.path, "exec")
        exec(code, module.__dict__)


def python_survives(mutant: Mutant, cases: Sequence[dict[str, Any]]) -> bool:
    """Whether no vector notices; in a process of its own, where nothing is loaded yet."""
    child = os.fork()
    if child == 0:
        os._exit(_judge(mutant, cases))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _judge(mutant: Mutant, cases: Sequence[dict[str, Any]]) -> int:
    signal.alarm(SECONDS_MAX)
    for name in [name for name in sys.modules if name.split(".")[0] in ("ledger", "contracts")]:
        del sys.modules[name]
    sys.modules.pop("tests.light.calls", None)
    sys.meta_path.insert(0, _Changed(mutant))
    try:
        calls = importlib.import_module("tests.light.calls")
        for case in cases:
            found = calls.verdict(case["call"], [_argument(each) for each in case["arguments"]])
            if found != case["outcome"]:
                return 1
    except BaseException:  # noqa: BLE001  # whatever a mutant raises, it is noticed
        return 1
    return 0


def _argument(written: Any) -> Any:
    if isinstance(written, list):
        return [_argument(item) for item in written]
    if written is None:
        return None
    return int(written[1:]) if written.startswith("=") else bytes.fromhex(written)


# JavaScript


def javascript_mutants(path: str) -> Iterator[Mutant]:
    """The same of a module in JavaScript, found by its text."""
    text = (ROOT / path).read_text(encoding="utf-8")
    comments = [match.span() for match in re.finditer(r"/\*.*?\*/|//[^\n]*", text, re.DOTALL)]

    def is_code(place: int) -> bool:
        return not any(start <= place < end for start, end in comments)

    for old, new in _JS_SWAPPED.items():
        for match in re.finditer(re.escape(old), text):
            if is_code(match.start()):
                yield Mutant(path, match.start(), match.end(), new)
    for match in re.finditer(r"\bif \(", text):
        end = _closing(text, match.end() - 1)
        if is_code(match.start()) and re.match(r"\)\s*\{?\s*throw\b", text[end:]):
            yield Mutant(path, match.end(), end, "false")


def _closing(text: str, opening: int) -> int:
    """Place of the parenthesis that closes the one at ``opening``."""
    depth = 0
    for place in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return len(text)


IN_BROWSER = """async cases => {
  const { verdicts } = await import('/checks/calls.js');
  for (const { call, arguments: given, outcome } of cases) {
    const [found] = await verdicts([[call, given]]);
    const same = ['result', 'error', 'message'].every(
      (part) => JSON.stringify(found[part]) === JSON.stringify(outcome[part]));
    if (!same) return false;
  }
  return true;
}"""


async def javascript_survives(
    browser: Any, origin: str, mutant: Mutant, cases: Sequence[dict[str, Any]]
) -> bool:
    """Whether no vector notices; in a profile of its own, so that nothing is kept."""
    context = await browser.new_context()
    name = mutant.path.rpartition("/")[2]
    served = 0

    async def changed(route: Any) -> None:
        nonlocal served
        served += 1
        await route.fulfill(body=mutant.source(), content_type="text/javascript")

    try:
        await context.route(f"**/light/{name}", changed)
        page = await context.new_page()
        await page.goto(origin + "/checks/")
        survives = bool(await asyncio.wait_for(page.evaluate(IN_BROWSER, cases), SECONDS_MAX))
    except Exception:  # noqa: BLE001  # a mutant that does not load, or hangs, is noticed
        survives = False
    finally:
        await context.close()
    if not served and survives:
        raise AssertionError(f"{mutant}: the page never loaded it")
    return survives


# All


def recorded_cases(other_text: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every vector, without loading what it is about; no text where the two clients differ."""
    found = []
    for file in sorted((ROOT / "tests/vectors/light").glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        for case in _resolved(content["cases"], content["values"]):
            outcome = {k: case[k] for k in ("result", "error", "message") if k in case}
            if f"{file.name}: {case['name']}" not in other_text:
                case = {"call": case["call"], "arguments": case["arguments"], "outcome": outcome}
                found.append(case)
    return found


def _resolved(written: Any, values: dict[str, str]) -> Any:
    if isinstance(written, dict):
        return {name: _resolved(each, values) for name, each in written.items()}
    if isinstance(written, list):
        return [_resolved(each, values) for each in written]
    return values.get(written, written) if isinstance(written, str) else written


def unchanged(path: str) -> Mutant:
    """A mutant that is none: it must survive, or the judge is broken."""
    return Mutant(path, 0, 0, "")


def all_mutants(paths: Sequence[str], of: Callable[[str], Iterator[Mutant]]) -> list[Mutant]:
    """Those of all files."""
    return [mutant for path in paths for mutant in of(path)]


async def _javascript(mutants: Sequence[Mutant], report: Callable[[Mutant, bool], None]) -> None:
    from aiohttp import web
    from playwright.async_api import async_playwright

    from tests.browser import conftest
    from tests.browser.test_light_client import OTHER_TEXT

    cases = recorded_cases(OTHER_TEXT)
    runner = web.AppRunner(conftest.application([]))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=conftest.chromium(), args=conftest.FLAGS
        )
        if not await javascript_survives(browser, origin, unchanged(JAVASCRIPT[0]), cases):
            raise AssertionError("the unchanged client does not agree with its vectors")
        for mutant in mutants:
            report(mutant, await javascript_survives(browser, origin, mutant, cases))
        await browser.close()
    await runner.cleanup()


def main() -> None:
    """Prints each survivor as it is found, and a last line of JSON."""
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("--only", choices=("python", "javascript"))
    parser.add_argument("--sample", type=int, default=0, help="that many of each, chosen anew")
    options = parser.parse_args()
    summary: dict[str, object] = {}
    for language, paths, of in (
        ("python", PYTHON, python_mutants),
        ("javascript", JAVASCRIPT, javascript_mutants),
    ):
        if options.only not in (None, language):
            continue
        mutants = all_mutants(paths, of)
        if options.sample:
            mutants = random.sample(mutants, options.sample)
        survivors: list[str] = []

        def report(mutant: Mutant, survives: bool, kept: list[str] = survivors) -> None:
            if survives:
                kept.append(str(mutant))
                print(mutant, flush=True)

        if language == "python":
            cases = recorded_cases()
            if not python_survives(unchanged(paths[0]), cases):
                raise AssertionError("the unchanged client does not agree with its vectors")
            for mutant in mutants:
                report(mutant, python_survives(mutant, cases))
        else:
            asyncio.run(_javascript(mutants, report))
        summary[language] = {"mutants": len(mutants), "survivors": len(survivors)}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
