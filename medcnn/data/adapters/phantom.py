"""The generated cohort as cases: single CT slices and radiographs, or whole series with masks and boxes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medcnn.data.adapters.common import evenly, make_schema
from medcnn.data.adapters.mask_labels import BACKGROUND, Names, choose_labels
from medcnn.data.phantom import VERSION, PhantomSize, make_phantom
from medcnn.errors import DataError
from medcnn.files import read_json
from medcnn.progress import Progress
from medcnn.types import (
    Boxes,
    Case,
    ClassLabel,
    Dataset,
    Exclusion,
    ImageRef,
    LabelSchema,
    Mask,
    Target,
    Value,
)

Label = Literal["body_part", "abdomen", "lesion", "body_width"]
Show = Literal["all", "ct", "radiographs"]
Row = Mapping[str, str]
SHOWN: Mapping[str, Show] = {"ct": "ct", "film": "radiographs"}
CLASSES = ("head", "chest", "abdomen", "pelvis", "hand", "chest_xray")


def phantom(
    root: Path,
    *,
    patients: int = 60,
    seed: int = 0,
    size: PhantomSize = "small",
    label: Label = "body_part",
    as_filed: bool = True,
    slices: int | None = 4,
    volumes: bool = False,
    images: Show = "all",
    mask_labels: Mapping[str, int | str | tuple[int | str, ...]] | None = None,
    overlapping: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Cases of the generated cohort, which is made below ``root`` where it is not there yet.

    Args:
        root: Folder that holds cohorts, one subfolder for each set of parameters.
        patients: Number of patients.
        seed: Seed of the cohort.
        size: ``small``, ``medium`` or ``large`` images.
        label: ``body_part``: the part under which the series is filed, films of the chest apart; ``abdomen``: 1 where
            that is the abdomen; ``lesion``: 1 where the slice, film or series shows a lesion; ``body_width``: the
            width of the body in the image in mm, a continuous label.
        as_filed: Take the part from the archive's title, which is wrong at a known rate; else what was examined.
        slices: Slices taken from each CT series at even distances; ``None`` takes all.
        volumes: A CT series is one case (a volume) instead of slices.
        images: ``all``, ``ct`` or ``radiographs``.
        mask_labels: Organs chosen, merged or renamed, as in ``{liver: liver, others: [spleen, kidneys]}``; absent: all.
        overlapping: A voxel may have several labels (a channel each).
        workers: Processes that generate; ``None``: one a core.
        progress: Receives one unit a patient while the cohort is made.

    Returns:
        Cases with the class (or the value) first; a volume and a film carry their organ mask and lesion boxes too.

    Raises:
        DataError: If an option makes no sense, or the cohort on disk is damaged.
    """
    if slices is not None and slices < 1:
        raise DataError(f"slices must be at least 1, not {slices}", where="data.options.slices")
    folder = Path(root) / f"phantom-v{VERSION}-{size}-{patients}-{seed}"
    make_phantom(folder, patients=patients, seed=seed, size=size, workers=workers, progress=progress)
    cohort = _Cohort.read(folder)
    known = {name: (value,) for name, value in cohort.organs.items()}
    organs, names = choose_labels(mask_labels, known, overlapping=overlapping, where="mask_labels")
    make = _Maker(cohort, label, "filed" if as_filed else "body_part", organs, names)
    scouts = [s for s in cohort.series if s["kind"] == "localizer"]
    shown = [s for s in cohort.series if s["kind"] != "localizer" and images in ("all", SHOWN[s["kind"]])]
    cases = tuple(case for series in shown for case in make.cases(series, slices, volumes))
    exclusions = tuple(Exclusion(s["series"], "localizer", str(folder / s["path"]), aside=True) for s in scouts)
    facts = {"modality": "CT, CR", "unit": "mm" if label == "body_width" else "", "cohort": str(folder)}
    return Dataset("phantom", cases, make.schemas, exclusions, patients_known=True, facts=facts)


