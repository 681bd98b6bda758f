"""Synthetic heads with known effects of age and dementia: a person's anatomy, a pose, and the physics of a T1-weighted scan.

The sizes of the effects follow the literature. The variation between people is smaller than in reality (see the constants), so
that a small network learns the effects from about fifteen scans. Nothing here represents real people.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from neurocohort.synthetic.anatomy import HULL_SPACING_MM, Anatomy
from neurocohort.synthetic.painting import ARACHNOID_MM, HeadFeatures, Site, paint_brain, paint_outer_head

# Effects. Grey matter falls by 0.3 to 0.4 % of its maximum a year (Good 2001; Hedman 2012); the lateral ventricles about
# double from 20 to 80 y (Scahill 2003; Fjell 2013); the hippocampus shrinks slowly, then faster. All at template size.
GREY_FRACTION_AT_20 = 0.500  # of the intracranial volume
GREY_LOSS_PER_YEAR = 0.0033  # of the value at 20
VENTRICLES_ML_AT_20 = 17.0
VENTRICLES_DOUBLING_YEARS = 60.0
HIPPOCAMPUS_LOSS_AT_80 = 0.13  # grows with the square of the years since 20
# Dementia by CDR: the fraction of the hippocampus that is lost to the temporal horn and the choroid fissure (about 20 to 30 % in
# mild Alzheimer's disease, less at CDR 0.5), and the factor on the lateral ventricles.
HIPPOCAMPUS_LOSS_BY_CDR = {0.0: 0.0, 0.5: 0.18, 1.0: 0.28, 2.0: 0.38}
VENTRICLE_FACTOR_BY_CDR = {0.0: 1.0, 0.5: 1.3, 1.0: 1.55, 2.0: 1.8}
# Standard deviations between people of the same age. In reality about 0.05, 0.35 and 0.10; smaller here for small demos.
GREY_SD = 0.012
VENTRICLES_LOG_SD = 0.07
HIPPOCAMPUS_SD = 0.025

# Size of a head relative to the template, which is larger than the average head.
MEAN_SCALE = 0.93
FEMALE_SCALE = 0.96
SCALE_SD = 0.02
AXIS_SCALE_SD = 0.012
DEFORMATION_SD_MM = 1.5
DEFORMATION_KNOTS_MM = 45.0
DEFORMATION_GRID_MM = 9.0

MAX_ROTATION_DEGREES = (12.0, 8.0, 8.0)  # pitch, roll, yaw
MAX_SHIFT_MM = (8.0, 10.0, 10.0)
HEAD_CENTRE_MNI_MM = np.array([0.0, -16.0, -6.0])
BIAS_KNOTS_MM = 90.0

GUYS = Site("Guys", white=620.0, csf=0.24, grey=0.66, fat=1.25, muscle=0.55, noise=0.025, bias=0.08)
HH = Site("HH", white=410.0, csf=0.18, grey=0.60, fat=1.10, muscle=0.50, noise=0.018, bias=0.16)
IOP = Site("IOP", white=1900.0, csf=0.30, grey=0.72, fat=1.40, muscle=0.60, noise=0.035, bias=0.06)
OASIS = Site("OASIS", white=900.0, csf=0.22, grey=0.68, fat=1.20, muscle=0.52, noise=0.022, bias=0.10)


@dataclass(frozen=True)
class Grid:
    """The voxels of a scan: their ``shape``, and their ``affine`` to native RAS mm (4 x 4)."""

    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in mL."""
        return abs(np.linalg.det(self.affine[:3, :3])) / 1000


@dataclass(frozen=True)
class Person:
    """One person's anatomy, which is the same in all of their scans.

    Attributes:
        scale: Size relative to the template along x, y and z, (3,).
        grey_fraction: Grey matter as a fraction of the intracranial volume.
        ventricles_ml: Volume of the lateral ventricles at the template's size.
        hippocampus_fraction: Volume of the hippocampus as a fraction of a young adult's.
        deformation: Displacement in MNI mm, (3, x, y, z), on the grid of ``Anatomy.hull`` thinned to DEFORMATION_GRID_MM.
    """

    scale: np.ndarray
    grey_fraction: float
    ventricles_ml: float
    hippocampus_fraction: float
    deformation: np.ndarray


