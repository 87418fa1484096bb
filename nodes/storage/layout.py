"""Where everything lies in a validator's store. Heights are 8 bytes big-endian: scans go upwards.

| first byte | key | value |
|---|---|---|
| 0x01 | position in the state tree | length of the state key (2 bytes), state key, value |
| 0x02 to 0x06 | the column's key | PAGE, FRONTIER, LOG, EXECUTED, LOG_PIECE |
| 0x10 | height | block bytes |
| 0x11 | height | certified header bytes |
| 0x12 | height | codec array of receipt bytes |
| 0x13 | height | undo: the VALUEs and PAGEs that the block overwrote, PROOF_HEIGHTS - 1 of them |
| 0x14 | "newest" | codec array [chain id, base, height, state root] |
| 0x15 | height | bytes of the membership that votes from the next height on, where it changes |
| 0x16 | key id | evidence of a double vote that is not on the chain yet |
| 0x17 | | what was fetched of a snapshot; a complete store has none of it |
| 0x18 | height | header bytes below the snapshot that this store began with, to hand it on |

Values lie in the order of the tree, so that all leaves below a node can be read in one scan:
a snapshot is served and checked that way.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ledger import codec
from ledger.contract_api import Column
from ledger.errors import PeerFault, StateDamaged
from ledger.limits import BLOCK_TRANSACTIONS_MAX
from ledger.merkle.state_tree import position_of
from ledger.primitives import Hash32, Height
from ledger.state import Write
from ledger.types.block import RECEIPT_BYTES_MAX
from nodes.ports import Put, Storage

BLOCK, CERTIFIED, RECEIPTS, UNDO, META, CHANGE, EVIDENCE, FETCHED, HEADER = (
    bytes([0x10 + i]) for i in range(9)
)
NEWEST = META + b"newest"
COLUMN = {column: bytes([column]) for column in Column}
_VALUE = COLUMN[Column.VALUE]
_RECEIPTS_BYTES_MAX = BLOCK_TRANSACTIONS_MAX * (RECEIPT_BYTES_MAX + 8)


def height_bytes(height: int) -> bytes:
    """A height in a key."""
    return height.to_bytes(8, "big")


def place_of(column: Column, key: bytes) -> bytes:
    """Where a key of a column lies."""
    return _VALUE + position_of(key) if column is Column.VALUE else COLUMN[column] + key


def stored_form(column: Column, key: bytes, value: bytes | None) -> bytes | None:
    """What lies there for ``value``; None stays None."""
    if column is not Column.VALUE or value is None:
        return value
    return len(key).to_bytes(2, "big") + key + value


def value_in(column: Column, key: bytes, stored: bytes | None) -> bytes | None:
    """The value of ``key`` in what lies at its place."""
    if column is not Column.VALUE or stored is None:
        return stored
    return stored[2 + len(key) :]


def leaf_in(stored: bytes) -> tuple[bytes, bytes]:
    """State key and value of what lies in the column VALUE."""
    end = 2 + int.from_bytes(stored[:2], "big")
    if len(stored) < end:
        raise StateDamaged("state value", "it is shorter than its key")
    return stored[2:end], stored[end:]


def decode_receipts(stored: bytes) -> tuple[bytes, ...]:
    """The receipts' bytes in what lies under RECEIPTS."""
    rows = codec.array_up_to(
        codec.decode(stored, _RECEIPTS_BYTES_MAX, "receipts"), BLOCK_TRANSACTIONS_MAX, "receipts"
    )
    return tuple(codec.binary(row, "receipt", RECEIPT_BYTES_MAX) for row in rows)


@dataclass(frozen=True, slots=True)
class Newest:
    """What lies under NEWEST: how far this store's chain goes."""

    chain_id: Hash32
    base: Height
    height: Height
    state_root: Hash32

    @property
    def put(self) -> Put:
        """What makes ``height`` the newest."""
        return Put(NEWEST, codec.encode([self.chain_id, self.base, self.height, self.state_root]))

    @staticmethod
    def read(storage: Storage) -> "Newest | None":
        """None for a store without a chain; raises StateDamaged."""
        stored = storage.get(NEWEST)
        if stored is None:
            return None
        try:
            fields = codec.array(codec.decode(stored, 128, "newest"), 4, "newest")
            chain_id, base, height, root = fields
            return Newest(
                Hash32(codec.binary(chain_id, "stored chain id", 32)),
                Height(codec.uint(base, "stored base")),
                Height(codec.uint(height, "stored height")),
                Hash32(codec.binary(root, "stored state root", 32)),
            )
        except PeerFault as fault:
            # Decoders blame whoever made the bytes; these are this node's own.
            raise StateDamaged("newest block", str(fault)) from None


def puts(writes: Iterable[Write]) -> Iterator[Put]:
    """What stores ``writes``."""
    return (Put(place_of(c, key), stored_form(c, key, value)) for c, key, value in writes)
