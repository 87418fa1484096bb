"""What a real validator refuses, at its door and when it starts, and that it goes on."""

import asyncio
import secrets
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from ledger import codec
from ledger.limits import TRANSACTION_BYTES_MAX, VALID_UNTIL_HEIGHTS_MAX
from ledger.primitives import Hash32, Height, KeyId
from ledger.types.transaction import SignedTransaction, sign_transaction
from nodes.api.http import REQUEST_BYTES_MAX
from nodes.client.http import RequestRefused
from nodes.config import GatewayConfig, load_config
from nodes.local_network import LocalNetwork
from nodes.signer.key_files import create_private_key, write_private_file
from nodes.transport.pki import (
    TlsFiles,
    certificate_pem,
    client_context,
    issue_certificate,
    make_authority,
    now_utc,
)
from tests.network.support import Done, Writer, commit, make_network, stopping, yilian

pytestmark = pytest.mark.network

NODE = "hospital-1"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    with stopping(make_network(tmp_path_factory.mktemp("refusals") / "net", 1)) as made:
        made.start(NODE, "node")
        asyncio.run(made.wait_ready())
        yield made


@pytest.fixture
async def writer(network: LocalNetwork) -> AsyncIterator[Writer]:
    """After each test the node still takes and commits what is right."""
    async with Writer(network, NODE) as made:
        await made.commit()
        yield made
        await made.commit()
        network.check_alive()


# -- transactions -------------------------------------------------------------------------------

Change = Callable[[Writer, SignedTransaction, int], SignedTransaction]


def signed(writer: Writer, original: SignedTransaction, **changes: object) -> SignedTransaction:
    body = replace(original.body, **changes)  # type: ignore[arg-type]  # fields of the body
    return sign_transaction(body, writer.transactions._signer)


def wrongly_signed(writer: Writer, original: SignedTransaction, height: int) -> SignedTransaction:
    other = signed(writer, original, nonce=type(original.body.nonce)(secrets.token_bytes(16)))
    body = codec.array(codec.decode(original.encoded, TRANSACTION_BYTES_MAX, "test"), 2, "test")
    return SignedTransaction.decode(codec.encode([body[0], other.signature]))


REFUSED: dict[str, Change] = {
    "transaction/expired": lambda w, t, height: signed(w, t, valid_until=Height(height)),
    "transaction/valid-until-too-far": lambda w, t, height: signed(
        w, t, valid_until=Height(height + VALID_UNTIL_HEIGHTS_MAX + 10)
    ),
    "transaction/wrong-chain": lambda w, t, _: signed(w, t, chain_id=Hash32(bytes(32))),
    "transaction/unknown-signer": lambda w, t, _: signed(w, t, signer=KeyId(bytes(32))),
    "transaction/unknown-contract": lambda w, t, _: signed(w, t, contract="magic"),
    "transaction/bad-signature": wrongly_signed,
}


@pytest.mark.parametrize("code", REFUSED)
async def test_SAFE_2_a_transaction_is_refused_with_its_reason(code: str, writer: Writer) -> None:
    height = await writer.transactions.newest_height()
    wrong = REFUSED[code](writer, await writer.build(), height)
    right = await writer.build()
    refused, accepted = await writer.chain.submit([wrong.encoded, right.encoded])
    assert (refused.accepted, refused.code) == (False, code)
    assert refused.detail
    assert accepted.accepted
    assert await writer.transactions.wait(right.id) is not None
    assert (await writer.chain.transaction(wrong.id)).status == "unknown"


async def test_SAFE_2_a_replayed_transaction_is_executed_once(writer: Writer) -> None:
    transaction = await writer.build()
    before = await writer.chain.submit([transaction.encoded, transaction.encoded])
    assert [result.accepted for result in before] == [True, True]
    receipt = await writer.transactions.wait(transaction.id)
    first = await writer.http.get_json(f"/v1/transactions/{transaction.id.hex()}")
    for _ in range(3):
        (after,) = await writer.chain.submit([transaction.encoded])
        assert after.accepted  # it is committed already, which is what the client wants
        await writer.commit()
    again = await writer.http.get_json(f"/v1/transactions/{transaction.id.hex()}")
    assert again == first
    assert await writer.transactions.wait(transaction.id) == receipt
    blocks = range(1, await writer.transactions.newest_height() + 1)
    found = [await writer.http.get(f"/v1/blocks/{height}") for height in blocks]
    assert sum(block.count(transaction.encoded) for block in found) == 1


async def test_B4_another_signature_is_no_second_transaction(writer: Writer) -> None:
    transaction = await writer.build()
    await writer.transactions.submit([transaction])
    await writer.transactions.wait(transaction.id)
    forged = wrongly_signed(writer, transaction, 0)
    await writer.chain.submit([forged.encoded])
    height = await writer.transactions.newest_height()
    await writer.commit()
    blocks = range(height + 1, await writer.transactions.newest_height() + 1)
    for number in blocks:
        assert forged.encoded not in await writer.http.get(f"/v1/blocks/{number}")


