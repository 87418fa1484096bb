"""B1, B2: one encoding for each value, and nothing else is decoded."""

import struct
import tracemalloc
import unicodedata

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger import codec
from ledger.errors import NotCanonical, PeerFault, TooLarge
from ledger.limits import CODEC_DEPTH_MAX, CODEC_ITEMS_MAX, FRAME_BYTES_MAX

LIMIT = 1_000_000

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(
    lambda text: unicodedata.normalize("NFC", text)
)
scalars = st.none() | st.integers(0, 2**64 - 1) | st.binary(max_size=40) | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5).map(tuple) | st.dictionaries(texts, inner, max_size=4)
    ),
    max_leaves=20,
)


def twin(value: codec.Value) -> bytes:
    """The encoding written down once more, from the MessagePack format's tables alone."""
    if value is None:
        return b"\xc0"
    if isinstance(value, int):
        if value < 128:
            return bytes([value])
        for code, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
            if value < 256**size:
                return bytes([code]) + value.to_bytes(size, "big")
        raise AssertionError(value)
    if isinstance(value, bytes):
        return sized(len(value), None, (0xC4, 0xC5, 0xC6)) + value
    if isinstance(value, str):
        raw = value.encode()
        return sized(len(raw), (0xA0, 32), (0xD9, 0xDA, 0xDB)) + raw
    if isinstance(value, dict):
        items = sorted((key.encode(), key, item) for key, item in value.items())
        body = b"".join(twin(key) + twin(item) for _, key, item in items)
        return sized(len(value), (0x80, 16), (None, 0xDE, 0xDF)) + body
    assert isinstance(value, tuple)
    return sized(len(value), (0x90, 16), (None, 0xDC, 0xDD)) + b"".join(map(twin, value))


def sized(length: int, short: tuple[int, int] | None, codes: tuple[int | None, ...]) -> bytes:
    if short is not None and length < short[1]:
        return bytes([short[0] + length])
    for code, size in zip(codes, (1, 2, 4), strict=True):
        if code is not None and length < 256**size:
            return bytes([code]) + length.to_bytes(size, "big")
    raise AssertionError(length)


@given(values)
@example(2**64 - 1)
@example(tuple(range(300)))
@example({chr(200 + i): i for i in range(20)})
@example(b"x" * 70_000)
def test_B1_encoding_equals_a_second_implementation_and_comes_back(value: codec.Value) -> None:
    data = codec.encode(value)
    assert data == twin(value)
    assert codec.decode(data, LIMIT, "test") == value


@settings(max_examples=400)
@given(st.binary(max_size=60))
def test_B1_any_bytes_decode_to_what_encodes_to_them_or_are_refused(data: bytes) -> None:
    try:
        value = codec.decode(data, LIMIT, "test")
    except PeerFault:
        return
    assert codec.encode(value) == data


@given(values, st.data())
def test_B1_a_changed_byte_is_another_value_or_refused(
    value: codec.Value, data: st.DataObject
) -> None:
    encoded = bytearray(codec.encode(value))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        again = codec.decode(bytes(encoded), LIMIT, "test")
    except PeerFault:
        return
    assert codec.encode(again) == bytes(encoded)
    assert again != value


@given(values)
def test_B1_truncated_and_extended_are_refused(value: codec.Value) -> None:
    data = codec.encode(value)
    for wrong in (data[:-1], data + b"\x00", data + data):
        with pytest.raises(NotCanonical):
            codec.decode(wrong, LIMIT, "test")


