"""Checkpoints: a certified header that a hospital prints, to start from without the genesis.

Whoever takes one trusts the hospital that printed it, as one trusts it for a genesis document.
"""

import base64
from dataclasses import dataclass

from ledger import codec
from ledger.errors import NotCanonical, PeerFault, WorldFault
from ledger.light.trust import TrustedChain, WrongChain
from ledger.primitives import Hash32, Height
from ledger.types.certificate import CertifiedHeader, verify_certified_header
from ledger.types.membership import Membership

CHECKPOINT_BYTES_MAX = 128
CHECKPOINT_PREFIX = "YILIAN-CHECKPOINT:"
"""With base32 after it, a QR code needs no more than its alphanumeric mode."""


@dataclass(eq=False)
class CheckpointMismatch(PeerFault):
    """What a server showed is not what the printed checkpoint is about."""

    height: Height
    what: str
    template = (
        "checkpoint at height {height}: {what}; ask another server, and have the checkpoint "
        "printed again if that one says the same"
    )


@dataclass(eq=False)
class NoCheckpointHere(WorldFault):
    """A header from which nobody can start."""

    height: Height
    template = "height {height}: the membership changes here; print the next height"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the hospital prints."""

    chain_id: Hash32
    height: Height
    header_hash: Hash32
    membership_hash: Hash32
    """Votes on that height and on the next one."""

    @property
    def text(self) -> str:
        """YILIAN-CHECKPOINT: and base32 of ["checkpoint", chain id, height, header, members]."""
        data = codec.encode(
            ["checkpoint", self.chain_id, self.height, self.header_hash, self.membership_hash]
        )
        return CHECKPOINT_PREFIX + base64.b32encode(data).decode("ascii").rstrip("=")

    @staticmethod
    def from_text(text: str) -> "Checkpoint":
        """What a QR code or a person says; raises NotCanonical, TooLarge or OutOfRange."""
        what = "checkpoint"
        if not text.startswith(CHECKPOINT_PREFIX):
            raise NotCanonical(what, "it is another kind of text")
        data = _base32(text.removeprefix(CHECKPOINT_PREFIX))
        fields = codec.array(codec.decode(data, CHECKPOINT_BYTES_MAX, what), 5, what)
        if fields[0] != "checkpoint":
            raise NotCanonical(what, "it is another kind of text")
        return Checkpoint(
            Hash32(codec.binary(fields[1], "checkpoint chain id", 32)),
            Height(codec.uint(fields[2], "checkpoint height")),
            Hash32(codec.binary(fields[3], "checkpoint header", 32)),
            Hash32(codec.binary(fields[4], "checkpoint membership", 32)),
        )


def checkpoint_of(trusted: TrustedChain) -> Checkpoint:
    """The checkpoint of a verified header; raises NoCheckpointHere.

    Where the membership changes, whoever starts there could not verify that height again.
    """
    if trusted.height == 0 or trusted.voters.hash != trusted.membership.hash:
        raise NoCheckpointHere(trusted.height)
    return Checkpoint(
        trusted.chain_id, trusted.height, trusted.header_hash, trusted.membership.hash
    )


def trust_checkpoint(
    checkpoint: Checkpoint, untrusted: CertifiedHeader, membership: Membership
) -> TrustedChain:
    """The chain trusted at the checkpoint, whose header and members any server may show.

    Checks: chain id (WrongChain); height, header and membership are those that were printed
    (CheckpointMismatch); the certificate holds (what ``verify_certified_header`` raises).
    """
    header = untrusted.header
    if header.chain_id != checkpoint.chain_id:
        raise WrongChain("checkpoint", header.chain_id, checkpoint.chain_id)
    if header.height != checkpoint.height or header.hash != checkpoint.header_hash:
        raise CheckpointMismatch(checkpoint.height, "another header was shown")
    if membership.hash != checkpoint.membership_hash:
        raise CheckpointMismatch(checkpoint.height, "another membership was shown")
    if header.next_membership != checkpoint.membership_hash:
        raise CheckpointMismatch(checkpoint.height, "its header names another membership")
    verify_certified_header(untrusted, membership, checkpoint.chain_id)
    return TrustedChain(
        checkpoint.chain_id, header.height, header.hash, header.time_ms, membership, membership
    )


def _base32(letters: str) -> bytes:
    """The bytes of which ``letters`` are the one encoding, without padding."""
    try:
        data = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except ValueError:
        data = b""
    if base64.b32encode(data).decode("ascii").rstrip("=") != letters:
        raise NotCanonical("checkpoint", "it is no base32")
    return data
