"""Whatever bytes a peer sends: decoders raise only PeerFault, drivers nothing, and nobody moves."""

import json
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import codec
from ledger.catchup import BlockRequest, Status, decode_blocks, decode_body, encode_blocks
from ledger.codec import Value
from ledger.consensus.messages import PreparedCertificate, decode_message, encode_message
from ledger.errors import PeerFault
from ledger.types.certificate import QuorumCertificate
from nodes.frames import (
    TRANSACTIONS_PER_FRAME,
    Channel,
    decode_transactions,
    encode_transactions,
    frame,
    frame_parts,
    split_frame,
)
from nodes.storage.safety_store import decode_vote, encode_vote
from tests.simulation.byzantine import consensus_message
from tests.simulation.cluster import TIMEOUT_MS, Cluster
from tests.vectors import fixed, make

VECTORS = json.loads((make.FOLDER / "consensus.json").read_text(encoding="utf-8"))
MESSAGES = [bytes.fromhex(data) for data in VECTORS["messages"].values()]
FRAMES = [bytes.fromhex(data) for data in VECTORS["frames"].values()]
PAYLOADS = {channel: data[1:] for data in FRAMES for channel in [split_frame(data)[0]]}


def through_value(
    decode: Callable[[Value], object], encode: Callable[[object], Value]
) -> Callable[[bytes], bytes]:
    """Decodes and encodes again, for what travels inside something else."""
    return lambda data: codec.encode(encode(decode(codec.decode(data, 1_000_000, "fuzzed"))))


DECODERS: dict[str, tuple[Callable[[bytes], bytes], list[bytes]]] = {
    "message": (lambda data: encode_message(decode_message(data)), MESSAGES),
    "prepared certificate": (
        through_value(PreparedCertificate.from_value, lambda proof: proof.to_value()),
        [bytes.fromhex(VECTORS["prepared certificate"])],
    ),
    "status": (lambda data: Status.decode(data).encode(), [PAYLOADS[Channel.STATUS]]),
    "block request": (
        lambda data: BlockRequest.decode(data).encode(),
        [PAYLOADS[Channel.BLOCK_REQUEST]],
    ),
    "blocks": (lambda data: encode_blocks(decode_blocks(data)), [PAYLOADS[Channel.BLOCKS]]),
    "body": (lambda data: decode_body(data).encoded, [PAYLOADS[Channel.BODY]]),
    "certificate": (
        lambda data: QuorumCertificate.decode(data).encode(),
        [PAYLOADS[Channel.CERTIFICATE]],
    ),
    "transactions": (
        lambda data: encode_transactions(decode_transactions(data)),
        [PAYLOADS[Channel.TRANSACTIONS]],
    ),
    "frame": (lambda data: frame(*split_frame(data)), FRAMES),
    "vote record": (
        through_value(decode_vote, encode_vote),
        [bytes.fromhex(VECTORS["vote record"])],
    ),
}


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """An original with some bytes set, cut out or doubled."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 40))
        piece = bytes(data[place : place + length])
        data[place : place + length] = draw(
            st.sampled_from([b"", piece * 2, b"\xc0", b"\xcf" + b"\xff" * 8, b"\x90"])
            | st.binary(max_size=3).map(lambda new, piece=piece: new + piece[len(new) :])
        )
    return bytes(data)


@pytest.mark.parametrize("name", DECODERS)
@given(choice=st.data())
@settings(max_examples=150, deadline=None)
def test_B1_decoders_refuse_or_give_back_the_same_bytes(name, choice):
    again, originals = DECODERS[name]
    data = choice.draw(st.binary(max_size=200) | mutated(originals))
    try:
        result = again(data)
    except PeerFault:
        return
    assert result == data


@pytest.mark.parametrize("name", DECODERS)
def test_B1_decoders_take_their_golden_vectors(name):
    again, originals = DECODERS[name]
    for data in originals:
        assert again(data) == data


@given(st.lists(st.integers(1, 65_000).map(bytes), max_size=80), st.integers(0, 1_200))
@settings(max_examples=30, deadline=None)
def test_parts_of_frames_keep_order_and_fit(large, small):
    transactions = [*large, *[b"x"] * small]
    parts = list(frame_parts(transactions))
    assert [each for part in parts for each in part] == transactions
    for part in parts:
        assert 0 < len(part) <= TRANSACTIONS_PER_FRAME
        assert decode_transactions(encode_transactions(part)) == tuple(part)


@cache
def recorded_run() -> tuple[Cluster, tuple[bytes, ...]]:
    """A cluster after a view change, and all frames for node 3 but those with transactions."""
    cluster, frames = Cluster(4), []

    def record(sender: int, receiver: int, data: bytes) -> int:
        if receiver == 3 and data[0] != Channel.TRANSACTIONS:
            frames.append(data)
        return 2

    cluster.judge = record
    cluster.start(1, 2)
    cluster.run(50)
    cluster.start(3)
    cluster.submit(2, cluster.registration(2))
    assert cluster.run(10 * TIMEOUT_MS, lambda: min(cluster.heights()) >= 1)
    cluster.run(1_000)
    cluster.judge = lambda sender, receiver, data: None
    kinds = {type(m).__name__ for data in frames if (m := consensus_message(data)) is not None}
    assert kinds >= {"Prepare", "Commit", "ViewChange", "NewView"}
    return cluster, tuple(frames)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_I10_no_hostile_frame_raises_or_moves_a_driver(choice):
    cluster, frames = recorded_run()
    node = cluster.nodes[3]
    before = (node.store.height, node.driver.replica.view, node.driver.replica.entered)
    data = choice.draw(
        mutated(list(frames))
        | mutated(FRAMES)
        | st.binary(max_size=100)
        | st.tuples(st.sampled_from(Channel), st.binary(max_size=100)).map(lambda f: frame(*f))
    )
    node.driver.on_frame(fixed.hospital(1), data)
    assert (node.store.height, node.driver.replica.view, node.driver.replica.entered) == before
