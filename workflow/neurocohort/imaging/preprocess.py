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
from neurocohort.imaging.diffusion import (
    SERIES,
    check_tensor,
    fit_tensor,
    moved_series,
    read_diffusion,
    scaled_maps,
)
from neurocohort.imaging.doubts import doubts
from neurocohort.imaging.extra_images import check_coverage, corrected_image, register_extra
from neurocohort.imaging.field_of_view import cut_area_cm2, missing_fraction
from neurocohort.imaging.intensity import normalise
from neurocohort.imaging.mapping import sample_by, sample_labels_by, then
from neurocohort.imaging.mni_space import check_shift, fit_in_place, within_template
from neurocohort.imaging.mosaic import draw_mosaic
from neurocohort.imaging.native import native_stages, reader_of
from neurocohort.imaging.own_axes import along_own_axes, deformation_to, moved
from neurocohort.imaging.pose import pose_numbers
from neurocohort.imaging.quality import left_right_symmetry, quality_numbers
from neurocohort.imaging.reading import read_labels, read_scan
from neurocohort.imaging.registered import Registered, modulated_gm, resampled, tissue_maps, tissues_on_grid
from neurocohort.imaging.registration import Registration, register_affine
from neurocohort.imaging.scan_record import Numbers
from neurocohort.imaging.scan_results import Derivatives, Exclusion, PreprocessedScan, ScanImages
from neurocohort.imaging.template import Template
from neurocohort.imaging.tissues import TISSUES, tissue_volumes_ml
from neurocohort.imaging.volume import Grid, Volume, cropped, sample, world_grid
from neurocohort.settings.scan import NATIVE, ScanSettings

WHITE_MATTER_PROBABILITY = 0.8  # of the template's voxels that are taken as white matter
LABEL_REFERENCE_DICE = 0.95  # two images of one brain overlap better than a brain and a template
LABEL_REFERENCE_SPACING_MM = 2.0
# Below these limits the registration tries more starts: Dice of the brain masks (0 to 1), mutual information with the template
# (nats). The limits of the configuration decide later which scans are excluded (dataset/quality_limits.py).
MIN_DICE, MIN_MUTUAL_INFORMATION = 0.9, 0.5
PLAUSIBLE_ML = (700.0, 2200.0)  # of a brain mask


class Settings(ScanSettings):
    """The settings of a scan, SynthStrip's ``weights``, and those of the network of `registration: learned`."""

    weights: Path | None = None
    registration_network: Path | None = None


def preprocess_scan(
    images: ScanImages, template: Template | Grid, settings: Settings, *, read: Callable[[Path], Volume] | None = None
) -> PreprocessedScan:
    """Preprocess one scan, with the labels and the images of other modalities of its session.

    A scan that can't be used, or on which a stage fails, is returned with its exclusion and the results of the stages before.
    The limits of quality are applied later: a scan beyond them is preprocessed as far as possible.

    Args:
        images: The session's images. Labels are resampled to the study's grid. Images of other modalities are registered rigidly
            to the scan.
        template: The template; the study's grid for a scan in native space.
        settings: The settings.
        read: Reads the scan, instead of `reader`.

    Raises:
        Exception: Errors of the machine (memory, disk, GPU) and of the program itself (names, types).
    """
    result = PreprocessedScan(images, settings.mni_space, native=isinstance(template, Grid))
    try:
        reading = read or reader(settings)
        if isinstance(template, Grid):
            stages = native_stages(result, template, settings, reading)
        else:
            stages = _stages(result, template, settings, reading)
        for so_far in stages:
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


def reader(settings: ScanSettings) -> Callable[[Path], Volume]:
    """Return the function that reads a scan as its preprocessing needs it."""
    return reader_of(settings) if settings.space == NATIVE else read_scan


@dataclass(frozen=True)
class Head:
    """A scan with its brain mask.

    Attributes:
        image: The scan, with coordinates along its own axes (see own_axes.py); in MNI space its world coordinates.
        mask: bool, same shape.
        to_world: 4 x 4, from those coordinates to the scan's world coordinates (RAS mm).
    """

    image: Volume
    mask: np.ndarray
    to_world: np.ndarray


