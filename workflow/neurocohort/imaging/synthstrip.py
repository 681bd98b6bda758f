"""The brain mask of a raw head scan by SynthStrip (Hoopes et al. 2022), the second method beside deepbet.

The network and the resampling to and from its 1 mm grid are those of the package nipreps-synthstrip (Apache-2.0). The
weights are a file of their own, which a download rule fetches (``config/sources/synthstrip.yaml``).
"""

import pickle
import warnings
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from neurocohort.errors import InputError, ScanExcluded
from neurocohort.files import sha256_of
from neurocohort.imaging.volume import Volume

# Published nowhere but in the name under which FreeSurfer's repository keeps the file (git-annex, SHA256E).
WEIGHTS_SHA256 = "37417f802196186441aae3e7f385d94f8a98c64a88acaeaa2723af995c653e33"
BORDER_MM = 1  # SynthStrip's own: the mask ends this far outside the predicted surface
OUTSIDE_MM = 100  # the distance where the scan reaches beyond the network's grid: far from any brain
BRIGHTEST_PERCENTILE = 99


def extract_brain_synthstrip(
    scan: Volume, weights: Path, *, device: str = "cpu", weights_sha256: str | None = WEIGHTS_SHA256
) -> np.ndarray:
    """The brain mask of ``scan``, bool, of its shape: one component, without holes.

    ``weights``: the checkpoint ``synthstrip.1.pt``. ``weights_sha256``: what the file must have; None takes any, for
    weights of your own with the same architecture. ``device``: ``cpu`` or ``cuda``; on a CPU it runs on one thread, takes
    some 25 s and 3.4 GB for a field of view up to 192 mm along each axis, and twice of both up to 256 mm.

    Raises InputError where the weights are absent, are other ones, or can't be loaded without running code from the file,
    and ScanExcluded(stage ``brain_extraction``) where no brain is found.
    """
    import torch  # torch takes a second to import; other steps do without
    from nipreps.synthstrip.cli import conform, resample_like

    network = _load_network(Path(weights), weights_sha256, device)
    # nitransforms announces that the name by which nipreps-synthstrip calls its resampling will change.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        image = nib.Nifti1Image(scan.data, scan.affine)
        conformed = conform(image)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                scaled = torch.from_numpy(_scaled(conformed.get_fdata(dtype=np.float32)))
                distance = network(scaled.to(device)).cpu().numpy().squeeze()
        finally:
            torch.set_num_threads(threads)
        distance_image = nib.Nifti1Image(distance, conformed.affine)
        # Whole millimetres, as SynthStrip has it: the threshold below falls between two of them.
        on_scan = resample_like(distance_image, image, output_dtype="int16", cval=OUTSIDE_MM)
    labels, count = ndimage.label(np.asarray(on_scan.dataobj) < BORDER_MM)
    if count == 0:
        raise ScanExcluded("brain_extraction", "SynthStrip found no brain")
    sizes = np.bincount(labels.ravel())[1:]
    return ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes)))


def _scaled(data: np.ndarray) -> np.ndarray:
    """Intensities from 0 (the darkest) to 1 (the 99th percentile and above), shape (1, 1, X, Y, Z)."""
    data = data - data.min()
    brightest = np.percentile(data, BRIGHTEST_PERCENTILE)
    if not brightest > 0:
        raise ScanExcluded("brain_extraction", "SynthStrip found no brain (99 % of the field of view is empty)")
    return np.clip(data / brightest, 0, 1)[np.newaxis, np.newaxis]


def _load_network(weights: Path, sha256: str | None, device: str):
    import torch
    from nipreps.synthstrip.model import StripModel

    if not weights.is_file():
        raise InputError(f"The weights of SynthStrip, {weights}, are not there; run the workflow again to fetch them.")
    if sha256 is not None and (found := sha256_of(weights)) != sha256:
        raise InputError(
            f"{weights} is not SynthStrip's weights: its sha256 is {found}, and {sha256} is expected. Delete it and run "
            "again to have it fetched anew."
        )
    network = StripModel()
    try:
        # weights_only: a pickle that would run code is refused.
        checkpoint = torch.load(weights, map_location=device, weights_only=True)
        network.load_state_dict(checkpoint["model_state_dict"])
    except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, TypeError, RuntimeError) as error:
        if "out of memory" in str(error).lower():
            raise  # the machine's fault, not the file's: the job fails and is retried
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{weights} can't be loaded as SynthStrip's weights ({first_line}); a checkpoint that holds plain tensors "
            "under model_state_dict is expected. Delete it and run again to have it fetched anew."
        ) from error
    return network.to(device).eval()
