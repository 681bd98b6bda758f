"""What nnunet_beside.py sets in nnU-Net's plans and training: pure functions that need neither nnunetv2 nor neurocohort."""

import json
from pathlib import Path

EPOCHS = 50  # steps of the learning rate, if an epoch has at least SHORTEST iterations
SHORTEST, LONGEST = 5, 250  # iterations of an epoch; 250 are nnU-Net's own
OWN_RULES, LIKE_OURS = "3d_fullres", "3d_like_ours"  # configurations of a plans file


def add_like_ours(path: Path, patch: list[int], batch_size: int, channels: list[int]) -> None:
    """Add the configuration ``3d_like_ours`` to nnU-Net's plans: patch, batch size and channels of our network.

    nnU-Net's documentation describes such edits of a plans file. All else is what nnU-Net planned for 3d_fullres.
    """
    plans = json.loads(path.read_text())
    architecture = json.loads(json.dumps(plans["configurations"]["3d_fullres"]["architecture"]))
    levels = len(channels)
    for name, values in architecture["arch_kwargs"].items():
        if isinstance(values, list):
            kept = levels - 1 if name == "n_conv_per_stage_decoder" else levels
            architecture["arch_kwargs"][name] = values[:kept]
    architecture["arch_kwargs"] |= {"n_stages": levels, "features_per_stage": channels}
    plans["configurations"][LIKE_OURS] = {
        "inherits_from": "3d_fullres",
        "patch_size": patch[::-1],  # nnU-Net's order of axes is that of SimpleITK
        "batch_size": batch_size,
        "architecture": architecture,
    }
    path.write_text(json.dumps(plans, indent=2))


def choose_epochs(budget: float, iteration: float, validation: float) -> tuple[int, int]:
    """Number of epochs, and of iterations in each, that take ``budget`` seconds; one validation step ends each epoch."""
    length = min(max(round((budget / EPOCHS - validation) / iteration), SHORTEST), LONGEST)
    return max(1, round(budget / (length * iteration + validation))), length
