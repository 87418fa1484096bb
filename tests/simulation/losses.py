"""What the disks of a few members lose for good, and what their operators do about it.

At most f members lose something or lie, together, so that a good copy of everything exists and
each failure is a bug. An operator does what ``docs/operations.md`` says: a damaged ledger is
moved aside and fetched again, the safety file stays where it is. Whoever lost or turned back a
safety file is faulty from then on: it observes, or, if nothing can tell, it may vote twice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from tests.simulation.disk import SAFETY_FILE, Disk, DiskStorage
from tests.simulation.violation import Violation

LEDGER_LOSSES = ("bit rot in ledger", "misdirected write", "ledger lost")
SAFETY_LOSSES = (
    "bit rot in safety file",
    "safety file cut off",
    "safety file wiped",
    "safety file from backup",
    "both from backup",
)
LOSSES = (*LEDGER_LOSSES, *SAFETY_LOSSES)


class Machines(Protocol):
    """As much of the swarm as losses need."""

    disks: list[Disk]
    random: Random

    def note(self, fault: str) -> None:
        """Counts it."""

    def kill(self, *indexes: int) -> None:
        """Ends processes."""

    def start(self, *indexes: int) -> None:
        """Starts processes."""

    def storage(self, index: int) -> DiskStorage:
        """The ledger database of a node."""

    def use_storage(self, index: int, storage: DiskStorage) -> None:
        """Puts another one in its place; the chain in it may be shorter."""


@dataclass(frozen=True)
class _Backup:
    """Copies of one moment."""

    ledger: dict[bytes, bytes]
    safety: bytes


class Losses:
    """Strikes the machines of ``members`` and keeps account."""

    def __init__(self, machines: Machines, members: tuple[int, ...]) -> None:
        self._machines, self._members, self._random = machines, members, machines.random
        self.forgetful: set[int] = set()
        """Nodes that cannot know any more what they signed."""
        self.must_observe: set[int] = set()
        """Of those, the ones whose disks show it."""
        self._backups: dict[int, _Backup] = {}
        self._strikes: dict[str, Callable[[int], bool]] = {
            "bit rot in ledger": lambda i: self._damage(i, machines.storage(i).rot),
            "misdirected write": lambda i: self._damage(i, machines.storage(i).misdirect),
            "ledger lost": self._lose_ledger,
            "bit rot in safety file": self._rot_safety,
            "safety file cut off": self._cut_safety,
            "safety file wiped": self._wipe_safety,
            "safety file from backup": lambda i: self._restore(i, ledger=False),
            "both from backup": lambda i: self._restore(i, ledger=True),
        }

    def strike(self) -> None:
        """One member loses something, or takes a backup that will be too old later."""
        index = self._random.choice(self._members)
        if index not in self._backups or self._random.random() < 0.1:
            self._take_backup(index)
        # A member whose votes are lost has nothing more to lose but its chain.
        left = LEDGER_LOSSES if index in self.forgetful else LOSSES
        name = self._random.choice(left)
        if self._strikes[name](index):
            self._machines.note(name)

    def move_aside(self, index: int) -> None:
        """The operator's answer to a damaged ledger: an empty folder, the same safety file."""
        self._machines.kill(index)
        disk = self._machines.disks[index]
        disk.rot_found = False
        self._machines.use_storage(index, DiskStorage(disk))

    def replace_rotten(self) -> None:
        """Operators look at all disks, and replace ledgers whose damage nobody has read yet."""
        for index in range(len(self._machines.disks)):
            if self._machines.storage(index).rotten:
                self.move_aside(index)

    def renewed(self, index: int) -> None:
        """It has a new key, and remembers all that it will sign with it."""
        self.forgetful.discard(index)
        self.must_observe.discard(index)
        self._backups.pop(index, None)

    def check_vote(self, index: int, votes: bool) -> None:
        """A2: a node that starts votes if and only if it may know what it signed."""
        if index in self.must_observe and votes:
            raise Violation("A2", f"validator {index} votes without its memory of votes")
        if index not in self.forgetful and not votes:
            raise Violation("A2", f"validator {index} observes although its votes are there")

    def _damage(self, index: int, damage: Callable[[Random], bool]) -> bool:
        """Caches hide it from a running process; one that starts reads what is newest."""
        damaged = damage(self._random)
        if self._random.random() < 0.5:
            self._machines.kill(index)
            self._machines.start(index)
        return damaged

    def _lose_ledger(self, index: int) -> bool:
        self.move_aside(index)
        return True

    def _forgets(self, index: int, shows: bool) -> bool:
        self.forgetful.add(index)
        if shows:
            self.must_observe.add(index)
        return True

    def _take_backup(self, index: int) -> None:
        storage = self._machines.storage(index)
        if storage.rotten or index in self.forgetful:
            return
        safety = self._machines.disks[index].files[SAFETY_FILE].data
        self._backups[index] = _Backup(storage.copy(), bytes(safety))

    def _rot_safety(self, index: int) -> bool:
        self._machines.kill(index)
        disk = self._machines.disks[index]
        size = disk.middle_of_safety_file()
        if size == 0:
            return False  # what is torn at the end cannot be told from what was never written
        disk.flip(SAFETY_FILE, self._random.randrange(size), self._random.randrange(8))
        return self._forgets(index, shows=True)

    def _cut_safety(self, index: int) -> bool:
        self._machines.kill(index)
        disk = self._machines.disks[index]
        size = len(disk.files[SAFETY_FILE].data)
        disk.put(SAFETY_FILE, bytes(disk.files[SAFETY_FILE].data[: self._random.randrange(size)]))
        return self._forgets(index, shows=False)

    def _wipe_safety(self, index: int) -> bool:
        self._machines.kill(index)
        del self._machines.disks[index].files[SAFETY_FILE]
        return self._forgets(index, shows=True)

    def _restore(self, index: int, ledger: bool) -> bool:
        backup = self._backups.get(index)
        if backup is None:
            return False
        self._machines.kill(index)
        disk = self._machines.disks[index]
        disk.put(SAFETY_FILE, backup.safety)
        if ledger:
            disk.rot_found = False
            self._machines.use_storage(index, DiskStorage(disk, backup.ledger))
        return self._forgets(index, shows=False)
