"""What the tests of training share: balls whose core grows with the target, a tiny network, and a training in a process.

Started as a program (`toy_training.py FOLDER SETTINGS`, SETTINGS being JSON), it is one process of a training.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from neurocohort.files import read_json, write_json, write_text
from neurocohort.learning.checkpoint import INTERRUPTED_EXIT_CODE, Interrupted
from neurocohort.learning.data import PackedImages
from neurocohort.learning.distributed import is_main_process
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.run_record import EpochRow
from neurocohort.learning.settings import TrainingSettings, read_settings
from neurocohort.learning.training import Trained, print_line, train
from neurocohort.settings.pretraining import Pretraining

CPU = torch.device("cpu")
SIDE = 16
CHECKPOINT, WEIGHTS_HASH, HISTORY = "checkpoint.pt", "weights.sha256", "history.json"


def toy_cohort(task: str, count: int = 18) -> tuple[pd.DataFrame, PackedImages]:
    """Balls with a core that is darker than they are and grows with the target; four of six train."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, SIDE)] * 3, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    targets = rng.uniform(20, 80, count) if task == "regression" else (np.arange(count) + np.arange(count) // 6) % 2
    images = np.zeros((count, SIDE, SIDE, SIDE), dtype=np.uint8)
    labels = np.zeros_like(images)
    for index, grown in enumerate((targets - 20) / 60 if task == "regression" else targets):
        core = 0.2 + 0.4 * grown
        images[index] = np.where(radius < 0.9, np.where(radius < core, 60, 180), 0)
        images[index] += np.where(radius < 0.9, rng.integers(0, 20, images[index].shape), 0).astype(np.uint8)
        labels[index] = np.where(radius < core, 1, np.where(radius < 0.9, 2, 0))
    parts = (["train"] * 4 + ["validation", "held-out"]) * (count // 6)
    samples = pd.DataFrame(
        {
            "scan_id": [f"s{i}" for i in range(count)],
            "participant_id": [f"p{i}" for i in range(count)],
            "cohort": "toy",
            "site": ["small" if i % 6 == 0 else "large" for i in range(count)],
            "pack": ["held-out" if part == "held-out" else "development" for part in parts],
            "part": parts,
            "target": targets if task != "segmentation" else "dseg",
        }
    )
    samples["row"] = samples.groupby("pack").cumcount()
    samples["fold"] = np.where(samples["part"] == "held-out", np.nan, 1 + np.arange(count) % 3)
    rows = {("toy", pack): (samples["pack"] == pack).to_numpy() for pack in ("development", "held-out")}
    return samples, PackedImages(
        {pack: images[chosen][:, None] for pack, chosen in rows.items()},
        {pack: labels[chosen] for pack, chosen in rows.items()},
        {pack: [0] for pack in rows},
    )


def toy_settings(task: str = "regression", **changes) -> TrainingSettings:
    """Three epochs of three batches, with dropout and all usual augmentation."""
    values = {"task": task, "network": "sfcn", "channels": [4, 8, 8], "dropout": 0.2, "epochs": 3, "batch_size": 4}
    if task == "segmentation":
        values |= {"network": "unet", "channels": [4, 8], "dropout": 0.0}
    if task == "pretraining":
        values |= {"pretraining": Pretraining(mask_voxels=4)}
    usual = TrainingSettings(**values, learning_rate=0.01, workers=0, retrain=0)
    return usual.model_copy(update=changes)  # which may be out of their ranges


def weights_hash(weights: dict[str, torch.Tensor]) -> str:
    """The sha256 of names and values."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].numpy().tobytes())
    return digest.hexdigest()


def run(
    folder: Path,
    settings: TrainingSettings,
    name: str = CHECKPOINT,
    report: Callable[[str], None] = lambda line: None,
    **options,
) -> Trained:
    """Train on the toy cohort of the settings' task, with the checkpoint ``name`` in ``folder``."""
    samples, packed = toy_cohort(settings.task)
    return train(samples, packed, settings, CPU, TrainingFiles(folder / name, **options), report)


@contextmanager
def stopped_at_step(number: int | None, optimiser: type[torch.optim.Optimizer] = torch.optim.AdamW) -> Iterator[None]:
    """Within the block, this process sends itself SIGTERM in its optimiser's step ``number``, counted from 1."""
    original, steps = optimiser.step, 0

    def counted(self, *arguments, **options):
        nonlocal steps
        steps += 1
        if steps == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments, **options)

    optimiser.step = counted
    try:
        yield
    finally:
        optimiser.step = original


def train_in_process(
    folder: Path, settings: str, environment: dict[str, str] | None = None, stop_at: int | None = None
) -> None:
    """A whole training, saved after every step; leaves the weights' hash and the history, or exits as the command does."""
    os.environ.update(environment or {})
    try:
        with stopped_at_step(stop_at):
            trained = run(folder, read_settings(settings), report=print_line, checkpoint_seconds=0.0)
    except Interrupted:
        sys.exit(INTERRUPTED_EXIT_CODE)
    if is_main_process():
        write_json(folder / HISTORY, {"history": [asdict(row) for row in trained.history]})
        write_text(folder / WEIGHTS_HASH, weights_hash(trained.weights))


def result_of(folder: Path) -> tuple[str, list[EpochRow]]:
    """What a finished training left in ``folder``: the weights' hash and the history."""
    return (folder / WEIGHTS_HASH).read_text(), [EpochRow(**row) for row in read_json(folder / HISTORY)["history"]]


@cache
def server() -> BaseContext:
    """Starts processes from one that has torch imported and has computed nothing yet, which takes no time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["neurocohort.learning.training"])
    return context


def started(folder: Path, settings: TrainingSettings, **options) -> BaseProcess:
    """`train_in_process` in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    process = server().Process(
        target=train_in_process, args=(folder, json.dumps(settings.as_dict())), kwargs=options, daemon=True
    )
    process.start()
    return process


if __name__ == "__main__":
    train_in_process(Path(sys.argv[1]), sys.argv[2])
