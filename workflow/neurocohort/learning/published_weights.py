"""Starting from the SFCN of Peng et al. 2021 that was trained on UK Biobank.

Its repository: https://github.com/ha-ha-ha-han/UKBiobank_deep_pretrain. It differs from our SFCN in its convolutions, which have
a bias; in its images, whose x axis runs from right to left (FSL's MNI152 template of 1 mm) and whose intensities are divided by
their mean; and in its head for 40 bins of age. Bias and axis are translated exactly, the head is left out. One difference
remains: the centre of the published grid is 10 mm higher than ours, which matters little to convolutions and an average over the
volume.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from neurocohort.architectures import ARCHITECTURES
from neurocohort.architectures.modules.sfcn import SFCN
from neurocohort.errors import InputError
from neurocohort.learning.data import Intensity, intensity_statistics
from neurocohort.learning.networks import load_weights, weights_of
from neurocohort.learning.published import NETWORK
from neurocohort.learning.settings import TrainingSettings

WIDTHS = ARCHITECTURES[NETWORK].widths
BINS = 40
COUNTER = "num_batches_tracked"
X_AXIS = 2  # of a kernel (outputs, inputs, x, y, z)
_EXPECTED = "expected the file that https://github.com/ha-ha-ha-han/UKBiobank_deep_pretrain publishes"


def take_published_weights(network: nn.Module, path: Path) -> str:
    """Copy the features of the published network in ``path`` into ``network``, an SFCN of the published channels.

    The head keeps its random weights. Returns a line about this. Raises InputError where the file is absent, has anything but
    the tensors of the published network, or doesn't fit ``network``.
    """
    given, own = _read(path), weights_of(network)
    taken = _as_our_features(given)
    if unlike := [name for name, tensor in taken.items() if name not in own or own[name].shape != tensor.shape]:
        raise InputError(
            f"{path} has the weights of an SFCN with one input, the channels {list(WIDTHS)} and batch norm; {len(unlike)} of its "
            f"tensors, such as {unlike[0]}, don't fit this network. Leave out `network.channels` and `network.norm`."
        )
    load_weights(network, own | taken)
    fresh = ", ".join(name for name in own if name not in taken)
    return f"published weights from {path}: {len(taken)} of {len(own)} tensors taken; left fresh: {fresh}"


def intensity_as_published(
    scans: Callable[[], Iterable[np.ndarray]], settings: TrainingSettings
) -> tuple[Intensity, TrainingSettings]:
    """The scale of the intensities that the published weights expect, and the settings with the augmentation's noise in it.

    The mean is 0, and the deviation is the mean over the whole image, averaged over the training scans.

    Args:
        scans: Returns the training scans, (C, X, Y, Z) uint8 each; they are read twice.
        settings: The training, with its ``grid_fraction``.
    """
    inside = intensity_statistics(scans())
    fraction = settings.grid_fraction or 1.0
    means = np.mean([scan.reshape(len(scan), -1).mean(axis=1, dtype=np.float64) for scan in scans()], axis=0) * fraction
    # Noise is in standard deviations of the intensities, which are no longer scaled to 1.
    noise = settings.augmentation.noise * inside.deviation[0] / means[0]
    augmentation = settings.augmentation.model_copy(update={"noise": float(noise)})
    intensity = Intensity([0.0] * len(means), [float(mean) for mean in means])
    return intensity, settings.model_copy(update={"augmentation": augmentation})


def published_shapes() -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of the published file, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for level, (width, previous) in enumerate(zip(WIDTHS, (1, *WIDTHS), strict=False)):
        kernel = (1,) * 3 if level == len(WIDTHS) - 1 else (3,) * 3
        block = f"module.feature_extractor.conv_{level}"
        shapes |= {f"{block}.0.weight": (width, previous, *kernel), f"{block}.0.bias": (width,)}
        shapes |= {f"{block}.1.{name}": (width,) for name in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{block}.1.{COUNTER}"] = ()
    head = f"module.classifier.conv_{len(WIDTHS)}"
    return shapes | {f"{head}.weight": (BINS, WIDTHS[-1], 1, 1, 1), f"{head}.bias": (BINS,)}


def _as_our_features(given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The published features under the names of our SFCN's.

    A bias b before a batch norm only shifts the mean m that the norm subtracts: the running mean becomes m - b. The kernels are
    mirrored along x, because our scans are: their voxels run from left to right, those of the published images from right to
    left.
    """
    places = [number for number, layer in enumerate(_features()) if isinstance(layer, nn.Conv3d)]
    taken = {}
    for level, place in enumerate(places):
        block = f"module.feature_extractor.conv_{level}"
        taken[f"features.{place}.weight"] = given[f"{block}.0.weight"].flip(X_AXIS)
        norm = {name.rpartition(".")[2]: given[name] for name in given if name.startswith(f"{block}.1.")}
        norm["running_mean"] = norm["running_mean"] - given[f"{block}.0.bias"]
        taken |= {f"features.{place + 1}.{name}": tensor for name, tensor in norm.items()}
    return taken


def _features() -> nn.Sequential:
    with torch.device("meta"):  # layers without memory
        return SFCN(1, list(WIDTHS), BINS, 0.0, "batch").features


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        # Reads tensors only: a pickle with anything that could run is refused.
        given = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there; run the workflow again to fetch it.") from error
    except Exception as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path} can't be read as weights alone ({first_line.rstrip('.: ')}); {_EXPECTED}. Delete it to fetch it again, or "
            "correct `transfer.weights_url`."
        ) from error
    expected = published_shapes()
    found = {name: tuple(tensor.shape) for name, tensor in _tensors(given).items()}
    counters = {name for name in expected if name.endswith(COUNTER)}  # torch before 0.4.1 wrote none
    if wrong := [name for name in {**expected, **found} if found.get(name, expected.get(name)) != expected.get(name)]:
        raise InputError(_unlike(path, wrong[0], found.get(wrong[0]), expected.get(wrong[0])))
    if absent := [name for name in expected if name not in found and name not in counters]:
        raise InputError(_unlike(path, absent[0], None, expected[absent[0]]))
    return {name: torch.zeros((), dtype=torch.int64) for name in counters} | _tensors(given)


def _tensors(given: object) -> dict[str, torch.Tensor]:
    return {str(k): v for k, v in given.items() if isinstance(v, torch.Tensor)} if isinstance(given, dict) else {}


def _unlike(path: Path, name: str, found: tuple[int, ...] | None, expected: tuple[int, ...] | None) -> str:
    here = f"has {name} with the shape {found}" if found is not None else f"has no {name}"
    there = f"has it with the shape {expected}" if expected is not None else "has no such tensor"
    return (
        f"{path} {here}, and the published file {there}; {_EXPECTED}. Delete it to fetch it again, or correct "
        "`transfer.weights_url`."
    )
