"""One scan from its raw head to the study's grid: brain mask, bias field, affine, intensities, volumes, quality.

The brain is found first, on the raw scan, because a head with neck and face registers to a brain-only template badly and
without a warning. Everything that is written goes into one folder (see `derivatives` for the names); ``*_qc.json`` is written
last and lists the rest.
"""

import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from neurocohort.errors import ScanExcluded, is_out_of_memory
from neurocohort.files import write_json
from neurocohort.imaging.bias_field import fit_log_field, remove_field
from neurocohort.imaging.brain_extraction import content_mask, extract_brain
from neurocohort.imaging.contrast import tissue_contrast
from neurocohort.imaging.deformable import check_deformation, register_deformable
from neurocohort.imaging.derivatives import TEMPLATE_SPACE, mosaic_name, qc_name, raw_uri
from neurocohort.imaging.doubts import doubts
from neurocohort.imaging.field_of_view import cut_area_cm2, missing_fraction
from neurocohort.imaging.intensity import normalise
from neurocohort.imaging.mapping import Mapping, sample_by, sample_labels_by, then
from neurocohort.imaging.mni_space import check_shift, fit_in_place, within_template
from neurocohort.imaging.mosaic import write_mosaic
from neurocohort.imaging.pose import pose_numbers
from neurocohort.imaging.quality import left_right_symmetry, quality_numbers
from neurocohort.imaging.reading import read_labels, read_scan
from neurocohort.imaging.registration import Registration, register_affine
from neurocohort.imaging.rigid import register_rigid
from neurocohort.imaging.scan_files import ScanFiles
from neurocohort.imaging.template import Template
from neurocohort.imaging.tissues import TISSUES, segment_tissues, tissue_volumes_ml
from neurocohort.imaging.volume import Volume, cropped, grid_of, sample, world_grid
from neurocohort.settings.scan import ScanSettings

SURE_WHITE_MATTER = 0.8
RIGID_SPACING_MM = 1.5
LEAST_COVERAGE = 0.9  # of the brain, by an image of another modality
LABEL_REFERENCE_DICE = 0.95  # two images of one brain overlap better than a brain and a template
# Below these, further starts of the registration are tried: overlap with the template's mask (0 to 1), and mutual information
# with the template (nats). The limits of the configuration decide later which scans are excluded (dataset/quality_limits.py).
MIN_DICE, MIN_MUTUAL_INFORMATION = 0.9, 0.5
EXCLUDED = {"status": "excluded", "stage": "preprocessing"}
BELIEVABLE_ML = (700.0, 2200.0)  # of a brain mask


class Settings(ScanSettings):
    """The settings of a scan, and SynthStrip's ``weights``."""

    weights: Path | None = None


def preprocess_scan(
    scan_path: Path,
    folder: Path,
    scan_id: str,
    template: Template,
    settings: Settings,
    *,
    labels_path: Path | None = None,
    labels_reference_path: Path | None = None,
    further: dict[str, Path] | None = None,
    key: str = "",
    read: Callable[[Path], Volume] | None = None,
) -> dict:
    """Preprocess one scan into ``folder`` and return the content of its ``*_qc.json``. ``key``: see imaging/records.py.
    ``read``: how the scan is read; `read_scan` where it isn't given.

    A scan that can't be used, or that a step fails on, gets status ``excluded`` with stage and reason, and whatever was known by
    then; errors of the machine (memory, disk, GPU) and of the program itself (names, types) are raised. The limits of quality are
    not applied: a scan beyond them is preprocessed as far as it goes.

    ``labels_path``: an optional label map in the space of ``labels_reference_path``, which
    is the scan itself, or else a brain-only image of the same head that is registered to it; the labels are carried to the
    study's grid. ``further``: by BIDS suffix, the session's images of other modalities, which are registered rigidly to the
    scan.

    ``notes`` holds sentences on what a person should know of a scan that is used all the same. ``volumes_ml`` holds the head's
    own volumes in mL; in MNI space, where every head has the template's size, they are None.
    """
    record = {"scan_id": scan_id, "key": key, "status": "ok", "stage": None, "reason": None}
    record |= {"mni_space": settings.mni_space, "metrics": {}, "volumes_ml": {}, "notes": [], "outputs": {}}
    files = ScanFiles(folder, scan_id, Path(scan_path), record["outputs"])
    try:
        _run(record, read or read_scan, files, template, settings, labels_path, labels_reference_path, further or {})
    except ScanExcluded as excluded:
        record |= {"status": "excluded", "stage": excluded.stage, "reason": excluded.reason}
    except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        if is_out_of_memory(error) or "CUDA" in str(error):
            raise
        traceback.print_exc()  # into the batch's log
        failure, hopeless = f"{type(error).__name__}: {error}", _why_hopeless(record["metrics"])
        what = f"{hopeless}, and a step failed on it" if hopeless else "a step of the preprocessing failed on the image"
        record |= EXCLUDED | {"reason": f"{what} ({failure}); look at the image, and at the log of its batch"}
    _take_out_infinite(record)
    record["notes"] = doubts(record["metrics"])
    write_json(folder / qc_name(scan_id), record)
    return record


