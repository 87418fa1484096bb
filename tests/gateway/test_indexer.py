"""Indexing end to end over a chain that keeps the rules: nothing lost, nothing doubled."""

from pathlib import Path

import pytest

from ledger.commitment import verify_disclosure
from ledger.crypto.sealing import Metadata, patient_key, row_key, unseal
from ledger.errors import PeerFault
from nodes.gateway import indexer
from nodes.gateway.dicom_release import PixelsAtRisk, verify_deidentified_files
from nodes.gateway.directory_store import DirectoryStore
from nodes.gateway.disclosure import RecordAltered
from nodes.gateway.indexer import Indexer, IndexKeys, IndexSummary, padded
from nodes.gateway.outbox import Outbox, OutcomeUnknown
from nodes.gateway.patients import IdentifierRules
from nodes.gateway.records_db import RecordsDb
from nodes.gateway.releases import Releases
from nodes.gateway.sources import StoreSource
from nodes.storage.memory import MemoryStorage
from nodes.view_rules.files import newest_rules
from tests.gateway.test_dicom import changed
from tests.gateway.world import MEMBER, NATIONAL, Chain, Killed, observation, patient, write

KEYS = IndexKeys(b"p" * 32, b"g" * 32, 1)


class Trace:
    """Keeps the names of events, to be looked at."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def emit(self, event: str, /, **fields: int | str) -> None:
        self.events.append(event)


class Hospital:
    """A gateway's records side over one directory; ``restart`` forgets all but the storage."""

    def __init__(self, root: Path, k: int = 2) -> None:
        self.root = root
        self.chain = Chain(k)
        self.storage = MemoryStorage()
        self.restart()

    def restart(self) -> None:
        rules = IdentifierRules(MEMBER, (NATIONAL,))
        self.store = DirectoryStore("files", self.root, rules)
        self.db = RecordsDb(self.storage)
        self.outbox = Outbox(self.db, self.chain, MEMBER)
        self.source = StoreSource(self.db, {"files": self.store}, Trace())

    async def index(self, rows: int = 200) -> IndexSummary:
        indexer = Indexer(
            self.db,
            [self.store],
            KEYS,
            self.outbox,
            year=2026,
            rules=newest_rules("deidentified"),
            rows_per_transaction=rows,
        )
        return await indexer.run()


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    for number in range(4):
        write(
            tmp_path,
            f"{number}.json",
            patient(number),
            *(observation(10 * number + i, number) for i in range(3)),
        )
    return Hospital(tmp_path)


async def test_a_second_run_finds_everything_unchanged(hospital: Hospital) -> None:
    first = await hospital.index()
    assert (first.records, first.indexed, first.problems) == (16, 16, 0)
    hospital.restart()
    second = await hospital.index()
    assert (second.indexed, second.unchanged, second.missing) == (0, 16, 0)
    assert len(hospital.chain.rows()) == 16


async def test_rows_open_with_the_row_key_alone_and_all_have_one_length(
    hospital: Hospital,
) -> None:
    await hospital.index()
    rows = hospital.chain.rows()
    assert len({len(row.sealed) for row in rows}) == 1
    opened = [
        Metadata.decode(unseal(row_key(KEYS.group_key, r.sealed), r.patient, r.root, r.sealed))
        for r in rows
    ]
    assert {(m.kind, m.code) for m in opened} == {("Patient", ""), ("Observation", "8302-2")}
    assert patient_key(KEYS.patient_secret, NATIONAL, "999999198001010000") in {
        r.patient for r in rows
    }


@pytest.mark.parametrize("execution", range(6))
async def test_SAFE_3_killed_after_any_execution_nothing_is_lost_or_doubled(
    hospital: Hospital, execution: int
) -> None:
    hospital.chain.kill_after_execution = execution
    with pytest.raises(Killed):
        await hospital.index(rows=2)
    hospital.restart()
    await hospital.index(rows=2)
    rows = hospital.chain.rows()
    assert len(rows) == len({row.root for row in rows}) == 16
    assert {r.current.root for r in hospital.db.records() if r.current} == {r.root for r in rows}
    assert hospital.db.outbox() == []


