"""The calls of the light client that vectors name, on bytes alone: what Python says of each.

``tests/browser/calls.js`` has the same calls over the client in JavaScript. Arguments are bytes,
integers, None or lists of bytes; results are JSON of lists, texts and null, with byte strings in
hexadecimal and integers as decimal digits, so that both sides can be compared as they are.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from ledger import codec
from ledger.commitment import Disclosure, verify_disclosure
from ledger.crypto.keys import PublicKey, verify_signature
from ledger.errors import NotCanonical, PeerFault
from ledger.light import checkpoint as checkpoints
from ledger.light import consent, permissions, records, trust, verify, witnesses
from ledger.light.bundles import (
    Bundle,
    LogBundle,
    LogEntriesBundle,
    LogEntryBundle,
    StateBundle,
    decode_bundle,
    decode_changes,
    encode_changes,
)
from ledger.light.saved import SavedProof, verify_saved_proof
from ledger.light.trust import TrustedChain
from ledger.light.view_rules import ViewRules, kind_of
from ledger.merkle.proof import StateProof, verify_consistency, verify_inclusion, verify_state
from ledger.primitives import ZERO_HASH, Hash32, KeyId, MemberId, PatientKey, TimestampMs
from ledger.types import residents
from ledger.types.block import Header
from ledger.types.certificate import CertifiedHeader, QuorumCertificate, verify_certified_header
from ledger.types.entries import Disclosed, Permission, Row, decode_patient_entry
from ledger.types.genesis import Genesis, UserKey
from ledger.types.membership import Membership

Call = Callable[..., object]
CALLS: dict[str, Call] = {}


def call(function: Call) -> Call:
    """Registers a call under the name of its function."""
    CALLS[function.__name__.removesuffix("_").replace("_", " ")] = function
    return function


def verdict(name: str, arguments: list[Any]) -> dict[str, object]:
    """{"result": ...} or {"error": class, "message": text}; other exceptions are bugs."""
    try:
        return {"result": shown(CALLS[name](*arguments))}
    except PeerFault as error:
        return {"error": type(error).__name__, "message": str(error)}


def shown(value: Any) -> Any:
    """A result as JSON."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, tuple | list):
        return [shown(item) for item in value]
    return value if value is None else str(value)


def of_kind(data: bytes, kind: type[Bundle]) -> Any:
    """A bundle of that class; NotCanonical where it is of another."""
    bundle = decode_bundle(data)
    if not isinstance(bundle, kind):
        raise NotCanonical("proof bundle", "another kind of bundle")
    return bundle


# Bytes and back


@call
def value(data: bytes, limit: int) -> object:
    return codec.encode(codec.decode(data, limit, "value"))


@call
def many(head: bytes, unit: bytes, count: int, limit: int) -> object:
    return len(codec.encode(codec.decode(head + unit * count, limit, "value")))


