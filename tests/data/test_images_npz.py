"""Arrays in .npz archives, kept whole or streamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medcnn.data.images import npz, read_image
from medcnn.errors import ImageError
from medcnn.types import Image, ImageRef

GREY = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
COLOUR = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
VOLUMES = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)


@pytest.fixture(params=["kept", "streamed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    npz._array.cache_clear()
    if request.param == "streamed":
        monkeypatch.setattr(npz, "_KEEP_BYTES", 0)


def read(path: Path, key: str | None, index: int | None) -> Image:
    return read_image(ImageRef((str(path),), key=key, index=index))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_items_in_any_order(tmp_path: Path, save: Callable[..., None]) -> None:
    path = tmp_path / "a.npz"
    save(path, grey=GREY, colour=COLOUR, volumes=VOLUMES)
    for index in (4, 0, 2, 2, 3):
        np.testing.assert_array_equal(read(path, "grey", index).array, GREY[index].T[None])
    np.testing.assert_array_equal(read(path, "colour", 1).array, COLOUR[1].transpose(2, 1, 0))
    np.testing.assert_array_equal(read(path, "volumes", 1).array, VOLUMES[1].transpose(2, 1, 0)[None])


@pytest.mark.usefixtures("way")
def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, grey=GREY, colour=COLOUR)
    with pytest.raises(ImageError, match="no image 5: the array holds 5"):
        read(path, "grey", 5)
    with pytest.raises(ImageError, match="no image -1"):
        read(path, "grey", -1)
    with pytest.raises(ImageError, match="no array 'gray'") as error:
        read(path, "gray", 0)
    assert "colour, grey" in error.value.todo
    with pytest.raises(ImageError, match="2 arrays"):
        read(path, None, 0)
    with pytest.raises(ImageError, match="which one"):
        read(path, "colour", None)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, GREY)
    first = read(path, None, 1).array.copy()
    np.savez(path, np.concatenate([GREY, GREY]) + 1)
    np.testing.assert_array_equal(read(path, None, 1).array, first + 1)


def test_broken_archives_and_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).integers(0, 99, (9, 20, 20)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match="broken"):
        read(path, "a", 0)
    objects = tmp_path / "b.npz"
    np.savez(objects, a=np.array([{"x": 1}, None], dtype=object))
    with pytest.raises(ImageError, match="objects"):
        read(objects, "a", 0)


def test_the_shape_comes_from_the_header(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=GREY)
    assert npz.array_shape(str(tmp_path / "a.npz"), "a") == (5, 3, 4)
