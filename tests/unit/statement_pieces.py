"""What the parts of the report say of values that are made up here: gates, headlines, cards, verdicts on exclusions, plans."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from neurocohort.cluster.planning.disk import Need
from neurocohort.cluster.planning.plan import Line, Plan
from neurocohort.cluster.planning.study import Study
from neurocohort.cluster.planning.text import plan_text
from neurocohort.cluster.profiles import Profile, this_machine
from neurocohort.evaluation.brain_age import regression_details
from neurocohort.evaluation.controls import chance_holds
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.operating_point import thresholds_of
from neurocohort.evaluation.record import Record
from neurocohort.evaluation.shift import NEW_SITE, PARTLY_NEW
from neurocohort.evaluation.site_prediction import ACCURACY, CHANCE, FROM_FEATURES, FROM_RESIDUALS, Sites
from neurocohort.files import write_table
from neurocohort.report import exclusions, gates, saliency, shift, site_effects
from neurocohort.report.checklists import Question, Report, item_of
from neurocohort.report.claims import rerun_sentence, unseen_sentence
from neurocohort.report.evaluations import evaluations_sentence
from neurocohort.report.formats import Control, Run
from neurocohort.report.headline import HEADLINES, Figure, Verdict, headline_metric, headline_of
from neurocohort.report.methods import Methods
from neurocohort.report.model_card import card_sections
from neurocohort.report.model_limits import Known
from neurocohort.report.networks import Networks, networks_sentence
from neurocohort.report.participants import SplitCheck
from neurocohort.report.provenance import Git, Provenance
from neurocohort.report.sources import Missing
from neurocohort.report.study import Package
from neurocohort.study.configuration import read_checked
from statement_auxiliary import AUXILIARY
from statement_curves import CURVES

ROOT = Path(__file__).resolve().parents[2]


VERDICT = Verdict("e", "age", HEADLINES["regression"], "better", "ixi", Figure(5.0), Figure(14.0))
CLEAN = SplitCheck([], "", [], compared=40)
COMPARISON = {"baseline": "volumes", "difference": -2.0, "ci_low": -3.0, "ci_high": -1.0, "in_favour_of": "network"}


def network_rows(*learned: str, edge: str = "", attempts: int = 1) -> Networks:
    rows = [
        {"member": f"fold-{number}_seed-1", "attempts": attempts, "epochs": 40, "best_epoch": 30, "spread": 0.5}
        | {
            "least_spread": 0.1,
            "edge": edge,
            "learned": answer,
            "used": "no" if answer == "no" else "yes",
            "reason": "",
        }
        for number, answer in enumerate(learned, start=1)
    ]
    return Networks(pd.DataFrame(rows))


def gates_of(verdict=None, split=None, control=None, comparison=COMPARISON, networks=None) -> list[gates.Gate]:
    """The gates of a result that passes them all, with these changes."""
    return gates.experiment_gates(
        replace(VERDICT, **(verdict or {})),
        replace(CLEAN, **(split or {})),
        None if comparison is None else pd.Series(comparison),
        networks or network_rows("yes"),
        Control(**control) if control else None,
    )


def _gates(verdict=None, split=None, control=None, comparison=COMPARISON, networks=None) -> Iterator[str]:
    for gate in gates_of(verdict, split, control, comparison, networks):
        yield gate.finding


def _saliency_reading(correlation: float) -> list[str]:
    return [saliency._reading(correlation)]


def _control(**metrics: float) -> list[str]:
    row = {"cohort": "ixi", "part": "held-out", "group": "all", "metric": "mae", "n": 9}
    rows = [row | {"model": "network", "value": 9.0, "ci_low": 8.0, "ci_high": 10.0} | metrics]
    rows.append(row | {"model": "mean", "value": 12.0, "ci_low": 11.0, "ci_high": 13.0})
    return [chance_holds(pd.DataFrame(rows), "regression").sentence]


def _headline(
    *rows: tuple, experiment: str = "brain_age", metric: str = "mae", paired: tuple | None = (-2.0, -3.0, -1.0)
) -> list[str]:
    """``paired``: difference to the trivial baseline and its interval; None where there is no table of comparisons."""
    about = {"cohort": "ixi", "part": "held-out", "group": "all", "metric": metric, "n": 9}
    names = ("model", "value", "ci_low", "ci_high")
    metrics = pd.DataFrame([about | dict(zip(names, row, strict=True)) for row in rows])
    task = {"brain_age": "regression", "dementia": "classification"}[experiment]
    settings, comparisons = {"task": task, "target": "age"}, None
    if paired:
        row = about | {"baseline": headline_metric(settings).trivial, "best": "yes", "in_favour_of": ""}
        comparisons = pd.DataFrame([row | dict(zip(("difference", "ci_low", "ci_high"), paired, strict=True))])
    return [verdict.sentence for verdict in headline_of(metrics, experiment, settings, comparisons)]


def _rerun(**changed: object) -> list[str]:
    known = dict.fromkeys(Provenance.__dataclass_fields__)
    known |= {"git": Git("a", False), "packages": (Package("torch", "2", "2"),), "command": "make demo"}
    return [rerun_sentence(Provenance(**known | {"runs": [{"device": "cpu"}]} | changed))]


MEAN = ("mean", 12.0, 11.0, 13.0)
BASE_NAMES = ("voxel_ridge", "voxel_svm", "tissue_kernel_ridge", "grey_matter_svm")
OTHER_NAMES = (
    "tissue_amounts",
    "brain_age_gap",
    "volumes_combat",
    "tissue_kernel_ridge_combat",
    "grey_matter_svm_combat",
)
BASES = [(name, 9.0, 8.0, 10.0) for name in BASE_NAMES]
ABSENT = Missing("file", "what", "why", "missing-1")


def _metrics(*rows: tuple) -> pd.DataFrame:
    """Rows of metrics.tsv from part, model, metric and value with its limits."""
    names = ("part", "model", "metric", "value", "ci_low", "ci_high")
    return pd.DataFrame(
        [{"cohort": "ixi", "group": "all", "n": 9} | dict(zip(names, row, strict=True)) for row in rows]
    )


def _limits(metrics: pd.DataFrame, participants: int, run: Run | None = None, **settings: object) -> list[str]:
    settings = {"task": "regression", "target": "age", "cohorts": ["ixi"], "external": []} | settings
    people = [f"p{number}" for number in range(participants)]
    samples = pd.DataFrame({"participant_id": people, "scan_id": people, "cohort": "ixi", "part": "held-out"})
    samples = pd.concat([samples, samples.head(9).assign(part="train", participant_id=people[:9])])
    samples = samples.assign(
        site=["a", "b", "c"] * (len(samples) // 3) + ["a"] * (len(samples) % 3), age=40.0, sex="F", target=1.0
    )
    configuration = {"experiments": {"age": settings}, "cohorts": {}}
    known = Known("age", settings, configuration, run=run, metrics=metrics, samples=samples)
    return [sentence for section in card_sections(known) for sentence in section.sentences]


HOME = ("held-out", "network", "mae", 4.0, 3.0, 5.0)
CARRIED = [HOME, ("external", "network", "mae", 9.0, 8.0, 10.0), ("external", "mean", "mae", 15.0, 14.0, 16.0)]
CARRIED += [("held-out", "mean", "mae", 15.0, 14.0, 16.0)]
GIVEN = {"transfer": {"weights": "/models/other.safetensors"}}
STARTED = {"transfer": {"weights": "sfcn_ukb"}}


EVALUATED = Record(
    models=3,
    controls=3,
    without_site=1,
    on_curve=2,
    labels_only=1,
    own=True,
    experiments=("a/b", "a/c"),
    problems=("x",),
)


def _shift(seen: str) -> list[str]:
    row = {"experiment": "e", "metric": "mae", "value": 4.0, "interval": "bca", "seen": seen}
    return [shift._sentence(pd.DataFrame([row]), "age"), shift._marks_explained(pd.DataFrame([row]))]


def _excluded(*rows: tuple, excluded: int = 4) -> list[str]:
    table = pd.DataFrame(rows, columns=["variable", "p_holm", "test", "excluded", "kept"])
    return [exclusions._verdict(table, excluded)]


def _exclusion_counts(lost: int, of: int) -> list[str]:
    scans = pd.DataFrame({"participant_id": [f"p{number}" for number in range(of)] + ["p0"]})
    scans["scan_id"] = [f"s{number}" for number in range(of + 1)]
    gone = scans["scan_id"].isin(scans["scan_id"].head(lost)) | (scans.index == of)
    people = scans.drop_duplicates("participant_id")
    excluded = people["participant_id"].map(gone.groupby(scans["participant_id"]).all()).to_numpy(dtype=bool)
    return exclusions._counts(scans, gone, people, excluded, scans.head(0).assign(stage="ingest"))


def _answers(*shown: str) -> list[str]:
    report = Report(Methods((), ()), {"provenance", *shown}, [])
    items = (item_of(Question(id="1", text="", answer=name), report) for name in ("code", "saliency"))
    return [text for item in items for text in (item.sentence, item.author)]


def _same_groups(cdr: tuple[float, ...]) -> list[str]:
    ages = [30.0, 40.0, 50.0, 60.0, 90.0, 95.0]
    table = pd.DataFrame({"scan_id": list("abcdef"), "participant_id": list("abcdef"), "cohort": "x", "age": ages})
    table = table.assign(model="network", part="external", target=ages, prediction=ages, cdr=cdr)
    rows = regression_details(
        table,
        pd.DataFrame({"cohort": "y", "scan_id": list("gh"), "part": "train", "age": [30.0, 60.0]}),
        None,
        Bootstrap(100, seed=1),
    )
    return [row.note for row in rows]


def _thresholds_of_test_folds(with_both_classes: tuple[int, ...]) -> list[str]:
    """The note on the network's threshold where only some of two test folds have validation scans of both classes."""
    rows = [
        {"model": "network", "part": "validation", "participant_id": f"p{number}{place}", "test_fold": number}
        | {"target": place % 2 if number in with_both_classes else 0, "prediction": place / 10}
        for number in (1, 2)
        for place in range(4)
    ]
    return [threshold.note for threshold in thresholds_of(pd.DataFrame(rows)).values()]


