"""Components by name: ``name -> "module:attribute"``, with entry points for third parties.

Nothing is imported before it is asked for, so that a broken plug-in fails only when it is named.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.machinery
import importlib.metadata
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from medcnn.errors import MedcnnError

Kind = Literal["tasks", "adapters", "readers", "networks", "losses", "optimizers", "schedules", "evaluators", "judges"]

_BUILT_IN: dict[str, dict[str, str]] = {
    "tasks": {
        "classification": "medcnn.tasks.classification:ClassificationTask",
        "regression": "medcnn.tasks.regression:RegressionTask",
        "segmentation": "medcnn.tasks.segmentation:SegmentationTask",
        "detection": "medcnn.tasks.detection:DetectionTask",
    },
    "evaluators": {
        "classification": "medcnn.evaluation.classification:evaluate_classification",
        "regression": "medcnn.evaluation.regression:evaluate_regression",
        "segmentation": "medcnn.evaluation.segmentation:evaluate_segmentation",
        "detection": "medcnn.evaluation.detection:evaluate_detection",
    },
    "judges": {
        "classification": "medcnn.workflow.tables:judge_classification",
        "regression": "medcnn.workflow.tables:judge_regression",
        "segmentation": "medcnn.workflow.masks:judge_masks",
        "detection": "medcnn.workflow.boxes:judge_boxes",
    },
    "adapters": {
        "image_folder": "medcnn.data.adapters.image_folder:image_folder",
        "table": "medcnn.data.adapters.table:table",
        "medmnist": "medcnn.data.adapters.medmnist:medmnist",
        "phantom": "medcnn.data.adapters.phantom:phantom",
        "phantom_nodules": "medcnn.data.adapters.phantom_nodules:phantom_nodules",
        "dicom_tree": "medcnn.data.adapters.dicom_tree:dicom_tree",
        "decathlon": "medcnn.data.adapters.decathlon:decathlon",
        "nnunet": "medcnn.data.adapters.nnunet:nnunet",
        "pairs": "medcnn.data.adapters.pairs:pairs",
        "coco": "medcnn.data.adapters.coco:coco",
        "yolo": "medcnn.data.adapters.yolo:yolo",
        "voc": "medcnn.data.adapters.voc:voc",
        "box_table": "medcnn.data.adapters.box_table:box_table",
    },
    "readers": {
        "raster": "medcnn.data.images.raster:read_raster",
        "nifti": "medcnn.data.images.nifti:read_nifti",
        "dicom": "medcnn.data.images.dicom:read_dicom",
        "npz": "medcnn.data.images.npz:read_npz",
        "itk": "medcnn.data.images.itk:read_itk",
    },
    "networks": {
        "basic_cnn": "medcnn.models.builders:basic_cnn",
        "small_resnet": "medcnn.models.builders:small_resnet",
        "unet_classifier": "medcnn.models.builders:unet_classifier",
        "densenet": "medcnn.models.builders:densenet",
        "resnet": "medcnn.models.builders:resnet",
        "efficientnet": "medcnn.models.builders:efficientnet",
        "seresnet": "medcnn.models.builders:seresnet",
        "vit": "medcnn.models.builders:vit",
        "small_unet": "medcnn.models.unets:small_unet",
        "unet": "medcnn.models.unets:unet",
        "dynunet": "medcnn.models.unets:dynunet",
        "basic_unet": "medcnn.models.unets:basic_unet",
        "attention_unet": "medcnn.models.unets:attention_unet",
        "segresnet": "medcnn.models.unets:segresnet",
        "retinanet": "medcnn.models.detectors:retinanet",
        "auto": "medcnn.models.auto:auto",
    },
    "losses": {
        "cross_entropy": "medcnn.models.losses:cross_entropy",
        "binary_cross_entropy": "medcnn.models.losses:binary_cross_entropy",
        "focal": "medcnn.models.losses:focal",
        "mse": "medcnn.models.losses:mse",
        "dice": "medcnn.models.dense_losses:dice",
        "dice_ce": "medcnn.models.dense_losses:dice_ce",
        "dice_focal": "medcnn.models.dense_losses:dice_focal",
        "tversky": "medcnn.models.dense_losses:tversky",
        "retinanet": "medcnn.models.detection_losses:retinanet_loss",
    },
    "optimizers": {
        "sgd": "medcnn.training.optimizers:sgd",
        "adam": "medcnn.training.optimizers:adam",
        "adamw": "medcnn.training.optimizers:adamw",
        "rmsprop": "medcnn.training.optimizers:rmsprop",
    },
    "schedules": {
        "constant": "medcnn.training.schedules:constant",
        "step": "medcnn.training.schedules:step",
        "cosine": "medcnn.training.schedules:cosine",
        "one_cycle": "medcnn.training.schedules:one_cycle",
        "plateau": "medcnn.training.schedules:plateau",
    },
}


def _entry_points(kind: str) -> dict[str, str]:
    return {e.name: e.value for e in importlib.metadata.entry_points(group=f"medcnn.{kind}")}


def names(kind: Kind) -> tuple[str, ...]:
    """All names of a kind, built-in and from entry points, sorted."""
    return tuple(sorted({**_entry_points(kind), **_BUILT_IN[kind]}))


def suggest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for a close known name, else the list of the known ones."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def target(kind: Kind, name: str, *, allow_code: Path | None = None) -> str:
    """The ``module:attribute`` behind a name, without importing it.

    Args:
        kind: Which table.
        name: A registered name, or ``module:attribute`` of an installed package.
        allow_code: A folder whose modules may be imported too (the user said ``--allow-code``).

    Raises:
        MedcnnError: If the name is unknown, or its module is not an installed package.
    """
    found = _BUILT_IN[kind].get(name) or _entry_points(kind).get(name)
    if found is not None:
        return found
    if ":" not in name:
        raise MedcnnError(f"unknown name {name!r} among the {kind}", todo=suggest(name, names(kind)))
    _require_installed(name, allow_code)
    return name


def load(kind: Kind, name: str, *, allow_code: Path | None = None) -> Any:
    """The object behind a name, or behind ``module:attribute`` of an installed package.

    Args:
        kind: Which table.
        name: A registered name, or ``module:attribute``.
        allow_code: A folder whose modules may be imported too (the user said ``--allow-code``).

    Raises:
        MedcnnError: If the name is unknown, the module is not installed, or its import fails.
    """
    place = target(kind, name, allow_code=allow_code)
    module, _, attribute = place.partition(":")
    # What goes wrong inside a foreign module is the user's to mend; inside ours only a missing library is.
    expected = (ImportError, AttributeError) if module.startswith("medcnn.") else (Exception,)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except expected as error:
        raise MedcnnError(
            f"{place!r}, registered as {name!r} among the {kind}, cannot be imported: {error}",
            todo="check that the package that provides it is installed and imports by itself",
        ) from error
    return found


def _require_installed(name: str, allow_code: Path | None) -> None:
    """Refuse ``module:attribute`` whose module would come from the working folder rather than a package."""
    top = name.partition(":")[0].partition(".")[0]
    if top in sys.stdlib_module_names:
        raise MedcnnError(f"{name!r} is a part of Python, not a component", todo="name a class or function of yours")
    here = str(Path.cwd())
    if _findable(top, [p for p in sys.path if p not in ("", here)]) or _editable_here(top):
        return
    if allow_code is not None:
        if str(allow_code) not in sys.path:
            sys.path.insert(0, str(allow_code))
        if _findable(top, [str(allow_code)]):
            return
    raise MedcnnError(
        f"the module {top!r} of {name!r} is not an installed package",
        todo="install it, or give --allow-code to import code that lies beside the recipe",
    )


def _findable(top: str, roots: list[str]) -> bool:
    """Whether an import of ``top`` succeeds with these roots; finders of editable installs are asked too."""
    for finder in sys.meta_path:
        path = roots if finder is importlib.machinery.PathFinder else None
        find = getattr(finder, "find_spec", None)
        if find is not None and find(top, path) is not None:
            return True
    return False


def _editable_here(top: str) -> bool:
    """Whether the working folder holds ``top`` as a package that was installed in editable mode."""
    from urllib.parse import urlparse
    from urllib.request import url2pathname

    here = Path.cwd()
    for distribution in importlib.metadata.distributions():
        facts = json.loads(distribution.read_text("direct_url.json") or "{}")
        if facts.get("dir_info", {}).get("editable"):
            root = Path(url2pathname(urlparse(facts["url"]).path))
            if root.is_relative_to(here) and _findable(top, [str(root), str(root / "src")]):
                return True
    return False
