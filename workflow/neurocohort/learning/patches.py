"""Where the patches of a training are: around a voxel of the head, moved with the volume."""

import numpy as np

from neurocohort.learning.augmentation import AugmentationParameters, movement
from neurocohort.learning.data import Pack, PackedImages

CENTRE_TRIES = 256  # the brain fills at least a fifth of a volume
PATCH_STREAM = 2  # added to (seed, epoch, sample); augmentation and mixup have others


def brain_voxel(packed: PackedImages, place: tuple[Pack, int], position: tuple[int, ...]) -> np.ndarray:
    """A random voxel of the head mask (first channel above 0), (3,), read from the mapped arrays.

    Args:
        packed: The volumes.
        place: Pack and row of the scan.
        position: What the draw depends on: (seed, epoch, sample).
    """
    pack, row = place
    volume = packed.images[pack][row, packed.channels[pack][0]]
    tried = np.random.default_rng((*position, PATCH_STREAM)).integers(volume.shape, size=(CENTRE_TRIES, 3))
    return next((voxel for voxel in tried if volume[tuple(voxel)] > 0), np.array(volume.shape) // 2)


def start_around(
    centre: np.ndarray, drawn: AugmentationParameters, shape: tuple[int, ...], patch: tuple[int, ...]
) -> tuple[int, ...]:
    """The first voxel of the ``patch`` around ``centre``, which is moved with the volume; the patch is shifted into it."""
    matrix, offset = movement(drawn, shape)
    centre = np.rint(np.linalg.solve(matrix, centre - offset)).astype(int)
    last = np.array(shape) - patch
    return tuple(np.clip(centre - np.array(patch) // 2, 0, last).tolist())
