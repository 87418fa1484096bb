"""The journaled state against a twin that copies everything, and what it does with bad stores."""

from collections.abc import Callable, Iterable
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.contract_api import Column, StateView
from ledger.errors import StateDamaged
from ledger.merkle import state_tree
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.merkle.proof import verify_state
from ledger.primitives import ZERO_HASH
from ledger.state import State, StateChanges, TransactionOrder, WrongKeyKind, entry_key
from ledger.types.entries import LogRoot

Rows = dict[tuple[Column, bytes], bytes]


class Store:
    """All columns in memory; applies a block's writes."""

    def __init__(self) -> None:
        self.rows: Rows = {}

    def get(self, column: Column, key: bytes) -> bytes | None:
        return self.rows.get((column, key))

    def apply(self, changes: StateChanges) -> None:
        keys = [(column, key) for column, key, _ in changes.writes]
        assert len(set(keys)) == len(keys)
        for column, key, value in changes.writes:
            assert column is not Column.LOG or (column, key) not in self.rows
            if value is None:
                del self.rows[column, key]
            else:
                self.rows[column, key] = value


class Twin:
    """What the state means, with a copy of all of it per transaction."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.logs: dict[bytes, list[bytes]] = {}

    def all_values(self) -> dict[bytes, bytes]:
        roots = {
            log: LogRoot(len(entries), root_of([leaf_hash(entry) for entry in entries])).encode()
            for log, entries in self.logs.items()
            if entries
        }
        return self.values | roots


VALUE_KEYS = st.sampled_from([b"policy/%d" % number for number in range(6)])
LOG_KEYS = st.sampled_from([b"patient/" + bytes(32), b"access/" + bytes(32), b"release/a"])
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), VALUE_KEYS, st.binary(max_size=8)),
    st.tuples(st.just("append"), LOG_KEYS, st.binary(max_size=8)),
)
TRANSACTIONS = st.tuples(st.booleans(), st.lists(OPERATIONS, max_size=8))
BLOCKS = st.lists(st.lists(TRANSACTIONS, max_size=5), max_size=4)


def run(state: StateView, twin: Twin, operations: Iterable[tuple[str, bytes, bytes]]) -> None:
    for kind, key, value in operations:
        if kind == "put":
            state.put(key, value)
            twin.values[key] = value
            assert state.get(key) == value
        else:
            entries = twin.logs.setdefault(key, [])
            assert state.append(key, value) == len(entries)
            entries.append(value)
            assert state.log_entry(key, len(entries) - 1) == value


@given(BLOCKS)
@settings(max_examples=100, deadline=None)
def test_EXEC_1_blocks_of_kept_and_undone_transactions_give_the_twins_state(
    blocks: list[list[tuple[bool, list[tuple[str, bytes, bytes]]]]],
) -> None:
    store, twin = Store(), Twin()
    for transactions in blocks:
        state = State(store)
        for keep, operations in transactions:
            before = deepcopy(twin)
            state.begin()
            run(state, twin, operations)
            if keep:
                state.commit()
            else:
                state.roll_back()
                twin = before
            for key, value in twin.values.items():
                assert state.get(key) == value
            for log, entries in twin.logs.items():
                assert state.log_count(log) == len(entries)
                assert [state.log_entry(log, n) for n in range(len(entries) + 1)] == [
                    *entries,
                    None,
                ]
        changes = state.finish()
        assert changes == state.finish()
        store.apply(changes)
        assert state_tree.root(store) == changes.root
    values = {key: value for (column, key), value in store.rows.items() if column is Column.VALUE}
    assert values == twin.all_values()
    fresh_root, _ = state_tree.update(Store(), values)
    assert state_tree.root(store) == fresh_root
    for key, value in values.items():
        verify_state(state_tree.prove(store, key), key, value, fresh_root)


def test_EXEC_1_the_order_of_keys_within_a_block_changes_nothing() -> None:
    keys = [b"policy/%d" % number for number in range(20)]
    results = []
    for order in (keys, keys[::-1]):
        state = State(Store())
        for key in order:
            state.put(key, key)
            state.append(b"release/" + key[7:], key)
        results.append(state.finish())
    assert results[0] == results[1]


def test_a_block_that_changes_nothing_writes_nothing() -> None:
    state = State(Store())
    state.begin()
    state.put(b"policy/a", b"1")
    state.append(b"release/a", b"1")
    state.roll_back()
    assert state.log_count(b"release/a") == 0
    assert state.finish() == StateChanges(ZERO_HASH, ())


def test_a_touched_log_costs_one_state_key_per_block() -> None:
    state = State(Store())
    for number in range(10):
        state.append(b"release/a", b"%d" % number)
    columns = [column for column, _, _ in state.finish().writes]
    assert columns == [Column.LOG] * 10 + [Column.FRONTIER, Column.VALUE, Column.PAGE]


def test_a_logs_own_value_is_that_of_the_block_before() -> None:
    store = Store()
    state = State(store)
    state.append(b"release/a", b"1")
    assert state.get(b"release/a") is None
    store.apply(state.finish())
    value = State(store).get(b"release/a")
    assert value == LogRoot(1, root_of([leaf_hash(b"1")])).encode()


WRONG_ORDERS = [
    ["commit"],
    ["roll_back"],
    ["begin", "begin"],
    ["begin", "commit", "commit"],
    ["begin", "roll_back", "roll_back"],
    ["begin", "finish"],
]


@pytest.mark.parametrize("calls", WRONG_ORDERS)
def test_a_wrong_order_of_calls_is_a_callers_bug(calls: list[str]) -> None:
    state = State(Store())
    for call in calls[:-1]:
        getattr(state, call)()
    with pytest.raises(TransactionOrder) as caught:
        getattr(state, calls[-1])()
    assert caught.value.call == calls[-1]


def test_a_key_is_a_log_or_a_value_never_both() -> None:
    store = Store()
    first = State(store)
    first.put(b"policy/a", b"1")
    first.append(b"release/a", b"1")
    with pytest.raises(WrongKeyKind):
        first.append(b"policy/a", b"2")
    with pytest.raises(WrongKeyKind):
        first.put(b"release/a", b"2")
    store.apply(first.finish())
    later = State(store)
    with pytest.raises(WrongKeyKind):
        later.append(b"policy/a", b"2")
    with pytest.raises(WrongKeyKind):
        later.log_count(b"policy/a")


def test_PRIV_1_an_error_about_a_key_names_its_kind_only() -> None:
    state = State(Store())
    state.append(b"patient/" + b"\xab" * 32, b"row")
    with pytest.raises(WrongKeyKind) as caught:
        state.put(b"patient/" + b"\xab" * 32, b"value")
    assert caught.value.field_values() == {"call": "put", "kind": "patient"}
    assert "ab" * 8 not in str(caught.value)
    assert "\xab" not in str(caught.value)


def stored_log() -> Store:
    store = Store()
    state = State(store)
    for number in range(5):
        state.append(b"release/a", b"%d" % number)
    store.apply(state.finish())
    return store


def damage(column: Column, key: bytes, change: Callable[[bytes], bytes | None]) -> Store:
    store = stored_log()
    changed = change(store.rows.pop((column, key)))
    if changed is not None:
        store.rows[column, key] = changed
    return store


DAMAGED_FRONTIERS: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "truncated": lambda data: data[:-1],
    "extended": lambda data: data + b"\x00",
    "bit flipped": lambda data: data[:-1] + bytes((data[-1] ^ 1,)),
    "count of the same shape": lambda data: (6).to_bytes(8, "big") + data[8:],
    "peaks swapped": lambda data: data[:8] + data[40:] + data[8:40],
    "that of an empty log": lambda data: bytes(8),
}


@pytest.mark.parametrize("name", DAMAGED_FRONTIERS)
def test_a_frontier_that_the_state_does_not_certify_stops_the_node(name: str) -> None:
    store = damage(Column.FRONTIER, b"release/a", DAMAGED_FRONTIERS[name])
    state = State(store)
    state.append(b"release/a", b"more")
    with pytest.raises(StateDamaged):
        state.finish()


def test_a_frontier_without_its_log_stops_the_node() -> None:
    store = damage(Column.VALUE, b"release/a", lambda data: None)
    state = State(store)
    state.append(b"release/a", b"more")
    with pytest.raises(StateDamaged):
        state.finish()


def test_a_missing_entry_stops_the_node() -> None:
    store = damage(Column.LOG, entry_key(b"release/a", 3), lambda data: None)
    state = State(store)
    assert state.log_entry(b"release/a", 2) == b"2"
    assert state.log_entry(b"release/a", 5) is None
    assert state.log_entry(b"release/a", 2**70) is None
    with pytest.raises(StateDamaged):
        state.log_entry(b"release/a", 3)
