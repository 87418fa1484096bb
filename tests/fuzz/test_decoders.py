"""B1, R3: every decoder refuses with its one error, or gives back the very bytes it was given."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.commitment import Disclosure
from ledger.errors import PeerFault
from ledger.limits import CODEC_ITEMS_MAX, COMMITMENT_FIELDS_MAX, SALT_BYTES
from ledger.primitives import ZERO_HASH
from tests.fuzz.decoders import DECODERS, NOT_HERE, Decoder
from tests.fuzz.mutation import bombs, mutated
from tests.fuzz.properties import Broken, check, check_memory, check_work
from tests.project.tree import SHIPPED, modules

NAME = re.compile(
    r"_?(?:decode(?:_\w+)?|parse(?:_\w+)?|\w*from_value|split_frame|peer_member|_replay)"
)
INPUTS_PER_EXAMPLE = 25
FOUND: dict[str, dict[str, str]] = json.loads(
    Path(__file__).with_name("found.json").read_text(encoding="utf-8")
)


def check_bounds(decoder: Decoder, data: bytes) -> None:
    check_memory(decoder, data)
    check_work(decoder, data)


every_decoder = pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)


def shipped_decoders() -> Iterator[str]:
    """Qualified names of the functions that are named like decoders."""
    for module in modules(*SHIPPED).values():
        scopes: list[tuple[str, ast.Module | ast.ClassDef]] = [(module.name, module.syntax)]
        for prefix, scope in scopes:
            for node in scope.body:
                if isinstance(node, ast.ClassDef):
                    scopes.append((f"{prefix}.{node.name}", node))
                elif isinstance(node, ast.FunctionDef) and NAME.fullmatch(node.name):
                    yield f"{prefix}.{node.name}"


def test_B1_every_decoder_of_the_shipped_code_is_in_the_table() -> None:
    found = set(shipped_decoders())
    entries = [name for decoder in DECODERS.values() for name in decoder.covers]
    covered = set(entries)
    assert len(entries) == len(covered), "two entries for one function"
    assert covered <= found, "an entry for what is no decoder by name"
    assert found - covered == set(NOT_HERE)


@every_decoder
def test_B1_valid_inputs_are_accepted(decoder: Decoder) -> None:
    assert decoder.seeds
    for data in decoder.seeds:
        assert check(decoder, data)
        check_bounds(decoder, data)


@every_decoder
@given(seed=st.integers(0, 2**32))
@settings(max_examples=80, deadline=None, derandomize=True, database=None)
def test_B1_changed_inputs_are_refused_or_encode_to_themselves(decoder: Decoder, seed: int) -> None:
    random = Random(seed)
    for _ in range(INPUTS_PER_EXAMPLE):
        check(decoder, mutated(random, decoder.seeds))


@every_decoder
@given(data=st.binary(max_size=200))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_B1_any_bytes_are_refused_or_encode_to_themselves(decoder: Decoder, data: bytes) -> None:
    check(decoder, data)


@every_decoder
def test_R3_memory_and_work_are_bounded_by_the_size_of_the_input(decoder: Decoder) -> None:
    random = Random(decoder.name)
    for _ in range(60):
        check_bounds(decoder, mutated(random, decoder.seeds))
    for bomb in bombs(5_000):
        check_bounds(decoder, bomb)


def test_R3_memory_and_work_are_bounded_for_the_largest_values() -> None:
    for bomb in bombs(CODEC_ITEMS_MAX):
        check_bounds(DECODERS["codec"], bomb)


def test_R3_the_largest_disclosure_is_within_the_bounds_of_the_codec() -> None:
    shown = tuple((b"%06d" % i, b"", bytes(SALT_BYTES)) for i in range(COMMITMENT_FIELDS_MAX + 1))
    assert check(DECODERS["disclosure"], Disclosure("clinical", ZERO_HASH, shown, ()).encode())


@every_decoder
def test_R3_more_bytes_than_the_limit_are_refused(decoder: Decoder) -> None:
    if decoder.limit <= 16 * 1024 * 1024:
        assert not check(decoder, bytes(decoder.limit + 1))


def past_findings() -> list[tuple[str, str]]:
    """Decoder and finding of every input that once broke one, kept in ``found.json``."""
    return [(name, what) for name, inputs in FOUND.items() for what in inputs]


@pytest.mark.parametrize(("name", "what"), past_findings())
def test_B1_what_broke_a_decoder_once_breaks_none_again(name: str, what: str) -> None:
    data = bytes.fromhex(FOUND[name][what])
    check(DECODERS[name], data)
    check_bounds(DECODERS[name], data)


def test_mutation_reaches_behind_the_first_check() -> None:
    accepted = 0
    random = Random(1)
    for decoder in DECODERS.values():
        accepted += sum(check(decoder, mutated(random, decoder.seeds)) for _ in range(50))
    assert accepted > 300


def forged(**changes: object) -> Decoder:
    known: dict[str, object] = {
        "name": "forged",
        "function": bytes,
        "decode": bytes,
        "encode": bytes,
        "limit": 10,
        "seeds": (b"",),
        "error": PeerFault,
    }
    return Decoder(**(known | changes))  # type: ignore[arg-type]


def test_the_properties_notice() -> None:
    assert check(forged(), b"abc")
    with pytest.raises(Broken):
        check(forged(), bytes(11))
    with pytest.raises(Broken):
        check(forged(encode=lambda _: b"other"), b"abc")
    with pytest.raises(ZeroDivisionError):
        check(forged(decode=lambda _: 1 // 0), b"")
    with pytest.raises(Broken):
        check_bounds(forged(decode=lambda data: bytes(10**6) and data), b"")
    with pytest.raises(Broken):
        check_bounds(forged(decode=lambda data: [len(data) for _ in range(10**4)] and data), b"")
