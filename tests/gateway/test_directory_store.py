"""A directory with everything that goes wrong: each thing named, nothing else stopped."""

import gzip
import json
import os
import shutil
from contextlib import chdir
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from nodes.gateway import directory_store
from nodes.gateway.directory_store import DirectoryStore
from nodes.gateway.patients import IdentifierRules
from nodes.gateway.records import Found, Problem, Unusable
from tests.gateway.world import MEMBER, NATIONAL, observation, patient, write


def store(root: Path) -> DirectoryStore:
    return DirectoryStore("files", root, IdentifierRules(MEMBER, (NATIONAL,)))


def scan(root: Path) -> tuple[list[str], list[tuple[str, int, str]]]:
    found, problems = [], []
    for item in store(root).scan():
        if isinstance(item, Problem):
            assert item.text
            problems.append((item.file, item.position, item.code))
        else:
            found.append(item.content.id)
    return found, problems


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    write(tmp_path, "b/bundle.json", patient(1), observation(1, 1))
    (tmp_path / "single.json").write_text(json.dumps(observation(2, 1)))
    lines = "\n".join(json.dumps(observation(n, 1)) for n in (3, 4)) + "\n\n"
    (tmp_path / "a.ndjson").write_text(lines)
    with gzip.open(tmp_path / "c.ndjson.gz", "wt") as file:
        file.write(json.dumps(observation(5, 1)))
    with gzip.open(tmp_path / "d.json.gz", "wt") as file:
        file.write("\ufeff" + json.dumps(observation(6, 1)))
    shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "IM0001")
    shutil.copy(get_testdata_file("MR_small.dcm"), tmp_path / "mr.dcm")
    found, problems = scan(tmp_path)
    assert problems == []
    assert sorted(found)[:7] == [f"Observation/o{n}" for n in range(1, 7)] + ["Patient/p1"]
    assert len(found) == 9


def test_a_patient_may_stand_in_a_later_file(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text(json.dumps(observation(1, 1)))
    (tmp_path / "z.ndjson").write_text(json.dumps(patient(1)))
    assert scan(tmp_path) == (["Observation/o1", "Patient/p1"], [])


def test_bad_files_are_named_with_their_reasons(tmp_path: Path) -> None:
    write(tmp_path, "good.json", patient(1), observation(1, 1), observation(2, 9))
    (tmp_path / "empty.json").touch()
    (tmp_path / "empty.ndjson").touch()
    (tmp_path / "gbk.json").write_bytes('{"a": "张三"}'.encode("gb18030"))
    (tmp_path / "half.json").write_bytes((tmp_path / "good.json").read_bytes()[:300])
    (tmp_path / "half.json.gz").write_bytes(gzip.compress(b"{}" * 9_000)[:-12])
    (tmp_path / "no.json.gz").write_bytes(b"{}")
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "no.dcm").write_text("hello")
    (tmp_path / "plain").write_text("hello")
    (tmp_path / "lines.ndjson").write_text("{\n" + json.dumps({"resourceType": "X"}) + "\n[]\n")
    found, problems = scan(tmp_path)
    assert sorted(found) == ["Observation/o1", "Patient/p1"]
    assert sorted(problems) == [
        ("empty.json", 0, "empty-file"),
        ("empty.ndjson", 0, "empty-file"),
        ("gbk.json", 0, "not-utf8"),
        ("good.json", 3, "unknown-patient"),
        ("half.json", 0, "not-json"),
        ("half.json.gz", 0, "damaged-archive"),
        ("lines.ndjson", 1, "not-json"),
        ("lines.ndjson", 2, "unknown-type"),
        ("lines.ndjson", 3, "missing-type"),
        ("no.dcm", 0, "not-dicom"),
        ("no.json.gz", 0, "damaged-archive"),
        ("note.txt", 0, "not-record"),
        ("plain", 0, "not-record"),
    ]


