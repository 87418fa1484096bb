"""Byzantine members of the swarm: correct drivers whose frames are changed as they leave."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

from ledger import catchup
from ledger.catchup import CommittedBlock, Status
from ledger.consensus.messages import (
    Commit,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
    view_change_digest,
)
from ledger.primitives import Height, TimestampMs, View
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate
from nodes.frames import Channel, frame, split_frame
from tests.simulation import byzantine
from tests.simulation.byzantine import consensus_message, framed
from tests.simulation.cluster import Cluster
from tests.vectors import fixed

KEPT_FRAMES = 200
KEPT_BLOCKS = 6
FALSE_HEIGHTS = (0, 3, 10_000, 2**63)


class Liar:
    """One member's lies; implements ``cluster.Lie``."""

    def __init__(
        self,
        cluster: Cluster,
        index: int,
        behaviours: Iterable[str],
        random: Random,
        faults: Counter[str],
    ) -> None:
        known: dict[str, Callable[[int, bytes], list[bytes] | None]] = {
            "equivocate": self._equivocate,
            "vote twice": self._vote_twice,
            "withhold": self._withhold,
            "forge blocks": self._forge_blocks,
            "forge certificate": self._forge_certificate,
            "lie in view change": self._lie_in_view_change,
            "forge new view": self._forge_new_view,
            "false status": self._false_status,
            "replay": self._replay,
        }
        self._cluster, self._index, self._random, self._faults = cluster, index, random, faults
        self._lies = [(name, known[name]) for name in behaviours if name in known]
        self._deaf_to = {i for i in range(len(cluster.nodes)) if random.random() < 0.4}
        self._frames: list[bytes] = []
        self._blocks: list[Block] = []
        self._decoded: tuple[bytes, Message | None] = (b"", None)

    def __call__(self, receiver: int, frame: bytes) -> Iterable[bytes]:
        """What leaves instead of ``frame``; the first behaviour that has something to say."""
        self._remember(frame)
        for name, lie in self._lies:
            sent = lie(receiver, frame)
            if sent is not None:
                self._faults["byzantine " + name] += 1
                return sent
        return (frame,)

    def _message(self, data: bytes) -> Message | None:
        if self._decoded[0] is not data:
            self._decoded = (data, consensus_message(data))
        return self._decoded[1]

    def _remember(self, data: bytes) -> None:
        message = self._message(data)
        if message is None:
            return
        self._frames.append(data)
        del self._frames[:-KEPT_FRAMES]
        block = message.block if isinstance(message, PrePrepare) else None
        if block is not None and block not in self._blocks:
            self._blocks += [block, self._variant(block)]
            del self._blocks[:-KEPT_BLOCKS]

    def _variant(self, block: Block) -> Block:
        """Another block of the height: valid, with another time, or with a false result."""
        if self._random.random() < 0.3:
            return byzantine.with_state_root(block, fixed.named_hash("false"))
        later = TimestampMs(block.header.time_ms + 1)
        return Block(replace(block.header, time_ms=later), block.transactions)

    def _equivocate(self, receiver: int, data: bytes) -> list[bytes] | None:
        message = self._message(data)
        if not isinstance(message, PrePrepare) or receiver % 2:
            return None
        others = [b for b in self._blocks if b.header.height == message.height]
        other = others[(receiver // 2) % len(others)] if others else message.block
        proposal = byzantine.pre_prepare(self._cluster, self._index, other, message.view)
        return [framed(proposal)]

    def _vote_twice(self, receiver: int, data: bytes) -> list[bytes] | None:
        message = self._message(data)
        if not isinstance(message, Prepare | Commit):
            return None
        vote = byzantine.prepare if isinstance(message, Prepare) else byzantine.commit
        seen = [b for b in self._blocks if b.header.height == message.height]
        views = range(max(0, message.view - 1), message.view + 2)
        votes = [framed(vote(self._cluster, self._index, b, v)) for b in seen for v in views]
        return [*votes, data] if votes else None

    def _withhold(self, receiver: int, data: bytes) -> list[bytes] | None:
        hidden = receiver in self._deaf_to and data[0] != Channel.STATUS
        return [] if hidden else None

    def _forge_blocks(self, receiver: int, data: bytes) -> list[bytes] | None:
        if data[0] not in (Channel.BLOCKS, Channel.BODY):
            return None
        payload = split_frame(data)[1]
        if data[0] == Channel.BODY:
            return [frame(Channel.BODY, self._variant(Block.decode(payload)).encoded)]
        false = [
            CommittedBlock(self._variant(each.block), each.certificate)
            for each in catchup.decode_blocks(payload)
        ]
        return [frame(Channel.BLOCKS, catchup.encode_blocks(false))]

    def _forge_certificate(self, receiver: int, data: bytes) -> list[bytes] | None:
        if data[0] != Channel.STATUS or not self._blocks:
            return None
        header = self._random.choice(self._blocks).header
        signer = fixed.validator_signer(self._index)
        own = fixed.certificate(header, [(self._index, signer)], self._random.randint(0, 9))
        quorum = self._cluster.genesis.membership.quorum
        forged = QuorumCertificate(
            own.height, own.view, own.block_hash, tuple(range(quorum)), own.signatures * quorum
        )
        return [data, frame(Channel.CERTIFICATE, forged.encode())]

    def _lie_in_view_change(self, receiver: int, data: bytes) -> list[bytes] | None:
        message = self._message(data)
        if not isinstance(message, ViewChange) or message.prepared is None or receiver % 2:
            return None
        false = replace(message, prepared=None)
        genesis = self._cluster.genesis
        digest = view_change_digest(genesis.chain_id, genesis.membership.hash, false)
        signature = fixed.validator_signer(self._index).sign(digest)
        return [framed(replace(false, signature=signature))]

    def _forge_new_view(self, receiver: int, data: bytes) -> list[bytes] | None:
        message = self._message(data)
        if not isinstance(message, NewView):
            return None
        others = [b for b in self._blocks if b.header.height == message.height]
        block = self._random.choice(others) if others else self._variant(message.proposal.block)
        proposal = byzantine.pre_prepare(self._cluster, self._index, block, message.view)
        return [framed(byzantine.new_view(self._cluster, message.view_changes, proposal))]

    def _false_status(self, receiver: int, data: bytes) -> list[bytes] | None:
        if data[0] != Channel.STATUS:
            return None
        true = Status.decode(split_frame(data)[1])
        height = Height(true.height + self._random.choice(FALSE_HEIGHTS))
        view = View(self._random.choice((0, true.view, true.view + 7, 2**60)))
        false = Status(height, view, self._random.random() < 0.5)
        return [frame(Channel.STATUS, false.encode())]

    def _replay(self, receiver: int, data: bytes) -> list[bytes] | None:
        if not self._frames or self._random.random() < 0.7:
            return None
        return [data, *self._random.choices(self._frames, k=2)]


def damaged(data: bytes, random: Random) -> bytes:
    """The frame with one byte changed."""
    place = random.randrange(len(data))
    changed = bytes([data[place] ^ random.randint(1, 255)])
    return data[:place] + changed + data[place + 1 :]