def _sites(network: float, constant: float = 0.4, small: int = 0, features: float | None = None) -> list[str]:
    """``network``, ``constant``: lower limits of the balanced accuracy from their errors; chance is 0.5. ``features``: that from
    the network's features."""
    none = np.array([])
    note = Sites(none, none, none, {"a": 9, "b": 9}, {"c": small} if small else {}).note
    about = {"cohort": "ixi", "setting": FROM_RESIDUALS, "interval": "bca", "n": 18, "note": note, "ci_high": 0.9}
    rows = [
        about | {"setting": setting, "model": model, "metric": metric, "value": value, "ci_low": low}
        for setting, model, low in (
            (FROM_RESIDUALS, "network", network),
            (FROM_RESIDUALS, "mean", constant),
            *([(FROM_FEATURES, "network", features)] if features is not None else []),
        )
        for metric, value in ((ACCURACY, low + 0.1), (CHANCE, 0.5))
    ]
    return site_effects.site_sentence(pd.DataFrame(rows), "ixi")


PIECES: dict[str, Callable[[], list[str] | Iterator[str]]] = {
    "thresholds_in_one_test_fold": lambda: _thresholds_of_test_folds((1,)),
    "thresholds_in_both_test_folds": lambda: _thresholds_of_test_folds((1, 2)),
    "thresholds_in_no_test_fold": lambda: _thresholds_of_test_folds(()),
    "gates_pass": lambda: _gates(control={"holds": True}),
    "gates_fail": lambda: _gates(
        {"judgement": "no better"},
        {"images": 1},
        {"holds": False},
        COMPARISON | {"in_favour_of": "baseline"},
        network_rows("no", "no"),
    ),
    "gates_warn": lambda: _gates(
        None,
        {"missing": [1]},
        {"holds": None},
        COMPARISON | {"in_favour_of": "neither"},
        network_rows("yes", "no", "yes"),
    ),
    "gates_one_left": lambda: _gates({"network": None}, networks=network_rows("yes", "no")),
    "gates_early": lambda: _gates(comparison=COMPARISON | {"ci_low": None}, networks=network_rows("yes", edge="first")),
    "gates_again": lambda: _gates(comparison=None, networks=network_rows("yes", attempts=2)),
    "gates_not_judged": lambda: _gates(networks=network_rows("not judged")),
    "headline_better": lambda: _headline(("network", 5.0, 4.0, 6.0), MEAN, BASES[0]),
    "headline_unclear": lambda: _headline(("network", 10.0, 4.0, 12.0), MEAN, BASES[1], paired=(-2.0, -5.0, 1.0)),
    "headline_no_interval": lambda: _headline(("network", 5.0, None, None), MEAN, BASES[2], paired=None),
    "headline_no_better": lambda: _headline(("network", 15.0, 14.0, 16.0), MEAN, BASES[3]),
    **{
        f"headline_{name}": lambda name=name: _headline(("network", 15.0, 14.0, 16.0), MEAN, (name, 9.0, 8.0, 10.0))
        for name in OTHER_NAMES
    },
    "headline_classes": lambda: _headline(("network", 0.8, 0.7, 0.9), experiment="dementia", metric="auc"),
    "headline_absent": lambda: _headline(MEAN),
    "rerun_same": lambda: _rerun(),
    "rerun_gpu": lambda: _rerun(runs=[{"device": "NVIDIA A100"}]),
    "rerun_no_git": lambda: _rerun(git=None, command="", packages=[]),
    "rerun_dirty": lambda: _rerun(git=Git("a", True), packages=(Package("torch", "2", None),)),
    "unseen_unknown": lambda: [unseen_sentence({"Age": ABSENT}, {})],
    "unseen_tested_once": lambda: [unseen_sentence({"Age": replace(CLEAN, counts=[("Held out once", 9)])}, {})],
    "unseen_given": lambda: [unseen_sentence({"Age": CLEAN}, {"age": GIVEN})],
    "unseen_published": lambda: [unseen_sentence({"Age": CLEAN}, {"age": STARTED})],
    "unseen_known": lambda: [unseen_sentence({"Age": CLEAN}, {})],
    "complete": lambda: [gates.completeness_gate([]).finding],
    "evaluations_one": lambda: [evaluations_sentence(Record(models=1, own=True), "age")],
    "evaluations_more": lambda: [evaluations_sentence(EVALUATED, "age")],
    **CURVES,
    **AUXILIARY,
    "networks_some": lambda: [networks_sentence(network_rows("no", "yes"))],
    "limits_carried": lambda: _limits(_metrics(*CARRIED), 120, external=["oasis1"], **GIVEN),
    "limits_published": lambda: _limits(_metrics(HOME), 120, **STARTED),
    "limits_painted": lambda: _limits(_metrics(HOME), 30, Run(settings={"synthetic": {"fraction": 0.5}})),
    "limits_alone": lambda: _limits(_metrics(HOME), 30),
    "shift_partly": lambda: _shift(PARTLY_NEW),
    "shift_site": lambda: [*_shift(NEW_SITE), shift._failed(["age without-HH"])],
    "excluded_differ": lambda: _excluded(("Age", 0.01, "t", "1", "2")),
    "excluded_alike": lambda: _excluded(("Age", 0.9, "t", "1", "2"), ("CDR", np.nan, "", "1", "2")),
    "excluded_untested": lambda: _excluded(("CDR", np.nan, "", "1", "2")),
    "counts_all_lost": lambda: _exclusion_counts(9, 9),
    "counts_one_scan": lambda: _exclusion_counts(0, 9),
    "answers_code": lambda: _answers("commit"),
    "answers_no_code": lambda: _answers(),
    "groups_same": lambda: _same_groups((0, 0, 0, 0, 1, 1)),
    "groups_other": lambda: _same_groups((0, 1, 0, 0, 1, 0)),
    "networks_none": lambda: [networks_sentence(network_rows("no", "no")), networks_sentence(network_rows("no"))],
    "saliency_alike": lambda: _saliency_reading(0.9),
    "saliency_partly": lambda: _saliency_reading(0.4),
    "saliency_unlike": lambda: _saliency_reading(0.1),
    "sites_predicted": lambda: _sites(0.6, small=2),
    "sites_not_predicted": lambda: _sites(0.4),
    "sites_in_features": lambda: _sites(0.4, features=0.6),
    "sites_not_in_features": lambda: _sites(0.4, features=0.4),
    "sites_of_people": lambda: _sites(0.6, constant=0.55),
    "control_off_chance": lambda: _control(),
    "control_at_chance": lambda: _control(value=12.5, ci_high=14.0),
    "control_missing": lambda: _control(value=float("nan")),
}


