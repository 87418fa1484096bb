"""What clients did and were told: the history that the checker judges, kept as JSON lines too."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"


@dataclass
class Operation:
    """One operation of one client. Times are nanoseconds of one monotonic clock."""

    number: int
    kind: str
    """"append", "cas", "grant", "revoke", "read" or "fresh"."""
    invoked_ns: int
    id: str = ""
    """Transaction id in hex; empty for a fresh read."""
    completed_ns: int | None = None
    """None where no answer came."""
    outcome: str = UNKNOWN
    height: int | None = None
    """Of the acknowledgement; of a fresh read, the height of the newest proof."""
    index: int | None = None
    receipt: str = ""
    """Encoded receipt in hex, as the server gave it."""
    server: str = ""
    """Who acknowledged."""
    key: str = ""
    """State key that a fresh read asked for, in hex."""
    value: str | None = None
    """What it read, in hex; None where the key is proved absent."""
    observed: dict[str, int] = field(default_factory=dict)
    """Heights that each server proved to a fresh read."""


class History:
    """All operations, in the order in which they were invoked."""

    def __init__(self, file: Path) -> None:
        self.operations: list[Operation] = []
        self._file = file

    def begin(self, kind: str, now_ns: int, **fields: str) -> Operation:
        """A new operation, invoked now."""
        operation = Operation(len(self.operations), kind, now_ns, **fields)
        self.operations.append(operation)
        return operation

    def save(self) -> None:
        """Writes all of it, one operation a line."""
        with self._file.open("w", encoding="utf-8") as file:
            for operation in self.operations:
                file.write(json.dumps(asdict(operation)) + "\n")
