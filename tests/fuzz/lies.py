"""What a hostile validator says: made of what it hears, so that it fits the height and the view.

Everything that it may sign is signed, with its true key. A lie is a list of frames, each for one
of the others, chosen by number, or for all.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import TypeVar

from ledger import catchup, codec
from ledger.catchup import BlockRequest, CommittedBlock, Status
from ledger.consensus.messages import (
    Commit,
    Message,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ViewChange,
    decode_message,
    encode_message,
    new_view_digest,
    view_change_digest,
    vote_digest,
)
from ledger.crypto.hashing import Tag
from ledger.crypto.keys import Signer
from ledger.errors import PeerFault
from ledger.limits import FRAME_BYTES_MAX, VALIDATORS_MAX
from ledger.primitives import U64_MAX, Hash32, Height, Signature, TimestampMs, View
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate, commit_digest
from ledger.types.genesis import Genesis
from nodes.frames import (
    Channel,
    decode_transactions,
    encode_transactions,
    frame,
    split_frame,
)
from tests.fuzz.mutation import bombs, mutated

Sent = tuple[int | None, bytes]
"""Which of the others (None: all), and the frame."""
Lie = Callable[[], list[Sent]]
T = TypeVar("T")

HEARD_MAX = 400
FLOOD = 12
_UNSIGNED = Signature(bytes(Signature.SIZE))
_BOMBS = [
    frame(channel, bomb)
    for channel in (Channel.CONSENSUS, Channel.BLOCKS, Channel.STATUS, Channel.TRANSACTIONS)
    for bomb in bombs(3_000)
]
_EMPTY_MAPS = b"\x9f" + (b"\xdd\x00\x04\x00\x00" + b"\x80" * 0x40000) * 15
_LARGE = [
    *(frame(channel, _EMPTY_MAPS) for channel in (Channel.CONSENSUS, Channel.TRANSACTIONS)),
    frame(Channel.BODY, bytes(FRAME_BYTES_MAX - 1)),
]


class Lies:
    """Remembers what was heard, and makes lies of it."""

    def __init__(self, genesis: Genesis, index: int, signer: Signer, random: Random) -> None:
        self._chain_id, self._membership = genesis.chain_id, genesis.membership.hash
        self._index, self._signer, self._random = index, signer, random
        self._frames: deque[bytes] = deque(maxlen=HEARD_MAX)
        self._messages: dict[type, deque[Message]] = {
            kind: deque(maxlen=40) for kind in (PrePrepare, Prepare, Commit, ViewChange, NewView)
        }
        self._blocks: deque[Block] = deque(maxlen=8)
        self._certificates: deque[QuorumCertificate] = deque(maxlen=8)
        self._transactions: deque[bytes] = deque(maxlen=100)
        self.height, self.view = Height(1), View(0)
        self.lies: dict[str, Lie] = {
            "other height or view": self._shifted,
            "other signer": self._other_signer,
            "other digest": self._other_digest,
            "votes for both": self._votes_for_both,
            "two proposals": self._two_proposals,
            "own view-change": self._view_change,
            "own new-view": self._new_view,
            "old or false certificate": self._certificate,
            "replay": self._replay,
            "changed frame": self._changed,
            "changed and signed": self._changed_and_signed,
            "false status": self._status,
            "block requests": self._requests,
            "false blocks": self._false_blocks,
            "junk transactions": self._junk_transactions,
            "bombs": self._bomb,
            "flood": self._flood,
        }

    # -- what is heard ------------------------------------------------------------------------

    def hear(self, data: bytes) -> None:
        """One frame of a correct validator."""
        self._frames.append(data)
        with suppress(PeerFault):
            channel, payload = split_frame(data)
            if channel is Channel.CONSENSUS:
                self._note(decode_message(payload))
            elif channel is Channel.CERTIFICATE:
                self._certificates.append(QuorumCertificate.decode(payload))
            elif channel is Channel.TRANSACTIONS:
                self._transactions.extend(decode_transactions(payload))
            elif channel is Channel.BLOCKS:
                blocks = catchup.decode_blocks(payload)
                self._blocks.extend(each.block for each in blocks[-2:])
                self._certificates.extend(each.certificate for each in blocks[-2:])

    def _note(self, message: Message) -> None:
        self._messages[type(message)].append(message)
        self.height, self.view = max((self.height, self.view), (message.height, message.view))
        if isinstance(message, PrePrepare):
            self._blocks.append(message.block)
        elif isinstance(message, NewView):
            self._blocks.append(message.proposal.block)
        elif isinstance(message, ViewChange) and message.last_certificate is not None:
            self._certificates.append(message.last_certificate)

    def next(self) -> tuple[str, list[Sent]]:
        """Name of a lie and its frames; empty where nothing was heard yet that it needs."""
        name = self._random.choice(tuple(self.lies))
        return name, self.lies[name]()

    def distort(self, data: bytes) -> list[Sent]:
        """What leaves instead of a frame that a correct validator would send now."""
        luck = self._random.random()
        if luck < 0.6:
            return [(None, data)]
        if luck < 0.7:
            return []
        if luck < 0.8:
            return [(self._random.randrange(8), data)]  # to one alone
        if luck < 0.9:
            return [(None, mutated(self._random, [data]))]
        return [(None, data)] * 3

    # -- signing ------------------------------------------------------------------------------

    def _sign(self, message: Message) -> Message:
        """The same content under the own name, with a signature that holds."""
        match message:
            case Commit():
                digest = commit_digest(
                    self._chain_id, message.height, message.view, message.block_hash
                )
            case Prepare():
                digest = self._vote(Tag.SIGN_PREPARE, message, message.block_hash)
            case PrePrepare():
                digest = self._vote(Tag.SIGN_PRE_PREPARE, message, message.block.hash)
            case ViewChange():
                digest = view_change_digest(self._chain_id, self._membership, message)
            case NewView():
                proposal = self._sign(message.proposal)
                assert isinstance(proposal, PrePrepare)
                message = replace(message, proposal=proposal)
                digest = new_view_digest(self._chain_id, message.content())
                return replace(message, signature=self._signer.sign(digest))
        return replace(message, signer=self._index, signature=self._signer.sign(digest))

    def _vote(self, tag: Tag, message: Prepare | PrePrepare, block: Hash32) -> Hash32:
        return vote_digest(tag, self._chain_id, message.height, message.view, block)

    def _signed(self, message: Message) -> bytes:
        return frame(Channel.CONSENSUS, encode_message(self._sign(message)))

    # -- parts --------------------------------------------------------------------------------

    def _any(self, found: deque[T]) -> T | None:
        """One of them, most often one of the newest: what fits the height is not dropped unread."""
        if not found:
            return None
        newest = min(len(found), 6) if self._random.random() < 0.7 else len(found)
        return found[-1 - self._random.randrange(newest)]

    def _frame(self) -> bytes:
        return self._any(self._frames) or b"\x03"

    def _some_message(self) -> Message | None:
        return self._any(self._random.choice([*self._messages.values()]))

    def _near(self) -> tuple[Height, View]:
        height = self.height + self._random.choice((-1, 0, 0, 0, 0, 1, 1, 2, 1_000))
        view = self.view + self._random.choice((-1, 0, 0, 0, 0, 1, 1, 2, 2**40))
        return Height(max(1, height)), View(max(0, view))

    def _block(self) -> Block | None:
        """A block that was heard, or one of the same height that nobody made."""
        block = self._any(self._blocks)
        if block is None:
            return None
        header = block.header
        match self._random.randrange(5):
            case 0:
                header = replace(header, time_ms=TimestampMs(header.time_ms + 1))
            case 1:
                header = replace(header, state_root=Hash32(self._random.randbytes(32)))
            case 2:
                return Block(replace(header, height=self.height), block.transactions)
        return Block(header, block.transactions)

    def _proof(self) -> PreparedCertificate | None:
        """A prepared certificate of heard votes, of which enough are seldom there."""
        prepares = list(self._messages[Prepare])[-3:]
        proposal = self._any(self._messages[PrePrepare])
        if proposal is None or not isinstance(proposal, PrePrepare):
            return None
        return PreparedCertificate(
            proposal.height,
            proposal.view,
            proposal.block.hash,
            proposal.signature,
            tuple(sorted({p.signer for p in prepares})),
            tuple(p.signature for p in prepares),
        )

    # -- lies ---------------------------------------------------------------------------------

    def _shifted(self) -> list[Sent]:
        message = self._some_message()
        if message is None:
            return []
        height, view = self._near()
        if isinstance(message, NewView):
            proposal = replace(message.proposal, height=height, view=view)
            return [(None, self._signed(replace(message, proposal=proposal)))]
        return [(None, self._signed(replace(message, height=height, view=view)))]

    def _other_signer(self) -> list[Sent]:
        """A vote of this height under a name that is another's, or nobody's."""
        block = self._any(self._blocks)
        digest = Hash32(bytes(32)) if block is None else block.hash
        kind = self._random.choice((Prepare, Commit))
        own = self._sign(kind(self.height, self.view, digest, self._index, _UNSIGNED))
        assert isinstance(own, Prepare | Commit)
        signer = self._random.choice((0, 1, 2, 3, 4, 127, VALIDATORS_MAX))
        message = replace(own, signer=signer)
        return [(None, frame(Channel.CONSENSUS, encode_message(message)))]

    def _other_digest(self) -> list[Sent]:
        block = self._block()
        digest = Hash32(self._random.randbytes(32)) if block is None else block.hash
        height, view = self._near()
        kind = self._random.choice((Prepare, Commit))
        return [(None, self._signed(kind(height, view, digest, self._index, _UNSIGNED)))]

    def _votes_for_both(self) -> list[Sent]:
        sent: list[Sent] = []
        for block in filter(None, (self._block(), self._block())):
            for kind in (Prepare, Commit):
                vote = kind(self.height, self.view, block.hash, self._index, _UNSIGNED)
                sent.append((self._random.randrange(8), self._signed(vote)))
        return sent

    def _two_proposals(self) -> list[Sent]:
        return [
            (to, self._signed(PrePrepare(self.height, self.view, block, self._index, _UNSIGNED)))
            for to in range(3)
            if (block := self._block()) is not None
        ]

    def _view_change(self) -> list[Sent]:
        height, view = self._near()
        last = self._any(self._certificates) if self._random.random() < 0.8 else None
        proof = self._proof() if self._random.random() < 0.5 else None
        change = ViewChange(height, View(view + 1), last, proof, self._index, _UNSIGNED)
        return [(None, self._signed(change))]

    def _new_view(self) -> list[Sent]:
        heard = [c for c in self._messages[ViewChange] if isinstance(c, ViewChange)][-3:]
        block = self._block()
        if block is None:
            return []
        _, view = self._near()
        own = self._sign(ViewChange(self.height, view, None, None, self._index, _UNSIGNED))
        assert isinstance(own, ViewChange)
        changes = sorted([*heard, own], key=lambda change: change.signer)
        if self._random.random() < 0.3:
            changes *= self._random.choice((2, 20))
        proposal = PrePrepare(self.height, view, block, self._index, _UNSIGNED)
        return [(None, self._signed(NewView(tuple(changes[:120]), proposal, _UNSIGNED)))]

    def _certificate(self) -> list[Sent]:
        known = self._any(self._certificates)
        if known is None:
            return []
        height, view = self._near()
        forged = self._random.choice(
            (
                known,
                replace(known, view=view),
                replace(known, height=height),
                replace(known, signers=known.signers[:-1], signatures=known.signatures[:-1]),
                replace(known, signers=tuple(range(128)), signatures=(known.signatures[0],) * 128),
            )
        )
        return [(None, frame(Channel.CERTIFICATE, forged.encode()))]

    def _replay(self) -> list[Sent]:
        return [(None, self._frame()) for _ in range(3)]

    def _changed(self) -> list[Sent]:
        return [(None, mutated(self._random, [self._frame()]))]

    def _changed_and_signed(self) -> list[Sent]:
        """A message whose inner parts were changed, and whose signature holds again."""
        message = self._some_message()
        if message is None:
            return []
        data = encode_message(message)
        for _ in range(20):
            with suppress(PeerFault):
                return [(None, self._signed(decode_message(mutated(self._random, [data]))))]
        return []

    def _status(self) -> list[Sent]:
        height = self._random.choice((0, self.height, self.height + 3, 10_000, U64_MAX))
        view = self._random.choice((0, self.view, self.view + 7, U64_MAX))
        status = Status(Height(height), View(view), self._random.random() < 0.5)
        return [(None, frame(Channel.STATUS, status.encode()))]

    def _requests(self) -> list[Sent]:
        first = self._random.choice((0, 1, self.height, self.height - 1, U64_MAX - 1, U64_MAX))
        digest = getattr(self._block(), "hash", bytes(31))
        return [
            (None, frame(Channel.BLOCK_REQUEST, BlockRequest(Height(first)).encode())),
            (None, frame(Channel.BODY_REQUEST, digest)),
        ]

    def _false_blocks(self) -> list[Sent]:
        block, certificate = self._block(), self._any(self._certificates)
        if block is None or certificate is None:
            return []
        count = self._random.choice((1, 3, 64))
        blocks = catchup.encode_blocks([CommittedBlock(block, certificate)] * count)
        body = Block(block.header, block.transactions[1:]).encoded
        channel = self._random.choice((Channel.BLOCKS, Channel.BODY))
        payload = blocks if channel is Channel.BLOCKS else body
        return [(None, frame(channel, payload))] if len(payload) < FRAME_BYTES_MAX else []

    def _junk_transactions(self) -> list[Sent]:
        known = [*self._transactions] or [b"\x92\xc0\xc0"]
        junk = [mutated(self._random, known) for _ in range(30)]
        several = [*junk, *self._random.choices(known, k=30)]
        return [(None, frame(Channel.TRANSACTIONS, encode_transactions(several)))]

    def _bomb(self) -> list[Sent]:
        if self._random.random() < 0.05:
            return [(self._random.randrange(8), self._random.choice(_LARGE))]
        return [(None, self._random.choice(_BOMBS))]

    def _flood(self) -> list[Sent]:
        data = self._random.choice(
            (
                frame(Channel.BLOCK_REQUEST, BlockRequest(Height(1)).encode()),
                frame(Channel.STATUS, Status(Height(U64_MAX), View(0), True).encode()),
                frame(Channel.CONSENSUS, codec.encode([2, [0] * 5])),
                b"",
                self._frame(),
            )
        )
        return [(None, data)] * FLOOD
