"""data.stack in a recipe: one rule wherever a series is read."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from medcnn.data.dataset import load_dataset
from medcnn.data.images import StackRule, read_case
from medcnn.data.stack_choice import choose_stacks
from medcnn.errors import RecipeError
from medcnn.progress import Silent
from medcnn.recipe.load import load_recipe
from medcnn.recipe.schema import DataSection, StackSection
from medcnn.types import Case, Dataset, ImageRef
from medcnn.workflow.predict import picked


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mixed(tree: Any) -> Any:
    """Folders a class, each with folders of two series, a scan of two echoes, and a localizer."""
    for name in ("sick", "well"):
        for patient in ("p1", "p2"):
            folder = f"{name}/{patient}"
            series = f"1.3.{('sick', 'well').index(name)}.{patient[1]}"
            same = {"SeriesInstanceUID": series, "StudyInstanceUID": "1.2"}
            tree.series(f"{folder}/x", (0, 3), EchoNumbers=1, **same)
            tree.series(f"{folder}/y", (0, 3), EchoNumbers=2, **same)
            tree.series(f"{folder}/z", (7,), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID="1.99")
            for part in "xyz":
                for path in sorted((tree.root / folder / part).iterdir()):
                    path.rename(tree.root / folder / f"{part}{path.name}")
                (tree.root / folder / part).rmdir()
    return tree


def load(tree: Any, adapter: dict[str, Any], stack: dict[str, Any] | None) -> Dataset:
    return load_dataset(DataSection(adapter=adapter, root=str(tree.root), stack=stack))


def files(dataset: Dataset) -> list[list[str]]:
    return [[Path(p).name for p in c.images[0].paths] for c in dataset]


def test_the_section_and_the_rule_have_the_same_keys_and_defaults() -> None:
    section = StackSection().model_dump()
    assert list(section) == [f.name for f in fields(StackRule)]
    assert StackRule.of(section) == StackRule()


def test_a_folder_a_class_with_a_volume_a_folder(mixed: Any) -> None:
    adapter = {"name": "image_folder", "volumes": True}
    open_ = load(mixed, adapter, None)
    assert [c.id for c in open_] == ["sick/p1", "sick/p2", "well/p1", "well/p2"]
    assert {len(c.images[0].paths) for c in open_} == {5}
    chosen = load(mixed, adapter, {"echo": 2})
    assert files(chosen) == [["y0.dcm", "y1.dcm"]] * 4
    assert read_case(chosen.cases[0]).array.shape == (1, 4, 3, 2)
    assert files(load(mixed, adapter, {"kind": "localizer"})) == [["z0.dcm"]] * 4


def test_what_stays_ambiguous_is_an_exclusion_that_lists_the_stacks(mixed: Any) -> None:
    for path in (mixed.root / "sick" / "p1").glob("y*"):
        path.unlink()
    found = load(mixed, {"name": "image_folder", "volumes": True}, {"plane": "axial"})
    assert [c.id for c in found] == ["sick/p1"]
    assert {e.case for e in found.exclusions} == {"sick/p2", "well/p1", "well/p2"}
    for exclusion in found.exclusions:
        assert "2 stacks, which differ in EchoNumbers: [1] CT axial 4x3, 2 slices" in exclusion.reason
        assert not exclusion.aside


def test_a_table_of_folders(mixed: Any) -> None:
    (mixed.root / "t.csv").write_text("image,label\nsick/p1,a\nwell/p2,b\nwell/p1/x0.dcm,b\n")
    found = load(mixed, {"name": "table", "file": "t.csv", "label": "label"}, {"echo": 1, "least_slices": 2})
    assert files(found) == [["x0.dcm", "x1.dcm"]] * 2
    ((left),) = found.exclusions
    assert left.case == "well/p1/x0.dcm"
    assert "none of the stacks fits the rule" in left.reason


def test_a_broken_slice_is_named(mixed: Any) -> None:
    (mixed.root / "t.csv").write_text("image,label\nsick/p1,a\nwell/p2,b\n")
    path = mixed.root / "sick" / "p1" / "x1.dcm"
    path.write_bytes(path.read_bytes()[:200])
    found = load(mixed, {"name": "table", "file": "t.csv", "label": "label"}, {"echo": 1})
    assert [c.id for c in found] == ["well/p2"]
    ((left),) = found.exclusions
    assert (left.case, left.path) == ("sick/p1", str(path))
    assert "truncated" in left.reason


def test_pictures_are_left_alone(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name / "1.png")
    data = DataSection(adapter={"name": "image_folder"}, root=str(tmp_path), stack={"modality": "MR"})
    assert len(load_dataset(data)) == 2


def test_frames_and_keys_are_decided_already(mixed: Any) -> None:
    paths = tuple(str(p) for p in sorted((mixed.root / "sick" / "p1").iterdir()))
    cases = [
        Case("a", (ImageRef(paths, "dicom", "EchoNumbers=1"),)),
        Case("b", (ImageRef(paths[:1], "dicom", index=0),)),
    ]
    assert choose_stacks(cases, StackRule(modality="PT"), mixed.root, Silent()) == (cases, [])


def test_prediction_goes_by_the_rule_of_the_model(mixed: Any) -> None:
    paths = tuple(str(p) for p in sorted((mixed.root / "sick" / "p1").iterdir()))
    case = Case("folder", (ImageRef(paths),))
    assert picked([case], None, Silent()) == ([case], [])
    (chosen,), left = picked([case], StackSection(echo=2).model_dump(), Silent())
    assert [Path(p).name for p in chosen.images[0].paths] == ["y0.dcm", "y1.dcm"]
    assert not left
    none, (failed,) = picked([case], StackSection().model_dump(), Silent())
    assert not none
    assert (failed.case, failed.reason[:18]) == ("folder", "there are 2 stacks")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plain: axial", "plane"),
        ("plane: transversal", "axial"),
        ("description: '('", "is no regular expression"),
        ("least_slices: 0", "least_slices"),
        ("echo: two", "echo"),
    ],
)
def test_mistakes_in_the_rule_are_those_of_the_recipe(tmp_path: Path, text: str, message: str) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "task: classification\ndata:\n  dataset: phantom\n  stack:\n    "
        f"{text}\ninput: {{size: [64, 64]}}\nmodel: basic_cnn\n"
    )
    with pytest.raises(RecipeError, match=message) as error:
        load_recipe(recipe)
    assert "data.stack" in str(error.value)
