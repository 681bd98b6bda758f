"""Paint diffusion-weighted images from tensors of known FA and MD: isotropic fluid and grey matter, anisotropic white matter.

The FA of the white matter falls with age, so that brain age can be learned from it. Each voxel's signal is that of its tissues.
"""

from dataclasses import dataclass

import numpy as np

from neurocohort.synthetic.heads import Head, rician, to_int16
from neurocohort.synthetic.painting import Site

B_VALUE = 1000.0  # s/mm2
DIRECTIONS = 15  # and one volume without diffusion weighting, as in IXI
# Echo-planar images without diffusion weighting: T2-weighted, with suppressed fat.
SITE = Site("DTI", white=300.0, csf=3.2, grey=1.45, fat=0.1, muscle=0.30, noise=0.015, bias=0.06)
CSF_MD, GREY_MD, WHITE_MD, OTHER_MD = 3.0e-3, 0.85e-3, 0.75e-3, 0.9e-3  # mm2/s
WHITE_FA_AT_20, WHITE_FA_LOSS_PER_YEAR = 0.70, 0.003


@dataclass(frozen=True)
class Tissue:
    """The tensor of a tissue: fractional anisotropy, and mean diffusivity in mm2/s."""

    fa: float
    md: float


def tissues_at(age: float) -> dict[str, Tissue]:
    """The tensors of CSF, grey and white matter at an age in years."""
    white = WHITE_FA_AT_20 - WHITE_FA_LOSS_PER_YEAR * max(age - 20, 0)
    return {"csf": Tissue(0.0, CSF_MD), "gm": Tissue(0.0, GREY_MD), "wm": Tissue(white, WHITE_MD)}


def gradient_table() -> tuple[np.ndarray, np.ndarray]:
    """The b-values, (volumes,), and the directions, (volumes, 3), spread evenly over a half sphere; the first b is 0."""
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(DIRECTIONS)
    z = 1 - (np.arange(DIRECTIONS) + 0.5) / DIRECTIONS
    radius = np.sqrt(1 - z**2)
    directions = np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=1)
    return np.array([0.0] + [B_VALUE] * DIRECTIONS), np.concatenate([np.zeros((1, 3)), directions])


def gradient_files() -> dict[str, str]:
    """The texts of IXI's two tables, by file name."""
    b, directions = gradient_table()
    rows = [" ".join(f"{value:.6f}" for value in row) for row in directions.T]
    return {"bvals.txt": " ".join(f"{value:g}" for value in b) + "\n", "bvecs.txt": "\n".join(rows) + "\n"}


def diffusivities(fa: float, md: float) -> tuple[float, float]:
    """The diffusivities along and across the fibres of an axially symmetric tensor with this FA and MD."""
    half = fa * md / np.sqrt(3 - 2 * fa**2)
    return md + 2 * half, md - half


def diffusion_volumes(head: Head, age: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the volumes of a series, int16.

    Args:
        head: The head, drawn with SITE.
        age: In years.
        rng: The source of noise.
    """
    known = tissues_at(age)
    along, across = diffusivities(known["wm"].fa, known["wm"].md)
    amounts = head.tissues * np.array([SITE.csf, SITE.grey, 1.0], np.float32)[:, None, None, None]
    inside = amounts.sum(axis=0)
    other = np.maximum(1.0 - head.tissues.sum(axis=0), 0.0) * (inside == 0)
    total = np.maximum(inside + other, 1e-6)
    fibres = _fibres(head.signal.shape)
    volumes = []
    for b, direction in zip(*gradient_table(), strict=True):
        white = across + (along - across) * np.tensordot(direction.astype(np.float32), fibres, axes=1) ** 2
        attenuated = (
            amounts[0] * np.exp(-b * CSF_MD) + amounts[1] * np.exp(-b * GREY_MD) + amounts[2] * np.exp(-b * white)
        )
        attenuated += other * np.exp(-b * OTHER_MD)
        signal = (head.signal * head.bias * attenuated / total).astype(np.float32)
        volumes.append(to_int16(rician(signal, head.noise_sigma, rng)))
    return volumes


def _fibres(shape: tuple[int, ...]) -> np.ndarray:
    """Unit vectors along the fibres, (3, X, Y, Z): around the third axis, which turns through all directions of a plane."""
    x, y, z = (np.arange(size, dtype=np.float32) - (size - 1) / 2 for size in shape)
    angle = np.arctan2(y[None, :, None], x[:, None, None]) + 0 * z
    tilt = 0.5 * np.sin(z / 8)[None, None, :] + 0 * angle
    fibres = np.stack([-np.sin(angle) * np.cos(tilt), np.cos(angle) * np.cos(tilt), np.sin(tilt)])
    return fibres.astype(np.float32)
