"""DICOM files as commitments need them: a study is one record, made of all its instances.

Attributes are committed by their DICOM JSON text, pixels by the digest of each decoded frame, so
that a lossless transcoding in a PACS leaves the root as it is (decision 9). What belongs to the
encoding and not to the content is left out: group 0002, group lengths, SpecificCharacterSet,
PlanarConfiguration, trailing padding. Frames that were compressed with loss are committed by the
digest of their encoded bytes under ``/encoded``: such a copy is derived.
"""

import base64
import json
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np
import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_fragments, generate_frames
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ledger.commitment import Field
from ledger.crypto.hashing import Tag, hash_tagged
from ledger.limits import COMMITMENT_FIELDS_MAX, FIELD_PATH_BYTES_MAX
from nodes.gateway.records import Content, Unusable

INSTANCE_BYTES_MAX = 256 * 1024 * 1024
"""One file; larger ones are listed, not read."""
FRAME_BYTES_MAX = 256 * 1024 * 1024
"""One decoded frame, computed from the header before anything is decoded."""
DEFER_BYTES = 1024 * 1024
"""Values larger than this are read from the file only when they are used."""
INLINE_BYTES_MAX = 64 * 1024
"""Binary values larger than this are committed by their SHA-256."""
SEQUENCE_DEPTH_MAX = 16
MODALITY_SYSTEM = "http://dicom.nema.org/resources/ontology/DCM"

LOSSLESS = frozenset(
    "1.2.840.10008.1.2" + suffix
    for suffix in (
        *("", ".1", ".2", ".1.99", ".5"),
        *(".4.57", ".4.70", ".4.80", ".4.90", ".4.201", ".4.202"),
    )
)
"""Transfer syntaxes whose decoded pixels are the content."""
_ENCAPSULATED_LOSSY = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(50|51|81|91|203|10[0-8])(\.1)?")
_VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?")
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_ENCODING_ONLY = frozenset({0x00080005, 0x00280006, 0x7FE00001, 0x7FE00002, 0xFFFCFFFC, *_PIXELS})
_META_START = 128 + 4 + 12
"""Preamble, prefix, and the element that says how long the rest of group 0002 is."""
_PHOTOMETRIC = 0x00280004
_UID = re.compile(r"[0-9.]{1,64}")
_PATIENT_TAGS = ["PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SOPInstanceUID"]
_TEXT_VR = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})

# What pydicom raises on damaged content; it documents no common base.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    EOFError,
    OSError,
    BytesLengthException,
    InvalidDicomError,
)
# pydicom's messages quote values, and values are patient data.
logging.getLogger("pydicom").disabled = True
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """What groups a file into its study, read without the rest."""

    path: Path
    study_uid: str
    sop_uid: str
    patient_id: str
    issuer: str


def is_dicom(path: Path) -> bool:
    """Whether a file has the DICOM preamble; raises OSError."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_header(path: Path) -> InstanceHeader:
    """Identifiers of one instance.

    Raises Unusable: empty-file, file-too-large, not-dicom, bad-uid, cannot-read.
    """
    dataset = _read(path, _PATIENT_TAGS)
    study, sop = _text(dataset, "StudyInstanceUID"), _text(dataset, "SOPInstanceUID")
    if not _UID.fullmatch(study) or not _UID.fullmatch(sop):
        raise Unusable("bad-uid")
    return InstanceHeader(
        path, study, sop, _text(dataset, "PatientID"), _text(dataset, "IssuerOfPatientID")
    )


def readable(path: Path) -> FileDataset:
    """The whole data set of a file; raises Unusable as ``read_header``."""
    return _read(path, None)


def _read(path: Path, tags: list[str] | None) -> FileDataset:
    _strict_warnings()
    try:
        size = path.stat().st_size
        if size == 0:
            raise Unusable("empty-file")
        if size > INSTANCE_BYTES_MAX:
            raise Unusable("file-too-large")
        _check_inflated_size(path)
        return pydicom.dcmread(
            path,
            defer_size=DEFER_BYTES,
            stop_before_pixels=tags is not None,
            specific_tags=cast("list[Any] | None", tags),
        )
    except OSError:
        raise Unusable("cannot-read") from None
    except (UserWarning, *_DAMAGE):
        raise Unusable("not-dicom") from None


def _check_inflated_size(path: Path) -> None:
    """A deflated data set is inflated whole by pydicom, so its size is found out first."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    total = 0
    with path.open("rb") as file:
        file.seek(_META_START + int(meta.FileMetaInformationGroupLength))
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        while chunk := inflater.unconsumed_tail or file.read(DEFER_BYTES):
            total += len(inflater.decompress(chunk, DEFER_BYTES))
            if total > INSTANCE_BYTES_MAX:
                raise Unusable("file-too-large")


