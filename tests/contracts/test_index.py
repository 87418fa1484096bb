"""The index contract: against a dumb model, and every way to be refused."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ledger import codec
from ledger.limits import ROWS_PER_TRANSACTION_MAX, SEALED_BYTES_MAX
from ledger.types.entries import (
    Row,
    StatusChange,
    decode_patient_entry,
    patient_log,
    row_status,
)
from tests.contracts.support import Caller, digest, patient

GATEWAY = "hospital-a/gateway"
PATIENTS = st.integers(0, 3)
HOSPITAL = st.sampled_from(["hospital-a", "hospital-b"])


class IndexMachine(RuleBasedStateMachine):
    """The model: per patient a list of what was appended, and a set of changed rows."""

    def __init__(self) -> None:
        super().__init__()
        self.caller = Caller()
        self.model: dict[int, list[tuple]] = {}
        self.changed: set[tuple[int, int]] = set()
        self.roots = 0

    def _root(self) -> bytes:
        self.roots += 1
        return digest(self.roots)

    @rule(hospital=HOSPITAL, numbers=st.lists(PATIENTS, min_size=1, max_size=6))
    def register(self, hospital, numbers):
        rows, expected = [], []
        for number in numbers:
            root = self._root()
            rows.append((patient(number), root, b"sealed"))
            log = self.model.setdefault(number, [])
            expected.append(len(log))
            log.append(("row", hospital, root, None))
        assert self.caller.call(f"{hospital}/gateway", "index/register", 1, tuple(rows)) == (
            tuple(expected),
        )

    @rule(hospital=HOSPITAL, number=PATIENTS, index=st.integers(0, 12), new=st.booleans())
    def change(self, hospital, number, index, new):
        log = self.model.get(number, [])
        if index >= len(log) or log[index][0] != "row":
            expected = ("index/no-such-row", (index,))
        elif log[index][1] != hospital:
            expected = ("index/not-own-row", (index,))
        elif (number, index) in self.changed:
            expected = ("index/already-changed", (index,))
        else:
            expected = None
        root = self._root()
        name = "index/supersede" if new else "index/mark_entered_in_error"
        args = (1, root, b"new") if new else ()
        call = (f"{hospital}/gateway", name, patient(number), index, *args)
        if expected is not None:
            assert self.caller.refusal(*call) == expected
            return
        self.changed.add((number, index))
        log.append(("status", hospital, index, "superseded" if new else "entered-in-error"))
        returned = (len(log) - 1, len(log)) if new else (len(log) - 1,)
        if new:
            log.append(("row", hospital, root, index))
        assert self.caller.call(*call) == returned

    @invariant()
    def the_log_says_what_the_model_says(self):
        for number, log in self.model.items():
            entries = [
                decode_patient_entry(data)
                for data in self.caller.state.logs.get(patient_log(patient(number)), [])
            ]
            seen = []
            hashes = [e.hash if isinstance(e, Row) else None for e in entries]
            for entry in entries:
                assert entry.patient == patient(number)
                if isinstance(entry, Row):
                    old = None if entry.supersedes is None else hashes.index(entry.supersedes)
                    seen.append(("row", entry.member, entry.root, old))
                else:
                    about = hashes.index(entry.row)
                    seen.append(("status", entry.member, about, entry.status))
            assert seen == log

    @invariant()
    def a_status_is_set_exactly_where_a_row_was_changed(self):
        for number, log in self.model.items():
            entries = self.caller.state.logs[patient_log(patient(number))] if log else []
            for index, data in enumerate(entries):
                entry = decode_patient_entry(data)
                if isinstance(entry, Row):
                    status = self.caller.state.get(row_status(entry.hash))
                    assert (status is not None) == ((number, index) in self.changed)


IndexMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
test_index_agrees_with_its_model = IndexMachine.TestCase


def one_row(number: int = 1, root: int = 1, sealed: bytes = b"s"):
    return (patient(number), digest(root), sealed)


def registered() -> Caller:
    caller = Caller()
    caller.call(GATEWAY, "index/register", 1, (one_row(),))
    return caller


def test_a_change_records_status_and_height():
    caller = registered()
    row = decode_patient_entry(caller.state.logs[patient_log(patient(1))][0])
    assert isinstance(row, Row)
    caller.height = 8
    caller.call(GATEWAY, "index/supersede", patient(1), 0, 1, digest(2), b"t")
    status = codec.decode(caller.state.values[row_status(row.hash)], 64, "status")
    assert status == ("superseded", 8)
    change, new = (
        decode_patient_entry(data) for data in caller.state.logs[patient_log(patient(1))][1:]
    )
    assert change == StatusChange(row.member, patient(1), row.hash, "superseded")
    assert new == Row(row.member, patient(1), digest(2), 1, b"t", row.hash)


def test_the_largest_registration_is_taken_and_one_row_more_is_not():
    rows = tuple(one_row(root=i) for i in range(ROWS_PER_TRANSACTION_MAX))
    assert Caller().call(GATEWAY, "index/register", 1, rows) == (tuple(range(len(rows))),)
    refused = Caller().refusal(GATEWAY, "index/register", 1, (*rows, one_row(root=999)))
    assert refused == ("index/bad-arguments", ())


@pytest.mark.parametrize("epoch", [0, 2, 2**64 - 1])
def test_an_epoch_without_a_group_key_is_refused(epoch):
    caller = registered()
    expected = ("index/unknown-epoch", (epoch,))
    assert caller.refusal(GATEWAY, "index/register", epoch, (one_row(),)) == expected
    args = (patient(1), 0, epoch, digest(2), b"s")
    assert caller.refusal(GATEWAY, "index/supersede", *args) == expected


def test_a_status_change_is_no_row_to_change():
    caller = registered()
    caller.call(GATEWAY, "index/mark_entered_in_error", patient(1), 0)
    refused = caller.refusal(GATEWAY, "index/mark_entered_in_error", patient(1), 1)
    assert refused == ("index/no-such-row", (1,))


@pytest.mark.parametrize(
    "args",
    [
        (),
        (1,),
        (1, ()),
        (1, (one_row(),), 0),
        (1, b"rows"),
        (None, (one_row(),)),
        (b"\x01", (one_row(),)),
        (1, (one_row()[:2],)),
        (1, ((*one_row(), b"extra"),)),
        (1, (one_row(), None)),
        (1, ((patient(1)[:31], digest(1), b"s"),)),
        (1, ((patient(1), digest(1) + b"\0", b"s"),)),
        (1, ((patient(1), digest(1), "s"),)),
        (1, (one_row(sealed=bytes(SEALED_BYTES_MAX + 1)),)),
        (1, {"rows": 1}),
    ],
)
def test_bad_arguments_register_nothing(args):
    assert Caller().refusal(GATEWAY, "index/register", *args) == ("index/bad-arguments", ())


@pytest.mark.parametrize(
    "args",
    [
        (),
        (patient(1), 0, 1, digest(2)),
        (patient(1), 0, 1, digest(2), b"s", 0),
        (patient(1), None, 1, digest(2), b"s"),
        (patient(1), 0, b"", digest(2), b"s"),
        (b"", 0, 1, digest(2), b"s"),
        (patient(1), 0, 1, b"", b"s"),
        (patient(1), 0, 1, digest(2), bytes(SEALED_BYTES_MAX + 1)),
    ],
)
def test_bad_arguments_supersede_nothing(args):
    assert registered().refusal(GATEWAY, "index/supersede", *args) == ("index/bad-arguments", ())


@pytest.mark.parametrize("args", [(), (patient(1),), (patient(1), 0, 0), (0, patient(1))])
def test_bad_arguments_mark_nothing(args):
    refused = registered().refusal(GATEWAY, "index/mark_entered_in_error", *args)
    assert refused == ("index/bad-arguments", ())


def test_a_record_registered_twice_is_one_record_with_one_status():
    caller = registered()
    assert caller.call(GATEWAY, "index/register", 1, (one_row(),)) == ((1,),)
    caller.call(GATEWAY, "index/mark_entered_in_error", patient(1), 0)
    refused = caller.refusal(GATEWAY, "index/mark_entered_in_error", patient(1), 1)
    assert refused == ("index/already-changed", (1,))
