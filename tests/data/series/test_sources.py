"""Folders, archives and DICOMDIRs as lists of files."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from medcnn.data.dicom_sources import Listing, list_files
from medcnn.errors import DataError


def names(listing: Listing) -> list[str]:
    return [os.path.relpath(p, listing.base) for p in listing.files]


def test_all_files_below_a_folder_in_an_order_of_their_own(tmp_path: Path) -> None:
    odd = ["b/c/d/e/1", "a/2.dcm", 'a/it\'s "x" y', "a/Ä\n2", "top"]
    for name in (*odd, ".hidden", "a/.x", ".git/y", "__MACOSX/z", "a/DICOMDIR"):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    found = list_files(tmp_path)
    assert sorted(names(found)) == sorted(odd)
    assert names(found) == names(list_files(tmp_path))
    assert not found.passed_over


def test_links_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_bytes(b"x")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    # A link that stands before what it leads to leaves the folder its own name.
    (tmp_path / "Again").symlink_to(tmp_path / "a")
    outside = tmp_path.parent / f"{tmp_path.name} outside"
    outside.mkdir()
    (outside / "2").write_bytes(b"x")
    (outside / "back").symlink_to(tmp_path)
    (tmp_path / "far").symlink_to(outside)
    found = list_files(tmp_path)
    assert names(found) == ["a/1", "far/2"]
    reasons = {e.case: (e.reason, e.aside) for e in found.passed_over}
    again = ("a link to a folder that is read already", True)
    assert reasons == {
        "a/up": again,
        "Again": again,
        "far/back": again,
        "self": ("a link that leads nowhere", False),
        "nowhere": ("a link that leads nowhere", False),
    }


def test_pipes_and_names_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff\xfe", os.O_CREAT))
    (tmp_path / "1").write_bytes(b"x")
    found = list_files(tmp_path)
    assert names(found) == ["1"]
    assert sorted(e.reason for e in found.passed_over) == [
        "no regular file (a pipe, socket or device)",
        "the name is not UTF-8 text",
    ]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "1").write_bytes(b"x")
    real = os.scandir

    def refuse(place: Any) -> Any:
        if str(place).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    # As root a mode forbids nothing.
    monkeypatch.setattr(os, "scandir", refuse)
    found = list_files(tmp_path)
    assert names(found) == ["1"]
    assert [(e.case, e.reason, e.aside) for e in found.passed_over] == [
        ("locked", "the folder cannot be listed: Permission denied", False)
    ]
    with pytest.raises(DataError, match="cannot be listed: Permission denied"):
        list_files(tmp_path / "locked")


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        list_files(tmp_path / "none")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_unpacked_once_into_the_cache_of_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "1").write_bytes(b"x")
    archive = tmp_path / f"all.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.write(tmp_path / "1", "deep/er/1")
    else:
        with tarfile.open(archive, "w:gz") as file:
            file.add(tmp_path / "1", "deep/er/1")
    first, second = list_files(archive), list_files(archive)
    assert names(first) == ["deep/er/1"]
    assert first == second
    assert first.base.is_relative_to(tmp_path / "cache" / "unpacked")
    assert (first.base.parent.stat().st_mode & 0o077) == 0
    archive.write_bytes(archive.read_bytes())
    assert list_files(archive).base != first.base


def test_an_archive_that_leaves_its_folder_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        file.writestr("../out", "x")
    with pytest.raises(DataError, match="leads out of its folder"):
        list_files(tmp_path / "bad.zip")
    assert not (tmp_path / "out").exists()
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def dicomdir(folder: Path, *ids: Any) -> Path:
    """A DICOMDIR that names files."""
    found = pydicom.Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    found.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    records = [pydicom.Dataset()]
    records[0].DirectoryRecordType = "PATIENT"
    for one in ids:
        record = pydicom.Dataset()
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", one
        records.append(record)
    found.DirectoryRecordSequence = records
    found.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


def test_a_dicomdir_names_its_files_in_any_case_and_none_outside(tmp_path: Path) -> None:
    for name in ("im/001", "other/002", "003"):
        (tmp_path / "disc" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "disc" / name).write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"x")
    place = dicomdir(tmp_path / "disc", ["IM", "001"], "003", ["IM", "GONE"], ["..", "SECRET"], ["/", "ETC"])
    found = list_files(place)
    assert names(found) == ["im/001", "003"]
    assert [e.reason.removeprefix("the DICOMDIR names a file ") for e in found.passed_over] == [
        "that is not there",
        "outside of its folder",
        "outside of its folder",
    ]
    with pytest.raises(DataError, match="names no file"):
        list_files(dicomdir(tmp_path / "disc"))