REFUSED = {
    "empty": b"",
    "long form of 1": b"\xcc\x01",
    "u16 form of 255": b"\xcd\x00\xff",
    "u32 form of 65535": b"\xce\x00\x00\xff\xff",
    "u64 form of 0": b"\xcf" + bytes(8),
    "signed form of 1": b"\xd0\x01",
    "negative fixint": b"\xff",
    "negative i64": b"\xd3" + b"\xff" * 8,
    "true": b"\xc3",
    "false": b"\xc2",
    "float 32": b"\xca" + struct.pack(">f", 1.0),
    "float 64": b"\xcb" + struct.pack(">d", 1.0),
    "not a number": b"\xcb" + struct.pack(">d", float("nan")),
    "minus zero": b"\xcb" + struct.pack(">d", -0.0),
    "unused code": b"\xc1",
    "extension": b"\xd4\x05\x00",
    "empty extension": b"\xc7\x00\x05",
    "timestamp": b"\xd6\xff\x00\x00\x00\x00",
    "long form of an array": b"\xdc\x00\x01\x01",
    "long form of a text": b"\xd9\x01a",
    "long form of bytes": b"\xc5\x00\x01a",
    "text that is not UTF-8": b"\xa1\xff",
    "over-long UTF-8": b"\xa2\xc0\x80",
    "surrogate in UTF-8": b"\xa3\xed\xa0\x80",
    "text in NFD": msgpack.packb(unicodedata.normalize("NFD", "é")),
    "key twice": b"\x82\xa1a\x01\xa1a\x02",
    "keys unsorted": b"\x82\xa1b\x01\xa1a\x02",
    "key that is a number": b"\x81\x01\x01",
    "key that is bytes": b"\x81\xc4\x01a\x01",
    "key that is nil": b"\x81\xc0\x01",
    "huge array announced": b"\xdd\xff\xff\xff\xff",
    "huge map announced": b"\xdf\xff\xff\xff\xff",
    "huge bytes announced": b"\xc6\xff\xff\xff\xff",
    "huge text announced": b"\xdb\xff\xff\xff\xff",
    "array cut short": b"\x92\x01",
    "nested too deep for the machine": b"\x91" * 100_000,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_B1_B2_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        codec.decode(data, LIMIT, "test")


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\x00"


def test_B1_depth_and_item_limits_are_exact() -> None:
    codec.decode(nested(CODEC_DEPTH_MAX), LIMIT, "test")
    with pytest.raises(NotCanonical):
        codec.decode(nested(CODEC_DEPTH_MAX + 1), LIMIT, "test")
    codec.decode(codec.encode([0] * CODEC_ITEMS_MAX), LIMIT, "test")
    with pytest.raises(NotCanonical):
        codec.encode([0] * (CODEC_ITEMS_MAX + 1))
    with pytest.raises(NotCanonical):
        codec.decode(msgpack.packb([0] * (CODEC_ITEMS_MAX + 1)), LIMIT, "test")


def test_B1_the_byte_limit_is_checked_first() -> None:
    assert codec.decode(b"\x92\x01\x02", 3, "test") == (1, 2)
    with pytest.raises(TooLarge) as caught:
        codec.decode(b"\xc1" * 4, 3, "test")
    assert caught.value.field_values() == {"what": "test", "size": 4, "limit": 3}


@pytest.mark.parametrize(
    "value",
    [True, -1, 2**64, 1.5, "e\u0301", "\ud800", {1: 2}, {"a": {"b": -1}}, [object()]],
    ids=lambda value: type(value).__name__,
)
def test_B2_what_has_no_encoding_is_refused(value: codec.Value) -> None:
    with pytest.raises(NotCanonical):
        codec.encode(value)


def test_B2_field_readers_check_kind_and_limit() -> None:
    for wrong in (None, b"1", "1", (1,)):
        with pytest.raises(NotCanonical):
            codec.uint(wrong, "test")
    for wrong in (None, 1, "1", (1,)):
        with pytest.raises(NotCanonical):
            codec.binary(wrong, "test", 9)
    for wrong in (None, 1, b"1", (1,)):
        with pytest.raises(NotCanonical):
            codec.text(wrong, "test", 9)
        with pytest.raises(NotCanonical):
            codec.array(wrong, 2, "test")
    with pytest.raises(NotCanonical):
        codec.array_up_to(b"12", 2, "test")
    for call in (
        lambda: codec.uint(10, "test", 9),
        lambda: codec.binary(b"10", "test", 1),
        lambda: codec.text("10", "test", 1),
        lambda: codec.array_up_to((1, 2), 1, "test"),
    ):
        with pytest.raises(TooLarge):
            call()


def peak_of_refusal(data: bytes, limit: int) -> int:
    """Bytes of memory that a refusal takes at most."""
    tracemalloc.start()
    try:
        with pytest.raises(PeerFault):
            codec.decode(data, limit, "bomb")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "header", [b"\xdd\x00\x04\x00\x00", b"\xdc\xff\xff", b"\xdf\x00\x04\x00\x00\xa0"]
)
def test_B2_a_length_reserves_no_memory_before_its_items_are_there(header: bytes) -> None:
    # 5 KB that msgpack before 1.2.4 gave two gigabytes, and newer ones 77 MiB.
    data = header * 1_000
    assert peak_of_refusal(data, LIMIT) < 100 * len(data)


def test_R3_arrays_and_maps_are_counted_while_they_are_read() -> None:
    # A frame of empty maps took 570 MB and four seconds of a validator.
    part = b"\xdd" + CODEC_ITEMS_MAX.to_bytes(4, "big") + b"\x80" * CODEC_ITEMS_MAX
    data = b"\x9f" + part * 15
    assert peak_of_refusal(data, FRAME_BYTES_MAX) < FRAME_BYTES_MAX * 16


def test_R3_as_many_arrays_as_a_disclosure_needs_are_read() -> None:
    value = ((),) * (CODEC_ITEMS_MAX - 1)
    assert codec.decode(codec.encode(value), LIMIT, "many") == value
    with pytest.raises(TooLarge):
        codec.decode(codec.encode(((), *value)), LIMIT, "many")
