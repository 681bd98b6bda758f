"""Whether the kernel models of a finished study are at chance when the targets are permuted among its participants.

    python tests/benchmarks/permuted_targets.py RESULTS [--experiments brain_age] [--permutations 20] [--seed 1]

RESULTS is the folder ``results`` of a study that ran; nothing in it is changed. The models of voxels and of tissue maps are
fitted as in baselines.tsv, on the same scans and in the same test folds, and evaluated on the held-out scans. The permutation is
drawn for all participants together, trained and held out: each gets the targets of another one. A model that does better than
chance on such targets has seen those of the held-out participants. The kernels don't depend on the targets and are computed once.

Prints for each model the mean and the range over the permutations. The error of a regression is compared with that of predicting
the mean or the median of the training targets on the same permutations, whichever has the smaller error; a model that fits noise
has a larger one. ``at_chance`` is ``yes`` where Student's 95 % interval of the mean over the permutations includes chance, else
``better`` or ``worse``. With test folds, an AUC slightly below 0.5 is no fault: where a test fold has more cases than the others,
its models were fitted on fewer. Adds dated rows to tests/benchmarks/results/permuted_targets.tsv. Nothing is asserted.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from neurocohort.dataset.folds import (  # noqa: E402
    FOLDED_PARTS,
    HELD_OUT,
    BaselineFit,
    baseline_fits,
    test_fold_numbers,
    with_test_fold,
)
from neurocohort.evaluation.measures import CLASSIFICATION, headline_metric, measures  # noqa: E402
from neurocohort.evaluation.tissue_baselines import (  # noqa: E402
    CHANNELS,
    features_of_task,
    tissue_kernels,
    tissue_models,
)
from neurocohort.evaluation.voxel_baselines import (  # noqa: E402
    Fit,
    first_fault,
    kernel_of_fit,
    tuned_predictions,
    voxel_gram,
    voxel_models,
)
from neurocohort.files import read_table  # noqa: E402
from neurocohort.learning.data import open_packed, packed_folders  # noqa: E402
from neurocohort.learning.prediction_tables import value_rows  # noqa: E402
from neurocohort.settings.evaluation import BaselineSettings  # noqa: E402
from neurocohort.yaml_files import read_yaml  # noqa: E402
from rows import append_rows  # noqa: E402
from scipy import stats  # noqa: E402

ROWS = Path(__file__).resolve().parent / "results" / "permuted_targets.tsv"
CONFIGURATION = Path("report") / "configuration.yaml"  # in the folder of the results
CONFIDENCE = 0.95
CHANCE_AUC = 0.5
CONSTANTS: dict[str, Callable] = {"mean": np.mean, "median": np.median}  # of the training targets


@dataclass(frozen=True)
class Task:
    """An experiment whose models are fitted again. ``classes``: 0 for a regression. ``samples``: without external scans."""

    name: str
    settings: BaselineSettings
    samples: pd.DataFrame
    classes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--experiments", nargs="+", help="default: all regressions and classifications")
    parser.add_argument("--permutations", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=Path, default=ROWS, help="the table that the rows are added to")
    arguments = parser.parse_args()
    configuration = read_yaml(arguments.results / CONFIGURATION)
    valued = [name for name, entry in configuration["experiments"].items() if entry["task"] != "segmentation"]
    rows = []
    for name in arguments.experiments or valued:
        task = read_task(arguments.results, configuration, name)
        rows += measured(task, arguments.results, arguments.permutations, arguments.seed)
    rows = [{"study": configuration["study"]} | row for row in rows]
    print(pd.DataFrame(rows).to_string(index=False))
    append_rows(arguments.rows, rows)


def read_task(results: Path, configuration: dict, name: str) -> Task:
    """The experiment ``name`` of a finished study, with the settings of its baselines."""
    entry, preprocessing = configuration["experiments"][name], configuration["preprocessing"]
    classes = len(entry.get("classes") or [0, 1]) if entry["task"] == CLASSIFICATION else 0
    settings = BaselineSettings.taken_from(
        entry,
        classes=classes,
        folds=configuration["split"]["folds"] if entry["training"]["cross_validation"] else 0,
        seed=entry["training"]["seeds"][0],
        spacing_mm=preprocessing["spacing_mm"],
        tissue_maps=preprocessing["tissue_maps"],
    )
    samples = read_table(results / "experiments" / name / "samples.tsv")
    own = samples[samples["part"].isin((*FOLDED_PARTS, HELD_OUT))].reset_index(drop=True)
    return Task(name, settings, own, classes)


def measured(task: Task, results: Path, permutations: int, seed: int) -> list[dict]:
    """A row for each model: its metric over the permutations, compared with chance."""
    start = time.perf_counter()
    drawn = [permuted(task.samples, np.random.default_rng((seed, number))) for number in range(permutations)]
    tables: dict[str, list[list[pd.DataFrame]]] = {}
    for model, rows in predictions(task, results, drawn):
        tables.setdefault(model, []).append(rows)
    # Of each model and permutation, one table with the held-out rows of all test folds.
    values = {
        model: np.array([_metric(task, own) for own in zip(*folds, strict=True)]) for model, folds in tables.items()
    }
    constant = "an AUC of 0.5" if task.classes else min(CONSTANTS, key=lambda name: values[name].mean())
    chance = values.get(constant, np.full(permutations, CHANCE_AUC))
    seconds = round(time.perf_counter() - start, 1)
    shared = {
        "experiment": task.name,
        "participants": task.samples["participant_id"].nunique(),
        "test_folds": len(test_fold_numbers(task.samples)),
        "permutations": permutations,
        "chance_is": constant,
        "metric": "auc" if task.classes == 2 else "auc_macro" if task.classes else "mae",
    }
    return [
        shared | {"model": model} | _row(own, chance, task.classes) | {"seconds": seconds}
        for model, own in values.items()
    ]


def permuted(samples: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Give each participant the targets of another one, scan by scan, repeated if that one has fewer scans."""
    people, targets = (samples[name].to_numpy() for name in ("participant_id", "target"))
    scans_of = [np.flatnonzero(people == person) for person in np.unique(people)]
    changed = targets.copy()
    for scans, donor in zip(scans_of, generator.permutation(len(scans_of)), strict=True):
        changed[scans] = np.resize(targets[scans_of[donor]], len(scans))
    return samples.assign(target=changed)


