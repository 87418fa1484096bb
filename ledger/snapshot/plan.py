"""Which part of a snapshot is asked of whom, and what comes back to be asked again.

One request at a time is under way to each peer. What a peer leaves out, or does not answer in
time, is asked of whoever is free. The newest tasks go first, so that few wait.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ledger.errors import NotCanonical
from ledger.primitives import ZERO_HASH, Hash32, MemberId
from ledger.snapshot.check import Task
from ledger.snapshot.messages import ITEMS_PER_REQUEST, ChunksRequest

REQUEST_TIMEOUT_MS = 4_000
"""More than a slow line needs for one answer."""
SILENT_MAX = 3
"""Requests in a row without an answer, after which a peer is not asked any more."""


@dataclass(slots=True)
class _Provider:
    """A peer that offers this snapshot."""

    asked: tuple[Task, ...] = ()
    request: Hash32 = ZERO_HASH
    due_ms: int = 0
    unanswered: int = 0


@dataclass(slots=True)
class FetchPlan:
    """What is to be fetched of one snapshot, and from whom."""

    snapshot: Hash32
    """Hash of its header."""
    known: Callable[[Task], Sequence[Task] | None]
    """Tasks below one whose content is here already; None where it is not."""
    _waiting: list[Task] = field(default_factory=list)
    _providers: dict[MemberId, _Provider] = field(default_factory=dict)

    def add(self, tasks: Iterable[Task]) -> None:
        """Tasks to be done, unless their content is here already."""
        found = list(tasks)
        while found:
            task = found.pop()
            below = self.known(task)
            if below is None:
                self._waiting.append(task)
            else:
                found.extend(below)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to fetch."""
        return not self._waiting and not any(p.asked for p in self._providers.values())

    @property
    def providers(self) -> frozenset[MemberId]:
        """Peers that are asked."""
        return frozenset(self._providers)

    def offered(self, peer: MemberId) -> None:
        """A peer has this snapshot."""
        self._providers.setdefault(peer, _Provider())

    def drop(self, peer: MemberId) -> None:
        """Asks nothing more of this peer; what it was asked for is asked of others."""
        provider = self._providers.pop(peer, None)
        if provider is not None:
            self._waiting.extend(provider.asked)

    def requests(self, now_ms: int) -> list[tuple[MemberId, ChunksRequest]]:
        """What to ask now, of each peer that has nothing to answer; shared out evenly."""
        free = [peer for peer, provider in sorted(self._providers.items()) if not provider.asked]
        made = []
        for left, peer in zip(range(len(free), 0, -1), free, strict=True):
            share = min(ITEMS_PER_REQUEST, -(-len(self._waiting) // left))
            if not share:
                break
            tasks = tuple(reversed(self._waiting[-share:]))
            del self._waiting[-share:]
            request = ChunksRequest(self.snapshot, tuple(task.item for task in tasks))
            provider = self._providers[peer]
            provider.asked, provider.request = tasks, request.id
            provider.due_ms = now_ms + REQUEST_TIMEOUT_MS
            made.append((peer, request))
        return made

    def answered(self, peer: MemberId, request: Hash32, chunks: int) -> tuple[Task, ...] | None:
        """The tasks that the first ``chunks`` chunks of an answer are for; the rest wait again.

        None for an answer to something else, such as a request from before a crash: that is no
        fault. Raises NotCanonical for more chunks than were asked for.
        """
        provider = self._providers.get(peer)
        if provider is None or not provider.asked or provider.request != request:
            return None
        asked, provider.asked, provider.unanswered = provider.asked, (), 0
        if chunks > len(asked):
            self._waiting.extend(asked)
            raise NotCanonical("chunks answer", "more chunks than were asked for")
        self._waiting.extend(reversed(asked[chunks:]))
        return asked[:chunks]

    def give_up(self, now_ms: int) -> list[MemberId]:
        """Takes back what was not answered in time; the peers that are dropped for it."""
        silent = []
        for peer, provider in list(self._providers.items()):
            if provider.asked and provider.due_ms <= now_ms:
                self._waiting.extend(provider.asked)
                provider.asked = ()
                provider.unanswered += 1
                if provider.unanswered == SILENT_MAX:
                    del self._providers[peer]
                    silent.append(peer)
        return silent

    def idle_ms(self, now_ms: int) -> int | None:
        """Milliseconds until a request is overdue; None while none is under way."""
        due = [provider.due_ms for provider in self._providers.values() if provider.asked]
        return max(0, min(due) - now_ms) if due else None
