"""Preprocess one scan: brain mask, bias field, registration to the template, tissue volumes, intensities, quality numbers.

The brain is extracted first, on the raw scan, because a head with neck and face registers badly to a brain-only template, without
any warning. Nothing is written here: `scan_files.write_scan` writes the result.
"""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from neurocohort.errors import ScanExcluded, is_out_of_memory
from neurocohort.imaging.bias_field import CorrectedBrain, correct_bias
from neurocohort.imaging.brain_extraction import content_mask, extract_brain
from neurocohort.imaging.contrast import tissue_contrast
from neurocohort.imaging.deformable import Deformation, check_deformation, register_deformable
from neurocohort.imaging.doubts import doubts
from neurocohort.imaging.extra_images import check_coverage, corrected_image, register_extra
from neurocohort.imaging.field_of_view import cut_area_cm2, missing_fraction
from neurocohort.imaging.intensity import normalise
from neurocohort.imaging.mapping import Mapping, sample_by, sample_labels_by, then, volume_ratio
from neurocohort.imaging.mni_space import check_shift, fit_in_place, within_template
from neurocohort.imaging.mosaic import draw_mosaic
from neurocohort.imaging.pose import pose_numbers
from neurocohort.imaging.quality import left_right_symmetry, quality_numbers
from neurocohort.imaging.reading import read_labels, read_scan
from neurocohort.imaging.registration import Registration, register_affine
from neurocohort.imaging.scan_record import Numbers
from neurocohort.imaging.scan_results import Derivatives, Exclusion, PreprocessedScan, ScanImages
from neurocohort.imaging.template import Template
from neurocohort.imaging.tissues import TISSUES, segment_tissues, tissue_volumes_ml
from neurocohort.imaging.volume import Volume, antialiased, cropped, grid_of, sample, world_grid
from neurocohort.settings.scan import ScanSettings

WHITE_MATTER_PROBABILITY = 0.8  # of the template's voxels that are taken as white matter
LABEL_REFERENCE_DICE = 0.95  # two images of one brain overlap better than a brain and a template
LABEL_REFERENCE_SPACING_MM = 2.0
# Below these limits the registration tries more starts: Dice of the brain masks (0 to 1), mutual information with the template
# (nats). The limits of the configuration decide later which scans are excluded (dataset/quality_limits.py).
MIN_DICE, MIN_MUTUAL_INFORMATION = 0.9, 0.5
PLAUSIBLE_ML = (700.0, 2200.0)  # of a brain mask


class Settings(ScanSettings):
    """The settings of a scan, and SynthStrip's ``weights``."""

    weights: Path | None = None


def preprocess_scan(
    images: ScanImages, template: Template, settings: Settings, *, read: Callable[[Path], Volume] = read_scan
) -> PreprocessedScan:
    """Preprocess one scan, with the labels and the images of other modalities of its session.

    A scan that can't be used, or on which a stage fails, is returned with its exclusion and the results of the stages before.
    The limits of quality are applied later: a scan beyond them is preprocessed as far as possible.

    Args:
        images: The session's images. Labels are resampled to the study's grid. Images of other modalities are registered rigidly
            to the scan.
        template: The template.
        settings: The settings.
        read: Reads the scan.

    Raises:
        Exception: Errors of the machine (memory, disk, GPU) and of the program itself (names, types).
    """
    result = PreprocessedScan(images, settings.mni_space)
    try:
        for so_far in _stages(result, template, settings, read):
            result = so_far
    except ScanExcluded as excluded:
        result = replace(result, exclusion=Exclusion(excluded.stage, excluded.reason))
    except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        if is_out_of_memory(error) or "CUDA" in str(error):
            raise
        traceback.print_exc()  # into the batch's log
        failure, implausible = f"{type(error).__name__}: {error}", _why_implausible(result.metrics)
        what = (
            f"{implausible}, and a step failed on it"
            if implausible
            else "a step of the preprocessing failed on the image"
        )
        reason = f"{what} ({failure}); look at the image, and at the log of its batch"
        result = replace(result, exclusion=Exclusion("preprocessing", reason))
    return _without_infinite(result)