@call
def encoded_text(data: bytes) -> object:
    units = data[: len(data) // 2 * 2]
    return codec.encode(units.decode("utf-16-be", "surrogatepass"))


@call
def encoded_number(number: int) -> object:
    return codec.encode(number)


@call
def encoded_nesting(depth: int) -> object:
    nested: tuple[Any, ...] = ()
    for _ in range(depth - 1):
        nested = (nested,)
    return codec.encode(nested)


@call
def encoded_items(count: int) -> object:
    return len(codec.encode([0] * count))


@call
def genesis(data: bytes) -> object:
    found = Genesis.decode(data)
    return found.chain_id, found.membership.hash, found.membership.quorum


@call
def genesis_member(data: bytes, name: bytes) -> object:
    found = Genesis.decode(data).member(name.decode("latin-1"))
    return None if found is None else (found.id, found.name, found.kind)


@call
def header_bytes(data: bytes) -> object:
    header = Header.decode(data)
    return header.encode(), header.hash


@call
def certificate_bytes(data: bytes) -> object:
    return QuorumCertificate.decode(data).encode()


@call
def membership_bytes(data: bytes) -> object:
    membership = Membership.decode(data)
    return membership.encode(), membership.hash


@call
def state_proof_bytes(data: bytes) -> object:
    return StateProof.decode(data).encode()


@call
def bundle_bytes(data: bytes) -> object:
    return decode_bundle(data).encode()


@call
def changes_bytes(data: bytes) -> object:
    return encode_changes(decode_changes(data))


@call
def trusted_bytes(data: bytes) -> object:
    return TrustedChain.decode(data).encode()


@call
def disclosure_bytes(data: bytes) -> object:
    return Disclosure.decode(data).encode()


@call
def saved_bytes(data: bytes) -> object:
    return SavedProof.decode(data).encode()


@call
def user_key(data: bytes) -> object:
    user = UserKey.decode(data)
    return user.member, user.public_key.key_id, user.roles, user.valid_until_ms, user.patient


@call
def permission(data: bytes) -> object:
    p = Permission.decode(data)
    return p.reader, p.reader_member, p.patient, p.holder, p.view, p.purpose, p.expires


@call
def resident_keys(data: bytes) -> object:
    return residents.decode_resident_keys(data)


@call
def directives(data: bytes) -> object:
    return residents.encode_directives(residents.decode_directives(data))


@call
def copies(data: bytes) -> object:
    return [(c.hospital, c.state, c.reason, c.until_ms) for c in residents.decode_copies(data)]


@call
def share(data: bytes) -> object:
    return residents.Share.decode(data).encode()


@call
def permits(
    data: bytes, member: bytes, key: bytes, view: bytes, purpose: bytes, time_ms: int
) -> object:
    name, *asked = (each.decode("utf-8", "replace") for each in (member, view, purpose))
    reader = MemberId(name), KeyId(key)
    known = residents.decode_directives(data)
    return str(residents.permits(known, reader, *asked, TimestampMs(time_ms)))


@call
def closed(data: bytes, time_ms: int) -> object:
    return residents.Share.decode(data).closed(time_ms)


@call
def share_secrets(token: bytes, passcode: bytes) -> object:
    verifier = residents.share_verifier(token, passcode.decode("utf-8", "replace"))
    return residents.share_token_hash(token), verifier, residents.share_content_key(token)


# Trust


@call
def signature(key: bytes, signed: bytes, preimage: bytes) -> object:
    public_key = PublicKey.decode(key)
    verify_signature(public_key, signed, Hash32(sha256(preimage).digest()), "test")
    return public_key.key_id


@call
def certified(header: bytes, membership: bytes, chain_id: bytes) -> object:
    untrusted, voters = CertifiedHeader.decode(header), Membership.decode(membership)
    return verify_certified_header(untrusted, voters, Hash32(chain_id)).hash


@call
def trust_genesis(data: bytes, chain_id: bytes | None) -> object:
    return trust.trust_genesis(data, None if chain_id is None else Hash32(chain_id)).encode()


@call
def header(trusted: bytes, untrusted: bytes) -> object:
    found = trust.verify_header(TrustedChain.decode(trusted), CertifiedHeader.decode(untrusted))
    return found.height, found.time_ms, found.state_root


@call
def follow(trusted: bytes, changes: bytes) -> object:
    return trust.follow(TrustedChain.decode(trusted), decode_changes(changes)).encode()


@call
def advance(trusted: bytes, changes: bytes, newest: bytes) -> object:
    chain, certified = TrustedChain.decode(trusted), CertifiedHeader.decode(newest)
    return trust.advance(chain, decode_changes(changes), certified).encode()


@call
def refresh(trusted: bytes, changes: bytes, newest: bytes, now_ms: int, max_age_ms: int) -> object:
    chain, certified = TrustedChain.decode(trusted), CertifiedHeader.decode(newest)
    advanced = trust.advance(chain, decode_changes(changes), certified)
    trust.check_age(certified.header, now_ms, max_age_ms)
    return advanced.encode()


@call
def first_visit(
    document: bytes, changes: bytes, newest: bytes, now_ms: int, max_age_ms: int
) -> object:
    start = trust.trust_genesis(document, None).encode()
    return refresh(start, changes, newest, now_ms, max_age_ms)


@call
def age(data: bytes, now_ms: int, max_age_ms: int) -> object:
    return trust.check_age(Header.decode(data), now_ms, max_age_ms)


# Checkpoints and witnesses


@call
def checkpoint(text: bytes) -> object:
    found = checkpoints.Checkpoint.from_text(text.decode("latin-1"))
    return found.text.encode(), found.chain_id, found.height, found.header_hash


@call
def trust_checkpoint(text: bytes, header: bytes, membership: bytes) -> object:
    printed = checkpoints.Checkpoint.from_text(text.decode("latin-1"))
    certified, voters = CertifiedHeader.decode(header), Membership.decode(membership)
    return checkpoints.trust_checkpoint(printed, certified, voters).encode()


def testimony(hospital: bytes, changes: bytes, header: bytes) -> witnesses.Testimony:
    name = MemberId(hospital.decode("latin-1"))
    return witnesses.Testimony(name, decode_changes(changes), CertifiedHeader.decode(header))


@call
def hear(
    trusted: bytes, hospital: bytes, changes: bytes, header: bytes, now_ms: int, max_age_ms: int
) -> object:
    heard = testimony(hospital, changes, header)
    chain = TrustedChain.decode(trusted)
    return witnesses.hear_newest(chain, heard, now_ms, max_age_ms).encode()


@call
def compare(trusted: bytes, first: list[bytes], second: list[bytes]) -> object:
    chain = TrustedChain.decode(trusted)
    return witnesses.compare(chain, testimony(*first), testimony(*second)).encode()


@call
def fork(document: bytes, data: bytes) -> object:
    report = witnesses.verify_fork(document, data)
    hashes = [header.hash for header in report.headers]
    same_view = "same view" if report.same_view else "two views"
    return report.height, hashes, report.hospitals, report.signed_both, same_view


@call
def fork_bytes(chain_id: bytes, first: list[bytes], second: list[bytes]) -> object:
    return witnesses.encode_fork(Hash32(chain_id), testimony(*first), testimony(*second))


# Proofs


@call
def state_proof(data: bytes, key: bytes, value: bytes | None, root: bytes) -> object:
    return verify_state(StateProof.decode(data), key, value, Hash32(root))


@call
def state_parts(
    depth: int, bitmap: bytes, siblings: list[bytes], other: list[bytes] | None, key: bytes,
    value: bytes | None, root: bytes,
) -> object:  # fmt: skip
    hashes: Any = tuple(siblings), None if other is None else tuple(other)
    return verify_state(StateProof(depth, bitmap, *hashes), key, value, Hash32(root))


@call
def inclusion(entry: bytes, index: int, count: int, path: list[bytes], root: bytes) -> object:
    return verify_inclusion(entry, index, count, path, root)


@call
def consistency(
    old_count: int, old_root: bytes, count: int, root: bytes, path: list[bytes]
) -> object:
    return verify_consistency(old_count, old_root, count, root, path)


@call
def state(trusted: bytes, data: bytes, key: bytes, now_ms: int, max_age_ms: int) -> object:
    bundle = of_kind(data, StateBundle)
    chain = TrustedChain.decode(trusted)
    found = verify.verify_state_bundle(chain, bundle, key, now_ms, max_age_ms)
    return found.value, found.header.height


@call
def log(trusted: bytes, data: bytes, key: bytes, now_ms: int, max_age_ms: int) -> object:
    bundle = of_kind(data, LogBundle)
    chain = TrustedChain.decode(trusted)
    return verify.verify_log_bundle(chain, bundle, key, now_ms, max_age_ms).entries


@call
def log_entry(trusted: bytes, data: bytes, key: bytes, now_ms: int, max_age_ms: int) -> object:
    bundle = of_kind(data, LogEntryBundle)
    chain = TrustedChain.decode(trusted)
    found = verify.verify_log_entry_bundle(chain, bundle, key, now_ms, max_age_ms)
    return found.index, found.entry, found.count


@call
def log_entries(trusted: bytes, data: bytes, key: bytes, now_ms: int, max_age_ms: int) -> object:
    bundle = of_kind(data, LogEntriesBundle)
    chain = TrustedChain.decode(trusted)
    found = verify.verify_log_entries_bundle(chain, bundle, key, now_ms, max_age_ms)
    return [(each.index, each.entry, each.count) for each in found]


# Meaning


@call
def patient_list(
    trusted: bytes, data: bytes, patient: bytes, now_ms: int, max_age_ms: int
) -> object:
    bundle, key = of_kind(data, LogBundle), PatientKey(patient)
    chain = TrustedChain.decode(trusted)
    return rows_of(records.verify_patient_list(chain, bundle, key, now_ms, max_age_ms))


def rows_of(found: records.PatientList) -> object:
    return [
        (each.index, each.row_hash, each.status, each.row.member, each.row.root, each.row.epoch)
        for each in found.rows
    ]


@call
def access_log(trusted: bytes, data: bytes, patient: bytes, now_ms: int, max_age_ms: int) -> object:
    bundle, key = of_kind(data, LogBundle), PatientKey(patient)
    chain = TrustedChain.decode(trusted)
    return accesses_of(records.verify_access_log(chain, bundle, key, now_ms, max_age_ms))


def accesses_of(found: tuple[Disclosed, ...]) -> object:
    return [
        (
            each.permission,
            each.reader,
            each.reader_member,
            each.holder,
            each.view,
            each.purpose,
            each.rows,
            each.height,
            each.time_ms,
        )
        for each in found
    ]


@call
def patient_directives(
    trusted: bytes, data: bytes, patient: bytes, now_ms: int, max_age_ms: int
) -> object:
    bundle, key = of_kind(data, StateBundle), PatientKey(patient)
    chain = TrustedChain.decode(trusted)
    found = consent.verify_directives(chain, bundle, key, now_ms, max_age_ms)
    return residents.encode_directives(found.directives), found.header.time_ms


@call
def link_share(
    trusted: bytes, data: bytes, share_id: bytes, token: bytes, now_ms: int, max_age_ms: int
) -> object:
    bundle, wanted = of_kind(data, StateBundle), Hash32(share_id)
    chain = TrustedChain.decode(trusted)
    found = consent.verify_share(chain, bundle, wanted, token, now_ms, max_age_ms)
    return found.share.encode(), found.closed, found.header.time_ms


@call
def own_share(
    trusted: bytes, data: bytes, share_id: bytes, patient: bytes, now_ms: int, max_age_ms: int
) -> object:
    bundle, wanted, key = of_kind(data, StateBundle), Hash32(share_id), PatientKey(patient)
    chain = TrustedChain.decode(trusted)
    found = consent.verify_own_share(chain, bundle, wanted, key, now_ms, max_age_ms)
    return found.share.encode(), found.closed, found.header.time_ms


@call
def permission_certificate(
    trusted: bytes, data: bytes, entry: bytes, patient: bytes, now_ms: int, max_age_ms: int
) -> object:
    bundle, key = of_kind(data, StateBundle), PatientKey(patient)
    chain, disclosed = TrustedChain.decode(trusted), Disclosed.decode(entry)
    found = permissions.verify_permission_certificate(
        chain, bundle, disclosed, key, now_ms, max_age_ms
    )
    if isinstance(found.granted, Permission):
        return permission(found.granted.encode()), found.header.height
    return found.granted.encode(), found.header.height


@call
def disclosure(root: bytes, data: bytes, files: list[bytes]) -> object:
    (rules,) = map(ViewRules.decode, files)
    return record_of(records.record_under(Hash32(root), Disclosure.decode(data), rules))


@call
def disclosure_parts(
    root: bytes, shown_fields: list[list[bytes]], hidden: list[bytes], copies: int
) -> object:
    fields: Any = tuple(map(tuple, shown_fields)), tuple(hidden * copies)
    found = verify_disclosure(Disclosure("resident", ZERO_HASH, *fields), Hash32(root))
    return sorted(found.items())


def record_of(found: records.VerifiedRecord) -> object:
    fields = sorted(found.fields.items())
    return fields, found.hidden, found.hiding_rules, found.view, found.version


@call
def hiding_rule(root: bytes, data: bytes, copy: bytes, files: list[bytes]) -> object:
    (rules,) = map(ViewRules.decode, files)
    record = records.record_under(Hash32(root), Disclosure.decode(data), rules)
    return list(records.hiding_rule(record, Disclosure.decode(copy), rules).items())


@call
def view_rules(files: list[bytes]) -> object:
    (rules,) = map(ViewRules.decode, files)
    texts = [[rule, sorted(each.items())] for rule, each in sorted(rules.texts.items())]
    return rules.view, rules.version, rules.hash, texts


@call
def padded_rules(data: bytes, spaces: int) -> object:
    rules = ViewRules.decode(data + b" " * spaces)
    return rules.view, rules.version


@call
def decision(files: list[bytes], kind: bytes, path: bytes) -> object:
    (rules,), name = map(ViewRules.decode, files), kind.decode("utf-8", "replace")
    found = rules.decide(name, path.partition(b"~")[0])
    return found.rule, found.action, found.form, str(rules.shows(name, path))


@call
def hiding(files: list[bytes], kind: bytes) -> object:
    (rules,) = map(ViewRules.decode, files)
    return rules.hiding(kind.decode("utf-8", "replace"))


@call
def allowed(files: list[bytes], shown_fields: list[list[bytes]]) -> object:
    (rules,), fields = map(ViewRules.decode, files), dict[bytes, bytes](shown_fields)
    kind = kind_of(fields)
    return kind, [path for path in fields if rules.allows(kind, path, fields)]


def known_of(files: list[bytes]) -> dict[Hash32, ViewRules]:
    return {rules.hash: rules for rules in map(ViewRules.decode, files)}


@call
def rules_in_force(view: bytes, value: bytes | None, files: list[bytes]) -> object:
    name = view.decode("utf-8", "replace")
    return records.rule_book(name, value, known_of(files)).in_force.hash


@call
def rules_of(view: bytes, value: bytes | None, files: list[bytes], digest: bytes) -> object:
    name = view.decode("utf-8", "replace")
    return records.rule_book(name, value, known_of(files)).of(Hash32(digest)).version


@call
def sealed(row: bytes, key: bytes) -> object:
    entry = decode_patient_entry(row)
    if not isinstance(entry, Row):
        raise NotCanonical("patient log entry", "no row")
    m = records.open_sealed(entry, key)
    return m.kind, m.code_system, m.code, m.effective, m.locator, m.national_index


@call
def deidentified(
    trusted: bytes,
    data: bytes,
    shown: bytes,
    holder: bytes,
    hashes: bytes,
    files: list[bytes],
    now_ms: int,
    max_age_ms: int,
) -> object:
    book = records.rule_book("deidentified", hashes, known_of(files))
    bundle, record = of_kind(data, LogEntryBundle), Disclosure.decode(shown)
    chain, member = TrustedChain.decode(trusted), MemberId(holder.decode())
    return record_of(
        records.verify_deidentified(chain, bundle, record, member, book, now_ms, max_age_ms)
    )


@call
def saved_proof(document: bytes, data: bytes, now_ms: int | None, files: list[bytes]) -> object:
    report = verify_saved_proof(document, data, now_ms, known_of(files))
    return (
        report.key,
        report.header.height,
        report.age_ms,
        None if report.patient_list is None else rows_of(report.patient_list),
        None if report.accesses is None else accesses_of(report.accesses),
        None if report.row is None else report.row.index,
        None if report.record is None else record_of(report.record),
    )
