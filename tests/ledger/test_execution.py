"""The state-transition function: what a block may hold, what it does, and that all agree."""

import dataclasses
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.registry import Registry
from ledger import codec
from ledger.contract_api import Column, Refused
from ledger.errors import WorldFault
from ledger.execution import (
    CONTRACT_FAILED,
    InvalidBlock,
    TransactionRefused,
    check_transaction,
    execute,
    select,
    verify_block,
)
from ledger.limits import (
    BLOCK_BYTES_MAX,
    BLOCK_TRANSACTIONS_MAX,
    VALID_UNTIL_HEIGHTS_MAX,
)
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.primitives import Hash32, Height, MemberId, TimestampMs
from ledger.state import State
from ledger.types.block import RECEIPT_BYTES_MAX, Block, Receipt
from tests.contracts.support import (
    GENESIS,
    GENESIS_MS,
    NOW,
    USERS,
    Caller,
    FixedSigner,
    bind_args,
    digest,
    genesis_state,
    patient,
    signed,
)
from tests.ledger.chain import Chain

GATEWAY = "hospital-a/gateway"
FOREIGN = Hash32(b"\xff" * 32)


def register(number: int = 1, nonce: int = 0, who: str = GATEWAY, **rest):
    row = (patient(number), digest(nonce), b"sealed")
    return signed(who, "index/register", 1, (row,), nonce=nonce, **rest)


# What may be executed ------------------------------------------------------------------------

HEIGHT = Height(50)

REFUSALS = {
    "wrong-chain": register(chain_id=FOREIGN),
    "expired": register(valid_until=HEIGHT - 1),
    "valid-until-too-far": register(valid_until=HEIGHT + VALID_UNTIL_HEIGHTS_MAX + 1),
    "unknown-contract": signed(GATEWAY, "policy/set"),
    "unknown-signer": signed(FixedSigner(4_711), "index/register", 1, ()),
    "signer-expired": register(who="expired"),
}


def check(tx, executed=False, time_ms=NOW):
    return check_transaction(
        genesis_state(), Registry(), GENESIS.chain_id, HEIGHT, time_ms, executed, tx
    )


@pytest.mark.parametrize("reason", REFUSALS)
def test_R1_what_may_not_be_executed_is_refused_with_its_code(reason):
    tx = REFUSALS[reason]
    with pytest.raises(TransactionRefused) as refused:
        check(tx)
    assert refused.value.field_values() == {
        "transaction_id": tx.value.id,
        "code": f"transaction/{reason}",
    }


def test_R1_an_executed_transaction_is_refused():
    with pytest.raises(TransactionRefused) as refused:
        check(register(), executed=True)
    assert refused.value.code == "transaction/already-executed"


@pytest.mark.parametrize("valid_until", [HEIGHT, HEIGHT + 1, HEIGHT + VALID_UNTIL_HEIGHTS_MAX])
def test_R1_both_ends_of_the_window_are_inside(valid_until):
    assert check(register(valid_until=valid_until)) == USERS[GATEWAY][1]


def test_K5_a_key_ends_at_block_time():
    assert check(register(who="expired"), time_ms=TimestampMs(NOW - 1)) == USERS["expired"][1]


@pytest.mark.parametrize("reason", [*REFUSALS, "already-executed"])
def test_SAFE_2_a_block_with_such_a_transaction_is_invalid(reason):
    chain = Chain(height=HEIGHT - 1)
    bad = REFUSALS.get(reason, register(nonce=7))
    if reason == "already-executed":
        chain.extend(bad)
    with pytest.raises(InvalidBlock) as invalid:
        execute(*chain.place, [register(nonce=8), bad])
    assert invalid.value.field_values() == {
        "height": chain.height + 1,
        "field": "transactions",
        "reason": f"1: transaction/{reason}",
    }


def test_SAFE_2_a_block_with_one_transaction_twice_is_invalid():
    tx = register()
    with pytest.raises(InvalidBlock) as invalid:
        execute(*Chain().place, [tx, register(nonce=1), tx])
    assert invalid.value.reason == "2: transaction/already-executed"


