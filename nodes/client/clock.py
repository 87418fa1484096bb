"""The clock of clients."""

import time

from ledger.primitives import TimestampMs


def wall_ms() -> TimestampMs:
    """UTC as this machine believes it."""
    return TimestampMs(time.time_ns() // 1_000_000)
