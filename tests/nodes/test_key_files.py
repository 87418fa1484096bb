"""Private files are private, or the program stops (K1, K2)."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.crypto.keys import verify_signature
from ledger.primitives import Hash32
from nodes.signer.key_files import (
    FileSigner,
    KeyFileTooOpen,
    KeyFileUnusable,
    create_private_directory,
    create_private_key,
    create_secret,
    load_private_key,
    load_secret,
    write_private_file,
)

SIGNER = FileSigner(ec.derive_private_key(7, ec.SECP256R1()))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    create_private_directory(tmp_path / "keys")
    return tmp_path / "keys"


def test_K1_keys_are_made_private(keys: Path) -> None:
    create_private_key(keys / "a.pem")
    create_secret(keys / "b.secret")
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {stat.S_IMODE(item.stat().st_mode) for item in keys.iterdir()} == {0o600}


def test_K1_a_loose_umask_changes_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_private_key(tmp_path / "keys" / "a.pem")
    finally:
        os.umask(before)
    load_private_key(tmp_path / "keys" / "a.pem")


def test_a_key_is_loaded_as_it_was_made(keys: Path) -> None:
    made = create_private_key(keys / "a.pem")
    signer = FileSigner.load(keys / "a.pem")
    assert signer.public_key == FileSigner(made).public_key
    secret = create_secret(keys / "b.secret")
    assert load_secret(keys / "b.secret") == secret
    assert len(secret) == 32
    assert create_secret(keys / "c.secret") != secret


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610, 0o601, 0o666, 0o777])
def test_K1_a_file_that_others_reach_is_refused(keys: Path, mode: int) -> None:
    create_private_key(keys / "a.pem")
    create_secret(keys / "b.secret")
    for name, load in (("a.pem", load_private_key), ("b.secret", load_secret)):
        (keys / name).chmod(mode)
        with pytest.raises(KeyFileTooOpen) as caught:
            load(keys / name)
        assert caught.value.field_values() == {
            "path": str(keys / name),
            "mode": f"{mode:04o}",
            "command": f"chmod 600 {keys / name}",
        }


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o770])
def test_K1_a_directory_that_others_reach_is_refused(keys: Path, mode: int) -> None:
    create_private_key(keys / "a.pem")
    keys.chmod(mode)
    for call in (
        lambda: load_private_key(keys / "a.pem"),
        lambda: create_private_key(keys / "b.pem"),
    ):
        with pytest.raises(KeyFileTooOpen) as caught:
            call()
        assert caught.value.command == f"chmod 700 {keys}"
    assert not (keys / "b.pem").exists()


def test_an_existing_key_is_never_replaced(keys: Path) -> None:
    create_private_key(keys / "a.pem")
    before = (keys / "a.pem").read_bytes()
    with pytest.raises(KeyFileUnusable):
        create_private_key(keys / "a.pem")
    assert (keys / "a.pem").read_bytes() == before


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def test_what_is_no_p256_key_is_refused(keys: Path) -> None:
    p256 = ec.generate_private_key(ec.SECP256R1())
    bad = [
        b"",
        b"-----BEGIN PRIVATE KEY-----\n",
        bytes(5_000),
        pem(p256)[:-40],
        pem(p256, b"password"),
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(ec.generate_private_key(ec.SECP256K1())),
        pem(rsa.generate_private_key(65537, 2048)),
    ]
    for i, data in enumerate(bad):
        write_private_file(keys / f"{i}.pem", data)
        with pytest.raises(KeyFileUnusable) as caught:
            load_private_key(keys / f"{i}.pem")
        assert f"{i}.pem" in str(caught.value)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_secret_has_32_bytes(keys: Path, size: int) -> None:
    write_private_file(keys / "a.secret", bytes(size))
    with pytest.raises(KeyFileUnusable):
        load_secret(keys / "a.secret")


def test_missing_files_links_and_directories_are_refused(keys: Path) -> None:
    create_private_key(keys / "a.pem")
    (keys / "link.pem").symlink_to(keys / "a.pem")
    (keys / "folder.pem").mkdir(mode=0o700)
    for path in (
        keys / "none.pem",
        keys / "link.pem",
        keys / "folder.pem",
        keys / "no" / "a.pem",
    ):
        with pytest.raises(KeyFileUnusable):
            load_private_key(path)


@given(st.binary(min_size=32, max_size=32).map(Hash32))
@settings(max_examples=40)
def test_B4_signatures_are_low_s_verify_and_repeat(digest: Hash32) -> None:
    # verify_signature refuses a high s.
    signature = SIGNER.sign(digest)
    verify_signature(SIGNER.public_key, signature, digest, "test")
    assert SIGNER.sign(digest) == signature
