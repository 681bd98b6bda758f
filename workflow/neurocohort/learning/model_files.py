"""A trained model on disk: weights as safetensors, history as a table, and run.json with all that is needed to use it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from safetensors.torch import load_file, save
from torch import nn

from neurocohort.device import device_name
from neurocohort.errors import InputError
from neurocohort.files import read_json, write_json, write_table, written_aside
from neurocohort.learning.constants import RUN
from neurocohort.learning.data import Intensity
from neurocohort.learning.judgement import WAYS_OUT
from neurocohort.learning.networks import load_weights
from neurocohort.learning.run_record import Run
from neurocohort.learning.settings import TrainingSettings, read_settings
from neurocohort.learning.tasks import Task, task_from, task_values
from neurocohort.learning.training import Trained, network_of

WEIGHTS, HISTORY = "model.safetensors", "history.tsv"


@dataclass(frozen=True)
class Model:
    """A trained network on its ``device``, and what it is applied with."""

    network: nn.Module
    task: Task
    settings: TrainingSettings
    intensity: Intensity
    device: torch.device


def write_model(folder: Path, trained: Trained, settings: TrainingSettings, device: torch.device) -> None:
    """Write weights, history and run.json into ``folder``. Weights and history are the same bits for the same training."""
    with written_aside(folder / WEIGHTS) as aside:
        aside.write_bytes(save(trained.weights))  # a file of save_file would be readable by its owner only
    write_table(folder / HISTORY, pd.DataFrame(trained.history))
    learning: Any = asdict(trained.judgement) | {"attempts": [asdict(one) for one in trained.attempts]}
    run: Run = {
        "settings": settings.as_dict(),
        "task": task_values(trained.task),
        "intensity": vars(trained.intensity),
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
        "learning": learning,
    }
    if trained.pretrained:
        run["pretraining"] = asdict(trained.pretrained)
    if trained.heads:
        run["auxiliary"] = [asdict(head) for head in trained.heads]
    if trained.sites:
        run["adversarial_sites"] = trained.sites
    if trained.unlabelled:
        run["unlabelled"] = asdict(trained.unlabelled)
    write_json(folder / RUN, run)


def read_run(folder: Path) -> Run:
    """The content of run.json in ``folder``."""
    return cast(Run, read_json(folder / RUN))


def read_model(folder: Path, device: torch.device) -> Model:
    """The model in ``folder``, its network in evaluation mode on ``device``.

    Raises InputError where the training ended without a finite validation loss, and where weights and settings differ.
    """
    run = read_run(folder)
    if run["best_epoch"] is None:
        raise InputError(
            f"the training in {folder} ended after {run['epochs_run']} epoch(s) without a finite validation loss, so there is no "
            f"model to use. Fix: {WAYS_OUT}."
        )
    return model_from(run, folder / WEIGHTS, device)


def model_from(run: Mapping[str, Any], weights: Path, device: torch.device) -> Model:
    """The model of ``settings``, ``task`` and ``intensity`` of a run, with the weights in a file, as `read_model` returns it."""
    task, settings = task_from(run["task"]), read_settings(run["settings"])
    network = network_of(settings, task)
    load_weights(network, load_file(weights))
    return Model(network.eval().to(device), task, settings, Intensity(**run["intensity"]), device)
