"""Reading a study's configuration and checking it, in full and within a second, before anything runs.

The schema (schemas/config.schema.yaml) holds every key, its range and its default; here is what a schema can't
say, because it is between keys: a cohort that isn't configured, a target that a cohort hasn't got, a grid that a network
can't take. Imports stay light: this runs at the start of every Snakemake process.
"""

import functools
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, validators

from neurocohort.errors import InputError
from neurocohort.study.cohorts import (
    ALL_SOURCE_KEYS,
    KEYS_OF_SOURCE,
    cohort_faults,
    survey_of_cohort,
    synthetic_faults,
)
from neurocohort.study.data import data_faults
from neurocohort.study.experiments import experiment_faults
from neurocohort.study.members import drawn_experiment, draws_of
from neurocohort.study.messages import MOST_DIGITS, in_quotes, schema_sentences
from neurocohort.study.renamed import with_new_names
from neurocohort.study.trainings import sweep_value_faults
from neurocohort.user_files import UnusableFile
from neurocohort.yaml_files import read_yaml

SCHEMA = Path(__file__).resolve().parents[1] / "schemas/config.schema.yaml"

LARGEST_INTEGER = 10**MOST_DIGITS
BRAIN_EXTENT_MM = (146, 180, 156)  # of the MNI152 brain mask along x, y and z


def load_configuration(paths: list[Path]) -> dict:
    """The YAML files at ``paths``, merged in their order as Snakemake's --configfile does: groups of keys are merged key by
    key, and any other value replaces the earlier one.

    Raises InputError, with file and line, where a file is absent, isn't YAML, isn't keys with values, or has a key twice.
    """
    merged: dict = {}
    for path in map(Path, paths):
        try:
            content = read_yaml(path)
        except UnusableFile as fault:
            absent = not os.path.lexists(path)
            hint = (
                "; if it is a target of the workflow, type it before --configfile" if absent and not path.suffix else ""
            )
            found = f"{path}: there is no such file" if absent else f"{path} {fault}"
            raise InputError(f"{found}; give the path of a study file, seen from {Path.cwd()}{hint}.") from None
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
    """load_configuration and check_configuration in one."""
    return check_configuration(load_configuration(paths), source=" + ".join(map(str, paths)))


def check_configuration(
    config: dict, *, source: str, variables: dict[str, set[str]] | None = None, read_cohorts: bool = True
) -> dict:
    """A copy of ``config`` in plain built-ins with every default filled in, and numbers where numbers are meant as floats.

    ``source`` is named in messages, such as the file's path. ``variables``: by cohort, the columns that its scans.tsv has;
    without it, those that its source is known to have. ``read_cohorts``: whether the experiments are checked against their
    cohorts' variables and values, for which a user's own folders and tables are read. Raises InputError with one sentence, or
    with a line for each fault.
    """
    faults: list[str] = []
    config = _plain(config, "", faults)
    config, notes = with_new_names(config)
    if read_cohorts:  # not once more in each job of a cluster
        for note in notes:
            print(f"note: {source}: {note}", file=sys.stderr, flush=True)
    if not faults:
        errors = sorted(_validator().iter_errors(config), key=lambda error: [str(step) for step in error.absolute_path])
        faults = [sentence for error in _first_of_each_place(errors) for sentence in schema_sentences(error, resolve)]
    if not faults:
        given, config = config, _with_defaults(config, read_schema())
        for name, cohort in config["cohorts"].items():  # a default of another source's key is no key of this one
            for key in ALL_SOURCE_KEYS - KEYS_OF_SOURCE[cohort["source"]] - set(given["cohorts"][name]):
                cohort.pop(key, None)
        checks = (cohort_faults, synthetic_faults, _number_faults)
        faults = [fault for check in checks for fault in check(config)]
        read = config["cohorts"] if read_cohorts else {}
        try:
            surveys = {name: survey_of_cohort(cohort, (variables or {}).get(name)) for name, cohort in read.items()}
        except InputError as error:  # a user's own table: its columns are not known
            surveys, faults = {}, faults or [str(error)]
        kinds = {name: survey.kinds for name, survey in surveys.items()}
        for name, experiment in config["experiments"].items() if kinds else ():
            own = [*experiment_faults(f"experiments.{name}", experiment, config, kinds)]
            faults += own or data_faults(f"experiments.{name}", experiment, surveys)
            faults += _sweep_faults(f"experiments.{name}", name, experiment, config, kinds)
    if len(faults) == 1:
        raise InputError(f"{source}: {faults[0]}")
    if faults:
        raise InputError("\n".join([f"{source} has {len(faults)} faults:", *(f"- {fault}" for fault in faults)]))
    return config


