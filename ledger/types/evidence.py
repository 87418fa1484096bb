"""Proof that a validator signed two things for one (type, height, view).

All votes sign one shape, H(tag, version, chain, height, view, what is stated), so one small value
proves it for every type. A correct validator can never be framed: it signs one statement for each
place, over restarts, because its safety store comes first.
"""

from dataclasses import dataclass

from ledger import codec
from ledger.crypto.hashing import Tag
from ledger.crypto.keys import PublicKey, verify_signature
from ledger.errors import NotCanonical
from ledger.primitives import Hash32, Height, KeyId, Signature, View
from ledger.types.certificate import vote_digest

EVIDENCE_BYTES_MAX = 512
VOTE_TAGS = (Tag.SIGN_COMMIT, Tag.SIGN_PRE_PREPARE, Tag.SIGN_PREPARE, Tag.SIGN_VIEW_CHANGE)
"""Of what a validator signs once for each height and view."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one vote says, and the signature over it."""

    stated: Hash32
    """Hash of the block; for a view-change, ``view_change_hash``."""
    signature: Signature


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two statements of one key where there may be one."""

    tag: Tag
    """Which type of vote; one of VOTE_TAGS."""
    height: Height
    view: View
    key_id: KeyId
    """The consensus key that signed both."""
    first: Statement
    second: Statement
    """Of another statement; the smaller hash is first, so that one fault has one proof."""

    def encode(self) -> bytes:
        """[tag, height, view, key id, hash, signature, hash, signature]."""
        one, two = self.first, self.second
        return codec.encode(
            [
                str(self.tag),
                self.height,
                self.view,
                self.key_id,
                one.stated,
                one.signature,
                two.stated,
                two.signature,
            ]
        )

    @staticmethod
    def decode(data: bytes) -> "Evidence":
        """Raises NotCanonical, TooLarge or OutOfRange; nothing is verified here."""
        f = codec.array(codec.decode(data, EVIDENCE_BYTES_MAX, "evidence"), 8, "evidence")
        tag = codec.text(f[0], "evidence type", 32)
        if tag not in VOTE_TAGS:
            raise NotCanonical("evidence", "of no type of vote")
        first, second = (
            Statement(
                Hash32(codec.binary(f[at], "evidence hash", Hash32.SIZE)),
                Signature(codec.binary(f[at + 1], "evidence signature", Signature.SIZE)),
            )
            for at in (4, 6)
        )
        if first.stated >= second.stated:
            raise NotCanonical("evidence", "the statements are equal, or in the wrong order")
        return Evidence(
            Tag(tag),
            Height(codec.uint(f[1], "evidence height")),
            View(codec.uint(f[2], "evidence view")),
            KeyId(codec.binary(f[3], "evidence key", KeyId.SIZE)),
            first,
            second,
        )

    def verify(self, chain_id: Hash32, key: PublicKey) -> None:
        """Raises NotCanonical where ``key`` is another, BadSignature where it did not sign both."""
        if key.key_id != self.key_id:
            raise NotCanonical("evidence", "it is about another key")
        for statement in (self.first, self.second):
            digest = vote_digest(self.tag, chain_id, self.height, self.view, statement.stated)
            verify_signature(key, statement.signature, digest, "evidence")


EVIDENCE_LOG = b"evidence"
"""Log of the ids of all keys with evidence against them, oldest first."""


def evidence_key(key_id: KeyId) -> bytes:
    """State key of the proof against a consensus key: one is enough, for ever."""
    return b"evidence/" + key_id
