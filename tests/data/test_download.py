"""Downloads from a server that breaks off, lies and refuses; and ``medcnn data get`` through its entry point."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from medcnn.cli.main import main
from medcnn.data.download import download
from medcnn.data.getting import get_dataset
from medcnn.errors import DataError

DATA = bytes(range(256)) * 1200
MD5 = f"md5:{hashlib.md5(DATA).hexdigest()}"
QUICK = {"wait": 0.0, "timeout": 0.5, "tries": 3}


@dataclass
class Behaviour:
    """How the server answers; changed by the tests."""

    data: bytes = DATA
    etag: str | None = '"v1"'
    ranges: bool = True
    stop_after: list[int] = field(default_factory=list)
    length: int | None = None
    code: int = 200
    kind: str = "application/octet-stream"
    sleep: float = 0.0
    wrong_range: bool = False
    asked: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    how: Behaviour

    def do_GET(self) -> None:
        how = self.how
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/file.bin")
            self.end_headers()
            return
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        asked = self.headers.get("Range")
        how.asked.append(asked)
        if how.code != 200:
            self.send_error(how.code)
            return
        start = 0
        fresh = self.headers.get("If-Range") in (None, how.etag)
        if asked and how.ranges and fresh:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(how.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(how.data)}")
                self.end_headers()
                return
            self.send_response(206)
            start += 7 if how.wrong_range else 0
            self.send_header("Content-Range", f"bytes {start}-{len(how.data) - 1}/{len(how.data)}")
        else:
            self.send_response(200)
        body = how.data[start:]
        self.send_header("Content-Type", how.kind)
        self.send_header("Content-Length", str(len(body) if how.length is None else how.length))
        if how.etag:
            self.send_header("ETag", how.etag)
        self.end_headers()
        time.sleep(how.sleep)
        if how.stop_after:
            body = body[: how.stop_after.pop(0)]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, Behaviour]]:
    how = Behaviour()
    handler = type("OneHandler", (Handler,), {"how": how})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", how
        running.shutdown()
        thread.join()


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_a_file_arrives_and_is_not_fetched_twice(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    target = tmp_path / "file.bin"
    assert download(f"{url}/redirect", target, size=len(DATA), checksum=MD5, **QUICK).read_bytes() == DATA
    assert names(tmp_path) == {"file.bin"}
    download(f"{url}/file.bin", target, size=len(DATA), checksum=MD5, **QUICK)
    assert len(how.asked) == 1


def test_it_goes_on_where_the_server_broke_off(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.stop_after = [100_000, 50_000]
    download(f"{url}/file.bin", tmp_path / "f", checksum=MD5, **QUICK)
    assert how.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert (tmp_path / "f").read_bytes() == DATA


def test_what_came_is_kept_for_the_next_command(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.stop_after = [100_000, 0, 0, 0]
    with pytest.raises(DataError, match=r"broke off; 100,000 of 307,200 bytes are here") as error:
        download(f"{url}/file.bin", tmp_path / "f", checksum=MD5, **QUICK)
    assert "same command again" in error.value.todo
    assert (tmp_path / "f.part").read_bytes() == DATA[:100_000]
    assert not (tmp_path / "f").exists()
    how.asked.clear()
    how.stop_after.clear()
    download(f"{url}/file.bin", tmp_path / "f", checksum=MD5, **QUICK)
    assert how.asked == ["bytes=100000-"]
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_server_that_ignores_ranges_costs_time_and_not_bytes(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.ranges = False
    how.stop_after = [100_000, 60_000]
    download(f"{url}/file.bin", tmp_path / "f", checksum=MD5, **QUICK)
    assert (tmp_path / "f").read_bytes() == DATA
    how.stop_after = [100_000]
    how.etag = None
    download(f"{url}/file.bin", tmp_path / "g", checksum=MD5, **QUICK)
    assert (tmp_path / "g").read_bytes() == DATA


def test_a_range_that_was_not_asked_for_is_not_believed(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.wrong_range = True
    how.stop_after = [100_000]
    download(f"{url}/file.bin", tmp_path / "f", checksum=MD5, **QUICK)
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_file_that_changed_meanwhile_starts_anew(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.stop_after = [100_000, 0, 0, 0]
    with pytest.raises(DataError):
        download(f"{url}/file.bin", tmp_path / "f", **QUICK)
    how.stop_after.clear()
    how.data, how.etag = DATA[::-1], '"v2"'
    download(f"{url}/file.bin", tmp_path / "f", **QUICK)
    assert (tmp_path / "f").read_bytes() == DATA[::-1]
    assert names(tmp_path) == {"f"}


def test_wrong_bytes_are_set_aside(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.data = b"x" + DATA[1:]
    with pytest.raises(DataError, match=r"not what was published: its md5 is .*f\.wrong"):
        download(f"{url}/file.bin", tmp_path / "f", checksum=MD5, **QUICK)
    assert names(tmp_path) == {"f.wrong"}
    how.data = DATA
    download(f"{url}/file.bin", tmp_path / "f", checksum=MD5, **QUICK)
    assert (tmp_path / "f").read_bytes() == DATA


@pytest.mark.parametrize("checksum", [MD5, None])
def test_a_length_that_is_too_large_ends_with_what_is_here(
    server: tuple[str, Behaviour], tmp_path: Path, checksum: str | None
) -> None:
    url, how = server
    how.length, how.etag = len(DATA) + 10, None
    how.ranges = False
    with pytest.raises(DataError, match="broke off"):
        download(f"{url}/file.bin", tmp_path / "f", checksum=checksum, **QUICK)
    assert names(tmp_path) >= {"f.part"}
    assert (tmp_path / "f.part").read_bytes() == DATA


def test_a_length_that_is_too_small_is_found_out(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.length = 1000
    with pytest.raises(DataError, match="not what was published"):
        download(f"{url}/file.bin", tmp_path / "f", checksum=MD5, **QUICK)
    assert (tmp_path / "f.wrong").read_bytes() == DATA[:1000]
    with pytest.raises(DataError, match="offers 1,000 bytes, and the published file has 307,200"):
        download(f"{url}/file.bin", tmp_path / "g", size=len(DATA), checksum=MD5, **QUICK)


@pytest.mark.parametrize(
    ("code", "tries", "text"), [(404, 1, "404"), (403, 1, "403"), (401, 1, "401"), (500, 3, "500"), (503, 3, "503")]
)
def test_refusals_end_in_one_message(
    server: tuple[str, Behaviour], tmp_path: Path, code: int, tries: int, text: str
) -> None:
    url, how = server
    how.code = code
    with pytest.raises(DataError, match=f"the server answers {text}") as error:
        download(f"{url}/file.bin", tmp_path / "f", **QUICK)
    assert len(how.asked) == tries
    assert error.value.todo
    assert names(tmp_path) == set()


def test_a_server_that_is_silent_or_absent(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.sleep = 0.5
    with pytest.raises(DataError, match=r"no byte came for 0\.1 s"):
        download(f"{url}/file.bin", tmp_path / "f", **{**QUICK, "timeout": 0.1, "tries": 2})
    with pytest.raises(DataError, match="cannot be reached"):
        download("http://127.0.0.1:9/file.bin", tmp_path / "f", **QUICK)
    with pytest.raises(DataError, match="only http and https"):
        download("file:///etc/passwd", tmp_path / "f", **QUICK)
    with pytest.raises(DataError, match=r"not safe|not allowed"):
        download(f"{url}/away", tmp_path / "f", **QUICK)
    assert b"root" not in b"".join(p.read_bytes() for p in tmp_path.iterdir())


def test_a_web_page_is_no_data_set(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    url, how = server
    how.kind = "text/html; charset=utf-8"
    with pytest.raises(DataError, match="a web page, not with a file"):
        download(f"{url}/file.bin", tmp_path / "f", **QUICK)


def picture(value: int) -> bytes:
    from PIL import Image

    found = io.BytesIO()
    Image.new("L", (8, 8), value).save(found, "PNG")
    return found.getvalue()


def archive_of(*labels: str) -> bytes:
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w:gz") as file:
        for label in labels:
            for i in range(3):
                info = tarfile.TarInfo(f"Hands/{label}/{i}.png")
                data = picture(i)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return found.getvalue()


@pytest.fixture
def catalog(server: tuple[str, Behaviour], tmp_path: Path) -> Path:
    url, how = server
    how.data = archive_of("left", "right")
    path = tmp_path / "own.yaml"
    path.write_text(
        f"""hands:
  title: Hands
  tasks: [classification]
  adapter: {{name: image_folder, options: {{classes: [left, right]}}}}
  patient: unknown
  folder: hands
  source: {url}/hands.tar.gz
  checksum: md5:{hashlib.md5(how.data).hexdigest()}
