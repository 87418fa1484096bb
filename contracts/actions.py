"""What every contract is made of: named, typed actions, called the same way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from contracts.authority import may_call
from contracts.lookup import find_member
from ledger.codec import Value
from ledger.contract_api import CallContext, Refused, StateView
from ledger.errors import PeerFault


class Action(Protocol):
    """One thing that a contract can be asked to do; a frozen value of its arguments."""

    @classmethod
    def parse(cls, args: tuple[Value, ...]) -> Self:
        """The action, from untrusted arguments; raises only PeerFault."""

    def apply(self, context: CallContext, state: StateView) -> tuple[Value, ...]:
        """Checks, then writes; returns the receipt's fields or raises Refused."""


@dataclass(frozen=True, slots=True)
class ActionContract:
    """A contract: its name, and its actions by name."""

    name: str
    actions: Mapping[str, type[Action]]

    def call(
        self, action: str, args: tuple[Value, ...], context: CallContext, state: StateView
    ) -> tuple[Value, ...]:
        """Runs one action, after these checks, each with its own code:

        a) the action exists: ``<contract>/unknown-action``
        b) the signer may call it: ``<contract>/not-permitted``
        c) the arguments are exactly its arguments: ``<contract>/bad-arguments``
        """
        kind = self.actions.get(action)
        if kind is None:
            raise Refused(f"{self.name}/unknown-action")
        member = find_member(state, context.signer.member)
        if member is None or not may_call(self.name, action, member.kind, context.signer.roles):
            raise Refused(f"{self.name}/not-permitted")
        try:
            parsed = kind.parse(args)
        except PeerFault:
            # The error's text may quote what was sent; the receipt stays free of it (P1).
            raise Refused(f"{self.name}/bad-arguments") from None
        return parsed.apply(context, state)
