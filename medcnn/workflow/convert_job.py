"""The writing of a conversion: each stack read, and written with its side file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from medcnn.data.grouping import printable
from medcnn.data.images.options import ReadOptions
from medcnn.data.images.side_codes import MODALITY
from medcnn.data.images.stacks import Stack
from medcnn.errors import ImageError, RunError
from medcnn.files import write_text
from medcnn.progress import Progress
from medcnn.types import Image
from medcnn.workflow.convert_names import Named, name_files, safe
from medcnn.workflow.convert_plan import ConvertOptions, Planner
from medcnn.workflow.convert_private import Private
from medcnn.workflow.convert_table import Row, row_of, write_table

END = ".nii.gz"


@dataclass(slots=True)
class Job:
    """One conversion, after its headers were read.

    Attributes:
        planner: What is to be done.
        out: The folder of the images.
        private: The pseudonyms; ``None`` where the headers' own names are used.
        options: What is wanted.
        files: The images that are there.
        kept: How many of them were there before.
    """

    planner: Planner
    out: Path
    private: Private | None
    options: ConvertOptions
    files: list[Path] = field(default_factory=list)
    kept: int = 0
    _rows: list[tuple[Named, Row]] = field(default_factory=list)

    def run(self, progress: Progress) -> Path:
        """Convert what is planned; returns the table of it.

        Raises:
            RunError: If files are there already, or one cannot be written.
        """
        named = self._named()
        names = name_files(named)
        self._require_free(names)
        if self.private is not None:
            self.private.save()
        progress.start("converting", len(names), "stacks")
        failed = self.planner.plan.failed
        try:
            for stack, one, name in zip(self.planner.stacks(), named, names, strict=True):
                self._one(stack, one, name)
                progress.advance(1, f"{len(failed):,} failed" if failed else "")
        finally:
            # Also where it is interrupted: what is there is listed.
            table = self._write_tables()
        progress.finish()
        return table

    def _named(self) -> list[Named]:
        nobody, private = self.planner.nobody(), self.private
        found = []
        for one in self.planner.plan.wanted:
            known = one.patient and one.patient not in nobody
            # Nobody's studies are patients of their own.
            owner = f"patient {one.patient}" if known else f"study {one.study}"
            folder, study = (safe(one.patient, 40) if known else "") or "unknown", ""
            if private is not None:
                folder, study = private.patient(owner), private.study(one.study)
            found.append(Named(owner, folder, one.study, study, one.date, one.stem))
        return found

    def _require_free(self, names: Sequence[PurePosixPath]) -> None:
        if self.options.overwrite or self.options.resume:
            return
        there = [place for name in names for place in self._places(name) if os.path.lexists(place)]
        if there:
            more = f", and {len(there) - 1:,} more" if len(there) > 1 else ""
            todo = "choose another --out, go on with --resume, or replace what is there with --overwrite"
            raise RunError(f"the file is there already{more}", where=str(there[0]), todo=todo)

    def _places(self, name: PurePosixPath) -> tuple[Path, Path]:
        """The image and its side file."""
        return self.out / f"{name}{END}", self.out / f"{name}.json"

    def _one(self, stack: Stack, named: Named, name: PurePosixPath) -> None:
        image, side = self._places(name)
        try:
            self._convert(stack, named, image, side)
        except ImageError as error:
            self.planner.refuse(stack, error.what, error.where)
            return
        self.files.append(image)
        self._rows.append((named, row_of(stack, file=f"{name}{END}")))

    def _convert(self, stack: Stack, named: Named, image: Path, side: Path) -> None:
        from medcnn.data.images.dicom import read_stack
        from medcnn.data.images.nifti_write import write_nifti

        text = self._side_text(stack, named)
        if self.options.resume and os.path.lexists(image) and self._is_same(side, text):
            self.kept += 1
            return
        # Padding stays as it is stored: a converter changes no value.
        found = read_stack(stack, ReadOptions(padding="keep", straighten=self.options.straighten))
        if self.options.overwrite:
            image.unlink(missing_ok=True)
        # The image comes last, so that one that is there has its side file.
        write_text(side, text)
        try:
            write_nifti(image, narrow(found), description=" ".join(_software()))
        except BaseException:
            side.unlink(missing_ok=True)
            raise

    def _side_text(self, stack: Stack, named: Named) -> str:
        from medcnn.data.images.dicom_file import open_file, quiet
        from medcnn.data.images.side_file import side_values

        with quiet():
            values = side_values(open_file(stack.slices[0].path).dataset, stack)
        if self.options.straighten and stack.tilt:
            values["GantryTiltCorrected"] = True
        if self.private is not None:
            values = self.private.side(values, named.owner, named.study)
        values["ConversionSoftware"], values["ConversionSoftwareVersion"] = _software()
        return printable(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"

    def _is_same(self, side: Path, text: str) -> bool:
        """Whether a side file is as it would be written; raises where it is not and may not be replaced."""
        try:
            if side.read_text(encoding="utf-8") == text:
                return True
        except (OSError, UnicodeDecodeError):
            # It is written anew, or cannot be.
            pass
        if self.options.overwrite:
            return False
        raise RunError(
            "the file was made from something else, or in another way, so that the image is not kept",
            where=str(side),
            todo="choose another --out, or replace what is there with --overwrite",
        )

    def _write_tables(self) -> Path:
        done, others = [row for _, row in self._rows], self.planner.plan.rows
        if self.private is None:
            return write_table(self.out, [*done, *others], self.out)
        public = []
        for named, row in self._rows:
            modality = row.modality if row.modality in MODALITY else ""
            public.append(row.public(self.private.patient(named.owner), self.private.study(named.study), modality))
        write_table(self.out, public, self.out)
        return write_table(self.private.folder, [*done, *others], self.out, private=True)


def narrow(image: Image) -> Image:
    """Whole numbers of 32 bit in 16, where they fit: a header allows more than a scanner ever stores."""
    values = image.array
    if values.dtype != np.int32 or not values.size:
        return image
    low, high = int(values.min()), int(values.max())
    for kind in (np.int16, np.uint16):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return replace(image, array=values.astype(kind))
    return image


def _software() -> tuple[str, str]:
    from medcnn import __version__

    return "medcnn", __version__
