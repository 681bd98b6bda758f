"""Write the files of one preprocessed scan: each image with its sidecar, and last the record with the hash of every file.

The hashes of the code of this module and of `preprocess` are in each scan's key (workflow/rules/preprocess.smk).
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neurocohort.files import sha256_of, write_json, written_aside
from neurocohort.imaging import derivatives
from neurocohort.imaging.deformable import PointMap, write_itk_displacement
from neurocohort.imaging.derivatives import TEMPLATE_SPACE, TEMPLATE_URI, own_uri, raw_uri
from neurocohort.imaging.diffusion import DESCRIPTIONS, SCALES, SERIES
from neurocohort.imaging.mosaic import NATIVE_ROWS, ROWS, write_mosaic
from neurocohort.imaging.reading import write_image
from neurocohort.imaging.registration import write_itk_affine
from neurocohort.imaging.scan_record import OutputFile, ScanRecord, write_record
from neurocohort.imaging.scan_results import Derivatives, PreprocessedScan, ScanImages
from neurocohort.imaging.tissues import TISSUES
from neurocohort.imaging.volume import Volume, grid_of, uncropped

# Steps of a tissue map, one byte a voxel. A power of two, so that a probability of 1 is read as 1 exactly.
PROBABILITY_STEPS = 128

# Modulated values can exceed 1; 16 bits hold them up to 16, which no plausible transform reaches.
MODULATED_STEPS = 4096

NATIVE_REFERENCE = "The scan's own axes in mm; the origin is the middle of the box around the foreground"

Sidecar = dict[str, str | bool | list[str]]


def write_scan(result: PreprocessedScan, folder: Path, scan_id: str, key: str = "") -> ScanRecord:
    """Write what preprocessing made of a scan, and return its record, which is written last.

    Args:
        result: The result of `preprocess_scan`.
        folder: The folder of the scan's files.
        scan_id: Their names begin with it.
        key: The record's key.
    """
    files = _ScanFiles(folder, scan_id, result.native)
    if result.mosaic is not None:
        file = derivatives.mosaic_name(scan_id)
        write_mosaic(folder / file, result.mosaic, scan_id, NATIVE_ROWS if result.native else ROWS)
        files.add("mosaic", file)
    for modality, matrix in result.extra_affines.items():
        files.affine(f"xfm_{modality}", modality, "T1w", matrix)
    if result.derivatives is not None:
        if result.derivatives.tissues is None:
            _write_foreground(files, result.derivatives.mask, raw_uri(result.images.t1w))
        else:
            _write_native_maps(files, result.derivatives.mask, result.derivatives.tissues, raw_uri(result.images.t1w))
        _write_transforms(files, result.derivatives)
        _write_preprocessed(files, result.derivatives, result.images)
        if result.derivatives.template_tissues is not None:
            _write_template_tissues(files, result.derivatives.template_tissues, raw_uri(result.images.t1w))
        if result.derivatives.modulated_gm is not None:
            _write_modulated_gm(files, result.derivatives.modulated_gm, raw_uri(result.images.t1w))
    if result.labels is not None:
        _write_labels(files, result.labels, result.images)
    exclusion = result.exclusion
    record = ScanRecord(
        scan_id,
        key,
        "excluded" if exclusion else "ok",
        exclusion.stage if exclusion else None,
        exclusion.reason if exclusion else None,
        mni_space=result.mni_space,
        metrics=result.metrics,
        volumes_ml=result.volumes_ml,
        notes=result.notes,
        outputs=files.outputs,
    )
    write_record(folder / derivatives.qc_name(scan_id), record)
    return record


@dataclass(frozen=True)
class _ScanFiles:
    """The files of one scan that are written already, by name; ``native``: whether the scan is in its own space."""

    folder: Path
    scan_id: str
    native: bool = False
    outputs: dict[str, OutputFile] = field(default_factory=dict)

    @property
    def space(self) -> str:
        """BIDS' name for the space of the study's grid."""
        return derivatives.NATIVE_SPACE if self.native else TEMPLATE_SPACE

    @property
    def reference(self) -> str:
        """What the sidecars of images on the study's grid state as their reference."""
        return NATIVE_REFERENCE if self.native else TEMPLATE_URI

    def add(self, name: str, file: str) -> None:
        self.outputs[name] = OutputFile(file, sha256_of(self.folder / file))

    def uri(self, name: str) -> str:
        """The BIDS URI of a file."""
        return own_uri(self.scan_id, self.outputs[name].file)

    def to_template(self) -> list[str]:
        """The BIDS URIs of the transforms from the scan to the template."""
        return [self.uri(name) for name in ("xfm", "displacement") if name in self.outputs]

    def image(self, name: str, file: str, image: Volume, sidecar: Sidecar, slope: float | None = None) -> None:
        with written_aside(self.folder / file) as aside:
            write_image(aside, image.data, image.affine, slope=slope)
        self.add(name, file)
        sidecar_file = derivatives.sidecar_name(file)
        write_json(self.folder / sidecar_file, sidecar)
        self.add(f"{name}_sidecar", sidecar_file)

    def affine(self, name: str, source: str, target: str, matrix: np.ndarray) -> None:
        file = derivatives.affine_name(self.scan_id, source, target)
        with written_aside(self.folder / file) as aside:
            write_itk_affine(aside, matrix)
        self.add(name, file)

    def displacement(self, name: str, source: str, target: str, point_map: PointMap) -> None:
        file = derivatives.displacement_name(self.scan_id, source, target)
        with written_aside(self.folder / file) as aside:
            write_itk_displacement(aside, point_map)
        self.add(name, file)


