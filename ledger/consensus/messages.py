"""What replicas sign and send, and the one place where it is verified.

Every message names its signer by index in the membership of its height. The TLS peer may be
another replica that relays it; the signature decides (2.2). Each type signs under its own tag.
"""

from dataclasses import dataclass
from typing import TypeAlias

from ledger import codec
from ledger.codec import Value
from ledger.crypto.hashing import Tag, hash_tagged, signing_digest
from ledger.crypto.keys import Verified, verify_signature
from ledger.errors import NotCanonical, PeerFault
from ledger.limits import BLOCK_BYTES_MAX, FRAME_BYTES_MAX, VALIDATORS_MAX
from ledger.primitives import Hash32, Height, Signature, View
from ledger.types.block import Block
from ledger.types.certificate import (
    CERTIFICATE_BYTES_MAX,
    QuorumCertificate,
    commit_digest,
    verify_quorum_certificate,
    vote_digest,
)
from ledger.types.membership import Membership, Voters


@dataclass(eq=False)
class MessageRefused(PeerFault):
    """A consensus message breaks a rule of its type."""

    kind: str
    signer: int
    reason: str
    template = "{kind} of validator {signer}: {reason}"


@dataclass(frozen=True, slots=True)
class PrePrepare:
    """The primary proposes a block that it executed; this is also its vote for it."""

    height: Height
    view: View
    block: Block
    signer: int
    signature: Signature

    def to_value(self) -> Value:
        """[height, view, block bytes, signer, signature]."""
        return (self.height, self.view, self.block.encoded, self.signer, self.signature)

    @staticmethod
    def from_value(value: Value) -> "PrePrepare":
        """Raises PeerFault."""
        f = codec.array(value, 5, "pre-prepare")
        return PrePrepare(
            Height(codec.uint(f[0], "pre-prepare height")),
            View(codec.uint(f[1], "pre-prepare view")),
            Block.decode(codec.binary(f[2], "pre-prepare block", BLOCK_BYTES_MAX)),
            codec.uint(f[3], "pre-prepare signer", VALIDATORS_MAX),
            _signature(f[4]),
        )


@dataclass(frozen=True, slots=True)
class Prepare:
    """A backup has received, executed and accepted the proposal."""

    height: Height
    view: View
    block_hash: Hash32
    signer: int
    signature: Signature

    def to_value(self) -> Value:
        """[height, view, block hash, signer, signature]."""
        return (self.height, self.view, self.block_hash, self.signer, self.signature)

    @staticmethod
    def from_value(value: Value) -> "Prepare":
        """Raises PeerFault."""
        return Prepare(*_vote_fields(value, "prepare"))


@dataclass(frozen=True, slots=True)
class Commit:
    """The block is prepared here; the signature goes into the quorum certificate."""

    height: Height
    view: View
    block_hash: Hash32
    signer: int
    signature: Signature

    def to_value(self) -> Value:
        """[height, view, block hash, signer, signature]."""
        return (self.height, self.view, self.block_hash, self.signer, self.signature)

    @staticmethod
    def from_value(value: Value) -> "Commit":
        """Raises PeerFault."""
        return Commit(*_vote_fields(value, "commit"))


@dataclass(frozen=True, slots=True)
class PreparedCertificate:
    """Proof that a block was prepared: the primary's proposal and q-1 backups' PREPAREs."""

    height: Height
    view: View
    block_hash: Hash32
    primary_signature: Signature
    """Of the PRE-PREPARE."""
    signers: tuple[int, ...]
    """Backups, strictly rising, without the primary."""
    signatures: tuple[Signature, ...]

    def to_value(self) -> Value:
        """[height, view, block hash, primary signature, [signer, ...], [signature, ...]]."""
        return (
            self.height,
            self.view,
            self.block_hash,
            self.primary_signature,
            self.signers,
            self.signatures,
        )

    @staticmethod
    def from_value(value: Value) -> "PreparedCertificate":
        """Raises PeerFault."""
        f = codec.array(value, 6, "prepared certificate")
        signers = codec.array_up_to(f[4], VALIDATORS_MAX, "prepared signers")
        signatures = codec.array_up_to(f[5], VALIDATORS_MAX, "prepared signatures")
        return PreparedCertificate(
            Height(codec.uint(f[0], "prepared height")),
            View(codec.uint(f[1], "prepared view")),
            Hash32(codec.binary(f[2], "prepared block hash", 32)),
            _signature(f[3]),
            tuple(codec.uint(s, "prepared signer", VALIDATORS_MAX) for s in signers),
            tuple(_signature(s) for s in signatures),
        )


