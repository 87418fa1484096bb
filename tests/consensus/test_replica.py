"""The automaton alone: what one replica answers to one event."""

import pytest

from ledger.consensus import effects as do
from ledger.consensus.events import (
    Applied,
    BodyFound,
    CertificateSeen,
    Checked,
    Fired,
    Received,
    Seat,
    Timer,
    WorkPending,
)
from ledger.consensus.phases import Recovered, Settings
from ledger.consensus.replica import Replica
from ledger.crypto.keys import Verified
from ledger.primitives import ZERO_HASH, Height, View
from ledger.types.membership import Membership
from tests.consensus import kit

SEAT = Seat(kit.MEMBERSHIP, 3)
A, B = kit.block(name="a"), kit.block(name="b")


def replica(index: int | None, view: int = 0, entered: bool = True) -> Replica:
    settings = Settings(1_000, 1_000, 500)
    seat = Seat(kit.MEMBERSHIP, index)
    made = Replica(settings, Recovered(seat, Height(1), ZERO_HASH, None, View(view), entered))
    made.start()
    return made


def receive(to: Replica, *messages) -> do.Effects:
    return [e for m in messages for e in to.step(Received(Verified(m)))]


def kinds(effects: do.Effects) -> list[type]:
    return [type(effect) for effect in effects]


def test_a_backup_executes_before_it_prepares():
    backup = replica(1)
    assert do.CheckBlock(A) in receive(backup, kit.pre_prepare(A, 0))
    assert do.VotePrepare not in kinds(receive(backup, kit.prepare(A, 0, 2)))
    assert do.VotePrepare(kit.pre_prepare(A, 0)) in backup.step(Checked(A.hash, True))


def test_an_invalid_proposal_makes_the_backup_leave_the_view():
    backup = replica(1)
    receive(backup, kit.pre_prepare(A, 0))
    effects = backup.step(Checked(A.hash, False))
    assert do.VoteViewChange(Height(1), View(1), None, None, kit.MEMBERSHIP.hash) in effects
    assert not backup.entered


def test_a_second_proposal_of_the_same_view_is_evidence_and_no_vote():
    backup = replica(1)
    receive(backup, kit.pre_prepare(A, 0))
    effects = receive(backup, kit.pre_prepare(B, 0))
    assert kinds(effects) == [do.Equivocation]


def test_commit_needs_the_proposal_and_q_minus_1_prepares_of_backups():
    backup = replica(1)
    receive(backup, kit.pre_prepare(A, 0))
    backup.step(Checked(A.hash, True))
    assert do.VoteCommit not in kinds(receive(backup, kit.prepare(A, 0, 2)))
    effects = receive(backup, kit.prepare(A, 0, 3))
    assert do.VoteCommit(Height(1), View(0), A.hash, kit.prepared(A, 0, (2, 3))) in effects


def test_votes_that_come_before_the_proposal_are_counted_later():
    backup = replica(1)
    receive(backup, kit.commit(A, 0, 2), kit.prepare(A, 0, 2), kit.prepare(A, 0, 3))
    receive(backup, kit.pre_prepare(A, 0))
    assert do.VoteCommit in kinds(backup.step(Checked(A.hash, True)))


def test_one_signer_counts_once_and_its_second_digest_is_evidence():
    backup = replica(1)
    receive(backup, kit.pre_prepare(A, 0))
    backup.step(Checked(A.hash, True))
    twice = receive(backup, kit.prepare(A, 0, 2), kit.prepare(A, 0, 2))
    assert do.VoteCommit not in kinds(twice)
    assert do.Equivocation in kinds(receive(backup, kit.prepare(B, 0, 2)))


def test_q_commits_of_one_view_decide_and_only_once():
    backup = replica(1)
    receive(backup, kit.pre_prepare(A, 0))
    backup.step(Checked(A.hash, True))
    effects = receive(backup, *[kit.commit(A, 0, i) for i in (0, 2, 3)])
    decisions = [e for e in effects if isinstance(e, do.CommitBlock)]
    assert decisions == [do.CommitBlock(A, kit.certificate(A, 0, (0, 2, 3)))]


def test_commits_of_different_views_do_not_add_up():
    backup = replica(1)
    receive(backup, kit.pre_prepare(A, 0))
    backup.step(Checked(A.hash, True))
    mixed = [kit.commit(A, 0, 0), kit.commit(A, 0, 2), kit.commit(A, 1, 3)]
    assert do.CommitBlock not in kinds(receive(backup, *mixed))


def test_a_block_decided_without_its_body_is_fetched_whole():
    backup = replica(1)
    effects = receive(backup, *[kit.commit(A, 0, i) for i in (0, 2, 3)])
    assert do.CatchUp(Height(1)) in effects


