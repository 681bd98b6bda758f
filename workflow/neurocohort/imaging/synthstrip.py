"""Brain extraction from a raw head scan by SynthStrip (Hoopes et al. 2022), the alternative to deepbet.

The network, and the resampling to and from its 1 mm grid, come from the package nipreps-synthstrip (Apache-2.0), which MRIQC uses
too. A download rule fetches and checks the weights (``source_tables/synthstrip.yaml``).
"""

import pickle
import warnings
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np

from neurocohort.errors import InputError, ScanExcluded
from neurocohort.imaging.brain_extraction import one_component
from neurocohort.imaging.volume import Volume

BORDER_MM = 1  # SynthStrip's default: the mask ends this far outside the predicted surface
OUTSIDE_MM = 100  # the distance to the brain outside of the network's grid
BRIGHTEST_PERCENTILE = 99


def extract_brain_synthstrip(scan: Volume, weights: Path | None, *, device: str = "cpu") -> np.ndarray:
    """Return the brain mask of a scan, bool, same shape: one component without holes.

    One CPU core takes about 25 s and 2 GB if the network's grid has 192 voxels along each axis, and 110 s and 5.3 GB if it has
    256 x 320 x 320 (an oblique scan of IXI).

    Args:
        scan: The raw scan.
        weights: The checkpoint ``synthstrip.1.pt``.
        device: ``cpu`` or ``cuda``.

    Raises:
        InputError: If the weights are missing, or can't be loaded without running code from the file.
        ScanExcluded: If no brain is found.
    """
    import torch  # takes a second; other stages don't need it
    from nipreps.synthstrip.cli import conform, resample_like

    network = _load_network(weights, device)
    image = nib.Nifti1Image(scan.data, scan.affine)
    with warnings.catch_warnings():
        # nitransforms announces a new name for the function that nipreps-synthstrip uses for resampling.
        warnings.simplefilter("ignore", DeprecationWarning)
        conformed = conform(image)
        scaled = torch.from_numpy(_scaled(conformed.get_fdata(dtype=np.float32))).to(device)
        with torch.inference_mode(), torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
            distance = _distance(network, scaled).cpu().numpy().squeeze()
        on_scan = resample_like(nib.Nifti1Image(distance, conformed.affine), image, cval=OUTSIDE_MM)
    mask = np.asarray(on_scan.dataobj) < BORDER_MM
    if not mask.any():
        raise ScanExcluded("brain_extraction", "SynthStrip found no brain")
    return one_component(mask)


def _scaled(data: np.ndarray) -> np.ndarray:
    """Scale intensities from 0 (the darkest) to 1 (the 99th percentile and above), shape (1, 1, X, Y, Z)."""
    data = data - data.min()
    brightest = np.percentile(data, BRIGHTEST_PERCENTILE)
    if not brightest > 0:
        raise ScanExcluded("brain_extraction", "SynthStrip found no brain (99 % of the field of view is empty)")
    return np.clip(data / brightest, 0, 1)[np.newaxis, np.newaxis]


def _distance(network, image):
    """Return ``network(image)``, the distance to the brain's surface in mm (negative inside), with half the memory.

    The last convolutions, on the full grid with most channels, run slab by slab; the rest is the network's own forward().
    """
    import torch

    kept, x = [], image
    for convolutions, pool in zip(network.encoder, network.pooling, strict=False):
        for convolution in convolutions:
            x = convolution(x)
        kept.append(x)
        x = pool(x)
    for level, (convolutions, upsample) in enumerate(zip(network.decoder, network.upsampling, strict=False), start=1):
        for convolution in convolutions:
            x = convolution(x)
        if level < len(network.decoder):
            x = torch.cat([upsample(x), kept.pop()], dim=1)
    fine = kept.pop()
    thickness = 32
    # Each convolution needs one more voxel on each side; twice that, so that slabs end at voxels of the coarse grid.
    reach = 2 * len(network.remaining)
    slabs = []
    for first in range(0, image.shape[2], thickness):
        low, high = max(0, first - reach), min(image.shape[2], first + thickness + reach)
        slab = torch.cat([upsample(x[:, :, low // 2 : high // 2]), fine[:, :, low:high]], dim=1)
        for convolution in network.remaining:
            slab = convolution(slab)
        slabs.append(slab[:, :, first - low : first - low + thickness])
    return torch.cat(slabs, dim=2)


def _load_network(weights: Path | None, device: str):
    import torch
    from nipreps.synthstrip.model import StripModel

    if weights is None or not weights.is_file():
        raise InputError(f"The weights of SynthStrip, {weights}, are not there; run the workflow again to fetch them.")
    network = StripModel()
    try:
        # weights_only: a pickle that would run code is refused.
        checkpoint = torch.load(weights, map_location=device, weights_only=True)
        network.load_state_dict(checkpoint["model_state_dict"])
    except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, TypeError, RuntimeError) as error:
        if "out of memory" in str(error).lower():
            raise  # an error of the machine: the job fails and is retried
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{weights} can't be loaded as SynthStrip's weights ({first_line.rstrip('.: ')}); expected a checkpoint with "
            "plain tensors under model_state_dict. Delete it and run again to fetch it again."
        ) from error
    for module in network.modules():
        if isinstance(module, torch.nn.LeakyReLU):
            module.inplace = True  # same values, half the memory
    return network.to(device).eval()
