"""Events of the log: what an operator must see is a warning, and is told in the manual."""

import ast
import io
import json
from collections.abc import Iterator

import pytest

from ledger.consensus import replica
from nodes.observability.logs import LogSink
from tests.project.tree import ROOT, modules


def emitted(*functions: str) -> Iterator[str]:
    """Names of the events that shipped code emits, where they are literals."""
    for module in modules("nodes").values():
        for node in ast.walk(module.syntax):
            if not isinstance(node, ast.Call):
                continue
            if getattr(node.func, "attr", getattr(node.func, "id", "")) in functions:
                yield from (
                    item.value
                    for item in node.args[:2]
                    if isinstance(item, ast.Constant) and isinstance(item.value, str)
                )


def noted() -> set[str]:
    """Names that the consensus core notes, by literals in its source."""
    syntax = modules("ledger")[replica.__name__].syntax
    calls = [node for node in ast.walk(syntax) if isinstance(node, ast.Call)]
    named = [c for c in calls if getattr(c.func, "attr", "") in ("Note", "_leave_view")]
    return {c.args[0].value for c in named if isinstance(c.args[0], ast.Constant)}


def level_of(event: str) -> str:
    """The level of an event's line."""
    stream = io.StringIO()
    LogSink("debug", stream).emit(event)
    return str(json.loads(stream.getvalue())["level"])


UNEXPECTED = sorted(set(emitted("emit_unexpected")))


def test_the_search_finds_events() -> None:
    assert {"request_failed", "frame_failed"} <= set(UNEXPECTED)
    assert {"no_progress", "view_change"} <= noted()


@pytest.mark.parametrize("event", [*UNEXPECTED, "index_failed", "record_not_verified"])
def test_P4_what_should_not_happen_is_a_warning(event: str) -> None:
    assert level_of(event) == "warning"


def test_the_manual_tells_every_event_and_its_level() -> None:
    told: dict[str, str] = {}
    for line in (ROOT / "docs/operations.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 4 and cells[2] in ("debug", "info", "warning"):
            told |= {name.strip("` "): cells[2] for name in cells[1].split(",")}
    events = set(emitted("emit", "emit_unexpected")) | noted()
    assert told == {event: level_of(event) for event in events}
