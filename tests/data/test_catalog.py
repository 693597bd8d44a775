"""The catalog, and from a recipe's data section to cases."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medcnn import registry, resources
from medcnn.data.catalog import find_entry, load_catalog
from medcnn.data.dataset import load_dataset
from medcnn.errors import DataError, MedcnnError
from medcnn.recipe.options import check_options
from medcnn.recipe.schema import DataSection
from medcnn.types import ClassLabel

MEDMNIST = (
    "pathmnist",
    "chestmnist",
    "dermamnist",
    "octmnist",
    "pneumoniamnist",
    "retinamnist",
    "breastmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
)
OWN = """
mine:
  title: My own
  tasks: [classification]
  adapter: {name: image_folder, options: {positive: b}}
  labels: {positive: b, classes: [{value: 3, name: a, color: "#ff0000"}, {value: 5, name: b}]}
  patient: Nobody knows.
  folder: mine
  source: https://example.org/mine
  licence: CC0
  modality: XR
"""


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """A catalog of one's own, and its data."""
    (tmp_path / "own.yaml").write_text(OWN)
    for name in "ab":
        folder = tmp_path / "mine" / name
        folder.mkdir(parents=True)
        for k in range(6):
            (folder / f"{k}.png").write_bytes(b"x")
    return {"dataset": "mine", "catalog": str(tmp_path / "own.yaml"), "root": str(tmp_path / "mine")}


DECATHLON = tuple(
    f"msd_{name}"
    for name in (
        *("brain_tumour", "heart", "liver", "hippocampus", "prostate"),
        *("lung", "pancreas", "hepatic_vessel", "spleen", "colon"),
    )
)


def load(**keys: Any) -> Any:
    return load_dataset(DataSection(**keys))


def test_every_shipped_entry_is_whole() -> None:
    entries = load_catalog()
    wanted = {"phantom", "phantom_abdomen", "phantom_lesion", "phantom_body_width", "mednist", "mednist_abdomen"}
    wanted |= {"my_dicom", "mr_dicom_series", "phantom_nodules", "rsna_pneumonia", "vindr_cxr", "luna16"}
    assert wanted | {"brain_tumor_mri", "my_folder", "my_table", "my_masks", *MEDMNIST, *DECATHLON} <= set(entries)
    tasks = set(registry.names("tasks"))
    for name, entry in entries.items():
        assert set(entry.tasks) <= tasks, name
        if entry.labels is not None:
            names = [c.name for c in entry.labels.classes]
            assert len(set(names)) == len(names), name
            assert entry.labels.positive in (None, *names), name
        if entry.source is not None:
            assert entry.verified, name
            assert entry.source.startswith("https://"), name
        if entry.checksum is not None:
            kind, _, value = entry.checksum.partition(":")
            assert len(value) == {"md5": 32, "sha256": 64}[kind], name


@pytest.mark.parametrize(
    "name",
    [
        "mednist",
        "mednist_abdomen",
        "brain_tumor_mri",
        "mr_dicom_series",
        "rsna_pneumonia",
        "vindr_cxr",
        "luna16",
        "my_folder",
        "my_table",
        "my_dicom",
        "my_masks",
        *MEDMNIST,
        *DECATHLON,
    ],
)
def test_options_of_every_entry_are_those_of_its_adapter(name: str) -> None:
    entry = find_entry(name)
    options = check_options("adapters", entry.adapter.name, entry.adapter.options)
    if entry.adapter.name == "medmnist":
        assert list(options["classes"]) == [c.name for c in entry.labels.classes]
        assert options["multilabel"] == entry.labels.multilabel


@pytest.mark.parametrize("name", DECATHLON)
def test_the_decathlon_has_addresses_and_checksums(name: str) -> None:
    entry = find_entry(name)
    assert entry.source == f"https://msd-for-monai.s3-us-west-2.amazonaws.com/{entry.folder}.tar"
    # What MONAI knows of the same archives, read without importing it.
    (place,) = importlib.util.find_spec("monai").submodule_search_locations
    source = (Path(place) / "apps" / "datasets.py").read_text(encoding="utf-8")
    assert f'"{entry.folder}": "{entry.checksum.removeprefix("md5:")}"' in source
    assert f'"{entry.folder}": "{entry.source}"' in source
    assert (entry.size, entry.licence) == (None, "CC-BY-SA 4.0")


def test_labels_of_masks_gain_colours_and_codes(tmp_path: Path) -> None:
    for folder, value in (("images", 9), ("masks", 1)):
        (tmp_path / folder).mkdir()
        Pillow.fromarray(np.full((2, 2), value, np.uint8)).save(tmp_path / folder / "a.png")
    schema = load(dataset="my_masks", root=str(tmp_path)).labels["mask"]
    assert [(c.value, c.name, c.color, c.code) for c in schema.classes] == [
        (1, "liver", "#d98c5f", "SCT:10200004:Liver"),
        (2, "tumour", "#4f7fd9", "SCT:108369006:Neoplasm"),
    ]
    # Merged, the label keeps what is said of it.
    options = {"mask_labels": {"tumour": [1, 2]}}
    (merged,) = load(dataset="my_masks", root=str(tmp_path), options=options).labels["mask"].classes
    assert (merged.value, merged.color) == (1, "#4f7fd9")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'mednist'"):
        find_entry("mednst")


