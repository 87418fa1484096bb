"""Hospitals get and lose the vote and renew keys while everything else goes wrong (M1, M2, A2).

Whatever is carried when: among those that vote, those that lie or may forget stay at most f.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Protocol, cast

from ledger.primitives import Height, MemberId
from ledger.types.governance import Change, GiveVote, TakeVote
from ledger.types.membership import Membership
from ledger.types.transaction import SignedTransaction
from nodes.storage.errors import StorageCorrupt
from nodes.storage.layout import Newest
from nodes.storage.safety_store import FileSafetyStore
from tests.simulation.cluster import Node
from tests.simulation.disk import SAFETY_FILE, Disk, DiskPath, DiskStorage
from tests.simulation.judges import ChainJudge
from tests.simulation.losses import Losses
from tests.simulation.options import Options
from tests.simulation.oracle import faults_tolerated
from tests.vectors import fixed
from tests.vectors.fixed import FixedSigner


class Consortium(Protocol):
    """As much of the swarm as governance needs."""

    options: Options
    random: Random
    nodes: list[Node]
    disks: list[Disk]
    losses: Losses
    chain: ChainJudge

    def note(self, fault: str) -> None:
        """Counts it."""

    def storage(self, index: int) -> DiskStorage:
        """The ledger on a node's disk."""

    def alive(self) -> list[int]:
        """Nodes whose process runs."""

    def kill(self, *indexes: int) -> None:
        """Ends processes."""

    def start(self, *indexes: int) -> None:
        """Starts processes."""

    def hand_in(self, index: int, sent: SignedTransaction) -> None:
        """A client sends a transaction to that node."""

    def governed(self, member: int, action: str, *args: object) -> SignedTransaction:
        """What a hospital's administrator signs."""

    def renewal(self, member: int, key: FixedSigner) -> SignedTransaction:
        """A hospital renews its consensus key."""


def signer_of(node: Node) -> FixedSigner:
    """The consensus key that a node holds now."""
    return node.signer or fixed.validator_signer(node.index)


class Votes:
    """Proposes one change of votes after another, and renews keys whose memory is lost."""

    def __init__(self, swarm: Consortium) -> None:
        self._swarm, self._random = swarm, swarm.random
        self._doubtful = swarm.options.byzantine | set(swarm.options.losers)
        self._open: Membership | None = None
        """Who voted when the change was proposed that is not carried yet."""
        self.new_keys: list[FixedSigner] = []
        """Of all renewals."""

    @property
    def pending(self) -> bool:
        """Whether a change may still be carried at any time."""
        return self._open is not None and self._open == self._swarm.chain.newest

    def may_vote(self, index: int) -> bool:
        """Whether the node holds the key with which its hospital votes now."""
        node, newest = self._swarm.nodes[index], self._swarm.chain.newest
        place = newest.index_of(fixed.hospital(node.index))
        key = signer_of(node).public_key
        return place is not None and newest.validators[place].public_key == key

    def propose(self) -> None:
        """All administrators want the same change; who hears of it is left to the network."""
        choices = list(self._choices())
        alive = self._swarm.alive()
        if self.pending or not choices or not alive:
            return
        given = [each for each in choices if isinstance(each, GiveVote)]
        change = self._random.choice(given or choices)
        self._open = self._swarm.chain.newest
        self._swarm.note("give vote" if isinstance(change, GiveVote) else "take vote")
        everyone = self._random.sample(range(self._swarm.options.n), self._swarm.options.n)
        first, *others = everyone
        proposal = self._swarm.governed(first, "propose", change.to_value())
        approvals = [self._swarm.governed(each, "approve", proposal.id) for each in others]
        for sent in (proposal, *approvals):
            for index in self._random.sample(alive, min(2, len(alive))):
                if self._swarm.nodes[index].driver is not None:
                    self._swarm.hand_in(index, sent)

    def _choices(self) -> Iterator[Change]:
        newest = self._swarm.chain.newest
        for place in range(self._swarm.options.n):
            name: MemberId = fixed.hospital(place)
            voting = {v.member for v in newest.validators}
            voting ^= {name}
            doubtful = sum(fixed.hospital(i) in voting for i in self._doubtful)
            if len(voting) >= 3 and doubtful <= faults_tolerated(len(voting)):
                yield GiveVote(name) if name in voting else TakeVote(name)

    def renew(self) -> None:
        """An operator whose node only observes makes a new key, as the manual says."""
        observers = sorted(self._swarm.losses.must_observe)
        alive = self._swarm.alive()
        if not observers or not alive:
            return
        index = self._random.choice(observers)
        node, disk = self._swarm.nodes[index], self._swarm.disks[index]
        self._swarm.note("key renewed")
        self._swarm.kill(index)
        height = self._height_on_disk(index)
        disk.files.pop(SAFETY_FILE, None)
        path = cast(Path, DiskPath(disk, SAFETY_FILE))
        FileSafetyStore.create(path)
        safety = FileSafetyStore(path)
        safety.settle(height)  # or it would look older than the chain
        safety.close()
        node.signer = FixedSigner(f"validator {node.index}, renewal {len(self.new_keys)}")
        self.new_keys.append(node.signer)
        self._swarm.chain.knows(node.signer.public_key)
        self._swarm.losses.renewed(index)
        self._swarm.start(index)
        sent = self._swarm.renewal(node.index, node.signer)
        for each in self._random.sample(alive, min(2, len(alive))):
            if self._swarm.nodes[each].driver is not None:
                self._swarm.hand_in(each, sent)

    def _height_on_disk(self, index: int) -> Height:
        """Of a node that does not run; a damaged ledger is moved aside first, as the manual says.

        A block may be on disk though the process that wrote it ended before it knew.
        """
        try:
            newest = Newest.read(self._swarm.storage(index))
        except StorageCorrupt:
            self._swarm.losses.move_aside(index)
            newest = None
        return Height(0) if newest is None else newest.height
