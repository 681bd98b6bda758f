"""The anatomy of the synthetic heads: scalar fields made from the ICBM 152 maps that are part of nilearn.

Three thresholds of these fields (cortex, lateral ventricle, temporal horn) give a head of an age and dementia rating. The tables
made here convert volumes to thresholds, so that `heads.py` can define effects in volumes.
"""

from dataclasses import dataclass

import numpy as np
from nilearn import datasets
from scipy import ndimage

# Centre lines in MNI mm, right side; the left side is their mirror image.
HIPPOCAMPUS_LINE = ((21, -6, -22), (26, -13, -21), (29, -23, -15), (29, -31, -8), (24, -38, 0))
TEMPORAL_HORN_LINE = ((34, -6, -22), (37.5, -14, -19), (38, -22, -14), (37, -30, -9), (34, -37, -3), (30, -43, 3))
CHOROID_FISSURE_LINE = ((27, -9, -12), (25, -14, -11), (24, -22, -9), (22, -30, -4), (20, -37, 1))
HIPPOCAMPUS_RADIUS_MM = 5.5
CHOROID_FISSURE_DELAY_MM = 1.5  # the fissure opens after the temporal horn

HULL_CLOSING_MM = 14  # gaps between lobes are closed if they are narrower than about twice this
HULL_SPACING_MM = 3
HULL_PADDING_MM = 63

FIELDS = (
    "pial_order",
    "white_fraction",
    "mask_distance",
    "ventricle_distance",
    "horn_distance",
    "hippocampus_distance",
    "texture",
)


@dataclass(frozen=True)
class Anatomy:
    """Fields in MNI space, and tables that convert volumes to thresholds.

    Attributes:
        brain: (voxels, 7) float32 at 1 mm; its columns are FIELDS. Distances are in mm, negative inside. ``pial_order`` is
            high in tissue and low in sulci; ``white_fraction`` is WM / (WM + GM); ``texture`` is a small difference of
            intensity relative to white matter.
        brain_shape: The shape of its grid, which is flattened.
        brain_origin_mm: The first voxel of this grid (RAS axes).
        hull: Distance in mm from the closed surface of the brain, float32 (x, y, z), over the whole head.
        hull_origin_mm: Its first voxel.
        mask_ml: The template's intracranial volume.
        grey_fraction_table: Two increasing arrays: fraction of grey matter, threshold of ``pial_order``.
        ventricle_ml_table: The same for the ventricles' volume and the shift of their wall in mm.
        hippocampus_fraction_table: The same for the fraction of the hippocampus that is left and the temporal horn's radius.
    """

    brain: np.ndarray
    brain_shape: tuple[int, int, int]
    brain_origin_mm: np.ndarray
    hull: np.ndarray
    hull_origin_mm: np.ndarray
    mask_ml: float
    grey_fraction_table: tuple[np.ndarray, np.ndarray]
    ventricle_ml_table: tuple[np.ndarray, np.ndarray]
    hippocampus_fraction_table: tuple[np.ndarray, np.ndarray]

    def pial_threshold(self, grey_fraction: float) -> float:
        """Return the threshold of ``pial_order`` for grey matter as a fraction of the intracranial volume."""
        return float(np.interp(grey_fraction, *self.grey_fraction_table))

    def ventricle_offset_mm(self, ventricle_ml: float) -> float:
        """Return how far the wall of the lateral ventricles moves outward for a volume in mL at the template's size."""
        return float(np.interp(ventricle_ml, *self.ventricle_ml_table))

    def horn_radius_mm(self, hippocampus_fraction: float) -> float:
        """Return the radius of the temporal horn that leaves a fraction of the hippocampus."""
        return float(np.interp(hippocampus_fraction, *self.hippocampus_fraction_table))


