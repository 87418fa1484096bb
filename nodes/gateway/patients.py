"""Who a record is about: references and identifiers become one identity per person. Pure.

A national identifier is the same everywhere; a hospital's own number is made unique by the name
of the hospital, because two hospitals may give the same number to different people.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ledger.primitives import MemberId
from nodes.gateway.fhir import Resource, Subject, patient_identifiers, patient_reference
from nodes.gateway.records import PatientIdentifier, Unusable

_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class IdentifierRules:
    """Which identifiers count, and whose the others are."""

    member: MemberId
    national_systems: tuple[str, ...]
    """Identifier systems that every hospital of the consortium accepts, best first."""

    def identity(self, system: str, value: str) -> PatientIdentifier:
        """What a patient key is made from, for one identifier of this hospital's patients."""
        if system in self.national_systems:
            return PatientIdentifier(system, value)
        return PatientIdentifier(f"urn:yilian:{self.member}:{_no_bar(system)}", value)

    def choose(self, identifiers: Sequence[PatientIdentifier]) -> PatientIdentifier | None:
        """The national identifier of a patient, else the hospital's first, else None.

        Raises Unusable (ambiguous-identifier) for two national ones of the same system.
        """
        for system in self.national_systems:
            values = {_plain(item.value) for item in identifiers if item.system == system}
            if len(values) > 1:
                raise Unusable("ambiguous-identifier")
            if values:
                return PatientIdentifier(system, values.pop())
        for item in identifiers:
            return self.identity(item.system, _plain(item.value))
        return None


def _no_bar(system: str) -> str:
    # The canonical form of an identifier separates system and value by a bar.
    return system.replace("%", "%25").replace("|", "%7C")


def _plain(value: str) -> str:
    return "".join(value.split()).upper()


class PatientIndex:
    """The Patients seen in a store, by everything that may refer to them.

    A name that two different people answer to is remembered as ambiguous, and never guessed.
    """

    def __init__(self, rules: IdentifierRules) -> None:
        self._rules = rules
        self._by_reference: dict[str, PatientIdentifier | None] = {}
        self._by_number: dict[tuple[str, str], PatientIdentifier | None] = {}

    def add(self, full_url: str, patient: Resource) -> None:
        """Remembers a Patient; raises Unusable where its identity is not certain."""
        identifiers = patient_identifiers(patient)
        identity = self._rules.choose(identifiers)
        if identity is None:
            identity = self._rules.identity("patient-id", str(patient["id"]))
        references = {f"Patient/{patient['id']}", f"urn:uuid:{patient['id']}"}
        if full_url:
            references.add(full_url)
        for reference in references:
            _remember(self._by_reference, reference, identity)
        for item in identifiers:
            number = _plain(item.value)
            _remember(self._by_number, (item.system, number), identity)
            _remember(self._by_number, ("", number), identity)

    def resolve(self, subject: Subject) -> PatientIdentifier:
        """The identity behind a record's subject.

        Raises Unusable: unknown-patient, ambiguous-patient.
        """
        if subject.identifier is not None:
            found = self._rules.choose([subject.identifier])
            if found is not None and found.system in self._rules.national_systems:
                return found
            system, number = subject.identifier.system, _plain(subject.identifier.value)
            return self._known(self._by_number, [(system, number)])
        names = [subject.reference]
        relative = patient_reference(subject.reference)
        if relative is not None:
            names.append(relative)
        return self._known(self._by_reference, names)

    def dicom(self, patient_id: str, issuer: str) -> PatientIdentifier:
        """The identity behind a PatientID: a FHIR Patient's that has this number, else itself.

        Raises Unusable: ambiguous-patient.
        """
        number = _plain(patient_id)
        for key in ((issuer, number), ("", number)):
            if key in self._by_number:
                return self._known(self._by_number, [key])
        return self._rules.identity(issuer or "patient-id", number)

    def _known(
        self, table: dict[_K, PatientIdentifier | None], names: Iterable[_K]
    ) -> PatientIdentifier:
        for name in names:
            if name in table:
                identity = table[name]
                if identity is None:
                    raise Unusable("ambiguous-patient")
                return identity
        raise Unusable("unknown-patient")


def _remember(
    table: dict[_K, PatientIdentifier | None], name: _K, identity: PatientIdentifier
) -> None:
    table[name] = identity if table.get(name, identity) == identity else None
