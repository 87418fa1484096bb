"""Makes every golden vector from fixed keys and dates: ``python -m tests.vectors.make``.

One function for each file; add one, name it in ``FILES``, and run this. Everything is hex except
names. A vector that changes is a breaking change: raise PROTOCOL_VERSION and say so.
"""

import json
from collections.abc import Callable
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

from ledger import codec
from ledger.catchup import BlockRequest, CommittedBlock, Status, encode_blocks
from ledger.codec import Value
from ledger.commitment import Disclosure, Field, RecordCommitment, commit_record, disclose
from ledger.consensus.messages import (
    Commit,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ViewChange,
    encode_message,
)
from ledger.crypto import sealing
from ledger.crypto.hashing import Tag, hash_tagged, preimage, signing_digest
from ledger.light.bundles import (
    Bundle,
    LogBundle,
    LogEntriesBundle,
    LogEntryBundle,
    MembershipChange,
    StateBundle,
    encode_changes,
)
from ledger.light.saved import SavedProof
from ledger.light.trust import TrustedChain, advance
from ledger.limits import LOG_PIECE_ENTRIES
from ledger.merkle import log_tree, state_tree
from ledger.merkle.proof import StateProof
from ledger.primitives import Height, View
from ledger.snapshot.messages import (
    BlockChunk,
    BlockItem,
    ChunksAnswer,
    ChunksRequest,
    HeadersItem,
    Item,
    LogItem,
    PageChunk,
    ReceiptsItem,
    SnapshotOffer,
    SnapshotQuery,
    SubtreeItem,
)
from ledger.types.block import Block, Header, Receipt
from ledger.types.certificate import CertifiedHeader, QuorumCertificate, commit_digest, vote_digest
from ledger.types.entries import (
    VIEWS,
    Disclosed,
    LogRoot,
    Permission,
    ReleaseDisclosed,
    Row,
    StatusChange,
    release_log,
    view_key,
)
from ledger.types.evidence import Evidence, Statement
from ledger.types.genesis import Endpoints, Genesis, Member, Parameters, UserKey
from ledger.types.governance import (
    Admit,
    GiveVote,
    Proposal,
    SetViewRules,
    TakeVote,
    encode_hospitals,
    possession_digest,
)
from ledger.types.membership import Membership, Validator, Voters
from ledger.types.residents import encode_copies, encode_directives
from ledger.types.transaction import SignedTransaction, Transaction
from nodes import frames
from nodes.frames import Channel
from nodes.ports import Vote
from nodes.storage.safety_store import encode_vote
from nodes.storage.snapshots import Snapshot
from nodes.view_rules.files import newest_rules
from tests.consensus import kit as consensus
from tests.light import kit
from tests.snapshot import kit as snapshot_kit
from tests.vectors import fixed

FOLDER = Path(__file__).parent
Vectors = dict[str, object]

WIRE_TYPES: tuple[type, ...] = (
    Transaction,
    SignedTransaction,
    Header,
    Block,
    Receipt,
    Validator,
    Membership,
    Voters,
    Endpoints,
    Member,
    UserKey,
    Parameters,
    Genesis,
    QuorumCertificate,
    CertifiedHeader,
    Row,
    StatusChange,
    Permission,
    Disclosed,
    ReleaseDisclosed,
    LogRoot,
    Admit,
    GiveVote,
    TakeVote,
    Proposal,
    Statement,
    Evidence,
    StateProof,
    StateBundle,
    LogBundle,
    LogEntryBundle,
    LogEntriesBundle,
    MembershipChange,
    TrustedChain,
    SavedProof,
    Disclosure,
    sealing.Metadata,
    PrePrepare,
    Prepare,
    Commit,
    PreparedCertificate,
    ViewChange,
    NewView,
    Status,
    BlockRequest,
    CommittedBlock,
    Vote,
)
"""Dataclasses whose fields, in their order, are what travels or is hashed."""


