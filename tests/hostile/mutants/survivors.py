"""The mutants that nobody notices, each with the reason why it may live: ``survivors.json``."""

import json
from collections.abc import Iterator, Mapping, Set
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.hostile.mutants.edits import JAVASCRIPT, PYTHON, Identity, Mutant
from tests.project.tree import ROOT

FILE = Path(__file__).parents[1] / "survivors.json"
PAGE = ROOT / "docs" / "mutants-light.md"
LANGUAGES = {"Python": PYTHON, "JavaScript": JAVASCRIPT}

Reasons = dict[Identity, str]


def explained() -> Reasons:
    """The reason of each mutant that may live."""
    return {_read(row): row["reason"] for row in json.loads(_text())["survivors"]}


def counted() -> dict[str, int]:
    """Mutants of each language at the last full run."""
    found: dict[str, int] = json.loads(_text())["mutants"]
    return found


def write(reasons: Mapping[Identity, str], mutants: Mapping[str, int]) -> None:
    """Writes the table and its page."""
    rows = [_written(identity) | {"reason": reasons[identity]} for identity in sorted(reasons)]
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    text = f'{{\n "mutants": {json.dumps(dict(mutants))},\n "survivors": [\n{lines}\n ]\n}}\n'
    FILE.write_text(text, encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def wrong(
    judged: Set[Identity], survived: Set[Identity], existing: Set[Identity], reasons: Reasons
) -> Iterator[str]:
    """What a run has against the table: each line a reason to fail."""
    for identity in sorted(survived - reasons.keys()):
        yield f"not explained: {show(identity)}"
    for identity in sorted(reasons.keys() - existing):
        yield f"explained, but no longer there: {show(identity)}"
    for identity in sorted((reasons.keys() & judged) - survived):
        yield f"explained, but noticed: {show(identity)}"


def sample(of: Mapping[Identity, Mutant], count: int) -> dict[Identity, Mutant]:
    """Some of them: always the same, and from all files."""
    chosen = sorted(of, key=lambda identity: sha256(show(identity).encode()).digest())[:count]
    return {identity: of[identity] for identity in chosen}


def show(identity: Identity) -> str:
    """A mutant in one line of JSON, as the table has it."""
    return json.dumps(_written(identity), ensure_ascii=False)


def page() -> str:
    """docs/mutants-light.md."""
    reasons, mutants = explained(), counted()
    counts = []
    for language, paths in LANGUAGES.items():
        alive = sum(identity.file in paths for identity in reasons)
        total = mutants[language]
        counts.append(f"{language}: {total - alive} of {total} mutants are noticed")
    lines = [
        "# Mutants of the light clients",
        "",
        f"{'; '.join(counts)}; all others are below, with the reason why nobody can notice them."
        " `./scripts/mutate` makes each comparison, condition and refusal of the verifiers wrong,"
        " one at a time, judges it by all vectors (and, for what only Python makes, by the unit"
        " tests), and writes this page from `tests/hostile/survivors.json`.",
        "It fails where a mutant survives that is not explained, and where an explained one is"
        " noticed or no longer there. `./scripts/test` judges a few mutants of each language.",
    ]
    for file, group in groupby(sorted(reasons), key=lambda identity: identity.file):
        lines += ["", f"## `{file}`", "", "| in | mutant | why it may live |", "|---|---|---|"]
        lines += [_row(identity, reasons[identity]) for identity in group]
    return "\n".join([*lines, ""])


def _row(identity: Identity, reason: str) -> str:
    before, after = (_code(each) for each in (identity.before, identity.after))
    return f"| {_code(identity.function)} | {before}<br>→ {after} | {reason} |"


def _code(text: str) -> str:
    """Code in a cell of a table."""
    escaped = text.replace("|", "\\|")
    mark = "``" if "`" in text else "`"
    return f"{mark} {escaped} {mark}" if "`" in text else f"{mark}{escaped}{mark}"


def _text() -> str:
    return FILE.read_text(encoding="utf-8")


def _written(identity: Identity) -> dict[str, Any]:
    found: dict[str, Any] = {
        "file": identity.file,
        "function": identity.function,
        "before": identity.before,
        "after": identity.after,
    }
    return found if identity.place == 1 else found | {"place": identity.place}


def _read(row: Mapping[str, Any]) -> Identity:
    return Identity(row["file"], row["function"], row["before"], row["after"], row.get("place", 1))