def test_all_mistakes_of_a_catalog_are_listed_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(OWN.replace("title: My own", "titel: My own").replace("value: 5", "value: five"))
    with pytest.raises(DataError) as error:
        load_catalog(path)
    text = str(error.value)
    assert "own.yaml:3: mine.titel: unknown key (did you mean 'title'?)" in text
    assert "mine.title: is missing" in text
    assert "mine.labels.classes.1.value" in text
    for content in ("- a\n- b\n", "a: [", ""):
        path.write_text(content)
        with pytest.raises(DataError):
            load_catalog(path)
    with pytest.raises(DataError, match="no such catalog"):
        load_catalog(tmp_path / "none.yaml")


def test_facts_and_labels_of_the_entry_reach_the_dataset(own: dict[str, str]) -> None:
    dataset = load(**own)
    assert dataset.name == "mine"
    assert dataset.facts["title"] == "My own"
    assert dataset.facts["licence"] == "CC0"
    assert dataset.facts["patient"] == "Nobody knows."
    schema = dataset.labels["class"]
    assert [(c.value, c.name, c.color) for c in schema.classes] == [(3, "a", "#ff0000"), (5, "b", None)]
    assert schema.positive == "b"


def test_options_of_the_recipe_go_before_the_entrys(own: dict[str, str]) -> None:
    assert load(**own, options={"positive": "a"}).labels["class"].names == ("b", "a")
    kept = load(**own, options={"classes": ["a", "b"], "positive": "a"}).labels["class"]
    assert (kept.names, kept.positive) == (("a", "b"), "a")
    with pytest.raises(MedcnnError, match="did you mean 'positive'"):
        load(**own, options={"positiv": "a"})


def test_a_missing_dataset_says_where_it_was_looked_for(own: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_DATA", "/nowhere")
    with pytest.raises(DataError) as error:
        load(dataset="mine", catalog=own["catalog"])
    assert error.value.where == "/nowhere/mine"
    assert "https://example.org/mine" in error.value.todo
    assert "data.root=FOLDER" in error.value.todo


def test_the_data_root_is_the_environments(own: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_DATA", str(Path(own["root"]).parent))
    assert len(load(dataset="mine", catalog=own["catalog"])) == 12


def test_an_adapter_without_a_catalog(own: dict[str, str]) -> None:
    adapter = {"name": "image_folder", "classes": ["b", "a"]}
    assert load(adapter=adapter, root=own["root"]).labels["class"].names == ("b", "a")
    with pytest.raises(ValueError, match="an adapter needs the folder"):
        load(adapter=adapter)


def test_a_limit_is_an_even_sample_of_groups(own: dict[str, str]) -> None:
    for limit in range(1, 13):
        dataset = load(**own, limit=limit)
        counts = Counter(c.target(ClassLabel).index for c in dataset)
        assert len(dataset) == limit
        assert abs(counts[0] - counts[1]) <= 2
        assert [c.id for c in dataset] == [c.id for c in load(**own, limit=limit)]
    whole = load(**own, options={"patient": "^([0-3])"}, limit=6)
    patients = {c.patient for c in whole}
    everything = load(**own, options={"patient": "^([0-3])"})
    for patient in patients - {None}:
        assert sum(c.patient == patient for c in whole) == sum(c.patient == patient for c in everything)


def test_a_table_without_one_file_that_exists_says_so(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("image,label\na.png,x\nb.png,y\n")
    with pytest.raises(DataError, match="no usable case; 2 were left out, the first: the file does not exist"):
        load(adapter={"name": "table", "label": "label"}, root=str(tmp_path))


def test_resources_are_in_the_package_first_then_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resources.catalog_file().is_file()
    assert resources.recipes_folder().is_dir()
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "package")
    monkeypatch.setattr(resources, "_TREE", tmp_path)
    with pytest.raises(MedcnnError, match=r"datasets\.yaml is missing"):
        resources.catalog_file()
    (tmp_path / "datasets.yaml").touch()
    assert resources.catalog_file() == tmp_path / "datasets.yaml"
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "datasets.yaml").touch()
    assert resources.catalog_file() == tmp_path / "package" / "datasets.yaml"


def test_reading_data_needs_no_torch() -> None:
    code = (
        "import sys, medcnn.data.images, medcnn.data.catalog, medcnn.data.dataset, medcnn.data.cases_csv\n"
        "import medcnn.data.adapters.table, medcnn.data.adapters.image_folder, medcnn.data.adapters.medmnist\n"
        "import medcnn.data.images.raster, medcnn.data.images.dicom, medcnn.data.images.nifti, medcnn.data.images.npz\n"
        "heavy = {'torch', 'monai', 'lightning', 'pandas', 'pydicom', 'nibabel'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.realdata
def test_mednist_has_its_published_counts(realdata: Any) -> None:
    dataset = load(dataset="mednist", root=str(realdata("MedNIST")))
    names = dataset.labels["class"].names
    counts = Counter(names[c.target(ClassLabel).index] for c in dataset)
    assert len(dataset) == 53_059
    assert not dataset.exclusions
    assert all(counts[name] > 8_000 for name in names)
    binary = load(dataset="mednist_abdomen", root=str(realdata("MedNIST")))
    assert sum(c.target(ClassLabel).index for c in binary) == counts["AbdomenCT"]
    assert binary.labels["class"].positive == "AbdomenCT"


@pytest.mark.realdata
def test_brain_tumours_have_their_groups_and_clusters(realdata: Any) -> None:
    dataset = load(dataset="brain_tumor_mri", root=str(realdata("brain_tumor_mri")))
    assert len(dataset) == 2_212
    assert not dataset.exclusions
    assert len({c.group for c in dataset}) == 12
    assert all(c.cluster and c.group and c.cluster.startswith(c.group) for c in dataset)
    assert not dataset.patients_known
