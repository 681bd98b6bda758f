"""Where in template space a network looks: an occlusion, Grad-CAM or attention map, averaged over held-out scans.

It is compared with the map of the same network with random weights (Adebayo et al. 2018, Sanity Checks for Saliency Maps): where
both agree, the map shows the shape of the brain and the architecture, not what was learned.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional

from neurocohort.architectures import ARCHITECTURES
from neurocohort.errors import InputError
from neurocohort.learning.data import PackedImages, to_input
from neurocohort.learning.model_files import Model
from neurocohort.learning.precision import FLOAT32, choose_precision, set_up_torch
from neurocohort.learning.tasks import Classification, Regression, Task
from neurocohort.learning.training import network_of
from neurocohort.progress import in_turn

OCCLUSION, GRAD_CAM, ATTENTION = "occlusion", "grad_cam", "attention"
HELD_OUT = "held-out"
BLOCK_MM = 30.0  # hidden at a time: about the size of a thalamus
HIDDEN_IN = 3  # scans in which each block is hidden; the blocks are distributed evenly over the scans
BRAIN_FRACTION = 0.25  # of a block: blocks with less brain aren't hidden
BATCH = 4
LEAST_SIDE = 4  # voxels: Grad-CAM uses the deepest layer with an output of at least this size

Evidence = Callable[[torch.Tensor], torch.Tensor]
Block = tuple[int, int, int]  # the place of a block, counted in blocks along each axis


@dataclass(frozen=True)
class Blocks:
    """The blocks to hide: those of the template's brain ``mask`` (X, Y, Z) in a grid of blocks of ``edge`` voxels.

    ``seed`` determines which block is hidden in which scan.
    """

    mask: np.ndarray
    edge: int
    seed: int

    @property
    def counts(self) -> list[int]:
        """Number of blocks along each axis."""
        return [-(-side // self.edge) for side in self.mask.shape]

    def places(self) -> list[Block]:
        """The blocks that contain enough brain."""
        x, y, z = self.counts
        padding = [(0, count * self.edge - side) for count, side in zip(self.counts, self.mask.shape, strict=True)]
        padded = np.pad(self.mask, padding)
        fractions = padded.reshape(x, self.edge, y, self.edge, z, self.edge).mean(axis=(1, 3, 5))
        return [(int(i), int(j), int(k)) for i, j, k in np.argwhere(fractions >= BRAIN_FRACTION)]

    def interpolated(self, values: dict[Block, float]) -> np.ndarray:
        """The values at every voxel, linear between the centres of the blocks that have one."""
        sums, weights = np.zeros(self.counts), np.zeros(self.counts)
        for place, value in values.items():
            sums[place], weights[place] = value, 1.0
        centres = np.meshgrid(*((np.arange(side) + 0.5) / self.edge - 0.5 for side in self.mask.shape), indexing="ij")
        summed, weighed = (ndimage.map_coordinates(one, centres, order=1, mode="nearest") for one in (sums, weights))
        return np.divide(summed, weighed, out=np.zeros(self.mask.shape), where=weighed > 0)


def chosen_scans(samples: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """At most ``count`` random held-out rows of ``samples``, in their order. Raises InputError where there is none."""
    rows = samples[samples["part"] == HELD_OUT].reset_index(drop=True)
    if rows.empty:
        raise InputError(
            "there is no held-out scan to make a saliency map of: see flow.tsv, or set `saliency.method: none`."
        )
    drawn = np.random.default_rng(seed).permutation(len(rows))[:count]
    return rows.iloc[np.sort(drawn)].reset_index(drop=True)


def method_for(method: str, network: str) -> str:
    """The method of a network's map where ``method`` is asked for: Grad-CAM in place of attention if the network has none."""
    return GRAD_CAM if method == ATTENTION and not ARCHITECTURES[network].attention else method


def saliency_maps(
    model: Model,
    scans: pd.DataFrame,
    packed: PackedImages,
    mask: np.ndarray,
    spacing_mm: float,
    *,
    method: str,
    seed: int,
) -> tuple[dict[str, np.ndarray], float | None]:
    """The maps of ``scans`` by name, and the rank correlation of the first two inside the brain.

    Args:
        model: The trained network.
        scans: Rows of samples.tsv.
        packed: Their volumes.
        mask: The template's brain, bool.
        spacing_mm: Voxel size.
        method: OCCLUSION, GRAD_CAM or ATTENTION (`method_for`).
        seed: Of the random weights and the hidden blocks.

    Returns:
        Maps (X, Y, Z) float32: ``network`` and ``random``, 0 outside ``mask``, each divided by its maximum; ``mean_image``, the
        mean intensity of the scans, 0 to 1. Spearman's correlation, None where a map is constant.
    """
    settings = model.settings.model_copy(update={"precision": FLOAT32})
    set_up_torch(settings.threads, model.device, settings.precision)
    precision = choose_precision(settings, model.device)
    torch.manual_seed(seed)
    untrained = network_of(settings, model.task).to(model.device)
    maps = {}
    for name, network in (("network", model.network), ("random", untrained)):
        one, turns = precision.to_memory_format(network.eval()), in_turn(len(scans), f"looked through ({name})")
        images = (image for _, image in zip(turns, packed.each_image(scans), strict=True))
        inputs = (to_input(torch.from_numpy(image)[None].to(model.device), model.intensity) for image in images)
        if method == OCCLUSION:

            def evidence(volumes: torch.Tensor, of: nn.Module = one) -> torch.Tensor:
                return _evidence(model.task, of(precision.to_memory_format(volumes)))

            # Computed on the device, like the scans: a GPU's division differs from a CPU's in the last bit.
            nothing = torch.zeros(1, len(model.intensity.mean), 1, 1, 1, device=model.device)
            blocks = Blocks(mask, max(1, round(BLOCK_MM / spacing_mm)), seed)
            found = occlusion_map(evidence, inputs, len(scans), to_input(nothing, model.intensity), blocks)
        elif method == ATTENTION:
            found = attention_map(one, settings.network, inputs)
        else:
            found = grad_cam_map(one, model.task, inputs)
        maps[name] = _scaled(found, mask)
    correlation = _correlation(maps["network"][mask], maps["random"][mask])
    mean_image = sum(scan[0].astype(np.float64) for scan in packed.each_image(scans)) / (255 * len(scans))
    return maps | {"mean_image": mean_image.astype(np.float32)}, correlation


