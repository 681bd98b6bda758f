"""Fractional anisotropy (FA) and mean diffusivity (MD) from diffusion-weighted images, by a tensor that dipy fits.

Both depend on the tensor's eigenvalues only. So a rotation or reflection that all gradient directions have in common changes
neither, and the directions need no conversion between the conventions of scanners and programs. Motion between the volumes, eddy
currents and distortions are not corrected.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from neurocohort.errors import ScanExcluded
from neurocohort.imaging.extra_images import ExtraImage
from neurocohort.imaging.own_axes import moved
from neurocohort.imaging.reading import read_series
from neurocohort.imaging.tissues import TISSUES
from neurocohort.imaging.volume import Volume, grid_of, sample
from neurocohort.sources.columns import DiffusionFiles
from neurocohort.sources.gradients import B0_BELOW, Gradients, read_gradients

SERIES = "dwi"  # BIDS suffix
SCALES = {"FA": 1.0, "MD": 3e-3}  # what becomes 1 in a channel; MD in mm2/s, that of free water at body temperature
DESCRIPTIONS = {
    "FA": "Fractional anisotropy of the diffusion tensor on the study's grid, 0 to 1, 0 outside the brain",
    "MD": f"Mean diffusivity of the diffusion tensor on the study's grid, in {SCALES['MD']:g} mm2/s, 0 outside the brain",
}
METHOD = "WLS"  # dipy's name of weighted least squares
MARGIN_VOXELS = 1  # of the fit around the brain, so that interpolation at its edge has values on both sides
TISSUE_PROBABILITY = 0.8  # of the voxels whose median describes a tissue
PLAUSIBLE_MD = (1e-4, 4e-3)  # mm2/s, of a voxel; free water at body temperature has 0.003
PLAUSIBLE_MEDIAN_MD = (2e-4, 2e-3)  # mm2/s, of the white matter; 0.0007 to 0.0009 in adults
NO_DIFFUSIVITY = 1e-6  # mm2/s: dipy replaces negative eigenvalues by a smaller number
MIN_VOXELS = 50


@dataclass(frozen=True)
class DiffusionSeries:
    """Diffusion-weighted images: ``images``, (X, Y, Z, volumes) float32, and their ``gradients``."""

    images: Volume
    gradients: Gradients

    @property
    def unweighted(self) -> Volume:
        """The mean of the volumes without diffusion weighting, (X, Y, Z) float32."""
        return Volume(self.images.data[..., self.gradients.unweighted].mean(axis=-1), self.images.affine)


@dataclass(frozen=True)
class FittedTensor:
    """The maps of a series on its own grid.

    Attributes:
        fa: Fractional anisotropy, 0 to 1.
        md: Mean diffusivity, mm2/s.
        metrics: Quality numbers: medians in tissues, and the share of implausible voxels.
    """

    fa: Volume
    md: Volume
    metrics: dict[str, float | None] = field(default_factory=dict)


def read_diffusion(files: DiffusionFiles) -> DiffusionSeries:
    """Read a series and its gradients. Raises ScanExcluded if no tensor can be fitted to them."""
    images = read_series(files.dwi)
    gradients = read_gradients(files.bval, files.bvec, images.data.shape[3], "read")
    series = DiffusionSeries(images, gradients)
    if not (series.unweighted.data > 0).any():
        raise ScanExcluded("read", "the volumes without diffusion weighting are empty")
    return series


def moved_series(series: DiffusionSeries, matrix: np.ndarray) -> DiffusionSeries:
    """Return the series in other world coordinates (4 x 4)."""
    return DiffusionSeries(moved(series.images, matrix), series.gradients)


def fit_tensor(series: DiffusionSeries, registered: ExtraImage, tissues: Volume) -> FittedTensor:
    """Fit a diffusion tensor in each voxel of the brain by weighted least squares (Basser et al. 1994; Garyfallidis et al. 2014).

    Args:
        series: The images.
        registered: Their mean without diffusion weighting, registered to the scan.
        tissues: Probabilities of CSF, GM and WM, (3, X, Y, Z), on the scan's grid.
    """
    from dipy.core.gradients import gradient_table  # slow to import
    from dipy.reconst.dti import TensorModel

    gradients = series.gradients
    used = gradients.used
    b = np.where(gradients.unweighted, 0.0, gradients.b)[used]
    table = gradient_table(b, bvecs=gradients.directions[used], b0_threshold=B0_BELOW)
    around = ndimage.binary_dilation(registered.mask, iterations=MARGIN_VOXELS)
    around &= series.unweighted.data > 0
    model = TensorModel(table, fit_method=METHOD)
    found = model.fit(series.images.data[around][:, used].astype(np.float64))
    fa, md, smallest = (np.zeros(around.shape, dtype=np.float32) for _ in range(3))
    fa[around], md[around], smallest[around] = found.fa, found.md, found.evals.min(axis=1)
    affine = series.images.affine
    fitted = FittedTensor(Volume(fa, affine), Volume(md, affine))
    low, high = PLAUSIBLE_MD
    odd = (md < low) | (md > high) | (smallest <= NO_DIFFUSIVITY)
    share = float(odd[registered.mask].mean()) if registered.mask.any() else 1.0
    return FittedTensor(
        fitted.fa, fitted.md, _medians(fitted, registered, tissues) | {"tensor_implausible": round(share, 5)}
    )


def check_tensor(fitted: FittedTensor) -> None:
    """Raise ScanExcluded if the mean diffusivity of the white matter is not that of a brain."""
    found = fitted.metrics.get("md_wm")
    low, high = PLAUSIBLE_MEDIAN_MD
    if found is None:
        raise ScanExcluded("tensor", "the diffusion-weighted images show no white matter of the T1-weighted scan")
    if not low <= found <= high:
        raise ScanExcluded(
            "tensor",
            f"the median mean diffusivity of the white matter is {found:.3g} mm2/s, expected {low:g} to {high:g}; check the unit "
            "of the b-values, their order, and the registration of the diffusion-weighted images",
        )


def scaled_maps(fitted: FittedTensor, resample: Callable[[Volume], Volume], mask: np.ndarray) -> dict[str, Volume]:
    """Return FA and MD on the study's grid, 0 to 1 (see SCALES).

    Args:
        fitted: The maps.
        resample: Brings an image to the study's grid.
        mask: The brain there, bool.
    """
    found = {}
    for name, image in (("FA", fitted.fa), ("MD", fitted.md)):
        on_grid = resample(image)
        scaled = np.clip(on_grid.data / SCALES[name], 0.0, 1.0)
        found[name] = Volume(np.where(mask, scaled, 0.0).astype(np.float32), on_grid.affine)
    return found


def _medians(fitted: FittedTensor, registered: ExtraImage, tissues: Volume) -> dict[str, float | None]:
    """The median FA and MD of each tissue; None where a tissue has too few voxels of the series."""
    to_scan = np.linalg.inv(registered.scan_to_image)
    found: dict[str, float | None] = {}
    for tissue, probability in zip(TISSUES, tissues.data, strict=True):
        there = sample(Volume(probability, tissues.affine), grid_of(fitted.fa), to_scan).data
        inside = (there > TISSUE_PROBABILITY) & registered.mask
        few = np.count_nonzero(inside) < MIN_VOXELS
        found[f"fa_{tissue}"] = None if few else round(float(np.median(fitted.fa.data[inside])), 5)
        found[f"md_{tissue}"] = None if few else round(float(np.median(fitted.md.data[inside])), 7)
    return found