async def test_bytes_that_are_no_transaction_are_refused_one_by_one(writer: Writer) -> None:
    right = await writer.build()
    wrong = {
        "empty": b"",
        "random": secrets.token_bytes(200),
        "truncated": right.encoded[:-1],
        "trailing": right.encoded + b"\x00",
        "not canonical": b"\xdc\x00\x02" + right.encoded[1:],
        "an integer": codec.encode(7),
        "deep": b"\x91" * 1000 + b"\xc0",
    }
    results = await writer.chain.submit([*wrong.values(), right.encoded])
    for name, result in zip(wrong, results[:-1], strict=True):
        assert (result.accepted, result.code) == (False, "transaction/malformed"), name
        assert result.detail, name
    assert results[-1].accepted


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "request/malformed"),
        (b"\xc1", 400, "request/malformed"),
        (b"{}", 400, "request/malformed"),
        (codec.encode([b"x"] * 501), 400, "request/malformed"),
        (codec.encode([bytes(TRANSACTION_BYTES_MAX + 1)]), 400, "request/malformed"),
        (codec.encode([bytes(REQUEST_BYTES_MAX)]), 413, "http/413"),
    ],
    ids=["empty", "reserved-byte", "json", "too-many", "too-large", "oversized-body"],
)
async def test_R3_a_body_that_is_no_submission_is_refused(
    body: bytes, status: int, code: str, writer: Writer
) -> None:
    with pytest.raises(RequestRefused) as refused:
        await writer.http.request("POST", "/v1/transactions", body, "application/msgpack")
    assert (refused.value.status, refused.value.code) == (status, code)
    assert refused.value.detail


async def test_R3_garbage_on_both_ports_disturbs_nobody(
    writer: Writer, network: LocalNetwork
) -> None:
    endpoints = network.genesis.members[0].endpoints
    for address in (endpoints.peer, endpoints.node_api.removeprefix("https://")):
        host, port = address.rsplit(":", 1)
        for data in (b"", b"GET / HTTP/1.1\r\n\r\n", secrets.token_bytes(70_000)):
            _, sender = await asyncio.open_connection(host, int(port))
            sender.write(data)
            sender.close()
        # One that never says anything stays open while the test goes on.
        _, silent = await asyncio.open_connection(host, int(port))
        await writer.commit()
        silent.close()


# -- certificates -------------------------------------------------------------------------------


