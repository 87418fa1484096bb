"""An empty validator fetches a snapshot: among liars, over lossy links, and killed on the way.

Whatever happens, it ends with the state that all others have, byte for byte (EXEC-1), votes on,
and refuses what was executed before its snapshot (R1); whoever lied is named.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import pytest

from contracts.registry import Registry
from ledger.contract_api import Column
from ledger.execution import TransactionRefused
from ledger.primitives import Height
from ledger.snapshot.check import Task
from ledger.snapshot.messages import (
    BlockChunk,
    Chunk,
    ChunksAnswer,
    EntriesChunk,
    HeadersChunk,
    Leaf,
    LeavesChunk,
    PageChunk,
    SnapshotOffer,
    SubtreeItem,
)
from ledger.types.block import Block
from ledger.types.certificate import CertifiedHeader
from ledger.types.transaction import SignedTransaction
from nodes import frames
from nodes.frames import Channel, split_frame
from nodes.ports import Put
from nodes.storage import snapshots
from nodes.storage.fetched import FetchedSnapshot, is_empty
from nodes.storage.layout import COLUMN
from nodes.storage.ledger_store import LedgerStore
from nodes.storage.memory import MemoryStorage
from tests.simulation.cluster import Cluster, Crash, Lie, Node
from tests.simulation.fast_signatures import fast_signatures
from tests.vectors import fixed

NEW = 3
"""The validator that begins with an empty disk."""
HEIGHT = 24
INTERVAL = 10


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small chunks, so that there are many."""
    monkeypatch.setattr(snapshots, "CHUNK_BYTES", 500)
    with fast_signatures():
        yield


def grown(n: int = 4) -> tuple[Cluster, list[SignedTransaction]]:
    """A chain of which all but the new validator have everything."""
    cluster = Cluster(n)
    cluster.snapshots_from, cluster.snapshot_interval = INTERVAL, INTERVAL
    cluster.start(*(i for i in range(n) if i != NEW))
    sent: list[SignedTransaction] = []
    assert cluster.run(20_000, lambda: cluster.heights() == [1] * (n - 1))
    while not cluster.nodes[0].store or cluster.nodes[0].store.height < HEIGHT:
        sent.append(cluster.registration(0, patient=len(sent) % 7))
        cluster.submit(0, sent[-1])
        assert cluster.run(20_000, lambda: cluster.committed_everywhere(sent[-1:]))
    return cluster, sent


def caught_up(cluster: Cluster) -> bool:
    node = cluster.nodes[NEW]
    heights = cluster.heights()
    return node.driver is not None and len(set(heights)) == 1 and heights[0] > 0


def state(node: Node) -> list[tuple[bytes, bytes]]:
    return [(key, value) for key, value in node.storage.scan(b"") if key[0] <= 6]


def judge(cluster: Cluster, sent: Sequence[SignedTransaction], base: int | None = 20) -> None:
    """The new validator has what the others have, and its vote counts."""
    assert cluster.run(60_000, partial(caught_up, cluster))
    new, old = cluster.nodes[NEW], cluster.nodes[0]
    assert new.store is not None
    assert base is None or new.store.base == base
    assert state(new) == state(old)
    (refusal,) = cluster.submit(NEW, sent[-8])
    assert isinstance(refusal, TransactionRefused)
    assert refusal.code == "transaction/already-executed"
    cluster.kill(0)  # of four, three must vote now
    more = cluster.registration(1)
    cluster.submit(NEW, more)
    assert cluster.run(100_000, lambda: cluster.committed_everywhere([more]))
    cluster.check_agreement()
    assert state(new) == state(cluster.nodes[1])


def named(cluster: Cluster) -> set[str]:
    """Members that the new validator has caught lying."""
    events = cluster.nodes[NEW].trace.events
    return {str(fields["peer"]) for name, fields in events if name == "peer_fault"}


def test_EXEC_1_an_empty_validator_becomes_like_the_others() -> None:
    cluster, sent = grown()
    cluster.start(NEW)
    judge(cluster, sent)
    trace = cluster.nodes[NEW].trace
    assert ("snapshot_begun", {"height": 20, "peers": 3}) in trace.events
    assert trace.count("snapshot_complete") == 1
    assert named(cluster) == set()


