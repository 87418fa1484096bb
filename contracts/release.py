"""Release: de-identified roots, published in batches that hide which patient each is of.

The chain checks the size and the order of a batch. That its roots come from as many different
patients is the publishing gateway's duty: a chain that could check it could link them (PRIV-2).
A root that was released before is not refused: to know it would take one state key for each
root. A repetition misleads nobody, because a vendor verifies one entry at one index.
"""

import itertools
from dataclasses import dataclass
from typing import Self

from contracts.actions import ActionContract
from contracts.lookup import find_parameters
from ledger import codec
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.errors import NotCanonical
from ledger.limits import ROOTS_PER_RELEASE_MAX
from ledger.primitives import Hash32
from ledger.types.entries import release_log

_WHAT = "release/publish"


@dataclass(frozen=True, slots=True)
class Publish:
    """One batch of this hospital's de-identified roots."""

    roots: tuple[Hash32, ...]

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """[[root, ...]], at most ROOTS_PER_RELEASE_MAX, strictly rising; raises PeerFault.

        The order of their bytes is the one order that tells nothing about their patients.
        """
        (roots,) = codec.array(args, 1, _WHAT)
        items = codec.array_up_to(roots, ROOTS_PER_RELEASE_MAX, _WHAT)
        checked = tuple(Hash32(codec.binary(root, _WHAT, Hash32.SIZE)) for root in items)
        if any(a >= b for a, b in itertools.pairwise(checked)):
            raise NotCanonical(_WHAT, "the roots are not strictly rising")
        return cls(checked)

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Appends the roots to the hospital's release log; returns (first index, count).

        Fewer than k roots are refused: ``release/too-few-roots`` with (found, k).
        """
        needed = find_parameters(state).release_patients_min
        if len(self.roots) < needed:
            raise Refused("release/too-few-roots", len(self.roots), needed)
        log = release_log(context.signer.member)
        first = state.log_count(log)
        for root in self.roots:
            state.append(log, root)
        return first, len(self.roots)


RELEASE = ActionContract("release", {"publish": Publish})
