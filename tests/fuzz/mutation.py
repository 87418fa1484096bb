"""Hostile inputs made from valid ones: of bytes, and of the codec values that they encode."""

from collections.abc import Callable, Mapping, Sequence
from random import Random

from ledger import codec
from ledger.codec import Value
from ledger.errors import PeerFault
from ledger.primitives import U64_MAX

Bytes = bytearray

HEADERS = (0x90, 0xA0, 0x80, 0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF)
"""First bytes of what has a length."""
ODD_BYTES = (
    b"",
    b"\xc0",
    b"\xc1",
    b"\xc3",
    b"\xff",
    b"\x80",
    b"\x90",
    b"\xcc\x01",
    b"\xd0\x01",
    b"\xc7\x00\x05",
    b"\xd6\xff\x00\x00\x00\x00",
    b"\xcb" + bytes(8),
    b"\xcf" + b"\xff" * 8,
    b"\xdd\x00\x04\x00\x00",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\x00\x04\x00\x00",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\x7f\xff\xff\xff",
    b"\x91" * 40,
    b"\xa1\x80",
    b"\xa3e\xcc\x81",
)
ODD_VALUES: tuple[Value, ...] = (
    None,
    0,
    1,
    127,
    128,
    2**32,
    2**63,
    U64_MAX,
    b"",
    bytes(31),
    bytes(32),
    bytes(33),
    b"\xff" * 65,
    bytes(257),
    "",
    "a",
    "医",
    "-a",
    "a" * 65,
    "clinical",
    (),
    ((),) * 20,
    (0,) * 300,
    {},
    {"a": 1},
    ("state", None),
)


def bombs(items: int) -> list[bytes]:
    """Small inputs that claim much, and so many items of the dearest kinds."""
    array, table = b"\xdd\x00\x04\x00\x00", b"\xdf\x00\x04\x00\x00"
    many = b"\xdd" + items.to_bytes(4, "big")
    deep = [
        unit * 1_000 for unit in (array, table + b"\xa0", b"\x91", b"\x81\xa0", b"\xdc\xff\xff")
    ]
    return [
        *deep,
        many + b"\x80" * items,
        many + b"\xa2ab" * items,
        many + b"\x91\x00" * items,
        b"\x9f" + (many + b"\x90" * items) * 15,
        b"\xc6" + items.to_bytes(4, "big") + bytes(items),
        b"\xff" * items,
    ]


def mutated(random: Random, seeds: Sequence[bytes]) -> bytes:
    """One seed, changed one to four times: in two of three cases as a value, else as bytes."""
    data = random.choice(seeds)
    for _ in range(random.randint(1, 4)):
        changed = _changed_value(random, data, seeds) if random.random() < 0.66 else None
        data = _changed_bytes(random, data, seeds) if changed is None else changed
    return data


# -- bytes ------------------------------------------------------------------------------------


def _flip(random: Random, data: Bytes, other: bytes) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(random: Random, data: Bytes, other: bytes) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, *HEADERS))


def _cut(random: Random, data: Bytes, other: bytes) -> None:
    start = random.randint(0, len(data))
    del data[start : start + random.randint(1, 40)]


def _truncate(random: Random, data: Bytes, other: bytes) -> None:
    del data[random.randint(0, len(data)) :]


def _splice(random: Random, data: Bytes, other: bytes) -> None:
    start = random.randint(0, len(other))
    place = random.randint(0, len(data))
    data[place : place + random.randint(0, 40)] = other[start : start + random.randint(1, 80)]


def _double(random: Random, data: Bytes, other: bytes) -> None:
    start = random.randint(0, len(data))
    piece = data[start : start + random.randint(1, 80)]
    place = random.choice((start, random.randint(0, len(data))))
    data[place:place] = piece * random.choice((1, 1, 1, 2, 50))


def _swap(random: Random, data: Bytes, other: bytes) -> None:
    size = random.randint(1, 40)
    if len(data) >= 2 * size:
        one = random.randint(0, len(data) - 2 * size)
        two = random.randint(one + size, len(data) - size)
        data[one : one + size], data[two : two + size] = (
            data[two : two + size],
            data[one : one + size],
        )


def _grow_length(random: Random, data: Bytes, other: bytes) -> None:
    """A length says more, or less, than there is."""
    places = [i for i, byte in enumerate(data) if 0x80 <= byte < 0xC0 or byte in HEADERS]
    if places:
        place = random.choice(places)
        if 0x80 <= data[place] < 0xC0:
            data[place] = data[place] ^ random.randint(1, 15)
        elif place + 1 < len(data):
            data[place + 1] = (data[place + 1] + random.choice((1, -1, 16, 128))) % 256


def _insert(random: Random, data: Bytes, other: bytes) -> None:
    place = random.randint(0, len(data))
    data[place:place] = random.choice((random.choice(ODD_BYTES), random.randbytes(4)))


_ON_BYTES: tuple[Callable[[Random, Bytes, bytes], None], ...] = (
    _flip,
    _set,
    _cut,
    _truncate,
    _splice,
    _double,
    _swap,
    _grow_length,
    _insert,
)


def _changed_bytes(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    random.choice(_ON_BYTES)(random, changed, random.choice(seeds))
    return bytes(changed)


# -- values -----------------------------------------------------------------------------------


def _changed_value(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes | None:
    """The same value with one part changed, canonical again; None where it is no value."""
    try:
        value = codec.decode(data, len(data), "seed")
        return codec.encode(_change(random, value, seeds))
    except PeerFault:
        return None


def _change(random: Random, value: Value, seeds: Sequence[bytes]) -> Value:
    """``value`` changed at one place: here, or further inside of arrays, maps and bytes."""
    if isinstance(value, tuple) and value and random.random() < 0.75:
        return _changed_array(random, list(value), seeds)
    if isinstance(value, Mapping) and value and random.random() < 0.75:
        key = random.choice(list(value))
        return {**value, key: _change(random, value[key], seeds)}
    if isinstance(value, bytes) and random.random() < 0.75:
        inner = _changed_value(random, value, seeds) if len(value) > 4 else None
        return _changed_bytes(random, value, seeds) if inner is None else inner
    if isinstance(value, int) and random.random() < 0.5:
        return min(U64_MAX, max(0, value + random.choice((1, -1, 255, 65_536, 2**62))))
    if isinstance(value, str) and random.random() < 0.5:
        return value + random.choice(("x", "-", "医", " ", "\x00", "a" * 100))
    return random.choice(ODD_VALUES)


def _changed_array(random: Random, items: list[Value], seeds: Sequence[bytes]) -> Value:
    place, other = random.randrange(len(items)), random.randrange(len(items))
    match random.randrange(8):
        case 0:
            del items[place]
        case 1:
            items.insert(other, items[place])
        case 2:
            items[place], items[other] = items[other], items[place]
        case 3:
            items.append(random.choice(ODD_VALUES))
        case 4:
            items[place] = items[other]
        case _:
            items[place] = _change(random, items[place], seeds)
    return tuple(items)
