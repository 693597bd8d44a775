"""medcnn's readers as a MONAI ``ImageReader``, for ``LoadImage`` and ``LoadImaged``.

This is the one module of the package that imports MONAI.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.utils.enums import MetaKeys, SpaceKeys
from numpy.typing import NDArray

from medcnn.data.images.options import ReadOptions
from medcnn.data.images.reading import read_image
from medcnn.data.images.sniff import series_files
from medcnn.data.images.stack_rule import StackRule
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef


class MedcnnReader(ImageReader):
    """Read DICOM files and folders, NIfTI, JPEG, PNG, TIFF, MINC, NRRD and MetaImage.

    ``LoadImaged(keys="image", reader=MedcnnReader())`` takes a file, or a folder that holds the slices of a series.
    Unlike MONAI's own readers it sorts slices by their position, divides a folder into its stacks, refuses one with
    a missing slice and inverts MONOCHROME1; what is wrong with a file is one ``ImageError``.

    Args:
        index: Frame of a multi-frame file, volume of a 4D file, page of a TIFF.
        key: ``channels`` takes all volumes of a 4D file.
        stack: Which stack is meant where a folder holds several.
        voi: Position of DICOM's window or VOI LUT to apply.
        grey: Turn colour into grey.
    """

    def __init__(
        self,
        *,
        index: int | None = None,
        key: str | None = None,
        stack: StackRule | None = None,
        voi: int | None = None,
        grey: bool = False,
    ) -> None:
        super().__init__()
        self._index, self._key = index, key
        self._options = ReadOptions(voi=voi, grey=grey, stack=stack)

    def verify_suffix(self, filename: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> bool:
        """Names do not decide: any file is tried, by its content."""
        return True

    def read(
        self, data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], **_: Any
    ) -> list[Image] | ImageError:
        """Read a file or folder, or several as channels.

        Returns:
            The images, or the error, which :meth:`get_data` raises: for one raised here ``LoadImage`` would go on to
            its own readers, which read what was refused for a reason.
        """
        names = [data] if isinstance(data, (str, os.PathLike)) else list(data)
        try:
            return [self._one(os.fspath(name)) for name in names]
        except ImageError as error:
            return error

    def get_data(self, img: Sequence[Image] | ImageError) -> tuple[NDArray[Any], dict[str, Any]]:
        """The array and MONAI's metadata of it.

        Returns:
            ``(X, Y[, Z])`` for one channel, else channel first, and a dictionary with ``affine`` (RAS),
            ``spatial_shape`` and the keys of :mod:`medcnn.data.images`.

        Raises:
            ImageError: If a file could not be read.
            ValueError: If several images differ in shape.
        """
        if isinstance(img, ImageError):
            raise img
        array = np.concatenate([image.array for image in img])
        first = img[0]
        meta: dict[str, Any] = {key: value for key, value in first.header.items() if key != "padding"}
        affine = np.eye(4) if first.affine is None else np.asarray(first.affine)
        if first.affine is None and first.spacing is not None:
            affine = np.diag([*first.spacing, *[1.0] * (4 - len(first.spacing))])
        meta[MetaKeys.AFFINE] = affine
        meta[MetaKeys.ORIGINAL_AFFINE] = affine.copy()
        meta[MetaKeys.SPACE] = SpaceKeys.RAS
        meta[MetaKeys.SPATIAL_SHAPE] = np.asarray(array.shape[1:])
        one = array.shape[0] == 1
        meta[MetaKeys.ORIGINAL_CHANNEL_DIM] = float("nan") if one else 0
        # MONAI hands arrays to torch, which wants neither read-only nor negatively strided memory.
        return np.require(array[0] if one else array, requirements=["W"]), meta

    def _one(self, name: str) -> Image:
        paths = series_files(name) if os.path.isdir(name) else (name,)
        return read_image(ImageRef(paths, key=self._key, index=self._index), self._options)