def prepare_anatomy() -> Anatomy:
    """Load nilearn's ICBM 152 maps (2009, 1 mm), which need no network, and derive the fields; it takes a few seconds."""
    loaders = (
        datasets.load_mni152_template,
        datasets.load_mni152_gm_template,
        datasets.load_mni152_wm_template,
        datasets.load_mni152_brain_mask,
    )
    images = [load(resolution=1) for load in loaders]
    corner = np.round(images[0].affine[:3, 3])
    full_mask = np.asarray(images[3].dataobj) > 0
    box, origin = _bounding_box(full_mask, corner, margin=8)
    t1, grey, white = (np.asarray(image.dataobj, dtype=np.float32)[box] for image in images[:3])
    mask = full_mask[box]
    fields = _fields(t1, grey, white, mask, origin)
    brain = np.empty((mask.size, len(FIELDS)), np.float32)
    for column, name in enumerate(FIELDS):
        brain[:, column] = fields[name].ravel()
    hull, hull_origin = _hull_distance(full_mask, corner)
    return Anatomy(
        brain,
        mask.shape,
        origin,
        hull,
        hull_origin,
        float(mask.sum() / 1000),
        _grey_fraction_table(fields, mask),
        _ventricle_ml_table(fields["ventricle_distance"][mask]),
        _hippocampus_fraction_table(fields, mask),
    )


def _fields(
    t1: np.ndarray, grey: np.ndarray, white: np.ndarray, mask: np.ndarray, origin: np.ndarray
) -> dict[str, np.ndarray]:
    """The FIELDS by name, each of the mask's shape."""
    tissue = grey + white
    ventricle_distance = _signed_distance(_lateral_ventricles((tissue < 0.5) & mask, origin))
    hippocampus_distance = _distance_to_line(HIPPOCAMPUS_LINE, mask.shape, origin) - HIPPOCAMPUS_RADIUS_MM
    horn_distance = np.minimum(
        _distance_to_line(TEMPORAL_HORN_LINE, mask.shape, origin),
        _distance_to_line(CHOROID_FISSURE_LINE, mask.shape, origin) + CHOROID_FISSURE_DELAY_MM,
    )
    # The averaged T1 is dark where people have sulci, so a threshold opens sulci there. The distance from white matter makes the
    # cortex thinner from the outside.
    white_distance = ndimage.distance_transform_edt(white < 0.5).astype(np.float32)
    pial_order = t1 - 0.012 * np.minimum(white_distance, 6.0)
    _, y, z = _grid_mm(mask.shape, origin)
    # The folia of the cerebellum are too fine for these maps: without this they would vanish in old age.
    pial_order += 0.06 * np.clip((-18 - z + 0.25 * (y + 40)) / 10, 0, 1) * np.clip((-30 - y) / 8, 0, 1)
    # The ventricles and temporal horns of the template are tissue in people with smaller ones.
    filled = (ventricle_distance < 3) | (horn_distance < 4) | (hippocampus_distance < 0)
    pial_order[filled & mask] = 1.0
    white_fraction = white / np.maximum(tissue, 0.05)
    white_fraction = np.where(ventricle_distance < 2, np.maximum(white_fraction, 0.9), white_fraction)
    return {
        "pial_order": pial_order,
        "white_fraction": np.where(hippocampus_distance < 0, 0.0, white_fraction),
        "mask_distance": _signed_distance(mask),
        "ventricle_distance": ventricle_distance,
        "horn_distance": horn_distance,
        "hippocampus_distance": hippocampus_distance,
        "texture": _texture(t1, grey, white),
    }


