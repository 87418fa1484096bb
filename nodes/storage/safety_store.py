"""What a signer promised, on disk before it is signed (section 2.3, A2, A4, A5).

``VoteLog`` is the rule, without I/O; the file store and the memory store share it. The file is
append-only and apart from the ledger's database, and must never be restored from a backup (A3).

File: 8 bytes magic, 8 bytes salt, their CRC-32 (4), then one record for each append: marker (4),
length of the payload (4), CRC-32 (4), chain (32), payload. The CRC is over salt, length, chain
and payload, so that no bytes inside a payload can pass for a record. Chain = SHA-256(chain
before + payload); before the first record it is SHA-256 of the 20 bytes. A payload is the codec
array [below, highest view, [vote, ...]], a vote is [kind, height, view, digest, payload].
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from ledger import codec
from ledger.codec import Value
from ledger.errors import CallerBug, PeerFault, TooLarge, WorldFault
from ledger.limits import CODEC_ITEMS_MAX, FRAME_BYTES_MAX
from ledger.primitives import Hash32, Height, View
from nodes.ports import TraceSink, Vote

_MAGIC = b"YLSAFE1\n"
_SALT_BYTES = 8
_CRC_BYTES = 4
_FILE_HEAD_BYTES = len(_MAGIC) + _SALT_BYTES + _CRC_BYTES
_MARKER = b"\xf5VOT"
_HEAD_BYTES = len(_MARKER) + 4 + _CRC_BYTES + 32
RECORD_BYTES_MAX = 2 * FRAME_BYTES_MAX
"""Payload of one record: the votes of one append, each of which fits a frame."""
REWRITE_BYTES = 4 * 1024 * 1024
"""``prune`` makes the file anew only when it is larger than this."""


@dataclass(eq=False)
class EquivocationRefused(CallerBug):
    """A vote would contradict, or step back behind, one that may already have been sent."""

    kind: str
    height: Height
    view: View
    reason: str
    template = "vote {kind} at height {height}, view {view}: refused: {reason}"


@dataclass(eq=False)
class SafetyStoreMissing(WorldFault):
    """The file is not there although this validator may have voted (A2)."""

    path: str
    template = (
        "{path}: the safety store is missing. The node can only observe; to vote again it needs a "
        "new consensus key. Never restore this file from a backup"
    )


@dataclass(eq=False)
class SafetyStoreDamaged(WorldFault):
    """The file is damaged elsewhere than in a torn last record (A5)."""

    path: str
    offset: int
    reason: str
    template = (
        "{path}: damaged at byte {offset}: {reason}. Keep the file; the node can only observe "
        "until its consensus key is renewed"
    )


@dataclass(eq=False)
class SafetyStoreUnusable(WorldFault):
    """It cannot be read or written, or an earlier write failed; nothing may be signed."""

    path: str
    reason: str
    template = "{path}: {reason}. The process must end; check owner, mode and free space"


@dataclass(eq=False)
class SafetyStoreStale(WorldFault):
    """The safety store is older than the chain: it came from a backup (A2)."""

    path: str
    knows: int
    chain: int
    template = (
        "{path}: knows heights up to {knows}, the chain here has {chain}: it is an old copy. The "
        "node can only observe until its consensus key is renewed"
    )


class VoteLog:
    """Which votes are recorded, and which may be added. No I/O."""

    def __init__(self) -> None:
        self._votes: dict[tuple[str, Height, View], Vote] = {}
        self._view_of_height: dict[Height, View] = {}
        self.below = Height(0)
        """Votes of lower heights are forgotten, and new ones refused."""
        self.highest_view = View(0)
        """Of any vote ever recorded."""

    def votes(self) -> tuple[Vote, ...]:
        """All that are not forgotten, oldest first."""
        return tuple(self._votes.values())

    @property
    def highest_height(self) -> Height:
        """Of any vote ever recorded, or settled."""
        return max(self._view_of_height, default=self.below)

    def new_votes(self, votes: Sequence[Vote]) -> list[Vote]:
        """Those of ``votes`` that are not recorded yet, if all may be; changes nothing.

        a) the same (kind, height, view) and digest is recorded: nothing to do, whatever the
           payload, since the same bytes are signed; b) another digest: refused; c) a forgotten
           height: refused; d) a view lower than one voted in at that height: refused.
        """
        fresh: dict[tuple[str, Height, View], Vote] = {}
        views: dict[Height, View] = {}
        for vote in votes:
            place = (vote.kind, vote.height, vote.view)
            earlier = self._votes.get(place) or fresh.get(place)
            highest = views.get(vote.height, self._view_of_height.get(vote.height, View(0)))
            if earlier is not None:
                if earlier.digest != vote.digest:
                    raise EquivocationRefused(*place, "another digest is recorded")
                continue
            if vote.height < self.below:
                raise EquivocationRefused(*place, f"heights below {self.below} are settled")
            if vote.view < highest:
                raise EquivocationRefused(*place, f"view {highest} was entered")
            fresh[place] = vote
            views[vote.height] = vote.view
        return list(fresh.values())

    def record(self, votes: Sequence[Vote]) -> None:
        """Adds votes that ``new_votes`` returned."""
        for vote in votes:
            self._votes[vote.kind, vote.height, vote.view] = vote
            self._view_of_height[vote.height] = vote.view
            self.highest_view = max(self.highest_view, vote.view)

    def prune(self, below: Height) -> None:
        """Forgets votes of heights below ``below``; keeps the highest view."""
        self.below = max(self.below, below)
        for place in [place for place in self._votes if place[1] < self.below]:
            del self._votes[place]
        for height in [height for height in self._view_of_height if height < self.below]:
            del self._view_of_height[height]


class MemorySafetyStore:
    """The SafetyStore port without a disk: the simulator keeps it across simulated crashes."""

    def __init__(self) -> None:
        self._log = VoteLog()

    def votes(self) -> Sequence[Vote]:
        """All votes not yet pruned, oldest first."""
        return self._log.votes()

    def append(self, votes: Sequence[Vote]) -> None:
        """Raises EquivocationRefused, and then records none of them."""
        self._log.record(self._log.new_votes(votes))

    def prune(self, below: Height) -> None:
        """Forgets votes of heights below ``below``."""
        self._log.prune(below)

    def settle(self, height: Height) -> None:
        """Knows of ``height``."""
        self._log.prune(height)

    @property
    def below(self) -> Height:
        """Lower heights are settled."""
        return self._log.below

    @property
    def highest_height(self) -> Height:
        """The highest height that was voted at or settled."""
        return self._log.highest_height

    @property
    def highest_view(self) -> View:
        """The highest view of any vote ever recorded."""
        return self._log.highest_view


class FileSafetyStore:
    """The SafetyStore port on one append-only file of mode 0600."""

    def __init__(self, path: Path) -> None:
        """Opens an existing file and cuts off a torn last record.

        Raises SafetyStoreMissing, SafetyStoreDamaged or SafetyStoreUnusable.
        """
        self._path = path
        self._log = VoteLog()
        self._failed = False
        try:
            mode = path.stat().st_mode & 0o777
            data = path.read_bytes()
        except FileNotFoundError:
            raise SafetyStoreMissing(str(path)) from None
        except OSError as error:
            raise SafetyStoreUnusable(str(path), _reason(error)) from None
        if mode & 0o077:
            raise SafetyStoreUnusable(str(path), f"mode {mode:04o} is too open: chmod 600 it")
        self._size, self._chain = self._replay(data)
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            if self._size < len(data):
                os.ftruncate(self._file, self._size)
                os.fsync(self._file)
        except OSError as error:
            raise SafetyStoreUnusable(str(path), _reason(error)) from None

    @staticmethod
    def create(path: Path) -> None:
        """Makes an empty store, durably; for a validator that has never voted, and no other.

        Raises SafetyStoreUnusable where the file is there or cannot be made.
        """
        if path.exists():
            raise SafetyStoreUnusable(str(path), "it is already there")
        try:
            _replace(path, _new_head())
        except OSError as error:
            raise SafetyStoreUnusable(str(path), _reason(error)) from None

    def votes(self) -> Sequence[Vote]:
        """All votes not yet pruned, oldest first."""
        return self._log.votes()

    @property
    def highest_view(self) -> View:
        """The highest view of any vote ever recorded."""
        return self._log.highest_view

    @property
    def below(self) -> Height:
        """Lower heights are settled."""
        return self._log.below

    @property
    def highest_height(self) -> Height:
        """The highest height that was voted at or settled."""
        return self._log.highest_height

    def append(self, votes: Sequence[Vote]) -> None:
        """On disk when it returns; votes already recorded cost nothing.

        Raises EquivocationRefused or TooLarge (nothing is written), or SafetyStoreUnusable
        (what is on disk is unknown; the store then refuses everything).
        """
        self._check_usable()
        fresh = self._log.new_votes(votes)
        if fresh:
            self._write(fresh)
            self._log.record(fresh)

    def settle(self, height: Height) -> None:
        """On disk when it returns, which costs nothing where a vote of that height is there.

        Raises SafetyStoreUnusable.
        """
        known = self._log.highest_height
        self.prune(height)
        if height > known:
            self._write([])

    def _write(self, votes: Sequence[Vote]) -> None:
        """One more record, synced; it holds the floor and the highest view, too."""
        payload = self._payload(votes)
        record, chain = _record(self._salt, self._chain, payload)
        try:
            _write_all(self._file, record)
            os.fdatasync(self._file)
        except OSError as error:
            # Never tried again: after a failed sync the kernel may have dropped the pages.
            self._failed = True
            raise SafetyStoreUnusable(str(self._path), _reason(error)) from None
        self._size += len(record)
        self._chain = chain

    def prune(self, below: Height) -> None:
        """Forgets votes of heights below ``below``; makes a large file anew, durably.

        A small file keeps them until it has grown: remembering more than needed is safe.
        """
        self._check_usable()
        self._log.prune(below)
        if self._size <= REWRITE_BYTES:
            return
        head = _new_head()
        salt, chain = _salt_and_chain(head)
        data = head
        # One record for each vote: together they may exceed the limit of one record.
        for votes in [[vote] for vote in self._log.votes()] or [[]]:
            record, chain = _record(salt, chain, self._payload(votes))
            data += record
        try:
            _replace(self._path, data)
            os.close(self._file)
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            self._failed = True
            raise SafetyStoreUnusable(str(self._path), _reason(error)) from None
        self._salt, self._chain, self._size = salt, chain, len(data)

    def close(self) -> None:
        """Further calls raise SafetyStoreUnusable."""
        if not self._failed:
            self._failed = True
            os.close(self._file)

    def _check_usable(self) -> None:
        if self._failed:
            raise SafetyStoreUnusable(str(self._path), "it is closed or an earlier write failed")

    def _payload(self, votes: Sequence[Vote]) -> bytes:
        payload = encode_record(self._log.below, self._log.highest_view, votes)
        if len(payload) > RECORD_BYTES_MAX:
            raise TooLarge("safety record", len(payload), RECORD_BYTES_MAX)
        return payload

    def _replay(self, data: bytes) -> tuple[int, bytes]:
        """Reads all records; the end of the last whole one, and the chain there."""
        offset = _FILE_HEAD_BYTES
        head = data[:offset]
        whole = len(head) == _FILE_HEAD_BYTES and head.startswith(_MAGIC)
        if not whole or head != _sealed_head(head[:-_CRC_BYTES]):
            raise SafetyStoreDamaged(str(self._path), 0, "no safety store begins like this")
        self._salt, chain = _salt_and_chain(head)
        while offset < len(data):
            payload = _payload_at(data, offset, self._salt)
            if payload is None:
                self._refuse_unless_torn(data, offset)
                break
            expected = sha256(chain + payload).digest()
            if data[offset + 12 : offset + _HEAD_BYTES] != expected:
                raise SafetyStoreDamaged(str(self._path), offset, "the hash chain is broken")
            try:
                self._apply(payload)
            except (PeerFault, CallerBug) as error:
                raise SafetyStoreDamaged(str(self._path), offset, str(error)) from None
            offset, chain = offset + _HEAD_BYTES + len(payload), expected
        return offset, chain

    def _refuse_unless_torn(self, data: bytes, offset: int) -> None:
        # A5: an unfinished last append was never acted on, so it may go; but a whole record
        # behind it proves that this one was once on disk, and acted on.
        found = data.find(_MARKER, offset + 1)
        while found >= 0:
            if _payload_at(data, found, self._salt) is not None:
                raise SafetyStoreDamaged(str(self._path), offset, "valid records follow")
            found = data.find(_MARKER, found + 1)

    def _apply(self, payload: bytes) -> None:
        below, highest, votes = decode_record(payload)
        self._log.record(self._log.new_votes(votes))
        self._log.prune(below)
        self._log.highest_view = max(self._log.highest_view, highest)


def encode_record(below: Height, highest_view: View, votes: Sequence[Vote]) -> bytes:
    """Payload of one record: [below, highest view, [vote, ...]]."""
    return codec.encode([below, highest_view, [encode_vote(vote) for vote in votes]])


def decode_record(payload: bytes) -> tuple[Height, View, tuple[Vote, ...]]:
    """Floor, highest view and votes of one record; raises PeerFault."""
    below, highest, rows = codec.array(
        codec.decode(payload, RECORD_BYTES_MAX, "safety record"), 3, "safety record"
    )
    votes = codec.array_up_to(rows, CODEC_ITEMS_MAX, "safety votes")
    return (
        Height(codec.uint(below, "safety floor")),
        View(codec.uint(highest, "safety view")),
        tuple(decode_vote(row) for row in votes),
    )


def open_to_vote(path: Path, height: Height, trace: TraceSink) -> FileSafetyStore | None:
    """The memory of votes of a node whose chain has ``height``; None: it only observes (A2).

    Missing, damaged or older than the chain, the file does not say what this key has signed.
    Raises SafetyStoreUnusable.
    """
    try:
        store = FileSafetyStore(path)
        if store.highest_height < height:
            known = store.highest_height
            store.close()
            raise SafetyStoreStale(str(path), known, height)
        return store
    except (SafetyStoreMissing, SafetyStoreDamaged, SafetyStoreStale) as error:
        trace.emit("observing_only", reason=type(error).__name__, advice=str(error))
        return None


def encode_vote(vote: Vote) -> Value:
    """[kind, height, view, digest, payload]."""
    return (vote.kind, vote.height, vote.view, vote.digest, vote.payload)


def decode_vote(row: Value) -> Vote:
    """Raises PeerFault."""
    kind, height, view, digest, payload = codec.array(row, 5, "safety vote")
    return Vote(
        codec.text(kind, "vote kind", 64),
        Height(codec.uint(height, "vote height")),
        View(codec.uint(view, "vote view")),
        Hash32(codec.binary(digest, "vote digest", 32)),
        codec.binary(payload, "vote payload", RECORD_BYTES_MAX),
    )


def _new_head() -> bytes:
    return _sealed_head(_MAGIC + os.urandom(_SALT_BYTES))


def _sealed_head(head: bytes) -> bytes:
    return head + crc32(head).to_bytes(_CRC_BYTES, "big")


def _salt_and_chain(head: bytes) -> tuple[bytes, bytes]:
    return head[len(_MAGIC) : -_CRC_BYTES], sha256(head).digest()


def _record(salt: bytes, chain: bytes, payload: bytes) -> tuple[bytes, bytes]:
    """One record and the chain after it."""
    following = sha256(chain + payload).digest()
    size = len(payload).to_bytes(4, "big")
    crc = _crc(salt, size, following, payload)
    return b"".join((_MARKER, size, crc, following, payload)), following


def _crc(salt: bytes, size: bytes, chain: bytes, payload: bytes) -> bytes:
    return crc32(payload, crc32(chain, crc32(size, crc32(salt)))).to_bytes(4, "big")


def _payload_at(data: bytes, offset: int, salt: bytes) -> bytes | None:
    """The payload of the whole, undamaged record at ``offset``, or None."""
    head = data[offset : offset + _HEAD_BYTES]
    if len(head) < _HEAD_BYTES or not head.startswith(_MARKER):
        return None
    size = head[4:8]
    end = offset + _HEAD_BYTES + int.from_bytes(size, "big")
    if end > len(data):
        return None
    payload = data[offset + _HEAD_BYTES : end]
    return payload if _crc(salt, size, head[12:], payload) == head[8:12] else None


def _replace(path: Path, data: bytes) -> None:
    """Writes ``data`` to ``path`` atomically and durably, mode 0600."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write_all(file, data)
        os.fsync(file)
    finally:
        os.close(file)
    os.rename(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
