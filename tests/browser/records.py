"""Records of one invented person, which the page's tests register: FHIR, hostile text, a study."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydicom import dcmread
from pydicom.data import get_testdata_file

from nodes.gateway.dicom import study_content
from nodes.gateway.fhir import flatten, parse_json

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
CANARY = "canary-medicine 500 mg"
LOINC = "http://loinc.org"
SUBJECT = {"reference": "Patient/1", "display": "张小明"}

RESOURCES: tuple[dict[str, Any], ...] = (
    {
        "resourceType": "Observation",
        "id": "glucose",
        "status": "final",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "laboratory",
                    }
                ]
            }
        ],
        "code": {
            "coding": [{"system": LOINC, "code": "15074-8", "display": "Glucose in blood"}],
            "text": "Glucose in blood",
        },
        "subject": SUBJECT,
        "effectiveDateTime": "2024-03-05T08:15:00+08:00",
        "valueQuantity": {"value": 6.3, "unit": "mmol/L", "code": "mmol/L"},
        "referenceRange": [
            {
                "low": {"value": 3.9, "unit": "mmol/L"},
                "high": {"value": 6.1, "unit": "mmol/L"},
            }
        ],
    },
    {
        "resourceType": "MedicationRequest",
        "id": "medicine",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": CANARY},
        "subject": SUBJECT,
        "authoredOn": "2024-03-06",
        "dosageInstruction": [{"text": f"{CANARY} twice a day"}],
    },
    {
        "resourceType": "DiagnosticReport",
        "id": "hostile",
        "status": "final",
        "code": {"text": HOSTILE},
        "subject": SUBJECT,
        "effectiveDateTime": "2024-03-07",
        "conclusion": f"{HOSTILE} {{name}} 结论：未见异常。",
        "contained": [{"resourceType": "Medication", "code": {"text": CANARY}}],
        "text": {
            "status": "generated",
            "div": f"<div><p>First line</p><p>a &lt; b</p>{HOSTILE}</div>",
        },
    },
)


def fhir_record(resource: dict[str, Any]) -> tuple[str, dict[bytes, bytes]]:
    """Kind and fields, as the gateway flattens them."""
    # A number is text to a record: 6.30 is what was measured.
    text = json.dumps(resource, ensure_ascii=False).replace("6.3,", "6.30,")
    value = parse_json(text.encode())
    assert isinstance(value, dict)
    return resource["resourceType"], {field.path: field.value for field in flatten(value)}


def study_record() -> tuple[tuple[str, dict[bytes, bytes]], bytes]:
    """A study of one uncompressed image, and its file.

    It names no contrast agent: a resident's view hides that, and a file with it cannot come along.
    """
    path = get_testdata_file("CT_small.dcm", download=False)
    assert path is not None, "pydicom ships it"
    image = dcmread(path)
    del image.ContrastBolusAgent
    with TemporaryDirectory() as folder:
        made = Path(folder) / "image.dcm"
        image.save_as(made)
        content = study_content([made])
        fields = {field.path: field.value for field in content.fields}
        return (content.kind, fields), made.read_bytes()
