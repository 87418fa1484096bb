"""A simulated disk under the production stores: every effect is a point at which power may fail.

``DiskSystem`` takes the place of the ``os`` module in ``nodes.storage.safety_store``, so the very
code that writes the safety file on real machines runs here. What was not synced may be lost, in
whole or behind any byte; a rename may be undone until its directory is synced.
"""

import errno
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import cast
from unittest.mock import patch

from nodes.ports import Put
from nodes.storage import safety_store
from nodes.storage.errors import StorageCorrupt, StoragePoisoned, StorageWriteFailed
from nodes.storage.memory import MemoryStorage
from tests.simulation.cluster import Crash
from tests.simulation.violation import Violation

STATE_COLUMNS = bytes(range(1, 7))
"""First bytes of the keys that hold state; all others are blocks and what proves them."""
SAFETY_FILE = "votes"
_RECORD_MARKER = b"\xf5VOT"
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
        self.sync_fails = False
        """Whether the next sync gives an I/O error."""
        self.rot_found = False
        """Whether the process read something that is not what was written."""
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
        self.sync_fails = False

    def sync_error(self) -> bool:
        """Whether this sync fails; the process must not go on after it."""
        if self.sync_fails:
            self.failed, self.sync_fails = True, False
            self.faults["sync error"] += 1
        return self.failed

    def middle_of_safety_file(self) -> int:
        """So many of its first bytes are before a whole record: a bit that flips there shows.

        The last record may be torn, so it is the last but one that counts.
        """
        data = self.files[SAFETY_FILE].data
        return max(0, data.rfind(_RECORD_MARKER, 0, max(0, data.rfind(_RECORD_MARKER))))

    def flip(self, name: str, place: int, bit: int) -> None:
        """Bit rot."""
        self.files[name].data[place] ^= 1 << bit

    def put(self, name: str, data: bytes) -> None:
        """Other content, as somebody with a backup or a broken disk would leave it."""
        self.files[name] = _File(bytearray(data), len(data))


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
        if disk.sync_error():
            raise OSError(errno.EIO, "Input/output error")
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
    """The ledger database of a disk: a batch is there as a whole or not at all (L1).

    It may rot; the production checksums must find that out whenever it is read (L2).
    """

    def __init__(self, disk: Disk, sealed: Mapping[bytes, bytes] | None = None) -> None:
        """``sealed`` is what a backup holds."""
        super().__init__()
        self._disk = disk
        self._sealed.update(sealed or {})
        self.rotten: set[bytes] = set()
        """Keys whose bytes are not those that were written."""

    def get(self, key: bytes) -> bytes | None:
        """Raises Violation where rot passes for a value."""
        try:
            value = super().get(key)
        except StorageCorrupt:
            self._disk.rot_found = True
            raise
        if key in self.rotten:
            raise Violation("L2", f"a damaged value in column {key[0]} is believed")
        return value

    def view(self) -> "DiskStorage":
        """What it holds now, with the rot that is in it."""
        self._check_open()
        held = DiskStorage(self._disk, self._sealed)
        held.rotten = set(self.rotten)
        return held

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """As ``get``, for each of them."""
        rows = super().scan(prefix, start)
        while True:
            try:
                key, value = next(rows)
            except StopIteration:
                return
            except StorageCorrupt:
                self._disk.rot_found = True
                raise
            if key in self.rotten:
                raise Violation("L2", f"a damaged value in column {key[0]} is believed")
            yield key, value

    def write(self, batch: Sequence[Put]) -> None:
        """Raises StorageWriteFailed where the batch does not fit, StoragePoisoned after that."""
        if self._disk.failed:
            raise StoragePoisoned("simulated disk", "an earlier write failed")
        self._disk.fuse.burn("before commit")
        size = sum(len(put.key) + len(put.value or b"") for put in batch)
        if self._disk.take(size) < size:
            raise StorageWriteFailed("simulated disk", "No space left on device")
        super().write(batch)
        self.rotten -= {put.key for put in batch}
        self._disk.fuse.burn("after commit")

    def copy(self) -> dict[bytes, bytes]:
        """A backup."""
        return dict(self._sealed)

    def rot(self, random: Random) -> bool:
        """One bit of one stored value flips, if there is any."""
        if not self._sealed:
            return False
        key = self._any_key(random)
        data = bytearray(self._sealed[key])
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        self._sealed[key] = bytes(data)
        self.rotten.add(key)
        return True

    def misdirect(self, random: Random) -> bool:
        """What was written for one key lies under another; whether that changes anything."""
        if not self._sealed:
            return False
        key, other = self._any_key(random), self._any_key(random)
        # What is rotten may be this key's own value of before, which no checksum tells from a new.
        if self._sealed[key] == self._sealed[other] or other in self.rotten:
            return False
        self._sealed[key] = self._sealed[other]
        self.rotten.add(key)
        return True

    def _any_key(self, random: Random) -> bytes:
        # Among the keys of a first byte that is drawn: there are few blocks and many values.
        first = random.choice(sorted({key[0] for key in self._sealed}))
        keys = sorted(key for key in self._sealed if key[0] == first)
        # The newest block is read again soon: when the process starts, and by those behind.
        return keys[-1] if random.random() < 0.5 else random.choice(keys)

    def state_digest(self) -> bytes | None:
        """Of an ordered dump of all state columns, past the store's caches; None if it rots."""
        if self.rotten:
            return None
        digest = sha256()
        for key in sorted(key for key in self._sealed if key[0] in STATE_COLUMNS):
            value = self._sealed[key]
            digest.update(b"%d %d " % (len(key), len(value)) + key + value)
        return digest.digest()
