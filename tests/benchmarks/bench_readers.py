"""Who reads the files that pydicom and nibabel install (or those of a folder): medcnn, pydicom, SimpleITK, MONAI.

For each reader the number of files that it turns into pixels, medcnn's refusals by reason, and the goals: whatever
another one reads medcnn reads too, or names; nothing ends in another exception than ImageError.

Run: python tests/benchmarks/bench_readers.py [folder ...]
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path


def shipped() -> list[Path]:
    """The files that the two packages install for their own tests."""
    import nibabel
    import pydicom

    place = Path(nibabel.__file__).parent
    folders = [Path(pydicom.__file__).parent / "data", *place.rglob("tests/data")]
    return files_of(folders)


def files_of(folders: list[Path]) -> list[Path]:
    """All files below some folders."""
    found = {p for folder in folders for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    return sorted(found)


def by_medcnn(path: str) -> int:
    """Number of values; one frame or volume where the file holds several without a meaning."""
    from medcnn.data.images import read_image
    from medcnn.errors import ImageError
    from medcnn.types import ImageRef

    try:
        return read_image(ImageRef((path,))).array.size
    except ImageError as error:
        if "by index" not in error.todo:
            raise
    return read_image(ImageRef((path,), index=0)).array.size


def by_pydicom(path: str) -> int:
    """Number of values."""
    import pydicom

    return int(pydicom.dcmread(path, force=True).pixel_array.size)


def by_simpleitk(path: str) -> int:
    """Number of pixels."""
    import SimpleITK

    return int(SimpleITK.ReadImage(path).GetNumberOfPixels())


def by_monai(path: str) -> int:
    """Number of values, by whichever of its readers takes the file."""
    from monai.transforms import LoadImage

    return int(LoadImage(image_only=True)(path).numel())


READERS: dict[str, Callable[[str], int]] = {
    "medcnn": by_medcnn,
    "pydicom": by_pydicom,
    "SimpleITK": by_simpleitk,
    "MONAI": by_monai,
}


def reads(read: Callable[[str], int], path: Path) -> tuple[bool, str]:
    """Whether a reader makes pixels of a file, else its reason."""
    from medcnn.errors import ImageError

    try:
        return read(str(path)) > 0, "no pixels"
    except ImageError as error:
        return False, error.what
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"


def main() -> int:
    """Print the counts; exit 1 if medcnn refuses what another one reads, or fails otherwise than by ImageError."""
    import SimpleITK

    warnings.simplefilter("ignore")
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    files = files_of([Path(p) for p in sys.argv[1:]]) if sys.argv[1:] else shipped()
    found = {name: {p for p in files if reads(read, p)[0]} for name, read in READERS.items()}
    others = set.union(*(found[name] for name in READERS if name != "medcnn"))
    reasons = {p: reads(by_medcnn, p)[1] for p in files if p not in found["medcnn"]}
    print(f"{len(files)} files: " + ", ".join(f"{name} {len(read)}" for name, read in found.items()))
    print(f"any of the other three {len(others)}; medcnn alone {len(found['medcnn'] - others)}")
    table = Counter(re.split(r"[:(,]|\d", reason)[0].strip() for reason in reasons.values())
    print("\n".join(f"{count:5d} refused: {reason}" for reason, count in table.most_common()))
    lost = sorted(others - found["medcnn"])
    print("\n".join(f"read by another: {path}: {reasons[path]}" for path in lost) or "whatever another reads is read")
    raw = [path for path, reason in reasons.items() if re.match(r"\w+(Error|Exception): ", reason)]
    return int(bool(lost or raw))


if __name__ == "__main__":
    sys.exit(main())
