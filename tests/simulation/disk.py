"""A simulated disk under the production stores: every effect is a point at which power may fail.

``DiskSystem`` takes the place of the ``os`` module in ``nodes.storage.safety_store``, so the very
code that writes the safety file on real machines runs here. What was not synced may be lost, in
whole or behind any byte; a rename may be undone until its directory is synced.
"""

import errno
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import cast
from unittest.mock import patch

from nodes.ports import Put
from nodes.storage import safety_store
from nodes.storage.errors import StoragePoisoned, StorageWriteFailed
from nodes.storage.memory import MemoryStorage
from tests.simulation.cluster import Crash

STATE_COLUMNS = bytes(range(1, 6))
"""First bytes of the keys that hold state; all others are blocks and what proves them."""
BOUNDARIES = (
    *(f"{side} {effect}" for effect in ("write", "sync", "rename") for side in ("before", "after")),
    *("before commit", "after commit", "before send"),
)
"""Where a process may end, besides between two turns."""


@dataclass
class Fuse:
    """Ends a process at the n-th effect boundary from now; 0 means never."""

    faults: Counter[str]
    left: int = 0
    only: str = ""
    """Which boundaries count; all if empty."""

    def burn(self, boundary: str) -> None:
        """One boundary was reached."""
        if self.left > 0 and self.only in ("", boundary):
            self.left -= 1
            if self.left == 0:
                self.faults["crash " + boundary] += 1
                raise Crash


@dataclass
class _File:
    data: bytearray = field(default_factory=bytearray)
    synced: int = 0
    """So many of the first bytes survive a crash."""
    cut: bytes = b""
    """What an unsynced truncation removed, and a crash may bring back."""


class Disk:
    """The files of one machine and its ledger database."""

    def __init__(self, random: Random, faults: Counter[str]) -> None:
        self.random, self.faults = random, faults
        self.fuse = Fuse(faults)
        self.files: dict[str, _File] = {}
        self.space: int | None = None
        """Bytes that still fit; None while nothing runs short."""
        self.failed = False
        """Whether a write was refused since the process started."""
        self._replaced: dict[str, _File] = {}
        """What unsynced renames replaced."""

    def take(self, size: int) -> int:
        """So many of ``size`` bytes fit."""
        if self.space is None:
            return size
        taken = min(size, self.space)
        self.space -= taken
        if taken < size:
            self.failed = True
            self.faults["disk full"] += 1
        return taken

    def rename(self, old: str, new: str) -> None:
        """Seen at once, durable after ``sync_folder``."""
        if new in self.files:
            self._replaced[new] = self.files[new]
        self.files[new] = self.files.pop(old)

    def sync_folder(self) -> None:
        """Renames are durable."""
        self._replaced.clear()

    def crash(self) -> None:
        """Whatever was not synced is lost, or not, or in part."""
        for name, file in self._replaced.items():
            if self.random.random() < 0.5:
                self.files[name] = file
                self.faults["lost rename"] += 1
        self._replaced.clear()
        for file in self.files.values():
            if file.cut and self.random.random() < 0.5:
                file.data += file.cut
                file.synced = len(file.data)
            file.cut = b""
            if len(file.data) > file.synced:
                keeps = self.random.random() < 0.5
                kept = self.random.randint(file.synced, len(file.data)) if keeps else file.synced
                torn = file.synced < kept < len(file.data)
                self.faults["torn record" if torn else "lost write"] += kept < len(file.data)
                del file.data[kept:]
                file.synced = kept

    def restarted(self) -> None:
        """Another process begins, and somebody has made space."""
        self.failed, self.space, self.fuse.left = False, None, 0


@dataclass(frozen=True)
class DiskPath:
    """As much of pathlib.Path as the safety store uses."""

    disk: Disk
    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def parent(self) -> "DiskPath":
        """The only folder."""
        return DiskPath(self.disk, "/")

    def with_name(self, name: str) -> "DiskPath":
        """A neighbour."""
        return DiskPath(self.disk, name)

    def exists(self) -> bool:
        """Whether there is such a file."""
        return self.name in self.disk.files

    def unlink(self, missing_ok: bool) -> None:
        """Removes it; the safety store removes only what may be missing."""
        assert missing_ok
        self.disk.files.pop(self.name, None)

    def stat(self) -> os.stat_result:
        """Mode 0600; raises FileNotFoundError."""
        if not self.exists():
            raise FileNotFoundError(self.name)
        return os.stat_result((0o100600, *[0] * 9))

    def read_bytes(self) -> bytes:
        """All of it."""
        return bytes(self.disk.files[self.name].data)


