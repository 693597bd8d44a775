"""Readers: files to pixels with geometry, all through one interface.

A reader is a function ``read(ref: ImageRef) -> Image`` in the registry's table ``readers``. Whatever is wrong
with a file ends in one :class:`~medcnn.errors.ImageError` that names the path and the reason.

DICOM is read in three steps that can be used alone: :func:`scan_file` reads a header without pixels,
:func:`stacks_of` divides headers into stacks, :func:`read_stack` reads the pixels of one. :func:`pick` chooses a
stack by a :class:`StackRule`. For MONAI there is :class:`medcnn.data.images.monai_reader.MedcnnReader`.

Keys of ``Image.header``, all optional, none of them a patient's name, date or UID:

========================  ==================================================================================
``format``                ``JPEG``, ``PNG``, ``TIFF``, ``NIfTI``, ``DICOM``, ``npz``, ``MINC``, ``NRRD``, ...
``bits``                  Bits of a stored value that carry information
``modality``              DICOM's code: ``CT``, ``MR``, ``CR``, ``DX``, ...
``photometric``           DICOM's word: ``MONOCHROME1`` (already inverted), ``MONOCHROME2``, ``RGB``, ``PALETTE COLOR``
``inverted``              ``True`` where MONOCHROME1 or a presentation shape INVERSE was turned round
``window``                ``(centre, width)`` of the file's first window, in the unit of the array
``body_part``             BodyPartExamined as it stands there (often blank or wrong)
``view``, ``laterality``  Of a radiograph
``sop_class``             What kind of DICOM object it is
``kind``                  The same in one word: ``image``, ``localizer``, ``secondary capture``, ...
``slices``                Number of files or frames of a stack
``spacing_source``        The tag that the spacing comes from; ``ImagerPixelSpacing`` is at the detector
``tilt_degrees``          Gantry tilt of a stack
``padding``               On request: boolean ``(X, Y[, Z])``, true where the file says that there is no image
``notes``                 Sentences about what the reader did or left aside
========================  ==================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medcnn.data.images.options import ReadOptions
from medcnn.data.images.reading import Reader, read_case, read_image
from medcnn.data.images.sniff import series_files, sniff

if TYPE_CHECKING:
    from medcnn.data.images.dicom import read_stack
    from medcnn.data.images.dicom_header import Header, Refusal, Slice, scan_file
    from medcnn.data.images.stack_rule import StackRule, pick
    from medcnn.data.images.stacks import Stack, stacks_of

__all__ = [
    "Header",
    "ReadOptions",
    "Reader",
    "Refusal",
    "Slice",
    "Stack",
    "StackRule",
    "pick",
    "read_case",
    "read_image",
    "read_stack",
    "scan_file",
    "series_files",
    "sniff",
    "stacks_of",
]

# What only DICOM needs is imported when it is asked for: a folder of pictures never pays for it.
_LATE = {
    "read_stack": "dicom",
    "Header": "dicom_header",
    "Refusal": "dicom_header",
    "Slice": "dicom_header",
    "scan_file": "dicom_header",
    "StackRule": "stack_rule",
    "pick": "stack_rule",
    "Stack": "stacks",
    "stacks_of": "stacks",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
