"""What the HTTP interface needs of the node behind it; the runtime implements it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.contract_api import Column
from ledger.merkle.proof import StateProof
from ledger.primitives import Hash32, Height
from ledger.types.block import Block, Header, Receipt
from ledger.types.certificate import CertifiedHeader, QuorumCertificate
from ledger.types.genesis import Genesis
from ledger.types.membership import Membership


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """What became of one submitted transaction at admission."""

    id: Hash32 | None
    """None where the bytes are no transaction."""
    status: str
    """"accepted" (also when it is already pending or committed) or "refused"."""
    code: str
    """"ok", or the reason; MEMPOOL_FULL is the one that passes by itself."""
    detail: str
    """One sentence for people."""


class ReadableStore(Protocol):
    """The part of ``LedgerStore`` that answers questions."""

    @property
    def base(self) -> Height:
        """Height of the state that the store began with: there is no block below it."""

    @property
    def height(self) -> Height:
        """Newest committed height; 0 before the first block."""

    def header(self, height: int) -> Header | None:
        """Header of a block."""

    def block(self, height: int) -> Block | None:
        """A block."""

    def certificate(self, height: int) -> QuorumCertificate | None:
        """The certificate that commits a block."""

    def certified_header(self, height: int) -> CertifiedHeader:
        """Both of them without the body; raises for a height that has no block."""

    def membership_changes(
        self, after: int, limit: int
    ) -> tuple[tuple[CertifiedHeader, Membership], ...]:
        """The first headers above ``after`` that change the membership, and to which."""

    def encoded_receipts(self, height: int) -> tuple[bytes, ...]:
        """Receipts of a block as bytes, in the order of its transactions."""

    def receipt(self, height: int, index: int) -> Receipt:
        """Receipt of one transaction of a block."""

    def executed(self, transaction_id: Hash32) -> tuple[Height, int] | None:
        """Where a transaction was executed, if it was and is still remembered."""

    def get(self, column: Column, key: bytes) -> bytes | None:
        """Newest state."""

    def prove_state(self, key: bytes) -> tuple[CertifiedHeader, bytes | None, StateProof]:
        """A key's value at the newest height with its proof."""

    def log_entries(self, log: bytes, start: int, stop: int) -> Iterator[bytes]:
        """Entries of a log, from ``start`` up to and without ``stop``."""


class NodeFacade(Protocol):
    """A running node."""

    @property
    def genesis(self) -> Genesis:
        """The chain's genesis document."""

    @property
    def store(self) -> ReadableStore:
        """The committed chain."""

    async def submit(self, encoded: Sequence[bytes]) -> list[SubmitResult]:
        """Decodes, verifies and admits; one result for each, in order."""

    async def wait_committed(self, transaction_id: Hash32, timeout_ms: int) -> None:
        """Returns when the transaction is committed, or when the time is over."""

    def pending(self, transaction_id: Hash32) -> bool:
        """Whether it waits in the mempool."""

    def status(self) -> Mapping[str, object]:
        """The JSON members of ``GET /v1/status``."""
