"""By how much MONAI's HD95 differs from ours, which weighs surfaces by their area as ``surface-distance`` does.

MONAI takes the percentile over border voxels, each counted once, and measures between their centres. Made-up shapes:
a smooth organ against one that is rougher, bigger or displaced, in isotropic and in anisotropic voxels, and small
lesions. With a folder of masks (the Decathlon's ``labelsTr`` of the hippocampus, say) each mask against itself moved
by a voxel along every axis.

Run: python tests/benchmarks/bench_hd95.py [FOLDER]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from medcnn.evaluation.segmentation_case import measure_case

Pair = tuple[np.ndarray, np.ndarray, tuple[float, ...]]


def blob(rng: np.random.Generator, shape: tuple[int, ...], smooth: float, share: float) -> np.ndarray:
    """A random shape that covers a share of the volume, away from its edges."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), smooth)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    field = field / field.std() - 3 * sum(g**2 for g in grid)
    return np.asarray(field > np.quantile(field, 1 - share))


def organs(spacing: tuple[float, ...], count: int) -> Iterator[Pair]:
    """A shape, and the same with a rougher border, moved a little."""
    rng = np.random.default_rng(0)
    shape = (64, 64, max(12, round(64 * spacing[0] / spacing[2])))
    for _ in range(count):
        organ = blob(rng, shape, 6.0, 0.12)
        near = ndimage.distance_transform_edt(organ) - ndimage.distance_transform_edt(~organ)
        rough = near + ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) * 8 > 0
        yield organ, np.roll(rough, int(rng.integers(0, 3)), 0), spacing


def lesions(count: int) -> Iterator[Pair]:
    """Balls of 3 to 6 voxels across, one of another size beside the other."""
    rng = np.random.default_rng(1)
    grid = np.ogrid[:24, :24, :24]
    for _ in range(count):
        first, second = (
            sum((g - c) ** 2 for g, c in zip(grid, rng.uniform(10, 13, 3), strict=True)) <= rng.uniform(1.5, 3) ** 2
            for _ in range(2)
        )
        yield first, second, (1.0, 1.0, 3.0)


def moved(folder: Path) -> Iterator[Pair]:
    """Each mask against itself, a voxel beside."""
    import nibabel as nib

    for path in sorted(folder.glob("[!.]*.nii.gz")):
        image = nib.load(path)
        mask = np.asarray(image.dataobj) > 0
        yield mask, np.roll(mask, (1, 1, 1), (0, 1, 2)), tuple(float(v) for v in image.header.get_zooms()[:3])


def compare(name: str, pairs: Iterator[Pair]) -> None:
    """Print the differences of one kind of shapes."""
    import torch
    from monai.metrics import compute_hausdorff_distance

    rows = []
    for reference, prediction, spacing in pairs:
        (ours,) = measure_case(reference.astype(np.uint8), prediction.astype(np.uint8), 1, spacing)
        hot = [torch.from_numpy(np.stack([~m, m])[None].astype(np.float32)) for m in (prediction, reference)]
        theirs = compute_hausdorff_distance(*hot, percentile=95, spacing=spacing)
        rows.append((ours.hd95, float(theirs[0, 0])))
    ours95, theirs95 = np.array(rows, np.float64).T
    gap = theirs95 - ours95
    means = f"HD95 {ours95.mean():.2f} mm, MONAI's {theirs95.mean():.2f} mm"
    ends = f"mean {gap.mean():+.2f} mm, from {gap.min():+.2f} to {gap.max():+.2f} mm"
    print(f"{name} ({len(rows)}): {means}; MONAI - ours: {ends}, equal in {np.mean(np.abs(gap) < 1e-4):.0%}")


def main() -> int:
    """One line a kind of shapes."""
    compare("organs, 1 x 1 x 1 mm", organs((1.0, 1.0, 1.0), 40))
    compare("organs, 0.8 x 0.8 x 3 mm", organs((0.8, 0.8, 3.0), 40))
    compare("lesions, 1 x 1 x 3 mm", lesions(100))
    if len(sys.argv) > 1:
        compare("masks moved by a voxel", moved(Path(sys.argv[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
