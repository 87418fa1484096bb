"""Counting votes of one kind at one height, bounded for each signer."""

from typing import Generic, TypeVar

from ledger.consensus.messages import Commit, Prepare
from ledger.primitives import Hash32, View

VIEWS_PER_SIGNER = 2
"""A signer's two highest views are kept: the current one, and the next if it is ahead."""

VoteT = TypeVar("VoteT", Prepare, Commit)


class VoteBook(Generic[VoteT]):
    """At most one vote for each (signer, view): a second digest is returned, never counted."""

    def __init__(self) -> None:
        self._by_signer: dict[int, dict[View, VoteT]] = {}

    def add(self, vote: VoteT) -> VoteT | None:
        """Keeps ``vote``; returns the signer's earlier vote if it has another digest."""
        views = self._by_signer.setdefault(vote.signer, {})
        earlier = views.get(vote.view)
        if earlier is not None:
            return earlier if earlier.block_hash != vote.block_hash else None
        views[vote.view] = vote
        if len(views) > VIEWS_PER_SIGNER:
            del views[min(views)]
        return None

    def has(self, vote: VoteT) -> bool:
        """Whether that signer's vote for the same block in the same view is kept."""
        kept = self._by_signer.get(vote.signer, {}).get(vote.view)
        return kept is not None and kept.block_hash == vote.block_hash

    def matching(self, view: View, block_hash: Hash32) -> list[VoteT]:
        """Votes for that block in that view, by rising signer."""
        return [
            views[view]
            for _, views in sorted(self._by_signer.items())
            if view in views and views[view].block_hash == block_hash
        ]

    def decided(self, quorum: int) -> tuple[View, Hash32] | None:
        """A (view, block) with at least ``quorum`` votes; the highest view first."""
        counts: dict[tuple[View, Hash32], int] = {}
        for views in self._by_signer.values():
            for vote in views.values():
                key = (vote.view, vote.block_hash)
                counts[key] = counts.get(key, 0) + 1
        reached = [key for key, count in counts.items() if count >= quorum]
        return max(reached) if reached else None
