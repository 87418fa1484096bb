"""Blocks and receipts. A block keeps its hash when a later view proposes it again."""

from dataclasses import dataclass
from functools import cached_property

from ledger import codec
from ledger.codec import Value
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.errors import NotCanonical
from ledger.limits import (
    BLOCK_BYTES_MAX,
    BLOCK_TRANSACTIONS_MAX,
    EXECUTION_VERSION,
    PROTOCOL_VERSION,
    TRANSACTION_BYTES_MAX,
)
from ledger.primitives import Hash32, Height, MemberId, TimestampMs

HEADER_BYTES_MAX = 512
RECEIPT_BYTES_MAX = 4_096


@dataclass(frozen=True)
class Header:
    """What validators sign and light clients trust."""

    chain_id: Hash32
    height: Height
    time_ms: TimestampMs
    """Greater than the parent's."""
    parent: Hash32
    """Hash of the header one below; zero for height 1."""
    proposer: MemberId
    """Who made the block, not who proposed it again."""
    transaction_count: int
    transaction_root: Hash32
    """Log-tree root over the signed transactions' bytes."""
    receipt_root: Hash32
    """Log-tree root over the receipts' bytes."""
    state_root: Hash32
    """State-tree root after this block (decision 2)."""
    membership: Hash32
    """Hash of the membership that votes on this height."""
    next_membership: Hash32
    """Hash of the membership that votes on the next height."""

    def encode(self) -> bytes:
        """[protocol version, execution version, then the fields in the order above]."""
        return codec.encode(
            [
                PROTOCOL_VERSION,
                EXECUTION_VERSION,
                self.chain_id,
                self.height,
                self.time_ms,
                self.parent,
                self.proposer,
                self.transaction_count,
                self.transaction_root,
                self.receipt_root,
                self.state_root,
                self.membership,
                self.next_membership,
            ]
        )

    @staticmethod
    def decode(data: bytes) -> "Header":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(codec.decode(data, HEADER_BYTES_MAX, "header"), 13, "header")
        if fields[0] != PROTOCOL_VERSION or fields[1] != EXECUTION_VERSION:
            raise NotCanonical("header", f"versions {fields[0]!r}, {fields[1]!r} are not known")
        hashes = [Hash32(codec.binary(fields[i], "header hash", 32)) for i in (2, 5, 8, 9, 10)]
        return Header(
            chain_id=hashes[0],
            height=Height(codec.uint(fields[3], "header height")),
            time_ms=TimestampMs(codec.uint(fields[4], "header time")),
            parent=hashes[1],
            proposer=MemberId(codec.text(fields[6], "header proposer", 32)),
            transaction_count=codec.uint(
                fields[7], "header transaction count", BLOCK_TRANSACTIONS_MAX
            ),
            transaction_root=hashes[2],
            receipt_root=hashes[3],
            state_root=hashes[4],
            membership=Hash32(codec.binary(fields[11], "header membership", 32)),
            next_membership=Hash32(codec.binary(fields[12], "header next membership", 32)),
        )

    @cached_property
    def hash(self) -> Hash32:
        """H("header", bytes): the block's identity."""
        return hash_tagged(Tag.HEADER, self.encode())


@dataclass(frozen=True)
class Block:
    """A header and the exact bytes of its signed transactions, in order."""

    header: Header
    transactions: tuple[bytes, ...]

    @property
    def hash(self) -> Hash32:
        """The header's hash; that the body belongs to it is checked by ``execution``."""
        return self.header.hash

    @cached_property
    def encoded(self) -> bytes:
        """[header bytes, [signed transaction bytes, ...]]."""
        return codec.encode([self.header.encode(), self.transactions])

    @staticmethod
    def decode(data: bytes) -> "Block":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(codec.decode(data, BLOCK_BYTES_MAX, "block"), 2, "block")
        header = Header.decode(codec.binary(fields[0], "block header", HEADER_BYTES_MAX))
        body = codec.array_up_to(fields[1], BLOCK_TRANSACTIONS_MAX, "block transactions")
        if len(body) != header.transaction_count:
            raise NotCanonical("block", "the header counts other transactions than there are")
        return Block(
            header,
            tuple(codec.binary(item, "block transaction", TRANSACTION_BYTES_MAX) for item in body),
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one transaction."""

    transaction_id: Hash32
    code: str
    """"ok", or the contract's reason; a failed action changed nothing."""
    fields: tuple[Value, ...]
    """What the action returned, or the typed fields of the reason."""

    @property
    def ok(self) -> bool:
        """Whether the action took effect."""
        return self.code == "ok"

    def encode(self) -> bytes:
        """[transaction id, code, fields]."""
        return codec.encode([self.transaction_id, self.code, self.fields])

    @staticmethod
    def decode(data: bytes) -> "Receipt":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(codec.decode(data, RECEIPT_BYTES_MAX, "receipt"), 3, "receipt")
        return Receipt(
            Hash32(codec.binary(fields[0], "receipt transaction id", 32)),
            codec.text(fields[1], "receipt code", 64),
            codec.array_up_to(fields[2], 16, "receipt fields"),
        )