def test_SAFE_2_a_block_with_too_many_transactions_is_invalid():
    txs = [signed(GATEWAY, "index/none", nonce=i) for i in range(BLOCK_TRANSACTIONS_MAX + 1)]
    assert len(execute(*Chain().place, txs[:-1]).receipts) == BLOCK_TRANSACTIONS_MAX
    with pytest.raises(InvalidBlock) as invalid:
        execute(*Chain().place, txs)
    assert invalid.value.reason == f"{len(txs)} are too many"


def test_R1_executed_ids_are_written_with_the_block():
    chain = Chain(height=4)
    txs = [register(nonce=i) for i in range(3)]
    result = chain.extend(*txs)
    written = {key: value for column, key, value in result.writes if column is Column.EXECUTED}
    assert written == {tx.value.id: codec.encode([5, i]) for i, tx in enumerate(txs)}


# What a block does ---------------------------------------------------------------------------


def test_receipts_and_roots_are_over_the_exact_bytes():
    txs = [register(nonce=i) for i in range(3)]
    result = Chain().extend(*txs)
    assert [Receipt.decode(data) for data in result.encoded_receipts] == list(result.receipts)
    assert [receipt.fields for receipt in result.receipts] == [((0,),), ((1,),), ((2,),)]
    assert result.receipt_root == root_of([leaf_hash(data) for data in result.encoded_receipts])
    assert result.transaction_root == root_of([leaf_hash(tx.value.encoded) for tx in txs])


def test_an_empty_block_keeps_the_state():
    chain = Chain()
    before = chain.extend(register()).state_root
    result = chain.extend()
    assert result.state_root == before
    assert (result.receipts, result.writes) == ((), ())
    assert result.transaction_root == result.receipt_root == root_of([])


def test_a_refused_action_leaves_a_receipt_and_nothing_else():
    refused = [
        signed("hospital-a/treating", "index/register", 1, ()),
        signed(GATEWAY, "index/register", 9, ((patient(1), digest(1), b"s"),)),
        signed(GATEWAY, "index/register", 1, ()),
        signed(GATEWAY, "index/forget", patient(1)),
    ]
    with_them = Chain().extend(refused[0], register(), *refused[1:])
    assert [receipt.code for receipt in with_them.receipts] == [
        "index/not-permitted",
        "ok",
        "index/unknown-epoch",
        "index/bad-arguments",
        "index/unknown-action",
    ]
    assert with_them.receipts[2].fields == (9,)
    alone = Chain().extend(register())
    assert with_them.state_root == alone.state_root
    kept = [write for write in with_them.writes if write[0] is not Column.EXECUTED]
    assert kept == [write for write in alone.writes if write[0] is not Column.EXECUTED]


def test_a_key_bound_in_a_block_signs_later_in_the_same_block():
    new = FixedSigner(88)
    bind = signed("hospital-a/registrar", "members/bind_resident", *bind_args(new, patient(5)))
    ask = signed(new, "access/request", patient(5), "resident", "PATRQT")
    assert [r.code for r in Chain().extend(bind, ask).receipts] == ["ok", "ok"]
    with pytest.raises(InvalidBlock):
        execute(*Chain().place, [ask, bind])


def test_K5_a_key_that_is_ended_in_a_block_signs_in_no_later_one():
    key = USERS["resident-1"][0]
    ask = [
        signed("resident-1", "access/request", patient(1), "resident", "PATRQT", nonce=n)
        for n in range(2)
    ]
    end = signed("hospital-b/registrar", "members/end_resident_key", patient(1), key.key_id)
    chain = Chain()
    # A primary chooses before it executes: what it chose must pass, in this block.
    assert [r.code for r in chain.extend(end, ask[0]).receipts] == ["ok", "ok"]
    chosen, dropped = select(*chain.place, [ask[1]])
    assert chosen == ()
    assert [refused.code for refused in dropped] == ["transaction/signer-expired"]
    with pytest.raises(InvalidBlock):
        chain.extend(ask[1])


