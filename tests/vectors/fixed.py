"""Fixed keys, dates and examples of every wire type: what vectors and fuzz tests start from."""

import json
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from ledger.crypto import sealing
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.crypto.keys import PublicKey, encode_public_key, encode_signature
from ledger.light.view_rules import ViewRules
from ledger.primitives import (
    ZERO_HASH,
    Hash32,
    Height,
    KeyId,
    MemberId,
    Nonce,
    PatientKey,
    Signature,
    TimestampMs,
    View,
)
from ledger.types.block import Block, Header, Receipt
from ledger.types.certificate import CertifiedHeader, QuorumCertificate, commit_digest
from ledger.types.entries import (
    VIEWS,
    Disclosed,
    LogRoot,
    Permission,
    ReleaseDisclosed,
    Row,
    StatusChange,
)
from ledger.types.evidence import Evidence, Statement
from ledger.types.genesis import Endpoints, Genesis, Member, Parameters, UserKey
from ledger.types.governance import Admit, Change, Proposal
from ledger.types.membership import Membership, Validator, Voters, checked_membership
from ledger.types.residents import (
    CopyRequest,
    Directive,
    Share,
    share_token_hash,
    share_verifier,
)
from ledger.types.transaction import SignedTransaction, Transaction, sign_transaction

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
TIME_MS = TimestampMs(1_750_000_000_000)
"""2025-06-15T15:06:40Z."""
GROUP_KEY = sha256(b"test group key").digest()
PATIENT_SECRET = sha256(b"test patient secret").digest()
PATIENT_SYSTEM = "urn:example:identity-number"
_ALGORITHM = ec.ECDSA(utils.Prehashed(hashes.SHA256()), deterministic_signing=True)


@dataclass(frozen=True)
class FixedSigner:
    """A signer whose key is made from its name; RFC 6979, so its signatures never change."""

    name: str

    @cached_property
    def scalar(self) -> int:
        """The private number."""
        digest = sha256(b"yilian test key " + self.name.encode()).digest()
        return int.from_bytes(digest, "big") % (ORDER - 1) + 1

    @cached_property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        """OpenSSL's form."""
        return ec.derive_private_key(self.scalar, ec.SECP256R1())

    @cached_property
    def public_key(self) -> PublicKey:
        """The key that verifies."""
        return encode_public_key(self.private_key.public_key())

    def sign(self, digest: Hash32) -> Signature:
        """RFC 6979, low s."""
        return encode_signature(
            *utils.decode_dss_signature(self.private_key.sign(digest, _ALGORITHM))
        )


def named_hash(name: str) -> Hash32:
    """A hash that stands for something which the example does not have."""
    return Hash32(sha256(name.encode()).digest())


def patient(number: int) -> PatientKey:
    """Patient key of the test person of that number."""
    return sealing.patient_key(PATIENT_SECRET, PATIENT_SYSTEM, f"test-{number:04d}x")


@cache
def hospital(index: int) -> MemberId:
    """Id of the hospital of that number; sorted as the numbers are."""
    return MemberId(f"hospital-{index:02d}")


@cache
def validator_signer(index: int) -> FixedSigner:
    """Consensus key of a hospital."""
    return FixedSigner(f"consensus {index}")


def membership(indexes: range | list[int]) -> Membership:
    """The validators of those hospitals."""
    return checked_membership(
        tuple(Validator(hospital(i), validator_signer(i).public_key) for i in indexes)
    )


