"""Golden vectors: what was recorded is what the code makes, reads and verifies today."""

import json
from pathlib import Path

import pytest

from ledger import codec
from ledger.catchup import BlockRequest, Status, decode_blocks
from ledger.commitment import Disclosure, verify_disclosure
from ledger.consensus.messages import PreparedCertificate, decode_message, encode_message
from ledger.crypto import sealing
from ledger.crypto.hashing import Tag
from ledger.crypto.keys import PublicKey, verify_signature
from ledger.errors import NotCanonical
from ledger.light.bundles import LogBundle, LogEntryBundle, decode_bundle, decode_changes
from ledger.light.records import verify_patient_list
from ledger.light.saved import verify_saved_proof
from ledger.light.trust import TrustedChain, advance, trust_genesis
from ledger.light.verify import verify_log_entry_bundle
from ledger.merkle.proof import StateProof, verify_inclusion, verify_state
from ledger.primitives import Hash32, Height, PatientKey, View
from ledger.snapshot.check import accept, first_tasks
from ledger.snapshot.messages import (
    ChunksAnswer,
    ChunksRequest,
    SnapshotOffer,
    SnapshotQuery,
)
from ledger.types.certificate import CertifiedHeader, verify_quorum_certificate
from ledger.types.evidence import Evidence
from ledger.types.genesis import Genesis
from ledger.types.governance import (
    Proposal,
    change_from_value,
    decode_hospitals,
    possession_digest,
)
from ledger.types.membership import Voters
from nodes.frames import Channel, split_frame
from nodes.storage.safety_store import decode_vote
from tests.consensus import kit as consensus
from tests.vectors import fixed, make

BREAKING = (
    "{name} changed. If that is meant, it is a BREAKING change of the protocol: old chains and "
    "clients stop working. Raise PROTOCOL_VERSION, mark it so in CHANGELOG, and record again "
    "with: python -m tests.vectors.make"
)


