"""Paint a synthetic head: from positions in MNI mm to the T1-weighted signal and the tissue fractions of every voxel."""

from dataclasses import dataclass

import numpy as np

from neurocohort.synthetic.anatomy import FIELDS, Anatomy

SUBSAMPLES = 2  # along each axis of a brain voxel, for partial volumes

# Layers outside the brain, in template mm from its closed surface.
ARACHNOID_MM = 1.2
SKULL_MM = 8.5
SCALP_MM = 14.0

MARKER_MNI_MM = (-80, 12, -18)  # on the left temple, inside the atlas field of view of OASIS-1


@dataclass(frozen=True)
class Site:
    """A scanner: tissue intensities relative to white matter, white matter in stored units, noise and shading."""

    name: str
    white: float
    csf: float
    grey: float
    fat: float
    muscle: float
    noise: float  # sigma of the complex noise, relative to white matter
    bias: float  # standard deviation of the log bias field


@dataclass(frozen=True)
class HeadFeatures:
    """A missing face, and a bright capsule of 9 mm radius on the left temple (MNI x < 0)."""

    defaced: bool = False
    marker_left_temple: bool = False


def paint_outer_head(
    position: np.ndarray, hull: np.ndarray, site: Site, features: HeadFeatures, *, width_mm: float
) -> np.ndarray:
    """Paint neck, face, eyes, scalp, skull and the fluid under it, from the outside to the inside.

    Args:
        position: MNI mm of each voxel, (3, n).
        hull: Distance in mm from the closed surface of the brain, (n,).
        site: The scanner.
        features: What else is visible.
        width_mm: Width of a voxel, over which edges are blurred.

    Returns:
        The signal, (n,), in units of white matter.
    """
    x, y, z = position
    signal = np.zeros(hull.shape, np.float32)

    def paint(value: float, distance: np.ndarray) -> None:
        nonlocal signal
        signal += ramp(distance, width_mm).astype(np.float32) * (np.float32(value) - signal)

    neck_axis = -42 - 0.25 * (z + 80)
    neck = np.maximum(np.sqrt((x / 1.15) ** 2 + (y - neck_axis) ** 2) - 56, z + 30)
    face = _ellipsoid((x, y, z), (0, 42, -55), (62, 62, 62))
    surface = np.minimum(np.minimum(hull - SCALP_MM, face), neck)
    both = (np.abs(x), y, z)
    paint(site.fat, surface)
    paint(site.muscle, surface + 4.5)
    paint(site.muscle, np.maximum(_ellipsoid(both, (73, 18, -22), (14, 32, 30)), surface + 2))  # temporal muscle
    paint(0.03, _ellipsoid((x, y, z), (0, 74, -42), (13, 24, 22)))  # nose and its sinuses
    paint(0.03, _ellipsoid((x, y, z), (0, 40, -84), (14, 30, 9)))  # mouth and throat
    paint(site.fat, _ellipsoid(both, (33, 66, -32), (19, 24, 17)))  # orbit
    paint(site.csf, _ellipsoid(both, (34, 72, -32), (12.5, 12.5, 12.5)))  # eye
    paint(0.35, np.maximum(np.sqrt(x**2 + (y - neck_axis - 10) ** 2) - 14, z + 78))  # vertebrae
    # Compact bone is black, the marrow between its two layers isn't. The base of the skull has no marrow.
    paint(0.08, hull - SKULL_MM)
    paint(0.55, np.maximum(np.abs(hull - (SKULL_MM + ARACHNOID_MM) / 2) - 1.3, -(z + 10) / 4))
    canal = np.sqrt(x**2 + (y + 44 + 0.25 * (z + 72)) ** 2) - 10
    paint(site.csf, np.maximum(canal, z + 64))
    paint(0.85, np.maximum(canal + 4, z + 70))  # spinal cord
    paint(site.csf, hull - ARACHNOID_MM)
    if features.defaced:
        paint(0.0, np.maximum(0.83 * (z + 14) - 0.55 * (y - 58), SKULL_MM - hull))
    if features.marker_left_temple:
        paint(3.0, _ellipsoid((x, y, z), MARKER_MNI_MM, (9, 9, 9)))
    return signal


def paint_brain(
    anatomy: Anatomy,
    position: np.ndarray,
    voxel_to_mni: np.ndarray,
    *,
    pial_threshold: float,
    ventricle_offset_mm: float,
    horn_radius_mm: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the anatomy over SUBSAMPLES**3 points of each voxel.

    Args:
        anatomy: The anatomy of the template.
        position: MNI mm of each voxel, (3, n).
        voxel_to_mni: Its rotation and scale are the voxel's edges, 4 x 4.
        pial_threshold: Tissue has a larger ``pial_order``.
        ventricle_offset_mm: Shift of the ventricles' wall outward.
        horn_radius_mm: Radius of the temporal horn.

    Returns:
        Fractions of CSF, GM and WM in each voxel (3, n); fractions of ventricle and hippocampus (2, n), which are parts of these;
        and the texture (n,), to be added to the signal.
    """
    count = position.shape[1]
    fractions = np.zeros((3, count), np.float32)
    parts = np.zeros((2, count), np.float32)
    texture = np.zeros(count, np.float32)
    shape = np.array(anatomy.brain_shape)
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    offsets = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5
    for offset in np.stack(np.meshgrid(offsets, offsets, offsets), axis=-1).reshape(-1, 3):
        start = voxel_to_mni[:3, :3] @ offset - anatomy.brain_origin_mm
        index = np.zeros(count, np.int64)
        for axis in range(3):
            nearest = np.rint(position[axis] + np.float32(start[axis])).astype(np.int64)
            index += np.clip(nearest, 0, shape[axis] - 1) * strides[axis]
        field = dict(zip(FIELDS, anatomy.brain[index].T, strict=True))
        inside = ramp(field["mask_distance"], 1.0)
        ventricle = ramp(field["ventricle_distance"] - ventricle_offset_mm, 1.0)
        ventricle = np.maximum(ventricle, ramp(field["horn_distance"] - horn_radius_mm, 1.0))
        sulcus = np.clip(0.5 + (pial_threshold - field["pial_order"]) / 0.06, 0, 1)
        tissue = (1 - np.maximum(ventricle, sulcus)) * inside
        white = tissue * np.clip(0.5 + (field["white_fraction"] - 0.5) * 2.5, 0, 1)
        fractions += np.stack([inside - tissue, tissue - white, white])
        parts += np.stack([ventricle * inside, tissue * ramp(field["hippocampus_distance"], 1.0)])
        texture += tissue * field["texture"]
    return fractions / SUBSAMPLES**3, parts / SUBSAMPLES**3, texture / SUBSAMPLES**3


def ramp(distance_mm: np.ndarray, width_mm: float) -> np.ndarray:
    """Return the fraction of a voxel inside a surface at this signed distance (negative inside)."""
    return np.clip(0.5 - distance_mm / width_mm, 0.0, 1.0)


def _ellipsoid(position: tuple[np.ndarray, ...], centre: tuple, radii: tuple) -> np.ndarray:
    """Approximate distance in mm from the surface of an ellipsoid, exact on it."""
    squared = sum(((axis - middle) / radius) ** 2 for axis, middle, radius in zip(position, centre, radii, strict=True))
    return (np.sqrt(squared) - 1) * min(radii)