def codec_vectors() -> Vectors:
    """Values and their one encoding; bytes that must be refused."""
    values: dict[str, Value] = {
        "nil": None,
        "zero": 0,
        "127": 127,
        "128": 128,
        "255": 255,
        "256": 256,
        "65535": 65_535,
        "65536": 65_536,
        "2^32": 2**32,
        "2^64-1": 2**64 - 1,
        "empty bytes": b"",
        "bytes": b"\x00\xff",
        "256 bytes": bytes(256),
        "empty text": "",
        "text": "yilian",
        "Chinese text": "医联",
        "text of 32 bytes": "a" * 32,
        "empty array": [],
        "array": [1, b"2", "3", None, [4]],
        "array of 16": list(range(16)),
        "empty map": {},
        "map, keys sorted by bytes": {"b": 1, "a": 2, "aa": 3, "医": 4, "é": 5},
    }
    refused = {
        "long form of 1": "cc01",
        "signed": "d001",
        "negative": "ff",
        "true": "c3",
        "float": "cb3ff0000000000000",
        "extension": "d40500",
        "key twice": "82a16101a16102",
        "keys unsorted": "82a16201a16101",
        "trailing byte": "0100",
        "text in NFD": "a365cc81",
        "long form of an array": "dc000101",
    }
    return {
        "accepted": {name: codec.encode(value).hex() for name, value in values.items()},
        "refused": refused,
    }


def hash_vectors() -> Vectors:
    """H(tag, parts...) and the signed digest, for each tag."""
    chain = fixed.named_hash("chain")
    return {
        tag.value: {
            "preimage of (abc, empty)": preimage(tag, b"abc", b"").hex(),
            "hash of (abc, empty)": hash_tagged(tag, b"abc", b"").hex(),
            "hash of nothing": hash_tagged(tag).hex(),
            "signing digest of (abc)": signing_digest(tag, chain, b"abc").hex(),
        }
        for tag in Tag
    }


def key_vectors() -> Vectors:
    """Private numbers, public keys, key ids and RFC 6979 signatures of one digest."""
    digest = signing_digest(Tag.SIGN_TRANSACTION, fixed.named_hash("chain"), b"abc")
    found: Vectors = {"digest": digest.hex()}
    for name in ("doctor", "resident", "consensus 0", "consensus 1", "sealing 0"):
        signer = fixed.FixedSigner(name)
        found[name] = {
            "private": signer.scalar.to_bytes(32, "big").hex(),
            "public": signer.public_key.encoded.hex(),
            "key id": signer.public_key.key_id.hex(),
            "signature": signer.sign(digest).hex(),
        }
    return found


def type_vectors() -> Vectors:
    """The encoding of one example of each wire type, and its identity where it has one."""
    signed, header, row = fixed.signed_transaction(), fixed.header(), fixed.row()
    members, certified = fixed.membership(range(4)), fixed.certified_header()
    encodings = {
        "transaction": fixed.transaction().encode(),
        "signed transaction": signed.encoded,
        "header": header.encode(),
        "block": fixed.block().encoded,
        "receipt": fixed.receipt().encode(),
        "membership": members.encode(),
        "genesis": fixed.genesis().encode(),
        "certificate": certified.certificate.encode(),
        "certified header": certified.encode(),
        "row": row.encode(),
        "row that supersedes": fixed.row(2, supersedes=row.hash).encode(),
        "status change": fixed.status_change().encode(),
        "permission": fixed.permission().encode(),
        "disclosed": fixed.disclosed().encode(),
        "directives": encode_directives([fixed.directive()]),
        "copy requests": encode_copies([fixed.copy_request()]),
        "share": fixed.share().encode(),
        "release disclosed": fixed.release_disclosed().encode(),
        "log root": fixed.log_root().encode(),
    }
    identities = {
        "transaction id": signed.id,
        "header hash": header.hash,
        "membership hash": members.hash,
        "chain id": fixed.genesis().chain_id,
        "row hash": row.hash,
        "commit digest": commit_digest(
            header.chain_id, header.height, certified.certificate.view, header.hash
        ),
    }
    return {
        "encodings": {name: data.hex() for name, data in encodings.items()},
        "identities": {name: data.hex() for name, data in identities.items()},
    }


