"""Stationary velocity fields on a grid around the template's brain, and the displacements that they integrate to.

The velocity has half the resolution of the images, as in VoxelMorph (Dalca et al. 2019). Scaling and squaring and the warp are
MONAI's. The displacement of the negative velocity is the inverse.
"""

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from neurocohort.imaging.learned_constants import COARSENESS
from neurocohort.imaging.volume import Grid, Volume, sample

MARGIN_MM = 20.0  # of the grid around the template's brain
TAPER_MM = 10.0  # at the end of the grid, where the velocity decreases to 0
INTEGRATION_STEPS = 6  # 64 small displacements, each of less than a fifth of a voxel
DIVISOR = 16  # of the sides of the grid: the network halves the coarse grid three times


@dataclass(frozen=True)
class Frame:
    """The grid on which brains are registered, along the world's axes, with equal voxel sides.

    Attributes:
        grid: The grid of the images. The velocity's grid has half the voxels along each side.
        spacing_mm: Of the images.
        fixed: The template's brain, (1, 1, X, Y, Z) float32; 0 outside the brain, 1 at its 99th percentile.
        fixed_mask: Its mask, (1, 1, X, Y, Z) float32.
        ramp: What velocities are multiplied by, (1, 1, X/2, Y/2, Z/2): 1, and 0 at the end of the grid.
    """

    grid: Grid
    spacing_mm: float
    fixed: torch.Tensor
    fixed_mask: torch.Tensor
    ramp: torch.Tensor

    def on(self, device: torch.device) -> "Frame":
        """The same in the memory of ``device``."""
        tensors = (tensor.to(device) for tensor in (self.fixed, self.fixed_mask, self.ramp))
        return Frame(self.grid, self.spacing_mm, *tensors)


def frame_of(fixed: Volume, fixed_mask: np.ndarray) -> Frame:
    """Return the frame around the template's brain.

    Args:
        fixed: The template's brain, on a grid along the world's axes.
        fixed_mask: bool, same shape.
    """
    spacing = float(fixed.spacing_mm[0])
    index = np.argwhere(fixed_mask)
    low, high = index.min(axis=0), index.max(axis=0) + 1
    margin = int(np.ceil(MARGIN_MM / spacing))
    shape = -(-(high - low + 2 * margin) // DIVISOR) * DIVISOR
    affine = fixed.affine.copy()
    first = np.floor((low + high - shape) / 2)
    affine[:3, 3] = fixed.affine[:3, :3] @ first + fixed.affine[:3, 3]
    grid = Grid(tuple(int(side) for side in shape), affine)
    mask = on_frame(Volume(fixed_mask, fixed.affine), grid) > 0.5
    image = on_frame(Volume(fixed.data * fixed_mask, fixed.affine), grid) * mask
    return Frame(grid, spacing, scaled(image, mask), mask.float(), _ramp(grid.shape, spacing))


def on_frame(image: Volume, grid: Grid) -> torch.Tensor:
    """Return an image on the grid, (1, 1, X, Y, Z) float32, 0 outside its field of view."""
    return torch.from_numpy(np.ascontiguousarray(sample(image, grid).data, dtype=np.float32))[None, None]


def scaled(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the image divided by its 99th percentile inside the mask, at most 1.5."""
    values = image[mask > 0.5]
    if values.numel() == 0:
        return image * 0
    brightest = values.kthvalue(max(1, int(0.99 * values.numel()))).values
    return (image / brightest.clamp(min=1e-6)).clamp(0, 1.5)


def displacement_of(velocity: torch.Tensor) -> torch.Tensor:
    """Integrate velocities to displacements by scaling and squaring.

    Args:
        velocity: (B, 3, X, Y, Z), in voxels of its grid.

    Returns:
        Displacements, same shape and unit.
    """
    return _integrator()(velocity)


def to_image_grid(displacement: torch.Tensor) -> torch.Tensor:
    """Return displacements on the image's grid, in its voxels, from those on the coarse grid."""
    finer = functional.interpolate(displacement, scale_factor=COARSENESS, mode="trilinear", align_corners=False)
    return finer * COARSENESS


def warped(image: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """Return ``image`` (B, C, X, Y, Z) at each voxel moved by ``displacement`` (B, 3, X, Y, Z), in voxels; 0 outside."""
    return _warp()(image, displacement)


@functools.cache
def _integrator():
    from monai.networks.blocks import DVF2DDF

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that MONAI's compiled extension is absent
        return DVF2DDF(INTEGRATION_STEPS)


@functools.cache
def _warp():
    from monai.networks.blocks import Warp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return Warp(padding_mode="zeros")


def gaussian_response(shape: Sequence[int], sigma: float) -> torch.Tensor:
    """Return the frequency response of a Gaussian filter, for `filtered`.

    Args:
        shape: Of the field, (X, Y, Z).
        sigma: Standard deviation in voxels.
    """
    axes = [*(torch.fft.fftfreq(side) for side in shape[:2]), torch.fft.rfftfreq(shape[2])]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return torch.exp(-2 * np.pi**2 * sigma**2 * (x**2 + y**2 + z**2))


def filtered(fields: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
    """Return fields (B, C, X, Y, Z) filtered by a response; the grid is periodic, and fields are 0 at its end."""
    spectrum = torch.fft.rfftn(fields, dim=(2, 3, 4)) * response
    return torch.fft.irfftn(spectrum, s=list(fields.shape[2:]), dim=(2, 3, 4))


def _ramp(shape: tuple[int, ...], spacing_mm: float) -> torch.Tensor:
    ramp = torch.ones([side // COARSENESS for side in shape])
    for axis, side in enumerate(ramp.shape):
        from_end = np.minimum(np.arange(side), np.arange(side)[::-1]) * COARSENESS * spacing_mm
        along = np.sin(np.pi / 2 * np.minimum(from_end / TAPER_MM, 1.0)) ** 2
        ramp *= torch.from_numpy(along.astype(np.float32)).view([-1 if one == axis else 1 for one in range(3)])
    return ramp[None, None]
