"""B3, B4: domain separation, keys, signatures (by two libraries), and sealing."""

import itertools

import ecdsa
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import codec
from ledger.crypto import sealing
from ledger.crypto.hashing import Tag, hash_tagged, preimage, signing_digest
from ledger.crypto.keys import (
    PublicKey,
    encode_public_key,
    encode_signature,
    load_public_key,
    verify_signature,
)
from ledger.crypto.sealing import Metadata, SealBroken, WrongKeySize
from ledger.errors import BadSignature, NotCanonical, OutOfRange, PeerFault, TooLarge
from ledger.primitives import Hash32, PatientKey
from ledger.types.terms import TERMS
from tests.vectors import fixed
from tests.vectors.fixed import GROUP_KEY, ORDER, FixedSigner

SIGNER = FixedSigner("doctor")
PATIENT, ROOT, NONCE = fixed.patient(1), fixed.named_hash("root"), bytes(range(12))
SEALED = sealing.seal(GROUP_KEY, NONCE, PATIENT, ROOT, fixed.METADATA.encode())


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_B3_different_parts_have_different_preimages(a: list[bytes], b: list[bytes]) -> None:
    assert (preimage(Tag.ROW, *a) == preimage(Tag.ROW, *b)) == (a == b)


def test_B3_every_tag_separates() -> None:
    chain = fixed.named_hash("chain")
    assert len({hash_tagged(tag, b"x") for tag in Tag}) == len(Tag)
    assert len({signing_digest(tag, chain, b"x") for tag in Tag}) == len(Tag)
    for one, other in itertools.permutations(Tag, 2):
        assert not preimage(one).startswith(preimage(other))


def test_B3_the_chain_is_part_of_what_is_signed() -> None:
    digests = {signing_digest(Tag.SIGN_COMMIT, fixed.named_hash(c), b"x") for c in "ab"}
    assert len(digests) == 2


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=50), st.integers(0, 2**16))
def test_B4_an_independent_library_accepts_our_signatures(message: bytes, number: int) -> None:
    signer = FixedSigner(f"key {number}")
    digest = signing_digest(Tag.SIGN_TRANSACTION, fixed.named_hash("chain"), message)
    signature = signer.sign(digest)
    verify_signature(signer.public_key, signature, digest, "test")
    key = ecdsa.VerifyingKey.from_der(signer.public_key.encoded[1:])
    assert key.curve is ecdsa.NIST256p
    assert key.verify_digest(signature[1:], digest)
    assert int.from_bytes(signature[33:], "big") <= ORDER // 2
    with pytest.raises(ecdsa.BadSignatureError):
        key.verify_digest(signature[1:], hash_tagged(Tag.ROW, message))


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_B4_we_accept_an_independent_librarys_signatures_with_low_s_only(data: bytes) -> None:
    digest = Hash32(data)
    key = ecdsa.SigningKey.from_secret_exponent(SIGNER.scalar, ecdsa.NIST256p)
    raw = key.sign_digest_deterministic(digest)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    low, high = min(s, ORDER - s), max(s, ORDER - s)
    for_either = encode_signature(r, s)
    assert for_either == encode_signature(r, ORDER - s)
    verify_signature(SIGNER.public_key, for_either, digest, "test")
    assert int.from_bytes(for_either[33:], "big") == low
    with pytest.raises(BadSignature):
        verify_signature(
            SIGNER.public_key, for_either[:33] + high.to_bytes(32, "big"), digest, "test"
        )


def wrong_signatures() -> dict[str, bytes]:
    good = SIGNER.sign(ROOT)
    order, zero = ORDER.to_bytes(32, "big"), bytes(32)
    r, s = good[1:33], good[33:]
    return {
        "empty": b"",
        "short": good[:-1],
        "long": good + b"\x00",
        "other suite": b"\x02" + good[1:],
        "no suite": good[1:] + b"\x00",
        "r zero": b"\x01" + zero + s,
        "s zero": b"\x01" + r + zero,
        "both zero": b"\x01" + zero + zero,
        "r is the order": b"\x01" + order + s,
        "r beyond the order": b"\x01" + b"\xff" * 32 + s,
        "s is the order": b"\x01" + r + order,
        "r and s swapped": b"\x01" + s + r,
        "other key": FixedSigner("vendor").sign(ROOT),
        "other digest": SIGNER.sign(fixed.named_hash("other")),
    }


@pytest.mark.parametrize("name", wrong_signatures())
def test_B4_refused_signatures(name: str) -> None:
    verify_signature(SIGNER.public_key, SIGNER.sign(ROOT), ROOT, "test")
    with pytest.raises(BadSignature):
        verify_signature(SIGNER.public_key, wrong_signatures()[name], ROOT, "test")


def test_B4_every_flipped_bit_of_a_signature_is_refused() -> None:
    good = int.from_bytes(SIGNER.sign(ROOT), "big")
    for place in range(65 * 8):
        with pytest.raises(BadSignature):
            verify_signature(
                SIGNER.public_key, (good ^ 1 << place).to_bytes(65, "big"), ROOT, "test"
            )