def plans(folder: Path) -> Iterator[tuple[str, str]]:
    """Plans of the demo with and without work, room, a GPU and measured times."""
    config = copy.deepcopy(read_checked([ROOT / "config" / "config.yaml"]))
    study = Study(config, folder / "plan")
    study.directory.mkdir()
    write_table(
        study.directory / "data" / "oasis1" / "scans.tsv",
        pd.DataFrame({"scan_id": ["a"], "path": ["a.nii"], "dseg_path": ["a.nii"]}),
    )
    line = Line("train", "this machine", False, jobs=3, seconds=60.0, estimated=True)
    small, large = (Need("preprocessed scans", peak, 0.0) for peak in (1e6, 1e18))
    yield "plan_here", "\n".join(plan_text(Plan(study, this_machine(), [line], [], [small], 60.0)))
    yield "plan_done", "\n".join(plan_text(Plan(study, this_machine(), [], [], [small], 0.0)))
    other = copy.deepcopy(config)
    for experiment in other["experiments"].values():
        experiment["training"] |= {"patience": 5, "retrain": 0}
        write_table(study.directory / "results" / "experiments" / "brain_age" / "samples.tsv", pd.DataFrame({"a": [1]}))
    other["preprocessing"]["brain_extraction"] = "synthstrip"
    published = copy.deepcopy(config["cohorts"]["ixi"]) | {"base_url": ""}
    remote = Study({**other, "cohorts": {"ixi": published, "oasis1": config["cohorts"]["oasis1"]}}, study.directory)
    on_gpu = Line("train", "gpu", True, jobs=3, seconds=60.0, measured=False)
    profile = Profile("slurm", executor="slurm", jobs=20)
    archives = [archive for archive in remote.archives if archive.remote]
    estimated = {"ixi": 581, "oasis1": 26}
    yield "plan_cluster", "\n".join(plan_text(Plan(remote, profile, [on_gpu], archives, [large], 60.0, estimated)))
    for name in config["experiments"]:
        write_table(study.directory / "results" / "experiments" / name / "samples.tsv", pd.DataFrame({"a": [1]}))
    measured = Line("train", "gpu", True, jobs=3, seconds=60.0)
    yield "plan_measured", "\n".join(plan_text(Plan(study, profile, [measured], [], [small], 60.0)))
