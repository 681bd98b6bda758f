"""Heads painted from label maps of real anatomies: T1-like scans whose brain, tissues and pose are known exactly.

A label map (FreeSurfer's labels inside the brain, 5xx outside it, as SynthSeg's training maps have them) gives each label
a mean intensity and a texture; pose, field of view, spacing, storage order, bias field and noise are drawn from one seed.
The head is turned within its grid, so that no header tells the pose. Used by the tests and by ``tests/benchmarks``.

The brain is all that lies inside the skull: parenchyma, ventricles, and the fluid (24) in the sulci and around the gyri, as
deepbet's masks and MUSE's have it; arteries, veins and the spinal canal are left out.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from neurocohort.imaging.volume import Grid, Volume, cropped, sample
from scipy import ndimage

CSF, GM, WM = 1, 2, 3
CSF_LABELS = (4, 5, 14, 15, 24, 43, 44, 72, 136, 137, 163, 164, 30, 62)  # choroid plexus and vessels among them
GM_LABELS = (3, 8, 10, 11, 12, 13, 17, 18, 26, 42, 47, 49, 50, 51, 52, 53, 54, 58)
WM_LABELS = (2, 7, 16, 25, 28, 41, 46, 57, 60, 85)  # 25 and 57 are lesions of the white matter
LOWEST_LABELS = (7, 8, 16, 46, 47)  # cerebellum and brainstem
FIRST_OUTSIDE_BRAIN, SOFT_TISSUE, SKIN = 500, 507, 511

# Mean and its spread over heads, as shares of white matter's mean, of T1-weighted gradient-echo scans at 1.5 and 3 T.
T1_MEANS = {
    (2, 41): (1.00, 0.0),
    (7, 46): (0.97, 0.02),
    (16, 28, 60): (0.93, 0.03),
    (85, 530): (0.85, 0.05),
    (25, 57): (0.75, 0.06),
    (3, 42): (0.68, 0.04),
    (8, 47): (0.67, 0.04),
    (17, 18, 53, 54): (0.69, 0.04),
    (11, 26, 50, 58): (0.71, 0.04),
    (12, 51): (0.77, 0.04),
    (10, 49): (0.84, 0.03),
    (13, 52): (0.91, 0.03),
    (4, 5, 14, 15, 24, 43, 44, 72): (0.22, 0.05),
    (136, 137, 163, 164, 30, 62): (0.38, 0.06),
    (502,): (0.80, 0.40),  # arteries: dark, or bright by inflow
    (506,): (0.20, 0.04),  # eyes
    (507, 508): (0.50, 0.05),  # muscle; fat is painted into it
    (509,): (0.60, 0.08),  # mucosa
    (511,): (0.70, 0.12),  # skin
    (512,): (0.85, 0.04),  # spinal cord
    (514,): (0.35, 0.12),  # veins and sinuses
    (515,): (0.08, 0.03),  # cortical bone
    (516,): (0.55, 0.15),  # marrow
}
FAT_MEAN, FAT_SPREAD = 1.35, 0.20
LARGEST_STEP_MM = 1.35  # a larger voxel is the mean of several samples
ORIENTATIONS = ("RAS", "LPS", "LAS", "PSR", "PIR", "LIA", "ASR", "SPL", "RSA", "IPL", "ARI", "SAL")


@dataclass(frozen=True)
class Head:
    """A painted scan and its truth.

    ``volume``: the scan; int16 or float32, intensities from 0. ``truth`` holds, on the scan's own grid:
    ``brain`` (bool), ``tissues`` (uint8: 0 none, 1 CSF, 2 GM, 3 WM, inside ``brain``), ``structures`` (uint8: FreeSurfer's
    labels of the brain), ``bias`` (float32, the factor on every intensity); and ``volumes_ml``: brain, csf, gm, wm within the
    field of view; ``share_in_view``: of the whole brain, 0 to 1; ``labels_to_scan``: 4 x 4, the label map's world (RAS mm) to
    the scan's; ``drawn``: what was drawn, by name.
    """

    volume: Volume
    truth: dict


@dataclass(frozen=True)
class Anatomy:
    """A label map cropped to its head, and what every head painted from it needs: all arrays of one shape, RAS."""

    labels: np.ndarray  # uint16
    affine: np.ndarray
    tissues: np.ndarray  # uint8, 0 outside the brain mask
    fat: np.ndarray  # bool: the soft tissue under the skin
    head_points: np.ndarray  # (n, 3), world, a sample of the head's voxels
    brain_points: np.ndarray


def paint_head(
    label_path: Path | str,
    *,
    seed: int,
    spacing_mm: tuple[float, float, float] | None = None,
    max_rotation_deg: float = 30.0,
    max_shift_mm: float = 40.0,
    field_of_view: str | None = None,
    contrast_spread: float = 1.0,
    bias: float | None = None,
    noise: float | None = None,
    orientation: str | None = None,
    dtype: str | None = None,
    means: dict[tuple[int, ...], tuple[float, float]] = T1_MEANS,
) -> Head:
    """Paint one head. What is None is drawn from ``seed``; equal arguments give equal bytes.

    ``spacing_mm``: along the scan's right, anterior and superior axes (drawn: 0.8 to 2, isotropic or not). ``field_of_view``:
    ``whole`` (to a little below the brain), ``neck`` (all that the label map has), ``cut`` (a plane at the top, a side or the
    face, up to some mm into the brain). ``contrast_spread``: 0 paints every head with the same means. ``bias``: the field's
    largest departure from 1 (drawn: 0.2 to 0.4). ``noise``: Rician sigma as a share of white matter's mean (drawn: 0.01 to
    0.05). ``orientation``: three letters of nibabel's axis codes. ``dtype``: ``int16`` or ``float32``.
    ``means``: by labels, mean and its spread over heads, as shares of white matter's mean in a T1-weighted scan.
    """
    rng = np.random.default_rng(seed)
    anatomy = read_anatomy(str(label_path))
    drawn = _draw(rng, max_rotation_deg, max_shift_mm)
    given = {"bias": bias, "noise": noise, "orientation": orientation, "dtype": dtype, "field_of_view": field_of_view}
    drawn |= {name: value for name, value in given.items() if value is not None}
    if spacing_mm is not None:
        drawn["spacing_mm"] = tuple(float(value) for value in spacing_mm)
    labels_to_scan = _pose(rng, anatomy, drawn)
    grid = _grid(rng, anatomy, labels_to_scan, drawn)
    to_labels = np.linalg.inv(labels_to_scan)
    painted = _sample_slabs(Volume(_paint(rng, anatomy, means, contrast_spread), anatomy.affine), grid, to_labels)
    field = bias_field(rng, grid, drawn["bias"])
    sigma = np.float32(drawn["noise"])
    real, imaginary = (rng.standard_normal(grid.shape, dtype=np.float32) * sigma for _ in range(2))
    intensities = np.hypot(painted * field + real, imaginary) * np.float32(drawn["white_matter"])
    if drawn["dtype"] == "int16":
        intensities = np.round(intensities).astype(np.int16)
    truth = _truth(anatomy, grid, to_labels) | {"bias": field}
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(drawn["orientation"])
    )
    affine = grid.affine @ nib.orientations.inv_ornt_aff(turn, grid.shape)
    for name in ("brain", "tissues", "structures", "bias"):
        truth[name] = np.ascontiguousarray(nib.apply_orientation(truth[name], turn))
    truth |= {"labels_to_scan": labels_to_scan, "drawn": {"seed": seed, **drawn}}
    return Head(Volume(np.ascontiguousarray(nib.apply_orientation(intensities, turn)), affine), truth)


def random_turn(rng: np.random.Generator, angle_rad: float) -> np.ndarray:
    """The rotation by ``angle_rad`` about an axis of any direction, 3 x 3."""
    axis = rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * cross @ cross


def bias_field(rng: np.random.Generator, grid: Grid, largest: float) -> np.ndarray:
    """A smooth factor between 1 - ``largest`` and 1 + ``largest``, which it reaches, varying over some 10 cm."""
    extent = np.array(grid.shape) * np.diag(grid.affine)[:3]
    knots = [int(n) for n in np.ceil(extent / 70) + 1]
    coarse = ndimage.zoom(rng.standard_normal(knots), [6] * 3, order=3)
    coarse = 2 * (coarse - coarse.min()) / (coarse.max() - coarse.min()) - 1
    steps = (np.array(coarse.shape) - 1) / np.maximum(np.array(grid.shape) - 1, 1)
    field = ndimage.affine_transform(coarse.astype(np.float32), steps, output_shape=grid.shape, order=1, mode="nearest")
    return 1 + np.float32(largest) * field


def write_head(path: Path, head: Head) -> None:
    """Write the scan as NIfTI."""
    nib.save(nib.Nifti1Image(head.volume.data, head.volume.affine), path)


@lru_cache(maxsize=2)
def read_anatomy(label_path: str) -> Anatomy:
    """Read a label map: its head alone (the largest component), in RAS, with the brain's tissues."""
    image = nib.as_closest_canonical(nib.load(label_path))
    labels = np.asarray(image.dataobj).astype(np.uint16)
    parts, _ = ndimage.label(labels > 0)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    labels[parts != int(np.argmax(sizes))] = 0
    volume, head = cropped(Volume(labels, np.asarray(image.affine, dtype=np.float64)), labels > 0)
    labels = np.ascontiguousarray(volume.data)
    kinds = np.zeros(int(labels.max()) + 1, dtype=np.uint8)
    for kind, members in ((CSF, CSF_LABELS), (GM, GM_LABELS), (WM, WM_LABELS)):
        kinds[[label for label in members if label < len(kinds)]] = kind
    tissues = _without_spinal_canal(labels, kinds[labels])
    skin_near = ndimage.uniform_filter((labels == SKIN).astype(np.float32), 11) > 0.02
    return Anatomy(
        labels=labels,
        affine=volume.affine,
        tissues=tissues,
        fat=(labels == SOFT_TISSUE) & skin_near,
        head_points=_points(np.argwhere(head[::4, ::4, ::4]) * 4, volume.affine),
        brain_points=_points(np.argwhere(tissues[::2, ::2, ::2] > 0) * 2, volume.affine),
    )


