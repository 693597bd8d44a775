"""What makes training images of cached ones: random changes and patches."""

from __future__ import annotations

from pydantic import Field

from medcnn.recipe.parts import Count, Fraction, Section


class AugmentSection(Section):
    """Random changes of the training batches, drawn for each case and epoch anew."""

    probability: Fraction = Field(0.9, description="Share of the images that are changed at all.")
    rotate: float = Field(10.0, ge=0, le=180, description="Largest rotation in degrees (in 3D about each axis).")
    zoom: float = Field(0.1, ge=0, lt=1, description="Largest relative change of size.")
    shift: float = Field(0.05, ge=0, lt=1, description="Largest shift as a share of the image size.")
    brightness: float = Field(0.1, ge=0, description="Largest offset, in units of the scaled intensity.")
    contrast: float = Field(0.1, ge=0, lt=1, description="Largest relative change of contrast.")
    gamma: float = Field(0.0, ge=0, lt=1, description="Largest relative change of the exponent (images in [0, 1]).")
    noise: float = Field(0.02, ge=0, description="Largest standard deviation of added noise.")
    blur: float = Field(0.0, ge=0, description="Largest standard deviation of a Gaussian blur, in px.")
    low_resolution: float = Field(
        0.0, ge=0, lt=1, description="Largest share of an axis' voxels that is lost on the way down and up again."
    )
    elastic: float = Field(
        0.0,
        ge=0,
        lt=0.4,
        description="Elastic deformation: largest shift of control points, five along each axis, as a share of their "
        "distance; 0.2 is strong. Masks move along.",
    )
    erase: float = Field(0.0, ge=0, lt=1, description="Largest share of the area replaced by the mean.")
    mixup: float = Field(0.0, ge=0, description="Alpha of mixup between cases of a batch; 0 is off.")


class PatchesSection(Section):
    """How training draws patches of images that keep their size (input.fit: patches)."""

    per_case: Count = Field(1, description="Patches of each case in an epoch.")
    foreground: Fraction = Field(
        0.5, description="Share of the patches that are centred on a labelled voxel; the rest lie anywhere."
    )
