"""Validators that lie, made of correct drivers whose frames or votes are changed on the way."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from ledger.consensus.messages import (
    Commit,
    Message,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ViewChange,
    decode_message,
    encode_message,
    new_view_digest,
    view_change_digest,
)
from ledger.crypto.hashing import Tag
from ledger.primitives import Hash32, Height, Signature, View
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate, commit_digest, vote_digest
from ledger.types.membership import Membership
from nodes.frames import Channel, frame, split_frame
from tests.simulation.cluster import Cluster
from tests.vectors import fixed


def seat(cluster: Cluster, place: int) -> tuple[int, Membership]:
    """Index of a hospital among those that vote, as far as its own node knows, and who they are."""
    driver = cluster.nodes[place].driver
    membership = cluster.genesis.membership if driver is None else driver.membership
    index = membership.index_of(fixed.hospital(place))
    return (place if index is None else index), membership


_UNSIGNED = Signature(bytes(Signature.SIZE))


def consensus_message(data: bytes) -> Message | None:
    """The message in a frame, or None for other channels."""
    channel, payload = split_frame(data)
    return decode_message(payload) if channel is Channel.CONSENSUS else None


def framed(message: Message) -> bytes:
    """A frame of one message."""
    return frame(Channel.CONSENSUS, encode_message(message))


def pre_prepare(cluster: Cluster, signer: int, block: Block, view: int = 0) -> PrePrepare:
    """A proposal, correctly signed, whatever the block is."""
    height, chain = block.header.height, cluster.genesis.chain_id
    digest = vote_digest(Tag.SIGN_PRE_PREPARE, chain, height, View(view), block.hash)
    signature = fixed.validator_signer(signer).sign(digest)
    return PrePrepare(height, View(view), block, seat(cluster, signer)[0], signature)


def prepare(cluster: Cluster, signer: int, block: Block, view: int = 0) -> Prepare:
    """A vote for any block."""
    height, chain = block.header.height, cluster.genesis.chain_id
    digest = vote_digest(Tag.SIGN_PREPARE, chain, height, View(view), block.hash)
    signature = fixed.validator_signer(signer).sign(digest)
    return Prepare(height, View(view), block.hash, seat(cluster, signer)[0], signature)


def commit(cluster: Cluster, signer: int, block: Block, view: int = 0) -> Commit:
    """A vote for any block."""
    height, chain = block.header.height, cluster.genesis.chain_id
    digest = commit_digest(chain, height, View(view), block.hash)
    signature = fixed.validator_signer(signer).sign(digest)
    return Commit(height, View(view), block.hash, seat(cluster, signer)[0], signature)


def view_change(
    cluster: Cluster,
    signer: int,
    view: int,
    last: QuorumCertificate | None = None,
    prepared: PreparedCertificate | None = None,
    in_place_of: int | None = None,
) -> ViewChange:
    """A view-change at the height above ``last``; in another's name if that index is given."""
    index, membership = seat(cluster, signer)
    height = Height(1 if last is None else last.height + 1)
    place = index if in_place_of is None else in_place_of
    unsigned = ViewChange(height, View(view), last, prepared, place, _UNSIGNED)
    digest = view_change_digest(cluster.genesis.chain_id, membership.hash, unsigned)
    return replace(unsigned, signature=fixed.validator_signer(signer).sign(digest))


def new_view(
    cluster: Cluster, signer: int, changes: Sequence[ViewChange], proposal: PrePrepare
) -> NewView:
    """A NEW-VIEW for a proposal of the same signer, whatever follows from the view-changes."""
    unsigned = NewView(tuple(changes), proposal, _UNSIGNED)
    digest = new_view_digest(cluster.genesis.chain_id, unsigned.content())
    return replace(unsigned, signature=fixed.validator_signer(signer).sign(digest))


class SignatureLog:
    """Judges I9 from outside: everything that correct validators sent or could have sent."""

    def __init__(self) -> None:
        self._digests: dict[tuple[str, int, int, int], set[bytes]] = defaultdict(set)
        self.highest_views: dict[int, int] = defaultdict(int)

    def saw(self, data: bytes) -> Message | None:
        """Notes the votes in a frame, whoever sent it; returns its message."""
        message = consensus_message(data)
        if isinstance(message, NewView):
            self._note("new-view", message, message.content())
            self._note("pre-prepare", message.proposal, message.proposal.block.hash)
        elif isinstance(message, ViewChange):
            self._note("view-change", message, message.content())
        elif isinstance(message, PrePrepare):
            self._note("pre-prepare", message, message.block.hash)
        elif message is not None:
            self._note(type(message).__name__, message, message.block_hash)
        return message

    def _note(self, kind: str, message: Message, content: bytes) -> None:
        self._digests[kind, message.signer, message.height, message.view].add(content)

    def check(self, *byzantine: int) -> None:
        """No signer but those named ever signed two things for one (type, height, view)."""
        assert self._digests, "nothing was signed"
        for (kind, signer, height, view), contents in self._digests.items():
            twice = len(contents) > 1 and signer not in byzantine
            assert not twice, f"{kind} of {signer} at ({height}, {view}) was signed twice"


def with_state_root(block: Block, root: Hash32) -> Block:
    """The same block with another result."""
    return Block(replace(block.header, state_root=root), block.transactions)