def _grey_fraction_table(fields: dict[str, np.ndarray], mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cortical = mask & (fields["ventricle_distance"] > 2)
    thresholds = np.linspace(0.2, 0.75, 551)
    grey = (1 - fields["white_fraction"])[cortical]
    grey_ml, _ = np.histogram(fields["pial_order"][cortical], [*thresholds, np.inf], weights=grey)
    return (grey_ml[::-1].cumsum()[::-1] / mask.sum())[::-1], thresholds[::-1]


def _ventricle_ml_table(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.arange(-4, 12.01, 0.25)
    return np.searchsorted(np.sort(distance[distance < 13]), offsets) / 1000, offsets


def _hippocampus_fraction_table(fields: dict[str, np.ndarray], mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    radii = np.arange(0, 12.01, 0.25)
    hippocampus = np.sort(fields["horn_distance"][(fields["hippocampus_distance"] < 0) & mask])
    return (1 - np.searchsorted(hippocampus, radii) / hippocampus.size)[::-1], radii[::-1]


def _bounding_box(mask: np.ndarray, corner: np.ndarray, margin: int) -> tuple[tuple[slice, ...], np.ndarray]:
    box = tuple(
        slice(max(int(where.min()) - margin, 0), min(int(where.max()) + margin + 1, size))
        for where, size in zip(np.nonzero(mask), mask.shape, strict=True)
    )
    return box, corner + [axis.start for axis in box]


def _signed_distance(inside: np.ndarray) -> np.ndarray:
    """Distance in voxels to the surface half-way between inside and outside voxels; negative inside."""
    outward = ndimage.distance_transform_edt(~inside) - 0.5
    inward = ndimage.distance_transform_edt(inside) - 0.5
    return np.where(inside, -inward, outward).astype(np.float32)


def _grid_mm(shape: tuple[int, ...], origin: np.ndarray) -> tuple[np.ndarray, ...]:
    return np.ogrid[tuple(slice(start, start + size) for start, size in zip(origin, shape, strict=True))]


def _lateral_ventricles(csf: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Bodies, frontal horns and atria of the lateral ventricles among the CSF voxels of the template."""
    x, y, z = _grid_mm(csf.shape, origin)
    third_ventricle = (np.abs(x) < 5) & (z < 9) & (y < 8)
    region = csf & (np.abs(x) < 36) & (y > -60) & (y < 34) & (z > -4) & (z < 30) & ~third_ventricle
    # One erosion separates the ventricles from the cisterns and fissures that touch them.
    parts, _ = ndimage.label(ndimage.binary_erosion(region))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    core = np.isin(parts, np.nonzero(sizes >= max(sizes.max() // 4, 1))[0])
    return ndimage.binary_dilation(core, iterations=2) & region


def _distance_to_line(line: tuple, shape: tuple[int, ...], origin: np.ndarray) -> np.ndarray:
    """Distance in mm of every voxel to a polyline and to its mirror image on the left, exact up to 16 mm."""
    points = np.array(line, dtype=float)
    knots = np.linspace(0, len(points) - 1, 40 * (len(points) - 1))
    dense = np.stack([np.interp(knots, np.arange(len(points)), column) for column in points.T], axis=1)
    distance = np.full(shape, 16.0, np.float32)
    for side in (1, -1):
        for point in dense[::4] * (side, 1, 1):
            low = np.maximum(np.floor(point - 16 - origin).astype(int), 0)
            high = np.minimum(np.ceil(point + 16 - origin).astype(int) + 1, shape)
            block = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            x, y, z = _grid_mm(tuple(high - low), origin + low)
            squared = (x - point[0]) ** 2 + (y - point[1]) ** 2 + (z - point[2]) ** 2
            distance[block] = np.minimum(distance[block], np.sqrt(squared))
    return distance


def _texture(t1: np.ndarray, grey: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Differences of the averaged T1 from its tissue classes (brighter thalamus, darker caudate), in units of white matter."""
    grey_mean, white_mean = np.median(t1[grey > 0.95]), np.median(t1[white > 0.95])
    total = grey + white
    expected = (grey * grey_mean + white * white_mean) / np.maximum(total, 0.05)
    certain = (total > 0.95).astype(np.float32)
    smooth = ndimage.gaussian_filter((t1 - expected) * certain, 1.5) / np.maximum(
        ndimage.gaussian_filter(certain, 1.5), 0.05
    )
    return np.clip(smooth / white_mean, -0.12, 0.12)


def _hull_distance(mask: np.ndarray, corner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the brain with the gaps between its lobes closed, on a coarse grid around the whole head."""
    coarse = mask[::HULL_SPACING_MM, ::HULL_SPACING_MM, ::HULL_SPACING_MM]
    padding = HULL_PADDING_MM // HULL_SPACING_MM
    padded = np.pad(coarse, padding)
    grown = ndimage.distance_transform_edt(~padded) * HULL_SPACING_MM <= HULL_CLOSING_MM
    closed = ndimage.distance_transform_edt(grown) * HULL_SPACING_MM > HULL_CLOSING_MM
    distance = _signed_distance(closed | padded) * HULL_SPACING_MM
    return ndimage.gaussian_filter(distance, 1.0).astype(np.float32), corner - HULL_PADDING_MM
