"""The one canonical encoding (PROTOCOL, Encoding and hashing; B1, B2).

MessagePack with arrays, unsigned integers in shortest form, bin, str in NFC, nil for "absent",
and maps with str keys sorted by their UTF-8 bytes. No bool, float, negative number or extension.
``decode`` raises only ``NotCanonical`` or ``TooLarge``.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import msgpack

from ledger.errors import NotCanonical, TooLarge
from ledger.limits import CODEC_DEPTH_MAX, CODEC_ITEMS_MAX
from ledger.primitives import U64_MAX

Value: TypeAlias = "int | bytes | str | Sequence[Value] | Mapping[str, Value] | None"
"""What can be encoded; decoding gives tuples for arrays and dicts for maps."""

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def encode(value: Value) -> bytes:
    """Canonical bytes of ``value``; raises NotCanonical where it has none."""
    try:
        return cast(bytes, _pack(_ordered(value) if _check(value, "value", 0) else value))
    except UnicodeEncodeError:
        raise NotCanonical("value", "text with half of a surrogate pair") from None


def decode(data: bytes, limit: int, what: str) -> Value:
    """The value whose canonical encoding ``data`` is; ``what`` names it in errors.

    Refuses, in this order: more than ``limit`` bytes; bytes that are no whole MessagePack value,
    or more than one; too many arrays and maps; kinds the protocol does not use; any other form
    than the canonical one. Memory stays within a small multiple of ``len(data)``.
    """
    if len(data) > limit:
        raise TooLarge(what, len(data), limit)
    containers = 0

    def counted(items: object) -> object:
        # An empty map is one byte here and a hundred in memory.
        nonlocal containers
        containers += 1
        if containers > CODEC_ITEMS_MAX:
            raise TooLarge(f"{what}: arrays and maps", containers, CODEC_ITEMS_MAX)
        return items

    def counted_map(pairs: list[tuple[object, object]]) -> object:
        return counted(_sorted_map(pairs))

    try:
        _check_whole(data, what)
        value = msgpack.unpackb(
            data,
            use_list=False,
            raw=False,
            strict_map_key=True,
            list_hook=counted,
            object_pairs_hook=counted_map,
            max_array_len=CODEC_ITEMS_MAX,
            max_map_len=CODEC_ITEMS_MAX,
            max_ext_len=0,
        )
        _check(value, what, 0)
        again = _pack(value)
    except (NotCanonical, TooLarge):
        raise
    # msgpack documents ValueError for malformed input; its C unpacker adds the others.
    except (ValueError, TypeError, RecursionError, msgpack.OutOfData) as error:
        raise NotCanonical(what, f"no MessagePack value ({type(error).__name__})") from None
    if again != data:
        raise NotCanonical(what, "another encoding of the same value exists")
    return cast(Value, value)


def _check_whole(data: bytes, what: str) -> None:
    """Raises NotCanonical, or what msgpack raises, unless ``data`` is exactly one value.

    Nothing is built here, so that a length is believed only where as many items follow it:
    msgpack reserves the room for an array before it reads the items.
    """
    reader = msgpack.Unpacker(max_buffer_size=len(data) or 1)
    reader.feed(data)
    reader.skip()
    if reader.tell() != len(data):
        raise NotCanonical(what, "other bytes follow the value")


def _sorted_map(pairs: list[tuple[object, object]]) -> dict[object, object]:
    """The map, if its keys are text and rise; an order that is wrong here is not put right."""
    previous = None
    for key, _ in pairs:
        if not isinstance(key, str):
            raise NotCanonical("map", "a key that is not text")
        encoded = key.encode()
        if previous is not None and encoded <= previous:
            raise NotCanonical("map", "a key occurs twice, or the keys are not sorted")
        previous = encoded
    return dict(pairs)


def _check(value: object, what: str, depth: int) -> bool:
    """Raises NotCanonical unless every part of ``value`` is allowed; whether it holds a map.

    Each transaction comes through here several times: byte strings and integers inside an array,
    which most parts are, cost no call.
    """
    # Exactly these types: what msgpack makes of an extension is a subclass of tuple.
    if type(value) is tuple or type(value) is list:
        if depth >= CODEC_DEPTH_MAX:
            raise NotCanonical(what, f"nested deeper than {CODEC_DEPTH_MAX}")
        if len(value) > CODEC_ITEMS_MAX:
            raise NotCanonical(what, f"more than {CODEC_ITEMS_MAX} items")
        holds_map = False
        for item in value:
            if isinstance(item, bytes):
                continue
            if type(item) is int and 0 <= item <= U64_MAX:
                continue
            if _check(item, what, depth + 1):
                holds_map = True
        return holds_map
    if isinstance(value, Mapping):
        return _check_map(value, what, depth)
    _check_scalar(value, what)
    return False


def _check_map(value: Mapping[object, object], what: str, depth: int) -> bool:
    if depth >= CODEC_DEPTH_MAX:
        raise NotCanonical(what, f"nested deeper than {CODEC_DEPTH_MAX}")
    for key, item in value.items():
        if not isinstance(key, str):
            raise NotCanonical(what, "a map key that is not text")
        _check_scalar(key, what)
        _check(item, what, depth + 1)
    return True


def _check_scalar(value: object, what: str) -> None:
    if isinstance(value, bytes) or value is None:
        return
    if isinstance(value, bool):
        raise NotCanonical(what, "a boolean")
    if isinstance(value, int):
        if not 0 <= value <= U64_MAX:
            raise NotCanonical(what, "an integer outside 0..2^64-1")
    elif isinstance(value, str):
        if not value.isascii() and not unicodedata.is_normalized("NFC", value):
            raise NotCanonical(what, "text that is not in NFC")
    else:
        raise NotCanonical(what, f"a value of kind {type(value).__name__}")


def _ordered(value: object) -> object:
    """``value`` with the keys of its maps sorted by their bytes."""
    if isinstance(value, tuple | list):
        return [_ordered(item) for item in value]
    if isinstance(value, Mapping):
        ordered = sorted(value.items(), key=lambda item: item[0].encode())
        return {key: _ordered(item) for key, item in ordered}
    return value


def array(value: Value, length: int, what: str) -> tuple[Value, ...]:
    """``value`` as an array of exactly ``length`` items."""
    if not isinstance(value, tuple) or len(value) != length:
        raise NotCanonical(what, f"an array of {length} fields is wanted")
    return value


def array_up_to(value: Value, limit: int, what: str) -> tuple[Value, ...]:
    """``value`` as an array of at most ``limit`` items."""
    if not isinstance(value, tuple):
        raise NotCanonical(what, "an array is wanted")
    if len(value) > limit:
        raise TooLarge(what, len(value), limit)
    return value


def uint(value: Value, what: str, limit: int = U64_MAX) -> int:
    """``value`` as an unsigned integer of at most ``limit``."""
    if not isinstance(value, int):
        raise NotCanonical(what, "an unsigned integer is wanted")
    if value > limit:
        raise TooLarge(what, value, limit)
    return value


def binary(value: Value, what: str, limit: int) -> bytes:
    """``value`` as a byte string of at most ``limit`` bytes."""
    if not isinstance(value, bytes):
        raise NotCanonical(what, "a byte string is wanted")
    if len(value) > limit:
        raise TooLarge(what, len(value), limit)
    return value


def text(value: Value, what: str, limit: int) -> str:
    """``value`` as text of at most ``limit`` characters."""
    if not isinstance(value, str):
        raise NotCanonical(what, "text is wanted")
    if len(value) > limit:
        raise TooLarge(what, len(value), limit)
    return value
