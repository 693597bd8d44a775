"""Archives: what is good comes out whole, and nothing ever leaves the folder."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from medcnn.data.archives import Limits, Unpacked, archive_kind, top_folder, unpack
from medcnn.errors import DataError, MedcnnError

ODD = 'it\'s a "name" with\nnew line, ö and 日本.png'


def make_tar(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for info, data in entries:
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def entry(name: str, data: bytes = b"x", **more: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_comes_out_whole(tmp_path: Path, mode: str) -> None:
    big = os.urandom(2**20 + 1 if mode in ("w", "w:gz") else 1000)
    archive = make_tar(tmp_path / "a", [entry("top/a.png", b"one"), entry(f"top/b/{ODD}", big)], mode)
    assert archive_kind(archive) == "tar"
    assert unpack(archive, tmp_path / "out") == Unpacked(2, 3 + len(big))
    assert (tmp_path / "out" / "top" / "b" / ODD).read_bytes() == big
    assert top_folder(tmp_path / "out") == tmp_path / "out" / "top"


def test_a_zip_comes_out_whole(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.mkdir("empty")
        file.writestr(f"top/{ODD}", b"two")
        file.writestr("__MACOSX/x", b"")
    assert archive_kind(archive) == "zip"
    assert unpack(archive, tmp_path / "out").files == 2
    assert (tmp_path / "out" / "top" / ODD).read_bytes() == b"two"
    assert (tmp_path / "out" / "empty").is_dir()


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\3\4")
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(b"volume"))
    (tmp_path / "t.csv").write_bytes(b"a,b\n" * 500)
    assert {archive_kind(p) for p in tmp_path.iterdir()} == {None}
    with pytest.raises(DataError, match="no tar and no zip"):
        unpack(tmp_path / "t.csv", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "more", "why"),
    [
        ("../evil", {}, "leads out of its folder"),
        ("a/../../evil", {}, "leads out of its folder"),
        ("/tmp/evil", {}, "absolute path"),
        ("C:\\evil", {}, "absolute path"),
        ("a\\..\\..\\evil", {}, "leads out of its folder"),
        ("evil", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "is a link"),
        ("evil", {"type": tarfile.LNKTYPE, "linkname": "../x"}, "is a link"),
        ("evil", {"type": tarfile.CHRTYPE}, "neither a file nor a folder"),
        ("evil", {"type": tarfile.FIFOTYPE}, "neither a file nor a folder"),
    ],
)
def test_a_tar_that_would_leave_its_folder_is_refused(
    tmp_path: Path, name: str, more: dict[str, object], why: str
) -> None:
    data = b"" if more else b"x"
    archive = make_tar(tmp_path / "a.tar", [entry("good"), entry(name, data, **more)])
    with pytest.raises(DataError, match=why) as error:
        unpack(archive, tmp_path / "deep" / "out")
    assert repr(name) in error.value.what
    assert {p.name for p in tmp_path.rglob("*")} == {"a.tar", "deep", "out", "good"}


def test_a_link_to_write_through_is_refused_before_it_is_made(tmp_path: Path) -> None:
    link = entry("here", b"", type=tarfile.SYMTYPE, linkname=str(tmp_path))
    archive = make_tar(tmp_path / "a.tar", [link, entry("here/evil")])
    with pytest.raises(DataError, match="is a link"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "evil").exists()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("name", "kind", "why"), [("../evil", 0, "leads out"), ("l", stat.S_IFLNK, "is a link")])
def test_a_zip_that_would_leave_its_folder_is_refused(tmp_path: Path, name: str, kind: int, why: str) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        info = zipfile.ZipInfo(name)
        info.external_attr = (kind | 0o644) << 16
        file.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match=why):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_an_entry_that_stands_twice_is_refused(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar", [entry("same", b"1"), entry("same", b"2")])
    with pytest.raises(DataError, match="'same' stands twice"):
        unpack(archive, tmp_path / "out")


def bomb_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for i in range(4):
            file.writestr(f"{i}", bytes(2**20))
    return path


def bomb_tar(path: Path) -> Path:
    return make_tar(path, [entry(str(i), bytes(2**20)) for i in range(4)], "w:gz")


@pytest.mark.parametrize("make", [bomb_zip, bomb_tar])
def test_a_bomb_is_stopped(tmp_path: Path, make: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make(tmp_path / "a")
    monkeypatch.setattr("medcnn.data.archives.HARMLESS_BYTES", 2**20)
    with pytest.raises(DataError, match="looks like a bomb"):
        unpack(archive, tmp_path / "out")
    written = sum(p.stat().st_size for p in (tmp_path / "out").iterdir())
    assert written <= 2**20
    with pytest.raises(DataError, match="more than 3 entries"):
        unpack(archive, tmp_path / "two", limits=Limits(10**9, 3, ""))


def test_what_the_disk_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = bomb_zip(tmp_path / "a")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": 66 * 2**20})())
    with pytest.raises(DataError, match="2 MB are free"):
        unpack(archive, tmp_path / "out")


def test_a_header_made_to_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**27
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        file.write(info.tobuf() + bytes(2**27 + 1024))
    tracemalloc.start()
    with pytest.raises(DataError, match="broken: a header of more than 32 MB"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_tar_that_is_cut_short_is_broken(tmp_path: Path, mode: str, share: float) -> None:
    archive = make_tar(tmp_path / "a", [entry(str(i), os.urandom(9000)) for i in range(20)], mode)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * share) if mode != "w" else int(180_000 * share)])
    with pytest.raises(MedcnnError, match="broken"):
        unpack(archive, tmp_path / "out")


def test_a_tar_that_is_cut_between_two_entries_is_broken(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a", [entry(str(i), b"y" * 512) for i in range(4)])
    archive.write_bytes(archive.read_bytes()[:2048])
    with pytest.raises(DataError, match="cut short"):
        unpack(archive, tmp_path / "out")


def test_flipped_bytes_are_broken(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", b"content that is long enough")
    archive.write_bytes(archive.read_bytes().replace(b"content", b"kontent"))
    with pytest.raises(DataError, match="broken"):
        unpack(archive, tmp_path / "out")
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(DataError, match="broken"):
        unpack(archive, tmp_path / "out2")


def test_an_archive_without_a_file_says_so(tmp_path: Path) -> None:
    make_tar(tmp_path / "a.tar", [entry("folder", b"", type=tarfile.DIRTYPE)])
    with pytest.raises(DataError, match="holds no file"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
