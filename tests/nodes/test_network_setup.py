"""Networks on disk: complete, private, whole or not at all."""

import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.crypto.keys import encode_public_key
from ledger.crypto.sealing import unwrap_group_key, wrap_context
from ledger.quorum import quorum
from nodes import network_setup
from nodes.config import (
    ConfigInvalid,
    GatewayConfig,
    NodeConfig,
    VendorConfig,
    load_config,
    load_genesis,
)
from nodes.network_setup import (
    HOSPITAL_ROLES,
    DirectoryNotEmpty,
    NetworkPlan,
    SetupFailed,
    create_network,
    numbered_plan,
)
from nodes.signer.key_files import FileSigner, load_private_key, load_secret
from nodes.storage.safety_store import FileSafetyStore
from nodes.transport.pki import TlsFiles, client_context, peer_member, server_context

CONFIGS = Path(__file__).resolve().parent.parent.parent / "network-configs"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("setup") / "network"
    plan = load_config(NetworkPlan, CONFIGS / "demo.toml")
    create_network(directory, plan.model_copy(update={"base_port": 0}))
    return directory


def nodes(network: Path) -> Iterator[NodeConfig]:
    for path in sorted(network.glob("*/node.toml")):
        yield load_config(NodeConfig, path)


def gateways(network: Path) -> Iterator[GatewayConfig]:
    for path in sorted(network.glob("*/gateway.toml")):
        yield load_config(GatewayConfig, path)


def test_the_demonstration_network_is_complete(network: Path) -> None:
    genesis = load_genesis(network / "genesis.bin")
    assert genesis.membership.n == 4
    assert genesis.parameters.release_patients_min == 8
    assert [m.kind for m in genesis.members].count("vendor") == 1
    assert all(any("\u4e00" <= c <= "\u9fff" for c in m.name) for m in genesis.members)
    folders = sorted(item.name for item in network.iterdir() if item.is_dir())
    assert folders == [member.id for member in genesis.members]
    for config in nodes(network):
        home = network / config.member
        assert {item.name for item in home.iterdir()} == {
            "gateway-data",
            "gateway.toml",
            "keys",
            "node-data",
            "node.toml",
        }
        assert load_genesis(config.genesis).chain_id == genesis.chain_id


def test_every_key_on_disk_is_the_one_in_the_genesis(network: Path) -> None:
    genesis = load_genesis(network / "genesis.bin")
    users = {(user.member, user.roles): user for user in genesis.users}
    wraps = dict(genesis.wrapped_group_keys)
    group_keys = set()
    for node, gateway in zip(nodes(network), gateways(network), strict=True):
        member = genesis.member(node.member)
        assert member is not None
        consensus = FileSigner.load(node.consensus_key)
        assert consensus.public_key.encoded == member.consensus_key
        sealing = load_private_key(gateway.sealing_key)
        assert encode_public_key(sealing.public_key()).encoded == member.sealing_key
        group_keys.add(unwrap_group_key(sealing, wraps[member.id], wrap_context(1, member.id)))
        for role in HOSPITAL_ROLES:
            signer = FileSigner.load(gateway.user_key(role))
            assert users[member.id, (role,)].public_key == signer.public_key
        assert member.endpoints.peer == str(node.peer_listen)
        assert member.endpoints.node_api == gateway.node_api == f"https://{node.api_listen}"
        assert member.endpoints.gateway == f"https://{gateway.listen}"
    assert len(group_keys) == 1
    vendor = load_config(VendorConfig, network / "vendor-y" / "vendor.toml")
    signer = FileSigner.load(vendor.user_key("vendor-service"))
    assert users[vendor.member, ("vendor-service",)].public_key == signer.public_key
    assert len(users) == 4 * len(HOSPITAL_ROLES) + 1


def test_K1_no_key_serves_two_purposes(network: Path) -> None:
    paths = list(network.glob("*/keys/*.pem"))
    points = {encode_public_key(load_private_key(path).public_key()).encoded for path in paths}
    assert len(points) == len(paths) == 4 * (1 + 2 + 2 + 4) + 3


def test_PRIV_1_secrets_are_where_they_belong(network: Path) -> None:
    patient = {load_secret(gateway.patient_secret) for gateway in gateways(network)}
    assert len(patient) == 1
    assert list((network / "vendor-y").rglob("*.secret")) == []
    public = (network / "genesis.bin").read_bytes()
    assert patient.pop() not in public


