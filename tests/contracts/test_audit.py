"""The audit contract: against a dumb model, and every way to be refused (ACC-1)."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ledger.limits import PERMISSION_HEIGHTS, ROWS_PER_TRANSACTION_MAX
from ledger.primitives import MemberId
from ledger.types.entries import Disclosed, ReleaseDisclosed, access_log, release_access_log
from tests.contracts.support import NOW, USERS, Caller, covered, digest, patient

PATIENTS = st.integers(1, 2)
HOSPITAL = st.sampled_from(["hospital-a", "hospital-b"])
READERS = {
    "hospital-a/treating": ("clinical", "TREAT"),
    "hospital-b/treating": ("clinical", "ETREAT"),
    "resident-1": ("resident", "PATRQT"),
}
REVOKERS = sorted(
    {*READERS, "resident-2", "vendor-new/vendor-service", "vendor-old/vendor-service"}
    | {"hospital-a/administrator", "hospital-b/administrator", "hospital-c/treating"}
)


class AuditMachine(RuleBasedStateMachine):
    """The model: rows by holder, permissions by reader, and a list of disclosures."""

    def __init__(self) -> None:
        super().__init__()
        self.caller = Caller()
        self.holders: dict[int, list[str]] = {1: [], 2: []}
        self.permissions: list[tuple[bytes, str, int | str, int]] = []
        self.disclosed: dict[int, list[tuple]] = {1: [], 2: []}
        self.shown: dict[str, list[tuple]] = {"hospital-a": [], "hospital-b": []}

    @rule(heights=st.sampled_from([1, 10, PERMISSION_HEIGHTS // 2]))
    def blocks_pass(self, heights):
        self.caller.height += heights

    @rule(hospital=HOSPITAL, number=PATIENTS)
    def register(self, hospital, number):
        row = (patient(number), digest(self.caller.calls), b"s")
        self.caller.call(f"{hospital}/gateway", "index/register", 1, (row,))
        self.holders[number].append(hospital)

    @rule(reader=st.sampled_from(sorted(READERS)), number=PATIENTS)
    def request(self, reader, number):
        call = (reader, "access/request", patient(number), *READERS[reader])
        if reader == "resident-1" and number != 1:
            assert self.caller.refusal(*call) == ("access/not-permitted", ())
            return
        permission, expires = self.caller.call(*call)
        self.permissions.append((permission, reader, number, expires))

    @rule(holder=HOSPITAL)
    def request_release(self, holder):
        reader = "vendor-new/vendor-service"
        call = (reader, "access/request_release", holder, "HRESCH")
        permission, expires = self.caller.call(*call)
        self.permissions.append((permission, reader, holder, expires))

    @rule(who=st.sampled_from(REVOKERS), which=st.integers(0, 8))
    def revoke(self, who, which):
        call = (who, "access/revoke")
        if which >= len(self.permissions):
            refused = self.caller.refusal(*call, digest(2**200))
            assert refused == ("access/no-such-permission", ())
            return
        permission, reader, subject, expires = self.permissions[which]
        own = who == reader or (who, subject) in (("resident-1", 1), ("resident-2", 2))
        if not own and who != f"{subject}/administrator":
            expected = ("access/not-permitted", ())
        elif expires < self.caller.height:
            expected = ("access/permission-expired", (expires,))
        else:
            ended = self.caller.height - 1
            assert self.caller.call(*call, permission) == (ended,)
            self.permissions[which] = (permission, reader, subject, ended)
            return
        assert self.caller.refusal(*call, permission) == expected

    @rule(hospital=HOSPITAL, which=st.integers(0, 8), rows=st.sets(st.integers(0, 4), max_size=3))
    def disclose(self, hospital, which, rows):
        call = (f"{hospital}/gateway", "audit/disclose")
        ordered = tuple(sorted(rows))
        if which >= len(self.permissions):
            refused = self.caller.refusal(*call, digest(2**200), ordered)
            assert refused == ("audit/no-such-permission", ())
            return
        permission, reader, subject, expires = self.permissions[which]
        holders = self.holders.get(subject, [])
        foreign = [i for i in ordered if i >= len(holders) or holders[i] != hospital]
        if expires < self.caller.height:
            expected = ("audit/permission-expired", (expires,))
        elif isinstance(subject, str):
            expected = ("audit/permission-for-release", ())
        elif foreign:
            expected = ("audit/not-own-row", (foreign[0],))
        else:
            log = self.disclosed[subject]
            assert self.caller.call(*call, permission, ordered) == (len(log),)
            log.append((permission, reader, hospital, ordered, self.caller.height))
            return
        assert self.caller.refusal(*call, permission, ordered) == expected

    @rule(hospital=HOSPITAL, which=st.integers(0, 8), count=st.integers(0, 9))
    def disclose_release(self, hospital, which, count):
        call = (f"{hospital}/gateway", "audit/disclose_release")
        if which >= len(self.permissions):
            refused = self.caller.refusal(*call, digest(2**200), count, digest(count))
            assert refused == ("audit/no-such-permission", ())
            return
        permission, _, subject, expires = self.permissions[which]
        if expires < self.caller.height:
            expected = ("audit/permission-expired", (expires,))
        elif subject != hospital:
            expected = ("audit/not-holder", ())
        else:
            log = self.shown[hospital]
            assert self.caller.call(*call, permission, count, digest(count)) == (len(log),)
            log.append((permission, count, digest(count), self.caller.height))
            return
        assert self.caller.refusal(*call, permission, count, digest(count)) == expected

    @invariant()
    def each_patients_log_holds_the_disclosures_and_nothing_else(self):
        for number, expected in self.disclosed.items():
            entries = self.caller.state.logs.get(access_log(patient(number)), [])
            assert len(entries) == len(expected)
            for data, (permission, reader, holder, rows, height) in zip(
                entries, expected, strict=True
            ):
                signer, user = USERS[reader]
                view, purpose = READERS[reader]
                assert Disclosed.decode(data) == Disclosed(
                    "permission",
                    permission,
                    signer.key_id,
                    user.member,
                    holder,
                    view,
                    purpose,
                    rows,
                    height,
                    NOW,
                )

    @invariant()
    def each_disclosure_stays_covered_whatever_is_revoked_later(self):
        for number, expected in self.disclosed.items():
            found = covered(self.caller.state, patient(number))
            assert found == [True] * len(expected)

    @invariant()
    def each_hospitals_release_log_holds_what_vendors_saw(self):
        signer, user = USERS["vendor-new/vendor-service"]
        for hospital, expected in self.shown.items():
            log = release_access_log(MemberId(hospital))
            entries = [ReleaseDisclosed.decode(e) for e in self.caller.state.logs.get(log, [])]
            assert entries == [
                ReleaseDisclosed(
                    permission,
                    signer.key_id,
                    user.member,
                    "HRESCH",
                    count,
                    of,
                    height,
                    NOW,
                )
                for permission, count, of, height in expected
            ]


AuditMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_ACC_1_audit_agrees_with_its_model = AuditMachine.TestCase


def permitted() -> tuple[Caller, bytes]:
    caller = Caller()
    caller.call("hospital-a/gateway", "index/register", 1, ((patient(1), digest(1), b"s"),))
    permission, _ = caller.call(
        "hospital-b/treating", "access/request", patient(1), "clinical", "TREAT"
    )
    return caller, permission


def test_a_permission_is_usable_up_to_the_height_that_it_names():
    caller, permission = permitted()
    caller.height += PERMISSION_HEIGHTS
    assert caller.call("hospital-a/gateway", "audit/disclose", permission, (0,)) == (0,)
    caller.height += 1
    refused = caller.refusal("hospital-a/gateway", "audit/disclose", permission, (0,))
    assert refused == ("audit/permission-expired", (caller.height - 1,))


def test_a_status_change_is_no_row_to_disclose():
    caller, permission = permitted()
    caller.call("hospital-a/gateway", "index/mark_entered_in_error", patient(1), 0)
    refused = caller.refusal("hospital-a/gateway", "audit/disclose", permission, (0, 1))
    assert refused == ("audit/not-own-row", (1,))
    assert caller.call("hospital-a/gateway", "audit/disclose", permission, (0,)) == (0,)


def test_showing_the_list_is_recorded_for_any_hospital():
    caller, permission = permitted()
    assert caller.call("hospital-c/gateway", "audit/disclose", permission, ()) == (0,)


P = digest(1)


@pytest.mark.parametrize(
    "args",
    [
        (),
        (P,),
        (P, (), 0),
        (P[1:], ()),
        (None, ()),
        (P, None),
        (P, 0),
        (P, (1, 0)),
        (P, (0, 0)),
        (P, (0, None)),
        (P, (b"\0",)),
        (P, tuple(range(ROWS_PER_TRANSACTION_MAX + 1))),
    ],
)
def test_bad_arguments_disclose_nothing(args):
    refused = Caller().refusal("hospital-a/gateway", "audit/disclose", *args)
    assert refused == ("audit/bad-arguments", ())


@pytest.mark.parametrize(
    "args", [(), (P, 1), (P, 1, P, 0), (P[1:], 1, P), (P, None, P), (P, b"1", P), (P, 1, P[1:])]
)
def test_bad_arguments_show_no_release(args):
    refused = Caller().refusal("hospital-a/gateway", "audit/disclose_release", *args)
    assert refused == ("audit/bad-arguments", ())
