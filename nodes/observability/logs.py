"""Trace events become log lines and counters here, and nowhere else (P4).

A line is one JSON object: time, level, event, and typed fields. Fields are integers or short
texts; the text of an exception is never logged, because libraries put their input into it.
Whoever makes a node say the same again and again cannot fill its disk: lines of one event about
one peer are limited, and the next one tells how many were left out.
"""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TextIO

import structlog

from nodes.ports import TraceSink
from nodes.token_bucket import TokenBucket

TEXT_CHARACTERS_MAX = 200
"""Longer texts are cut: a log line is no place for documents."""
LINES_PER_SECOND, LINES_BURST = 1, 20
"""Of one event about one peer."""
LEVELS = ("debug", "info", "warning", "error")

_ALARMS = frozenset(
    {
        "accept_failed",
        "block_refused",
        "blocks_gone",
        "disk_low",
        "equivocation",
        "frame_failed",
        "frames_dropped",
        "index_failed",
        "observing_only",
        "peer_fault",
        "peer_replaced",
        "record_altered",
        "record_not_verified",
        "request_failed",
        "snapshot_discarded",
        "stopped",
    }
)
_DETAILS = frozenset({"behind", "committed", "request_answered"})
_COMPLETE = frozenset({"disclosed", "disclosure_refused"}) | _DETAILS
"""Never left out: what an operator may count, and what only level debug shows."""
_SUBJECTS_MAX = 4_096


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class LogSink:
    """A TraceSink that writes JSON lines and counts events by name."""

    def __init__(
        self,
        level: str = "info",
        stream: TextIO | None = None,
        now_ms: Callable[[], int] = _monotonic_ms,
        **context: int | str,
    ) -> None:
        """``context``, such as the member's id, is part of every line."""
        self._now_ms = now_ms
        self._subjects: dict[tuple[str, int | str], _Lines] = {}
        self._log = structlog.wrap_logger(
            structlog.PrintLogger(stream or sys.stderr),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(ensure_ascii=False, sort_keys=True),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        ).bind(**context)
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each event occurred since the process started."""
        return dict(self._counts)

    def emit(self, event: str, /, **fields: int | str) -> None:
        """One event; alarms are written as warnings, chatter only at level debug."""
        self._counts[event] += 1
        if event not in _COMPLETE:
            left_out = self._left_out(event, fields.get("peer", fields.get("validator", "")))
            if left_out is None:
                return
            if left_out:
                fields["left_out"] = left_out
        write = self._log.info
        if event in _ALARMS:
            write = self._log.warning
        elif event in _DETAILS:
            write = self._log.debug
        write(event, **{name: _short(value) for name, value in fields.items()})

    def _left_out(self, event: str, subject: int | str) -> int | None:
        """How many lines were left out before this one; None where it is left out, too."""
        if len(self._subjects) >= _SUBJECTS_MAX:
            self._subjects.clear()
        lines, now = self._subjects.setdefault((event, subject), _Lines()), self._now_ms()
        if lines.budget.left(now) <= 0:
            lines.left_out += 1
            return None
        lines.budget.spend(1, now)
        left_out, lines.left_out = lines.left_out, 0
        return left_out


@dataclass(slots=True)
class _Lines:
    """What may be written of one event about one peer."""

    budget: TokenBucket = field(default_factory=lambda: TokenBucket(LINES_PER_SECOND, LINES_BURST))
    left_out: int = 0


def emit_unexpected(trace: TraceSink, event: str, error: BaseException) -> None:
    """Records where an unforeseen exception was raised, and its kind, but not its text."""
    trace.emit(event, error=type(error).__name__, where=_origin(error.__traceback__))


def _origin(traceback: TracebackType | None) -> str:
    """File and line of the innermost frame."""
    where = "unknown"
    while traceback is not None:
        file = Path(traceback.tb_frame.f_code.co_filename).name
        where = f"{file}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return where


def _short(value: int | str) -> int | str:
    if isinstance(value, str) and len(value) > TEXT_CHARACTERS_MAX:
        return value[:TEXT_CHARACTERS_MAX]
    return value
