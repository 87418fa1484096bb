"""A dumb model of the contracts that the workloads call: dictionaries, and nothing of theirs."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from ledger.codec import Value
from ledger.crypto.keys import PublicKey
from ledger.types.evidence import Evidence

PERMISSION_HEIGHTS = 1_000


@dataclass(frozen=True)
class Call:
    """One transaction as the chain holds it."""

    id: bytes
    signer: bytes
    """Key id."""
    contract: str
    action: str
    args: tuple[Value, ...]
    code: str
    """Of its receipt."""
    fields: tuple[Value, ...]
    receipt: bytes


Answer = tuple[str, tuple[Value, ...]]


def accused_in(call: Call) -> bytes:
    """Key id of the validator whose double vote is reported."""
    encoded = call.args[0]
    assert isinstance(encoded, bytes)
    return Evidence.decode(encoded).key_id


@dataclass
class Row:
    """An entry of a patient's log that can be superseded."""

    member: str
    root: bytes
    changed: bool = False


@dataclass
class Grant:
    """A permission."""

    reader: bytes
    patient: bytes
    expires: int


class Model:
    """What each call must answer, in the order of the chain."""

    def __init__(self, users: Mapping[bytes, str], voters: Mapping[bytes, str]) -> None:
        """``users``: the member of each key id; ``voters``: that of each first consensus key."""
        self.users = users
        self.voters = dict(voters)
        self.accused: set[bytes] = set()
        """Key ids."""
        self.logs: dict[bytes, list[Row | None]] = defaultdict(list)
        """Entries of each patient's log; None for a change of status."""
        self.grants: dict[bytes, Grant] = {}
        self.disclosures: dict[bytes, int] = defaultdict(int)
        self.renewed_keys: set[bytes] = set()

    def answer(self, call: Call, height: int) -> Answer:
        """Code and fields of the receipt; changes the model."""
        handler = getattr(self, f"_{call.contract}_{call.action}", None)
        if handler is None:
            return "model/unknown-call", ()
        found: Answer = handler(call, height)
        return found

    def _index_register(self, call: Call, height: int) -> Answer:
        indexes = []
        for patient, root, _ in call.args[1]:  # type: ignore[union-attr,misc]  # own arguments
            self.logs[patient].append(Row(self.users[call.signer], root))
            indexes.append(len(self.logs[patient]) - 1)
        return "ok", (tuple(indexes),)

    def _index_supersede(self, call: Call, height: int) -> Answer:
        patient, index, _, root, _ = call.args
        assert isinstance(patient, bytes)
        assert isinstance(index, int)
        assert isinstance(root, bytes)
        log = self.logs[patient]
        row = log[index] if index < len(log) else None
        if row is None:
            return "index/no-such-row", (index,)
        if row.member != self.users[call.signer]:
            return "index/not-own-row", (index,)
        if row.changed:
            return "index/already-changed", (index,)
        row.changed = True
        log.extend([None, Row(row.member, root)])
        return "ok", (len(log) - 2, len(log) - 1)

    def _access_request(self, call: Call, height: int) -> Answer:
        patient = call.args[0]
        assert isinstance(patient, bytes)
        expires = height + PERMISSION_HEIGHTS
        self.grants[call.id] = Grant(call.signer, patient, expires)
        return "ok", (call.id, expires)

    def _access_revoke(self, call: Call, height: int) -> Answer:
        grant = self._grant(call)
        if grant is None:
            return "access/no-such-permission", ()
        if grant.reader != call.signer:
            return "access/not-permitted", ()
        if grant.expires < height:
            return "access/permission-expired", (grant.expires,)
        grant.expires = height - 1
        return "ok", (grant.expires,)

    def _audit_disclose(self, call: Call, height: int) -> Answer:
        grant = self._grant(call)
        if grant is None:
            return "audit/no-such-permission", ()
        if grant.expires < height:
            return "audit/permission-expired", (grant.expires,)
        self.disclosures[grant.patient] += 1
        return "ok", (self.disclosures[grant.patient] - 1,)

    def _governance_renew_key(self, call: Call, height: int) -> Answer:
        encoded = call.args[0]
        assert isinstance(encoded, bytes)
        if encoded in self.renewed_keys:
            return "governance/key-exists", ()
        self.renewed_keys.add(encoded)
        key_id = PublicKey.decode(encoded).key_id
        self.voters[key_id] = self.users[call.signer]
        return "ok", (key_id,)

    def _evidence_report(self, call: Call, height: int) -> Answer:
        key_id = accused_in(call)
        member = self.voters[key_id]
        if key_id in self.accused:
            return "evidence/already-recorded", (member,)
        self.accused.add(key_id)
        return "ok", (member,)

    def _grant(self, call: Call) -> Grant | None:
        permission = call.args[0]
        assert isinstance(permission, bytes)
        return self.grants.get(permission)