@dataclass(frozen=True)
class Head:
    """A synthetic scan and the truth about it, all on one voxel grid.

    Attributes:
        signal: The scan without noise and shading, float32 (x, y, z).
        bias: The multiplicative bias field.
        noise_sigma: Noise in the signal's units.
        tissues: Fractions of CSF, GM and WM in each voxel inside the brain mask, (3, x, y, z).
        labels: uint8: 1 CSF, 2 GM, 3 WM, 0 elsewhere; the brain mask is ``labels > 0``.
        affine: Voxel index to native RAS mm, 4 x 4.
        native_to_mni: Native RAS mm to MNI mm, 4 x 4.
        volumes_ml: csf, gm and wm, and as parts of them ventricles (lateral, with the temporal horns) and hippocampus (both).
        pose: Rotation in degrees, shift in mm, and scale, if they were drawn.
    """

    signal: np.ndarray
    bias: np.ndarray
    noise_sigma: float
    tissues: np.ndarray
    labels: np.ndarray
    affine: np.ndarray
    native_to_mni: np.ndarray
    volumes_ml: dict[str, float]
    pose: dict[str, float]

    def scan(self, rng: np.random.Generator) -> np.ndarray:
        """Return the scan as acquired, int16: with shading and Rician noise."""
        return to_int16(rician(self.signal * self.bias, self.noise_sigma, rng))


def draw_person(anatomy: Anatomy, *, age: float, sex: str, cdr: float, rng: np.random.Generator) -> Person:
    """Draw a random person of an age (years), sex (``M`` or ``F``) and CDR (0, 0.5, 1 or 2)."""
    size = MEAN_SCALE * (FEMALE_SCALE if sex == "F" else 1.0) * (1 + SCALE_SD * rng.standard_normal())
    scale = size * (1 + AXIS_SCALE_SD * rng.standard_normal(3))
    years = max(age - 20, 0)
    grey_fraction = GREY_FRACTION_AT_20 * (1 - GREY_LOSS_PER_YEAR * years) * (1 + GREY_SD * rng.standard_normal())
    ventricles_ml = VENTRICLES_ML_AT_20 * 2 ** (years / VENTRICLES_DOUBLING_YEARS) * VENTRICLE_FACTOR_BY_CDR[cdr]
    ventricles_ml *= np.exp(VENTRICLES_LOG_SD * rng.standard_normal())
    hippocampus = (1 - HIPPOCAMPUS_LOSS_AT_80 * (years / 60) ** 2) * (1 - HIPPOCAMPUS_LOSS_BY_CDR[cdr])
    hippocampus *= 1 + HIPPOCAMPUS_SD * rng.standard_normal()
    return Person(scale, grey_fraction, ventricles_ml, hippocampus, _deformation(anatomy, rng))


def draw_head(
    anatomy: Anatomy,
    person: Person,
    site: Site,
    grid: Grid,
    *,
    rng: np.random.Generator,
    features: HeadFeatures = HeadFeatures(),  # noqa: B008  (it is frozen)
    native_to_mni: np.ndarray | None = None,
) -> Head:
    """Scan a person.

    Args:
        anatomy: The anatomy of the template.
        person: The person.
        site: The scanner.
        grid: The voxels. The origin of its world is the middle of the head, apart from the pose's shift.
        rng: The source of randomness.
        features: What else is visible in the scan.
        native_to_mni: The pose, native RAS mm to MNI mm (4 x 4); default: random.
    """
    pose: dict[str, float] = {}
    if native_to_mni is None:
        native_to_mni, pose = _draw_pose(person.scale, rng)
    voxel_to_mni = native_to_mni @ grid.affine
    position = _positions(voxel_to_mni, grid.shape)
    on_grid = (position - anatomy.hull_origin_mm[:, None].astype(np.float32)) / np.float32(DEFORMATION_GRID_MM)
    position += np.stack([_sample(component, on_grid) for component in person.deformation])
    signal, tissues, amounts = _paint(anatomy, person, site, position, voxel_to_mni, grid.voxel_ml, features)
    names = ("csf", "gm", "wm", "ventricles", "hippocampus")
    labels = np.where(tissues.sum(axis=0) >= 0.5, tissues.argmax(axis=0) + 1, 0).astype(np.uint8)
    spacing_mm = np.linalg.norm(grid.affine[:3, :3], axis=0)
    bias = np.exp(site.bias * _smooth_field(grid.shape, spacing_mm, BIAS_KNOTS_MM, 1, rng)[0])
    return Head(
        signal=(signal * np.float32(site.white)).reshape(grid.shape),
        bias=bias,
        noise_sigma=site.noise * site.white,
        tissues=tissues.reshape(3, *grid.shape),
        labels=labels.reshape(grid.shape),
        affine=grid.affine,
        native_to_mni=native_to_mni,
        volumes_ml={name: round(float(amount), 3) for name, amount in zip(names, amounts, strict=True)},
        pose=pose,
    )


