"""Read a study's configuration and check it completely, within a second, before anything runs.

The models in ``settings/`` define every key with its type, range and default. This room checks what concerns several keys: a
cohort that isn't configured, a target that a cohort doesn't have, a grid that a network can't process. Imports stay light: this
runs at the start of every Snakemake process.
"""

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import ValidationError

from neurocohort.errors import InputError
from neurocohort.settings.recipes import with_recipes
from neurocohort.settings.scan import NATIVE
from neurocohort.settings.study import Study, StudyOfModels
from neurocohort.study.applied_models import model_faults, with_models
from neurocohort.study.cohorts import (
    ALL_SOURCE_KEYS,
    KEYS_OF_SOURCE,
    cohort_faults,
    split_file_faults,
    survey_of_cohort,
    synthetic_faults,
)
from neurocohort.study.data import data_faults
from neurocohort.study.experiments import experiment_faults
from neurocohort.study.longitudinal import longitudinal_faults
from neurocohort.study.members import drawn_experiment
from neurocohort.study.messages import MOST_DIGITS, in_quotes, listed, sentences
from neurocohort.study.native import native_faults
from neurocohort.study.pretraining import without_target
from neurocohort.study.regions import region_faults
from neurocohort.study.renamed import with_new_names
from neurocohort.study.structures import fill_in_labels
from neurocohort.study.sweeps import possible_draws, sweep_faults
from neurocohort.user_files import UnusableFile
from neurocohort.yaml_files import read_yaml

LARGEST_INTEGER = 10**MOST_DIGITS
SHAPING_KEYS = ("network.name", "network.channels", "network.norm")  # of a sweep: they change the architecture
BRAIN_EXTENT_MM = (146, 180, 156)  # of the MNI152 brain mask along x, y and z


def load_configuration(paths: list[Path]) -> dict:
    """Read YAML files and merge them in their order, as Snakemake's --configfile does.

    Groups of keys are merged key by key; any other value replaces the earlier one.

    Raises:
        InputError: If a file doesn't exist, isn't YAML, isn't keys with values, or has a key twice. Names file and line.
    """
    merged: dict = {}
    for path in map(Path, paths):
        try:
            content = read_yaml(path)
        except UnusableFile as fault:
            absent = not os.path.lexists(path)
            hint = (
                "; if it is a target of the workflow, put it before --configfile" if absent and not path.suffix else ""
            )
            found = f"{path}: there is no such file" if absent else f"{path} {fault}"
            raise InputError(f"{found}; expected the path of a study file, relative to {Path.cwd()}{hint}.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} can't be read: {error}; expected a YAML file in UTF-8.") from error
        except yaml.MarkedYAMLError as error:
            raise InputError(_not_yaml(path, error)) from error
        except yaml.YAMLError as error:
            raise InputError(f"{path} isn't YAML: {error}.") from error
        if not isinstance(content, dict):
            found = "empty" if content is None else "a list" if isinstance(content, list) else "a single value"
            raise InputError(
                f"{path}, line 1: the file is {found}; expected keys with values, such as `study: my_study`."
            )
        _merge(merged, content)
    return merged


def read_checked(paths: list[Path]) -> dict:
    """`load_configuration` and `check_configuration` in one call."""
    return check_configuration(load_configuration(paths), source=" + ".join(map(str, paths)))


def check_configuration(
    config: dict, *, source: str, variables: dict[str, set[str]] | None = None, read_cohorts: bool = True
) -> dict:
    """Check a configuration, and fill in the defaults.

    Args:
        config: The configuration as read from YAML.
        source: Name of the configuration in messages, such as the file's path.
        variables: By cohort, the columns of its scans.tsv; without it, those that its source is known to have.
        read_cohorts: Whether to check the experiments against the variables and values of their cohorts, which reads local
            folders and tables.

    Returns:
        A copy in plain built-ins with all defaults, and with floats for all decimal keys.

    Raises:
        InputError: With one sentence, or with a line for each fault.
    """
    faults: list[str] = []
    plain = _plain(config, "", faults)
    given, notes = with_new_names(plain) if isinstance(plain, dict) else (plain, [])
    if read_cohorts:  # not once more in each job of a cluster
        for note in notes:
            print(f"note: {source}: {note}", file=sys.stderr, flush=True)
    completed, unusable = with_models(given)
    unusable += fill_in_labels(completed)  # before the recipes, which count the labels
    checked, faults = (None, faults) if faults else _checked_keys(without_target(with_recipes(completed)))
    if unusable:
        checked, faults = None, [*faults, *unusable]
    if checked is not None:
        faults = [
            fault
            for check in (cohort_faults, synthetic_faults, _number_faults, native_faults, model_faults, region_faults)
            for fault in check(checked)
        ]
        faults += split_file_faults(checked) if read_cohorts else []
        faults += _faults_between(checked, variables or {}, faults) if read_cohorts else []
    if len(faults) == 1:
        raise InputError(f"{source}: {faults[0]}")
    if faults or checked is None:
        raise InputError("\n".join([f"{source} has {len(faults)} faults:", *(f"- {fault}" for fault in faults)]))
    return checked


