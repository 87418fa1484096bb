"""The one table of decoders of what another party wrote, or a disk that may be damaged.

Hypothesis (``test_decoders.py``) and atheris (``main.py``) both check each entry with
``properties.check``. ``test_decoders.py`` looks for decoders in the shipped code and fails for
one that is neither here nor in ``NOT_HERE``: add an entry, with at least one seed it accepts.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from contracts import lookup
from contracts.access import Request, RequestRelease, Revoke
from contracts.audit import Disclose, DiscloseRelease
from contracts.consent import Direct, Withdraw
from contracts.copies import DecideCopy, RequestCopy
from contracts.evidence import Report
from contracts.governance import Approve, Propose, RenewKey
from contracts.index import Commitment, MarkEnteredInError, Register, Supersede
from contracts.members import BindResident, EndResidentKey
from contracts.release import Publish
from contracts.sharing import Create, End
from ledger import catchup, codec, commitment, execution
from ledger.codec import Value
from ledger.consensus import messages
from ledger.crypto.hashing import Tag
from ledger.crypto.keys import PUBLIC_KEY_BYTES_MAX, PublicKey
from ledger.crypto.sealing import METADATA_BYTES_MAX, Metadata
from ledger.errors import PeerFault, StateDamaged
from ledger.light import bundles, saved, trust
from ledger.limits import (
    BLOCK_BYTES_MAX,
    DISCLOSURE_BYTES_MAX,
    FRAME_BYTES_MAX,
    MEMBERS_MAX,
    TRANSACTION_BYTES_MAX,
    VIEW_VERSIONS_MAX,
)
from ledger.merkle import state_tree
from ledger.merkle.log_tree import Frontier, root_of
from ledger.merkle.proof import STATE_PROOF_BYTES_MAX, StateProof
from ledger.primitives import Height, Nonce, Signature, TimestampMs, View
from ledger.snapshot import messages as snapshot
from ledger.types import block, certificate, entries, governance, residents
from ledger.types.evidence import EVIDENCE_BYTES_MAX, Evidence, Statement
from ledger.types.genesis import (
    GENESIS_BYTES_MAX,
    USER_KEY_BYTES_MAX,
    Genesis,
    Member,
    UserKey,
)
from ledger.types.membership import MEMBERSHIP_BYTES_MAX, VOTERS_BYTES_MAX, Membership, Voters
from ledger.types.transaction import SignedTransaction, Transaction
from nodes import frames, voting
from nodes.client.signing import SignedRequest, stamp_request
from nodes.gateway import disclosure
from nodes.storage import layout, ledger_store, safety_store
from nodes.transport import pki
from tests.light import kit
from tests.vectors import fixed, make

NOT_HERE = {
    "contracts.actions.Action.parse": "a protocol; each action has its own entry",
    "ledger.light.view_rules.ViewRules.decode": "tests/light/test_view_rules.py: JSON",
    "nodes.client.http.HttpClient.parse_json": "JSON of the standard library; limited by bytes",
    "nodes.gateway.fhir.parse_json": "tests/gateway/test_fhir.py: it has no one encoding",
    "nodes.gateway.records_db.DeidentifiedVersion.from_value": "the gateway's own database",
    "nodes.gateway.records_db.OutboxItem.decode": "the gateway's own database",
    "nodes.gateway.records_db.Record.decode": "the gateway's own database",
    "nodes.gateway.records_db.Version.from_value": "the gateway's own database",
    "nodes.transport.peer_links.Address.parse": "a text of configuration or genesis; cannot fail",
}
"""Qualified name of a decoder that has no entry, and why."""


@dataclass(frozen=True)
class Decoder:
    """One decoder, and what is needed to test it."""

    name: str
    function: Callable[..., Any]
    """The shipped function that this entry is about."""
    decode: Callable[[bytes], Any]
    """It, from bytes: raises nothing but ``error``."""
    encode: Callable[[Any], bytes] | None
    """The one encoding of what was decoded; None where there is none to compare."""
    limit: int
    """More bytes than this are refused."""
    seeds: tuple[bytes, ...]
    """Inputs that are accepted: what mutation and coverage start from."""
    error: type[Exception] = PeerFault
    inner: tuple[Callable[..., Any], ...] = ()
    """Other decoders of the same value, that ``function`` calls or that do nothing else."""

    @property
    def covers(self) -> tuple[str, ...]:
        """Qualified names of the functions that this entry is about."""
        functions = [getattr(f, "__func__", f) for f in (self.function, *self.inner)]
        return tuple(f"{f.__module__}.{f.__qualname__}" for f in functions)


def _bytes(
    name: str,
    function: Callable[[bytes], Any],
    encode: Callable[[Any], bytes] | None,
    limit: int,
    *seeds: bytes,
    error: type[Exception] = PeerFault,
    inner: tuple[Callable[..., Any], ...] = (),
) -> Decoder:
    """A function that takes bytes."""
    return Decoder(name, function, function, encode, limit, seeds, error, inner)


def _value(
    name: str,
    function: Callable[[Any], Any],
    to_value: Callable[[Any], Value],
    limit: int,
    *seeds: bytes,
) -> Decoder:
    """A function that takes a decoded value: what stands inside of something else."""
    return Decoder(
        name,
        function,
        lambda data: function(codec.decode(data, limit, name)),
        lambda found: codec.encode(to_value(found)),
        limit,
        seeds,
    )


def _action(
    name: str, parse: Callable[[Any], Any], args: Callable[[Any], Value], *of: Any
) -> Decoder:
    """Arguments of a contract's action, and examples of the action."""
    limit = TRANSACTION_BYTES_MAX
    return Decoder(
        name,
        parse,
        lambda data: parse(codec.array_up_to(codec.decode(data, limit, name), limit, name)),
        lambda action: codec.encode(args(action)),
        limit,
        tuple(codec.encode(args(action)) for action in of),
    )