def test_K1_everything_private_is_private(network: Path) -> None:
    for path in network.rglob("keys"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        for item in path.iterdir():
            assert stat.S_IMODE(item.stat().st_mode) == 0o600
    for name in ("node-data", "gateway-data"):
        for path in network.rglob(name):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_A2_the_safety_store_is_made_once_and_empty(network: Path) -> None:
    for config in nodes(network):
        assert FileSafetyStore(config.safety_path).votes() == ()


def test_K3_the_certificates_are_accepted_for_what_they_are(network: Path) -> None:
    genesis = load_genesis(network / "genesis.bin")
    members = genesis.members
    files: list[tuple[str, str, TlsFiles]] = []
    files += [(c.member, "node", c.tls) for c in nodes(network)]
    files += [(c.member, "gateway", c.tls) for c in gateways(network)]
    vendor = load_config(VendorConfig, network / "vendor-y" / "vendor.toml")
    files.append((vendor.member, "vendor", vendor.tls))
    for member, service, tls in files:
        server_context(tls, members, require_client=True)
        client_context(tls, members)
        assert peer_member(der(tls.certificate), genesis.member) == (member, service)


def der(path: Path) -> bytes:
    import ssl

    return ssl.PEM_cert_to_DER_cert(path.read_text())


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_any_number_of_hospitals(tmp_path: Path, n: int) -> None:
    genesis = create_network(tmp_path / "net", numbered_plan(n, vendors=0))
    assert (genesis.membership.n, genesis.membership.quorum) == (n, quorum(n))
    ports = [config.peer_listen.port for config in nodes(tmp_path / "net")]
    ports += [config.api_listen.port for config in nodes(tmp_path / "net")]
    ports += [config.listen.port for config in gateways(tmp_path / "net")]
    assert len(set(ports)) == 3 * n
    assert all(1024 <= port < 65_536 for port in ports)


def test_ports_from_a_base_and_hosts_of_their_own(tmp_path: Path) -> None:
    plan = load_config(NetworkPlan, CONFIGS / "production.toml")
    genesis = create_network(tmp_path / "net", plan)
    assert genesis.parameters.release_patients_min == 32
    second = genesis.member("hospital-2")
    assert second is not None
    assert second.endpoints.peer == "ledger.hospital-2.example:7111"
    assert second.endpoints.gateway == "https://ledger.hospital-2.example:7113"
    gateway = load_config(GatewayConfig, tmp_path / "net" / "hospital-2" / "gateway.toml")
    assert gateway.stores[0].path == Path("/srv/records")


def test_an_existing_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "letter.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("net", "file"):
        with pytest.raises(DirectoryNotEmpty):
            create_network(tmp_path / name, numbered_plan(1))
    assert (tmp_path / "net" / "letter.txt").read_text() == "x"
    (tmp_path / "empty").mkdir()
    create_network(tmp_path / "empty", numbered_plan(1))
    assert (tmp_path / "empty" / "genesis.bin").exists()


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: object, _plan: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(network_setup._Builder, "_vendor", fail)
    with pytest.raises(SetupFailed) as caught:
        create_network(tmp_path / "net", numbered_plan(2))
    assert "No space left" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('network = "x"\nhospitals = []', "hospitals"),
        ('network = ""\n[[hospitals]]\nid = "a"\nname = "A"', "network"),
        ('network = "x"\nbase_port = 70000\n[[hospitals]]\nid = "a"\nname = "A"', "base_port"),
        ('network = "x"\n[[hospitals]]\nid = "A!"\nname = "A"', "hospitals.0.id"),
        ('network = "x"\n[[hospitals]]\nid = "a"', "hospitals.0.name"),
        ('network = "x"\nrelease_patients_min = 0\n[[hospitals]]\nid = "a"\nname = "A"',
         "release_patients_min"),
        ('network = "x"\n[[hospitals]]\nid = "a"\nname = "A"\n[[vendors]]\nid = "a"\nname = "B"',
         "(file)"),
    ],
)  # fmt: skip
def test_a_bad_plan_is_refused(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        load_config(NetworkPlan, tmp_path / "plan.toml")
    assert caught.value.key == key


def test_every_key_of_a_written_file_has_a_comment(network: Path) -> None:
    files = [network / "hospital-a" / "node.toml", network / "hospital-a" / "gateway.toml"]
    for path, model in zip(files, (NodeConfig, GatewayConfig), strict=True):
        lines = path.read_text("utf-8").splitlines()
        assert set(tomllib.loads(path.read_text("utf-8"))) == set(model.model_fields)
        keys = [i for i, line in enumerate(lines) if " = " in line and line[0] != "#"]
        assert keys
        assert [lines[i] for i in keys if not lines[i - 1].startswith("#")] == []
