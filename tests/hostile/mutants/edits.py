"""The mutants: each comparison, condition and refusal of both verifiers, changed one at a time."""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from tests.project.tree import ROOT

PYTHON = (
    "ledger/light/bundles.py",
    "ledger/light/checkpoint.py",
    "ledger/light/consent.py",
    "ledger/light/permissions.py",
    "ledger/light/records.py",
    "ledger/light/saved.py",
    "ledger/light/trust.py",
    "ledger/light/verify.py",
    "ledger/light/view_rules.py",
    "ledger/light/witnesses.py",
    "ledger/types/block.py",
    "ledger/types/certificate.py",
    "ledger/types/entries.py",
    "ledger/types/genesis.py",
    "ledger/types/membership.py",
    "ledger/types/residents.py",
    "ledger/merkle/log_tree.py",
    "ledger/merkle/proof.py",
    "ledger/crypto/keys.py",
    "ledger/crypto/sealing.py",
    "ledger/codec.py",
    "ledger/commitment.py",
    "ledger/primitives.py",
)
JAVASCRIPT = tuple(
    f"nodes/resident/web/light/{name}.js"
    for name in (
        *("bundles", "bytes", "certificate", "checkpoint", "codec", "consent", "disclosure"),
        *("entries", "genesis", "json", "keys", "membership", "merkle", "permissions", "records"),
        *("residents", "saved", "sealing", "trust", "verify", "view_rules", "witnesses"),
    )
)

_SWAPPED = {
    "==": "!=", "!=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">",
    "in": "not in", "not in": "in", "is": "is not", "is not": "is", "and": "or", "or": "and",
}  # fmt: skip
_OPERATOR = re.compile(r"[=!<>]=|[<>]|\b(?:not in|is not|in|is|and|or)\b")
_JS_SWAPPED = {
    " === ": " !== ", " !== ": " === ", " < ": " <= ", " <= ": " < ", " > ": " >= ",
    " >= ": " > ", " && ": " || ", " || ": " && ", "!equal(": "equal(", ".some(": ".every(",
    ".every(": ".some(",
}  # fmt: skip
_HEADS = {
    "py": re.compile(r"(?:async )?(?:def|class) (\w+)"),
    "js": re.compile(
        r"(?:export )?(?:async )?(?:function|class) (\w+)"
        r"|(?!(?:if|for|while|switch|catch)\b)(?:static |async |get )*(#?\w+)\(.*\{$"
    ),
}
"""The first line of a function or class."""


@dataclass(frozen=True, order=True)
class Identity:
    """What names a mutant as long as its own line stays: no numbers of lines or of bytes."""

    file: str
    function: str
    """With the class it is in; empty at the level of the module."""
    before: str
    """Its lines, in one."""
    after: str
    place: int = 1
    """Counts from the top of the file the mutants that are alike in all else."""


@dataclass(frozen=True)
class Mutant:
    """One text edit of one file."""

    path: str
    start: int
    end: int
    new: str
    identity: Identity | None = None
    """None only of the file as it is."""

    def source(self) -> str:
        """The whole file, changed."""
        text = text_of(self.path)
        return text[: self.start] + self.new + text[self.end :]

    def __str__(self) -> str:
        line = text_of(self.path).count("\n", 0, self.start) + 1
        if self.identity is None:
            return f"{self.path}: unchanged"
        return f"{self.path}:{line}: `{self.identity.before}` -> `{self.identity.after}`"


@cache
def text_of(path: str) -> str:
    """A source file."""
    return (ROOT / path).read_text(encoding="utf-8")


def unchanged(path: str) -> Mutant:
    """A mutant that is none: it must survive, or the judge is broken."""
    return Mutant(path, 0, 0, "")


def mutants(paths: Sequence[str] = (*PYTHON, *JAVASCRIPT)) -> dict[Identity, Mutant]:
    """All mutants of these files."""
    found = {}
    for path in paths:
        seen: Counter[Identity] = Counter()
        of = _python if path.endswith(".py") else _javascript
        for start, end, new in sorted(of(text_of(path))):
            alike = identity_of(path, start, end, new, 1)
            seen[alike] += 1
            identity = identity_of(path, start, end, new, seen[alike])
            found[identity] = Mutant(path, start, end, new, identity)
    return found


def identity_of(path: str, start: int, end: int, new: str, place: int) -> Identity:
    """The name of an edit."""
    text = text_of(path)
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", end)
    before, after = text[first:last], text[first:start] + new + text[end:last]
    function = _function(path, text[:last].splitlines(), text.count("\n", 0, first))
    return Identity(path, function, " ".join(before.split()), " ".join(after.split()), place)


def _function(path: str, lines: Sequence[str], line: int) -> str:
    """The functions and classes around a line, outermost first, told by their indentation."""
    head, names, depth = _HEADS[path.rpartition(".")[2]], [], _depth(lines[line])
    for text in reversed(lines[:line]):
        if not text.strip() or text.lstrip()[0] in ")]}*/#":
            continue
        if _depth(text) < depth:
            depth = _depth(text)
            match = head.match(text.lstrip())
            if match:
                names.append(next(filter(None, match.groups())))
    return ".".join(reversed(names))


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


Edit = tuple[int, int, str]
"""From, to (in characters), and what stands there instead."""


def _python(text: str) -> Iterator[Edit]:
    """Every comparison and condition of a module, and every refusal left out."""
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
        if isinstance(node, ast.Compare | ast.BoolOp):
            sides = node.values if isinstance(node, ast.BoolOp) else [node.left, *node.comparators]
            for left, right in pairwise(sides):
                start, end = span(left)[1], span(right)[0]
                operator = _OPERATOR.search(text, start, end)
                assert operator, text[start:end]
                yield *operator.span(), _SWAPPED[operator[0]]
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield span(node)[0], span(node.operand)[0], ""
        elif isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise):
            yield *span(node.test), "False"


def _javascript(text: str) -> Iterator[Edit]:
    """The same of a module in JavaScript, found by its text."""
    comments = [match.span() for match in re.finditer(r"/\*.*?\*/|//[^\n]*", text, re.DOTALL)]

    def is_code(place: int) -> bool:
        return not any(start <= place < end for start, end in comments)

    for old, new in _JS_SWAPPED.items():
        for match in re.finditer(re.escape(old), text):
            if is_code(match.start()):
                yield match.start(), match.end(), new
    for match in re.finditer(r"\bif \(", text):
        end = _closing(text, match.end() - 1)
        if is_code(match.start()) and re.match(r"\)\s*\{?\s*throw\b", text[end:]):
            yield match.end(), end, "false"


def _closing(text: str, opening: int) -> int:
    """Place of the parenthesis that closes the one at ``opening``."""
    depth = 0
    for place in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return len(text)
