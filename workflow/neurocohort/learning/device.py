"""Which device a job computes on. A job that was promised a GPU and sees none fails at once and says what it saw."""

import os

import torch

from neurocohort.errors import InputError


def choose_device(asked: str) -> torch.device:
    """``auto`` takes a GPU where one is visible; ``cuda`` insists on it; ``cpu`` never looks."""
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    raise InputError(
        "`device: cuda` was asked for and no GPU is visible: CUDA_VISIBLE_DEVICES is "
        f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}, torch is {torch.__version__} built for CUDA "
        f"{torch.version.cuda or 'none'}. Run on a GPU queue, install the CUDA build of torch, or set `device: auto`."
    )
