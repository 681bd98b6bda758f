"""The trainings of an experiment: its members (one for each test fold, fold and seed), the draws of a sweep, and additional
experiments: controls, repetitions without one of its sites or without unlabelled scans, and those of a learning curve.

Everything follows from the configuration. Imports stay light: this runs at the start of every Snakemake process.
"""

import copy
import re
from typing import Any

from neurocohort.dataset.runs import RunName, run_name
from neurocohort.learning.draws import draws_of, rounds_of
from neurocohort.learning.published import PUBLISHED
from neurocohort.learning.settings import TrainingSettings, read_settings
from neurocohort.settings.pretraining import PRETRAINING, Pretraining
from neurocohort.settings.semi_supervised import SemiSupervised
from neurocohort.settings.training import TrainingKeys, TransferKeys
from neurocohort.settings.translation import TRANSLATION, Translation
from neurocohort.study.learning_curves import curve_points, of_point
from neurocohort.study.semi_supervised import labels_only_name, learns_unlabelled, of_labels_only, with_labelled

CONTROL_SUFFIX = {"shuffled_target": "shuffled-target"}
PERMUTATIONS = 3  # with a single one, chance and a leak can't be distinguished
# Keys of an experiment that compare networks and change none.
COMPARISONS = ("learning_curve", "adaptation", "generation")


def all_experiments(experiments: dict[str, dict]) -> dict[str, dict]:
    """Add to each experiment its additional experiments, which have one seed and no sweep.

    These are its controls, whose targets are permuted by the number ``permutation`` (1, 2, ...; 0 in other experiments), and one
    for each site that is left out in turn, the ``left_out_site`` (empty in other experiments). The points of a learning curve
    have all seeds, and ``learning_curve_of``, the experiment whose curve it is. So has the experiment without scans that have no
    label map, which is ``labels_only_of`` another. The keys `COMPARISONS` themselves are left out: no network of
    the experiment depends on them.
    """
    found = {}
    for name, given in experiments.items():
        experiment = with_labelled({key: value for key, value in given.items() if key not in COMPARISONS})
        own = {"permutation": 0, "left_out_site": ""}
        found[name] = {"sweep": None, **experiment, **own}
        additional: dict[str, Any] = {"sweep": None, "control": None, "leave_one_site_out": []}
        for number, control in enumerate(control_names(name, experiment.get("control")), start=1):
            found[control] = _with_one_seed(experiment) | additional | own | {"permutation": number}
        for other, site in without_site_names(name, experiment.get("leave_one_site_out") or []).items():
            found[other] = _with_one_seed(experiment) | additional | own | {"left_out_site": site}
        if learns_unlabelled(experiment):
            copied = copy.deepcopy({key: value for key, value in experiment.items() if key != "predictors"})
            found[labels_only_name(name)] = copied | additional | own | of_labels_only(name)
        for point in curve_points(name, given.get("learning_curve") or []):
            if point.experiment != name:
                copied = copy.deepcopy({key: value for key, value in experiment.items() if key != "predictors"})
                found[point.experiment] = copied | additional | own | of_point(point, name, copied)
    return found


def _with_one_seed(experiment: dict) -> dict:
    copied = copy.deepcopy(experiment)
    copied["training"] |= {"seeds": copied["training"]["seeds"][:1], "cross_validation": False}
    copied.pop("predictors", None)  # they are compared with the network of the experiment itself
    return copied


def transfer_chain(experiments: dict[str, dict], name: str) -> list[str]:
    """``name``, the experiment that it starts from, the one that this one starts from, and so on."""
    chain = [name]
    while (
        source := (experiments[chain[-1]].get("transfer") or {}).get("weights")
    ) in experiments and source not in chain:
        chain.append(source)
    return chain


def starts_published(experiments: dict[str, dict], name: str) -> bool:
    """Whether the training of the experiment ``name`` goes back to published weights."""
    origin = experiments[transfer_chain(experiments, name)[-1]]
    return (origin.get("transfer") or {}).get("weights") == PUBLISHED


def control_names(experiment: str, kind: str | None) -> list[str]:
    """The names (and folders) of an experiment's controls, one for each permutation."""
    return [f"{experiment}_{CONTROL_SUFFIX[kind]}-{number + 1}" for number in range(PERMUTATIONS)] if kind else []


def without_site_names(experiment: str, sites: list[str]) -> dict[str, str]:
    """Each of ``sites``, by the name (and folder) of the experiment that is trained without it."""
    return {f"{experiment}_without-{re.sub('[^A-Za-z0-9]+', '-', site)}": site for site in sites}


def members_of(experiment: dict, folds: int, test_folds: int = 0) -> list[str]:
    """The folders of an experiment's networks, such as seed-1, fold-2_seed-1 or test-1_fold-2_seed-1.

    Args:
        experiment: As in `all_experiments`.
        folds: Number of folds of the study.
        test_folds: Number of test folds of the study; 0 for none.
    """
    training = experiment["training"]
    validated = range(1, folds + 1) if training.get("cross_validation") else [0]
    tested = range(1, test_folds + 1) if test_folds else [0]
    return [
        str(RunName(seed, fold, test_fold)) for test_fold in tested for fold in validated for seed in training["seeds"]
    ]


