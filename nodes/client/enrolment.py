"""Enrolment: the one-time code that a hospital gives a person, and what the person's key proves."""

import base64
import binascii
from dataclasses import dataclass

from ledger import codec
from ledger.crypto.keys import PublicKey, Signer, verify_signature
from ledger.errors import NotCanonical
from ledger.primitives import Hash32, KeyId, MemberId, Nonce, PatientKey, Signature
from ledger.types.residents import RESIDENT_ROLES, enrolment_digest, one_of
from nodes.client.http import HttpClient

_PREFIX = "yilian-enrol:"
_VERSION = 1
_TEXT_MAX = 512


@dataclass(frozen=True, slots=True)
class EnrolmentCode:
    """Whose key, for whom, at which hospital; the challenge is good for one key."""

    chain_id: Hash32
    hospital: MemberId
    patient: PatientKey
    role: str
    """One of RESIDENT_ROLES."""
    challenge: Nonce

    def to_text(self) -> str:
        """What a QR code holds: a prefix and base64url of the codec array."""
        fields = (
            _VERSION,
            self.chain_id,
            self.hospital,
            self.patient,
            self.role,
            self.challenge,
        )
        return _PREFIX + base64.urlsafe_b64encode(codec.encode(fields)).decode().rstrip("=")

    @staticmethod
    def from_text(text: str) -> "EnrolmentCode":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        what = "enrolment code"
        body = text.strip()
        if not body.startswith(_PREFIX) or len(body) > _TEXT_MAX:
            raise NotCanonical(what, f"a text that begins with {_PREFIX} is wanted")
        body = body.removeprefix(_PREFIX)
        try:
            data = base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise NotCanonical(what, "it is damaged; scan it again") from None
        fields = codec.array(codec.decode(data, _TEXT_MAX, what), 6, what)
        if fields[0] != _VERSION:
            raise NotCanonical(what, "of another version")
        return EnrolmentCode(
            Hash32(codec.binary(fields[1], what, Hash32.SIZE)),
            MemberId(codec.text(fields[2], what, 32)),
            PatientKey(codec.binary(fields[3], what, PatientKey.SIZE)),
            one_of(RESIDENT_ROLES, fields[4], what),
            Nonce(codec.binary(fields[5], what, Nonce.SIZE)),
        )

    def _digest(self, key: PublicKey) -> Hash32:
        return enrolment_digest(
            self.chain_id, self.patient, self.hospital, self.role, self.challenge, key
        )

    def prove(self, signer: Signer) -> Signature:
        """The new key's signature: its holder wants it bound under this code."""
        return signer.sign(self._digest(signer.public_key))

    def check(self, key: PublicKey, possession: Signature) -> None:
        """Raises BadSignature unless ``key`` signed for this code."""
        verify_signature(key, possession, self._digest(key), "possession")


async def post_key(http: HttpClient, code: EnrolmentCode, signer: Signer) -> None:
    """Shows the hospital that gave the code the key that it may bind, and its proof."""
    wanted = {
        "public_key": signer.public_key.encoded.hex(),
        "possession": code.prove(signer).hex(),
    }
    await http.post_json(f"/v1/enrolments/{code.challenge.hex()}/key", wanted)


def check_digits(key_id: KeyId) -> str:
    """Six digits that the person and the registrar compare: whose key the hospital binds."""
    return f"{int.from_bytes(key_id[:4], 'big') % 1_000_000:06}"
