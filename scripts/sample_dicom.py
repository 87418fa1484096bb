"""DICOM studies of the sample, made from pydicom's own test files.

Each ImagingStudy of the FHIR side gets a real, readable study: the template gives pixels and
acquisition attributes, the FHIR side gives patient, dates and identifiers, and the counts,
modality and UIDs of the ImagingStudy are then set from the instances that were written.
"""

import hashlib
from pathlib import Path
from typing import Any

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID
from sample_people import NATIONAL_ID_SYSTEM, Person

CT_TEMPLATES = (("CT_small.dcm",),)
OTHER_TEMPLATES = (
    ("MR_small.dcm", "MR_small_RLE.dcm"),
    ("MR_small_implicit.dcm",),
    ("SC_rgb_rle_2frame.dcm",),
    ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
)
"""Templates of one study each, all lossless, in the transfer syntaxes that hospitals use."""

_DESCRIPTIONS = {"CT": "CT 平扫", "MR": "MR 平扫", "OT": "截图存档"}
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_UID_SYSTEM = "urn:dicom:uid"


def uid(*parts: str) -> str:
    """A UID under 2.25 (UUID-derived arc) that depends on nothing but `parts`."""
    digest = hashlib.sha256("\x00".join(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _qualifiers(entity: str, kind: str) -> Dataset:
    item = Dataset()
    item.UniversalEntityID = entity
    item.UniversalEntityIDType = kind
    return item


def _identify(dataset: Dataset, person: Person, patient: dict[str, Any], hospital: str) -> None:
    """Write the patient of the FHIR side into the instance: same MRN, name, birth date, sex."""
    mrn = patient["identifier"][0]
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = person.dicom_name
    dataset.PatientID = mrn["value"]
    dataset.IssuerOfPatientID = hospital
    dataset.IssuerOfPatientIDQualifiersSequence = [_qualifiers(mrn["system"], "URI")]
    national = Dataset()
    national.PatientID = person.national_id
    national.TypeOfPatientID = "TEXT"
    national_oid = NATIONAL_ID_SYSTEM.removeprefix("urn:oid:")
    national.IssuerOfPatientIDQualifiersSequence = [_qualifiers(national_oid, "ISO")]
    dataset.OtherPatientIDsSequence = [national]
    dataset.PatientBirthDate = patient["birthDate"].replace("-", "")
    dataset.PatientSex = "M" if patient["gender"] == "male" else "F"
    for keyword in (
        "PatientAge",
        "PatientWeight",
        "PatientSize",
        "OtherPatientIDs",
        "PatientAddress",
        "TimezoneOffsetFromUTC",
    ):
        if keyword in dataset:
            delattr(dataset, keyword)


def _date_and_place(dataset: Dataset, started: str, hospital: str, study: str) -> None:
    date, time = started[:10].replace("-", ""), started[11:19].replace(":", "")
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, date)
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, time)
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    dataset.InstitutionName = hospital
    dataset.AccessionNumber = f"ACC{int(study.rsplit('.', maxsplit=1)[-1]) % 10**8:08d}"
    dataset.StudyID = dataset.AccessionNumber[3:9]
    dataset.ReferringPhysicianName = ""
    for keyword in (
        "InstitutionAddress",
        "StationName",
        "PerformingPhysicianName",
        "OperatorsName",
    ):
        if keyword in dataset:
            delattr(dataset, keyword)


def write_study(
    folder: Path,
    study: dict[str, Any],
    patient: dict[str, Any],
    person: Person,
    hospital: str,
    turn: int,
) -> None:
    """Write the instances of one ImagingStudy under `folder` and make `study` agree with them.

    `turn` picks the template, so that neighbours differ. `study` is changed in place.
    """
    is_ct = any(item.get("code") == "CT" for item in study.get("modality", []))
    pool = CT_TEMPLATES if is_ct else OTHER_TEMPLATES
    templates = pool[turn % len(pool)]
    study_uid, series_uid = uid(hospital, study["id"]), uid(hospital, study["id"], "series")
    instances: list[Dataset] = []
    for number, template in enumerate(templates, start=1):
        source = get_testdata_file(template, download=False)
        if source is None:
            raise SystemExit(f"pydicom does not ship {template}; install the pinned version.")
        dataset = pydicom.dcmread(source)
        dataset.remove_private_tags()
        _identify(dataset, person, patient, hospital)
        _date_and_place(dataset, study["started"], hospital, study_uid)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
        dataset.SOPInstanceUID = uid(hospital, study["id"], str(number))
        dataset.SeriesNumber, dataset.InstanceNumber = 1, number
        dataset.StudyDescription = _DESCRIPTIONS[dataset.Modality]
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.file_meta.ImplementationClassUID = UID(uid("implementation"))
        dataset.file_meta.ImplementationVersionName = "SAMPLE"
        target = folder / study_uid / f"{number}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(target, enforce_file_format=True)
        instances.append(dataset)
    _agree(study, instances)


def _agree(study: dict[str, Any], instances: list[Dataset]) -> None:
    first = instances[0]
    modality = {"system": _DCM, "code": first.Modality}
    study["identifier"] = [{"system": _UID_SYSTEM, "value": f"urn:oid:{first.StudyInstanceUID}"}]
    study["modality"] = [modality]
    study["description"] = first.StudyDescription
    study["numberOfSeries"], study["numberOfInstances"] = 1, len(instances)
    study["series"] = [
        {
            "uid": first.SeriesInstanceUID,
            "number": 1,
            "modality": modality,
            "numberOfInstances": len(instances),
            "instance": [
                {
                    "uid": dataset.SOPInstanceUID,
                    "sopClass": {
                        "system": "urn:ietf:rfc:3986",
                        "code": f"urn:oid:{dataset.SOPClassUID}",
                    },
                    "number": int(dataset.InstanceNumber),
                }
                for dataset in instances
            ],
        }
    ]
    for element in ("procedureCode", "endpoint", "basedOn"):
        study.pop(element, None)