def _without_spinal_canal(labels: np.ndarray, tissues: np.ndarray) -> np.ndarray:
    """``tissues`` without the fluid that follows the spinal cord down, below the brainstem's and the cerebellum's end."""
    end = int(np.nonzero(np.isin(labels, LOWEST_LABELS).any(axis=(0, 1)))[0].min())
    tissues[:, :, :end] = 0
    return tissues


def _points(index: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return index @ affine[:3, :3].T + affine[:3, 3]


def _draw(rng: np.random.Generator, max_rotation_deg: float, max_shift_mm: float) -> dict:
    fine, thick = rng.uniform(0.8, 1.3), rng.uniform(0.8, 2.0)
    shape = ("isotropic", "slices", "coarse")[rng.choice(3, p=[0.4, 0.4, 0.2])]
    spacing = [fine, fine, fine]
    if shape == "slices":
        spacing[rng.integers(3)] = thick
    elif shape == "coarse":
        spacing = [thick, thick, thick]
    return {
        "spacing_mm": tuple(round(float(value), 3) for value in spacing),
        "rotation_deg": float(rng.uniform(0, max_rotation_deg)),
        "shift_mm": float(rng.uniform(0, max_shift_mm)),
        "field_of_view": ("whole", "cut", "neck")[rng.integers(3)],
        "cut": ("top", "left", "right", "front")[rng.choice(4, p=[0.4, 0.2, 0.2, 0.2])],
        "bias": float(rng.uniform(0.2, 0.4)),
        "noise": float(rng.uniform(0.01, 0.05)),
        "orientation": ORIENTATIONS[rng.integers(len(ORIENTATIONS))],
        "dtype": ("int16", "float32")[rng.integers(2)],
        "white_matter": float(np.exp(rng.uniform(np.log(80), np.log(2000)))),
    }


def _pose(rng: np.random.Generator, anatomy: Anatomy, drawn: dict) -> np.ndarray:
    """Label map's world to the scan's: a turn about the brain's middle, about a random axis, and a shift."""
    turn, shift = random_turn(rng, np.deg2rad(drawn["rotation_deg"])), rng.standard_normal(3)
    middle = anatomy.brain_points.mean(axis=0)
    pose = np.eye(4)
    pose[:3, :3] = turn
    # The brain's middle goes to the world's origin, where scanners put it, and from there by the shift.
    pose[:3, 3] = shift / np.linalg.norm(shift) * drawn["shift_mm"] - turn @ middle
    return pose


def _grid(rng: np.random.Generator, anatomy: Anatomy, labels_to_scan: np.ndarray, drawn: dict) -> Grid:
    """The field of view in the scan's world, along its axes, as drawn."""
    head, brain = (_points(points, labels_to_scan) for points in (anatomy.head_points, anatomy.brain_points))
    low, high = head.min(axis=0) - rng.uniform(2, 20, 3), head.max(axis=0) + rng.uniform(2, 20, 3)
    below_brain, into_brain = rng.uniform(15, 60), rng.uniform(-6, 6)
    if drawn["field_of_view"] != "neck":
        low[2] = max(low[2], brain[:, 2].min() - below_brain)
    if drawn["field_of_view"] == "cut":
        drawn["cut_into_brain_mm"] = float(into_brain)
        if drawn["cut"] == "top":
            high[2] = brain[:, 2].max() - into_brain
        elif drawn["cut"] == "left":
            low[0] = brain[:, 0].min() + into_brain
        elif drawn["cut"] == "right":
            high[0] = brain[:, 0].max() - into_brain
        else:
            high[1] = brain[:, 1].max() - into_brain
    else:
        del drawn["cut"]
    spacing = np.array(drawn["spacing_mm"])
    shape = tuple(int(n) for n in np.floor((high - low) / spacing) + 1)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = low
    return Grid(shape, affine)


def _paint(rng: np.random.Generator, anatomy: Anatomy, label_means: dict, contrast_spread: float) -> np.ndarray:
    """Intensities on the label map's grid, white matter at 1: a mean and a texture a label, fat, a point spread."""
    means = np.zeros(int(anatomy.labels.max()) + 1, dtype=np.float32)
    for members, (mean, spread) in label_means.items():
        value = max(0.02, mean + contrast_spread * spread * rng.standard_normal())
        means[[label for label in members if label < len(means)]] = value
    painted = means[anatomy.labels]
    # Muscle and fat share a label: fat lies under the skin and in strands of some centimetres between the muscles.
    strands = rng.standard_normal([n // 6 + 2 for n in anatomy.labels.shape], dtype=np.float32)
    strands = ndimage.zoom(strands, 6, order=1)[tuple(slice(n) for n in anatomy.labels.shape)]
    fat = anatomy.fat | ((anatomy.labels == SOFT_TISSUE) & (strands > 0.35))
    painted[fat] = FAT_MEAN + contrast_spread * FAT_SPREAD * rng.standard_normal()
    texture = rng.standard_normal(painted.shape, dtype=np.float32)
    painted *= 1 + np.float32(rng.uniform(0.04, 0.08)) * texture
    return ndimage.gaussian_filter(painted, rng.uniform(0.4, 0.7), truncate=3.0)


def _sample_slabs(volume: Volume, grid: Grid, to_volume: np.ndarray) -> np.ndarray:
    """Sample on ``grid`` with each voxel the mean over its own extent: partial volume in thick slices included."""
    parts = np.maximum(1, np.ceil(np.diag(grid.affine)[:3] / LARGEST_STEP_MM)).astype(int)
    fine = grid.affine @ np.diag([*(1 / parts), 1.0])
    fine[:3, 3] = grid.affine[:3, 3] - (parts - 1) / 2 * np.diag(fine)[:3]
    fine_shape = tuple(int(n) for n in np.array(grid.shape) * parts)
    data = sample(volume, Grid(fine_shape, fine), to_volume).data
    for axis, count in enumerate(parts):
        if count > 1:
            split = (*data.shape[:axis], data.shape[axis] // count, count, *data.shape[axis + 1 :])
            data = data.reshape(split).mean(axis=axis + 1)
    return data


def _truth(anatomy: Anatomy, grid: Grid, to_labels: np.ndarray) -> dict:
    """Brain, tissues and structures on the grid, from each voxel's shares; computed in the brain's box alone."""
    brain = _points(anatomy.brain_points, np.linalg.inv(to_labels))
    index = (brain - grid.affine[:3, 3]) / np.diag(grid.affine)[:3]
    low = np.clip(np.floor(index.min(axis=0)).astype(int) - 3, 0, grid.shape)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 4, 0, grid.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = grid.affine.copy()
    affine[:3, 3] += np.diag(grid.affine)[:3] * low
    inner = Grid(tuple(int(n) for n in high - low), affine)
    around, part = cropped(Volume(anatomy.tissues, anatomy.affine), anatomy.tissues > 0)
    shares = np.stack(
        [_sample_slabs(Volume(around.data == tissue, around.affine), inner, to_labels) for tissue in (CSF, GM, WM)]
    )
    inside = shares.sum(axis=0) > 0.5
    labels, _ = cropped(Volume(anatomy.labels, anatomy.affine), anatomy.tissues > 0)
    structures = np.where(labels.data < FIRST_OUTSIDE_BRAIN, labels.data, 0)
    truth = {name: np.zeros(grid.shape, dtype=np.uint8) for name in ("brain", "tissues", "structures")}
    truth["brain"] = truth["brain"].astype(bool)
    truth["brain"][box] = inside
    truth["tissues"][box] = np.where(inside, 1 + np.argmax(shares, axis=0), 0)
    truth["structures"][box] = sample(Volume(structures, labels.affine), inner, to_labels, order=0).data.astype(
        np.uint8
    )
    voxel_ml = float(np.diag(grid.affine)[:3].prod()) / 1000
    volumes = {name: float(share.sum()) * voxel_ml for name, share in zip(("csf", "gm", "wm"), shares, strict=True)}
    brain_ml = sum(volumes.values())
    whole_ml = np.count_nonzero(part) * around.voxel_ml
    return truth | {"volumes_ml": {"brain": brain_ml, **volumes}, "share_in_view": min(1.0, brain_ml / whole_ml)}
