"""Permission certificates: what covered a disclosure that stands in a patient's access log.

The contract decides by more than the permission: by the key, the directives and the full copies of
that block. Of these the state holds only what they are now, so no certificate proves them.
"""

from dataclasses import dataclass

from ledger.errors import PeerFault
from ledger.light.bundles import StateBundle
from ledger.light.trust import TrustedChain
from ledger.light.verify import VerifiedValue, verify_state_bundle
from ledger.limits import PERMISSION_HEIGHTS
from ledger.primitives import PatientKey
from ledger.types.block import Header
from ledger.types.entries import Disclosed, Permission, permission_key
from ledger.types.residents import Share, share_key


@dataclass(eq=False)
class DisclosureNotCovered(PeerFault):
    """What the chain holds of a permission or share does not allow the disclosure under it."""

    height: int
    """Of the disclosure."""
    reason: str
    template = (
        "disclosure at height {height}: {reason}; report it to the consortium, and ask the "
        "hospital that released"
    )


@dataclass(frozen=True, slots=True)
class PermissionCertificate:
    """The permission or share that covered a disclosure, under a verified header."""

    granted: Permission | Share
    """As it is at ``header``; it may have ended since the disclosure."""
    header: Header


def grant_key(entry: Disclosed) -> bytes:
    """State key of the permission or share that an entry names."""
    return (share_key if entry.basis == "share" else permission_key)(entry.permission)


def verify_permission_certificate(
    trusted: TrustedChain,
    bundle: StateBundle,
    entry: Disclosed,
    patient: PatientKey,
    now_ms: int,
    max_age_ms: int,
) -> PermissionCertificate:
    """What covered ``entry``, which is one of ``patient``'s verified access log.

    Raises what ``verify_state_bundle`` and ``certificate_of`` raise.
    """
    found = verify_state_bundle(trusted, bundle, grant_key(entry), now_ms, max_age_ms)
    return certificate_of(found, entry, patient)


def certificate_of(
    found: VerifiedValue, entry: Disclosed, patient: PatientKey
) -> PermissionCertificate:
    """The same from the verified value of ``grant_key(entry)``.

    Raises DisclosureNotCovered, and NotCanonical, TooLarge or OutOfRange.
    """
    if found.value is None:
        raise DisclosureNotCovered(entry.height, "the chain holds nothing that it names")
    if entry.basis == "share":
        share = Share.decode(found.value)
        _check(entry, _against_share(share, entry, patient))
        return PermissionCertificate(share, found.header)
    permission = Permission.decode(found.value)
    _check(entry, _against_permission(permission, entry, patient))
    return PermissionCertificate(permission, found.header)


def _check(entry: Disclosed, against: str | None) -> None:
    if against is not None:
        raise DisclosureNotCovered(entry.height, against)


def _against_permission(
    permission: Permission, entry: Disclosed, patient: PatientKey
) -> str | None:
    if permission.patient != patient:
        return "the permission is not about this patient"
    if (permission.reader, permission.reader_member) != (entry.reader, entry.reader_member):
        return "the permission was given to another reader"
    if permission.view != entry.view:
        return "the permission is for another view"
    if permission.purpose != entry.purpose:
        return "the permission is for another purpose"
    # Who breaks the glass states the emergency in the permission.
    if entry.basis == "break-glass" and entry.purpose != "ETREAT":
        return "a break-glass without an emergency"
    # A revocation sets the last height below its own, and what its block disclosed before stands.
    if entry.height > permission.expires + 1:
        return "the permission had ended"
    if entry.height + PERMISSION_HEIGHTS < permission.expires:
        return "the permission was given later"
    return None


def _against_share(share: Share, entry: Disclosed, patient: PatientKey) -> str | None:
    if share.patient != patient:
        return "the share is of another patient"
    if share.creator != entry.reader:
        return "the share was made by another key"
    if share.holder != entry.holder or share.holder != entry.reader_member:
        return "the share is of another hospital"
    if share.view != entry.view:
        return "the share is of another view"
    if entry.purpose != "PATRQT":
        return "a share is opened at the patient's request only"
    if share.rows != entry.rows:
        return "the share is of other records"
    if entry.time_ms >= share.until_ms:
        return "the share had expired"
    return None
