"""One study through every path by which stores hand it on: the same content, the same root.

STOW and WADO with ``transfer-syntax=*`` hand on the very bytes; WADO without it transcodes to
Explicit Little Endian; C-STORE rewrites group 0002; a PACS re-encodes to RLE or JPEG 2000.
"""

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.pixels import compress
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from pynetdicom import AE, evt

from ledger.commitment import commit_record
from ledger.primitives import Hash32
from nodes.gateway import dicom
from tests.gateway.test_dicom import sample

SECRET = bytes(32)
SOURCES = ("CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm", "rtdose.dcm")


def root_of(path: Path) -> Hash32:
    content = dicom.study_content([path])
    return commit_record(content.fields, content.dependencies, SECRET).root


def written(dataset: FileDataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def syntax(name: str, target: Path, source: Path) -> Path:
    """What WADO-RS answers for ``transfer-syntax=<name>``, or by default."""
    dataset = pydicom.dcmread(source)
    if name not in (RLELossless, JPEG2000Lossless):
        dataset.file_meta.TransferSyntaxUID = name
        implicit = name == ImplicitVRLittleEndian
        dataset.save_as(target, little_endian=True, implicit_vr=implicit, enforce_file_format=True)
        return target
    if name == JPEG2000Lossless and dataset.SamplesPerPixel == 3:
        dataset.PhotometricInterpretation = "YBR_RCT"
    compress(dataset, name, generate_instance_uid=False)
    return written(dataset, target)


@pytest.fixture(scope="module")
def archive() -> Iterator[tuple[int, list[FileDataset]]]:
    """A DICOM service that keeps what it gets by C-STORE, as a PACS does."""
    kept: list[FileDataset] = []

    def store(event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        kept.append(dataset)
        return 0x0000

    service = AE()
    for name in SOURCES:
        dataset = pydicom.dcmread(sample(name))
        service.add_supported_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    server = service.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    yield server.server_address[1], kept
    server.shutdown()


def through_c_store(archive: tuple[int, list[FileDataset]], source: Path, target: Path) -> Path:
    port, kept = archive
    dataset = pydicom.dcmread(source)
    client = AE()
    client.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = client.associate("127.0.0.1", port)
    assert association.is_established
    assert association.send_c_store(dataset).Status == 0
    association.release()
    return written(kept[-1], target)


@pytest.mark.parametrize("name", SOURCES)
def test_G4_the_same_content_has_the_same_root_through_every_path(
    name: str, archive: tuple[int, list[FileDataset]], tmp_path: Path
) -> None:
    source = sample(name)
    root = root_of(source)
    stow = tmp_path / "stow"
    stow.write_bytes(source.read_bytes())
    paths = {"STOW, WADO as stored": stow}
    paths["C-STORE"] = through_c_store(archive, source, tmp_path / "c-store")
    assert paths["C-STORE"].read_bytes() != source.read_bytes()
    for number, wanted in enumerate(
        (
            ExplicitVRLittleEndian,
            ImplicitVRLittleEndian,
            DeflatedExplicitVRLittleEndian,
            RLELossless,
            JPEG2000Lossless,
        )
    ):
        packed = wanted in (RLELossless, JPEG2000Lossless)
        if packed and pydicom.dcmread(source).BitsAllocated > 16:
            continue  # DICOM has neither of these for 32 bits
        paths[f"WADO as {wanted.name}"] = syntax(wanted, tmp_path / str(number), source)
    assert {path: root_of(file) for path, file in paths.items()} == dict.fromkeys(paths, root)


@pytest.mark.parametrize("name", SOURCES)
def test_G4_one_flipped_pixel_gives_another_root_in_every_encoding(
    name: str, tmp_path: Path
) -> None:
    dataset = pydicom.dcmread(sample(name))
    data = bytearray(dataset.PixelData)
    data[len(data) // 2] ^= 1
    dataset.PixelData = bytes(data)
    flipped = written(dataset, tmp_path / "flipped")
    name_of_packed = RLELossless if dataset.BitsAllocated <= 16 else DeflatedExplicitVRLittleEndian
    packed = syntax(name_of_packed, tmp_path / "packed", flipped)
    root = root_of(sample(name))
    assert root_of(flipped) == root_of(packed) != root


def test_G4_a_lossy_copy_is_shown_as_derived_never_as_the_same(tmp_path: Path) -> None:
    source = sample("CT_small.dcm")
    dataset = pydicom.dcmread(source)
    compress(dataset, JPEG2000, j2k_cr=[20], generate_instance_uid=False)
    lossy = written(dataset, tmp_path / "lossy")
    frames = [f.path for f in dicom.instance_fields(lossy) if b"/frame/" in f.path]
    assert [path.rpartition(b"/")[2] for path in frames] == [b"encoded"]
    assert root_of(lossy) != root_of(source)


def test_G4_lossy_data_under_a_lossless_syntax_is_another_image(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(sample("CT_small.dcm"))
    compress(dataset, JPEG2000, j2k_cr=[20], generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    disguised = written(dataset, tmp_path / "disguised")
    assert root_of(disguised) != root_of(sample("CT_small.dcm"))
