"""The Storage port on LevelDB (L1 to L4). The only module that imports plyvel.

LevelDB neither checks what it reads nor syncs what it writes unless told, so it is told each
time; and each value carries a CRC-32 of its key and itself, checked on every read.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import plyvel

from ledger.errors import WorldFault
from nodes.ports import Put, StorageView
from nodes.storage.envelope import seal, unseal
from nodes.storage.errors import (
    NotADatabase,
    StorageCorrupt,
    StorageLocked,
    StoragePoisoned,
    StorageUnavailable,
    StorageWriteFailed,
)


class _Source(Protocol):
    """What plyvel's database and its snapshots have in common."""

    def get(self, key: bytes, *, verify_checksums: bool) -> bytes | None: ...

    def iterator(
        self, *, start: bytes, verify_checksums: bool
    ) -> AbstractContextManager[Iterator[tuple[bytes, bytes]]]: ...


_BLOOM_BITS = 10
_WRITE_BUFFER_BYTES = 16 * 1024 * 1024
_BLOCK_CACHE_BYTES = 32 * 1024 * 1024
_OPEN_FILES_MAX = 200


class LevelDbStorage:
    """One database directory, opened by one process, written by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or creates it; raises NotADatabase, StorageLocked, StorageCorrupt or
        StorageUnavailable."""
        self._path = str(path)
        self._poison: str | None = None
        _check_directory(path)
        self._lock = _lock(path)
        try:
            self._db = plyvel.DB(
                self._path,
                create_if_missing=True,
                paranoid_checks=True,
                bloom_filter_bits=_BLOOM_BITS,
                write_buffer_size=_WRITE_BUFFER_BYTES,
                lru_cache_size=_BLOCK_CACHE_BYTES,
                max_open_files=_OPEN_FILES_MAX,
            )
        except (plyvel.Error, OSError) as error:
            os.close(self._lock)
            raise _opening_fault(self._path, error) from None

    def get(self, key: bytes) -> bytes | None:
        """The value, or None; raises StorageCorrupt, or StoragePoisoned after a failed write."""
        return self._get(self._db, key)

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All keys that begin with ``prefix``, from ``start`` on, as of the first step."""
        return self._scan(self._db, prefix, start)

    def view(self) -> StorageView:
        """What it holds now, at no cost but that overwritten values are not dropped yet."""
        self._check_usable()
        return _View(self, self._db.snapshot())

    def _get(self, source: _Source, key: bytes) -> bytes | None:
        self._check_usable()
        try:
            stored = source.get(key, verify_checksums=True)
        except (plyvel.Error, OSError) as error:
            raise StorageCorrupt(self._path, _text(error)) from None
        return None if stored is None else unseal(self._path, key, stored)

    def _scan(self, source: _Source, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._check_usable()
        try:
            first = max(prefix, start)
            with source.iterator(start=first, verify_checksums=True) as rows:
                for key, stored in rows:
                    if not key.startswith(prefix):
                        break
                    yield key, unseal(self._path, key, stored)
        except (plyvel.Error, OSError) as error:
            raise StorageCorrupt(self._path, _text(error)) from None

    def write(self, batch: Sequence[Put]) -> None:
        """All or nothing, synced when it returns; raises StorageWriteFailed and is then poisoned.

        After a failure LevelDB's log may have a hole that hides later writes, so that nothing
        may be written, and nothing that was read may be relied on, until the next start.
        """
        self._check_usable()
        try:
            with self._db.write_batch(transaction=True, sync=True) as target:
                for put in batch:
                    if put.value is None:
                        target.delete(put.key)
                    else:
                        target.put(put.key, seal(put.key, put.value))
        except (plyvel.Error, OSError) as error:
            self._poison = "an earlier write failed"
            raise StorageWriteFailed(self._path, _text(error)) from None

    def close(self) -> None:
        """Releases the lock; further calls raise StoragePoisoned."""
        if not self._db.closed:
            self._poison = self._poison or "it is closed"
            self._db.close()
            os.close(self._lock)

    def _check_usable(self) -> None:
        if self._poison is not None:
            raise StoragePoisoned(self._path, self._poison)


class _View:
    """The database as it was; usable as long as its store is."""

    def __init__(self, storage: LevelDbStorage, source: _Source) -> None:
        self._storage = storage
        self._source = source

    def get(self, key: bytes) -> bytes | None:
        return self._storage._get(self._source, key)

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return self._storage._scan(self._source, prefix, start)


def _text(error: Exception) -> str:
    """What went wrong, for people; plyvel gives bytes, in which a path is not readable."""
    first = error.args[0] if error.args else ""
    return first.decode(errors="backslashreplace") if isinstance(first, bytes) else str(error)


def _opening_fault(path: str, error: Exception) -> WorldFault:
    text = _text(error)
    # A MANIFEST or CURRENT that is missing or torn comes under other names than corruption.
    damaged = ("MANIFEST", "CURRENT", "missing files")
    if isinstance(error, plyvel.CorruptionError) or any(word in text for word in damaged):
        return StorageCorrupt(path, text)
    return StorageUnavailable(path, text)


def _lock(path: Path) -> int:
    """Holds the directory until the descriptor is closed; raises StorageLocked.

    LevelDB's own lock is lost when this process merely tries to open the directory again: it is
    a POSIX lock, which the closing of any descriptor of the file releases.
    """
    file = os.open(path / "LOCK.process", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise StorageLocked(str(path)) from None
    return file


def _check_directory(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise NotADatabase(str(path), "a file")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = os.listdir(path)
    except OSError as error:
        raise StorageUnavailable(str(path), error.strerror or type(error).__name__) from None
    if names and "CURRENT" not in names:
        # An interrupted first start leaves files of LevelDB's own without CURRENT.
        foreign = [name for name in names if not name.startswith(("LOCK", "LOG", "MANIFEST"))]
        if any(name.endswith((".ldb", ".log")) for name in foreign):
            raise StorageCorrupt(str(path), "the file CURRENT is missing")
        if any(not name.endswith(".dbtmp") for name in foreign):
            raise NotADatabase(str(path), f"it holds {len(foreign)} other files")
