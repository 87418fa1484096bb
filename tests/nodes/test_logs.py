"""Events of the log: what an operator must see is a warning, and is told in the manual."""

import ast
import io
import json
from collections.abc import Iterator

import pytest

from ledger.consensus import replica
from nodes.observability.logs import LINES_BURST, LINES_PER_SECOND, LogSink
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


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_R3_a_peer_that_repeats_itself_does_not_fill_the_log() -> None:
    stream, now = io.StringIO(), [0]
    sink = LogSink("info", stream, lambda: now[0])
    for _ in range(10_000):
        sink.emit("peer_fault", peer="hospital-4", reason="junk")
        now[0] += 1
    sink.emit("peer_fault", peer="hospital-1", reason="once")
    lines = lines_of(stream)
    assert LINES_BURST <= len(lines) <= LINES_BURST + 10 * LINES_PER_SECOND + 1
    assert lines[-1]["peer"] == "hospital-1"
    assert "left_out" not in lines[0]
    shown = sum(1 + int(line.get("left_out", 0)) for line in lines[:-1])
    assert 10_000 - 1_100 < shown <= 10_000
    assert sink.counts == {"peer_fault": 10_001}


def test_R3_limits_of_the_log_are_for_each_event_and_disclosures_are_all_written() -> None:
    stream = io.StringIO()
    sink = LogSink("info", stream, lambda: 0)
    for _ in range(500):
        sink.emit("disclosed", action="disclose")
        sink.emit("peer_refused", reason="stranger")
        sink.emit("equivocation", validator=1)
        sink.emit("equivocation", validator=2)
    sink.emit("stopped", reason="end")
    events = [line["event"] for line in lines_of(stream)]
    assert events.count("disclosed") == 500
    assert events.count("peer_refused") == LINES_BURST
    assert events.count("equivocation") == 2 * LINES_BURST
    assert events[-1] == "stopped"


def test_R3_subjects_of_the_log_are_bounded() -> None:
    sink = LogSink("info", io.StringIO(), lambda: 0)
    for number in range(10_000):
        sink.emit("peer_fault", peer=f"made up {number}", reason="junk")
    assert len(sink._subjects) <= 4_096
