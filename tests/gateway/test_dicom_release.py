"""De-identified images: what is left of a file, what it proves, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset

from nodes.gateway import dicom
from nodes.gateway.deidentify import deidentify
from nodes.gateway.dicom_release import (
    ImageDiffers,
    PixelsAtRisk,
    deidentified_files,
    verify_deidentified_files,
)
from nodes.view_rules.files import newest_rules
from tests.gateway.test_dicom import changed, sample

RULES = newest_rules("deidentified")
SECRET = bytes(range(32))
CANARIES = ("110101199003078515", "13912345678", "C12345678", "Zhang^San", "zhangsan")
TEXT = {"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}


def released(*paths: Path) -> dict[bytes, bytes]:
    """Fields of the de-identified record of a study."""
    found = deidentify(dicom.study_content(paths), 2026, RULES)
    assert found is not None
    return {field.path: field.value for field in found.fields}


def made(*paths: Path, secret: bytes = SECRET) -> tuple[bytes, ...]:
    return deidentified_files(paths, released(*paths), secret)


def files_of(tmp_path: Path, *paths: Path) -> list[Path]:
    out = []
    for number, data in enumerate(made(*paths)):
        out.append(tmp_path / f"released{number}")
        out[-1].write_bytes(data)
    return out


def planted(tmp_path: Path, canary: str) -> Path:
    """A CT in which every text, also nested, private and in the preamble, is the canary."""
    dataset = pydicom.dcmread(sample("CT_small.dcm"))
    kept = {"Modality", "ImageType", "PhotometricInterpretation", "SpecificCharacterSet"}

    def plant(within: Dataset, element: DataElement) -> None:
        if element.VR in TEXT and element.keyword not in kept and not element.is_private:
            element.value = canary

    dataset.walk(plant)
    item = Dataset()
    item.PatientName = item.PatientComments = canary
    item.ReferencedSOPInstanceUID = "1.2.3"
    dataset.OtherPatientIDsSequence = [item]
    dataset.RequestAttributesSequence = [item]
    dataset.ReferencedImageSequence = [item]
    dataset.private_block(0x0099, "YILIAN", create=True).add_new(1, "LO", canary)
    dataset.PatientBirthDate, dataset.PatientAddress = "19900307", canary
    dataset.preamble = canary.encode().ljust(128, b"\0")
    dataset.file_meta.SourceApplicationEntityTitle = canary[:16]
    path = tmp_path / "planted"
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("canary", CANARIES)
def test_PRIV_1_nothing_planted_in_a_file_comes_out(tmp_path: Path, canary: str) -> None:
    path = planted(tmp_path, canary)
    assert path.read_bytes().count(canary.encode()) > 20
    (data,) = made(path)
    assert canary.encode() not in data
    assert b"19900307" not in data
    text = b" ".join(released(path).values())
    assert canary.encode() not in text


def test_a_released_file_says_how_and_has_stable_uids_of_its_own(tmp_path: Path) -> None:
    first = sample("CT_small.dcm")
    old = pydicom.dcmread(first)
    second = changed(
        "CT_small.dcm",
        tmp_path / "b",
        SOPInstanceUID=f"{old.SOPInstanceUID}.4",
        SliceThickness="9.5",
    )
    files = files_of(tmp_path, first, second)
    # The longer of two UIDs with one beginning comes first, as the paths of fields do.
    verify_deidentified_files(released(first, second), files, RULES)
    one, other = map(pydicom.dcmread, files)
    assert (one.SliceThickness, other.SliceThickness) == (9.5, old.SliceThickness)
    assert one.PatientIdentityRemoved == "YES"
    assert "PS3.15" in one.DeidentificationMethod
    assert [c.CodeValue for c in one.DeidentificationMethodCodeSequence] == ["113100"]
    assert one.StudyInstanceUID == other.StudyInstanceUID != old.StudyInstanceUID
    assert one.SOPInstanceUID == one.file_meta.MediaStorageSOPInstanceUID
    assert one.SOPInstanceUID not in (other.SOPInstanceUID, old.SOPInstanceUID)
    assert one.PixelData == old.PixelData
    assert made(first, second) == made(second, first)
    assert made(first, secret=bytes(32)) != made(first)
    left = {element.keyword for element in one}
    assert not left & {"StudyDate", "PatientBirthDate", "AccessionNumber", "InstitutionName"}
    assert not any(element.tag.is_private for element in one)


def test_LIGHT_1_a_released_file_is_the_one_that_the_record_commits_to(tmp_path: Path) -> None:
    source = sample("CT_small.dcm")
    fields = released(source)
    assert b"/instance/1/frame/1" in fields
    files = files_of(tmp_path, source)
    verify_deidentified_files(fields, files, RULES)
    with pytest.raises(ImageDiffers):
        verify_deidentified_files(fields, files * 2, RULES)
    dataset = pydicom.dcmread(files[0])
    data = bytearray(dataset.PixelData)
    data[100] ^= 1
    dataset.PixelData = bytes(data)
    dataset.save_as(tmp_path / "flipped")
    with pytest.raises(ImageDiffers):
        verify_deidentified_files(fields, [tmp_path / "flipped"], RULES)
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(ImageDiffers):
        verify_deidentified_files(fields, [tmp_path / "junk"], RULES)


def _set(**values: object) -> Callable[[FileDataset], None]:
    def change(dataset: FileDataset) -> None:
        for name, value in values.items():
            setattr(dataset, name, value)

    return change


CR = "1.2.840.10008.5.1.4.1.1.1"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1"), "kind of image"),
        (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "kind of image"),
        (_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.4"), "kind of image"),
        (_set(Modality="US"), "modality"),
        (_set(BurnedInAnnotation="YES"), "burned"),
        (_set(BurnedInAnnotation="UNKNOWN"), "burned"),
        (_set(SOPClassUID=CR, Modality="CR"), "burned"),
        (_set(ImageType=["DERIVED", "SECONDARY", "AXIAL"]), "screen"),
        (_set(ImageType=["ORIGINAL", "PRIMARY", "SCREEN SAVE"]), "screen"),
        (_set(RecognizableVisualFeatures="YES"), "face"),
    ],
)
def test_PRIV_1_images_whose_pixels_may_name_someone_are_refused(
    tmp_path: Path, change: Callable[[FileDataset], None], reason: str
) -> None:
    dataset = pydicom.dcmread(sample("CT_small.dcm"))
    change(dataset)
    path = tmp_path / "risky"
    dataset.save_as(path)
    with pytest.raises(PixelsAtRisk) as caught:
        made(path)
    assert reason in caught.value.reason
    assert caught.value.number == 1
    # Nor does the record tell anything of its pixels.
    assert not any(b"/frame/" in path for path in released(path))


def test_a_plate_that_says_that_nothing_is_burned_in_is_released(tmp_path: Path) -> None:
    path = changed(
        "CT_small.dcm", tmp_path / "cr", SOPClassUID=CR, Modality="CR", BurnedInAnnotation="NO"
    )
    verify_deidentified_files(released(path), files_of(tmp_path, path), RULES)


def test_one_refused_image_refuses_its_study(tmp_path: Path) -> None:
    risky = changed("CT_small.dcm", tmp_path / "b", SOPInstanceUID="9.9", BurnedInAnnotation="YES")
    with pytest.raises(PixelsAtRisk) as caught:
        made(sample("CT_small.dcm"), risky)
    assert caught.value.number == 2
