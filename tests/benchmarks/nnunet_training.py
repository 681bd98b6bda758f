"""Train nnU-Net v2 for a given number of CPU minutes on one thread, and predict; run by nnunet_beside.py.

Runs in an environment of its own that has nnunetv2 and none of neurocohort: see nnunet_beside.py. Nothing of nnU-Net is changed:
the trainer is its own ``nnUNetTrainerNoMirroring`` (mirrored images would exchange left and right labels, which nnU-Net doesn't
exchange back), and only the numbers of epochs and iterations are set, so that the learning rate has decayed when the time is
over. Two iterations and a validation step are timed first, with a trainer of their own; their time doesn't count.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from nnunet_plans import LIKE_OURS, add_like_ours, choose_epochs
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import nnUNetTrainerNoMirroring

TIMED = 2
SAVED_EVERY = 5  # epochs


def new_trainer(preprocessed: Path, configuration: str, seed: int) -> nnUNetTrainerNoMirroring:
    """A trainer of fold 0 on the CPU, not yet initialised; sets the seeds of PyTorch and NumPy."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    dataset = json.loads((preprocessed / "dataset.json").read_text())
    plans["continue_training"] = False
    return nnUNetTrainerNoMirroring(plans, configuration, 0, dataset, torch.device("cpu"))


def time_steps(trainer: nnUNetTrainerNoMirroring) -> tuple[float, float]:
    """CPU seconds of an iteration and of a validation step, augmentation included. The first iteration isn't timed."""
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    trainer.train_step(next(trainer.dataloader_train))
    started = time.process_time()
    for _ in range(TIMED):
        trainer.train_step(next(trainer.dataloader_train))
    trained = time.process_time()
    trainer.on_validation_epoch_start()
    with torch.no_grad():
        trainer.validation_step(next(trainer.dataloader_val))
    return (trained - started) / TIMED, time.process_time() - trained


def predict(trainer: nnUNetTrainerNoMirroring, images: str, predictions: str) -> None:
    """Write the label maps of a folder of images, with the weights at the end of the training, as in nnU-Net."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    Path(predictions).mkdir(exist_ok=True)
    predictor.predict_from_files_sequential(images, predictions)


def schedule(settings: dict, preprocessed: Path) -> tuple[int, int]:
    """Epochs, and iterations in each: timed once, and read from the file ``schedule`` where a training goes on."""
    path = Path(settings["schedule"])
    if not path.exists():
        trainer = new_trainer(preprocessed, settings["configuration"], settings["seed"])
        trainer.disable_checkpointing = True
        iteration, validation = time_steps(trainer)
        epochs, length = choose_epochs(settings["cpu_seconds"], iteration, validation)
        print(f"{iteration:.2f} s an iteration: {epochs} epochs of {length} iterations", flush=True)
        path.write_text(json.dumps({"epochs": epochs, "iterations": length, "iteration_cpu_seconds": iteration}))
    read = json.loads(path.read_text())
    return read["epochs"], read["iterations"]


def train(trainer: nnUNetTrainerNoMirroring, epochs: int, length: int) -> dict:
    """Train, from the last checkpoint where there is one, and return what was measured.

    ``cpu_seconds`` of a training that was stopped and went on are those of its last part, scaled to all epochs.
    """
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = epochs, length, 1
    trainer.save_every = SAVED_EVERY
    checkpoints = [Path(trainer.output_folder) / f"checkpoint_{name}.pth" for name in ("latest", "best")]
    if found := [path for path in checkpoints if path.exists()]:
        trainer.load_checkpoint(str(found[0]))
        print(f"goes on after epoch {trainer.current_epoch} of {epochs}", flush=True)
    first, started = trainer.current_epoch, time.process_time()
    trainer.run_training()
    took = time.process_time() - started
    return {
        "cpu_seconds": took * epochs / (epochs - first),
        "iterations": epochs * length,
        "patch": list(trainer.configuration_manager.patch_size)[::-1],
        "batch_size": trainer.configuration_manager.batch_size,
        "channels": trainer.configuration_manager.network_arch_init_kwargs["features_per_stage"],
        "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
    }


def main() -> None:
    """Train, predict the images, and leave what was measured in the file ``result`` of the settings."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--settings", type=Path, required=True, help="JSON written by nnunet_beside.py")
    settings = json.loads(parser.parse_args().settings.read_text())
    torch.set_num_threads(1)
    preprocessed = Path(settings["preprocessed"])
    if settings["configuration"] == LIKE_OURS:
        plans = preprocessed / "nnUNetPlans.json"
        add_like_ours(plans, settings["patch"], settings["batch_size"], settings["channels"])
    epochs, length = schedule(settings, preprocessed)
    trainer = new_trainer(preprocessed, settings["configuration"], settings["seed"])
    result = train(trainer, epochs, length)
    predict(trainer, settings["images"], settings["predictions"])
    Path(settings["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
