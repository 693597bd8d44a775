"""Where the shipped recipes and the dataset catalog are: in an installed package, or in a source tree."""

from __future__ import annotations

from pathlib import Path

from medcnn.errors import MedcnnError

_PACKAGE = Path(__file__).resolve().parent
_TREE = _PACKAGE.parent.parent


def recipes_folder() -> Path:
    """The folder of the shipped recipes.

    Raises:
        MedcnnError: If it is neither inside the package nor beside it.
    """
    return _find("recipes")


def catalog_file() -> Path:
    """The shipped catalog, ``datasets.yaml``.

    Raises:
        MedcnnError: If it is neither inside the package nor beside it.
    """
    return _find("datasets.yaml")


def _find(name: str) -> Path:
    # A wheel carries the files inside the package; an editable install or a checkout has them beside it.
    places = (_PACKAGE / name, _TREE / name)
    for place in places:
        if place.exists():
            return place
    raise MedcnnError(
        f"{name} is missing from this installation of medcnn",
        where=" and ".join(str(p) for p in places),
        todo="install medcnn anew: pip install --force-reinstall, from the wheel or the source tree",
    )
