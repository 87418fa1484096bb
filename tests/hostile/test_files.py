"""LIGHT-1: a saved proof does not survive the flip of any one bit."""

from collections.abc import Callable, Iterator

import pytest

from ledger.errors import PeerFault
from ledger.light.saved import verify_saved_proof
from tests.light.calls import known_of
from tests.vectors import make_light

Verify = Callable[[bytes], object]


def files() -> Iterator[tuple[str, Verify, bytes]]:
    """Every accepted saved proof of the vectors."""
    for name, case in make_light.recorded("saved.json").items():
        if case["call"] == "saved proof" and "result" in case and not name.endswith("no time"):
            document, data, _, rules = map(make_light.read_argument, case["arguments"])
            yield name, verifier(document, rules), data


def verifier(document: bytes, rules: list[bytes]) -> Verify:
    known = known_of(rules)
    return lambda data: verify_saved_proof(document, data, make_light.NOW, known)


FILES = {name: (verify, data) for name, verify, data in files()}


def survivors(name: str, step: int) -> list[int]:
    """Bits whose flip is not noticed, of every ``step``-th."""
    verify, data = FILES[name]
    verify(data)
    found = []
    for bit in range(0, 8 * len(data), step):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            verify(bytes(flipped))
        except PeerFault:
            continue
        found.append(bit)
    return found


def test_LIGHT_1_no_bit_of_a_small_saved_proof_can_be_flipped() -> None:
    assert survivors("saved.json: absence", 1) == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_LIGHT_1_no_bit_of_any_saved_proof_can_be_flipped(name: str) -> None:
    # An odd step meets each place of a bit in its byte.
    assert survivors(name, 61) == []
