"""The random generators of torch in a training: seeded for each step, and saved in the checkpoint."""

import numpy as np
import torch


def seed_generators(*position: int) -> None:
    """Seed torch for one step, so that dropout depends only on the position, also after a resume."""
    torch.manual_seed(int(np.random.SeedSequence(position).generate_state(1, np.uint64)[0] >> np.uint64(1)))


def generator_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of the generators of the CPU and, if ``device`` is a GPU, of it."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_generators(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Continue from the states of `generator_states`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
