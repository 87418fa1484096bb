"""Byzantine members of the swarm: correct drivers whose frames are changed as they leave."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from random import Random

from ledger import catchup
from ledger.catchup import CommittedBlock, Status
from ledger.consensus.messages import (
    Commit,
    Message,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ViewChange,
)
from ledger.errors import PeerFault
from ledger.merkle.log_tree import leaf_hash, root_of
from ledger.primitives import Height, Signature, TimestampMs, View
from ledger.snapshot.messages import ChunksAnswer
from ledger.types.block import Block
from ledger.types.certificate import QuorumCertificate
from ledger.types.transaction import sign_transaction
from nodes.frames import Channel, encode_transactions, frame, split_frame
from tests.simulation import byzantine
from tests.simulation.byzantine import consensus_message, framed
from tests.simulation.cluster import Cluster, gateway_signer
from tests.vectors import fixed

KEPT_FRAMES = 200
KEPT_BLOCKS = 6
FALSE_HEIGHTS = (0, 3, 10_000, 2**63)


class Liar:
    """One member's lies; implements ``cluster.Lie``."""

    def __init__(
        self,
        cluster: Cluster,
        node: int,
        behaviours: Iterable[str],
        random: Random,
        faults: Counter[str],
    ) -> None:
        known: dict[str, Callable[[int, bytes], list[bytes] | None]] = {
            "equivocate": self._equivocate,
            "forge blocks": self._forge_blocks,
            "forge certificate": self._forge_certificate,
            "forge new view": self._forge_new_view,
            "forge prepared": self._forge_prepared,
            "false status": self._false_status,
            "heights rise and fall": self._heights_rise_and_fall,
            "huge views": self._huge_views,
            "invalid transactions": self._invalid_transactions,
            "lie in view change": self._lie_in_view_change,
            "old certificates": self._old_certificates,
            "old view changes": self._old_view_changes,
            "others' votes": self._others_votes,
            "partial catch-up": self._partial_catch_up,
            "prepare own proposal": self._prepare_own_proposal,
            "propose out of turn": self._propose_out_of_turn,
            "repeat view changes": self._repeat_view_changes,
            "replay": self._replay,
            "send to some": self._send_to_some,
            "slow primary": self._slow_primary,
            "spam": self._spam,
            "strip new view": self._strip_new_view,
            "vote ahead": self._vote_ahead,
            "vote twice": self._vote_twice,
            "withhold": self._withhold,
            "wrong parent": self._wrong_parent,
            "wrong roots": self._wrong_roots,
            "wrong times": self._wrong_times,
        }
        self._cluster, self._node, self._random, self._faults = cluster, node, random, faults
        self._index = cluster.nodes[node].index
        self._lies = [(name, known[name]) for name in behaviours if name in known]
        self._deaf_to = {i for i in range(len(cluster.nodes)) if random.random() < 0.4}
        self._frames: list[bytes] = []
        self._view_changes: list[bytes] = []
        """Of anybody, and NEW-VIEWs."""
        self._blocks: list[Block] = []
        self._decoded: tuple[bytes, Message | None] = (b"", None)

    def hears(self, data: bytes) -> None:
        """What others send is of use to a liar, too."""
        with suppress(PeerFault):
            message = self._message(data)
            if isinstance(message, ViewChange | NewView):
                self._view_changes.append(data)
                del self._view_changes[:-KEPT_FRAMES]
            self._learn(message)

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
        self._learn(message)

    def _learn(self, message: Message | None) -> None:
        proposal = message.proposal if isinstance(message, NewView) else message
        block = proposal.block if isinstance(proposal, PrePrepare) else None
        if block is not None and block not in self._blocks:
            self._blocks += [block, self._variant(block)]
            del self._blocks[:-KEPT_BLOCKS]

    def _variant(self, block: Block) -> Block:
        """Another block of the height: valid, with another time, or with a false result."""
        if self._random.random() < 0.3:
            return _false_result(block)
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
        if data[0] not in (Channel.BLOCKS, Channel.BODY, Channel.CHUNKS):
            return None
        payload = split_frame(data)[1]
        if data[0] == Channel.CHUNKS:
            answer = ChunksAnswer.decode(payload)
            chunks = answer.chunks[::-1] if len(answer.chunks) > 1 else answer.chunks * 2
            return [frame(Channel.CHUNKS, replace(answer, chunks=chunks).encode())]
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
        return [self._view_change(message, None)]

    def _view_change(self, true: ViewChange, prepared: PreparedCertificate | None) -> bytes:
        last = true.last_certificate
        return framed(byzantine.view_change(self._cluster, self._index, true.view, last, prepared))

    def _forge_prepared(self, receiver: int, data: bytes) -> list[bytes] | None:
        """A block that nobody prepared, with the liar's own signature in everybody's place."""
        message = self._message(data)
        blocks = self._blocks_at(message)
        if not isinstance(message, ViewChange) or not blocks:
            return None
        block, view = self._random.choice(blocks), View(message.view - 1)
        members = byzantine.seat(self._cluster, self._index)[1]
        primary = members.primary(message.height, view, self._cluster.genesis.parameters.rotation)
        backups = [i for i in range(members.n) if i != primary][: members.quorum - 1]
        signature = byzantine.prepare(self._cluster, self._index, block, view).signature
        forged = PreparedCertificate(
            message.height, view, block.hash, signature, tuple(backups), (signature,) * len(backups)
        )
        return [self._view_change(message, forged)]

    def _repeat_view_changes(self, receiver: int, data: bytes) -> list[bytes] | None:
        """A NEW-VIEW with the liar's own view-change for all, or with too few."""
        message = self._message(data)
        if not isinstance(message, NewView):
            return None
        changes = message.view_changes
        last = changes[0].last_certificate
        own = byzantine.view_change(self._cluster, self._index, message.view, last)
        few = self._random.choice(((own,) * len(changes), (own,), changes[:1], changes[1:]))
        return [framed(byzantine.new_view(self._cluster, self._index, few, message.proposal))]

    def _strip_new_view(self, receiver: int, data: bytes) -> list[bytes] | None:
        """The proposal of a new view without what opens the view."""
        message = self._message(data)
        return [framed(message.proposal)] if isinstance(message, NewView) else None

    def _forge_new_view(self, receiver: int, data: bytes) -> list[bytes] | None:
        message = self._message(data)
        if not isinstance(message, NewView):
            return None
        others = [b for b in self._blocks if b.header.height == message.height]
        block = self._random.choice(others) if others else self._variant(message.proposal.block)
        proposal = byzantine.pre_prepare(self._cluster, self._index, block, message.view)
        return [
            framed(byzantine.new_view(self._cluster, self._index, message.view_changes, proposal))
        ]

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

    # -- timing and choice ----------------------------------------------------------------------

    def _slow_primary(self, receiver: int, data: bytes) -> list[bytes] | None:
        if not isinstance(self._message(data), PrePrepare | NewView):
            return None
        timeout = self._cluster.genesis.parameters.progress_timeout_ms
        held = max(0, timeout - self._random.randint(1, 100))
        self._cluster.later(held, self._node, receiver, data)
        return []

    def _send_to_some(self, receiver: int, data: bytes) -> list[bytes] | None:
        message = self._message(data)
        hidden = message is not None and (receiver + message.height + message.view) % 2
        return [] if hidden else None

    def _spam(self, receiver: int, data: bytes) -> list[bytes] | None:
        if data[0] != Channel.STATUS or self._random.random() < 0.7:
            return None
        sent = [self._cluster.registration(self._index).encoded for _ in range(5)]
        return [data, frame(Channel.TRANSACTIONS, encode_transactions(sent))]

    # -- proposals and votes --------------------------------------------------------------------

    def _propose(self, message: PrePrepare, block: Block) -> list[bytes]:
        return [framed(byzantine.pre_prepare(self._cluster, self._index, block, message.view))]

    def _invalid_transactions(self, receiver: int, data: bytes) -> list[bytes] | None:
        message = self._message(data)
        if not isinstance(message, PrePrepare):
            return None
        good = self._cluster.registration(self._index)
        body = replace(good.body, valid_until=Height(0))
        expired = sign_transaction(body, gateway_signer(self._index)).encoded
        unsigned = replace(good, signature=Signature(bytes(Signature.SIZE))).encoded
        old = self._random.choice(self._blocks).transactions[:1]
        bad = self._random.choice(((expired,), (unsigned,), (b"no transaction",), old))
        transactions = (*message.block.transactions, *bad)
        root = root_of([leaf_hash(item) for item in transactions])
        header = replace(
            message.block.header,
            transaction_count=len(transactions),
            transaction_root=root,
        )
        return self._propose(message, Block(header, transactions))

    def _wrong_times(self, receiver: int, data: bytes) -> list[bytes] | None:
        message = self._message(data)
        if not isinstance(message, PrePrepare):
            return None
        ms = self._random.choice((0, message.block.header.time_ms + 3_600_000))
        header = replace(message.block.header, time_ms=TimestampMs(ms))
        return self._propose(message, Block(header, message.block.transactions))

    def _wrong_roots(self, receiver: int, data: bytes) -> list[bytes] | None:
        message = self._message(data)
        if isinstance(message, PrePrepare):
            return self._propose(message, _false_result(message.block))
        return self._votes(message, [_false_result(b) for b in self._blocks_at(message)])

    def _wrong_parent(self, receiver: int, data: bytes) -> list[bytes] | None:
        message = self._message(data)
        if not isinstance(message, PrePrepare):
            return None
        header = replace(message.block.header, parent=fixed.named_hash("no block"))
        return self._propose(message, Block(header, message.block.transactions))

    def _prepare_own_proposal(self, receiver: int, data: bytes) -> list[bytes] | None:
        """The primary votes a second time for what it proposes."""
        message = self._message(data)
        if not isinstance(message, PrePrepare):
            return None
        vote = byzantine.prepare(self._cluster, self._index, message.block, message.view)
        return [data, framed(vote)]

    def _propose_out_of_turn(self, receiver: int, data: bytes) -> list[bytes] | None:
        """A good block of whoever is not the primary."""
        driver = self._cluster.nodes[self._node].driver
        if data[0] != Channel.STATUS or driver is None or self._random.random() < 0.5:
            return None
        block, view = driver.chain.build(), driver.replica.view
        return [data, framed(byzantine.pre_prepare(self._cluster, self._index, block, view))]

    def _others_votes(self, receiver: int, data: bytes) -> list[bytes] | None:
        """Votes and view-changes in the names of all others, signed by the liar."""
        message = self._message(data)
        driver = self._cluster.nodes[self._node].driver
        others = range(byzantine.seat(self._cluster, self._index)[1].n)
        if isinstance(message, Prepare | Commit):
            return [framed(replace(message, signer=other)) for other in others]
        if data[0] != Channel.STATUS or driver is None or self._random.random() < 0.5:
            return None
        view, last = driver.replica.view + 9, driver.replica.last_certificate
        return [
            framed(byzantine.view_change(self._cluster, self._index, view, last, None, other))
            for other in others
        ]

    def _vote_ahead(self, receiver: int, data: bytes) -> list[bytes] | None:
        message = self._message(data)
        blocks = [
            Block(replace(b.header, height=Height(b.header.height + 1), parent=b.hash), ())
            for b in self._blocks_at(message)
        ]
        votes = self._votes(message, blocks)
        return None if votes is None else [*votes, data]

    def _blocks_at(self, message: Message | None) -> list[Block]:
        return [b for b in self._blocks if message and b.header.height == message.height]

    def _votes(self, message: Message | None, blocks: list[Block]) -> list[bytes] | None:
        if not blocks or not isinstance(message, Prepare | Commit):
            return None
        vote = byzantine.prepare if isinstance(message, Prepare) else byzantine.commit
        return [framed(vote(self._cluster, self._index, b, message.view)) for b in blocks]

    # -- views, heights and what is old -----------------------------------------------------------

    def _huge_views(self, receiver: int, data: bytes) -> list[bytes] | None:
        driver = self._cluster.nodes[self._node].driver
        if data[0] != Channel.STATUS or driver is None or self._random.random() < 0.5:
            return None
        replica = driver.replica
        view = View(self._random.choice((replica.view + 1, replica.view + 9, 2**40, 2**63)))
        last = replica.last_certificate
        status = Status(Height(replica.height - 1), view, self._random.random() < 0.5)
        change = framed(byzantine.view_change(self._cluster, self._index, view, last))
        return [frame(Channel.STATUS, status.encode()), change]

    def _heights_rise_and_fall(self, receiver: int, data: bytes) -> list[bytes] | None:
        if data[0] != Channel.STATUS:
            return None
        true = Status.decode(split_frame(data)[1])
        height = max(0, true.height + self._random.choice((-9, -1, 1, 9, 1_000)))
        return [frame(Channel.STATUS, replace(true, height=Height(height)).encode())]

    def _old_certificates(self, receiver: int, data: bytes) -> list[bytes] | None:
        store = self._cluster.nodes[self._node].store
        if data[0] != Channel.STATUS or store is None or store.height == 0:
            return None
        certificate = store.certificate(self._random.randint(1, store.height))
        if certificate is None:
            return None
        if self._random.random() < 0.3:
            certificate = replace(certificate, view=View(certificate.view + 1))
        return [data, frame(Channel.CERTIFICATE, certificate.encode())]

    def _old_view_changes(self, receiver: int, data: bytes) -> list[bytes] | None:
        if data[0] != Channel.STATUS or not self._view_changes:
            return None
        return [data, *self._random.choices(self._view_changes, k=2)]

    def _partial_catch_up(self, receiver: int, data: bytes) -> list[bytes] | None:
        if data[0] != Channel.BLOCKS:
            return None
        blocks = list(catchup.decode_blocks(split_frame(data)[1]))
        parts = ([], blocks[: len(blocks) // 2], blocks[1:], blocks[::-1], blocks + blocks[-1:])
        part = self._random.choice(parts)[: catchup.BLOCKS_PER_REQUEST]
        return [frame(Channel.BLOCKS, catchup.encode_blocks(part))]


def _false_result(block: Block) -> Block:
    return byzantine.with_state_root(block, fixed.named_hash("false"))


def damaged(data: bytes, random: Random) -> bytes:
    """The frame with one byte changed."""
    place = random.randrange(len(data))
    changed = bytes([data[place] ^ random.randint(1, 255)])
    return data[:place] + changed + data[place + 1 :]
