"""Patient keys, sealed row metadata, and the hospitals' group key wrapped to each hospital.

Pure: nonces and ephemeral keys are arguments. No error here holds what was sealed.
"""

import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ledger import codec
from ledger.crypto.keys import PublicKey, load_public_key
from ledger.errors import CallerBug, NotCanonical, OutOfRange, PeerFault, TooLarge
from ledger.limits import SEALED_BYTES_MAX
from ledger.primitives import Hash32, MemberId, PatientKey
from ledger.types.terms import NUMBER_OF, TERMS

GROUP_KEY_BYTES = 32
SEALING_NONCE_BYTES = 12
_TAG_BYTES = 16
_POINT_BYTES = 65
METADATA_BYTES_MAX = SEALED_BYTES_MAX - SEALING_NONCE_BYTES - _TAG_BYTES
WRAPPED_KEY_BYTES = _POINT_BYTES + GROUP_KEY_BYTES + _TAG_BYTES
_ROW_KEY_INFO = b"yilian row key"
_WRAP_INFO = b"yilian group key"
# Each AES key below encrypts one message only, so its nonce may be constant.
_ZERO_NONCE = bytes(12)


@dataclass(eq=False)
class SealBroken(PeerFault):
    """Sealed bytes were altered, or sealed for another row, patient, hospital, epoch or key."""

    what: str
    template = "{what}: it does not open with this key and for this place"


@dataclass(eq=False)
class WrongKeySize(CallerBug):
    """A symmetric key or nonce of another length was passed."""

    what: str
    found: int
    needed: int
    template = "{what}: {found} bytes given, {needed} needed"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the sealed part of a row says, to hospitals and to whoever holds its row key."""

    kind: str
    """FHIR resource type, or "ImagingStudy" for a DICOM study."""
    code_system: str
    """URI of the code system; empty where the record has no code."""
    code: str
    effective: str
    """When it happened, as the record writes it; empty where it does not say."""
    locator: str
    """Where the holder's store has it; means nothing to others."""
    national_index: str | None
    """National index number, where there is one."""

    def encode(self) -> bytes:
        """[kind, code system, code, effective, locator, national index or nil].

        Kind and code system are their numbers in TERMS, where they have one.
        """
        return codec.encode(
            [
                NUMBER_OF.get(self.kind, self.kind),
                NUMBER_OF.get(self.code_system, self.code_system),
                self.code,
                self.effective,
                self.locator,
                self.national_index,
            ]
        )

    @staticmethod
    def decode(data: bytes) -> "Metadata":
        """Raises NotCanonical or TooLarge."""
        fields = codec.array(codec.decode(data, METADATA_BYTES_MAX, "metadata"), 6, "metadata")
        kind, system = (_term(item) for item in fields[:2])
        code, effective, locator = (_text(item) for item in fields[2:5])
        index = None if fields[5] is None else _text(fields[5])
        return Metadata(kind, system, code, effective, locator, index)


def _term(value: codec.Value) -> str:
    if isinstance(value, int):
        return TERMS[codec.uint(value, "metadata term", len(TERMS) - 1)]
    text = _text(value)
    if text in NUMBER_OF:
        raise NotCanonical("metadata", "a term that has a number is written as text")
    return text


def _text(value: codec.Value) -> str:
    return codec.text(value, "metadata", METADATA_BYTES_MAX)


def patient_key(secret: bytes, system: str, value: str) -> PatientKey:
    """HMAC-SHA-256(secret, system + "|" + value without white space, upper case).

    Raises OutOfRange, without the value, where the identifier is empty or ambiguous.
    """
    canonical = "".join(value.split()).upper()
    if not system or "|" in system:
        raise OutOfRange("identifier system", "an empty one, or one with '|',")
    if not canonical:
        raise OutOfRange("identifier", "an empty value")
    return PatientKey(hmac.digest(secret, f"{system}|{canonical}".encode(), "sha256"))


