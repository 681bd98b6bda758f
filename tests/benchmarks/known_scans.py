"""Scans whose truth is known, and the measures of how well a transform found for them agrees with it.

``painted``: a head from ``heads.py``; where its points belong in the template is told by a reference registration of the same
anatomy without noise, bias and pose. ``synth``: the template itself under a known affine and a known smooth deformation,
for which every point's place is exact. World coordinates are RAS millimetres.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from neurocohort.imaging.overlap import dice
from neurocohort.imaging.registration import register_affine
from neurocohort.imaging.volume import Grid, Volume, grid_of, sample, world_grid
from scipy import ndimage

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))
import heads  # noqa: E402

SHARED_DATA = REPOSITORY.parent / "shared" / "data"
REFERENCE_SEEDS = (1, 2, 3)
POINTS = 4000  # of the brain, that displacements are averaged over
LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class KnownScan:
    """A scan on disk and what is known of it; None where it isn't.

    ``tissues``: uint8 on the scan's grid, 0 none, 1 CSF, 2 GM, 3 WM. ``template_points``, ``scan_points``: (n, 3), the same
    places of the brain in the template and in the scan. ``floor_mm``: the smallest mean error that an affine can have.
    """

    name: str
    path: Path
    tissues: Volume | None = None
    brain: Volume | None = None
    template_points: np.ndarray | None = None
    scan_points: np.ndarray | None = None
    floor_mm: float | None = None


def label_maps(folder: Path | None = None) -> list[Path]:
    """The label maps to paint heads from, in the order of their names."""
    folder = folder or SHARED_DATA / "label_maps"
    found = sorted(folder.glob("head_labels_*.nii.gz"))
    if not found:
        sys.exit(f"error: {folder} holds no head_labels_*.nii.gz; give their folder with --label-maps.")
    return found


def mni_brain() -> tuple[Volume, Volume]:
    """nilearn's skull-stripped template at 1 mm, and its hard tissue map (0 none, 1 CSF, 2 GM, 3 WM)."""
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

    images = [f(resolution=1) for f in (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)]
    t1, gm, wm = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    tissues = np.where(t1 > 0, 1 + np.argmax([np.clip(1 - gm - wm, 0, 1), gm, wm], axis=0), 0)
    affine = np.asarray(images[0].affine, dtype=np.float64)
    return Volume(t1, affine), Volume(tissues.astype(np.uint8), affine)


def mni_head(head_2mm: Path, brain_2mm: Path) -> Volume:
    """A full-head template at 1 mm in the frame of ``mni_brain``: its brain, with FSL's MNI152 head around it."""
    brain, tissues = mni_brain()
    head, stripped = (_read(path) for path in (head_2mm, brain_2mm))
    coarse = world_grid(brain, tissues.data > 0, 2.0)
    fixed = sample(brain, coarse, smooth=True)
    fixed_mask = sample(Volume(tissues.data > 0, brain.affine), coarse, smooth=True).data > 0.5
    flat = world_grid(stripped, stripped.data > 0, 2.0)
    moving, moving_mask = sample(stripped, flat), sample(Volume(stripped.data > 0, stripped.affine), flat).data > 0.5
    found = register_affine(fixed, fixed_mask, moving, moving_mask, seed=1, min_dice=0.9, min_mutual_information=0.5)
    around = sample(head, grid_of(brain), found.fixed_to_moving).data
    white = tissues.data == heads.WM
    around *= np.median(brain.data[white]) / np.median(around[white])
    # The skull-stripped brain ends in fluid as dark as skull: fading over a millimetre leaves no seam.
    share = ndimage.gaussian_filter((brain.data > 0).astype(np.float32), 1.0)
    return Volume(np.where(brain.data > 0, brain.data * share + around * (1 - share), around), brain.affine)


def painted(label_path: Path, path: Path, to_template: np.ndarray, **how) -> KnownScan:
    """Paint a head to ``path``. ``to_template``: 4 x 4, the label map's world to the template's (see reference_affine)."""
    head = heads.paint_head(label_path, **how)
    heads.write_head(path, head)
    return known_head(path, head, label_path, to_template)


