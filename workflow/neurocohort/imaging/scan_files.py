"""Writing the files of one preprocessed scan: each image with its sidecar, each file with its hash in the scan's record."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurocohort.files import sha256_of, write_json, written_aside
from neurocohort.imaging import derivatives
from neurocohort.imaging.deformable import PointMap, write_itk_displacement
from neurocohort.imaging.derivatives import TEMPLATE_URI, own_uri, raw_uri
from neurocohort.imaging.reading import write_image
from neurocohort.imaging.registration import write_itk_affine
from neurocohort.imaging.tissues import TISSUES
from neurocohort.imaging.volume import Grid, Volume, uncropped

# Steps of a tissue map, one byte a voxel. A power of two, so that a probability of 1 is read as 1 exactly.
PROBABILITY_STEPS = 128


@dataclass(frozen=True)
class ScanFiles:
    """Where the files of a scan go. ``outputs``: by name, ``file`` and ``sha256``; each written file is added to it.

    ``scan_path``: the raw T1-weighted image, which the sidecars name.
    """

    folder: Path
    scan_id: str
    scan_path: Path
    outputs: dict[str, dict[str, str]]

    def preprocessed(self, modality: str, image: Volume, sources: Sequence[str]) -> None:
        """Write the preprocessed image of one modality on the study's grid. ``sources``: BIDS URIs of what it was made from."""
        sidecar = {
            "Description": f"{modality} image of the brain on the study's grid: bias field removed, registered to the template, "
            "intensities scaled to 0..1, 0 outside the brain",
            "Sources": [*sources],
            "SpatialReference": TEMPLATE_URI,
            "SkullStripped": True,
        }
        self._image(f"preproc_{modality}", derivatives.preproc_name(self.scan_id, modality), image, sidecar)

    def brain_mask(self, mask: Volume) -> None:
        """Write the brain mask (bool) on the raw scan's grid."""
        sidecar = {
            "Description": "Brain mask on the raw scan's grid",
            "Type": "Brain",
            "Sources": [raw_uri(self.scan_path)],
            "SpatialReference": raw_uri(self.scan_path),
        }
        image = Volume(mask.data.astype(np.uint8), mask.affine)
        self._image("brain_mask", derivatives.brain_mask_name(self.scan_id), image, sidecar)

    def tissue_maps(self, shares: np.ndarray, affine: np.ndarray, grid: Grid) -> None:
        """Write the maps of CSF, GM and WM, 0..1 in steps of 1/128, on the raw scan's grid.

        They stay on that grid because their volumes are the head's own there, and nothing is interpolated: that costs a third
        of carrying them to the study's grid. The transforms are there for users who need them on that grid.

        ``shares``: (3, X, Y, Z), on a part of ``grid`` whose ``affine`` is given.
        """
        for tissue, share in zip(TISSUES, shares, strict=True):
            label = derivatives.SUFFIXES[tissue]
            steps = np.rint(share * PROBABILITY_STEPS).astype(np.uint8)
            sidecar = {
                "Description": f"Probability of {label} in each voxel, on the raw scan's grid",
                "Sources": [raw_uri(self.scan_path), self.own("brain_mask")],
                "SpatialReference": raw_uri(self.scan_path),
                "Manual": False,
            }
            name = derivatives.tissue_map_name(self.scan_id, tissue)
            image = uncropped(Volume(steps, affine), grid)
            self._image(f"probseg_{label}", name, image, sidecar, slope=1 / PROBABILITY_STEPS)

    def labels(self, labels: Volume, sources: Sequence[str]) -> None:
        """Write the cohort's own tissue labels on the study's grid. ``sources``: BIDS URIs of what they were made from."""
        sidecar = {
            "Description": "Tissue labels that came with the cohort, on the study's grid",
            "Sources": [*sources],
            "SpatialReference": TEMPLATE_URI,
        }
        self._image("dseg", derivatives.labels_name(self.scan_id), labels, sidecar)

    def affine(self, name: str, source: str, target: str, matrix: np.ndarray) -> None:
        """Write an affine transform (4 x 4), as output ``name``."""
        file = derivatives.affine_name(self.scan_id, source, target)
        with written_aside(self.folder / file) as aside:
            write_itk_affine(aside, matrix)
        self.note(name, file)

    def displacement(self, name: str, source: str, target: str, point_map: PointMap) -> None:
        """Write a deformable transform, as output ``name``."""
        file = derivatives.displacement_name(self.scan_id, source, target)
        with written_aside(self.folder / file) as aside:
            write_itk_displacement(aside, point_map)
        self.note(name, file)

    def own(self, name: str) -> str:
        """The BIDS URI of the output ``name``, written before."""
        return own_uri(self.scan_id, self.outputs[name]["file"])

    def to_template(self) -> list[str]:
        """The BIDS URIs of the transforms from the scan to the template, written before."""
        return [self.own(name) for name in ("xfm", "displacement") if name in self.outputs]

    def note(self, name: str, file: str) -> None:
        """Add the file to the outputs."""
        self.outputs[name] = {"file": file, "sha256": sha256_of(self.folder / file)}

    def _image(self, name: str, file: str, image: Volume, sidecar: dict, slope: float | None = None) -> None:
        with written_aside(self.folder / file) as aside:
            write_image(aside, image.data, image.affine, slope=slope)
        self.note(name, file)
        described = derivatives.sidecar_name(file)
        write_json(self.folder / described, sidecar)
        self.note(f"{name}_sidecar", described)
