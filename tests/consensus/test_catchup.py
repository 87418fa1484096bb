"""Whom to ask for blocks, and whom not (2.2, sync replies)."""

import pytest

from ledger.catchup import BLAME_MS, REQUEST_TIMEOUT_MS, SILENCE_MS, CatchUpPlan
from ledger.errors import NotCanonical
from ledger.primitives import Height, MemberId

A, B = MemberId("a"), MemberId("b")
WITNESS, TIMEOUT_MS = 2, 600
URGENT_MS = 150


def plan() -> CatchUpPlan:
    made = CatchUpPlan(WITNESS, TIMEOUT_MS)
    made.claimed(A, Height(10))
    made.claimed(B, Height(10))
    return made


def test_blocks_that_nobody_asked_for_are_refused():
    with pytest.raises(NotCanonical):
        plan().asked_for(A)


def test_an_answer_after_its_time_is_still_taken_and_not_blamed():
    late = plan()
    assert late.next_request(Height(2), 0) == A
    assert late.next_request(Height(2), REQUEST_TIMEOUT_MS) == B
    assert late.asked_for(A) == 3
    late.answered(A, True, REQUEST_TIMEOUT_MS + 1)
    assert late.asked_for(B) == 3
    late.answered(B, True, REQUEST_TIMEOUT_MS + 2)
    assert late.next_request(Height(5), REQUEST_TIMEOUT_MS + 3) == A


def test_a_useless_answer_is_not_followed_by_another_question_for_a_while():
    blamed = plan()
    assert blamed.next_request(Height(2), 0) == A
    blamed.answered(A, False, 1)
    assert blamed.next_request(Height(2), 2) == B
    blamed.answered(B, False, 3)
    assert blamed.next_request(Height(2), 4) is None
    assert blamed.next_request(Height(2), BLAME_MS + 3) == A


def test_one_that_never_answers_is_left_out_for_a_while():
    silent = plan()
    now, asked = 0, []
    while now < 3 * SILENCE_MS:
        peer = silent.next_request(Height(2), now)
        if peer is None:
            now += 10
            continue
        asked.append(peer)
        if peer == B:
            now += 100
            silent.answered(B, True, now)
    # A keeps the turn until its time is over, each time; between these, B is asked at once.
    assert asked.count(A) <= 3
    assert asked.count(B) >= 50


def test_one_that_was_late_is_asked_again_at_once_after_its_answer():
    late = plan()
    assert late.next_request(Height(2), 0) == A
    assert late.next_request(Height(2), REQUEST_TIMEOUT_MS) == B
    late.answered(B, False, REQUEST_TIMEOUT_MS + 1)
    assert late.next_request(Height(2), REQUEST_TIMEOUT_MS + 2) is None
    late.answered(A, True, REQUEST_TIMEOUT_MS + 3)
    assert late.next_request(Height(2), REQUEST_TIMEOUT_MS + 4) == A


@pytest.mark.parametrize("claimed", [4, 5_000])
def test_LIVE_1_who_lacks_the_newest_block_only_does_not_wait_long_for_a_silent_peer(claimed):
    # Its view may hang on that block, and the first one asked may hold it back, whatever it claims.
    urgent = CatchUpPlan(WITNESS, TIMEOUT_MS)
    urgent.claimed(A, Height(claimed))
    for peer in (B, MemberId("c"), MemberId("d")):
        urgent.claimed(peer, Height(4))
    assert urgent.next_request(Height(3), 0) == A
    assert urgent.next_request(Height(3), URGENT_MS - 1) is None
    assert urgent.next_request(Height(3), URGENT_MS) == B


def test_who_is_far_behind_lets_a_peer_send_many_blocks():
    far = CatchUpPlan(WITNESS, TIMEOUT_MS)
    far.claimed(A, Height(5))
    far.claimed(B, Height(5))
    assert far.next_request(Height(3), 0) == A
    assert far.next_request(Height(3), REQUEST_TIMEOUT_MS - 1) is None
