"""Private keys and secrets in files that only their owner can read (K1).

A file of mode 0600 in a directory of mode 0700, both owned by who runs the process; anything
looser is refused. Keys are P-256 in PKCS#8 PEM; a secret is 32 random bytes.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ledger.crypto.keys import PublicKey, encode_public_key, encode_signature
from ledger.errors import WorldFault
from ledger.primitives import Hash32, Signature

SECRET_BYTES = 32
_KEY_FILE_BYTES_MAX = 4_096
# RFC 6979: the same digest always gives the same signature, and no bad random number can leak
# the key.
_ALGORITHM = ec.ECDSA(utils.Prehashed(hashes.SHA256()), deterministic_signing=True)


@dataclass(eq=False)
class KeyFileTooOpen(WorldFault):
    """Others than the owner can reach a private file."""

    path: str
    mode: str
    command: str
    template = "{path}: mode {mode} lets others in: run `{command}`"


@dataclass(eq=False)
class KeyFileUnusable(WorldFault):
    """A private file is missing, is somebody else's, or holds something else."""

    path: str
    reason: str
    template = "{path}: {reason}"


def create_private_directory(path: Path) -> None:
    """Makes a directory of mode 0700, or checks the one that is there; raises as below."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyFileUnusable(str(path), f"cannot be made: {error.strerror}") from None
    _check_private(path, stat.S_IFDIR)


def write_private_file(path: Path, data: bytes) -> None:
    """A new file of mode 0600 in a private directory, synced; never replaces one.

    Raises KeyFileTooOpen or KeyFileUnusable.
    """
    create_private_directory(path.parent)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise KeyFileUnusable(str(path), "it is there and will not be replaced") from None
    except OSError as error:
        raise KeyFileUnusable(str(path), f"cannot be written: {error.strerror}") from None


def replace_private_file(path: Path, data: bytes) -> None:
    """A private file that is there whole or not at all, also after a crash.

    Raises KeyFileTooOpen or KeyFileUnusable.
    """
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.unlink(missing_ok=True)
        write_private_file(beside, data)
        beside.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise KeyFileUnusable(str(path), f"cannot be written: {error.strerror}") from None


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable; raises OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_private_file(path: Path, limit: int) -> bytes:
    """At most ``limit`` bytes of a private file; raises KeyFileTooOpen or KeyFileUnusable."""
    check_private_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise KeyFileUnusable(str(path), f"cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise KeyFileUnusable(str(path), f"larger than {limit} bytes: it is something else")
    return data


def check_private_file(path: Path) -> None:
    """Raises KeyFileTooOpen or KeyFileUnusable unless file and directory are the owner's only."""
    _check_private(path.parent, stat.S_IFDIR)
    _check_private(path, stat.S_IFREG)


def create_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A new P-256 key in a new private file; raises KeyFileTooOpen or KeyFileUnusable."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_private_file(path, private_key_pem(key))
    return key


def private_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS#8 PEM, as ``load_private_key`` reads it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The P-256 key in a private file; raises KeyFileTooOpen or KeyFileUnusable."""
    pem = read_private_file(path, _KEY_FILE_BYTES_MAX)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise KeyFileUnusable(str(path), "no unencrypted PKCS#8 key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise KeyFileUnusable(str(path), "a key of another kind; a P-256 key is wanted")
    return key


def create_secret(path: Path) -> bytes:
    """32 new random bytes in a new private file."""
    secret = os.urandom(SECRET_BYTES)
    write_private_file(path, secret)
    return secret


def load_secret(path: Path) -> bytes:
    """The 32 bytes of a secret file; raises KeyFileTooOpen or KeyFileUnusable."""
    secret = read_private_file(path, SECRET_BYTES)
    if len(secret) != SECRET_BYTES:
        raise KeyFileUnusable(str(path), f"{len(secret)} bytes; a secret has {SECRET_BYTES}")
    return secret


class FileSigner:
    """Implements ``ledger.crypto.keys.Signer`` with a private key held in memory."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._public_key = encode_public_key(key.public_key())

    @staticmethod
    def load(path: Path) -> "FileSigner":
        """The signer whose key is in that private file."""
        return FileSigner(load_private_key(path))

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this signer signs."""
        return self._public_key

    def sign(self, digest: Hash32) -> Signature:
        """The signature of ``digest``; the same digest always gives the same signature."""
        return encode_signature(*utils.decode_dss_signature(self._key.sign(digest, _ALGORITHM)))


def _check_private(path: Path, kind: int) -> None:
    try:
        # Links are not followed: what they point to could be changed by others.
        status = path.lstat()
    except OSError as error:
        raise KeyFileUnusable(str(path), f"cannot be opened: {error.strerror}") from None
    directory = kind == stat.S_IFDIR
    if stat.S_IFMT(status.st_mode) != kind:
        wanted = "directory" if directory else "regular file"
        raise KeyFileUnusable(str(path), f"no {wanted}; links are not followed")
    if status.st_uid != os.geteuid():
        raise KeyFileUnusable(str(path), "it belongs to another user: run as its owner")
    found = stat.S_IMODE(status.st_mode)
    if found & 0o077:
        wanted = "700" if directory else "600"
        raise KeyFileTooOpen(str(path), f"{found:04o}", f"chmod {wanted} {path}")