def _paint(
    anatomy: Anatomy,
    person: Person,
    site: Site,
    position: np.ndarray,
    voxel_to_mni: np.ndarray,
    voxel_ml: float,
    features: HeadFeatures,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signal (n,) and tissue fractions (3, n) of the voxels at ``position`` (3, n), and five volumes in mL."""
    hull = _sample(anatomy.hull, (position - anatomy.hull_origin_mm[:, None]) / HULL_SPACING_MM)
    signal = paint_outer_head(position, hull, site, features, width_mm=np.cbrt(1000 * voxel_ml))
    near = np.nonzero(hull < ARACHNOID_MM + 4)[0]
    fractions, parts, texture = paint_brain(
        anatomy,
        position[:, near],
        voxel_to_mni,
        pial_threshold=anatomy.pial_threshold(person.grey_fraction),
        ventricle_offset_mm=anatomy.ventricle_offset_mm(person.ventricles_ml),
        horn_radius_mm=anatomy.horn_radius_mm(person.hippocampus_fraction),
    )
    brain = fractions[0] * site.csf + fractions[1] * site.grey + fractions[2] + texture
    signal[near] = signal[near] * (1 - fractions.sum(axis=0)) + brain
    tissues = np.zeros((3, signal.size), np.float32)
    tissues[:, near] = fractions
    return signal, tissues, voxel_ml * np.concatenate([fractions, parts]).sum(axis=1, dtype=float)


def rician(signal: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return the magnitude of a complex signal with Gaussian noise in both channels (Gudbjartsson and Patz 1995)."""
    real = signal + np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.sqrt(real**2 + imaginary**2)


def to_int16(image: np.ndarray) -> np.ndarray:
    """Round to int16, clipped to its range from 0."""
    return np.clip(np.rint(image), 0, 32767).astype(np.int16)


def rotation_matrix(pitch: float, roll: float, yaw: float) -> np.ndarray:
    """Return the rotation (3 x 3) about the x, then the y, then the z axis, in degrees, each counter-clockwise."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad((pitch, roll, yaw))):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _draw_pose(scale: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Draw the affine from native RAS mm to MNI mm (4 x 4), and the parameters of its inverse."""
    pitch, roll, yaw = (limit * rng.uniform(-1, 1) for limit in MAX_ROTATION_DEGREES)
    shift = np.array([limit * rng.uniform(-1, 1) for limit in MAX_SHIFT_MM])
    mni_to_native = np.eye(4)
    mni_to_native[:3, :3] = rotation_matrix(pitch, roll, yaw) @ np.diag(scale)
    mni_to_native[:3, 3] = shift - mni_to_native[:3, :3] @ HEAD_CENTRE_MNI_MM
    names = [f"{name}_deg" for name in ("pitch", "roll", "yaw")]
    names += [f"shift_{axis}_mm" for axis in "xyz"] + [f"scale_{axis}" for axis in "xyz"]
    pose = {name: round(float(value), 4) for name, value in zip(names, (pitch, roll, yaw, *shift, *scale), strict=True)}
    return np.linalg.inv(mni_to_native), pose


def _positions(voxel_to_mni: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    index = np.indices(shape, dtype=np.float32).reshape(3, -1)
    return (voxel_to_mni[:3, :3].astype(np.float32) @ index) + voxel_to_mni[:3, 3:].astype(np.float32)


def _sample(volume: np.ndarray, index: np.ndarray) -> np.ndarray:
    return ndimage.map_coordinates(volume, index, order=1, mode="nearest", prefilter=False)


def _smooth_field(
    shape: tuple[int, ...], spacing_mm: np.ndarray, knots_mm: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw ``count`` random fields (count, x, y, z) of unit variance: cubic B-splines with knots every ``knots_mm``."""
    bases = []
    for size, step in zip(shape, spacing_mm, strict=True):
        place = np.arange(size) * step / knots_mm
        distance = np.abs(place[:, None] - (np.arange(int(place[-1]) + 4) - 1))
        near, far = 2 / 3 - distance**2 + distance**3 / 2, (2 - np.minimum(distance, 2)) ** 3 / 6
        basis = np.where(distance < 1, near, far)
        bases.append((basis / np.sqrt((basis**2).sum(axis=1, keepdims=True))).astype(np.float32))
    fields = rng.standard_normal((count, *(basis.shape[1] for basis in bases)), dtype=np.float32)
    for basis in bases:  # each step replaces the first lattice axis by an image axis at the end
        fields = np.tensordot(fields, basis, axes=(1, 1))
    return fields


def _deformation(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Draw a smooth displacement without its best affine over the brain, so that the pose is the best affine."""
    step = round(DEFORMATION_GRID_MM / HULL_SPACING_MM)
    hull = anatomy.hull[::step, ::step, ::step]
    field = _smooth_field(hull.shape, np.full(3, DEFORMATION_GRID_MM), DEFORMATION_KNOTS_MM, 3, rng)
    field *= np.float32(DEFORMATION_SD_MM)
    design = np.concatenate([np.indices(hull.shape).reshape(3, -1) / 10, np.ones((1, hull.size))])
    brain = hull.ravel() < 0
    flat = field.reshape(3, -1)
    fit, *_ = np.linalg.lstsq(design[:, brain].T, flat[:, brain].T, rcond=None)
    return (flat - fit.T @ design).astype(np.float32).reshape(field.shape)