def test_below_the_least_height_it_executes_the_blocks() -> None:
    cluster, sent = grown()
    cluster.snapshots_from = HEIGHT + 1
    cluster.start(NEW)
    judge(cluster, sent, base=0)
    assert cluster.nodes[NEW].trace.events[0] == ("no_snapshot", {"reason": "no peer has one"})


def lying(change: Callable[[Chunk], Chunk]) -> Lie:
    """Answers with other chunks."""

    def lie(receiver: int, frame: bytes) -> Iterable[bytes]:
        channel, payload = split_frame(frame)
        if channel is not Channel.CHUNKS:
            return (frame,)
        answer = ChunksAnswer.decode(payload)
        changed = replace(answer, chunks=tuple(change(chunk) for chunk in answer.chunks))
        return (frames.frame(channel, changed.encode()),)

    return lie


def offering(change: Callable[[CertifiedHeader], CertifiedHeader]) -> Lie:
    """Offers other snapshots."""

    def lie(receiver: int, frame: bytes) -> Iterable[bytes]:
        channel, payload = split_frame(frame)
        if channel is not Channel.SNAPSHOT_OFFER:
            return (frame,)
        headers = tuple(change(each) for each in SnapshotOffer.decode(payload).headers)
        return (frames.frame(channel, SnapshotOffer((), headers).encode()),)

    return lie


def _wrong(chunk: Chunk) -> Chunk:
    match chunk:
        case LeavesChunk(leaves):
            return LeavesChunk(tuple(replace(leaf, value=leaf.value + b"!") for leaf in leaves))
        case PageChunk(slots):
            return PageChunk((*slots[1:], slots[0]))
        case EntriesChunk(entries):
            return EntriesChunk(tuple(entry + b"!" for entry in entries))
        case HeadersChunk(headers):
            return HeadersChunk(headers[::-1])
        case BlockChunk(block):
            return BlockChunk(Block(block.header, block.transactions[1:]))
        case _:
            return chunk


def _other_root(certified: CertifiedHeader) -> CertifiedHeader:
    header = replace(certified.header, state_root=fixed.named_hash("a lie"))
    certificate = replace(certified.certificate, block_hash=header.hash)
    return CertifiedHeader(header, certificate)


def _too_few(certified: CertifiedHeader) -> CertifiedHeader:
    old = certified.certificate
    return replace(
        certified,
        certificate=replace(old, signers=old.signers[1:], signatures=old.signatures[1:]),
    )


def _garbage(receiver: int, frame: bytes) -> Iterable[bytes]:
    return (frame[:-3],) if frame[0] in (Channel.CHUNKS, Channel.SNAPSHOT_OFFER) else (frame,)


def _nothing(receiver: int, frame: bytes) -> Iterable[bytes]:
    return () if frame[0] == Channel.CHUNKS else (frame,)


@pytest.mark.parametrize(
    "lie",
    [lying(_wrong), offering(_other_root), offering(_too_few), _garbage],
    ids=["false chunks", "false root", "too few signatures", "garbage"],
)
def test_a_lying_peer_is_named_and_the_others_serve(lie: Lie) -> None:
    cluster, sent = grown()
    cluster.lies[1] = lie
    cluster.start(NEW)
    judge(cluster, sent)
    assert named(cluster) == {fixed.hospital(1)}


def test_each_kind_of_false_chunk_is_found_alone() -> None:
    for kind in (LeavesChunk, PageChunk, EntriesChunk, HeadersChunk, BlockChunk):
        cluster, _ = grown()
        one = lambda chunk, kind=kind: _wrong(chunk) if isinstance(chunk, kind) else chunk  # noqa: E731
        cluster.lies = dict.fromkeys((0, 1, 2), lying(one))  # whichever is asked for it
        cluster.start(NEW)
        assert cluster.run(120_000, partial(caught_up, cluster))
        assert state(cluster.nodes[NEW]) == state(cluster.nodes[0])
        assert named(cluster), f"nobody was named for a false {kind.__name__}"


def test_a_peer_that_offers_and_never_serves_is_left_alone() -> None:
    cluster, sent = grown()
    cluster.lies[1] = _nothing
    cluster.start(NEW)
    judge(cluster, sent)
    assert named(cluster) == set()