def _stages(
    result: PreprocessedScan, template: Template, settings: Settings, read: Callable[[Path], Volume]
) -> Iterator[PreprocessedScan]:
    """Yield the result after each stage, so that an error in the next one doesn't lose it."""
    scan, to_world = read(result.images.t1w), np.eye(4)
    if not settings.mni_space:
        scan, to_world = along_own_axes(scan)
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

    head = Head(scan, mask, to_world)
    affine, shift_mm, fit = _align(brain, template, settings, to_world)
    yield (result := result.with_metrics(fit))
    missing = missing_fraction(scan, template, affine, skull_stripped=skull_stripped or settings.skull_stripped)
    yield (result := result.with_metrics({"missing_brain": round(missing, 5)}))
    deformation = None
    if settings.registration != "affine" and not settings.mni_space:
        deformation = _deformation(brain, template, affine, settings)
        yield (result := result.with_metrics(deformation.metrics()))
    registered = resampled(brain, template, affine, deformation)
    yield (result := result.with_metrics(tissue_contrast(registered.image.data, registered.mask, template.tissues)))
    mosaic = draw_mosaic(scan, mask, registered.image.data * registered.mask, template)
    yield (result := replace(result, mosaic=mosaic))
    check_shift(shift_mm)
    if deformation is not None:
        check_deformation(deformation)
    yield from _image_stages(result, head, brain, registered, template, settings)


def _image_stages(
    result: PreprocessedScan,
    head: Head,
    brain: CorrectedBrain,
    registered: Registered,
    template: Template,
    settings: Settings,
) -> Iterator[PreprocessedScan]:
    """Yield the result after each of the stages that make the images of a registered scan."""
    tissues = tissue_maps(brain, template, registered.to_template, settings.seed)
    if not settings.mni_space:
        yield (result := replace(result, volumes_ml=tissue_volumes_ml(tissues, brain.image.voxel_ml)))
    numbers = quality_numbers(head.image, brain.image, brain.mask, tissues, brain.field)
    yield (result := result.with_metrics(numbers))
    symmetry = left_right_symmetry(registered.image.data, registered.mask)
    yield (result := result.with_metrics({"symmetry": symmetry}))
    channels = {"T1w": registered.image}
    to_own = np.linalg.inv(head.to_world)
    for modality, path in result.images.extra.items():
        extra = register_extra(moved(read_scan(path), to_own), modality, brain, seed=settings.seed)
        yield (result := result.with_metrics({f"coverage_{modality}": round(extra.coverage, 5)}))
        check_coverage(extra, modality)
        image = corrected_image(extra)
        between = head.to_world @ extra.scan_to_image @ to_own
        yield (result := replace(result, extra_affines={**result.extra_affines, modality: between}))
        channels[modality] = sample_by(image, template.grid, then(registered.to_scan, extra.scan_to_image))
    maps: dict[str, Volume] = {}
    if result.images.diffusion is not None:
        series = moved_series(read_diffusion(result.images.diffusion), to_own)
        extra = register_extra(series.unweighted, SERIES, brain, seed=settings.seed)
        yield (result := result.with_metrics({f"coverage_{SERIES}": round(extra.coverage, 5)}))
        check_coverage(extra, SERIES)
        fitted = fit_tensor(series, extra, Volume(tissues, brain.image.affine))
        yield (result := result.with_metrics(fitted.metrics))
        check_tensor(fitted)
        between = head.to_world @ extra.scan_to_image @ to_own
        yield (result := replace(result, extra_affines={**result.extra_affines, SERIES: between}))
        to_series = then(registered.to_scan, extra.scan_to_image)
        maps = scaled_maps(fitted, lambda image: sample_by(image, template.grid, to_series), registered.mask)
    white_matter = template.tissues[2] > WHITE_MATTER_PROBABILITY
    preprocessed = {
        modality: Volume(
            normalise(channel.data, registered.mask, settings.intensity, white_matter), template.grid.affine
        )
        for modality, channel in channels.items()
    } | maps
    on_grid = tissues_on_grid(brain, tissues, registered, template) if settings.tissue_maps else None
    in_mask = Volume(on_grid.data * registered.mask, on_grid.affine) if on_grid else None
    # In MNI space the volumes of the original head aren't known.
    modulated = settings.modulated_gm and not settings.mni_space
    derivatives = Derivatives(
        moved(Volume(head.mask, head.image.affine), head.to_world),
        moved(Volume(tissues, brain.image.affine), head.to_world),
        head.to_world @ registered.affine,
        registered.deformation and deformation_to(registered.deformation, head.to_world),
        preprocessed,
        in_mask,
        modulated_gm(on_grid, registered, template) if on_grid and modulated else None,
    )
    yield (result := replace(result, derivatives=derivatives))
    if result.images.labels is not None:
        to_labels = then(registered.to_scan, _scan_to_labels(result.images, brain, settings.seed, to_own))
        labels = moved(read_labels(result.images.labels), to_own)
        yield replace(result, labels=sample_labels_by(labels, template.grid, to_labels))