def seal(
    group_key: bytes, nonce: bytes, patient: PatientKey, root: Hash32, metadata: bytes
) -> bytes:
    """Sealed metadata of one row: nonce, ciphertext, 16-byte tag; bound to patient and root.

    ``nonce``: 12 random bytes, never used twice under one group key. Raises TooLarge where
    ``metadata`` exceeds METADATA_BYTES_MAX.
    """
    _sized("nonce", nonce, SEALING_NONCE_BYTES)
    if len(metadata) > METADATA_BYTES_MAX:
        raise TooLarge("metadata", len(metadata), METADATA_BYTES_MAX)
    key = row_key(group_key, nonce)
    return nonce + AESGCM(key).encrypt(_ZERO_NONCE, metadata, patient + root)


def row_key(group_key: bytes, sealed: bytes) -> bytes:
    """The key of one row alone: a gateway gives it to a resident, never the group key.

    ``sealed`` begins with the nonce from which it is derived; raises SealBroken when shorter.
    """
    _sized("group key", group_key, GROUP_KEY_BYTES)
    if len(sealed) < SEALING_NONCE_BYTES:
        raise SealBroken("sealed metadata")
    return _derive(group_key, sealed[:SEALING_NONCE_BYTES], _ROW_KEY_INFO)


def unseal(key: bytes, patient: PatientKey, root: Hash32, sealed: bytes) -> bytes:
    """The metadata bytes under the row key ``key``; raises SealBroken."""
    _sized("row key", key, GROUP_KEY_BYTES)
    return _open(key, sealed[SEALING_NONCE_BYTES:], patient + root, "sealed metadata")


def wrap_context(epoch: int, member: MemberId) -> bytes:
    """What a wrapped key is bound to; the chain id does not exist yet when genesis is made."""
    return codec.encode([epoch, member])


def wrap_group_key(
    group_key: bytes,
    ephemeral: ec.EllipticCurvePrivateKey,
    recipient: PublicKey,
    context: bytes,
) -> bytes:
    """ECDH on P-256, HKDF-SHA-256, AES-256-GCM: ephemeral point (65), ciphertext, tag.

    ``ephemeral`` is a fresh key for each call; ``context`` is ``wrap_context``.
    """
    _sized("group key", group_key, GROUP_KEY_BYTES)
    target = load_public_key(recipient)
    point = _point(ephemeral.public_key())
    key = _derive(ephemeral.exchange(ec.ECDH(), target), point + _point(target), _WRAP_INFO)
    return point + AESGCM(key).encrypt(_ZERO_NONCE, group_key, context)


def unwrap_group_key(
    private_key: ec.EllipticCurvePrivateKey, wrapped: bytes, context: bytes
) -> bytes:
    """The 32-byte group key; raises SealBroken for any other bytes, recipient or context."""
    if len(wrapped) != WRAPPED_KEY_BYTES:
        raise SealBroken("wrapped group key")
    point, ciphertext = wrapped[:_POINT_BYTES], wrapped[_POINT_BYTES:]
    try:
        ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise SealBroken("wrapped group key") from None
    own = _point(private_key.public_key())
    key = _derive(private_key.exchange(ec.ECDH(), ephemeral), point + own, _WRAP_INFO)
    return _open(key, ciphertext, context, "wrapped group key")


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), GROUP_KEY_BYTES, salt, info).derive(secret)


def _open(key: bytes, ciphertext: bytes, associated: bytes, what: str) -> bytes:
    # Shorter than a tag is a ValueError in some versions of the library, InvalidTag in others.
    if len(ciphertext) < _TAG_BYTES:
        raise SealBroken(what)
    try:
        return AESGCM(key).decrypt(_ZERO_NONCE, ciphertext, associated)
    except InvalidTag:
        raise SealBroken(what) from None


def _sized(what: str, found: bytes, needed: int) -> None:
    if len(found) != needed:
        raise WrongKeySize(what, len(found), needed)
