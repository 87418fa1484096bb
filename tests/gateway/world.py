"""A small chain that really executes the contracts, and files of invented patients."""

import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from ledger.codec import Value
from ledger.errors import WorldFault
from ledger.primitives import Hash32, Height, KeyId, MemberId, Nonce
from ledger.types.block import Receipt
from ledger.types.entries import Row, StatusChange, decode_patient_entry, patient_log
from ledger.types.transaction import SignedTransaction, Transaction

MEMBER = MemberId("hospital-a")
NATIONAL = "urn:oid:2.16.156.10011.1.3"


class Killed(BaseException):
    """Stands for kill -9: nothing in the code under test may catch it."""


class FakeSigner:
    """Signs nothing: the chain below checks rules of the index, not signatures."""

    def sign(self, transaction: Transaction) -> SignedTransaction:
        from ledger import codec
        from ledger.crypto.hashing import Tag, hash_tagged
        from ledger.primitives import Signature

        body = transaction.encode()
        signature = Signature(b"\x01" + bytes(64))
        encoded = codec.encode([body, signature])
        return SignedTransaction(
            encoded, transaction, signature, hash_tagged(Tag.TRANSACTION, body)
        )


class Chain:
    """Implements Submitter: replay protection, expiry and logs as the protocol says."""

    def __init__(self, k: int = 2) -> None:
        self.k = k
        self.height = 1
        self.logs: dict[bytes, list[bytes]] = {}
        self.receipts: dict[Hash32, Receipt] = {}
        self.submitted: list[bytes] = []
        self.drop = 0
        """So many submissions are lost before they are executed."""
        self.kill_after_execution = -1
        """The execution with this number happens, and the client dies before it learns of it."""
        self.forgetful = False
        """Receipts are no longer known."""

    def build(
        self, contract: str, action: str, args: Sequence[Value], height: Height
    ) -> SignedTransaction:
        body = Transaction(
            Hash32(bytes(32)),
            contract,
            action,
            tuple(args),
            KeyId(bytes(32)),
            Nonce(secrets.token_bytes(16)),
            Height(height + 10),
        )
        return FakeSigner().sign(body)

    async def newest_height(self) -> Height:
        return Height(self.height)

    async def submit(self, transactions: Sequence[SignedTransaction]) -> None:
        for transaction in transactions:
            self.submitted.append(transaction.encoded)
            if self.drop:
                self.drop -= 1
                raise Unreachable
            expired = self.height > transaction.body.valid_until
            if transaction.id not in self.receipts and not expired:
                self._execute(transaction)

    async def wait(self, transaction_id: Hash32) -> Receipt | None:
        return None if self.forgetful else self.receipts.get(transaction_id)

    async def log(self, key: bytes) -> tuple[Height, Sequence[bytes]]:
        return Height(self.height), self.logs.get(key, [])

    def rows(self) -> list[Row]:
        entries = [
            decode_patient_entry(e)
            for k, log in self.logs.items()
            for e in log
            if k.startswith(b"patient/")
        ]
        return [entry for entry in entries if isinstance(entry, Row)]

    def statuses(self) -> list[StatusChange]:
        entries = [
            decode_patient_entry(e)
            for k, log in self.logs.items()
            for e in log
            if k.startswith(b"patient/")
        ]
        return [entry for entry in entries if isinstance(entry, StatusChange)]

    def _execute(self, transaction: SignedTransaction) -> None:
        self.height += 1
        action = getattr(self, "_" + transaction.body.action)
        args = SignedTransaction.decode(transaction.encoded).body.args
        code, fields = action(*args)
        self.receipts[transaction.id] = Receipt(transaction.id, code, fields)
        if len(self.receipts) - 1 == self.kill_after_execution:
            raise Killed

    def _append(self, key: bytes, entry: bytes) -> int:
        log = self.logs.setdefault(key, [])
        log.append(entry)
        return len(log) - 1

    def _row(
        self, patient: bytes, root: bytes, epoch: int, sealed: bytes, old: Hash32 | None
    ) -> int:
        row = Row(MEMBER, patient, Hash32(root), epoch, sealed, old)
        return self._append(patient_log(patient), row.encode())

    def _register(self, epoch, rows):
        return "ok", (tuple(self._row(p, r, epoch, s, None) for p, r, s in rows),)

    def _old(self, patient, index):
        return decode_patient_entry(self.logs[patient_log(patient)][index]).hash

    def _supersede(self, patient, index, epoch, root, sealed):
        old = self._old(patient, index)
        change = StatusChange(MEMBER, patient, old, "superseded")
        first = self._append(patient_log(patient), change.encode())
        return "ok", (first, self._row(patient, root, epoch, sealed, old))

    def _mark_entered_in_error(self, patient, index):
        change = StatusChange(MEMBER, patient, self._old(patient, index), "entered-in-error")
        return "ok", (self._append(patient_log(patient), change.encode()),)

    def _publish(self, roots):
        if len(roots) < self.k:
            return "release/too-few-roots", (len(roots), self.k)
        assert list(roots) == sorted(set(roots))
        key = b"release/" + MEMBER.encode()
        first = len(self.logs.get(key, []))
        for root in roots:
            self._append(key, root)
        return "ok", (first, len(roots))


class Unreachable(WorldFault):
    def __str__(self) -> str:
        return "unreachable"


def patient(number: int, **more: object) -> dict[str, object]:
    return {
        "resourceType": "Patient",
        "id": f"p{number}",
        "identifier": [{"system": NATIONAL, "value": f"99999919800101{number:04d}"}],
        "name": [{"text": f"Zhang Test{number}"}],
        "telecom": [{"system": "phone", "value": f"1390000{number:04d}"}],
        "address": [{"line": ["Nowhere Road 7"], "city": "Weizhi"}],
        "gender": "female",
        "birthDate": "1980-01-01",
        **more,
    }


def observation(number: int, of: int, value: str = "1.50") -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {
            "coding": [{"system": "http://loinc.org", "code": "8302-2", "display": "Height"}],
            "text": "Body height",
        },
        "subject": {"reference": f"Patient/p{of}", "display": f"Zhang Test{of}"},
        "effectiveDateTime": "2019-03-04T10:11:12+08:00",
        "valueQuantity": {
            "value": float(value),
            "unit": "m",
            "system": "http://unitsofmeasure.org",
            "code": "m",
        },
        "note": [{"text": f"seen by Dr Li, phone 1390000{of:04d}"}],
    }


def bundle(*resources: dict[str, object]) -> str:
    entries = [{"fullUrl": f"urn:uuid:{r.get('id')}", "resource": r} for r in resources]
    text = json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries})
    return text.replace('"value": 1.5,', '"value": 1.50,')


def write(root: Path, name: str, *resources: dict[str, object]) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(bundle(*resources), encoding="utf-8")
    return path
