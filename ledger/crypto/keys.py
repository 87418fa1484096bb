"""Public keys and signatures: suite 1 is ECDSA on P-256 with SHA-256 (decision 4).

A public key is the suite byte and its DER SubjectPublicKeyInfo. A signature is the suite byte
and r, s of 32 bytes each, s in the lower half of the group order. The digest that is signed is
``hashing.signing_digest``; WebCrypto gets its preimage and hashes it itself.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ledger.crypto.hashing import Tag, hash_tagged
from ledger.errors import BadSignature, NotCanonical
from ledger.primitives import Hash32, KeyId, Signature

SUITE_P256 = 1
PUBLIC_KEY_BYTES_MAX = 256
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_HALF_ORDER = _ORDER // 2
_ALGORITHM = ec.ECDSA(utils.Prehashed(hashes.SHA256()))

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verified(Generic[T]):
    """A value whose signatures were checked; only the functions that check them make one."""

    value: T


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that is known to be a point of its curve."""

    encoded: bytes
    """Suite byte and SubjectPublicKeyInfo."""

    @staticmethod
    def decode(encoded: bytes) -> "PublicKey":
        """Checks suite, curve and that the bytes are the canonical form; raises NotCanonical."""
        _load(encoded)
        return PublicKey(encoded)

    @property
    def key_id(self) -> KeyId:
        """H("key", SubjectPublicKeyInfo)."""
        return KeyId(hash_tagged(Tag.KEY, self.encoded[1:]))


class Signer(Protocol):
    """Whoever holds a private key: a key file, later an HSM."""

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this signer signs."""

    def sign(self, digest: Hash32) -> Signature:
        """The signature of ``digest``; the same digest always gives the same signature."""


@lru_cache(maxsize=4096)
def _load(encoded: bytes) -> ec.EllipticCurvePublicKey:
    # Parsing costs 13 us (a third of it validates the point); keys repeat, so they are cached.
    if len(encoded) > PUBLIC_KEY_BYTES_MAX or not encoded or encoded[0] != SUITE_P256:
        raise NotCanonical("public key", "unknown suite or size")
    try:
        key = load_der_public_key(encoded[1:])
    except (ValueError, UnsupportedAlgorithm):
        raise NotCanonical("public key", "no SubjectPublicKeyInfo") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise NotCanonical("public key", "not a P-256 key")
    if encode_public_key(key).encoded != encoded:
        raise NotCanonical("public key", "another encoding of the same key exists")
    return key


def load_public_key(key: PublicKey) -> ec.EllipticCurvePublicKey:
    """OpenSSL's form of a key, for key agreement; raises NotCanonical."""
    return _load(key.encoded)


def encode_public_key(key: ec.EllipticCurvePublicKey) -> PublicKey:
    """The protocol's form of an OpenSSL key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(bytes([SUITE_P256]) + der)


def encode_signature(r: int, s: int) -> Signature:
    """Suite byte, r, s; a high s is replaced by its twin, as OpenSSL and HSMs emit both (B4)."""
    if s > _HALF_ORDER:
        s = _ORDER - s
    return Signature(bytes([SUITE_P256]) + r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def verify_signature(key: PublicKey, signature: bytes, digest: Hash32, what: str) -> None:
    """Raises BadSignature unless ``signature`` is the low-s signature of ``digest`` by ``key``."""
    if len(signature) != Signature.SIZE or signature[0] != SUITE_P256:
        raise BadSignature(what)
    r = int.from_bytes(signature[1:33], "big")
    s = int.from_bytes(signature[33:], "big")
    if s > _HALF_ORDER or r == 0 or s == 0:
        raise BadSignature(what)
    if not _holds(key.encoded, r, s, digest):
        raise BadSignature(what)


def _holds(encoded: bytes, r: int, s: int, digest: bytes) -> bool:
    """The equation of ECDSA alone: a test puts a second implementation in its place."""
    try:
        _load(encoded).verify(utils.encode_dss_signature(r, s), digest, _ALGORITHM)
    except InvalidSignature:
        return False
    return True
