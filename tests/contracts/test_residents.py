"""Keys, directives, full copies and shares of residents, each against a dumb model."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from contracts.lookup import find_copies, find_resident_keys, find_share, find_user
from ledger.contract_api import Refused
from ledger.limits import COPY_MS_MAX, DIRECTIVES_MAX, RESIDENT_KEYS_MAX, SHARE_MS_MAX
from ledger.types.entries import Disclosed, access_log
from ledger.types.genesis import UserKey
from ledger.types.residents import share_token_hash, share_verifier, shares_log
from tests.contracts.support import (
    HOSPITALS,
    LATER,
    NOW,
    USERS,
    YEAR_MS,
    Caller,
    FixedSigner,
    bind_args,
    covered,
    digest,
    patient,
)

DAY_MS = 24 * 3600 * 1000
DOCTOR_A, DOCTOR_B = "hospital-a/treating", "hospital-b/treating"
RESIDENT, GUARDIAN = "resident-1", "guardian-1"
SUBJECTS = [
    (None, None),
    ("hospital-a", None),
    ("hospital-b", None),
    ("hospital-a", DOCTOR_A),
    ("hospital-b", DOCTOR_B),
]
WRONG_SUBJECTS = [(None, DOCTOR_A), ("nobody", None), ("hospital-a", DOCTOR_B)]
VIEWS_READ = st.sampled_from(["clinical", "resident"])
MACHINE = settings(max_examples=60, stateful_step_count=40, deadline=None)


def log_of(caller: Caller, number: int) -> list[Disclosed]:
    entries = caller.state.logs.get(access_log(patient(number)), [])
    return [Disclosed.decode(entry) for entry in entries]


class KeysMachine(RuleBasedStateMachine):
    """The model: for each patient, a dictionary of keys with their end and role."""

    def __init__(self) -> None:
        super().__init__()
        self.caller = Caller()
        self.made = 0
        self.known: dict[bytes, FixedSigner] = {}
        self.keys: dict[int, dict[bytes, tuple[int, str]]] = {
            1: {
                USERS[RESIDENT][0].key_id: (LATER, "resident"),
                USERS[GUARDIAN][0].key_id: (LATER, "guardian"),
            },
            3: {},
        }

    def active(self, number: int) -> list[bytes]:
        now = self.caller.time_ms
        return sorted(key for key, (end, _) in self.keys[number].items() if now < end)

    @rule(days=st.sampled_from([0, 1, 40]))
    def blocks_pass(self, days):
        self.caller.height += 1
        self.caller.time_ms += 1 + days * DAY_MS

    @rule(
        number=st.sampled_from([1, 3]),
        role=st.sampled_from(["resident", "guardian"]),
        days=st.sampled_from([1, 30, 365]),
        which=st.sets(st.integers(0, 5), max_size=2),
        foreign=st.booleans(),
    )
    def bind(self, number, role, days, which, foreign):
        self.made += 1
        new = FixedSigner(5_000 + self.made)
        active = self.active(number)
        old = [active[i] for i in sorted(which) if i < len(active)]
        if foreign:
            old.append(USERS["resident-2"][0].key_id)
        until = self.caller.time_ms + days * DAY_MS
        args = bind_args(new, patient(number), "hospital-b", role, until, tuple(old))
        kept = len(active) - len(old)
        if foreign:
            expected = ("members/no-such-key", ())
        elif kept >= RESIDENT_KEYS_MAX:
            expected = ("members/too-many-keys", (RESIDENT_KEYS_MAX,))
        else:
            self.caller.call("hospital-b/registrar", "members/bind_resident", *args)
            for key in old:
                del self.keys[number][key]
            self.keys[number][new.key_id] = (until, role)
            self.known[new.key_id] = new
            return
        refused = self.caller.refusal("hospital-b/registrar", "members/bind_resident", *args)
        assert refused == expected

    @rule(number=st.sampled_from([1, 3]), by=st.integers(0, 5), which=st.integers(0, 5))
    def end(self, number, by, which):
        """By a registrar, or by one of the keys."""
        active = self.active(number)
        wanted = active[which] if which < len(active) else digest(9)
        signer: str | UserKey = "hospital-c/registrar"
        allowed = True
        if by < len(active):
            found = find_user(self.caller.state, active[by])
            assert found is not None
            signer = found
            allowed = self.keys[number][active[by]][1] == "resident" or active[by] == wanted
        call = (signer, "members/end_resident_key", patient(number), wanted)
        if not allowed:
            assert self.caller.refusal(*call) == ("members/not-permitted", ())
        elif wanted not in active:
            assert self.caller.refusal(*call) == ("members/no-such-key", ())
        else:
            assert self.caller.call(*call) == ()
            del self.keys[number][wanted]

    @invariant()
    def the_listed_keys_are_the_models(self):
        for number in self.keys:
            listed = set(find_resident_keys(self.caller.state, patient(number)))
            assert len(listed) <= RESIDENT_KEYS_MAX
            assert listed >= set(self.active(number))
            assert listed <= set(self.keys[number])

    @invariant()
    def no_other_key_signs_in_a_later_block(self):
        for number, keys in self.keys.items():
            for key in self.known:
                user = find_user(self.caller.state, key)
                if user is None or user.patient != patient(number):
                    continue
                later = user.valid_until_ms > self.caller.time_ms + 1
                expected = key in keys and keys[key][0] > self.caller.time_ms + 1
                assert later == expected


KeysMachine.TestCase.settings = MACHINE
test_K5_residents_keys_agree_with_their_model = KeysMachine.TestCase


class ConsentMachine(RuleBasedStateMachine):
    """The model: a dictionary of directives, and the table of docs/resident-api.md in words."""

    def __init__(self) -> None:
        super().__init__()
        self.caller = Caller()
        self.directives: dict[tuple[Any, Any], tuple[tuple, tuple, int]] = {}
        self.permissions: list[tuple[bytes, str, str, str, int]] = []
        self.logged: list[tuple[str, bytes]] = []

    @rule(days=st.sampled_from([0, 1, 9]))
    def blocks_pass(self, days):
        self.caller.height += 1
        self.caller.time_ms += 1 + days * DAY_MS

    @rule(
        who=st.sampled_from([RESIDENT, GUARDIAN]),
        subject=st.sampled_from(SUBJECTS + WRONG_SUBJECTS),
        views=st.sets(VIEWS_READ),
        purposes=st.sets(st.sampled_from(["TREAT", "ETREAT"])),
        days=st.sampled_from([1, 30, 1, 30, 0]),
    )
    def direct(self, who, subject, views, purposes, days):
        member, named = subject
        reader = USERS[named][0].key_id if named else None
        until = self.caller.time_ms + days * DAY_MS
        args = (member, reader, tuple(sorted(views)), tuple(sorted(purposes)), until)
        call = (who, "consent/direct", *args)
        if member is None and reader is not None:
            expected = ("consent/bad-arguments", ())
        elif member == "nobody":
            expected = ("consent/unknown-member", ())
        elif named and not named.startswith(member):
            expected = ("consent/unknown-reader", ())
        elif not days:
            expected = ("consent/ended", (until,))
        else:
            self.caller.call(*call)
            self.directives[member, reader] = (args[2], args[3], until)
            return
        assert self.caller.refusal(*call) == expected

    @rule(subject=st.sampled_from(SUBJECTS))
    def withdraw(self, subject):
        member, named = subject
        reader = USERS[named][0].key_id if named else None
        call = (RESIDENT, "consent/withdraw", member, reader)
        found = self.directives.get((member, reader))
        if found is None:
            assert self.caller.refusal(*call) == ("consent/no-such-directive", ())
        elif self.caller.refusal(*call) is not None:
            # An ended one may have been dropped meanwhile.
            assert found[2] <= self.caller.time_ms
            del self.directives[member, reader]
        else:
            del self.directives[member, reader]

    def expected(self, doctor: str, view: str, purpose: str) -> str | None:
        member, key = doctor.split("/")[0], USERS[doctor][0].key_id
        live = {s: d for s, d in self.directives.items() if self.caller.time_ms < d[2]}
        for subject in ((member, key), (member, None), (None, None)):
            if subject in live:
                views, purposes, _ = live[subject]
                if view in views and purpose in purposes:
                    return "permission"
                return "break-glass" if purpose == "ETREAT" else None
        return "permission"

    @rule(
        doctor=st.sampled_from([DOCTOR_A, DOCTOR_B]),
        view=VIEWS_READ,
        purpose=st.sampled_from(["TREAT", "ETREAT"]),
    )
    def request(self, doctor, view, purpose):
        call = (doctor, "access/request", patient(1), view, purpose)
        if self.expected(doctor, view, purpose) is None:
            assert self.caller.refusal(*call) == ("access/not-permitted", ())
        else:
            permission, expires = self.caller.call(*call)
            self.permissions.append((permission, doctor, view, purpose, expires))
            self.disclose(len(self.permissions) - 1)

    @rule(which=st.integers(0, 99))
    def disclose(self, which):
        if not self.permissions:
            return
        permission, doctor, view, purpose, _ = self.permissions[which % len(self.permissions)]
        call = ("hospital-c/gateway", "audit/disclose", permission, ())
        basis = self.expected(doctor, view, purpose)
        if basis is None:
            assert self.caller.refusal(*call) == ("audit/not-permitted-now", ())
        else:
            self.caller.call(*call)
            self.logged.append((basis, permission))

    @rule(view=VIEWS_READ, purpose=st.sampled_from(["TREAT", "ETREAT"]))
    def another_patients_records_are_not_concerned(self, view, purpose):
        assert self.caller.refusal(DOCTOR_A, "access/request", patient(2), view, purpose) is None

    @invariant()
    def the_access_log_tells_each_disclosure_and_which_broke_the_glass(self):
        found = [(entry.basis, entry.permission) for entry in log_of(self.caller, 1)]
        assert found == self.logged


ConsentMachine.TestCase.settings = MACHINE
test_ACC_2_consent_agrees_with_its_model = ConsentMachine.TestCase


class SharesMachine(RuleBasedStateMachine):
    """The model: copies by hospital, and shares as dictionaries. Rows 0, 1 of a, row 2 of b."""

    def __init__(self) -> None:
        super().__init__()
        self.caller = Caller()
        for name, count in (("hospital-a", 2), ("hospital-b", 1)):
            rows = tuple((patient(1), digest(10 + n), b"s") for n in range(count))
            self.caller.call(f"{name}/gateway", "index/register", 1, rows)
        self.copies: dict[str, tuple[str, int]] = {}
        self.shares: list[dict] = []
        self.opened: list[bytes] = []

    def copy_open(self, hospital: str) -> bool:
        state, until = self.copies.get(hospital, ("", 0))
        return state == "approved" and self.caller.time_ms < until

    @rule(days=st.sampled_from([0, 1, 9]))
    def blocks_pass(self, days):
        self.caller.height += 1
        self.caller.time_ms += 1 + days * DAY_MS

    @rule(who=st.sampled_from([RESIDENT, GUARDIAN]), hospital=st.sampled_from(HOSPITALS[:2]))
    def ask_copy(self, who, hospital):
        state, _ = self.copies.get(hospital, ("", 0))
        call = (who, "copy/request", hospital)
        if state == "requested" or self.copy_open(hospital):
            assert self.caller.refusal(*call) == ("copy/asked-already", ())
        else:
            self.caller.call(*call)
            self.copies[hospital] = ("requested", 0)

    @rule(
        hospital=st.sampled_from(HOSPITALS[:2]),
        reason=st.sampled_from([None, None, "third-party"]),
        days=st.sampled_from([0, 1, 30, 31]),
    )
    def decide_copy(self, hospital, reason, days):
        until = 0 if reason else self.caller.time_ms + days * DAY_MS
        call = (f"{hospital}/administrator", "copy/decide", patient(1), reason, until)
        if self.copies.get(hospital, ("", 0))[0] != "requested":
            assert self.caller.refusal(*call) == ("copy/no-request", ())
        elif reason is None and days not in (1, 30):
            assert self.caller.refusal(*call) == ("copy/bad-end", (COPY_MS_MAX,))
        else:
            self.caller.call(*call)
            self.copies[hospital] = ("refused" if reason else "approved", until)

    @rule(who=st.sampled_from([RESIDENT, GUARDIAN]), index=st.integers(0, 2))
    def read_the_full_copy(self, who, index):
        holder = "hospital-b" if index == 2 else "hospital-a"
        call = (who, "access/request", patient(1), "clinical", "PATRQT")
        if not any(map(self.copy_open, HOSPITALS[:2])):
            assert self.caller.refusal(*call) == ("access/not-permitted", ())
            return
        permission, _ = self.caller.call(*call)
        disclosure = (f"{holder}/gateway", "audit/disclose", permission, (index,))
        if self.copy_open(holder):
            self.caller.call(*disclosure)
            self.opened.append(permission)
        else:
            assert self.caller.refusal(*disclosure) == ("audit/not-permitted-now", ())

    @rule(
        who=st.sampled_from([RESIDENT, GUARDIAN, "resident-2"]),
        rows=st.sampled_from([{0}, {1}, {0, 1}, {2}, {2}, {1, 2}, {3}, {0, 3}]),
        view=VIEWS_READ,
        days=st.sampled_from([1, 30, 1, 30, 0, 31]),
        attempts=st.integers(1, 3),
    )
    def create(self, who, rows, view, days, attempts):
        ordered = tuple(sorted(rows))
        until = self.caller.time_ms + days * DAY_MS
        token = bytes(31) + bytes([len(self.shares) % 256])
        hashes = share_token_hash(token), share_verifier(token, "4711")
        call = (who, "share/create", ordered, view, *hashes, until, attempts)
        unknown = [i for i in ordered if i > 2 or who == "resident-2"]
        holder = "hospital-b" if 2 in rows else "hospital-a"
        if unknown:
            expected = ("share/no-such-row", (unknown[0],))
        elif 2 in rows and len(rows) > 1:
            expected = ("share/several-holders", ())
        elif view == "clinical" and not self.copy_open(holder):
            expected = ("share/not-permitted", ())
        elif days not in (1, 30):
            expected = ("share/bad-end", (SHARE_MS_MAX,))
        else:
            share, served = self.caller.call(*call)
            assert served == holder
            self.shares.append(
                {"id": share, "holder": holder, "view": view, "until": until, "left": attempts}
                | {"ended": False, "rows": ordered}
            )
            return
        assert self.caller.refusal(*call) == expected

    @rule(
        which=st.integers(0, 99),
        action=st.sampled_from(["open", "open", "fail", "fail", "fail", "end"]),
        hospital=st.sampled_from(HOSPITALS[:2]),
        who=st.sampled_from([RESIDENT, GUARDIAN, "resident-2", "administrator"]),
    )
    def use(self, which, action, hospital, who):
        by = f"{hospital}/gateway"
        if action == "end":
            by = f"{hospital}/administrator" if who == "administrator" else who
        if which % 9 == 0 or not self.shares:
            refused = self.caller.refusal(by, f"share/{action}", digest(2**200))
            assert refused == ("share/no-such-share", ())
            return
        share = self.shares[which % len(self.shares)]
        call = (by, f"share/{action}", share["id"])
        expected = self._refusal(share, action, hospital, who)
        if expected is not None:
            refused = self.caller.refusal(*call)
            assert refused is not None
            assert refused[0] == f"share/{expected}"
            return
        returned = self.caller.call(*call)
        if action == "open":
            self.opened.append(share["id"])
        elif action == "fail":
            share["left"] -= 1
            assert returned == (share["left"],)
        else:
            share["ended"] = True

    def _refusal(self, share: dict, action: str, hospital: str, who: str) -> str | None:
        serves = share["holder"] == hospital
        if action == "end":
            if who == "resident-2" or (who == "administrator" and not serves):
                return "not-permitted"
            return "ended" if share["ended"] else None
        if not serves:
            return "not-holder"
        if share["ended"]:
            return "ended"
        if share["until"] <= self.caller.time_ms:
            return "expired"
        if not share["left"]:
            return "locked"
        if action == "open" and share["view"] == "clinical" and not self.copy_open(hospital):
            return "not-permitted"
        return None

    @invariant()
    def the_state_is_the_models(self):
        state = self.caller.state
        listed = state.logs.get(shares_log(patient(1)), [])
        assert listed == [share["id"] for share in self.shares]
        for share in self.shares:
            found = find_share(state, share["id"])
            assert found is not None
            assert (found.attempts_left, found.ended) == (share["left"], share["ended"])
        copies = {c.hospital: (c.state, c.until_ms) for c in find_copies(state, patient(1))}
        assert copies == self.copies

    @invariant()
    def each_opening_is_in_the_access_log(self):
        entries = log_of(self.caller, 1)
        assert [entry.permission for entry in entries] == self.opened
        assert covered(self.caller.state, patient(1)) == [True] * len(entries)
        shared = {share["id"]: share for share in self.shares}
        for entry in entries:
            assert (entry.basis == "share") == (entry.permission in shared)
            if entry.basis == "share":
                share = shared[entry.permission]
                assert (entry.rows, entry.view) == (share["rows"], share["view"])
                assert entry.holder == entry.reader_member == share["holder"]


SharesMachine.TestCase.settings = MACHINE
test_ACC_1_copies_and_shares_agree_with_their_model = SharesMachine.TestCase


ALL = (("clinical", "resident"), ("ETREAT", "TREAT"))
NONE = ((), ())
DOCTOR_KEY = USERS[DOCTOR_B][0].key_id


@pytest.mark.parametrize(
    ("directives", "treat", "emergency"),
    [
        ([], "permission", "permission"),
        ([(None, None, *NONE)], None, "break-glass"),
        ([(None, None, *NONE), ("hospital-b", None, *ALL)], "permission", "permission"),
        ([("hospital-b", None, *NONE), (None, None, *ALL)], None, "break-glass"),
        (
            [("hospital-b", None, *NONE), ("hospital-b", DOCTOR_KEY, *ALL)],
            "permission",
            "permission",
        ),
        ([("hospital-b", DOCTOR_KEY, *NONE), ("hospital-b", None, *ALL)], None, "break-glass"),
        ([("hospital-b", None, ("resident",), ("TREAT",))], None, "break-glass"),
        ([("hospital-b", None, ("clinical",), ("TREAT",))], "permission", "break-glass"),
        ([("hospital-a", None, *NONE)], "permission", "permission"),
    ],
)
def test_ACC_2_each_line_of_the_table_decides(directives, treat, emergency):
    for purpose, basis in (("TREAT", treat), ("ETREAT", emergency)):
        caller = Caller()
        permission, _ = caller.call(DOCTOR_B, "access/request", patient(1), "clinical", purpose)
        for directive in directives:
            caller.call(RESIDENT, "consent/direct", *directive, NOW + DAY_MS)
        # A permission of before, and a new one, in the block of the directive already.
        asked = caller.refusal(DOCTOR_B, "access/request", patient(1), "clinical", purpose)
        assert asked == (None if basis else ("access/not-permitted", ()))
        refused = caller.refusal("hospital-a/gateway", "audit/disclose", permission, ())
        assert refused == (None if basis else ("audit/not-permitted-now", ()))
        assert [entry.basis for entry in log_of(caller, 1)] == ([basis] if basis else [])
        caller.time_ms = NOW + DAY_MS
        caller.call("hospital-a/gateway", "audit/disclose", permission, ())
        assert log_of(caller, 1)[-1].basis == "permission"
        assert all(covered(caller.state, patient(1)))


def test_ACC_2_nobody_breaks_the_glass_but_treating_staff():
    for name, (_, user) in USERS.items():
        if user.roles != ("treating",):
            refused = Caller().refusal(name, "access/request", patient(1), "clinical", "ETREAT")
            assert refused == ("access/not-permitted", ()), name


def shared(attempts: int = 2) -> tuple[Caller, bytes]:
    caller = Caller()
    caller.call("hospital-a/gateway", "index/register", 1, ((patient(1), digest(1), b"s"),))
    args = ((0,), "resident", digest(2), digest(3), NOW + DAY_MS, attempts)
    share, _ = caller.call(RESIDENT, "share/create", *args)
    return caller, share


def test_a_share_is_locked_for_ever_by_its_last_wrong_passcode():
    caller, share = shared()
    gateway = "hospital-a/gateway"
    assert [caller.call(gateway, "share/fail", share) for _ in range(2)] == [(1,), (0,)]
    for action in ("fail", "open"):
        assert caller.refusal(gateway, f"share/{action}", share) == ("share/locked", ())
    assert log_of(caller, 1) == []


def test_a_share_is_ended_by_who_acts_for_the_patient_or_serves_it_alone():
    for who in ("resident-2", "hospital-b/administrator"):
        caller, share = shared()
        assert caller.refusal(who, "share/end", share) == ("share/not-permitted", ())
    for who in (RESIDENT, GUARDIAN, "hospital-a/administrator"):
        caller, share = shared()
        caller.call("hospital-a/gateway", "share/open", share)
        caller.call(who, "share/end", share)
        refused = caller.refusal("hospital-a/gateway", "share/open", share)
        assert refused == ("share/ended", ())


def test_K5_an_ended_key_reads_nothing_that_was_permitted_to_it_before():
    caller = Caller()
    new = FixedSigner(6_001)
    caller.call("hospital-a/registrar", "members/bind_resident", *bind_args(new, patient(7)))
    user = find_user(caller.state, new.key_id)
    assert user is not None
    permission, _ = caller.call(user, "access/request", patient(7), "resident", "PATRQT")
    caller.call("hospital-b/registrar", "members/end_resident_key", patient(7), new.key_id)
    caller.height, caller.time_ms = caller.height + 1, caller.time_ms + 1
    refused = caller.refusal("hospital-a/gateway", "audit/disclose", permission, ())
    assert refused == ("audit/not-permitted-now", ())


def test_R4_a_patients_directives_are_bounded_and_ended_ones_make_room():
    caller = Caller()
    ends = NOW + DAY_MS
    for n in range(DIRECTIVES_MAX):
        member = f"vendor-{n:03}"
        caller.state.put(b"member/" + member.encode(), caller.state.values[b"member/vendor-new"])
        caller.call(RESIDENT, "consent/direct", member, None, (), (), ends + n)
    one_more = (RESIDENT, "consent/direct", None, None, (), (), NOW + YEAR_MS)
    assert caller.refusal(*one_more) == ("consent/too-many", (DIRECTIVES_MAX,))
    caller.time_ms = ends
    assert caller.call(*one_more) == (DIRECTIVES_MAX,)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("consent/direct", ("hospital-a", None, ("clinical",), ("TREAT",))),
        ("consent/direct", ("hospital-a", None, ("whole",), ("TREAT",), LATER)),
        ("consent/direct", ("hospital-a", None, ("clinical", "clinical"), (), LATER)),
        ("consent/direct", ("hospital-a", None, ("resident", "clinical"), (), LATER)),
        ("consent/direct", ("hospital-a", b"short", (), (), LATER)),
        ("consent/withdraw", (None, digest(1))),
        ("copy/request", (b"hospital-a",)),
        ("share/create", ((), "resident", digest(1), digest(2), LATER, 1)),
        ("share/create", ((1, 0), "resident", digest(1), digest(2), LATER, 1)),
        ("share/create", ((0,), "resident", digest(1), digest(2), LATER, 0)),
        ("share/create", ((0,), "resident", digest(1), digest(2), LATER, 11)),
        ("share/create", (tuple(range(17)), "resident", digest(1), digest(2), LATER, 1)),
        ("share/end", (b"short",)),
        ("members/end_resident_key", (patient(1),)),
    ],
)
def test_bad_arguments_change_nothing(name, args):
    contract = name.split("/")[0]
    assert Caller().refusal(RESIDENT, name, *args) == (f"{contract}/bad-arguments", ())


@pytest.mark.parametrize("args", [(patient(1), "because", 0), (patient(1), "third-party", 5)])
def test_a_copy_is_refused_for_a_listed_reason_and_without_an_end(args):
    refused = Caller().refusal("hospital-a/administrator", "copy/decide", *args)
    assert refused == ("copy/bad-arguments", ())


def test_nobody_but_who_acts_for_a_patient_directs():
    with pytest.raises(Refused):
        Caller().call(DOCTOR_A, "consent/direct", None, None, (), (), LATER)
