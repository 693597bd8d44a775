"""Patches: functions of seed, epoch, case and occurrence, inside their volume, on labels as often as asked for."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medcnn.data.augment import Augmenter
from medcnn.data.batch import LABELS, Batch
from medcnn.data.cache import Cache, build_cache
from medcnn.data.loaders import BatchLoader, OrderedImages, occurrences
from medcnn.data.patches import PatchDraw, padded_axes
from medcnn.data.preprocess import MaskReading, Preprocessor
from medcnn.progress import Silent
from medcnn.recipe.schema import AugmentSection, InputSection
from medcnn.types import Case, ImageRef, LabelClass, LabelSchema, Mask

SHAPES = ((9, 12, 7), (6, 8, 5), (11, 9, 9))
SIZE = (6, 8, 5)
SCHEMA = LabelSchema((LabelClass(3, "front"), LabelClass(1, "back")))


def volumes(folder: Path) -> list[Case]:
    """Images whose values tell the voxel, with two labels; the third has no label."""
    cases = []
    for number, shape in enumerate(SHAPES):
        array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1000 * number
        labels = np.zeros(shape, np.uint8)
        if number < 2:
            labels[0, 0, 0] = 3
            labels[-2:, -2:, -2:] = 1
        names = []
        for kind, values in (("image", array), ("mask", labels)):
            path = folder / f"{kind}{number}.nii"
            nib.save(nib.Nifti1Image(values, np.diag([1, 2, 3, 1.0])), path)  # type: ignore[no-untyped-call]
            names.append(str(path))
        cases.append(Case(f"c{number}", (ImageRef((names[0],)),), (Mask(ImageRef((names[1],))),)))
    return cases


def section(**more: object) -> InputSection:
    return InputSection.model_validate({"size": SIZE, "fit": "patches", "intensity": {"method": "none"}, **more})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    folder = tmp_path_factory.mktemp("volumes")
    steps = Preprocessor(section(), MaskReading(SCHEMA))
    return build_cache(volumes(folder), steps, folder / "cache", workers=1, progress=Silent())


def loader(cache: Cache, rows: list[int], foreground: float, **more: object) -> BatchLoader:
    source = OrderedImages(cache, np.arange(len(cache.cases)))
    draw = PatchDraw(SIZE, foreground, 5)
    options = {"seed": 1, "shuffle": True, "patches": draw, **more}
    return BatchLoader(source, np.array(rows), {}, 2, **options)  # type: ignore[arg-type]


def test_the_cache_holds_volumes_of_their_own_size_with_their_labels(cache: Cache) -> None:
    for row, shape in enumerate(SHAPES):
        image, labels = cache.volume(row)
        assert image.shape == (1, *shape)
        assert labels is not None
        assert labels.shape == (1, *shape)
        # Positions in the schema, not stored values.
        assert set(np.unique(labels)) == ({0, 1, 2} if row < 2 else {0})
    assert cache.matrices is not None
    np.testing.assert_array_equal(cache.matrices[0], np.eye(4))
    reopened = Cache.open(cache.path, cache.cases)
    assert reopened is not None
    np.testing.assert_array_equal(reopened.volume(2)[0], cache.volume(2)[0])


def test_an_image_smaller_than_a_patch_is_padded(tmp_path: Path) -> None:
    cases = volumes(tmp_path)[1:2]
    steps = Preprocessor(section(size=(8, 8, 8)), MaskReading(SCHEMA))
    found = build_cache(cases, steps, tmp_path / "cache", workers=0, progress=Silent())
    image, labels = found.volume(0)
    assert image.shape == (1, 8, 8, 8)
    assert labels is not None
    assert int((labels == 2).sum()) == 8
    assert found.matrices is not None
    np.testing.assert_array_equal(found.matrices[0][:3, 3], [1, 0, 1])


def test_a_mask_that_changed_makes_another_cache(tmp_path: Path) -> None:
    cases = volumes(tmp_path)
    steps = Preprocessor(section(), MaskReading(SCHEMA))
    first = build_cache(cases, steps, tmp_path / "cache", workers=0, progress=Silent())
    path = tmp_path / "mask2.nii"
    other = np.full(SHAPES[2], 1, np.uint8)
    nib.save(nib.Nifti1Image(other, np.diag([1, 2, 3, 1.0])), path)  # type: ignore[no-untyped-call]
    second = build_cache(cases, steps, tmp_path / "cache", workers=0, progress=Silent())
    assert second.key != first.key
    labels = second.volume(2)[1]
    assert labels is not None
    assert (labels == 2).all()


def test_image_and_labels_of_a_patch_are_of_the_same_voxels(cache: Cache) -> None:
    for batch in loader(cache, [0, 1, 0, 1], 0.5):
        for k, place in enumerate(batch.index.tolist()):
            whole, labels = cache.volume(place)
            assert labels is not None
            first = int(batch.image[k, 0, 0, 0, 0]) - 1000 * place
            start = np.unravel_index(first, whole.shape[1:])
            where = (0, *(slice(s, s + n) for s, n in zip(start, SIZE, strict=True)))
            np.testing.assert_array_equal(batch.image[k, 0].numpy(), whole[where])
            np.testing.assert_array_equal(batch.targets[LABELS][k, 0].numpy(), labels[where])


def test_every_patch_of_the_foreground_shows_a_label(cache: Cache) -> None:
    always = loader(cache, [0, 1] * 8, 1.0)
    seen = torch.cat([batch.targets[LABELS].flatten(1) for batch in always])
    assert bool((seen > 0).any(1).all())
    # A single voxel of one label is looked at as often as the eight of the other.
    assert bool((seen == 1).any())


def test_a_case_without_labels_gives_patches_from_anywhere(cache: Cache) -> None:
    batch = next(iter(loader(cache, [2, 2], 1.0)))
    assert not batch.targets[LABELS].any()


def test_occurrences_of_a_case_get_patches_of_their_own(cache: Cache) -> None:
    firsts = [float(v) for batch in loader(cache, [0] * 12, 0.0) for v in batch.image[:, 0, 0, 0, 0]]
    assert len(set(firsts)) > 6


def test_an_epoch_draws_the_same_again_and_another_draws_anew(cache: Cache) -> None:
    one, two = loader(cache, [0, 1, 2, 0], 0.3), loader(cache, [0, 1, 2, 0], 0.3)
    for first, second in zip(one, two, strict=True):
        assert torch.equal(first.image, second.image)
    two.set_epoch(1)
    assert any(not torch.equal(a.image, b.image) for a, b in zip(one, two, strict=True))


def test_processes_draw_what_one_process_draws(cache: Cache) -> None:
    rows = [0, 0, 1, 1, 2, 2, 0, 1]
    whole = BatchLoader(
        OrderedImages(cache, np.arange(3)), np.array(rows), {}, 4, seed=1, shuffle=True, patches=PatchDraw(SIZE, 0.5, 5)
    )
    parts = [list(loader(cache, rows, 0.5, rank=r, world_size=2)) for r in range(2)]
    for step, batch in enumerate(whole):
        together = torch.cat([part[step].image for part in parts])
        assert sorted(together.flatten(1)[:, 0].tolist()) == sorted(batch.image.flatten(1)[:, 0].tolist())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-1, 5), min_size=1, max_size=30))
def test_occurrences_count_from_zero(values: list[int]) -> None:
    seen: dict[int, int] = {}
    expected = []
    for value in values:
        expected.append(seen.get(value, 0))
        seen[value] = expected[-1] + 1
    assert occurrences(np.array(values, np.int64)).tolist() == expected


@pytest.mark.parametrize("shape", [(16, 20), (10, 12, 8)])
def test_labels_move_as_the_image_does(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    labels: NDArray[np.uint8] = np.zeros((4, 1, *shape), np.uint8)
    centre = tuple(slice(n // 4, 3 * n // 4) for n in shape)
    labels[(slice(None), 0, *centre)] = generator.integers(1, 3, (4, *[1] * len(shape)))
    image = torch.from_numpy(labels.astype(np.float32))
    change = AugmentSection(probability=1, rotate=30, zoom=0.2, shift=0.1, brightness=0, contrast=0, noise=0)
    batch = Batch(image, {LABELS: torch.from_numpy(labels)}, torch.arange(4))
    moved = Augmenter(change, (0,), seed=3)(batch, epoch=2)
    found = moved.targets[LABELS]
    assert found.dtype == torch.uint8
    assert set(found.unique().tolist()) <= {0, 1, 2}
    assert not torch.equal(found, batch.targets[LABELS])
    # The image is its own label map: nearest and linear agree but for the voxels that the edge runs through.
    assert float((moved.image.round() == found).float().mean()) > 0.93


@pytest.mark.parametrize(
    ("shape", "size", "padded"),
    [
        # Axes exchanged, the last at twice the resolution: 10 x 20 x 8 become 20 x 10 x 16 voxels.
        ((10, 20, 8), (20, 10, 16), False),
        ((10, 20, 8), (20, 10, 17), True),
        ((9, 20, 8), (20, 10, 16), True),
    ],
)
def test_what_is_smaller_than_a_patch_in_the_grid_of_the_network(
    shape: tuple[int, ...], size: tuple[int, ...], padded: bool
) -> None:
    matrix = np.array([[0, -1.0, 0, 19], [1, 0, 0, 0], [0, 0, 2, 0.5], [0, 0, 0, 1]])
    assert padded_axes(shape, matrix, size) is padded