def test_where_all_lie_it_executes_the_blocks() -> None:
    cluster, sent = grown()
    cluster.lies = dict.fromkeys((0, 1, 2), lying(_wrong))
    cluster.start(NEW)
    judge(cluster, sent, base=0)
    assert named(cluster) == {fixed.hospital(i) for i in (0, 1, 2)}


def test_where_none_serves_it_executes_the_blocks() -> None:
    cluster, sent = grown()
    cluster.lies = dict.fromkeys((0, 1, 2), _nothing)
    cluster.start(NEW)
    assert cluster.run(600_000, partial(caught_up, cluster))
    judge(cluster, sent, base=0)
    trace = cluster.nodes[NEW].trace
    assert trace.count("peer_silent") > 0
    assert trace.count("no_snapshot") == 1


@pytest.mark.parametrize("seed", range(4))
def test_frames_are_lost_late_and_twice(seed: int) -> None:
    cluster, sent = grown()
    cluster.random.seed(seed)

    def weather(sender: int, receiver: int, frame: bytes) -> int | None:
        if NEW in (sender, receiver) and cluster.random.random() < 0.2:
            return None
        if frame[0] == Channel.CHUNKS and cluster.random.random() < 0.1:
            cluster._sequence += 1
            cluster._frames.append(
                (cluster.clock.now_ms + 5_000, cluster._sequence, sender, receiver, frame)
            )
        return cluster.random.randint(1, 900)

    cluster.judge = weather
    cluster.start(NEW)
    assert cluster.run(600_000, partial(caught_up, cluster))
    cluster.judge = lambda sender, receiver, frame: cluster.random.randint(1, 5)
    judge(cluster, sent, base=None)
    assert named(cluster) == set()


class Brittle(MemoryStorage):
    """Its machine loses power at each write but so many."""

    left = -1

    def write(self, batch: Sequence[Put]) -> None:
        """All or nothing."""
        if self.left == 0:
            raise Crash
        self.left -= 1
        super().write(batch)


@pytest.mark.parametrize("every", [1, 3, 20, 150, 350])
def test_SAFE_3_it_is_killed_again_and_again_and_goes_on(every: int) -> None:
    cluster, sent = grown()
    storage = cluster.nodes[NEW].storage = Brittle()
    starts = 0
    while is_empty(storage):
        starts += 1
        storage.left = every * starts
        cluster.start(NEW)
        cluster.run(60_000, lambda: cluster.nodes[NEW].sync is None or not is_empty(storage))
        if cluster.nodes[NEW].driver is None and is_empty(storage):
            continue
    storage.left = -1
    cluster.start(NEW)
    judge(cluster, sent)
    assert named(cluster) == set()


def test_a_snapshot_that_is_gone_is_followed_by_a_newer_one() -> None:
    cluster, sent = grown()
    slow = True

    def weather(sender: int, receiver: int, frame: bytes) -> int | None:
        lost = slow and frame[0] == Channel.CHUNKS and cluster.random.random() < 0.7
        return None if lost else cluster.random.randint(1, 5)

    cluster.judge = weather
    cluster.start(NEW)
    cluster.run(2_000)
    assert cluster.nodes[NEW].sync is not None
    begun = cluster.nodes[NEW].trace.count("snapshot_begun")
    assert begun == 1
    while cluster.nodes[0].store and cluster.nodes[0].store.height < 51:
        sent.append(cluster.registration(0, patient=len(sent) % 7))
        cluster.submit(0, sent[-1])
        assert cluster.run(20_000, lambda: cluster.committed_everywhere(sent[-1:]))
    slow = False
    judge(cluster, sent, base=None)
    new = cluster.nodes[NEW]
    assert new.store is not None
    assert new.store.base in (20, 40, 50)


def test_A2_a_validator_that_lost_its_chain_and_not_its_votes_goes_on_voting() -> None:
    cluster, sent = grown()
    cluster.start(NEW)
    judge(cluster, sent)
    cluster.start(0)
    cluster.kill(NEW)
    cluster.nodes[NEW].storage = MemoryStorage()
    cluster.start(NEW)
    assert cluster.run(60_000, partial(caught_up, cluster))
    driver = cluster.nodes[NEW].driver
    assert driver is not None
    assert not driver.observer
    assert state(cluster.nodes[NEW]) == state(cluster.nodes[0])


