"""The checker accepts a true history and reports each way of breaking one."""

from dataclasses import replace

import pytest

from ledger.codec import Value
from ledger.primitives import Hash32, Height, KeyId, MemberId, PatientKey, Signature, View
from ledger.types.block import Receipt
from ledger.types.entries import LogRoot, Permission, patient_log, permission_key
from ledger.types.evidence import VOTE_TAGS, Evidence, Statement
from tests.nemesis.checker import Checker, CommittedBlock
from tests.nemesis.history import OK, REFUSED, Operation
from tests.nemesis.model import Call, Model
from tests.vectors import fixed

PATIENT = PatientKey(b"p" * 32)
GATEWAY, DOCTOR, OTHER = (KeyId(bytes([i]) * 32) for i in range(3))
USERS = {bytes(GATEWAY): "a", bytes(DOCTOR): "a", bytes(OTHER): "b"}
VOTER = KeyId(b"v" * 32)
VOTERS = {bytes(VOTER): "b"}
NEEDED = 2
SERVERS = ("a", "b", "c")


class Story:
    """A history and its chain, one operation after another, each in a block of its own."""

    def __init__(self) -> None:
        self.model = Model(USERS, VOTERS)
        self.history: list[Operation] = []
        self.blocks: list[CommittedBlock] = []
        self.now = 0

    def _tick(self) -> int:
        self.now += 10
        return self.now

    def call(self, kind: str, signer: KeyId, contract: str, action: str, *args: Value) -> Operation:
        height = len(self.blocks) + 1
        name = Hash32(height.to_bytes(32, "big"))
        draft = Call(name, signer, contract, action, args, "", (), b"")
        code, fields = self.model.answer(draft, height)
        receipt = Receipt(name, code, fields)
        call = replace(draft, code=code, fields=fields, receipt=receipt.encode())
        self.blocks.append(CommittedBlock(height, (call,)))
        op = Operation(len(self.history), kind, self._tick(), id=name.hex())
        op.completed_ns, op.outcome = self._tick(), OK if code == "ok" else REFUSED
        op.height, op.index, op.receipt = height, 0, receipt.encode().hex()
        op.server = SERVERS[height % 3]
        self.history.append(op)
        return op

    def fresh(self, key: bytes, value: bytes | None) -> Operation:
        height = len(self.blocks)
        op = Operation(len(self.history), "fresh", self._tick(), key=key.hex())
        op.completed_ns, op.outcome, op.height = self._tick(), OK, height
        op.value = None if value is None else value.hex()
        op.observed = dict.fromkeys(SERVERS, height)
        self.history.append(op)
        return op

    def kinds(self, *forgetful: str) -> set[str]:
        checker = Checker(self.history, USERS, VOTERS, set(forgetful))
        for block in self.blocks:
            checker.add(block)
        return {anomaly.kind for anomaly in checker.finish(NEEDED)}


def true_story() -> Story:
    """Two rows, one changed by one of two, a permission used, ended, and refused; reads between."""
    story = Story()
    record = (PATIENT, b"r" * 32, b"s")
    story.call("append", GATEWAY, "index", "register", 1, (record,))
    story.fresh(patient_log(PATIENT), LogRoot(1, Hash32(bytes(32))).encode())
    story.call("cas", GATEWAY, "index", "supersede", PATIENT, 0, 1, b"t" * 32, b"s")
    story.call("cas", GATEWAY, "index", "supersede", PATIENT, 0, 1, b"u" * 32, b"s")
    story.call("cas", OTHER, "index", "supersede", PATIENT, 2, 1, b"v" * 32, b"s")
    grant = story.call("grant", DOCTOR, "access", "request", PATIENT, "clinical", "TREAT")
    name = Hash32(bytes.fromhex(grant.id))
    held = Permission(DOCTOR, MemberId("a"), PATIENT, None, "clinical", "TREAT", Height(1_005))
    story.fresh(permission_key(name), held.encode())
    story.call("read", GATEWAY, "audit", "disclose", name, ())
    story.call("revoke", OTHER, "access", "revoke", name)
    story.call("revoke", DOCTOR, "access", "revoke", name)
    story.call("read", GATEWAY, "audit", "disclose", name, ())
    story.fresh(permission_key(name), replace(held, expires=Height(7)).encode())
    return story


def find(story: Story, kind: str, number: int = 0) -> Operation:
    return [op for op in story.history if op.kind == kind][number]


def outcomes(story: Story) -> list[str]:
    return [op.outcome for op in story.history]


def test_a_true_history_has_no_anomaly():
    story = true_story()
    assert story.kinds() == set()
    assert outcomes(story).count(REFUSED) == 4


def forge(story: Story, op: Operation, code: str, fields: tuple[Value, ...]) -> None:
    """Another receipt, on chain and in the history: what a wrong contract would have written."""
    assert op.height is not None
    receipt = Receipt(Hash32(bytes.fromhex(op.id)), code, fields).encode()
    (call,) = story.blocks[op.height - 1].calls
    forged = replace(call, code=code, fields=fields, receipt=receipt)
    story.blocks[op.height - 1] = CommittedBlock(op.height, (forged,))
    op.receipt, op.outcome = receipt.hex(), OK if code == "ok" else REFUSED