def _brain_mask(scan: Volume, settings: Settings) -> np.ndarray:
    if settings.skull_stripped:
        return content_mask(scan)
    if settings.brain_extraction == "synthstrip":
        from neurocohort.imaging.synthstrip import extract_brain_synthstrip

        return extract_brain_synthstrip(scan, settings.weights, device=settings.device)
    return extract_brain(scan, device=settings.device)


def _deformation(brain: CorrectedBrain, template: Template, affine: np.ndarray, settings: Settings) -> Deformation:
    fixed = template.fit, template.fit_mask
    if settings.registration == "deformable":
        return register_deformable(*fixed, brain.image, brain.mask, affine, seed=settings.seed)
    from neurocohort.imaging.learned import register_learned  # torch takes a second

    scan = brain.image, brain.mask
    return register_learned(fixed, scan, affine, settings.learned, settings.registration_network, settings.device)


def _align(
    brain: CorrectedBrain, template: Template, settings: Settings, to_world: np.ndarray
) -> tuple[np.ndarray, float, Numbers]:
    """The affine from template to scan, the shift in mm that is left (known in MNI space only), and the quality numbers.

    ``to_world``: see `Head`. The head's turn is the one that the header states, because it shows a wrong header.
    """
    shift_mm = 0.0
    if settings.mni_space:
        found, shift_mm = fit_in_place(brain.image, brain.mask, template, settings.seed)
        numbers = {"template_shift_mm": round(shift_mm, 3)}
    else:
        device = settings.device if settings.affine == "torch" else ""
        fixed = template.fit, template.fit_mask
        found = _register(*fixed, brain.image, brain.mask, settings.seed, MIN_DICE, device)
        numbers = pose_numbers(to_world @ found.fixed_to_moving)
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
    fixed: Volume, fixed_mask: np.ndarray, image: Volume, mask: np.ndarray, seed: int, min_dice: float, device: str = ""
) -> Registration:
    """Register the brain of ``image``, resampled to the spacing of the fixed image: a finer one would gain nothing.

    ``device``: where torch registers it; empty for SimpleITK.
    """
    brain, information = _resampled_brain(image, mask, float(fixed.spacing_mm[0])), MIN_MUTUAL_INFORMATION
    if device:
        from neurocohort.imaging.batch_affine import register_affine_batch

        return register_affine_batch(
            fixed,
            fixed_mask,
            [brain],
            seed=seed,
            min_dice=min_dice,
            min_mutual_information=information,
            device=device,
        )[0]
    return register_affine(fixed, fixed_mask, *brain, seed=seed, min_dice=min_dice, min_mutual_information=information)


def _resampled_brain(image: Volume, mask: np.ndarray, spacing_mm: float) -> tuple[Volume, np.ndarray]:
    grid = world_grid(image, mask, spacing_mm)
    brain = sample(Volume(image.data * mask, image.affine), grid, smooth=True)
    return brain, sample(Volume(mask, image.affine), grid, smooth=True).data > 0.5


def _scan_to_labels(images: ScanImages, brain: CorrectedBrain, seed: int, to_own: np.ndarray) -> np.ndarray:
    """Points of the scan to those of the image on which the labels were drawn, 4 x 4, both moved by ``to_own``."""
    if images.labels_reference is None:
        return np.eye(4)
    reference = moved(read_scan(images.labels_reference), to_own)
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
