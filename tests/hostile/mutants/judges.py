"""Who notices a mutant: the vectors of both light clients; in Python, then its unit tests."""

import contextlib
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from aiohttp import web

from tests.hostile.mutants.edits import Mutant, text_of
from tests.project.tree import ROOT

VECTORS_SECONDS_MAX = 20
"""A mutant that takes longer hangs, which is noticed; one second is usual."""
TESTS_SECONDS_MAX = 120
UNIT_TESTS = {
    "ledger/codec.py": "tests/ledger/test_codec.py",
    "ledger/commitment.py": "tests/ledger/test_commitment.py",
    "ledger/crypto/keys.py": "tests/ledger/test_crypto.py",
    "ledger/crypto/sealing.py": "tests/ledger/test_crypto.py",
    "ledger/light/checkpoint.py": "tests/hostile/test_witnesses.py",
    "ledger/light/witnesses.py": "tests/hostile/test_witnesses.py",
    "ledger/merkle/log_tree.py": "tests/ledger/test_log_tree.py",
    "ledger/primitives.py": "tests/ledger/test_types.py",
    "ledger/types/block.py": "tests/ledger/test_types.py",
    "ledger/types/entries.py": "tests/ledger/test_types.py",
    "ledger/types/genesis.py": "tests/ledger/test_types.py",
    "ledger/types/membership.py": "tests/ledger/test_types.py",
    "ledger/types/residents.py": "tests/ledger/test_types.py",
}
"""Of what only Python does: it makes keys, records, logs, checkpoints and evidence."""

LARGE = ("many", "encoded items", "disclosure parts", "padded rules")
"""Calls of vectors that take long."""

Case = dict[str, Any]


def recorded_cases(other_text: Sequence[str] = ()) -> list[Case]:
    """Every vector, quick ones first, without loading what it is about.

    ``other_text`` names those on whose text the two clients differ: they are left out.
    """
    found = []
    for file in sorted((ROOT / "tests/vectors/light").glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        for case in _resolved(content["cases"], content["values"]):
            outcome = {k: case[k] for k in ("result", "error", "message") if k in case}
            if f"{file.name}: {case['name']}" not in other_text:
                case = {"call": case["call"], "arguments": case["arguments"], "outcome": outcome}
                found.append(case)
    return sorted(found, key=lambda case: case["call"] in LARGE)


def _resolved(written: Any, values: dict[str, str]) -> Any:
    if isinstance(written, dict):
        return {name: _resolved(each, values) for name, each in written.items()}
    if isinstance(written, list):
        return [_resolved(each, values) for each in written]
    return values.get(written, written) if isinstance(written, str) else written


# Python


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


def python_survives(mutant: Mutant, cases: Sequence[Case]) -> bool:
    """Whether nobody notices; each asked in a process of its own, where nothing is loaded yet."""
    if not _forked(mutant, lambda: _vectors_agree(cases), VECTORS_SECONDS_MAX):
        return False
    tests = UNIT_TESTS.get(mutant.path)
    return tests is None or _forked(mutant, lambda: _tests_pass(tests), TESTS_SECONDS_MAX)


def _forked(mutant: Mutant, judge: Callable[[], bool], seconds: int) -> bool:
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        with contextlib.suppress(BaseException):  # whatever a mutant raises, it is noticed
            ours = ("ledger", "contracts", "nodes", "tests")
            for name in [name for name in sys.modules if name.split(".")[0] in ours]:
                del sys.modules[name]
            sys.meta_path.insert(0, _Changed(mutant))
            os._exit(0 if judge() else 1)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _vectors_agree(cases: Sequence[Case]) -> bool:
    calls = importlib.import_module("tests.light.calls")
    return all(
        calls.verdict(case["call"], [_argument(each) for each in case["arguments"]])
        == case["outcome"]
        for case in cases
    )


def _tests_pass(path: str) -> bool:
    import hypothesis
    import pytest

    # No clock decides here, and nothing is made smaller or kept.
    hypothesis.settings.register_profile(
        "mutants",
        deadline=None,
        derandomize=True,
        database=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutants")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return pytest.main(["-x", "-p", "no:cacheprovider", str(ROOT / path)]) == 0


def _argument(written: Any) -> Any:
    if isinstance(written, list):
        return [_argument(item) for item in written]
    if written is None:
        return None
    return int(written[1:]) if written.startswith("=") else bytes.fromhex(written)


# JavaScript

MODULE = "text/javascript"
JUDGE = """
import { verdicts } from "./calls.js";
onmessage = async ({ data: cases }) => {
  for (const { call, arguments: given, outcome } of cases) {
    const [found] = await verdicts([[call, given]]);
    const parts = [...Object.keys(found), ...Object.keys(outcome)];
    const same = parts.every(
      (part) => JSON.stringify(found[part]) === JSON.stringify(outcome[part]));
    if (!same) return postMessage(false);
  }
  postMessage(true);
};
"""
ASK = """async ([address, seconds]) => {
  globalThis.cases ??= await (await fetch("/mutants/cases")).json();
  const worker = new Worker(address, { type: "module" });
  const judged = new Promise((resolve) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = () => resolve(false);
    setTimeout(() => resolve(false), 1000 * seconds);
  });
  worker.postMessage(globalThis.cases);
  const survives = await judged;
  worker.terminate();
  return survives;
}"""


class MutantServer:
    """Serves the light client as each mutant changes it, every time under an address of its own."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases
        self._mutants: list[Mutant] = []
        self._loaded: set[int] = set()

    def add_to(self, app: web.Application) -> None:
        """Adds ``/mutants/``."""
        app.router.add_get("/mutants/cases", self._serve_cases)
        app.router.add_get("/mutants/{number:[0-9]+}/{name:.+}", self._serve)

    async def survives(self, page: Any, mutant: Mutant) -> bool:
        """Whether no vector notices, in a worker of ``page``."""
        number = len(self._mutants)
        self._mutants.append(mutant)
        judge = f"/mutants/{number}/judge.js"
        survives = bool(await page.evaluate(ASK, [judge, VECTORS_SECONDS_MAX]))
        if survives and number not in self._loaded:
            raise AssertionError(f"{mutant}: nobody loaded it")
        return survives

    async def _serve_cases(self, request: web.Request) -> web.Response:
        return web.json_response(self._cases)

    async def _serve(self, request: web.Request) -> web.Response:
        number, name = int(request.match_info["number"]), request.match_info["name"]
        mutant = self._mutants[number]
        if name == "judge.js":
            return web.Response(text=JUDGE, content_type=MODULE)
        if name == "calls.js":
            text = text_of("tests/browser/calls.js").replace('"/light/', '"./light/')
            return web.Response(text=text, content_type=MODULE)
        path = f"nodes/resident/web/{name}"
        if path == mutant.path:
            self._loaded.add(number)
            return web.Response(text=mutant.source(), content_type=MODULE)
        return web.Response(text=text_of(path), content_type=MODULE)
