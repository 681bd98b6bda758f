"""The record of evaluations: a small JSON file for each model that was ever tested on a held-out part, in a folder of its own.

The folder lies outside every rule's outputs, which Snakemake deletes before a rerun. It grows: a file is written once, under the
key of what was evaluated, and a repetition finds it there. How many models were tested on a held-out part before the one that is
reported is what a reader must know to judge its result; without a record nobody could state it.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.evaluation.measures import EXTERNAL, HELD_OUT
from neurocohort.files import read_json, sha256_of, write_json

FOLDER = "evaluations"  # beside the results
EXPERIMENT, CONTROL, WITHOUT_SITE = "experiment", "control", "without_site"
KINDS = (EXPERIMENT, CONTROL, WITHOUT_SITE)
ID_DIGITS = 12
TEXTS = ("key", "study", "experiment", "kind", "target", "configuration", "first_evaluated")
HASHES_BY_NAME = ("splits", "weights")
LISTS = ("held_out", "external")


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated: an experiment's networks, with what they were made and tested by. All hashes are sha256.

    ``settings``: the experiment as `neurocohort.study.members.all_experiments` completes it. ``splits``: the hash of split.tsv by
    cohort, external ones too. ``weights``: the hash of model.safetensors by member.
    """

    study: str
    experiment: str
    settings: dict
    splits: dict[str, str]
    weights: dict[str, str]

    @property
    def configuration(self) -> str:
        """The hash of ``settings``, whatever the order of the keys."""
        return _sha256(json.dumps(self.settings, sort_keys=True))

    @property
    def key(self) -> str:
        """The same for a repetition: same settings, splits and weights, under whatever name."""
        return _key(self.configuration, self.splits, self.weights)

    @property
    def kind(self) -> str:
        """``control`` (trained on permuted targets), ``without_site`` (a site left out in turn), else ``experiment``."""
        if self.settings.get("permutation"):
            return CONTROL
        return WITHOUT_SITE if self.settings.get("left_out_site") else EXPERIMENT


@dataclass(frozen=True)
class Record:
    """Which models were tested on some held-out participants.

    ``models``: how many different ones (sets of weights) of kind ``experiment``; ``controls`` and ``without_site``: of the other
    kinds. ``experiments``: the names of those of kind ``experiment``, as study/experiment, in the order of their first
    evaluation. ``own``: whether the evaluation that was asked about is among them. ``problems``: a sentence for each file that
    is no record of an evaluation, and so isn't counted.
    """

    models: int = 0
    controls: int = 0
    without_site: int = 0
    experiments: tuple[str, ...] = ()
    own: bool = False
    problems: tuple[str, ...] = field(default=())


def evaluation_of(results: Path, study: str, experiment: str, settings: dict, members: Sequence[str]) -> Evaluation:
    """The evaluation of an experiment whose networks and splits are under ``results``, read as they are now.

    ``members``: the names of the experiment's networks (`study.members.members_of`). Raises FileNotFoundError where the
    weights of one, or the split of a cohort, are not there.
    """
    cohorts = [*settings["cohorts"], *(settings.get("external") or [])]
    folder = results / "experiments" / experiment
    return Evaluation(
        study,
        experiment,
        settings,
        {cohort: sha256_of(results / cohort / "split.tsv") for cohort in cohorts},
        {member: sha256_of(folder / member / "model.safetensors") for member in members},
    )