def starting_members(source: dict, folds: int, run: str, test_folds: int = 0) -> list[str]:
    """The networks that a training may start from, in order of preference.

    If the source has folds, these are the networks of the training's own fold; the one with the same seed comes first. They are
    also those of its own test fold, so that no network goes back to one that was trained on participants it is tested on.

    The folds of a cohort are the same in every experiment. So the source's network of fold k was not trained on the scans that
    validate fold k here. A run without folds starts from the source's fold 1. Such a run is a control, or leaves a site out of a
    cross-validated experiment, or is an experiment on other cohorts (`study.trainings` refuses everything else). A control can't
    profit from validation scans that this network was trained on: their true targets contain no information about the permuted
    ones by which its epoch is chosen, and it is tested on held-out scans, which are in no fold.

    Args:
        source: The experiment of the transfer's weights.
        folds: Number of folds of the study.
        run: The training, such as ``fold-1_seed-3``.
        test_folds: Number of test folds of the study.
    """
    own = run_name(run)
    names = [one for one in map(run_name, members_of(source, folds, test_folds)) if one.test_fold == own.test_fold]
    if source["training"].get("cross_validation"):
        names = [one for one in names if one.fold == (own.fold or 1)]
    return [str(one) for one in sorted(names, key=lambda one: one.seed != own.seed)]


def drawn_experiment(experiment: dict, values: dict) -> dict:
    """A copy of the experiment with ``values`` at their dotted keys."""
    changed = copy.deepcopy(experiment)
    for key, value in values.items():
        *path, last = key.split(".")
        place = changed
        for step in path:
            place = place[step]
        place[last] = value
    return changed


def _of_draw(experiment: dict, draw: str) -> dict:
    """The experiment with what is known of a draw of its sweep: its values, or in a sweep in rounds its number of epochs."""
    found = drawn_experiment(experiment, draws_of(experiment["sweep"])[draw])
    for one in rounds_of(experiment["sweep"]):
        if draw in one.draws:
            found["training"]["epochs"] //= one.shorter
    return found


def training_settings(
    experiment: dict,
    run: str,
    *,
    weights: str = "",
    fraction: float | None = None,
    structures: list[str] | None = None,
    intensity: str | None = None,
) -> TrainingSettings:
    """The settings of one training of an experiment.

    Args:
        experiment: As in `all_experiments`. The networks of a control are not judged: its targets are permuted, so there is
            nothing to learn. Nor are those of a pretraining or a translation, which are compared with baselines.
        run: ``seed-1`` or, in a sweep with folds, ``sweep/draw-02/fold-1_seed-3``. The values of a draw of a sweep in rounds are
            added in its job (`learning.settings.with_values`).
        weights: A file that the experiment's transfer starts from: the user's, or the published weights.
        fraction: `learning.published.grid_fraction` where the training goes back to the published weights.
        structures: What a segmentation predicts (`structures_to_learn`).
        intensity: `preprocessing.intensity`, which painted images depend on.
    """
    own = run_name(run)
    experiment = _of_draw(experiment, own.draw) if own.draw else experiment
    network = {key: value for key, value in experiment["network"].items() if key != "name"}
    training = {key: value for key, value in experiment["training"].items() if key in TrainingKeys.model_fields}
    given = experiment.get("transfer") or {}
    transfer = {key: value for key, value in given.items() if key in TransferKeys.model_fields}
    pretrains, translates = experiment["task"] == PRETRAINING, experiment["task"] == TRANSLATION
    of_run = {
        "task": experiment["task"],
        "network": experiment["network"]["name"],
        "modalities": experiment["modalities"],
        "classes": len(experiment.get("classes") or [0, 1]),
        **({"auxiliary": auxiliary} if (auxiliary := experiment.get("auxiliary")) else {}),
        "weights": weights,
        **({} if fraction is None else {"grid_fraction": fraction}),
        **({} if structures is None else {"structures": structures}),
        **({"pretraining": Pretraining(**experiment.get("pretraining") or {})} if pretrains else {}),
        **({"translation": Translation(**experiment.get("translation") or {})} if translates else {}),
        **({"target_channel": experiment["target"]} if translates else {}),
        **({"semi_supervised": SemiSupervised(**semi)} if (semi := experiment.get("semi_supervised")) else {}),
        **({"intensity_scale": intensity} if intensity and training.get("synthetic") else {}),
        "judged": not experiment.get("permutation") and not pretrains and not translates,
        "fold": own.fold,
        "test_fold": own.test_fold,
        "seed": own.seed,
    }
    return read_settings(network | training | transfer | of_run)