def _not_yaml(path: Path, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    tab = "\\t" in str(error.problem) or "tab" in str(error.problem)
    fix = "indent with spaces, not tabs" if tab else "check this line and the one above it"
    return f"{path}, line {mark.line + 1 if mark else 1}: this isn't valid YAML ({error.problem}); {fix}."


def _merge(merged: dict, added: dict) -> None:
    for key, value in added.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            _merge(merged[key], value)
        else:
            merged[key] = value


def _plain(value: object, key: str, faults: list[str]) -> object:
    """A deep copy in which every group of keys is a dict. Keys that aren't texts and numbers with too many digits are faults."""
    if isinstance(value, dict):
        for name in value:
            if isinstance(name, int) and abs(name) > LARGEST_INTEGER:
                faults.append(f"`{key}` has a number of more than {MOST_DIGITS} digits as a key; expected a name.")
                return {}
            if not isinstance(name, str):
                place = f"`{key}`" if key else "the configuration"
                faults.append(f"{place} has the key {name}, which YAML doesn't read as a text; {in_quotes(name)}.")
        return {name: _plain(below, f"{key}.{name}" if key else str(name), faults) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, key, faults) for item in value]
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        faults.append(f"`{key}` has a whole number of more than {MOST_DIGITS} digits; expected a smaller one.")
    return value


def _checked_keys(given: object) -> tuple[dict | None, list[str]]:
    """The configuration with its defaults, or None and a sentence for each key that the model refuses."""
    try:
        kind = StudyOfModels if isinstance(given, dict) and given.get("models") else Study
        study = kind.model_validate(given)
    except ValidationError as error:
        return None, sentences(error, given)
    config = study.as_dict()
    for name, cohort in study.cohorts.items():  # a default of another source's key is no key of this one
        for key in ALL_SOURCE_KEYS - KEYS_OF_SOURCE[cohort.source] - cohort.model_fields_set:
            config["cohorts"][name].pop(key, None)
    return config, []


def _faults_between(config: dict, variables: dict[str, set[str]], found: list[str]) -> list[str]:
    """A sentence for each conflict of the experiments with their cohorts, and for each draw that is no experiment."""
    try:
        surveys = {name: survey_of_cohort(cohort, variables.get(name)) for name, cohort in config["cohorts"].items()}
    except InputError as error:  # a user's own table: its columns are not known
        return [] if found else [str(error)]
    kinds = {name: survey.kinds for name, survey in surveys.items()}
    faults: list[str] = []
    for name, experiment in config["experiments"].items():
        key = f"experiments.{name}"
        own = [*experiment_faults(key, experiment, config, kinds)]
        faults += own or data_faults(key, experiment, surveys)
        faults += _sweep_faults(key, name, experiment, config, kinds)
    faults += longitudinal_faults(config, kinds)
    return faults


def _sweep_faults(key: str, name: str, experiment: dict, config: dict, kinds: dict) -> Iterator[str]:
    """The first draw that is no valid experiment: it must not fail only in its job."""
    sweep = experiment.get("sweep")
    if not sweep:
        return
    epochs = experiment["training"]["epochs"]
    if found := next(sweep_faults(f"{key}.sweep", sweep, epochs), None):
        yield found
        return
    if config["split"]["test_folds"] and (shared := [one for one in sweep["values"] if one in SHAPING_KEYS]):
        yield (
            f"`{key}.sweep.values` has {listed(shared)}, and `split.test_folds` is {config['split']['test_folds']}: each test "
            "fold chooses its own draw, and the networks of all are exported as one model, which needs one architecture. Leave "
            "the key out of the sweep, or set `split.test_folds: 0`."
        )
        return
    for draw, values in possible_draws(sweep, epochs):
        drawn = drawn_experiment({**experiment, "sweep": None}, values)
        del drawn["sweep"]
        whole = {**config, "experiments": {name: drawn}}
        faults = _checked_keys(whole)[1] or list(experiment_faults(key, drawn, config, kinds))
        if faults:
            chosen = ", ".join(f"{one} {value}" for one, value in values.items())
            yield f"`{key}.sweep` has a draw ({draw}: {chosen}) that is no valid experiment: {faults[0]}"
            return


def _number_faults(config: dict) -> Iterator[str]:
    split, quality, grid = config["split"], config["quality"], config["preprocessing"]
    if split["validation"] + split["held_out"] > 1 - 1e-9:
        yield (
            f"`split.validation` ({split['validation']:g}) and `split.held_out` ({split['held_out']:g}) add up to "
            f"{split['validation'] + split['held_out']:g}; expected less than 1, so that participants remain for training."
        )
    if split["folds"] == 1:
        yield "`split.folds` is 1; expected 0 (no folds) or 2 to 20."
    if split["test_folds"] == 1:
        yield "`split.test_folds` is 1; expected 0 (a single held-out part) or 2 to 20."
    if quality["min_brain_ml"] >= quality["max_brain_ml"]:
        yield (
            f"`quality.min_brain_ml` ({quality['min_brain_ml']:g}) isn't below `quality.max_brain_ml` "
            f"({quality['max_brain_ml']:g}); expected a range of volumes in ml, such as 700 and 2200."
        )
    if grid["modulated_gm"] and not grid["tissue_maps"]:
        yield "`preprocessing.modulated_gm` is true, which needs `preprocessing.tissue_maps: true`; set it, or leave the key out."
    sides = [voxels * grid["spacing_mm"] for voxels in grid["shape"]]
    if grid["space"] != NATIVE and any(side < brain for side, brain in zip(sides, BRAIN_EXTENT_MM, strict=True)):
        smallest = [math.ceil(brain / grid["spacing_mm"]) for brain in BRAIN_EXTENT_MM]
        yield (
            f"`preprocessing.shape` {grid['shape']} at `preprocessing.spacing_mm` {grid['spacing_mm']:g} covers "
            f"{' x '.join(f'{side:g}' for side in sides)} mm, and the template's brain needs "
            f"{' x '.join(map(str, BRAIN_EXTENT_MM))}; expected a shape of at least {smallest}."
        )
