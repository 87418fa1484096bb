"""Whether the pixels of an image may show whose it is: such images are refused, not passed. Pure.

No software finds all text and faces in pixels, so only kinds of image whose pixels come from a
scanner alone are let through. Names of patients are burned into ultrasound, secondary captures,
scanned documents and photographs as a rule.
"""

import json
from collections.abc import Mapping

_SOP_CLASS, _MODALITY, _IMAGE_TYPE = b"00080016", b"00080060", b"00080008"
_BURNED_IN, _RECOGNISABLE = b"00280301", b"00280302"

_STORAGE = "1.2.840.10008.5.1.4.1.1."
SCANNER_CLASSES = frozenset(_STORAGE + suffix for suffix in ("2", "2.1", "4", "4.1", "128", "130"))
"""CT, MR and PET images, and their enhanced forms."""
PLATE_CLASSES = frozenset(
    _STORAGE + suffix for suffix in ("1", "1.1", "1.1.1", "1.2", "1.2.1", "12.1", "12.2", "20")
)
"""CR, digital X-ray, mammography, angiography, nuclear medicine: only with BurnedInAnnotation NO,
because stations write markers and names into such images."""
MODALITIES = frozenset({"CR", "CT", "DX", "MG", "MR", "NM", "PT", "RF", "XA"})


def pixel_risk(attributes: Mapping[bytes, bytes]) -> str | None:
    """Why the pixels of one instance must not leave, or None where they may.

    ``attributes`` are DICOM JSON texts by tag, as the mapping makes them.
    """
    sop_class = _first(attributes, _SOP_CLASS)
    if sop_class not in SCANNER_CLASSES | PLATE_CLASSES:
        return "this kind of image often has names burned into its pixels"
    if _first(attributes, _MODALITY) not in MODALITIES:
        return "its modality often has names burned into its pixels"
    kinds = _values(attributes, _IMAGE_TYPE)
    if "SECONDARY" in kinds[1:2] or any("SCREEN" in kind or "DOSE" in kind for kind in kinds):
        return "it is a capture of a screen"
    burned_in = _first(attributes, _BURNED_IN)
    if burned_in not in ("", "NO") or (sop_class in PLATE_CLASSES and burned_in != "NO"):
        return "it does not say that nothing is burned into its pixels"
    if _first(attributes, _RECOGNISABLE) not in ("", "NO"):
        return "it shows a face or another feature by which people are recognised"
    return None


def _values(attributes: Mapping[bytes, bytes], tag: bytes) -> list[str]:
    if tag not in attributes:
        return []
    found = json.loads(attributes[tag]).get("Value", [])
    return [str(value).strip().upper() for value in found]


def _first(attributes: Mapping[bytes, bytes], tag: bytes) -> str:
    return next(iter(_values(attributes, tag)), "")
