"""The vectors at the edges: what no honest server sends, at the very bound, or beyond a decoder."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ledger import codec
from ledger.commitment import Field, commit_record
from ledger.crypto.hashing import Tag, hash_tagged, preimage
from ledger.crypto.keys import PublicKey, encode_public_key
from ledger.light.bundles import LogEntriesBundle, encode_changes
from ledger.light.saved import SavedProof
from ledger.light.trust import advance
from ledger.limits import CODEC_DEPTH_MAX, CODEC_ITEMS_MAX, COMMITMENT_FIELDS_MAX
from ledger.merkle import log_tree
from ledger.merkle.proof import StateProof
from ledger.primitives import U64_MAX, ZERO_HASH, Hash32, MemberId
from ledger.types.entries import access_log, encode_view_hashes, view_key
from ledger.types.genesis import ROLES, Genesis, UserKey
from ledger.types.membership import Validator, checked_membership
from tests.light import kit
from tests.vectors import fixed

if TYPE_CHECKING:
    from tests.vectors.make_light import Cases

PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
NOW, MAX_AGE_MS = fixed.TIME_MS + 20_000, kit.MAX_AGE_MS


def codec_edges(cases: "Cases") -> None:
    """Bounds of the codec, and what is refused where bytes are made."""
    cases.accept("an empty map", "value", b"\x80", 1)
    cases.accept("as many bytes as allowed", "value", b"\x92\x00\x00", 3)
    cases.accept("maps nested 16 deep", "value", b"\x81\xa0" * 16 + b"\xc0", 33)
    for name, data in {
        "the least number in one byte": b"\xe0",
        "0 as signed": b"\xd0\x00",
        "the longest fixed extension": b"\xd8\x01" + bytes(16),
        "maps nested 17 deep": b"\x81\xa0" * 17 + b"\xc0",
        "nested 1024 deep": b"\x91" * 1_023 + b"\x90",
        "nested 1025 deep": b"\x91" * 1_024 + b"\x90",
    }.items():
        cases.refuse("NotCanonical", name, "value", data, 100_000)
    array = b"\xdd" + CODEC_ITEMS_MAX.to_bytes(4, "big")
    longer = b"\xdd" + (CODEC_ITEMS_MAX + 1).to_bytes(4, "big")
    fewer = b"\xdd" + (CODEC_ITEMS_MAX - 1).to_bytes(4, "big")
    limit = 10_000_000
    cases.accept("as many items as allowed", "many", array, b"\x00", CODEC_ITEMS_MAX, limit)
    name = "an item more"
    cases.refuse("NotCanonical", name, "many", longer, b"\x00", CODEC_ITEMS_MAX + 1, limit)
    cases.accept("as many arrays as allowed", "many", fewer, b"\x90", CODEC_ITEMS_MAX - 1, limit)
    name = "an array more"
    cases.refuse("TooLarge", name, "many", array, b"\x90", CODEC_ITEMS_MAX, limit)
    for text in ("", "a" * 32, "医院", "😀"):
        written = text.encode("utf-16-be")
        cases.accept(f"{text!r} is written", "encoded text", written)
    for name, text in {"half a pair": "\ud83d", "not in NFC": "e\u0301"}.items():
        written = text.encode("utf-16-be", "surrogatepass")
        cases.refuse("NotCanonical", f"{name} is written", "encoded text", written)
    for number in (0, 2**64 - 1):
        cases.accept(f"{number} is written", "encoded number", number)
    for number in (-1, 2**64):
        cases.refuse("NotCanonical", f"{number} is written", "encoded number", number)
    cases.accept("the deepest is written", "encoded nesting", CODEC_DEPTH_MAX)
    name = "one deeper is written"
    cases.refuse("NotCanonical", name, "encoded nesting", CODEC_DEPTH_MAX + 1)
    cases.accept("as many items as allowed are written", "encoded items", CODEC_ITEMS_MAX)
    name = "an item more is written"
    cases.refuse("NotCanonical", name, "encoded items", CODEC_ITEMS_MAX + 1)


def type_edges(cases: "Cases") -> None:
    """Headers, memberships, user keys and bundles that are almost right."""
    values = list(codec.decode(fixed.header().encode(), 1_000, "header"))
    for proposer in ("it's", 'a "b"', 'it\'s "b"', "a\\b", "a\tb"):
        data = codec.encode([*values[:6], proposer, *values[7:]])
        cases.refuse("OutOfRange", f"header of {proposer!r}", "header bytes", data)
    longest = codec.encode([*values[:6], "h" * 32, *values[7:]])
    cases.accept("header of the longest name", "header bytes", longest)
    validators = [
        Validator(fixed.hospital(i), fixed.validator_signer(i).public_key) for i in range(128)
    ]
    most = checked_membership(tuple(sorted(validators, key=lambda each: each.member)))
    cases.accept("membership of 128", "membership bytes", most.encode())
    one, other = ([fixed.hospital(i), validators[i].public_key.encoded] for i in (0, 1))
    y = pow(B, (PRIME + 1) // 4, PRIME)
    head = one[1][:-64]
    beyond = head + PRIME.to_bytes(32, "big") + y.to_bytes(32, "big")
    for name, value in {
        "a member with two keys": [one, [one[0], other[1]]],
        "a key of 256 bytes": [[one[0], b"\x01" + bytes(255)]],
        "a coordinate that is the prime": [[one[0], beyond]],
    }.items():
        data = codec.encode(value)
        cases.refuse("NotCanonical", f"membership with {name}", "membership bytes", data)
    zero = head + bytes(32) + y.to_bytes(32, "big")
    cases.accept("key with a coordinate 0", "membership bytes", codec.encode([[one[0], zero]]))
    for name, data in {
        "nested too deep": b"\x91" * 16 + b"\x90",
        "not in NFC": b"\xa3e\xcc\x81",
    }.items():
        cases.refuse("NotCanonical", f"user {name}", "user key", data)
    cases.refuse("NotCanonical", "bundle of nothing", "bundle bytes", b"\x90")
    chain = kit.Chain(4)
    chain.commit([0, 1, 2, 3, 4])
    told = encode_changes(tuple(chain.changes))
    renamed = told.replace(b"membership-change", b"membership-chance")
    cases.refuse("NotCanonical", "changes of another kind", "changes bytes", renamed)
    trusted = chain.trusted.encode().replace(b"trusted-chain", b"trusted-chair")
    cases.refuse("NotCanonical", "trusted chain of another kind", "trusted bytes", trusted)


def changed(document: Genesis, place: int, change: Callable[[Any], Any]) -> bytes:
    """A genesis document with one of its fields changed."""
    values: list[Any] = list(codec.decode(document.encode(), 1_000_000, "genesis"))
    values[place] = change(values[place])
    return codec.encode(values)


def genesis_cases(cases: "Cases") -> None:
    """LIGHT-1: every rule of the document from which all trust grows."""
    good = fixed.genesis()

    def swap(items: Sequence[Any]) -> tuple[Any, ...]:
        return (*items[:-2], items[-1], items[-2])

    def put(place: int, value: Any) -> Callable[[Any], Any]:
        return lambda items: (*items[:place], value, *items[place + 1 :])

    def member(place: int, value: Any, number: int = 1) -> Callable[[Any], Any]:
        return lambda items: put(number, put(place, value)(items[number]))(items)

    key = fixed.FixedSigner("vendor").public_key.encoded
    wrong: dict[str, tuple[int, Callable[[Any], Any]]] = {
        "of another version": (0, lambda version: version + 1),
        "with releases of nobody": (3, put(0, 0)),
        "without rotation": (3, put(1, 0)),
        "with unsorted members": (4, swap),
        "with a member twice": (4, lambda items: (items[0], *items)),
        "with a member of another kind": (4, member(2, "clinic")),
        "with a hospital without a consensus key": (4, member(4, b"")),
        "with a hospital without a sealing key": (4, member(5, b"")),
        "with an authority that has a key": (4, member(4, key, 0)),
        "with a vendor that has a sealing key": (4, member(5, key, 5)),
        "with a consensus key that is none": (4, member(4, key[:-1])),
        "with a hospital's key twice": (4, member(4, fixed.validator_signer(1).public_key.encoded)),
        "with unsorted users": (5, swap),
        "with a user twice": (5, lambda items: (items[0], *items)),
        "without a wrapped key": (6, lambda items: items[1:]),
        "with a wrapped key twice": (6, lambda items: (items[0], *items)),
        "with wrapped keys turned": (6, swap),
        "with views turned": (7, swap),
        "with a view twice": (7, put(1, ("clinical", ZERO_HASH))),
    }
    assert good.members[0].kind == "authority"
    assert good.members[5].kind == "vendor"
    for name, (place, change) in wrong.items():
        data = changed(good, place, change)
        cases.refuse("NotCanonical", f"genesis {name}", "genesis", data)
    first = good.users[0]
    for name, user in {
        "of nobody": replace(first, member=MemberId("nobody")),
        "whose key votes": replace(first, public_key=fixed.validator_signer(1).public_key),
    }.items():
        users = sorted([user, good.users[1]], key=lambda each: each.public_key.key_id)
        data = replace(good, users=tuple(users)).encode()
        cases.refuse("NotCanonical", f"genesis with a user {name}", "genesis", data)
    cases.accept("a member", "genesis member", good.encode(), b"hospital-02")
    cases.accept("no member", "genesis member", good.encode(), b"hospital-04")
    user_cases(cases, first)


def user_cases(cases: "Cases", user: UserKey) -> None:
    """Roles and patient keys."""
    patient = fixed.patient(1)
    doctor = replace(user, roles=("treating",), patient=None)
    for name, each in {
        "a guardian": replace(doctor, roles=("guardian",), patient=patient),
        "two roles": replace(doctor, roles=("registrar", "treating")),
        "no role": replace(doctor, roles=()),
        "every role": replace(doctor, roles=ROLES),
    }.items():
        cases.accept(f"user with {name}", "user key", codec.encode(each.to_value()))
    for name, each in {
        "an unknown role": replace(doctor, roles=("owner",)),
        "a known and an unknown role": replace(doctor, roles=("treating", "visiting")),
        "unsorted roles": replace(doctor, roles=("treating", "registrar")),
        "a role twice": replace(doctor, roles=("treating", "treating")),
        "a patient key for a doctor": replace(doctor, patient=patient),
        "no patient key for a resident": replace(doctor, roles=("resident",)),
        "no patient key for a guardian": replace(doctor, roles=("guardian",)),
        "a patient key for two roles": replace(
            doctor, roles=("resident", "treating"), patient=patient
        ),
    }.items():
        cases.refuse("NotCanonical", f"user with {name}", "user key", codec.encode(each.to_value()))


def signature_edges(cases: "Cases") -> None:
    """B4: the largest s that is allowed, for a key that is made for it."""
    signed = preimage(Tag.SIGN_COMMIT, b"\x01", b"what is signed")
    digest = int.from_bytes(sha256(signed).digest(), "big")
    ephemeral = fixed.FixedSigner("ephemeral")
    r = ephemeral.private_key.public_key().public_numbers().x % fixed.ORDER
    half = fixed.ORDER // 2
    for name, s in {"the largest s": half, "the s above": half + 1}.items():
        scalar = (s * ephemeral.scalar - digest) * pow(r, -1, fixed.ORDER) % fixed.ORDER
        key: PublicKey = encode_public_key(key_of(scalar))
        signature = b"\x01" + r.to_bytes(32, "big") + s.to_bytes(32, "big")
        arguments = ("signature", key.encoded, signature, signed)
        if s == half:
            cases.accept(name, *arguments)
        else:
            cases.refuse("BadSignature", name, *arguments)


def key_of(scalar: int) -> Any:
    """The public key of a private number."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.derive_private_key(scalar, ec.SECP256R1()).public_key()


