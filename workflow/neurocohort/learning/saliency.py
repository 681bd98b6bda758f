"""Where in template space a network looks: an occlusion or Grad-CAM map, averaged over held-out scans.

Beside it stands the map of the same network with random weights (Adebayo et al. 2018, Sanity Checks for Saliency Maps): where
the two agree, the map shows the brain's shape and the architecture, not what was learned.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from torch import nn

from neurocohort.errors import InputError
from neurocohort.learning.data import PackedImages, to_input
from neurocohort.learning.precision import FLOAT32, choose_precision, set_up_torch
from neurocohort.learning.settings import read_settings
from neurocohort.learning.tasks import REGRESSION, Task
from neurocohort.learning.training import network_of
from neurocohort.progress import in_turn

OCCLUSION, GRAD_CAM = "occlusion", "grad_cam"
HELD_OUT = "held-out"
BLOCK_MM = 30.0  # hidden at a time: about the size of a thalamus
HIDDEN_IN = 3  # scans in which each block is hidden, dealt out so that every scan has its share of blocks
BRAIN_SHARE = 0.25  # of a block: with less there is nothing in it to hide
BATCH = 4
LEAST_SIDE = 4  # voxels of a layer's output: Grad-CAM takes the deepest layer that has them, else there is no map

Evidence = Callable[[torch.Tensor], torch.Tensor]


def chosen_scans(samples: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """At most ``count`` held-out rows of ``samples``, drawn by ``seed``, in their order. Raises InputError without any."""
    rows = samples[samples["part"] == HELD_OUT].reset_index(drop=True)
    if rows.empty:
        raise InputError(
            "there is no held-out scan to make a saliency map of: see flow.tsv, or set `saliency.method: none`."
        )
    drawn = np.random.default_rng(seed).permutation(len(rows))[:count]
    return rows.iloc[np.sort(drawn)].reset_index(drop=True)


def saliency_maps(
    network: nn.Module,
    task: Task,
    run: dict,
    scans: pd.DataFrame,
    packed: PackedImages,
    mask: np.ndarray,
    spacing_mm: float,
    device: torch.device,
    *,
    method: str,
    seed: int,
) -> tuple[dict[str, np.ndarray], float | None]:
    """The maps of ``scans`` (rows of samples.tsv) by name, and the rank correlation of the first two inside the brain.

    Maps, (X, Y, Z) float32, 0 outside ``mask`` (bool, the template's brain): ``network`` and ``random``, each 0 to 1 by its own
    maximum; ``mean_image``, the scans' mean intensity, 0 to 1. ``run``: run.json; ``seed``: of the random weights and of which
    block is hidden in which scan. Spearman's correlation is None where a map is the same everywhere.
    """
    settings = read_settings(run["settings"]).model_copy(update={"precision": FLOAT32})
    set_up_torch(settings.threads, device, settings.precision)
    precision = choose_precision(settings, device)
    torch.manual_seed(seed)
    untrained = network_of(settings, task).eval().to(device)
    intensity, found = run["intensity"], {}
    for name, one in (("network", network), ("random", untrained)):
        one = precision.to_memory_format(one.eval())

        def evidence(inputs: torch.Tensor, of: nn.Module = one) -> torch.Tensor:
            return _evidence(task, of(precision.to_memory_format(inputs)))

        inputs = (
            to_input(torch.from_numpy(scan)[None].to(device), intensity["mean"], intensity["deviation"])
            for scan in packed.each_image(scans)
        )
        counted = (scan for _, scan in zip(in_turn(len(scans), f"looked through ({name})"), inputs, strict=True))
        if method == OCCLUSION:
            # Made on the device as the scans are: a GPU divides by a number otherwise than a CPU, in the last bit.
            nothing = torch.zeros(1, len(intensity["mean"]), 1, 1, 1, device=device)
            outside = to_input(nothing, intensity["mean"], intensity["deviation"])
            edge = max(1, round(BLOCK_MM / spacing_mm))
            found[name] = occlusion_map(evidence, counted, len(scans), outside, mask, edge, seed)
        else:
            found[name] = grad_cam_map(one, task, counted)
    maps = {name: _scaled(map_, mask) for name, map_ in found.items()}
    mean_image = sum(scan[0].astype(np.float64) for scan in packed.each_image(scans)) / (255 * len(scans))
    return maps | {"mean_image": mean_image.astype(np.float32)}, _correlation(
        maps["network"][mask], maps["random"][mask]
    )


def occlusion_map(
    evidence: Evidence,
    scans: Iterator[torch.Tensor],
    count: int,
    outside: torch.Tensor,
    mask: np.ndarray,
    edge: int,
    seed: int,
) -> np.ndarray:
    """How much ``evidence`` changes, on average, when a block of the brain is hidden: (X, Y, Z) float64, interpolated
    linearly between the blocks' centres.

    ``scans``: ``count`` inputs (1, C, X, Y, Z), standardised; voxels that equal ``outside`` (1, C, 1, 1, 1) stay as they are,
    the others of a block become 0, the mean intensity of the training part. ``edge``: of a block, in voxels. Each block is
    hidden in HIDDEN_IN of the scans. ``evidence``: (N, C, X, Y, Z) to (N, values); of several values the largest for the scan
    as it is counts.
    """
    places = _blocks(mask, edge)
    order = np.random.default_rng(seed).permutation(len(places))
    hidden_in = {
        place: {(number * HIDDEN_IN + turn) % count for turn in range(HIDDEN_IN)}
        for number, place in enumerate(places[index] for index in order)
    }
    total = dict.fromkeys(places, 0.0)
    for index, inputs in enumerate(scans):
        wanted = [place for place in places if index in hidden_in[place]]
        with torch.inference_mode():
            inside = inputs != outside
            plain = evidence(inputs)[0]
            value = int(plain.argmax())
            for start in range(0, len(wanted), BATCH):
                batch = wanted[start : start + BATCH]
                hidden = inputs.repeat(len(batch), 1, 1, 1, 1)
                for copy, place in zip(hidden, batch, strict=True):
                    box = tuple(slice(first * edge, (first + 1) * edge) for first in place)
                    copy[:, *box].masked_fill_(inside[0][:, *box], 0.0)
                changes = (evidence(hidden)[:, value] - plain[value]).abs().tolist()
                for place, change in zip(batch, changes, strict=True):
                    total[place] += change / len(hidden_in[place])
    return _between_blocks(total, mask.shape, edge)


def grad_cam_map(network: nn.Module, task: Task, scans: Iterator[torch.Tensor]) -> np.ndarray:
    """The mean Grad-CAM map (Selvaraju et al. 2017) of ``scans`` (1, C, X, Y, Z each): (X, Y, Z) float64, 0 or more.

    Of the deepest layer whose output has LEAST_SIDE voxels on each side, and of what raises the predicted value, or the
    predicted class's log odds. MONAI's GradCAM interpolates it to the scan's grid.
    """
    from monai.visualize import GradCAM  # MONAI is slow to import: only where it is used

    told = _Told(network, task)
    total, cam = 0.0, None
    for inputs in scans:
        inputs = inputs.contiguous()
        if cam is None:
            cam = GradCAM(told, target_layers=_deep_layer(told, inputs), postprocessing=lambda map_: map_)
        with torch.no_grad():
            value = int(told(inputs)[0].argmax())
        total = total + cam(inputs, class_idx=value)[0, 0].detach().cpu().double().numpy()
    return total


class _Told(nn.Module):
    """A network whose outputs are its evidence, as GradCAM wants one."""

    def __init__(self, network: nn.Module, task: Task):
        super().__init__()
        self.network, self.task = network, task

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return _evidence(self.task, self.network(inputs))


def _evidence(task: Task, outputs: torch.Tensor) -> torch.Tensor:
    """(N, 1) predicted values of a regression; of a classification log odds, (N, 1) of class 1 or (N, K) of K classes.

    Log odds go on changing where a probability is as good as 1.
    """
    outputs = outputs.float()
    if task.kind == REGRESSION:
        return task.predict(outputs)[:, None]
    if task.outputs == 1:
        return outputs
    others = [torch.cat([outputs[:, :k], outputs[:, k + 1 :]], dim=1) for k in range(outputs.shape[1])]
    return outputs - torch.stack([torch.logsumexp(other, dim=1) for other in others], dim=1)


def _blocks(mask: np.ndarray, edge: int) -> list[tuple[int, int, int]]:
    """The places of the blocks, counted in blocks along each axis, that hold enough brain."""
    counts = [-(-side // edge) for side in mask.shape]
    padded = np.pad(mask, [(0, count * edge - side) for count, side in zip(counts, mask.shape, strict=True)])
    shares = padded.reshape(counts[0], edge, counts[1], edge, counts[2], edge).mean(axis=(1, 3, 5))
    return [tuple(map(int, place)) for place in np.argwhere(shares >= BRAIN_SHARE)]


def _between_blocks(values: dict[tuple[int, int, int], float], shape: tuple[int, ...], edge: int) -> np.ndarray:
    """The values of blocks at every voxel, linear between the centres of those that have one."""
    counts = [-(-side // edge) for side in shape]
    sums, weights = np.zeros(counts), np.zeros(counts)
    for place, value in values.items():
        sums[place], weights[place] = value, 1.0
    centres = np.meshgrid(*((np.arange(side) + 0.5) / edge - 0.5 for side in shape), indexing="ij")
    summed, weighed = (ndimage.map_coordinates(one, centres, order=1, mode="nearest") for one in (sums, weights))
    return np.divide(summed, weighed, out=np.zeros(shape), where=weighed > 0)


def _deep_layer(told: _Told, inputs: torch.Tensor) -> str:
    """The name of the deepest stage whose output is large enough: a child of the network, or a child's child."""
    seen: list[str] = []

    def noted(name: str) -> Callable:
        def note(module: nn.Module, arguments: tuple, output: torch.Tensor) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == inputs.ndim and min(output.shape[2:]) >= LEAST_SIDE:
                seen.append(name)

        return note

    stages = [
        (name, module) for name, module in told.named_modules() if name.startswith("network.") and name.count(".") <= 2
    ]
    hooks = [module.register_forward_hook(noted(name)) for name, module in stages]
    with torch.no_grad():
        told(inputs)
    for hook in hooks:
        hook.remove()
    if not seen:
        raise InputError(
            f"no layer of the network has an output of {LEAST_SIDE} voxels a side, so there is no Grad-CAM map; set "
            "`saliency.method: occlusion`."
        )
    return seen[-1]


def _scaled(map_: np.ndarray, mask: np.ndarray) -> np.ndarray:
    inside = np.where(mask, map_, 0.0)
    return (inside / max(float(inside.max()), 1e-12)).astype(np.float32)


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's, rounded; None where one is the same everywhere."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    ranks = [pd.Series(values).rank() for values in (first, second)]
    return round(float(np.corrcoef(ranks)[0, 1]), 4)
