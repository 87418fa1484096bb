"""Whose certificate is it? Only the member's own authority can say (K1, K3, K5)."""

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nodes.signer.key_files import KeyFileTooOpen, KeyFileUnusable
from nodes.transport.pki import (
    CertificateUnusable,
    PeerNotRecognised,
    TlsFiles,
    certificate_der,
    client_context,
    issue_certificate,
    make_authority,
    now_utc,
    peer_member,
    server_context,
)
from tests.nodes.network import authority, forged, network, tls

A, B, VENDOR = "hospital-1", "hospital-2", "vendor-1"


def der(files: TlsFiles) -> bytes:
    return ssl.PEM_cert_to_DER_cert(files.certificate.read_text())


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, hostname: str = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake between two real TLS ends, joined in memory; raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=hostname),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    # TLS 1.3 clients learn of a refusal only when they read.
    try:
        ends[0].read(1)
    except ssl.SSLWantReadError:
        return ends
    raise AssertionError("nothing was sent")


def test_K3_a_service_is_known_by_its_own_authority() -> None:
    _, genesis = network()
    for member, service in ((A, "node"), (A, "gateway"), (B, "node"), (VENDOR, "vendor")):
        assert peer_member(der(tls(member, service)), genesis.member) == (member, service)


@pytest.mark.parametrize("member", [A, VENDOR, "hospital-9"])
@pytest.mark.parametrize("service", ["node", "gateway", "vendor"])
def test_K3_another_members_authority_cannot_vouch(
    tmp_path: Path, member: str, service: str
) -> None:
    for signer in (B, ""):
        with pytest.raises(PeerNotRecognised):
            peer_member(
                der(forged(tmp_path / (signer or "x"), signer, member, service)),
                network()[1].member,
            )


def leaf(
    uris: list[str],
    *,
    ca: bool | None = False,
    issuer_name: str = A,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """A certificate signed with A's authority's key, wrong in one respect."""
    certificate, real = authority(A)
    name = certificate.subject
    if issuer_name != A:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer_name)])
    own = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")]))
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(7)
        .not_valid_before(now_utc())
        .not_valid_after(now_utc() + timedelta(days=1))
    )
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if ca is not None:
        constraints = x509.BasicConstraints(ca=ca, path_length=None)
        builder = builder.add_extension(constraints, critical=True)
    return certificate_der(builder.sign(key or real, hashes.SHA256()))


GOOD = f"urn:yilian:member:{A}:node"


def test_the_forgery_kit_makes_a_good_certificate_too() -> None:
    assert peer_member(leaf([GOOD]), network()[1].member) == (A, "node")


def altered(offset: int) -> bytes:
    data = bytearray(leaf([GOOD]))
    data[offset] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        lambda: b"",
        lambda: b"\x30\x00",
        lambda: leaf([GOOD])[:-1],
        lambda: leaf([GOOD]) + b"\x00",
        lambda: altered(-1),
        lambda: leaf([]),
        lambda: leaf([GOOD, GOOD]),
        lambda: leaf([GOOD, f"urn:yilian:member:{B}:node"]),
        lambda: leaf(["urn:yilian:member::node"]),
        lambda: leaf([f"urn:yilian:member:{A}:root"]),
        lambda: leaf([f"urn:yilian:member:{A}"]),
        lambda: leaf([f"{GOOD}:x"]),
        lambda: leaf([f"x{GOOD}"]),
        lambda: leaf([GOOD.upper()]),
        lambda: leaf([GOOD], ca=True),
        lambda: leaf([GOOD], ca=None),
        lambda: leaf([GOOD], issuer_name="another"),
        lambda: leaf([GOOD], key=ec.generate_private_key(ec.SECP256R1())),
        lambda: certificate_der(authority(A)[0]),
    ],
)
def test_K5_each_wrong_certificate_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(PeerNotRecognised):
        peer_member(make(), network()[1].member)


