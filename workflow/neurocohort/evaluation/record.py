"""The record of evaluations: a small JSON file for each model that was ever tested on a held-out part.

The folder is not an output of a rule, since Snakemake deletes outputs before a rerun. A file is written once, under the key of
what was evaluated, and a repetition finds it. To judge a result a reader must know how many models were tested on the held-out
part before the reported one.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, StrictStr, ValidationError

from neurocohort.errors import InputError
from neurocohort.evaluation.measures import EXTERNAL, HELD_OUT
from neurocohort.files import read_json, sha256_of, write_json

FOLDER = "evaluations"  # next to the results
EXPERIMENT, CONTROL, WITHOUT_SITE, ON_CURVE = "experiment", "control", "without_site", "learning_curve"
LABELS_ONLY, FROM_GENERATED = "labels_only", "from_generated"
KINDS = (EXPERIMENT, CONTROL, WITHOUT_SITE, ON_CURVE, LABELS_ONLY, FROM_GENERATED)
ID_DIGITS = 12


class Evaluation(BaseModel):
    """What is evaluated: the networks of an experiment, their settings and data. All hashes are sha256.

    Args:
        key: The same for a repetition: same configuration, splits and weights, whatever the names.
        study: Name of the study.
        experiment: Name of the experiment.
        kind: ``control`` (trained on permuted targets), ``without_site`` (one site left out), ``learning_curve`` (a point
            of one), ``labels_only`` (without the scans that have no label map), ``from_generated`` (trained on generated
            images), else ``experiment``.
        task: As in the experiment's settings, like the next two.
        target: The predicted variable.
        cohorts: The trained cohorts.
        configuration: Hash of the settings, whatever the order of the keys.
        splits: Hash of split.tsv by cohort, external ones included.
        weights: Hash of model.safetensors by member.
    """

    key: StrictStr
    study: StrictStr
    experiment: StrictStr
    kind: StrictStr
    task: Any = None
    target: StrictStr
    cohorts: Any = None
    configuration: StrictStr
    splits: dict[str, StrictStr]
    weights: dict[str, StrictStr]


class StoredEvaluation(Evaluation):
    """A file of the record, with the tested participants (`hashed_ids`). The time is that of the first evaluation."""

    held_out: list[StrictStr]
    external: list[StrictStr]
    first_evaluated: StrictStr


@dataclass(frozen=True)
class Record:
    """The models that were tested on some held-out participants.

    Args:
        models: Number of different models (sets of weights) of kind ``experiment``.
        controls: The same for kind ``control``.
        without_site: The same for kind ``without_site``.
        on_curve: The same for kind ``learning_curve``.
        labels_only: The same for kind ``labels_only``.
        from_generated: The same for kind ``from_generated``.
        experiments: Those of kind ``experiment`` as study/experiment, in the order of their first evaluation.
        own: Whether the reported evaluation is among them.
        problems: A sentence for each file that is not the record of an evaluation, and isn't counted.
    """

    models: int = 0
    controls: int = 0
    without_site: int = 0
    on_curve: int = 0
    labels_only: int = 0
    from_generated: int = 0
    experiments: tuple[str, ...] = ()
    own: bool = False
    problems: tuple[str, ...] = ()


def evaluation_of(
    results: Path, study: str, experiment: str, settings: dict[str, Any], members: Sequence[str]
) -> Evaluation:
    """The evaluation of an experiment from the networks and splits that are under ``results`` now.

    ``members`` are the names of its networks (`study.members.members_of`). Raises FileNotFoundError for missing weights or
    splits.
    """
    cohorts = [*settings["cohorts"], *(settings.get("external") or [])]
    splits = {cohort: sha256_of(results / cohort / "split.tsv") for cohort in cohorts}
    folder = results / "experiments" / experiment
    weights = {member: sha256_of(folder / member / "model.safetensors") for member in members}
    return evaluation_with(study, experiment, settings, splits, weights)


def evaluation_with(
    study: str, experiment: str, settings: dict[str, Any], splits: dict[str, str], weights: dict[str, str]
) -> Evaluation:
    """The evaluation with these hashes. ``settings``: the experiment as completed by `study.members.all_experiments`."""
    kind = (
        WITHOUT_SITE if settings.get("left_out_site") else ON_CURVE if settings.get("learning_curve_of") else EXPERIMENT
    )
    kind = LABELS_ONLY if settings.get("labels_only_of") else kind
    kind = FROM_GENERATED if settings.get("generation") else kind
    # Tables of other tools' predictions don't change the evaluated networks.
    of_networks = {key: value for key, value in settings.items() if key != "predictors"}
    configuration = _sha256(json.dumps(of_networks, sort_keys=True))
    return Evaluation(
        key=_key(configuration, splits, weights),
        study=study,
        experiment=experiment,
        kind=CONTROL if settings.get("permutation") else kind,
        configuration=configuration,
        splits=splits,
        weights=weights,
        **{name: settings[name] for name in ("task", "target", "cohorts")},
    )


def record_evaluation(folder: Path, evaluation: Evaluation, predictions: pd.DataFrame) -> Path:
    """Write the record of ``evaluation`` into ``folder`` unless it exists, and return its path.

    Two jobs may write the same record at once: the file is complete in any case. A file of that name that is not a record is
    replaced, with a line on standard error.

    Args:
        folder: The folder of the record.
        evaluation: What was evaluated.
        predictions: cohort, part and participant_id of the predictions.
    """
    path = folder / f"{evaluation.key}.json"
    if path.exists():
        try:
            _read(path)
            return path
        except InputError as error:
            print(f"{error} It is replaced.", file=sys.stderr)
    tested = {part: sorted(hashed_ids(predictions[predictions["part"] == part])) for part in (HELD_OUT, EXTERNAL)}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(
        path,
        evaluation.model_dump() | {"held_out": tested[HELD_OUT], "external": tested[EXTERNAL], "first_evaluated": now},
    )
    return path


def hashed_ids(participants: pd.DataFrame) -> set[str]:
    """The first 12 hexadecimal digits of the sha256 of each ``cohort<tab>participant_id``, so that a record names nobody."""
    pairs = participants[["cohort", "participant_id"]].drop_duplicates().itertuples(index=False)
    return {_sha256(f"{cohort}\t{participant}")[:ID_DIGITS] for cohort, participant in pairs}


def read_record(folder: Path, held_out: pd.DataFrame, target: str, own: str = "") -> Record:
    """The models in ``folder`` that were tested on participants of ``held_out``.

    An evaluation of ``target`` counts if one of them is among its held-out or external participants. An absent folder is an empty
    record. Hidden files, which are being written, are skipped.

    Args:
        folder: The folder of the record.
        held_out: cohort, participant_id; any number of rows for each.
        target: The predicted variable.
        own: Key of the reported evaluation (`Evaluation.key`).
    """
    wanted, found, problems = hashed_ids(held_out), list[StoredEvaluation](), []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        try:
            found.append(_read(path))
        except InputError as error:
            problems.append(str(error))
    tested = [one for one in found if one.target == target and not wanted.isdisjoint(one.held_out + one.external)]
    tested.sort(key=lambda one: (one.first_evaluated, one.key))
    of_kind = {kind: [one for one in tested if one.kind == kind] for kind in KINDS}
    return Record(
        models=_different(of_kind[EXPERIMENT]),
        controls=_different(of_kind[CONTROL]),
        without_site=_different(of_kind[WITHOUT_SITE]),
        on_curve=_different(of_kind[ON_CURVE]),
        labels_only=_different(of_kind[LABELS_ONLY]),
        from_generated=_different(of_kind[FROM_GENERATED]),
        experiments=tuple(dict.fromkeys(f"{one.study}/{one.experiment}" for one in of_kind[EXPERIMENT])),
        own=any(one.key == own for one in tested),
        problems=tuple(problems),
    )


def _different(records: Iterable[StoredEvaluation]) -> int:
    return len({tuple(sorted(one.weights.values())) for one in records})


def _read(path: Path) -> StoredEvaluation:
    """The record at ``path``. Raises InputError where it is none: other content, or a name or key that doesn't match it."""
    try:
        content = read_json(path)
    except InputError as error:
        raise _no_record(path, f"it can't be read as JSON ({error.__cause__})") from error
    if not isinstance(content, dict):
        raise _no_record(path, "it holds no JSON object")
    try:
        found = StoredEvaluation(**content)
    except ValidationError as error:
        wrong = dict.fromkeys(str(one["loc"][0]) for one in error.errors())
        raise _no_record(path, f"it has no usable {', '.join(wrong)}") from error
    if found.kind not in KINDS:
        raise _no_record(path, f"its kind is {found.kind!r}; expected {', '.join(KINDS)}")
    if not _key(found.configuration, found.splits, found.weights) == found.key == path.stem:
        raise _no_record(path, "its name, its key and its content don't belong together")
    return found


def _no_record(path: Path, why: str) -> InputError:
    return InputError(f"{path} is no record of an evaluation: {why}. Restore it from a copy, or move it elsewhere.")


def _key(configuration: str, splits: dict[str, str], weights: dict[str, str]) -> str:
    content = {"configuration": configuration, "splits": splits, "weights": sorted(weights.values())}
    return _sha256(json.dumps(content, sort_keys=True))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