async def test_the_same_bytes_are_submitted_again(hospital: Hospital) -> None:
    hospital.chain.drop = 2
    await hospital.index()
    assert len(hospital.chain.submitted) == 3
    assert len(set(hospital.chain.submitted)) == 1


async def test_an_expired_transaction_that_took_no_effect_is_made_anew(
    hospital: Hospital,
) -> None:
    hospital.chain.drop = 10**6
    with pytest.raises(OutcomeUnknown):
        await hospital.index()
    hospital.chain.drop = 0
    hospital.chain.height += 100
    hospital.restart()
    assert (await hospital.index()).unchanged == 16
    assert len(hospital.chain.rows()) == 16
    assert len(set(hospital.chain.submitted)) == 2


async def test_an_expired_transaction_whose_receipt_is_forgotten_is_found_in_the_logs(
    hospital: Hospital,
) -> None:
    hospital.chain.forgetful = True
    with pytest.raises(OutcomeUnknown):
        await hospital.index()
    hospital.chain.height += 100
    hospital.restart()
    assert (await hospital.index()).unchanged == 16
    assert len(hospital.chain.rows()) == 16


async def test_a_changed_record_supersedes_its_row(hospital: Hospital) -> None:
    await hospital.index()
    write(
        hospital.root,
        "0.json",
        patient(0),
        observation(0, 0, "1.51"),
        observation(1, 0),
        observation(2, 0),
    )
    summary = await hospital.index()
    assert (summary.superseded, summary.unchanged, summary.indexed) == (1, 15, 0)
    (status,) = hospital.chain.statuses()
    assert status.status == "superseded"
    newest = hospital.chain.rows()[4]
    assert newest.supersedes == status.row


async def test_a_record_of_another_patient_is_withdrawn_and_registered_anew(
    hospital: Hospital,
) -> None:
    await hospital.index()
    write(
        hospital.root, "0.json", patient(0), observation(0, 1), observation(1, 0), observation(2, 0)
    )
    summary = await hospital.index()
    assert (summary.withdrawn, summary.indexed, summary.unchanged) == (1, 1, 15)
    assert [s.status for s in hospital.chain.statuses()] == ["entered-in-error"]
    assert (await hospital.index()).unchanged == 16


async def test_duplicates_are_named_and_told_from_conflicts(hospital: Hospital) -> None:
    write(hospital.root, "x.json", observation(0, 0), observation(1, 0, "9.99"))
    summary = await hospital.index()
    assert [(p.file, p.position, p.code) for p in summary.problems_listed] == [
        ("x.json", 1, "duplicate"),
        ("x.json", 2, "conflicting-duplicate"),
    ]
    assert summary.indexed == 16


async def test_a_moved_file_is_followed(hospital: Hospital) -> None:
    await hospital.index()
    (hospital.root / "0.json").rename(hospital.root / "9.json")
    assert (await hospital.index()).unchanged == 16
    row = hospital.chain.rows()[0]
    assert await hospital.source.read(0, row, newest_rules("clinical")) is not None


async def test_a_removed_record_is_counted_as_missing(hospital: Hospital) -> None:
    await hospital.index()
    (hospital.root / "0.json").unlink()
    assert (await hospital.index()).missing == 4


async def test_LIGHT_1_a_value_changed_on_disk_is_noticed_and_nothing_is_shown(
    hospital: Hospital,
) -> None:
    await hospital.index()
    row = next(r for r in hospital.chain.rows() if r.root == _root(hospital, "Observation/o1"))
    released = await hospital.source.read(1, row, newest_rules("clinical"))
    assert released is not None
    values = verify_disclosure(released.disclosure, row.root)
    assert values[b"/valueQuantity/value"] == b"1.50"
    path = hospital.root / "0.json"
    path.write_text(path.read_text().replace("1.50", "1.5", 3))
    with pytest.raises(RecordAltered) as caught:
        await hospital.source.read(1, row, newest_rules("clinical"))
    assert "1.5" not in str(caught.value)
    path.unlink()
    with pytest.raises(RecordAltered):
        await hospital.source.read(1, row, newest_rules("clinical"))


