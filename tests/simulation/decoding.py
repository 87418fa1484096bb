"""Frames reach many receivers and are sent again: each is decoded once, which decoding permits.

Decoders are functions of bytes, and what they return never changes.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from unittest.mock import patch

from ledger.catchup import Status
from ledger.consensus import messages
from ledger.types.block import Block
from ledger.types.certificate import CertifiedHeader, QuorumCertificate
from ledger.types.transaction import SignedTransaction
from tests.simulation.mutants.patching import swapped_function

KEPT_RESULTS = 30_000
_KINDS = (Block, CertifiedHeader, QuorumCertificate, SignedTransaction, Status)


@contextmanager
def shared_decoding() -> Iterator[None]:
    """Inside, each decoder remembers the values of the newest bytes that it decoded."""
    with ExitStack() as stack:
        decode = messages.decode_message
        stack.enter_context(swapped_function(decode, lru_cache(KEPT_RESULTS)(decode)))
        for kind in _KINDS:
            once = staticmethod(lru_cache(KEPT_RESULTS)(kind.decode))
            stack.enter_context(patch.object(kind, "decode", once))
        yield