def wrong_keys() -> dict[str, bytes]:
    good = SIGNER.public_key.encoded
    point = load_public_key(SIGNER.public_key)
    compressed = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    def der(key: object) -> bytes:
        return b"\x01" + key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    return {
        "empty": b"",
        "suite alone": b"\x01",
        "other suite": b"\x02" + good[1:],
        "no suite": good[1:],
        "trailing byte": good + b"\x00",
        "cut": good[:-1],
        "too long": good + bytes(300),
        "not on the curve": good[:-1] + bytes([good[-1] ^ 1]),
        "point at infinity": good[: -len(compressed) * 2 + 1] + b"\x00",
        "compressed": b"\x01"
        + bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
        + compressed,
        "secp256k1": der(ec.derive_private_key(7, ec.SECP256K1()).public_key()),
        "P-384": der(ec.derive_private_key(7, ec.SECP384R1()).public_key()),
        "Ed25519": der(ed25519.Ed25519PrivateKey.from_private_bytes(ROOT).public_key()),
        "X25519": der(x25519.X25519PrivateKey.from_private_bytes(ROOT).public_key()),
        "RSA": der(rsa.RSAPublicNumbers(65537, 2**1023 + 1).public_key())[:256],
        "unknown algorithm": good.replace(
            bytes.fromhex("2a8648ce3d0201"), b"\x2a\x86\x48\xce\x3d\x02\x63"
        ),
        "unknown curve": good.replace(
            bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030163")
        ),
    }


@pytest.mark.parametrize("name", wrong_keys())
def test_B4_refused_public_keys(name: str) -> None:
    assert PublicKey.decode(SIGNER.public_key.encoded) == SIGNER.public_key
    with pytest.raises(NotCanonical):
        PublicKey.decode(wrong_keys()[name])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_B4_damaged_public_keys_are_refused_or_the_same(data: st.DataObject) -> None:
    good = bytearray(SIGNER.public_key.encoded)
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(NotCanonical):
        PublicKey.decode(bytes(good))


def test_key_id_does_not_cover_the_suite_byte() -> None:
    key = SIGNER.public_key
    assert key.key_id == hash_tagged(Tag.KEY, key.encoded[1:])
    assert encode_public_key(load_public_key(key)) == key


def test_PRIV_1_patient_key_canonical_form() -> None:
    def key(value: str, system: str = "urn:a", secret: bytes = b"s" * 32) -> PatientKey:
        return sealing.patient_key(secret, system, value)

    assert key("11010519491231002x") == key(" 110105 1949 1231\t002X\u3000")
    others = [key("1"), key("2"), key("1", system="urn:b"), key("1", secret=b"t" * 32)]
    assert len(set(others)) == 4
    for value, system in (("", "urn:a"), (" \t", "urn:a"), ("1", ""), ("1", "urn|a")):
        with pytest.raises(OutOfRange):
            key(value, system)


def test_PRIV_1_an_identifier_is_in_no_error() -> None:
    with pytest.raises(OutOfRange) as caught:
        sealing.patient_key(b"s", "secret|system", "secret value")
    assert "secret" not in str(caught.value)


def test_sealed_metadata_open_with_their_row_key() -> None:
    key = sealing.row_key(GROUP_KEY, SEALED)
    assert Metadata.decode(sealing.unseal(key, PATIENT, ROOT, SEALED)) == fixed.METADATA
    assert SEALED[:12] == NONCE


def test_PRIV_1_a_row_key_opens_one_row_only() -> None:
    other = sealing.seal(GROUP_KEY, bytes(12), PATIENT, ROOT, fixed.METADATA.encode())
    with pytest.raises(SealBroken):
        sealing.unseal(sealing.row_key(GROUP_KEY, SEALED), PATIENT, ROOT, other)


def test_sealed_metadata_are_bound_to_patient_root_and_bytes() -> None:
    key = sealing.row_key(GROUP_KEY, SEALED)
    moved = [(fixed.patient(2), ROOT, SEALED), (PATIENT, fixed.named_hash("x"), SEALED)]
    # The nonce is no part of what the row key authenticates: who has the group key derives
    # another row key from a changed nonce.
    for place in range(12, len(SEALED)):
        changed = bytearray(SEALED)
        changed[place] ^= 1
        moved.append((PATIENT, ROOT, bytes(changed)))
    moved += [(PATIENT, ROOT, SEALED[:size]) for size in (0, 11, 12, 27, len(SEALED) - 1)]
    for patient, root, sealed in moved:
        with pytest.raises(SealBroken):
            sealing.unseal(key, patient, root, sealed)
    for place in range(12):
        changed = bytearray(SEALED)
        changed[place] ^= 1
        with pytest.raises(SealBroken):
            sealing.unseal(
                sealing.row_key(GROUP_KEY, bytes(changed)), PATIENT, ROOT, bytes(changed)
            )