def certificate_edges(cases: "Cases") -> None:
    """Signers one by one."""
    good, chain_id = fixed.certified_header(), fixed.genesis().chain_id
    members = fixed.membership(range(4)).encode()
    old, view = good.certificate, 0
    pairs = [(i, fixed.validator_signer(i)) for i in (0, 1, 2)]
    three = fixed.certificate(good.header, pairs, view)
    stranger = fixed.certificate(good.header, [*pairs, (4, fixed.validator_signer(4))], view)
    for name, certificate in {
        "a signer twice in a row": replace(
            old, signers=(0, 0, 1, 2), signatures=(old.signatures[0], *old.signatures)
        ),
        "the last two signers turned": replace(three, signers=(0, 2, 1)),
        "a signer one beyond the last": stranger,
        "a signature too many": replace(old, signatures=(*old.signatures, old.signatures[0])),
    }.items():
        data = replace(good, certificate=certificate).encode()
        cases.refuse("NotCanonical", name, "certified", data, members, chain_id)
    higher = replace(good, certificate=replace(old, height=old.height + 1)).encode()
    name = "a certificate of another height"
    cases.refuse("CertificateMismatch", name, "certified", higher, members, chain_id)
    empty = replace(good, certificate=fixed.certificate(good.header, [])).encode()
    cases.refuse("InsufficientSignatures", "nobody signs", "certified", empty, members, chain_id)