def _strict_warnings() -> None:
    # pydicom only warns where a file ends too early or where text had to be replaced. Warnings
    # are process-wide; setting them again is cheap, and survives whoever resets them.
    warnings.filterwarnings("ignore", module=r"pydicom.*")
    for damage in (r".*end of file", r".*End of input", r"Failed to decode", r"Unknown encoding"):
        warnings.filterwarnings("error", message=damage)


def _text(dataset: Dataset, name: str) -> str:
    try:
        value = dataset.get(name)
    except UserWarning:
        raise Unusable("wrong-charset") from None
    except _DAMAGE:
        raise Unusable("not-dicom") from None
    return "" if value is None else str(value).strip(" \0")


def study_content(paths: Sequence[Path]) -> Content:
    """The record of one study, from all files of its instances, in any order.

    Raises Unusable as ``instance_fields``, and conflicting-duplicate where two files hold
    different content for one SOP instance.
    """
    fields: dict[bytes, bytes] = {}
    modalities: set[str] = set()
    started: set[str] = set()
    study = ""
    for position, path in enumerate(paths, 1):
        try:
            dataset = _read(path, None)
            found = _instance_fields(dataset, path)
        except Unusable as problem:
            raise Unusable(problem.code, position) from None
        for field in found:
            if fields.setdefault(field.path, field.value) != field.value:
                raise Unusable("conflicting-duplicate", position)
        if len(fields) >= COMMITMENT_FIELDS_MAX:
            raise Unusable("too-many-elements", position)
        study = _text(dataset, "StudyInstanceUID")
        modalities.add(_text(dataset, "Modality"))
        started.add(_started(_text(dataset, "StudyDate"), _text(dataset, "StudyTime")))
    return Content(
        id=f"study/{study}",
        kind="ImagingStudy",
        code_system=MODALITY_SYSTEM,
        code=min(modalities),
        effective=min(started),
        national_index=None,
        fields=tuple(Field(path, value) for path, value in fields.items()),
        dependencies=(),
    )


def instance_fields(path: Path) -> list[Field]:
    """Fields of one file, as they stand in its study's commitment: a receiver checks by them.

    Raises Unusable: empty-file, file-too-large, not-dicom, bad-uid, wrong-charset,
    frame-too-large, undecodable-pixels, nested-too-deep, cannot-read.
    """
    return _instance_fields(_read(path, None), path)


def _started(date: str, time: str) -> str:
    if not re.fullmatch(r"\d{8}", date, re.ASCII):
        return ""
    day = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    if not re.match(r"\d{6}", time, re.ASCII):
        return day
    return f"{day}T{time[:2]}:{time[2:4]}:{time[4:6]}"


def _instance_fields(dataset: FileDataset, path: Path) -> list[Field]:
    sop = _text(dataset, "SOPInstanceUID")
    if not _UID.fullmatch(sop) or not _UID.fullmatch(_text(dataset, "StudyInstanceUID")):
        raise Unusable("bad-uid")
    fields: list[Field] = []
    try:
        _check_complete(dataset, path.stat().st_size)
        _attributes(dataset, f"/{sop}", fields, 0, False)
        if any(tag in dataset for tag in _PIXELS):
            fields.extend(_frames(dataset, path, f"/{sop}/frame/"))
        elif "Rows" in dataset:
            raise Unusable("not-dicom")  # an image whose pixels were cut off
    except (UserWarning, *_DAMAGE):
        raise Unusable("not-dicom") from None
    return fields


def _check_complete(dataset: FileDataset, size: int) -> None:
    """A value that ends before its length says so is only shortened by pydicom."""
    for tag in dataset.keys():  # noqa: SIM118  # iterating the set itself converts each value
        raw = dataset.get_item(tag, keep_deferred=True)
        if not isinstance(raw, RawDataElement) or raw.length == 0xFFFFFFFF:
            continue
        short = raw.value is not None and len(raw.value) < raw.length
        if short or (raw.value is None and raw.value_tell + raw.length > size):
            raise Unusable("not-dicom")


def _attributes(
    dataset: Dataset, prefix: str, fields: list[Field], depth: int, declared: bool
) -> None:
    """Appends the attributes of a data set; ``declared``: an outer one names a character set."""
    declared = declared or bool(dataset.get("SpecificCharacterSet"))
    if depth > SEQUENCE_DEPTH_MAX:
        raise Unusable("nested-too-deep")
    for tag in sorted(dataset.keys()):
        if tag in _ENCODING_ONLY or tag.element == 0 or tag.group == 0x0002:
            continue
        path = f"{prefix}/{tag.group:04x}{tag.element:04x}"
        element = _element(dataset, tag)
        if isinstance(element, DataElement) and element.VR == "SQ" and len(element.value):
            for index, item in enumerate(element.value):
                inner = len(fields)
                _attributes(item, f"{path}/{index}", fields, depth + 1, declared)
                if len(fields) == inner:
                    fields.append(_field(f"{path}/{index}", "{}"))
        else:
            fields.append(_field(path, _json_text(element, declared)))


