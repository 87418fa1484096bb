"""Makes the proof of a double vote from two messages of one signer."""

from ledger.consensus.messages import (
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
    view_change_hash,
)
from ledger.crypto.hashing import Tag
from ledger.errors import WrongCall
from ledger.types.evidence import Evidence, Statement
from ledger.types.membership import Membership


def evidence_of(one: Message, other: Message, membership: Membership) -> Evidence:
    """The proof that both of ``membership`` signed for one place; both are verified messages.

    Raises WrongCall where they are not two statements of one signer for one place.
    """
    (tag, first), (other_tag, second) = _stated(one, membership), _stated(other, membership)
    place = tag, one.height, one.view, one.signer
    if place != (other_tag, other.height, other.view, other.signer) or first == second:
        raise WrongCall("double votes: the messages do not contradict each other")
    if second.stated < first.stated:
        first, second = second, first
    key_id = membership.validators[one.signer].public_key.key_id
    return Evidence(tag, one.height, one.view, key_id, first, second)


def _stated(message: Message, membership: Membership) -> tuple[Tag, Statement]:
    match message:
        case NewView():
            return _stated(message.proposal, membership)
        case PrePrepare():
            return Tag.SIGN_PRE_PREPARE, Statement(message.block.hash, message.signature)
        case ViewChange():
            stated = view_change_hash(membership.hash, message)
            return Tag.SIGN_VIEW_CHANGE, Statement(stated, message.signature)
        case Prepare():
            return Tag.SIGN_PREPARE, Statement(message.block_hash, message.signature)
        case _:
            return Tag.SIGN_COMMIT, Statement(message.block_hash, message.signature)