def genesis(n: int = 4) -> Genesis:
    """A network of ``n`` hospitals, a vendor, an authority, a doctor and a resident."""
    hospitals = [
        Member(
            hospital(i),
            f"第{i}医院",
            "hospital",
            b"CA certificate %d" % i,
            validator_signer(i).public_key.encoded,
            FixedSigner(f"sealing {i}").public_key.encoded,
            Endpoints(
                f"127.0.0.1:{7000 + i}", f"https://127.0.0.1:{7100 + i}", f"https://h{i}:7200"
            ),
            TimestampMs(0),
        )
        for i in range(n)
    ]
    others = [
        Member(
            MemberId(kind),
            f"A {kind}",
            kind,
            b"CA certificate " + kind.encode(),
            b"",
            b"",
            Endpoints("", "", ""),
            TimestampMs(licence),
        )
        for kind, licence in (("authority", 0), ("vendor", TIME_MS + 1_000_000))
    ]
    users = [
        UserKey(hospital(0), FixedSigner("doctor").public_key, ("treating",), TIME_MS, None),
        UserKey(
            hospital(0), FixedSigner("resident").public_key, ("resident",), TIME_MS, patient(1)
        ),
    ]
    return Genesis(
        "test network",
        TIME_MS,
        Parameters(8, 100, 60_000, 2_000),
        tuple(sorted(hospitals + others, key=lambda member: member.id)),
        tuple(sorted(users, key=lambda user: user.public_key.key_id)),
        tuple((hospital(i), wrapped_key(i)) for i in range(n)),
        tuple((view, rules.hash) for view, rules in VIEW_RULES.items()),
    )


def _view_file(view: str) -> bytes:
    """A small rule file: the resident view hides notes, the others show all."""
    file = {
        "view": view,
        "version": 1,
        "texts": {
            "notes": {"en": "Notes are hidden.", "zh": "\u5907\u6ce8\u4e88\u4ee5\u9690\u85cf\u3002"}
        },
        "rules": [{"id": "notes", "kinds": ["*", "DICOM"], "action": "hide", "paths": ["note/**"]}],
        "otherwise": {"id": "rest", "action": "show"},
    }
    if view == "clinical":
        file |= {"texts": {}, "rules": []}
    return json.dumps(file).encode()


VIEW_FILES = {view: _view_file(view) for view in VIEWS}
VIEW_RULES = {view: ViewRules.decode(data) for view, data in VIEW_FILES.items()}
KNOWN_RULES = {rules.hash: rules for rules in VIEW_RULES.values()}


def wrapped_key(index: int) -> bytes:
    """The group key of epoch 1, wrapped to a hospital."""
    return sealing.wrap_group_key(
        GROUP_KEY,
        FixedSigner(f"ephemeral {index}").private_key,
        FixedSigner(f"sealing {index}").public_key,
        sealing.wrap_context(1, hospital(index)),
    )


METADATA = sealing.Metadata(
    "Observation", "http://loinc.org", "4548-4", "2025-03-01T08:30:00+08:00", "obs/17", None
)


def row(number: int = 1, member: int = 0, supersedes: Hash32 | None = None) -> Row:
    """A row of patient 1, sealed as a gateway seals it."""
    root = named_hash(f"record {number}")
    nonce = named_hash(f"nonce {number}")[:12]
    sealed = sealing.seal(GROUP_KEY, nonce, patient(1), root, METADATA.encode())
    return Row(hospital(member), patient(1), root, 1, sealed, supersedes)


def status_change() -> StatusChange:
    """Row 1 was entered in error."""
    return StatusChange(hospital(0), patient(1), row().hash, "entered-in-error")


def transaction() -> Transaction:
    """A registration signed by the doctor's key."""
    one = row()
    return Transaction(
        genesis().chain_id,
        "index",
        "register",
        (1, ((one.patient, one.root, one.sealed),)),
        FixedSigner("doctor").public_key.key_id,
        Nonce(bytes(range(16))),
        Height(500),
    )


def signed_transaction() -> SignedTransaction:
    """The same, signed."""
    return sign_transaction(transaction(), FixedSigner("doctor"))


def header(n: int = 4) -> Header:
    """Header 1 of the example network."""
    document = genesis(n)
    return Header(
        chain_id=document.chain_id,
        height=Height(1),
        time_ms=TimestampMs(TIME_MS + 1_000),
        parent=ZERO_HASH,
        proposer=hospital(0),
        transaction_count=1,
        transaction_root=named_hash("transaction root"),
        receipt_root=named_hash("receipt root"),
        state_root=named_hash("state root"),
        membership=document.membership.hash,
        next_membership=document.membership.hash,
    )


def block() -> Block:
    """Block 1, with one transaction."""
    return Block(header(), (signed_transaction().encoded,))