def test_K3_both_sides_are_checked() -> None:
    members = network()[1].members
    server = server_context(tls(A), members, require_client=True)
    ends = shake(server, client_context(tls(B), members))
    assert ends[0].version() == "TLSv1.3"
    seen = [peer_member(end.getpeercert(binary_form=True), network()[1].member) for end in ends]
    assert seen == [(A, "node"), (B, "node")]


def test_K3_a_client_without_a_certificate_is_refused_where_one_is_wanted() -> None:
    members = network()[1].members
    strict = server_context(tls(A), members, require_client=True)
    with pytest.raises(ssl.SSLError):
        shake(strict, client_context(None, members))
    shake(server_context(tls(A, "gateway"), members, False), client_context(None, members))


def test_K3_an_unknown_authority_is_refused_by_either_side(tmp_path: Path) -> None:
    members = network()[1].members
    stranger = forged(tmp_path, "", A)
    with pytest.raises(ssl.SSLError):
        shake(server_context(tls(A), members, True), client_context(stranger, members))
    with pytest.raises(ssl.SSLError):
        shake(server_context(stranger, members, True), client_context(tls(B), members))


def test_K3_one_anchor_reaches_one_member_only() -> None:
    genesis = network()[1]
    member = genesis.member(A)
    assert member is not None
    client = client_context(None, [member])
    shake(server_context(tls(A, "gateway"), genesis.members, False), client)
    with pytest.raises(ssl.SSLError):
        shake(server_context(tls(B, "gateway"), genesis.members, False), client)


def test_a_host_that_is_not_in_the_certificate_is_refused() -> None:
    members = network()[1].members
    server = server_context(tls(A), members, False)
    for hostname in ("localhost", "127.0.0.1"):
        shake(server, client_context(None, members), hostname)
    for hostname in ("example.org", "127.0.0.2"):
        with pytest.raises(ssl.SSLError):
            shake(server, client_context(None, members), hostname)


def test_older_tls_is_refused() -> None:
    members = network()[1].members
    client = client_context(tls(B), members)
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake(server_context(tls(A), members, True), client)


@pytest.mark.parametrize("days", [-3 * 365, 10])
def test_a_certificate_out_of_its_time_is_refused(tmp_path: Path, days: int) -> None:
    members = network()[1].members
    files = forged(tmp_path, A, A)
    issuer, issuer_key = authority(A)
    key = x509.load_pem_x509_certificate(files.certificate.read_bytes()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    start = now_utc() + timedelta(days=days)
    made = issue_certificate(issuer, issuer_key, A, "node", key, ["localhost"], start)
    files.certificate.write_bytes(ssl.DER_cert_to_PEM_cert(certificate_der(made)).encode())
    with pytest.raises(ssl.SSLError):
        shake(server_context(files, members, True), client_context(tls(B), members))


def test_an_authority_may_not_make_authorities() -> None:
    constraints = authority(A)[0].extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)


def test_K1_an_open_key_file_stops_the_program(tmp_path: Path) -> None:
    members = network()[1].members
    files = forged(tmp_path, A, A)
    files.key.chmod(0o644)
    for make in (
        lambda: server_context(files, members, True),
        lambda: client_context(files, members),
    ):
        with pytest.raises(KeyFileTooOpen):
            make()


def test_an_unusable_certificate_is_named(tmp_path: Path) -> None:
    members = network()[1].members
    files = forged(tmp_path, A, A)
    files.certificate.write_text("junk")
    with pytest.raises(CertificateUnusable) as caught:
        client_context(files, members)
    assert caught.value.path == str(files.certificate)
    with pytest.raises(CertificateUnusable):
        client_context(TlsFiles(tls(B).certificate, files.key), members)
    with pytest.raises(KeyFileUnusable):
        client_context(TlsFiles(files.certificate, tmp_path / "keys" / "none.pem"), members)


def test_two_authorities_of_one_name_are_told_apart() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    twin = make_authority(A, key, now_utc())
    own = ec.generate_private_key(ec.SECP256R1())
    made = issue_certificate(twin, key, A, "node", own.public_key(), ["localhost"], now_utc())
    assert twin.subject == authority(A)[0].subject
    with pytest.raises(PeerNotRecognised):
        peer_member(certificate_der(made), network()[1].member)