@cache
def _vectors(name: str) -> Any:
    return json.loads((make.FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def _hex(found: dict[str, str], *names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(found[name]) for name in names or found)


def _payload(channel: str) -> bytes:
    return bytes.fromhex(_vectors("consensus")["frames"][channel])[1:]


def _types(*names: str) -> tuple[bytes, ...]:
    return _hex(_vectors("types")["encodings"], *names)


def _message_value(*names: str) -> tuple[bytes, ...]:
    """Messages without their kind, as they stand inside of one."""
    found = _hex(_vectors("consensus")["messages"], *names)
    return tuple(codec.encode(codec.decode(data, len(data), "message")[1]) for data in found)  # type: ignore[index]  # a vector


def _codec_decoders() -> Iterable[Decoder]:
    yield Decoder(
        "codec",
        codec.decode,
        lambda data: codec.decode(data, FRAME_BYTES_MAX, "fuzzed"),
        codec.encode,
        FRAME_BYTES_MAX,
        _hex(_vectors("codec")["accepted"]),
    )
    keys = [_vectors("keys")[name]["public"] for name in ("doctor", "consensus 0")]
    yield _bytes(
        "public key",
        PublicKey.decode,
        lambda key: key.encoded,
        PUBLIC_KEY_BYTES_MAX,
        *map(bytes.fromhex, keys),
    )
    yield _bytes(
        "metadata",
        Metadata.decode,
        Metadata.encode,
        METADATA_BYTES_MAX,
        bytes.fromhex(_vectors("sealing")["metadata"]),
        replace(fixed.METADATA, kind="Other", code_system="", national_index="17").encode(),
    )


def _type_decoders() -> Iterable[Decoder]:
    size = TRANSACTION_BYTES_MAX
    yield _bytes(
        "transaction", Transaction.decode, Transaction.encode, size, *_types("transaction")
    )
    yield _bytes(
        "signed transaction",
        SignedTransaction.decode,
        lambda found: codec.encode([found.body.encode(), found.signature]),
        size,
        *_types("signed transaction"),
    )
    yield _bytes(
        "header",
        block.Header.decode,
        block.Header.encode,
        block.HEADER_BYTES_MAX,
        *_types("header"),
    )
    yield _bytes(
        "block",
        block.Block.decode,
        lambda found: found.encoded,
        BLOCK_BYTES_MAX,
        *_types("block"),
    )
    yield _bytes(
        "receipt",
        block.Receipt.decode,
        block.Receipt.encode,
        block.RECEIPT_BYTES_MAX,
        *_types("receipt"),
    )
    yield _bytes(
        "certificate",
        certificate.QuorumCertificate.decode,
        certificate.QuorumCertificate.encode,
        certificate.CERTIFICATE_BYTES_MAX,
        *_types("certificate"),
    )
    header = certificate.CertifiedHeader
    yield _bytes(
        "certified header",
        header.decode,
        header.encode,
        certificate.CERTIFIED_HEADER_BYTES_MAX,
        *_types("certified header"),
        inner=(header.from_value,),
    )
    yield _bytes(
        "membership",
        Membership.decode,
        Membership.encode,
        MEMBERSHIP_BYTES_MAX,
        *_types("membership"),
    )
    one, four = fixed.membership(range(1)), fixed.membership(range(4))
    yield _bytes(
        "voters",
        execution._decode_voters,
        lambda found: found.encoded,
        VOTERS_BYTES_MAX,
        Voters(Height(1), four, None).encoded,
        Voters(Height(7), one, four).encoded,
        inner=(Voters.decode,),
    )


def _genesis_decoders() -> Iterable[Decoder]:
    document = fixed.genesis()
    yield _bytes("genesis", Genesis.decode, Genesis.encode, GENESIS_BYTES_MAX, *_types("genesis"))
    yield _bytes(
        "member",
        lookup._decode_member,
        lambda found: codec.encode(found.to_value()),
        lookup.MEMBER_BYTES_MAX,
        *(codec.encode(member.to_value()) for member in document.members),
        inner=(Member.from_value,),
    )
    yield _bytes(
        "user key",
        UserKey.decode,
        lambda found: codec.encode(found.to_value()),
        USER_KEY_BYTES_MAX,
        *(codec.encode(user.to_value()) for user in document.users),
        inner=(UserKey.from_value, lookup._decode_user),
    )
    yield _bytes(
        "parameters",
        lookup._decode_parameters,
        lambda found: codec.encode(lookup.parameters_value(found)),
        64,
        codec.encode(lookup.parameters_value(document.parameters)),
    )


def _governance_decoders() -> Iterable[Decoder]:
    document = fixed.genesis()
    changes = [
        governance.Admit(document.members[0], document.users[:1]),
        governance.GiveVote(fixed.hospital(1)),
        governance.SetViewRules("resident", fixed.named_hash("rules")),
        governance.TakeVote(fixed.hospital(2)),
    ]
    some = fixed.named_hash("one")
    approvals = (fixed.hospital(0), fixed.hospital(2))
    yield _bytes(
        "proposal",
        governance.Proposal.decode,
        governance.Proposal.encode,
        governance.PROPOSAL_BYTES_MAX,
        *(governance.Proposal(each, Height(7), approvals, True).encode() for each in changes),
    )
    yield _value(
        "change",
        governance.change_from_value,
        lambda change: change.to_value(),
        governance.PROPOSAL_BYTES_MAX,
        *(codec.encode(each.to_value()) for each in changes),
    )
    yield _bytes(
        "hospitals",
        governance.decode_hospitals,
        governance.encode_hospitals,
        40 * MEMBERS_MAX,
        governance.encode_hospitals(approvals),
    )
    yield _bytes(
        "view hashes",
        entries.decode_view_hashes,
        entries.encode_view_hashes,
        64 * VIEW_VERSIONS_MAX,
        entries.encode_view_hashes((fixed.named_hash("rules"), fixed.named_hash("newer"))),
    )
    yield _action(
        "governance/propose",
        Propose.parse,
        lambda a: (a.change.to_value(),),
        *(Propose(each) for each in changes),
    )
    yield _action("governance/approve", Approve.parse, lambda a: (a.proposal,), Approve(some))
    key = fixed.FixedSigner("renewed")
    yield _action(
        "governance/renew_key",
        RenewKey.parse,
        lambda a: (a.public_key.encoded, a.possession),
        RenewKey(key.public_key, key.sign(some)),
    )
    proof = double_vote()
    yield _bytes("evidence", Evidence.decode, Evidence.encode, EVIDENCE_BYTES_MAX, proof.encode())
    yield _action("evidence/report", Report.parse, lambda a: (a.evidence.encode(),), Report(proof))


def double_vote() -> Evidence:
    """Validator 0 committed to two blocks at one height and view."""
    signer, where = fixed.validator_signer(0), (Height(3), View(1))
    statements = [
        Statement(
            stated,
            signer.sign(
                certificate.vote_digest(Tag.SIGN_COMMIT, fixed.genesis().chain_id, *where, stated)
            ),
        )
        for stated in sorted((fixed.named_hash("one"), fixed.named_hash("two")))
    ]
    return Evidence(Tag.SIGN_COMMIT, *where, signer.public_key.key_id, *statements)


def _entry_decoders() -> Iterable[Decoder]:
    yield _bytes(
        "patient log entry",
        entries.decode_patient_entry,
        lambda found: found.encode(),
        entries.ENTRY_BYTES_MAX,
        *_types("row", "row that supersedes", "status change"),
    )
    of_release = replace(fixed.permission(), patient=None, holder=fixed.hospital(1)).encode()
    for kind, limit, seeds in (
        (entries.Permission, 512, (*_types("permission"), of_release)),
        (entries.Disclosed, 4_096, _types("disclosed")),
        (entries.ReleaseDisclosed, 512, _types("release disclosed")),
        (entries.LogRoot, 64, _types("log root")),
    ):
        yield _bytes(f"entry: {kind.__name__}", kind.decode, kind.encode, limit, *seeds)
    share, directives, copies = (_types(n) for n in ("share", "directives", "copy requests"))
    yield _bytes("share", residents.Share.decode, residents.Share.encode, 1_024, *share)
    yield _bytes(
        "directives",
        residents.decode_directives,
        residents.encode_directives,
        16_384,
        *directives,
        inner=(residents.Directive.from_value,),
    )
    yield _bytes(
        "copy requests",
        residents.decode_copies,
        residents.encode_copies,
        131_072,
        *copies,
        inner=(residents.CopyRequest.from_value,),
    )
    keys = codec.encode(sorted((fixed.named_hash("one"), fixed.named_hash("two"))))
    yield _bytes(
        "resident keys",
        residents.decode_resident_keys,
        residents.encode_resident_keys,
        1_024,
        keys,
    )


def _tree_decoders() -> Iterable[Decoder]:
    yield _bytes(
        "state proof",
        StateProof.decode,
        StateProof.encode,
        STATE_PROOF_BYTES_MAX,
        *_hex(_vectors("merkle")["state proofs"], "key 0", "absent 0", "absent 1"),
        inner=(StateProof.from_value,),
    )
    frontiers = (Frontier.EMPTY.append([fixed.named_hash("leaf")] * n) for n in (0, 1, 7))
    yield _bytes(
        "frontier",
        Frontier.decode,
        Frontier.encode,
        8 + 64 * 32,
        *(found.encode() for found in frontiers),
    )
    page = [b"", fixed.named_hash("node"), bytes(64), *[b""] * 13]
    yield Decoder(
        "state tree page",
        state_tree._decode,
        lambda data: state_tree._decode(data, b""),
        state_tree._encode,
        16 + 16 * 255,
        (state_tree._encode(page),),
        StateDamaged,
    )
    found = _vectors("commitment")["disclosures"]
    kind = commitment.Disclosure
    yield _bytes("disclosure", kind.decode, kind.encode, DISCLOSURE_BYTES_MAX, *_hex(found))
    shown = kind.decode(_hex(found, "clinical")[0]).shown
    listed = next(value for path, value, _ in shown if path == commitment.DEPENDENCIES_PATH)
    yield _bytes(
        "dependencies of a disclosure",
        commitment._decode_dependencies,
        codec.encode,
        DISCLOSURE_BYTES_MAX,
        listed,
    )
    released = disclosure.Released("Observation", kind.decode(_hex(found)[0]), (b"pixels",))
    yield _bytes(
        "released record",
        disclosure.Released.decode,
        disclosure.Released.encode,
        disclosure.ANSWER_BYTES_MAX,
        released.encode(),
    )


def _light_decoders() -> Iterable[Decoder]:
    vectors = _vectors("light")
    yield _bytes(
        "proof bundle",
        bundles.decode_bundle,
        lambda found: found.encode(),
        bundles.BUNDLE_BYTES_MAX,
        *_hex(vectors["bundles"]),
        inner=(bundles.bundle_from_value,),
    )
    yield _bytes(
        "membership changes",
        bundles.decode_changes,
        bundles.encode_changes,
        bundles.CHANGES_BYTES_MAX,
        bytes.fromhex(vectors["membership changes"]),
        inner=(bundles.changes_from_value,),
    )
    yield _bytes(
        "trusted chain",
        trust.TrustedChain.decode,
        trust.TrustedChain.encode,
        trust.TRUSTED_CHAIN_BYTES_MAX,
        bytes.fromhex(vectors["trusted chain"]),
    )
    one = kit.story(4)
    entry = one.entry_bundle(one.commit(), entries.release_log(kit.HOLDER), 4)
    shown = commitment.Disclosure.decode(_hex(_vectors("commitment")["disclosures"])[0])
    kept = saved.SavedProof(one.genesis.chain_id, (), entry, shown, entry.state.key, None)
    yield _bytes(
        "saved proof",
        saved.SavedProof.decode,
        saved.SavedProof.encode,
        saved.SAVED_PROOF_BYTES_MAX,
        bytes.fromhex(vectors["saved proof"]),
        kept.encode(),
    )
    stamp = stamp_request(
        fixed.FixedSigner("doctor"),
        one.genesis.chain_id,
        "GET",
        "/v1/records?index=1",
        b"",
        time_ms=fixed.TIME_MS,
        nonce=Nonce(bytes(16)),
    )
    yield _value(
        "signed request",
        SignedRequest.from_value,
        SignedRequest.to_value,
        1_024,
        codec.encode(SignedRequest("/v1/records?index=1", stamp).to_value()),
    )


def _message_decoders() -> Iterable[Decoder]:
    size = FRAME_BYTES_MAX
    everything = _hex(_vectors("consensus")["messages"])
    yield _bytes("message", messages.decode_message, messages.encode_message, size, *everything)
    for kind, names in (
        (messages.PrePrepare, ("pre-prepare",)),
        (messages.Prepare, ("prepare",)),
        (messages.Commit, ("commit",)),
        (messages.ViewChange, ("view-change", "view-change at height 2")),
        (messages.NewView, ("new-view",)),
    ):
        yield _value(kind.__name__, kind.from_value, kind.to_value, size, *_message_value(*names))
    proof = messages.PreparedCertificate
    yield _value(
        "prepared certificate",
        proof.from_value,
        proof.to_value,
        certificate.CERTIFICATE_BYTES_MAX,
        bytes.fromhex(_vectors("consensus")["prepared certificate"]),
    )
    new_view = codec.decode(_message_value("new-view")[0], size, "new-view")
    yield _bytes(
        "view-changes of a recorded vote",
        voting._decode_changes,
        lambda changes: codec.encode([change.to_value() for change in changes]),
        size,
        codec.encode(new_view[0]),  # type: ignore[index]  # a vector
    )


def _peer_decoders() -> Iterable[Decoder]:
    size = FRAME_BYTES_MAX
    yield _bytes(
        "frame",
        frames.split_frame,
        lambda found: frames.frame(*found),
        size,
        *_hex(_vectors("consensus")["frames"]),
    )
    yield _bytes(
        "transactions",
        frames.decode_transactions,
        frames.encode_transactions,
        size,
        _payload("TRANSACTIONS"),
    )
    yield _bytes("status", catchup.Status.decode, catchup.Status.encode, 64, _payload("STATUS"))
    request = catchup.BlockRequest
    yield _bytes("block request", request.decode, request.encode, 64, _payload("BLOCK_REQUEST"))
    yield _bytes("blocks", catchup.decode_blocks, catchup.encode_blocks, size, _payload("BLOCKS"))
    empty = replace(fixed.header(), transaction_count=0, transaction_root=root_of([]))
    yield _bytes(
        "body",
        catchup.decode_body,
        lambda found: found.encoded,
        BLOCK_BYTES_MAX,
        _payload("BODY"),
        block.Block(empty, ()).encoded,
    )
    pair = json.loads(Path(__file__).with_name("certificates.json").read_text(encoding="utf-8"))
    document = fixed.genesis(1)
    first, *others = document.members
    trusting = [
        replace(member, ca_certificate=bytes.fromhex(pair["authority"]))
        if member.kind == "hospital"
        else member
        for member in (first, *others)
    ]
    known = replace(document, members=tuple(trusting))
    yield Decoder(
        "TLS certificate",
        pki.peer_member,
        lambda data: pki.peer_member(data, known.member),
        None,
        16 * 1024,
        (bytes.fromhex(pair["node"]),),
    )


def _snapshot_decoders() -> Iterable[Decoder]:
    found = _vectors("snapshot")
    query, offer = bytes.fromhex(found["query"]), bytes.fromhex(found["offer"])
    kind = snapshot.SnapshotQuery
    yield _bytes("snapshot query", kind.decode, kind.encode, 64, query)
    of = snapshot.SnapshotOffer
    yield _bytes("snapshot offer", of.decode, of.encode, FRAME_BYTES_MAX, offer)
    request, answer = snapshot.ChunksRequest, snapshot.ChunksAnswer
    requests, answers = _hex(found["requests"]), _hex(found["answers"])
    limit = snapshot.REQUEST_BYTES_MAX
    yield _bytes("chunks request", request.decode, request.encode, limit, *requests)
    yield _bytes("chunks answer", answer.decode, answer.encode, FRAME_BYTES_MAX, *answers)


def _storage_decoders() -> Iterable[Decoder]:
    vote = bytes.fromhex(_vectors("consensus")["vote record"])
    size = safety_store.RECORD_BYTES_MAX
    yield _value("vote record", safety_store.decode_vote, safety_store.encode_vote, size, vote)
    votes = [safety_store.decode_vote(codec.decode(vote, len(vote), "vote"))]
    record = safety_store.encode_record(Height(1), View(2), votes)
    yield _bytes(
        "safety record",
        safety_store.decode_record,
        lambda found: safety_store.encode_record(*found),
        size,
        record,
        safety_store.encode_record(Height(7), View(0), []),
    )
    head = safety_store._sealed_head(b"YLSAFE1\n" + bytes(8))
    parts, chain = [head], safety_store._salt_and_chain(head)[1]
    for payload in (record, safety_store.encode_record(Height(2), View(2), [])):
        part, chain = safety_store._record(bytes(8), chain, payload)
        parts.append(part)
    yield Decoder(
        "safety store file",
        safety_store.FileSafetyStore._replay,
        _replayed,
        None,
        FRAME_BYTES_MAX,
        (b"".join(parts), head),
        safety_store.SafetyStoreDamaged,
    )
    yield _bytes(
        "receipts of a block",
        layout.decode_receipts,
        codec.encode,
        FRAME_BYTES_MAX,
        codec.encode([bytes.fromhex(_vectors("types")["encodings"]["receipt"])] * 2),
    )
    kept = {b"\x01key": b"value", b"\x02page": None, b"\x01other": b""}
    yield _bytes(
        "undo record",
        ledger_store._decode_undo,
        ledger_store._encode_undo,
        BLOCK_BYTES_MAX,
        b"",
        ledger_store._encode_undo(kept),
        error=StateDamaged,
    )


def _replayed(data: bytes) -> object:
    """What a validator reads from a safety store with these bytes, without touching a disk."""
    store = safety_store.FileSafetyStore.__new__(safety_store.FileSafetyStore)
    store._path, store._log = Path("safety.log"), safety_store.VoteLog()
    end, _ = store._replay(data)
    if end > len(data):
        raise AssertionError("it read more than there is")
    return store.votes()


def _action_decoders() -> Iterable[Decoder]:
    some, other = fixed.named_hash("one"), fixed.named_hash("two")
    record = Commitment(fixed.patient(1), some, b"sealed")
    resident = fixed.FixedSigner("resident").public_key
    yield _action(
        "members/bind_resident",
        BindResident.parse,
        lambda a: (
            a.patient,
            a.role,
            a.public_key.encoded,
            a.valid_until_ms,
            a.challenge,
            a.possession,
            a.replaces,
        ),
        BindResident(
            fixed.patient(1),
            "guardian",
            resident,
            TimestampMs(fixed.TIME_MS),
            Nonce(b"c" * 16),
            Signature(b"s" * 65),
            (resident.key_id,),
        ),
    )
    yield _action(
        "members/end_resident_key",
        EndResidentKey.parse,
        lambda a: (a.patient, a.key_id),
        EndResidentKey(fixed.patient(1), resident.key_id),
    )
    yield _action(
        "consent/direct",
        Direct.parse,
        lambda a: a.directive.to_value(),
        Direct(fixed.directive()),
    )
    yield _action(
        "consent/withdraw",
        Withdraw.parse,
        lambda a: a.subject,
        Withdraw(fixed.directive().subject),
    )
    yield _action(
        "copy/request", RequestCopy.parse, lambda a: (a.hospital,), RequestCopy(fixed.hospital(0))
    )
    yield _action(
        "copy/decide",
        DecideCopy.parse,
        lambda a: (a.patient, a.refused, a.until_ms),
        DecideCopy(fixed.patient(1), None, TimestampMs(fixed.TIME_MS)),
    )
    yield _action(
        "share/create",
        Create.parse,
        lambda a: (a.rows, a.view, a.token_hash, a.verifier, a.until_ms, a.attempts),
        Create((0, 3), "resident", some, other, TimestampMs(fixed.TIME_MS), 5),
    )
    # Fail and Open have the same arguments, and the same function for them.
    yield _action("share/end", End.parse, lambda a: (a.share,), End(some))
    yield _action(
        "access/request",
        Request.parse,
        lambda a: (a.patient, a.view, a.purpose),
        Request(fixed.patient(1), "clinical", "TREAT"),
    )
    yield _action(
        "access/request_release",
        RequestRelease.parse,
        lambda a: (a.holder, a.purpose),
        RequestRelease(fixed.hospital(0), "HRESCH"),
    )
    yield _action("access/revoke", Revoke.parse, lambda a: (a.permission,), Revoke(some))
    yield _action(
        "release/publish",
        Publish.parse,
        lambda a: (a.roots,),
        Publish(tuple(sorted((some, other)))),
    )
    yield Decoder(
        "index: commitment",
        Commitment.parse,
        lambda data: Commitment.parse(codec.decode(data, TRANSACTION_BYTES_MAX, "row"), "row"),
        lambda found: codec.encode(_row(found)),
        TRANSACTION_BYTES_MAX,
        (codec.encode(_row(record)),),
    )
    yield _action(
        "index/register",
        Register.parse,
        lambda a: (a.epoch, tuple(_row(each) for each in a.records)),
        Register(1, (record, record)),
    )
    yield _action(
        "index/supersede",
        Supersede.parse,
        lambda a: (a.record.patient, a.index, a.epoch, a.record.root, a.record.sealed),
        Supersede(3, 1, record),
    )
    yield _action(
        "index/mark_entered_in_error",
        MarkEnteredInError.parse,
        lambda a: (a.patient, a.index),
        MarkEnteredInError(fixed.patient(1), 3),
    )
    yield _action(
        "audit/disclose",
        Disclose.parse,
        lambda a: (a.permission, a.rows),
        Disclose(some, (0, 3)),
    )
    yield _action(
        "audit/disclose_release",
        DiscloseRelease.parse,
        lambda a: (a.permission, a.count, a.digest),
        DiscloseRelease(some, 20, other),
    )


def _row(found: Commitment) -> Value:
    return (found.patient, found.root, found.sealed)


DECODERS: dict[str, Decoder] = {
    decoder.name: decoder
    for group in (
        _codec_decoders,
        _type_decoders,
        _genesis_decoders,
        _entry_decoders,
        _governance_decoders,
        _tree_decoders,
        _light_decoders,
        _message_decoders,
        _peer_decoders,
        _snapshot_decoders,
        _storage_decoders,
        _action_decoders,
    )
    for decoder in group()
}
"""By name; a name is unique."""