@dataclass(frozen=True)
class Registered:
    """A brain on the study's grid, and how it got there.

    Attributes:
        affine: 4 x 4, world points (RAS mm) of the template to those of the scan.
        deformation: The deformable registration, if there was one.
        image: The bias-corrected brain on the study's grid.
        mask: bool, its mask there.
    """

    affine: np.ndarray
    deformation: Deformation | None
    image: Volume
    mask: np.ndarray

    @property
    def to_scan(self) -> Mapping:
        """From the template to the scan."""
        return self.deformation.template_to_scan if self.deformation else self.affine

    @property
    def to_template(self) -> Mapping:
        """From the scan to the template."""
        return self.deformation.scan_to_template if self.deformation else np.linalg.inv(self.affine)


def _stages(
    result: PreprocessedScan, template: Template, settings: Settings, read: Callable[[Path], Volume]
) -> Iterator[PreprocessedScan]:
    """Yield the result after each stage, so that an error in the next one doesn't lose it."""
    scan = read(result.images.t1w)
    mask = _brain_mask(scan, settings)
    if settings.mni_space:
        yield (result := replace(result, volumes_ml=dict.fromkeys(("brain", *TISSUES))))
        mask, numbers = within_template(scan, mask, template)
    else:
        numbers = {"mask_ml": round(float(np.count_nonzero(mask)) * scan.voxel_ml, 3)}
    yield (result := result.with_metrics(numbers))
    cut_cm2, skull_stripped = cut_area_cm2(scan, mask, skull_stripped=settings.skull_stripped)
    yield (result := result.with_metrics({"mask_border_cm2": round(cut_cm2, 3)}))
    brain = correct_bias(scan, mask)
    yield (result := result.with_metrics({"bias_field_cv": round(float(brain.field.std()), 5)}))

    affine, shift_mm, fit = _align(brain, template, settings)
    yield (result := result.with_metrics(fit))
    missing = missing_fraction(scan, template, affine, skull_stripped=skull_stripped or settings.skull_stripped)
    yield (result := result.with_metrics({"missing_brain": round(missing, 5)}))
    deformation = None
    if settings.registration == "deformable" and not settings.mni_space:
        fixed = template.fit, template.fit_mask
        deformation = register_deformable(*fixed, brain.image, brain.mask, affine, seed=settings.seed)
        yield (result := result.with_metrics(deformation.metrics()))
    registered = _resample(brain, template, affine, deformation)
    yield (result := result.with_metrics(tissue_contrast(registered.image.data, registered.mask, template.tissues)))
    mosaic = draw_mosaic(scan, mask, registered.image.data * registered.mask, template)
    yield (result := replace(result, mosaic=mosaic))
    check_shift(shift_mm)
    if deformation is not None:
        check_deformation(deformation)
    yield from _image_stages(result, scan, mask, brain, registered, template, settings)


