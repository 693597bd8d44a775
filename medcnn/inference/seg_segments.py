"""The labels of a schema as the segments of a DICOM segmentation, with their codes."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from medcnn import __version__
from medcnn.types import LabelClass, LabelSchema

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom.sr.coding import Code

# Schemes that begin with 99 are private (PS3.16, section 8).
PRIVATE_SCHEME = "99MEDCNN"
_LONGEST = 64
_HEX = re.compile(r"#[0-9a-fA-F]{6}")
# "Lesion Segmentation Types", "Common Tissue Segmentation Types" (PS3.16), and the category of what they list.
_LISTS = (("CID7159", "MorphologicallyAbnormalStructure"), ("CID7166", "Tissue"))


def segments_of(schema: LabelSchema) -> list[SegmentDescription]:
    """One segment a label, numbered from 1 in the schema's order."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentificationSequence("medcnn", codes.DCM.ArtificialIntelligence, __version__)
    found = []
    for number, label in enumerate(schema.classes, 1):
        kind = type_of(label)
        colour = label.color if label.color is not None and _HEX.fullmatch(label.color) else None
        rgb = None if colour is None else [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        found.append(
            SegmentDescription(
                number,
                label.name[:_LONGEST],
                category_of(kind),
                kind,
                SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm,
                display_color=None if rgb is None else CIELabColor.from_rgb(*rgb),
            )
        )
    return found


def type_of(label: LabelClass) -> Code:
    """The code of what a label is: its own, ``SCHEME:VALUE[:MEANING]``, else a private one."""
    from pydicom.sr.coding import Code

    scheme, value, meaning = (*(label.code or "").split(":", 2), "", "", "")[:3]
    if scheme and value:
        return Code(value, scheme, (meaning or label.name)[:_LONGEST])
    return Code(f"LABEL-{label.value}", PRIVATE_SCHEME, label.name[:_LONGEST])


def without_code(schema: LabelSchema) -> list[str]:
    """Names of the labels whose codes are private ones."""
    return [label.name for label in schema.classes if type_of(label).scheme_designator == PRIVATE_SCHEME]


def category_of(kind: Code) -> Code:
    """The category of a code (CID 7150): of what is not coded nothing more than that it is some region."""
    from pydicom.sr.codedict import codes

    name = "SpatialAndRelationalConcept" if kind.scheme_designator == PRIVATE_SCHEME else "AnatomicalStructure"
    for group, category in _LISTS:
        if (kind.scheme_designator, kind.value) in _listed(group):
            name = category
    found: Code = getattr(codes.CID7150, name)
    return found


@cache
def _listed(name: str) -> frozenset[tuple[str, str]]:
    """Scheme and value of the codes of a context group."""
    from pydicom.sr.codedict import codes

    group: Any = getattr(codes, name, None)
    found: list[Code] = [getattr(group, concept) for concept in (group.dir() if group is not None else ())]
    return frozenset((code.scheme_designator, code.value) for code in found)
