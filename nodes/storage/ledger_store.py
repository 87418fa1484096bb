"""The chain and its state in one store: what is committed, and what proofs are made of.

The keys are in ``layout``. A store that began with a snapshot has neither the blocks below its
base nor the states between them.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import RLock
from typing import TypeAlias

from ledger import codec
from ledger.contract_api import Column, ContractTable, StateReader
from ledger.errors import CallerBug, PeerFault, StateDamaged, WorldFault, WrongCall
from ledger.execution import BlockResult, genesis_changes
from ledger.limits import (
    PROOF_HEIGHTS,
    SNAPSHOT_INTERVAL_HEIGHTS,
    VALID_UNTIL_HEIGHTS_MAX,
)
from ledger.merkle import state_tree
from ledger.merkle.proof import StateProof
from ledger.primitives import ZERO_HASH, Hash32, Height, KeyId
from ledger.state import Write
from ledger.types.block import Block, Header, Receipt
from ledger.types.certificate import CertifiedHeader, QuorumCertificate
from ledger.types.evidence import Evidence
from ledger.types.genesis import Genesis
from ledger.types.membership import Membership
from nodes.ports import Put, Storage
from nodes.storage import layout
from nodes.storage.layout import (
    COLUMN,
    decode_receipts,
    height_bytes,
    place_of,
    puts,
    stored_form,
    value_in,
)
from nodes.storage.snapshots import Snapshots

_PROVED = (Column.VALUE, Column.PAGE)
"""Columns that proofs are made of; what a block overwrites in them is kept."""
_CACHED = (Column.VALUE, Column.PAGE, Column.FRONTIER)
"""Columns that are read to be overwritten: a block reads most of the last one's keys again."""
CACHE_ENTRIES_MAX = 16_384
"""Values kept in memory, of about 600 bytes: at most 16 MB."""
_ABSENT = 0xFFFFFFFF

Overwritten: TypeAlias = dict[bytes, bytes | None]
"""Store key to the value it had; None where there was none."""


@dataclass(eq=False)
class WrongGenesis(WorldFault):
    """The data directory belongs to another network."""

    stored: bytes
    given: bytes
    template = (
        "the data directory holds chain {stored}, the genesis file is of chain {given}: "
        "give the right genesis file, or set data_dir to a new directory"
    )


@dataclass(eq=False)
class WrongCommit(CallerBug):
    """``commit`` was given something that cannot follow the newest block."""

    height: int
    reason: str
    template = "commit of block {height}: {reason}"


@dataclass(eq=False)
class HeightUnknown(PeerFault):
    """A certified header was asked for at a height that has none here."""

    height: int
    oldest: int
    newest: int
    template = "height {height}: no certified header; there are {oldest} to {newest}"


@dataclass(eq=False)
class StateTooOld(PeerFault):
    """State is served for the newest PROOF_HEIGHTS heights only."""

    height: int
    oldest: int
    newest: int
    template = "state at height {height} is not kept: ask for {oldest} to {newest}"


