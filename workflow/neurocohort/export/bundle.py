"""A trained experiment as a MONAI bundle: a folder that predicts with MONAI, torch and nibabel alone.

The layout is MONAI's bundle specification's (https://docs.monai.io/en/stable/mb_specification.html), but for the weights, which
are safetensors files: they hold numbers and can't hold code.
"""

import inspect
import shutil
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.export.bundle_files import evaluator, outputs, scans, weights
from neurocohort.export.bundle_metadata import licence_text, licences, metadata
from neurocohort.files import read_json, write_json, write_text
from neurocohort.imaging.derivatives import TEMPLATE_SPACE
from neurocohort.imaging.template import study_grid
from neurocohort.imaging.volume import Grid
from neurocohort.learning import networks
from neurocohort.learning.architectures import ARCHITECTURES, NETS, SFCN
from neurocohort.learning.constants import WINDOW_OVERLAP
from neurocohort.learning.model_files import RUN, WEIGHTS
from neurocohort.learning.settings import TrainingSettings, read_settings
from neurocohort.learning.tasks import CLASSIFICATION, REGRESSION, SEGMENTATION, Task, task_from
from neurocohort.learning.windows import WINDOW_BATCH
from neurocohort.report.model_card import model_card
from neurocohort.report.model_limits import Known
from neurocohort.report.networks import Networks

SCRIPTS = (evaluator, outputs, scans, weights)
NETWORK_MODULE = "scripts.network"

USE = """
## How to use it

In this folder, with `pip install monai torch nibabel fire` (MONAI's command line needs fire):

    python -m monai.bundle run --config_file configs/inference.json --dataset_dir SCANS --output_dir PREDICTIONS

From elsewhere add `--bundle_root` with this folder. Without fire, in this folder:

    python -c "from monai.bundle import run; run(config_file='configs/inference.json', dataset_dir='SCANS')"

SCANS is a folder with scans that neurocohort preprocessed with this study's settings
(`*_space-{space}_desc-preproc_{modality}.nii.gz`, such as the study's `results/<cohort>/preproc`): {shape} voxels of
{spacing:g} mm, intensities 0 to 1 inside the brain and 0 outside it. Scans on another grid or scale are refused. PREDICTIONS
(`eval` in this folder where it isn't named) receives {leaves}.

Predictions are {averaged}, computed in float32. `configs/metadata.json` holds the input format, the measured figures with their
intervals, and versions; `LICENSE` the terms of the training data.
"""


def write_bundle(
    folder: Path,
    experiment: str,
    members: dict[str, Path],
    metrics: pd.DataFrame,
    samples: pd.DataFrame,
    configuration: dict,
    networks: Networks | None = None,
) -> None:
    """Write the bundle of ``experiment`` into ``folder``.

    ``members``: by name, the folders with model.safetensors and run.json whose predictions are averaged; ``metrics``,
    ``samples``: the experiment's tables; ``configuration``: the whole study's, with this experiment and those that it starts
    from at least; ``networks``: what became of all of its networks, for the card. Raises
    InputError where the members have different networks or tasks, or a file is missing.
    """
    runs = {name: read_json(path / RUN) for name, path in members.items()}
    run = _common(runs)
    names = [f"model_{name}.safetensors" for name in members] if len(members) > 1 else [WEIGHTS]
    (folder / "models").mkdir(parents=True, exist_ok=True)
    for path, name in zip(members.values(), names, strict=True):
        if not (path / WEIGHTS).is_file():
            raise InputError(f"{path / WEIGHTS} is not there; run the workflow again to have it made.")
        shutil.copyfile(path / WEIGHTS, folder / "models" / name)
    settings, task = read_settings(run["settings"]), task_from(run["task"])
    write_json(folder / "configs" / "inference.json", inference_config(runs, names, configuration))
    write_json(
        folder / "configs" / "metadata.json",
        metadata(experiment, settings, task, runs, metrics, samples, configuration),
    )
    write_text(folder / "LICENSE", licence_text(experiment, configuration))
    entry = configuration["experiments"][experiment]
    terms = licences(configuration, [*entry["cohorts"], *entry["external"]])
    terms = {cohort: text.rstrip(".") for cohort, text in terms.items()}  # the card ends the sentence itself
    card = model_card(Known(experiment, entry, configuration, run, metrics, samples, networks, licences=terms))
    write_text(folder / "docs" / "README.md", card.rstrip() + "\n" + _use(settings, task, len(members), configuration))
    for module in SCRIPTS:
        write_text(folder / "scripts" / Path(module.__file__).name, inspect.getsource(module))
    write_text(folder / "scripts" / "__init__.py", "")
    if settings.network == "sfcn":
        write_text(folder / "scripts" / "network.py", _sfcn_source())


def inference_config(runs: dict[str, dict], weight_names: list[str], configuration: dict) -> dict:
    """The content of configs/inference.json. ``runs``: run.json by member; ``weight_names``: their files under models/."""
    run = next(iter(runs.values()))
    settings, task = read_settings(run["settings"]), task_from(run["task"])
    grid = study_grid(configuration["preprocessing"]["spacing_mm"], tuple(configuration["preprocessing"]["shape"]))
    postprocessing, rows = _from_outputs(runs)
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "dataset_dir": "scans",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "modalities": list(settings.modalities),
        "weights": [f"models/{name}" for name in weight_names],
        "network_def": network_definition(settings, task),
        "networks": {
            "_target_": "scripts.weights.loaded",
            "network": "@network_def",
            "files": "$[@bundle_root + '/' + name for name in @weights]",
            "device": "@device",
        },
        "data": {"_target_": "scripts.scans.find_scans", "folder": "@dataset_dir", "modalities": "@modalities"},
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(grid)},
        "dataset": {"_target_": "Dataset", "data": "@data", "transform": "@preprocessing"},
        "standardisation": [_standardisation(run["intensity"]) for run in runs.values()],
        "inferer": _inferer(settings),
        "postprocessing": postprocessing,
        "evaluator": {
            "_target_": "scripts.evaluator.Evaluator",
            "device": "@device",
            "dataset": "@dataset",
            "networks": "@networks",
            "standardisation": "@standardisation",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "rows": rows,
            "output_dir": "@output_dir",
        },
        "run": ["$@evaluator.run()"],
    }