def governance_vectors() -> Vectors:
    """State values of governance and evidence, and what a new consensus key signs."""
    changes = {
        "admit": fixed.admission(),
        "give-vote": GiveVote(fixed.hospital(4)),
        "take-vote": TakeVote(fixed.hospital(4)),
        "set-view-rules": SetViewRules("resident", fixed.VIEW_RULES["resident"].hash),
    }
    chain_id, new = fixed.genesis().chain_id, fixed.FixedSigner("consensus 4, renewed")
    possession = possession_digest(chain_id, fixed.hospital(4), new.public_key)
    return {
        "voters": fixed.voters().encoded.hex(),
        "voters of genesis": Voters(Height(1), fixed.membership(range(4)), None).encoded.hex(),
        "hospitals": encode_hospitals((fixed.hospital(0), fixed.hospital(1))).hex(),
        "changes": {name: codec.encode(each.to_value()).hex() for name, each in changes.items()},
        "proposals": {name: fixed.proposal(each).encode().hex() for name, each in changes.items()},
        "evidence": fixed.evidence().encode().hex(),
        "chain id": chain_id.hex(),
        "new key": new.public_key.encoded.hex(),
        "possession digest": possession.hex(),
        "possession": new.sign(possession).hex(),
    }


def merkle_vectors() -> Vectors:
    """Log roots and inclusion paths of 0 to 9 entries; state roots and proofs."""
    entries = [b"entry %d" % i for i in range(9)]
    leaves = [log_tree.leaf_hash(entry) for entry in entries]
    values = {b"key %d" % i: b"value %d" % i for i in range(7)}
    absent = [b"absent %d" % i for i in range(6)]
    return {
        "log roots": [log_tree.root_of(leaves[:n]).hex() for n in range(10)],
        "inclusion paths of 7": [
            [node.hex() for node in kit.prove_inclusion(entries[:7], i)] for i in range(7)
        ],
        "consistency paths to 9": [
            [node.hex() for node in log_tree.consistency_path(leaves, n)] for n in range(1, 10)
        ],
        "state root": kit.subtree(kit.leaves_of(values)).hex(),
        "state root of one key": kit.subtree(kit.leaves_of({b"key 0": b"value 0"})).hex(),
        "state root of none": kit.subtree([]).hex(),
        "state proofs": {
            key.decode(): kit.prove_state(values, key).encode().hex() for key in [*values, *absent]
        },
    }


RECORD_SECRET = sha256(b"record secret").digest()


def _record() -> tuple[list[Field], list[tuple[bytes, bytes]], RecordCommitment]:
    """Fields, dependencies and commitment of an example."""
    record_fields = [
        Field(b"/resourceType", b'"Observation"'),
        Field(b"/status", b'"final"'),
        Field(b"/valueQuantity/value", b"1.50"),
        Field(b"/valueQuantity/unit", b'"mg"'),
        Field(b"/subject/reference", b'"Patient/1"'),
    ]
    pairs = [
        (b"/valueQuantity/value", b"/valueQuantity/unit"),
        (b"/valueQuantity/value", b"/status"),
    ]
    return record_fields, pairs, commit_record(record_fields, pairs, RECORD_SECRET)


