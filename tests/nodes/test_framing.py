"""Frames on a byte stream: whole, in parts, in any pieces, and refused before they are held."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import NotCanonical, PeerFault, TooLarge
from ledger.limits import FRAME_BYTES_MAX
from nodes.frames import Channel, bytes_max
from nodes.transport.framing import PART_BYTES, QUEUE_BYTES_MAX, FrameQueues, FrameReader

PART, LAST = 0b10 << 30, 0b11 << 30
SMALL = [Channel.STATUS, Channel.CERTIFICATE, Channel.BLOCK_REQUEST, Channel.BODY_REQUEST]


def header(kind: int, size: int) -> bytes:
    return (kind | size).to_bytes(4, "big")


def piece(kind: int, content: bytes) -> bytes:
    return header(kind, len(content)) + content


def frame(channel: Channel, size: int) -> bytes:
    return bytes([channel]) + bytes(size - 1)


def read_all(reader: FrameReader, data: bytes) -> list[bytes]:
    reader.feed(data)
    return list(iter(reader.take, None))


def sent(queues: FrameQueues) -> bytes:
    return b"".join(iter(queues.next_write, b""))


SIZES = st.integers(1, 200) | st.sampled_from(
    [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 2 * PART_BYTES + 7]
)


@given(
    st.lists(st.tuples(SIZES, st.booleans()), max_size=12),
    st.lists(st.integers(1, 3 * PART_BYTES), max_size=10),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_sent_comes_whole_and_in_the_order_of_its_class(frames, cuts):
    queues, reader = FrameQueues(), FrameReader()
    given_frames = [
        (bytes([Channel.CONSENSUS if vote else Channel.BLOCKS]) + bytes([number]) * size, vote)
        for number, (size, vote) in enumerate(frames)
    ]
    for data, vote in given_frames:
        assert queues.put(data, vote)
    stream, received = sent(queues), []
    for cut in [*cuts, len(stream)]:
        received += read_all(reader, stream[:cut])
        stream = stream[cut:]
    votes = [data for data, vote in given_frames if vote]
    assert received == votes + [data for data, vote in given_frames if not vote]
    assert len(reader) == 0


def test_R3_a_vote_waits_for_one_part_of_a_body() -> None:
    queues = FrameQueues()
    body = frame(Channel.BLOCKS, FRAME_BYTES_MAX)
    queues.put(body, False)
    first = queues.next_write()
    assert len(first) == PART_BYTES + 4
    queues.put(b"\x01vote", True)
    second = queues.next_write()
    assert second.startswith(piece(0, b"\x01vote"))
    assert len(second) <= 2 * PART_BYTES
    reader = FrameReader()
    assert read_all(reader, first + second) == [b"\x01vote"]
    assert read_all(reader, sent(queues)) == [body]


def test_clearing_counts_a_body_that_is_half_sent() -> None:
    queues = FrameQueues()
    queues.put(frame(Channel.BLOCKS, FRAME_BYTES_MAX), False)
    queues.put(b"\x01vote", True)
    queues.put(b"\x06body", False)
    assert queues.next_write()
    assert queues.clear() == 2
    assert queues.next_write() == b""


@pytest.mark.parametrize("channel", Channel)
def test_R3_a_frame_too_large_for_its_channel_is_refused_with_its_first_byte(
    channel: Channel,
) -> None:
    limit = bytes_max(channel)
    reader = FrameReader()
    assert read_all(reader, header(0, limit) + bytes([channel])) == []
    reader = FrameReader()
    reader.feed(header(0, limit + 1) + bytes([channel]))
    with pytest.raises(TooLarge) as caught:
        reader.take()
    assert (caught.value.size, caught.value.limit) == (limit + 1, min(limit, FRAME_BYTES_MAX))


@pytest.mark.parametrize("channel", SMALL)
def test_R3_parts_do_not_get_round_the_limit_of_a_channel(channel: Channel) -> None:
    reader = FrameReader()
    reader.feed(header(PART, PART_BYTES) + bytes([channel]))
    with pytest.raises(TooLarge):
        reader.take()


def test_R3_parts_of_a_body_end_at_its_limit() -> None:
    reader = FrameReader()
    part = piece(PART, frame(Channel.BODY, PART_BYTES))
    for _ in range(bytes_max(Channel.BODY) // PART_BYTES):
        assert read_all(reader, part) == []
    reader.feed(header(PART, PART_BYTES))
    with pytest.raises(TooLarge):
        reader.take()


@pytest.mark.parametrize(
    "data",
    [
        header(0b01 << 30, 10),
        header(PART, 0),
        header(PART, PART_BYTES - 1),
        header(PART, PART_BYTES + 1),
        header(LAST, 10),
        piece(PART, frame(Channel.BLOCKS, PART_BYTES)) + header(LAST, 0),
        piece(PART, frame(Channel.BLOCKS, PART_BYTES)) + header(LAST, PART_BYTES + 1),
    ],
)
def test_a_header_that_no_sender_makes_is_refused(data: bytes) -> None:
    reader = FrameReader()
    reader.feed(data)
    with pytest.raises(NotCanonical):
        reader.take()


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_frames_or_faults_and_never_held_beyond_the_limits(chunks):
    reader = FrameReader()
    for chunk in chunks:
        reader.feed(chunk)
        try:
            while reader.take() is not None:
                pass
        except PeerFault:
            return


def test_R3_a_frame_that_dribbles_in_holds_its_size_and_is_not_copied_again_and_again() -> None:
    data = piece(0, frame(Channel.CONSENSUS, FRAME_BYTES_MAX))
    reader = FrameReader()
    tracemalloc.start()
    try:
        for first in range(0, len(data) - 1_000, 1_000):
            reader.feed(data[first : first + 1_000])
            assert reader.take() is None
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.3 * FRAME_BYTES_MAX
    assert peak < 2.5 * FRAME_BYTES_MAX
    assert len(data) - 2_000 < len(reader) < len(data)


def test_many_small_frames_in_one_chunk_are_all_there() -> None:
    reader = FrameReader()
    assert read_all(reader, piece(0, b"\x03x") * 100_000) == [b"\x03x"] * 100_000
    assert len(reader) == 0


def test_the_queue_of_a_class_is_bounded_in_bytes() -> None:
    queues = FrameQueues()
    body = frame(Channel.BLOCKS, FRAME_BYTES_MAX)
    taken = [queues.put(body, False) for _ in range(QUEUE_BYTES_MAX // FRAME_BYTES_MAX + 1)]
    assert taken == [True] * (len(taken) - 1) + [False]
    assert queues.put(b"\x01vote", True)
