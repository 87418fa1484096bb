"""The gateway's own memory: which record has which row, with which secrets, and what is under way.

It lies over the Storage port. Each step is one synced batch, so that a crash between any two
steps leaves a state from which the next run continues. Secrets and identifiers in it never leave
the hospital; its directory is as protected as the keys.

    r/<record id>           Record
    x/<root>                record id, for each root that is current on chain
    w/<record id>           [patient, root] of a de-identified record that waits for its release
    d/<release log index>   record id
    o/<number>              OutboxItem: a signed transaction whose outcome is not yet known
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ledger import codec
from ledger.codec import Value
from ledger.errors import LedgerError, WorldFault
from ledger.limits import ROOTS_PER_RELEASE_MAX, SEALED_BYTES_MAX, TRANSACTION_BYTES_MAX
from ledger.primitives import Hash32, PatientKey
from ledger.types.transaction import SignedTransaction
from nodes.ports import Put, Storage

_RECORD_BYTES_MAX = 16 * 1024 * 1024
_TEXT_MAX = 4_096
_FILES_MAX = 65_536
_RECORD, _ROOT, _WAITING, _RELEASED, _OUTBOX = b"r/", b"x/", b"w/", b"d/", b"o/"


@dataclass(eq=False)
class RecordsDamaged(WorldFault):
    """An entry of the gateway's database cannot be read."""

    what: str
    template = (
        "the gateway's database is damaged ({what}); stop the gateway and restore its backup: "
        "the secrets of committed records exist nowhere else"
    )


@dataclass(frozen=True, slots=True)
class DeidentifiedVersion:
    """The second, unlinkable commitment of one version of a record."""

    root: Hash32
    secret: bytes
    rules_version: int
    year: int
    """As of which ages were banded; needed to make the same fields again."""
    code: str
    released: int | None
    """Index in the hospital's release log, once it is there."""

    def to_value(self) -> Value:
        """[root, secret, rules version, year, code, release index or nil]."""
        return (self.root, self.secret, self.rules_version, self.year, self.code, self.released)

    @staticmethod
    def from_value(value: Value) -> "DeidentifiedVersion":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(value, 6, "de-identified version")
        return DeidentifiedVersion(
            Hash32(codec.binary(fields[0], "root", 32)),
            codec.binary(fields[1], "secret", 32),
            codec.uint(fields[2], "rules version"),
            codec.uint(fields[3], "year"),
            codec.text(fields[4], "code", _TEXT_MAX),
            _optional_uint(fields[5]),
        )


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a record, as it was committed or is about to be."""

    store: str
    files: tuple[bytes, ...]
    kind: str
    patient: PatientKey
    root: Hash32
    secret: bytes
    epoch: int
    sealed: bytes
    index: int | None
    """Of its row in the patient's log, once it is there."""
    deidentified: DeidentifiedVersion | None

    def to_value(self) -> Value:
        """The fields in their order, each optional one nil where absent."""
        return (
            self.store,
            self.files,
            self.kind,
            self.patient,
            self.root,
            self.secret,
            self.epoch,
            self.sealed,
            self.index,
            None if self.deidentified is None else self.deidentified.to_value(),
        )

    @staticmethod
    def from_value(value: Value) -> "Version":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(value, 10, "version")
        files = codec.array_up_to(fields[1], _FILES_MAX, "files")
        return Version(
            codec.text(fields[0], "store", _TEXT_MAX),
            tuple(codec.binary(name, "file", _TEXT_MAX) for name in files),
            codec.text(fields[2], "kind", _TEXT_MAX),
            PatientKey(codec.binary(fields[3], "patient", 32)),
            Hash32(codec.binary(fields[4], "root", 32)),
            codec.binary(fields[5], "secret", 32),
            codec.uint(fields[6], "epoch"),
            codec.binary(fields[7], "sealed", SEALED_BYTES_MAX),
            _optional_uint(fields[8]),
            None if fields[9] is None else DeidentifiedVersion.from_value(fields[9]),
        )


@dataclass(frozen=True, slots=True)
class Record:
    """A record that this hospital registered, or is registering."""

    id: str
    current: Version | None
    """What is on chain."""
    pending: Version | None
    """What a transaction in the outbox will put there."""

    def encode(self) -> bytes:
        """[current or nil, pending or nil]; the id is the key."""
        versions = (self.current, self.pending)
        return codec.encode([None if v is None else v.to_value() for v in versions])

    @staticmethod
    def decode(record_id: str, data: bytes) -> "Record":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        values = codec.array(codec.decode(data, _RECORD_BYTES_MAX, "record"), 2, "record")
        current, pending = (None if v is None else Version.from_value(v) for v in values)
        return Record(record_id, current, pending)


