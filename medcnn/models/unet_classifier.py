"""A classifier with a U-Net's decoder, which masks can teach what is where, 2D and 3D."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.models.layers import check_share
from medcnn.models.small_unet import SmallUNet

# What each place counts beside the chance that the decoder gives it: where it finds nothing all count alike.
_FLOOR = 1e-4


class UNetClassifier(nn.Module):
    """Features of all levels, averaged where the decoder sees a finding, and one linear layer.

    Args:
        unet: Gives logits of the background and of each class for each voxel.
        widths: Filters of its levels, the finest first.
        outputs: Logits a case.
        dropout: Share of features silenced in training before the linear layer, in [0, 1).
    """

    def __init__(self, unet: SmallUNet, widths: tuple[int, ...], outputs: int, *, dropout: float) -> None:
        super().__init__()
        check_share("dropout", dropout)
        self.unet = unet
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        # The finest level is near the pixels; of the coarsest also the maxima are seen.
        self.classes = nn.Linear(sum(widths[1:]) + widths[-1], outputs)
        nn.init.zeros_(self.classes.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(B, outputs)`` of images ``(B, C, *size)``."""
        maps = self.unet.features(image)
        return self._classes(maps, self.unet.logits(maps[:1], image.shape[2:])[0])

    def outlined(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits ``(B, outputs)``, and those ``(B, 1 + outputs, *spatial)`` of the voxels, the finest first."""
        maps = self.unet.features(image)
        voxels = self.unet.logits(maps, image.shape[2:])
        return self._classes(maps, voxels[0]), voxels

    def _classes(self, maps: list[Tensor], voxels: Tensor) -> Tensor:
        # The class must not be made right by moving the outline: masks alone teach that.
        finding = 1 - voxels.detach().float().softmax(1)[:, :1]
        seen = [_mean_at(finding, level.float()) for level in maps[1:]]
        seen.append(maps[-1].float().flatten(2).amax(2))
        result: Tensor = self.classes(self.dropout(torch.cat(seen, 1)))
        return result


def _mean_at(finding: Tensor, features: Tensor) -> Tensor:
    """The mean ``(B, C)`` of features ``(B, C, *small)``, weighted by the chance ``(B, 1, *size)`` of a finding."""
    pool: Any = F.adaptive_avg_pool3d if features.ndim == 5 else F.adaptive_avg_pool2d
    shares = pool(finding, list(features.shape[2:])) + _FLOOR
    axes = tuple(range(2, features.ndim))
    mean: Tensor = (features * shares).sum(axes) / shares.sum(axes)
    return mean
