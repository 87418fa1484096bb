"""A new consensus key for a validator, with a fresh memory of votes: the way back for one that
lost its safety store or its key, or whose key may be known to others (A2, M3).

Each step is atomic, and whatever was done already is found done when the command runs again:

1. a new key is made under a pending name, and a fresh safety store beside the old one;
2. the chain registers the new key, signed by the administrator's key;
3. the old safety store is moved away, the key is replaced, the fresh store takes its place.

At no point does a key lie with a fresh store if it may have voted before: between the steps the
node only observes. Neither old file is ever used again; both are kept.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from contracts.registry import Registry
from ledger.crypto.keys import encode_public_key
from ledger.errors import WorldFault
from ledger.primitives import Height
from ledger.types.governance import possession_digest
from nodes.client.connect import NoSuchService
from nodes.client.network import any_validator, find_member
from nodes.client.session import LightSession
from nodes.client.transactions import ActionRefused, TransactionClient
from nodes.config import NodeConfig, load_genesis
from nodes.signer.key_files import (
    FileSigner,
    KeyFileUnusable,
    load_private_key,
    private_key_pem,
    replace_private_file,
    sync_directory,
)
from nodes.storage.fetched import is_empty
from nodes.storage.ledger_store import LedgerStore
from nodes.storage.leveldb import LevelDbStorage
from nodes.storage.safety_store import FileSafetyStore

SAME_BLOCK_TRIES = 5
"""How often a renewal is handed in anew, where other changes of votes were in its block."""


@dataclass(eq=False)
class KeyNotRenewed(WorldFault):
    """Other changes of votes came first, several times."""

    member: str
    template = "{member}: other changes of votes came first: run the command again"


@dataclass(frozen=True, slots=True)
class _Files:
    """Where the keys and the safety stores are."""

    config: NodeConfig

    @property
    def key(self) -> Path:
        return self.config.consensus_key

    @property
    def new_key(self) -> Path:
        return self.key.with_name("consensus-next.pem")

    @property
    def safety(self) -> Path:
        return self.config.safety_path

    @property
    def new_safety(self) -> Path:
        return self.safety.with_name("safety-next.log")


async def renew_key(config: NodeConfig) -> FileSigner:
    """Renews, or finishes what was begun; the signer that votes from now on.

    Raises StorageLocked while the node runs, and WorldFault or PeerFault where something fails;
    the same call goes on from there.
    """
    genesis = load_genesis(config.genesis)
    files = _Files(config)
    # Held to the end: the node cannot be started meanwhile.
    storage = LevelDbStorage(config.ledger_path)
    try:
        # An empty one stays empty, so that the node can fetch a snapshot.
        height = 0 if is_empty(storage) else LedgerStore(storage, Registry(), genesis).height
        if files.new_key.exists() or not files.new_safety.exists():
            new = _pending_signer(files)
            _prepare_safety_store(files.new_safety, height)
            async with any_validator(genesis, config.tls, config.member) as session:
                await _register(session, config, new)
            _switch_key(files)
        else:
            # The key was replaced already; only its memory is not in place yet.
            new = FileSigner.load(files.key)
            _prepare_safety_store(files.new_safety, height)
        _rename(files.new_safety, files.safety)
    finally:
        storage.close()
    return new


def _pending_signer(files: _Files) -> FileSigner:
    """The key that is to be registered; made now, unless an earlier run made it."""
    if not files.new_key.exists():
        replace_private_file(
            files.new_key, private_key_pem(ec.generate_private_key(ec.SECP256R1()))
        )
    return FileSigner.load(files.new_key)


def _prepare_safety_store(path: Path, height: int) -> None:
    """A store without votes that knows of the chain as it is here, so that it is not found old."""
    if not path.exists():
        FileSafetyStore.create(path)
    store = FileSafetyStore(path)
    try:
        store.settle(Height(height))
    finally:
        store.close()


async def _register(session: LightSession, config: NodeConfig, new: FileSigner) -> None:
    """Returns once the chain has the new key."""
    administrator = FileSigner.load(config.user_key("administrator"))
    chain_id = session.genesis.chain_id
    client = TransactionClient(session.chain, chain_id, administrator)
    possession = new.sign(possession_digest(chain_id, config.member, new.public_key))
    for _ in range(SAME_BLOCK_TRIES):
        member = await find_member(session, config.member)
        if member is None:
            raise NoSuchService(config.member, "validator")
        if member.consensus_key == new.public_key.encoded:
            return
        args = [new.public_key.encoded, possession]
        try:
            await client.execute("governance", "renew_key", args)
        except ActionRefused as refused:
            # The second one: an earlier run's transaction was committed only now.
            passing = ("governance/change-in-this-block", "governance/key-exists")
            if refused.code not in passing:
                raise
        await session.refresh()
    raise KeyNotRenewed(config.member)


def _switch_key(files: _Files) -> None:
    """Keeps the old files under names with the old key's id, and puts the new key in place."""
    old = "lost"
    if files.key.exists():
        old = encode_public_key(load_private_key(files.key).public_key()).key_id.hex()[:16]
    if files.safety.exists():
        _rename(files.safety, files.safety.with_name(f"safety-{old}.log"))
    kept = files.key.with_name(f"consensus-{old}.pem")
    if files.key.exists() and not kept.exists():
        os.link(files.key, kept)
    files.new_key.replace(files.key)
    sync_directory(files.key.parent)


def _rename(path: Path, target: Path) -> None:
    """Durably, and never over another file."""
    if target.exists():
        raise KeyFileUnusable(str(target), "it is there and will not be replaced: move it away")
    path.rename(target)
    sync_directory(target.parent)