def commitment_vectors() -> Vectors:
    """One record, its leaves and root, and three disclosures."""
    record_fields, pairs, commitment = _record()

    def disclosed(view: str, hidden: bytes) -> bytes:
        return disclose(
            commitment, lambda path: path != hidden, view, fixed.VIEW_RULES[view].hash
        ).encode()

    return {
        "secret": RECORD_SECRET.hex(),
        "fields": [[field.path.decode(), field.value.decode()] for field in record_fields],
        "dependencies": [[one.decode(), other.decode()] for one, other in pairs],
        "leaves, sorted": [leaf.hex() for leaf in sorted(commitment.leaves)],
        "root": commitment.root.hex(),
        "disclosures": {
            "clinical": disclosed("clinical", b"").hex(),
            "resident": disclosed("resident", b"/resourceType").hex(),
            "deidentified": disclosed("deidentified", b"/subject/reference").hex(),
        },
    }


def light_vectors() -> Vectors:
    """A chain of four validators with one membership change, and every proof bundle of it."""
    chain = kit.story(4)
    chain.append(release_log(kit.HOLDER), _record()[2].root)
    chain.commit([0, 1, 2, 3, 4])
    certified = chain.commit()
    changes = tuple(chain.changes)
    trusted = advance(chain.trusted, changes, certified)
    whole = chain.log_bundle(certified, kit.LIST)
    bundles: dict[str, Bundle] = {
        "state": chain.state_bundle(certified, kit.LIST),
        "state, absent": chain.state_bundle(certified, b"nothing"),
        "log": whole,
        "log-entry": chain.entry_bundle(certified, release_log(kit.HOLDER), 9),
        "log-entries": chain.entries_bundle(certified, release_log(kit.HOLDER), 0, 4, 9),
        "membership-change": changes[0],
    }
    saved = SavedProof(chain.genesis.chain_id, changes, whole, None, kit.LIST, None)
    shown = disclose(
        _record()[2], lambda _: True, "deidentified", fixed.VIEW_RULES["deidentified"].hash
    )
    released = SavedProof(
        chain.genesis.chain_id,
        changes,
        chain.entry_bundle(certified, release_log(kit.HOLDER), 9),
        shown,
        release_log(kit.HOLDER),
        chain.state_bundle(certified, view_key("deidentified")),
    )
    return {
        "genesis": chain.genesis.encode().hex(),
        "patient": kit.PATIENT.hex(),
        "bundles": {name: bundle.encode().hex() for name, bundle in bundles.items()},
        "membership changes": encode_changes(changes).hex(),
        "trusted chain": trusted.encode().hex(),
        "saved proof": saved.encode().hex(),
        "saved proof of a record": released.encode().hex(),
    }


VIEWED = {
    "MedicationRequest": (
        "/resourceType",
        "/status",
        "/category/0/coding/0/display",
        "/medicationCodeableConcept/coding/0/code",
        "/dosageInstruction/0/text",
        "/dosageInstruction/0/doseAndRate/0/doseQuantity/value",
        "/contained/0/code/text",
        "/authoredOn",
        "/authoredOn~year",
        "/authoredOn~month",
        "/subject/display",
    ),
    "Observation": (
        "/code/coding/0/code",
        "/code/coding/0/display",
        "/hasMember/0/display",
        "/contained/0/text/div",
        "/valueQuantity/value",
        "/valueQuantity/value~band",
        "/effectiveDateTime~year",
        "/note/0/text",
    ),
    "Patient": ("/name/0/family", "/gender", "/birthDate", "/birthDate~year", "/birthDate~band"),
    "DICOM": ("/1.2.3/00180010", "/1.2.3/00180012/0/00080104", "/instance/1/00080060", "/1.2.3"),
}
"""Paths on which every implementation of the rules must decide alike."""
FORMED = {
    "/code/coding/0/system": '"http://snomed.info/sct"',
    "/code/coding/0/code": '"271649006"',
    "/code/coding/1/system": '"http://snomed.info/sct"',
    "/code/coding/1/code": '"110101199003078515"',
    "/code/coding/2/system": '"http://hospital.test/local"',
    "/code/coding/2/code": '"1"',
    "/status": '"final"',
    "/valueInteger": "13912345678",
    "/valueQuantity/value": "1.50",
    "/effectiveDateTime~year": '"2020"',
}


