"""What the trainings of an experiment must agree with: folds, patches, precision, transfer, control and sweep."""

from collections.abc import Iterator
from pathlib import Path

from neurocohort.configuration_messages import did_you_mean, listed
from neurocohort.members import control_names, without_site_names


def training_faults(key: str, experiment: dict, config: dict) -> Iterator[str]:
    """A sentence for each thing in the trainings of ``experiment`` that the rest of ``config`` doesn't go with."""
    training, task = experiment["training"], experiment["task"]
    if training["cross_validation"] and config["split"]["folds"] < 2:
        folds = config["split"]["folds"]
        yield f"`{key}.training.cross_validation` is on, and `split.folds` is {folds}; expected 2 or more folds."
    if training["processes"] > training["batch_size"]:
        yield (
            f"`{key}.training.processes` is {training['processes']}, and a batch has {training['batch_size']} scans "
            f"(`{key}.training.batch_size`); expected at least a scan for each process."
        )
    if training["precision"] == "float16" and config["device"] == "cpu":
        yield f"`{key}.training.precision` is float16, which a CPU can't train in; expected auto, float32 or bfloat16."
    yield from _patch_faults(f"{key}.training.patch", training["patch"], task, config["preprocessing"]["shape"])
    yield from _transfer_faults(f"{key}.transfer.weights", experiment, config["experiments"])
    if (kind := experiment.get("control")) and task == "segmentation":
        yield f"`{key}.control` is {kind}, which is for regression and classification, and this experiment is a segmentation."
    own = next((name for name, one in config["experiments"].items() if one is experiment), None)
    sites = experiment["leave_one_site_out"]
    if len(beside := without_site_names(own, sites) if own else {}) < len(sites if own else []):
        yield f"`{key}.leave_one_site_out` has sites whose names differ only in signs: {listed(sites)}; rename one at its source."
    for name in sorted(set(beside) & set(config["experiments"])):
        yield f"`{key}.leave_one_site_out` makes an experiment named `{name}`, which there is already; rename that one."
    for name in set(control_names(own, kind) if own else ()) & set(config["experiments"]):
        yield f"`{key}.control` makes an experiment named `{name}`, which there is already; rename that one."


def sweep_value_faults(key: str, sweep: dict) -> Iterator[str]:
    """A sentence for each range of ``sweep`` that can't be drawn from."""
    for name, values in sweep["values"].items():
        if isinstance(values, list):
            continue
        place = f"`{key}.values` has a range for `{name}`"
        if not sweep["draws"]:
            yield f"{place}, which needs `{key}.draws`, the number of random draws; or give a list."
        elif values["low"] >= values["high"]:
            yield f"{place} from {values['low']:g} to {values['high']:g}; expected low below high."
        elif values.get("log") and values["low"] <= 0:
            yield f"{place}, logarithmic, from {values['low']:g}; expected it to begin above 0."


def _patch_faults(key: str, patch: list[int], task: str, shape: list[int]) -> Iterator[str]:
    if not patch:
        return
    if task != "segmentation":
        yield f"`{key}` is for segmentation, and this experiment's task is {task}; leave it out."
    elif len(patch) != 3:
        yield f"`{key}` is {patch}; expected three sides in voxels, such as [64, 64, 64]."
    elif any(side > whole for side, whole in zip(patch, shape, strict=True)):
        yield f"`{key}` is {patch}, larger than `preprocessing.shape` {shape}; expected sides within it."


def _transfer_faults(key: str, experiment: dict, experiments: dict[str, dict]) -> Iterator[str]:
    weights = (experiment.get("transfer") or {}).get("weights")
    if weights is None or weights.endswith(".safetensors"):
        if weights and not Path(weights).is_file():
            yield f"`{key}` is {weights}, which isn't there; expected a .safetensors file, seen from {Path.cwd()}."
        return
    if weights not in experiments:
        yield (
            f"`{key}` is {weights}; expected one of the experiments {listed(experiments)} or a .safetensors file (a pickle "
            f"such as .pt can run code when it is read, and is refused){did_you_mean(weights, experiments) or '.'}"
        )
        return
    seen, name = [], weights
    while name in experiments and name not in seen:
        if experiments[name] is experiment:
            yield f"`{key}` is {weights}, which starts from this experiment itself; expected one that doesn't."
            return
        seen.append(name)
        name = (experiments[name].get("transfer") or {}).get("weights", "")
