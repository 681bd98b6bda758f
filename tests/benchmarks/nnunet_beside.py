"""nnU-Net v2 on the images, split and training time of a finished segmentation of ours, both measured in the same way.

    python3 -m venv nnunet && nnunet/bin/pip install nnunetv2==2.8.1
    python tests/benchmarks/nnunet_beside.py --study FOLDER --experiment scans_alone --nnunet-python nnunet/bin/python

FOLDER is where the study ran: it has ``results`` and ``benchmarks``. nnU-Net gets the volumes that our network had (preprocessed,
on the study's grid, from the packed arrays), our training participants, and our validation participants as its only fold. It
plans patch, batch size and network by its own rules (``3d_fullres``), trains on one thread for as many CPU minutes as Snakemake
recorded for ours, and predicts the held-out and external scans. Dice, surface distances and intervals are by our code for both.
The plans are made for a GPU, and allow only tens of iterations in half an hour of one core. So ``--like-ours`` gives nnU-Net the
patch, the batch size and the channels of our network; all else is nnU-Net's.

It prints Dice and adds rows to results/nnunet_beside.tsv for nnU-Net and for the models of the study. It takes somewhat longer
than our training. With ``--folder``, the same command goes on with a training that was stopped.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.segmentation_details import surface_values
from neurocohort.files import read_table
from neurocohort.learning.data import PackedImages, open_packed, packed_folders
from neurocohort.learning.prediction_tables import overlap_rows, reference_labels
from neurocohort.structures import TISSUES
from nnunet_plans import LIKE_OURS, OWN_RULES
from rows import append_rows

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "nnunet_beside.tsv"
DATASET, SPLITS = "Dataset001_study", "splits_final.json"
DEVELOPMENT = ("train", "validation")
NUMBERS = ("dice", "hd95_mm", "assd_mm", "surface_dice_1mm")
KEPT = ("dice", "hd95_mm", "surface_dice_1mm")  # in the results
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class FinishedStudy:
    """One network of a finished study.

    Args:
        folder: The study's folder.
        experiment: Name of a segmentation.
        run: Name of the network, such as ``seed-1``.
    """

    folder: Path
    experiment: str
    run: str

    @property
    def results(self) -> Path:
        """The folder of the experiment."""
        return self.folder / "results" / "experiments" / self.experiment

    def samples(self) -> pd.DataFrame:
        """samples.tsv."""
        return read_table(self.results / "samples.tsv", required=("scan_id", "part", "pack", "row"))

    def record(self) -> dict:
        """run.json, with the names of the structures."""
        record = json.loads((self.results / self.run / "run.json").read_text(encoding="utf-8"))
        if record["settings"]["task"] != "segmentation":
            sys.exit(
                f"error: {self.experiment} is a {record['settings']['task']}; expected a segmentation. Name another."
            )
        record["settings"]["structures"] = record["settings"].get("structures") or list(TISSUES)
        return record

    def affine(self) -> np.ndarray:
        """From voxels of the study's grid to mm, (4, 4)."""
        with np.load(self.folder / "results" / "template.npz") as template:
            return template["affine"]

    def cpu_seconds(self) -> float:
        """CPU time of the training, from Snakemake's record."""
        path = self.folder / "benchmarks" / "train" / self.experiment / f"{self.run}.tsv"
        if not path.exists():
            sys.exit(f"error: {path} doesn't exist; expected Snakemake's record of the training. Give --cpu-minutes.")
        return float(read_table(path, required=("cpu_time",))["cpu_time"].iloc[-1])


