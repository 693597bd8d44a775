"""A folder of images and a folder of masks, matched by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from medcnn.data.adapters.common import elsewhere, folders_below
from medcnn.data.adapters.image_folder import compile_patient, patient_of
from medcnn.data.adapters.mask_labels import Names, choose_labels
from medcnn.data.images.sniff import has_image_suffix, series_files
from medcnn.errors import DataError, ImageError
from medcnn.types import Case, Dataset, Exclusion, ImageRef, Mask

_DOUBLE = (".nii.gz", ".img.gz", ".seg.nrrd")
_DICOM = (".dcm", ".dicom", ".ima", "")


def pairs(
    root: Path,
    *,
    images: str = "images",
    masks: str | tuple[str, ...] = "masks",
    suffix: str = "",
    mask_labels: Mapping[str, int | str | tuple[int | str, ...]] | None = None,
    overlapping: bool = False,
    patient: str | None = None,
) -> Dataset:
    """Cases from a folder of images and a folder of masks with the same names.

    Args:
        root: Holds the two folders.
        images: Folder of the images: files, or a folder for each DICOM series.
        masks: Folder of the masks; several are those of several readers of the same images.
        suffix: What a mask's name has after the image's, such as ``_mask``; endings do not count.
        mask_labels: The labels with the value, or values, that stand for each in the files (of DICOM segmentations and
            structure sets: its number, its name with ``*``, or its code), as in ``{liver: 1, tumour: [2, 3]}``;
            ``background`` and ``ignore`` take what is no label. Absent: 1 is ``foreground``.
        overlapping: A voxel may have several labels (a channel each).
        patient: Regular expression whose first group, in the image's name, is the patient.

    Raises:
        DataError: If a folder is missing, or nothing fits together.
    """
    folders = (masks,) if isinstance(masks, str) else tuple(masks)
    known = {"foreground": (1,)} if mask_labels is None else None
    schema, names = choose_labels(mask_labels, known, overlapping=overlapping, where="mask_labels")
    pattern = compile_patient(patient)
    cases, exclusions = list[Case](), list[Exclusion]()
    shown = _found(root, images, exclusions)
    drawn = [_found(root, folder, exclusions) for folder in folders]
    for name, ref in shown.items():
        if isinstance(ref, str):
            exclusions.append(Exclusion(name, ref, str(root / images / name)))
            continue
        mask = _mask([d.get(name + suffix) for d in drawn], names)
        if isinstance(mask, str):
            exclusions.append(Exclusion(name, mask, ref.paths[0]))
            continue
        cases.append(Case(name, (ref,), (mask,), patient=patient_of(pattern, name)))
    for folder, found in zip(folders, drawn, strict=True):
        for name in found:
            if not name.endswith(suffix) or name[: len(name) - len(suffix)] not in shown:
                exclusions.append(Exclusion(name, "the mask has no image", str(root / folder / name)))
    if not cases:
        raise _no_pair(root, suffix, exclusions)
    return Dataset(root.name, tuple(cases), {"mask": schema}, tuple(exclusions), patients_known=pattern is not None)


def _no_pair(root: Path, suffix: str, exclusions: list[Exclusion]) -> DataError:
    todo = f"names are compared without endings{f' and {suffix!r}' if suffix else ''}; see the option suffix"
    first = f"; the first: {exclusions[0].case}, {exclusions[0].reason}" if exclusions else ""
    return DataError(f"no image and mask have one name{first}", where=str(root), todo=todo)


def _mask(refs: list[ImageRef | str | None], names: Names) -> Mask | str:
    there = [r for r in refs if isinstance(r, ImageRef)]
    if there:
        return Mask(there[0], names, tuple(there[1:]))
    wrong = next((r for r in refs if isinstance(r, str)), None)
    return f"the mask cannot be used: {wrong}" if wrong else "the image has no mask"


def _found(root: Path, name: str, unlisted: list[Exclusion]) -> dict[str, ImageRef | str]:
    """Files and DICOM series below a folder by their name without ending, or why one cannot be used.

    Raises:
        DataError: If the folder is not there.
    """
    folder = root / name
    if not folder.is_dir():
        todo = elsewhere(root, (name,)) or "set data.root=FOLDER, or name the folders with the options images and masks"
        raise DataError("the folder is not there", where=str(folder), todo=todo)
    found: dict[str, ImageRef | str] = {}
    for stem, ref in _walk(folder, root, unlisted):
        found[stem] = f"two files are called {stem}" if stem in found else ref
    return dict(sorted(found.items()))


def _walk(folder: Path, root: Path, unlisted: list[Exclusion]) -> Iterator[tuple[str, ImageRef | str]]:
    for place, files in folders_below(folder, root, unlisted):
        here = os.path.relpath(place, folder).replace(os.sep, "/")
        slices = []
        for file in files:
            if os.path.splitext(file)[1].lower() in _DICOM and here != ".":
                slices.append(file)
            elif has_image_suffix(file):
                yield _stem(file if here == "." else f"{here}/{file}"), ImageRef((os.path.join(place, file),))
        if slices:
            try:
                yield here, ImageRef(series_files(place), "dicom")
            except ImageError as error:
                yield here, error.what


def _stem(file: str) -> str:
    ending = next((e for e in _DOUBLE if file.lower().endswith(e)), None)
    return file[: -len(ending)] if ending else os.path.splitext(file)[0]