class DiskSystem:
    """As much of the ``os`` module as the safety store uses, on simulated disks."""

    O_RDONLY, O_WRONLY, O_APPEND, O_CREAT = os.O_RDONLY, os.O_WRONLY, os.O_APPEND, os.O_CREAT
    O_EXCL, O_CLOEXEC, O_DIRECTORY = os.O_EXCL, os.O_CLOEXEC, os.O_DIRECTORY

    def __init__(self) -> None:
        self._open: dict[int, tuple[Disk, _File | None]] = {}
        self._opened = 0
        self._salts = 0

    def urandom(self, size: int) -> bytes:
        """Never the same twice, and the same in each run."""
        self._salts += 1
        return sha256(b"salt %d" % self._salts).digest()[:size]

    def open(self, path: DiskPath, flags: int, mode: int = 0) -> int:
        """A new descriptor of a file, or of the folder."""
        if flags & os.O_CREAT:
            if path.exists():
                raise FileExistsError(errno.EEXIST, "it exists")
            path.disk.files[path.name] = _File()
        folder = flags & os.O_DIRECTORY
        self._opened += 1
        self._open[self._opened] = path.disk, None if folder else path.disk.files[path.name]
        return self._opened

    def close(self, descriptor: int) -> None:
        """The descriptor is gone."""
        del self._open[descriptor]

    def write(self, descriptor: int, data: bytes) -> int:
        """Appends; raises OSError where nothing fits any more."""
        disk, file = self._file(descriptor)
        disk.fuse.burn("before write")
        taken = disk.take(len(data))
        if taken == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        file.data += data[:taken]
        disk.fuse.burn("after write")
        return taken

    def fdatasync(self, descriptor: int) -> None:
        """What was written to a file survives."""
        disk, file = self._file(descriptor)
        disk.fuse.burn("before sync")
        file.synced, file.cut = len(file.data), b""
        disk.fuse.burn("after sync")

    def fsync(self, descriptor: int) -> None:
        """The same; of a folder, its renames survive."""
        disk, file = self._open[descriptor]
        if file is not None:
            self.fdatasync(descriptor)
            return
        disk.fuse.burn("before sync")
        disk.sync_folder()

    def ftruncate(self, descriptor: int, size: int) -> None:
        """Cuts the end off."""
        _, file = self._file(descriptor)
        file.cut = bytes(file.data[size : file.synced])
        del file.data[size:]
        file.synced = min(file.synced, size)

    def rename(self, old: DiskPath, new: DiskPath) -> None:
        """Replaces ``new``."""
        old.disk.fuse.burn("before rename")
        old.disk.rename(old.name, new.name)
        old.disk.fuse.burn("after rename")

    def _file(self, descriptor: int) -> tuple[Disk, _File]:
        disk, file = self._open[descriptor]
        return disk, cast(_File, file)


@contextmanager
def simulated_disks(rewrite_bytes: int) -> Iterator[None]:
    """Inside, safety stores are on simulated disks, and made anew at ``rewrite_bytes``."""
    with (
        patch.object(safety_store, "os", DiskSystem()),
        patch.object(safety_store, "REWRITE_BYTES", rewrite_bytes),
    ):
        yield


class DiskStorage(MemoryStorage):
    """The ledger database of a disk: a batch is there as a whole or not at all (L1)."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk

    def write(self, batch: Sequence[Put]) -> None:
        """Raises StorageWriteFailed where the batch does not fit, StoragePoisoned after that."""
        if self._disk.failed:
            raise StoragePoisoned("simulated disk", "an earlier write failed")
        self._disk.fuse.burn("before commit")
        size = sum(len(put.key) + len(put.value or b"") for put in batch)
        if self._disk.take(size) < size:
            raise StorageWriteFailed("simulated disk", "No space left on device")
        super().write(batch)
        self._disk.fuse.burn("after commit")

    def state_digest(self) -> bytes:
        """Of an ordered dump of all state columns, past the store's caches."""
        digest = sha256()
        for key in sorted(key for key in self._values if key[0] in STATE_COLUMNS):
            value = self._values[key]
            digest.update(b"%d %d " % (len(key), len(value)) + key + value)
        return digest.digest()