def view_vectors() -> Vectors:
    """What the shipped rule files decide, and which values have the form that they ask for."""
    files = [newest_rules(view) for view in VIEWS]
    formed = {path.encode(): value.encode() for path, value in FORMED.items()}
    deidentified = newest_rules("deidentified")
    return {
        "hashes": {rules.view: rules.hash.hex() for rules in files},
        "decisions": {
            rules.view: {
                kind: {
                    path: [
                        rules.decide(kind, path.partition("~")[0].encode()).rule,
                        rules.shows(kind, path.encode()),
                    ]
                    for path in paths
                }
                for kind, paths in VIEWED.items()
            }
            for rules in files
        },
        "hiding rules": {
            rules.view: {kind: list(rules.hiding(kind)) for kind in VIEWED} for rules in files
        },
        "fields of an Observation": FORMED,
        "of the form that is asked for": [
            path.decode() for path in formed if deidentified.allows("Observation", path, formed)
        ],
    }


def sealing_vectors() -> Vectors:
    """Patient key, sealed metadata with its row key, and a wrapped group key."""
    row, context = fixed.row(), sealing.wrap_context(1, fixed.hospital(0))
    return {
        "patient secret": fixed.PATIENT_SECRET.hex(),
        "identifier": [fixed.PATIENT_SYSTEM, " 1101 0519491231002x "],
        "patient key": sealing.patient_key(
            fixed.PATIENT_SECRET, fixed.PATIENT_SYSTEM, " 1101 0519491231002x "
        ).hex(),
        "group key": fixed.GROUP_KEY.hex(),
        "metadata": fixed.METADATA.encode().hex(),
        "sealed for patient": row.patient.hex(),
        "sealed for root": row.root.hex(),
        "sealed": row.sealed.hex(),
        "row key": sealing.row_key(fixed.GROUP_KEY, row.sealed).hex(),
        "wrap context": context.hex(),
        "wrap recipient": "sealing 0",
        "wrapped group key": fixed.wrapped_key(0).hex(),
    }


def consensus_vectors() -> Vectors:
    """One signed example of each message, what it signs, frames, and a vote on disk."""
    block, second = consensus.block(name="a"), consensus.block(height=2, name="second")
    proof = consensus.prepared(block, 0, (1, 2))
    changes = [consensus.view_change(1, i, proof=proof if i == 2 else None) for i in (0, 2, 3)]
    messages = {
        "pre-prepare": consensus.pre_prepare(block, 0),
        "prepare": consensus.prepare(block, 0, 2),
        "commit": consensus.commit(block, 0, 3),
        "view-change": consensus.view_change(1, 2, proof=proof),
        "view-change at height 2": consensus.view_change(3, 1, 2, consensus.certificate(block)),
        "new-view": consensus.new_view(changes, consensus.pre_prepare(block, 1)),
    }
    votes = (consensus.CHAIN, Height(1), View(0), block.hash)
    digests = {
        "pre-prepare": vote_digest(Tag.SIGN_PRE_PREPARE, *votes),
        "prepare": vote_digest(Tag.SIGN_PREPARE, *votes),
        "commit": commit_digest(*votes),
    }
    committed = [CommittedBlock(each, consensus.certificate(each)) for each in (block, second)]
    request = ChunksRequest(block.hash, (BlockItem(),))
    payloads = {
        Channel.CONSENSUS: encode_message(messages["prepare"]),
        Channel.TRANSACTIONS: frames.encode_transactions([fixed.signed_transaction().encoded]),
        Channel.STATUS: Status(Height(300), View(2), True).encode(),
        Channel.CERTIFICATE: consensus.certificate(block).encode(),
        Channel.BLOCK_REQUEST: BlockRequest(Height(7)).encode(),
        Channel.BLOCKS: encode_blocks(committed),
        Channel.BODY_REQUEST: block.hash,
        Channel.BODY: block.encoded,
        Channel.SNAPSHOT_QUERY: SnapshotQuery(Height(7)).encode(),
        Channel.SNAPSHOT_OFFER: SnapshotOffer(
            (), (CertifiedHeader(block.header, consensus.certificate(block)),)
        ).encode(),
        Channel.CHUNKS_REQUEST: request.encode(),
        Channel.CHUNKS: ChunksAnswer(request.id, (BlockChunk(block),)).encode(),
    }
    vote = Vote(
        Tag.SIGN_COMMIT, Height(1), View(0), digests["commit"], codec.encode(proof.to_value())
    )
    return {
        "chain id": consensus.CHAIN.hex(),
        "messages": {name: encode_message(each).hex() for name, each in messages.items()},
        "signed digests": {name: digest.hex() for name, digest in digests.items()},
        "prepared certificate": codec.encode(proof.to_value()).hex(),
        "frames": {
            channel.name: frames.frame(channel, payload).hex()
            for channel, payload in payloads.items()
        },
        "vote record": codec.encode(encode_vote(vote)).hex(),
    }


