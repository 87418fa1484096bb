"""LIGHT-1, LIGHT-2, LIGHT-3: the light client in JavaScript says what the one in Python says."""

import random
from typing import Any

import pytest
from playwright.async_api import Page

from ledger import codec, limits, primitives
from ledger.crypto import keys, sealing
from ledger.errors import PeerFault
from ledger.light import bundles, checkpoint, records, saved, trust, view_rules, witnesses
from ledger.merkle import proof
from ledger.primitives import Signature
from ledger.types import block, certificate, entries, genesis, membership
from ledger.types.terms import TERMS
from tests.browser.conftest import OTHER_TEXT, WebChecks
from tests.hostile.mutants.judges import LARGE
from tests.light import kit
from tests.light.calls import CALLS, verdict
from tests.vectors import make_light

CASES = make_light.recorded()
MUTANTS = 3_000
BATCH = 500

Calls = list[tuple[str, list[Any]]]


def in_browser(web_checks: WebChecks, page: Page, calls: Calls) -> list[dict[str, Any]]:
    """The verdicts of the JavaScript client."""
    asked = [[name, arguments] for name, arguments in calls]
    return web_checks.run(page.evaluate("calls => checks.verdicts(calls)", asked))


def test_both_clients_have_the_same_calls(web_checks: WebChecks, light_page: Page) -> None:
    assert set(web_checks.run(light_page.evaluate("() => checks.names"))) == set(CALLS)


def test_LIGHT_1_javascript_agrees_with_every_vector(
    web_checks: WebChecks, light_page: Page
) -> None:
    calls = [(case["call"], case["arguments"]) for case in CASES.values()]
    found = dict(zip(CASES, in_browser(web_checks, light_page, calls), strict=True))
    wanted = {
        name: {key: case[key] for key in ("result", "error", "message") if key in case}
        for name, case in CASES.items()
    }
    for name in OTHER_TEXT:
        assert found[name].pop("message") != wanted[name].pop("message")
    assert {name: each for name, each in found.items() if each != wanted[name]} == {}


# Differential fuzzing


def mutated_value(value: Any, rng: random.Random, others: list[Any]) -> Any:
    """A decoded value with one part of it changed; encoded parts inside are opened."""
    if isinstance(value, bytes) and len(value) > 40:
        try:
            inner = codec.decode(value, len(value), "part")
        except PeerFault:
            return mutated_bytes(value, rng)
        if isinstance(inner, tuple) and rng.random() < 0.8:
            return codec.encode(mutated_value(inner, rng, others))
        return mutated_bytes(value, rng)
    if isinstance(value, tuple) and value:
        items = list(value)
        place, kind = rng.randrange(len(items)), rng.random()
        if kind < 0.75:
            items[place] = mutated_value(items[place], rng, others)
        elif kind < 0.8:
            del items[place]
        elif kind < 0.85:
            items.insert(place, items[place])
        elif kind < 0.92:
            other = rng.randrange(len(items))
            items[place], items[other] = items[other], items[place]
        else:
            items[place] = rng.choice(others)
        return tuple(items)
    if isinstance(value, int):
        return max(0, min(2**64 - 1, rng.choice([0, value + 1, value - 1, 2**53, 2**64 - 1])))
    if isinstance(value, bytes):
        return mutated_bytes(value, rng)
    return rng.choice(others)


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """A flipped bit, a cut, or a few bytes more, fewer or other."""
    if not data:
        return bytes(rng.randrange(1, 3))
    place, kind = rng.randrange(len(data)), rng.random()
    if kind < 0.6:
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    if kind < 0.7:
        return data[:place]
    if kind < 0.8:
        return data[:place] + rng.randbytes(rng.randrange(1, 4)) + data[place:]
    return data[:place] + rng.randbytes(2) + data[place + 2 :]


def mutants(seed: int, count: int) -> Calls:
    """Accepted calls with one argument changed, or taken from another call of that kind."""
    rng = random.Random(seed)
    accepted: dict[str, list[list[Any]]] = {}
    by_call: dict[str, list[list[Any]]] = {}
    for case in CASES.values():
        by_call.setdefault(case["call"], []).append(case["arguments"])
        # Large calls take long, and say little about changed bytes.
        if "result" in case and case["call"] not in LARGE:
            accepted.setdefault(case["call"], []).append(case["arguments"])
    parts: list[Any] = [None, 0, 1, 2**63, "", "state", b"", bytes(31), bytes(32), (), ((),)]
    found: Calls = []
    while len(found) < count:
        call = rng.choice(list(accepted))
        arguments = list(rng.choice(accepted[call]))
        long = [i for i, each in enumerate(arguments) if isinstance(each, str) and len(each) > 80]
        if not long:
            long = [i for i, each in enumerate(arguments) if str(each)[:1] not in "=["]
        place = rng.choice(long or [0])
        if not isinstance(arguments[place], str) or arguments[place].startswith("="):
            continue
        if rng.random() < 0.1:
            other = rng.choice(by_call[call])[place]
            arguments[place] = arguments[place] if other is None else other
        else:
            arguments[place] = changed(bytes.fromhex(arguments[place]), rng, parts).hex()
        found.append((call, arguments))
    return found


