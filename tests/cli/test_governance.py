"""Commands of administrators: what is refused before anything is sent."""

from pathlib import Path

import pytest

from ledger import codec
from ledger.primitives import MemberId
from ledger.types.governance import Admit, GiveVote, SetViewRules, change_from_value
from nodes.cli.consortium import (
    WouldStop,
    change_of_vote,
    check_live,
    read_admission,
    read_view_rules,
)
from nodes.cli.output import BadArgument
from nodes.cli.status import evidence_rows, status_rows
from nodes.config import load_genesis
from nodes.network_setup import (
    ADMISSION_NAME,
    BadPlan,
    DirectoryNotEmpty,
    join_network,
    joining_plan,
)
from nodes.view_rules.files import known_rules, newest_rules, rule_files
from tests.nodes.network import network

NAMES = [MemberId(f"hospital-0{i}") for i in range(6)]


def members(count: int):
    from tests.vectors import fixed

    return [m for m in fixed.genesis(count).members if m.kind == "hospital"]


def live(height: int = 100, observer: bool = False):
    return {"height": height, "observer": observer}


DOWN = {"error": "no answer"}


def missing(statuses, voting: int, after: set[str]) -> str | None:
    """Who keeps the change from being proposed; None where it may be."""
    try:
        check_live(members(len(statuses)), statuses, set(NAMES[:voting]), set(after))
    except WouldStop as stop:
        return stop.missing if stop.voters == len(after) else f"{stop.voters} voters"
    return None


def test_M2_a_vote_is_given_only_while_the_larger_network_would_go_on():
    five = set(NAMES[:5])
    assert missing([live()] * 4 + [live(observer=True)], 4, five) is None
    assert missing([live()] * 4 + [DOWN], 4, five) is None  # four of five are the quorum
    assert missing([live()] * 3 + [DOWN, live(observer=True)], 4, five) is None
    assert missing([live()] * 3 + [DOWN, DOWN], 4, five) == "hospital-03, hospital-04"
    behind = live(height=80, observer=True)
    assert missing([live()] * 3 + [DOWN, behind], 4, five) == "hospital-03, hospital-04"
    near = live(height=90, observer=True)
    assert missing([live()] * 3 + [DOWN, near], 4, five) is None


def test_M2_who_votes_now_and_only_observes_is_not_live():
    four = set(NAMES[:4])
    observing = [live()] * 2 + [live(observer=True)] * 2
    assert missing([*observing, live()], 5, four) == "hospital-02, hospital-03"


def test_M2_a_vote_of_one_that_is_down_can_be_taken():
    assert missing([live()] * 3 + [DOWN], 4, set(NAMES[:3])) is None
    assert missing([live()] * 2 + [DOWN] * 2, 4, set(NAMES[:3])) is None
    assert missing([live()] + [DOWN] * 3, 4, set(NAMES[:3])) == "hospital-01, hospital-02"


def test_a_member_id_that_is_none_is_a_wrong_argument():
    with pytest.raises(BadArgument):
        change_of_vote(GiveVote, "Hospital A")
    assert change_of_vote(GiveVote, "hospital-a") == GiveVote(MemberId("hospital-a"))


def test_status_shows_who_has_no_vote_and_each_double_vote_once():
    evidence = {"member": "hospital-b", "vote": "commit", "height": 7, "view": 1, "key_id": "00"}
    found = [
        {"member": "hospital-a", "voters": ["hospital-a"], "primary": "hospital-a"}
        | {"evidence": [evidence | {"recorded": False}]},
        {"member": "hospital-b", "voters": ["hospital-a"], "observer": True}
        | {"evidence": [evidence | {"recorded": True}]},
        {"member": "hospital-c", "voters": ["hospital-c"], "observer": True},
        {"member": "hospital-d", "error": "down"},
    ]
    remarks = [row[-1] for row in status_rows(found)[1]]
    assert remarks == ["primary is hospital-a", "has no vote", "observer: see its log", "down"]
    assert evidence_rows(found) == [["hospital-b", "commit", 7, 1, "on the chain"]]
    assert evidence_rows(found[:1]) == [["hospital-b", "commit", 7, 1, "to be reported"]]
    assert evidence_rows(found[2:]) == []


def test_a_hospital_that_joins_hands_out_public_parts_only(tmp_path: Path):
    directory, genesis = network()
    document = (directory / "genesis.bin").read_bytes()
    plan = joining_plan(genesis, "hospital-9", "第九医院", "127.0.0.1", 0)
    made = tmp_path / "new"
    admission = join_network(made, document, plan)
    assert read_admission(made / ADMISSION_NAME) == admission
    assert load_genesis(made / "genesis.bin") == genesis
    handed = (made / ADMISSION_NAME).read_bytes()
    assert isinstance(change_from_value(codec.decode(handed, 65_536, "admission")), Admit)
    assert {role for user in admission.users for role in user.roles} == {
        "administrator", "gateway", "registrar", "treating",
    }  # fmt: skip
    for path in (made / "hospital-9" / "keys").glob("*.pem"):
        assert path.stat().st_mode & 0o777 == 0o600
        lines = path.read_text("ascii").splitlines()[1:-1]
        assert not any(line.encode() in handed for line in lines)
    assert not list(made.rglob("*.secret"))
    with pytest.raises(DirectoryNotEmpty):
        join_network(made, document, plan)


@pytest.mark.parametrize(
    ("member", "name"), [("hospital-1", "x"), ("Hospital", "x"), ("h9", ""), ("h9", "x" * 101)]
)
def test_a_hospital_cannot_join_under_such_a_name(member: str, name: str):
    with pytest.raises(BadPlan):
        joining_plan(network()[1], member, name, "127.0.0.1", 0)


def test_only_a_rule_file_that_is_shipped_is_ever_proposed(tmp_path: Path):
    file = tmp_path / "rules.json"
    for rules in known_rules().values():
        file.write_bytes(rule_files()[rules.hash])
        assert read_view_rules(file) == SetViewRules(rules.view, rules.hash)
    for wrong in (b"{}", rule_files()[newest_rules("resident").hash] + b"\n"):
        file.write_bytes(wrong)
        with pytest.raises(BadArgument):
            read_view_rules(file)


@pytest.mark.parametrize("spoil", ["bytes", "kind", "authority", "endpoint"])
def test_an_admission_that_would_not_work_is_never_proposed(spoil: str, tmp_path: Path):
    from dataclasses import replace

    from ledger.types.genesis import Endpoints
    from tests.vectors import fixed

    good = fixed.admission()
    real = network()[1].members[0]
    member = replace(good.member, ca_certificate=real.ca_certificate)
    changes = {
        "bytes": b"\x93",
        "kind": codec.encode(GiveVote(MemberId("hospital-9")).to_value()),
        "authority": codec.encode(good.to_value()),
        "endpoint": codec.encode(
            replace(good, member=replace(member, endpoints=Endpoints("h", "", ""))).to_value()
        ),
    }
    file = tmp_path / "admission.bin"
    file.write_bytes(changes[spoil])
    with pytest.raises(BadArgument):
        read_admission(file)
    file.write_bytes(codec.encode(replace(good, member=member).to_value()))
    assert read_admission(file).member == member