def test_sealing_sizes() -> None:
    with pytest.raises(SealBroken):
        sealing.row_key(GROUP_KEY, bytes(11))
    with pytest.raises(TooLarge):
        sealing.seal(GROUP_KEY, NONCE, PATIENT, ROOT, bytes(sealing.METADATA_BYTES_MAX + 1))
    for call in (
        lambda: sealing.seal(GROUP_KEY, NONCE[1:], PATIENT, ROOT, b""),
        lambda: sealing.row_key(GROUP_KEY[1:], SEALED),
        lambda: sealing.unseal(b"", PATIENT, ROOT, SEALED),
    ):
        with pytest.raises(WrongKeySize):
            call()


RECIPIENT, EPHEMERAL = FixedSigner("sealing 0"), FixedSigner("ephemeral 0")
CONTEXT = sealing.wrap_context(1, fixed.hospital(0))
WRAPPED = sealing.wrap_group_key(GROUP_KEY, EPHEMERAL.private_key, RECIPIENT.public_key, CONTEXT)


def test_a_wrapped_group_key_opens_for_its_recipient_and_context_only() -> None:
    assert len(WRAPPED) == sealing.WRAPPED_KEY_BYTES
    assert sealing.unwrap_group_key(RECIPIENT.private_key, WRAPPED, CONTEXT) == GROUP_KEY
    for signer, context in (
        (FixedSigner("sealing 1"), CONTEXT),
        (EPHEMERAL, CONTEXT),
        (RECIPIENT, sealing.wrap_context(2, fixed.hospital(0))),
        (RECIPIENT, sealing.wrap_context(1, fixed.hospital(1))),
        (RECIPIENT, b""),
    ):
        with pytest.raises(SealBroken):
            sealing.unwrap_group_key(signer.private_key, WRAPPED, context)


def test_a_changed_wrapped_group_key_is_refused() -> None:
    for place in range(len(WRAPPED)):
        changed = bytearray(WRAPPED)
        changed[place] ^= 1
        with pytest.raises(SealBroken):
            sealing.unwrap_group_key(RECIPIENT.private_key, bytes(changed), CONTEXT)
    for wrong in (b"", WRAPPED[:-1], WRAPPED + b"\x00", bytes(len(WRAPPED))):
        with pytest.raises(SealBroken):
            sealing.unwrap_group_key(RECIPIENT.private_key, wrong, CONTEXT)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=150))
def test_unsealing_any_bytes_is_a_peers_fault(data: bytes) -> None:
    for call in (
        lambda: sealing.unseal(GROUP_KEY, PATIENT, ROOT, data),
        lambda: sealing.unwrap_group_key(RECIPIENT.private_key, data, CONTEXT),
    ):
        with pytest.raises(PeerFault):
            call()


def test_B1_a_term_of_the_table_has_one_form() -> None:
    assert len(set(TERMS)) == len(TERMS)
    metadata = Metadata("Observation", "http://loinc.org", "4548-4", "", "Observation/1", None)
    fields = codec.decode(metadata.encode(), 1_000, "metadata")
    assert fields[:2] == (TERMS.index("Observation"), TERMS.index("http://loinc.org"))
    assert Metadata.decode(metadata.encode()) == metadata
    for changed in (["Observation", *fields[1:]], [len(TERMS), *fields[1:]]):
        with pytest.raises(PeerFault):
            Metadata.decode(codec.encode(changed))
    rare = Metadata("Basic", "http://example.org/codes", "a", "", "Basic/1", None)
    assert Metadata.decode(rare.encode()) == rare


def test_B4_half_of_the_order_is_a_low_s() -> None:
    half = ORDER // 2
    assert encode_signature(1, half)[33:] == half.to_bytes(32, "big")
    assert encode_signature(1, half + 1)[33:] == half.to_bytes(32, "big")


def test_the_largest_metadata_are_sealed() -> None:
    most = bytes(sealing.METADATA_BYTES_MAX)
    sealed = sealing.seal(GROUP_KEY, NONCE, PATIENT, ROOT, most)
    key = sealing.row_key(GROUP_KEY, sealed)
    assert sealing.unseal(key, PATIENT, ROOT, sealed) == most


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_wrapped_key_of_another_size_is_refused(size: int) -> None:
    """Whoever wraps it decides what is inside: only the length of the whole tells."""
    ephemeral, recipient = (
        FixedSigner("ephemeral").private_key,
        FixedSigner("recipient").private_key,
    )
    point, own = (
        key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        for key in (ephemeral, recipient)
    )
    shared = ephemeral.exchange(ec.ECDH(), recipient.public_key())
    key = HKDF(hashes.SHA256(), 32, point + own, sealing._WRAP_INFO).derive(shared)
    wrapped = point + AESGCM(key).encrypt(bytes(12), bytes(size), b"context")
    with pytest.raises(SealBroken):
        sealing.unwrap_group_key(recipient, wrapped, b"context")