def _image_stages(
    result: PreprocessedScan,
    scan: Volume,
    mask: np.ndarray,
    brain: CorrectedBrain,
    registered: Registered,
    template: Template,
    settings: Settings,
) -> Iterator[PreprocessedScan]:
    """Yield the result after each of the stages that make the images of a registered scan."""
    tissues = _tissue_maps(brain, template, registered.to_template, settings.seed)
    if not settings.mni_space:
        yield (result := replace(result, volumes_ml=tissue_volumes_ml(tissues, brain.image.voxel_ml)))
    numbers = quality_numbers(scan, brain.image, brain.mask, tissues, brain.field)
    yield (result := result.with_metrics(numbers))
    symmetry = left_right_symmetry(registered.image.data, registered.mask)
    yield (result := result.with_metrics({"symmetry": symmetry}))
    channels = {"T1w": registered.image}
    for modality, path in result.images.extra.items():
        extra = register_extra(path, modality, brain, seed=settings.seed)
        yield (result := result.with_metrics({f"coverage_{modality}": round(extra.coverage, 5)}))
        check_coverage(extra, modality)
        image = corrected_image(extra)
        yield (result := replace(result, extra_affines={**result.extra_affines, modality: extra.scan_to_image}))
        channels[modality] = sample_by(image, template.grid, then(registered.to_scan, extra.scan_to_image))
    white_matter = template.tissues[2] > WHITE_MATTER_PROBABILITY
    preprocessed = {
        modality: Volume(
            normalise(channel.data, registered.mask, settings.intensity, white_matter), template.grid.affine
        )
        for modality, channel in channels.items()
    }
    on_grid = _tissues_on_grid(brain, tissues, registered, template) if settings.tissue_maps else None
    in_mask = Volume(on_grid.data * registered.mask, on_grid.affine) if on_grid else None
    # In MNI space the volumes of the original head aren't known.
    modulated = settings.modulated_gm and not settings.mni_space
    derivatives = Derivatives(
        Volume(mask, scan.affine),
        Volume(tissues, brain.image.affine),
        registered.affine,
        registered.deformation,
        preprocessed,
        in_mask,
        _modulated_gm(on_grid, registered, template) if on_grid and modulated else None,
    )
    yield (result := replace(result, derivatives=derivatives))
    if result.images.labels is not None:
        to_labels = then(registered.to_scan, _scan_to_labels(result.images, brain, settings.seed))
        yield replace(result, labels=sample_labels_by(read_labels(result.images.labels), template.grid, to_labels))


def _brain_mask(scan: Volume, settings: Settings) -> np.ndarray:
    if settings.skull_stripped:
        return content_mask(scan)
    if settings.brain_extraction == "synthstrip":
        from neurocohort.imaging.synthstrip import extract_brain_synthstrip

        return extract_brain_synthstrip(scan, settings.weights, device=settings.device)
    return extract_brain(scan, device=settings.device)


def _align(brain: CorrectedBrain, template: Template, settings: Settings) -> tuple[np.ndarray, float, Numbers]:
    """The affine from template to scan, the shift in mm that is left (known in MNI space only), and the quality numbers."""
    shift_mm = 0.0
    if settings.mni_space:
        found, shift_mm = fit_in_place(brain.image, brain.mask, template, settings.seed)
        numbers = {"template_shift_mm": round(shift_mm, 3)}
    else:
        found = _register(template.fit, template.fit_mask, brain.image, brain.mask, settings.seed, MIN_DICE)
        numbers = pose_numbers(found.fixed_to_moving)
    return (
        found.fixed_to_moving,
        shift_mm,
        {
            **numbers,
            "mutual_information": round(found.mutual_information, 5),
            "template_dice": round(found.mask_dice, 5),
            "registration_starts": found.starts,
        },
    )


def _register(
    fixed: Volume, fixed_mask: np.ndarray, image: Volume, mask: np.ndarray, seed: int, min_dice: float
) -> Registration:
    """Register the brain of ``image``, resampled to the spacing of the fixed image: a finer one would gain nothing."""
    moving, moving_mask = _resampled_brain(image, mask, float(fixed.spacing_mm[0]))
    return register_affine(
        fixed,
        fixed_mask,
        moving,
        moving_mask,
        seed=seed,
        min_dice=min_dice,
        min_mutual_information=MIN_MUTUAL_INFORMATION,
    )


def _resampled_brain(image: Volume, mask: np.ndarray, spacing_mm: float) -> tuple[Volume, np.ndarray]:
    grid = world_grid(image, mask, spacing_mm)
    brain = sample(Volume(image.data * mask, image.affine), grid, smooth=True)
    return brain, sample(Volume(mask, image.affine), grid, smooth=True).data > 0.5


