"""Votes become durable, then signatures, then messages; and after a restart the way back.

The only place where a consensus key signs. What is in the safety store before a signature
exists is listed with each vote (section 2.3 of the protocol's table).
"""

from collections.abc import Sequence

from ledger import codec
from ledger.consensus.effects import (
    Vote,
    VoteCommit,
    VoteNewView,
    VotePrepare,
    VotePrePrepare,
    VoteViewChange,
)
from ledger.consensus.events import Seat
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
from ledger.consensus.phases import Recovered
from ledger.crypto.hashing import Tag
from ledger.crypto.keys import Signer
from ledger.errors import WrongCall
from ledger.limits import FRAME_BYTES_MAX, VALIDATORS_MAX
from ledger.primitives import Hash32, Height, Signature, View
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate, commit_digest, vote_digest
from nodes import ports
from nodes.ports import SafetyStore

_UNSIGNED = Signature(bytes(Signature.SIZE))


class Voter:
    """Signs what its safety store holds, and nothing else."""

    def __init__(self, chain_id: Hash32, index: int, signer: Signer, safety: SafetyStore) -> None:
        self._chain_id = chain_id
        self._index = index
        self._signer = signer
        self._safety = safety

    def cast(self, votes: Sequence[Vote]) -> list[Message]:
        """Messages of ``votes``, in order; all of them are durable when this returns.

        None at a height that is settled: a validator that lost its ledger, and not its safety
        store, decided those heights before and is fetching them again (L4).
        Raises EquivocationRefused where the safety store remembers another promise.
        """
        recorded = [(vote, self._record(vote)) for vote in votes]
        unsettled = [
            (vote, record) for vote, record in recorded if record.height >= self._safety.below
        ]
        self._safety.append([record for _, record in unsettled])
        return [self._sign(vote, record) for vote, record in unsettled]

    def _record(self, vote: Vote) -> ports.Vote:
        match vote:
            case VotePrePrepare():
                return self._pre_prepare_record(vote.height, vote.view, vote.block)
            case VoteNewView():
                return self._pre_prepare_record(vote.height, vote.view, vote.block)
            case VotePrepare(proposal=p):
                digest = vote_digest(
                    Tag.SIGN_PREPARE, self._chain_id, p.height, p.view, p.block.hash
                )
                return ports.Vote(Tag.SIGN_PREPARE, p.height, p.view, digest, encode_message(p))
            case VoteCommit():
                digest = commit_digest(self._chain_id, vote.height, vote.view, vote.block_hash)
                return ports.Vote(
                    Tag.SIGN_COMMIT,
                    vote.height,
                    vote.view,
                    digest,
                    codec.encode(vote.prepared.to_value()),
                )
            case VoteViewChange():
                return self._view_change_record(vote)

    def _pre_prepare_record(self, height: Height, view: View, block: Block) -> ports.Vote:
        digest = vote_digest(Tag.SIGN_PRE_PREPARE, self._chain_id, height, view, block.hash)
        return ports.Vote(Tag.SIGN_PRE_PREPARE, height, view, digest, block.encoded)

    def _view_change_record(self, vote: VoteViewChange) -> ports.Vote:
        # The same view-change must be sent again after a restart, byte for byte, although
        # another certificate for the same block may have come meanwhile.
        for earlier in reversed(self._safety.votes()):
            if (earlier.kind, earlier.height, earlier.view) == (
                Tag.SIGN_VIEW_CHANGE,
                vote.height,
                vote.view,
            ):
                return earlier
        message = ViewChange(
            vote.height, vote.view, vote.last_certificate, vote.prepared, self._index, _UNSIGNED
        )
        digest = view_change_digest(self._chain_id, vote.membership, message)
        return ports.Vote(Tag.SIGN_VIEW_CHANGE, vote.height, vote.view, digest, message.content())

    def _sign(self, vote: Vote, record: ports.Vote) -> Message:
        signature = self._signer.sign(record.digest)
        match vote:
            case VotePrePrepare():
                return PrePrepare(vote.height, vote.view, vote.block, self._index, signature)
            case VotePrepare(proposal=p):
                return Prepare(p.height, p.view, p.block.hash, self._index, signature)
            case VoteCommit():
                return Commit(vote.height, vote.view, vote.block_hash, self._index, signature)
            case VoteViewChange():
                return ViewChange.from_value((record.payload, self._index, signature))
            case VoteNewView():
                proposal = PrePrepare(vote.height, vote.view, vote.block, self._index, signature)
                return self._sign_new_view(vote, proposal)

    def _sign_new_view(self, vote: VoteNewView, proposal: PrePrepare) -> NewView:
        unsigned = NewView(vote.view_changes, proposal, _UNSIGNED)
        digest = new_view_digest(self._chain_id, unsigned.content())
        payload = codec.encode([change.to_value() for change in vote.view_changes])
        self._safety.append(
            [ports.Vote(Tag.SIGN_NEW_VIEW, vote.height, vote.view, digest, payload)]
        )
        return NewView(vote.view_changes, proposal, self._signer.sign(digest))


