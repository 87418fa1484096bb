"""Makes the proof bundles of the specification from the committed chain."""

from collections import OrderedDict
from collections.abc import Sequence

from ledger.contract_api import Column
from ledger.light.bundles import LOG_ENTRIES_MAX, LogBundle, LogEntriesBundle, StateBundle
from ledger.merkle.log_tree import leaf_hash, levels_of, path_in
from ledger.types.entries import LogRoot
from nodes.api.facade import ReadableStore
from nodes.api.http import Problem

Levels = tuple[Sequence[bytes], ...]
_CACHED_LOGS = 16
"""Logs whose trees are kept; release logs are read page by page."""
_CACHED_LEAVES_MAX = 100_000
"""Longer logs are hashed again for each proof."""


class ProofMaker:
    """Bundles at the newest height."""

    def __init__(self, store: ReadableStore) -> None:
        self._store = store
        self._levels: OrderedDict[bytes, Levels] = OrderedDict()

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
        return self._entries(key, [index]).entry(0).encode()

    def log_entries(self, key: bytes, indexes: Sequence[int]) -> bytes:
        """The ``log-entries`` bundle of some entries; ``indexes`` rise."""
        return self._entries(key, indexes).encode()

    def _entries(self, key: bytes, indexes: Sequence[int]) -> LogEntriesBundle:
        self.require_block()
        certified, value, proof = self._store.prove_state(key)
        count = 0 if value is None else LogRoot.decode(value).count
        if value is None or (indexes and indexes[-1] >= count):
            raise Problem(404, "log/no-such-entry", f"the log has {count} entries")
        levels = self._levels_of(key, count)
        items = tuple(
            (index, next(iter(self._store.log_entries(key, index, index + 1))), path)
            for index, path in ((index, path_in(levels, index)) for index in indexes)
        )
        return LogEntriesBundle(StateBundle(certified, key, value, proof), items)

    def is_log(self, key: bytes) -> bool:
        """Whether the key is that of a log which has entries."""
        return self._store.get(Column.FRONTIER, key) is not None

    def _levels_of(self, key: bytes, count: int) -> Levels:
        """The tree over the first ``count`` entries; entries never change, so leaves are kept."""
        known = self._levels.pop(key, ([],))
        if len(known[0]) != count:
            leaves = list(known[0])
            leaves.extend(map(leaf_hash, self._store.log_entries(key, len(leaves), count)))
            # A log only grows, but an answer for an older height may still be under way.
            known = levels_of(leaves[:count])
        if count <= _CACHED_LEAVES_MAX:
            self._levels[key] = known
            if len(self._levels) > _CACHED_LOGS:
                self._levels.popitem(last=False)
        return known

    def require_block(self) -> None:
        """Raises a 503 problem before the first block: nothing can be proved yet."""
        if self._store.height == 0:
            raise Problem(503, "chain/no-block-yet", "no block is committed yet; try again", 1)