def recorded(name: str) -> dict:
    return json.loads((make.FOLDER / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", make.FILES)
def test_B1_vectors_are_what_the_code_makes(name: str) -> None:
    path = make.FOLDER / name
    assert path.is_file(), f"{name} is missing: python -m tests.vectors.make"
    same = path.read_text(encoding="utf-8") == make.text_of(name)
    assert same, BREAKING.format(name=name)


def test_every_recorded_file_has_its_maker() -> None:
    found = {path.name for path in Path(make.FOLDER).glob("*.json")}
    assert found == set(make.FILES)


def test_B1_codec_vectors() -> None:
    vectors = recorded("codec.json")
    for name, data in vectors["accepted"].items():
        encoded = bytes.fromhex(data)
        assert codec.encode(codec.decode(encoded, 10_000, name)) == encoded
    for name, data in vectors["refused"].items():
        with pytest.raises(NotCanonical):
            codec.decode(bytes.fromhex(data), 10_000, name)


def test_B3_every_tag_has_a_vector() -> None:
    assert set(recorded("hashes.json")) == {tag.value for tag in Tag}


def test_B4_signature_vectors_verify() -> None:
    vectors = recorded("keys.json")
    digest = Hash32(bytes.fromhex(vectors.pop("digest")))
    for name, each in vectors.items():
        key = PublicKey.decode(bytes.fromhex(each["public"]))
        assert key.key_id.hex() == each["key id"]
        verify_signature(key, bytes.fromhex(each["signature"]), digest, name)


def test_governance_vectors_are_read_and_verify() -> None:
    vectors = recorded("governance.json")
    voters = Voters.decode(bytes.fromhex(vectors["voters"]))
    first = Voters.decode(bytes.fromhex(vectors["voters of genesis"]))
    assert voters == fixed.voters()
    assert (first.since, first.previous, first.membership) == (1, None, voters.of(Height(7)))
    assert decode_hospitals(bytes.fromhex(vectors["hospitals"])) == tuple(
        map(fixed.hospital, range(2))
    )
    for name, data in vectors["changes"].items():
        change = change_from_value(codec.decode(bytes.fromhex(data), 10_000, name))
        proposal = Proposal.decode(bytes.fromhex(vectors["proposals"][name]))
        assert proposal == fixed.proposal(change)
        assert codec.encode(change.to_value()).hex() == data
    chain_id = Hash32(bytes.fromhex(vectors["chain id"]))
    evidence = Evidence.decode(bytes.fromhex(vectors["evidence"]))
    evidence.verify(chain_id, fixed.validator_signer(1).public_key)
    new = PublicKey.decode(bytes.fromhex(vectors["new key"]))
    digest = possession_digest(chain_id, fixed.hospital(4), new)
    assert digest.hex() == vectors["possession digest"]
    verify_signature(new, bytes.fromhex(vectors["possession"]), digest, "possession")


def test_B6_tree_vectors_verify() -> None:
    vectors = recorded("merkle.json")
    root = bytes.fromhex(vectors["log roots"][7])
    for index, path in enumerate(vectors["inclusion paths of 7"]):
        nodes = tuple(Hash32(bytes.fromhex(node)) for node in path)
        verify_inclusion(b"entry %d" % index, index, 7, nodes, Hash32(root))
    state_root = Hash32(bytes.fromhex(vectors["state root"]))
    for key, data in vectors["state proofs"].items():
        value = key.replace("key", "value").encode() if key.startswith("key") else None
        verify_state(StateProof.decode(bytes.fromhex(data)), key.encode(), value, state_root)


def test_commitment_vectors_verify() -> None:
    vectors = recorded("commitment.json")
    everything = {path.encode(): value.encode() for path, value in vectors["fields"]}
    root = Hash32(bytes.fromhex(vectors["root"]))
    for view, data in vectors["disclosures"].items():
        disclosure = Disclosure.decode(bytes.fromhex(data))
        shown = verify_disclosure(disclosure, root)
        assert disclosure.view == view
        assert shown.items() <= everything.items()
        assert len(shown) + len(disclosure.hidden) == len(everything)


def test_LIGHT_1_a_client_with_the_recorded_bytes_alone_verifies_them() -> None:
    vectors = recorded("light.json")
    genesis, now = bytes.fromhex(vectors["genesis"]), fixed.TIME_MS + 10_000
    patient = PatientKey(bytes.fromhex(vectors["patient"]))
    bundles = {
        name: decode_bundle(bytes.fromhex(data)) for name, data in vectors["bundles"].items()
    }
    log, entry = bundles["log"], bundles["log-entry"]
    assert isinstance(log, LogBundle)
    assert isinstance(entry, LogEntryBundle)
    changes = decode_changes(bytes.fromhex(vectors["membership changes"]))
    trusted = advance(trust_genesis(genesis, None), changes, log.state.certified)
    assert trusted == TrustedChain.decode(bytes.fromhex(vectors["trusted chain"]))
    rows = verify_patient_list(trusted, log, patient, now, 60_000).rows
    assert [row.status for row in rows] == ["superseded", "entered-in-error", None, None]
    released = verify_log_entry_bundle(trusted, entry, entry.state.key, now, 60_000)
    assert released.entry.hex() == recorded("commitment.json")["root"]
    report = verify_saved_proof(genesis, bytes.fromhex(vectors["saved proof"]), now, {})
    assert report.patient_list is not None
    assert report.patient_list.rows == rows
    kept = bytes.fromhex(vectors["saved proof of a record"])
    opened = verify_saved_proof(genesis, kept, now, fixed.KNOWN_RULES).record
    assert opened is not None
    assert opened.fields[b"/valueQuantity/value"] == b"1.50"


def test_view_vectors_say_what_is_shown_and_in_which_form() -> None:
    vectors = recorded("views.json")
    resident = vectors["decisions"]["resident"]["MedicationRequest"]
    hidden = {path for path, (rule, shown) in resident.items() if not shown}
    assert {resident[path][0] for path in hidden} == {"medication-details"}
    assert "/dosageInstruction/0/text" in hidden
    formed = vectors["of the form that is asked for"]
    assert "/code/coding/0/code" in formed
    assert not {"/code/coding/1/code", "/code/coding/2/system", "/valueInteger"} & set(formed)


def test_sealing_vectors_open() -> None:
    vectors = recorded("sealing.json")
    sealed = bytes.fromhex(vectors["sealed"])
    key = sealing.row_key(bytes.fromhex(vectors["group key"]), sealed)
    assert key.hex() == vectors["row key"]
    patient = PatientKey(bytes.fromhex(vectors["sealed for patient"]))
    root = Hash32(bytes.fromhex(vectors["sealed for root"]))
    assert sealing.unseal(key, patient, root, sealed).hex() == vectors["metadata"]
    unwrapped = sealing.unwrap_group_key(
        fixed.FixedSigner(vectors["wrap recipient"]).private_key,
        bytes.fromhex(vectors["wrapped group key"]),
        bytes.fromhex(vectors["wrap context"]),
    )
    assert unwrapped.hex() == vectors["group key"]


def test_consensus_vectors_verify_and_every_channel_has_a_frame() -> None:
    vectors = recorded("consensus.json")
    assert consensus.CHAIN.hex() == vectors["chain id"]
    for data in vectors["messages"].values():
        message = decode_message(bytes.fromhex(data))
        assert consensus.VERIFIER.verify(message).value == message
        assert encode_message(message).hex() == data
    proof = codec.decode(bytes.fromhex(vectors["prepared certificate"]), 1_000, "prepared")
    consensus.VERIFIER.verify_prepared(PreparedCertificate.from_value(proof))
    assert set(vectors["frames"]) == {channel.name for channel in Channel}
    payloads = {}
    for name, data in vectors["frames"].items():
        channel, payloads[name] = split_frame(bytes.fromhex(data))
        assert channel.name == name
    for committed in decode_blocks(payloads["BLOCKS"]):
        verify_quorum_certificate(committed.certificate, consensus.MEMBERSHIP, consensus.CHAIN)
        assert committed.certificate.block_hash == committed.block.hash
    assert Status.decode(payloads["STATUS"]) == Status(Height(300), View(2), True)
    assert BlockRequest.decode(payloads["BLOCK_REQUEST"]).first == 7
    vote = decode_vote(codec.decode(bytes.fromhex(vectors["vote record"]), 1_000, "vote"))
    assert vote.digest.hex() == vectors["signed digests"]["commit"]


def test_snapshot_vectors_lead_to_the_certified_header() -> None:
    vectors = recorded("snapshot.json")
    certified = CertifiedHeader.decode(bytes.fromhex(vectors["certified header"]))
    header = certified.header
    assert SnapshotQuery.decode(bytes.fromhex(vectors["query"])).known == 0
    assert SnapshotOffer.decode(bytes.fromhex(vectors["offer"])).headers == (certified,)
    tasks = {task.item: task for task in first_tasks(header)}
    for name in (
        "leaves",
        "page",
        "nodes of a log",
        "entries of a log",
        "headers",
        "receipts",
        "block",
    ):
        request = ChunksRequest.decode(bytes.fromhex(vectors["requests"][name]))
        answer = ChunksAnswer.decode(bytes.fromhex(vectors["answers"][name]))
        assert (request.snapshot, answer.request) == (header.hash, request.id)
        below = accept(tasks[request.items[0]], header, answer.chunks[0])
        tasks.update((task.item, task) for task in below)


def test_genesis_vector_gives_its_chain_id() -> None:
    vectors = recorded("types.json")
    genesis = Genesis.decode(bytes.fromhex(vectors["encodings"]["genesis"]))
    assert genesis.chain_id.hex() == vectors["identities"]["chain id"]
    assert genesis.membership.hash.hex() == vectors["identities"]["membership hash"]
