"""Signed consensus messages of the fixed four-hospital network."""

from dataclasses import replace

from ledger.consensus.messages import (
    Commit,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    Verifier,
    ViewChange,
    new_view_digest,
    view_change_digest,
)
from ledger.crypto.hashing import Tag
from ledger.merkle.log_tree import root_of
from ledger.primitives import Hash32, Height, Signature, View
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate, commit_digest, vote_digest
from ledger.types.membership import Voters
from tests.vectors import fixed

N = 4
GENESIS = fixed.genesis(N)
CHAIN = GENESIS.chain_id
MEMBERSHIP = GENESIS.membership
VOTERS = Voters(Height(1), MEMBERSHIP, None)
VERIFIER = Verifier(CHAIN, VOTERS, rotation=1_000)
UNSIGNED = Signature(bytes(65))


def block(height: int = 1, name: str = "a") -> Block:
    """An empty block; consensus does not look inside."""
    header = replace(
        fixed.header(N),
        height=Height(height),
        transaction_count=0,
        transaction_root=root_of([]),
        state_root=fixed.named_hash(f"state {name}"),
    )
    return Block(header, ())


def sign(index: int, digest: Hash32) -> Signature:
    """By a validator's consensus key."""
    return fixed.validator_signer(index).sign(digest)


def pre_prepare(of: Block, view: int, signer: int | None = None) -> PrePrepare:
    """By the primary of that view unless another signer is named."""
    height = of.header.height
    index = VERIFIER.primary(height, View(view)) if signer is None else signer
    digest = vote_digest(Tag.SIGN_PRE_PREPARE, CHAIN, height, View(view), of.hash)
    return PrePrepare(height, View(view), of, index, sign(index, digest))


def prepare(of: Block, view: int, signer: int) -> Prepare:
    """A backup's."""
    height = of.header.height
    digest = vote_digest(Tag.SIGN_PREPARE, CHAIN, height, View(view), of.hash)
    return Prepare(height, View(view), of.hash, signer, sign(signer, digest))


def commit(of: Block, view: int, signer: int) -> Commit:
    """A validator's."""
    height = of.header.height
    digest = commit_digest(CHAIN, height, View(view), of.hash)
    return Commit(height, View(view), of.hash, signer, sign(signer, digest))


def prepared(of: Block, view: int, backups: tuple[int, ...]) -> PreparedCertificate:
    """The proposal and those backups' PREPAREs."""
    votes = [prepare(of, view, signer) for signer in backups]
    return PreparedCertificate(
        of.header.height,
        View(view),
        of.hash,
        pre_prepare(of, view).signature,
        backups,
        tuple(vote.signature for vote in votes),
    )


def certificate(of: Block, view: int = 0, signers: tuple[int, ...] = (0, 1, 2)):
    """Quorum certificate of those signers."""
    votes = [commit(of, view, signer) for signer in signers]
    return QuorumCertificate(
        of.header.height, View(view), of.hash, signers, tuple(v.signature for v in votes)
    )


def view_change(
    view: int,
    signer: int,
    height: int = 1,
    last: QuorumCertificate | None = None,
    proof: PreparedCertificate | None = None,
) -> ViewChange:
    """Signed by ``signer``."""
    unsigned = ViewChange(Height(height), View(view), last, proof, signer, UNSIGNED)
    digest = view_change_digest(CHAIN, MEMBERSHIP.hash, unsigned)
    return replace(unsigned, signature=sign(signer, digest))


def new_view(changes: list[ViewChange], proposal: PrePrepare, signer: int | None = None):
    """Signed by the proposal's signer unless another is named."""
    unsigned = NewView(tuple(changes), proposal, UNSIGNED)
    index = proposal.signer if signer is None else signer
    return replace(unsigned, signature=sign(index, new_view_digest(CHAIN, unsigned.content())))
