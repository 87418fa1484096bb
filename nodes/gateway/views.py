"""What each view of a record shows, as data with a version. Pure.

``clinical`` shows all. ``deidentified`` shows all of the de-identified record, which has a
commitment of its own. ``resident`` hides the details of medication: of records about medication
only the elements listed here are shown, and elsewhere whatever may quote a medicine is hidden.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ledger.errors import CallerBug
from nodes.gateway.fhir_types import words

VIEW_VERSIONS = {"clinical": 1, "deidentified": 1, "resident": 1}
"""Raised whenever a view shows other paths."""

_MEDICATION_KINDS = frozenset(
    {
        "Medication",
        "MedicationAdministration",
        "MedicationDispense",
        "MedicationKnowledge",
        "MedicationRequest",
        "MedicationStatement",
    }
)
_MEDICATION_SHOWN = words(
    """
    resourceType status statusReason intent category priority doNotPerform reportedBoolean
    authoredOn dateAsserted effectiveDateTime effectivePeriod whenPrepared whenHandedOver subject
    patient encounter context requester performer recorder courseOfTherapyType
    """
)
"""Top-level elements of a medication record that a resident sees."""

_QUOTING = words(
    """
    contained dosage dosageInstruction prescription originalPrescription dailyAmount
    productReference productCodeableConcept usedReference usedCode ingredient
    """
)
"""Elements that hold or quote a medicine wherever they stand."""
_QUOTING_IN_KIND = {
    "Claim": frozenset({"productOrService", "detail", "procedure", "supportingInfo"}),
    "ExplanationOfBenefit": frozenset(
        {"productOrService", "detail", "procedure", "supportingInfo", "addItem"}
    ),
    "CarePlan": frozenset({"outcomeReference", "reference"}),
    "List": frozenset({"item"}),
    "Composition": frozenset({"entry"}),
}
"""Elements that quote a medicine in records of one kind: a pharmacy's claim, say."""

_PEOPLE = words(
    """
    subject patient performer requester recorder asserter participant serviceProvider provider
    author custodian
    """
)
"""Elements whose references are to people and organisations; their display is shown."""

_NAME = re.compile(rb"/([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(eq=False)
class UnknownView(CallerBug):
    """A view was asked for that this gateway does not have."""

    view: str
    template = "view {view}: it is none of those this gateway has; check before asking"


def shown_paths(view: str, kind: str) -> Callable[[bytes], bool]:
    """Whether a path is shown, for one view and one kind of record.

    Raises UnknownView for a name that is not in VIEW_VERSIONS.
    """
    if view not in VIEW_VERSIONS:
        raise UnknownView(view)
    if view != "resident":
        return lambda _path: True
    if kind in _MEDICATION_KINDS:
        return _is_medication_summary
    hidden = _QUOTING | _QUOTING_IN_KIND.get(kind, frozenset())
    return lambda path: not _quotes(_names(path), hidden)


def _names(path: bytes) -> list[str]:
    return [name.decode() for name in _NAME.findall(path)]


def _quotes(names: list[str], hidden: frozenset[str]) -> bool:
    if any(name in hidden or name.startswith("medication") for name in names):
        return True
    # The display of a reference quotes what it refers to, which may be a medication.
    return names[-1:] == ["display"] and "coding" not in names and names[0] not in _PEOPLE


def _is_medication_summary(path: bytes) -> bool:
    names = _names(path)
    # A display text may quote the medicine; so may text and extensions inside what is shown.
    return names[0] in _MEDICATION_SHOWN and not {"display", "text", "extension"} & set(names)