def recover(
    seat: Seat,
    height: Height,
    parent: Hash32,
    last_certificate: QuorumCertificate | None,
    safety: SafetyStore | None,
) -> Recovered:
    """Where a replica stands after a restart.

    ``height`` is the one to decide next, ``parent`` the hash of the newest committed block and
    ``last_certificate`` its certificate. The view is the highest ever voted in, which is known
    also where those votes are forgotten, or certified; it was entered if anything but a
    VIEW-CHANGE was voted in it (I10).
    """
    certified = View(0) if last_certificate is None else last_certificate.view
    votes = () if safety is None else safety.votes()
    view = max(certified, View(0) if safety is None else safety.highest_view)
    entered = view == certified or any(
        vote.view == view and vote.kind != Tag.SIGN_VIEW_CHANGE for vote in votes
    )
    here = [vote for vote in votes if vote.height == height]
    bodies: list[Block] = []
    recast: list[Vote] = []
    accepted: PrePrepare | None = None
    prepared: PreparedCertificate | None = None
    changes: tuple[ViewChange, ...] | None = None
    proposed: Block | None = None
    for vote in here:
        current = vote.view == view
        match vote.kind:
            case Tag.SIGN_PRE_PREPARE:
                block = Block.decode(vote.payload)
                bodies.append(block)
                if current:
                    proposed = block
            case Tag.SIGN_NEW_VIEW if current:
                changes = _decode_changes(vote.payload)
            case Tag.SIGN_PREPARE:
                message = decode_message(vote.payload)
                if not isinstance(message, PrePrepare):
                    raise WrongCall("safety store: a PREPARE without its proposal")
                bodies.append(message.block)
                if current:
                    accepted = message
            case Tag.SIGN_COMMIT:
                proof = PreparedCertificate.from_value(
                    codec.decode(vote.payload, FRAME_BYTES_MAX, "prepared certificate")
                )
                if prepared is None or proof.view > prepared.view:
                    prepared = proof
            case _:
                pass  # a VIEW-CHANGE is found again by ``Voter`` when it is cast again
    if proposed is not None:
        recast.append(
            VotePrePrepare(height, view, proposed)
            if changes is None
            else VoteNewView(height, view, changes, proposed)
        )
    if prepared is not None and prepared.view == view:
        recast.append(VoteCommit(height, view, prepared.block_hash, prepared))
    return Recovered(
        seat=seat,
        height=height,
        parent=parent,
        last_certificate=last_certificate,
        view=view,
        # A view that this replica opened itself is entered by its own NEW-VIEW, which is cast
        # again: so it follows its own proposal and can prove the view to the others.
        entered=entered and changes is None,
        recast=tuple(recast) if entered else (),
        accepted=accepted,
        prepared=prepared,
        bodies=tuple(bodies),
    )


def _decode_changes(payload: bytes) -> tuple[ViewChange, ...]:
    values = codec.decode(payload, FRAME_BYTES_MAX, "view-changes")
    return tuple(
        ViewChange.from_value(value)
        for value in codec.array_up_to(values, VALIDATORS_MAX, "view-changes")
    )
