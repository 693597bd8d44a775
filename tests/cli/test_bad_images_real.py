"""Bad images, folders and archives through the real command, where a process and a file system decide."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

pytestmark = pytest.mark.slow

ODD = 'it\'s "my" scan,\nnew line; Schädel 頭部'
CATALOG = """
hands:
  title: Hands
  tasks: [classification]
  adapter: {{name: image_folder, options: {{classes: [left, right]}}}}
  labels:
    classes:
      - {{value: 0, name: left}}
      - {{value: 1, name: right}}
  patient: unknown
  folder: hands
  source: {url}/hands.zip
  checksum: {checksum}
"""
RECIPE = """
task: classification
data: {{{data}, split: {{by: fractions, validation: 0.25, test: 0.25}}}}
input: {{size: [16, 16]}}
model: {{name: basic_cnn, filters: [4], dense: [4]}}
training: {{epochs: 1, batch_size: 8, precision: "32"}}
evaluation: {{resamples: 100}}
"""
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command in a process of its own, in an empty folder, with places of its own."""
    (tmp_path / "here").mkdir()
    package = Path(__import__("medcnn").__file__).parents[1]
    places = {"MEDCNN_DATA": str(tmp_path / "data"), "MEDCNN_CACHE": str(tmp_path / "cache")}
    environment = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1", **places}

    def call(*arguments: object, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*before, sys.executable, "-m", "medcnn", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path / "here",
            env=environment,
        )

    return call


def require_refused(done: subprocess.CompletedProcess[str], *texts: str) -> None:
    assert done.returncode == 2, done
    assert done.stderr.count("error:") == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for text in texts:
        assert text in done.stderr, done.stderr


def picture(level: float, seed: int) -> bytes:
    found = io.BytesIO()
    values = np.random.default_rng(seed).normal(level, 30, (16, 16))
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(found, "PNG")
    return found.getvalue()


def good_zip() -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as file:
        for label, level in (("left", 60), ("right", 160)):
            for k in range(12):
                file.writestr(f"hands/{label}/{k:02d}.png", picture(level, k))
            file.writestr(f"hands/{label}/{ODD}.png", picture(level, 99))
    return found.getvalue()


def catalog(folder: Path, data: bytes, url: str = "http://127.0.0.1:9") -> Path:
    path = folder / "own.yaml"
    path.write_text(CATALOG.format(url=url, checksum=f"md5:{hashlib.md5(data).hexdigest()}"), encoding="utf-8")
    return path


# --- archives --------------------------------------------------------------------------------------------------------


def leading_out(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("hands/left/0.png", picture(60, 0))
        file.writestr("../../evil.txt", "evil")


def with_a_link(path: Path) -> None:
    with tarfile.open(path, "w:gz") as file:
        link = tarfile.TarInfo("hands")
        link.type, link.linkname = tarfile.SYMTYPE, str(path.parent)
        file.addfile(link)
        inside = tarfile.TarInfo("hands/evil.txt")
        inside.size = 4
        file.addfile(inside, io.BytesIO(b"evil"))


def with_a_zipped_link(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        link = zipfile.ZipInfo("hands")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, str(path.parent))


def bomb(path: Path) -> None:
    """A zip of a few hundred bytes that says of one of its files that it has two gigabytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("hands/left/0.png", bytes(1000))
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        place = data.index(mark) + at
        data[place : place + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    data = good_zip()
    path.write_bytes(data[: len(data) // 2])


def wrong_inside(path: Path) -> None:
    data = bytearray(good_zip())
    place = data.index(b"IDAT") + 20
    data[place : place + 4] = bytes(b ^ 255 for b in data[place : place + 4])
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (leading_out, "'../../evil.txt' leads out of its folder"),
        (with_a_link, "'hands' is a link"),
        (with_a_zipped_link, "'hands' is a link"),
        (bomb, "it looks like a bomb"),
        (cut_short, "the archive is broken"),
        (wrong_inside, "the archive is broken: Bad CRC-32"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_an_archive_that_is_bad_leaves_nothing(
    make: Callable[[Path], None], said: str, command: Command, tmp_path: Path
) -> None:
    archive = tmp_path / ODD
    make(archive)
    before = archive.read_bytes()
    own = catalog(tmp_path, b"another")
    if make is cut_short:
        done = command("data", "get", "hands", "--from", archive, "--catalog", own)
        require_refused(done, "this is not the published file: its md5 is", "--any-checksum")
    done = command("data", "get", "hands", "--from", archive, "--catalog", own, "--any-checksum")
    require_refused(done, said)
    assert archive.read_bytes() == before
    assert not list((tmp_path / "data").iterdir())
    assert {p.name for p in tmp_path.iterdir()} == {archive.name, "data", "here", "own.yaml"}


class _Lying(http.server.BaseHTTPRequestHandler):
    """Breaks off after a third of the bytes, and may send others than it should."""

    data = b""
    wrong = False

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(self.data) - start))
        self.end_headers()
        if self.wrong:
            self.wfile.write(bytes(len(self.data) - start))
        else:
            self.wfile.write(self.data[start : start + len(self.data) // 3 + 1])
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, type[_Lying]]]:
    handler = type("Handler", (_Lying,), {"data": good_zip()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", handler
        running.shutdown()
        thread.join()


def test_from_a_server_that_breaks_off_to_a_report(
    server: tuple[str, type[_Lying]], command: Command, tmp_path: Path
) -> None:
    url, handler = server
    own = catalog(tmp_path, handler.data, url)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(data=f"dataset: hands, catalog: '{own}'"), encoding="utf-8")
    require_refused(command("run", recipe), "the dataset 'hands' is not there", "medcnn data get hands")
    handler.wrong = True
    require_refused(command("data", "get", "hands", "--catalog", own), "is not what was published")
    handler.wrong = False
    done = command("data", "get", "hands", "--catalog", own)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"hands: 26 cases in {tmp_path / 'data' / 'hands'}\n"
    done = command("data", "show", "hands", "--catalog", own)
    assert f"{tmp_path / 'data' / 'hands'} (there)" in done.stdout
    assert command("validate", recipe).returncode == 0
    done = command("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    assert ODD.replace('"', '""') in (tmp_path / "run" / "cases.csv").read_text(encoding="utf-8")


# --- folders ---------------------------------------------------------------------------------------------------------


def without_rights() -> list[str]:
    """What runs a command without the right of the administrator to read everything."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root reads every folder")
    before = [setpriv, "--bounding-set=-dac_override,-dac_read_search"]
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("root cannot give up its rights here")
    return before


