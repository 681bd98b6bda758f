"""The models of other studies in a configuration: their settings of the preprocessing become those of the study, and what doesn't
fit is a fault. Only small JSON files are read, because this runs at the start of every Snakemake process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from neurocohort.errors import InputError
from neurocohort.files import read_json
from neurocohort.imaging.learned_constants import needs_network
from neurocohort.settings.scan import ScanKeys
from neurocohort.study.messages import did_you_mean, listed

RAW_SCANS, METADATA = Path("configs/raw_scans.json"), Path("configs/metadata.json")
GRID = ("spacing_mm", "shape")
OF_MACHINE = {"device"}  # not of the result
ADDED_FILES = {"tissue_maps", "modulated_gm"}  # a study may make files that a model doesn't need
MAPS = {"CSF", "GM", "WM", "GM_modulated"}  # channels that preprocessing makes of the T1-weighted image


class Described(NamedTuple):
    """A model: its task, its input channels, and its settings of the preprocessing."""

    task: str
    modalities: list[str]
    preprocessing: dict[str, Any]


def with_models(config: object) -> tuple[object, list[str]]:
    """Write the short form of `models` in full, and add the models' settings of the preprocessing that the study doesn't give.

    Args:
        config: A study's configuration as plain built-ins, not checked yet; what isn't understood is left as it is.

    Returns:
        The configuration, and a sentence for each model that can't be used and each setting that differs from a model's.
    """
    models = config.get("models") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(models, dict):
        return config, []
    models = {name: {"bundle": model} if isinstance(model, str) else model for name, model in models.items()}
    given = config.get("preprocessing", {})
    config = config | {"models": models}
    if not isinstance(given, dict):
        return config, []
    wanted: dict[str, tuple[str, Any]] = {}  # by key, the first model that has it, and its value
    faults: list[str] = []
    for name, model in models.items():
        bundle = model.get("bundle") if isinstance(model, dict) else None
        if not isinstance(bundle, str):
            continue
        try:
            described = described_model(Path(bundle), f"models.{name}.bundle")
        except InputError as error:
            faults.append(str(error))
            continue
        for key, value in described.preprocessing.items():
            if fault := _conflict(key, value, name, given, wanted):
                faults.append(fault)
            elif key not in wanted or (key in ADDED_FILES and value):
                wanted[key] = name, value
    own = {key: value for key, (_, value) in wanted.items()}
    return config | {"preprocessing": own | given}, faults


def described_model(bundle: Path, key: str) -> Described:
    """Read what the configuration needs of a bundle. Raises InputError, which names ``key``, if it can't be applied."""
    if not (bundle / METADATA).is_file():
        raise InputError(
            f"`{key}` is {bundle}, which isn't a model: it has no {METADATA}; expected the folder of a bundle, such as "
            f"../other_study/results/models/brain_age, relative to {Path.cwd()}."
        )
    if not (bundle / RAW_SCANS).is_file():
        raise InputError(
            f"`{key}` is {bundle}, which has no {RAW_SCANS}: it was made by an earlier version, and predicts preprocessed scans "
            "only. Run its study again to rebuild the bundle; nothing is trained again."
        )
    try:
        content, grid = read_json(bundle / RAW_SCANS), read_json(bundle / METADATA)["neurocohort"]["grid"]
        scan = {
            name: content["preprocessing"][name] for name in ScanKeys.model_fields if name in content["preprocessing"]
        }
        first = next(iter(content["members"].values()))
        with_network = needs_network(scan)
        unused = set() if scan["registration"] == "learned" else {"learned"}
        settings = {name: value for name, value in scan.items() if name not in OF_MACHINE | unused}
        settings |= {name: grid[name] for name in GRID}
        found = Described(content["task"], first["settings"]["modalities"], settings)
    except (AttributeError, KeyError, StopIteration, TypeError) as error:
        raise InputError(
            f"`{key}` is {bundle}, which is damaged or of another version of neurocohort ({type(error).__name__}: {error}). Copy "
            "it again."
        ) from error
    if found.task == "segmentation":
        raise InputError(
            f"`{key}` is {bundle}, a segmentation; expected a model of a regression or classification. Apply a segmentation with "
            "`neurocohort predict`."
        )
    if with_network:
        raise InputError(
            f"`{key}` is {bundle}, whose study registered its scans with a network of its own, and this study would train "
            "another; apply the model with `neurocohort predict`, which uses the network in the bundle."
        )
    return found


def bundle_files(bundle: Path) -> list[str]:
    """The files of a bundle that its predictions depend on."""
    return [str(path) for path in sorted([*bundle.glob("configs/*.json"), *bundle.glob("models/*.*")])]


def model_faults(config: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each model that doesn't fit the checked configuration's cohorts and experiments."""
    for name, model in config["models"].items():
        if name in config["experiments"]:
            yield f"`models.{name}` has the name of an experiment; expected another name, such as `{name}_applied`."
        for cohort in model["cohorts"]:
            if cohort not in config["cohorts"]:
                hint = did_you_mean(cohort, config["cohorts"])
                yield f"`models.{name}.cohorts` names `{cohort}`, which is no cohort of the study{hint or '.'}"
        needed = [one for one in described_model(Path(model["bundle"]), name).modalities if one not in MAPS]
        for cohort in model["cohorts"] or config["cohorts"]:
            has = config["cohorts"].get(cohort, {}).get("modalities", needed)
            if lacking := [one for one in needed if one not in has]:
                yield (
                    f"`models.{name}` needs {listed(lacking)}, and `cohorts.{cohort}.modalities` is {has}; add the modality, or "
                    f"list the cohorts that have it under `models.{name}.cohorts`."
                )


def _conflict(key: str, value: Any, name: str, given: dict[str, Any], wanted: dict[str, tuple[str, Any]]) -> str:
    """Why a model's setting can't be used, or nothing."""

    def fits(other: Any) -> bool:
        return other == value or (key in ADDED_FILES and isinstance(other, bool) and not value)

    if key in given:
        if fits(given[key]):
            return ""
        return (
            f"`preprocessing.{key}` is {given[key]}, and the scans of `models.{name}` had {value}; leave the key out to take the "
            "model's, or apply the model in another study."
        )
    if key in wanted and key not in ADDED_FILES and wanted[key][1] != value:
        other, its = wanted[key]
        return (
            f"`models.{other}` and `models.{name}` were trained on differently preprocessed scans (`{key}`: {its} and {value}); "
            "expected the same settings. Apply them in two studies."
        )
    return ""