def _write_foreground(files: _ScanFiles, mask: Volume, raw: str) -> None:
    sidecar: Sidecar = {
        "Description": "Foreground on the raw scan's grid: the largest connected part above the background",
        "Type": "ROI",
        "Sources": [raw],
        "SpatialReference": raw,
    }
    file = derivatives.foreground_mask_name(files.scan_id)
    files.image(derivatives.FOREGROUND_MASK, file, Volume(mask.data.astype(np.uint8), mask.affine), sidecar)


def _write_native_maps(files: _ScanFiles, brain_mask: Volume, tissues: Volume, raw: str) -> None:
    """Write the brain mask and the tissue maps on the raw scan's grid.

    The volumes of these tissue maps are the head's own, and nothing is interpolated.
    """
    mask = Volume(brain_mask.data.astype(np.uint8), brain_mask.affine)
    sidecar: Sidecar = {
        "Description": "Brain mask on the raw scan's grid",
        "Type": "Brain",
        "Sources": [raw],
        "SpatialReference": raw,
    }
    files.image("brain_mask", derivatives.brain_mask_name(files.scan_id), mask, sidecar)
    for tissue, probability in zip(TISSUES, tissues.data, strict=True):
        label = derivatives.SUFFIXES[tissue]
        steps = _in_steps(probability, tissues.affine)
        sidecar = {
            "Description": f"Probability of {label} in each voxel, on the raw scan's grid",
            "Sources": [raw, files.uri("brain_mask")],
            "SpatialReference": raw,
            "Manual": False,
        }
        file = derivatives.tissue_map_name(files.scan_id, tissue)
        image = uncropped(steps, grid_of(brain_mask))
        files.image(f"probseg_{label}", file, image, sidecar, slope=1 / PROBABILITY_STEPS)


def _write_template_tissues(files: _ScanFiles, tissues: Volume, raw: str) -> None:
    for tissue, probability in zip(TISSUES, tissues.data, strict=True):
        label = derivatives.SUFFIXES[tissue]
        sidecar: Sidecar = {
            "Description": f"Probability of {label} in each voxel, on the study's grid",
            "Sources": [raw, files.uri("brain_mask"), *files.to_template()],
            "SpatialReference": TEMPLATE_URI,
            "Manual": False,
        }
        file = derivatives.template_tissue_map_name(files.scan_id, tissue)
        image = _in_steps(probability, tissues.affine)
        files.image(derivatives.channel_output(label), file, image, sidecar, slope=1 / PROBABILITY_STEPS)