def known_head(path: Path, head: heads.Head, label_path: Path, to_template: np.ndarray) -> KnownScan:
    """What is known of a painted head that lies at ``path``."""
    points = _some(heads.read_anatomy(str(label_path)).brain_points)
    affine = head.volume.affine
    return KnownScan(
        path.name.split(".")[0],
        path,
        Volume(head.truth["tissues"], affine),
        Volume(head.truth["brain"], affine),
        nib.affines.apply_affine(to_template, points),
        nib.affines.apply_affine(head.truth["labels_to_scan"], points),
    )


def reference_affine(label_path: Path) -> np.ndarray:
    """The label map's world to the template's, 4 x 4: the anatomy's brain as painted without noise, bias, pose or scalp.

    The mean over several samples of the metric: what is left of their spread is some 0.1 mm.
    """
    plain = {"max_rotation_deg": 0.0, "max_shift_mm": 0.0, "contrast_spread": 0.0, "bias": 0.0, "noise": 0.0}
    head = heads.paint_head(
        label_path,
        seed=0,
        spacing_mm=(1.0, 1.0, 1.0),
        field_of_view="whole",
        orientation="RAS",
        dtype="float32",
        **plain,
    )
    brain, mask = Volume(head.volume.data * head.truth["brain"], head.volume.affine), head.truth["brain"]
    template, tissues = mni_brain()
    images = []
    for volume, inside in ((template, tissues.data > 0), (brain, mask)):
        grid = world_grid(volume, inside, 2.0)
        images += [sample(volume, grid, smooth=True)]
        images += [sample(Volume(inside, volume.affine), grid, smooth=True).data > 0.5]
    found = [
        register_affine(*images, seed=seed, min_dice=0.9, min_mutual_information=0.5).fixed_to_moving
        for seed in REFERENCE_SEEDS
    ]
    return np.linalg.inv(np.linalg.inv(head.truth["labels_to_scan"]) @ np.mean(found, axis=0))


def synth(path: Path, template: Volume, tissues: Volume, *, seed: int) -> KnownScan:
    """Write ``template`` (a head or a brain) under a known affine and deformation, with bias and noise, to ``path``."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = heads.random_turn(rng, np.deg2rad(rng.uniform(5, 15))) @ np.diag(rng.uniform(0.9, 1.1, 3))
    direction = rng.standard_normal(3)
    affine[:3, 3] = direction / np.linalg.norm(direction) * rng.uniform(5, 20)
    # White noise smoothed over 16 mm: what an affine leaves of it is some 2.5 mm, and it folds nowhere.
    coarse = rng.standard_normal((3, *(n // 4 + 1 for n in template.data.shape)))
    coarse = np.stack([ndimage.gaussian_filter(part, 4.0, mode="wrap") for part in coarse])
    coarse *= 3.2 / np.sqrt((coarse**2).sum(axis=0).mean())
    to_coarse = np.linalg.inv(template.affine @ np.diag([4.0, 4.0, 4.0, 1.0]))

    def displaced(points: np.ndarray, sign: float) -> np.ndarray:
        index = nib.affines.apply_affine(to_coarse, points).T
        moved = [ndimage.map_coordinates(part, index, order=1, mode="nearest") for part in coarse]
        return points + sign * np.stack(moved, axis=1)

    # A scan's voxel shows the template at displaced(inverse affine of its place); points go the other way, iterated.
    points = nib.affines.apply_affine(template.affine, np.argwhere(tissues.data > 0).astype(float))
    points = _some(points)
    before = points.copy()
    for _ in range(50):
        before += points - displaced(before, 1.0)
    scan_points = nib.affines.apply_affine(affine, before)

    grid = Grid((208, 240, 208), np.diag([1.0, 1.0, 1.0, 1.0]))
    grid.affine[:3, 3] = scan_points.mean(axis=0) - np.array([104.0, 120.0, 104.0])
    where = _moved_index(grid, np.linalg.inv(affine), coarse, to_coarse, np.linalg.inv(template.affine))
    data = ndimage.map_coordinates(template.data, where, order=1, output=np.float32)
    shares = [ndimage.map_coordinates((tissues.data == kind).astype(np.float32), where, order=1) for kind in (1, 2, 3)]
    found = np.where(np.sum(shares, axis=0) > 0.5, 1 + np.argmax(shares, axis=0), 0).astype(np.uint8)
    white = float(np.median(data[found == heads.WM]))
    data = data * heads.bias_field(rng, grid, 0.3)
    sigma = 0.02 * white
    data = np.hypot(data + sigma * rng.standard_normal(data.shape), sigma * rng.standard_normal(data.shape))
    nib.save(nib.Nifti1Image((data / white * 600).astype(np.int16), grid.affine), path)
    ones = np.c_[points, np.ones(len(points))]
    fitted = ones @ np.linalg.lstsq(ones, scan_points, rcond=None)[0]
    floor = float(np.linalg.norm(fitted - scan_points, axis=1).mean())
    return KnownScan(
        "synth", path, Volume(found, grid.affine), Volume(found > 0, grid.affine), points, scan_points, floor
    )


def read_transforms(paths: list[Path]) -> sitk.CompositeTransform:
    """Transforms in ANTs' order (the deformation, then the affine) as one, from template points to scan points, LPS."""
    composite = sitk.CompositeTransform(3)
    for path in reversed(paths):  # what was added last is applied to a point first
        if path.name.endswith((".nii.gz", ".nii")):
            field = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
            composite.AddTransform(sitk.DisplacementFieldTransform(field))
        else:
            composite.AddTransform(sitk.ReadTransform(str(path)))
    return composite


