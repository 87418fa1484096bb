"""The error tree: whose fault, what, where. Texts are built once, from typed fields.

- ``CallerBug``: our own code called in the wrong order or with the wrong thing. Never caught.
- ``PeerFault``: bytes that another party made break the protocol. Refuse them, blame the party.
- ``WorldFault``: disk, network or configuration. Says what to do next.

Subclasses are dataclasses; ``template`` names their fields. No field may hold patient data.
"""

from dataclasses import dataclass, fields
from typing import ClassVar


class LedgerError(Exception):
    """Base of every error that is expected in operation; any other exception is a bug."""

    template: ClassVar[str] = "{0}"

    def field_values(self) -> dict[str, object]:
        """The typed fields, by name; tests compare these and never the text."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]  # subclasses are dataclasses

    def __str__(self) -> str:
        shown = {
            name: value.hex()[:16] if isinstance(value, bytes) else value
            for name, value in self.field_values().items()
        }
        return self.template.format(**shown)


class CallerBug(LedgerError):
    """This program used an interface wrongly."""


class PeerFault(LedgerError):
    """Another party sent something that the protocol forbids."""


class WorldFault(LedgerError):
    """The disk, the network or the configuration is not as it must be."""


@dataclass(eq=False)
class WrongCall(CallerBug):
    """A function was called in a state or with a value that its caller must exclude."""

    what: str
    template = "{what}"


@dataclass(eq=False)
class OutOfRange(PeerFault):
    """A value is outside the range of its type."""

    type_name: str
    found: str
    template = "{type_name}: {found} is out of range"


@dataclass(eq=False)
class NotCanonical(PeerFault):
    """Bytes are not the one canonical encoding of what they claim to be."""

    what: str
    reason: str
    template = "{what}: not canonical: {reason}"


@dataclass(eq=False)
class TooLarge(PeerFault):
    """Something exceeds its limit; checked before anything is allocated."""

    what: str
    size: int
    limit: int
    template = "{what}: {size} exceeds the limit of {limit}"


@dataclass(eq=False)
class BadSignature(PeerFault):
    """A signature does not verify under the key that it names."""

    what: str
    template = "{what}: the signature does not verify"


@dataclass(eq=False)
class ProofInvalid(PeerFault):
    """A proof does not lead to the root that it was checked against."""

    what: str
    reason: str
    template = "{what}: {reason}"


@dataclass(eq=False)
class StateDamaged(WorldFault):
    """Two parts of this node's own stored state contradict each other."""

    what: str
    reason: str
    template = (
        "stored state: {what}: {reason}; stop this node, move its store away, "
        "and let it catch up from its peers"
    )
