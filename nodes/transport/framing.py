"""Frames on a byte stream, without I/O: what is sent next, and what has come whole.

A piece is a header of 4 bytes, big-endian, and up to 2^30 - 1 bytes, whose number the header's
lower 30 bits tell. The upper two bits: 00, a whole frame; 10, a part of a long frame, exactly
``PART_BYTES``, of which more follows; 11, its last part. Between the parts of one long frame
there may be whole frames, so that a vote waits for a part and not for a body.
"""

from collections import deque

from ledger.errors import NotCanonical, TooLarge
from ledger.limits import FRAME_BYTES_MAX
from nodes.frames import bytes_max

QUEUE_FRAMES_MAX = 256
"""Frames waiting for one peer, in each class (R3)."""
QUEUE_BYTES_MAX = 4 * FRAME_BYTES_MAX
"""Bytes waiting for one peer, in each class."""
PART_BYTES = 256 * 1024
"""A part of a long frame; shorter frames are joined to writes of about this size."""
HEADER_BYTES = 4
_PART, _LAST = 0b10 << 30, 0b11 << 30
_SIZE = (1 << 30) - 1


class FrameQueues:
    """The sending side of one connection: votes leave before everything else."""

    def __init__(self) -> None:
        self._votes = _Queue()
        self._bodies = _Queue()
        self._rest = memoryview(b"")
        """What is left of the long frame whose parts are being sent."""

    def put(self, frame: bytes, priority: bool) -> bool:
        """Whether there was room."""
        return (self._votes if priority else self._bodies).put(frame)

    def next_write(self) -> bytes:
        """The next pieces, joined; empty when nothing waits."""
        pieces: list[bytes | memoryview] = []
        size = 0
        while size < PART_BYTES and (piece := self._next_piece()) is not None:
            kind, content = piece
            pieces += ((kind | len(content)).to_bytes(HEADER_BYTES, "big"), content)
            size += len(content)
        return b"".join(pieces)

    def _next_piece(self) -> tuple[int, bytes | memoryview] | None:
        if self._votes.frames:
            return 0, self._votes.take()
        if not self._rest:
            if not self._bodies.frames:
                return None
            frame = self._bodies.take()
            if len(frame) <= PART_BYTES:
                return 0, frame
            self._rest = memoryview(frame)
        part, self._rest = self._rest[:PART_BYTES], self._rest[PART_BYTES:]
        return _PART if self._rest else _LAST, part

    def clear(self) -> int:
        """Empties them; how many frames were not sent."""
        unfinished = bool(self._rest)
        self._rest = memoryview(b"")
        return self._votes.clear() + self._bodies.clear() + unfinished


class _Queue:
    """Frames waiting to be sent, bounded in number and bytes."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self._bytes = 0

    def put(self, frame: bytes) -> bool:
        """Whether there was room."""
        full = len(self.frames) >= QUEUE_FRAMES_MAX or self._bytes + len(frame) > QUEUE_BYTES_MAX
        if full or len(frame) > FRAME_BYTES_MAX:
            return False
        self.frames.append(frame)
        self._bytes += len(frame)
        return True

    def take(self) -> bytes:
        """The oldest."""
        frame = self.frames.popleft()
        self._bytes -= len(frame)
        return frame

    def clear(self) -> int:
        """Empties it; how many frames there were."""
        count = len(self.frames)
        self.frames.clear()
        self._bytes = 0
        return count


class FrameReader:
    """The receiving side of one connection.

    Holds at most one unfinished frame between the parts of another: its size is judged by its
    channel as soon as header and channel are there, before the rest is waited for.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._long = bytearray()
        """Parts of a long frame that is not whole yet."""

    def feed(self, data: bytes) -> None:
        """What came."""
        self._buffer += data

    def __len__(self) -> int:
        """Bytes that are held."""
        return len(self._buffer) + len(self._long)

    def take(self) -> bytes | None:
        """The next whole frame, or None; raises TooLarge or NotCanonical."""
        while len(self._buffer) >= HEADER_BYTES:
            header = int.from_bytes(self._buffer[:HEADER_BYTES], "big")
            kind, size = header & ~_SIZE, header & _SIZE
            self._check(kind, size)
            end = HEADER_BYTES + size
            if len(self._buffer) < end:
                return None
            with memoryview(self._buffer) as view:
                piece = bytes(view[HEADER_BYTES:end])
            del self._buffer[:end]  # moves the start; the rest is copied when half is free
            if kind == 0:
                return piece
            self._long += piece
            if kind == _LAST:
                frame = bytes(self._long)
                self._long.clear()
                return frame
        return None

    def _check(self, kind: int, size: int) -> None:
        """Raises PeerFault for a piece that is not to be waited for."""
        limit = FRAME_BYTES_MAX
        if kind == 0:
            if size and len(self._buffer) > HEADER_BYTES:
                limit = bytes_max(self._buffer[HEADER_BYTES])
        elif kind not in (_PART, _LAST) or not 0 < size <= PART_BYTES:
            raise NotCanonical("frame", "no part of a long frame has such a header")
        elif kind == _PART and size != PART_BYTES:
            raise NotCanonical("frame", "a part that is not the last is too short")
        elif kind == _LAST and not self._long:
            raise NotCanonical("frame", "the last part without any before it")
        elif self._long:
            limit = bytes_max(self._long[0])
        elif len(self._buffer) > HEADER_BYTES:
            limit = bytes_max(self._buffer[HEADER_BYTES])
        if kind:
            size += len(self._long)
        if size > limit:
            raise TooLarge("frame", size, limit)