def agreement(known: KnownScan, transform: sitk.Transform, mask: Volume | None, tissues: Volume) -> dict[str, float]:
    """How a found transform (template to scan) and brain mask (None where the method makes none) agree with the truth.

    ``mask_dice``: the mask and the true brain, on the scan's grid. ``brain_dice``, ``gm_dice``, ``wm_dice``: the scan's true
    brain and tissues, brought to the template, and the template's. ``tre_mm``, ``tre_max_mm``: the mean and the 99th
    percentile of the distance from where a place of the brain was found to where it is. What isn't known is left out.
    """
    values = {}
    if known.brain is not None and mask is not None:
        values["mask_dice"] = dice(mask.data, known.brain.data)
    if known.tissues is not None:
        there = np.asarray(sitk.GetArrayFromImage(_moved_labels(known.tissues, tissues, transform))).T
        values["brain_dice"] = dice(there > 0, tissues.data > 0)
        values["gm_dice"], values["wm_dice"] = (dice(there == kind, tissues.data == kind) for kind in (2, 3))
    if known.template_points is not None:
        lps = known.template_points * LPS
        found = np.array([transform.TransformPoint(point) for point in lps.tolist()]) * LPS
        away = np.linalg.norm(found - known.scan_points, axis=1)
        values |= {"tre_mm": float(away.mean()), "tre_max_mm": float(np.percentile(away, 99))}
    if known.floor_mm is not None:
        values["tre_floor_mm"] = known.floor_mm
    return {name: round(float(value), 4) for name, value in values.items()}


def _read(path: Path) -> Volume:
    image = nib.as_closest_canonical(nib.load(path))
    return Volume(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64))


def _some(points: np.ndarray) -> np.ndarray:
    return points[np.random.default_rng(0).permutation(len(points))[:POINTS]]


def _moved_index(grid, to_template, coarse, to_coarse, to_index) -> np.ndarray:
    """For each voxel of ``grid`` the index (3, X, Y, Z) of the template's voxel that it shows."""
    index = np.indices(grid.shape, dtype=np.float32).reshape(3, -1)
    world = _apply(to_template @ grid.affine, index)
    at = _apply(to_coarse, world)
    world += np.stack([ndimage.map_coordinates(part, at, order=1, mode="nearest") for part in coarse])
    return _apply(to_index, world).reshape(3, *grid.shape)


def _apply(matrix: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return (matrix[:3, :3] @ columns + matrix[:3, 3:]).astype(np.float32)


def _moved_labels(labels: Volume, onto: Volume, transform: sitk.Transform) -> sitk.Image:
    return sitk.Resample(_image(labels), _image(onto), transform, sitk.sitkNearestNeighbor, 0)


def _image(volume: Volume) -> sitk.Image:
    """Any affine without shear, as ITK holds it (LPS)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.astype(np.uint8).T))
    spacing = volume.spacing_mm
    image.SetSpacing(spacing.tolist())
    image.SetDirection((np.diag(LPS) @ volume.affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((LPS * volume.affine[:3, 3]).tolist())
    return image