def _not_yaml(path: Path, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    tab = "\\t" in str(error.problem) or "tab" in str(error.problem)
    fix = "indent with spaces, not tabs" if tab else "look at this line and the one above it"
    return f"{path}, line {mark.line + 1 if mark else 1}: this isn't YAML as expected ({error.problem}); {fix}."


def _merge(merged: dict, added: dict) -> None:
    for key, value in added.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            _merge(merged[key], value)
        else:
            merged[key] = value


def _plain(value: object, key: str, faults: list[str]) -> object:
    """A deep copy in which every group of keys is a dict; a key that isn't a text is a fault, and so is an integer that no
    number of this machine can hold."""
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


@functools.cache
def read_schema() -> dict:
    """The JSON Schema of the configuration."""
    # libyaml's loader, where PyYAML was built with it, takes a seventh of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(SCHEMA.read_text(encoding="utf-8"), Loader=loader)


def resolve(schema: dict) -> dict:
    """A subschema with what its ``$ref`` points at; its own words come first."""
    reference = schema.get("$ref")
    return {**read_schema()["$defs"][reference.removeprefix("#/$defs/")], **schema} if reference else schema


@functools.cache
def _validator() -> Draft202012Validator:
    def whole(_, value):
        return isinstance(value, int) and not isinstance(value, bool)

    def finite(_, value):
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

    types = Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": whole, "number": finite})
    return validators.extend(Draft202012Validator, type_checker=types)(read_schema())


def _first_of_each_place(errors: list) -> Iterator:
    """One error a value (a wrong type breaks the pattern as well); a group of keys may lack some and have others too many."""
    seen = set()
    for error in errors:
        kind = error.validator if error.validator in ("required", "additionalProperties") else "value"
        place = (*error.absolute_path, kind)
        if place not in seen:
            seen.add(place)
            yield error


def _with_defaults(value: object, schema: dict) -> object:
    schema = resolve(schema)
    if schema.get("type") == "number":
        return float(value)
    if schema.get("type") != "object":
        return value
    known = schema.get("properties", {})
    (named,) = schema.get("patternProperties", {None: None}).values()
    filled = {name: _with_defaults(below, known.get(name, named)) for name, below in value.items()}
    for name, below in known.items():
        if name not in filled and "default" in resolve(below):
            default = resolve(below)["default"]
            filled[name] = _with_defaults(list(default) if isinstance(default, list) else default, below)
    return filled


def _sweep_faults(key: str, name: str, experiment: dict, config: dict, kinds: dict) -> Iterator[str]:
    """The first draw that is no experiment; a value that fits no key must not be found out by its job."""
    sweep = experiment.get("sweep")
    if not sweep:
        return
    if found := next(sweep_value_faults(f"{key}.sweep", sweep), None):
        yield found
        return
    for draw, values in draws_of(sweep).items():
        drawn = drawn_experiment({**experiment, "sweep": None}, values)
        del drawn["sweep"]
        whole = {**config, "experiments": {name: drawn}}
        faults = [
            sentence for error in _validator().iter_errors(whole) for sentence in schema_sentences(error, resolve)
        ]
        faults = faults or list(experiment_faults(key, drawn, config, kinds))
        if faults:
            chosen = ", ".join(f"{one} {value}" for one, value in values.items())
            yield f"`{key}.sweep` has a draw ({draw.removeprefix('sweep/')}: {chosen}) that is no experiment: {faults[0]}"
            return


def _number_faults(config: dict) -> Iterator[str]:
    split, quality, grid = config["split"], config["quality"], config["preprocessing"]
    if split["validation"] + split["held_out"] > 1 - 1e-9:
        yield (
            f"`split.validation` ({split['validation']:g}) and `split.held_out` ({split['held_out']:g}) add up to "
            f"{split['validation'] + split['held_out']:g}; expected less than 1, so that participants are left to train on."
        )
    if split["folds"] == 1:
        yield "`split.folds` is 1; expected 0 (no folds) or 2 to 20."
    if quality["min_brain_ml"] >= quality["max_brain_ml"]:
        yield (
            f"`quality.min_brain_ml` ({quality['min_brain_ml']:g}) isn't below `quality.max_brain_ml` "
            f"({quality['max_brain_ml']:g}); expected a range of volumes in ml, such as 700 and 2200."
        )
    sides = [voxels * grid["spacing_mm"] for voxels in grid["shape"]]
    if any(side < brain for side, brain in zip(sides, BRAIN_EXTENT_MM, strict=True)):
        least = [math.ceil(brain / grid["spacing_mm"]) for brain in BRAIN_EXTENT_MM]
        yield (
            f"`preprocessing.shape` {grid['shape']} at `preprocessing.spacing_mm` {grid['spacing_mm']:g} covers "
            f"{' x '.join(f'{side:g}' for side in sides)} mm, and the template's brain needs "
            f"{' x '.join(map(str, BRAIN_EXTENT_MM))}; expected a shape of at least {least}."
        )