def test_V1_the_view_change_timer_starts_at_q_view_changes():
    backup = replica(3)
    backup.step(WorkPending(True))
    own = backup.step(Fired(Timer.PROGRESS))
    assert do.VoteViewChange(Height(1), View(1), None, None, kit.MEMBERSHIP.hash) in own
    assert do.SetTimer not in kinds(receive(backup, kit.view_change(1, 3)))
    assert do.SetTimer not in kinds(receive(backup, kit.view_change(1, 0)))
    effects = receive(backup, kit.view_change(1, 2))
    assert do.SetTimer(Timer.NEW_VIEW, 2_000) in effects


def test_V1_views_ahead_count_for_the_timer_so_that_a_leader_in_views_strands_nobody():
    backup = replica(3, view=1, entered=False)
    receive(backup, kit.view_change(1, 3), kit.view_change(1, 0))
    assert do.SetTimer in kinds(receive(backup, kit.view_change(2, 2)))


def test_f_plus_1_view_changes_are_joined_at_once():
    backup = replica(3)
    assert do.VoteViewChange not in kinds(receive(backup, kit.view_change(7, 0)))
    effects = receive(backup, kit.view_change(5, 2))
    assert do.VoteViewChange(Height(1), View(5), None, None, kit.MEMBERSHIP.hash) in effects


def test_the_new_primary_proposes_the_prepared_block():
    primary = replica(1, view=1, entered=False)
    proof = kit.prepared(A, 0, (2, 3))
    changes = [kit.view_change(1, 1), kit.view_change(1, 2, proof=proof), kit.view_change(1, 3)]
    effects = receive(primary, *changes)
    assert do.FetchBody(A.hash) in effects
    assert do.MakeProposal not in kinds(effects)


def test_a_new_view_with_another_block_than_the_prepared_is_refused_and_left():
    backup = replica(3, view=1, entered=False)
    proof = kit.prepared(A, 0, (2, 3))
    changes = [kit.view_change(1, 1), kit.view_change(1, 2, proof=proof), kit.view_change(1, 3)]
    effects = receive(backup, kit.new_view(changes, kit.pre_prepare(B, 1)))
    assert not backup.entered
    assert backup.view == 2
    assert do.VotePrepare not in kinds(effects)


def test_V3_a_primary_that_lacks_the_newest_block_fetches_it_before_it_opens_the_view():
    primary = replica(1, view=1, entered=False)
    last = kit.certificate(A, 0)
    changes = [kit.view_change(1, 1)] + [kit.view_change(1, i, 2, last) for i in (0, 2, 3)]
    effects = receive(primary, *changes)
    assert do.CatchUp(Height(1)) in effects
    assert not {do.MakeProposal, do.VoteNewView} & set(kinds(effects))
    effects = primary.step(Applied(A, last, True, Seat(kit.MEMBERSHIP, 1)))
    own = kit.view_change(1, 1, 2, last)
    effects += primary.voted(own)
    assert do.MakeProposal(Height(2), View(1)) in effects


def test_V2_a_new_view_that_leaves_a_height_out_is_refused():
    backup = replica(3, view=1, entered=False)
    changes = [kit.view_change(1, i) for i in (0, 1, 2)]
    beyond = kit.block(height=2)
    receive(backup, kit.new_view(changes, kit.pre_prepare(beyond, 1)))
    assert (backup.height, backup.view, backup.entered) == (1, 2, False)


def test_I10_an_old_new_view_does_not_move_a_replica_back():
    backup = replica(3, view=5, entered=False)
    changes = [kit.view_change(1, i) for i in (0, 1, 2)]
    assert receive(backup, kit.new_view(changes, kit.pre_prepare(A, 1))) == []
    assert backup.view == 5


def test_a_certificate_below_proves_that_its_view_was_entered():
    backup = replica(3)
    backup.step(Applied(A, kit.certificate(A, 0), False, SEAT))
    assert backup.step(CertificateSeen(kit.certificate(A, 4, (0, 1, 2)))) != []
    assert (backup.view, backup.entered) == (4, True)


def test_M1_a_view_that_the_new_voters_cannot_be_shown_is_voted_for_again():
    # It was entered at height 1; the block of that height was decided in view 0, and changed who
    # votes: they can check neither the NEW-VIEW nor its view-changes.
    backup = replica(1)
    receive(backup, kit.new_view([kit.view_change(2, i) for i in (0, 2, 3)], kit.pre_prepare(A, 2)))
    assert (backup.view, backup.entered) == (2, True)
    fewer = Membership(kit.MEMBERSHIP.validators[:3])
    certificate = kit.certificate(A, 0)
    effects = backup.step(Applied(A, certificate, False, Seat(fewer, 1)))
    assert do.VoteViewChange(Height(2), View(2), certificate, None, fewer.hash) in effects
    assert not backup.entered


def test_M1_a_view_that_the_certificate_of_the_change_shows_stays_entered():
    backup = replica(1)
    receive(backup, kit.new_view([kit.view_change(2, i) for i in (0, 2, 3)], kit.pre_prepare(A, 2)))
    fewer = Membership(kit.MEMBERSHIP.validators[:3])
    effects = backup.step(Applied(A, kit.certificate(A, 2), False, Seat(fewer, 1)))
    assert do.VoteViewChange not in kinds(effects)
    assert (backup.view, backup.entered) == (2, True)


