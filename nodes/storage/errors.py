"""What may be wrong with a validator's disk, and what to do about each."""

from dataclasses import dataclass

from ledger.errors import WorldFault


@dataclass(eq=False)
class StorageCorrupt(WorldFault):
    """Bytes on disk are not the bytes that were written (L2). Never repaired in place (L4)."""

    path: str
    what: str
    template = (
        "{path}: damaged: {what}. Keep this directory. A validator's: move it aside and start "
        "again, the chain is fetched from its peers. A gateway's: restore its backup"
    )


@dataclass(eq=False)
class StorageLocked(WorldFault):
    """Another process has the database open."""

    path: str
    template = "{path}: another process uses it. Stop the other node, or give this one its own"


@dataclass(eq=False)
class NotADatabase(WorldFault):
    """The path is there and holds something else."""

    path: str
    found: str
    template = "{path}: not a database ({found}). Set data_dir to an empty or a new directory"


@dataclass(eq=False)
class StorageUnavailable(WorldFault):
    """The operating system refused to open it."""

    path: str
    reason: str
    template = "{path}: cannot be opened: {reason}. Check owner, mode and free space"


@dataclass(eq=False)
class StorageWriteFailed(WorldFault):
    """A write or sync failed: what is on disk is unknown until the process starts again."""

    path: str
    reason: str
    template = (
        "{path}: a write failed: {reason}. The process must end; free space or replace the "
        "disk, then start it again"
    )


@dataclass(eq=False)
class StoragePoisoned(WorldFault):
    """The store is closed, or an earlier write failed; nothing may be read or written."""

    path: str
    reason: str
    template = "{path}: no longer usable: {reason}. Start the process again"
