"""The source tree as the project tests see it: modules, their syntax trees and their imports."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = ("ledger", "contracts", "nodes")


@dataclass(frozen=True)
class Module:
    """One Python file of the shipped packages."""

    name: str
    """Dotted name; a package has the name of its folder."""
    path: Path
    text: str
    syntax: ast.Module

    def at(self, node: ast.AST) -> str:
        """Where a node stands, for a message: `ledger/codec.py:12`."""
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


@cache
def modules(*packages: str) -> dict[str, Module]:
    """All modules of the named top-level packages, by dotted name."""
    found = {}
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            found[name] = Module(name, path, text, ast.parse(text, filename=str(path)))
    return found


def imports(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Each import of a module, within functions too, as (node, dotted name of the target).

    `from package import name` yields `package.name` where that is a module of ours.
    """
    known = modules(*SHIPPED)
    for node in ast.walk(module.syntax):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node, full if full in known else base
