"""DICOM to NIfTI: every stack to one file with a JSON side file of its name."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medcnn.data.dicom_sources import Listing, list_files
from medcnn.data.grouping import plural
from medcnn.data.series_index import SeriesIndex
from medcnn.errors import DataError, RunError
from medcnn.files import explain
from medcnn.progress import Progress
from medcnn.types import Exclusion
from medcnn.workflow.convert_job import Job
from medcnn.workflow.convert_plan import ConvertOptions, Plan, Planner
from medcnn.workflow.convert_private import Private, holds_map, private_folder, require_apart

MAX_UNUSABLE = 0.05


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion did.

    Attributes:
        out: The folder.
        files: The images that are there now, in their order.
        kept: How many of them an earlier conversion had made.
        failed: What could not be converted, with its reason.
        left: What is no image or not asked for, by reason.
        notes: Sentences that a user should read.
        table: Where all of it is listed.
        private: The folder of the key and the map of pseudonyms.
    """

    out: Path
    files: tuple[Path, ...]
    kept: int
    failed: tuple[Exclusion, ...]
    left: Mapping[str, int]
    notes: tuple[str, ...]
    table: Path
    private: Path | None = None

    def require_few_failures(self, share: float = MAX_UNUSABLE) -> None:
        """Raise where more than a share of what was to be converted could not be.

        Raises:
            DataError: With the number, and where they are listed.
        """
        count, total = len(self.failed), len(self.failed) + len(self.files)
        if count > share * total:
            raise DataError(
                f"{count:,} of {total:,} ({count / total:.1%}) could not be converted",
                where=f"--max-unusable {share:g}",
                todo=f"see {self.table}; mend them, or raise --max-unusable if you know why they are unusable",
            )


def convert(sources: Sequence[Path], out: Path, options: ConvertOptions, progress: Progress) -> Converted:
    """Convert the stacks below folders, in archives, in files, or named by a DICOMDIR.

    The images keep their grid (a tilted one sheared) and their values: padding stays as it is. A run that is killed
    leaves whole files alone.

    Args:
        sources: Folders, files, archives, DICOMDIRs.
        out: Folder of the NIfTI files; made where it is missing.
        options: What is wanted.
        progress: Advanced by one a header that is read, then by one a stack.

    Raises:
        DataError: If a source is not there or none holds DICOM; under ``stop`` if a stack cannot be converted.
        RunError: If files are there already, or nothing can be written.
    """
    private = _prepare(out, options)
    listing = _listing(sources, progress)
    with SeriesIndex(listing, progress=progress) as index:
        planner = Planner(index, listing, options)
        planner.read()
        job = Job(planner, out, private, options)
        table = job.run(progress)
    plan = planner.plan
    folder = None if private is None else private.folder
    return Converted(
        out, tuple(job.files), job.kept, tuple(plan.failed), plan.left, _notes(plan, options), table, folder
    )


def _prepare(out: Path, options: ConvertOptions) -> Private | None:
    """Check the folders before anything is read."""
    if out.exists() and not out.is_dir():
        raise RunError("there is a file of this name, not a folder", where=str(out), todo="choose another --out")
    _require_writable(out)
    beside = options.private or private_folder(out)
    used = out.is_dir() and any(out.iterdir())
    if not options.pseudonymise:
        if used and holds_map(beside):
            raise RunError(
                "the folder holds pseudonymised images: others must not come among them",
                where=str(out),
                todo="choose another --out, or add --pseudonymise",
            )
        return None
    require_apart(out, beside)
    if used and not holds_map(beside):
        raise RunError("the folder holds files that were not pseudonymised", where=str(out), todo="choose a new --out")
    return Private(beside)


def _require_writable(folder: Path) -> None:
    """Raise before headers are read for minutes."""
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if place.is_dir() and not os.access(place, os.W_OK | os.X_OK):
        raise explain(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), folder)


def _listing(sources: Sequence[Path], progress: Progress) -> Listing:
    found: list[Listing] = []
    for source in sources:
        if not os.path.lexists(source.expanduser()):
            raise DataError("there is no such file or folder", where=str(source), todo="check the path")
        found.append(list_files(source, progress))
    if len(found) == 1:
        return found[0]
    base = Path(os.path.commonpath([one.base for one in found]))
    files = dict.fromkeys(path for one in found for path in one.files)
    return Listing(base, tuple(files), tuple(e for one in found for e in one.passed_over))


def _notes(plan: Plan, options: ConvertOptions) -> tuple[str, ...]:
    """What a user should know of persons in the files."""
    if not options.pseudonymise:
        if not plan.wanted:
            return ()
        return ("the side files hold patient ids, UIDs and dates: --pseudonymise writes none",)
    found = []
    if plan.screens:
        text = plural(plan.screens, "image shows a screen and does", "images show a screen and do")
        found.append(f"caution: {text} not say whether text is burned in: look at them before you give them away")
    if plan.recognizable:
        text = plural(plan.recognizable, "image says that its person", "images say that their persons")
        found.append(f"caution: {text} can be recognized by the pixels")
    return tuple(found)