def trust_edges(cases: "Cases") -> None:
    """LIGHT-1, LIGHT-3: heights and times that are the same."""
    chain = kit.Chain(4)
    start = chain.trusted
    first = chain.commit()
    trusted = advance(start, (), first)
    paused = chain.certify(replace(chain.header(), time_ms=first.header.time_ms))
    name = "a later header of the same time"
    cases.refuse("HeaderGoesBack", name, "header", trusted.encode(), paused.encode())
    next_ms = replace(chain.header(), time_ms=first.header.time_ms + 1)
    later = chain.certify(next_ms).encode()
    cases.accept("a header 1 ms later", "header", trusted.encode(), later)


def fold(proof: StateProof, position: bytes, leaf: bytes) -> Hash32:
    """The root to which a path leads from that leaf."""
    node, siblings = leaf, list(proof.siblings)
    for depth in range(proof.depth - 1, -1, -1):
        sibling = siblings.pop() if kit.bit(proof.bitmap, depth) else ZERO_HASH
        pair = sibling + node if kit.bit(position, depth) else node + sibling
        node = sha256(b"\x01" + pair).digest()
    return Hash32(node)


def state_proofs(values: dict[bytes, bytes]) -> Iterator[tuple[bytes, StateProof]]:
    """Proofs of keys that are there and of some that are not."""
    for key in [*values, *(b"absent %d" % i for i in range(400))]:
        yield key, kit.prove_state(values, key)


