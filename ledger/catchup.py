"""Synchronisation without I/O: which blocks to ask for, from whom, and what to believe.

Nothing that a peer says about heights is trusted: a claim only decides whom to ask. A block is
taken when its header is certified by the membership that votes on its height.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ledger import codec
from ledger.errors import NotCanonical, WorldFault
from ledger.limits import BLOCK_BYTES_MAX, FRAME_BYTES_MAX
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.primitives import Hash32, Height, MemberId, View
from ledger.types.block import Block
from ledger.types.certificate import (
    CERTIFICATE_BYTES_MAX,
    CertifiedHeader,
    QuorumCertificate,
    verify_certified_header,
)
from ledger.types.membership import Membership

BLOCKS_PER_REQUEST = 64
HINT_BYTES_MAX = 64
"""A status or a request: some integers."""
RESPONSE_BYTES_MAX = FRAME_BYTES_MAX - 64 * 1024
"""Blocks of one answer, together; one block always fits."""
REQUEST_TIMEOUT_MS = 2_000
BLAME_MS = 10_000
"""How long a peer that sent something false is not asked again."""
SILENCE_MS = 2 * REQUEST_TIMEOUT_MS
"""How long one is not asked again that did not answer in time; a late answer ends it."""


@dataclass(eq=False)
class Diverged(WorldFault):
    """A certified block does not execute here to what its header says. Never vote again."""

    height: int
    reason: str
    template = (
        "block {height} is certified, but this node computes something else ({reason}); its disk "
        "or its software is damaged: stop, keep the data for inspection, and resynchronise"
    )


@dataclass(frozen=True, slots=True)
class Status:
    """What a validator says about itself now and then; unsigned, a hint."""

    height: Height
    """Newest committed height."""
    view: View
    entered: bool

    def encode(self) -> bytes:
        """[height, view, 1 if entered]."""
        return codec.encode([self.height, self.view, int(self.entered)])

    @staticmethod
    def decode(data: bytes) -> "Status":
        """Raises PeerFault."""
        height, view, entered = codec.array(
            codec.decode(data, HINT_BYTES_MAX, "status"), 3, "status"
        )
        return Status(
            Height(codec.uint(height, "status height")),
            View(codec.uint(view, "status view")),
            bool(codec.uint(entered, "status entered", 1)),
        )


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """Asks for committed blocks from ``first`` on, as many as fit."""

    first: Height

    def encode(self) -> bytes:
        """[first]."""
        return codec.encode([self.first])

    @staticmethod
    def decode(data: bytes) -> "BlockRequest":
        """Raises PeerFault."""
        (first,) = codec.array(
            codec.decode(data, HINT_BYTES_MAX, "block request"), 1, "block request"
        )
        return BlockRequest(Height(codec.uint(first, "block request height")))


@dataclass(frozen=True, slots=True)
class CommittedBlock:
    """A block with the certificate that commits it."""

    block: Block
    certificate: QuorumCertificate


def blocks_that_fit(
    first: Height, read: Callable[[Height], CommittedBlock | None]
) -> list[CommittedBlock]:
    """Committed blocks from ``first`` on: as many as there are, and as fit one answer."""
    blocks: list[CommittedBlock] = []
    size = 0
    for offset in range(BLOCKS_PER_REQUEST):
        committed = read(Height(first + offset))
        if committed is None:
            break
        size += len(committed.block.encoded) + CERTIFICATE_BYTES_MAX
        if blocks and size > RESPONSE_BYTES_MAX:
            break
        blocks.append(committed)
    return blocks


def encode_blocks(blocks: Sequence[CommittedBlock]) -> bytes:
    """[[block bytes, certificate bytes], ...]."""
    return codec.encode([[b.block.encoded, b.certificate.encode()] for b in blocks])


def decode_blocks(data: bytes) -> tuple[CommittedBlock, ...]:
    """Raises PeerFault; nothing is verified here."""
    rows = codec.array_up_to(
        codec.decode(data, FRAME_BYTES_MAX, "blocks"), BLOCKS_PER_REQUEST, "blocks"
    )
    blocks = []
    for row in rows:
        block, certificate = codec.array(row, 2, "committed block")
        blocks.append(
            CommittedBlock(
                Block.decode(codec.binary(block, "block", BLOCK_BYTES_MAX)),
                QuorumCertificate.decode(
                    codec.binary(certificate, "certificate", CERTIFICATE_BYTES_MAX)
                ),
            )
        )
    return tuple(blocks)


def verify_next(
    untrusted: CommittedBlock,
    height: Height,
    parent: Hash32,
    membership: Membership,
    chain_id: Hash32,
) -> Block:
    """The block, if it is the certified one at ``height`` on top of ``parent``.

    a) height and parent: NotCanonical; b) certificate: what ``verify_certified_header`` raises.
    """
    header = untrusted.block.header
    if header.height != height or header.parent != parent:
        raise NotCanonical("committed block", "it does not follow the newest block here")
    certified = CertifiedHeader(header, untrusted.certificate)
    verify_certified_header(certified, membership, chain_id)
    return untrusted.block


def check_body(block: Block) -> None:
    """Raises NotCanonical where the transactions are not those of the header.

    Such a body says nothing about the block itself: another sender may have the right one (B7).
    """
    root = root_of([leaf_hash(item) for item in block.transactions])
    if root != block.header.transaction_root:
        raise NotCanonical("block body", "it does not belong to the header")


def decode_body(data: bytes) -> Block:
    """A block whose body belongs to its header; raises PeerFault."""
    block = Block.decode(data)
    check_body(block)
    return block


@dataclass(slots=True)
class CatchUpPlan:
    """Whom to ask for the next blocks: one request at a time, peers in turn."""

    witness: int
    """So many peers with a claim, and one of them is honest: f+1."""
    progress_timeout_ms: int
    """Of a view."""
    claims: dict[MemberId, Height] = field(default_factory=dict)
    """Highest height each peer has claimed."""
    _unanswered: dict[MemberId, Height] = field(default_factory=dict)
    """First block asked of each peer; an answer may come after the next one was asked."""
    _asked: MemberId | None = None
    _asked_until_ms: int = 0
    _blamed_until_ms: dict[MemberId, int] = field(default_factory=dict)
    _last: MemberId | None = None
    _lacking: dict[MemberId, Height] = field(default_factory=dict)
    """First block that a peer was asked for and did not have."""

    def claimed(self, peer: MemberId, height: Height) -> None:
        """A peer says that it has committed ``height``."""
        self.claims[peer] = height

    def next_request(self, own: Height, now_ms: int) -> MemberId | None:
        """The peer to ask for blocks after ``own``, or None while nothing is to be asked."""
        if self._asked is not None:
            if now_ms < self._asked_until_ms:
                return None
            # Or one that claims heights and never answers would take every other turn.
            self._blame(self._asked, now_ms + SILENCE_MS)
            self._asked = None
        ahead = sorted(
            peer
            for peer, height in self.claims.items()
            if height > own and self._blamed_until_ms.get(peer, 0) <= now_ms
        )
        if not ahead:
            return None
        last = self._last or ""
        chosen = next((peer for peer in ahead if peer > last), ahead[0])
        self._asked = self._last = chosen
        self._unanswered[chosen] = Height(own + 1)
        self._asked_until_ms = now_ms + self._patience_ms(own)
        return chosen

    def _patience_ms(self, own: Height) -> int:
        """Short where a view may hang on the answer: the others have decided the next height only.

        Half of a view's time passes all f that may hold the block back. What they claim does not
        make it long.
        """
        vouched = sorted(self.claims.values(), reverse=True)[self.witness - 1 :]
        far_behind = bool(vouched) and vouched[0] > own + 1
        return REQUEST_TIMEOUT_MS if far_behind else self.progress_timeout_ms // (2 * self.witness)

    def asked_for(self, peer: MemberId) -> Height:
        """The first block ``peer`` was asked for; raises NotCanonical if it was not asked."""
        if peer not in self._unanswered:
            raise NotCanonical("blocks", "nobody asked for them")
        return self._unanswered[peer]

    def answered(self, peer: MemberId, useful: bool, now_ms: int) -> None:
        """An answer came; a useless or false one blames the peer for a while."""
        self._unanswered.pop(peer, None)
        if peer == self._asked:
            self._asked = None
        if useful:
            self._blamed_until_ms.pop(peer, None)
        else:
            self._blame(peer, now_ms + BLAME_MS)

    def lacks(self, peer: MemberId, height: Height) -> int:
        """A peer answered that it has no block ``height``; how many have said so."""
        self._lacking[peer] = height
        return sum(lacked == height for lacked in self._lacking.values())

    def _blame(self, peer: MemberId, until_ms: int) -> None:
        self._blamed_until_ms[peer] = max(until_ms, self._blamed_until_ms.get(peer, 0))