def write_dataset(
    folder: Path, samples: pd.DataFrame, packed: PackedImages, affine: np.ndarray, settings: dict
) -> None:
    """Write nnU-Net's raw data set: ``imagesTr`` and ``labelsTr`` of the development part, ``imagesTs`` of the other scans.

    Args:
        folder: Where to.
        samples: samples.tsv.
        packed: The packs of the samples.
        affine: From voxels to mm, (4, 4).
        settings: Those of the training, for the names of structures and modalities.
    """
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    places = packed.places(samples)
    for sample, place in zip(samples.itertuples(), places, strict=True):
        development = sample.part in DEVELOPMENT
        images = folder / ("imagesTr" if development else "imagesTs")
        for channel, data in enumerate(packed.image(*place)):
            nib.save(nib.Nifti1Image(data, affine), images / f"{sample.scan_id}_{channel:04d}.nii.gz")
        if development:
            labels = nib.Nifti1Image(packed.label_map(*place), affine)
            nib.save(labels, folder / "labelsTr" / f"{sample.scan_id}.nii.gz")
    description = {
        "channel_names": {str(number): "MRI" for number in range(len(settings["modalities"]))},  # z-scores
        "labels": {"background": 0} | {name: label for label, name in enumerate(settings["structures"], start=1)},
        "numTraining": int(samples["part"].isin(DEVELOPMENT).sum()),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2))


def one_fold(samples: pd.DataFrame) -> list[dict[str, list[str]]]:
    """The content of splits_final.json: one fold, with our training and validation scans."""
    train, validation = (sorted(samples.loc[samples["part"] == part, "scan_id"]) for part in DEVELOPMENT)
    return [{"train": train, "val": validation}]


