"""B1, B4, B5: of no signed object is any single bit free. Exhaustive: each bit of each example."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ledger.catchup import check_body
from ledger.consensus.messages import (
    NewView,
    PrePrepare,
    decode_message,
    encode_message,
)
from ledger.errors import PeerFault
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.types.block import Block
from ledger.types.certificate import (
    CertifiedHeader,
    QuorumCertificate,
    verify_certified_header,
    verify_quorum_certificate,
)
from ledger.types.evidence import Evidence
from ledger.types.transaction import SignedTransaction, verify_transaction
from tests.consensus import kit
from tests.fuzz.decoders import double_vote
from tests.vectors import fixed

DOCTOR = fixed.FixedSigner("doctor").public_key
SIGNED = fixed.signed_transaction().encoded
BLOCK = Block(
    replace(fixed.header(), transaction_root=root_of([leaf_hash(SIGNED)])),
    (SIGNED,),
)
CERTIFICATE = kit.certificate(BLOCK)
PROOF = kit.prepared(BLOCK, 0, (1, 2))
CHANGES = [kit.view_change(1, i, proof=PROOF if i == 2 else None) for i in (0, 2, 3)]
SECOND = kit.block(height=2)


def accept_transaction(data: bytes) -> None:
    verify_transaction(SignedTransaction.decode(data), DOCTOR)


def accept_certificate(data: bytes) -> None:
    verify_quorum_certificate(QuorumCertificate.decode(data), kit.MEMBERSHIP, kit.CHAIN)


def accept_certified_header(data: bytes) -> None:
    verify_certified_header(CertifiedHeader.decode(data), kit.MEMBERSHIP, kit.CHAIN)


def accept_evidence(data: bytes) -> None:
    Evidence.decode(data).verify(kit.CHAIN, fixed.validator_signer(0).public_key)


def accept_message(data: bytes) -> None:
    """As the driver takes a message: a body belongs to its header, every signature holds."""
    message = decode_message(data)
    if isinstance(message, PrePrepare):
        check_body(message.block)
    elif isinstance(message, NewView):
        check_body(message.proposal.block)
    kit.VERIFIER.verify(message)


OBJECTS: dict[str, tuple[Callable[[bytes], None], bytes]] = {
    "transaction": (accept_transaction, SIGNED),
    "certificate": (accept_certificate, CERTIFICATE.encode()),
    "certified header": (
        accept_certified_header,
        CertifiedHeader(BLOCK.header, CERTIFICATE).encode(),
    ),
    "evidence": (accept_evidence, double_vote().encode()),
    **{
        name: (accept_message, encode_message(message))
        for name, message in {
            "pre-prepare": kit.pre_prepare(BLOCK, 0),
            "prepare": kit.prepare(BLOCK, 0, 2),
            "commit": kit.commit(BLOCK, 0, 3),
            "view-change": kit.view_change(1, 2, proof=PROOF),
            "view-change at height 2": kit.view_change(3, 1, 2, CERTIFICATE),
            "new-view": kit.new_view(CHANGES, kit.pre_prepare(BLOCK, 1)),
            "new-view at height 2": kit.new_view(
                [kit.view_change(2, i, 2, CERTIFICATE) for i in (0, 1, 3)],
                kit.pre_prepare(SECOND, 2),
            ),
        }.items()
    },
}
"""What decides on it, and a valid example."""


@pytest.mark.parametrize("name", OBJECTS)
def test_B1_B4_B5_no_bit_of_a_signed_object_is_free(name: str) -> None:
    accept, data = OBJECTS[name]
    accept(data)
    accepted = []
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            accept(bytes(flipped))
        except PeerFault:
            continue
        accepted.append(bit)
    assert accepted == []