def test_links_out_of_the_store_are_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "store", tmp_path / "outside"
    write(outside, "secret.json", patient(1))
    write(root, "good.json", patient(2))
    (root / "file.json").symlink_to(outside / "secret.json")
    (root / "folder").symlink_to(outside)
    (root / "inner.json").symlink_to(root / "good.json")
    found, problems = scan(root)
    assert found == ["Patient/p2", "Patient/p2"]
    assert sorted(problems) == [("file.json", 0, "link-outside"), ("folder", 0, "link-outside")]
    for name in (b"../outside/secret.json", b"file.json"):
        with pytest.raises(Unusable) as caught:
            store(root).read([name], "Patient/p1")
        assert caught.value.code == "link-outside"


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    write(tmp_path, "good.json", patient(1))
    (tmp_path / "loop.json").symlink_to("loop.json")
    (tmp_path / "lost.json").symlink_to("absent.json")
    (tmp_path / "self").symlink_to(".")
    found, problems = scan(tmp_path)
    assert found == ["Patient/p1"]
    assert problems == [("loop.json", 0, "broken-link"), ("lost.json", 0, "broken-link")]


def test_a_directory_that_cannot_be_listed_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    assert scan(tmp_path / "absent") == ([], [(".", 0, "cannot-list")])
    write(tmp_path, "good.json", patient(1))
    # A path that is too long cannot be opened even by root, whom permissions do not stop.
    with chdir(tmp_path):
        for _ in range(20):
            Path("d" * 250).mkdir()
            os.chdir("d" * 250)
    found, problems = scan(tmp_path)
    assert found == ["Patient/p1"]
    assert [code for _, _, code in problems] == ["cannot-list"]


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_store, "BUNDLE_BYTES_MAX", 10_000)
    monkeypatch.setattr(directory_store, "LINE_BYTES_MAX", 5_000)
    monkeypatch.setattr(directory_store, "STREAM_BYTES_MAX", 3_000_000)
    (tmp_path / "big.json").write_text(" " * 10_001)
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b" " * 50_000_000))
    (tmp_path / "bomb.ndjson.gz").write_bytes(gzip.compress(b" " * 50_000_000))
    line = json.dumps(patient(1))
    (tmp_path / "long.ndjson").write_text("x" * 9_000 + "\n" + line + "\n")
    found, problems = scan(tmp_path)
    assert found == ["Patient/p1"]
    assert problems == [
        ("big.json", 0, "file-too-large"),
        ("bomb.json.gz", 0, "file-too-large"),
        ("bomb.ndjson.gz", 1, "line-too-long"),
        ("bomb.ndjson.gz", 0, "file-too-large"),
        ("long.ndjson", 1, "line-too-long"),
    ]


def test_a_record_is_read_again_from_its_place(tmp_path: Path) -> None:
    write(tmp_path, "a.json", patient(1), observation(1, 1))
    shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "ct.dcm")
    for item in store(tmp_path).scan():
        assert isinstance(item, Found)
        assert store(tmp_path).read(item.files, item.content.id) == item.content
    with pytest.raises(Unusable) as caught:
        store(tmp_path).read([b"a.json"], "Observation/o2")
    assert caught.value.code == "record-gone"
    with pytest.raises(Unusable):
        store(tmp_path).read([b"absent.json"], "Observation/o1")


def test_a_study_with_one_bad_file_is_named_whole(tmp_path: Path) -> None:
    source = Path(str(get_testdata_file("CT_small.dcm")))
    shutil.copy(source, tmp_path / "a.dcm")
    (tmp_path / "b.dcm").write_bytes(source.read_bytes()[:20_000])
    found, problems = scan(tmp_path)
    assert found == []
    assert sorted(code for _, _, code in problems) in (
        ["not-dicom", "study-incomplete"],
        ["study-incomplete", "undecodable-pixels"],
    )


def test_dicom_and_fhir_meet_in_one_patient(tmp_path: Path) -> None:
    person = patient(1)
    person["identifier"] = [*person["identifier"], {"system": "mrn", "value": "1CT1"}]
    write(tmp_path, "p.json", person)
    shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "ct.dcm")
    found = [item for item in store(tmp_path).scan() if isinstance(item, Found)]
    assert len(found) == 2
    assert found[0].patient == found[1].patient
    assert found[0].patient.system == NATIONAL
