"""The hospital's records for the disclosure flow: database, stores and views behind one port."""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ledger.commitment import Disclosure, commit_record, disclose
from ledger.errors import PeerFault
from ledger.light.records import VerifiedRecord
from ledger.light.view_rules import ViewRules, kind_of
from ledger.types.entries import Row
from nodes.api.http import ANSWER_BYTES_MAX
from nodes.gateway.deidentify import deidentify
from nodes.gateway.directory_store import DirectoryStore, Outcome
from nodes.gateway.disclosure import RecordAltered, Released, ReleasedPage
from nodes.gateway.records import Content, Unusable
from nodes.gateway.records_db import Record, RecordsDb, Version
from nodes.ports import TraceSink
from nodes.view_rules.files import rules_of

_STUDY = "study/"


class StoreSource:
    """Implements ``RecordSource`` over the gateway's database and its directory stores."""

    def __init__(
        self, db: RecordsDb, stores: Mapping[str, DirectoryStore], trace: TraceSink
    ) -> None:
        self._db = db
        self._stores = stores
        self._trace = trace

    async def read(self, index: int, row: Row, rules: ViewRules) -> Released | None:
        """Reads the record again, commits to it again and compares; in a thread."""
        return await asyncio.to_thread(self._read, index, row, rules)

    def _read(self, index: int, row: Row, rules: ViewRules) -> Released | None:
        record = self._db.find(row.root)
        if record is None or record.current is None or record.current.patient != row.patient:
            return None
        version = record.current
        content, store = self._content(index, record.id, version)
        commitment = commit_record(content.fields, content.dependencies, version.secret)
        if commitment.root != row.root:
            raise RecordAltered(index, "its content in the store is not what was registered")
        kind = kind_of({field.path: field.value for field in content.fields})
        shown = disclose(commitment, partial(rules.shows, kind), rules.view, rules.hash)
        attachments: tuple[bytes, ...] = ()
        if rules.view == "clinical" and record.id.startswith(_STUDY):
            attachments = _instances(index, store.paths(version.files))
        return Released(content.kind, shown, attachments)

    def _content(
        self, index: int, record_id: str, version: Version
    ) -> tuple[Content, DirectoryStore]:
        store = self._stores.get(version.store)
        if store is None:
            raise RecordAltered(index, f"its store {version.store} is not configured any more")
        try:
            return store.read(version.files, record_id), store
        except Unusable as problem:
            raise RecordAltered(index, f"it cannot be read any more ({problem.code})") from None

    async def released(self, kind: str, code: str, cursor: int, limit: int) -> ReleasedPage:
        """De-identified records that are current, made again and compared with their roots."""
        return await asyncio.to_thread(self._released, kind, code, cursor, limit)

    def _released(self, kind: str, code: str, cursor: int, limit: int) -> ReleasedPage:
        chosen: list[tuple[int, Record]] = []
        following: int | None = None
        for index, record in self._db.released(cursor):
            version = record.current
            if version is None or version.deidentified is None:
                continue
            if kind not in ("", version.kind) or code not in ("", version.deidentified.code):
                continue
            if len(chosen) == limit:
                following = index
                break
            chosen.append((index, record))
        shown = self._deidentified([record for _, record in chosen])
        page = []
        for index, record in chosen:
            if record.id in shown:
                page.append((index, shown[record.id]))
            else:
                self._trace.emit("record_altered", release=index)
        return ReleasedPage(tuple(page), following)

    async def released_images(self, index: int) -> tuple[bytes, ...] | None:
        """De-identified files of a released study; raises PixelsAtRisk or RecordAltered."""
        return await asyncio.to_thread(self._released_images, index)

    def _released_images(self, index: int) -> tuple[bytes, ...] | None:
        from nodes.gateway.dicom_release import deidentified_files

        place, record = next(self._db.released(index), (index, None))
        if record is None or place != index or not record.id.startswith(_STUDY):
            return None
        version = record.current
        if version is None or version.deidentified is None:
            return None
        disclosure = self._deidentified([record]).get(record.id)
        store = self._stores.get(version.store)
        if disclosure is None or store is None:
            raise RecordAltered(index, "its content in the store is not what was released")
        paths = store.paths(version.files)
        if not _fit_one_answer(paths):
            raise RecordAltered(index, "its images are more than one answer holds")
        fields = {path: value for path, value, _ in disclosure.shown}
        return deidentified_files(paths, fields, version.deidentified.secret)

    def _deidentified(self, records: Sequence[Record]) -> dict[str, Disclosure]:
        """What a vendor is shown, by record id; without those that were changed.

        Neighbours in a release are of different patients, so a page is read file by file.
        """
        places: dict[str, dict[str, Sequence[bytes]]] = {}
        for record in records:
            if record.current is not None:
                places.setdefault(record.current.store, {})[record.id] = record.current.files
        outcomes: dict[str, Outcome] = {}
        for name, wanted in places.items():
            if name in self._stores:
                outcomes.update(self._stores[name].read_many(wanted))
        shown = {}
        for record in records:
            outcome = outcomes.get(record.id)
            disclosure = _disclosed(record.current, outcome.content if outcome else None)
            if disclosure is not None:
                shown[record.id] = disclosure
        return shown


def _disclosed(version: Version | None, content: Content | None) -> Disclosure | None:
    """The whole de-identified record, if its content still gives the released root."""
    twin = None if version is None else version.deidentified
    if twin is None or content is None:
        return None
    rules = rules_of("deidentified", twin.rules_version)
    made = deidentify(content, twin.year, rules)
    if made is None:
        return None
    commitment = commit_record(made.fields, made.dependencies, twin.secret)
    if commitment.root != twin.root:
        return None
    return disclose(commitment, lambda _: True, rules.view, rules.hash)


def _instances(index: int, paths: Sequence[Path]) -> tuple[bytes, ...]:
    """The DICOM files of a study; none of them where together they exceed one answer."""
    return tuple(path.read_bytes() for path in paths) if _fit_one_answer(paths) else ()


def _fit_one_answer(paths: Sequence[Path]) -> bool:
    return sum(path.stat().st_size for path in paths) <= ANSWER_BYTES_MAX // 2


def verify_attachments(record: VerifiedRecord, attachments: Sequence[bytes]) -> None:
    """Raises PeerFault unless the DICOM instances hold exactly what the verified fields say.

    Every attribute and every decoded frame is compared, so nothing unproved comes along.
    """
    if not attachments:
        return
    from nodes.gateway.dicom import instance_fields

    found: dict[bytes, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="yilian-") as directory:
        for number, data in enumerate(attachments):
            path = Path(directory) / f"{number}.dcm"
            path.write_bytes(data)
            found.update((field.path, field.value) for field in instance_fields(path))
            path.unlink()
    if found != dict(record.fields):
        raise AttachmentsDiffer


@dataclass(eq=False)
class AttachmentsDiffer(PeerFault):
    """DICOM instances came with a record and are not those that it commits to."""

    template = "the images that came along are not those that the record commits to"