class Misbehaving:
    """A contract that writes, and then does what its action says."""

    name = "misbehaving"

    def call(self, action, args, context, state):
        state.put(b"leftover", b"1")
        state.append(b"leftover-log", b"1")
        if action == "refuse":
            raise Refused("misbehaving/refused", 7)
        if action == "divide":
            return (1 // 0,)
        if action == "float":
            return (0.5,)
        if action == "refuse-float":
            raise Refused("misbehaving/refused", 0.5)
        if action == "huge":
            return (bytes(*args),)
        if action == "disk":
            raise DiskGone
        if action == "memory":
            raise MemoryError
        if action == "os":
            raise OSError("secret of a patient")
        return ()


class DiskGone(WorldFault):
    """As a store raises it."""


FIELD_BYTES_MAX = RECEIPT_BYTES_MAX - len(Receipt(FOREIGN, "ok", (bytes(256),)).encode()) + 256
"""The largest single field of a receipt."""


class Table(Registry):
    """The shipped contracts and a bad one."""

    def find(self, name):
        return Misbehaving() if name == "misbehaving" else super().find(name)


@pytest.mark.parametrize(
    ("action", "args", "expected", "fields"),
    [
        ("refuse", (), "misbehaving/refused", (7,)),
        ("divide", (), CONTRACT_FAILED, ()),
        ("float", (), CONTRACT_FAILED, ()),
        ("refuse-float", (), CONTRACT_FAILED, ()),
        ("huge", (FIELD_BYTES_MAX + 1,), CONTRACT_FAILED, ()),
    ],
)
def test_D5_a_contracts_bug_is_one_receipt_and_changes_nothing(action, args, expected, fields):
    txs = [signed(GATEWAY, f"misbehaving/{action}", *args), register()]
    result = Chain(contracts=Table()).extend(*txs)
    assert (result.receipts[0].code, result.receipts[0].fields) == (expected, fields)
    assert result.state_root == Chain().extend(register()).state_root


@pytest.mark.parametrize(
    ("action", "error"), [("disk", DiskGone), ("memory", MemoryError), ("os", OSError)]
)
def test_D5_trouble_of_this_machine_never_becomes_a_receipt(action, error):
    with pytest.raises(error):
        Chain(contracts=Table()).make(signed(GATEWAY, f"misbehaving/{action}"))


def test_the_largest_receipt_is_kept_and_can_be_read():
    result = Chain(contracts=Table()).extend(signed(GATEWAY, "misbehaving/huge", FIELD_BYTES_MAX))
    assert len(result.encoded_receipts[0]) == RECEIPT_BYTES_MAX
    assert Receipt.decode(result.encoded_receipts[0]) == result.receipts[0]
    assert result.receipts[0].ok


def test_D5_the_misbehaving_contract_does_write_when_it_succeeds():
    result = Chain(contracts=Table()).extend(signed(GATEWAY, "misbehaving/fine"), register())
    assert result.receipts[0].ok
    assert result.state_root != Chain().extend(register()).state_root


# Against the obvious implementation ----------------------------------------------------------

CALLS = st.one_of(
    st.tuples(
        st.sampled_from([GATEWAY, "hospital-b/gateway", "resident-1"]),
        st.just("index/register"),
        st.integers(1, 2),
        st.lists(
            st.tuples(st.integers(1, 3).map(patient), st.integers(0, 9).map(digest), st.just(b"")),
            max_size=4,
        ).map(tuple),
    ),
    st.tuples(
        st.sampled_from([GATEWAY, "hospital-b/gateway"]),
        st.just("index/mark_entered_in_error"),
        st.integers(1, 3).map(patient),
        st.integers(0, 4),
    ),
    st.tuples(
        st.sampled_from(["resident-1", "hospital-b/treating"]),
        st.just("access/request"),
        st.integers(1, 2).map(patient),
        st.sampled_from(["resident", "clinical"]),
        st.sampled_from(["PATRQT", "TREAT"]),
    ),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(CALLS, max_size=5), min_size=1, max_size=4))