def lost_acknowledgement(story: Story) -> None:
    story.blocks[2] = CommittedBlock(3, ())


def moved_acknowledgement(story: Story) -> None:
    find(story, "cas").index = 1


def other_receipt(story: Story) -> None:
    find(story, "append").receipt = find(story, "cas").receipt


def doubled_transaction(story: Story) -> None:
    story.blocks.append(CommittedBlock(len(story.blocks) + 1, story.blocks[0].calls))


def doubled_position(story: Story) -> None:
    find(story, "cas").height = 1


def invented_transaction(story: Story) -> None:
    (call,) = story.blocks[0].calls
    story.blocks.append(CommittedBlock(len(story.blocks) + 1, (replace(call, id=b"x" * 32),)))


def against_real_time(story: Story) -> None:
    """The first operation is invoked after the second one was answered."""
    first, second = find(story, "append"), find(story, "cas")
    assert second.completed_ns is not None
    first.invoked_ns, first.completed_ns = second.completed_ns + 1, second.completed_ns + 2


def unanswered_against_real_time(story: Story) -> None:
    """Nobody was told, but it took effect before it was asked for."""
    op = find(story, "append")
    op.outcome, op.completed_ns, op.height, op.index = "unknown", None, None, None
    op.invoked_ns = story.now + 1


def write_below_a_read(story: Story) -> None:
    """A read at height 1 was over before the operation of height 1 began."""
    read, op = find(story, "fresh"), find(story, "append")
    read.invoked_ns, read.completed_ns = 1, 2
    op.invoked_ns = 5


def stale_read(story: Story) -> None:
    read = find(story, "fresh", 2)
    read.height = 5
    read.key = find(story, "fresh").key
    read.value = LogRoot(3, Hash32(bytes(32))).encode().hex()


def read_of_a_lost_height(story: Story) -> None:
    find(story, "fresh", 2).height = 99


def wrong_value(story: Story) -> None:
    find(story, "fresh").value = LogRoot(2, Hash32(bytes(32))).encode().hex()


def permission_read_after_revoke(story: Story) -> None:
    """The proof of the last read still shows the permission as it was before it was ended."""
    find(story, "fresh", 2).value = find(story, "fresh", 1).value


def disclosed_after_revoke(story: Story) -> None:
    forge(story, find(story, "read", 1), "ok", (1,))


def two_winners(story: Story) -> None:
    forge(story, find(story, "cas", 1), "ok", (3, 4))


def winner_of_a_foreign_row(story: Story) -> None:
    forge(story, find(story, "cas", 2), "ok", (3, 4))


BREAKS = {
    lost_acknowledgement: "lost",
    moved_acknowledgement: "lost",
    other_receipt: "lost",
    doubled_transaction: "doubled",
    doubled_position: "doubled",
    invented_transaction: "invented",
    against_real_time: "real-time",
    unanswered_against_real_time: "real-time",
    write_below_a_read: "real-time",
    stale_read: "stale",
    read_of_a_lost_height: "lost",
    wrong_value: "read",
    permission_read_after_revoke: "read",
    disclosed_after_revoke: "model",
    two_winners: "model",
    winner_of_a_foreign_row: "model",
}


@pytest.mark.parametrize("break_it", BREAKS, ids=lambda item: item.__name__)
def test_SAFE_3_a_broken_history_is_reported(break_it):
    story = true_story()
    break_it(story)
    assert BREAKS[break_it] in story.kinds()


def unasked(story: Story, signer: KeyId, contract: str, action: str, *args: Value) -> None:
    story.call(contract, signer, contract, action, *args)
    story.history.pop()


def test_a_renewed_key_and_a_report_need_no_client_and_an_innocent_accused_is_named():
    story = true_story()
    unasked(story, OTHER, "governance", "renew_key", fixed.validator_signer(1).public_key.encoded)
    assert story.kinds() == set()
    statements = (Statement(Hash32(bytes([i]) * 32), Signature(bytes(65))) for i in (1, 2))
    evidence = Evidence(VOTE_TAGS[0], Height(3), View(0), VOTER, *statements)
    unasked(story, VOTER, "evidence", "report", evidence.encode())
    unasked(story, VOTER, "evidence", "report", evidence.encode())
    assert story.kinds("b") == set()
    assert story.kinds("a") == {"accused"}


def test_operations_without_an_answer_may_stand_anywhere_after_they_began_or_nowhere():
    for there in (True, False):
        story = true_story()
        op = find(story, "read", 1)
        op.outcome, op.completed_ns, op.height, op.index = "unknown", None, None, None
        if not there:
            story.blocks[-1] = CommittedBlock(len(story.blocks), ())
        assert story.kinds() == set()


def test_operations_at_the_same_time_may_stand_in_either_order():
    story = true_story()
    first, second = find(story, "append"), find(story, "cas")
    find(story, "fresh").outcome, find(story, "fresh").height = "unknown", None
    first.completed_ns, second.invoked_ns = second.completed_ns, first.invoked_ns
    assert story.kinds() == set()
