"""Signatures for the many seeds that test agreement and not cryptography: an HMAC each.

They have the size of real ones and bind key and digest; nobody can make one of a key without
being its ``FixedSigner``. One seed in sixteen is run with real signatures.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hmac import digest as hmac_digest
from unittest.mock import patch

from ledger.crypto.keys import SUITE_P256, PublicKey
from ledger.errors import BadSignature
from ledger.primitives import Hash32, Signature
from tests.vectors.fixed import FixedSigner

VERIFIERS = (
    "contracts.governance",
    "ledger.consensus.messages",
    "ledger.types.certificate",
    "ledger.types.evidence",
    "ledger.types.transaction",
    "tests.simulation.oracle",
)
"""Modules that call ``verify_signature`` on what the simulator lets travel."""
_SECRET = b"only the simulator's signers know this"


def fast_signature(key: PublicKey, digest: Hash32) -> Signature:
    """Suite byte and twice the keyed digest, the second in the lower half."""
    tag = hmac_digest(_SECRET, key.encoded + digest, "sha256")
    return Signature(bytes([SUITE_P256]) + tag + bytes([tag[0] & 0x7F]) + tag[1:])


def _sign(signer: FixedSigner, digest: Hash32) -> Signature:
    return fast_signature(signer.public_key, digest)


def _verify(key: PublicKey, signature: bytes, digest: Hash32, what: str) -> None:
    if signature != fast_signature(key, digest):
        raise BadSignature(what)


@contextmanager
def fast_signatures() -> Iterator[None]:
    """Inside, every fixed signer signs fast, and every verifier knows such signatures only."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(FixedSigner, "sign", _sign))
        for module in VERIFIERS:
            stack.enter_context(patch(f"{module}.verify_signature", _verify))
        yield
