"""The networks of a pretraining: an encoder, which is the network of later experiments without its last layer, and a part that is
discarded afterwards. Also the loss that any network would have, for comparison.
"""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from neurocohort.architectures import ARCHITECTURES
from neurocohort.errors import InputError
from neurocohort.learning.batches import Batch, BatchSource, evaluation_batches
from neurocohort.learning.data import to_input
from neurocohort.learning.networks import build_network
from neurocohort.learning.run_record import Pretrained
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import Pretraining
from neurocohort.settings.pretraining import CONTRASTIVE

ENCODER = "encoder."  # how the names of its tensors begin
FEWEST_CHANNELS = 8  # of a level of the decoder
AXES = 3
FeatureMap = Callable[[Any, Any], Any]


class MaskedAutoencoder(nn.Module):
    """An encoder and a light decoder of transposed convolutions, without connections between their levels.

    Input and output: (N, C, X, Y, Z). The decoder also gets the coordinates of each place, since a convolution doesn't know where
    in the head it is.
    """

    def __init__(self, encoder: nn.Module, feature_map: FeatureMap, features: int, halvings: int, channels: int):
        super().__init__()
        from monai.networks.blocks import Convolution  # MONAI is slow to import: only where it is used

        self.encoder, self.feature_map, self.halvings = encoder, feature_map, halvings
        widths = [features, *(max(features // 2**level, FEWEST_CHANNELS) for level in range(1, halvings + 1))]
        layers: list[nn.Module] = []
        for level, width in enumerate(widths[1:]):
            given = widths[level] + (AXES if level == 0 else 0)
            layers.append(Convolution(AXES, given, width, strides=2, is_transposed=True, norm="batch", act="relu"))
        layers.append(nn.Conv3d(widths[-1], channels, 1))
        self.decoder = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features, shape = self.feature_map(self.encoder, images), images.shape[2:]
        # A network may leave out the last voxels of an odd side; without them, places would be shifted.
        lacking = [
            max(math.ceil(side / 2**self.halvings) - own, 0)
            for side, own in zip(shape, features.shape[2:], strict=True)
        ]
        features = functional.pad(features, [value for side in reversed(lacking) for value in (0, side)])
        decoded = self.decoder(torch.cat([features, coordinates(features)], dim=1))
        return decoded[:, :, : shape[0], : shape[1], : shape[2]]


class ContrastiveNetwork(nn.Module):
    """An encoder and a perceptron with one hidden layer on its pooled features.

    Input: (N, 2 C, X, Y, Z), the channels of two views; output: (N, 2, values).
    """

    def __init__(self, encoder: nn.Module, features: int, values: int):
        super().__init__()
        self.encoder = encoder
        self.projection = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, values))

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        single = views.unflatten(1, (2, -1)).flatten(0, 1)
        return self.projection(self.encoder(single)).unflatten(0, (-1, 2))


def pretraining_network(settings: TrainingSettings, task: Pretraining) -> nn.Module:
    """The network of a pretraining with random weights."""
    architecture = ARCHITECTURES[settings.network]
    encoder = build_network(
        settings.network,
        settings.channels,
        1,
        inputs=task.channels,
        dropout=settings.dropout,
        norm=settings.norm,
        patch_size=settings.patch_size,
    )
    features = int(encoder.get_submodule(architecture.last_layer).in_features)  # type: ignore[arg-type]
    # Later experiments have a last layer of their own. Without one here, its weights can't be taken by mistake.
    encoder.set_submodule(architecture.last_layer, nn.Identity())
    if task.method == CONTRASTIVE:
        return ContrastiveNetwork(encoder, features, task.outputs)
    if architecture.feature_map is None:
        raise ValueError(f"{settings.network} has no features that hidden cubes can be reconstructed from")
    halvings = architecture.feature_halvings
    if halvings is None:
        halvings = architecture.levels(settings.channels)
    return MaskedAutoencoder(encoder, architecture.feature_map, features, halvings, task.outputs)


def coordinates(volumes: torch.Tensor) -> torch.Tensor:
    """The place of each voxel of ``volumes`` (N, C, X, Y, Z) along the three axes, (N, 3, X, Y, Z), from -1 to 1."""
    axes = [torch.linspace(-1, 1, side, device=volumes.device, dtype=volumes.dtype) for side in volumes.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(len(volumes), -1, -1, -1, -1)


def encoder_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The encoder's tensors of a pretraining's ``weights``, under the names that they have in later networks."""
    return {name.removeprefix(ENCODER): tensor for name, tensor in weights.items() if name.startswith(ENCODER)}


def baseline_loss(source: BatchSource, training: pd.DataFrame, validation: pd.DataFrame) -> float:
    """The loss of the validation scans without a network.

    ``masked``: each hidden voxel is that of the mean image of the training scans. ``contrastive``: all views are equally
    similar (chance).

    Args:
        source: Of a pretraining.
        training: The training rows.
        validation: The validation rows.
    """
    task, batches = source.task, evaluation_batches(validation, source)
    if not isinstance(task, Pretraining):
        raise ValueError(f"{task.kind} is no pretraining")
    if task.method == CONTRASTIVE:
        return sum(len(batch.inputs) * task.chance(len(batch.inputs)) for batch in batches) / len(validation)
    mean = mean_image(source, training)
    return sum(_loss_of(task, mean, batch) for batch in batches) / len(validation)


def record_of(
    source: BatchSource, training: pd.DataFrame, validation: pd.DataFrame, validation_loss: float | None
) -> Pretrained:
    """What run.json has of a pretraining. ``validation_loss``: of the kept weights; the others are as for `baseline_loss`."""
    return Pretrained(
        validation_loss=validation_loss,
        baseline_loss=baseline_loss(source, training, validation),
        training_scans=len(training),
        training_participants=_people(training),
        validation_scans=len(validation),
        validation_participants=_people(validation),
    )


def compared(pretrained: Pretrained) -> str:
    """The loss of the kept weights and the baseline's, for the log."""
    loss = "none" if pretrained.validation_loss is None else f"{pretrained.validation_loss:.4f}"
    return f"validation loss of the kept weights {loss}, without a network {pretrained.baseline_loss:.4f}"


def mean_image(source: BatchSource, samples: pd.DataFrame) -> torch.Tensor:
    """The mean of the scans of ``samples`` as the network's input, (C, X, Y, Z) float32 on the device."""
    total = torch.zeros(())
    for scan in source.packed.each_image(samples):
        total = total + torch.from_numpy(scan).double()
    return to_input((total / len(samples)).float().to(source.device), source.intensity)


def check_views(settings: TrainingSettings, training: pd.DataFrame, validation: pd.DataFrame) -> None:
    """Raise InputError where a part of a contrastive pretraining has a single scan."""
    if settings.pretraining is None or settings.pretraining.method != CONTRASTIVE:
        return
    for name, rows in (("training", training), ("validation", validation)):
        if len(rows) < 2:
            raise InputError(
                f"`pretraining.method` is contrastive, which compares scans, and the {name} part has {len(rows)}; "
                "expected at least 2. Use a larger cohort, or other fractions under `split`."
            )


def _loss_of(task: Pretraining, mean: torch.Tensor, batch: Batch) -> float:
    return float(task.loss(mean.expand(len(batch.inputs), *mean.shape), batch.targets)) * len(batch.inputs)


def _people(rows: pd.DataFrame) -> int:
    return len(rows.drop_duplicates(["cohort", "participant_id"]))
