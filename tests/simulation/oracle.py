"""The protocol's arithmetic and certificates once more, from its text and not from the product.

A judge that asked the product's own verifier would weaken together with it: so judges count
quorums and check certificates with what stands here, and mutants of the product do not reach it.
"""

from hashlib import sha256

from ledger.crypto.keys import verify_signature
from ledger.errors import BadSignature
from ledger.primitives import Hash32
from ledger.types.certificate import QuorumCertificate
from ledger.types.membership import Membership


def faults_tolerated(n: int) -> int:
    """The most that fewer than a third of ``n`` can be."""
    return max(f for f in range(n) if 3 * f < n)


def quorum(n: int) -> int:
    """The smallest number of which two sets share more than f, found by trying."""
    return next(q for q in range(1, n + 1) if 2 * q - n > faults_tolerated(n))


def signing_digest(tag: bytes, chain_id: Hash32, *parts: bytes) -> Hash32:
    """SHA-256 of tag, protocol version 1, chain and parts, each behind its length in 4 bytes."""
    hashed = sha256()
    for part in (tag, b"\x01", chain_id, *parts):
        hashed.update(len(part).to_bytes(4, "big") + part)
    return Hash32(hashed.digest())


def commit_digest(chain_id: Hash32, height: int, view: int, block: Hash32) -> Hash32:
    """What a COMMIT signs."""
    numbers = height.to_bytes(8, "big"), view.to_bytes(8, "big")
    return signing_digest(b"sign-commit", chain_id, *numbers, block)


def flaw(certificate: QuorumCertificate, membership: Membership, chain_id: Hash32) -> str:
    """Why ``certificate`` proves nothing; empty if it does."""
    validators, signers = membership.validators, certificate.signers
    if len(signers) != len(certificate.signatures):
        return "signers and signatures differ in number"
    if len(set(signers)) != len(signers) or any(s >= len(validators) for s in signers):
        return f"signers {list(signers)} are not distinct validators"
    if len(signers) < quorum(len(validators)):
        return f"{len(signers)} of {len(validators)} validators are no quorum"
    digest = commit_digest(chain_id, certificate.height, certificate.view, certificate.block_hash)
    for signer, signature in zip(signers, certificate.signatures, strict=True):
        try:
            verify_signature(validators[signer].public_key, signature, digest, "certificate")
        except BadSignature:
            return f"the signature of validator {signer} is not over this commit"
    return ""