REGISTER, SUPERSEDE, WITHDRAW, PUBLISH = "register", "supersede", "withdraw", "publish"
KINDS = (REGISTER, SUPERSEDE, WITHDRAW, PUBLISH)


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """A signed transaction, kept before it is submitted, until its outcome is recorded."""

    number: int
    kind: str
    """One of KINDS."""
    transaction: SignedTransaction
    record_ids: tuple[str, ...]
    """What it is about, in the order of its rows or roots."""

    def encode(self) -> bytes:
        """[kind, signed transaction bytes, [record id, ...]]."""
        return codec.encode([self.kind, self.transaction.encoded, self.record_ids])

    @staticmethod
    def decode(number: int, data: bytes) -> "OutboxItem":
        """Raises NotCanonical, TooLarge or OutOfRange."""
        fields = codec.array(codec.decode(data, _RECORD_BYTES_MAX, "outbox"), 3, "outbox")
        ids = codec.array_up_to(fields[2], ROOTS_PER_RELEASE_MAX, "outbox records")
        return OutboxItem(
            number,
            codec.text(fields[0], "outbox kind", 16),
            SignedTransaction.decode(
                codec.binary(fields[1], "outbox transaction", TRANSACTION_BYTES_MAX)
            ),
            tuple(codec.text(record_id, "record id", _TEXT_MAX) for record_id in ids),
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """A de-identified root that is not yet released."""

    record_id: str
    patient: PatientKey
    root: Hash32


def _optional_uint(value: Value) -> int | None:
    return None if value is None else codec.uint(value, "index")


class RecordsDb:
    """All reads and steps of the gateway's memory; one writer at a time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._next = max((item.number for item in self.outbox()), default=-1) + 1

    def record(self, record_id: str) -> Record | None:
        """A record by its id; raises RecordsDamaged."""
        data = self._storage.get(_RECORD + record_id.encode())
        return None if data is None else self._decoded(record_id, data)

    def records(self) -> Iterator[Record]:
        """All records in the order of their ids."""
        for key, data in self._storage.scan(_RECORD):
            yield self._decoded(key[len(_RECORD) :].decode(), data)

    def find(self, root: Hash32) -> Record | None:
        """The record whose current row has this root."""
        record_id = self._storage.get(_ROOT + root)
        return None if record_id is None else self.record(record_id.decode())

    def outbox(self) -> list[OutboxItem]:
        """What may have been submitted and is not settled, oldest first."""
        try:
            return [
                OutboxItem.decode(int.from_bytes(key[len(_OUTBOX) :], "big"), data)
                for key, data in self._storage.scan(_OUTBOX)
            ]
        except LedgerError as error:
            raise RecordsDamaged(f"outbox: {type(error).__name__}") from None

    def waiting(self) -> Iterator[Waiting]:
        """De-identified roots of committed records that are in no release and in no outbox."""
        under_way = {
            record_id
            for item in self.outbox()
            if item.kind == PUBLISH
            for record_id in item.record_ids
        }
        for key, data in self._storage.scan(_WAITING):
            record_id = key[len(_WAITING) :].decode()
            if record_id not in under_way:
                patient, root = codec.array(codec.decode(data, 128, "waiting"), 2, "waiting")
                yield Waiting(
                    record_id,
                    PatientKey(codec.binary(patient, "patient", 32)),
                    Hash32(codec.binary(root, "root", 32)),
                )

    def released(self, start: int) -> Iterator[tuple[int, Record]]:
        """Released records that are still current, from index ``start`` of the release log on."""
        for key, record_id in self._storage.scan(_RELEASED, _RELEASED + start.to_bytes(8, "big")):
            index = int.from_bytes(key[len(_RELEASED) :], "big")
            record = self.record(record_id.decode())
            if record is None or record.current is None:
                continue
            twin = record.current.deidentified
            if twin is not None and twin.released == index:
                yield index, record

    def enqueue(
        self,
        kind: str,
        transaction: SignedTransaction,
        record_ids: Sequence[str],
        records: Sequence[Record],
    ) -> OutboxItem:
        """Keeps a transaction and the records as they are while it is under way; one batch."""
        item = OutboxItem(self._next, kind, transaction, tuple(record_ids))
        self._next += 1
        self._storage.write([_put_item(item), *map(_put_record, records)])
        return item

    def replace(self, item: OutboxItem, transaction: SignedTransaction) -> OutboxItem:
        """Another transaction in the place of one that provably never took effect."""
        renewed = replace(item, transaction=transaction)
        self._storage.write([_put_item(renewed)])
        return renewed

    def settle(
        self, item: OutboxItem, before: Sequence[Record], after: Sequence[Record | None]
    ) -> None:
        """Records the outcome and drops the item, in one batch; None forgets a record."""
        batch = [Put(_outbox_key(item.number), None)]
        for old, new in zip(before, after, strict=True):
            batch.extend(_index_changes(old, new))
        self._storage.write(batch)

    def update(self, old: Record, new: Record) -> None:
        """Changes what is known of a record without a transaction: where it lies, its twin."""
        self._storage.write(_index_changes(old, new))

    def _decoded(self, record_id: str, data: bytes) -> Record:
        try:
            return Record.decode(record_id, data)
        except LedgerError as error:
            raise RecordsDamaged(f"record: {type(error).__name__}") from None


def _outbox_key(number: int) -> bytes:
    return _OUTBOX + number.to_bytes(8, "big")


def _put_item(item: OutboxItem) -> Put:
    return Put(_outbox_key(item.number), item.encode())


def _put_record(record: Record) -> Put:
    return Put(_RECORD + record.id.encode(), record.encode())


def _index_changes(old: Record, new: Record | None) -> list[Put]:
    """The record itself and every key that points to it, for a change from old to new."""
    keys = {key: None for key, _ in _pointers(old)}
    values: dict[bytes, bytes | None] = {**keys}
    if new is not None:
        values.update(_pointers(new))
    values[_RECORD + old.id.encode()] = None if new is None else new.encode()
    return [Put(key, value) for key, value in values.items()]


def _pointers(record: Record) -> Iterator[tuple[bytes, bytes]]:
    current, record_id = record.current, record.id.encode()
    if current is None:
        return
    yield _ROOT + current.root, record_id
    twin = current.deidentified
    if twin is None:
        return
    if twin.released is None:
        yield _WAITING + record_id, codec.encode([current.patient, twin.root])
    else:
        yield _RELEASED + twin.released.to_bytes(8, "big"), record_id
