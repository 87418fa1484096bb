"""The Storage port in memory: for the simulator and for tests of what stands on a store."""

from collections.abc import Iterator, Sequence

from nodes.ports import Put
from nodes.storage.errors import StoragePoisoned


class MemoryStorage:
    """Keys and values in a dict; nothing survives the process."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        self._check_open()
        return self._values.get(key)

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All keys that begin with ``prefix``, from ``start`` on, as of this call."""
        self._check_open()
        chosen = (i for i in self._values.items() if i[0].startswith(prefix) and i[0] >= start)
        return iter(sorted(chosen))

    def write(self, batch: Sequence[Put]) -> None:
        """All or nothing."""
        self._check_open()
        for put in batch:
            if put.value is None:
                self._values.pop(put.key, None)
            else:
                self._values[put.key] = put.value

    def close(self) -> None:
        """Further calls raise."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoragePoisoned("memory", "it is closed")
