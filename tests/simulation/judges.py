"""Judges outside the replicas: they know all keys, all disks and all frames, and trust nobody."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ledger.consensus.messages import Commit, Message, ViewChange
from ledger.crypto.keys import PublicKey
from ledger.errors import PeerFault
from ledger.execution import current_voters
from ledger.light.bundles import MembershipChange
from ledger.light.trust import TrustedChain, advance, trust_genesis
from ledger.limits import VALID_UNTIL_HEIGHTS_MAX
from ledger.primitives import Hash32, Height, KeyId, View
from ledger.state import State
from ledger.types.certificate import CertifiedHeader
from ledger.types.genesis import Genesis
from ledger.types.membership import Membership
from ledger.types.transaction import SignedTransaction, verify_transaction
from nodes.storage.ledger_store import LedgerStore
from tests.simulation import oracle
from tests.simulation.byzantine import SignatureLog
from tests.simulation.disk import DiskStorage
from tests.simulation.violation import Violation
from tests.vectors import fixed
from tests.vectors.fixed import FixedSigner


class PromiseJudge(SignatureLog):
    """I9: no correct signer's frames ever hold two contents for one (type, height, view)."""

    def __init__(self, faulty: Collection[KeyId], voting: Mapping[int, Membership]) -> None:
        """``faulty`` are the keys of liars, ``voting`` is who votes on each height, once known."""
        super().__init__()
        self._faulty = set(faulty)
        self._voting = voting
        self._known: set[tuple[int, bytes]] = set()
        self._committed: dict[tuple[int, Height], View] = {}
        """Highest view in which a signer sent a COMMIT at a height."""
        self.highest_view_of: dict[KeyId, int] = defaultdict(int)
        """What a key has promised by voting."""

    def forgets(self, key_id: KeyId) -> None:
        """The memory of what this key signed is lost: it answers for nothing any more."""
        self._faulty.add(key_id)

    def sent(self, sender: int, frame: bytes) -> Message | None:
        """A correct validator's driver handed this frame to its links: its message, if new."""
        if (sender, frame) in self._known:
            return None
        self._known.add((sender, frame))
        return self.saw(frame)

    def _note(self, kind: str, message: Message, content: bytes) -> None:
        membership = self._voting.get(message.height)
        if membership is None or message.signer >= membership.n:
            return  # a liar's: no correct one is above the height that is being decided
        key_id = membership.validators[message.signer].public_key.key_id
        if key_id in self._faulty:
            return  # a correct validator may pass on what a liar signed
        super()._note(kind, message, content)
        place = (kind, message.signer, message.height, message.view)
        if len(self._digests[place]) > 1:
            raise Violation("I9", "{} of validator {} at ({}, {}) was signed twice".format(*place))
        self.highest_view_of[key_id] = max(self.highest_view_of[key_id], message.view)
        if isinstance(message, Commit):
            at = (message.signer, message.height)
            self._committed[at] = max(self._committed.get(at, View(0)), message.view)
        elif isinstance(message, ViewChange):
            self._check_view_change(message)

    def _check_view_change(self, message: ViewChange) -> None:
        """Whoever sent a COMMIT says in each later view-change of the height what it prepared."""
        committed = self._committed.get((message.signer, message.height))
        if committed is None or committed >= message.view:
            return
        if message.prepared is None or message.prepared.view < committed:
            what = f"validator {message.signer} left view {committed} at {message.height}"
            raise Violation("SAFE-1", f"{what} and does not say what it prepared")


