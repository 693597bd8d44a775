"""Tables of boxes: conventions of corners, spaces, readers, negatives, and the layouts of published sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medcnn.data.adapters.box_table import box_table
from medcnn.data.dataset import load_dataset
from medcnn.data.images import read_case, read_image
from medcnn.data.images.grid_only import Grid, read_grid
from medcnn.data.labels.boxes_table import read_corners, to_pixels
from medcnn.errors import DataError, ImageError
from medcnn.recipe.options import check_options
from medcnn.recipe.schema import DataSection
from medcnn.types import Boxes, Case, Dataset, ImageRef


def picture(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros(size[::-1], np.uint8)).save(path)
    return path


def make(root: Path, text: str, *images: str, name: str = "boxes.csv") -> Path:
    for image in images or ("a", "b", "c"):
        picture(root / "images" / f"{image}.png")
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    return root


def radiograph(path: Path, size: tuple[int, int] = (64, 48)) -> None:
    found = pydicom.Dataset()
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = generate_uid()
    found.Modality, found.Rows, found.Columns = "DX", size[1], size[0]
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = 8, 8, 7, 0
    found.PixelData = np.arange(size[0] * size[1], dtype=np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save_as(path, enforce_file_format=True)


def volume(path: Path, values: NDArray[np.int16], spacing: Any, origin: Any, direction: Any = None) -> None:
    """A MetaImage header with its data beside it; ``values`` are ``(X, Y, Z)``."""
    image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))


def corners(dataset: Dataset) -> dict[str, list[list[float]]]:
    return {case.id: boxes_of(case).corners.tolist() for case in dataset}


def boxes_of(case: Case) -> Boxes:
    found = case.target(Boxes)
    assert found is not None
    return found


def reasons(dataset: Dataset) -> dict[str, str]:
    return {e.case: e.reason for e in dataset.exclusions}


def load(name: str, root: Path, **options: Any) -> Dataset:
    return load_dataset(DataSection(dataset=name, root=str(root), options=options))


@pytest.mark.parametrize(
    ("convention", "cells"),
    [
        ("xyxy", "4,6,10,16"),
        ("xywh", "4,6,6,10"),
        ("cxcywh", "7,11,6,10"),
        ("xyxy", "4.0, 6.0 ,1e1,16"),
    ],
)
def test_conventions_of_corners(tmp_path: Path, convention: str, cells: str) -> None:
    root = make(tmp_path, f"image,p,q,r,s\na.png,{cells}\nb,,,,\nimages/../c,nan,nan,nan,nan\n")
    dataset = box_table(root, coordinates=("p", "q", "r", "s"), corners=convention)  # type: ignore[arg-type]
    assert corners(dataset) == {"a.png": [[4, 6, 10, 16]], "b": [], "images/../c": []}
    assert dataset.labels["boxes"].names == ("finding",)
    assert not dataset.exclusions


@given(
    st.lists(st.integers(-50, 50), min_size=3, max_size=3),
    st.lists(st.integers(1, 20), min_size=3, max_size=3),
    st.sampled_from([2, 3]),
)
@settings(max_examples=50, deadline=None)
def test_one_box_is_the_same_in_every_convention(low: list[int], sides: list[int], dims: int) -> None:
    low, sides = low[:dims], sides[:dims]
    high = [a + b for a, b in zip(low, sides, strict=True)]
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    expected = (*low, *high)
    for convention, values in (("xyxy", [*low, *high]), ("xywh", [*low, *sides]), ("cxcywh", [*middle, *sides])):
        assert read_corners([str(v) for v in values], convention) == expected  # type: ignore[arg-type]
    cube = read_corners([*map(str, middle), "6"], "diameter")
    assert cube == (*(m - 3 for m in middle), *(m + 3 for m in middle))


def test_shares_are_of_the_images_own_size(tmp_path: Path) -> None:
    root = make(tmp_path, "image,x1,y1,x2,y2\na,0.25,0.5,1.00004,1\nb,0,0,1.5,1\n")
    dataset = box_table(root, space="normalised")
    assert corners(dataset) == {"a": [[10, 15, 40, 30]]}
    assert "outside 0 to 1" in reasons(dataset)["b"]


# A cube of 8 mm around the middle of voxel (3, 4, 2): of 2 x 1 x 4 mm it covers 4 x 8 x 2 voxels.
AROUND = (3.5 - 2, 4.5 - 4, 2.5 - 1, 3.5 + 2, 4.5 + 4, 2.5 + 1)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("space", ["world_lps", "world_ras"])
def test_boxes_in_mm_are_placed_by_the_images_geometry(tmp_path: Path, flipped: bool, space: str) -> None:
    direction = (-1, 0, 0, 0, -1, 0, 0, 0, 1) if flipped else (1, 0, 0, 0, 1, 0, 0, 0, 1)
    path = tmp_path / "images" / "a.mhd"
    volume(path, np.zeros((12, 12, 6), np.int16), (2, 1, 4), (-30, 5, 70), direction)
    # SimpleITK's own way from a voxel to the world, which is LPS.
    x, y, z = SimpleITK.ReadImage(str(path)).TransformIndexToPhysicalPoint((3, 4, 2))
    if space == "world_ras":
        x, y = -x, -y
    (tmp_path / "boxes.csv").write_text(f"image,x,y,z,d\na,{x},{y},{z},8\n")
    options: Any = {"coordinates": ("x", "y", "z", "d"), "corners": "diameter", "space": space}
    assert np.allclose(corners(box_table(tmp_path, **options))["a"], [AROUND], atol=1e-4)


def test_an_oblique_box_in_mm_becomes_the_hull_of_its_corners() -> None:
    turn = np.eye(4)
    turn[:2, :2] = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    found = to_pixels((-1, -1, -1, 1, 1, 1), "world_ras", Grid((9, 9, 9), turn))
    wide = np.sqrt(2)
    assert np.allclose(found, (0.5 - wide, 0.5 - wide, -0.5, 0.5 + wide, 0.5 + wide, 1.5), atol=1e-5)


def test_a_box_in_mm_needs_geometry_and_as_many_axes(tmp_path: Path) -> None:
    root = make(tmp_path, "image,x,y,z,d\na,1,2,3,4\nb,,,,\nv,0,0,0,2\n")
    volume(tmp_path / "images" / "v.mhd", np.zeros((5, 5, 5), np.int16), (1, 1, 1), (0, 0, 0))
    dataset = box_table(root, coordinates=("x", "y", "z", "d"), corners="diameter", space="world_lps")
    assert corners(dataset) == {"b": [], "v": [[-0.5, -0.5, -0.5, 1.5, 1.5, 1.5]]}
    assert reasons(dataset)["a"].startswith("the image has no geometry, so that a box in mm cannot be placed in it")
    flat = to_pixels((0, 0, 0, 1, 1, 1), "world_lps", Grid((5, 5), np.eye(4)))
    assert flat == "a box has 3 axes, the image 2"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("5,5,5,9", "a box has no area: its sides are 0 x 4 (line 2)"),
        ("9,5,5,9", "a box is inverted: its sides are -4 x 4 (line 2)"),
        ("5,5,inf,9", "a box holds a number that is not finite (line 2)"),
        ("5,5,,9", "a box lacks some of its numbers (line 2)"),
        ("5,5,x,9", "a box is not made of numbers: 5, 5, x, 9 (line 2)"),
    ],
)
def test_a_row_that_is_no_box_costs_its_image_alone(tmp_path: Path, cells: str, reason: str) -> None:
    dataset = box_table(make(tmp_path, f"image,x1,y1,x2,y2\na,{cells}\na,1,1,2,2\nb,1,1,2,2\n"))
    assert corners(dataset) == {"b": [[1, 1, 2, 2]]}
    assert reasons(dataset) == {"a": reason, "c": "the table does not name the image"}


def test_images_that_are_not_there_not_named_or_not_clear(tmp_path: Path) -> None:
    root = make(tmp_path, "image,x1,y1,x2,y2\na,1,1,2,2\ngone,1,1,2,2\n", "a", "one/b", "two/b", "c")
    text = (root / "boxes.csv").read_text()
    (root / "boxes.csv").write_text(f"{text}b,1,1,2,2\n,1,1,2,2\n")
    found = reasons(box_table(root))
    assert found.pop("b").startswith("2 files are called so: ")
    assert found == {
        "gone": "the file does not exist",
        "(no name)": "no image is named",
        "c": "the table does not name the image",
        "one/b": "the table does not name the image",
        "two/b": "the table does not name the image",
    }
    absent = box_table(root, unlisted="absent")
    assert corners(absent) == {"a": [[1, 1, 2, 2]], "c": [], "one/b": [], "two/b": []}
    (root / "boxes.csv").write_text("image,x1,y1,x2,y2\na,1,1,2,2\na.png,3,3,4,4\n")
    with pytest.raises(DataError, match=r"'a' and 'a\.png' are one image"):
        box_table(root)


def test_a_folder_is_a_dicom_series(tmp_path: Path) -> None:
    for k in range(2):
        radiograph(tmp_path / "images" / "1.2.3" / f"{k}.dcm")
    picture(tmp_path / "images" / "b.png")
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\n1.2.3,1,1,2,2\n")
    dataset = box_table(tmp_path)
    assert [len(c.images[0].paths) for c in dataset] == [2]
    assert list(reasons(dataset)) == ["b"]


READ = """image,who,kind,x1,y1,x2,y2
a,R10,mass,1,1,5,5
a,R2,nodule,1,1,4,4
a,R9,none,,,,
b,R9,mass,7,7,9,9
c,R10,none,0,0,1,1
"""


@pytest.mark.parametrize(
    ("readers", "expected"),
    [
        ("all", {"a": [[1, 1, 5, 5], [1, 1, 4, 4]], "b": [[7, 7, 9, 9]], "c": []}),
        ("first", {"a": [[1, 1, 4, 4]], "b": [[7, 7, 9, 9]], "c": []}),
        (("R9",), {"a": [], "b": [[7, 7, 9, 9]]}),
    ],
)
def test_readers_are_chosen(tmp_path: Path, readers: Any, expected: dict[str, Any]) -> None:
    root = make(tmp_path, READ)
    dataset = box_table(root, label="kind", no_finding="none", reader="who", readers=readers)
    assert {name: sorted(boxes) for name, boxes in corners(dataset).items()} == {
        name: sorted(boxes) for name, boxes in expected.items()
    }
    left = {e.case: (e.reason, e.aside) for e in dataset.exclusions}
    assert left == ({} if "c" in expected else {"c": ("none of the readers has read the image", True)})


def test_labels_that_contradict_their_boxes(tmp_path: Path) -> None:
    rows = "a,none,,,,\na,mass,1,1,2,2\nb,mass,,,,\nc,mass,1,1,3,3\nd,,1,1,3,3\n"
    root = make(tmp_path, f"image,kind,x1,y1,x2,y2\n{rows}", "a", "b", "c", "d")
    dataset = box_table(root, label="kind", no_finding="none")
    assert reasons(dataset) == {
        "a": "one row says that nothing is there, another has a box (line 2)",
        "b": "there is the label 'mass' without a box (line 4)",
        "d": "a box has no label (line 6)",
    }


def test_labels_that_are_not_named_are_left_out_and_said(tmp_path: Path) -> None:
    root = make(tmp_path, "image,kind,x1,y1,x2,y2\na,mass,1,1,2,2\na,clip,1,1,3,3\nb,clip,1,1,3,3\nc,,,,,\n")
    dataset = box_table(root, label="kind", box_labels={"lesion": "mass"})
    assert corners(dataset) == {"a": [[1, 1, 2, 2]], "b": [], "c": []}
    assert dataset.facts["notes"] == ("2 boxes are left out, of labels that box_labels does not name: clip (2)",)
    with pytest.raises(DataError, match="is no label of the files"):
        box_table(root, label="kind", box_labels={"lesion": "masses"})


def test_parts_and_patients(tmp_path: Path) -> None:
    root = make(tmp_path, "image,who,x1,y1,x2,y2\na,p1,1,1,2,2\na,p1,3,3,4,4\nb,p2,,,,\n", name="one.csv")
    make(tmp_path, "image,who,x1,y1,x2,y2\nc,p3,1,1,2,2\n", name="two.csv")
    dataset = box_table(root, file={"train": "one.csv", "test": "two.csv"}, patient="who")
    assert [(c.id, c.patient, c.part) for c in dataset] == [
        ("a", "p1", "training"),
        ("b", "p2", "training"),
        ("c", "p3", "test"),
    ]
    assert dataset.patients_known
    (root / "two.csv").write_text("image,who,x1,y1,x2,y2\na,p1,1,1,2,2\n")
    with pytest.raises(DataError, match="'a' stands in two tables"):
        box_table(root, file={"train": "one.csv", "test": "two.csv"})
    (root / "one.csv").write_text("image,who,x1,y1,x2,y2\na,p1,1,1,2,2\na,p2,3,3,4,4\nb,p2,1,1,2,2\n")
    assert reasons(box_table(root, file="one.csv", patient="who"))["a"] == "the image has two patients (line 3)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coordinates": ("x1", "y1", "x2")}, "3 columns make no box of the convention 'xyxy'"),
        ({"space": "world_lps"}, "boxes in mm have three axes"),
        ({"no_finding": "none"}, "not its column"),
        ({"readers": "first"}, "not their column"),
        ({"reader": "who"}, "no column 'who', which the option reader names"),
        ({"coordinates": ("x1", "y1", "x2", "y3")}, "no column 'y3'"),
        ({"images": "pictures"}, "the folder of images is not there"),
        ({"images": "pict*"}, "the folder of images is not there"),
        ({"file": "box.csv"}, "the table is not there"),
        ({"file": {"practice": "boxes.csv"}}, "the part 'practice' is unknown"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    root = make(tmp_path, "image,x1,y1,x2,y2\na,1,1,2,2\n")
    with pytest.raises(DataError, match=message) as caught:
        box_table(root, **options)
    assert caught.value.todo


def test_a_table_without_a_single_box(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no box; the first: a box lacks some of its numbers \(line 2\)"):
        box_table(make(tmp_path, "image,x1,y1,x2,y2\na,1,,2,2\nb,,,,\n"))


def test_rsna_pneumonia_is_read_through_the_catalog(tmp_path: Path) -> None:
    for name in ("0004cfab", "00436515", "00322d4d"):
        radiograph(tmp_path / "stage_2_train_images" / f"{name}.dcm")
    radiograph(tmp_path / "stage_2_test_images" / "000924cf.dcm")
    (tmp_path / "stage_2_train_labels.csv").write_text(
        "patientId,x,y,width,height,Target\n0004cfab,,,,,0\n00436515,4.0,5.0,21.0,37.0,1\n00436515,36.0,12.0,25.0,30.0,1\n"
    )
    dataset = load("rsna_pneumonia", tmp_path)
    assert corners(dataset) == {"0004cfab": [], "00436515": [[4, 5, 25, 42], [36, 12, 61, 42]]}
    assert dataset.labels["boxes"].names == ("pneumonia",)
    assert reasons(dataset) == {"00322d4d": "the table does not name the image"}
    assert read_case(dataset.cases[1]).array.shape == (1, 64, 48)


def test_vindr_is_read_through_the_catalog(tmp_path: Path) -> None:
    for name in ("train/0005e8e3", "train/0006e0a8", "test/002a34c5"):
        radiograph(tmp_path / f"{name}.dicom")
    folder = tmp_path / "annotations"
    folder.mkdir()
    (folder / "annotations_train.csv").write_text(
        "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n"
        "0005e8e3,R10,Infiltration,9.9,8.5,20.5,18.5\n"
        "0005e8e3,R8,Nodule/Mass,9.25,8,20,18\n"
        "0005e8e3,R9,No finding,,,,\n"
        "0006e0a8,R9,No finding,,,,\n"
    )
    (folder / "annotations_test.csv").write_text(
        "image_id,class_name,x_min,y_min,x_max,y_max\n002a34c5,Infiltration,1,2,3,4\n"
    )
    dataset = load("vindr_cxr", tmp_path)
    assert corners(dataset) == {"0005e8e3": [[9.25, 8, 20, 18]], "0006e0a8": [], "002a34c5": [[1, 2, 3, 4]]}
    assert {c.id: c.part for c in dataset} == {"0005e8e3": "training", "0006e0a8": "training", "002a34c5": "test"}
    assert dataset.labels["boxes"].names == ("Infiltration", "Nodule/Mass")
    everybody = load("vindr_cxr", tmp_path, readers="all")
    assert len(corners(everybody)["0005e8e3"]) == 2
    # Kaggle's file of the same images has other columns in another order.
    (tmp_path / "train.csv").write_text(
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
        "0005e8e3,No finding,14,R8,,,,\n0006e0a8,Infiltration,6,R8,1,2,3,4\n"
    )
    kaggle = load("vindr_cxr", tmp_path, file="train.csv", images="train")
    assert corners(kaggle) == {"0005e8e3": [], "0006e0a8": [[1, 2, 3, 4]]}


def test_luna16_is_read_through_the_catalog(tmp_path: Path) -> None:
    uids = [f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{k}" for k in (100225287222365663678666836860, 2, 3)]
    values = np.arange(12 * 12 * 6, dtype=np.int16).reshape(12, 12, 6)
    for k, uid in enumerate(uids):
        volume(tmp_path / f"subset{min(k, 1)}" / f"{uid}.mhd", values, (2, 1, 4), (-30, 5, 70))
    assert (tmp_path / "subset0" / f"{uids[0]}.raw").is_file()
    (tmp_path / "annotations.csv").write_text(
        f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{uids[0]},-24,9,78,8\n{uids[1]},-24,9,78,4\n"
    )
    dataset = load("luna16", tmp_path)
    found = corners(dataset)
    assert np.allclose(found[uids[0]], [AROUND], atol=1e-4)
    assert found[uids[2]] == []
    assert {boxes_of(c).corners.shape[1] for c in dataset} == {6}
    assert dataset.labels["boxes"].names == ("nodule",)
    assert {c.id: c.attributes["folder"] for c in dataset} == dict(
        zip(uids, ("subset0", "subset1", "subset1"), strict=True)
    )
    first = next(c for c in dataset if c.id == uids[0])
    image = read_case(first)
    assert np.array_equal(image.array[0], values)
    assert image.spacing == (2, 1, 4)


def test_a_header_alone_tells_the_grid(tmp_path: Path) -> None:
    volume(tmp_path / "a.mhd", np.zeros((12, 11, 6), np.int16), (2, 1, 4), (-30, 5, 70), (0, 1, 0, 1, 0, 0, 0, 0, 1))
    ref = ImageRef((str(tmp_path / "a.mhd"), str(tmp_path / "a.raw")), "itk")
    grid, whole = read_grid(ref), read_case(Case("a", (ref,)))
    assert grid.shape == whole.array.shape[1:]
    assert grid.affine is not None
    assert np.array_equal(grid.affine, whole.affine)
    # Half of the data are gone: the header still tells.
    (tmp_path / "a.raw").write_bytes(b"\0" * 100)
    assert read_grid(ref).shape == (12, 11, 6)


@pytest.mark.parametrize("named", ["../secret.raw", "/etc/hostname", "LIST", "b.raw"])
def test_a_header_leads_to_no_other_file(tmp_path: Path, named: str) -> None:
    volume(tmp_path / "images" / "a.mhd", np.zeros((4, 4, 4), np.int16), (1, 1, 1), (0, 0, 0))
    (tmp_path / "secret.raw").write_bytes(b"\1" * 128)
    header = tmp_path / "images" / "a.mhd"
    header.write_text(header.read_text().replace("ElementDataFile = a.raw", f"ElementDataFile = {named}"))
    (tmp_path / "boxes.csv").write_text("image,x,y,z,d\na,1,2,3,4\n")
    dataset = box_table(tmp_path, coordinates=("x", "y", "z", "d"), corners="diameter", space="world_lps")
    assert not dataset.cases
    assert "keeps its data in another file, which is not followed" in reasons(dataset)["a"]


def test_the_second_file_is_the_one_that_the_header_names(tmp_path: Path) -> None:
    for name in "ab":
        volume(tmp_path / f"{name}.mhd", np.zeros((4, 4, 4), np.int16), (1, 1, 1), (0, 0, 0))
    header, own, other = (str(tmp_path / name) for name in ("a.mhd", "a.raw", "b.raw"))
    assert read_image(ImageRef((header, own), "itk")).array.shape == (1, 4, 4, 4)
    for paths in ((header, other), (header, own, other), (own, header)):
        with pytest.raises(ImageError, match="a volume is one file, or a MetaImage header"):
            read_image(ImageRef(paths, "itk"))


@pytest.mark.parametrize("name", ["rsna_pneumonia", "vindr_cxr", "luna16"])
def test_what_asks_for_terms_is_not_fetched(name: str) -> None:
    from medcnn.data.catalog import find_entry
    from medcnn.data.getting import get_dataset

    entry = find_entry(name)
    assert entry.terms
    assert entry.box_labels
    check_options("adapters", entry.adapter.name, entry.adapter.options)
    with pytest.raises(DataError, match="cannot be downloaded by a program"):
        get_dataset(name)
