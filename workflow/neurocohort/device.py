"""The device on which a job computes. A job that needs a GPU and sees none fails at once, with details."""

import os
import shutil
import subprocess

import torch

from neurocohort.errors import InputError

DRIVER_QUERY = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
DRIVER_TIMEOUT_S = 20.0


def choose_device(asked: str) -> torch.device:
    """The device for ``auto`` (a GPU if one is visible), ``cuda`` or ``cpu``.

    Raises InputError if ``asked`` is ``cuda`` and no GPU is visible.
    """
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    raise InputError(
        "`device: cuda` is set and no GPU is visible: CUDA_VISIBLE_DEVICES is "
        f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}, {_driver()}, torch is {torch.__version__} built for CUDA "
        f"{torch.version.cuda or 'none'}. Run on a GPU queue, install the CUDA build of torch, or set `device: auto`."
    )


def device_name(device: torch.device) -> str:
    """The GPU's name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _driver() -> str:
    """The output of nvidia-smi on the driver, as part of a sentence."""
    if shutil.which(DRIVER_QUERY[0]) is None:
        return "nvidia-smi is not installed"
    try:
        done = subprocess.run(DRIVER_QUERY, capture_output=True, text=True, timeout=DRIVER_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi failed ({error})"
    lines = (done.stdout.strip() or done.stderr.strip() or "nothing").splitlines()
    return f"nvidia-smi reports `{'; '.join(line.strip() for line in lines)}`"
