"""What travels between validators: one byte of channel, then that channel's encoding."""

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum

from ledger import codec
from ledger.catchup import HINT_BYTES_MAX
from ledger.errors import NotCanonical
from ledger.limits import BLOCK_BYTES_MAX, FRAME_BYTES_MAX, TRANSACTION_BYTES_MAX
from ledger.primitives import Hash32
from ledger.snapshot.messages import REQUEST_BYTES_MAX
from ledger.types.certificate import CERTIFICATE_BYTES_MAX

TRANSACTIONS_PER_FRAME = 500
SHARED_BYTES_MAX = 256 * 1024
"""Waiting transactions that are passed on at once in a view change; the next follow later."""
_PART_BYTES = FRAME_BYTES_MAX // 2
"""Transactions of one frame, together; one transaction always fits."""


class Channel(IntEnum):
    """The kinds of frame; votes and small answers go ahead of bodies on a link."""

    CONSENSUS = 1
    """A signed consensus message."""
    TRANSACTIONS = 2
    """Signed transactions for the mempool."""
    STATUS = 3
    CERTIFICATE = 4
    """A quorum certificate, for a replica whose view is behind."""
    BLOCK_REQUEST = 5
    BLOCKS = 6
    BODY_REQUEST = 7
    """Hash of a block that was prepared and not committed."""
    BODY = 8
    SNAPSHOT_QUERY = 9
    """Which snapshots are there? From a node that has no chain yet."""
    SNAPSHOT_OFFER = 10
    CHUNKS_REQUEST = 11
    CHUNKS = 12


_BYTES_MAX: Mapping[int, int] = {
    Channel.CONSENSUS: FRAME_BYTES_MAX,
    # One codec header for the array and one for each transaction.
    Channel.TRANSACTIONS: 1 + _PART_BYTES + 5 * (1 + TRANSACTIONS_PER_FRAME),
    Channel.STATUS: 1 + HINT_BYTES_MAX,
    Channel.CERTIFICATE: 1 + CERTIFICATE_BYTES_MAX,
    Channel.BLOCK_REQUEST: 1 + HINT_BYTES_MAX,
    Channel.BLOCKS: FRAME_BYTES_MAX,
    Channel.BODY_REQUEST: 1 + Hash32.SIZE,
    Channel.BODY: 1 + BLOCK_BYTES_MAX,
    Channel.SNAPSHOT_QUERY: 1 + HINT_BYTES_MAX,
    Channel.SNAPSHOT_OFFER: FRAME_BYTES_MAX,
    Channel.CHUNKS_REQUEST: 1 + REQUEST_BYTES_MAX,
    Channel.CHUNKS: FRAME_BYTES_MAX,
}
_UNKNOWN_BYTES_MAX = 1 + HINT_BYTES_MAX


def bytes_max(first: int) -> int:
    """Size of the largest frame whose first byte, its channel, is ``first``.

    A short frame of no known channel is let through to be counted against its sender.
    """
    return _BYTES_MAX.get(first, _UNKNOWN_BYTES_MAX)


def frame(channel: Channel, payload: bytes) -> bytes:
    """One frame."""
    return bytes([channel]) + payload


def split_frame(data: bytes) -> tuple[Channel, bytes]:
    """Channel and payload; raises NotCanonical."""
    if not data or data[0] not in Channel._value2member_map_:
        raise NotCanonical("frame", "no channel that is known")
    return Channel(data[0]), data[1:]


def frame_parts(transactions: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The transactions in order, cut into parts of which each fits one frame."""
    part: list[bytes] = []
    size = 0
    for transaction in transactions:
        if part and (len(part) == TRANSACTIONS_PER_FRAME or size + len(transaction) > _PART_BYTES):
            yield part
            part, size = [], 0
        part.append(transaction)
        size += len(transaction)
    if part:
        yield part


def encode_transactions(transactions: Sequence[bytes]) -> bytes:
    """[signed transaction bytes, ...]."""
    return codec.encode(transactions)


def decode_transactions(data: bytes, limit: int = TRANSACTIONS_PER_FRAME) -> tuple[bytes, ...]:
    """Raises PeerFault; the transactions themselves are not looked at."""
    rows = codec.array_up_to(
        codec.decode(data, FRAME_BYTES_MAX, "transactions"), limit, "transactions"
    )
    return tuple(codec.binary(row, "transaction", TRANSACTION_BYTES_MAX) for row in rows)
