"""Configuration errors name file, key, value and what to do."""

import ast
from pathlib import Path

import pytest

from nodes.config import (
    ConfigInvalid,
    FileUnusable,
    GatewayConfig,
    Model,
    NodeConfig,
    ReleaseConfig,
    VendorConfig,
    load_config,
    load_genesis,
)
from nodes.transport.peer_links import Address
from tests.project.tree import modules
from tests.vectors import fixed

NODE = """
member = "renhe"
genesis = "../genesis.bin"
data_dir = "node-data"
keys_dir = "/srv/keys"
peer_listen = "127.0.0.1:7101"
api_listen = "[::1]:7102"
"""
GATEWAY = """
member = "renhe"
genesis = "../genesis.bin"
data_dir = "gateway-data"
keys_dir = "keys"
listen = "127.0.0.1:7103"
node_api = "https://127.0.0.1:7102/"

[[stores]]
kind = "directory"
name = "records"
path = "records"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "some.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_node_configuration(tmp_path: Path) -> None:
    config = load_config(NodeConfig, written(tmp_path, NODE))
    assert config.member == "renhe"
    assert config.genesis == tmp_path / "../genesis.bin"
    assert config.ledger_path == tmp_path / "node-data" / "ledger"
    assert config.safety_path == tmp_path / "node-data" / "safety.log"
    assert config.consensus_key == Path("/srv/keys/consensus.pem")
    assert config.tls.key == Path("/srv/keys/node-tls.pem")
    assert config.peer_listen == Address("127.0.0.1", 7101)
    assert config.api_listen == Address("::1", 7102)
    assert (config.min_free_bytes, config.log_level) == (2 * 1024**3, "info")


def test_a_gateway_configuration(tmp_path: Path) -> None:
    config = load_config(GatewayConfig, written(tmp_path, GATEWAY))
    assert config.node_api == "https://127.0.0.1:7102"
    assert [(s.kind, s.name, s.path) for s in config.stores] == [
        ("directory", "records", tmp_path / "records")
    ]
    assert (config.rows_per_transaction, config.release.enabled) == (100, True)
    assert config.national_id_systems
    assert config.user_key("treating") == tmp_path / "keys" / "user-treating.pem"


@pytest.mark.parametrize(
    ("line", "key", "value", "advice"),
    [
        ('member = "Renhe!"', "member", "'Renhe!'", "a-z"),
        ("member = 5", "member", "5", "a-z"),
        ('member = ""', "member", "''", "a-z"),
        ("genesis = 7", "genesis", "7", "path"),
        ('peer_listen = "7101"', "peer_listen", "'7101'", "host and port"),
        ('peer_listen = ":7101"', "peer_listen", "':7101'", "host and port"),
        ('peer_listen = "h:70000"', "peer_listen", "'h:70000'", "host and port"),
        ('peer_listen = "h:-1"', "peer_listen", "'h:-1'", "host and port"),
        ('api_listen = "h:٣"', "api_listen", "'h:٣'", "host and port"),
        ("min_free_bytes = -1", "min_free_bytes", "-1", "greater than or equal to 0"),
        ('min_free_bytes = "1"', "min_free_bytes", "'1'", "integer"),
        ("min_free_bytes = true", "min_free_bytes", "True", "integer"),
        ('log_level = "chatty"', "log_level", "'chatty'", "'warning'"),
        ("surprise = 1", "surprise", "1", "unknown"),
    ],
)
def test_each_bad_key_of_a_node_is_named(
    tmp_path: Path, line: str, key: str, value: str, advice: str
) -> None:
    kept = [row for row in NODE.splitlines() if not row.startswith(f"{key} =")]
    path = written(tmp_path, "\n".join([*kept, line]))
    with pytest.raises(ConfigInvalid) as caught:
        load_config(NodeConfig, path)
    assert (caught.value.file, caught.value.key, caught.value.value) == (str(path), key, value)
    assert advice in caught.value.advice


def test_a_misspelt_key_is_named_with_the_one_that_is_missing(tmp_path: Path) -> None:
    path = written(tmp_path, NODE.replace("data_dir", "data_dri"))
    with pytest.raises(ConfigInvalid) as caught:
        load_config(NodeConfig, path)
    assert caught.value.key == "data_dri"
    assert "missing are data_dir" in caught.value.advice


@pytest.mark.parametrize("key", ["member", "genesis", "data_dir", "keys_dir", "peer_listen"])
def test_each_missing_key_of_a_node_is_named(tmp_path: Path, key: str) -> None:
    kept = [row for row in NODE.splitlines() if not row.startswith(f"{key} =")]
    with pytest.raises(ConfigInvalid) as caught:
        load_config(NodeConfig, written(tmp_path, "\n".join(kept)))
    assert caught.value.key == key
    assert "missing" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("https://", "http://", "node_api"),
        ('kind = "directory"', 'kind = "tape"', "stores.0.kind"),
        ('name = "records"', 'name = ""', "stores.0.name"),
        ('path = "records"', 'path = "records"\nuser = "x"', "stores.0.user"),
        ("[[stores]]", "rows_per_transaction = 0\n[[stores]]", "rows_per_transaction"),
        ("[[stores]]", "rows_per_transaction = 201\n[[stores]]", "rows_per_transaction"),
        ("[[stores]]", "national_id_systems = []\n[[stores]]", "national_id_systems"),
        ("[[stores]]", "[release]\nroots_max = 9\n[[stores]]", "release.roots_max"),
    ],
)
def test_each_bad_key_of_a_gateway_is_named(tmp_path: Path, old: str, new: str, key: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load_config(GatewayConfig, written(tmp_path, GATEWAY.replace(old, new, 1)))
    assert caught.value.key == key


@pytest.mark.parametrize("data", [b"member = ", b"\xff\xfe", b"a = 1\na = 2", b"x" * 2**21])
def test_what_is_no_toml_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "some.toml"
    path.write_bytes(data)
    with pytest.raises(FileUnusable) as caught:
        load_config(VendorConfig, path)
    assert caught.value.path == str(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for load in (lambda p: load_config(NodeConfig, p), load_genesis):
        with pytest.raises(FileUnusable):
            load(tmp_path / "none")


def test_a_genesis_file(tmp_path: Path) -> None:
    encoded = fixed.genesis().encode()
    (tmp_path / "genesis.bin").write_bytes(encoded)
    assert load_genesis(tmp_path / "genesis.bin") == fixed.genesis()
    for bad in (b"", encoded[:-1], encoded + b"\x00", encoded[:50] + b"\xff" + encoded[51:]):
        (tmp_path / "genesis.bin").write_bytes(bad)
        with pytest.raises(FileUnusable):
            load_genesis(tmp_path / "genesis.bin")


@pytest.mark.parametrize("model", [NodeConfig, GatewayConfig, VendorConfig, ReleaseConfig])
def test_every_key_and_every_file_has_an_effect(model: type[Model]) -> None:
    used = {
        node.attr
        for module in modules("nodes").values()
        for node in ast.walk(module.syntax)
        if isinstance(node, ast.Attribute)
    }
    properties = {n for n, v in vars(model).items() if isinstance(v, property)}
    assert set(model.model_fields) | properties <= used
