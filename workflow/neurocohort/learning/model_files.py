"""A trained model on disk: weights as safetensors, history as a table, and run.json with all that is needed to use it."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from neurocohort.files import read_json, write_json, write_table, written_aside
from neurocohort.learning.tasks import Task
from neurocohort.learning.training import Trained, TrainingSettings, network_of

WEIGHTS, HISTORY, RUN = "model.safetensors", "history.tsv", "run.json"


def write_model(folder: Path, trained: Trained, settings: TrainingSettings, device: torch.device) -> None:
    """Write weights, history and run.json into ``folder``."""
    with written_aside(folder / WEIGHTS) as aside:
        save_file({name: value.contiguous() for name, value in trained.weights.items()}, aside)
    write_table(folder / HISTORY, pd.DataFrame(trained.history))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    write_json(
        folder / RUN,
        {
            "settings": asdict(settings),
            "task": trained.task.as_dict(),
            "intensity": {"mean": trained.mean, "deviation": trained.deviation},
            "parameters": trained.parameters,
            "epochs_run": len(trained.history),
            "best_epoch": next(entry["epoch"] for entry in trained.history if entry["best"]),
            "seed": settings.seed,
            "device": name,
            "torch": torch.__version__,
        },
    )


def read_model(folder: Path, device: torch.device) -> tuple[nn.Module, Task, dict]:
    """The network in evaluation mode on ``device``, its task, and run.json."""
    run = read_json(folder / RUN)
    task = Task(**run["task"])
    network = network_of(TrainingSettings(**run["settings"]), task)
    network.load_state_dict(load_file(folder / WEIGHTS))
    return network.eval().to(device), task, run
