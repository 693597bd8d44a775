"""Readers: files to pixels with geometry, all through one interface.

A reader is a function ``read(ref: ImageRef) -> Image`` in the registry's table ``readers``. Whatever is wrong
with a file ends in one :class:`~medcnn.errors.ImageError` that names the path and the reason.

Keys of ``Image.header``, all optional, none of them a patient's name, date or UID:

========================  ==================================================================================
``format``                ``JPEG``, ``PNG``, ``TIFF``, ``NIfTI``, ``DICOM``, ``npz``
``bits``                  Bits of a stored value that carry information
``modality``              DICOM's code: ``CT``, ``MR``, ``CR``, ``DX``, ...
``photometric``           DICOM's word: ``MONOCHROME1`` (already inverted), ``MONOCHROME2``, ``RGB``, ``PALETTE COLOR``
``inverted``              ``True`` where MONOCHROME1 or a presentation shape INVERSE was turned round
``window``                ``(centre, width)`` of the file's first window, in the unit of the array
``body_part``             BodyPartExamined as it stands there (often blank or wrong)
``view``, ``laterality``  Of a radiograph
``sop_class``             What kind of DICOM object it is
``slices``                Number of files or frames of a stack
``spacing_source``        The tag that the spacing comes from; ``ImagerPixelSpacing`` is at the detector
``tilt_degrees``          Gantry tilt of a stack that is kept sheared
``notes``                 Sentences about what the reader did or left aside
========================  ==================================================================================
"""

from __future__ import annotations

from medcnn.data.images.reading import Reader, read_case, read_image
from medcnn.data.images.sniff import series_files, sniff

__all__ = ["Reader", "read_case", "read_image", "series_files", "sniff"]
