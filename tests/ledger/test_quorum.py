"""Decision 3: the arithmetic on which SAFE-1 and LIVE-1 rest, for every n."""

from ledger.limits import VALIDATORS_MAX
from ledger.quorum import faults_tolerated, quorum, witness


def test_SAFE_1_two_quorums_share_a_correct_validator() -> None:
    for n in range(1, VALIDATORS_MAX + 1):
        assert 2 * quorum(n) - n >= faults_tolerated(n) + 1


def test_LIVE_1_the_correct_validators_are_a_quorum() -> None:
    for n in range(1, VALIDATORS_MAX + 1):
        assert n - faults_tolerated(n) >= quorum(n)


def test_SAFE_1_no_smaller_number_would_do() -> None:
    for n in range(1, VALIDATORS_MAX + 1):
        assert 2 * (quorum(n) - 1) - n < faults_tolerated(n) + 1


def test_more_than_f_faults_are_not_tolerable() -> None:
    for n in range(1, VALIDATORS_MAX + 1):
        f = faults_tolerated(n)
        assert n >= 3 * f + 1
        assert n < 3 * (f + 1) + 1
        assert witness(n) == f + 1


def test_quorum_known_values() -> None:
    assert [(n, quorum(n)) for n in (1, 2, 3, 4, 5, 6, 7, 10)] == [
        (1, 1),
        (2, 2),
        (3, 2),
        (4, 3),
        (5, 4),
        (6, 4),
        (7, 5),
        (10, 7),
    ]
