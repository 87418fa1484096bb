"""A value as it lies on disk: behind a CRC-32 of its key and itself, checked on every read (L2).

The key is part of it: a value that turns up under another key is as wrong as a torn one.
"""

from zlib import crc32

from nodes.storage.errors import StorageCorrupt

_CRC_BYTES = 4


def seal(key: bytes, value: bytes) -> bytes:
    """The bytes to store under ``key``."""
    return _checksum(key, value) + value


def unseal(path: str, key: bytes, stored: bytes) -> bytes:
    """The value in what was read under ``key`` of the database ``path``; raises StorageCorrupt."""
    value = stored[_CRC_BYTES:]
    if stored[:_CRC_BYTES] != _checksum(key, value):
        raise StorageCorrupt(path, f"checksum of a value in column {key[:1].hex()}")
    return value


def _checksum(key: bytes, value: bytes) -> bytes:
    return crc32(value, crc32(key)).to_bytes(_CRC_BYTES, "big")
