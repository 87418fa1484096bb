"""Releases: order, size and place of a batch."""

import pytest

from ledger.limits import ROOTS_PER_RELEASE_MAX
from ledger.primitives import MemberId
from ledger.types.entries import release_log
from tests.contracts.support import Caller, K, digest

GATEWAY = "hospital-a/gateway"


def roots(count: int, start: int = 0) -> tuple[bytes, ...]:
    return tuple(digest(start + i) for i in range(count))


def test_PRIV_2_a_batch_is_appended_in_the_order_of_its_bytes():
    caller = Caller()
    assert caller.call(GATEWAY, "release/publish", roots(K)) == (0, K)
    assert caller.call(GATEWAY, "release/publish", roots(K + 1, 50)) == (K, K + 1)
    log = caller.state.logs[release_log(MemberId("hospital-a"))]
    assert log == [*roots(K), *roots(K + 1, 50)]
    assert all(len(entry) == 32 for entry in log)
    assert release_log(MemberId("hospital-b")) not in caller.state.logs


@pytest.mark.parametrize("count", [0, 1, K - 1])
def test_PRIV_2_fewer_than_k_roots_are_refused(count):
    refused = Caller().refusal(GATEWAY, "release/publish", roots(count))
    assert refused == ("release/too-few-roots", (count, K))


def test_the_largest_batch_is_taken_and_one_root_more_is_not():
    most = roots(ROOTS_PER_RELEASE_MAX)
    assert Caller().call(GATEWAY, "release/publish", most) == (0, len(most))
    refused = Caller().refusal(GATEWAY, "release/publish", roots(len(most) + 1))
    assert refused == ("release/bad-arguments", ())


@pytest.mark.parametrize(
    "args",
    [
        (),
        (roots(4), 1),
        (b"",),
        (None,),
        (tuple(reversed(roots(4))),),
        ((*roots(4), digest(3)),),
        ((digest(0), digest(0), *roots(4, 1)),),
        ((digest(1), digest(0), *roots(4, 2)),),
        ((*roots(4), b""),),
        ((b"\0", *roots(4)),),
        ((*roots(4), bytes([255]) * 33),),
        ((*roots(4), None),),
        ((0, *roots(4)),),
    ],
)
def test_bad_arguments_release_nothing(args):
    assert Caller().refusal(GATEWAY, "release/publish", *args) == ("release/bad-arguments", ())