def _take_out_infinite(record: dict) -> None:
    """Set numbers that are not finite to None. They exclude a scan, unless the limits exclude it anyway: a mask of a few voxels
    has no spread and no symmetry."""
    found = []
    for numbers in (record["metrics"], record["volumes_ml"]):
        names = [name for name, value in numbers.items() if value is not None and not np.isfinite(value)]
        numbers |= dict.fromkeys(names)
        found += names
    if found and record["status"] == "ok" and not _why_hopeless(record["metrics"]):
        record |= EXCLUDED | {"reason": f"not a finite number: {', '.join(found)}; look at the image"}


def _run(record, read, files, template, settings, labels_path, labels_reference_path, further) -> None:
    metrics, scan = record["metrics"], read(files.scan_path)
    full_mask = _brain_mask(scan, settings)
    if settings.mni_space:
        record["volumes_ml"] = dict.fromkeys(("brain", *TISSUES))
        full_mask, numbers = within_template(scan, full_mask, template)
        metrics |= numbers
    else:
        metrics["mask_ml"] = round(float(np.count_nonzero(full_mask)) * scan.voxel_ml, 3)
    cut_cm2, skull_stripped = cut_area_cm2(scan, full_mask, skull_stripped=settings.skull_stripped)
    metrics["mask_border_cm2"] = round(cut_cm2, 3)

    head, mask = cropped(scan, full_mask)
    log_field = fit_log_field(head, mask)
    brain = remove_field(head, log_field)
    field = np.exp(sample(log_field, grid_of(head)).data[mask])
    metrics["bias_field_cv"] = round(float(field.std()), 5)

    if settings.mni_space:
        found, shift_mm = fit_in_place(brain, mask, template, settings.seed)
        metrics["template_shift_mm"] = round(shift_mm, 3)
    else:
        found = _register(template.fit, template.fit_mask, brain, mask, settings, MIN_DICE)
        metrics |= pose_numbers(found.fixed_to_moving)
    metrics["mutual_information"] = round(found.mutual_information, 5)
    metrics |= {"template_dice": round(found.mask_dice, 5), "registration_starts": found.starts}
    missing = missing_fraction(
        scan, template, found.fixed_to_moving, skull_stripped=skull_stripped or settings.skull_stripped
    )
    metrics["missing_brain"] = round(missing, 5)
    to_scan: Mapping = found.fixed_to_moving
    to_template: Mapping = np.linalg.inv(found.fixed_to_moving)
    deformation = None
    if settings.registration == "deformable" and not settings.mni_space:
        deformation = register_deformable(
            template.fit, template.fit_mask, brain, mask, found.fixed_to_moving, seed=settings.seed
        )
        to_scan, to_template = deformation.template_to_scan, deformation.scan_to_template
        metrics |= {
            "deformed_dice": round(deformation.mask_dice, 5),
            "folded_share": round(deformation.folded_share, 6),
            "jacobian_min": round(deformation.jacobian_range[0], 4),
            "jacobian_max": round(deformation.jacobian_range[1], 4),
        }
    on_grid = sample_by(brain, template.grid, to_scan)
    mask_on_grid = sample_by(Volume(mask, brain.affine), template.grid, to_scan).data > 0.5
    metrics |= tissue_contrast(on_grid.data, mask_on_grid, template.tissues)
    picture = {"scan": scan, "brain_mask": full_mask, "registered": on_grid.data * mask_on_grid}
    _write_picture(files, template, picture)
    if settings.mni_space:
        check_shift(shift_mm)
    if deformation is not None:
        check_deformation(deformation)

    template_shares = np.stack(
        [sample_by(Volume(t, template.grid.affine), grid_of(brain), to_template).data for t in template.tissues]
    )
    tissues = segment_tissues(brain, mask, template_shares, seed=settings.seed)
    if not settings.mni_space:
        record["volumes_ml"] = tissue_volumes_ml(tissues, brain.voxel_ml)
    metrics |= quality_numbers(scan, brain, mask, tissues, field)
    metrics["symmetry"] = left_right_symmetry(on_grid.data, mask_on_grid)

    channels, sources = {"T1w": on_grid.data}, {"T1w": [raw_uri(files.scan_path)]}
    for modality, path in further.items():
        channels[modality] = _further_on_grid(files, metrics, modality, path, brain, mask, to_scan, template, settings)
        sources[modality] = [raw_uri(path), files.own(f"xfm_{modality}")]
    files.brain_mask(Volume(full_mask, scan.affine))
    files.tissue_maps(tissues, brain.affine, grid_of(scan))
    files.affine("xfm", "T1w", TEMPLATE_SPACE, found.fixed_to_moving)
    files.affine("inverse_xfm", TEMPLATE_SPACE, "T1w", np.linalg.inv(found.fixed_to_moving))
    if deformation is not None:
        files.displacement("displacement", "T1w", TEMPLATE_SPACE, to_scan)
        files.displacement("inverse_displacement", TEMPLATE_SPACE, "T1w", to_template)
    for modality, data in channels.items():
        preproc = normalise(data, mask_on_grid, settings.intensity, template.tissues[2] > SURE_WHITE_MATTER)
        made_from = [*sources[modality], files.own("brain_mask"), *files.to_template()]
        files.preprocessed(modality, Volume(preproc, template.grid.affine), made_from)
    if labels_path is not None:
        to_reference, drawn = np.eye(4), [labels_path]
        if labels_reference_path != files.scan_path:
            drawn.append(labels_reference_path)
            to_reference = _to_reference(labels_reference_path, brain, mask, settings)
        labels = sample_labels_by(read_labels(labels_path), template.grid, then(to_scan, to_reference))
        files.labels(labels, [*map(raw_uri, drawn), *files.to_template()])


