"""The index of headers: what it remembers, and what it reads again."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from medcnn.data import header_pool
from medcnn.data.dicom_sources import Listing, list_files
from medcnn.data.header_rows import Entry, pack, references_of, scan_row, unpack
from medcnn.data.images import scan_file
from medcnn.data.images.dicom_header import Header
from medcnn.data.series_index import KEPT, SeriesIndex, Unread, index_path
from medcnn.errors import RunError


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))


def look(root: Path, **options: Any) -> SeriesIndex:
    return SeriesIndex(list_files(root), **{"workers": 0, **options})


def headers(index: SeriesIndex) -> list[list[Header]]:
    return [[entry.header for entry in group] for group in index.groups()]


@pytest.mark.parametrize("name", ["CT_small.dcm", "liver_1frame.dcm", "test-SR.dcm", "rtdose.dcm", "rtstruct.dcm"])
def test_a_header_comes_back_from_json_as_it_was(name: str) -> None:
    path = str(get_testdata_file(name))
    found = scan_file(path, ("PatientSex", "BodyPartExamined"))
    assert isinstance(found, Header)
    entry = Entry(found, ("PatientName",), None)
    assert unpack(pack(entry), path) == entry


def test_the_second_look_reads_nothing_and_finds_the_same(tree: Any) -> None:
    tree.series("a")
    tree.series("b", PatientID="2")
    (tree.root / "notes.txt").write_text("hello")
    os.utime(tree.root / "notes.txt", (10**9, 10**9))
    with look(tree.root) as first, look(tree.root) as second:
        assert (first.read, second.read) == (7, 0)
        assert headers(first) == headers(second)
        assert list(first.unread()) == list(second.unread())
        assert [u.aside for u in first.unread()] == [True]
        assert first.kinds() == {"image": 6}
        # As the header is read without an index.
        for header in (h for group in headers(second) for h in group):
            assert header == scan_file(header.path, KEPT)


def test_only_what_changed_is_read_again(tree: Any) -> None:
    paths = tree.series("a")
    with look(tree.root):
        pass
    paths[0].unlink()
    tree.write("a/1.dcm", SeriesDescription="another", SeriesInstanceUID="1.7")
    tree.write("a/new.dcm", SeriesInstanceUID="1.8")
    with look(tree.root) as index:
        assert index.read == 2
        found = {h.path: h for g in headers(index) for h in g}
    assert set(found) == {str(tree.root / "a" / n) for n in ("1.dcm", "2.dcm", "new.dcm")}
    assert found[str(paths[1])].description == "another"
    with sqlite3.connect(index_path(tree.root)) as database:
        assert database.execute("SELECT count(*) FROM files").fetchone() == (3,)


def test_a_file_that_changed_a_moment_ago_is_read_again(tree: Any) -> None:
    (path,) = tree.series("a", (0,))
    # However slow the machine is, this is less than a moment ago.
    os.utime(path, (time.time() + 3600,) * 2)
    for _ in range(2):
        with look(tree.root) as index:
            assert index.read == 1


def test_a_file_that_could_not_be_opened_is_tried_again(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = tree.series("a", (0,))
    content = path.read_bytes()
    path.write_bytes(b"")
    os.utime(path, (10**9, 10**9))
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, m: str(p) != str(path) and real(p, m))
    with look(tree.root) as index:
        (unread,) = index.unread()
        assert (unread.path, unread.reason, unread.aside) == (str(path), "the file is empty", False)
    with look(tree.root) as index:
        assert index.read == 1
    path.write_bytes(content)
    with look(tree.root) as index:
        assert len(headers(index)) == 1


def test_more_elements_make_the_index_anew(tree: Any) -> None:
    tree.series("a", KVP="120")
    for extra, read in (((), 3), (("KVP",), 3), ((), 0), (("KVP",), 0)):
        with look(tree.root, extra=extra) as index:
            assert index.read == read
    assert dict(next(index_headers(tree.root)).extra)["KVP"] == "120"


def index_headers(root: Path) -> Any:
    with look(root, extra=("KVP",)) as index:
        yield from (h for g in headers(index) for h in g)


def test_the_index_is_its_owners_alone(tree: Any, tmp_path: Path) -> None:
    tree.series("a")
    place = index_path(tree.root)
    place.parent.mkdir(parents=True)
    place.touch(mode=0o666)
    with look(tree.root):
        pass
    assert place.stat().st_mode & 0o777 == 0o600
    assert not list((tmp_path / "cache").rglob("*.pickle"))


@pytest.mark.parametrize("damage", [b"no database", b"SQLite format 3\0" + bytes(4096)])
def test_a_damaged_index_is_made_anew(tree: Any, damage: bytes) -> None:
    tree.series("a")
    with look(tree.root):
        pass
    index_path(tree.root).write_bytes(damage)
    for read in (3, 0):
        with look(tree.root) as index:
            assert index.read == read
            assert len(headers(index)[0]) == 3


def test_without_a_place_to_write_the_headers_are_read_all_the_same(tree: Any, tmp_path: Path) -> None:
    tree.series("a")
    (tmp_path / "cache").write_text("a file")
    for _ in range(2):
        with look(tree.root) as index:
            assert (index.read, len(headers(index)[0])) == (3, 3)


def test_a_code_that_reads_otherwise_does_not_trust_the_index(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from medcnn.data import series_index

    tree.series("a")
    with look(tree.root):
        pass
    monkeypatch.setattr(series_index, "_version", lambda: "later")
    with look(tree.root) as index:
        assert index.read == 3


def test_blank_and_dummy_ids_join_nobody(tree: Any) -> None:
    for number, patient in enumerate(("", "ANONYMOUS", "ANONYMOUS", "0000", "P1", "P1")):
        tree.series(f"s{number}", PatientID=patient, StudyInstanceUID=f"1.3.{number // 2}")
    tree.write("alone.dcm", PatientID="", StudyInstanceUID=None, SeriesInstanceUID=None)
    tree.write("alone2.dcm", PatientID="", StudyInstanceUID=None, SeriesInstanceUID=None)
    with look(tree.root) as index:
        counts = {unit: sorted(len(g) for g in index.groups(unit)) for unit in ("series", "study", "patient")}
    assert counts["series"] == [1, 1, 3, 3, 3, 3, 3, 3]
    # A study under two ids stays two: they are not one person by what the headers say.
    assert counts["study"] == [1, 1, 3, 3, 3, 3, 6]
    assert counts["patient"] == [1, 1, 3, 3, 3, 3, 6]


def test_single_files_are_looked_up_in_their_order(tree: Any) -> None:
    one, two, three = tree.series("a")
    (tree.root / "text").write_text("hello")
    os.utime(tree.root / "text", (10**9, 10**9))
    files = tuple(str(p) for p in (three, tree.root / "text", one))
    with look(tree.root), SeriesIndex(Listing(tree.root, files), workers=0) as index:
        found = index.entries(files)
        assert [getattr(e, "header", e).path for e in found] == list(files)
        assert isinstance(found[1], Unread)
    # A part of the folder does not make the index forget the rest.
    with look(tree.root) as index:
        assert index.read == 0
    assert str(two) in {h.path for g in headers_of(tree.root) for h in g}


def headers_of(root: Path) -> list[list[Header]]:
    with look(root) as index:
        return headers(index)


def test_processes_find_what_one_finds(tree: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for k in range(5):
        tree.series(f"s{k}")
    monkeypatch.setattr(header_pool, "FEW", 1)
    monkeypatch.setattr(header_pool, "CHUNK", 4)
    with look(tree.root, workers=2, folder=tmp_path / "x") as several, look(tree.root, folder=tmp_path / "y") as one:
        assert several.read == one.read == 15
        assert headers(several) == headers(one)


def test_a_process_that_dies_costs_its_file_alone(tree: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tree.series("a", range(0, 30, 3))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "sitecustomize.py").write_text(
        "import os\nfrom medcnn.data import header_rows\nreal = header_rows.scan_row\n"
        "def scan(path, name, extra=()):\n"
        "    if path.endswith('4.dcm'): os._exit(1)\n"
        "    return real(path, name, extra)\n"
        "header_rows.scan_row = scan\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    monkeypatch.setattr(header_pool, "FEW", 1)
    monkeypatch.setattr(header_pool, "CHUNK", 5)
    with look(tree.root, workers=2) as index:
        assert [(Path(u.path).name, u.reason) for u in index.unread()] == [
            ("4.dcm", "the process that read the header ended")
        ]
        assert len(headers(index)[0]) == 9


def test_processes_that_never_start_are_one_error(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.series("a")
    monkeypatch.setattr(header_pool, "FEW", 1)
    monkeypatch.setattr(header_pool.sys, "executable", "/bin/false")
    with pytest.raises(RunError, match="end before they read any"):
        look(tree.root, workers=2)
    monkeypatch.setattr(header_pool.sys, "executable", "/no/such/program")
    with pytest.raises(RunError, match="cannot be started"):
        look(tree.root, workers=2)


def test_the_processes_import_no_torch() -> None:
    code = "import sys, medcnn.data.header_worker, medcnn.data.series_index, medcnn.data.adapters.dicom_tree"
    code += "; from medcnn.data.header_rows import scan_row; print(sorted({'torch', 'monai'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_segmentations_and_structure_sets_say_what_they_were_drawn_on(tree: Any) -> None:
    path = Path(str(get_testdata_file("rtstruct.dcm")))
    (tree.root / "rt").mkdir(parents=True)
    (tree.root / "rt" / "1.dcm").write_bytes(path.read_bytes())
    reference, source = pydicom.Dataset(), pydicom.Dataset()
    reference.SeriesInstanceUID = "1.2.3"
    source.ReferencedSOPInstanceUID = "1.9.1"
    reference.ReferencedInstanceSequence = [source]
    tree.write(
        "seg.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG", FrameOfReferenceUID="1.4",
        ReferencedSeriesSequence=[reference], SeriesInstanceUID="1.6",
    )  # fmt: skip
    tree.series("ct")
    with look(tree.root) as index:
        structure, segmentation = index.drawn()
    assert segmentation.header.kind == "segmentation"
    assert segmentation.references is not None
    assert segmentation.references.series == ("1.2.3",)
    assert segmentation.references.instances == ("1.9.1",)
    assert segmentation.references.frames == ("1.4",)
    assert structure.header.kind == "structure set"
    expected = references_of(pydicom.dcmread(path, force=True))
    assert structure.references == expected
    dataset = pydicom.dcmread(path, force=True)
    known = dataset.ReferencedFrameOfReferenceSequence[0]
    assert expected.frames == (known.FrameOfReferenceUID,)
    assert expected.series == (known.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID,)
    # It names a study, which is no image, and no images.
    assert expected.instances == ()
    image = pydicom.Dataset()
    image.ReferencedSOPInstanceUID = "1.9.2"
    dataset.ROIContourSequence[0].ContourSequence[0].ContourImageSequence = [image]
    assert references_of(dataset).instances == ("1.9.2",)


@pytest.mark.parametrize(
    ("content", "reason", "aside"),
    [
        (b"hello", "a text file", True),
        (b"\x89PNG\r\n\x1a\n" + bytes(400), "JPEG, PNG or TIFF", True),
        (b"", "empty", False),
        (bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\xff", "", False),
    ],
)
def test_what_is_no_dicom_is_told_from_what_is_broken(tmp_path: Path, content: bytes, reason: str, aside: bool) -> None:
    (tmp_path / "x").write_bytes(content)
    row = scan_row(str(tmp_path / "x"), b"x")
    if row.reason:
        assert reason in row.reason
        assert bool(row.aside) is aside
    else:
        assert row.kind


def test_names_with_anything_in_them(tree: Any) -> None:
    name = 'it\'s "x"\n Ä ; DROP TABLE files'
    tree.series(name)
    with look(tree.root) as index:
        (group,) = headers(index)
    assert [h.path for h in group] == [str(tree.root / name / f"{k}.dcm") for k in range(3)]
    assert np.all([Path(h.path).is_file() for h in group])
