"""Domain-separated hashing: H(tag, parts...), one tag per purpose.

H = SHA-256 over, for the tag and then for each part, its length as 4 bytes big-endian and its
bytes. The lengths make the concatenation unambiguous (CVE-2023-46132).
"""

from enum import StrEnum
from hashlib import sha256

from ledger.limits import PROTOCOL_VERSION
from ledger.primitives import Hash32


class Tag(StrEnum):
    """Every purpose for which something is hashed; no two may share a tag (B3)."""

    GENESIS = "genesis"
    KEY = "key"
    MEMBERSHIP = "membership"
    TRANSACTION = "transaction"
    HEADER = "header"
    STATE_KEY = "state-key"
    ROW = "row"
    FIELD = "field"
    VIEW_CHANGE = "view-change"
    EVIDENCE_REPORT = "evidence-report"
    API_BODY = "api-body"
    DICOM_PIXELS = "dicom-pixels"
    CHUNKS_REQUEST = "chunks-request"
    SHARE_LINK = "share-link"
    SHARE_PASSCODE = "share-passcode"
    SHARE_CONTENT = "share-content"
    VIEW_RULES = "view-rules"
    # What is signed. Each kind has a tag of its own, so that no vote can serve as another.
    SIGN_TRANSACTION = "sign-transaction"
    SIGN_PRE_PREPARE = "sign-pre-prepare"
    SIGN_PREPARE = "sign-prepare"
    SIGN_COMMIT = "sign-commit"
    SIGN_VIEW_CHANGE = "sign-view-change"
    SIGN_NEW_VIEW = "sign-new-view"
    SIGN_POSSESSION = "sign-possession"
    SIGN_API_REQUEST = "sign-api-request"
    SIGN_ENROLMENT = "sign-enrolment"


def prefix(tag: Tag) -> bytes:
    """The bytes with which each preimage under ``tag`` begins: a constant for busy loops."""
    encoded = tag.encode()
    return len(encoded).to_bytes(4, "big") + encoded


def preimage(tag: Tag, *parts: bytes) -> bytes:
    """The bytes whose SHA-256 is ``H(tag, *parts)``; WebCrypto signs these."""
    pieces = [prefix(tag)]
    for part in parts:
        pieces.append(len(part).to_bytes(4, "big"))
        pieces.append(part)
    return b"".join(pieces)


def hash_tagged(tag: Tag, *parts: bytes) -> Hash32:
    """H(tag, parts...)."""
    return Hash32(sha256(preimage(tag, *parts)).digest())


def signing_digest(tag: Tag, chain_id: Hash32, *parts: bytes) -> Hash32:
    """What is signed: H over tag, protocol version, chain id and the parts of that kind."""
    return hash_tagged(tag, bytes([PROTOCOL_VERSION]), chain_id, *parts)
