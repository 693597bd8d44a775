"""The labels of boxes: how a recipe chooses, merges and renames what the files hold.

Every adapter with boxes has the option ``box_labels`` in the words of ``mask_labels``: names of labels with what
stands for each in the files, as in ``{lesion: [nodule, mass]}``. One name is no label: ``ignore`` takes boxes that
count neither as found nor as missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from medcnn.data.adapters.common import PART_NAMES
from medcnn.data.grouping import plural
from medcnn.data.labels.boxes_coco import RawBox
from medcnn.errors import DataError
from medcnn.registry import suggest
from medcnn.types import Boxes, LabelClass, LabelSchema, Part

IGNORED = "ignore"
Wanted = Mapping[str, str | tuple[str, ...]]
# Position of what is ignored, and of what the recipe does not name.
_IGNORE, _LEFT_OUT = -1, -2


class BoxLabels:
    """What becomes of the labels that files hold.

    Attributes:
        schema: The labels of the dataset's boxes.
    """

    def __init__(self, wanted: Wanted | None, known: Sequence[str], where: str) -> None:
        """Choose labels.

        Args:
            wanted: The option ``box_labels``; ``None`` takes all as the files name them.
            known: The names that the files hold.
            where: For messages.

        Raises:
            DataError: If a label stands for nothing or for what is not there, or one name for two labels.
        """
        chosen = {name: (name,) for name in known} if wanted is None else {n: _tuple(v) for n, v in wanted.items()}
        labels = [name for name in chosen if name != IGNORED]
        if not labels:
            raise DataError("there are no labels of boxes", where=where, todo="name one in box_labels")
        self.schema = LabelSchema(tuple(LabelClass(k, name) for k, name in enumerate(labels)))
        self._places: dict[str, int] = {}
        self._left_out: Counter[str] = Counter()
        for name, sources in chosen.items():
            for source in sources:
                if source not in known:
                    raise DataError(
                        f"{source!r} is no label of the files", where=where, todo=suggest(source, list(known))
                    )
                if source in self._places:
                    raise DataError(f"{source!r} stands for two labels", where=where, todo="name it once in box_labels")
                self._places[source] = _IGNORE if name == IGNORED else labels.index(name)

    def boxes(self, raw: Sequence[RawBox], dims: int = 2) -> Boxes:
        """The target of an image; boxes whose label the recipe does not name are left out, as asked."""
        self._left_out.update(box.label for box in raw if box.label not in self._places)
        kept = [(box, place) for box in raw if (place := self._places.get(box.label, _LEFT_OUT)) != _LEFT_OUT]
        corners = np.array([box.corners for box, _ in kept], np.float32).reshape(-1, 2 * dims)
        crowd = np.array([box.crowd or place == _IGNORE for box, place in kept], bool)
        labels = np.array([max(place, 0) for _, place in kept], np.int64)
        return Boxes(corners, labels, crowd if crowd.any() else None)

    def notes(self) -> tuple[str, ...]:
        """How many boxes were left out by their labels so far, in a sentence."""
        if not self._left_out:
            return ()
        text = plural(self._left_out.total(), "box is", "boxes are")
        named = ", ".join(f"{name} ({count:,})" for name, count in self._left_out.most_common(8))
        return (f"{text} left out, of labels that box_labels does not name: {named}",)


def by_part(given: str | Mapping[str, str], option: str) -> dict[Part | None, str]:
    """A file for all, or one for each part.

    Args:
        given: The option.
        option: Its name.

    Raises:
        DataError: If a part is unknown, or none is named.
    """
    if isinstance(given, str):
        return {None: given}
    found: dict[Part | None, str] = {}
    for name, value in given.items():
        part = PART_NAMES.get(name.lower())
        if part is None:
            raise DataError(f"the part {name!r} is unknown", where=option, todo=suggest(name, PART_NAMES))
        found[part] = value
    if not found:
        raise DataError("no file is named", where=option, todo="name one, or one for each part")
    return found


def _tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