def certificate(
    of: Header, signers: list[tuple[int, FixedSigner]], view: int = 0
) -> QuorumCertificate:
    """COMMIT signatures over a header by the given (index, key) pairs, as they come."""
    digest = commit_digest(of.chain_id, of.height, View(view), of.hash)
    return QuorumCertificate(
        of.height,
        View(view),
        of.hash,
        tuple(index for index, _ in signers),
        tuple(signer.sign(digest) for _, signer in signers),
    )


def certified_header(n: int = 4) -> CertifiedHeader:
    """Header 1 with the smallest certificate."""
    quorum = genesis(n).membership.quorum
    signers = [(i, validator_signer(i)) for i in range(quorum)]
    return CertifiedHeader(header(n), certificate(header(n), signers))


def receipt() -> Receipt:
    """A refused action's receipt."""
    return Receipt(signed_transaction().id, "index/unknown-epoch", (7,))


def permission() -> Permission:
    """The doctor may read patient 1."""
    reader = FixedSigner("doctor").public_key.key_id
    return Permission(reader, hospital(0), patient(1), None, "clinical", "TREAT", Height(900))


def disclosed() -> Disclosed:
    """Row 0 was shown to the doctor."""
    return Disclosed(
        "permission",
        named_hash("permission"),
        KeyId(FixedSigner("doctor").public_key.key_id),
        hospital(0),
        hospital(1),
        "clinical",
        "TREAT",
        (0, 3),
        Height(7),
        TimestampMs(TIME_MS + 7_000),
    )


def directive() -> Directive:
    """The doctor may read whole records to treat."""
    return Directive(
        hospital(0),
        FixedSigner("doctor").public_key.key_id,
        ("clinical",),
        ("ETREAT", "TREAT"),
        TimestampMs(TIME_MS + 9_000),
    )


def copy_request() -> CopyRequest:
    """The full copy of hospital 1's records was refused."""
    return CopyRequest(hospital(1), "refused", "third-party", TimestampMs(0))


def share() -> Share:
    """Two records of hospital 1, shared by the resident."""
    return Share(
        patient(1),
        FixedSigner("resident").public_key.key_id,
        hospital(1),
        (0, 3),
        "resident",
        share_token_hash(b"t" * 32),
        share_verifier(b"t" * 32, "4711"),
        TimestampMs(TIME_MS + 10_000),
        5,
        ended=False,
    )


def release_disclosed() -> ReleaseDisclosed:
    """Twenty de-identified records were shown to the vendor."""
    return ReleaseDisclosed(
        permission=named_hash("permission"),
        reader=FixedSigner("vendor").public_key.key_id,
        reader_member=MemberId("vendor"),
        purpose="HRESCH",
        count=20,
        digest=named_hash("indexes"),
        height=Height(8),
        time_ms=TimestampMs(TIME_MS + 8_000),
    )


def log_root() -> LogRoot:
    """A log of five entries."""
    return LogRoot(5, hash_tagged(Tag.ROW, b"log root"))


def voters() -> Voters:
    """Since height 8 the hospitals 0 to 4 vote; before that, 0 to 3 did."""
    return Voters(Height(1), membership(range(4)), None).changed(Height(7), membership(range(5)))


def admission() -> Admit:
    """Hospital 4 wants to belong to the network, and brings its administrator's key."""
    member = next(member for member in genesis(5).members if member.id == hospital(4))
    key = FixedSigner("administrator 4").public_key
    user = UserKey(hospital(4), key, ("administrator",), TimestampMs(TIME_MS), None)
    return Admit(member, (user,))


def proposal(change: Change) -> Proposal:
    """That change, approved by two hospitals and not carried yet."""
    return Proposal(change, Height(9), (hospital(0), hospital(2)), False)


def evidence() -> Evidence:
    """Hospital 1 committed to two blocks at one height, in one view."""
    signer, chain_id = validator_signer(1), genesis().chain_id
    first, second = (
        Statement(stated, signer.sign(commit_digest(chain_id, Height(7), View(1), stated)))
        for stated in sorted(named_hash(name) for name in ("one block", "another block"))
    )
    key_id = signer.public_key.key_id
    return Evidence(Tag.SIGN_COMMIT, Height(7), View(1), key_id, first, second)
