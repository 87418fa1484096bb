"""The protocol's arithmetic and certificates once more, from its text and not from the product.

A judge that asked the product's own verifier would weaken together with it: so judges count
quorums and check what proves something with what stands here, and mutants of the product do not
reach it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from ledger.consensus.messages import NewView, PreparedCertificate, PrePrepare, ViewChange
from ledger.crypto.keys import verify_signature
from ledger.errors import BadSignature
from ledger.primitives import Hash32, Signature
from ledger.types.certificate import QuorumCertificate
from ledger.types.membership import Membership


def faults_tolerated(n: int) -> int:
    """The most that fewer than a third of ``n`` can be."""
    return max(f for f in range(n) if 3 * f < n)


def quorum(n: int) -> int:
    """The smallest number of which two sets share more than f, found by trying."""
    return next(q for q in range(1, n + 1) if 2 * q - n > faults_tolerated(n))


def hash_tagged(tag: bytes, *parts: bytes) -> Hash32:
    """SHA-256 of tag and parts, each behind its length in 4 bytes."""
    hashed = sha256()
    for part in (tag, *parts):
        hashed.update(len(part).to_bytes(4, "big") + part)
    return Hash32(hashed.digest())


def signing_digest(tag: bytes, chain_id: Hash32, *parts: bytes) -> Hash32:
    """The same with protocol version 2 and the chain between tag and parts."""
    return hash_tagged(tag, b"\x02", chain_id, *parts)


def vote_digest(kind: bytes, chain_id: Hash32, height: int, view: int, content: Hash32) -> Hash32:
    """What a vote signs: each kind has a tag of its own."""
    numbers = height.to_bytes(8, "big"), view.to_bytes(8, "big")
    return signing_digest(b"sign-" + kind, chain_id, *numbers, content)


def is_signed(membership: Membership, signer: int, signature: Signature, digest: Hash32) -> bool:
    """Whether that one of ``membership`` signed it."""
    if signer >= len(membership.validators):
        return False
    try:
        verify_signature(membership.validators[signer].public_key, signature, digest, "oracle")
    except BadSignature:
        return False
    return True


def flaw(certificate: QuorumCertificate, membership: Membership, chain_id: Hash32) -> str:
    """Why ``certificate`` proves nothing; empty if it does."""
    validators, signers = membership.validators, certificate.signers
    if len(signers) != len(certificate.signatures):
        return "signers and signatures differ in number"
    if len(set(signers)) != len(signers) or any(s >= len(validators) for s in signers):
        return f"signers {list(signers)} are not distinct validators"
    if len(signers) < quorum(len(validators)):
        return f"{len(signers)} of {len(validators)} validators are no quorum"
    place = certificate.height, certificate.view, certificate.block_hash
    digest = vote_digest(b"commit", chain_id, *place)
    for signer, signature in zip(signers, certificate.signatures, strict=True):
        if not is_signed(membership, signer, signature, digest):
            return f"the signature of validator {signer} is not over this commit"
    return ""


@dataclass(frozen=True)
class Law:
    """What a network's memberships and rotation make of its messages; "" means no flaw."""

    chain_id: Hash32
    rotation: int
    voting: Mapping[int, Membership]
    """Who votes on each height that is decided, and on the one after."""

    def primary(self, height: int, view: int) -> int:
        """members[(view + height div rotation) mod n]."""
        return (view + height // self.rotation) % len(self.voting[height].validators)

    def proposal_flaw(self, proposal: PrePrepare) -> str:
        """Why this is no proposal of its height and view."""
        place = proposal.height, proposal.view
        if proposal.signer != self.primary(*place):
            return f"validator {proposal.signer} is not the primary of {place}"
        digest = vote_digest(b"pre-prepare", self.chain_id, *place, proposal.block.hash)
        members = self.voting[proposal.height]
        signed = is_signed(members, proposal.signer, proposal.signature, digest)
        return "" if signed else f"the primary of {place} did not sign it"

    def prepared_flaw(self, proof: PreparedCertificate) -> str:
        """Why not a primary and q-1 distinct backups signed for that block."""
        members, primary = self.voting[proof.height], self.primary(proof.height, proof.view)
        backups, place = proof.signers, (proof.height, proof.view, proof.block_hash)
        if len({primary, *backups}) != quorum(len(members.validators)):
            return f"primary {primary} and backups {list(backups)} are no quorum"
        if len(backups) != len(proof.signatures) or len(backups) != len(set(backups)):
            return "signers and signatures do not match"
        digest = vote_digest(b"pre-prepare", self.chain_id, *place)
        if not is_signed(members, primary, proof.primary_signature, digest):
            return f"primary {primary} did not propose it"
        digest = vote_digest(b"prepare", self.chain_id, *place)
        for signer, signature in zip(backups, proof.signatures, strict=True):
            if not is_signed(members, signer, signature, digest):
                return f"backup {signer} did not prepare it"
        return ""

    def view_change_flaw(self, change: ViewChange) -> str:
        """Why nobody may count it."""
        last, prepared = change.last_certificate, change.prepared
        if (last is None) != (change.height == 1) or change.height not in self.voting:
            return "it has no certificate of the height below"
        if last is not None:
            if last.height != change.height - 1:
                return "its certificate is of another height"
            wrong = flaw(last, self.voting[last.height], self.chain_id)
            if wrong:
                return f"its certificate: {wrong}"
        if prepared is not None:
            wrong = self.prepared_flaw(prepared)
            if wrong or prepared.height != change.height or prepared.view >= change.view:
                return f"its prepared certificate: {wrong or 'of another place'}"
        membership = self.voting[change.height]
        content = hash_tagged(b"view-change", _hash_of(membership), change.content())
        digest = vote_digest(b"view-change", self.chain_id, change.height, change.view, content)
        signed = is_signed(membership, change.signer, change.signature, digest)
        return "" if signed else f"validator {change.signer} did not sign it"

    def new_view_flaw(self, message: NewView) -> str:
        """Why the view is not opened by it, or why its proposal does not follow."""
        proposal, changes = message.proposal, message.view_changes
        signers = {change.signer for change in changes}
        needed = quorum(len(self.voting[proposal.height].validators))
        if len(signers) != needed or len(changes) != needed:
            return f"{len(changes)} view-changes of {len(signers)} are not a quorum of {needed}"
        for change in changes:
            wrong = self.view_change_flaw(change)
            if wrong or change.view != proposal.view:
                return f"a view-change: {wrong or 'for another view'}"
        highest = max(change.height for change in changes)
        proofs = [c.prepared for c in changes if c.height == highest and c.prepared is not None]
        if proposal.height != highest:
            return f"it proposes at height {proposal.height}, not {highest}"
        newest = max((proof.view for proof in proofs), default=0)
        bound = {proof.block_hash for proof in proofs if proof.view == newest}
        if bound and proposal.block.hash not in bound:
            return f"it does not propose what was prepared in view {newest}"
        wrong = self.proposal_flaw(proposal)
        digest = signing_digest(b"sign-new-view", self.chain_id, message.content())
        members = self.voting[proposal.height]
        if not wrong and not is_signed(members, message.signer, message.signature, digest):
            wrong = "its sender did not sign it"
        return wrong


def _hash_of(membership: Membership) -> Hash32:
    return hash_tagged(b"membership", membership.encode())
