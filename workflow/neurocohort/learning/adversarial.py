"""Features that don't reveal the site: a site classifier on the features, whose gradient is reversed (Ganin et al. 2016, Journal
of Machine Learning Research 17, 1-35).

The classifier learns to name the site of each training scan. Its gradient reaches the network with the opposite sign, so that the
network learns features from which it can't. The sites are those of the training scans; no scan of a new site is needed. A
finished training keeps the network without the classifier.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from neurocohort.architectures import ARCHITECTURES
from neurocohort.errors import InputError
from neurocohort.learning.constants import SITE_CLASSIFIER_FEATURES
from neurocohort.learning.mixup import Mix
from neurocohort.learning.scan_order import site_groups
from neurocohort.learning.settings import TrainingSettings

NETWORK, HEAD, CLASSIFIER = "network.", "head.", "site_classifier."  # how the names of their tensors begin
RAMP = 10.0  # gamma of Ganin et al.: how soon the reversed gradient has its full weight
FEWEST_SCANS = 5  # of a site; with fewer, the classifier knows single scans rather than the site
Weights = dict[str, torch.Tensor]


class _Reversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -strength."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(strength)
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (strength,) = ctx.saved_tensors
        return -strength.to(gradients[0].dtype) * gradients[0], None


class AdversarialNetwork(nn.Module):
    """A network and a site classifier on its features.

    Input (N, C, X, Y, Z); output (N, outputs of the network + sites), the log odds of the sites last. Call `set_strength` before
    each step.
    """

    strength: torch.Tensor

    def __init__(self, network: nn.Module, architecture: str, sites: int):
        super().__init__()
        layer = ARCHITECTURES[architecture].last_layer
        head: Any = network.get_submodule(layer)
        network.set_submodule(layer, nn.Identity())  # the network returns its features
        self.network, self.head = network, head
        hidden = SITE_CLASSIFIER_FEATURES
        self.site_classifier = nn.Sequential(nn.Linear(head.in_features, hidden), nn.ReLU(), nn.Linear(hidden, sites))
        self.register_buffer("strength", torch.zeros(()), persistent=False)  # follows from the step, so it isn't saved

    def set_strength(self, weight: float, progress: float) -> None:
        """Set the weight of the reversed gradient at ``progress`` (0 to 1) of the training: from 0 up to ``weight``."""
        self.strength.fill_(weight * ramp(progress))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.network(images)
        return torch.cat([self.head(features), self.site_classifier(_Reversal.apply(features, self.strength))], dim=1)


def ramp(progress: float) -> float:
    """The fraction of its full weight that the reversed gradient has at ``progress`` (0 to 1) of the training."""
    return 2 / (1 + math.exp(-RAMP * progress)) - 1


def training_sites(settings: TrainingSettings, training: pd.DataFrame) -> dict[str, int]:
    """The sites that the classifier learns, with their numbers of training scans; none without ``adversarial_site``.

    Sites of two cohorts are two, and the scans of a cohort whose site isn't known are one (`site_groups`). Raises InputError
    where there is only one.
    """
    if not settings.adversarial_site:
        return {}
    names, counts = np.unique(site_groups(training), return_counts=True)
    if len(names) < 2:
        raise InputError(
            f"`training.adversarial_site` is {settings.adversarial_site:g}, and all {len(training)} training scans are from one "
            f"site ({names[0]}); expected scans of two sites or more. Leave the key out, or add a cohort of another site."
        )
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def sites_line(sites: dict[str, int]) -> str:
    """A line for the log of a training about its sites, with a note on small ones."""
    line = f"adversarial site classifier: {', '.join(f'{name} {count}' for name, count in sites.items())}"
    small = [name for name, count in sites.items() if count < FEWEST_SCANS]
    if not small:
        return line
    return f"{line}; note: {', '.join(small)} with fewer than {FEWEST_SCANS} training scans can hardly be learned as a site"


def site_numbers(sites: Sequence[str], samples: pd.DataFrame) -> torch.Tensor:
    """The number of the site of each row of ``samples``, (rows,) int64."""
    return torch.from_numpy(pd.Index(list(sites)).get_indexer(pd.Index(site_groups(samples))).astype(np.int64))


def site_loss(outputs: torch.Tensor, sites: torch.Tensor, mix: Mix | None) -> torch.Tensor:
    """The classifier's cross-entropy.

    Args:
        outputs: Log odds, (N, sites).
        sites: Numbers of the sites, (N,).
        mix: Of mixup; the partner's site counts with its weight.
    """
    own = functional.cross_entropy(outputs, sites)
    if mix is None:
        return own
    partner = sites[torch.from_numpy(mix.partner).to(sites.device)]
    return mix.weight * own + (1 - mix.weight) * functional.cross_entropy(outputs, partner)


def without_classifier(weights: Weights, architecture: str) -> Weights:
    """The weights of the network alone, under its own names, from those of an `AdversarialNetwork`."""
    found: Weights = {}
    for name, tensor in weights.items():
        if name.startswith(NETWORK):
            found[name.removeprefix(NETWORK)] = tensor
        elif name.startswith(HEAD):
            found[f"{ARCHITECTURES[architecture].last_layer}.{name.removeprefix(HEAD)}"] = tensor
    return found
