"""Measure how much of a brain is missing from its image: cut by the border, by a plane of background, or by empty slices.

There are two measures, because each finds faults that the other misses: the area where the brain mask ends at empty space, and
the fraction of the template's brain that is empty in the registered scan. A voxel is empty if it is exactly 0, the value of a
painted background (see intensity_scale.py), or outside of the field of view.
"""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from neurocohort.imaging.template import Template
from neurocohort.imaging.volume import Volume, bounding_box

EMPTY_MM = 12.0  # size of an empty space in all directions: a skull, which may be stored as 0, is thinner
NEAR_MM = 3.0  # from the mask to an empty space: less than any scalp; also the step of the search for spaces
# Fraction of the mask's surface next to empty spaces: at least 0.67 in 33 skull-stripped scans of OASIS-1, and 0.1 in a cut head.
STRIPPED = 0.3
NEIGHBOURS = 3  # planes with which a flat cut is compared
NATURAL_FLAT_CM2 = 15.0  # excess of a complete brain; at most 13 in 99 skull-stripped scans of OASIS-1
INNER_MM = 6.0  # outer part of the template's brain that is ignored: registrations have errors, and skull may be empty
POINT_STEP = 2  # every second voxel of the template along each axis: about 20,000 points


def cut_area_cm2(scan: Volume, mask: np.ndarray, *, skull_stripped: bool) -> tuple[float, bool]:
    """Measure the area where a brain mask is cut.

    That is the area on the border of the field of view. In a whole head it is also the area where the mask ends at an empty
    space of EMPTY_MM along an axis of the image, because scalp is between a complete brain and the air. A skull-stripped brain
    ends at empty voxels nearly everywhere: there a cut is a plane across an axis in which much more of the mask ends than in
    the planes before it.

    Args:
        scan: The raw scan.
        mask: Brain mask, bool, same shape.
        skull_stripped: Whether the study's configuration has it as skull-stripped; scans that look so are treated so too.

    Returns:
        The area in cm2, and whether the scan is skull-stripped.
    """
    border_mm2 = 0.0
    for axis in range(3):
        voxel_mm2 = float(np.prod(np.delete(scan.spacing_mm, axis)))
        border_mm2 += voxel_mm2 * sum(int(np.count_nonzero(mask.take(end, axis=axis))) for end in (0, -1))
    empty_mm2, all_mm2 = _at_empty_space_mm2(scan, mask)
    skull_stripped = skull_stripped or empty_mm2 > STRIPPED * all_mm2
    return (border_mm2 + (_flat_mm2(scan, mask) if skull_stripped else empty_mm2)) / 100, skull_stripped


def missing_fraction(scan: Volume, template: Template, to_scan: np.ndarray, *, skull_stripped: bool) -> float:
    """Return the fraction (0 to 1) of the template's brain, without its outer INNER_MM, that is empty in the scan.

    A skull-stripped brain may have empty sulci and ventricles, and in MNI space it may be smaller than the template's. So only
    planes of the image that are completely empty count there, if they are between planes that aren't.

    Args:
        scan: The raw scan.
        template: The template.
        to_scan: 4 x 4, world points (RAS mm) of the template to those of the scan.
        skull_stripped: Whether the scan is skull-stripped.
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
    """For each plane across ``axis``, whether it has an image or is before or after all planes with one: bool (n,)."""
    shown = np.any(data, axis=tuple({0, 1, 2} - {axis}))
    first, last = np.flatnonzero(shown)[[0, -1]]
    shown[:first] = shown[last + 1 :] = True
    return shown


def _at_empty_space_mm2(scan: Volume, mask: np.ndarray) -> tuple[float, float]:
    """The area of the mask's ends along the axes with an empty space within NEAR_MM, and the area of all ends."""
    near = np.maximum(1, np.rint(NEAR_MM / scan.spacing_mm)).astype(int)  # voxels
    empty = scan.data[tuple(slice(None, None, step) for step in near)] == 0
    size = 1 + 2 * np.ceil(EMPTY_MM / 2 / (near * scan.spacing_mm)).astype(int)
    # An opening: the places for a block of EMPTY_MM. Everything outside of the field of view is empty.
    space = ndimage.minimum_filter(empty, size, mode="constant", cval=1)
    space = ndimage.maximum_filter(space, size, mode="constant", cval=0)
    if not space.any():
        return 0.0, 1.0
    empty_mm2 = all_mm2 = 0.0
    for axis, side, place in _ends(mask):
        place[axis] = np.clip(place[axis] + side * near[axis], 0, mask.shape[axis] - 1)
        at_space = space[tuple(index // step for index, step in zip(place, near, strict=True))]
        voxel_mm2 = float(np.prod(np.delete(scan.spacing_mm, axis)))
        empty_mm2 += voxel_mm2 * int(np.count_nonzero(at_space))
        all_mm2 += voxel_mm2 * len(at_space)
    return empty_mm2, all_mm2


def _flat_mm2(scan: Volume, mask: np.ndarray) -> float:
    """The area of the flattest end of the mask, less that of the planes before it; 0 if a complete brain can have it.

    The area where a sphere ends hardly changes from plane to plane; at a cut it jumps.
    """
    flattest_mm2 = 0.0
    for axis, side, place in _ends(mask):
        counts = np.bincount(place[axis], minlength=mask.shape[axis])[::side]
        before = [np.median(counts[max(0, plane - NEIGHBOURS) : plane]) for plane in range(1, len(counts))]
        excess = float(np.max(counts[1:] - before))
        flattest_mm2 = max(flattest_mm2, excess * float(np.prod(np.delete(scan.spacing_mm, axis))))
    return flattest_mm2 if flattest_mm2 > 100 * NATURAL_FLAT_CM2 else 0.0


def _ends(mask: np.ndarray) -> Iterator[tuple[int, int, list[np.ndarray]]]:
    """For each axis and side (1 or -1), the voxels where the mask ends in that direction: an index array for each axis."""
    box = bounding_box(mask, 1)
    part = np.ascontiguousarray(mask[box])
    for axis in range(3):
        first, second = (part[(slice(None),) * axis + (shift,)] for shift in (slice(None, -1), slice(1, None)))
        for side, ends in ((1, first > second), (-1, second > first)):
            place = list(np.unravel_index(np.flatnonzero(ends), ends.shape))
            place[axis] = place[axis] + (side < 0)
            yield axis, side, [index + edge.start for index, edge in zip(place, box, strict=True)]
