"""The regions in which a network's importance is measured: a given atlas in MNI space, or blocks of the template's tissues."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from neurocohort.errors import InputError, ScanExcluded
from neurocohort.imaging.reading import read_labels
from neurocohort.imaging.template import Template
from neurocohort.imaging.volume import sample
from neurocohort.sources.label_tables import own_table, read_label_table

BLOCKS = "blocks"  # the name of the regions without an atlas
# Limits of the blocks in MNI mm, which divide the brain into three parts of similar volume along y. The anterior commissure is
# near y = 0 and z = 0. They are conventions of ours, and no borders of lobes.
ANTERIOR_MM, POSTERIOR_MM, SUPERIOR_MM = 0.0, -45.0, 0.0
# CSF this far below the surface of the brain is in the lateral and third ventricles: other CSF of the template is nearer.
DEEP_CSF_MM = 24.0
AROUND_MM = 8.0  # tissue up to this distance from the deep CSF
LEAST_INSIDE = 0.5  # of an atlas' labelled volume: in MNI space, nearly all of it is inside the template's brain
TISSUES = ("outer CSF", "grey matter", "white matter")


@dataclass(frozen=True)
class Atlas:
    """Regions on the study's grid.

    Attributes:
        name: The file's name, or BLOCKS.
        labels: The number of the region of each voxel, (X, Y, Z) int; 0 for none.
        names: The name of each region by its number; a region may have no voxel on this grid.
    """

    name: str
    labels: np.ndarray
    names: dict[int, str]


def template_blocks(template: Template) -> Atlas:
    """The template's tissues in blocks: left and right, anterior, middle and posterior, superior and inferior.

    The deep CSF (mostly the lateral ventricles) and the tissue around it are regions of their own, left and right. These are
    blocks of coordinates and no anatomical structures. The plane x = 0 belongs to the right.
    """
    grid, mask = template.grid, template.mask
    index = np.indices(grid.shape).reshape(3, -1)
    x, y, z = (grid.affine[:3, :3] @ index + grid.affine[:3, 3:]).reshape(3, *grid.shape)
    tissue = template.tissues.argmax(axis=0)
    spacing_mm = abs(np.diag(grid.affine)[:3])
    depth_mm = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    deep = mask & (tissue == 0) & (depth_mm >= DEEP_CSF_MM)
    near = deep if not deep.any() else ndimage.distance_transform_edt(~deep, sampling=spacing_mm) <= AROUND_MM
    around = mask & near & (tissue > 0)
    sides = {"left": x < 0, "right": x >= 0}
    found = {f"deep CSF, {side}": deep & here for side, here in sides.items()}
    found |= {f"tissue around the deep CSF, {side}": around & here for side, here in sides.items()}
    lengths = {
        "anterior": y > ANTERIOR_MM,
        "middle": (y <= ANTERIOR_MM) & (y > POSTERIOR_MM),
        "posterior": y <= POSTERIOR_MM,
    }
    heights = {"superior": z > SUPERIOR_MM, "inferior": z <= SUPERIOR_MM}
    rest = mask & ~deep & ~around
    for number, name in enumerate(TISSUES):
        for length, along in lengths.items():
            for height, up in heights.items():
                block = rest & (tissue == number) & along & up
                found |= {f"{name}, {length} {height}, {side}": block & here for side, here in sides.items()}
    labels = np.zeros(grid.shape, dtype=np.int32)
    for number, region in enumerate(found.values(), start=1):
        labels[region] = number
    return Atlas(BLOCKS, labels, dict(enumerate(found, start=1)))


def read_atlas(path: Path, template: Template) -> Atlas:
    """Read a label map in MNI space and its table, on the study's grid; voxels outside the template's brain are in no region.

    Raises InputError where a file can't be read, the table names no value, or most of the labelled volume is outside the
    template's brain.
    """
    try:
        volume = read_labels(path)
    except ScanExcluded as fault:
        raise InputError(f"`saliency.regions.atlas`, {path}: {fault}. Expected a label map in MNI space.") from fault
    table = own_table(path)
    if not table.is_file():
        raise InputError(
            f"`saliency.regions.atlas` is {path}, and {table} is absent; expected a table with index and name."
        )
    names = read_label_table(table)
    on_grid = sample(volume, template.grid, order=0).data.round().astype(np.int32)
    labels = np.zeros(on_grid.shape, dtype=np.int32)
    for number, values in enumerate(names.values(), start=1):
        labels[np.isin(on_grid, values)] = number
    labelled = labels > 0
    if not labelled.any():
        raise InputError(
            f"`saliency.regions.atlas`, {path}: no voxel on the study's grid has a value that {table} names."
        )
    inside = float((labelled & template.mask).sum() / labelled.sum())
    if inside < LEAST_INSIDE:
        raise InputError(
            f"`saliency.regions.atlas`, {path}: {inside:.0%} of its regions are inside the template's brain; expected at least "
            f"{LEAST_INSIDE:.0%} of an atlas in MNI space (ICBM 152)."
        )
    return Atlas(path.name, np.where(template.mask, labels, 0), dict(enumerate(names, start=1)))
