"""Certificates and TLS: each member's own authority vouches for its own services, and no other's.

A service's certificate names its member and service in a URI ``urn:yilian:member:<id>:<service>``.
It counts only if the authority of that very member, as the genesis document or the state holds
it, issued it directly (K3). X.509 is checked at the edges only; consensus identity is a
registered key.
"""

import ipaddress
import re
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ledger.errors import OutOfRange, PeerFault, WorldFault
from ledger.primitives import MemberId
from ledger.types.genesis import Member
from nodes.signer.key_files import check_private_file

SERVICES = ("gateway", "node", "vendor")
"""What a member's TLS certificate may be for."""
CA_VALIDITY = timedelta(days=20 * 365)
SERVICE_VALIDITY = timedelta(days=2 * 365)
_CLOCK_SLACK = timedelta(hours=1)
_MALFORMED = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What reading a certificate raises: cryptography's own errors share no base."""
_URI = re.compile(r"urn:yilian:member:([a-z0-9-]{1,32}):([a-z]{1,16})")


@dataclass(eq=False)
class PeerNotRecognised(PeerFault):
    """A TLS peer's certificate does not make it a member's service."""

    reason: str
    template = "TLS certificate of the peer: {reason}"


@dataclass(eq=False)
class CertificateUnusable(WorldFault):
    """An own certificate cannot be used."""

    path: str
    reason: str
    template = "{path}: {reason}: make the certificate again from the member's authority"


FindMember = Callable[[str], Member | None]
"""Who belongs to the network: the genesis document's members, or those of the state."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a service's own certificate and private key are, both PEM."""

    certificate: Path
    key: Path


def make_authority(
    member: str, key: ec.EllipticCurvePrivateKey, not_before: datetime
) -> x509.Certificate:
    """The self-signed certificate of a member's authority; it may issue leaves only."""
    name = _name(member, "authority")
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before - _CLOCK_SLACK)
        .not_valid_after(not_before + CA_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )


def issue_certificate(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    member: str,
    service: str,
    public_key: ec.EllipticCurvePublicKey,
    hosts: Sequence[str],
    not_before: datetime,
) -> x509.Certificate:
    """A certificate for one service of a member, as server and client.

    ``hosts`` are the DNS names and IP addresses at which it is reached.
    """
    names: list[x509.GeneralName] = [_host(host) for host in hosts]
    names.append(x509.UniformResourceIdentifier(f"urn:yilian:member:{member}:{service}"))
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    issuer_identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(member, service))
        .issuer_name(authority.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before - _CLOCK_SLACK)
        .not_valid_after(not_before + SERVICE_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_identifier.value),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )


def peer_member(certificate: bytes | None, find: FindMember) -> tuple[MemberId, str]:
    """Member and service of a TLS peer, from the DER certificate of a finished handshake.

    a) a certificate is given, and parses; b) it names exactly one member and service in its URI;
    c) the member belongs to the network; d) it is a leaf; e) the member's own authority
    issued it directly. Raises PeerNotRecognised. Validity in time was OpenSSL's to check.
    """
    if not certificate:
        raise PeerNotRecognised("none was given")
    try:
        leaf = x509.load_der_x509_certificate(certificate)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        is_authority = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except _MALFORMED:
        raise PeerNotRecognised("it is malformed, or lacks an extension") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    named = _URI.fullmatch(uris[0]) if len(uris) == 1 else None
    if named is None or named[2] not in SERVICES:
        raise PeerNotRecognised("it does not name exactly one member and service")
    member = find(named[1])
    if member is None:
        raise PeerNotRecognised("its member does not belong to the network")
    if is_authority:
        raise PeerNotRecognised("it is an authority's, not a service's")
    try:
        leaf.verify_directly_issued_by(x509.load_der_x509_certificate(member.ca_certificate))
    except (*_MALFORMED, TypeError, InvalidSignature):
        raise PeerNotRecognised(f"{member.id}'s own authority did not issue it") from None
    return member.id, named[2]


def server_context(
    own: TlsFiles, anchors: Iterable[Member], require_client: bool
) -> ssl.SSLContext:
    """TLS 1.3 server; with ``require_client`` only certificates under ``anchors`` connect.

    That a client is who it says is then ``peer_member``'s question. Raises CertificateUnusable
    or what ``check_private_file`` raises.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    _prepare(context, own, anchors)
    context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_NONE
    return context


def client_context(
    own: TlsFiles | None, anchors: Iterable[Member], check_hostname: bool = True
) -> ssl.SSLContext:
    """TLS 1.3 client that trusts the authorities of ``anchors`` and of nobody else.

    Give one member as anchor to reach that member and no other. ``check_hostname`` may be off
    only where the caller checks ``peer_member`` after the handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_hostname
    _prepare(context, own, anchors)
    return context


def _prepare(context: ssl.SSLContext, own: TlsFiles | None, anchors: Iterable[Member]) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    for member in anchors:
        trust(context, member)
    if own is not None:
        check_private_file(own.key)
        try:
            context.load_cert_chain(own.certificate, own.key)
        except (OSError, ssl.SSLError) as error:
            raise CertificateUnusable(str(own.certificate), str(error)) from None


def trust(context: ssl.SSLContext, member: Member) -> None:
    """Trusts the authority of ``member``, too, in every later handshake; raises OutOfRange."""
    try:
        context.load_verify_locations(cadata=member.ca_certificate)
    except (ssl.SSLError, ValueError):
        raise OutOfRange("member CA certificate", f"that of {member.id}") from None


def trust_file(context: ssl.SSLContext, authority: Path) -> None:
    """The same for an authority's certificate in a PEM file; raises CertificateUnusable."""
    try:
        context.load_verify_locations(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise CertificateUnusable(str(authority), str(error)) from None


def check_authority(member: Member) -> None:
    """Raises OutOfRange unless its authority's certificate can be trusted by ``trust``."""
    trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), member)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """PEM text of a certificate."""
    return certificate.public_bytes(Encoding.PEM)


def certificate_file_der(path: Path) -> bytes:
    """DER bytes of the certificate in a PEM file; raises CertificateUnusable."""
    try:
        return certificate_der(x509.load_pem_x509_certificate(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise CertificateUnusable(str(path), str(error)) from None


def certificate_der(certificate: x509.Certificate) -> bytes:
    """DER bytes of a certificate, as the genesis document holds an authority's."""
    return certificate.public_bytes(Encoding.DER)


def now_utc() -> datetime:
    """The time from which new certificates are valid."""
    return datetime.now(UTC).replace(microsecond=0)


def _name(member: str, service: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, member),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{member} {service}"),
        ]
    )


def _key_usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
