"""Images below folders, found by the names that a table gives them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from medcnn.data.adapters.common import elsewhere, folders_below
from medcnn.data.images.sniff import has_image_suffix, series_files
from medcnn.errors import DataError, ImageError
from medcnn.types import Exclusion, ImageRef

_DOUBLE = (".nii.gz", ".img.gz")


class ImageIndex:
    """The image files, and the folders, below one or several folders.

    Attributes:
        exclusions: Folders that cannot be listed, and links, which are not followed.
        folders: The folder of each image file, relative to the root.
    """

    def __init__(self, root: Path, folders: Sequence[str], option: str) -> None:
        """List everything once.

        Args:
            root: What the folders count from.
            folders: Where to look; ``*`` stands for any letters.
            option: Of the adapter, that names them; for messages.

        Raises:
            DataError: If a folder is not there.
        """
        self.exclusions: list[Exclusion] = []
        self.folders: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        self._names: dict[str, list[str]] = defaultdict(list)
        self._series: dict[str, list[str]] = defaultdict(list)
        self._used: dict[str, str] = {}
        for folder in folders:
            places = sorted(root.glob(folder)) if "*" in folder else [root / folder]
            places = [place for place in places if place.is_dir()]
            if not places:
                todo = elsewhere(root, (folder,)) or f"set data.root=FOLDER, or name it with the option {option}"
                raise DataError("the folder of images is not there", where=str(root / folder), todo=todo)
            for place in places:
                self._list(root, place)

    def _list(self, root: Path, folder: Path) -> None:
        for place, names in folders_below(folder, root, self.exclusions):
            here = os.path.relpath(place, folder).replace(os.sep, "/")
            if here != ".":
                for key in {here, os.path.basename(place)}:
                    self._series[key].append(place)
            for name in names:
                if not has_image_suffix(name) and not name.lower().endswith(".mhd"):
                    continue
                path = os.path.normpath(os.path.join(place, name))
                shown = name if here == "." else f"{here}/{name}"
                self._shown[path] = shown
                self.folders[path] = os.path.relpath(place, root).replace(os.sep, "/")
                for key in {shown, stem_of(shown), name, stem_of(name)}:
                    self._names[key].append(path)

    def find(self, name: str) -> ImageRef | str:
        """The image that a table calls so, by its path or its name, with or without ending; or why there is none.

        A folder of that name is one DICOM series.

        Raises:
            DataError: If another name has already stood for the same image.
        """
        plain = os.path.normpath(name.replace("\\", "/")).replace(os.sep, "/") if name else ""
        for table in (self._names, self._series):
            found = table.get(plain, [])
            if len(found) > 1:
                return f"{len(found)} files are called so: {', '.join(sorted(found)[:2])}"
            if found:
                return self._taken(found[0], name, series=table is self._series)
        return "the file does not exist" if name else "no image is named"

    def _taken(self, place: str, name: str, *, series: bool) -> ImageRef | str:
        other = self._used.setdefault(place, name)
        if other != name:
            raise DataError(
                f"{other!r} and {name!r} are one image", where=place, todo="call an image by one name in all rows"
            )
        if not series:
            return ref_of(place)
        try:
            return ImageRef(series_files(place), "dicom")
        except ImageError as error:
            return error.what

    def rest(self) -> Iterator[tuple[str, str]]:
        """Name and path of each image file that nobody asked for."""
        for path, shown in self._shown.items():
            if path not in self._used and not any(p in self._used for p in map(str, Path(path).parents)):
                names = (stem_of(os.path.basename(path)), stem_of(shown), shown)
                yield next((n for n in names if len(self._names[n]) == 1), shown), path


def ref_of(path: str) -> ImageRef:
    """The reference of a file, with the one that holds its data where that is another."""
    if not path.lower().endswith(".mhd"):
        return ImageRef((path,))
    from medcnn.data.images.itk import files_of

    return ImageRef(files_of(path), "itk")


def stem_of(name: str) -> str:
    """The name without the ending of an image."""
    ending = next((e for e in _DOUBLE if name.lower().endswith(e)), None)
    if ending:
        return name[: -len(ending)]
    stem, ending = os.path.splitext(name)
    return stem if has_image_suffix(name) or ending.lower() == ".mhd" else name
