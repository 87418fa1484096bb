"""De-identified DICOM files: PS3.15 Basic Profile, then the allow-list of the view's rules.

dicom-anonymizer applies the actions of PS3.15 Table E.1-1, at every level of nesting. What is
left is reduced to what the released record shows, and what every image has. UIDs are replaced
by ones that are the same each time and in all instances of a study, and that only the record's
secret could tie to the old ones. Images whose pixels may show a person are refused.
"""

import hmac
import io
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import pydicom
from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions_2024b
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID

from ledger.errors import PeerFault
from ledger.light.view_rules import DICOM, ViewRules
from nodes.gateway.dicom import instance_fields, readable
from nodes.gateway.pixel_risk import pixel_risk
from nodes.gateway.records import Unusable

METHOD = "DICOM PS3.15 2024b Basic Profile, allow-list of yilian view deidentified"
BASIC_PROFILE = ("113100", "DCM", "Basic Application Confidentiality Profile")
_STABLE_UIDS = (0x00080018, 0x0020000D, 0x0020000E)
"""Instance, study and series; other UIDs are dropped."""
_NEEDED = frozenset(
    {
        *_STABLE_UIDS,
        *(0x00100010, 0x00100020, 0x00120062, 0x00120063, 0x00120064, 0x00280006, 0x00280303),
        *(0x7FE00008, 0x7FE00009, 0x7FE00010),
    }
)
"""What every image has, or must have to be read, beside what the rules show."""
_PHOTOMETRIC = frozenset({"MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_RCT"})


@dataclass(eq=False)
class PixelsAtRisk(PeerFault):
    """An image is refused, because its pixels may show whose it is."""

    number: int
    """Of the instance in its study, from 1."""
    reason: str
    template = "image {number} cannot be de-identified: {reason}; release a cleaned copy instead"


@dataclass(eq=False)
class ImageDiffers(PeerFault):
    """A de-identified image is not the one that the released record commits to."""

    number: int
    template = "image {number} is not what the released record commits to"


def deidentified_files(
    paths: Sequence[Path], fields: Mapping[bytes, bytes], secret: bytes
) -> tuple[bytes, ...]:
    """The files of a study without identity, in the order of its instances; all or none.

    ``fields`` are those of its de-identified record. The same arguments give the same bytes.
    Raises PixelsAtRisk, or Unusable as ``instance_fields``.
    """
    by_uid: dict[bytes, tuple[Path, dict[bytes, bytes]]] = {}
    for path in paths:
        instance, attributes = _attributes(path)
        by_uid[instance] = (path, attributes)
    files = []
    for number, (_, (path, attributes)) in enumerate(sorted(by_uid.items()), 1):
        risk = pixel_risk(attributes)
        if risk is not None:
            raise PixelsAtRisk(number, risk)
        prefix = b"/instance/%d/" % number
        shown = {p.removeprefix(prefix) for p in fields if p.startswith(prefix)}
        files.append(_deidentified(path, number, secret, shown))
    return tuple(files)


def _attributes(path: Path) -> tuple[bytes, dict[bytes, bytes]]:
    """``/<SOP Instance UID>/``, by which instances are numbered, and DICOM JSON text by tag."""
    found = {}
    instance = b""
    for field in instance_fields(path):
        _, uid, tag = field.path.split(b"/", 2)
        instance = b"/" + uid + b"/"
        found[tag] = field.value
    return instance, found


def _deidentified(path: Path, number: int, secret: bytes, shown: Set[bytes]) -> bytes:
    dataset = readable(path)
    if dataset.get("PhotometricInterpretation") not in _PHOTOMETRIC:
        raise PixelsAtRisk(number, "its colours come from a palette, as those of captures do")
    uids = {tag: stable_uid(secret, str(dataset[tag].value)) for tag in _STABLE_UIDS}
    _apply_basic_profile(dataset)
    for found in list(dataset.keys()):
        if found not in _NEEDED and b"%08x" % found not in shown:
            del dataset[found]
    for tag, uid in uids.items():
        dataset[tag].value = uid
    dataset.PatientName = dataset.PatientID = "DEIDENTIFIED"
    _state_method(dataset)
    return _written(dataset, uids[0x00080018])


def _apply_basic_profile(dataset: Dataset) -> None:
    """Also to the items of sequences, which the library leaves as they are."""
    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value:
                _apply_basic_profile(item)
    anonymize_dataset(dataset, base_rules_gen=initialize_actions_2024b)


def stable_uid(secret: bytes, uid: str) -> UID:
    """2.25.<128 bits of HMAC-SHA-256(secret, uid)>: the same for one record, else unrelated."""
    digest = hmac.digest(secret, b"uid/" + uid.encode(), "sha256")
    return UID(f"2.25.{int.from_bytes(digest[:16])}")


def _state_method(dataset: Dataset) -> None:
    """(0012,0062), (0012,0063), (0012,0064): that, how, and by which options it was done."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = BASIC_PROFILE
    dataset.DeidentificationMethodCodeSequence = Items([code])
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


def _written(dataset: FileDataset, uid: UID) -> bytes:
    """A file with a preamble and group 0002 of our own: both may hold what a sender wrote."""
    syntax = dataset.file_meta.TransferSyntaxUID
    dataset.preamble = bytes(128)
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = syntax
    dataset.file_meta = meta
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def verify_deidentified_files(
    fields: Mapping[bytes, bytes], files: Sequence[Path], rules: ViewRules
) -> None:
    """Raises ImageDiffers unless each file holds exactly what the released record shows of it.

    ``fields`` are those of a verified record; ``files`` are in the order of its instances.
    """
    numbers = {path.split(b"/")[2] for path in fields if path.startswith(b"/instance/")}
    if len(numbers) != len(files):
        raise ImageDiffers(len(files))
    for number, path in enumerate(files, 1):
        prefix = b"/instance/%d/" % number
        wanted = {path: value for path, value in fields.items() if path.startswith(prefix)}
        try:
            found = {
                prefix + field.path.split(b"/", 2)[2]: field.value
                for field in instance_fields(path)
            }
        except Unusable:
            raise ImageDiffers(number) from None
        shown = {path: value for path, value in found.items() if rules.shows(DICOM, path)}
        if shown != wanted:
            raise ImageDiffers(number)
