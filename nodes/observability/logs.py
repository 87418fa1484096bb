"""Trace events become log lines and counters here, and nowhere else (P4).

A line is one JSON object: time, level, event, and typed fields. Fields are integers or short
texts; the text of an exception is never logged, because libraries put their input into it.
"""

import logging
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

import structlog

from nodes.ports import TraceSink

TEXT_CHARACTERS_MAX = 200
"""Longer texts are cut: a log line is no place for documents."""
LEVELS = ("debug", "info", "warning", "error")

_ALARMS = frozenset(
    {
        "accept_failed",
        "block_refused",
        "disk_low",
        "equivocation",
        "frame_failed",
        "index_failed",
        "observing_only",
        "peer_fault",
        "peer_replaced",
        "record_altered",
        "record_not_verified",
        "request_failed",
        "stopped",
    }
)
_DETAILS = frozenset({"behind", "committed", "request_answered"})


class LogSink:
    """A TraceSink that writes JSON lines and counts events by name."""

    def __init__(
        self, level: str = "info", stream: TextIO | None = None, **context: int | str
    ) -> None:
        """``context``, such as the member's id, is part of every line."""
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
        write = self._log.info
        if event in _ALARMS:
            write = self._log.warning
        elif event in _DETAILS:
            write = self._log.debug
        write(event, **{name: _short(value) for name, value in fields.items()})


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
