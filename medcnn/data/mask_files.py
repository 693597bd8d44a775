"""Masks that medcnn writes: in the grid of the image they belong to, with its geometry."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.images.nifti_write import write_nifti
from medcnn.files import write_bytes
from medcnn.types import Image, LabelSchema

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_ENDING = re.compile(r"\.(nii(\.gz)?|dcm|png|jpe?g|tiff?|mha|nrrd)$", re.IGNORECASE)
_LONGEST = 100


def file_stem(case: str) -> str:
    """A name of letters, digits, ``.``, ``_`` and ``-`` for a case id, without the ending of an image.

    Different ids give different names, unless they differ in such an ending alone.
    """
    bare = _ENDING.sub("", case)
    plain = _UNSAFE.sub("_", bare).strip("._") or "case"
    if plain == bare and len(plain) <= _LONGEST:
        return plain
    mark = hashlib.blake2b(case.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{plain[:_LONGEST]}-{mark}"


def short_stems(paths: Sequence[str]) -> list[str]:
    """Names for files named after paths: the last part of each, with as many folders before it as tell them apart."""
    parts = [Path(_ENDING.sub("", path)).parts for path in paths]
    longest = max((len(p) for p in parts), default=1)
    lengths = [1] * len(parts)
    for length in range(2, longest + 1):
        shown = ["_".join(p[-n:]) for p, n in zip(parts, lengths, strict=True)]
        taken = Counter(shown)
        lengths = [length if taken[s] > 1 else n for s, n in zip(shown, lengths, strict=True)]
    return told_apart([file_stem("_".join(p[-n:])) for p, n in zip(parts, lengths, strict=True)])


def told_apart(names: Sequence[str]) -> list[str]:
    """The names, numbered from 2 on where one stands again; no number makes a name that another one has."""
    taken, found = set(names), list(names)
    seen: set[str] = set()
    for k, name in enumerate(names):
        number = 2
        while name in seen and (f"{name}-{number}" in taken):
            number += 1
        if name in seen:
            found[k] = f"{name}-{number}"
            taken.add(found[k])
        seen.add(name)
    return found


def stored_values(labels: NDArray[np.uint8], schema: LabelSchema) -> NDArray[np.integer[Any]]:
    """Positions turned into the values that files hold; not annotated (255) becomes background."""
    values = np.zeros(256, np.int64)
    for position, label in enumerate(schema.classes, 1):
        values[position] = label.value
    kind: type[np.integer[Any]] = np.uint8 if values.max() < 256 else np.uint16
    return np.asarray(values.astype(kind)[labels], kind)


def write_mask(
    folder: Path, stem: str, labels: NDArray[np.uint8], schema: LabelSchema, image: Image
) -> tuple[Path, ...]:
    """Write one mask: PNG in two dimensions, else NIfTI with the image's affine.

    Args:
        folder: Where.
        stem: Name of the file without its ending.
        labels: ``(X, Y[, Z])`` positions in the image's grid, or ``(L, X, Y[, Z])`` of 0 and 1 where labels overlap.
        schema: What the positions mean.
        image: The image that they lie on.

    Returns:
        The file; where labels overlap one a label.
    """
    if schema.multilabel:
        made: list[Path] = []
        for label, channel in zip(schema.classes, labels, strict=True):
            made += write_mask(folder, f"{stem}.{file_stem(label.name)}", channel, LabelSchema((label,)), image)
        return tuple(made)
    values = stored_values(labels, schema)
    if values.ndim == 2:
        return (_write_png(folder / f"{stem}.png", values),)
    path = folder / f"{stem}.nii.gz"
    write_nifti(path, replace(image, array=values[None], header={}))
    return (path,)


def _write_png(path: Path, values: NDArray[np.integer[Any]]) -> Path:
    return write_picture(path, values.T)


def write_picture(path: Path, pixels: NDArray[Any]) -> Path:
    """Write ``(Y, X)`` of whole numbers, or ``(Y, X, 3)`` of bytes, as PNG."""
    import io

    from PIL import Image as Pillow

    data = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(data, "PNG")
    write_bytes(path, data.getvalue())
    return path


def volumes_of(labels: NDArray[np.uint8], schema: LabelSchema, image: Image) -> tuple[tuple[float, ...], str]:
    """Volume of each label, and its unit: mm3 (mm2 in two dimensions), or voxels (px) without spacing."""
    if schema.multilabel:
        counts = [int((channel == 1).sum()) for channel in labels]
    else:
        found = np.bincount(labels.ravel(), minlength=256)
        counts = [int(n) for n in found[1 : len(schema.classes) + 1]]
    dims = labels.ndim - int(schema.multilabel)
    if image.spacing is None or len(image.spacing) < dims:
        return tuple(float(n) for n in counts), "px" if dims == 2 else "voxels"
    size = float(np.prod(image.spacing[:dims]))
    return tuple(n * size for n in counts), f"mm{dims}"
