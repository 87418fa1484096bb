"""The vectors of residents' keys, directives, full copies and shares: cases for ``make_light``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ledger import codec
from ledger.light.permissions import grant_key
from ledger.limits import (
    DIRECTIVES_MAX,
    PERMISSION_HEIGHTS,
    RESIDENT_KEYS_MAX,
    SHARE_ATTEMPTS_MAX,
    SHARE_ROWS_MAX,
)
from ledger.primitives import Height, MemberId
from ledger.types.entries import Disclosed, Permission
from ledger.types.residents import (
    COPY_STATES,
    REFUSAL_REASONS,
    Directive,
    Share,
    directives_key,
    encode_copies,
    encode_directives,
    encode_resident_keys,
    share_key,
)
from tests.hostile.lies_of_consent import (
    EVERYBODY,
    HOSPITAL,
    OTHER_SHARE,
    SHARE,
    TOKEN,
    WISHES,
    with_wishes,
)
from tests.hostile.lies_of_permissions import BROKEN, OPENED, READ, world
from tests.light import kit
from tests.vectors import fixed

if TYPE_CHECKING:
    from tests.vectors.make_light import Cases

READER = fixed.FixedSigner("doctor").public_key.key_id
NOW = fixed.TIME_MS + 1_500


def changed(value: Any, place: int, new: Any) -> bytes:
    """An encoded array with another item at that place."""
    return codec.encode([*value[:place], new, *value[place + 1 :]])


def resident_cases(cases: "Cases") -> None:
    """LIGHT-1: what the state says of residents, and each way to say it wrongly."""
    key_cases(cases)
    directive_cases(cases)
    permit_cases(cases)
    copy_cases(cases)
    share_cases(cases)
    consent_cases(cases)
    covered_cases(cases)


def key_cases(cases: "Cases") -> None:
    """Keys that act for a patient."""
    keys = [fixed.named_hash(f"key {i}") for i in range(RESIDENT_KEYS_MAX + 1)]
    most = encode_resident_keys(keys[:-1])
    for name, data in {"no key": codec.encode([]), "as many keys as there may be": most}.items():
        cases.accept(name, "resident keys", data)
    rising = sorted(keys[:2])
    for error, name, wrong in (
        ("TooLarge", "a key too many", encode_resident_keys(keys)),
        ("NotCanonical", "keys that do not rise", codec.encode(rising[::-1])),
        ("NotCanonical", "a key twice", codec.encode(rising[:1] * 2)),
        ("NotCanonical", "a text as key", codec.encode(["a"])),
        ("OutOfRange", "a short key", codec.encode([bytes(31)])),
        ("TooLarge", "keys in too many bytes", bytes(1_025)),
    ):
        cases.refuse(error, name, "resident keys", wrong)


def directive_cases(cases: "Cases") -> None:
    """Directives: their subjects in order, their names known, sorted and once."""
    most = [
        replace(EVERYBODY, member=MemberId(f"m{i:02d}"), reader=None) for i in range(DIRECTIVES_MAX)
    ]
    full = replace(HOSPITAL, views=("clinical", "deidentified", "resident"))
    long, short = (replace(HOSPITAL, member=MemberId(name)) for name in ("hospital-1", "hospital"))
    of_reader = replace(short, reader=READER)
    for name, each in {
        "no directive": [],
        "everybody, a key, a hospital": list(WISHES),
        "as many directives as there may be": most,
        "every view and purpose": [
            replace(full, purposes=("ETREAT", "HRESCH", "PATRQT", "TREAT"), until_ms=2**64 - 1)
        ],
        "a name that begins another": [short, of_reader, long],
        "two keys of one hospital": [of_reader, replace(of_reader, reader=b"\xff" * 32)],
    }.items():
        cases.accept(name, "directives", encode_directives(each))
    one = HOSPITAL.to_value()
    assert isinstance(one, tuple)
    rows: dict[str, tuple[str, Any]] = {
        "a hospital after its reader": ("NotCanonical", [of_reader.to_value(), short.to_value()]),
        "a longer name first": ("NotCanonical", [long.to_value(), of_reader.to_value()]),
        "a key twice": ("NotCanonical", [of_reader.to_value()] * 2),
        "everybody twice": ("NotCanonical", [EVERYBODY.to_value()] * 2),
        "a directive too many": ("TooLarge", [one] * (DIRECTIVES_MAX + 1)),
        "a directive of four": ("NotCanonical", [one[:4]]),
        "a number": ("NotCanonical", 0),
    }
    for name, (place, error, new) in {
        "a reader of nobody": (0, "NotCanonical", None),
        "a member in capitals": (0, "OutOfRange", "Hospital"),
        "a member of 33 letters": (0, "TooLarge", "a" * 33),
        "bytes as member": (0, "NotCanonical", b"a"),
        "a short reader": (1, "OutOfRange", bytes(31)),
        "an unknown view": (2, "NotCanonical", ["all"]),
        "views not sorted": (2, "NotCanonical", ["resident", "clinical"]),
        "a view twice": (2, "NotCanonical", ["clinical", "clinical"]),
        "a view too many": (2, "TooLarge", ["clinical"] * 4),
        "an unknown purpose": (3, "NotCanonical", ["BTG"]),
        "a purpose as a view": (2, "NotCanonical", ["TREAT"]),
        "purposes not sorted": (3, "NotCanonical", ["TREAT", "ETREAT"]),
        "a purpose too many": (3, "TooLarge", ["TREAT"] * 5),
        "a text as end": (4, "NotCanonical", "1"),
        "a name of 33 letters": (2, "TooLarge", ["a" * 33]),
    }.items():
        of = of_reader.to_value()
        assert isinstance(of, tuple)
        rows[name] = (error, [[*of[:place], new, *of[place + 1 :]]])
    for name, (error, value) in rows.items():
        cases.refuse(error, f"directives with {name}", "directives", codec.encode(value))
    cases.refuse("TooLarge", "directives in too many bytes", "directives", bytes(16_385))


def permit_cases(cases: "Cases") -> None:
    """ACC-2: the most specific directive that has not ended decides alone."""
    key = fixed.directive()
    other = fixed.named_hash("another reader")
    home, away = fixed.hospital(0), fixed.hospital(1)
    later = int(key.until_ms)

    def ask(
        name: str, wishes: tuple[Directive, ...], *asked: Any, time_ms: int = fixed.TIME_MS
    ) -> None:
        member, reader, view, purpose = asked
        data = encode_directives(wishes)
        texts = (view.encode(), purpose.encode())
        cases.accept(name, "permits", data, member.encode(), reader, *texts, time_ms)

    ask("no directives", (), home, READER, "clinical", "TREAT")
    ask("everybody is forbidden", (EVERYBODY,), home, READER, "clinical", "TREAT")
    ask("the key decides before everybody", WISHES, home, READER, "clinical", "TREAT")
    ask("the key has no such view", WISHES, home, READER, "resident", "TREAT")
    ask("the key has no such purpose", WISHES, home, READER, "clinical", "HRESCH")
    ask("another key of that hospital", WISHES, home, other, "clinical", "TREAT")
    ask("a hospital decides", WISHES, away, other, "resident", "TREAT")
    ask("a hospital has no such view", WISHES, away, other, "clinical", "TREAT")
    ask("another hospital has a key of that id", (key,), away, READER, "resident", "TREAT")
    for name, time_ms in {"just before its end": later - 1, "at its end": later}.items():
        ask(f"a directive {name}", (key,), home, READER, "resident", "TREAT", time_ms=time_ms)
        ask(f"everybody, {name}", WISHES, home, READER, "clinical", "TREAT", time_ms=time_ms)


def copy_cases(cases: "Cases") -> None:
    """Requests for a full copy."""
    good = fixed.copy_request()
    all_states = [
        replace(good, hospital=fixed.hospital(i), state=state, reason=None)
        for i, state in enumerate(COPY_STATES)
    ]
    reasons = [
        replace(good, hospital=fixed.hospital(i), reason=reason)
        for i, reason in enumerate(REFUSAL_REASONS)
    ]
    for name, copies in {"no copy": [], "each state": all_states, "each reason": reasons}.items():
        cases.accept(name, "copies", encode_copies(copies))
    value = good.to_value()
    assert isinstance(value, tuple)
    for error, name, rows in (
        ("NotCanonical", "a hospital twice", [value, value]),
        ("NotCanonical", "hospitals not in order", [value, ("a", *value[1:])]),
        ("NotCanonical", "an unknown state", [(value[0], "lost", None, 0)]),
        ("NotCanonical", "an unknown reason", [(*value[:2], "dislike", 0)]),
        ("NotCanonical", "three fields", [value[:3]]),
        ("OutOfRange", "a hospital in capitals", [("H", *value[1:])]),
        ("NotCanonical", "a text as end", [(*value[:3], "0")]),
        ("TooLarge", "a copy too many", [value] * 1_025),
    ):
        cases.refuse(error, f"copies with {name}", "copies", codec.encode(rows))
    cases.refuse("TooLarge", "copies in too many bytes", "copies", bytes(131_073))


def share_cases(cases: "Cases") -> None:
    """One share, and when it is closed."""
    good = fixed.share()
    most = replace(good, rows=tuple(range(SHARE_ROWS_MAX)), attempts_left=SHARE_ATTEMPTS_MAX)
    for name, each in {
        "share": good,
        "share of one row": replace(good, rows=(0,)),
        "share of as many rows as there may be": most,
        "ended share": replace(good, ended=True),
    }.items():
        cases.accept(name, "share", each.encode())
    value = codec.decode(good.encode(), 1_024, "share")
    for error, name, place, new in (
        ("OutOfRange", "a short patient", 0, bytes(31)),
        ("OutOfRange", "a short creator", 1, bytes(31)),
        ("OutOfRange", "a holder in capitals", 2, "H"),
        ("NotCanonical", "no row", 3, []),
        ("NotCanonical", "a row twice", 3, [1, 1]),
        ("NotCanonical", "rows that do not rise", 3, [0, 3, 2]),
        ("TooLarge", "a row too many", 3, list(range(SHARE_ROWS_MAX + 1))),
        ("NotCanonical", "an unknown view", 4, "all"),
        ("OutOfRange", "a short token hash", 5, bytes(31)),
        ("OutOfRange", "a short verifier", 6, bytes(31)),
        ("NotCanonical", "a text as end", 7, "1"),
        ("TooLarge", "an attempt too many", 8, SHARE_ATTEMPTS_MAX + 1),
        ("TooLarge", "another truth than 0 and 1", 9, 2),
    ):
        cases.refuse(error, f"share with {name}", "share", changed(value, place, new))
    cases.refuse("NotCanonical", "share of nine fields", "share", codec.encode(value[:9]))
    cases.refuse("TooLarge", "a share in too many bytes", "share", bytes(1_025))
    until = int(good.until_ms)
    over = replace(good, attempts_left=0)
    for name, share, time_ms in (
        ("open in its last moment", good, until - 1),
        ("expired at its end", good, until),
        ("expired after its end", good, until + 1),
        ("locked", over, until - 1),
        ("open with one attempt left", replace(good, attempts_left=1), until - 1),
        ("locked and expired", over, until),
        ("ended and expired", replace(good, ended=True), until),
        ("ended", replace(over, ended=True), until - 1),
    ):
        cases.accept(name, "closed", share.encode(), time_ms)
    cases.accept("what a link's token makes", "share secrets", TOKEN, b"4711")
    cases.accept("a passcode beyond ASCII", "share secrets", bytes(32), "pässe密码".encode())


def consent_cases(cases: "Cases") -> None:
    """Directives and shares with their proofs, at the last moment and just after it."""
    chain = with_wishes(kit.story(4))
    one_left = fixed.named_hash("one attempt left")
    chain.values[share_key(one_left)] = replace(fixed.share(), attempts_left=1).encode()
    ended = fixed.named_hash("ended share")
    chain.values[share_key(ended)] = replace(fixed.share(), ended=True).encode()
    certified, data = chain.commit(), chain.trusted.encode()
    rest = (NOW, kit.MAX_AGE_MS)
    for name, patient in (
        ("directives", kit.PATIENT),
        ("directives of nobody", fixed.patient(77)),
    ):
        bundle = chain.state_bundle(certified, directives_key(patient)).encode()
        cases.accept(f"proved {name}", "patient directives", data, bundle, patient, *rest)
    share = chain.state_bundle(certified, share_key(SHARE)).encode()
    cases.accept("share of a link", "link share", data, share, SHARE, TOKEN, *rest)
    cases.accept("own share", "own share", data, share, SHARE, kit.PATIENT, *rest)
    last = chain.state_bundle(certified, share_key(one_left)).encode()
    cases.accept("a share with one try left", "link share", data, last, one_left, TOKEN, *rest)
    over = chain.state_bundle(certified, share_key(ended)).encode()
    cases.accept("own ended share", "own share", data, over, ended, kit.PATIENT, *rest)
    cases.refuse("ShareClosed", "an ended share", "link share", data, over, ended, TOKEN, *rest)
    name = "an ended share with another token"
    cases.refuse("WrongShare", name, "link share", data, over, ended, bytes(32), *rest)
    other = chain.state_bundle(certified, share_key(OTHER_SHARE)).encode()
    name = "own share of another patient"
    cases.refuse("WrongShare", name, "own share", data, other, OTHER_SHARE, kit.PATIENT, *rest)
    none = fixed.named_hash("no share")
    absent = chain.state_bundle(certified, share_key(none)).encode()
    for call, about in (("link share", TOKEN), ("own share", kit.PATIENT)):
        name = f"{call} that is none"
        cases.refuse("WrongShare", name, call, data, absent, none, about, *rest)
        cases.refuse("WrongKey", f"{call} of another", call, data, other, SHARE, about, *rest)
        log = chain.log_bundle(certified, kit.LIST).encode()
        cases.refuse("NotCanonical", f"{call} in a list", call, data, log, SHARE, about, *rest)
        late = NOW + kit.MAX_AGE_MS
        name = f"{call}, too old"
        cases.refuse(
            "StaleAnswer", name, call, data, share, SHARE, about, late, kit.MAX_AGE_MS
        )  # fmt: skip
    # The device's clock does not decide: the header's time does.
    chain.height = 8
    at_last = chain.commit()
    open_still = chain.state_bundle(at_last, share_key(SHARE)).encode()
    device = int(fixed.share().until_ms) + 60_000
    arguments = (data, open_still, SHARE, TOKEN, device, kit.MAX_AGE_MS)
    cases.accept("a share in its last second", "link share", *arguments)
    expired = chain.state_bundle(chain.commit(), share_key(SHARE)).encode()
    arguments = (data, expired, SHARE, TOKEN, device, kit.MAX_AGE_MS)
    cases.refuse("ShareClosed", "a share at its end", "link share", *arguments)
    own = (data, expired, SHARE, kit.PATIENT, device, kit.MAX_AGE_MS)
    cases.accept("own expired share", "own share", *own)


def covered_cases(cases: "Cases") -> None:
    """ACC-1: what covered a disclosure, at the first and the last height and moment that it may."""
    share, permission = fixed.share(), fixed.permission()
    emergency = replace(permission, purpose="ETREAT")

    def covered(entry: Disclosed, granted: Share | Permission | bytes) -> tuple[Any, ...]:
        chain = world(kit.story(4))
        data = granted if isinstance(granted, bytes) else granted.encode()
        chain.values[grant_key(entry)] = data
        bundle = chain.state_bundle(chain.commit(), grant_key(entry)).encode()
        rest = (kit.PATIENT, NOW, kit.MAX_AGE_MS)
        return "permission certificate", chain.trusted.encode(), bundle, entry.encode(), *rest

    height = READ.height
    for name, entry, granted in (
        ("the list alone", replace(READ, rows=()), permission),
        ("an emergency", replace(READ, purpose="ETREAT"), emergency),
        ("a break-glass", BROKEN, emergency),
        ("the last height", READ, replace(permission, expires=height)),
        ("revoked in the same block", READ, replace(permission, expires=Height(height - 1))),
        (
            "given in the same block",
            READ,
            replace(permission, expires=Height(height + PERMISSION_HEIGHTS)),
        ),
        ("a share", OPENED, share),
        ("the last moment of a share", OPENED, replace(share, until_ms=OPENED.time_ms + 1)),
        ("a share that was ended since", OPENED, replace(share, ended=True)),
        ("a share that was locked since", OPENED, replace(share, attempts_left=0)),
    ):
        cases.accept(f"covered: {name}", *covered(entry, granted))
    refused = "DisclosureNotCovered"
    for name, entry, granted in (
        ("revoked in the block before", READ, replace(permission, expires=Height(height - 2))),
        ("another hospital opens", replace(OPENED, holder=fixed.hospital(2)), share),
        ("another hospital's link", replace(OPENED, reader_member=fixed.hospital(2)), share),
        ("fewer records", replace(OPENED, rows=(0,)), share),
        ("records of a longer number", replace(OPENED, rows=(3, 30)), share),
        ("a share that ended then", OPENED, replace(share, until_ms=OPENED.time_ms)),
    ):
        cases.refuse(refused, f"not covered: {name}", *covered(entry, granted))
    broken = ("NotCanonical", "a permission that is none"), ("NotCanonical", "a share that is none")
    for (error, name), entry, data in zip(
        broken, (READ, OPENED), (share.encode(), permission.encode()), strict=True
    ):
        cases.refuse(error, name, *covered(entry, data))
