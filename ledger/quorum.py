"""Quorum arithmetic for every number of validators n >= 1 (decision 3)."""


def faults_tolerated(n: int) -> int:
    """f = floor((n-1)/3): how many of ``n`` validators may be arbitrarily faulty."""
    return (n - 1) // 3


def quorum(n: int) -> int:
    """q = floor((n+f)/2)+1: two quorums share a correct validator, and n-f suffice for one."""
    return (n + faults_tolerated(n)) // 2 + 1


def witness(n: int) -> int:
    """f+1: among this many distinct validators at least one is correct."""
    return faults_tolerated(n) + 1
