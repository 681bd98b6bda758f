"""What a bundle says of its model: metadata.json after MONAI's schema, and the terms of the data that it learned from."""

from collections.abc import Iterable
from importlib.metadata import version

import numpy as np
import pandas as pd

from neurocohort import __version__
from neurocohort.imaging.derivatives import TEMPLATE_SPACE
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import CLASSIFICATION, REGRESSION, SEGMENTATION, Task

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
VERSION = "1.0.0"  # of the bundle: a study's bundle is made once, and anew with the study
LEVELS = 255
TISSUES = ("background", "CSF", "GM", "WM")
TESTED_PARTS = ("held-out", "external")
MEASURED = ["cohort", "part", "metric", "value", "ci_low", "ci_high", "interval", "n"]

TERMS = {
    "synthetic": "synthetic scans, made by neurocohort itself: they are nobody's, and no terms bind them.",
    "ixi": (
        "the IXI dataset (https://brain-development.org/ixi-dataset/), Creative Commons Attribution-ShareAlike 3.0 "
        "(https://creativecommons.org/licenses/by-sa/3.0/). Name the source; what is adapted from the data is shared under the "
        "same licence."
    ),
    "oasis1": (
        "OASIS-1, cross-sectional (https://sites.wustl.edu/oasisbrains/), under the OASIS Data Use Agreement, which whoever ran "
        "the study accepted. Read and accept it before you use or pass on this model, and cite Marcus et al. 2007 "
        "(https://doi.org/10.1162/jocn.2007.19.9.1498)."
    ),
    "own": "scans of the study's own: under the terms that their owner says. Ask whoever ran the study.",
}


def metadata(
    experiment: str,
    settings: TrainingSettings,
    task: Task,
    runs: dict[str, dict],
    metrics: pd.DataFrame,
    samples: pd.DataFrame,
    configuration: dict,
) -> dict:
    """The content of configs/metadata.json. ``runs``: run.json by member; the rest as `bundle.write_bundle` has it."""
    entry = configuration["experiments"][experiment]
    rows = _measured(metrics)
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "changelog": {VERSION: _trained(runs, configuration)},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"nibabel": version("nibabel")},
        "name": f"{configuration['study']}: {experiment}",
        "task": _task(entry, task),
        "description": (
            f"{settings.network} on preprocessed {', '.join(settings.modalities)} brain scans in the space {TEMPLATE_SPACE}, "
            f"trained by neurocohort {__version__}; "
            + (f"the mean over {len(runs)} networks." if len(runs) > 1 else "one network.")
        ),
        "authors": f"those who ran the study {configuration['study']}",
        "copyright": "scripts: neurocohort developers, MIT licence; weights: see LICENSE for the terms of the training data",
        "data_source": "; ".join(f"{name}: {_source(configuration, name)}" for name in entry["cohorts"]),
        "data_type": "nibabel",
        "image_classes": f"{', '.join(settings.modalities)}, a channel each: 0 outside the brain, 0 to 1 inside it",
        "label_classes": _labels(entry, task),
        "pred_classes": _labels(entry, task),
        "eval_metrics": {f"{row['metric']} ({row['cohort']}, {row['part']})": row["value"] for row in rows},
        "intended_use": intended_use(entry, task, configuration),
        "references": [],
        "network_data_format": _data_format(settings, task, next(iter(runs.values()))["intensity"], configuration),
        "neurocohort": {
            "version": __version__,
            "study": configuration["study"],
            "experiment": experiment,
            "demo_data": configuration["demo_data"],
            "grid": {
                "space": TEMPLATE_SPACE,
                "shape": configuration["preprocessing"]["shape"],
                "spacing_mm": configuration["preprocessing"]["spacing_mm"],
                "brain_extraction": configuration["preprocessing"]["brain_extraction"],
                "registration": configuration["preprocessing"]["registration"],
                "intensity": configuration["preprocessing"]["intensity"],
            },
            "members": {
                name: {key: run[key] for key in ("seed", "epochs_run", "best_epoch", "parameters", "device", "torch")}
                for name, run in runs.items()
            },
            "training_cohorts": _training_cohorts(samples, entry),
            "measured": rows,
        },
    }


def intended_use(entry: dict, task: Task, configuration: dict) -> str:
    """What the model is for and what it is not, in a few sentences."""
    told = (
        f"Research only. {_task(entry, task)} from brain MRI that neurocohort preprocessed with this study's settings. "
    )
    told += "Not a medical device, and not for decisions about a person. "
    if configuration["demo_data"]:
        return told + "Trained on synthetic scans: it shows that the software works and says nothing about people."
    return (
        told
        + "Scans of other scanners, ages or diagnoses than those trained on can be far off; test it on your own first."
    )


def licence_text(experiment: str, configuration: dict) -> str:
    """The content of LICENSE: of the scripts, and for each training cohort its terms."""
    entry = configuration["experiments"][experiment]
    lines = [
        "The files under scripts/ and configs/ are part of neurocohort, MIT licence, copyright neurocohort developers.",
        "",
        "The weights under models/ were learned from the data below. Their terms bind whoever uses or passes on the weights as",
        "far as the law takes trained weights for a work made from the data.",
        "",
    ]
    lines += [f"- {name}: {terms}" for name, terms in licences(configuration, entry["cohorts"]).items()]
    if weights := (entry.get("transfer") or {}).get("weights"):
        lines.append(f"- the training started from {weights}: its terms, and those of what it learned from, hold too.")
    return "\n".join(lines) + "\n"


def licences(configuration: dict, cohorts: list[str]) -> dict[str, str]:
    """By cohort, under which terms its data are, by where they come from."""
    return {name: TERMS[_kind(configuration, name)] for name in cohorts}


