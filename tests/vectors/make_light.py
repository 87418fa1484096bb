"""Makes the vectors of both light clients: ``python -m tests.vectors.make_light``.

A case is a call of ``tests.light.calls`` with its arguments and its outcome: a result, or the class
of an error with its text. Each is declared here; that Python agrees is checked when it is made.
Byte strings are hexadecimal, "=" begins an integer, "@" the name of one of the file's values.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ledger import codec
from ledger.commitment import Disclosure, Field, RecordCommitment, commit_record, disclose
from ledger.crypto.hashing import Tag, preimage
from ledger.light.bundles import StateBundle, encode_changes
from ledger.light.checkpoint import checkpoint_of
from ledger.light.saved import SavedProof
from ledger.light.trust import HEADER_AHEAD_MAX_MS, advance
from ledger.merkle import log_tree
from ledger.primitives import U64_MAX, ZERO_HASH
from ledger.types.certificate import CertifiedHeader
from ledger.types.entries import (
    StatusChange,
    access_log,
    encode_view_hashes,
    patient_log,
    release_log,
    view_key,
)
from tests.hostile.every_lie import EVERY_LIE
from tests.light import kit
from tests.light.calls import verdict
from tests.vectors import fixed, make_light_edges
from tests.vectors.make_light_residents import resident_cases
from tests.vectors.make_light_views import sealed_cases, view_cases

FOLDER = Path(__file__).resolve().parent / "light"
INTERN_CHARACTERS = 200
NOW = fixed.TIME_MS + 20_000
MAX_AGE_MS = kit.MAX_AGE_MS
RELEASES = release_log(kit.HOLDER)
RESIDENT = [fixed.VIEW_FILES["resident"]]
KNOWN = list(fixed.VIEW_FILES.values())


@dataclass
class Cases:
    """The cases of one file."""

    cases: list[dict[str, Any]] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    def accept(self, name: str, call: str, *arguments: Any) -> None:
        """A case that gives a result."""
        found = verdict(call, list(arguments))
        if "error" in found:
            raise AssertionError(f"{name}: {found}")
        self._add(name, call, arguments, found)

    def refuse(self, error: str, name: str, call: str, *arguments: Any) -> None:
        """A case that ends in that class of error."""
        found = verdict(call, list(arguments))
        if found.get("error") != error:
            raise AssertionError(f"{name}: {error} is wanted, found {found}")
        self._add(name, call, arguments, found)

    def _add(self, name: str, call: str, arguments: tuple[Any, ...], found: Any) -> None:
        written = [self._written(argument) for argument in arguments]
        if "result" in found:
            found["result"] = self._interned(found["result"])
        self.cases.append({"name": name, "call": call, "arguments": written, **found})

    def _written(self, argument: Any) -> Any:
        if isinstance(argument, int):
            return f"={argument}"
        if isinstance(argument, tuple | list):
            return [self._written(item) for item in argument]
        return None if argument is None else self._interned(argument.hex())

    def _interned(self, text: Any) -> Any:
        """The text, or the name of a long one in ``values``."""
        if not isinstance(text, str) or len(text) < INTERN_CHARACTERS:
            return text
        return self._names.setdefault(text, f"@{len(self._names) + 1}")

    @property
    def values(self) -> dict[str, str]:
        """Long texts by their names."""
        return {name: text for text, name in self._names.items()}


def codec_cases(cases: Cases) -> None:
    """One accepted and one refused form of each kind of MessagePack value."""
    deep = b"\x91" * 15 + b"\x90"
    accepted = {
        "zero": b"\x00",
        "largest in one byte": b"\x7f",
        "128": b"\xcc\x80",
        "256": b"\xcd\x01\x00",
        "2^16": b"\xce\x00\x01\x00\x00",
        "2^32": b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00",
        "2^53 + 1": b"\xcf\x00\x20\x00\x00\x00\x00\x00\x01",
        "2^64 - 1": b"\xcf" + b"\xff" * 8,
        "nil": b"\xc0",
        "empty bytes": b"\xc4\x00",
        "256 bytes": b"\xc5\x01\x00" + bytes(256),
        "65536 bytes": b"\xc6\x00\x01\x00\x00" + bytes(65_536),
        "empty text": b"\xa0",
        "text of 32": b"\xd9\x20" + b"a" * 32,
        "text of 256": b"\xda\x01\x00" + b"a" * 256,
        "Chinese": codec.encode("第一医院"),
        "outside the basic plane": codec.encode("𠮷😀"),
        "text with a byte order mark": codec.encode("\ufeffa"),
        "text with a zero": codec.encode("a\x00b"),
        "NFC": codec.encode("é"),
        "array of 16": b"\xdc\x00\x10" + b"\x00" * 16,
        "map": codec.encode({"b": 1, "a": None, "é": [b"x"]}),
        "map by bytes, not by code units": codec.encode({"\ufffd": 1, "😀": 2}),
        "map of 16": codec.encode({f"{i:02d}": i for i in range(16)}),
        "nested 16 deep": deep,
    }
    refused = {
        "nothing": b"",
        "two values": b"\x00\x00",
        "an unused byte": b"\xc1",
        "true": b"\xc3",
        "false": b"\xc2",
        "negative": b"\xff",
        "negative in 8 bytes": b"\xd3" + b"\xff" * 8,
        "positive as signed": b"\xd0\x01",
        "float": b"\xca\x00\x00\x00\x00",
        "double": b"\xcb" + bytes(8),
        "extension": b"\xd4\x01\x00",
        "empty extension": b"\xc7\x00\x01",
        "timestamp": b"\xd6\xff\x00\x00\x00\x00",
        "0 in two bytes": b"\xcc\x00",
        "127 in two bytes": b"\xcc\x7f",
        "255 in three bytes": b"\xcd\x00\xff",
        "65535 in five bytes": b"\xce\x00\x00\xff\xff",
        "2^32 - 1 in nine bytes": b"\xcf\x00\x00\x00\x00\xff\xff\xff\xff",
        "short bytes in long form": b"\xc5\x00\x01\x00",
        "short bytes in longest form": b"\xc6\x00\x00\x00\x01\x00",
        "short text in long form": b"\xd9\x01a",
        "text in longest form": b"\xdb\x00\x00\x00\x20" + b"a" * 32,
        "short array in long form": b"\xdc\x00\x01\x00",
        "short map in long form": b"\xde\x00\x00",
        "cut bytes": b"\xc4\x02\x00",
        "cut array": b"\x92\x00",
        "array longer than what follows": b"\xdd\xff\xff\xff\xff\x00",
        "no UTF-8": b"\xa1\xff",
        "overlong UTF-8": b"\xa2\xc0\x80",
        "surrogate in UTF-8": b"\xa3\xed\xa0\x80",
        "not in NFC": b"\xa3e\xcc\x81",
        "map with a number as key": b"\x81\x01\x00",
        "map with bytes as key": b"\x81\xc4\x01a\x00",
        "map with nil as key": b"\x81\xc0\x00",
        "map with a key twice": b"\x82\xa1a\x00\xa1a\x01",
        "map not sorted": b"\x82\xa1b\x00\xa1a\x01",
        "map sorted by code units": b"\x82\xa4\xf0\x9f\x98\x80\x00\xa3\xef\xbf\xbd\x01",
        "map key not in NFC": b"\x81\xa3e\xcc\x81\x00",
        "nested 17 deep": b"\x91" + deep,
        "nested 5000 deep": b"\x91" * 5_000 + b"\xc0",
    }
    for name, data in accepted.items():
        cases.accept(name, "value", data, 100_000)
    for name, data in refused.items():
        cases.refuse("NotCanonical", name, "value", data, 100_000)
    cases.refuse("TooLarge", "more bytes than allowed", "value", b"\x92\x00\x00", 2)
    make_light_edges.codec_edges(cases)


def type_cases(cases: Cases) -> None:
    """Encodings of every type a client reads, and a few of each that are none."""
    chain = kit.story(4)
    chain.commit([0, 1, 2, 3, 4])
    header = fixed.header()
    certificate = fixed.certified_header().certificate
    user = fixed.genesis().users[0]
    cases.accept("genesis of 1", "genesis", fixed.genesis(1).encode())
    cases.accept("genesis of 7", "genesis", fixed.genesis(7).encode())
    cases.accept("header", "header bytes", header.encode())
    top = replace(header, height=U64_MAX, time_ms=U64_MAX)
    cases.accept("header of the last height", "header bytes", top.encode())
    cases.accept("certificate", "certificate bytes", certificate.encode())
    cases.accept("membership", "membership bytes", fixed.membership(range(7)).encode())
    cases.accept("user key", "user key", codec.encode(user.to_value()))
    cases.accept("permission", "permission", fixed.permission().encode())
    cases.accept("membership changes", "changes bytes", encode_changes(tuple(chain.changes)))
    cases.accept("trusted chain", "trusted bytes", chain.trusted.encode())
    for name, fields in {
        "another protocol version": {0: 3},
        "another execution version": {1: 1},
        "a short hash": {2: bytes(31)},
        "a text as height": {3: "1"},
        "a proposer in capitals": {6: "Hospital"},
        "too many transactions": {7: 2_001},
        "a proposer of 33 characters": {6: "a" * 33},
        "a proposer that ends in a line": {6: "hospital\n"},
        "no membership": {11: None},
    }.items():
        values = list(codec.decode(header.encode(), 1_000, "header"))
        for place, value in fields.items():
            values[place] = value
        data = codec.encode(values)
        error = verdict("header bytes", [data])["error"]
        cases.refuse(str(error), f"header with {name}", "header bytes", data)
    rows = codec.decode(fixed.membership(range(4)).encode(), 10_000, "membership")
    wrong_key = bytearray(rows[1][1])
    wrong_key[-1] ^= 1
    for name, value in {
        "nobody": [],
        "an unsorted order": [rows[1], rows[0]],
        "a member twice": [rows[0], rows[0]],
        "a key twice": [rows[0], [rows[1][0], rows[0][1]]],
        "a key that is no point": [rows[0], [rows[1][0], bytes(wrong_key)]],
        "a compressed key": [[rows[0][0], bytes.fromhex("01") + compressed(rows[0][1])]],
        "another suite": [[rows[0][0], b"\x02" + rows[0][1][1:]]],
        "an empty key": [[rows[0][0], b""]],
        "a key with a byte too many": [[rows[0][0], rows[0][1] + b"\x00"]],
    }.items():
        data = codec.encode(value)
        cases.refuse("NotCanonical", f"membership with {name}", "membership bytes", data)
    many = [[f"h{i:03d}", rows[0][1]] for i in range(129)]
    name = "membership of 129"
    cases.refuse("TooLarge", name, "membership bytes", codec.encode(many))
    make_light_edges.type_edges(cases)


def compressed(key: bytes) -> bytes:
    """SubjectPublicKeyInfo of the same point with one coordinate."""
    x, y = key[-64:-32], key[-32:]
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    return head + bytes([2 + y[-1] % 2]) + x


def signature_cases(cases: Cases) -> None:
    """B4: one signature for each key and digest."""
    signer = fixed.FixedSigner("doctor")
    signed = preimage(Tag.SIGN_COMMIT, b"\x01", b"what is signed")
    key, good = signer.public_key.encoded, signer.sign(sha256(signed).digest())
    s = int.from_bytes(good[33:], "big")
    high = (fixed.ORDER - s).to_bytes(32, "big")
    other = fixed.FixedSigner("outsider").public_key.encoded
    cases.accept("good", "signature", key, good, signed)
    for name, wrong in {
        "high s": good[:33] + high,
        "s of the order": good[:33] + fixed.ORDER.to_bytes(32, "big"),
        "r above the order": good[:1] + b"\xff" * 32 + good[33:],
        "r of nothing": good[:1] + bytes(32) + good[33:],
        "s of nothing": good[:33] + bytes(32),
        "another suite": b"\x02" + good[1:],
        "a byte too few": good[:-1],
        "a byte too many": good + b"\x00",
        "r and s swapped": good[:1] + good[33:] + good[1:33],
        "no bytes": b"",
    }.items():
        cases.refuse("BadSignature", f"signature with {name}", "signature", key, wrong, signed)
    cases.refuse("BadSignature", "another key", "signature", other, good, signed)
    cases.refuse("BadSignature", "another message", "signature", key, good, signed + b"\x00")
    make_light_edges.signature_edges(cases)


def certificate_cases(cases: Cases) -> None:
    """B5: certificates of every size of network, and each way to fall short."""
    for n in (1, 2, 3, 4, 5, 7, 31):
        good = fixed.certified_header(n)
        chain_id, voters = fixed.genesis(n).chain_id, fixed.membership(range(n))
        data, members = good.encode(), voters.encode()
        cases.accept(f"{voters.quorum} of {n} sign", "certified", data, members, chain_id)
        pairs = [(i, fixed.validator_signer(i)) for i in range(n)]
        short = CertifiedHeader(
            good.header, fixed.certificate(good.header, pairs[: voters.quorum - 1])
        )
        name = f"{voters.quorum - 1} of {n} sign"
        cases.refuse("InsufficientSignatures", name, "certified", short.encode(), members, chain_id)
        everyone = CertifiedHeader(good.header, fixed.certificate(good.header, pairs)).encode()
        cases.accept(f"all of {n} sign", "certified", everyone, members, chain_id)
    good, chain_id = fixed.certified_header(), fixed.genesis().chain_id
    members = fixed.membership(range(4)).encode()
    mismatch = "CertificateMismatch"
    cases.refuse(mismatch, "another chain", "certified", good.encode(), members, ZERO_HASH)
    other = fixed.membership(range(1, 5)).encode()
    cases.refuse(mismatch, "another epoch", "certified", good.encode(), other, chain_id)
    pairs = [(i, fixed.validator_signer(i)) for i in (0, 1, 3)]
    apart = CertifiedHeader(good.header, fixed.certificate(good.header, pairs, 7)).encode()
    cases.accept("not the first three, in view 7", "certified", apart, members, chain_id)
    swapped = good.certificate.signatures[::-1]
    wrong = replace(good, certificate=replace(good.certificate, signatures=swapped)).encode()
    cases.refuse("BadSignature", "signatures swapped", "certified", wrong, members, chain_id)
    make_light_edges.certificate_edges(cases)


def trust_cases(cases: Cases) -> None:
    """LIGHT-1, LIGHT-3: growth of trust over membership changes, and ages."""
    chain = kit.Chain(4)
    start = chain.trusted
    first = chain.commit()
    for height in range(2, 9):
        chain.commit({3: [0, 1, 2, 3, 4], 6: [1, 2, 3, 4]}.get(height))
    newest = chain.commit()
    changes, document = tuple(chain.changes), chain.genesis.encode()
    told, data = encode_changes(changes), newest.encode()
    trusted = advance(start, changes, newest)
    at_change = advance(start, changes[:1], changes[0].certified)
    cases.accept("genesis", "trust genesis", document, None)
    cases.accept("genesis of that chain id", "trust genesis", document, chain.genesis.chain_id)
    cases.refuse("WrongChain", "another chain id", "trust genesis", document, ZERO_HASH)
    cases.accept("follow two changes", "follow", start.encode(), told)
    cases.accept("follow nothing", "follow", start.encode(), encode_changes(()))
    cases.accept("advance over two changes", "advance", start.encode(), told, data)
    now = newest.header.time_ms + MAX_AGE_MS
    visit = (start.encode(), told, data)
    cases.accept("refresh at the last moment", "refresh", *visit, now, MAX_AGE_MS)
    cases.refuse("StaleAnswer", "refresh 1 ms later", "refresh", *visit, now + 1, MAX_AGE_MS)
    cases.accept("first visit", "first visit", document, told, data, now, MAX_AGE_MS)
    rest = encode_changes(changes[1:])
    cases.accept("advance from a change", "advance", at_change.encode(), rest, data)
    nothing = encode_changes(())
    cases.accept("advance to the same", "advance", trusted.encode(), nothing, data)
    one = encode_changes(changes[:1])
    cases.accept(
        "advance to a change", "advance", start.encode(), one, changes[0].certified.encode()
    )
    unknown = "MembershipUnknown"
    cases.refuse(unknown, "no changes shown", "advance", start.encode(), nothing, data)
    cases.refuse(unknown, "the last change is missing", "advance", start.encode(), one, data)
    cases.refuse(unknown, "the first change is missing", "advance", start.encode(), rest, data)
    cases.refuse(
        unknown,
        "a change without its membership",
        "advance",
        start.encode(),
        nothing,
        changes[0].certified.encode(),
    )
    backwards = encode_changes(changes[::-1])
    cases.refuse(unknown, "changes in the wrong order", "follow", start.encode(), backwards)
    twice = encode_changes((changes[0], changes[0]))
    cases.refuse("HeaderGoesBack", "a change twice", "follow", start.encode(), twice)
    cases.refuse("NotCanonical", "changes that are none", "follow", start.encode(), b"\x91\x00")
    cases.accept("the trusted header again", "header", trusted.encode(), data)
    cases.refuse("HeaderGoesBack", "an old header", "header", trusted.encode(), first.encode())
    header = first.header.encode()
    time = first.header.time_ms
    ahead = HEADER_AHEAD_MAX_MS
    cases.accept("just made", "age", header, time, 100)
    cases.accept("as old as allowed", "age", header, time + 100, 100)
    cases.refuse("StaleAnswer", "too old", "age", header, time + 101, 100)
    cases.accept("as far ahead as allowed", "age", header, time - ahead, 100)
    cases.refuse("HeaderFromTheFuture", "too far ahead", "age", header, time - ahead - 1, 100)
    cases.accept("far beyond 2^53", "age", header, U64_MAX, U64_MAX)
    make_light_edges.trust_edges(cases)


def proof_cases(cases: Cases) -> None:
    """B6: the trees alone."""
    entries = [b"entry %d" % i for i in range(13)]
    leaves = [log_tree.leaf_hash(entry) for entry in entries]
    for count in (1, 2, 3, 8, 13):
        root = log_tree.root_of(leaves[:count])
        for index in {0, count // 2, count - 1}:
            path = log_tree.inclusion_path(leaves[:count], index)
            name = f"entry {index} of {count}"
            cases.accept(name, "inclusion", entries[index], index, count, path, root)
            cases.refuse(
                "ProofInvalid", f"{name}, moved", "inclusion", entries[index], index + 1, count,
                path, root,
            )  # fmt: skip
        for old in range(count + 1):
            path, old_root = (
                log_tree.consistency_path(leaves[:count], old),
                log_tree.root_of(leaves[:old]),
            )
            name = f"{old} before {count}"
            cases.accept(name, "consistency", old, old_root, count, root, path)
            cases.refuse(
                "ProofInvalid", f"{name}, path longer", "consistency", old, old_root, count, root,
                [*path, root],
            )  # fmt: skip
            if path:
                for what, wrong in (("path cut", path[:-1]), ("path turned", path[::-1])):
                    if wrong != path:
                        cases.refuse(
                            "ProofInvalid", f"{name}, {what}", "consistency", old, old_root,
                            count, root, wrong,
                        )  # fmt: skip
    root = log_tree.root_of(leaves)
    invalid = "ProofInvalid"
    short = [node[:-1] for node in log_tree.inclusion_path(leaves, 4)]
    cases.refuse(invalid, "short hashes", "inclusion", entries[4], 4, 13, short, root)
    cases.refuse(invalid, "an empty log", "inclusion", entries[0], 0, 0, [], log_tree.EMPTY_ROOT)
    far = [ZERO_HASH] * 64
    cases.refuse(invalid, "the last of 2^64", "inclusion", b"", 2**64 - 1, 2**64, far, root)
    cases.refuse(invalid, "shorter", "consistency", 13, root, 12, root, [])
    cases.refuse(invalid, "forked", "consistency", 13, root, 13, ZERO_HASH, [])
    cases.refuse(invalid, "empty with a root", "consistency", 0, root, 13, root, [])
    values = {b"key %d" % i: b"value %d" % i for i in range(40)}
    root = kit.subtree(kit.leaves_of(values))
    for key in (b"key 0", b"key 17", b"key 39", b"absent 1", b"absent 2", b"absent 3"):
        proof, value = kit.prove_state(values, key), values.get(key)
        name = key.decode()
        cases.accept(name, "state proof", proof.encode(), key, value, root)
        lie = None if value is not None else b"value"
        cases.refuse(invalid, f"{name}, denied", "state proof", proof.encode(), key, lie, root)
        cases.refuse(
            invalid, f"{name}, old root", "state proof", proof.encode(), key, value, ZERO_HASH
        )
        padded = replace(proof, depth=proof.depth + 1, bitmap=proof.bitmap)
        cases.refuse(invalid, f"{name}, deeper", "state proof", padded.encode(), key, value, root)
    cases.accept("bytes", "state proof bytes", kit.prove_state(values, b"absent 1").encode())
    alone = kit.prove_state({}, b"key")
    cases.accept("an empty state", "state proof", alone.encode(), b"key", None, ZERO_HASH)
    make_light_edges.proof_edges(cases)


def lie_cases(cases: Cases) -> None:
    """Every lie of the hostile server, as the call that refuses it."""
    for name, (error, lie) in EVERY_LIE.items():
        visit = lie(kit.story(4))
        cases.refuse(error.__name__, name, visit.call, *visit.direct())


def record(name: str) -> RecordCommitment:
    """A small medication record."""
    fields = [
        Field(b"/status", b'"active"'),
        Field(b"/quantity/value", b"1.50"),
        Field(b"/quantity/unit", b'"mg"'),
        Field(b"/note/0", b'"' + name.encode() + b'"'),
        Field("/text/药".encode(), "阿莫西林".encode()),
    ]
    pairs = [(b"/quantity/value", b"/quantity/unit")]
    return commit_record(fields, pairs, sha256(name.encode()).digest())


def shown(of: RecordCommitment, view: str = "resident") -> Disclosure:
    """All but the note."""
    return disclosed(of, lambda path: path != b"/note/0", view)


def disclosed(
    of: RecordCommitment, paths: Callable[[bytes], bool], view: str = "resident"
) -> Disclosure:
    """These fields, by the small rules of ``fixed``."""
    return disclose(of, paths, view, fixed.VIEW_RULES[view].hash)


def list_cases(cases: Cases) -> None:
    """LIGHT-2, ACC-1: what honest logs say."""
    chain = kit.story(4)
    third = fixed.row(3, member=1)
    for status in ("erased", "superseded"):
        change = StatusChange(third.member, kit.PATIENT, third.hash, status)
        chain.append(kit.LIST, change.encode(), fixed.row(2).encode())
    chain.commit([0, 1, 2, 3, 4])
    certified = chain.commit()
    trusted = advance(chain.trusted, tuple(chain.changes), certified)
    rest = (NOW, MAX_AGE_MS)
    data, whole = trusted.encode(), chain.log_bundle(certified, kit.LIST)
    cases.accept("list", "patient list", data, whole.encode(), kit.PATIENT, *rest)
    cases.accept("log", "log", data, whole.encode(), kit.LIST, *rest)
    nobody = fixed.patient(77)
    empty = chain.log_bundle(certified, patient_log(nobody)).encode()
    cases.accept("empty list", "patient list", data, empty, nobody, *rest)
    reads = chain.log_bundle(certified, access_log(kit.PATIENT)).encode()
    cases.accept("access log", "access log", data, reads, kit.PATIENT, *rest)
    unread = chain.log_bundle(certified, access_log(nobody)).encode()
    cases.accept("nobody read", "access log", data, unread, nobody, *rest)
    value = chain.state_bundle(certified, kit.LIST).encode()
    cases.accept("value", "state", data, value, kit.LIST, *rest)
    absent = chain.state_bundle(certified, b"nothing").encode()
    cases.accept("absent value", "state", data, absent, b"nothing", *rest)
    entry = chain.entry_bundle(certified, RELEASES, 4)
    cases.accept("entry", "log entry", data, entry.encode(), RELEASES, *rest)
    some = chain.entries_bundle(certified, RELEASES, 0, 4, 8)
    cases.accept("entries", "log entries", data, some.encode(), RELEASES, *rest)
    none = replace(some, items=())
    cases.accept("no entries", "log entries", data, none.encode(), RELEASES, *rest)
    turned = replace(some, items=some.items[::-1])
    cases.refuse(
        "ProofInvalid", "entries not rising", "log entries", data, turned.encode(), RELEASES, *rest
    )
    twice = replace(some, items=(some.items[0], *some.items))
    cases.refuse(
        "ProofInvalid", "an entry twice", "log entries", data, twice.encode(), RELEASES, *rest
    )
    swapped = replace(some, items=((0, *some.items[1][1:]), *some.items[1:]))
    cases.refuse(
        "ProofInvalid", "an entry moved", "log entries", data, swapped.encode(), RELEASES, *rest
    )
    cases.refuse("NotCanonical", "another kind of bundle", "log", data, value, kit.LIST, *rest)
    bundles = {"list": whole, "value": value, "absence": absent, "entry": entry, "entries": some}
    for name, bundle in bundles.items():
        encoded = bundle if isinstance(bundle, bytes) else bundle.encode()
        cases.accept(f"bytes of {name}", "bundle bytes", encoded)
        cases.refuse("NotCanonical", f"bytes of {name}, one more", "bundle bytes", encoded + b"\0")
        cases.refuse("NotCanonical", f"bytes of {name}, one less", "bundle bytes", encoded[:-1])
    make_light_edges.entry_edges(cases)
    make_light_edges.absent_edges(cases)


def disclosure_cases(cases: Cases) -> None:
    """PRIV-2: what a disclosure shows, and each way to show it wrongly."""
    of = record("one")
    root, good = of.root, shown(of)
    everything = disclosed(of, lambda _: True, "clinical")
    nothing = disclosed(of, lambda _: False, "deidentified")
    for name, each in {"some fields": good, "all fields": everything, "no field": nothing}.items():
        files = [fixed.VIEW_FILES[each.view]]
        cases.accept(name, "disclosure", root, each.encode(), files)
    against_cases(cases, of)
    make_light_edges.disclosure_edges(cases, root, good.shown, good.hidden)
    cases.accept("bytes", "disclosure bytes", good.encode())
    large = commit_record(
        [Field(b"/%03d" % i, b"%d" % i) for i in range(300)],
        [(b"/%03d" % i, b"/%03d" % (i + 1)) for i in range(0, 300, 2)],
        bytes(32),
    )
    odd = disclosed(large, lambda path: path[-1:] in b"135")
    cases.accept("many hidden fields", "disclosure", large.root, odd.encode(), RESIDENT)
    first = good.shown[0]
    value = next(item for item in everything.shown if item[0] == b"/quantity/value")
    unit = next(item for item in everything.shown if item[0] == b"/quantity/unit")
    unit_leaf = of.leaves[of.fields.index(unit)]
    split = replace(
        everything,
        shown=tuple(item for item in everything.shown if item != unit),
        hidden=tuple(sorted([*everything.hidden, unit_leaf])),
    )
    assert value in split.shown
    for name, wrong in {
        "another record": shown(record("two")),
        "a field left out": replace(good, shown=good.shown[1:]),
        "no dependencies": replace(good, shown=good.shown[:-1], hidden=tuple(
            sorted([*good.hidden, of.leaves[of.fields.index(good.shown[-1])]])
        )),
        "fields not sorted": replace(good, shown=good.shown[::-1]),
        "a field twice": replace(good, shown=(*good.shown, good.shown[-1])),
        "no hidden leaves": replace(good, hidden=()),
        "a hidden leaf too many": replace(good, hidden=(*good.hidden, fixed.named_hash("more"))),
        "a hidden leaf twice": replace(good, hidden=good.hidden * 2),
        "another value": replace(good, shown=((first[0], first[1] + b"x", first[2]),
                                              *good.shown[1:])),
        "another salt": replace(good, shown=((first[0], first[1], bytes(16)), *good.shown[1:])),
        "a value without its unit": split,
        "a shown leaf hidden too": replace(good, hidden=tuple(
            sorted([*good.hidden, of.leaves[of.fields.index(good.shown[-1])]])
        )),
    }.items():  # fmt: skip
        files = [fixed.VIEW_FILES[wrong.view]]
        cases.refuse("ProofInvalid", name, "disclosure", root, wrong.encode(), files)
    odd_dependencies(cases)
    other = replace(good, rules=fixed.named_hash("rules"))
    cases.refuse("WrongView", "other rules", "disclosure", root, other.encode(), RESIDENT)
    view = replace(good, view="all")
    cases.refuse("NotCanonical", "an unknown view", "disclosure", root, view.encode(), RESIDENT)
    salt = replace(good, shown=((first[0], first[1], bytes(15)), *good.shown[1:]))
    cases.refuse("NotCanonical", "a short salt", "disclosure", root, salt.encode(), RESIDENT)
    chain = kit.story(4)
    chain.append(RELEASES, of.root)
    certified = chain.commit()
    data, holder = chain.trusted.encode(), kit.HOLDER.encode()
    entry = chain.entry_bundle(certified, RELEASES, 9).encode()
    released = shown(of, "deidentified").encode()
    hashes = encode_view_hashes((fixed.VIEW_RULES["deidentified"].hash,))
    known = [fixed.VIEW_FILES["deidentified"]]
    rest = (hashes, known, NOW, MAX_AGE_MS)
    cases.accept("released", "deidentified", data, entry, released, holder, *rest)
    for error, name, record_, hospital in (
        ("WrongView", "released in another view", good.encode(), holder),
        ("WrongKey", "released by another", released, b"hospital-01"),
        ("ProofInvalid", "another released", shown(record("two"), "deidentified").encode(), holder),
    ):
        cases.refuse(error, name, "deidentified", data, entry, record_, hospital, *rest)
    unknown = (hashes, [], NOW, MAX_AGE_MS)
    name = "released by unknown rules"
    cases.refuse("UnknownRules", name, "deidentified", data, entry, released, holder, *unknown)
    never = (encode_view_hashes((ZERO_HASH,)), known, NOW, MAX_AGE_MS)
    name = "released by rules that were never in force"
    cases.refuse("WrongView", name, "deidentified", data, entry, released, holder, *never)


def against_cases(cases: Cases, of: RecordCommitment) -> None:
    """What is shown or hidden against the rules, and the rule that hid a field."""
    root, good = of.root, shown(of)
    clinical = [fixed.VIEW_FILES["clinical"]]
    whole = disclosed(of, lambda _: True)
    hidden = disclosed(of, lambda path: path != b"/status", "clinical")
    more = disclosed(of, lambda path: path not in (b"/note/0", b"/status"))
    for error, name, wrong, files in (
        ("AgainstRules", "a note is shown", whole, RESIDENT),
        ("AgainstRules", "hidden where nothing is", hidden, clinical),
        ("WrongView", "rules of another view", good, clinical),
    ):
        cases.refuse(error, name, "disclosure", root, wrong.encode(), files)
    copy = disclosed(of, lambda _: True, "clinical").encode()
    data = good.encode()
    cases.accept("the rule of a note", "hiding rule", root, data, copy, RESIDENT)
    name = "hidden without a rule"
    cases.refuse("AgainstRules", name, "hiding rule", root, more.encode(), copy, RESIDENT)
    name = "a copy without it"
    cases.refuse("ProofInvalid", name, "hiding rule", root, data, data, RESIDENT)


def odd_dependencies(cases: Cases) -> None:
    """Records whose own list of dependencies breaks the rules: a root over it was certified."""
    good = commit_record([Field(b"/a", b"1"), Field(b"/b", b"2")], [(b"/a", b"/b")], bytes(32))
    everything = disclosed(good, lambda _: True)
    (pair,) = good.dependencies
    for name, listed in {
        "no array": b"\x00",
        "a dependency of three": codec.encode([[*pair, pair[0]]]),
        "a short leaf": codec.encode([[pair[0], pair[1][:-1]]]),
        "not canonical": b"\xdc\x00\x01" + codec.encode(list(pair)),
        "one twice": codec.encode([pair, pair]),
        "not sorted": codec.encode(sorted([pair, pair[::-1]])[::-1]),
        "nothing": b"",
    }.items():
        shown_ = tuple(
            (path, listed if path == b"@dependencies" else value, salt)
            for path, value, salt in everything.shown
        )
        leaves = sorted(
            sha256(preimage(Tag.FIELD, salt, path, value)).digest() for path, value, salt in shown_
        )
        root = log_tree.root_of([log_tree.leaf_hash(leaf) for leaf in leaves])
        wrong = replace(everything, shown=shown_).encode()
        cases.refuse("ProofInvalid", f"dependencies: {name}", "disclosure", root, wrong, RESIDENT)


def saved_cases(cases: Cases) -> None:
    """Saved proofs of each kind, over two membership changes."""
    chain, of = kit.story(4), record("one")
    chain.append(kit.LIST, replace(fixed.row(6), root=of.root).encode())
    chain.append(RELEASES, of.root)
    chain.commit([0, 1, 2, 3, 4])
    chain.commit()
    chain.commit([1, 2, 3, 4])
    certified = chain.commit()
    document, chain_id, changes = (
        chain.genesis.encode(),
        chain.genesis.chain_id,
        tuple(chain.changes),
    )
    bundles: dict[str, tuple[Any, Disclosure | None, bytes]] = {
        "list": (chain.log_bundle(certified, kit.LIST), shown(of), kit.LIST),
        "bare list": (chain.log_bundle(certified, kit.LIST), None, kit.LIST),
        "release": (
            chain.entry_bundle(certified, RELEASES, 9),
            shown(of, "deidentified"),
            RELEASES,
        ),
        "access": (
            chain.log_bundle(certified, access_log(kit.PATIENT)),
            None,
            access_log(kit.PATIENT),
        ),
        "state": (chain.state_bundle(certified, b"parameters"), None, b"parameters"),
        "absence": (chain.state_bundle(certified, b"nothing"), None, b"nothing"),
        "row": (chain.entry_bundle(certified, kit.LIST, 2), None, kit.LIST),
    }

    def rules_of(disclosure: Disclosure | None) -> StateBundle | None:
        return disclosure and chain.state_bundle(certified, view_key(disclosure.view))

    proofs = {
        name: SavedProof(chain_id, changes, *parts, rules_of(parts[1]))
        for name, parts in bundles.items()
    }
    for name, proof in proofs.items():
        cases.accept(name, "saved proof", document, proof.encode(), NOW, KNOWN)
        cases.accept(f"{name}, no time", "saved proof", document, proof.encode(), None, KNOWN)
        cases.accept(f"bytes of {name}", "saved bytes", proof.encode())
    whole, state, row = proofs["list"], proofs["state"], proofs["row"]
    release, other = proofs["release"], patient_log(kit.OTHER_PATIENT)
    two = shown(record("two"))
    with_two: dict[str, Any] = {"disclosure": two, "rules": whole.rules}
    for error, name, wrong in (
        ("WrongChain", "another chain id", replace(whole, chain_id=fixed.named_hash("other"))),
        ("MembershipUnknown", "no changes", replace(whole, changes=())),
        ("MembershipUnknown", "a change missing", replace(whole, changes=changes[1:])),
        ("WrongKey", "another patient", replace(whole, key=other)),
        ("WrongKey", "an empty key", replace(whole, key=b"")),
        ("DisclosureUnplaced", "another record", replace(whole, disclosure=two)),
        ("DisclosureUnplaced", "a record of a value", replace(state, **with_two)),
        ("DisclosureUnplaced", "a record of one row", replace(row, **with_two)),
        ("WrongView", "a released record in another view", replace(release, **with_two)),
        ("DisclosureUnplaced", "no rules", replace(whole, rules=None)),
        ("DisclosureUnplaced", "rules of nothing", replace(row, rules=whole.rules)),
        ("WrongKey", "rules of another view", replace(whole, rules=release.rules)),
    ):
        cases.refuse(error, name, "saved proof", document, wrong.encode(), NOW, KNOWN)
    data = whole.encode()
    foreign = fixed.genesis(5).encode()
    cases.refuse("WrongChain", "a foreign genesis", "saved proof", foreign, data, NOW, KNOWN)
    early = fixed.TIME_MS - 3_600_000
    cases.refuse(
        "HeaderFromTheFuture", "from the future", "saved proof", document, data, early, KNOWN
    )
    cases.refuse("UnknownRules", "rules not known", "saved proof", document, data, NOW, [])
    make_light_edges.saved_edges(cases)


def witness_cases(cases: Cases) -> None:
    """SAFE-1, LIGHT-3: checkpoints, and hospitals that are compared."""
    chain = kit.Chain(4)
    start = chain.trusted
    chain.commit([0, 1, 2, 3, 4])
    chain.commit()
    newest, members = chain.commit(), chain.membership
    changes, told = tuple(chain.changes), encode_changes(tuple(chain.changes))
    trusted = advance(start, changes, newest)
    printed = checkpoint_of(trusted)
    text, header, voters = printed.text.encode(), newest.encode(), members.encode()
    cases.accept("checkpoint", "checkpoint", text)
    for name, wrong in {
        "no prefix": text[1:],
        "small letters": text.lower(),
        "a letter too few": text[:-1],
        "a letter too many": text + b"A",
        "padding": text + b"=",
        "a letter that is none": text[:-1] + b"1",
        "nothing": b"YILIAN-CHECKPOINT:",
        "another kind": b"YILIAN-CHECKPOINT:"
        + base64.b32encode(codec.encode(["x"] * 5)).strip(b"="),
    }.items():
        cases.refuse("NotCanonical", f"checkpoint with {name}", "checkpoint", wrong)
    cases.accept("start at a checkpoint", "trust checkpoint", text, header, voters)
    mismatch = "CheckpointMismatch"
    before = chain.changes[0].certified.encode()
    first_members = fixed.membership(range(4)).encode()
    cases.refuse(mismatch, "another height", "trust checkpoint", text, before, voters)
    chain.height -= 1
    other = chain.certify(replace(chain.header(), state_root=fixed.named_hash("fork")))
    cases.refuse(mismatch, "another header", "trust checkpoint", text, other.encode(), voters)
    cases.refuse(mismatch, "another membership", "trust checkpoint", text, header, first_members)
    former = replace(printed, membership_hash=fixed.membership(range(4)).hash).text.encode()
    name = "a header that names another membership"
    cases.refuse(mismatch, name, "trust checkpoint", former, header, first_members)
    at_change = replace(printed, height=1, header_hash=chain.changes[0].certified.header.hash)
    name = "a checkpoint where the membership changes"
    at = at_change.text.encode()
    cases.refuse("CertificateMismatch", name, "trust checkpoint", at, before, voters)
    foreign = replace(printed, chain_id=ZERO_HASH).text.encode()
    cases.refuse("WrongChain", "a foreign checkpoint", "trust checkpoint", foreign, header, voters)
    short = replace(newest, certificate=fixed.certificate(newest.header, chain.signers()[1:]))
    short_data = short.encode()
    insufficient = "InsufficientSignatures"
    cases.refuse(insufficient, "too few sign", "trust checkpoint", text, short_data, voters)
    a, b = (fixed.hospital(i).encode() for i in (0, 1))
    data, late = start.encode(), newest.header.time_ms + MAX_AGE_MS
    cases.accept("a hospital is heard", "hear", data, a, told, header, late, MAX_AGE_MS)
    refused = "WitnessRefused"
    for name, arguments in {
        "stale": (data, a, told, header, late + 1, MAX_AGE_MS),
        "behind": (trusted.encode(), b, encode_changes(()), before, late, MAX_AGE_MS),
        "without changes": (data, a, encode_changes(()), header, late, MAX_AGE_MS),
        "with too few signatures": (data, a, told, short_data, late, MAX_AGE_MS),
        "another than the trusted header": (
            trusted.encode(), a, encode_changes(()), other.encode(), late, MAX_AGE_MS,
        ),
    }.items():  # fmt: skip
        cases.refuse(refused, f"a hospital that is {name}", "hear", *arguments)
    one, same, fork = [a, told, header], [b, told, header], [b, told, other.encode()]
    cases.accept("two agree", "compare", data, one, same)
    cases.refuse("Forked", "two contradict each other", "compare", data, one, fork)
    cases.refuse(refused, "two heights", "compare", data, one, [b, told, before])
    cases.refuse(refused, "the first lies", "compare", data, [a, told, short_data], same)
    cases.refuse(refused, "the second lies", "compare", data, one, [b, told, short_data])
    fork_cases(cases, chain, one, fork, [b, told, before])


def fork_cases(cases: Cases, chain: kit.Chain, one: Any, fork: Any, lower: Any) -> None:
    """Evidence of a fork, and what is none."""
    document, chain_id = chain.genesis.encode(), chain.genesis.chain_id

    def evidence(first: Any, second: Any, of: bytes = chain_id) -> bytes:
        return bytes.fromhex(str(verdict("fork bytes", [of, first, second])["result"]))

    good = evidence(one, fork)
    cases.accept("bytes of a fork", "fork bytes", chain_id, one, fork)
    cases.accept("a fork", "fork", document, good)
    header = replace(chain.header(), state_root=fixed.named_hash("fork"))
    signers = [(i, fixed.validator_signer(i)) for i in range(1, 5)]
    other_view = CertifiedHeader(header, fixed.certificate(header, signers, 1)).encode()
    cases.accept("a fork in two views", "fork", document, evidence(one, [*fork[:2], other_view]))
    # At the height of a change the former members vote, whom the change itself replaced.
    changed = chain.changes[0]
    at_change = [*one[:2], changed.certified.encode()]
    twin = replace(changed.certified.header, state_root=fixed.named_hash("fork"))
    pairs = [(i, fixed.validator_signer(i)) for i in range(3)]
    twin_change = replace(changed, certified=CertifiedHeader(twin, fixed.certificate(twin, pairs)))
    there = [fork[0], encode_changes((twin_change,)), twin_change.certified.encode()]
    cases.accept("a fork at a change", "fork", document, evidence(at_change, there))
    short = fixed.certificate(header, signers[1:])
    forged = [*fork[:2], CertifiedHeader(header, short).encode()]
    for error, name, wrong in (
        ("NoFork", "the same twice", evidence(one, [fork[0], *one[1:]])),
        ("NoFork", "two heights", evidence(one, lower)),
        ("WrongChain", "another chain", evidence(one, fork, ZERO_HASH)),
        ("WitnessRefused", "a forged header", evidence(one, forged)),
        ("WitnessRefused", "a forged header first", evidence(forged, one)),
        ("NotCanonical", "a byte too many", good + b"\x00"),
        ("NotCanonical", "another kind of file", good.replace(b"fork", b"folk", 1)),
    ):
        cases.refuse(error, f"a fork that is {name}", "fork", document, wrong)


FILES: dict[str, Callable[[Cases], None]] = {
    "codec.json": codec_cases,
    "types.json": type_cases,
    "genesis.json": make_light_edges.genesis_cases,
    "signatures.json": signature_cases,
    "certificates.json": certificate_cases,
    "trust.json": trust_cases,
    "proofs.json": proof_cases,
    "lies.json": lie_cases,
    "lists.json": list_cases,
    "disclosures.json": disclosure_cases,
    "saved.json": saved_cases,
    "views.json": view_cases,
    "sealed.json": sealed_cases,
    "residents.json": resident_cases,
    "witnesses.json": witness_cases,
}


def text_of(name: str) -> str:
    """What the file of that name must contain."""
    cases = Cases()
    FILES[name](cases)
    content = {"values": cases.values, "cases": cases.cases}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def recorded(*files: str) -> dict[str, dict[str, Any]]:
    """Recorded cases by file and name, "@" names replaced by their values; all if none is named."""
    found = {}
    for file in files or FILES:
        content = json.loads((FOLDER / file).read_text(encoding="utf-8"))
        values = content["values"]
        for case in content["cases"]:
            case["arguments"] = [spelled_out(each, values) for each in case["arguments"]]
            if "result" in case:
                case["result"] = spelled_out(case["result"], values)
            found[f"{file}: {case['name']}"] = case
    return found


def spelled_out(written: Any, values: dict[str, str]) -> Any:
    """An argument with its "@" names replaced by their values."""
    if isinstance(written, list):
        return [spelled_out(item, values) for item in written]
    return values.get(str(written), written)


def read_argument(written: Any) -> Any:
    """An argument as ``tests.light.calls`` takes it."""
    if isinstance(written, list):
        return [read_argument(item) for item in written]
    if written is None:
        return None
    return int(written[1:]) if written.startswith("=") else bytes.fromhex(written)


def main() -> None:
    """Writes all files."""
    FOLDER.mkdir(exist_ok=True)
    for name in FILES:
        (FOLDER / name).write_text(text_of(name), encoding="utf-8")


if __name__ == "__main__":
    main()