def _resample(
    brain: CorrectedBrain, template: Template, affine: np.ndarray, deformation: Deformation | None
) -> Registered:
    to_scan = deformation.template_to_scan if deformation else affine
    image, mask = (sample_by(volume, template.grid, to_scan) for volume in (brain.image, brain.mask_volume))
    return Registered(affine, deformation, image, mask.data > 0.5)


def _tissue_maps(brain: CorrectedBrain, template: Template, to_template: Mapping, seed: int) -> np.ndarray:
    """Probabilities of CSF, GM and WM on the brain's grid, (3, X, Y, Z)."""
    grid = grid_of(brain.image)
    priors = [sample_by(Volume(tissue, template.grid.affine), grid, to_template).data for tissue in template.tissues]
    return segment_tissues(brain.image, brain.mask, np.stack(priors), seed=seed)


def _tissues_on_grid(brain: CorrectedBrain, tissues: np.ndarray, registered: Registered, template: Template) -> Volume:
    """Probabilities of CSF, GM and WM (3, X, Y, Z) on the study's grid.

    They are filtered for a coarser grid first: its voxels then have the mean probability of the scan's voxels around them.
    """
    maps = [
        sample_by(
            antialiased(Volume(tissue, brain.image.affine), template.grid), template.grid, registered.to_scan
        ).data
        for tissue in tissues
    ]
    return Volume(np.stack(maps), template.grid.affine)


def _modulated_gm(tissues: Volume, registered: Registered, template: Template) -> Volume:
    """The map of grey matter on the study's grid times the Jacobian determinant of the whole transform, affine and deformable.

    As ``mwp1`` of SPM and CAT12: the sum times the volume of a voxel is the volume of grey matter in the scan. So the brain's
    mask on the grid isn't applied: the filter for a coarser grid moves some of the cortex beyond it.
    """
    gm = tissues.data[TISSUES.index("gm")]
    return Volume(gm * volume_ratio(registered.to_scan, template.grid), tissues.affine)


def _scan_to_labels(images: ScanImages, brain: CorrectedBrain, seed: int) -> np.ndarray:
    """World points (RAS mm) of the scan to those of the image on which the labels were drawn, 4 x 4."""
    if images.labels_reference is None:
        return np.eye(4)
    reference = read_scan(images.labels_reference)
    spacing_mm = max(LABEL_REFERENCE_SPACING_MM, float(brain.image.spacing_mm.max()))
    fixed = _resampled_brain(brain.image, brain.mask, spacing_mm)
    moving = cropped(reference, reference.data > 0)
    return _register(*fixed, *moving, seed, LABEL_REFERENCE_DICE).fixed_to_moving


def _why_implausible(metrics: Numbers) -> str:
    """Why a scan can't be a whole brain, so that a failing step is no surprise; empty if it can."""
    volume_ml, dice = metrics.get("mask_ml"), metrics.get("template_dice")
    if volume_ml is not None and not PLAUSIBLE_ML[0] <= volume_ml <= PLAUSIBLE_ML[1]:
        return f"the brain mask has {volume_ml:.0f} mL"
    if dice is not None and dice < MIN_DICE:
        return f"the brain mask overlaps the template's with Dice {dice:.3f}"
    return ""


def _without_infinite(result: PreprocessedScan) -> PreprocessedScan:
    """Replace numbers that are not finite by None, add the notes, and exclude the scan for such a number.

    A scan that is excluded anyway keeps its reason. One that the limits will exclude isn't excluded here: a mask of a few
    voxels has no spread and no symmetry.
    """
    tables = result.metrics, result.volumes_ml
    infinite = [
        name for table in tables for name, value in table.items() if value is not None and not np.isfinite(value)
    ]
    metrics, volumes = (
        {name: None if name in infinite else value for name, value in table.items()} for table in tables
    )
    result = replace(result, metrics=metrics, volumes_ml=volumes, notes=doubts(metrics))
    if infinite and result.exclusion is None and not _why_implausible(metrics):
        reason = f"not a finite number: {', '.join(infinite)}; look at the image"
        result = replace(result, exclusion=Exclusion("preprocessing", reason))
    return result