class LedgerStore:
    """The newest state is read through ``get``, so a LedgerStore is itself a StateReader.

    One thread commits; others may read. A lock keeps a reader from seeing half a commit.
    """

    def __init__(
        self,
        storage: Storage,
        contracts: ContractTable,
        genesis: Genesis,
        snapshot_interval: int = SNAPSHOT_INTERVAL_HEIGHTS,
    ) -> None:
        """Writes the genesis state into an empty store; checks the newest block of another (A1).

        A snapshot is kept for others at each height that ``snapshot_interval`` divides. Raises
        WrongGenesis, StateDamaged or what ``storage`` raises.
        """
        self.snapshots = Snapshots(storage, snapshot_interval, self.membership_changes)
        self._storage = storage
        self._lock = RLock()
        self._kept_receipts: tuple[int, tuple[bytes, ...]] = (0, ())
        self._cache: OrderedDict[bytes, bytes | None] = OrderedDict()
        newest = layout.Newest.read(storage)
        if newest is None:
            self._create(contracts, genesis)
            return
        try:
            self._open(newest, genesis)
        except PeerFault as fault:
            # Decoders blame whoever made the bytes; these are this node's own.
            raise StateDamaged("newest block", str(fault)) from None
        self.snapshots.opened(self._certified(self._height))

    def _create(self, contracts: ContractTable, genesis: Genesis) -> None:
        if not all(key.startswith(layout.EVIDENCE) for key, _ in self._storage.scan(b"")):
            raise StateDamaged("ledger store", "there are keys, yet no newest height")
        self._chain_id = genesis.chain_id
        self._base = self._height = Height(0)
        self._parent = ZERO_HASH
        changes = genesis_changes(self, contracts, genesis)
        self._state_root = changes.root
        self._storage.write([*puts(changes.writes), self._newest(Height(0), changes.root)])
        self._cache.clear()

    def _open(self, newest: layout.Newest, genesis: Genesis) -> None:
        if newest.chain_id != genesis.chain_id:
            raise WrongGenesis(newest.chain_id, genesis.chain_id)
        self._chain_id, self._state_root = newest.chain_id, newest.state_root
        self._base, self._height = newest.base, newest.height
        self._parent = self._checked_newest() if self._height else ZERO_HASH
        if state_tree.root(self) != self._state_root:
            raise StateDamaged("newest state", "its tree does not have the committed root")

    def _checked_newest(self) -> Hash32:
        """Hash of the newest block; block, header, certificate and state root must agree."""
        block, certified = self.block(self._height), self.certified_header(self._height)
        header, certificate = certified.header, certified.certificate
        if (
            block is None
            or block.header != header
            or header.height != self._height
            or header.chain_id != self._chain_id
            or (certificate.height, certificate.block_hash) != (header.height, header.hash)
            or header.state_root != self._state_root
        ):
            raise StateDamaged(
                f"block {self._height}", "header, certificate and state do not belong together"
            )
        return header.hash

    # -- what is committed ------------------------------------------------------------------

    @property
    def height(self) -> Height:
        """Of the newest block; 0 before the first."""
        return self._height

    @property
    def base(self) -> Height:
        """Height of the state that this store began with: 0, or that of a snapshot.

        Of the heights below it there is no block, and headers only where members changed.
        """
        return self._base

    @property
    def state_root(self) -> Hash32:
        """State-tree root after the newest block."""
        return self._state_root

    def header(self, height: int) -> Header | None:
        """The header of that height, or None."""
        certified = self._certified(height)
        return None if certified is None else certified.header

    def block(self, height: int) -> Block | None:
        """The block of that height, or None."""
        stored = self._storage.get(layout.BLOCK + height_bytes(height))
        return None if stored is None else Block.decode(stored)

    def certificate(self, height: int) -> QuorumCertificate | None:
        """The certificate of that height, or None."""
        certified = self._certified(height)
        return None if certified is None else certified.certificate

    def certified_header(self, height: int) -> CertifiedHeader:
        """Header and certificate; raises HeightUnknown."""
        certified = self._certified(height)
        if certified is None:
            raise HeightUnknown(height, max(1, self._base), self._height)
        return certified

    def membership_changes(
        self, after: int, limit: int
    ) -> tuple[tuple[CertifiedHeader, Membership], ...]:
        """The first ``limit`` headers above ``after`` that change the membership, and to which."""
        first = layout.CHANGE + height_bytes(after + 1)
        found = islice(self._storage.scan(layout.CHANGE, first), limit)
        return tuple(
            (self.certified_header(int.from_bytes(key[1:], "big")), Membership.decode(value))
            for key, value in found
        )

    def receipts(self, height: int) -> tuple[Receipt, ...]:
        """What became of the block's transactions, in their order; empty if there is no block."""
        return tuple(Receipt.decode(row) for row in self.encoded_receipts(height))

    def receipt(self, height: int, index: int) -> Receipt:
        """What became of one transaction; ``executed`` says where it is."""
        return Receipt.decode(self.encoded_receipts(height)[index])

    def encoded_receipts(self, height: int) -> tuple[bytes, ...]:
        """The receipts' bytes, over which the header's receipt root is made."""
        # Clients ask for receipts of the newest blocks one by one: the last block is kept.
        kept = self._kept_receipts
        if kept[0] == height:
            return kept[1]
        stored = self._storage.get(layout.RECEIPTS + height_bytes(height))
        if stored is None:
            return ()
        encoded = decode_receipts(stored)
        self._kept_receipts = (height, encoded)
        return encoded

    def executed(self, transaction_id: bytes) -> tuple[Height, int] | None:
        """Height and index of a transaction; remembered for VALID_UNTIL_HEIGHTS_MAX heights."""
        stored = self.get(Column.EXECUTED, transaction_id)
        if stored is None:
            return None
        height, index = codec.array(codec.decode(stored, 32, "executed"), 2, "executed")
        return Height(codec.uint(height, "executed height")), codec.uint(index, "executed index")

    # -- state and proofs -------------------------------------------------------------------

    def get(self, column: Column, key: bytes) -> bytes | None:
        """The newest state's bytes under ``key``, or None."""
        with self._lock:
            if column not in _CACHED:
                return self._storage.get(place_of(column, key))
            name = COLUMN[column] + key
            if name in self._cache:
                self._cache.move_to_end(name)
                return self._cache[name]
            value = value_in(column, key, self._storage.get(place_of(column, key)))
            self._remember(name, value)
            return value

    def _remember(self, name: bytes, value: bytes | None) -> None:
        self._cache[name] = value
        self._cache.move_to_end(name)
        if len(self._cache) > CACHE_ENTRIES_MAX:
            self._cache.popitem(last=False)

    def state_at(self, height: int) -> StateReader:
        """The state after the block of ``height``; raises StateTooOld.

        It stays right while further blocks are committed, for PROOF_HEIGHTS heights. It has what
        proofs need, VALUE and PAGE; a log's count in VALUE says which entries it had.
        """
        with self._lock:
            self._check_kept(height)
            return _PastState(self, height)

    def _check_kept(self, height: int) -> None:
        oldest = max(self._base, self._height - PROOF_HEIGHTS + 1)
        if not oldest <= height <= self._height:
            raise StateTooOld(height, oldest, self._height)

    def log_entries(self, log: bytes, start: int, stop: int) -> Iterator[bytes]:
        """Entries ``start`` to ``stop`` - 1 of the log with that state key.

        ``stop`` is at most the log's count; raises StateDamaged at an entry that is missing.
        """
        for index in range(start, stop):
            entry = self.get(Column.LOG, log + index.to_bytes(8, "big"))
            if entry is None:
                raise StateDamaged("log", f"entry {index} is missing")
            yield entry

    def prove_state(
        self, key: bytes, height: int | None = None
    ) -> tuple[CertifiedHeader, bytes | None, StateProof]:
        """The value of a state key, or its absence, with its proof under a certified header.

        ``height`` None is the newest. Raises HeightUnknown or StateTooOld.
        """
        with self._lock:
            at = self._height if height is None else height
            certified = self.certified_header(at)
            reader = self.state_at(at)
            return certified, reader.get(Column.VALUE, key), state_tree.prove(reader, key)

    # -- commit -----------------------------------------------------------------------------

    def commit(self, block: Block, certificate: QuorumCertificate, result: BlockResult) -> None:
        """Block, certificate, receipts, state, undo, ids and height in one synced batch (L3).

        The caller has verified the certificate and executed the block. Raises WrongCommit.
        """
        self._check_follows(block, certificate, result)
        height = block.header.height
        at = height_bytes(height)
        receipts = [receipt.encode() for receipt in result.receipts]
        batch = [
            Put(layout.BLOCK + at, block.encoded),
            Put(layout.CERTIFIED + at, CertifiedHeader(block.header, certificate).encode()),
            Put(layout.RECEIPTS + at, codec.encode(receipts)),
            Put(layout.UNDO + at, _encode_undo(self._overwritten(result.writes))),
            *puts(result.writes),
            *self._expired(height),
            *_membership_change(block.header, result),
            self._newest(height, result.state_root),
        ]
        with self._lock:
            self._storage.write(batch)
            for column, key, value in result.writes:
                if column in _CACHED:
                    self._remember(COLUMN[column] + key, value)
            self._height, self._state_root = height, result.state_root
            self._parent = block.hash
        self.snapshots.committed(CertifiedHeader(block.header, certificate))

    def pending_evidence(self) -> tuple[Evidence, ...]:
        """Double votes that were seen here and are not on the chain yet."""
        return tuple(Evidence.decode(value) for _, value in self._storage.scan(layout.EVIDENCE))

    def keep_evidence(self, evidence: Evidence) -> None:
        """Durable when it returns; one for each key."""
        self._storage.write([Put(layout.EVIDENCE + evidence.key_id, evidence.encode())])

    def drop_evidence(self, key_id: KeyId) -> None:
        """It is on the chain, or can never be."""
        self._storage.write([Put(layout.EVIDENCE + key_id, None)])

    def _check_follows(
        self, block: Block, certificate: QuorumCertificate, result: BlockResult
    ) -> None:
        header = block.header
        wrong = ""
        if header.height != self._height + 1:
            wrong = f"the next height is {self._height + 1}"
        elif header.chain_id != self._chain_id:
            wrong = "it belongs to another chain"
        elif header.parent != self._parent:
            wrong = "its parent is not the newest block"
        elif (certificate.height, certificate.block_hash) != (header.height, header.hash):
            wrong = "the certificate is for another block"
        elif header.state_root != result.state_root:
            wrong = "execution gave another state root"
        elif header.next_membership != result.voters.membership.hash:
            wrong = "execution gave another membership"
        elif len(result.receipts) != len(block.transactions):
            wrong = "there are not as many receipts as transactions"
        if wrong:
            raise WrongCommit(header.height, wrong)

    def _overwritten(self, writes: Sequence[Write]) -> Overwritten:
        return {
            place_of(column, key): stored_form(column, key, self.get(column, key))
            for column, key, _ in writes
            if column in _PROVED
        }

    def _expired(self, height: int) -> Iterator[Put]:
        """Deletions of what ``height`` makes superfluous: one old undo, ids too old to replay."""
        # The state of PROOF_HEIGHTS heights needs the undo of all of them but the oldest.
        undo = height - PROOF_HEIGHTS + 1
        if undo > 0:
            yield Put(layout.UNDO + height_bytes(undo), None)
        ids = height - VALID_UNTIL_HEIGHTS_MAX - 1
        if ids > 0:
            for receipt in self.receipts(ids):
                yield Put(COLUMN[Column.EXECUTED] + receipt.transaction_id, None)

    def _newest(self, height: Height, root: Hash32) -> Put:
        return layout.Newest(self._chain_id, self._base, height, root).put

    def _certified(self, height: int) -> CertifiedHeader | None:
        stored = self._storage.get(layout.CERTIFIED + height_bytes(height))
        return None if stored is None else CertifiedHeader.decode(stored)

    def _undo(self, height: int) -> Overwritten:
        stored = self._storage.get(layout.UNDO + height_bytes(height))
        if stored is None:
            raise StateDamaged(f"block {height}", "what it overwrote is not kept")
        return _decode_undo(stored)