@dataclass(frozen=True, slots=True)
class ViewChange:
    """A replica leaves for a higher view and says what it knows."""

    height: Height
    """The height it has not committed yet."""
    view: View
    """The view it wants."""
    last_certificate: QuorumCertificate | None
    """Certificate of the height below; None at height 1 only."""
    prepared: PreparedCertificate | None
    """Of ``height``, with the highest view, if any."""
    signer: int
    signature: Signature

    def content(self) -> bytes:
        """What is signed beside tag and chain: all fields but signer and signature."""
        last = self.last_certificate
        return codec.encode(
            [
                self.height,
                self.view,
                None if last is None else last.encode(),
                None if self.prepared is None else self.prepared.to_value(),
            ]
        )

    def to_value(self) -> Value:
        """[content bytes, signer, signature]."""
        return (self.content(), self.signer, self.signature)

    @staticmethod
    def from_value(value: Value) -> "ViewChange":
        """Raises PeerFault."""
        f = codec.array(value, 3, "view-change")
        content = codec.binary(f[0], "view-change content", 3 * CERTIFICATE_BYTES_MAX)
        c = codec.array(
            codec.decode(content, 3 * CERTIFICATE_BYTES_MAX, "view-change"), 4, "view-change"
        )
        last, prepared = c[2], c[3]
        return ViewChange(
            Height(codec.uint(c[0], "view-change height")),
            View(codec.uint(c[1], "view-change view")),
            None
            if last is None
            else QuorumCertificate.decode(
                codec.binary(last, "view-change certificate", CERTIFICATE_BYTES_MAX)
            ),
            None if prepared is None else PreparedCertificate.from_value(prepared),
            codec.uint(f[1], "view-change signer", VALIDATORS_MAX),
            _signature(f[2]),
        )


@dataclass(frozen=True, slots=True)
class NewView:
    """The primary of a view opens it: q view-changes and the proposal that follows from them."""

    view_changes: tuple[ViewChange, ...]
    """Exactly q, all for this view, sorted by distinct signers."""
    proposal: PrePrepare
    signature: Signature
    """Of the proposal's signer, over the content."""

    @property
    def height(self) -> Height:
        """Height of the proposal."""
        return self.proposal.height

    @property
    def view(self) -> View:
        """The view that it opens."""
        return self.proposal.view

    @property
    def signer(self) -> int:
        """The primary of that view."""
        return self.proposal.signer

    def content(self) -> bytes:
        """What is signed: the view-changes and the proposal without its body."""
        p = self.proposal
        return codec.encode(
            [
                [change.to_value() for change in self.view_changes],
                [p.height, p.view, p.block.hash, p.signer, p.signature],
            ]
        )

    def to_value(self) -> Value:
        """[[view-change, ...], pre-prepare, signature]."""
        changes = tuple(change.to_value() for change in self.view_changes)
        return (changes, self.proposal.to_value(), self.signature)

    @staticmethod
    def from_value(value: Value) -> "NewView":
        """Raises PeerFault."""
        f = codec.array(value, 3, "new-view")
        changes = codec.array_up_to(f[0], VALIDATORS_MAX, "new-view changes")
        return NewView(
            tuple(ViewChange.from_value(change) for change in changes),
            PrePrepare.from_value(f[1]),
            _signature(f[2]),
        )