def test_it_serves_others_what_it_has_and_nothing_that_it_has_not() -> None:
    cluster, sent = grown()
    cluster.start(NEW)
    judge(cluster, sent)
    cluster.start(0)
    assert cluster.run(60_000, lambda: len(set(cluster.heights())) == 1)
    # One that must execute all blocks finds them, though the new validator answers with none.
    cluster.kill(2)
    cluster.nodes[2].storage, cluster.snapshots_from = MemoryStorage(), 10_000
    cluster.start(2)
    assert cluster.run(
        120_000, lambda: cluster.nodes[2].driver is not None and len(set(cluster.heights())) == 1
    )
    assert cluster.nodes[2].store is not None
    assert cluster.nodes[2].store.base == 0
    assert state(cluster.nodes[2]) == state(cluster.nodes[0])


def test_a_validator_that_has_only_the_genesis_state_fetches_a_snapshot() -> None:
    cluster, sent = grown()
    LedgerStore(cluster.nodes[NEW].storage, Registry(), cluster.genesis)
    cluster.start(NEW)
    judge(cluster, sent)


def test_parts_of_a_newer_snapshot_give_way_to_an_older_one() -> None:
    cluster, sent = grown()
    storage = cluster.nodes[NEW].storage
    newer = FetchedSnapshot(storage, cluster.genesis.chain_id)
    newer.begin(Height(99))
    leaf = Leaf(b"permission/of a later height", b"left over", None)
    newer.keep(Task(SubtreeItem(b"\x00"), fixed.named_hash("a node")), LeavesChunk((leaf,)), ())
    cluster.start(NEW)
    judge(cluster, sent)
    trace = cluster.nodes[NEW].trace
    assert (trace.count("snapshot_begun"), trace.count("snapshot_discarded")) == (1, 0)


def test_who_is_cut_off_at_its_start_waits_for_its_peers() -> None:
    # Found by the nemesis: it began at block 1, and all others had begun at snapshots.
    cluster, sent = grown()
    weather = cluster.judge
    cluster.judge = lambda sender, receiver, frame: (
        None if NEW in (sender, receiver) else weather(sender, receiver, frame)
    )
    cluster.start(NEW)
    cluster.run(20_000)
    node = cluster.nodes[NEW]
    assert node.driver is None
    assert node.trace.events == [("waiting_for_peers", {"heard": 0, "needed": 2})]
    cluster.judge = weather
    judge(cluster, sent)


def test_who_needs_a_block_that_all_others_have_no_more_is_told() -> None:
    cluster, sent = grown()
    cluster.start(NEW)
    judge(cluster, sent)
    cluster.start(0)
    for index in (0, 1, 2):  # each in turn begins at a snapshot
        cluster.kill(index)
        cluster.nodes[index].storage = MemoryStorage()
        cluster.start(index)
        assert cluster.run(
            60_000,
            lambda: len(cluster.heights()) == 4 == cluster.heights().count(cluster.heights()[NEW]),
        )
    cluster.kill(NEW)
    cluster.nodes[NEW].storage, cluster.snapshots_from = MemoryStorage(), None
    cluster.start(NEW)
    told = ("blocks_gone", {"height": 1})
    assert cluster.run(60_000, lambda: told in cluster.nodes[NEW].trace.events)
    cluster.kill(NEW)
    cluster.snapshots_from = INTERVAL  # and a restart helps
    cluster.start(NEW)
    assert cluster.run(60_000, partial(caught_up, cluster))


def test_a_damaged_fetch_is_thrown_away_and_begun_anew() -> None:
    # Found by the nemesis: from block 1 on nobody could help, as all had begun at a snapshot.
    cluster, sent = grown()
    storage = cluster.nodes[NEW].storage
    FetchedSnapshot(storage, cluster.genesis.chain_id).begin(Height(1))
    storage.write([Put(COLUMN[Column.VALUE] + b"permission/of a later height", b"left over")])
    cluster.start(NEW)
    judge(cluster, sent, base=10)  # the one that was not tried yet
    trace = cluster.nodes[NEW].trace
    assert trace.count("snapshot_discarded") == trace.count("snapshot_complete") == 1