def record_evaluation(folder: Path, evaluation: Evaluation, predictions: pd.DataFrame) -> Path:
    """Write the record of ``evaluation`` into ``folder`` unless it is there already, and return its path.

    ``predictions``: cohort, part and participant_id of what was predicted; who is held out or external is recorded by
    `hashed_ids`. A file of that name that is no record is replaced, and a line on standard error says so. The time is that
    of the first evaluation. Two jobs may write the same record at once: the file is whole in any case.
    """
    path = folder / f"{evaluation.key}.json"
    if path.exists():
        try:
            _read(path)
            return path
        except InputError as error:
            print(f"{error} It is replaced.", file=sys.stderr)
    parts = {part: predictions[predictions["part"] == part] for part in (HELD_OUT, EXTERNAL)}
    write_json(
        path,
        {
            "key": evaluation.key,
            "study": evaluation.study,
            "experiment": evaluation.experiment,
            "kind": evaluation.kind,
            "task": evaluation.settings["task"],
            "target": evaluation.settings["target"],
            "cohorts": evaluation.settings["cohorts"],
            "configuration": evaluation.configuration,
            "splits": evaluation.splits,
            "weights": evaluation.weights,
            "held_out": sorted(hashed_ids(parts[HELD_OUT])),
            "external": sorted(hashed_ids(parts[EXTERNAL])),
            "first_evaluated": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    return path


def hashed_ids(participants: pd.DataFrame) -> set[str]:
    """The first 12 hexadecimal digits of the sha256 of each ``cohort<tab>participant_id``, so that no record names anybody."""
    pairs = participants[["cohort", "participant_id"]].drop_duplicates().itertuples(index=False)
    return {_sha256(f"{cohort}\t{participant}")[:ID_DIGITS] for cohort, participant in pairs}


def read_record(folder: Path, held_out: pd.DataFrame, target: str, own: str = "") -> Record:
    """What ``folder`` holds on the participants of ``held_out`` (cohort, participant_id; any number of rows each).

    An evaluation counts where one of them is among its held-out or its external participants, and where it is of ``target``.
    ``own``: the key of the reported evaluation (`Evaluation.key`). A folder that isn't there holds nothing. Files that can't be
    read, or are something else, are reported in ``problems``; hidden ones, which are being written, are passed over.
    """
    wanted, found, problems = hashed_ids(held_out), [], []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        try:
            found.append(_read(path))
        except InputError as error:
            problems.append(str(error))
    of_target = [one for one in found if one["target"] == target]
    tested = [one for one in of_target if not wanted.isdisjoint(one["held_out"] + one["external"])]
    tested.sort(key=lambda one: (one["first_evaluated"], one["key"]))
    of_kind = {kind: [one for one in tested if one["kind"] == kind] for kind in KINDS}
    return Record(
        models=_different(of_kind[EXPERIMENT]),
        controls=_different(of_kind[CONTROL]),
        without_site=_different(of_kind[WITHOUT_SITE]),
        experiments=tuple(dict.fromkeys(f"{one['study']}/{one['experiment']}" for one in of_kind[EXPERIMENT])),
        own=any(one["key"] == own for one in tested),
        problems=tuple(problems),
    )


def _different(records: Iterable[dict]) -> int:
    return len({tuple(sorted(one["weights"].values())) for one in records})


def _read(path: Path) -> dict:
    """The record at ``path``. Raises InputError where it is none: other content, or another than its name and its key say."""
    try:
        found = read_json(path)
    except InputError as error:
        raise _none(path, f"it can't be read as JSON ({error.__cause__})") from error
    if not isinstance(found, dict):
        raise _none(path, "it holds no JSON object")
    checks = {name: isinstance(found.get(name), str) for name in TEXTS}
    checks |= {name: isinstance(found.get(name), dict) and _are_texts(found[name].values()) for name in HASHES_BY_NAME}
    checks |= {name: isinstance(found.get(name), list) and _are_texts(found[name]) for name in LISTS}
    if wrong := [name for name, right in checks.items() if not right]:
        raise _none(path, f"it has no usable {', '.join(wrong)}")
    if found["kind"] not in KINDS:
        raise _none(path, f"its kind is {found['kind']!r}; expected {', '.join(KINDS)}")
    key = _key(found["configuration"], found["splits"], found["weights"])
    if not key == found["key"] == path.stem:
        raise _none(path, "its name, its key and its content don't belong together")
    return found


def _none(path: Path, why: str) -> InputError:
    return InputError(f"{path} is no record of an evaluation: {why}. Restore it from a copy, or move it elsewhere.")


def _are_texts(values: Iterable) -> bool:
    return all(isinstance(value, str) for value in values)


def _key(configuration: str, splits: dict[str, str], weights: dict[str, str]) -> str:
    content = {"configuration": configuration, "splits": splits, "weights": sorted(weights.values())}
    return _sha256(json.dumps(content, sort_keys=True))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