@pytest.mark.parametrize("timer", list(Timer))
def test_an_observer_never_votes(timer):
    observer = replica(None)
    observer.step(WorkPending(True))
    receive(observer, kit.pre_prepare(A, 0))
    effects = observer.step(Checked(A.hash, True)) + observer.step(Fired(timer))
    effects += receive(observer, *[kit.prepare(A, 0, i) for i in (1, 2, 3)])
    effects += receive(observer, *[kit.view_change(3, i) for i in (0, 1, 2)])
    assert not any(isinstance(effect, do.Vote) for effect in effects)


def test_messages_of_the_next_height_wait_bounded_for_each_signer():
    backup = replica(1)
    late = kit.block(height=2, name="late")
    for view in range(50):
        receive(backup, kit.prepare(late, view, 3))
    assert sum(len(kept) for kept in backup._next_height.values()) <= 4


def test_a_body_that_nobody_asked_for_is_not_kept():
    backup = replica(1)
    from_peer = [kit.block(name=f"junk {i}") for i in range(50)]
    for body in from_peer:
        assert backup.step(BodyFound(body)) == []
    assert all(backup.body(body.hash) is None for body in from_peer)


def test_bodies_of_failed_views_are_kept_in_a_small_number():
    backup = replica(0)
    for view in range(1, 31):
        changes = [kit.view_change(view, i) for i in (1, 2, 3)]
        proposed = kit.block(name=f"view {view}")
        receive(backup, kit.new_view(changes, kit.pre_prepare(proposed, view)))
        backup.step(Checked(proposed.hash, True))
    assert len(backup._round.bodies) <= 5


def test_T1_a_block_that_came_too_early_is_executed_again_when_a_later_view_needs_it():
    backup = replica(3)
    receive(backup, kit.pre_prepare(A, 0))
    backup.step(Checked(A.hash, False))
    proof = kit.prepared(A, 0, (1, 2))
    changes = [kit.view_change(1, i, proof=proof if i == 2 else None) for i in (0, 1, 2)]
    effects = receive(backup, kit.new_view(changes, kit.pre_prepare(A, 1)))
    assert do.CheckBlock(A) in effects
    assert do.VotePrepare(kit.pre_prepare(A, 1)) in backup.step(Checked(A.hash, True))


def test_an_invalid_verdict_on_a_decided_block_asks_the_others_and_stays():
    backup = replica(1)
    receive(backup, kit.pre_prepare(A, 0))
    receive(backup, *[kit.commit(A, 0, i) for i in (0, 2, 3)])
    effects = backup.step(Checked(A.hash, False))
    assert effects == [do.CatchUp(Height(1))]
    assert backup.entered


def test_V1_a_new_view_gets_a_whole_timer():
    backup = replica(3)
    backup.step(WorkPending(True))
    changes = [kit.view_change(2, i) for i in (0, 1, 2)]
    backup.step(Applied(A, kit.certificate(A, 0), True, SEAT))
    effects = receive(backup, kit.new_view(changes, kit.pre_prepare(A, 2)))
    assert backup.view == 2
    set_at = effects.index(do.SetTimer(Timer.PROGRESS, 1_000))
    assert do.CancelTimer(Timer.PROGRESS) in effects[:set_at]


def test_R4_what_is_known_or_too_late_is_not_wanted():
    backup = replica(1)
    messages = [kit.pre_prepare(A, 0), kit.prepare(A, 0, 2), kit.commit(A, 0, 2)]
    changes = [kit.view_change(1, i) for i in (0, 2, 3)]
    opened = kit.new_view(changes, kit.pre_prepare(A, 1))
    for message in (*messages, changes[0], opened):
        assert backup.wants(message)
        receive(backup, message)
        assert not backup.wants(message)
    far = kit.block(height=3, name="far")
    assert not backup.wants(kit.prepare(far, 0, 2))
    assert backup.wants(kit.prepare(kit.block(height=2), 0, 2))
    assert not backup.wants(kit.view_change(1, 3))
    assert backup.wants(kit.view_change(2, 3))


def test_I10_after_a_restart_old_votes_are_repeated_before_the_proposal_is_judged_again():
    # A clock that was set back makes the block one from the future, and the view is left (T1).
    settings, seat = Settings(1_000, 1_000, 500), Seat(kit.MEMBERSHIP, 1)
    proof = kit.prepared(A, 2, (0, 1))
    accepted = kit.pre_prepare(A, 2)
    vote = do.VoteCommit(A.header.height, View(2), A.hash, proof)
    recovered = Recovered(
        seat, Height(1), ZERO_HASH, None, View(2), True, (vote,), accepted, proof, (A,)
    )
    effects = Replica(settings, recovered).start()
    kinds = [type(effect) for effect in effects]
    assert kinds.index(do.VoteCommit) < kinds.index(do.CheckBlock)