Message: TypeAlias = PrePrepare | Prepare | Commit | ViewChange | NewView

_KINDS: tuple[type[Message], ...] = (PrePrepare, Prepare, Commit, ViewChange, NewView)


def encode_message(message: Message) -> bytes:
    """[kind number, fields]."""
    return codec.encode([_KINDS.index(type(message)), message.to_value()])


def decode_message(data: bytes) -> Message:
    """Raises PeerFault; nothing is verified here."""
    kind, value = codec.array(codec.decode(data, FRAME_BYTES_MAX, "message"), 2, "message")
    number = codec.uint(kind, "message kind")
    if number >= len(_KINDS):
        raise NotCanonical("message", f"kind {number} is not known")
    return _KINDS[number].from_value(value)


def signatures_in(message: Message) -> int:
    """How many signatures verifying ``message`` checks."""
    match message:
        case ViewChange(last_certificate=last, prepared=prepared):
            certified = 0 if last is None else len(last.signers)
            return 1 + certified + (0 if prepared is None else 1 + len(prepared.signers))
        case NewView():
            return 2 + sum(signatures_in(change) for change in message.view_changes)
        case _:
            return 1


def _signature(value: Value) -> Signature:
    return Signature(codec.binary(value, "signature", Signature.SIZE))


def _vote_fields(value: Value, what: str) -> tuple[Height, View, Hash32, int, Signature]:
    f = codec.array(value, 5, what)
    return (
        Height(codec.uint(f[0], f"{what} height")),
        View(codec.uint(f[1], f"{what} view")),
        Hash32(codec.binary(f[2], f"{what} block hash", 32)),
        codec.uint(f[3], f"{what} signer", VALIDATORS_MAX),
        _signature(f[4]),
    )


def view_change_hash(membership: Hash32, message: ViewChange) -> Hash32:
    """H("view-change", membership hash, content): what stands where a vote has a block's hash.

    It names the membership, because no block does: else a view-change of a validator that has
    left could count as one of whoever has its place now (B3).
    """
    return hash_tagged(Tag.VIEW_CHANGE, membership, message.content())


def view_change_digest(chain_id: Hash32, membership: Hash32, message: ViewChange) -> Hash32:
    """What a VIEW-CHANGE signs; it has the shape of a vote."""
    stated = view_change_hash(membership, message)
    return vote_digest(Tag.SIGN_VIEW_CHANGE, chain_id, message.height, message.view, stated)


def new_view_digest(chain_id: Hash32, content: bytes) -> Hash32:
    """What a NEW-VIEW signs."""
    return signing_digest(Tag.SIGN_NEW_VIEW, chain_id, content)