def nnunet_environment(folder: Path) -> dict[str, str]:
    """The environment variables of nnU-Net: its folders, one thread, and augmentation in the process whose time is measured."""
    own = {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")} | THREADS
    own["nnUNet_n_proc_DA"] = "0"
    return own | {name: value for name, value in os.environ.items() if name not in (*own, "PYTHONPATH")}


def plan(folder: Path, python: Path, samples: pd.DataFrame) -> None:
    """Let nnU-Net plan and preprocess the data set in ``folder/raw``, and write the split for it."""
    command = [str(python.parent / "nnUNetv2_plan_and_preprocess"), "-d", "1", "-c", OWN_RULES]
    command += ["-np", "1", "-npfp", "1", "--verify_dataset_integrity"]
    subprocess.run(command, check=True, env=nnunet_environment(folder) | {"nnUNet_n_proc_DA": "1"})
    (folder / "preprocessed" / DATASET / SPLITS).write_text(json.dumps(one_fold(samples)))


def nnunet_settings(ours: dict, shape: tuple[int, ...], cpu_seconds: float, like_ours: bool) -> dict:
    """What nnunet_training.py needs to know of our training, whose settings are ``ours`` on a grid of ``shape``."""
    if like_ours and not ours["channels"]:
        sys.exit(
            "error: `network.channels` of the experiment is empty; expected numbers, which --like-ours takes over."
        )
    settings = {key: ours[key] for key in ("batch_size", "channels", "seed")} | {"cpu_seconds": cpu_seconds}
    settings["patch"] = ours["patch"] or [*shape]
    return settings | {"configuration": LIKE_OURS if like_ours else OWN_RULES}


def train(folder: Path, python: Path, settings: dict) -> dict:
    """Train and predict with nnunet_training.py; the label maps are then in ``folder/predictions``. Returns its record."""
    paths = {"images": folder / "raw" / DATASET / "imagesTs", "predictions": folder / "predictions"}
    paths |= {"result": folder / "result.json", "preprocessed": folder / "preprocessed" / DATASET}
    paths["schedule"] = folder / f"{settings['configuration']}.json"
    everything = settings | {name: str(path) for name, path in paths.items()}
    (folder / "settings.json").write_text(json.dumps(everything))
    command = [str(python), str(HERE / "nnunet_training.py"), "--settings", str(folder / "settings.json")]
    subprocess.run(command, check=True, env=nnunet_environment(folder))
    return json.loads(paths["result"].read_text())


def overlaps(
    folder: Path, samples: pd.DataFrame, packed: PackedImages, affine: np.ndarray, names: list[str]
) -> pd.DataFrame:
    """The table of predictions of the label maps in ``folder``, as predictions.tsv has it for ours."""
    judged = samples[~samples["part"].isin(DEVELOPMENT)].reset_index(drop=True)
    predicted = (np.asarray(nib.load(folder / f"{scan}.nii.gz").dataobj, dtype=np.uint8) for scan in judged["scan_id"])
    spacing = round(float(np.linalg.norm(affine[:3, 0])), 6)
    surfaces = partial(surface_values, count=len(names))
    return overlap_rows(judged, predicted, reference_labels(judged, packed), spacing, surfaces, names)


def common_table(results: Path, nnunet: pd.DataFrame, name: str, bootstrap: Bootstrap) -> pd.DataFrame:
    """metrics.tsv of our network, the study's baselines and nnU-Net, on the same scans and resamples."""
    network = read_table(results / "predictions.tsv", required=("tissue", "dice"))
    baselines = read_table(results / "baselines.tsv", required=("model", "dice"))
    tables = [network, pd.concat([baselines, nnunet.assign(model=name)], ignore_index=True)]
    for number, table in enumerate(tables):
        numbers = [column for column in NUMBERS if column in table]
        table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
        tables[number] = table.drop(columns=["site", "age", "sex"], errors="ignore")
    return evaluate(*tables, "segmentation", bootstrap)


def print_dice(table: pd.DataFrame) -> None:
    """Dice with its interval: a line for each cohort and structure, a column for each model."""
    dice = table[table["metric"] == "dice"].copy()
    dice["text"] = [f"{row.value:.3f} ({row.ci_low:.3f} to {row.ci_high:.3f})" for row in dice.itertuples()]
    print(dice.pivot(index=["cohort", "group"], columns="model", values="text").to_string())


def training_columns(record: dict, cpu_seconds: float, iterations: int) -> dict:
    """How a network was trained, for the results: from run.json's settings, or from nnU-Net's record."""
    shown = {
        name: "x".join(map(str, record[name])) or usual for name, usual in (("patch", "whole"), ("channels", "own"))
    }
    minutes = round(cpu_seconds / 60, 1)
    return {"cpu_minutes": minutes, "iterations": iterations, "batch": record["batch_size"]} | shown


def main() -> None:
    """Write the data set, run nnU-Net, measure, print, and add the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--study", type=Path, required=True, help="the folder in which the study ran")
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--run", default="seed-1", help="the network whose minutes count")
    parser.add_argument("--nnunet-python", type=Path, required=True, help="python of an environment with nnunetv2")
    parser.add_argument("--like-ours", action="store_true", help="patch, batch size and channels of our network")
    parser.add_argument("--cpu-minutes", type=float, help="instead of those that Snakemake recorded")
    parser.add_argument("--folder", type=Path, help="for nnU-Net's files (default: a temporary one)")
    parser.add_argument("--resamples", type=int, default=2000, help="of the intervals")
    args = parser.parse_args()
    study = FinishedStudy(args.study.resolve(), args.experiment, args.run)
    samples, record, affine = study.samples(), study.record(), study.affine()
    ours = record["settings"]
    seconds = args.cpu_minutes * 60 if args.cpu_minutes else study.cpu_seconds()
    packed = open_packed(packed_folders(samples, study.folder / "results"), ours["modalities"])
    name = "nnunet_like_ours" if args.like_ours else "nnunet"
    with tempfile.TemporaryDirectory(prefix="nnunet_beside_") as temporary:
        folder, python = (args.folder or Path(temporary)).resolve(), args.nnunet_python.absolute()
        if not (folder / "preprocessed" / DATASET / SPLITS).exists():
            write_dataset(folder / "raw" / DATASET, samples, packed, affine, ours)
            plan(folder, python, samples)
        shape = next(iter(packed.labels.values())).shape[1:]
        found = train(folder, python, nnunet_settings(ours, shape, seconds, args.like_ours))
        nnunet = overlaps(folder / "predictions", samples, packed, affine, ours["structures"])
    table = common_table(study.results, nnunet, name, Bootstrap(args.resamples, ours["seed"]))
    print_dice(table)
    batches = record["epochs_run"] * math.ceil((samples["part"] == "train").sum() / ours["batch_size"])
    trainings = {"network": training_columns(ours, seconds, batches) | {"parameters": record["parameters"]}}
    trainings[name] = training_columns(found, found["cpu_seconds"], found["iterations"])
    trainings[name]["parameters"] = found["parameters"]
    kept = table[table["metric"].isin(KEPT)].to_dict("records")
    append_rows(RESULTS, [{"experiment": study.experiment} | row | trainings.get(row["model"], {}) for row in kept])


if __name__ == "__main__":
    main()
