"""ledger/ and contracts/ are pure: nothing in them can see the machine or differ between machines.

A module may import only what is listed here, so a new way to reach the world fails at once.
"""

import ast
from collections.abc import Iterator

import pytest

from tests.project.tree import ROOT, Module, imports, modules

PURE_IMPORTS = {
    "abc",
    "base64",
    "bisect",
    "collections",
    "contracts",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "itertools",
    "json",
    "ledger",
    "msgpack",
    "operator",
    "re",
    "struct",
    "types",
    "typing",
    "unicodedata",
}
"""No clock, randomness, socket, file, thread, environment, log or process among them."""

IMPURE_CALLS = {
    "open": "files are opened in nodes/",
    "print": "return a value; nodes/ shows it",
    "input": "pass an argument",
    "eval": "no code from data",
    "exec": "no code from data",
    "compile": "no code from data",
    "__import__": "import at the top",
    "hash": "differs between runs (PYTHONHASHSEED); use ledger.crypto.hashing",
    "id": "differs between runs",
    "float": "consensus data has integers only",
    "round": "consensus data has integers only",
    "breakpoint": "not in shipped code",
}
SET_CONSUMERS = {"list", "tuple", "enumerate", "iter", "next", "map", "zip"}


def complaints(module: Module) -> Iterator[str]:
    """Each break of purity in one module, as `place: what is wrong`."""
    for node, target in imports(module):
        top = target.split(".")[0]
        allowed = top in PURE_IMPORTS
        if top == "cryptography":
            allowed = module.name.startswith("ledger.crypto.")
        if not allowed:
            yield f"{module.at(node)}: pure code must not import {target}"
    for node in ast.walk(module.syntax):
        for text in _impure(node):
            yield f"{module.at(node)}: {text}"


def _impure(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Assert():
            yield "assert is removed by python -O; raise an error of ledger.errors"
        case ast.Constant(value=float()) | ast.Constant(value=complex()):
            yield "consensus data has integers only"
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            yield "true division makes a float; use //"
        case ast.Name(id="float"):
            yield "consensus data has integers only"
        case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
            yield f"{name}(): {IMPURE_CALLS[name]}"
        case ast.AsyncFunctionDef() | ast.Await():
            yield "the core is sans-IO: return what is to be done"
        case ast.Global():
            yield "state is an argument, never a global"
    for consumed in _iterated(node):
        if _is_set(consumed):
            yield "the order of a set differs between runs; use sorted(...)"


def _iterated(node: ast.AST) -> Iterator[ast.expr]:
    """Expressions whose order matters at this node."""
    match node:
        case ast.For(iter=iterated):
            yield iterated
        case ast.ListComp(generators=clauses) | ast.DictComp(generators=clauses):
            yield from (clause.iter for clause in clauses)
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in SET_CONSUMERS:
            yield from arguments
        case ast.Call(func=ast.Attribute(attr="join"), args=arguments):
            yield from arguments
        case ast.Starred(value=value):
            yield value


def _is_set(node: ast.expr) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
    return False


@pytest.mark.parametrize("name", sorted(modules("ledger", "contracts")))
def test_D2_pure(name: str) -> None:
    assert list(complaints(modules("ledger", "contracts")[name])) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from datetime import datetime",
        "import random",
        "import secrets",
        "import socket",
        "from pathlib import Path",
        "import os.path",
        "def f():\n    import threading",
        "import logging",
        "import asyncio",
        "import subprocess",
        "from cryptography.hazmat.primitives import hashes",
        "open('x')",
        "assert x > 1",
        "share = got / all_of_them",
        "limit = 0.5",
        "def f(x: float) -> None: ...",
        "for item in {1, 2}: use(item)",
        "items = list(set(items))",
        "rows = [row for row in {row for row in rows}]",
        "text = b''.join({b'a', b'b'})",
        "key = hash(item)",
        "async def step() -> None: ...",
    ],
)
def test_the_rule_notices(source: str) -> None:
    forged = Module("ledger.codec", ROOT / "ledger/codec.py", source, ast.parse(source))
    assert list(complaints(forged)) != []
