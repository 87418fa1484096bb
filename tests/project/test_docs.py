"""The documents are true to the code: links, paths, commands, configuration, errors."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from nodes.cli.main import app
from nodes.config import GatewayConfig, Model, NodeConfig, ReleaseConfig, StoreConfig, VendorConfig
from nodes.network_setup import HospitalPlan, NetworkPlan, VendorPlan
from tests.project.tree import ROOT, modules

README = ROOT / "README.md"
FOLDERS = ("*.md", "docs/**/*.md", "network-configs/**/*.md")
DOCUMENTS = sorted(path for pattern in FOLDERS for path in ROOT.glob(pattern))
README_COLUMNS = 140

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(
    r"(?:\./)?(?:ledger|contracts|nodes|tests|scripts|docs|network-configs)/[\w./*-]*"
)
COMMAND = re.compile(r"(?:^|[\s`])yilian((?: [^\s`|;&>]+)+)")


def text(document: Path) -> str:
    """Text of a document."""
    return document.read_text(encoding="utf-8")


def shown_at(document: Path) -> str:
    """Where a document is, for a message."""
    return str(document.relative_to(ROOT))


def code_of(document: str) -> Iterator[str]:
    """Everything in a document that is set as code."""
    for match in FENCE.finditer(document):
        yield match[2]
    for line in FENCE.sub("", document).splitlines():
        yield from ([line] if line.startswith("    ") else INLINE.findall(line))


def headings(document: str) -> set[str]:
    """Anchors of a document's headings, as forges make them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", document), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def broken_links(document: Path, content: str) -> Iterator[str]:
    """Relative links that lead nowhere, or to a heading that is not there."""
    for target in LINK.findall(FENCE.sub("", content)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in headings(text(file))):
            yield target


def missing_paths(content: str) -> Iterator[str]:
    """Paths of this project that are shown as code and do not exist."""
    for piece in code_of(content):
        for path in PATH.findall(piece):
            if not any(ROOT.glob(path.removeprefix("./").rstrip("/."))):
                yield path


def wrong_commands(content: str) -> Iterator[str]:
    """``yilian`` commands that are shown as code and that the program would not take."""
    for piece in code_of(content):
        for line in piece.splitlines():
            for shown in COMMAND.findall(line):
                if not accepts(shown.split()):
                    yield shown.strip()


def accepts(words: list[str]) -> bool:
    """Whether a command of these words exists and has the options that are among them."""
    # The types of the command tree are those of the library under typer, whichever it is.
    command: Any = get_command(app)
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return words[0] in ("...", "--help")
        command, words = command.commands[words[0]], words[1:]
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    return all(word.split("=")[0] in options for word in words if word.startswith("--"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown_at)
def test_links_lead_somewhere(document: Path) -> None:
    assert list(broken_links(document, text(document))) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown_at)
def test_paths_exist(document: Path) -> None:
    assert list(missing_paths(text(document))) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown_at)
def test_commands_exist(document: Path) -> None:
    assert list(wrong_commands(text(document))) == []


def test_the_readme_opens_with_the_two_commands() -> None:
    first = FENCE.search(text(README))
    assert first is not None
    lines = [line for line in first[2].splitlines() if line.strip()]
    assert [line.split()[0] for line in lines] == ["./scripts/demo", "./scripts/test"]
    assert text(README).index("```") < text(README).index("\n## ")


def test_the_readme_fits_its_columns() -> None:
    assert [line for line in text(README).splitlines() if len(line) > README_COLUMNS] == []


def test_the_readme_runs_every_kind_of_command() -> None:
    tree: Any = get_command(app)
    shown = {words.split()[0] for words in COMMAND.findall(" ".join(code_of(text(README))))}
    assert set(tree.commands) - {"genesis"} <= shown


@pytest.mark.parametrize(
    "model",
    [
        NodeConfig, GatewayConfig, VendorConfig, ReleaseConfig, StoreConfig,
        NetworkPlan, HospitalPlan, VendorPlan,
    ],
)  # fmt: skip
def test_the_manual_names_every_key_of_the_configuration(model: type[Model]) -> None:
    manual = " ".join(INLINE.findall(text(ROOT / "docs/operations.md")))
    missing = {key for key in model.model_fields if not re.search(rf"\b{key}\b", manual)}
    assert missing == set()


def test_the_manual_names_errors_that_exist() -> None:
    rows = text(ROOT / "docs/operations.md").split("| error | do |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", rows))
    everything = "\n".join(m.text for m in modules("ledger", "contracts", "nodes").values())
    assert named
    assert {name for name in named if f"class {name}(" not in everything} == set()


CODE = re.compile(r"[a-z-]+/[a-z-]+")
REFUSALS = {"Problem", "Receipt", "Refused", "SubmitResult", "TransactionRefused"}
OF_EVERY_CONTRACT = {"unknown-action", "bad-arguments", "not-permitted"}


def codes_in(trees: Iterable[ast.AST]) -> set[str]:
    """Codes with which something is refused, where they stand as a text or a constant."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    constants = {
        target.id: node.value.value
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    values = [
        argument.value if isinstance(argument, ast.Constant) else constants.get(argument.id)
        for node in nodes
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in REFUSALS
        for argument in node.args
        if isinstance(argument, ast.Constant | ast.Name)
    ]
    return {each for each in values if isinstance(each, str) and CODE.fullmatch(each)}


def test_every_code_is_explained_and_none_that_there_is_not() -> None:
    sources = modules("ledger", "contracts", "nodes").values()
    used = codes_in(ast.parse(module.text) for module in sources)
    page = text(ROOT / "docs/codes.md")
    explained = {each for each in INLINE.findall(page) if CODE.fullmatch(each)}
    assert len(used) > 80
    general = {each for each in used if each.partition("/")[2] in OF_EVERY_CONTRACT}
    assert used - general - explained == set()
    # Some are put together, as share/ and why it is closed.
    everything = "\n".join(module.text for module in sources)
    reasons = {each.partition("/")[2] for each in explained - used}
    assert {reason for reason in reasons if f'"{reason}"' not in everything} == set()


def test_every_decision_is_listed() -> None:
    pages = {path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md")}
    assert set(LINK.findall(text(ROOT / "docs/adr/README.md"))) == pages


@pytest.mark.parametrize("page", sorted((ROOT / "docs/adr").glob("[0-9]*.md")), ids=shown_at)
def test_every_decision_says_what_it_costs(page: Path) -> None:
    assert {"context", "options", "decision", "consequences"} <= headings(text(page))
    assert "\n- Bad: " in text(page)


def test_the_rules_notice() -> None:
    forged = (
        "[a](nowhere.md) [b](#no-such-heading) `ledger/nothing.py` `scripts/no`\n"
        "```sh\nyilian fly\nyilian node run node.toml --fast\nyilian status net --json\n```\n"
    )
    assert list(broken_links(README, forged)) == ["nowhere.md", "#no-such-heading"]
    assert sorted(missing_paths(forged)) == ["ledger/nothing.py", "scripts/no"]
    assert list(wrong_commands(forged)) == ["fly", "node run node.toml --fast"]