def test_a_folder_without_permission_is_named_and_the_rest_is_used(command: Command, tmp_path: Path) -> None:
    before, root = without_rights(), tmp_path / "series"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        shutil.copy(str(get_testdata_file("CT_small.dcm")), root / name)
    (root / "b").chmod(0)
    try:
        done = command("data", "series", root, before=before)
        assert done.returncode == 0, done.stderr
        assert "the folder cannot be listed: Permission denied (1)" in done.stdout
        done = command("data", "audit", root, "--out", tmp_path / "audit", before=before)
        require_refused(done, f"{root / 'b'}: the folder cannot be listed: Permission denied")
        root.chmod(0)
        require_refused(command("data", "audit", root, before=before), "ermission denied")
    finally:
        root.chmod(0o755)
        (root / "b").chmod(0o755)


def test_a_class_without_permission_is_named(command: Command, tmp_path: Path) -> None:
    before, root = without_rights(), tmp_path / "classes"
    for number, label in enumerate(("left", "right", "secret")):
        (root / label).mkdir(parents=True)
        for k in range(6):
            (root / label / f"{k}.png").write_bytes(picture(40 + 80 * number, k))
    (root / "left" / "closed").mkdir()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(data=f"adapter: image_folder, max_unusable: 0.1, root: '{root}'"), encoding="utf-8")
    for place in (root / "secret", root / "left" / "closed"):
        place.chmod(0)
    try:
        done = command("run", recipe, "--out", tmp_path / "run", before=before)
        require_refused(done, "no image of the class 'secret': the folder cannot be listed: Permission denied")
        (root / "secret").chmod(0o755)
        done = command("run", recipe, "--out", tmp_path / "run", before=before)
        assert done.returncode == 0, done.stderr
        said = (tmp_path / "run" / "exclusions.csv").read_text(encoding="utf-8")
        assert "left/closed" in said
        assert "the folder cannot be listed: Permission denied" in said
    finally:
        for place in (root / "secret", root / "left" / "closed"):
            place.chmod(0o755)


def test_links_in_a_circle_and_odd_names_are_read_once(command: Command, tmp_path: Path) -> None:
    root = tmp_path / ODD
    (root / ODD).mkdir(parents=True)
    shutil.copy(str(get_testdata_file("CT_small.dcm")), root / ODD / f"{ODD}.dcm")
    (root / ODD / "up").symlink_to(root, target_is_directory=True)
    (root / "itself").symlink_to(root / "itself")
    done = command("data", "series", root)
    assert done.returncode == 0, done.stderr
    assert "1 stack in 1 DICOM file, of 1 patient in 1 study" in done.stdout
    assert "a link that leads nowhere" in done.stdout
    done = command("data", "audit", root, "--out", tmp_path / "audit")
    require_refused(done, "1 of 2 cases (50.0%) cannot be used", "itself: ")


def test_a_folder_without_images_is_refused(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    (folder / "a.txt").write_text("hello")
    for arguments in (("data", "series"), ("data", "audit"), ("convert", "--out", tmp_path / "out")):
        require_refused(command(*arguments, folder), str(folder))
    assert not list((tmp_path / "here").iterdir())
    assert not (tmp_path / "out").exists()