def _field(path: str, text: str) -> Field:
    if len(path) > FIELD_PATH_BYTES_MAX:
        raise Unusable("path-too-long")
    return Field(path.encode(), text.encode("utf-8", "surrogatepass"))


def _element(dataset: Dataset, tag: Any) -> DataElement | RawDataElement:
    """The attribute, or its bytes where they are no valid value of its VR."""
    raw = dataset.get_item(tag, keep_deferred=True)
    try:
        return cast(DataElement, dataset[tag])
    except UserWarning:
        raise Unusable("wrong-charset") from None
    except _DAMAGE:
        if isinstance(raw, RawDataElement) and raw.value is not None:
            return raw
        raise Unusable("not-dicom") from None


def _json_text(element: DataElement | RawDataElement, declared: bool) -> str:
    """Canonical DICOM JSON text of one attribute: no white space, members sorted."""
    if isinstance(element, RawDataElement):
        return _dump({"vr": str(element.VR), "InlineBinary": _base64(element.value or b"")})
    if element.VR in _TEXT_VR:
        text = str(element.value)
        # Without a declaration the text is ASCII; anything else would be guessed.
        if "\ufffd" in text or not (declared or text.isascii()):
            raise Unusable("wrong-charset")
    if isinstance(element.value, bytes) and len(element.value) > INLINE_BYTES_MAX:
        return _dump({"vr": str(element.VR), "sha256": sha256(element.value).hexdigest()})
    try:
        value = element.to_json_dict(None, 0)
        if element.tag == _PHOTOMETRIC and value.get("Value") == ["YBR_RCT"]:
            # The colour transform of lossless JPEG 2000; decoded, the pixels are RGB.
            value["Value"] = ["RGB"]
        return _dump(value)
    except UserWarning:
        raise Unusable("wrong-charset") from None
    except _DAMAGE:
        # A number that is none, such as an IS of "1.5a", is committed as the text it is.
        return _dump({"vr": str(element.VR), "text": str(element.value)})


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _frames(dataset: FileDataset, path: Path, prefix: str) -> Iterator[Field]:
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    if syntax in LOSSLESS:
        _check_frame_size(dataset)
        # From the file one frame at a time, unless the data set had to be inflated anyway.
        inflated = syntax == DeflatedExplicitVRLittleEndian
        digests, suffix = _decoded_digests(dataset if inflated else path), ""
    elif _ENCAPSULATED_LOSSY.fullmatch(syntax):
        digests, suffix = _encoded_digests(dataset, syntax), "/encoded"
    else:
        raise Unusable("undecodable-pixels")
    count = 0
    try:
        for count, digest in enumerate(digests, 1):
            yield _field(f"{prefix}{count}{suffix}", f'"{digest.hex()}"')
    except (UserWarning, MemoryError, *_DAMAGE):
        raise Unusable("undecodable-pixels") from None
    if count == 0:
        raise Unusable("undecodable-pixels")


def _number(dataset: Dataset, name: str, default: int) -> int:
    try:
        value = dataset.get(name)
        return default if value in (None, "") else int(cast(Any, value))
    except (UserWarning, *_DAMAGE):
        raise Unusable("undecodable-pixels") from None


def _check_frame_size(dataset: Dataset) -> None:
    rows, columns = _number(dataset, "Rows", 0), _number(dataset, "Columns", 0)
    samples, bits = _number(dataset, "SamplesPerPixel", 1), _number(dataset, "BitsAllocated", 16)
    if rows * columns * samples * max(bits, 8) // 8 > FRAME_BYTES_MAX:
        raise Unusable("frame-too-large")


def _decoded_digests(source: Path | FileDataset) -> Iterator[bytes]:
    """H("dicom-pixels", "<rows>x<columns>x<samples>:<u, i or f><bits>", samples little-endian).

    Samples of a pixel lie together, rows from top to bottom, whatever the file does.
    """
    for frame in iter_pixels(source, raw=True):
        pixels = np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("<"))
        shape = (*pixels.shape, 1)[:3]
        kind = f"{pixels.dtype.kind}{pixels.dtype.itemsize * 8}"
        header = f"{'x'.join(map(str, shape))}:{kind}"
        yield hash_tagged(Tag.DICOM_PIXELS, header.encode(), pixels.tobytes())


def _encoded_digests(dataset: FileDataset, syntax: str) -> Iterator[bytes]:
    """H("dicom-pixels", "encoded:<transfer syntax>", encoded bytes of the frame)."""
    header = f"encoded:{syntax}".encode()
    data = dataset.PixelData
    if _VIDEO.fullmatch(syntax):
        yield hash_tagged(Tag.DICOM_PIXELS, header, b"".join(generate_fragments(data)))
        return
    frames = _number(dataset, "NumberOfFrames", 1)
    for frame in generate_frames(data, number_of_frames=frames):
        yield hash_tagged(Tag.DICOM_PIXELS, header, frame)