@dataclass(frozen=True, slots=True)
class _Cohort:
    """The tables of a cohort."""

    folder: Path
    series: tuple[Row, ...]
    images: Mapping[str, tuple[Row, ...]]
    boxes: Mapping[str, tuple[tuple[float, ...], ...]]
    organs: Mapping[str, int]

    @classmethod
    def read(cls, folder: Path) -> _Cohort:
        images: dict[str, list[Row]] = {}
        for row in _rows(folder / "images.csv"):
            images.setdefault(row["series"], []).append(row)
        boxes: dict[str, list[tuple[float, ...]]] = {}
        for lesion in read_json(folder / "lesions.coco.json")["lesions"]:
            boxes.setdefault(lesion["series"], []).append(tuple(lesion["box"]))
        known = read_json(folder / "phantom.json")["labels"]
        return cls(
            folder,
            tuple(_rows(folder / "series.csv")),
            {k: tuple(v) for k, v in images.items()},
            {k: tuple(v) for k, v in boxes.items()},
            {name: int(value) for value, name in known["organs"].items() if name != BACKGROUND},
        )


def _rows(path: Path) -> Iterator[Row]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    except OSError as error:
        raise DataError(
            f"the cohort is damaged: {error.strerror}",
            where=str(path),
            todo="delete the cohort's folder: it is made anew",
        ) from error


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes cases of one kind of label."""

    cohort: _Cohort
    label: Label
    part: str
    organs: LabelSchema
    names: Names

    @property
    def schemas(self) -> Mapping[str, LabelSchema]:
        found = {"mask": self.organs, "boxes": make_schema(("lesion",))}
        if self.label == "body_width":
            return found
        if self.label == "body_part":
            return {"class": make_schema(CLASSES), **found}
        names = ("other", "abdomen") if self.label == "abdomen" else ("none", "lesion")
        return {"class": make_schema(names, positive=names[1]), **found}

    def cases(self, series: Row, slices: int | None, volumes: bool) -> Iterator[Case]:
        images = self.cohort.images[series["series"]]
        if volumes or len(images) == 1:
            yield self._whole(series, images)
            return
        for k in evenly(len(images), slices):
            yield self._case(images[k]["image"], series, [images[k]], ())

    def _whole(self, series: Row, images: Sequence[Row]) -> Case:
        flat = series["kind"] == "film"
        corners = self.cohort.boxes.get(series["series"], ())
        boxes = np.asarray(corners, np.float32).reshape(-1, 4 if flat else 6)
        mask = ImageRef((str(self.cohort.folder / series["organ_mask"]),), "nifti")
        more = (Mask(mask, self.names), Boxes(boxes, np.zeros(len(boxes), np.int64)))
        return self._case(series["series"], series, images, more)

    def _case(self, name: str, series: Row, images: Sequence[Row], more: tuple[Target, ...]) -> Case:
        paths = tuple(str(self.cohort.folder / row["file"]) for row in images)
        attributes: dict[str, Any] = {
            "sex": series["sex"],
            "age": int(series["age"]),
            "scanner": series["scanner"],
            "modality": series["modality"],
        }
        return Case(
            name,
            (ImageRef(paths, "dicom"),),
            (self._target(series, images), *more),
            patient=series["patient"],
            study=series["study"],
            attributes=attributes,
        )

    def _target(self, series: Row, images: Sequence[Row]) -> ClassLabel | Value:
        if self.label == "body_width":
            widths = [float(row["body_width_mm"]) for row in images if row["body_width_mm"]]
            return Value(max(widths) if widths else None)
        if self.label == "body_part":
            film = series["kind"] == "film" and series[self.part] == "chest"
            return ClassLabel.of(CLASSES.index("chest_xray" if film else series[self.part]), len(CLASSES))
        if self.label == "abdomen":
            return ClassLabel.of(int(series[self.part] == "abdomen"), 2)
        return ClassLabel.of(int(any(int(row["lesions"]) for row in images)), 2)
