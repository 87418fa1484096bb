"""Signed HTTP requests: what a gateway's caller signs (specification: HTTP, gateway)."""

from collections.abc import Mapping
from dataclasses import dataclass

from ledger import codec
from ledger.codec import Value
from ledger.crypto.hashing import Tag, hash_tagged, signing_digest
from ledger.crypto.keys import Signer
from ledger.primitives import Hash32, KeyId, Nonce, Signature, TimestampMs

KEY_HEADER = "Yilian-Key"
TIME_HEADER = "Yilian-Time"
NONCE_HEADER = "Yilian-Nonce"
SIGNATURE_HEADER = "Yilian-Signature"
TARGET_CHARACTERS_MAX = 512
"""Of a request that is passed on."""


@dataclass(frozen=True, slots=True)
class RequestStamp:
    """Who asks, when, and the number that makes the request unique."""

    key_id: KeyId
    time_ms: TimestampMs
    nonce: Nonce
    signature: Signature

    def headers(self) -> Mapping[str, str]:
        """The four headers of a signed request."""
        return {
            KEY_HEADER: self.key_id.hex(),
            TIME_HEADER: str(self.time_ms),
            NONCE_HEADER: self.nonce.hex(),
            SIGNATURE_HEADER: self.signature.hex(),
        }


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A GET request as its signer sent it, to be passed on to whom it also concerns."""

    target: str
    """Path with its query."""
    stamp: RequestStamp

    def to_value(self) -> Value:
        """[target, key id, time, nonce, signature]."""
        s = self.stamp
        return (self.target, s.key_id, s.time_ms, s.nonce, s.signature)

    @staticmethod
    def from_value(value: Value) -> "SignedRequest":
        """Raises NotCanonical, TooLarge or OutOfRange; the signature is not checked here."""
        fields = codec.array(value, 5, "signed request")
        return SignedRequest(
            codec.text(fields[0], "request target", TARGET_CHARACTERS_MAX),
            RequestStamp(
                KeyId(codec.binary(fields[1], "request key", 32)),
                TimestampMs(codec.uint(fields[2], "request time")),
                Nonce(codec.binary(fields[3], "request nonce", 16)),
                Signature(codec.binary(fields[4], "request signature", Signature.SIZE)),
            ),
        )


def request_digest(
    chain_id: Hash32, method: str, target: str, body: bytes, time_ms: TimestampMs, nonce: Nonce
) -> Hash32:
    """What is signed; ``target`` is the path with its query, exactly as it is sent."""
    return signing_digest(
        Tag.SIGN_API_REQUEST,
        chain_id,
        method.encode(),
        target.encode(),
        hash_tagged(Tag.API_BODY, body),
        time_ms.to_bytes(8, "big"),
        nonce,
    )


def stamp_request(
    signer: Signer,
    chain_id: Hash32,
    method: str,
    target: str,
    body: bytes,
    *,
    time_ms: TimestampMs,
    nonce: Nonce,
) -> RequestStamp:
    """The stamp of one request; ``nonce`` is 16 random bytes, used once."""
    digest = request_digest(chain_id, method, target, body, time_ms, nonce)
    return RequestStamp(signer.public_key.key_id, time_ms, nonce, signer.sign(digest))
