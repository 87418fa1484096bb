"""A fetched snapshot is byte for byte what execution makes; what a liar adds or changes is not."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.registry import Registry
from ledger.contract_api import Column
from ledger.errors import NotCanonical, PeerFault, ProofInvalid, StateDamaged
from ledger.limits import LOG_PIECE_ENTRIES, VALID_UNTIL_HEIGHTS_MAX
from ledger.merkle.proof import verify_state
from ledger.merkle.state_tree import position_of
from ledger.primitives import Hash32, Height
from ledger.snapshot import messages
from ledger.snapshot.check import Task, accept, first_tasks, part_entries
from ledger.snapshot.messages import (
    BlockChunk,
    BlockItem,
    Chunk,
    ChunksAnswer,
    ChunksRequest,
    EntriesChunk,
    HeadersChunk,
    HeadersItem,
    Leaf,
    LeavesChunk,
    LogItem,
    NodesChunk,
    PageChunk,
    ReceiptsItem,
    SnapshotOffer,
    SnapshotQuery,
    SubtreeItem,
)
from ledger.types.block import Block
from nodes.ports import Put
from nodes.storage import snapshots
from nodes.storage.fetched import FetchedSnapshot, is_empty
from nodes.storage.layout import EVIDENCE, place_of
from nodes.storage.ledger_store import HeightUnknown, LedgerStore, StateTooOld, WrongGenesis
from nodes.storage.memory import MemoryStorage
from nodes.storage.snapshots import NoSuchPart
from tests.light import kit as light
from tests.snapshot.kit import CHAIN, GENESIS, Source, Target, state_of
from tests.vectors import fixed

LOG = b"patient/" + fixed.patient(1)
RELEASE = b"release/hospital-00"


def entries(count: int, name: bytes = b"row") -> list[bytes]:
    return [b"%s %d" % (name, i) for i in range(count)]


def crowded(count: int) -> dict[bytes, bytes]:
    """Keys whose positions share their first eight bits."""
    keys = (b"policy/%d" % i for i in range(1 << 20))
    found = (key for key in keys if position_of(key)[0] == 0xA5)
    return {next(found): b"value %d" % i for i in range(count)}


def fetched(source: Source) -> LedgerStore:
    target = Target()
    assert target.fetch(source.header, source.snapshots().answer)
    store = target.finish(source)
    assert state_of(target.storage) == state_of(source.storage)
    assert target.settled == [source.height]
    assert (store.height, store.base) == (source.height, source.height)
    return store


@pytest.mark.parametrize("chunk_bytes", [1, 300, 1 << 18])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {b"parameters": b"1"},
        {b"parameters": b"1", b"member/a": b"2"},
        crowded(40),
        {b"member/%d" % i: b"value %d" % i for i in range(300)},
    ],
    ids=["0 leaves", "1 leaf", "2 leaves", "one prefix", "300 leaves"],
)
def test_EXEC_1_a_fetched_state_is_the_executed_one(
    values: dict[bytes, bytes], chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "CHUNK_BYTES", chunk_bytes)
    fetched(Source(values, {LOG: entries(3)} if values else {}))


@pytest.mark.parametrize(
    "count",
    [1, LOG_PIECE_ENTRIES - 1, LOG_PIECE_ENTRIES, LOG_PIECE_ENTRIES + 1, 5 * LOG_PIECE_ENTRIES + 7],
)
def test_logs_of_any_length_are_fetched_whole(count: int) -> None:
    source = Source(
        {b"parameters": b"1"},
        # The second log's key begins with the first one's.
        {RELEASE: entries(count), RELEASE + b"0": entries(count + 1, b"other")},
    )
    store = fetched(source)
    assert list(store.log_entries(RELEASE, 0, count)) == entries(count)


def test_nodes_of_nodes_where_a_log_is_very_long(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (messages, snapshots, __import__("ledger.snapshot.check", fromlist=["x"])):
        monkeypatch.setattr(module, "NODES_MAX", 4)
    assert part_entries(4 * LOG_PIECE_ENTRIES) == LOG_PIECE_ENTRIES
    assert part_entries(4 * LOG_PIECE_ENTRIES + 1) == 4 * LOG_PIECE_ENTRIES
    fetched(Source({}, {RELEASE: entries(9 * LOG_PIECE_ENTRIES + 5)}))


@settings(max_examples=30, deadline=None)
@given(
    values=st.dictionaries(st.binary(min_size=1, max_size=8), st.binary(max_size=20), max_size=40),
    logs=st.dictionaries(
        st.binary(min_size=1, max_size=8).map(lambda key: b"log/" + key),
        st.lists(st.binary(max_size=10), min_size=1, max_size=5),
        max_size=5,
    ),
)
def test_EXEC_1_any_state_is_fetched_as_it_is(
    values: dict[bytes, bytes], logs: dict[bytes, list[bytes]]
) -> None:
    fetched(Source({b"value/" + key: value for key, value in values.items()}, logs))


def test_R1_ids_are_known_as_long_as_they_can_be_replayed() -> None:
    height = VALID_UNTIL_HEIGHTS_MAX + 20
    counts = {height: 1_200, height - 1: LOG_PIECE_ENTRIES, 20: 2, 19: 1}
    source = Source({b"parameters": b"1"}, height=height, transactions=lambda h: counts.get(h, 0))
    store = fetched(source)
    assert store.executed(fixed.named_hash(f"{height}/1199")) == (height, 1_199)
    assert store.executed(fixed.named_hash("20/1")) == (20, 1)
    assert store.executed(fixed.named_hash("19/0")) is None
    assert len(store.receipts(20)) == 2


def test_what_was_fetched_can_be_handed_on() -> None:
    # Else a network whose validators all began at snapshots could not help another one.
    first = Target()
    first.fetch(WORLD.header, WORLD.snapshots().answer)
    handed_on = first.finish(WORLD).snapshots
    assert handed_on.offer(messages.SnapshotQuery(Height(0))).headers == (WORLD.certified,)
    second = Target()
    assert second.fetch(WORLD.header, handed_on.answer)
    second.finish(WORLD)
    assert state_of(second.storage) == state_of(WORLD.storage)


def test_LIGHT_1_it_proves_its_newest_state_and_says_what_it_does_not_have() -> None:
    source = Source({b"member/%d" % i: b"%d" % i for i in range(20)}, height=9)
    store = fetched(source)
    certified, value, proof = store.prove_state(b"member/7")
    verify_state(proof, b"member/7", value, certified.header.state_root)
    assert (certified, value) == (source.certified, b"7")
    block = store.block(9)
    assert block is not None
    assert block.header == source.header
    assert store.block(8) is None
    with pytest.raises(HeightUnknown) as unknown:
        store.certified_header(8)
    assert (unknown.value.oldest, unknown.value.newest) == (9, 9)
    with pytest.raises(StateTooOld) as old:
        store.state_at(8)
    assert (old.value.oldest, old.value.newest) == (9, 9)


def test_membership_changes_below_the_base_are_kept_for_light_clients() -> None:
    chain = light.Chain(4)
    chain.commit([0, 1, 2, 3, 4])
    source = Source({b"parameters": b"1"}, height=5)
    target = Target()
    target.fetch(source.header, source.snapshots().answer)
    store = target.finish(source, chain.changes)
    kept = [(chain.changes[0].certified, chain.changes[0].membership)]
    assert list(store.membership_changes(0, 10)) == kept
    assert store.certified_header(1) == kept[0][0]
    offer = store.snapshots.offer(SnapshotQuery(Height(0)))
    assert offer == SnapshotOffer(tuple(chain.changes), (source.certified,))
    assert store.snapshots.offer(SnapshotQuery(Height(1))).changes == ()


# -- lies -----------------------------------------------------------------------------------

BIG = LOG_PIECE_ENTRIES + 88
WORLD = Source(
    {b"member/%d" % i: b"value %d" % i for i in range(60)},
    {LOG: entries(5), RELEASE: entries(BIG)},
    height=6,
)


ANY = fixed.named_hash("request")


def chunks(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> list[tuple[Task, Chunk]]:
    monkeypatch.setattr(snapshots, "CHUNK_BYTES", chunk_bytes)
    target = Target()
    target.fetch(WORLD.header, WORLD.snapshots().answer)
    return target.taken


def test_no_chunk_with_one_bit_flipped_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = chunks(monkeypatch, 300)
    kinds = {type(chunk) for _, chunk in taken}
    every = {BlockChunk, EntriesChunk, HeadersChunk, LeavesChunk, NodesChunk, PageChunk}
    assert kinds == every
    seen: dict[type, int] = {}
    for task, chunk in taken:
        seen[type(chunk)] = seen.get(type(chunk), 0) + 1
        if seen[type(chunk)] > 3:
            continue
        data = ChunksAnswer(ANY, (chunk,)).encode()
        step = 1 if len(data) < 2_000 else 7
        for bit in range(0, 8 * len(data), step):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            try:
                answer = ChunksAnswer.decode(bytes(flipped))
            except PeerFault:
                continue
            if answer.request != ANY or answer.chunks == (chunk,):
                continue  # which request it answers is the plan's affair
            for each in answer.chunks:
                with pytest.raises(PeerFault):
                    accept(task, WORLD.header, each)


def changed_leaves(change: Callable[[list[Leaf]], list[Leaf]]) -> tuple[Task, Chunk]:
    task = first_tasks(WORLD.header)[0]
    chunk = WORLD.snapshots().answer(ChunksRequest(WORLD.header.hash, (task.item,))).chunks[0]
    assert isinstance(chunk, LeavesChunk)
    accept(task, WORLD.header, chunk)
    return task, LeavesChunk(tuple(change(list(chunk.leaves))))


def with_log(**changes: object) -> Callable[[list[Leaf]], list[Leaf]]:
    return lambda leaves: [
        replace(leaf, **changes) if leaf.key == LOG else leaf  # type: ignore[arg-type]  # names
        for leaf in leaves
    ]


UNLED = "they do not lead to the hash of their subtree"
ORDER = "they are not in the order of their positions"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda leaves: leaves[1:], UNLED),
        (lambda leaves: leaves[:-1], UNLED),
        (lambda leaves: [], UNLED),
        (lambda leaves: [*leaves[1:], leaves[0]], ORDER),
        (lambda leaves: [leaves[0], *leaves], ORDER),
        (lambda leaves: [replace(leaves[0], value=leaves[1].value), *leaves[1:]], UNLED),
        (
            lambda leaves: sorted(
                [*leaves, Leaf(b"key/extra", b"value", None)], key=lambda e: position_of(e.key)
            ),
            UNLED,
        ),
        (with_log(entries=None), "entries where none belong, or none where some do"),
        (
            lambda leaves: [
                replace(leaf, entries=()) if leaf.key == b"member/1" else leaf for leaf in leaves
            ],
            "entries where none belong, or none where some do",
        ),
        (with_log(entries=tuple(entries(4))), "another number of entries than was asked for"),
        (
            with_log(entries=tuple(reversed(entries(5)))),
            "the entries do not lead to the root",
        ),
    ],
    ids=[
        "first left out", "last left out", "none", "out of order", "twice", "another's value",
        "one added", "log without entries", "value with entries", "entry left out", "entries moved",
    ],
)  # fmt: skip
def test_false_leaves_are_refused_by_name(
    change: Callable[[list[Leaf]], list[Leaf]], reason: str
) -> None:
    task, lie = changed_leaves(change)
    with pytest.raises(ProofInvalid) as caught:
        accept(task, WORLD.header, lie)
    assert caught.value.reason == reason


def part(item: object) -> tuple[Task, Chunk]:
    """The task of an item below the first ones, and its true chunk."""
    target = Target()
    target.fetch(WORLD.header, WORLD.snapshots().answer)
    return next((task, chunk) for task, chunk in target.taken if task.item == item)


HEADERS, BLOCK_ = HeadersItem(), BlockItem()
WHOLE, FIRST = LogItem(RELEASE, 0, BIG), LogItem(RELEASE, 0, LOG_PIECE_ENTRIES)
RECEIPTS_ = ReceiptsItem(Height(5), 0, 2)


@pytest.mark.parametrize(
    ("item", "change", "reason"),
    [
        (HEADERS, lambda c: HeadersChunk(c.headers[:-1]),
         "another number of them than was asked for"),
        (HEADERS, lambda c: HeadersChunk((c.headers[1], c.headers[0], *c.headers[2:])),
         "one is not the parent of the one above it"),
        (HEADERS, lambda c: HeadersChunk(
            (*c.headers[:-1], replace(c.headers[-1], receipt_root=fixed.named_hash("a lie")))),
         "one is not the parent of the one above it"),
        (BLOCK_, lambda c: BlockChunk(Block(replace(c.block.header, height=Height(5)), ())),
         "it is another than the certified one"),
        (WHOLE, lambda c: NodesChunk(c.nodes[:1]), "another number of pieces than there are"),
        (WHOLE, lambda c: NodesChunk((c.nodes[1], c.nodes[0])),
         "the pieces do not lead to the root"),
        (WHOLE, lambda c: EntriesChunk(tuple(entries(BIG)[:LOG_PIECE_ENTRIES])),
         "entries, where the roots of pieces were asked for"),
        (FIRST, lambda c: EntriesChunk(c.entries[:-1]),
         "another number of entries than was asked for"),
        (FIRST, lambda c: EntriesChunk((*c.entries[:-1], b"a lie")),
         "the entries do not lead to the root"),
        (FIRST, lambda c: NodesChunk((fixed.named_hash("a"),)),
         "roots of pieces, where entries were asked for"),
        (RECEIPTS_, lambda c: EntriesChunk((c.entries[0], c.entries[0])),
         "the entries do not lead to the root"),
        (RECEIPTS_, lambda c: LeavesChunk(()),
         "it is of another kind than was asked for"),
    ],
)  # fmt: skip
def test_false_chunks_are_refused_by_name(
    item: object, change: Callable[[Chunk], Chunk], reason: str
) -> None:
    task, chunk = part(item)
    accept(task, WORLD.header, chunk)
    with pytest.raises(ProofInvalid) as caught:
        accept(task, WORLD.header, change(chunk))
    assert caught.value.reason == reason


def test_a_block_with_another_body_is_refused() -> None:
    source = Source({b"parameters": b"1"}, height=5)
    task = Task(BlockItem(), source.header.hash)
    with pytest.raises(NotCanonical):
        accept(task, source.header, BlockChunk(Block(source.header, (b"one", b"two"))))


def test_pages_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "CHUNK_BYTES", 300)
    (task, page), *_ = [
        (task, chunk) for task, chunk in chunks(monkeypatch, 300) if isinstance(chunk, PageChunk)
    ]
    assert isinstance(page, PageChunk)
    slots = list(page.slots)
    place = next(i for i, slot in enumerate(slots) if len(slot) == 32)
    leaf = b"\x01" * 64
    unled = "it does not lead to the hash of its subtree"
    lies = {
        "empty": ([b""] * 16, unled),
        "one leaf": ([leaf, *[b""] * 15], unled),
        "left out": ([*slots[:place], b"", *slots[place + 1 :]], unled),
        "length": ([b"\x01" * 31, *slots[1:]], "a slot of another length than 0, 32 or 64"),
    }
    for lie, reason in lies.values():
        with pytest.raises(ProofInvalid) as caught:
            accept(task, WORLD.header, PageChunk(tuple(lie)))
        assert caught.value.reason == reason
    deep = Task(SubtreeItem(bytes(64)), task.expected)
    with pytest.raises(ProofInvalid) as caught:
        accept(deep, WORLD.header, page)
    assert caught.value.reason == "no page is so deep"


def test_a_page_of_one_leaf_does_not_lead_deeper_for_ever() -> None:
    source = Source({b"parameters": b"1"})
    task = first_tasks(source.header)[0]
    slots = [b""] * 16
    leaf = snapshots.Snapshot(source.storage, source.certified).get(Column.PAGE, b"")
    assert leaf is not None
    position = position_of(b"parameters")
    slots[position[0] >> 4] = leaf[16:]
    assert len(leaf[16:]) == 64
    with pytest.raises(ProofInvalid):
        accept(task, source.header, PageChunk(tuple(slots)))


def test_a_leaf_of_another_subtree_is_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [
        (task, chunk)
        for task, chunk in chunks(monkeypatch, 300)
        if isinstance(chunk, LeavesChunk) and isinstance(task.item, SubtreeItem)
    ]
    (task, _), (_, other) = parts[0], parts[1]
    with pytest.raises(ProofInvalid) as caught:
        accept(task, WORLD.header, other)
    assert caught.value.reason == "one belongs to another subtree"


@pytest.mark.parametrize(
    "item",
    [
        SubtreeItem(b"\x00" * 12),
        LogItem(b"none", 0, 1),
        LogItem(RELEASE, BIG, BIG + 1),
        LogItem(RELEASE, 0, 1 << 60),
        LogItem(RELEASE, 3, 3 + BIG),
        ReceiptsItem(Height(5), 0, 3),
        ReceiptsItem(Height(5), 0, 1 << 40),
        ReceiptsItem(Height(77), 0, 1),
    ],
)
def test_what_a_snapshot_does_not_have_is_the_askers_mistake(item: messages.Item) -> None:
    request = ChunksRequest(WORLD.header.hash, (item,))
    with pytest.raises(NoSuchPart):
        WORLD.snapshots().answer(ChunksRequest.decode(request.encode()))


def test_an_unknown_snapshot_is_answered_with_nothing() -> None:
    request = ChunksRequest(fixed.named_hash("another"), (BlockItem(),))
    assert WORLD.snapshots().answer(request) == ChunksAnswer(request.id, ())


# -- interruptions --------------------------------------------------------------------------


def test_a_killed_node_asks_only_for_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "CHUNK_BYTES", 300)
    whole = chunks(monkeypatch, 300)
    kept = (LeavesChunk, EntriesChunk)
    for cut in range(0, len(whole), 5):
        target = Target()
        assert not target.fetch(WORLD.header, WORLD.snapshots().answer, cut)
        first = [task for task, chunk in target.taken if isinstance(chunk, kept)]
        assert is_empty(target.storage)
        with pytest.raises(StateDamaged):
            LedgerStore(target.storage, Registry(), GENESIS)
        again = Target(target.storage)
        assert again.fetch(WORLD.header, WORLD.snapshots().answer)
        second = [task for task, chunk in again.taken if isinstance(chunk, kept)]
        assert not {task.item for task in first} & {task.item for task in second}
        again.finish(WORLD)
        assert state_of(again.storage) == state_of(WORLD.storage)


def test_a_later_snapshot_reuses_what_has_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "CHUNK_BYTES", 300)
    later = Source(
        {**WORLD.values, b"member/3": b"changed", b"member/new": b"1"},
        {LOG: entries(9), RELEASE: entries(BIG + 600)},
        height=11,
    )
    for cut in (10, 30, 1_000):
        target = Target()
        done = target.fetch(WORLD.header, WORLD.snapshots().answer, cut)
        fetched_state = FetchedSnapshot(target.storage, CHAIN)
        if done:  # and killed while it finishes
            steps = fetched_state.finish(
                WORLD.certified, Block(WORLD.header, ()), (), target.settled.append
            )
            for _ in range(100):
                next(steps)
        again = Target(target.storage)
        assert again.fetch(later.header, later.snapshots().answer)
        fresh = Target()
        fresh.fetch(later.header, later.snapshots().answer)
        assert len(again.taken) < len(fresh.taken)
        again.finish(later)
        assert state_of(again.storage) == state_of(later.storage)


def test_SAFE_3_a_crash_at_any_step_of_the_end_leaves_no_chain_or_the_whole() -> None:
    class Power(MemoryStorage):
        left = 1_000_000

        def write(self, batch: object) -> None:
            if self.left == 0:
                raise OSError("power failure")
            self.left -= 1
            super().write(batch)  # type: ignore[arg-type]  # handed on

    source = Source({b"member/%d" % i: b"%d" % i for i in range(9)}, {LOG: entries(3)})
    fetched_storage = Power()
    assert Target(fetched_storage).fetch(source.header, source.snapshots().answer)
    for writes in range(400):
        storage = Power()
        storage._sealed = dict(fetched_storage._sealed)
        storage.left = writes
        target = Target(storage)
        try:
            target.finish(source)
        except OSError:
            assert is_empty(storage)
            storage.left = 1_000_000
            target.finish(source)
            assert state_of(storage) == state_of(source.storage)
        else:
            break
    assert 200 < writes < 400


def test_damage_behind_the_back_of_the_fetch_is_found_at_its_end() -> None:
    target = Target()
    target.fetch(WORLD.header, WORLD.snapshots().answer)
    place = place_of(Column.VALUE, b"member/1")
    stored = target.storage.get(place)
    assert stored is not None
    target.storage.write([Put(place, stored[:-1] + b"!")])
    with pytest.raises(StateDamaged):
        target.finish(WORLD)
    assert is_empty(target.storage)
    for _ in FetchedSnapshot(target.storage, CHAIN).clear():
        pass
    assert list(target.storage.scan(b"")) == []
    assert LedgerStore(target.storage, Registry(), GENESIS).height == 0


def test_a_chain_without_blocks_gives_way_and_seen_double_votes_stay() -> None:
    storage = MemoryStorage()
    LedgerStore(storage, Registry(), GENESIS)
    seen = Put(EVIDENCE + b"key id", b"two votes")
    storage.write([seen])
    assert is_empty(storage)
    target = Target(storage)
    assert target.fetch(WORLD.header, WORLD.snapshots().answer)
    target.finish(WORLD)
    assert state_of(storage) == state_of(WORLD.storage)
    assert storage.get(seen.key) == seen.value
    fetched_state = FetchedSnapshot(storage, CHAIN)
    for _ in fetched_state.clear():
        pass
    assert [key for key, _ in storage.scan(b"")] == [seen.key]
    assert LedgerStore(storage, Registry(), GENESIS).height == 0


def test_a_chain_of_another_network_without_blocks_is_not_overwritten() -> None:
    storage = MemoryStorage()
    LedgerStore(storage, Registry(), GENESIS)
    with pytest.raises(WrongGenesis):
        FetchedSnapshot(storage, Hash32(fixed.named_hash("another")))


def test_what_is_newer_does_not_fit_under_an_older_snapshot() -> None:
    storage = MemoryStorage()
    begun = Target(storage)
    begun.fetch(WORLD.header, WORLD.snapshots().answer, 10)
    height = WORLD.header.height
    for fetched_state in (FetchedSnapshot(storage, CHAIN), FetchedSnapshot(storage, CHAIN)):
        assert fetched_state.fits(height)
        assert not fetched_state.fits(Height(height - 1))
        fetched_state.begin(Height(height - 1))  # nothing was kept of it
    for _ in fetched_state.clear():
        pass
    assert fetched_state.fits(Height(1))


def test_a_snapshot_of_another_network_is_not_gone_on_with() -> None:
    storage = MemoryStorage()
    FetchedSnapshot(storage, CHAIN).begin(Height(1))
    with pytest.raises(WrongGenesis):
        FetchedSnapshot(storage, Hash32(fixed.named_hash("another")))