@dataclass(frozen=True, slots=True)
class Verifier:
    """Checks the signatures and the inner consistency of messages of one membership."""

    chain_id: Hash32
    voters: Voters
    rotation: int

    @property
    def membership(self) -> Membership:
        """Votes on the heights of these messages."""
        return self.voters.membership

    def verify(self, message: Message) -> Verified[Message]:
        """Raises PeerFault unless every signature inside ``message`` holds."""
        match message:
            case PrePrepare():
                self._pre_prepare(message)
            case Prepare() | Commit():
                self._vote(message)
            case ViewChange():
                self._view_change(message)
            case NewView():
                self._new_view(message)
        return Verified(message)

    def primary(self, height: Height, view: View) -> int:
        """Index of the primary of that height and view."""
        return self.membership.primary(height, view, self.rotation)

    def _signed(self, kind: str, signer: int, signature: Signature, digest: Hash32) -> None:
        if signer >= self.membership.n:
            raise MessageRefused(kind, signer, "no such validator at this height")
        key = self.membership.validators[signer].public_key
        verify_signature(key, signature, digest, f"{kind} of validator {signer}")

    def _pre_prepare(self, message: PrePrepare) -> None:
        if message.signer != self.primary(message.height, message.view):
            raise MessageRefused("pre-prepare", message.signer, "not the primary of that view")
        if message.block.header.height != message.height:
            raise MessageRefused("pre-prepare", message.signer, "the block has another height")
        digest = vote_digest(
            Tag.SIGN_PRE_PREPARE, self.chain_id, message.height, message.view, message.block.hash
        )
        self._signed("pre-prepare", message.signer, message.signature, digest)

    def _vote(self, message: Prepare | Commit) -> None:
        if isinstance(message, Commit):
            digest = commit_digest(self.chain_id, message.height, message.view, message.block_hash)
            self._signed("commit", message.signer, message.signature, digest)
            return
        # The primary's PRE-PREPARE is its vote; a PREPARE of it would count twice.
        if message.signer == self.primary(message.height, message.view):
            raise MessageRefused("prepare", message.signer, "the primary does not prepare")
        digest = vote_digest(
            Tag.SIGN_PREPARE, self.chain_id, message.height, message.view, message.block_hash
        )
        self._signed("prepare", message.signer, message.signature, digest)

    def verify_prepared(self, proof: PreparedCertificate) -> None:
        """Raises PeerFault unless ``proof`` has the primary and exactly q-1 distinct backups."""
        primary = self.primary(proof.height, proof.view)
        signers = proof.signers
        if list(signers) != sorted(set(signers)) or len(signers) != len(proof.signatures):
            raise MessageRefused("prepared certificate", primary, "signers are not distinct")
        if primary in signers:
            raise MessageRefused("prepared certificate", primary, "the primary among the backups")
        if len(signers) != self.membership.quorum - 1:
            raise MessageRefused("prepared certificate", primary, "not q-1 backups")
        votes = (self.chain_id, proof.height, proof.view, proof.block_hash)
        first = vote_digest(Tag.SIGN_PRE_PREPARE, *votes)
        self._signed("prepared certificate", primary, proof.primary_signature, first)
        digest = vote_digest(Tag.SIGN_PREPARE, *votes)
        for signer, signature in zip(signers, proof.signatures, strict=True):
            self._signed("prepared certificate", signer, signature, digest)

    def _view_change(self, message: ViewChange) -> None:
        signer, last, prepared = message.signer, message.last_certificate, message.prepared
        if message.view == 0:
            raise MessageRefused("view-change", signer, "nobody changes to view 0")
        if message.height < self.voters.since:
            raise MessageRefused("view-change", signer, "of a height that others voted on")
        if (last is None) != (message.height == 1):
            raise MessageRefused("view-change", signer, "no certificate of the height below")
        if last is not None and last.height + 1 != message.height:
            raise MessageRefused("view-change", signer, "the certificate is of another height")
        if prepared is not None:
            if prepared.height != message.height:
                raise MessageRefused("view-change", signer, "prepared at another height")
            if prepared.view >= message.view:
                raise MessageRefused("view-change", signer, "prepared in a view not yet left")
        digest = view_change_digest(self.chain_id, self.membership.hash, message)
        self._signed("view-change", signer, message.signature, digest)
        if last is not None:
            verify_quorum_certificate(last, self.voters.of(last.height), self.chain_id)
        if prepared is not None:
            self.verify_prepared(prepared)

    def _new_view(self, message: NewView) -> None:
        view, signer = message.proposal.view, message.proposal.signer
        signers = [change.signer for change in message.view_changes]
        if signers != sorted(set(signers)) or len(signers) != self.membership.quorum:
            raise MessageRefused("new-view", signer, "not exactly q distinct view-changes")
        if any(change.view != view for change in message.view_changes):
            raise MessageRefused("new-view", signer, "a view-change for another view")
        self._pre_prepare(message.proposal)
        digest = new_view_digest(self.chain_id, message.content())
        self._signed("new-view", signer, message.signature, digest)
        for change in message.view_changes:
            self._view_change(change)
