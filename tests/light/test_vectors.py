"""The vectors of both light clients, in Python; ``tests/browser`` runs the same in Chromium."""

from collections.abc import Iterator

import ecdsa
import pytest

from ledger.crypto import keys
from tests.light.calls import CALLS, verdict
from tests.vectors import make_light

CASES = make_light.recorded()


def outcome(case: dict) -> dict:
    return {name: case[name] for name in ("result", "error", "message") if name in case}


def disagreements() -> Iterator[str]:
    """Names of the cases of which this client says another thing than was recorded."""
    for name, case in CASES.items():
        arguments = [make_light.read_argument(each) for each in case["arguments"]]
        if verdict(case["call"], arguments) != outcome(case):
            yield name


@pytest.mark.parametrize("name", make_light.FILES)
def test_B1_vectors_of_the_light_clients_are_what_the_code_makes(name: str) -> None:
    recorded = (make_light.FOLDER / name).read_text(encoding="utf-8")
    assert recorded == make_light.text_of(name), "record again: python -m tests.vectors.make_light"


def test_every_recorded_file_of_the_light_clients_has_its_maker() -> None:
    assert {path.name for path in make_light.FOLDER.iterdir()} == set(make_light.FILES)


def test_every_call_has_a_case_that_is_accepted() -> None:
    accepted = {case["call"] for case in CASES.values() if "result" in case}
    assert accepted == set(CALLS)


def test_LIGHT_1_python_agrees_with_every_vector() -> None:
    assert list(disagreements()) == []


def test_B4_a_second_implementation_of_the_signatures_agrees_with_every_vector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pure-Python ecdsa package instead of OpenSSL: verification only."""
    checked = []

    def holds(encoded: bytes, r: int, s: int, digest: bytes) -> bool:
        checked.append(encoded)
        key = ecdsa.VerifyingKey.from_string(encoded[-64:], curve=ecdsa.NIST256p)
        signature = ecdsa.ecdsa.Signature(r, s)
        return key.pubkey.verifies(int.from_bytes(digest, "big"), signature)

    monkeypatch.setattr(keys, "_holds", holds)
    assert list(disagreements()) == []
    assert checked
