"""Quality numbers of one scan, after MRIQC's definitions (Esteban et al. 2017) where they apply."""

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from neurocohort.imaging.brain_extraction import without_holes
from neurocohort.imaging.volume import Volume

AIR_STEP_MM = 2.5  # sampling of the air, whose noise is spatially uniform
NO_NOISE = 1e-7  # energy of air as a fraction of the head's; a painted background has less


def quality_numbers(
    scan: Volume, brain: Volume, mask: np.ndarray, tissues: np.ndarray, field: np.ndarray
) -> dict[str, float]:
    """Compute quality numbers of a scan.

    Args:
        scan: The raw scan.
        brain: Bias-corrected.
        mask: Brain mask, bool, same grid as ``brain``.
        tissues: Probabilities of CSF, GM and WM, (3, X, Y, Z), same grid.
        field: The bias field inside the mask, (n,).

    Returns:
        Numbers by name:

    - ``snr_gm``, ``snr_wm``: mean over standard deviation within the tissue; higher is better.
    - ``cnr``: |mean WM - mean GM| over the pooled standard deviation; higher is better.
    - ``cjv``: (SD WM + SD GM) over |mean WM - mean GM|, the coefficient of joint variation; lower is better.
    - ``efc``: entropy focus criterion of the whole image, 0 to 1 (Atkinson et al. 1997); lower is better.
    - ``fber``: median energy of the head over that of the air around it (Shehzad et al. 2015); higher is better. Missing
      if the background is painted, as in skull-stripped images.
    - ``inu_range``: 95th less 5th percentile of the bias field; lower is better.
    """
    values = {}
    moments = {}
    for name, probability in zip(("csf", "gm", "wm"), tissues, strict=True):
        inside = brain.data[mask & (probability > 0.8)].astype(np.float64)
        inside = inside if len(inside) > 10 else brain.data[mask].astype(np.float64)
        moments[name] = (inside.mean(), inside.std())
    for name in ("gm", "wm"):
        values[f"snr_{name}"] = moments[name][0] / max(moments[name][1], 1e-6)
    contrast = max(abs(moments["wm"][0] - moments["gm"][0]), 1e-6)
    values["cnr"] = contrast / max(np.hypot(moments["wm"][1], moments["gm"][1]), 1e-6)
    values["cjv"] = (moments["wm"][1] + moments["gm"][1]) / contrast
    values["efc"] = _entropy_focus(scan.data)
    energy_ratio = _foreground_background_ratio(scan)
    if energy_ratio is not None:
        values["fber"] = energy_ratio
    values["inu_range"] = np.subtract(*np.percentile(field, [95, 5]))
    return {name: round(float(value), 5) for name, value in values.items()}


def left_right_symmetry(data: np.ndarray, mask: np.ndarray) -> float:
    """Return the correlation of a template-space image with its mirror image, inside the mask and its mirror image, -1 to 1.

    The first axis is left to right, and its middle is the template's mid-sagittal plane. A low value indicates a misregistration
    or a large lesion.
    """
    both = mask & mask[::-1]
    return round(float(np.corrcoef(data[both], data[::-1][both])[0, 1]), 5)


def _foreground_background_ratio(scan: Volume) -> float | None:
    """FBER; None if the air has no noise. The head is found by Otsu's threshold, closed and filled."""
    steps = np.maximum(1, np.round(AIR_STEP_MM / scan.spacing_mm).astype(int))
    data = np.ascontiguousarray(scan.data[tuple(slice(None, None, step) for step in steps)])
    bright = sitk.GetArrayFromImage(sitk.OtsuThreshold(sitk.GetImageFromArray(data), 0, 1)) > 0
    head = without_holes(ndimage.binary_closing(bright, iterations=2))
    air = ~ndimage.binary_dilation(head, iterations=2)
    if not head.any() or not air.any():
        return None
    noise = float(np.median(data[air].astype(np.float64) ** 2))
    signal = float(np.median(data[head].astype(np.float64) ** 2))
    return signal / noise if noise > NO_NOISE * signal else None


def _entropy_focus(data: np.ndarray) -> float:
    magnitude = np.abs(data[data != 0])
    largest = np.linalg.norm(magnitude.astype(np.float64))
    fraction = magnitude / np.float32(largest)
    worst = np.sqrt(data.size) * np.log(np.sqrt(data.size))
    return float(-(fraction * np.log(fraction)).sum(dtype=np.float64) / worst)
