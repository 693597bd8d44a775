"""What a caller may ask of the readers beyond the plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from medcnn.data.images.stack_rule import StackRule


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How images are to be read; the defaults give the modality's own values in the file's own grid.

    Attributes:
        voi: Position of the window or VOI LUT of the file that is applied (DICOM); ``None`` applies none.
        grey: Turn colour into grey by luma (ITU-R BT.601).
        padding: What becomes of DICOM's padding: ``lowest`` sets it to the smallest value of the rest, ``keep``
            leaves it, ``mask`` sets it to the smallest value and adds the header's key ``padding``, a boolean array
            ``(X, Y[, Z])`` that is true where the file has no image.
        straighten: Resample a stack of tilted slices to a grid with right angles.
        exif: Turn JPEG, PNG and TIFF as their EXIF orientation says.
        stack: Which stack is meant where the files hold several (DICOM).
    """

    voi: int | None = None
    grey: bool = False
    padding: Literal["lowest", "keep", "mask"] = "lowest"
    straighten: bool = False
    exif: bool = False
    stack: StackRule | None = None


PLAIN = ReadOptions()
