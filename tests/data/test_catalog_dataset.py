"""The catalog and how a data section becomes a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medcnn import registry
from medcnn.data.catalog import find_entry, load_catalog
from medcnn.data.dataset import data_root, load_dataset
from medcnn.errors import DataError
from medcnn.recipe.options import check_options
from medcnn.recipe.schema import DataSection
from medcnn.types import Dataset

OWN = """
mine:
  title: My own
  tasks: [classification]
  adapter: {name: image_folder, options: {positive: abdomen, rest: other}}
  labels:
    positive: abdomen
    classes:
      - {value: 0, name: other}
      - {value: 1, name: abdomen, color: "#ff0000"}
  patient: Unknown.
  folder: mine
  source: https://example.org/mine
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.yaml").write_text(OWN)
    return tmp_path / "own.yaml"


def fill(root: Path, per_class: int = 6) -> Path:
    for name in ("abdomen", "chest", "hand"):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            (root / name / f"p{i // 2}-{i}.png").write_bytes(b"x")
    return root


def load(**options: Any) -> Dataset:
    return load_dataset(DataSection.model_validate(options))


@pytest.mark.parametrize("name", sorted(load_catalog()))
def test_every_entry_names_an_adapter_and_options_that_exist(name: str) -> None:
    entry = find_entry(name)
    assert callable(registry.load("adapters", entry.adapter.name))
    check_options("adapters", entry.adapter.name, entry.adapter.options)
    for task in entry.tasks:
        registry.target("tasks", task)
    if entry.labels is not None and entry.labels.classes:
        names = [c.name for c in entry.labels.classes]
        assert len(set(names)) == len(names)
        assert entry.labels.positive is None or entry.labels.positive in names


def test_an_unknown_name_gets_the_nearest(own: Path) -> None:
    with pytest.raises(DataError, match="mine"):
        find_entry("mien", own)


def test_a_dataset_that_is_not_there_names_source_and_key(own: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(dataset="mine", catalog=str(own))
    assert caught.value.where == str(data_root() / "mine")
    assert "https://example.org/mine" in caught.value.todo
    assert "data.root" in caught.value.todo


def test_a_dataset_of_the_catalog(own: Path, tmp_path: Path) -> None:
    dataset = load(dataset="mine", catalog=str(own), root=str(fill(tmp_path / "d")))
    assert dataset.name == "mine"
    assert len(dataset) == 18
    assert dataset.labels["class"].classes[1].color == "#ff0000"
    assert dataset.facts["title"] == "My own"
    assert "licence" not in dataset.facts


def test_options_of_the_recipe_come_first(own: Path, tmp_path: Path) -> None:
    options = {"positive": "hand"}
    dataset = load(dataset="mine", catalog=str(own), root=str(fill(tmp_path / "d")), options=options)
    assert dataset.labels["class"].names == ("other", "hand")
    assert dataset.labels["class"].positive == "hand"


def test_an_adapter_without_a_catalog(tmp_path: Path) -> None:
    adapter = {"name": "image_folder", "patient": r"(p\d+)-"}
    dataset = load(adapter=adapter, root=str(fill(tmp_path / "d")))
    assert dataset.labels["class"].names == ("abdomen", "chest", "hand")
    with pytest.raises(ValueError, match="an adapter needs the folder"):
        load(adapter=adapter)


@pytest.mark.parametrize("limit", [1, 5, 7, 100])
def test_a_limit_keeps_groups_whole_and_is_kept(tmp_path: Path, limit: int) -> None:
    adapter = {"name": "image_folder", "patient": r"(p\d+)-"}
    root = str(fill(tmp_path / "d"))
    whole, some = load(adapter=adapter, root=root), load(adapter=adapter, root=root, limit=limit)
    assert 0 < len(some) <= limit
    assert [c for c in whole if c in some.cases] == list(some)
    if limit >= 6:
        for patient in {c.patient for c in some}:
            assert sum(c.patient == patient for c in some) == sum(c.patient == patient for c in whole)


def test_a_limit_is_an_even_sample(tmp_path: Path) -> None:
    some = load(adapter={"name": "image_folder"}, root=str(fill(tmp_path / "d")), limit=9)
    assert {c.id.partition("/")[0] for c in some} == {"abdomen", "chest", "hand"}


def test_no_usable_case_says_why(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("image,label\na.png,x\n")
    with pytest.raises(DataError, match="does not exist"):
        load(adapter={"name": "table", "label": "label"}, root=str(tmp_path))


@pytest.mark.parametrize("text", ["[1]", "a: {", "a: null", "a: {title: x}", OWN.replace("title", "titel")])
def test_a_broken_catalog_names_its_mistakes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"own\.yaml"):
        load_catalog(path)
    with pytest.raises(DataError, match="no such catalog"):
        load_catalog(tmp_path / "absent.yaml")


def test_a_changed_catalog_is_read_again(own: Path) -> None:
    import os

    assert set(load_catalog(own)) == {"mine"}
    own.write_text(OWN.replace("mine:", "yours:", 1))
    os.utime(own, ns=(1, 1))
    assert set(load_catalog(own)) == {"yours"}
