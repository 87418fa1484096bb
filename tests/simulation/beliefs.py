"""What a correct validator acts upon must hold by the protocol's text, whoever told it so."""

from collections.abc import Collection

from ledger.consensus.messages import Commit, Message, Prepare, PrePrepare
from ledger.consensus.replica import Replica
from ledger.primitives import Hash32
from tests.simulation import oracle
from tests.simulation.violation import Violation


class BeliefJudge:
    """Looks into correct replicas after each of their turns, and at each of their votes."""

    def __init__(self, law: oracle.Law) -> None:
        self._law = law
        self._highest_view = 0
        """Of all correct validators so far."""
        self._held: dict[tuple[int, str], object] = {}
        """What each node held last, and was found to be without flaw."""
        self._counted: dict[tuple[int, int, str, int, int], Hash32] = {}
        """The first vote that a node counted for (height, kind, signer, view)."""

    def restarted(self, node: int) -> None:
        """A new process holds what its disk says, and counts votes anew."""
        for key in [key for key in self._counted if key[0] == node]:
            del self._counted[key]

    def turned(self, node: int, replica: Replica, doubtful: Collection[int]) -> None:
        """After a turn; ``doubtful`` are indexes of those that may vote twice."""
        self._check_view(node, replica)
        this_height = replica._round
        for name, held, flaw in (
            ("NEW-VIEW", replica.new_view, self._law.new_view_flaw),
            ("prepared certificate", this_height.prepared, self._law.prepared_flaw),
            ("proposal", this_height.proposal, self._law.proposal_flaw),
        ):
            if held is not None and self._held.get((node, name)) is not held:
                self._held[node, name] = held
                self._refuse(node, name, flaw(held))  # type: ignore[operator]  # each its own
        for signer, change in replica._view_changes._by_signer.items():
            name = f"view-change of {signer}"
            # Who votes above its own height it cannot know: that is judged when it is there.
            known = change.height <= replica.height and change.height in self._law.voting
            if known and self._held.get((node, name)) is not change:
                self._held[node, name] = change
                self._refuse(node, name, self._law.view_change_flaw(change))
        for kind, book in (("PREPARE", this_height.prepares), ("COMMIT", this_height.commits)):
            for signer in doubtful:
                for view, vote in book._by_signer.get(signer, {}).items():
                    place = (node, replica.height, kind, signer, view)
                    if self._counted.setdefault(place, vote.block_hash) != vote.block_hash:
                        raise Violation("B4", f"validator {node} counts a second {kind}")

    @staticmethod
    def _refuse(node: int, name: str, wrong: str) -> None:
        if wrong:
            raise Violation("I6", f"validator {node} believes a {name}: {wrong}")

    def _check_view(self, node: int, replica: Replica) -> None:
        """V1: nobody leaves for a view that no correct one wants, nor stays behind f+1."""
        if replica.view > self._highest_view + 1:
            what = f"validator {node} went to view {replica.view}"
            raise Violation("V1", f"{what}, no correct one was above {self._highest_view}")
        self._highest_view = max(self._highest_view, replica.view)
        n = replica._membership.n
        others = replica._view_changes.views_of_others(replica._index)
        ahead = sum(view > replica.view for view in others)
        if replica._index is not None and ahead > oracle.faults_tolerated(n):
            raise Violation("V1", f"validator {node} knows {ahead} of {n} ahead and does not join")

    def sent(self, node: int, message: Message, replica: Replica) -> None:
        """I10: a vote belongs to the view that its validator has entered, and no other."""
        if isinstance(message, PrePrepare | Prepare | Commit) and not (
            replica.entered and replica.view == message.view
        ):
            place = f"{type(message).__name__} in view {message.view}"
            raise Violation("I10", f"validator {node} sent a {place} without having entered it")
