"""What a NEW-VIEW must propose, and which view to join: pure, recomputed by every replica."""

from collections.abc import Iterable, Sequence

from ledger.consensus.messages import NewView, PreparedCertificate, ViewChange
from ledger.primitives import Height, View


class ViewChanges:
    """The newest view-change of each signer, so bounded by the membership."""

    def __init__(self) -> None:
        self._by_signer: dict[int, ViewChange] = {}

    def is_newer(self, change: ViewChange) -> bool:
        """Whether ``change`` goes beyond what its signer said before: a higher view or height."""
        earlier = self._by_signer.get(change.signer)
        return earlier is None or (change.view, change.height) > (earlier.view, earlier.height)

    def conflicting(self, change: ViewChange) -> ViewChange | None:
        """What its signer said before for the same view and height, if it was something else."""
        earlier = self._by_signer.get(change.signer)
        if earlier is None or (change.view, change.height) != (earlier.view, earlier.height):
            return None
        return earlier if earlier.content() != change.content() else None

    def tells_news(self, change: ViewChange) -> bool:
        """Whether it goes beyond what its signer said before, or contradicts it."""
        return self.is_newer(change) or self.conflicting(change) is not None

    def add(self, change: ViewChange) -> None:
        """Replaces what its signer said before."""
        self._by_signer[change.signer] = change

    def views_of_others(self, own: int | None) -> list[View]:
        """The views that all signers but ``own`` want."""
        return [change.view for signer, change in self._by_signer.items() if signer != own]

    def at_least(self, view: View) -> int:
        """How many signers want ``view`` or a higher one."""
        return sum(change.view >= view for change in self._by_signer.values())

    def quorum_for(self, view: View, quorum: int) -> list[ViewChange]:
        """At most ``quorum`` for exactly ``view``: those of the highest heights, by signer."""
        changes = [change for change in self._by_signer.values() if change.view == view]
        changes.sort(key=lambda change: (-change.height, change.signer))
        return sorted(changes[:quorum], key=lambda change: change.signer)

    def forget_below(self, view: View) -> None:
        """Drops those for lower views."""
        for signer in [s for s, change in self._by_signer.items() if change.view < view]:
            del self._by_signer[signer]


def target_height(view_changes: Sequence[ViewChange]) -> Height:
    """The highest height among the view-changes; its certificate is in one of them."""
    return max(change.height for change in view_changes)


def required_block(view_changes: Sequence[ViewChange]) -> PreparedCertificate | None:
    """The prepared certificate with the highest view among those of the highest height.

    A block that was committed anywhere was prepared by a quorum, so each quorum of
    view-changes holds its certificate, and a later view never has another (SAFE-1).
    """
    height = target_height(view_changes)
    prepared = [
        change.prepared
        for change in view_changes
        if change.height == height and change.prepared is not None
    ]
    return max(prepared, key=lambda proof: proof.view, default=None)


def proposal_follows(message: NewView) -> bool:
    """Whether the proposal of a NEW-VIEW is the one that its view-changes require."""
    if message.proposal.height != target_height(message.view_changes):
        return False
    required = required_block(message.view_changes)
    return required is None or required.block_hash == message.proposal.block.hash


def view_to_join(current: View, wanted: Iterable[View], witness: int) -> View | None:
    """The lowest of f+1 or more distinct validators' higher views, or None (besu #1822).

    Among f+1 one is correct, so a single liar cannot push anyone (FISCO #2211).
    """
    higher = sorted(view for view in wanted if view > current)
    return higher[0] if len(higher) >= witness else None
