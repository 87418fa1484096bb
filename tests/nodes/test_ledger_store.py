"""The chain's store: one batch for each block, proofs for 64 heights, nothing taken on trust."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.registry import Registry
from ledger import codec
from ledger.contract_api import Column
from ledger.errors import PeerFault, StateDamaged, WrongCall
from ledger.execution import BlockResult
from ledger.limits import PROOF_HEIGHTS, VALID_UNTIL_HEIGHTS_MAX
from ledger.merkle import log_tree, state_tree
from ledger.merkle.proof import verify_state
from ledger.primitives import Hash32, Height, MemberId, Signature, TimestampMs, View
from ledger.state import State
from ledger.types.block import Block, Header, Receipt
from ledger.types.certificate import QuorumCertificate
from ledger.types.entries import LogRoot
from ledger.types.membership import Voters
from nodes.ports import Put, Storage, StorageView
from nodes.storage import ledger_store
from nodes.storage.errors import StorageWriteFailed
from nodes.storage.layout import leaf_in
from nodes.storage.ledger_store import (
    HeightUnknown,
    LedgerStore,
    StateTooOld,
    WrongCommit,
    WrongGenesis,
)
from nodes.storage.leveldb import LevelDbStorage
from nodes.storage.memory import MemoryStorage
from tests.vectors import fixed

GENESIS = fixed.genesis()
VOTERS = Voters(Height(1), GENESIS.membership, None)
LOG = b"patient/" + fixed.patient(1)


def certificate_of(block: Block) -> QuorumCertificate:
    """The store believes its caller that the signatures hold."""
    return QuorumCertificate(
        block.header.height, View(0), block.hash, (0,), (Signature(bytes(65)),)
    )


def next_block(
    store: LedgerStore,
    values: dict[bytes, bytes],
    entries: Sequence[bytes] = (),
    transactions: int = 0,
) -> tuple[Block, QuorumCertificate, BlockResult]:
    """A block that sets these values and appends to LOG."""
    height = Height(store.height + 1)
    state = State(store)
    for key, value in values.items():
        state.put(key, value)
    for entry in entries:
        state.append(LOG, entry)
    changes = state.finish()
    ids = [fixed.named_hash(f"{height}/{i}") for i in range(transactions)]
    receipts = tuple(Receipt(tx_id, "ok", (height,)) for tx_id in ids)
    executed = [
        (Column.EXECUTED, bytes(tx_id), codec.encode([height, i])) for i, tx_id in enumerate(ids)
    ]
    root = fixed.named_hash("not checked here")
    parent = store.header(store.height)
    header = Header(
        chain_id=GENESIS.chain_id,
        height=height,
        time_ms=TimestampMs(fixed.TIME_MS + height),
        parent=Hash32(bytes(32)) if parent is None else parent.hash,
        proposer=MemberId("hospital-00"),
        transaction_count=transactions,
        transaction_root=root,
        receipt_root=root,
        state_root=changes.root,
        membership=GENESIS.membership.hash,
        next_membership=GENESIS.membership.hash,
    )
    block = Block(header, tuple(b"transaction %d" % i for i in range(transactions)))
    result = BlockResult(
        receipts,
        tuple(receipt.encode() for receipt in receipts),
        root,
        root,
        changes.root,
        VOTERS,
        (*changes.writes, *executed),
    )
    return block, certificate_of(block), result


def extend(store: LedgerStore, values: dict[bytes, bytes], **more: object) -> Block:
    block, certificate, result = next_block(store, values, **more)  # type: ignore[arg-type]  # test
    store.commit(block, certificate, result)
    return block


@pytest.fixture(params=["memory", "leveldb"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    made: Storage = (
        MemoryStorage() if request.param == "memory" else LevelDbStorage(tmp_path / "ledger")
    )
    yield made
    made.close()


def opened(storage: Storage) -> LedgerStore:
    return LedgerStore(storage, Registry(), GENESIS)


def test_an_empty_store_gets_the_genesis_state(storage: Storage) -> None:
    store = opened(storage)
    assert store.height == 0
    assert store.state_root == state_tree.root(store)
    for key, value in Registry().genesis_values(GENESIS):
        assert store.get(Column.VALUE, key) == value
    assert (store.header(0), store.block(0), store.certificate(0), store.receipts(0)) == (
        None,
        None,
        None,
        (),
    )
    again = opened(storage)
    assert (again.height, again.state_root) == (0, store.state_root)


def test_SAFE_3_a_committed_block_is_there_after_a_restart(storage: Storage) -> None:
    store = opened(storage)
    first = extend(store, {b"member/x": b"1"}, transactions=2)
    second = extend(store, {b"member/y": b"2"}, entries=[b"row 1", b"row 2"], transactions=1)
    for each in (store, opened(storage)):
        assert (each.height, each.state_root) == (2, second.header.state_root)
        assert [each.block(h) for h in (1, 2, 3)] == [first, second, None]
        assert [each.header(h) for h in (1, 2, 3)] == [first.header, second.header, None]
        assert each.certificate(2) == certificate_of(second)
        assert each.certified_header(1).certificate == certificate_of(first)
        assert [receipt.transaction_id for receipt in each.receipts(1)] == [
            fixed.named_hash("1/0"),
            fixed.named_hash("1/1"),
        ]
        assert each.executed(fixed.named_hash("1/1")) == (1, 1)
        assert each.executed(fixed.named_hash("2/0")) == (2, 0)
        assert each.executed(fixed.named_hash("3/0")) is None
        assert list(each.log_entries(LOG, 0, 2)) == [b"row 1", b"row 2"]
        assert list(each.log_entries(LOG, 1, 1)) == []


def test_B6_a_log_reads_back_under_its_proved_root(storage: Storage) -> None:
    store = opened(storage)
    rows = [b"row %d" % i for i in range(7)]
    for batch in (rows[:3], rows[3:4], rows[4:]):
        extend(store, {}, entries=batch)
    certified, value, proof = store.prove_state(LOG)
    assert value is not None
    verify_state(proof, LOG, value, certified.header.state_root)
    entries = list(store.log_entries(LOG, 0, LogRoot.decode(value).count))
    assert entries == rows
    root = log_tree.root_of([log_tree.leaf_hash(entry) for entry in entries])
    assert LogRoot.decode(value).root == root
    with pytest.raises(StateDamaged):
        list(store.log_entries(LOG, 6, 8))


def test_proofs_are_served_for_the_newest_heights(storage: Storage) -> None:
    store = opened(storage)
    model: list[dict[bytes, bytes]] = [{}]
    for height in range(1, PROOF_HEIGHTS + 6):
        values = {b"member/%d" % (height % 9): b"at %d" % height, b"policy/p": b"%d" % height}
        extend(store, values, entries=[b"row %d" % height])
        model.append(model[-1] | values)
    oldest = store.height - PROOF_HEIGHTS + 1
    for height in (oldest, oldest + 1, oldest + 31, store.height - 1, store.height):
        for key in (b"member/3", b"member/8", b"policy/p", b"policy/none", b"member/77"):
            certified, value, proof = store.prove_state(key, height)
            assert certified.header.height == height
            assert value == model[height].get(key)
            verify_state(proof, key, value, certified.header.state_root)
        past = store.state_at(height)
        assert state_tree.root(past) == certified.header.state_root
        log = past.get(Column.VALUE, LOG)
        assert log is not None
        assert LogRoot.decode(log).count == height
    for height in (0, oldest - 1, store.height + 1):
        with pytest.raises(StateTooOld) as caught:
            store.state_at(height)
        assert (caught.value.oldest, caught.value.newest) == (oldest, store.height)
    with pytest.raises(PeerFault):
        store.prove_state(b"policy/p", oldest - 1)
    with pytest.raises(HeightUnknown):
        store.prove_state(b"policy/p", store.height + 1)


def test_old_undo_is_dropped(storage: Storage) -> None:
    store = opened(storage)
    for height in range(PROOF_HEIGHTS + 10):
        extend(store, {b"policy/p": b"%d" % height})
    assert len(list(storage.scan(b"\x13"))) == PROOF_HEIGHTS - 1


def test_a_past_state_stays_right_while_blocks_are_committed(storage: Storage) -> None:
    store = opened(storage)
    extend(store, {b"policy/p": b"1"})
    past = store.state_at(1)
    root = store.state_root
    for height in range(2, PROOF_HEIGHTS + 1):
        extend(store, {b"policy/p": b"%d" % height, b"policy/%d" % height: b"new"})
        if height % 9 == 0:
            assert past.get(Column.VALUE, b"policy/p") == b"1"
            assert past.get(Column.VALUE, b"policy/%d" % height) is None
            assert state_tree.root(past) == root
    extend(store, {b"policy/p": b"last"})
    with pytest.raises(StateTooOld):
        past.get(Column.VALUE, b"policy/p")


def test_a_past_state_has_only_what_proofs_need(storage: Storage) -> None:
    store = opened(storage)
    extend(store, {}, entries=[b"row"])
    for column in (Column.FRONTIER, Column.LOG, Column.EXECUTED):
        with pytest.raises(WrongCall):
            store.state_at(1).get(column, LOG)


def test_the_cache_is_never_wrong(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    # Four entries: nearly everything is evicted at once, and what stays is overwritten often.
    monkeypatch.setattr(ledger_store, "CACHE_ENTRIES_MAX", 4)
    store = opened(storage)
    for height in range(1, 30):
        values = {b"policy/%d" % (height * k % 7): b"%d" % height for k in (1, 2, 3)}
        extend(store, values, entries=[b"row"])
        for key, value in values.items():
            assert store.get(Column.VALUE, key) == value
        for column in (Column.VALUE, Column.PAGE, Column.FRONTIER):
            for place, value in storage.scan(bytes([column])):
                key, held = (place[1:], value) if column != 1 else leaf_in(value)
                assert store.get(column, key) == held
    assert len(store._cache) == 4


def test_there_is_no_proof_at_height_0(storage: Storage) -> None:
    store = opened(storage)
    with pytest.raises(HeightUnknown):
        store.prove_state(b"parameters")
    assert store.state_at(0).get(Column.VALUE, b"parameters") is not None


def test_R1_ids_are_remembered_as_long_as_they_can_be_replayed() -> None:
    storage = MemoryStorage()
    store = opened(storage)
    extend(store, {}, transactions=2)
    while store.height < 1 + VALID_UNTIL_HEIGHTS_MAX:
        extend(store, {})
        assert store.executed(fixed.named_hash("1/1")) == (1, 1)
    extend(store, {})
    assert store.executed(fixed.named_hash("1/0")) is None
    assert store.executed(fixed.named_hash("1/1")) is None
    assert len(store.receipts(1)) == 2


Parts = tuple[Block, QuorumCertificate, BlockResult]


def with_header(**changes: object) -> Callable[[Parts], Parts]:
    def change(parts: Parts) -> Parts:
        block, _, result = parts
        header = replace(block.header, **changes)  # type: ignore[arg-type]  # names of a test
        forged = Block(header, block.transactions)
        return forged, certificate_of(forged), result

    return change


@pytest.mark.parametrize(
    "change",
    [
        with_header(height=Height(1)),
        with_header(height=Height(3)),
        with_header(parent=fixed.named_hash("another")),
        with_header(chain_id=fixed.named_hash("another")),
        with_header(state_root=fixed.named_hash("another")),
        lambda p: (p[0], replace(p[1], height=Height(1)), p[2]),
        lambda p: (p[0], replace(p[1], block_hash=fixed.named_hash("another")), p[2]),
        lambda p: (p[0], p[1], replace(p[2], receipts=())),
    ],
)
def test_what_does_not_follow_is_refused(
    storage: Storage, change: Callable[[Parts], Parts]
) -> None:
    store = opened(storage)
    extend(store, {}, transactions=1)
    parts = next_block(store, {b"policy/p": b"1"}, transactions=1)
    before = list(storage.scan(b""))
    with pytest.raises(WrongCommit):
        store.commit(*change(parts))
    assert list(storage.scan(b"")) == before
    store.commit(*parts)
    assert store.height == 2


def test_a_wrong_genesis_is_refused(storage: Storage) -> None:
    opened(storage)
    other = replace(GENESIS, network="another")
    with pytest.raises(WrongGenesis) as caught:
        LedgerStore(storage, Registry(), other)
    assert caught.value.stored == GENESIS.chain_id
    assert GENESIS.chain_id.hex()[:16] in str(caught.value)
    assert other.chain_id.hex()[:16] in str(caught.value)


class OneWrite:
    """A Storage that fails from a given write on, as a full disk does."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self.failing = False
        self.batches: list[Sequence[Put]] = []

    def get(self, key: bytes) -> bytes | None:
        return self._inner.get(key)

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return self._inner.scan(prefix)

    def view(self) -> StorageView:
        return self._inner.view()

    def write(self, batch: Sequence[Put]) -> None:
        if self.failing:
            raise StorageWriteFailed("test", "No space left on device")
        self.batches.append(batch)
        self._inner.write(batch)

    def close(self) -> None:
        self._inner.close()


