"""Which snapshot is tried: only what is certified from the genesis document on counts."""

from dataclasses import replace

import pytest

from ledger.errors import BadSignature, PeerFault
from ledger.light.bundles import MEMBERSHIP_CHANGES_PAGE, MembershipChange
from ledger.light.trust import MembershipUnknown
from ledger.primitives import MemberId, Signature
from ledger.snapshot.check import first_tasks
from ledger.snapshot.messages import SnapshotOffer, changes_that_fit
from ledger.snapshot.offers import Offers
from ledger.snapshot.plan import REQUEST_TIMEOUT_MS, SILENT_MAX, FetchPlan
from ledger.types.certificate import CertifiedHeader
from tests.light import kit
from tests.snapshot.kit import Source

A, B, C = (MemberId(f"hospital-0{i}") for i in (1, 2, 3))


def story() -> tuple[kit.Chain, list[CertifiedHeader]]:
    """A chain of six blocks; the second and the fourth change who votes."""
    chain = kit.Chain(4)
    headers = [
        chain.commit(voters) for voters in (None, [0, 1, 2, 3, 4], None, [1, 2, 3, 4], None, None)
    ]
    return chain, headers


def offer(chain: kit.Chain, *headers: CertifiedHeader, after: int = 0) -> SnapshotOffer:
    changes = [each for each in chain.changes if each.certified.header.height > after]
    return SnapshotOffer.decode(SnapshotOffer(tuple(changes), headers).encode())


def test_membership_changes_are_followed_once_and_headers_under_them() -> None:
    chain, headers = story()
    offers = Offers([chain.trusted])
    offers.take(A, offer(chain, headers[2], headers[5]))
    assert offers.known == 4
    assert offers.changes == chain.changes
    # Another answer to the same question, and one at a height of a change.
    offers.take(B, offer(chain, headers[3], headers[5]))
    offers.take(C, offer(chain, headers[1], after=4))
    assert offers.changes == chain.changes
    assert offers.heard == {A, B, C}
    best = offers.best(1)
    assert best == headers[5]
    assert offers.peers_of(headers[5].header.hash) == [A, B]
    assert offers.best(7) is None


@pytest.mark.parametrize(
    "lie",
    [
        lambda chain, headers: SnapshotOffer((), (headers[5],)),
        lambda chain, headers: SnapshotOffer(tuple(chain.changes[1:]), (headers[5],)),
        lambda chain, headers: SnapshotOffer(
            (MembershipChange(chain.changes[0].certified, chain.changes[1].membership),), ()
        ),
    ],
    ids=["changes left out", "one left out", "another membership"],
)
def test_LIGHT_1_a_header_without_its_changes_is_refused(lie: object) -> None:
    chain, headers = story()
    offers = Offers([chain.trusted])
    with pytest.raises(MembershipUnknown):
        offers.take(A, lie(chain, headers))  # type: ignore[operator]  # a function of the table
    assert offers.heard == frozenset()
    assert offers.best(1) is None


def test_LIGHT_1_a_forged_certificate_is_refused_also_for_a_known_header() -> None:
    chain, headers = story()
    offers = Offers([chain.trusted])
    offers.take(A, offer(chain, headers[5]))
    old = headers[5].certificate
    forged = replace(
        headers[5],
        certificate=replace(old, signatures=(Signature(bytes(65)), *old.signatures[1:])),
    )
    with pytest.raises(BadSignature):
        offers.take(B, offer(chain, forged))
    assert offers.peers_of(headers[5].header.hash) == [A]
    with pytest.raises(PeerFault):
        offers.take(A, offer(chain, forged))
    assert offers.best(1) is None


def test_what_was_tried_goes_last_and_what_most_have_first() -> None:
    chain, headers = story()
    offers = Offers([chain.trusted])
    offers.take(A, offer(chain, headers[5]))
    offers.take(B, offer(chain, headers[4]))
    offers.take(C, offer(chain, headers[4]))
    assert offers.best(1) == headers[4]
    offers.tried(headers[4].header.hash)
    assert offers.best(1) == headers[5]
    offers.tried(headers[5].header.hash)
    assert offers.best(1) == headers[4]
    offers.forget(B)
    offers.has_none(C)
    assert offers.best(1) == headers[5]
    assert offers.heard == {A, C}


def test_more_changes_than_fit_come_in_several_offers() -> None:
    chain, _ = story()
    many = list(chain.changes) * MEMBERSHIP_CHANGES_PAGE
    assert len(changes_that_fit(many)) == MEMBERSHIP_CHANGES_PAGE
    assert changes_that_fit(chain.changes) == tuple(chain.changes)


# -- the plan -------------------------------------------------------------------------------


def plan_of(*peers: MemberId) -> FetchPlan:
    source = Source({b"parameters": b"1"})
    plan = FetchPlan(source.header.hash, lambda task: None)
    for peer in peers:
        plan.offered(peer)
    plan.add(first_tasks(source.header))
    return plan


def test_tasks_are_shared_out_and_what_is_left_out_is_asked_again() -> None:
    plan = plan_of(A, B)
    (first, one), (second, two) = plan.requests(0)
    assert (first, second, len(one.items), len(two.items)) == (A, B, 2, 1)
    assert plan.requests(0) == []
    taken = plan.answered(A, one.id, 1)
    assert taken is not None
    assert [task.item for task in taken] == list(one.items[:1])
    ((again, rest),) = plan.requests(0)
    assert (again, rest.items) == (A, one.items[1:])
    assert not plan.finished
    assert plan.answered(A, rest.id, 1)
    assert plan.answered(B, two.id, 1)
    assert plan.finished


def test_a_late_answer_is_nobodys_fault_and_more_than_asked_is() -> None:
    plan = plan_of(A)
    ((_, request),) = plan.requests(0)
    assert plan.answered(B, request.id, 1) is None
    assert plan.answered(A, Source().header.hash, 1) is None
    with pytest.raises(PeerFault):
        plan.answered(A, request.id, 4)
    assert len(plan.requests(0)[0][1].items) == 3


def test_a_silent_peer_is_given_up_and_its_tasks_are_not() -> None:
    plan, now = plan_of(A), 0
    for turn in range(1, SILENT_MAX + 1):
        ((_, request),) = plan.requests(now)
        assert plan.idle_ms(now) == REQUEST_TIMEOUT_MS
        assert plan.give_up(now + REQUEST_TIMEOUT_MS - 1) == []
        now += REQUEST_TIMEOUT_MS
        assert plan.give_up(now) == ([A] if turn == SILENT_MAX else [])
        assert plan.answered(A, request.id, 3) is None
    assert plan.providers == frozenset()
    plan.offered(B)
    assert len(plan.requests(now)[0][1].items) == 3
