"""What holds for every decoder and every input (B1, R3). Nothing here looks at a clock."""

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType

from tests.fuzz.decoders import Decoder

MEMORY_FACTOR, MEMORY_BASE = 120, 256 * 1024
"""Bytes of memory for each byte of input at most: an empty map, one byte, takes 80. The base is
for what a first call keeps, such as the parts of an error."""
CALLS_FACTOR, CALLS_BASE = 12, 2_000
"""Calls of functions, Python's and C's, for each byte of input: the measure of time."""


class Broken(AssertionError):
    """A decoder does what none may do; the text has no part of the input."""


def check(decoder: Decoder, data: bytes) -> bool:
    """Whether ``data`` is accepted; raises Broken, or what the decoder should not have raised.

    a) nothing but the decoder's own error is raised; b) what is accepted has no more bytes than
    its limit; c) its one encoding is exactly ``data``.
    """
    try:
        found = decoder.decode(data)
    except decoder.error:
        return False
    if len(data) > decoder.limit:
        raise Broken(f"{decoder.name}: {len(data)} bytes accepted, {decoder.limit} is the limit")
    if decoder.encode is not None and decoder.encode(found) != data:
        raise Broken(f"{decoder.name}: accepted, and encodes to other bytes")
    return True


def check_memory(decoder: Decoder, data: bytes) -> None:
    """``check``, and Broken where it takes more memory than follows from the size."""
    memory = _peak(lambda: check(decoder, data))
    if memory > MEMORY_FACTOR * len(data) + MEMORY_BASE:
        raise Broken(f"{decoder.name}: {memory} bytes of memory for {len(data)} of input")


def check_work(decoder: Decoder, data: bytes) -> None:
    """``check``, and Broken where it takes more calls than follow from the size."""
    calls = _calls(lambda: check(decoder, data))
    if calls > CALLS_FACTOR * len(data) + CALLS_BASE:
        raise Broken(f"{decoder.name}: {calls} calls for {len(data)} bytes of input")


def _peak(work: Callable[[], object]) -> int:
    tracemalloc.start(1)
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _calls(work: Callable[[], object]) -> int:
    count = 0

    def called(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