def test_L3_a_block_is_one_batch_and_a_failed_one_changes_nothing() -> None:
    storage = OneWrite(MemoryStorage())
    store = opened(storage)
    for _ in range(3):
        extend(store, {b"policy/p": b"1"}, entries=[b"row"], transactions=1)
    assert len(storage.batches) == 4
    parts = next_block(store, {b"policy/p": b"2"})
    storage.failing = True
    before = (store.height, store.state_root)
    with pytest.raises(StorageWriteFailed):
        store.commit(*parts)
    assert (store.height, store.state_root) == before
    assert store.get(Column.VALUE, b"policy/p") == b"1"


def damaged(change: Callable[[MemoryStorage, LedgerStore], None]) -> MemoryStorage:
    storage = MemoryStorage()
    store = opened(storage)
    for height in range(3):
        extend(store, {b"policy/p": b"%d" % height}, transactions=1)
    change(storage, store)
    return storage


def copy(source: bytes, target: bytes) -> Callable[[MemoryStorage, LedgerStore], None]:
    return lambda storage, _: storage.write([Put(target, storage.get(source))])


HEIGHT_2, HEIGHT_3 = ((h).to_bytes(8, "big") for h in (2, 3))


@pytest.mark.parametrize(
    "change",
    [
        copy(b"none", b"\x10" + HEIGHT_3),
        copy(b"none", b"\x11" + HEIGHT_3),
        copy(b"\x10" + HEIGHT_2, b"\x10" + HEIGHT_3),
        copy(b"\x11" + HEIGHT_2, b"\x11" + HEIGHT_3),
        copy(b"none", b"\x02"),
        lambda storage, _: storage.write([Put(b"\x11" + HEIGHT_3, b"junk")]),
        lambda storage, _: storage.write([Put(b"\x14newest", b"junk")]),
        lambda storage, store: storage.write(
            [Put(b"\x14newest", codec.encode([GENESIS.chain_id, 0, 2, store.state_root]))]
        ),
        lambda storage, store: storage.write(
            [Put(b"\x14newest", codec.encode([GENESIS.chain_id, 0, 4, store.state_root]))]
        ),
        lambda storage, _: storage.write(
            [Put(b"\x14newest", codec.encode([GENESIS.chain_id, 0, 3, bytes(32)]))]
        ),
        lambda storage, _: storage.write([Put(b"\x14newest", None)]),
    ],
)
def test_A1_a_store_that_contradicts_itself_is_refused(
    change: Callable[[MemoryStorage, LedgerStore], None],
) -> None:
    storage = damaged(change)
    with pytest.raises(StateDamaged):
        opened(storage)


def test_A1_a_page_of_the_tree_that_changed_is_noticed() -> None:
    def change(storage: MemoryStorage, _store: LedgerStore) -> None:
        page = storage.get(b"\x02")
        assert page is not None
        storage.write([Put(b"\x02", page[:-1] + bytes([page[-1] ^ 1]))])

    with pytest.raises(StateDamaged):
        opened(damaged(change))


def test_columns_never_meet(storage: Storage) -> None:
    store = opened(storage)
    extend(store, {b"policy/same": b"value"})
    assert store.get(Column.VALUE, b"policy/same") == b"value"
    for column in itertools.islice(Column, 1, None):
        assert store.get(column, b"policy/same") is None
