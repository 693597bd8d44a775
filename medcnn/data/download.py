"""One file over HTTP, resumed where it broke off, and checked.

Beside the target lie ``NAME.part`` (what is here so far) and ``NAME.part.json`` (which file of the server it is a
part of). A download that was interrupted in any way goes on from there; one that arrives whole and wrong is kept as
``NAME.wrong``.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medcnn.errors import DataError, MedcnnError
from medcnn.files import explain, write_text
from medcnn.progress import Progress, Silent

TIMEOUT_S = 60.0
TRIES = 5
SPARE_BYTES = 64 * 2**20
_BLOCK = 2**18
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_ALGORITHMS = ("md5", "sha1", "sha256", "sha512")
_AGAIN = "what is here is kept: give the same command again to go on"


class _BrokenOff(Exception):  # noqa: N818 - the download goes on
    """Something that may pass: the connection, the server's load."""


class _StartOver(Exception):  # noqa: N818 - the download goes on
    """What is here is no part of what the server has now."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the server said of the file that the part belongs to."""

    url: str
    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` may hold: a strong tag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within HTTP and HTTPS, never from HTTPS to HTTP."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old == "https" and new == "http"):
            raise DataError(f"the server leads to an address that is not safe: {newurl}", where=req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_S,
    tries: int = TRIES,
    wait: float = 1.0,
) -> Path:
    """Download a file; nothing is done where it is there already and right.

    Args:
        url: ``http`` or ``https``.
        target: The file's final name; it gets it only when it is whole and checked.
        size: Bytes that it must have, if known.
        checksum: ``md5:...`` or ``sha256:...``, if known.
        progress: Advanced by one a kB.
        timeout: Seconds without a byte after which the connection counts as broken.
        tries: Tries in a row without one new byte after which it is given up.
        wait: Seconds before the first new try; doubled each time.

    Raises:
        DataError: If the server refuses, is not reached, or sends something else.
        RunError: If the disk is too small or cannot be written.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError("only http and https addresses can be downloaded", where=url)
    progress = progress or Silent()
    if target.is_file() and not mismatch(target, size, checksum, progress):
        return target
    fetch = _Fetch(url, target, size, progress, timeout)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch_all(fetch, tries, wait)
    except OSError as error:
        raise explain(error, target) from error
    finally:
        progress.finish()
    why = mismatch(fetch.part, size, checksum, progress)
    if why:
        fetch.set_aside(".wrong")
        raise DataError(
            f"the download is not what was published: {why}; it is set aside as {target.name}.wrong",
            where=url,
            todo="give the command again to download it anew; if it stays so, the server has another file",
        )
    fetch.finish()
    return target


def _fetch_all(fetch: _Fetch, tries: int, wait: float) -> None:
    """One request after the other until nothing is missing."""
    idle = 0
    while True:
        before = fetch.have
        try:
            fetch.go_on()
            return
        except _StartOver:
            fetch.set_aside(".old")
            idle += 1
        except _BrokenOff as error:
            idle = 0 if fetch.have > before else idle + 1
            if idle >= tries:
                raise fetch.given_up(str(error)) from error
            time.sleep(wait * 2**idle)
        if idle >= tries:
            raise fetch.given_up("the file on the server changes all the time")


class _Fetch:
    """The part on disk, and one request after the other that makes it longer."""

    def __init__(self, url: str, target: Path, size: int | None, progress: Progress, timeout: float) -> None:
        self.url, self._target, self._size, self._timeout = url, target, size, timeout
        self.part = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")
        self._progress = progress
        self._shown = 0
        self._plain = False
        self._known = self._read_note()
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            _Redirects(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def _read_note(self) -> _Known:
        try:
            found = _Known(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return _Known(self.url)
        return found if found.url == self.url else _Known(self.url)

    @property
    def have(self) -> int:
        """Bytes on disk."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def go_on(self) -> None:
        """One request: everything that is missing, or an exception that says what to do next."""
        have = self.have
        if have and self._size is not None and have >= self._size:
            return
        request = urllib.request.Request(self.url, headers={"User-Agent": "medcnn", "Accept-Encoding": "identity"})
        if have and not self._plain:
            request.add_header("Range", f"bytes={have}-")
            if self._known.validator:
                request.add_header("If-Range", self._known.validator)
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                self._receive(response, have)
        except urllib.error.HTTPError as error:
            self._refused(error, have)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise DataError(f"the server's certificate is not valid: {error.reason}", where=self.url) from error
            raise _BrokenOff(f"the server cannot be reached: {error.reason}") from error
        except TimeoutError as error:
            raise _BrokenOff(f"no byte came for {self._timeout:g} s") from error
        except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
            raise _BrokenOff(f"the connection broke off ({type(error).__name__})") from error

    def _refused(self, error: urllib.error.HTTPError, have: int) -> None:
        code = error.code
        text = f"the server answers {code} {error.reason or ''}".rstrip()
        error.close()
        if code == 416 and have:
            total = re.search(r"\*/(\d+)$", error.headers.get("Content-Range") or "")
            if total and int(total.group(1)) == have:
                return
            raise _StartOver
        if code in _PASSING:
            raise _BrokenOff(text)
        hints = {
            401: "it asks for a login: ",
            403: "it may ask for a login or for terms to be accepted: ",
            404: "the file has moved: ",
            410: "the file is gone: ",
        }
        todo = hints.get(code, "") + "get the file by hand and give it with --from FILE"
        raise DataError(text, where=self.url, todo=todo)

    def _receive(self, response: Any, have: int) -> None:
        skip, total = self._place(response, have)
        if (response.headers.get_content_type() == "text/html") and not self.url.lower().endswith((".html", ".htm")):
            raise DataError(
                "the address answers with a web page, not with a file",
                where=self.url,
                todo="open it in a browser, get the file by hand and give it with --from FILE",
            )
        if total is not None and self._size is not None and total != self._size:
            raise DataError(
                f"the server offers {total:,} bytes, and the published file has {self._size:,}",
                where=self.url,
                todo="the server has another file: get the right one by hand and give it with --from FILE",
            )
        start = have if have and (skip or response.status == 206) else 0
        self._require_room(start, total)
        self._known = _Known(self.url, response.headers.get("ETag"), response.headers.get("Last-Modified"), total)
        write_text(self._note, json.dumps(asdict(self._known)))
        if not self._shown:
            self._progress.start(f"downloading {self._target.name}", total // 1000 if total else None, "kB")
        self._show(start)
        self._copy(response, start, skip, total)

    def _place(self, response: Any, have: int) -> tuple[int, int | None]:
        """How many bytes of the answer are here already, and how many the whole file has."""
        length = response.headers.get("Content-Length")
        announced = int(length) if length and length.isdecimal() else None
        if response.status == 206:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", (response.headers.get("Content-Range") or "").strip())
            if found is None or int(found.group(1)) != have:
                # The server's ranges are not to be trusted: the file is asked for as a whole.
                self._plain = True
                raise _BrokenOff("the server sends another range than was asked for")
            total = None if found.group(2) == "*" else int(found.group(2))
            if self._known.total is not None and total not in (None, self._known.total):
                raise _StartOver
            return 0, total
        if response.status != 200:
            raise DataError(f"the server answers {response.status}", where=self.url)
        same = self._known.validator is not None and self._known.validator in (
            response.headers.get("ETag"),
            response.headers.get("Last-Modified"),
        )
        if have and not same:
            if not self._plain:
                self._plain = True
            self.set_aside(".old")
            return 0, announced
        # The whole file comes, and it is the same one: what is here is passed over.
        return have, announced

    def _copy(self, response: Any, start: int, skip: int, total: int | None) -> None:
        place = start
        with open(self.part, "r+b" if self.part.exists() else "w+b") as file:
            file.truncate(start)
            file.seek(start)
            while block := response.read1(_BLOCK):
                passed = min(skip, len(block))
                skip -= passed
                block = block[passed:]
                file.write(block)
                place += len(block)
                self._show(place)
                if total is None:
                    self._require_room(place, self._size)
            file.flush()
            os.fsync(file.fileno())
        if total is not None and place < total:
            raise _BrokenOff("the connection broke off")

    def _require_room(self, start: int, total: int | None) -> None:
        free = shutil.disk_usage(self.part.parent).free - SPARE_BYTES
        needed = max((total or 0) - start, 0)
        if needed > free or free < 0:
            raise MedcnnError(
                f"the download needs {needed / 10**6:,.0f} MB, and {max(free, 0) / 10**6:,.0f} MB are free",
                where=str(self.part.parent),
                todo="free some space, or choose another folder with --root",
            )

    def _show(self, place: int) -> None:
        amount = place // 1000 - self._shown
        if amount > 0:
            self._progress.advance(amount)
            self._shown += amount

    def set_aside(self, suffix: str) -> None:
        """Give what is here another name, so that the next request starts anew and nothing is lost."""
        if self.part.exists():
            os.replace(self.part, self._target.with_name(self._target.name + suffix))
        self._note.unlink(missing_ok=True)
        self._known = _Known(self.url)

    def given_up(self, why: str) -> DataError:
        """The error after the last try."""
        total = self._known.total or self._size
        of = f" of {total:,}" if total else ""
        return DataError(f"{why}; {self.have:,}{of} bytes are here", where=self.url, todo=_AGAIN)

    def finish(self) -> None:
        """The part is the file."""
        os.replace(self.part, self._target)
        self._note.unlink(missing_ok=True)
        self._target.with_name(self._target.name + ".old").unlink(missing_ok=True)


def mismatch(path: Path, size: int | None, checksum: str | None, progress: Progress | None = None) -> str:
    """Why a file is not the published one; empty where it is, or nothing is known of that.

    Raises:
        DataError: If the file cannot be read, or the checksum is of no kind that is known.
    """
    try:
        found = path.stat().st_size
        if size is not None and found != size:
            return f"it has {found:,} bytes, not {size:,}"
        if checksum is None:
            return ""
        if progress is not None:
            progress.start(f"checking {path.name.removesuffix('.part')}", None)
        name, _, wanted = checksum.partition(":")
        got = digest_of(path, name)
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", where=str(path)) from error
    return "" if got == wanted.strip().lower() else f"its {name} is {got}, not {wanted.strip().lower()}"


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """A digest of a file, in hexadecimal."""
    if algorithm not in _ALGORITHMS:
        raise DataError(f"the checksum is of the kind {algorithm!r}", todo=f"known are {', '.join(_ALGORITHMS)}")
    with open(path, "rb") as file:
        # The published sums are of such kinds; they guard against accidents, not against enemies.
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