def predictions(task: Task, results: Path, drawn: list[pd.DataFrame]) -> Iterator[tuple[str, list[pd.DataFrame]]]:
    """Yield for each test fold and model its name, and its held-out predictions of each permutation."""
    for fit, held_out, kernels in kernels_by_test_fold(task, results):
        if fault := next(filter(None, (first_fault(samples, [fit], task.classes) for samples in drawn)), ""):
            raise SystemExit(f"{task.name}: {fault}")
        how = {"classes": task.classes, "seed": task.settings.seed}
        for name, (model, kernel) in kernels.items():
            fitted = (tuned_predictions(model, kernel, fit.training, samples, **how) for samples in drawn)
            yield name, [value_rows(rows[held_out], own[held_out]) for rows, own in zip(drawn, fitted, strict=True)]
        for name, constant in [] if task.classes else CONSTANTS.items():
            yield name, [_constant_rows(constant, rows, fit.training, held_out) for rows in drawn]


def kernels_by_test_fold(
    task: Task, results: Path
) -> Iterator[tuple[BaselineFit, np.ndarray, dict[str, tuple[Fit, np.ndarray]]]]:
    """Yield for each test fold (once without) its fit, its held-out rows, (rows,) bool, and its models with their kernels."""
    samples, classes = task.samples, task.classes
    folders = packed_folders(samples, results)
    numbers = test_fold_numbers(samples)
    tables = [with_test_fold(samples, number) for number in numbers]
    fits = [baseline_fits(table, task.settings.folds)[0] for table in tables]
    whole = np.any([fit.training for fit in fits], axis=0)
    gram = voxel_gram(samples, open_packed(folders, task.settings.modalities).stack_arrays, whole)
    features = None
    if task.settings.tissue_maps:
        maps = open_packed(folders, list(CHANNELS)).stack_arrays
        features = features_of_task(samples, maps, task.settings.spacing_mm, classes)
    for table, fit in zip(tables, fits, strict=True):
        kernel = kernel_of_fit(gram, whole, fit.training)
        kernels = {name: (model, kernel) for name, model in voxel_models(classes).items()}
        if features is not None:
            own = next(tissue_kernels(features, [fit], classes))
            kernels |= {name: (model, own) for name, model in tissue_models(classes).items()}
        yield fit, (table["part"] == HELD_OUT).to_numpy(), kernels


def _constant_rows(
    constant: Callable, samples: pd.DataFrame, training: np.ndarray, held_out: np.ndarray
) -> pd.DataFrame:
    value = constant(samples.loc[training, "target"])
    return value_rows(samples[held_out], np.full(held_out.sum(), value))


def _metric(task: Task, tables: tuple[pd.DataFrame, ...]) -> float:
    table = pd.concat(tables, ignore_index=True)
    kind = task.settings.task
    return measures(table, kind)[headline_metric(table, kind)].value


def _row(values: np.ndarray, chance: np.ndarray, classes: int) -> dict:
    """The metric (permutations,) of a model and its value at chance, (permutations,)."""
    better = values - chance if classes else chance - values
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(better) - 1) * better.std(ddof=1) / len(better) ** 0.5
    low, high = better.mean() - half, better.mean() + half
    numbers = {
        "mean": values.mean(),
        "lowest": values.min(),
        "highest": values.max(),
        "chance": chance.mean(),
        "better_by": better.mean(),
        "better_by_low": low,
        "better_by_high": high,
    }
    verdict = "better" if low > 0 else "worse" if high < 0 else "yes"
    return {name: round(float(value), 4) for name, value in numbers.items()} | {"at_chance": verdict}


if __name__ == "__main__":
    main()