def test_execution_agrees_with_one_call_after_another_on_a_dict(blocks):
    chain, caller = Chain(), Caller()
    nonces = itertools.count()
    for calls in blocks:
        txs = [signed(*call, nonce=next(nonces)) for call in calls]
        caller.height, caller.time_ms = chain.height + 1, chain.next_time
        expected = []
        for call, tx in zip(calls, txs, strict=True):
            caller.next_id = tx.value.id
            try:
                expected.append(Receipt(tx.value.id, "ok", caller.call(*call)))
            except Refused as refused:
                expected.append(Receipt(tx.value.id, refused.code, refused.fields))
        assert chain.extend(*txs).receipts == tuple(expected)
    state = State(chain.reader)
    for key, value in caller.state.values.items():
        assert state.get(key) == value
    for log, entries in caller.state.logs.items():
        assert state.log_count(log) == len(entries)
        assert [state.log_entry(log, i) for i in range(len(entries))] == entries
    stored = [key for column, key in chain.reader.data if column is Column.VALUE]
    assert set(stored) == {*caller.state.values, *caller.state.logs}


def test_EXEC_1_same_blocks_same_hashes_whatever_the_machine():
    root = Path(__file__).resolve().parents[2]
    outputs = set()
    for seed, zone, language in (("0", "UTC", "C"), ("4242", "Asia/Shanghai", "C.UTF-8")):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "TZ": zone,
            "LC_ALL": language,
            "PYTHONPATH": str(root),
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.ledger.exec_1_run"],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(done.stdout)
    (hashes,) = outputs
    assert len(hashes.split()) == 3


# What a primary chooses ----------------------------------------------------------------------


def test_what_is_selected_passes_execution_and_what_is_dropped_says_why():
    chain = Chain(height=HEIGHT - 2)
    good = [register(nonce=i) for i in range(20, 24)]
    done = register(nonce=30)
    chain.extend(done)
    bad = {**REFUSALS, "already-executed": done}
    candidates = [good[0], *bad.values(), good[1], good[0], *good[2:]]
    chosen, dropped = select(*chain.place, candidates)
    assert chosen == tuple(good)
    assert [(d.transaction_id, d.code) for d in dropped] == [
        *((tx.value.id, f"transaction/{reason}") for reason, tx in bad.items()),
        (good[0].value.id, "transaction/already-executed"),
    ]
    assert all(receipt.ok for receipt in chain.extend(*chosen).receipts)


def test_a_block_takes_no_more_transactions_than_it_may_hold():
    candidates = [register(nonce=i) for i in range(BLOCK_TRANSACTIONS_MAX + 2)]
    chosen, dropped = select(*Chain().place, candidates)
    assert chosen == tuple(candidates[:BLOCK_TRANSACTIONS_MAX])
    assert dropped == ()


def padded(total: int) -> list:
    """Transactions of ``total`` bytes, each counted with a frame of 3 bytes."""
    txs, left = [], total
    while left:
        size = left - 3 if left < 60_000 else 50_000
        rest = len(signed(GATEWAY, "index/none", bytes(size), nonce=len(txs)).value.encoded) - size
        txs.append(signed(GATEWAY, "index/none", bytes(size - rest), nonce=len(txs)))
        left -= len(txs[-1].value.encoded) + 3
    return txs


@pytest.mark.parametrize(("surplus", "fits"), [(0, True), (1, False)])
def test_a_primary_fills_a_block_to_its_last_byte_and_no_further(surplus, fits):
    space = BLOCK_BYTES_MAX - 4_096
    count = len(padded(space))
    candidates = padded(space - 2 * count + surplus)
    assert len(candidates) == count
    chosen, dropped = select(*Chain().place, candidates)
    assert dropped == ()
    assert chosen == tuple(candidates if fits else candidates[:-1])
    encoded = Chain().make(*chosen)[0].encoded
    assert Block.decode(encoded).transactions == tuple(tx.value.encoded for tx in chosen)


def test_what_is_dropped_takes_no_room():
    expired = [
        signed(GATEWAY, "index/none", bytes(60_000), nonce=i, valid_until=0) for i in range(36)
    ]
    good = [signed(GATEWAY, "index/none", bytes(60_000), nonce=i) for i in range(34)]
    chosen, dropped = select(*Chain().place, [*expired, *good])
    assert (chosen, len(dropped)) == (tuple(good), 36)