async def test_PRIV_2_releases_are_made_verified_and_paged(hospital: Hospital) -> None:
    await hospital.index()
    releases = Releases(hospital.db, hospital.outbox, 2)
    summary = await releases.run()
    assert (summary.released, summary.waiting) == (16, 0)
    assert (await releases.run()).batches == 0
    log = hospital.chain.logs[b"release/hospital-a"]
    found, cursor = [], 0
    while cursor is not None:
        page = await hospital.source.released("Observation", "8302-2", cursor, 5)
        found.extend(page.records)
        cursor = page.next_cursor
    assert len(found) == 12
    for index, disclosure in found:
        values = verify_disclosure(disclosure, log[index])
        assert values[b"/effectiveDateTime~year"] == b'"2019"'
        text = b" ".join(values.values())
        assert not any(word in text for word in (b"Zhang", b"139", b"Li", b"Patient/", b"o1"))


async def test_released_images_are_those_of_the_released_record(tmp_path: Path) -> None:
    sick = {"StudyInstanceUID": "1.2.3", "SOPInstanceUID": "1.2.3.1", "PatientID": "P2"}
    files = [
        changed("CT_small.dcm", tmp_path / "a.dcm"),
        changed("CT_small.dcm", tmp_path / "b.dcm", BurnedInAnnotation="YES", **sick),
    ]
    hospital = Hospital(tmp_path)
    await hospital.index()
    assert (await Releases(hospital.db, hospital.outbox, 2).run()).released == 2
    page = await hospital.source.released("", "CT", 0, 9)
    refused = 0
    for index, disclosure in page.records:
        fields = {path: value for path, value, _ in disclosure.shown}
        try:
            (data,) = await hospital.source.released_images(index) or ()
        except PixelsAtRisk:
            refused += 1
            continue
        (tmp_path.parent / "released.dcm").write_bytes(data)
        del fields[b"@dependencies"]
        rules = newest_rules("deidentified")
        verify_deidentified_files(fields, [tmp_path.parent / "released.dcm"], rules)
    assert (len(page.records), refused) == (2, 1)
    assert await hospital.source.released_images(2) is None
    changed("CT_small.dcm", files[0], SliceThickness="9")
    outcomes = []
    for index in range(2):
        try:
            await hospital.source.released_images(index)
        except PeerFault as error:
            outcomes.append(type(error))
    assert sorted(outcomes, key=str) == sorted([PixelsAtRisk, RecordAltered], key=str)


async def test_PRIV_2_a_release_killed_before_its_receipt_is_not_repeated(
    hospital: Hospital,
) -> None:
    await hospital.index()
    hospital.chain.kill_after_execution = len(hospital.chain.receipts)
    with pytest.raises(Killed):
        await Releases(hospital.db, hospital.outbox, 2).run()
    hospital.restart()
    await Releases(hospital.db, hospital.outbox, 2).run()
    log = hospital.chain.logs[b"release/hospital-a"]
    assert len(log) == len(set(log)) == 16


def test_padding_gives_multiples_of_the_block() -> None:
    lengths = set()
    for size in range(0, 600, 7):
        metadata = Metadata(
            "Observation", "http://loinc.org", "x" * size, "", "Observation/1", None
        )
        encoded = padded(metadata)
        assert Metadata.decode(encoded).locator.rstrip() == "Observation/1"
        lengths.add(len(encoded))
    assert all(length % 64 == 0 and length >= 128 for length in lengths)


def _root(hospital: Hospital, record_id: str) -> bytes:
    record = hospital.db.record(record_id)
    assert record is not None
    assert record.current is not None
    return record.current.root


async def test_problems_beyond_the_list_are_still_counted(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "PROBLEMS_LISTED_MAX", 2)
    (hospital.root / "broken.ndjson").write_text("{\n" * 5)
    summary = await hospital.index()
    assert (summary.problems, summary.problems_by_reason) == (5, {"not-json": 5})
    assert [problem.position for problem in summary.problems_listed] == [1, 2]
