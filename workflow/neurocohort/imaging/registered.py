"""A registered brain: its image on the study's grid, and the maps of its tissues on both grids."""

from dataclasses import dataclass

import numpy as np

from neurocohort.imaging.bias_field import CorrectedBrain
from neurocohort.imaging.deformable import Deformation
from neurocohort.imaging.mapping import Mapping, sample_by, volume_ratio
from neurocohort.imaging.template import Template
from neurocohort.imaging.tissues import TISSUES, segment_tissues
from neurocohort.imaging.volume import Volume, antialiased, grid_of


@dataclass(frozen=True)
class Registered:
    """A brain on the study's grid, and how it got there.

    Attributes:
        affine: 4 x 4, world points (RAS mm) of the template to those of the scan, along its own axes.
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


def resampled(
    brain: CorrectedBrain, template: Template, affine: np.ndarray, deformation: Deformation | None
) -> Registered:
    to_scan = deformation.template_to_scan if deformation else affine
    image, mask = (sample_by(volume, template.grid, to_scan) for volume in (brain.image, brain.mask_volume))
    return Registered(affine, deformation, image, mask.data > 0.5)


def tissue_maps(brain: CorrectedBrain, template: Template, to_template: Mapping, seed: int) -> np.ndarray:
    """Probabilities of CSF, GM and WM on the brain's grid, (3, X, Y, Z)."""
    grid = grid_of(brain.image)
    priors = [sample_by(Volume(tissue, template.grid.affine), grid, to_template).data for tissue in template.tissues]
    return segment_tissues(brain.image, brain.mask, np.stack(priors), seed=seed)


def tissues_on_grid(brain: CorrectedBrain, tissues: np.ndarray, registered: Registered, template: Template) -> Volume:
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


def modulated_gm(tissues: Volume, registered: Registered, template: Template) -> Volume:
    """The map of grey matter on the study's grid times the Jacobian determinant of the whole transform, affine and deformable.

    As ``mwp1`` of SPM and CAT12: the sum times the volume of a voxel is the volume of grey matter in the scan. So the brain's
    mask on the grid isn't applied: the filter for a coarser grid moves some of the cortex beyond it.
    """
    gm = tissues.data[TISSUES.index("gm")]
    return Volume(gm * volume_ratio(registered.to_scan, template.grid), tissues.affine)