def network_definition(settings: TrainingSettings, task: Task) -> dict:
    """The network as a component of MONAI's configuration, by class and arguments."""
    architecture = ARCHITECTURES[settings.network]
    options = {"dropout": settings.dropout, "norm": settings.norm}
    shape = architecture.shape(settings.channels, len(settings.modalities), task.outputs, **options)
    module = NETWORK_MODULE if architecture.target == SFCN else NETS
    return {"_target_": f"{module}.{architecture.target}", **architecture.arguments(shape)}


def _common(runs: dict[str, dict]) -> dict:
    """The first member's run.json. All members must share network, task, and the modalities in their order."""
    first_name, first = next(iter(runs.items()))
    for name, run in runs.items():
        for key in ("task", "network", "modalities", "classes", "channels", "norm", "soft_bins", "patch"):
            if run["settings"][key] != first["settings"][key]:
                raise InputError(
                    f"`{key}` is {first['settings'][key]} in {first_name} and {run['settings'][key]} in {name}; the "
                    "members of one experiment share it. Delete the older member and run again."
                )
    return first


def _preprocessing(grid: Grid) -> list[dict]:
    """From the files to ``image``, (modalities, X, Y, Z) in whole levels, as `dataset.pack` packs it."""
    load = {"reader": "NibabelReader", "image_only": True, "ensure_channel_first": True}
    check = {"shape": list(grid.shape), "affine": grid.affine.tolist()}
    to_levels = {"_target_": "scripts.scans.to_levels", "_mode_": "callable", **check}
    return [
        {"_target_": "LoadImaged", "keys": "@modalities", **load},
        {"_target_": "Lambdad", "keys": "@modalities", "func": to_levels},
        {"_target_": "ConcatItemsd", "keys": "@modalities", "name": "image", "dim": 0},
    ]


def _standardisation(intensity: dict) -> dict:
    """From levels to a member's input, as `learning.data.to_input` makes it of the statistics of its training part."""
    constants = {"subtrahend": intensity["mean"], "divisor": intensity["deviation"]}
    return {"_target_": "NormalizeIntensity", **constants, "channel_wise": True}


def _inferer(settings: TrainingSettings) -> dict:
    if not settings.patch:
        return {"_target_": "SimpleInferer"}
    return {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(settings.patch),
        "sw_batch_size": WINDOW_BATCH,
        "overlap": WINDOW_OVERLAP,
        "mode": "gaussian",
        "padding_mode": "replicate",
    }


def _from_outputs(runs: dict[str, dict]) -> tuple[list[dict], dict]:
    """What turns each network's outputs into predictions (a member has its own constants), and these into rows."""
    steps = [_postprocessing(task_from(run["task"])) for run in runs.values()]
    kind = next(iter(runs.values()))["settings"]["task"]
    rows = {REGRESSION: "value_rows", CLASSIFICATION: "class_rows", SEGMENTATION: "label_rows"}[kind]
    space = {"space": TEMPLATE_SPACE} if kind == SEGMENTATION else {}
    return steps, {"_target_": f"scripts.outputs.{rows}", "_mode_": "callable", **space}


def _postprocessing(task: Task) -> dict:
    if task.kind == REGRESSION and task.soft_bins:
        named = {"_target_": "scripts.outputs.soft_bins", "low": task.low, "high": task.high}
    elif task.kind == REGRESSION:
        named = {"_target_": "scripts.outputs.value", "mean": task.mean, "scale": task.scale}
    elif task.kind == CLASSIFICATION and task.outputs == 1:
        named = {"_target_": "scripts.outputs.two_classes"}
    else:
        named = {"_target_": "scripts.outputs.classes"}
    return named | {"_mode_": "callable"}


def _sfcn_source() -> str:
    """The module with SFCN, cut out of the package's own."""
    parts = [inspect.getsource(part).rstrip() for part in (networks.SFCN, networks._norm)]
    head = '"""The network, as neurocohort trained it."""\n\nimport math\n\nimport torch\nfrom torch import nn\n\n'
    return head + f"GROUPS = {networks.GROUPS}\n\n\n" + "\n\n\n".join(parts) + "\n"


def _use(settings: TrainingSettings, task: Task, members: int, configuration: dict) -> str:
    if task.kind == SEGMENTATION:
        leaves = (
            "a label map for each scan (0 background, 1 CSF, 2 GM, 3 WM) and `predictions.tsv` with the volumes in mL in "
            "template space, where every head has the template's size"
        )
    elif task.kind == CLASSIFICATION and task.classes > 2:
        leaves = "`predictions.tsv`: a row a scan with the most probable class and each class's probability"
    elif task.kind == CLASSIFICATION:
        leaves = "`predictions.tsv`: a row a scan with the probability of class 1"
    else:
        leaves = "`predictions.tsv`: a row a scan with the predicted value"
    preprocessing = configuration["preprocessing"]
    return USE.format(
        space=TEMPLATE_SPACE,
        modality=settings.modalities[0],
        shape=" x ".join(map(str, preprocessing["shape"])),
        spacing=preprocessing["spacing_mm"],
        leaves=leaves,
        averaged=f"the mean over {members} networks" if members > 1 else "those of one network",
    )
