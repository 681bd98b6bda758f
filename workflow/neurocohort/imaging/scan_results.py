"""What preprocessing takes and returns: the images of a session, and the result of each stage."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from neurocohort.imaging.deformable import Deformation
from neurocohort.imaging.scan_record import Numbers
from neurocohort.imaging.volume import Volume
from neurocohort.sources.columns import DiffusionFiles


@dataclass(frozen=True)
class ScanImages:
    """The images of one scan's session.

    Attributes:
        t1w: The T1-weighted scan.
        extra: Images of other modalities, by BIDS suffix.
        diffusion: The diffusion-weighted images of the session, if FA or MD are wanted.
        labels: A label map.
        labels_reference: The image on which the labels were drawn, a brain-only image of the same head; None for the scan itself.
    """

    t1w: Path
    extra: Mapping[str, Path] = field(default_factory=dict)
    labels: Path | None = None
    labels_reference: Path | None = None
    diffusion: DiffusionFiles | None = None


@dataclass(frozen=True)
class Derivatives:
    """The images of a scan that passed all stages.

    Attributes:
        mask: bool, on the raw scan's grid: the brain, or in native space the foreground.
        tissues: Probabilities of CSF, GM and WM, (3, X, Y, Z) float32, on the part of that grid around the brain; None in native
            space.
        affine: 4 x 4, world points (RAS mm) of the study's grid to those of the scan.
        deformation: The deformable registration, if there was one.
        preprocessed: By modality, the brain, or in native space the image, on the study's grid with intensities from 0 to 1.
        template_tissues: Probabilities of CSF, GM and WM on the study's grid, (3, X, Y, Z) float32; None if not wanted.
        modulated_gm: The map of grey matter there times the Jacobian determinant, (X, Y, Z) float32; None if not wanted.
    """

    mask: Volume
    tissues: Volume | None
    affine: np.ndarray
    deformation: Deformation | None
    preprocessed: Mapping[str, Volume]
    template_tissues: Volume | None = None
    modulated_gm: Volume | None = None


@dataclass(frozen=True)
class Exclusion:
    """Why a scan can't be used: the stage that found it, and a sentence."""

    stage: str
    reason: str


@dataclass(frozen=True)
class PreprocessedScan:
    """The result of preprocessing. Of an excluded scan it has what the stages before the exclusion made.

    Attributes:
        images: The input.
        mni_space: Whether the scan was in MNI space before.
        native: Whether the scan is in its own space and not registered to the template.
        exclusion: Why the scan can't be used.
        metrics: Quality numbers.
        volumes_ml: Volumes of the brain and its tissues in mL; None in MNI space, none in native space.
        notes: Sentences about unusual numbers.
        mosaic: The quality picture.
        extra_affines: By modality, 4 x 4, world points (RAS mm) of the scan to those of the extra image.
        derivatives: The images.
        labels: The label map on the study's grid.
    """

    images: ScanImages
    mni_space: bool = False
    native: bool = False
    exclusion: Exclusion | None = None
    metrics: Numbers = field(default_factory=dict)
    volumes_ml: Numbers = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    mosaic: Image.Image | None = None
    extra_affines: Mapping[str, np.ndarray] = field(default_factory=dict)
    derivatives: Derivatives | None = None
    labels: Volume | None = None

    def with_metrics(self, metrics: Mapping[str, float | None]) -> "PreprocessedScan":
        """Return this result with more quality numbers."""
        return replace(self, metrics=self.metrics | dict(metrics))
