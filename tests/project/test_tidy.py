"""House rules: sizes, docstrings, banned words and what to write instead, tested properties."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project.tree import ROOT, SHIPPED, Module, modules

FUNCTION_LINES, FILE_LINES = 60, 500

BANNED = (
    # (pattern, where it is banned, what to write instead)
    (r"\bdb\.(put|delete)\(", SHIPPED, "Storage.write: one atomic, synced batch (L1)"),
    (
        r"\.write_batch\((?!.*transaction=True.*sync=True)(?!.*sync=True.*transaction=True)",
        SHIPPED,
        "write_batch(transaction=True, sync=True) (L1)",
    ),
    (r"\brepair_db\b", SHIPPED, "move the folder aside and catch up (L4)"),
    (r"except[^:\n]*:\s*pass\b", SHIPPED, "say why the error is no error, or let it through"),
    (r"\bimport pickle\b|\bpickle\.loads?\(", SHIPPED, "ledger.codec"),
    (r"(?<![\w.])eval\(", SHIPPED, "no code from data"),
    (r"\byaml\.load\(", SHIPPED, "tomllib; configuration is TOML"),
    (r"\bTODO\b|\bFIXME\b|\bXXX\b", SHIPPED, "an issue, or nothing"),
    (r"_create_unverified_context", SHIPPED, "nodes.transport.pki (K3)"),
    (r"#\s*type:\s*ignore(?!\[[\w, -]+\]\s+\S)", SHIPPED, "# type: ignore[code]  # and the reason"),
    (r"(?m)^\s*(from|import)\s.*\bAny\b", ("ledger",), "a type, a Protocol or object"),
    (r"(?<![\w.])assert\s", ("nodes",), "raise an error of ledger.errors"),
)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|work|Users|tmp)/[\w.-]+")


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods of a module, nested ones too."""
    for node in ast.walk(module.syntax):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def undocumented(module: Module) -> Iterator[str]:
    """Public modules, classes, functions and methods without a docstring."""
    if module.text.strip() and ast.get_docstring(module.syntax) is None:
        yield f"{module.name}: module"
    containers: list[ast.Module | ast.ClassDef] = [module.syntax]
    for container in containers:
        for node in container.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name.startswith("_") or _is_overload_or_accessor(node):
                    continue
                if ast.get_docstring(node) is None:
                    yield f"{module.at(node)}: {node.name}"
                if isinstance(node, ast.ClassDef):
                    containers.append(node)


def _is_overload_or_accessor(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """True for what takes its text from elsewhere: overloads, setters, overrides."""
    names = {ast.unparse(item).rpartition(".")[2] for item in node.decorator_list}
    return bool(names & {"overload", "setter", "override"})


def banned(module: Module) -> Iterator[str]:
    """Each banned word of a module, with what to write instead."""
    for pattern, packages, instead in BANNED:
        if module.name.split(".")[0] in packages:
            for match in re.finditer(pattern, module.text):
                line = module.text.count("\n", 0, match.start()) + 1
                yield f"{module.name}:{line}: {match[0].strip()!r} is banned; write {instead}"


@pytest.mark.parametrize("name", sorted(modules(*SHIPPED)))
def test_functions_are_short(name: str) -> None:
    module = modules(*SHIPPED)[name]
    sizes = {f"{module.at(node)} {node.name}": body_lines(node) for node in functions(module)}
    assert {place: size for place, size in sizes.items() if size > FUNCTION_LINES} == {}


@pytest.mark.parametrize("name", sorted(modules(*SHIPPED)))
def test_files_are_short(name: str) -> None:
    lines = modules(*SHIPPED)[name].text.count("\n")
    assert lines <= FILE_LINES, f"{name}: split it by what it does"


@pytest.mark.parametrize("name", sorted(modules(*SHIPPED)))
def test_public_names_have_docstrings(name: str) -> None:
    assert list(undocumented(modules(*SHIPPED)[name])) == []


@pytest.mark.parametrize("name", sorted(modules(*SHIPPED)))
def test_L1_banned_words(name: str) -> None:
    assert list(banned(modules(*SHIPPED)[name])) == []


def project_texts() -> Iterator[tuple[Path, str]]:
    """Text files of the project outside hidden and cache folders."""
    endings = {".py", ".md", ".toml", ".sh", ".js", ".html", ".css", ".json", ""}
    folders = ("ledger", "contracts", "nodes", "scripts", "docs", "network-configs", "tests")
    candidates = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    for path in [*candidates, *ROOT.glob("*.md"), ROOT / "pyproject.toml"]:
        if path.is_file() and path.suffix in endings and "__pycache__" not in path.parts:
            yield path, path.read_text(encoding="utf-8")


def test_no_machine_paths() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path, text in project_texts()
        for match in MACHINE_PATH.finditer(text)
    ]
    assert found == []


PROPERTY = re.compile(r"\b(?:SAFE|LIVE|EXEC|LIGHT|PRIV|ACC)-\d\b")
NOT_YET: dict[str, str] = {}
"""Property id -> why no test cites it yet."""


def test_every_property_is_cited_by_a_test() -> None:
    spec = (ROOT / "docs/spec/properties.md").read_text(encoding="utf-8")
    properties = set(PROPERTY.findall(spec))
    assert properties
    names = set()
    for module in modules("tests").values():
        names |= {node.name for node in functions(module) if node.name.startswith("test_")}
    tested = {item for item in properties if any(item.replace("-", "_") in n for n in names)}
    assert properties - tested == set(NOT_YET)


def test_everything_cited_is_specified() -> None:
    spec = (ROOT / "docs/spec/properties.md").read_text(encoding="utf-8")
    cited = {
        item for module in modules(*SHIPPED).values() for item in PROPERTY.findall(module.text)
    }
    assert cited <= set(PROPERTY.findall(spec))


@pytest.mark.parametrize(
    "source",
    [
        "db.put(b'k', b'v')",
        "with self._db.write_batch() as batch: ...",
        "with self._db.write_batch(transaction=True) as batch: ...",
        "try:\n    f()\nexcept OSError:\n    pass",
        "value = eval(text)",
        "x = 1  # TODO later",
        "x = f()  # type: ignore",
        "x = f()  # type: ignore[arg-type]",
        "from typing import Any",
    ],
)
def test_the_rule_notices(source: str) -> None:
    forged = Module("ledger.codec", ROOT / "ledger/codec.py", source, ast.parse(source))
    assert list(banned(forged)) != []


def test_the_rules_on_size_and_docstrings_notice() -> None:
    source = "def f():\n" + "    x = 1\n" * (FUNCTION_LINES + 1)
    forged = Module("ledger.codec", ROOT / "ledger/codec.py", source, ast.parse(source))
    assert max(map(body_lines, functions(forged))) > FUNCTION_LINES
    assert len(list(undocumented(forged))) == 2
