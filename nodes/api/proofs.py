"""Makes the proof bundles of the specification from the committed chain."""

from collections import OrderedDict

from ledger.contract_api import Column
from ledger.light.bundles import LOG_ENTRIES_MAX, LogBundle, LogEntryBundle, StateBundle
from ledger.merkle.log_tree import inclusion_path, leaf_hash
from ledger.primitives import Hash32
from ledger.types.entries import LogRoot
from nodes.api.facade import ReadableStore
from nodes.api.http import Problem

_CACHED_LOGS = 64
"""Logs whose leaf hashes are kept; release logs are read entry by entry."""
_CACHED_LEAVES_MAX = 100_000
"""Longer logs are hashed again for each proof."""


class ProofMaker:
    """Bundles at the newest height."""

    def __init__(self, store: ReadableStore) -> None:
        self._store = store
        self._leaves: OrderedDict[bytes, list[Hash32]] = OrderedDict()

    def state(self, key: bytes) -> bytes:
        """The ``state`` bundle of a key, present or absent."""
        self.require_block()
        certified, value, proof = self._store.prove_state(key)
        return StateBundle(certified, key, value, proof).encode()

    def log(self, key: bytes) -> bytes:
        """The ``log`` bundle: every entry, so that nothing can be left out."""
        self.require_block()
        certified, value, proof = self._store.prove_state(key)
        count = 0 if value is None else LogRoot.decode(value).count
        if count > LOG_ENTRIES_MAX:
            raise Problem(413, "log/too-long", f"{count} entries, {LOG_ENTRIES_MAX} fit an answer")
        entries = tuple(self._store.log_entries(key, 0, count))
        return LogBundle(StateBundle(certified, key, value, proof), entries).encode()

    def log_entry(self, key: bytes, index: int) -> bytes:
        """The ``log-entry`` bundle of one entry."""
        self.require_block()
        certified, value, proof = self._store.prove_state(key)
        count = 0 if value is None else LogRoot.decode(value).count
        if value is None or index >= count:
            raise Problem(404, "log/no-such-entry", f"the log has {count} entries")
        entry = next(iter(self._store.log_entries(key, index, index + 1)))
        path = inclusion_path(self._leaf_hashes(key, count), index)
        state = StateBundle(certified, key, value, proof)
        return LogEntryBundle(state, index, entry, path).encode()

    def is_log(self, key: bytes) -> bool:
        """Whether the key is that of a log which has entries."""
        return self._store.get(Column.FRONTIER, key) is not None

    def _leaf_hashes(self, key: bytes, count: int) -> list[Hash32]:
        """Leaf hashes of the first ``count`` entries; entries never change, so they are kept."""
        known = self._leaves.pop(key, [])
        known.extend(map(leaf_hash, self._store.log_entries(key, len(known), count)))
        if len(known) <= _CACHED_LEAVES_MAX:
            self._leaves[key] = known
            if len(self._leaves) > _CACHED_LOGS:
                self._leaves.popitem(last=False)
        return known[:count]

    def require_block(self) -> None:
        """Raises a 503 problem before the first block: nothing can be proved yet."""
        if self._store.height == 0:
            raise Problem(503, "chain/no-block-yet", "no block is committed yet; try again", 1)
