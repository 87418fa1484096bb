"""Which snapshots there are, and which is tried: only certified headers count, never a claim."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger.light.bundles import MembershipChange
from ledger.light.trust import TrustedChain, advance, follow
from ledger.primitives import Hash32, Height, MemberId
from ledger.snapshot.messages import SnapshotOffer
from ledger.types.certificate import CertifiedHeader


@dataclass(slots=True)
class Offers:
    """What peers offer. Verified from the genesis document on."""

    trusted: list[TrustedChain]
    """Genesis, then the chain after each membership change."""
    changes: list[MembershipChange] = field(default_factory=list)
    _headers: dict[Hash32, CertifiedHeader] = field(default_factory=dict)
    _of: dict[MemberId, tuple[Hash32, ...]] = field(default_factory=dict)
    _tries: Counter[Hash32] = field(default_factory=Counter)

    @property
    def known(self) -> Height:
        """Membership changes up to this height are known."""
        return self.trusted[-1].height

    @property
    def heard(self) -> frozenset[MemberId]:
        """Peers that have said what they have, also those that have nothing."""
        return frozenset(self._of)

    def has_none(self, peer: MemberId) -> None:
        """A peer is itself without a chain."""
        self._of[peer] = ()

    def take(self, peer: MemberId, untrusted: SnapshotOffer) -> None:
        """Replaces what ``peer`` offered before; raises PeerFault where it is not certified."""
        self._of.pop(peer, None)
        for change in untrusted.changes:
            if change.certified.header.height > self.known:
                self.trusted.append(follow(self.trusted[-1], [change]))
                self.changes.append(change)
        for certified in untrusted.headers:
            if self._headers.get(certified.header.hash) != certified:
                self._verify(certified)
                self._headers[certified.header.hash] = certified
        self._of[peer] = tuple(certified.header.hash for certified in untrusted.headers)

    def _verify(self, untrusted: CertifiedHeader) -> None:
        height = untrusted.header.height
        below = [trusted for trusted in self.trusted if trusted.height <= height]
        advance(below[-1], (), untrusted)

    def forget(self, peer: MemberId) -> None:
        """Nothing that this peer offers is considered any more."""
        self._of.pop(peer, None)

    def peers_of(self, header_hash: Hash32) -> Sequence[MemberId]:
        """Who offers that snapshot now."""
        return [peer for peer, hashes in sorted(self._of.items()) if header_hash in hashes]

    def best(self, heights_min: int) -> CertifiedHeader | None:
        """The snapshot to try: tried least often, then offered by most, then the newest.

        A single peer cannot make itself the only one to be asked again and again.
        """
        offered = Counter(each for hashes in self._of.values() for each in set(hashes))
        chosen = [self._headers[each] for each in offered]
        return max(
            (each for each in chosen if each.header.height >= heights_min),
            key=lambda each: (
                -self._tries[each.header.hash],
                offered[each.header.hash],
                each.header.height,
            ),
            default=None,
        )

    def tried(self, header_hash: Hash32) -> None:
        """A snapshot is being tried."""
        self._tries[header_hash] += 1
