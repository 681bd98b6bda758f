"""A trained model on disk: weights as safetensors, history as a table, and run.json with all that is needed to use it."""

from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save
from torch import nn

from neurocohort.device import device_name
from neurocohort.errors import InputError
from neurocohort.files import read_json, write_json, write_table, written_aside
from neurocohort.learning.judgement import WAYS_OUT
from neurocohort.learning.networks import load_weights
from neurocohort.learning.settings import TrainingSettings, read_settings
from neurocohort.learning.tasks import Task, task_from
from neurocohort.learning.training import Trained, network_of

WEIGHTS, HISTORY, RUN = "model.safetensors", "history.tsv", "run.json"


def write_model(folder: Path, trained: Trained, settings: TrainingSettings, device: torch.device) -> None:
    """Write weights, history and run.json into ``folder``. Weights and history are the same bits for the same training."""
    with written_aside(folder / WEIGHTS) as aside:
        aside.write_bytes(save(trained.weights))  # save_file would let the owner alone read it
    write_table(folder / HISTORY, pd.DataFrame(trained.history))
    write_json(
        folder / RUN,
        {
            "settings": settings.as_dict(),
            "task": trained.task.as_dict(),
            "intensity": {"mean": trained.mean, "deviation": trained.deviation},
            "parameters": trained.parameters,
            "epochs_run": len(trained.history),
            "best_epoch": trained.best_epoch,
            "criterion": trained.criterion,
            "validation_loss": trained.validation_loss,
            "seed": trained.seed,
            "device": device_name(device),
            "torch": torch.__version__,
            "precision": trained.precision,
            "memory": trained.memory,
            "training_seconds": round(trained.seconds, 3),
            "scans_per_second": round(trained.scans_per_second, 3),
            "learning": trained.judgement.as_dict() | {"attempts": trained.attempts},
        },
    )


def read_model(folder: Path, device: torch.device) -> tuple[nn.Module, Task, dict]:
    """The network in evaluation mode on ``device``, its task, and run.json.

    Raises InputError where the training ended without a finite validation loss, and where weights and settings differ.
    """
    run = read_json(folder / RUN)
    if run["best_epoch"] is None:
        raise InputError(
            f"the training in {folder} ended after {run['epochs_run']} epoch(s) without a finite validation loss, so there is no "
            f"model to use. Fix: {WAYS_OUT}."
        )
    task = task_from(run["task"])
    network = network_of(read_settings(run["settings"]), task)
    load_weights(network, load_file(folder / WEIGHTS))
    return network.eval().to(device), task, run
