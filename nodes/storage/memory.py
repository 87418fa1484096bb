"""The Storage port in memory: for the simulator and for tests of what stands on a store.

Values are sealed and checked as in production, so that the simulator may damage them.
"""

from collections.abc import Iterator, Sequence

from nodes.ports import Put, StorageView
from nodes.storage.envelope import seal, unseal
from nodes.storage.errors import StoragePoisoned

_PATH = "memory"


class MemoryStorage:
    """Keys and sealed values in a dict; nothing survives the process."""

    def __init__(self) -> None:
        self._sealed: dict[bytes, bytes] = {}
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        """The value, or None; raises StorageCorrupt."""
        self._check_open()
        stored = self._sealed.get(key)
        return None if stored is None else unseal(_PATH, key, stored)

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All keys that begin with ``prefix``, from ``start`` on, as of this call."""
        self._check_open()
        chosen = sorted(key for key in self._sealed if key.startswith(prefix) and key >= start)
        rows = [(key, self._sealed[key]) for key in chosen]
        return ((key, unseal(_PATH, key, stored)) for key, stored in rows)

    def view(self) -> StorageView:
        """What it holds now."""
        self._check_open()
        held = MemoryStorage()
        held._sealed = dict(self._sealed)
        return held

    def write(self, batch: Sequence[Put]) -> None:
        """All or nothing."""
        self._check_open()
        for put in batch:
            if put.value is None:
                self._sealed.pop(put.key, None)
            else:
                self._sealed[put.key] = seal(put.key, put.value)

    def close(self) -> None:
        """Further calls raise."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoragePoisoned(_PATH, "it is closed")
