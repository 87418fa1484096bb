"""Whatever bytes a peer sends: a driver raises nothing, and nobody moves."""

import json
from functools import cache
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.frames import (
    TRANSACTIONS_PER_FRAME,
    Channel,
    decode_transactions,
    encode_transactions,
    frame,
    frame_parts,
)
from tests.fuzz.mutation import mutated
from tests.simulation.byzantine import consensus_message
from tests.simulation.cluster import TIMEOUT_MS, Cluster
from tests.vectors import fixed, make

VECTORS = json.loads((make.FOLDER / "consensus.json").read_text(encoding="utf-8"))
FRAMES = [bytes.fromhex(data) for data in VECTORS["frames"].values()]


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


@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_I10_no_hostile_frame_raises_or_moves_a_driver(seed):
    cluster, frames = recorded_run()
    node = cluster.nodes[3]
    before = (node.store.height, node.driver.replica.view, node.driver.replica.entered)
    random = Random(seed)
    for _ in range(10):
        kind = random.randrange(3)
        if kind == 0:
            data = mutated(random, FRAMES)
        elif kind == 1:
            data = frame(random.choice(tuple(Channel)), random.randbytes(random.randint(0, 100)))
        else:
            data = mutated(random, frames)
        node.driver.on_frame(fixed.hospital(1), data)
    assert (node.store.height, node.driver.replica.view, node.driver.replica.entered) == before