def _why_hopeless(metrics: dict[str, float]) -> str:
    """Of a scan that is no whole brain, a sentence on what it is: a step may well fail on it; else nothing."""
    volume_ml, low_dice = metrics.get("mask_ml"), metrics.get("template_dice", 1.0)
    if volume_ml is not None and not BELIEVABLE_ML[0] <= volume_ml <= BELIEVABLE_ML[1]:
        return f"the brain mask has {volume_ml:.0f} mL"
    if low_dice < MIN_DICE:
        return f"the brain mask overlaps the template's with Dice {low_dice:.3f}"
    return ""


def _register(fixed, fixed_mask, brain, mask, settings: Settings, min_dice: float) -> Registration:
    """Register the bias-corrected brain, resampled to the fixed image's spacing, which it needs no finer."""
    grid = world_grid(brain, mask, float(fixed.spacing_mm[0]))
    moving = sample(Volume(brain.data * mask, brain.affine), grid, smooth=True)
    moving_mask = sample(Volume(mask, brain.affine), grid, smooth=True).data > 0.5
    return register_affine(
        fixed,
        fixed_mask,
        moving,
        moving_mask,
        seed=settings.seed,
        min_dice=min_dice,
        min_mutual_information=MIN_MUTUAL_INFORMATION,
    )


def _brain_mask(scan: Volume, settings: Settings) -> np.ndarray:
    if settings.skull_stripped:
        return content_mask(scan)
    if settings.brain_extraction == "synthstrip":
        from neurocohort.imaging.synthstrip import extract_brain_synthstrip

        return extract_brain_synthstrip(scan, settings.weights, device=settings.device)
    return extract_brain(scan, device=settings.device)


def _further_on_grid(files, metrics, modality, path, brain, mask, to_scan, template, settings) -> np.ndarray:
    """Another image of the session on the study's grid: rigidly registered to the scan, its own bias field removed."""
    image = read_scan(path)
    near = world_grid(brain, mask, max(RIGID_SPACING_MM, float(brain.spacing_mm.max())))
    fixed = sample(brain, near, smooth=True)
    fixed_mask = sample(Volume(mask, brain.affine), near, smooth=True).data > 0.5
    scan_to_image = register_rigid(fixed, fixed_mask, image, modality, seed=settings.seed)
    mask_there = sample(Volume(mask, brain.affine), grid_of(image), np.linalg.inv(scan_to_image)).data > 0.5
    covered = np.count_nonzero(mask_there) * image.voxel_ml / (np.count_nonzero(mask) * brain.voxel_ml)
    metrics[f"coverage_{modality}"] = round(float(covered), 5)
    if covered < LEAST_COVERAGE:
        raise ScanExcluded(
            "registration",
            f"the {modality} image covers {covered:.0%} of the brain, expected at least {LEAST_COVERAGE:.0%}",
        )
    image, mask_there = cropped(image, mask_there)
    corrected = remove_field(image, fit_log_field(image, mask_there))
    files.affine(f"xfm_{modality}", modality, "T1w", scan_to_image)
    return sample_by(corrected, template.grid, then(to_scan, scan_to_image)).data


def _to_reference(reference_path, brain, mask, settings) -> np.ndarray:
    """The scan's world points to those of the brain-only image that a label map was drawn on, 4 x 4."""
    reference = read_scan(reference_path)
    reference, reference_mask = cropped(reference, reference.data > 0)
    coarse = world_grid(brain, mask, max(2.0, float(brain.spacing_mm.max())))
    fixed = sample(Volume(brain.data * mask, brain.affine), coarse, smooth=True)
    fixed_mask = sample(Volume(mask, brain.affine), coarse, smooth=True).data > 0.5
    return _register(fixed, fixed_mask, reference, reference_mask, settings, LABEL_REFERENCE_DICE).fixed_to_moving


def _write_picture(files: ScanFiles, template: Template, picture: dict) -> None:
    file = mosaic_name(files.scan_id)
    write_mosaic(
        files.folder / file,
        **picture,
        template_mask=template.mask,
        template_wm=template.tissues[2] > 0.5,
        title=f"{files.scan_id}   rows 1-2: scan with brain mask; rows 3-4: registered brain, template contours",
    )
    files.note("mosaic", file)
