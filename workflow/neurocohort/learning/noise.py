"""Gaussian noise from a seed, with the same bits for any number of threads."""

import functools
import math

import numpy as np
import torch

NOISE_LEVELS = 2**16


def gaussian_noise(size: tuple[int, ...], seed: int, device: torch.device) -> torch.Tensor:
    """Noise of mean 0 and standard deviation 1, (*size) float32. CPU and GPU generate different noise from one seed.

    On the CPU random 16-bit numbers index a table of quantiles, in a third of the time of exact normal deviates.
    """
    if device.type != "cpu":
        generator = torch.Generator(device).manual_seed(seed)
        return torch.randn(size, generator=generator, device=device)
    count = math.prod(size)
    numbers = np.random.SFC64(seed).random_raw(-(-count // 4)).view(np.uint16)[:count]
    return torch.from_numpy(_normal_quantiles().take(numbers)).view(size)


@functools.cache
def _normal_quantiles() -> np.ndarray:
    probabilities = (torch.arange(NOISE_LEVELS, dtype=torch.float64) + 0.5) / NOISE_LEVELS
    return torch.special.ndtri(probabilities).float().numpy()