def _source(configuration: dict, cohort: str) -> str:
    named = {"synthetic": "synthetic scans", "ixi": "IXI", "oasis1": "OASIS-1", "own": "scans of the study's own"}
    return named[_kind(configuration, cohort)]


def _kind(configuration: dict, cohort: str) -> str:
    if configuration["demo_data"]:
        return "synthetic"
    source = configuration["cohorts"][cohort]["source"]
    return source if source in TERMS else "own"


def _task(entry: dict, task: Task) -> str:
    if task.kind == REGRESSION:
        return f"Predicts {entry['target']} (a number)"
    if task.kind == CLASSIFICATION:
        return f"Tells {task.classes} classes of {entry['target']} apart"
    return "Segments CSF, grey matter and white matter"


def _labels(entry: dict, task: Task) -> str:
    if task.kind == REGRESSION:
        return f"{entry['target']}, in the unit that the cohorts' tables have"
    if task.kind == SEGMENTATION:
        return ", ".join(f"{number} {tissue}" for number, tissue in enumerate(TISSUES))
    return ", ".join(f"{number}: {name}" for number, name in enumerate(_class_names(entry, task)))


def _class_names(entry: dict, task: Task) -> list[str]:
    given = entry.get("classes") or list(range(task.classes))
    shown = ["/".join(map(str, one)) if isinstance(one, list) else str(one) for one in given]
    return [f"{entry['target']} {one}" for one in shown]


def _trained(runs: dict[str, dict], configuration: dict) -> str:
    told = [f"{name}: {run['epochs_run']} epochs, weights kept: {_kept(run)}" for name, run in runs.items()]
    return f"Trained by neurocohort {__version__} for the study {configuration['study']} ({'; '.join(told)})."


def _kept(run: dict) -> str:
    keep = run["settings"]["keep"]
    return (
        f"of epoch {run['best_epoch']}"
        if keep == "best"
        else f"{keep} of the last epochs"
        if keep == "averaged"
        else "the last"
    )


def _measured(metrics: pd.DataFrame) -> list[dict]:
    """The network's figures over whole parts that weren't trained on, each with its interval and n."""
    chosen = (metrics["model"] == "network") & (metrics["group"] == "all") & metrics["part"].isin(TESTED_PARTS)
    return [{key: _plain(row[key]) for key in MEASURED} for row in metrics[chosen].to_dict("records")]


def _plain(value: object) -> object:
    """A JSON value; None where it is missing."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _training_cohorts(samples: pd.DataFrame, entry: dict) -> list[dict]:
    """By training cohort, what the weights were fitted on: scans, participants, age range, sexes, sites."""
    parts = ["train", "validation"] if entry["training"]["cross_validation"] else ["train"]
    trained = samples[samples["part"].isin(parts) & samples["cohort"].isin(entry["cohorts"])]
    return [
        {
            "cohort": str(cohort),
            "scans": len(rows),
            "participants": int(rows["participant_id"].nunique()),
            "age_years": [_plain(limit) for limit in _range(rows["age"])],
            "sex": {str(sex): int(count) for sex, count in rows["sex"].value_counts().sort_index().items()},
            "sites": sorted(map(str, rows["site"].dropna().unique())),
        }
        for cohort, rows in trained.groupby("cohort")
    ]


def _range(values: pd.Series) -> Iterable[float]:
    numbers = pd.to_numeric(values, errors="coerce")
    return round(float(numbers.min()), 1), round(float(numbers.max()), 1)


def _data_format(settings: TrainingSettings, task: Task, intensity: dict, configuration: dict) -> dict:
    """What goes into the network and what comes out of it, as MONAI's `verify_net_in_out` reads it."""
    shape = settings.patch or configuration["preprocessing"]["shape"]
    limits = [
        [(level - mean) / deviation for level in (0, LEVELS)]
        for mean, deviation in zip(intensity["mean"], intensity["deviation"], strict=True)
    ]
    values_in = [round(min(low for low, _ in limits), 4), round(max(high for _, high in limits), 4)]
    common = {"dtype": "float32", "is_patch_data": bool(settings.patch)}
    return {
        "inputs": {
            "image": {
                "type": "image",
                "format": "magnitude",
                "modality": "MR",
                "num_channels": len(settings.modalities),
                "spatial_shape": list(shape),
                "value_range": values_in,
                **common,
                "channel_def": {str(number): name for number, name in enumerate(settings.modalities)},
            }
        },
        "outputs": {
            "pred": {
                "type": "image" if task.kind == SEGMENTATION else "probabilities",
                "format": {REGRESSION: "regression", CLASSIFICATION: "classification"}.get(task.kind, "segmentation"),
                "num_channels": task.outputs,
                "spatial_shape": list(shape) if task.kind == SEGMENTATION else [],
                "value_range": [],
                **common,
                "channel_def": _output_channels(settings, task),
            }
        },
    }


def _output_channels(settings: TrainingSettings, task: Task) -> dict[str, str]:
    if task.kind == SEGMENTATION:
        return {str(number): tissue for number, tissue in enumerate(TISSUES)}
    if task.kind == CLASSIFICATION:
        names = ["logit of class 1"] if task.outputs == 1 else [f"logit of class {n}" for n in range(task.outputs)]
        return {str(number): name for number, name in enumerate(names)}
    if task.outputs == 1:
        return {"0": "standardised value"}
    centres = np.linspace(task.low, task.high, task.outputs)
    return {str(number): f"logit of the bin at {centre:.4g}" for number, centre in enumerate(centres)}
