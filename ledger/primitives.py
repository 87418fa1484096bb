"""Range-checked values. No bare int or bytes crosses a module where one of these is meant."""

import re
from typing import Self

from ledger.errors import OutOfRange

U64_MAX = 2**64 - 1


class _Fixed(bytes):
    """Byte string of exactly ``SIZE`` bytes."""

    SIZE = 0
    __slots__ = ()

    def __new__(cls, value: bytes) -> Self:
        if len(value) != cls.SIZE:
            raise OutOfRange(cls.__name__, f"{len(value)} bytes, {cls.SIZE} wanted")
        return bytes.__new__(cls, value)


class Hash32(_Fixed):
    """A SHA-256 digest."""

    SIZE = 32
    __slots__ = ()


class KeyId(Hash32):
    """H("key", SubjectPublicKeyInfo) of a user, system or resident."""

    __slots__ = ()


class PatientKey(Hash32):
    """HMAC-SHA-256 of a national identifier under the hospitals' secret."""

    __slots__ = ()


class Nonce(_Fixed):
    """16 random bytes that make a transaction unique."""

    SIZE = 16
    __slots__ = ()


class Signature(_Fixed):
    """Suite byte, then r and s of 32 bytes each, s in the lower half (B4)."""

    SIZE = 65
    __slots__ = ()


class _U64(int):
    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        if not 0 <= value <= U64_MAX:
            raise OutOfRange(cls.__name__, str(value))
        return super().__new__(cls, value)


class Height(_U64):
    """Number of a block; the genesis state is height 0 and has no block."""

    __slots__ = ()


class View(_U64):
    """Number of an agreement attempt; it only rises (I10)."""

    __slots__ = ()


class TimestampMs(_U64):
    """Milliseconds since 1970-01-01 UTC."""

    __slots__ = ()


_MEMBER_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


class MemberId(str):
    """1 to 32 characters a-z, 0-9 and inner hyphens: the name of an organisation on chain."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if not _MEMBER_ID.fullmatch(value):
            raise OutOfRange("MemberId", repr(value[:40]))
        return super().__new__(cls, value)


ZERO_HASH = Hash32(bytes(32))
"""Parent of the first block, and the root of an empty state tree."""
