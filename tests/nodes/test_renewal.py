"""A new consensus key: a crash between any two steps leaves what the same command finishes."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nodes import renewal
from nodes.config import NodeConfig, load_config
from nodes.renewal import renew_key
from nodes.signer.key_files import FileSigner, KeyFileUnusable
from nodes.storage.errors import StorageLocked
from nodes.storage.leveldb import LevelDbStorage
from nodes.storage.safety_store import FileSafetyStore
from tests.nodes.network import network

MEMBER = "hospital-1"


class Crash(BaseException):
    """kill -9, as far as a test can have it."""


class Registered:
    """What the chain knows: the registered key, and how often it changed."""

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.keys = [FileSigner.load(config.consensus_key).public_key]

    async def register(self, _: object, config: NodeConfig, new: FileSigner) -> None:
        assert config == self.config
        if self.keys[-1] != new.public_key:
            self.keys.append(new.public_key)


@asynccontextmanager
async def no_session(*_: object):
    yield None


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    """A hospital's own copy of the test network."""
    shutil.copytree(network()[0], tmp_path / "net")
    return load_config(NodeConfig, tmp_path / "net" / MEMBER / "node.toml")


@pytest.fixture
def chain(config: NodeConfig, monkeypatch: pytest.MonkeyPatch) -> Registered:
    registered = Registered(config)
    monkeypatch.setattr(renewal, "any_validator", no_session)
    monkeypatch.setattr(renewal, "_register", registered.register)
    return registered


def steps() -> Iterator[tuple[object, str]]:
    """Every call that changes something durable."""
    yield renewal, "replace_private_file"
    yield FileSafetyStore, "create"
    yield FileSafetyStore, "settle"
    yield renewal, "_rename"
    yield os, "link"
    yield Path, "replace"
    yield Path, "rename"


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int, after: bool) -> None:
    """The call of that number, counted over all of them, does not return."""
    calls = iter(range(10_000))

    def patched(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            crashes = next(calls) == number
            if crashes and not after:
                raise Crash
            answer = real(*args)
            if crashes:
                raise Crash
            return answer

        return call

    for owner, name in steps():
        real = getattr(owner, name)
        wrapped = patched(real)
        monkeypatch.setattr(owner, name, staticmethod(wrapped) if name == "create" else wrapped)


def is_fresh(path: Path) -> bool:
    store = FileSafetyStore(path)
    try:
        return store.votes() == ()
    finally:
        store.close()


def safe(config: NodeConfig, old: FileSigner, old_safety: bytes) -> bool:
    """Whether no key that has voted could be used with a memory that does not know it."""
    if not config.consensus_key.exists() or not config.safety_path.exists():
        return True  # does not start, or observes
    key = FileSigner.load(config.consensus_key).public_key
    return (key == old.public_key) == (config.safety_path.read_bytes() == old_safety)


async def test_A2_the_new_key_has_a_fresh_memory_and_the_old_files_are_kept(
    config: NodeConfig, chain: Registered
) -> None:
    old, old_safety = FileSigner.load(config.consensus_key), config.safety_path.read_bytes()
    new = await renew_key(config)
    assert chain.keys == [old.public_key, new.public_key]
    assert FileSigner.load(config.consensus_key).public_key == new.public_key
    assert is_fresh(config.safety_path)
    name = old.public_key.key_id.hex()[:16]
    kept = FileSigner.load(config.keys_dir / f"consensus-{name}.pem")
    assert kept.public_key == old.public_key
    assert (config.data_dir / f"safety-{name}.log").read_bytes() == old_safety
    for path in (config.consensus_key, config.safety_path):
        assert path.stat().st_mode & 0o777 == 0o600
    assert list(config.keys_dir.glob("*next*")) == list(config.data_dir.glob("*next*")) == []
    again = await renew_key(config)
    assert chain.keys[2:] == [again.public_key]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("lost", [False, True], ids=["has its memory", "lost its memory"])
async def test_A2_a_crash_at_any_step_is_finished_by_the_same_command(
    config: NodeConfig, chain: Registered, after: bool, lost: bool
) -> None:
    original = config.data_dir.parent
    pristine = original.with_name("pristine")
    if lost:
        config.safety_path.unlink()
    shutil.copytree(original, pristine)
    old = FileSigner.load(config.consensus_key)
    old_safety = b"" if lost else config.safety_path.read_bytes()
    crashes = 0
    for number in range(100):
        shutil.rmtree(original)
        shutil.copytree(pristine, original)
        chain.keys = [old.public_key]
        with pytest.MonkeyPatch.context() as patching:
            crash_at(patching, number, after)
            try:
                await renew_key(config)
            except Crash:
                crashes += 1
            else:
                break
        assert safe(config, old, old_safety), number
        whole = len(chain.keys) == 2 and not list(config.data_dir.glob("*next*"))
        if whole:  # only the report of it was lost
            new = FileSigner.load(config.consensus_key)
        else:
            new = await renew_key(config)
        # The key that was registered before the crash is the one: no second one was made.
        assert chain.keys == [old.public_key, new.public_key], number
        assert FileSigner.load(config.consensus_key).public_key == new.public_key
        assert is_fresh(config.safety_path)
        assert list(config.keys_dir.glob("*next*")) == list(config.data_dir.glob("*next*")) == []
        kept = [FileSigner.load(p).public_key for p in config.keys_dir.glob("consensus-*.pem")]
        assert kept == [old.public_key], number
    assert crashes >= 8


async def test_A1_nothing_is_renewed_while_the_node_runs(
    config: NodeConfig, chain: Registered
) -> None:
    node = LevelDbStorage(config.ledger_path)
    before = sorted(config.keys_dir.iterdir())
    with pytest.raises(StorageLocked):
        await renew_key(config)
    node.close()
    assert sorted(config.keys_dir.iterdir()) == before
    assert len(chain.keys) == 1


async def test_a_lost_key_is_replaced(config: NodeConfig, chain: Registered) -> None:
    config.consensus_key.unlink()
    new = await renew_key(config)
    assert FileSigner.load(config.consensus_key).public_key == new.public_key
    assert (config.data_dir / "safety-lost.log").exists()
    assert chain.keys[-1] == new.public_key


async def test_a_kept_file_is_never_overwritten(config: NodeConfig, chain: Registered) -> None:
    name = FileSigner.load(config.consensus_key).public_key.key_id.hex()[:16]
    kept = config.data_dir / f"safety-{name}.log"
    kept.write_bytes(b"kept")
    with pytest.raises(KeyFileUnusable):
        await renew_key(config)
    assert kept.read_bytes() == b"kept"
    assert config.safety_path.exists()
