"""The b-values and gradient directions of diffusion-weighted images, as FSL writes them, and whether a tensor can be fitted."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurocohort.errors import ScanExcluded
from neurocohort.user_files import UnusableFile, read_bytes

LARGEST_BYTES = 1_000_000  # of a table with a few hundred rows
B0_BELOW = 50.0  # s/mm2: volumes below count as not diffusion-weighted
# s/mm2. Below, blood flow contributes; above, the signal of tissue is not that of a tensor (Jones et al. 2013).
USED_B = (300.0, 1600.0)
NORM_TOLERANCE = 0.05  # of a direction's length, which is 1
TENSOR_NUMBERS = 6


@dataclass(frozen=True)
class Gradients:
    """``b``: s/mm2, (volumes,). ``directions``: unit vectors, (volumes, 3); 0 without diffusion weighting."""

    b: np.ndarray
    directions: np.ndarray

    @property
    def unweighted(self) -> np.ndarray:
        """The volumes without diffusion weighting, bool."""
        return self.b < B0_BELOW

    @property
    def used(self) -> np.ndarray:
        """The volumes from which the tensor is fitted, bool."""
        return self.unweighted | ((self.b >= USED_B[0]) & (self.b <= USED_B[1]))


def read_gradients(bval: Path, bvec: Path, volumes: int, stage: str) -> Gradients:
    """Read and check the tables of a series.

    Args:
        bval: The file with the b-values in s/mm2.
        bvec: The file with the directions, in three rows or three columns.
        volumes: Volumes of the series.
        stage: The stage of an exclusion.

    Raises:
        ScanExcluded: If a file can't be read, the numbers don't belong to the volumes, or no tensor can be fitted to them.
    """
    values, vectors = (_numbers(path, stage) for path in (bval, bvec))
    b, directions = values.reshape(-1), vectors.T if vectors.shape[0] == 3 else vectors
    if directions.shape != (len(b), 3):
        raise ScanExcluded(
            stage,
            f"{bval.name} has {len(b)} b-values, and {bvec.name} is {vectors.shape[0]} x {vectors.shape[1]}; expected three rows "
            "or columns with a direction for each.",
        )
    if len(b) != volumes:
        raise ScanExcluded(
            stage, f"{bval.name} has {len(b)} b-values, and there are {volumes} volumes; expected one for each."
        )
    return _checked(Gradients(b, directions), bval.name, bvec.name, stage)


def _numbers(path: Path, stage: str) -> np.ndarray:
    """The numbers of a text file, (rows, columns)."""
    try:
        text = read_bytes(path, LARGEST_BYTES).decode("utf-8-sig")
        rows = [[float(cell) for cell in line.replace(",", " ").split()] for line in text.splitlines() if line.strip()]
    except (UnusableFile, ValueError) as fault:
        raise ScanExcluded(stage, f"{path.name} can't be read as numbers: {fault}.") from fault
    if not rows or len({len(row) for row in rows}) > 1:
        raise ScanExcluded(stage, f"{path.name} is empty, or its rows have different lengths.")
    return np.array(rows)


def _checked(given: Gradients, bval: str, bvec: str, stage: str) -> Gradients:
    b = given.b
    if not np.isfinite(b).all() or (b < 0).any():
        raise ScanExcluded(stage, f"{bval} has a b-value that is negative or not a number.")
    weighted = given.used & ~given.unweighted
    if not weighted.any():
        raise ScanExcluded(
            stage,
            f"The largest b-value of {bval} is {b.max():g}, and none is from {USED_B[0]:g} to {USED_B[1]:g} s/mm2; "
            "check its unit.",
        )
    if not given.unweighted.any():
        raise ScanExcluded(
            stage, f"{bval} has no volume without diffusion weighting: its smallest b-value is {b.min():g} s/mm2."
        )
    lengths = np.linalg.norm(given.directions, axis=1)
    if not (np.abs(lengths[weighted] - 1) <= NORM_TOLERANCE).all():
        raise ScanExcluded(
            stage, f"{bvec} has a direction of length {_furthest(lengths[weighted]):.3g}; expected unit vectors."
        )
    directions = np.where(weighted[:, None], given.directions / np.where(weighted, lengths, 1.0)[:, None], 0.0)
    x, y, z = directions[weighted].T
    products = np.stack([x * x, y * y, z * z, x * y, x * z, y * z], axis=1)
    if (rank := int(np.linalg.matrix_rank(products, tol=1e-3))) < TENSOR_NUMBERS:
        raise ScanExcluded(
            stage,
            f"{bvec} has {int(weighted.sum())} directions with b from {USED_B[0]:g} to {USED_B[1]:g} s/mm2, which determine "
            f"{rank} of a tensor's {TENSOR_NUMBERS} numbers; expected {TENSOR_NUMBERS} or more directions, spread over a sphere.",
        )
    return Gradients(b, directions)


def _furthest(lengths: np.ndarray) -> float:
    """The length that is furthest from 1, or not a number."""
    return float(lengths[np.argmax(np.where(np.isfinite(lengths), np.abs(lengths - 1), np.inf))])
