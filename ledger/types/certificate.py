"""Quorum certificates: the one proof that a block is committed, and its one verifier.

Consensus, catch-up, light client, API and tools all call ``verify_quorum_certificate``.
"""

import itertools
from dataclasses import dataclass

from ledger import codec
from ledger.codec import Value
from ledger.crypto.hashing import Tag, signing_digest
from ledger.crypto.keys import verify_signature
from ledger.errors import NotCanonical, PeerFault
from ledger.limits import VALIDATORS_MAX
from ledger.primitives import Hash32, Height, Signature, View
from ledger.types.block import HEADER_BYTES_MAX, Header
from ledger.types.membership import Membership

CERTIFICATE_BYTES_MAX = 128 + VALIDATORS_MAX * (Signature.SIZE + 8)
CERTIFIED_HEADER_BYTES_MAX = CERTIFICATE_BYTES_MAX + HEADER_BYTES_MAX + 16


@dataclass(eq=False)
class InsufficientSignatures(PeerFault):
    """A quorum certificate has fewer signers than the membership requires."""

    height: Height
    got: int
    needed: int
    template = "height {height}: {got} signers, {needed} needed"


@dataclass(eq=False)
class CertificateMismatch(PeerFault):
    """A certificate or header is not for what it was presented for."""

    what: str
    template = "certificate: {what}"


@dataclass(frozen=True, slots=True)
class QuorumCertificate:
    """q or more COMMIT signatures over one block in one view."""

    height: Height
    view: View
    block_hash: Hash32
    signers: tuple[int, ...]
    """Indexes into the membership of that height, strictly rising."""
    signatures: tuple[Signature, ...]
    """In the order of ``signers``."""

    def encode(self) -> bytes:
        """[height, view, block hash, [index, ...], [signature, ...]]."""
        return codec.encode(
            [self.height, self.view, self.block_hash, self.signers, self.signatures]
        )

    @staticmethod
    def decode(data: bytes) -> "QuorumCertificate":
        """Raises NotCanonical, TooLarge or OutOfRange; nothing is verified here."""
        fields = codec.array(
            codec.decode(data, CERTIFICATE_BYTES_MAX, "certificate"), 5, "certificate"
        )
        signers = codec.array_up_to(fields[3], VALIDATORS_MAX, "certificate signers")
        signatures = codec.array_up_to(fields[4], VALIDATORS_MAX, "certificate signatures")
        return QuorumCertificate(
            Height(codec.uint(fields[0], "certificate height")),
            View(codec.uint(fields[1], "certificate view")),
            Hash32(codec.binary(fields[2], "certificate block hash", 32)),
            tuple(codec.uint(item, "certificate signer", VALIDATORS_MAX) for item in signers),
            tuple(
                Signature(codec.binary(item, "certificate signature", Signature.SIZE))
                for item in signatures
            ),
        )


def vote_digest(tag: Tag, chain_id: Hash32, height: Height, view: View, stated: Hash32) -> Hash32:
    """What every vote signs: its type, its place, and what it states there, mostly a block."""
    return signing_digest(tag, chain_id, height.to_bytes(8, "big"), view.to_bytes(8, "big"), stated)


def commit_digest(chain_id: Hash32, height: Height, view: View, block_hash: Hash32) -> Hash32:
    """What a COMMIT signs; this signature goes into the certificate."""
    return vote_digest(Tag.SIGN_COMMIT, chain_id, height, view, block_hash)


def verify_quorum_certificate(
    certificate: QuorumCertificate, membership: Membership, chain_id: Hash32
) -> None:
    """Checks, cheap ones first; every signature must hold, none may be junk (B5):

    a) as many signatures as signers: NotCanonical
    b) signers strictly rising and within the membership: NotCanonical
    c) at least q signers: InsufficientSignatures
    d) each signature over the commit domain: BadSignature
    """
    signers = certificate.signers
    if len(signers) != len(certificate.signatures):
        raise NotCanonical("certificate", "signers and signatures differ in number")
    if any(a >= b for a, b in itertools.pairwise(signers)):
        raise NotCanonical("certificate", "signers are not strictly rising")
    if signers and signers[-1] >= membership.n:
        raise NotCanonical("certificate", "a signer is not in the membership")
    if len(signers) < membership.quorum:
        raise InsufficientSignatures(certificate.height, len(signers), membership.quorum)
    digest = commit_digest(chain_id, certificate.height, certificate.view, certificate.block_hash)
    for index, signature in zip(signers, certificate.signatures, strict=True):
        key = membership.validators[index].public_key
        verify_signature(key, signature, digest, f"certificate, signer {index}")


@dataclass(frozen=True, slots=True)
class CertifiedHeader:
    """A header with the certificate that commits it: what every answer of a server rests on."""

    header: Header
    certificate: QuorumCertificate

    def encode(self) -> bytes:
        """[header bytes, certificate bytes]."""
        return codec.encode(self.to_value())

    @staticmethod
    def decode(data: bytes) -> "CertifiedHeader":
        """Raises NotCanonical, TooLarge or OutOfRange; nothing is verified here."""
        return CertifiedHeader.from_value(
            codec.decode(data, CERTIFIED_HEADER_BYTES_MAX, "certified header")
        )

    def to_value(self) -> Value:
        """As it stands inside a proof bundle."""
        return (self.header.encode(), self.certificate.encode())

    @staticmethod
    def from_value(value: Value) -> "CertifiedHeader":
        """Raises NotCanonical, TooLarge or OutOfRange; nothing is verified here."""
        fields = codec.array(value, 2, "certified header")
        return CertifiedHeader(
            Header.decode(codec.binary(fields[0], "header", HEADER_BYTES_MAX)),
            QuorumCertificate.decode(codec.binary(fields[1], "certificate", CERTIFICATE_BYTES_MAX)),
        )


def verify_certified_header(
    untrusted: CertifiedHeader, membership: Membership, chain_id: Hash32
) -> Header:
    """The header, if it is of this chain, is voted on by ``membership``, and is certified.

    a) chain id, membership hash; b) the certificate names this header; c) the certificate holds.
    Raises CertificateMismatch or what ``verify_quorum_certificate`` raises.
    """
    header, certificate = untrusted.header, untrusted.certificate
    if header.chain_id != chain_id:
        raise CertificateMismatch("the header belongs to another chain")
    if header.membership != membership.hash:
        raise CertificateMismatch("another membership votes on this height")
    if certificate.height != header.height or certificate.block_hash != header.hash:
        raise CertificateMismatch("it certifies another block")
    verify_quorum_certificate(certificate, membership, chain_id)
    return header
