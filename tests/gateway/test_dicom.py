"""DICOM mapping over pydicom's own test files: content, not encoding; damage has a reason."""

import io
import os
import tempfile
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from nodes.gateway import dicom
from nodes.gateway.deidentify import deidentify
from nodes.gateway.records import REASONS, Unusable
from nodes.view_rules.files import newest_rules


def sample(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom does not ship {name}")
    return Path(path)


def fields(path: Path) -> dict[bytes, bytes]:
    found = dicom.instance_fields(path)
    paths = {field.path: field.value for field in found}
    assert len(paths) == len(found)
    return paths


def frames(path: Path) -> list[bytes]:
    return [value for key, value in fields(path).items() if b"/frame/" in key]


def reason(path: Path) -> str:
    with pytest.raises(Unusable) as caught:
        dicom.instance_fields(path)
    assert caught.value.code in REASONS
    return caught.value.code


def changed(source: str, target: Path, syntax: str | None = None, **attributes: object) -> Path:
    dataset = pydicom.dcmread(sample(source))
    for name, value in attributes.items():
        setattr(dataset, name, value)
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
        little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
        dataset.save_as(target, little_endian=little, implicit_vr=implicit)
    else:
        dataset.save_as(target)
    return target


def test_fields_have_the_paths_and_texts_of_the_specification() -> None:
    found = fields(sample("CT_small.dcm"))
    prefix = b"/1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
    assert found[prefix + b"/00080060"] == b'{"Value":["CT"],"vr":"CS"}'
    assert found[prefix + b"/00180050"] == b'{"Value":[5.0],"vr":"DS"}'
    assert any(path.startswith(prefix + b"/00431028/") or path.count(b"/") > 2 for path in found)
    assert len(found[prefix + b"/frame/1"]) == 66
    assert not any(path.endswith((b"/7fe00010", b"/00080005")) for path in found)
    assert not any(b"/0002" in path[len(prefix) :][:5] for path in found)


@pytest.mark.parametrize(
    "copy",
    ["MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_expb.dcm"],
)
def test_lossless_transcoding_keeps_the_frames(copy: str) -> None:
    assert frames(sample(copy)) == frames(sample("MR_small.dcm"))


def test_lossless_jpeg_2000_keeps_the_frames() -> None:
    plain = sample("MR_small.dcm")
    assert frames(sample("MR_small_jp2klossless.dcm")) == frames(plain)


def test_another_encoding_of_the_same_attributes_gives_the_same_fields(tmp_path: Path) -> None:
    first = changed("MR_small.dcm", tmp_path / "a", ExplicitVRLittleEndian)
    second = changed("MR_small.dcm", tmp_path / "b", ImplicitVRLittleEndian)
    assert fields(first) == fields(second)


def test_one_pixel_and_one_attribute_change_one_field_each(tmp_path: Path) -> None:
    before = fields(sample("CT_small.dcm"))
    data = bytearray(pydicom.dcmread(sample("CT_small.dcm")).PixelData)
    data[4_000] ^= 1
    after = fields(changed("CT_small.dcm", tmp_path / "x", PixelData=bytes(data)))
    assert [p.rpartition(b"/")[2] for p in before if before[p] != after[p]] == [b"1"]
    after = fields(changed("CT_small.dcm", tmp_path / "y", SliceThickness="5.5"))
    assert [p.rpartition(b"/")[2] for p in before if before[p] != after[p]] == [b"00180050"]


def test_a_lossy_copy_is_derived() -> None:
    found = fields(sample("JPEG2000.dcm"))
    assert (
        [p for p in found if b"/frame/" in p]
        == [p for p in found if p.endswith(b"/frame/1/encoded")]
        != []
    )


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm"])
def test_pixels_without_a_codec_are_refused_or_derived(name: str) -> None:
    path = sample(name)
    syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    if syntax in dicom.LOSSLESS:
        assert reason(path) == "undecodable-pixels"
    else:
        assert all(p.endswith(b"/encoded") for p in fields(path) if b"/frame/" in p)


@pytest.mark.parametrize("size", [0, 1, 131, 132, 200, 1_000, 5_000, 20_000, 38_000])
def test_truncated_files_are_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "short.dcm"
    path.write_bytes(sample("CT_small.dcm").read_bytes()[:size])
    assert reason(path) in {"empty-file", "not-dicom", "bad-uid", "undecodable-pixels"}


def test_what_is_no_dicom_is_refused(tmp_path: Path) -> None:
    for number, data in enumerate((b"hello", b"\0" * 200, os.urandom(500), b"{}")):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert reason(path) == "not-dicom"
    assert reason(tmp_path / "absent") == "cannot-read"


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.dcm"
    with path.open("wb") as file:
        file.truncate(dicom.INSTANCE_BYTES_MAX + 1)
    assert reason(path) == "file-too-large"


def test_a_deflated_file_is_read_and_a_bomb_refused(tmp_path: Path) -> None:
    source = sample("image_dfl.dcm")
    assert len(frames(source)) == 1
    meta = source.read_bytes()
    length = 144 + pydicom.dcmread(source).file_meta.FileMetaInformationGroupLength
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(1024 * 1024)
    bomb = b"".join(packer.compress(zeros) for _ in range(260)) + packer.flush()
    path = tmp_path / "bomb.dcm"
    path.write_bytes(meta[:length] + bomb)
    assert reason(path) == "file-too-large"


def test_a_frame_that_would_be_huge_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = changed("CT_small.dcm", tmp_path / "x", Rows=65_535, Columns=65_535)
    assert reason(path) == "frame-too-large"


def test_chinese_text_is_read_in_its_declared_character_set(tmp_path: Path) -> None:
    declared = {"SpecificCharacterSet": "GB18030", "PatientName": "张^三"}
    wide = fields(changed("CT_small.dcm", tmp_path / "a", **declared))
    declared["SpecificCharacterSet"] = "ISO_IR 192"
    assert fields(changed("CT_small.dcm", tmp_path / "b", **declared)) == wide
    assert any("张^三".encode() in value for value in wide.values())


def test_text_that_does_not_fit_its_character_set_is_refused(tmp_path: Path) -> None:
    path = changed(
        "CT_small.dcm", tmp_path / "a", SpecificCharacterSet="ISO_IR 192", PatientName="张^三"
    )
    broken = tmp_path / "b"
    broken.write_bytes(path.read_bytes().replace("张".encode(), b"\xff\xfe\xfd"))
    assert reason(broken) == "wrong-charset"
    undeclared = tmp_path / "c"
    undeclared.write_bytes(path.read_bytes().replace(b"ISO_IR 192", b"          "))
    assert reason(undeclared) == "wrong-charset"


def test_a_study_is_one_record_of_all_its_instances(tmp_path: Path) -> None:
    study = pydicom.dcmread(sample("CT_small.dcm")).StudyInstanceUID
    first = changed("CT_small.dcm", tmp_path / "a")
    second = changed("MR_small.dcm", tmp_path / "b", StudyInstanceUID=study)
    content = dicom.study_content([first, second])
    assert content.id == f"study/{study}"
    assert (content.kind, content.code, content.effective[:10]) == (
        "ImagingStudy",
        "CT",
        "2004-01-19",
    )
    assert set(content.fields) == set(dicom.study_content([second, first]).fields)
    third = changed("CT_small.dcm", tmp_path / "c", SliceThickness="9")
    with pytest.raises(Unusable) as caught:
        dicom.study_content([first, third])
    assert (caught.value.code, caught.value.position) == ("conflicting-duplicate", 2)


def test_PRIV_1_the_deidentified_study_names_nobody() -> None:
    dataset = pydicom.dcmread(sample("CT_small.dcm"))
    twin = deidentify(
        dicom.study_content([sample("CT_small.dcm")]), 2026, newest_rules("deidentified")
    )
    assert twin is not None
    text = b"\n".join(field.path + field.value for field in twin.fields)
    for name in ("PatientID", "PatientName", "StudyDate", "StudyInstanceUID", "SOPInstanceUID"):
        assert str(dataset.get(name)).encode() not in text
    assert b'{"Value":["CT"],"vr":"CS"}' in text


def test_all_of_pydicoms_files_give_fields_or_reasons() -> None:
    folder = sample("CT_small.dcm").parent
    outcomes = {"fields": 0}
    for path in sorted(folder.glob("*.dcm")):
        try:
            found = dicom.instance_fields(path)
        except Unusable as problem:
            outcomes[problem.code] = outcomes.get(problem.code, 0) + 1
        else:
            outcomes["fields"] += bool(found)
    assert outcomes["fields"] > 40
    assert set(outcomes) - {"fields"} <= set(REASONS)


def test_headers_group_files_without_reading_pixels() -> None:
    header = dicom.read_header(sample("CT_small.dcm"))
    assert (header.patient_id, header.issuer) == ("1CT1", "")
    assert not dicom.is_dicom(Path(__file__))
    assert io.BytesIO(sample("CT_small.dcm").read_bytes()[128:132]).read() == b"DICM"


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["CT_small.dcm", "MR_small_RLE.dcm", "rtplan.dcm", "JPEG2000.dcm"]),
    st.lists(st.tuples(st.integers(128, 3_000), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(0, 40_000),
)
def test_any_damage_gives_fields_or_a_reason_and_nothing_else(
    name: str, flips: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(sample(name).read_bytes())
    for place, value in flips:
        if place < len(data):
            data[place] = value
    if cut % 4 == 0:
        del data[cut:]
    code = ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(data)
        try:
            dicom.read_header(path)
            dicom.instance_fields(path)
        except Unusable as problem:
            code = problem.code
    assert code in {"", *REASONS}