def changed(data: bytes, rng: random.Random, parts: list[Any]) -> bytes:
    """One mutation: of the structure where there is one, else of the bytes."""
    if len(data) == 32:
        return bytes([data[0] ^ 1]) + data[1:]
    try:
        value = codec.decode(data, len(data), "part")
        return (
            codec.encode(mutated_value(value, rng, parts))
            if rng.random() < 0.7
            else (mutated_bytes(data, rng))
        )
    except PeerFault:
        return mutated_bytes(data, rng)


@pytest.mark.parametrize("seed", [1])
def test_LIGHT_1_both_clients_judge_changed_bytes_alike(
    web_checks: WebChecks, light_page: Page, seed: int
) -> None:
    calls = mutants(seed, MUTANTS)
    there = []
    for start in range(0, len(calls), BATCH):
        there += in_browser(web_checks, light_page, calls[start : start + BATCH])
    here = [
        verdict(name, [make_light.read_argument(each) for each in arguments])
        for name, arguments in calls
    ]
    for found in (here, there):
        for each in found:
            each.pop("message", None)
    differing = [
        (name, arguments, one, other)
        for (name, arguments), one, other in zip(calls, here, there, strict=True)
        if one != other
    ]
    assert differing == []
    # The mutations reach deep: most kinds of error occur, and some changes are allowed.
    errors = {each["error"] for each in here if "error" in each}
    assert {"NotCanonical", "ProofInvalid", "BadSignature", "CertificateMismatch"} < errors
    assert any("result" in each for each in here)


FLIP_EVERY_BIT = """async ([genesis, saved]) => {
    const passed = [];
    for (let bit = 0; bit < 4 * saved.length; bit += 1) {
        const place = bit >> 2;
        const digit = (parseInt(saved[place], 16) ^ (1 << (bit & 3))).toString(16);
        const flipped = saved.slice(0, place) + digit + saved.slice(place + 1);
        const [found] = await checks.verdicts([["saved proof", [genesis, flipped, null, []]]]);
        if (!("error" in found)) passed.push(bit);
    }
    return passed;
}"""


def test_LIGHT_1_no_bit_of_a_saved_proof_is_free_in_javascript(
    web_checks: WebChecks, light_page: Page
) -> None:
    chain = kit.story(4)
    bundle = chain.state_bundle(chain.commit(), kit.LIST)
    proof = saved.SavedProof(chain.trusted.chain_id, (), bundle, None, kit.LIST, None)
    arguments = [chain.genesis.encode().hex(), proof.encode().hex()]
    (whole,) = in_browser(web_checks, light_page, [("saved proof", [*arguments, None, []])])
    assert "result" in whole
    assert web_checks.run(light_page.evaluate(FLIP_EVERY_BIT, arguments)) == []


# Constants


def test_the_limits_are_those_of_python(web_checks: WebChecks, light_page: Page) -> None:
    script = """async () => {
        const limits = Object.entries(await import('/light/limits.js'));
        return Object.fromEntries(limits.map(([name, value]) => [name, value.toString()]));
    }"""
    here = {
        "SIGNATURE_BYTES": Signature.SIZE,
        "U64_MAX": primitives.U64_MAX,
        **{
            name: value
            for module in (limits, keys, block, certificate, membership, genesis, entries, proof,
                           bundles, trust, saved, records, view_rules, sealing, checkpoint,
                           witnesses)
            for name, value in vars(module).items()
            if name.isupper() and isinstance(value, int)
        },
    }  # fmt: skip
    there = web_checks.run(light_page.evaluate(script))
    assert there == {name: str(here[name]) for name in there}


def test_the_terms_are_those_of_python(web_checks: WebChecks, light_page: Page) -> None:
    script = "async () => (await import('/light/terms.js')).TERMS"
    assert web_checks.run(light_page.evaluate(script)) == list(TERMS)
