"""A small network on disk, made once for all tests that need certificates."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ledger.types.genesis import Genesis
from nodes.network_setup import create_network, numbered_plan
from nodes.signer.key_files import create_private_key
from nodes.transport.pki import (
    TlsFiles,
    certificate_pem,
    issue_certificate,
    make_authority,
    now_utc,
)

_KEPT: list[TemporaryDirectory[str]] = []


@cache
def network() -> tuple[Path, Genesis]:
    """Directory and genesis of three hospitals and a vendor."""
    _KEPT.append(TemporaryDirectory())
    directory = Path(_KEPT[0].name) / "network"
    return directory, create_network(directory, numbered_plan(3))


def tls(member: str, service: str = "node") -> TlsFiles:
    """A member's certificate and key, as the network has them."""
    keys = network()[0] / member / "keys"
    return TlsFiles(keys / f"{service}-tls.crt", keys / f"{service}-tls.pem")


def authority(member: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A member's authority."""
    keys = network()[0] / member / "keys"
    certificate = x509.load_pem_x509_certificate((keys / "authority.crt").read_bytes())
    key = load_pem_private_key((keys / "authority.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return certificate, key


def forged(
    folder: Path,
    signed_by: str,
    member: str,
    service: str = "node",
    hosts: Sequence[str] = ("localhost", "127.0.0.1"),
) -> TlsFiles:
    """A certificate that ``signed_by``'s authority issued for ``member``; "" is nobody's."""
    key = create_private_key(folder / "keys" / f"{signed_by}-{member}-{service}.pem")
    if signed_by:
        issuer, issuer_key = authority(signed_by)
    else:
        issuer_key = ec.generate_private_key(ec.SECP256R1())
        issuer = make_authority(member, issuer_key, now_utc())
    made = issue_certificate(
        issuer, issuer_key, member, service, key.public_key(), hosts, now_utc()
    )
    path = folder / f"{signed_by}-{member}-{service}.crt"
    path.write_bytes(certificate_pem(made))
    return TlsFiles(path, folder / "keys" / f"{signed_by}-{member}-{service}.pem")
