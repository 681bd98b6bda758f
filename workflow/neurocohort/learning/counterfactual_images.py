"""Change scans with a generative model for another value of the target: into the noise and back (DDIM inversion).

A scan's latent maps are taken into the noise step by step, given its own target, by the same steps that remove noise from an
image, in reverse (Song et al. 2021). From there the steps back are given other targets. Nothing is random, so that with its own
target the scan comes back, except for the errors of the autoencoder and of the steps.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurocohort.dataset.folds import HELD_OUT
from neurocohort.errors import InputError
from neurocohort.learning.data import LEVELS, to_input
from neurocohort.learning.generative_network import NOISE_LEVELS, GenerativeNetwork, noise_schedule
from neurocohort.learning.model_files import Model
from neurocohort.learning.precision import FLOAT32, set_up_torch
from neurocohort.learning.tasks import Generation
from neurocohort.learning.training import network_of


def scans_to_change(samples: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """At most ``count`` random held-out rows of ``samples``, one of a participant, in their order.

    Raises InputError where there is none.
    """
    rows = samples[samples["part"] == HELD_OUT]
    if rows.empty:
        raise InputError(
            "there is no held-out scan to change: see flow.tsv, or leave out `counterfactual` of the experiment's `generation`."
        )
    drawn = rows.iloc[np.random.default_rng(seed).permutation(len(rows))]
    chosen = drawn.drop_duplicates(["cohort", "participant_id"]).head(count)
    return chosen.sort_index().reset_index(drop=True)


def noise_levels(steps: int, strength: float) -> list[int]:
    """The levels of noise from 0 up to the fraction ``strength`` of all, in ``steps`` for the whole way."""
    width = NOISE_LEVELS // steps
    highest = min(max(1, round(strength * NOISE_LEVELS / width)), (NOISE_LEVELS - 1) // width)
    return [number * width for number in range(highest + 1)]


def changed_images(
    model: Model, image: np.ndarray, scan: pd.Series, targets: Sequence[float], strength: float, darkest: np.ndarray
) -> np.ndarray:
    """A scan as the generative model reconstructs it with each of ``targets`` in place of its own.

    Args:
        model: The generative model.
        image: The scan, (C, X, Y, Z) uint8.
        scan: Its row of samples.tsv: its own target, with which it is taken into the noise, and sex.
        targets: The values of the target on the way back.
        strength: How far into the noise, a fraction of its levels.
        darkest: By channel, the level below which a voxel becomes 0 (`generated_images.darkest_levels`).

    Returns:
        (targets, C, X, Y, Z) float32, levels from 0 to 255. They aren't rounded, since small differences count.
    """
    task, network, wanted = model.task, cast(GenerativeNetwork, model.network.eval()), model.settings.generation
    if not isinstance(task, Generation) or wanted is None:
        raise InputError(f"a model of the task {task.kind} changes no scans")
    set_up_torch(model.settings.threads, model.device, FLOAT32)
    asked = pd.DataFrame({"target": [scan["target"], *targets], "sex": scan["sex"]})
    conditions = task.conditions(asked).to(model.device)
    schedule, levels = noise_schedule(), noise_levels(wanted.steps, strength)
    schedule.set_timesteps(wanted.steps)  # only the width of a step is used
    with torch.inference_mode():
        context = network.context(conditions)
        inputs = to_input(torch.from_numpy(image)[None].to(model.device), model.intensity)
        latents = network.encoded(inputs)
        for level in levels[:-1]:
            latents, _ = schedule.reversed_step(_noise(network, latents, level, context[:1]), level, latents)
        latents = latents.repeat(len(targets), 1, 1, 1, 1)
        for level in reversed(levels[1:]):
            latents, _ = schedule.step(_noise(network, latents, level, context[1:]), level, latents)
        decoded = network.cropped(network.decoded(latents), inputs).float().cpu().numpy()
    mean, deviation, least = (
        np.asarray(values, dtype=np.float32)[:, None, None, None]
        for values in (model.intensity.mean, model.intensity.deviation, darkest)
    )
    found = np.clip(decoded * deviation + mean, 0, LEVELS - 1)
    return np.where(found < least, np.float32(0), found)


def random_diffusion(model: Model, seed: int) -> Model:
    """``model`` with random weights from ``seed`` in place of the diffusion network's and of the conditions' tokens.

    The autoencoder stays. MONAI starts some layers at 0, with which the conditions would change nothing at all: they get random
    weights too.
    """
    torch.manual_seed(seed)
    network = cast(GenerativeNetwork, network_of(model.settings, model.task))
    for layer in network.diffusion.modules():
        if isinstance(layer, nn.Conv3d | nn.Linear) and not layer.weight.any():
            layer.reset_parameters()
    own = cast(GenerativeNetwork, model.network)
    network.autoencoder.load_state_dict(own.autoencoder.state_dict())
    network.standardise.load_state_dict(own.standardise.state_dict())
    return replace(model, network=network.to(model.device).eval())


def _noise(network: GenerativeNetwork, latents: torch.Tensor, level: int, context: torch.Tensor) -> torch.Tensor:
    """The noise in ``latents`` (N, channels, X, Y, Z) of this level, as the diffusion network predicts it, given ``context``."""
    timesteps = torch.full((len(latents),), level, device=latents.device)
    return network.diffusion(latents, timesteps, context=context).float()
