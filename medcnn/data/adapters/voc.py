"""Pascal VOC: an XML file of boxes for each image."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from medcnn.data.adapters.box_labels import BoxLabels
from medcnn.data.adapters.common import elsewhere, folders_below
from medcnn.data.adapters.image_folder import compile_patient, patient_of
from medcnn.data.images.sniff import has_image_suffix
from medcnn.data.labels.boxes_voc import VocFile, read_voc
from medcnn.errors import DataError, ImageError
from medcnn.types import Case, Dataset, Exclusion, ImageRef


def voc(
    root: Path,
    *,
    annotations: str = "Annotations",
    images: str = "JPEGImages",
    box_labels: Mapping[str, str | tuple[str, ...]] | None = None,
    one_based: bool = True,
    patient: str | None = None,
) -> Dataset:
    """Cases from Pascal VOC's layout; a file without objects is an image in which there is nothing.

    Args:
        root: Holds both folders.
        annotations: Folder of the XML files.
        images: Folder of the images. An image is found by the name of its XML file, else by ``filename``.
        box_labels: Labels chosen, merged or renamed, as in ``{lesion: [nodule, mass]}``; ``ignore`` takes what counts
            neither way; names that are not named are left out. Absent: all names, sorted.
        one_based: Coordinates count from 1 and include the last pixel, as VOC's do; false: they are edges of pixels, as
            in files that other programs wrote.
        patient: Regular expression whose first group, in the image's name, is the patient.

    Raises:
        DataError: If a folder is missing, or no annotation can be used.
    """
    pattern = compile_patient(patient)
    exclusions: list[Exclusion] = []
    shown = _files(root, images, exclusions, has_image_suffix)
    drawn = _files(root, annotations, exclusions, lambda name: name.lower().endswith(".xml"))
    read = _read(shown, drawn, one_based, exclusions)
    known = sorted({box.label for _, found in read.values() for box in found.boxes})
    if not read or not known:
        raise DataError(
            "no annotation can be used" if not read else "no annotation holds a box",
            where=str(root / annotations),
            todo=f"the first: {exclusions[0].reason}" if exclusions else "name the folder with the option annotations",
        )
    labels = BoxLabels(box_labels, known, str(root / annotations))
    cases = [
        Case(name, (ImageRef((place,)),), (labels.boxes(found.boxes),), patient=patient_of(pattern, name))
        for name, (place, found) in read.items()
    ]
    return Dataset(
        root.name,
        tuple(cases),
        {"boxes": labels.schema},
        tuple(exclusions),
        patients_known=pattern is not None,
        facts={"notes": labels.notes()},
    )


def _read(
    shown: Mapping[str, str], drawn: Mapping[str, str], one_based: bool, exclusions: list[Exclusion]
) -> dict[str, tuple[str, VocFile]]:
    """Image and annotations of each case; what does not fit together is excluded."""
    by_file = {os.path.basename(path): path for path in shown.values()}
    read: dict[str, tuple[str, VocFile]] = {}
    touched: set[str] = set()
    for name, path in drawn.items():
        place = shown.get(name)
        try:
            found = read_voc(Path(path), one_based=one_based)
        except ImageError as error:
            exclusions.append(Exclusion(name, error.what, error.where or path))
            touched.add(place or "")
            continue
        place = place or by_file.get(found.image)
        if place is None:
            exclusions.append(Exclusion(name, "the annotations are of an image that is not there", path))
        elif place in touched:
            exclusions.append(Exclusion(name, "two annotation files are of one image", path))
        else:
            touched.add(place)
            read[name] = place, found
    exclusions += [Exclusion(n, "the image has no annotations", p) for n, p in shown.items() if p not in touched]
    return read


def _files(root: Path, folder: str, exclusions: list[Exclusion], wanted: Callable[[str], bool]) -> dict[str, str]:
    """Paths by their name below the folder, without ending."""
    place = root / folder
    if not place.is_dir():
        todo = elsewhere(root, (folder,)) or "set data.root=FOLDER, or name the folder with the options"
        raise DataError("the folder is not there", where=str(place), todo=todo)
    found: dict[str, str] = {}
    for here, names in folders_below(place, root, exclusions):
        for name in names:
            if wanted(name):
                path = os.path.normpath(os.path.join(here, name))
                stem = os.path.splitext(os.path.relpath(path, place))[0].replace(os.sep, "/")
                if stem in found:
                    exclusions.append(Exclusion(stem, f"two files are called {stem}", path))
                else:
                    found[stem] = path
    return dict(sorted(found.items()))
