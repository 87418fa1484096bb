"""Who may call what: one table, one function. What is not in the table is refused."""

from collections.abc import Mapping, Set
from typing import TypeAlias

Caller: TypeAlias = tuple[str, str]
"""(kind of the signer's member, role of the signer's key)."""

_PATIENT_SIDE = frozenset({("hospital", "guardian"), ("hospital", "resident")})
"""Keys that act for a patient; each belongs to the hospital that bound it."""

AUTHORITY: Mapping[tuple[str, str], Set[Caller]] = {
    ("members", "bind_resident"): {("hospital", "registrar")},
    # Whose key it is, the contract asks.
    ("members", "end_resident_key"): {("hospital", "registrar")} | _PATIENT_SIDE,
    ("governance", "propose"): {("hospital", "administrator")},
    ("governance", "approve"): {("hospital", "administrator")},
    ("governance", "renew_key"): {("hospital", "administrator")},
    ("evidence", "report"): {("hospital", "validator")},
    ("index", "register"): {("hospital", "gateway")},
    ("index", "supersede"): {("hospital", "gateway")},
    ("index", "mark_entered_in_error"): {("hospital", "gateway")},
    ("release", "publish"): {("hospital", "gateway")},
    ("consent", "direct"): _PATIENT_SIDE,
    ("consent", "withdraw"): _PATIENT_SIDE,
    ("copy", "request"): _PATIENT_SIDE,
    ("copy", "decide"): {("hospital", "administrator")},
    ("access", "request"): {("hospital", "treating")} | _PATIENT_SIDE,
    ("access", "request_release"): {("vendor", "vendor-service")},
    # Whose permission it is, the contract asks.
    ("access", "revoke"): {
        ("hospital", "treating"),
        ("hospital", "administrator"),
        ("vendor", "vendor-service"),
    }
    | _PATIENT_SIDE,
    ("share", "create"): _PATIENT_SIDE,
    ("share", "end"): {("hospital", "administrator")} | _PATIENT_SIDE,
    ("share", "fail"): {("hospital", "gateway")},
    ("share", "open"): {("hospital", "gateway")},
    ("audit", "disclose"): {("hospital", "gateway")},
    ("audit", "disclose_release"): {("hospital", "gateway")},
}
"""(contract, action) -> callers, any of whom is enough."""


def may_call(contract: str, action: str, kind: str, roles: tuple[str, ...]) -> bool:
    """Whether a key with ``roles`` of a member of ``kind`` may call the action (K5)."""
    callers = AUTHORITY.get((contract, action), frozenset())
    return any((kind, role) in callers for role in roles)