def snapshot_vectors() -> Vectors:
    """One snapshot: its certified header, and each kind of item with its chunk."""
    values = {b"member/%d" % i: b"value %d" % i for i in range(5)}
    log = [b"entry %d" % i for i in range(LOG_PIECE_ENTRIES + 1)]
    source = snapshot_kit.Source(values, {b"log/short": log[:2], b"log/long": log})
    kept = Snapshot(source.storage, source.certified)
    items: dict[str, Item] = {
        "headers": HeadersItem(),
        "block": BlockItem(),
        "leaves": SubtreeItem(b""),
        "nodes of a log": LogItem(b"log/long", 0, len(log)),
        "entries of a log": LogItem(b"log/long", LOG_PIECE_ENTRIES, len(log)),
        "receipts": ReceiptsItem(Height(2), 0, 2),
    }
    page = PageChunk(tuple(state_tree.slots_at(kept, b"")))
    requests = {name: ChunksRequest(kept.hash, (item,)) for name, item in items.items()}
    answers = {
        name: ChunksAnswer(request.id, (kept.chunk(items[name]),))
        for name, request in requests.items()
    }
    requests["page"] = requests["leaves"]
    answers["page"] = ChunksAnswer(requests["page"].id, (page,))
    return {
        "certified header": source.certified.encode().hex(),
        "query": SnapshotQuery(Height(0)).encode().hex(),
        "offer": SnapshotOffer((), (source.certified,)).encode().hex(),
        "requests": {name: each.encode().hex() for name, each in requests.items()},
        "answers": {name: each.encode().hex() for name, each in answers.items()},
    }


def shapes() -> Vectors:
    """Names of the fields of each wire type, in their order."""
    return {kind.__name__: [field.name for field in fields(kind)] for kind in WIRE_TYPES}


FILES: dict[str, Callable[[], Vectors]] = {
    "codec.json": codec_vectors,
    "hashes.json": hash_vectors,
    "keys.json": key_vectors,
    "types.json": type_vectors,
    "governance.json": governance_vectors,
    "merkle.json": merkle_vectors,
    "commitment.json": commitment_vectors,
    "light.json": light_vectors,
    "views.json": view_vectors,
    "sealing.json": sealing_vectors,
    "consensus.json": consensus_vectors,
    "snapshot.json": snapshot_vectors,
    "shapes.json": shapes,
}


def text_of(name: str) -> str:
    """What the file of that name must contain."""
    return json.dumps(FILES[name](), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes all files."""
    for name in FILES:
        (FOLDER / name).write_text(text_of(name), encoding="utf-8")


if __name__ == "__main__":
    main()