def test_small_transactions_leave_room_for_their_own_frames():
    candidates = [
        signed(GATEWAY, "index/none", bytes(880), nonce=i) for i in range(BLOCK_TRANSACTIONS_MAX)
    ]
    chosen, _ = select(*Chain().place, candidates)
    assert len(chosen) < len(candidates)
    assert len(Chain().make(*chosen)[0].encoded) <= BLOCK_BYTES_MAX


# What a replica accepts ----------------------------------------------------------------------


def proposal() -> tuple[Chain, Block, list]:
    chain = Chain()
    chain.extend(register())
    txs = [register(nonce=1), signed(GATEWAY, "index/register", 1, (), nonce=2)]
    return chain, chain.make(*txs)[0], txs


def verify(chain: Chain, block: Block, txs) -> object:
    return verify_block(block, chain.position, txs, chain.reader, chain.contracts)


def test_a_block_is_accepted_with_the_result_that_its_proposer_had():
    chain, block, txs = proposal()
    assert verify(chain, block, txs) == chain.make(*txs)[1]
    assert verify(chain, Block.decode(block.encoded), txs) == chain.make(*txs)[1]
    empty, _ = chain.make()
    assert verify(chain, empty, []).receipts == ()


WRONG = {
    "chain_id": FOREIGN,
    "height": Height(3),
    "time_ms": TimestampMs(GENESIS_MS + 1_000),
    "parent": FOREIGN,
    "proposer": MemberId("vendor-new"),
    "transaction_count": 3,
    "transaction_root": FOREIGN,
    "receipt_root": FOREIGN,
    "state_root": FOREIGN,
    "membership": FOREIGN,
    "next_membership": FOREIGN,
}


@pytest.mark.parametrize("field", WRONG)
def test_a_header_with_one_wrong_field_is_refused_by_its_name(field):
    chain, block, txs = proposal()
    header = dataclasses.replace(block.header, **{field: WRONG[field]})
    with pytest.raises(InvalidBlock) as invalid:
        verify(chain, Block(header, block.transactions), txs)
    assert invalid.value.field == field


def test_every_header_field_is_among_those_that_are_checked():
    names = {item.name for item in dataclasses.fields(proposal()[1].header)}
    assert names == set(WRONG)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("dropped", lambda txs: txs[:1]),
        ("reordered", lambda txs: txs[::-1]),
        ("doubled", lambda txs: [*txs, txs[0]]),
        ("added", lambda txs: [*txs, register(nonce=9)]),
        ("replaced", lambda txs: [txs[0], register(nonce=9)]),
        ("emptied", lambda txs: []),
    ],
)
def test_a_body_that_is_not_the_headers_is_refused(what, change):
    chain, block, txs = proposal()
    changed = change(txs)
    body = tuple(tx.value.encoded for tx in changed)
    with pytest.raises(InvalidBlock):
        verify(chain, Block(block.header, body), changed)
    with pytest.raises(InvalidBlock) as invalid:
        verify(chain, Block(block.header, body), txs)
    assert invalid.value.field == "transactions"
    with pytest.raises(InvalidBlock) as invalid:
        verify(chain, block, changed)
    assert invalid.value.field == "transactions"


def test_a_block_of_one_byte_too_many_is_refused():
    chain = Chain()
    frame = len(chain.make()[0].encoded) + 2  # one transaction more makes its array longer
    for surplus in (0, 1):
        txs = padded(BLOCK_BYTES_MAX - frame + surplus)
        block, result = chain.make(*txs)
        assert len(block.encoded) == BLOCK_BYTES_MAX + surplus
        if not surplus:
            assert verify(chain, block, txs) == result
            continue
        with pytest.raises(InvalidBlock) as invalid:
            verify(chain, block, txs)
        assert invalid.value.field == "transactions"


def test_verifying_changes_nothing():
    chain, block, txs = proposal()
    before = dict(chain.reader.data)
    verify(chain, block, txs)
    assert chain.reader.data == before
