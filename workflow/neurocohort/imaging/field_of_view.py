"""How much of a brain is missing from its image: cut by the border, by a plane of background, or by empty slices.

Two measures, since each misses what the other finds: the area over which the brain mask ends at nothing, and the fraction of
the template's brain that has no image where the registration puts it. An empty voxel is exactly 0, the value of a painted
background (see intensity_scale.py); one outside of the field of view is empty too.
"""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from neurocohort.imaging.template import Template
from neurocohort.imaging.volume import Volume, bounding_box

EMPTY_MM = 12.0  # of empty voxels in all directions are no bone: a skull, which may be stored as 0, is thinner
NEAR_MM = 3.0  # between the mask and an empty space: less than any scalp; also the step in which spaces are found
# Fraction of the mask's surface beside empty spaces: 0.67 at least in 33 skull-stripped scans of OASIS-1; a cut head has a tenth.
STRIPPED = 0.3
NEIGHBOURS = 3  # planes of a brain's surface that a flat cut is compared with
NATURAL_FLAT_CM2 = 15.0  # the excess of a brain that nothing cut; 13 at most in 99 skull-stripped scans of OASIS-1
INNER_MM = 6.0  # of the template's brain are left out on all sides: a registration is no better, and skull may be empty
POINT_STEP = 2  # every other voxel of the template along each axis: some 20,000 points


def cut_area_cm2(scan: Volume, mask: np.ndarray, *, skull_stripped: bool) -> tuple[float, bool]:
    """The area in cm2 over which the brain mask (bool, of the scan's shape) is cut, and whether the scan is skull-stripped.

    ``skull_stripped``: what the study says; a scan that looks so is one though the study doesn't.

    It is the area on the border of the field of view, and in a whole head also where the mask ends at an empty space of EMPTY_MM,
    across the axes of the image: scalp lies between any whole brain and the air. A skull-stripped brain ends in empty voxels
    nearly everywhere; there a cut is the plane across an axis in which far more of the mask ends than in the planes before it.
    """
    border_mm2 = 0.0
    for axis in range(3):
        voxel_mm2 = float(np.prod(np.delete(scan.spacing_mm, axis)))
        border_mm2 += voxel_mm2 * sum(int(np.count_nonzero(mask.take(end, axis=axis))) for end in (0, -1))
    beside_mm2, all_mm2 = _beside_empty_space_mm2(scan, mask)
    skull_stripped = skull_stripped or beside_mm2 > STRIPPED * all_mm2
    return (border_mm2 + (_flat_mm2(scan, mask) if skull_stripped else beside_mm2)) / 100, skull_stripped


def missing_fraction(scan: Volume, template: Template, to_scan: np.ndarray, *, skull_stripped: bool) -> float:
    """The fraction (0 to 1) of the template's brain, without its outer INNER_MM, whose place in the scan is empty.

    ``to_scan``: 4 x 4, world points (RAS mm) of the template to those of the scan. A skull-stripped brain may have empty sulci
    and ventricles, and in MNI space it may end before the template's does; there only planes that are empty as a whole count,
    across an axis of the image and between planes that are not.
    """
    inner = ndimage.binary_erosion(template.fit_mask, iterations=round(INNER_MM / float(template.fit.spacing_mm[0])))
    index = np.argwhere(inner[::POINT_STEP, ::POINT_STEP, ::POINT_STEP]) * POINT_STEP
    to_voxels = np.linalg.inv(scan.affine) @ to_scan @ template.fit.affine
    voxels = np.rint(index @ to_voxels[:3, :3].T + to_voxels[:3, 3]).astype(int)
    inside = ((voxels >= 0) & (voxels < scan.data.shape)).all(axis=1)
    voxels = tuple(voxels[inside].T)
    if skull_stripped:
        planes = [_shown_planes(scan.data, axis) for axis in range(3)]
        shown = np.logical_and.reduce([plane[index] for plane, index in zip(planes, voxels, strict=True)])
    else:
        shown = scan.data[voxels] != 0
    return 1 - float(np.count_nonzero(shown)) / len(inside)


def _shown_planes(data: np.ndarray, axis: int) -> np.ndarray:
    """For each plane across ``axis`` whether it has an image, or lies before or behind all that have one: bool (n,)."""
    shown = np.any(data, axis=tuple({0, 1, 2} - {axis}))
    first, last = np.flatnonzero(shown)[[0, -1]]
    shown[:first] = shown[last + 1 :] = True
    return shown


def _beside_empty_space_mm2(scan: Volume, mask: np.ndarray) -> tuple[float, float]:
    """The area over which an empty space begins within NEAR_MM of the mask's ends along the axes, and the area of all ends."""
    near = np.maximum(1, np.rint(NEAR_MM / scan.spacing_mm)).astype(int)  # voxels
    empty = scan.data[tuple(slice(None, None, step) for step in near)] == 0
    size = 1 + 2 * np.ceil(EMPTY_MM / 2 / (near * scan.spacing_mm)).astype(int)
    # An opening: what a block of EMPTY_MM fits into. Outside of the field of view all is empty.
    space = ndimage.minimum_filter(empty, size, mode="constant", cval=1)
    space = ndimage.maximum_filter(space, size, mode="constant", cval=0)
    if not space.any():
        return 0.0, 1.0
    beside_mm2 = all_mm2 = 0.0
    for axis, side, place in _ends(mask):
        place[axis] = np.clip(place[axis] + side * near[axis], 0, mask.shape[axis] - 1)
        beside = space[tuple(index // step for index, step in zip(place, near, strict=True))]
        voxel_mm2 = float(np.prod(np.delete(scan.spacing_mm, axis)))
        beside_mm2 += voxel_mm2 * int(np.count_nonzero(beside))
        all_mm2 += voxel_mm2 * len(beside)
    return beside_mm2, all_mm2


def _flat_mm2(scan: Volume, mask: np.ndarray) -> float:
    """The area of the flattest plane in which the mask ends, less that of the planes before it; 0 where it is a brain's own.

    On a sphere the area in which it ends hardly changes from plane to plane; where a plane cuts it, it leaps.
    """
    flattest_mm2 = 0.0
    for axis, side, place in _ends(mask):
        counts = np.bincount(place[axis], minlength=mask.shape[axis])[::side]
        before = [np.median(counts[max(0, plane - NEIGHBOURS) : plane]) for plane in range(1, len(counts))]
        excess = float(np.max(counts[1:] - before))
        flattest_mm2 = max(flattest_mm2, excess * float(np.prod(np.delete(scan.spacing_mm, axis))))
    return flattest_mm2 if flattest_mm2 > 100 * NATURAL_FLAT_CM2 else 0.0


def _ends(mask: np.ndarray) -> Iterator[tuple[int, int, list[np.ndarray]]]:
    """For each axis and side (1 or -1), where the mask ends that way inside the array: an index array for each axis."""
    box = bounding_box(mask, 1)
    part = np.ascontiguousarray(mask[box])
    for axis in range(3):
        first, second = (part[(slice(None),) * axis + (shift,)] for shift in (slice(None, -1), slice(1, None)))
        for side, ends in ((1, first > second), (-1, second > first)):
            place = list(np.unravel_index(np.flatnonzero(ends), ends.shape))
            place[axis] = place[axis] + (side < 0)
            yield axis, side, [index + edge.start for index, edge in zip(place, box, strict=True)]