class _PastState:
    """The state after one height: the newest state under the values overwritten since."""

    def __init__(self, store: LedgerStore, height: int) -> None:
        self._store = store
        self._height = height
        self._seen = height
        self._overwritten: Overwritten = {}

    def get(self, column: Column, key: bytes) -> bytes | None:
        """The bytes under ``key`` then, or None.

        Raises StateTooOld once it is not kept, WrongCall for columns that are not.
        """
        if column not in _PROVED:
            raise WrongCall(f"state of a past height: column {column.name} is not kept")
        with self._store._lock:
            while self._seen < self._store.height:
                self._store._check_kept(self._height)
                self._seen += 1
                for place, value in self._store._undo(self._seen).items():
                    # The block that overwrote it first after this height knows its value then.
                    self._overwritten.setdefault(place, value)
            place = place_of(column, key)
            if place in self._overwritten:
                return value_in(column, key, self._overwritten[place])
            return self._store.get(column, key)


def _membership_change(header: Header, result: BlockResult) -> Iterator[Put]:
    if header.next_membership != header.membership:
        at = layout.CHANGE + height_bytes(header.height)
        yield Put(at, result.voters.membership.encode())


def _encode_undo(overwritten: Overwritten) -> bytes:
    """For each key: its length (2 bytes), the value's (4; all ones if absent), key, value."""
    parts = []
    for key, value in overwritten.items():
        size = _ABSENT if value is None else len(value)
        parts += [len(key).to_bytes(2, "big"), size.to_bytes(4, "big"), key, value or b""]
    return b"".join(parts)


def _decode_undo(data: bytes) -> Overwritten:
    overwritten: Overwritten = {}
    offset = 0
    while offset < len(data):
        start = offset + 6
        middle = start + int.from_bytes(data[offset : offset + 2], "big")
        size = int.from_bytes(data[offset + 2 : start], "big")
        offset = middle if size == _ABSENT else middle + size
        if data[start:middle] in overwritten:
            raise StateDamaged("undo", "a key occurs twice")
        overwritten[data[start:middle]] = None if size == _ABSENT else data[middle:offset]
    if offset != len(data):
        raise StateDamaged("undo", "a record is cut off")
    return overwritten