def proof_edges(cases: "Cases") -> None:
    """B6: proofs that lead to a root and yet are not the one proof of their statement."""
    values = {b"key %d" % i: b"value %d" % i for i in range(40)}
    root, invalid = kit.subtree(kit.leaves_of(values)), "ProofInvalid"

    def parts(proof: StateProof) -> list[Any]:
        return [proof.depth, proof.bitmap, proof.siblings, proof.other]

    def refuse(name: str, key: bytes, wrong: list[Any], to: bytes = root) -> None:
        cases.refuse(invalid, name, "state parts", *wrong, key, values.get(key), to)

    key, good = next((k, p) for k, p in state_proofs(values) if k in values and p.depth % 8)
    cases.accept("parts of a value", "state parts", *parts(good), key, values[key], root)
    depth, bitmap, siblings, _ = parts(good)
    spare = bitmap[:-1] + bytes([bitmap[-1] | 1])
    refuse("a spare bit", key, [depth, spare, siblings, None])
    refuse("a negative depth", key, [-1, b"", (), None])
    refuse("a depth of 257", key, [257, bytes(32) + b"\x80", siblings[:1], None])
    full = (b"\xff" * 32, (fixed.named_hash("sibling"),) * 256)
    refuse("a depth of 256", key, [256, *full, None])
    refuse("a longer bitmap", key, [depth, bitmap + b"\x00", siblings, None])
    for place in (0, len(siblings) - 1):
        cut = [*siblings[:place], siblings[place][:-1], *siblings[place + 1 :]]
        refuse(f"sibling {place} cut", key, [depth, bitmap, cut, None])
    key, gap = next((k, p) for k, p in state_proofs(values) if len(p.siblings) < p.depth)
    place = next(i for i in range(gap.depth) if not kit.bit(gap.bitmap, i))
    filled = bytearray(gap.bitmap)
    filled[place // 8] |= 0x80 >> place % 8
    before = sum(kit.bit(gap.bitmap, i) for i in range(place))
    with_empty = (*gap.siblings[:before], ZERO_HASH, *gap.siblings[before:])
    refuse("an empty sibling", key, [gap.depth, bytes(filled), with_empty, gap.other])
    key, absent = next((k, p) for k, p in state_proofs(values) if k not in values and p.other)
    position = hash_tagged(Tag.STATE_KEY, key)
    cases.accept("parts of an absence", "state parts", *parts(absent), key, None, root)
    assert absent.other is not None
    other, value_hash = absent.other
    first_bit = bytes([other[0] ^ 0x80]) + other[1:]
    last = absent.depth - 1
    last_bit = bytearray(other)
    last_bit[last // 8] ^= 0x80 >> last % 8
    for name, pair in {
        "another leaf off the path": (first_bit, value_hash),
        "another leaf off the path at its end": (bytes(last_bit), value_hash),
        "the key's own leaf": (position, value_hash),
        "another leaf of 31 bytes": (other[:-1], value_hash),
        "another value of 31 bytes": (other, value_hash[:-1]),
    }.items():
        wrong = replace(absent, other=pair)
        leads_to = fold(absent, position, sha256(b"\x00" + pair[0] + pair[1]).digest())
        refuse(name, key, parts(wrong), leads_to)
    log_edges(cases)


def log_edges(cases: "Cases") -> None:
    """The largest log, and hashes of another length."""
    invalid, root, far = "ProofInvalid", log_tree.leaf_hash(b"entry"), [ZERO_HASH] * 64
    path = far[: (U64_MAX - 1).bit_count()]
    arguments = (b"", U64_MAX - 1, U64_MAX, path, root)
    cases.refuse(invalid, "the last of 2^64 - 1", "inclusion", *arguments)
    name = "the largest log is the same"
    cases.accept(name, "consistency", U64_MAX, root, U64_MAX, root, [])
    cases.refuse(invalid, "a larger log", "consistency", 2**64, root, 2**64, root, [])
    leaves = [log_tree.leaf_hash(b"entry %d" % i) for i in range(13)]
    whole, path = log_tree.root_of(leaves), list(log_tree.inclusion_path(leaves, 4))
    short = [*path[:-1], path[-1][:-1]]
    cases.refuse(invalid, "a last hash cut", "inclusion", b"entry 4", 4, 13, short, whole)


def disclosure_edges(cases: "Cases", root: Hash32, shown: Any, hidden: Any) -> None:
    """A disclosure in parts, as no decoder gives it, and of too many leaves."""
    invalid, none = "ProofInvalid", ()
    cases.accept("parts", "disclosure parts", root, shown, hidden, 1)
    short = (*shown[:-1], (*shown[-1][:2], shown[-1][2][:-1]))
    cases.refuse(invalid, "a last salt cut", "disclosure parts", root, short, hidden, 1)
    cut = (*hidden, b"\xff" * 31)
    cases.refuse(invalid, "a hidden leaf cut", "disclosure parts", root, shown, cut, 1)
    most, leaf = COMMITMENT_FIELDS_MAX + 1, (ZERO_HASH,)
    name = "as many leaves as a record may have"
    cases.refuse(invalid, name, "disclosure parts", root, none, leaf, most)
    cases.refuse(invalid, "a leaf more", "disclosure parts", root, none, leaf, most + 1)
    cases.refuse(invalid, "no leaf", "disclosure parts", root, none, none, 1)
    nested = commit_record([Field(b"/a", b"1"), Field(b"/a/b", b"1")], [], bytes(32))
    name = "a path that begins another"
    cases.accept(name, "disclosure parts", nested.root, nested.fields, none, 1)
    fields = [Field(path, b"1") for path in (b"/a", b"/b", b"/c")]
    of = commit_record(fields, [(b"/a", b"/b"), (b"/a", b"/c")], bytes(32))
    for path, leaf in zip((b"/b", b"/c"), of.leaves[1:], strict=False):
        rest = [item for item in of.fields if item[0] != path]
        name = f"one of two dependencies, {path.decode()}, is hidden"
        cases.refuse(invalid, name, "disclosure parts", of.root, rest, [leaf], 1)


def entry_edges(cases: "Cases") -> None:
    """Entries of certified logs whose form is wrong."""
    chain = kit.Chain(4)
    access, rows = access_log(kit.PATIENT), kit.LIST
    values = codec.decode(fixed.disclosed().encode(), 4_096, "access entry")
    chain.append(access, codec.encode(["theft", *values[1:]]))
    row = codec.decode(fixed.row(1).encode(), 4_096, "row")
    chain.append(rows, codec.encode([2, *row[1:]]))
    certified = chain.commit()
    data = chain.trusted.encode()
    change = codec.decode(fixed.status_change().encode(), 4_096, "status change")
    unknown = codec.encode([*change[:4], "lost"])
    cases.refuse("NotCanonical", "an unknown status", "sealed", unknown, bytes(32))
    for name, call, log in (
        ("an access on another basis", "access log", access),
        ("a row of another kind", "patient list", rows),
    ):
        bundle = chain.log_bundle(certified, log).encode()
        cases.refuse("NotCanonical", name, call, data, bundle, kit.PATIENT, NOW, MAX_AGE_MS)


def absent_edges(cases: "Cases") -> None:
    """No entries of a log that does not exist."""
    chain = kit.Chain(4)
    chain.append(kit.LIST, fixed.row(1).encode())
    certified, log = chain.commit(), access_log(kit.PATIENT)
    none = LogEntriesBundle(chain.state_bundle(certified, log), ())
    arguments = (chain.trusted.encode(), none.encode(), log, NOW, MAX_AGE_MS)
    cases.accept("no entries of an absent log", "log entries", *arguments)


def book_edges(cases: "Cases") -> None:
    """As many versions of a view's rules as there may be, and one more."""
    view, files = b"resident", [fixed.VIEW_FILES["resident"]]
    rules = fixed.VIEW_RULES["resident"].hash
    others = tuple(fixed.named_hash(f"version {i}") for i in range(2, 257))
    most = encode_view_hashes((rules, *others))
    cases.accept("the oldest of 256", "rules of", view, most, files, rules)
    values = codec.decode(most, 100_000, "view hashes")
    more = codec.encode([*values, ZERO_HASH])
    cases.refuse("TooLarge", "a version too many", "rules of", view, more, files, rules)


def saved_edges(cases: "Cases") -> None:
    """Files that are almost a saved proof."""
    chain = kit.story(4)
    chain.commit([0, 1, 2, 3, 4])
    certified = chain.commit()
    log, state = chain.log_bundle(certified, kit.LIST), chain.state_bundle(certified, kit.LIST)
    entries = chain.entries_bundle(certified, kit.LIST, 0, 1)
    changes = tuple(chain.changes)
    good = SavedProof(chain.genesis.chain_id, changes, log, None, kit.LIST, None).encode()
    values = list(codec.decode(good, 1_000_000, "saved proof"))
    rules = chain.state_bundle(certified, view_key("resident"))
    cases.accept("a bare list", "saved bytes", good)
    with_rules = codec.encode([*values[:6], rules.encode()])
    cases.accept("a list with rules", "saved bytes", with_rules)
    for name, place, value in (
        ("another kind of file", 0, "saved-prose"),
        ("some entries", 3, entries.encode()),
        ("a membership change", 3, changes[0].encode()),
        ("a list as rules", 6, log.encode()),
        ("a number as rules", 6, 0),
        ("a number as disclosure", 4, 0),
    ):
        data = codec.encode([*values[:place], value, *values[place + 1 :]])
        cases.refuse("NotCanonical", f"saved proof with {name}", "saved bytes", data)
    document = chain.genesis.encode()
    for prefix in (b"patient/", b"access/"):
        nobody = chain.log_bundle(certified, prefix)
        proof = SavedProof(chain.genesis.chain_id, changes, nobody, None, prefix, None)
        arguments = (document, proof.encode(), NOW, [])
        if prefix == b"access/":
            cases.accept("a list of accesses to nobody", "saved proof", *arguments)
        else:
            cases.refuse("OutOfRange", "a list of nobody's rows", "saved proof", *arguments)
    wrong = SavedProof(chain.genesis.chain_id, changes, state, None, b"patient/", None)
    arguments = (document, wrong.encode(), NOW, [])
    cases.refuse("WrongKey", "a value of another key", "saved proof", *arguments)