secret:
  title: Secret
  tasks: [classification]
  adapter: {{name: image_folder}}
  patient: unknown
  folder: secret
  source: {url}/secret.tar.gz
  terms: sign the agreement on its page
""",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def command(catalog: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MEDCNN_DATA", str(catalog.parent / "data"))

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["data", "get", *map(str, arguments), "--catalog", str(catalog)])
        found = capsys.readouterr()
        assert "Traceback" not in found.err
        return code, found.out, found.err

    return call


def test_data_get_downloads_unpacks_and_leaves_it_alone_afterwards(
    command: Any, server: tuple[str, Behaviour], tmp_path: Path
) -> None:
    code, out, _ = command("hands")
    folder = tmp_path / "data" / "hands"
    assert (code, out) == (0, f"hands: 6 cases in {folder}\n")
    assert names(tmp_path / "data") == {"hands"}
    assert "is there already (whole)" in command("hands")[2]
    assert len(server[1].asked) == 1
    (folder / "left" / "0.png").unlink()
    code, _, err = command("hands")
    assert code == 2
    assert "is not whole: 5 files are there, 6 were unpacked" in err
    assert (folder / "right").is_dir()


def test_data_get_goes_on_after_a_break(
    command: Any, server: tuple[str, Behaviour], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    server[1].stop_after = [100, *([0] * 10)]
    code, _, err = command("hands")
    assert code == 2
    assert "100 of" in err
    assert names(tmp_path / "data") == {".downloads"}
    server[1].stop_after.clear()
    assert command("hands")[0] == 0
    assert "bytes=100-" in server[1].asked


def test_data_get_takes_an_archive(command: Any, tmp_path: Path) -> None:
    own = tmp_path / "mine ö 'x'.tar.gz"
    own.write_bytes(archive_of("left", "right", "foot"))
    code, _, err = command("hands", "--from", own)
    assert code == 2
    assert "not the published file" in err
    assert "--any-checksum" in err
    code, out, err = command("hands", "--from", own, "--any-checksum", "--root", tmp_path / "there")
    assert code == 0
    assert "was not checked" in err
    assert f"data.root={tmp_path / 'there'}" in out
    assert own.exists()
    _, _, err = command("hands", "--root", tmp_path / "there")
    assert "is there already (whole; its archive was not checked against a published checksum)" in err


def test_data_get_refuses_what_is_not_the_dataset(command: Any, tmp_path: Path) -> None:
    own = tmp_path / "feet.tar.gz"
    own.write_bytes(archive_of("foot", "toe"))
    code, _, err = command("hands", "--from", own, "--any-checksum")
    assert code == 2
    assert "does not hold the dataset 'hands': there is no class folder 'left'" in err
    own.write_bytes(own.read_bytes()[:-50])
    code, _, err = command("hands", "--from", own, "--any-checksum")
    assert code == 2
    assert "the archive is broken" in err
    assert not any((tmp_path / "data").iterdir())
    assert command("hands", "--from", tmp_path / "absent")[0] == 2
    assert command("hands", "--from", tmp_path)[0] == 2
    code, _, err = command("hands", "--any-checksum")
    assert code == 2
    assert "--from alone" in err


def test_data_get_leaves_a_folder_with_something_else_alone(command: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "hands"
    folder.mkdir(parents=True)
    (folder / "letter.txt").write_text("dear")
    code, _, err = command("hands")
    assert code == 2
    assert "does not hold this dataset" in err
    assert names(folder) == {"letter.txt"}
    (folder / "letter.txt").unlink()
    assert command("hands")[0] == 0


def test_data_get_says_what_a_user_has_to_do(command: Any, server: tuple[str, Behaviour]) -> None:
    code, _, err = command("secret")
    assert code == 2
    assert "sign the agreement on its page" in err
    assert "medcnn data get secret --from FILE" in err
    assert server[1].asked == []
    code, _, err = command("phantom")
    assert code == 2
    assert "generated on first use" in err
    code, _, err = command("hand")
    assert code == 2
    assert "hands" in err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_data_get_into_a_folder_without_permission(command: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    code, _, err = command("hands")
    assert code == 2
    assert "cannot write" in err


def test_a_single_file_goes_beside_those_of_other_datasets(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    import numpy as np

    url, how = server
    file = io.BytesIO()
    arrays = {f"{p}_{k}": np.zeros((2, 4, 4) if k == "images" else (2, 1), np.uint8)
              for p in ("train", "val", "test") for k in ("images", "labels")}  # fmt: skip
    np.savez(file, **arrays)
    how.data = file.getvalue()
    text = "".join(
        f"""{name}:
  title: Small
  tasks: [classification]
  adapter: {{name: medmnist, options: {{file: {name}.npz, classes: [a, b]}}}}
  patient: unknown
  folder: shared
  source: {url}/{name}.npz?download=1
  checksum: md5:{hashlib.md5(how.data).hexdigest()}
"""
        for name in ("one", "two")
    )
    (tmp_path / "own.yaml").write_text(text)
    for name in ("one", "two"):
        got = get_dataset(name, root=tmp_path / "shared", catalog=tmp_path / "own.yaml", **QUICK)
        assert (got.cases, got.fresh) == (6, True)
    assert names(tmp_path / "shared") == {"one.npz", "two.npz"}
    assert not get_dataset("two", root=tmp_path / "shared", catalog=tmp_path / "own.yaml").fresh
    (tmp_path / "shared" / "one.npz").write_bytes(b"PK\3\4")
    with pytest.raises(DataError, match="not the published one"):
        get_dataset("one", root=tmp_path / "shared", catalog=tmp_path / "own.yaml")
