"""Painted pairs of brains with a known deformation, on which the registration network learns without any scan.

As in SynthMorph (Hoffmann et al. 2022), the moving image is made from the fixed one: the template with another contrast, moved by
a random smooth diffeomorphism, with bias, blur, noise and another border of the mask. A pair depends on the seed and its number
only.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from neurocohort.imaging.learned_constants import COARSENESS
from neurocohort.imaging.template import Template
from neurocohort.imaging.velocity import (
    Frame,
    displacement_of,
    filtered,
    frame_of,
    gaussian_response,
    on_frame,
    scaled,
    to_image_grid,
    warped,
)
from neurocohort.imaging.volume import Volume
from neurocohort.learning.noise import gaussian_noise

STREAM = 11  # added to (seed, number); the other draws of a study have others
SCALES_MM = (7.0, 11.0, 18.0, 30.0)  # standard deviations of the Gaussians that smooth the velocity
LARGEST_MM = 6.0  # root mean square of the velocity inside the brain
LINEAR_DEVIATION = (
    0.02  # of the entries of the linear part of the velocity: scale, shear and rotation that the affine leaves
)
SHIFT_DEVIATION_MM = 1.0
TISSUE_DEVIATION = 0.08  # of the intensity that is added to each tissue; white matter has about 0.9
GAMMA_DEVIATION = 0.2  # of the logarithm of the exponent
BIAS_DEVIATION = 0.08  # of the logarithm of the bias field
BIAS_SCALE_MM = 40.0
LARGEST_NOISE = 0.08
BORDER_SCALE_MM = 8.0
BORDER_DEVIATION = 0.25  # of the threshold of the smoothed mask: the border moves by a millimetre or two


@dataclass(frozen=True)
class Anatomy:
    """What pairs are painted from.

    Attributes:
        frame: The grid with the template's brain.
        tissues: Probabilities of CSF, GM and WM on it, (1, 3, X, Y, Z).
        distance_mm: Of the coarse voxels from the brain's centre, (1, 3, X/2, Y/2, Z/2).
    """

    frame: Frame
    tissues: torch.Tensor
    distance_mm: torch.Tensor


@dataclass(frozen=True)
class Pair:
    """A painted moving image and the true velocity from the template to it.

    Attributes:
        moving: (1, 1, X, Y, Z), scaled as a scan's.
        velocity: (1, 3, X/2, Y/2, Z/2), in coarse voxels.
    """

    moving: torch.Tensor
    velocity: torch.Tensor


def anatomy_of(template: Template, device: torch.device) -> Anatomy:
    """Return what pairs are painted from, on ``device``."""
    frame = frame_of(template.fit, template.fit_mask)
    tissues = [on_frame(Volume(tissue, template.grid.affine), frame.grid) for tissue in template.tissues]
    coarse = [side // COARSENESS for side in frame.grid.shape]
    mask = functional.avg_pool3d(frame.fixed_mask, COARSENESS)
    along = torch.stack(torch.meshgrid(*(torch.arange(side).float() for side in coarse), indexing="ij"))[None]
    centre = (along * mask).sum(dim=(2, 3, 4), keepdim=True) / mask.sum()
    distance = (along - centre) * (COARSENESS * frame.spacing_mm)
    return Anatomy(frame.on(device), torch.cat(tissues, dim=1).to(device), distance.to(device))


def painted_pair(anatomy: Anatomy, seed: int, number: int) -> Pair:
    """Return pair ``number`` of the training with ``seed``."""
    generator = np.random.default_rng((seed, number, STREAM))
    velocity = _velocity(anatomy, generator)
    frame = anatomy.frame
    moved = to_image_grid(displacement_of(velocity))
    both = warped(torch.cat([_contrast(anatomy, generator), frame.fixed_mask], dim=1), moved)
    look, mask = both[:, :1], _border(frame, both[:, 1:], generator)
    bias = _smooth(
        _noise((1, 1, *velocity.shape[2:]), generator, look.device), [BIAS_SCALE_MM], [1.0], _coarse_mm(frame)
    )
    look = look * _upsampled((BIAS_DEVIATION * bias / bias.std().clamp(min=1e-6)).exp())
    look = torch.lerp(look, functional.avg_pool3d(look, 3, stride=1, padding=1), float(generator.random()))
    look = look + float(generator.uniform(0, LARGEST_NOISE)) * _noise(tuple(look.shape), generator, look.device)
    return Pair(scaled(look.clamp(min=0) * mask, mask), -velocity)


def _velocity(anatomy: Anatomy, generator: np.random.Generator) -> torch.Tensor:
    """A smooth random velocity of several scales, with a linear part, in coarse voxels, 0 at the end of the grid."""
    frame, coarse_mm = anatomy.frame, _coarse_mm(anatomy.frame)
    mask = functional.avg_pool3d(frame.fixed_mask, COARSENESS)
    # A larger scale with more displacement: each scale deforms about as much.
    weights = [scale * float(np.exp(generator.normal(0, 1))) for scale in SCALES_MM]
    field = _smooth(_noise((1, 3, *mask.shape[2:]), generator, mask.device), SCALES_MM, weights, coarse_mm)
    field = field / ((field.square().sum(dim=1) * mask[:, 0]).sum() / mask.sum()).sqrt().clamp(min=1e-6)
    linear = torch.from_numpy(generator.normal(0, LINEAR_DEVIATION, (3, 3)).astype(np.float32)).to(mask.device)
    shift = torch.from_numpy(generator.normal(0, SHIFT_DEVIATION_MM, 3).astype(np.float32)).to(mask.device)
    affine = torch.einsum("ij,bjxyz->bixyz", linear, anatomy.distance_mm) + shift.view(1, 3, 1, 1, 1)
    return (float(generator.uniform(0.5, LARGEST_MM)) * field + affine) / coarse_mm * frame.ramp


def _contrast(anatomy: Anatomy, generator: np.random.Generator) -> torch.Tensor:
    """The template with another intensity of each tissue, (1, 1, X, Y, Z)."""
    added = torch.from_numpy(generator.normal(0, TISSUE_DEVIATION, 3).astype(np.float32)).to(anatomy.tissues.device)
    look = anatomy.frame.fixed.clamp(min=1e-3) ** float(np.exp(generator.normal(0, GAMMA_DEVIATION)))
    return look + (added.view(1, 3, 1, 1, 1) * anatomy.tissues).sum(dim=1, keepdim=True)


def _border(frame: Frame, mask: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """The mask with a border that is moved by a smooth random field, (1, 1, X, Y, Z) float32."""
    coarse = [side // COARSENESS for side in frame.grid.shape]
    field = _smooth(_noise((1, 1, *coarse), generator, mask.device), [BORDER_SCALE_MM], [1.0], _coarse_mm(frame))
    level = 0.5 + BORDER_DEVIATION * generator.random() * _upsampled(field / field.std().clamp(min=1e-6))
    soft = functional.avg_pool3d(mask, 5, stride=1, padding=2)
    return (soft > level.clamp(0.1, 0.9)).float()


def _coarse_mm(frame: Frame) -> float:
    return COARSENESS * frame.spacing_mm


def _upsampled(coarse: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(coarse, scale_factor=COARSENESS, mode="trilinear", align_corners=False)


def _noise(size: tuple[int, ...], generator: np.random.Generator, device: torch.device) -> torch.Tensor:
    return gaussian_noise(size, int(generator.integers(2**62)), device)


def _smooth(
    noise: torch.Tensor, scales_mm: list[float] | tuple[float, ...], weights: list[float], spacing_mm: float
) -> torch.Tensor:
    """Noise (B, C, X, Y, Z) filtered to a sum of fields of these scales; each has a variance of its weight squared."""
    shape = noise.shape[2:]
    squared = torch.zeros((), device=noise.device)
    for scale, weight in zip(scales_mm, weights, strict=True):
        sigma = scale / spacing_mm
        squared = squared + weight**2 * sigma**3 * gaussian_response(shape, sigma).to(noise.device).square()
    return filtered(noise, squared.sqrt())