def occlusion_map(
    evidence: Evidence, scans: Iterator[torch.Tensor], count: int, outside: torch.Tensor, blocks: Blocks
) -> np.ndarray:
    """The mean change of ``evidence`` when a block of the brain is hidden, interpolated between blocks: (X, Y, Z) float64.

    Each block is hidden in HIDDEN_IN of the scans.

    Args:
        evidence: Network outputs (N, values) for inputs (N, C, X, Y, Z). Of several values, the one that is largest for the
            unchanged scan counts.
        scans: ``count`` standardised inputs (1, C, X, Y, Z).
        count: Number of scans.
        outside: The value outside of the brain, (1, C, 1, 1, 1). Voxels with this value stay unchanged; the others of a hidden
            block become 0, the mean intensity of the training part.
        blocks: The blocks.
    """
    places, edge = blocks.places(), blocks.edge
    order = np.random.default_rng(blocks.seed).permutation(len(places))
    hidden_in = {
        places[index]: {(number * HIDDEN_IN + turn) % count for turn in range(HIDDEN_IN)}
        for number, index in enumerate(order)
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
    return blocks.interpolated(total)


def grad_cam_map(network: nn.Module, task: Task, scans: Iterator[torch.Tensor]) -> np.ndarray:
    """The sum of the Grad-CAM maps (Selvaraju et al. 2017) of ``scans`` (1, C, X, Y, Z each): (X, Y, Z) float64, 0 or more.

    Computed for the deepest layer whose output has LEAST_SIDE voxels on each side, and for what raises the predicted value or
    the predicted class's log odds. MONAI's GradCAM interpolates it to the grid of the scan.
    """
    from monai.visualize import GradCAM  # MONAI is slow to import: only where it is used

    with_evidence = _WithEvidence(network, task)
    total, cam = np.zeros(()), None
    for inputs in scans:
        inputs = inputs.contiguous()
        if cam is None:
            cam = GradCAM(
                with_evidence, target_layers=_deep_layer(with_evidence, inputs), postprocessing=lambda map_: map_
            )
        with torch.no_grad():
            value = int(with_evidence(inputs)[0].argmax())
        total = total + cam(inputs, class_idx=value)[0, 0].detach().cpu().double().numpy()
    return total


def attention_map(network: nn.Module, architecture: str, scans: Iterator[torch.Tensor]) -> np.ndarray:
    """The sum of the weights of the cubes of ``scans`` (1, C, X, Y, Z each): (X, Y, Z) float64, each voxel that of its cube."""
    total = np.zeros(())
    for inputs in scans:
        weights = attention_weights(network, architecture, inputs)
        total = total + functional.interpolate(weights, size=inputs.shape[2:])[0, 0].double().numpy()
    return total


def attention_weights(network: nn.Module, architecture: str, inputs: torch.Tensor) -> torch.Tensor:
    """The weights (N, 1, x, y, z) float32 on the CPU of the cubes of ``inputs`` (N, C, X, Y, Z); those of a scan add up to 1."""
    found: list[torch.Tensor] = []
    layer = network.get_submodule(ARCHITECTURES[architecture].attention)
    handle = layer.register_forward_hook(lambda _, __, output: found.append(output.detach().float().cpu()))
    try:
        with torch.inference_mode():
            network(inputs)
    finally:
        handle.remove()
    return found[0]


class _WithEvidence(nn.Module):
    """A network whose outputs are its evidence, as GradCAM needs it."""

    def __init__(self, network: nn.Module, task: Task):
        super().__init__()
        self.network, self.task = network, task

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return _evidence(self.task, self.network(inputs))


def _evidence(task: Task, outputs: torch.Tensor) -> torch.Tensor:
    """(N, 1) predicted values of a regression; of a classification log odds, (N, 1) of class 1 or (N, K) of K classes.

    Log odds still change where a probability is nearly 1.
    """
    outputs = outputs.float()
    if isinstance(task, Regression):
        return task.predict(outputs)[:, None]
    if isinstance(task, Classification) and task.outputs == 1:
        return outputs
    others = [torch.cat([outputs[:, :k], outputs[:, k + 1 :]], dim=1) for k in range(outputs.shape[1])]
    return outputs - torch.stack([torch.logsumexp(other, dim=1) for other in others], dim=1)


def _deep_layer(network: _WithEvidence, inputs: torch.Tensor) -> str:
    """The name of the deepest layer with a large enough output: a child of the network, or a child of a child."""
    seen: list[str] = []

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple, output: torch.Tensor) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == inputs.ndim and min(output.shape[2:]) >= LEAST_SIDE:
                seen.append(name)

        return hook

    stages = [
        (name, module)
        for name, module in network.named_modules()
        if name.startswith("network.") and name.count(".") <= 2
    ]
    hooks = [module.register_forward_hook(hook_of(name)) for name, module in stages]
    with torch.no_grad():
        network(inputs)
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
    """Spearman's correlation, rounded; None where one of the maps is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    ranks = [pd.Series(values).rank() for values in (first, second)]
    return round(float(np.corrcoef(ranks)[0, 1]), 4)