class ChainJudge:
    """SAFE-1, SAFE-2, SAFE-3, EXEC-1 and certificates, told of each commit of correct nodes."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        keys = [user.public_key for user in genesis.users]
        keys += [validator.public_key for validator in genesis.membership.validators]
        self._keys: dict[bytes, PublicKey] = {key.key_id: key for key in keys}
        self.voting: dict[int, Membership] = {1: genesis.membership}
        """Who votes on each height."""
        self.blocks: dict[int, Hash32] = {}
        self.where: dict[Hash32, tuple[int, int]] = {}
        """Height and index of each transaction of the chain."""
        self._acknowledged: dict[int, int] = defaultdict(int)
        """Highest height that each node told its clients of."""
        self._states: dict[int, bytes] = {}

    @property
    def newest(self) -> Membership:
        """Who votes on the height that comes next."""
        return self.voting[max(self.voting)]

    def knows(self, key: PublicKey) -> None:
        """A key that may sign transactions once it is registered."""
        self._keys[key.key_id] = key

    def committed(
        self, index: int, store: LedgerStore, storage: DiskStorage, height: Height
    ) -> None:
        """Node ``index`` tells its clients about a block, which must be on its disk."""
        certified = store.certified_header(height)
        first = height not in self.blocks
        if self.blocks.setdefault(height, certified.header.hash) != certified.header.hash:
            raise Violation("SAFE-1", f"validator {index} has another block {height}")
        # Not by the product's verifier: a bug in it would hide here.
        wrong = oracle.flaw(certified.certificate, self.voting[height], self._genesis.chain_id)
        if wrong:
            raise Violation("LIGHT-1", f"certificate of block {height}: {wrong}")
        if first:
            self._check_transactions(store, height)
            following = current_voters(State(store)).membership
            if following.hash != certified.header.next_membership:
                raise Violation("M1", f"block {height} names others than its state lets vote")
            self.voting[height + 1] = following
        if height > self._acknowledged[index] + 1 or height <= self._acknowledged[index]:
            raise Violation("SAFE-3", f"validator {index} tells of block {height} out of turn")
        self._acknowledged[index] = height
        self.check_state(index, store, storage)

    def _check_transactions(self, store: LedgerStore, height: Height) -> None:
        block = store.block(height)
        if block is None or block.hash != self.blocks[height]:
            raise Violation("SAFE-3", f"block {height} is not beside its header")
        if height > 1 and block.header.parent != self.blocks[height - 1]:
            raise Violation("SAFE-1", f"block {height} has another parent")
        for place, encoded in enumerate(block.transactions):
            signed = SignedTransaction.decode(encoded)
            if signed.id in self.where:
                raise Violation("SAFE-2", f"block {height}: transaction {place} is a repetition")
            self.where[signed.id] = (height, place)
            if not height <= signed.body.valid_until <= height + VALID_UNTIL_HEIGHTS_MAX:
                raise Violation("SAFE-2", f"block {height}: transaction {place} has expired")
            try:
                verify_transaction(signed, self._keys[signed.body.signer])
            except (PeerFault, KeyError) as fault:
                raise Violation("SAFE-2", f"block {height}: transaction {place}") from fault

    def check_state(self, index: int, store: LedgerStore, storage: DiskStorage) -> None:
        """EXEC-1: after one height all nodes hold the same state, byte for byte."""
        digest = storage.state_digest()
        if digest is None:
            return  # its operator will replace it
        if self._states.setdefault(store.height, digest) != digest:
            raise Violation("EXEC-1", f"validator {index} has another state at {store.height}")

    def reopened(self, index: int, store: LedgerStore, storage: DiskStorage) -> None:
        """SAFE-3: a disk holds after any crash what its node had told its clients of."""
        if store.height < self._acknowledged[index]:
            raise Violation("SAFE-3", f"validator {index} lost block {self._acknowledged[index]}")
        # A crash after the batch and before the clients were told: they are told by asking.
        self._acknowledged[index] = store.height
        self.check_state(index, store, storage)

    def forgotten(self, index: int) -> None:
        """The disk of ``index`` was lost or turned back."""
        self._acknowledged[index] = 0

    def check_complete(self, stores: Mapping[int, LedgerStore]) -> None:
        """SAFE-3 and exactly-once: every transaction of the chain is at its place everywhere."""
        for index, store in stores.items():
            for transaction_id, (height, place) in self.where.items():
                if height <= store.height and store.executed(transaction_id) != (height, place):
                    raise Violation("SAFE-3", f"validator {index} misses part of block {height}")


class LightJudge:
    """LIGHT-1: a light client that follows the chain and is lied to on the way."""

    def __init__(self, genesis: Genesis, blocks: Mapping[int, Hash32]) -> None:
        self._blocks = blocks
        self.trusted: TrustedChain = trust_genesis(genesis.encode(), genesis.chain_id)
        self.refused = 0

    def asks(
        self,
        certified: CertifiedHeader,
        changes: Sequence[MembershipChange],
        liars: Sequence[tuple[int, FixedSigner]],
    ) -> None:
        """A correct node answers with its newest header and the changes of votes before it.

        ``liars`` are those, by index among the voters, that make other headers of it.
        """
        for lie in forged_headers(certified, liars):
            try:
                advance(self.trusted, changes, lie)
            except PeerFault:
                self.refused += 1
            else:
                raise Violation("LIGHT-1", f"a forged header {certified.header.height} is believed")
        if certified.header.height <= self.trusted.height:
            return
        try:
            self.trusted = advance(self.trusted, changes, certified)
        except PeerFault as fault:
            raise Violation("LIGHT-1", f"a true header is refused: {fault}") from fault
        height = self.trusted.height
        if self._blocks.get(height, self.trusted.header_hash) != self.trusted.header_hash:
            raise Violation("LIGHT-1", f"another block {height} is believed")


def forged_headers(
    certified: CertifiedHeader, liars: Sequence[tuple[int, FixedSigner]]
) -> Sequence[CertifiedHeader]:
    """What liars can make of a true header: other content, and certificates of their own."""
    header = replace(certified.header, state_root=fixed.named_hash("a lie"))
    old = certified.certificate
    other = replace(old, block_hash=header.hash)
    own = fixed.certificate(header, sorted(liars, key=lambda liar: liar[0]))
    signatures = dict(zip(old.signers, old.signatures, strict=True))
    signatures.update(zip(own.signers, own.signatures, strict=True))
    mixed = replace(
        other,
        view=View(0),
        signers=tuple(sorted(signatures)),
        signatures=tuple(signatures[i] for i in sorted(signatures)),
    )
    few = replace(old, signers=old.signers[1:], signatures=old.signatures[1:])
    forged = [old, other, own, mixed]
    if own.signers:
        forged.append(
            replace(
                own,
                signers=own.signers[:1] * len(old.signers),
                signatures=own.signatures[:1] * len(old.signers),
            )
        )
    lies = [CertifiedHeader(header, each) for each in forged]
    # A correct node's certificate has exactly q signatures, so without one it proves nothing.
    return [*lies, CertifiedHeader(certified.header, few)]