def _write_modulated_gm(files: _ScanFiles, modulated: Volume, raw: str) -> None:
    sidecar: Sidecar = {
        "Description": "Probability of GM in each voxel, on the study's grid, times the Jacobian determinant of the whole "
        "transform from the template to the scan (affine, and deformable if there is one): the volume of GM in the scan per "
        "volume of the voxel",
        "Sources": [raw, files.uri(derivatives.channel_output(derivatives.SUFFIXES["gm"])), *files.to_template()],
        "SpatialReference": TEMPLATE_URI,
        "Manual": False,
    }
    file = derivatives.modulated_gm_name(files.scan_id)
    image = Volume(modulated_steps(modulated.data), modulated.affine)
    files.image(derivatives.channel_output(derivatives.MODULATED_GM), file, image, sidecar, slope=1 / MODULATED_STEPS)


def modulated_steps(data: np.ndarray) -> np.ndarray:
    """Values of a modulated map in MODULATED_STEPS, uint16."""
    return np.clip(np.rint(data * MODULATED_STEPS), 0, np.iinfo(np.uint16).max).astype(np.uint16)


def _in_steps(probability: np.ndarray, affine: np.ndarray) -> Volume:
    """Probabilities in PROBABILITY_STEPS, uint8."""
    return Volume(np.rint(probability * PROBABILITY_STEPS).astype(np.uint8), affine)


def _write_transforms(files: _ScanFiles, made: Derivatives) -> None:
    files.affine("xfm", "T1w", files.space, made.affine)
    files.affine("inverse_xfm", files.space, "T1w", np.linalg.inv(made.affine))
    if made.deformation is not None:
        files.displacement("displacement", "T1w", TEMPLATE_SPACE, made.deformation.template_to_scan)
        files.displacement("inverse_displacement", TEMPLATE_SPACE, "T1w", made.deformation.scan_to_template)


def _write_preprocessed(files: _ScanFiles, made: Derivatives, images: ScanImages) -> None:
    for modality, image in made.preprocessed.items():
        series = images.diffusion if modality in SCALES else None
        sources = [raw_uri(path) for path in series or (images.extra.get(modality, images.t1w),)]
        registered = SERIES if series else modality
        sources += [files.uri(f"xfm_{registered}")] if f"xfm_{registered}" in files.outputs else []
        if files.native:
            _write_native_image(files, image, modality, sources)
            continue
        sidecar: Sidecar = {
            "Description": DESCRIPTIONS.get(
                modality,
                f"{modality} image of the brain on the study's grid: bias field removed, registered to the template, "
                "intensities scaled to 0..1, 0 outside the brain",
            ),
            "Sources": [*sources, files.uri("brain_mask"), *files.to_template()],
            "SpatialReference": TEMPLATE_URI,
            "SkullStripped": True,
        }
        files.image(f"preproc_{modality}", derivatives.preproc_name(files.scan_id, modality), image, sidecar)


def _write_native_image(files: _ScanFiles, image: Volume, modality: str, sources: list[str]) -> None:
    sidecar: Sidecar = {
        "Description": "Image on the study's grid, around the middle of its foreground: intensities scaled to 0..1",
        "Sources": [*sources, files.uri(derivatives.FOREGROUND_MASK), *files.to_template()],
        "SpatialReference": files.reference,
        "SkullStripped": False,
    }
    files.image(f"preproc_{modality}", derivatives.preproc_name(files.scan_id, modality, files.space), image, sidecar)


def _write_labels(files: _ScanFiles, labels: Volume, images: ScanImages) -> None:
    sources = [raw_uri(path) for path in (images.labels, images.labels_reference) if path is not None]
    sidecar: Sidecar = {
        "Description": f"{'Labels' if files.native else 'Tissue labels'} that came with the cohort, on the study's grid",
        "Sources": [*sources, *files.to_template()],
        "SpatialReference": files.reference,
    }
    files.image("dseg", derivatives.labels_name(files.scan_id, files.space), labels, sidecar)
