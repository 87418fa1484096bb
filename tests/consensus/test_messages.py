"""Each rule of the message table (2.2) refuses what breaks it, before any state changes."""

from dataclasses import replace

import pytest

from ledger.consensus.messages import (
    Message,
    MessageRefused,
    ViewChange,
    decode_message,
    encode_message,
)
from ledger.consensus.view_change import proposal_follows, view_to_join
from ledger.errors import BadSignature, PeerFault
from ledger.primitives import Hash32, Height, Signature, View
from ledger.types.certificate import InsufficientSignatures
from tests.consensus import kit
from tests.vectors import fixed

A, B = kit.block(name="a"), kit.block(name="b")
SECOND = kit.block(height=2, name="second")
PREPARED = kit.prepared(A, 0, (1, 2))
CHANGES = [kit.view_change(1, i, proof=PREPARED if i == 2 else None) for i in (0, 2, 3)]
EXAMPLES: dict[str, Message] = {
    "pre-prepare": kit.pre_prepare(A, 0),
    "prepare": kit.prepare(A, 0, 2),
    "commit": kit.commit(A, 0, 3),
    "view-change": kit.view_change(1, 2, proof=PREPARED),
    "view-change at height 2": kit.view_change(3, 1, 2, kit.certificate(A)),
    "new-view": kit.new_view(CHANGES, kit.pre_prepare(A, 1)),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_B1_messages_verify_and_encode_to_the_same_bytes(name):
    message = EXAMPLES[name]
    assert kit.VERIFIER.verify(message).value == message
    assert decode_message(encode_message(message)) == message


WRONG = fixed.validator_signer(9).sign(Hash32(bytes(32)))
REFUSED: dict[str, tuple[Message, type[PeerFault]]] = {
    "pre-prepare of another than the primary": (kit.pre_prepare(A, 0, 1), MessageRefused),
    "pre-prepare with a block of another height": (
        replace(kit.pre_prepare(A, 0), height=Height(2)),
        MessageRefused,
    ),
    "prepare of the primary (sawtooth 180ceed)": (kit.prepare(A, 0, 0), MessageRefused),
    "prepare of no validator": (replace(kit.prepare(A, 0, 2), signer=7), MessageRefused),
    "prepare under another's name": (replace(kit.prepare(A, 0, 2), signer=3), BadSignature),
    "prepare with a commit's signature (raijin 17)": (
        replace(kit.prepare(A, 0, 2), signature=kit.commit(A, 0, 2).signature),
        BadSignature,
    ),
    "commit with a prepare's signature (FIB-134)": (
        replace(kit.commit(A, 0, 2), signature=kit.prepare(A, 0, 2).signature),
        BadSignature,
    ),
    "commit for another block": (replace(kit.commit(A, 0, 2), block_hash=B.hash), BadSignature),
    "commit for another view": (replace(kit.commit(A, 0, 2), view=View(1)), BadSignature),
    "commit for another height": (replace(kit.commit(A, 0, 2), height=Height(2)), BadSignature),
    "commit with any signature": (replace(kit.commit(A, 0, 2), signature=WRONG), BadSignature),
    "commit with a signature of zeros": (
        replace(kit.commit(A, 0, 2), signature=Signature(bytes(65))),
        BadSignature,
    ),
    "view-change to view 0": (kit.view_change(0, 2), MessageRefused),
    "view-change without the certificate below": (
        kit.view_change(1, 2, height=2),
        MessageRefused,
    ),
    "view-change with a certificate at height 1": (
        kit.view_change(1, 2, 1, kit.certificate(A)),
        MessageRefused,
    ),
    "view-change with the certificate of another height": (
        kit.view_change(1, 2, 3, kit.certificate(A)),
        MessageRefused,
    ),
    "view-change with too small a certificate": (
        kit.view_change(1, 2, 2, kit.certificate(A, signers=(0, 1))),
        InsufficientSignatures,
    ),
    "view-change prepared at another height": (
        kit.view_change(2, 2, 2, kit.certificate(A), PREPARED),
        MessageRefused,
    ),
    "view-change prepared in the view it wants": (
        kit.view_change(1, 2, proof=kit.prepared(A, 1, (2, 3))),
        MessageRefused,
    ),
    "prepared with too few backups": (
        kit.view_change(1, 2, proof=kit.prepared(A, 0, (1,))),
        MessageRefused,
    ),
    "prepared with one backup twice": (
        kit.view_change(1, 2, proof=kit.prepared(A, 0, (1, 1))),
        MessageRefused,
    ),
    "prepared with the primary among the backups": (
        kit.view_change(1, 2, proof=kit.prepared(A, 0, (0, 1))),
        MessageRefused,
    ),
    "prepared with swapped block": (
        kit.view_change(1, 2, proof=replace(PREPARED, block_hash=B.hash)),
        BadSignature,
    ),
    "prepared with one junk signature": (
        kit.view_change(1, 2, proof=replace(PREPARED, signatures=(PREPARED.signatures[0], WRONG))),
        BadSignature,
    ),
    "new-view of another than the primary": (
        kit.new_view(CHANGES, kit.pre_prepare(A, 1, 2)),
        MessageRefused,
    ),
    "new-view signed by another": (
        kit.new_view(CHANGES, kit.pre_prepare(A, 1), signer=2),
        BadSignature,
    ),
    "new-view with too few view-changes": (
        kit.new_view(CHANGES[:2], kit.pre_prepare(A, 1)),
        MessageRefused,
    ),
    "new-view with one view-change twice": (
        kit.new_view([CHANGES[0], CHANGES[0], CHANGES[1]], kit.pre_prepare(A, 1)),
        MessageRefused,
    ),
    "new-view with a view-change for another view": (
        kit.new_view([*CHANGES[:2], kit.view_change(2, 3)], kit.pre_prepare(A, 1)),
        MessageRefused,
    ),
    "new-view with an unsigned view-change (raijin 7)": (
        kit.new_view(
            [*CHANGES[:2], ViewChange(Height(1), View(1), None, None, 3, WRONG)],
            kit.pre_prepare(A, 1),
        ),
        BadSignature,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_messages_that_break_a_rule_are_refused(name):
    message, error = REFUSED[name]
    with pytest.raises(error):
        kit.VERIFIER.verify(message)


def test_a_message_of_another_chain_is_refused():
    other = replace(kit.VERIFIER, chain_id=Hash32(bytes(32)))
    for message in EXAMPLES.values():
        with pytest.raises(BadSignature):
            other.verify(message)


def test_new_view_must_propose_the_prepared_block_of_the_highest_view():
    early = kit.prepared(A, 0, (1, 2))
    late = kit.prepared(B, 1, (2, 3))
    changes = [
        kit.view_change(2, 0, proof=early),
        kit.view_change(2, 1, proof=late),
        kit.view_change(2, 3),
    ]
    assert proposal_follows(kit.new_view(changes, kit.pre_prepare(B, 2)))
    assert not proposal_follows(kit.new_view(changes, kit.pre_prepare(A, 2)))


def test_new_view_ignores_what_was_prepared_below_the_highest_height():
    higher = kit.view_change(1, 1, 2, kit.certificate(A))
    changes = [kit.view_change(1, 0, proof=PREPARED), higher, kit.view_change(1, 2)]
    assert proposal_follows(kit.new_view(changes, kit.pre_prepare(SECOND, 1)))
    assert not proposal_follows(kit.new_view(changes, kit.pre_prepare(A, 1)))


def test_V1_a_view_is_joined_on_f_plus_1_and_only_the_lowest():
    assert view_to_join(View(2), [View(9)], witness=2) is None
    assert view_to_join(View(2), [View(9), View(2)], witness=2) is None
    assert view_to_join(View(2), [View(9), View(5)], witness=2) == 5