def forged_certificate(directory: Path, issuer: TlsFiles | None, member: str) -> TlsFiles:
    """A certificate in a member's name, from a stranger's authority or another member's."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if issuer is None:
        authority_key = create_private_key(directory / "keys" / "authority.pem")
        authority = make_authority(member, authority_key, now_utc())
    else:
        loaded = load_pem_private_key(issuer.key.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        authority_key = loaded
        authority = x509.load_pem_x509_certificate(issuer.certificate.read_bytes())
    key = create_private_key(directory / "keys" / "tls.pem")
    certificate = issue_certificate(
        authority, authority_key, member, "gateway", key.public_key(), ["localhost"], now_utc()
    )
    files = TlsFiles(directory / "keys" / "tls.crt", directory / "keys" / "tls.pem")
    write_private_file(files.certificate, certificate_pem(certificate))
    return files


async def status_with(network: LocalNetwork, own: TlsFiles | None) -> int:
    """HTTP status of a request with this certificate; raises where TLS is refused."""
    member = network.genesis.member(NODE)
    assert member is not None
    connector = aiohttp.TCPConnector(ssl=client_context(own, [member]))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"{member.endpoints.node_api}/v1/status") as answer,
    ):
        return answer.status


async def test_K3_nobody_without_a_members_certificate_is_served(
    network: LocalNetwork, writer: Writer, tmp_path: Path
) -> None:
    stranger = forged_certificate(tmp_path, None, NODE)
    for own in (None, stranger):
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, OSError)):
            await status_with(network, own)


async def test_K3_a_vendor_cannot_speak_in_a_hospitals_name(
    network: LocalNetwork, writer: Writer, tmp_path: Path
) -> None:
    keys = network.directory / "vendor-1" / "keys"
    vendor = TlsFiles(keys / "authority.crt", keys / "authority.pem")
    assert await status_with(network, forged_certificate(tmp_path, vendor, NODE)) == 403


async def test_K3_validators_accept_no_links_from_a_vendor(
    network: LocalNetwork, writer: Writer
) -> None:
    member = network.genesis.member(NODE)
    assert member is not None
    host, port = member.endpoints.peer.rsplit(":", 1)
    keys = network.directory / "vendor-1" / "keys"
    own = TlsFiles(keys / "vendor-tls.crt", keys / "vendor-tls.pem")
    reader, sender = await asyncio.open_connection(
        host, int(port), ssl=client_context(own, [member])
    )
    # With TLS 1.3 the refusal of the client's certificate arrives after the handshake.
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    sender.close()


async def test_K3_a_client_notices_a_server_of_another_member(
    network: LocalNetwork, writer: Writer
) -> None:
    vendor = network.genesis.member("vendor-1")
    assert vendor is not None
    own = load_config(GatewayConfig, network.config(NODE, "gateway")).tls
    member = network.genesis.member(NODE)
    assert member is not None
    connector = aiohttp.TCPConnector(ssl=client_context(own, [vendor]))
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"{member.endpoints.node_api}/v1/status")


# -- starting -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> LocalNetwork:
    """A network that has run, so that its ledger belongs to its chain."""
    with stopping(make_network(tmp_path_factory.mktemp("stopped") / "net", 1)) as made:
        made.start(NODE, "node")
        asyncio.run(made.wait_ready())
        asyncio.run(commit(made, NODE))
    return made


@pytest.fixture
def copy(stopped: LocalNetwork, tmp_path: Path) -> LocalNetwork:
    """A copy that a test may damage."""
    shutil.copytree(stopped.directory, tmp_path / "net")
    return LocalNetwork(tmp_path / "net")


def refusal(done: Done, code: int) -> str:
    """The one line that says why a process did not start; before it there are only JSON lines."""
    lines = done.stderr.splitlines()
    assert done.returncode == code, done.stderr
    assert lines[-1].startswith("yilian: ")
    assert all(line.startswith("{") for line in lines[:-1])
    assert done.stdout == ""
    return lines[-1]


def test_B3_a_wrong_genesis_is_refused_with_both_chain_ids(copy: LocalNetwork) -> None:
    other = replace(copy.genesis, network="another")
    (copy.directory / "genesis.bin").write_bytes(other.encode())
    line = refusal(yilian("node", "run", copy.config(NODE, "node")), 3)
    assert copy.genesis.chain_id.hex()[:16] in line
    assert other.chain_id.hex()[:16] in line


def test_a_genesis_of_strangers_or_a_damaged_one_is_refused(
    copy: LocalNetwork, tmp_path: Path
) -> None:
    strangers = make_network(tmp_path / "strangers", 1).directory / "genesis.bin"
    whole = (copy.directory / "genesis.bin").read_bytes()
    for data, code, word in (
        (strangers.read_bytes(), 3, "own authority did not issue it"),
        (whole[:-1], 2, "genesis"),
        (b"", 2, "genesis"),
    ):
        (copy.directory / "genesis.bin").write_bytes(data)
        assert word in refusal(yilian("node", "run", copy.config(NODE, "node")), code)


@pytest.mark.parametrize("service", ["node", "gateway"])
@pytest.mark.parametrize(
    ("mode", "hint"), [(0o644, "chmod 600"), (0o755, "chmod 700")], ids=["file", "folder"]
)
def test_K1_keys_that_others_can_read_are_refused(
    mode: int, hint: str, service: str, copy: LocalNetwork
) -> None:
    keys = copy.directory / NODE / "keys"
    open_path = keys if mode == 0o755 else keys / f"{service}-tls.pem"
    open_path.chmod(mode)
    line = refusal(yilian(service, "run", copy.config(NODE, service)), 3)
    assert f"{hint} {open_path}" in line
    assert f"{mode:04o}" in line


def test_K1_a_consensus_key_that_others_can_read_is_refused(copy: LocalNetwork) -> None:
    key = copy.directory / NODE / "keys" / "consensus.pem"
    key.chmod(0o640)
    assert f"chmod 600 {key}" in refusal(yilian("node", "run", copy.config(NODE, "node")), 3)


@pytest.mark.parametrize(
    ("service", "key"), [("node", "peer_listen"), ("node", "api_listen"), ("gateway", "listen")]
)
def test_a_port_in_use_is_named(service: str, key: str, copy: LocalNetwork) -> None:
    config = copy.config(NODE, service)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        lines = config.read_text("utf-8").splitlines()
        text = "\n".join(
            f'{key} = "127.0.0.1:{port}"' if line.startswith(f"{key} =") else line for line in lines
        )
        config.write_text(text, "utf-8")
        line = refusal(yilian(service, "run", config), 3)
    assert f"127.0.0.1:{port}" in line


async def test_L1_a_second_process_on_the_same_data_is_refused(
    network: LocalNetwork, writer: Writer
) -> None:
    config = network.config(NODE, "node")
    twin = config.with_name("twin.toml")
    text = config.read_text("utf-8").replace("log_level", "# log_level")
    with socket.create_server(("127.0.0.1", 0)) as one:
        free = one.getsockname()[1]
    endpoints = network.genesis.members[0].endpoints
    for address in (endpoints.peer, endpoints.node_api.removeprefix("https://")):
        text = text.replace(address, f"127.0.0.1:{free}")
    twin.write_text(text, "utf-8")
    line = refusal(await asyncio.to_thread(yilian, "node", "run", twin), 3)
    assert str(network.directory / NODE / "node-data" / "ledger") in line
    assert "another process" in line
