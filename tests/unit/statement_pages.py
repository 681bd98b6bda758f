"""Scenarios of which the whole report is written: each changes a small study and returns the text of its pages."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.quality_flags import SMALLEST_COHORT
from neurocohort.dataset.trained_scans import ADDED, ADDED_SESSION
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.predictors import notes_on, read_given
from neurocohort.evaluation.record import FOLDER
from neurocohort.evaluation.segmentation_details import NEITHER, PREDICTION
from neurocohort.files import read_json, read_table, write_json, write_table, write_text
from neurocohort.notes import EVALUATION, Kind, Notes, write_notes
from neurocohort.report import quality
from neurocohort.report.applied import MOST_ROWS
from neurocohort.report.applied_models import FOLDER as APPLIED_MODELS
from neurocohort.report.inputs import file_names
from neurocohort.settings.predictors import Predictor
from neurocohort.sources.sources import store_of
from statement_options import with_tissue_models
from statement_study import TASKS, Scenario, with_step


def whole(scenario: Scenario) -> str:
    """The demo, complete, one network per experiment; its code is committed, and the packages are those of the lock file."""
    for name in scenario.experiments:
        scenario.evaluate(name)
        scenario.record(name)
    scenario.edit("results/experiments/brain_age/flow.tsv", lambda flow: with_step(flow, "with a value of age", 0))
    hashed = lambda samples: samples.assign(voxels_sha256=samples["scan_id"])  # noqa: E731
    for name in scenario.experiments:
        scenario.edit(f"results/experiments/{name}/samples.tsv", hashed)
    scenario.volumes()
    for cohort in scenario.config["cohorts"].values():
        for name in file_names(cohort):
            write_text(scenario.root / "resources" / store_of(cohort) / name, "an archive")
    return scenario.page()


def folded(scenario: Scenario) -> str:
    """Published cohorts, cross-validated, two seeds; one network of brain age left out, one trained again."""
    scenario.real()
    experiments = scenario.experiments
    for name in experiments:
        scenario.fold(name, 3)
        experiments[name]["training"]["seeds"] = [1, 2]
    experiments["brain_age"] |= {
        "control": "shuffled_target",
        "transfer": {"weights": "dementia", "frozen_epochs": 3, "thaw_epochs": 2},
    }
    experiments["brain_age"]["network"] |= {"soft_bins": True, "norm": "group"}
    experiments["dementia"]["sweep"] = {"values": {"training.learning_rate": [0.1, 0.2]}, "draws": 0, "seed": 1}
    experiments["dementia"]["sweep"] |= {"method": "successive_halving", "reduction": 2}
    draws = [
        {
            "draw": f"sweep/draw-0{n}",
            "round": n,
            "training.learning_rate": n,
            "validation_loss": 1.0,
            "criterion": 1.0,
            "chosen": n - 1,
        }
        for n in (1, 2)
    ]
    write_table(scenario.folder("dementia") / "sweep" / "sweep.tsv", pd.DataFrame(draws))
    for name in experiments:
        learned = ("no", *["yes"] * 5)
        bins = {"task": TASKS[name] | {"soft_bins": True}} if name == "brain_age" else {}
        scenario.train(name, learned if name == "brain_age" else (), **bins)
        if name != "tissue":
            scenario.develop(name)
        scenario.evaluate(name, members=2)
        scenario.record(name)
    write_text(scenario.folder("brain_age") / "fold-1_seed-1" / "model.safetensors", "other weights")
    scenario.record("brain_age")
    write_text(scenario.root / FOLDER / "notes.json", "{}")
    scenario.edit("results/experiments/brain_age/networks.tsv", lambda table: table.assign(attempts=[2] * len(table)))
    control = {"holds": True, "sentence": "Trained on permuted targets the network is at chance on the true ones: 1."}
    write_json(scenario.folder("brain_age") / "control.json", control)
    second = {"participant_id": "sub-IXI012", "scan_id": "sub-IXI012_ses-2", "session_id": "ses-2"}
    scenario.edit("data/ixi/scans.tsv", lambda scans: pd.concat([scans, scans.head(1).assign(**second)]))
    return scenario.page()


def tested_once(scenario: Scenario) -> str:
    """Everybody held out once, in two test folds; brain age with a sweep, dementia cross-validated from its weights."""
    scenario.hold_everybody_out(2)
    scenario.fold("dementia", 2)
    scenario.experiments["brain_age"]["sweep"] = {
        "method": "bayesian",
        "values": {"training.learning_rate": [0.1, 0.2]},
        "draws": 2,
        "seed": 1,
    }
    scenario.experiments["tissue"]["transfer"] = {"weights": "brain_age", "frozen_epochs": 0, "thaw_epochs": 0}
    draw = {
        "draw": "sweep/draw-01",
        "round": 1,
        "training.learning_rate": 0.1,
        "validation_loss": 1.0,
        "criterion": 1.0,
        "chosen": 1,
    }
    sweep = pd.DataFrame([{"test_fold": number} | draw for number in (1, 2)])
    write_table(scenario.folder("brain_age") / "sweep" / "sweep.tsv", sweep)
    for name in scenario.experiments:
        scenario.train(name)
        scenario.evaluate(name, members=2)
        scenario.record(name)
    return scenario.page()


def given_weights(scenario: Scenario) -> str:
    """Initial weights from a user's file, trained on a GPU, in an environment that differs from the lock file."""
    scenario.real()
    scenario.experiments["brain_age"]["transfer"] = {
        "weights": "/models/other.safetensors",
        "frozen_epochs": 0,
        "thaw_epochs": 0,
    }
    scenario.config["cohorts"]["ixi"] |= {"base_url": "/mirror"}
    for name, keep in zip(scenario.experiments, ("last", "averaged", "ema"), strict=True):
        scenario.experiments[name]["training"]["keep"] = keep
        scenario.train(name, device="NVIDIA A100", torch="2.8.0")
    program = scenario.root / "bin" / "nvidia-smi"
    write_text(program, "#!/bin/sh\necho NVIDIA A100, 550.1\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return scenario.page()


def damaged(scenario: Scenario) -> str:
    """Participants and images in two parts of the split, and missing files."""
    folder = scenario.folder("brain_age")

    def leak(samples: pd.DataFrame) -> pd.DataFrame:
        tested = samples[samples["part"] == "held-out"].head(1)
        again = samples[samples["part"] == "train"].head(1).assign(fold=lambda rows: rows["fold"] % 3 + 1)
        return pd.concat([samples, again, tested.assign(part="train", scan_id=samples["scan_id"].iloc[-1])])

    scenario.fold("brain_age", 3)
    scenario.edit("results/experiments/brain_age/samples.tsv", leak)
    scenario.edit("data/ixi/scans.tsv", lambda scans: scans.assign(voxels_sha256="0" * 64))
    scenario.edit("results/oasis1/split.tsv", lambda split: split.assign(part="train"))
    for file in ("comparisons.tsv", "metrics.tsv"):
        (folder / file).unlink()
    (scenario.folder("dementia") / "networks.tsv").unlink()
    (scenario.folder("dementia") / "seed-1" / "run.json").unlink()
    (scenario.root / "data" / "oasis1" / "scans.tsv").unlink()
    shutil.rmtree(scenario.root / "benchmarks")
    return scenario.page(command="")


def incomplete(scenario: Scenario) -> str:
    """Tables that lack a column or rows, as an earlier version left them."""
    scenario.edit("data/oasis1/scans.tsv", lambda scans: scans.drop(columns="voxels_sha256", errors="ignore"))
    surfaces = ["hd95_mm", "assd_mm", "surface_dice_1mm"]
    scenario.edit("results/experiments/tissue/metrics.tsv", lambda rows: rows[~rows["metric"].isin(surfaces)])
    scenario.edit("results/experiments/tissue/shift.tsv", lambda rows: rows[rows["model"] != "network"])
    return scenario.page()


def nothing_learned(scenario: Scenario) -> str:
    """No network learned anything; no site, and nobody excluded."""
    scenario.real()
    for name in scenario.experiments:
        scenario.train(name, ("no",), best_epoch=0)
        scenario.edit(f"results/experiments/{name}/samples.tsv", lambda samples: samples.assign(site=np.nan))
    for name in scenario.experiments:
        scenario.edit(f"results/experiments/{name}/seed-1/history.tsv", lambda history: history.assign(best=0))
    for name in scenario.experiments:
        scenario.edit(f"results/experiments/{name}/samples.tsv", lambda samples: samples.assign(age=np.nan))
    for cohort in scenario.config["cohorts"]:
        scenario.edit(f"data/{cohort}/scans.tsv", lambda scans: scans.assign(age=np.nan))
        names = ("exclusions.tsv", "notes.tsv")
        for file in (f"{folder}/{cohort}/{name}" for folder in ("data", "results") for name in names):
            scenario.edit(file, lambda table: table.head(0))
    scenario.edit("results/experiments/brain_age/predictions.tsv", lambda rows: rows[rows["part"] != "validation"])
    scenario.edit("results/experiments/brain_age/baselines.tsv", lambda rows: rows[rows["part"] != "validation"])
    scenario.evaluate("brain_age")
    return scenario.page()


def three_classes(scenario: Scenario) -> str:
    """Three classes of CDR with their probabilities, and a saliency map without a correlation."""
    scenario.real()
    experiment = scenario.experiments["dementia"]
    experiment |= {"target": "cdr", "classes": [0, 0.5, [1, 2]]}
    folder, generator = "results/experiments/dementia", np.random.default_rng(3)

    def classes(rows: pd.DataFrame) -> pd.DataFrame:
        shares = generator.dirichlet(np.ones(3), len(rows))
        rows = rows.assign(target=np.arange(len(rows)) % 3, prediction=shares.argmax(axis=1))
        return rows.assign(**{f"probability_{code}": shares[:, code] for code in range(3)})

    network = classes(read_table(scenario.root / folder / "predictions.tsv"))
    write_table(scenario.root / folder / "predictions.tsv", network)
    others = pd.concat(
        [classes(network).assign(model=name, target=network["target"]) for name in ("majority", "voxel_svm")]
    )
    write_table(scenario.root / folder / "baselines.tsv", others)
    scenario.edit(f"{folder}/samples.tsv", lambda samples: samples.assign(target=np.arange(len(samples)) % 3))
    scenario.train("dementia", task={"kind": "classification", "classes": 3, "class_weights": [1.0, 1.0, 1.0]})
    scenario.evaluate("dementia")
    record = scenario.folder("dementia") / "saliency" / "saliency.json"
    write_json(record, read_json(record) | {"correlation": None})
    return scenario.page()


def tissue_models(scenario: Scenario) -> str:
    """Models of tissue maps, with their mean with the network, where one network was trained for each experiment."""
    with_tissue_models(scenario)
    for experiment in ("brain_age", "dementia"):
        scenario.evaluate(experiment)
    return scenario.page()


def one_of_three_classes(scenario: Scenario) -> str:
    """Three classes, of which the held-out part has one."""
    scenario.experiments["dementia"] |= {"target": "cdr", "classes": [0, 0.5, [1, 2]]}
    shares = {f"probability_{code}": share for code, share in enumerate((0.5, 0.3, 0.2))}
    for file in ("predictions", "baselines"):
        scenario.edit(
            f"results/experiments/dementia/{file}.tsv", lambda rows: rows.assign(target=0, prediction=0, **shares)
        )
    scenario.evaluate("dementia")
    return scenario.page()


def one_class(scenario: Scenario) -> str:
    """A held-out part of one class, and a segmentation that misses a tissue."""
    scenario.real()
    for file in ("predictions", "baselines"):
        scenario.edit(f"results/experiments/dementia/{file}.tsv", lambda rows: rows.assign(target=1))
    scenario.evaluate("dementia")
    scenario.edit(
        "results/experiments/tissue/predictions.tsv",
        lambda rows: rows.assign(volume_ml=rows["volume_ml"].mask(rows["tissue"] == "CSF", 0.0)),
    )
    scenario.edit(
        "results/experiments/tissue/predictions.tsv",
        lambda rows: rows.assign(empty=np.where(rows["tissue"] == "CSF", PREDICTION, NEITHER)),
    )
    scenario.evaluate("tissue")
    return scenario.page()


def no_curve(scenario: Scenario) -> str:
    """A table of curves without the ROC curve; scans of equal voxels; many excluded of one kind."""
    scenario.real()
    scenario.edit("results/experiments/dementia/curves.tsv", lambda rows: rows[rows["curve"] != "roc"])
    scans = read_table(scenario.root / "data" / "ixi" / "scans.tsv").sort_values("age")
    lost = scans.tail(8)[["participant_id", "scan_id"]].assign(stage="quality", reason="old")
    scenario.edit("results/ixi/exclusions.tsv", lambda rows: pd.concat([rows, lost]))
    mixed = read_table(scenario.root / "data" / "oasis1" / "scans.tsv").iloc[[2, 8, 14]]
    lost_too = mixed[["participant_id", "scan_id"]].assign(stage="quality", reason="any")
    scenario.edit("results/oasis1/exclusions.tsv", lambda rows: pd.concat([rows.head(2), lost_too]))
    return scenario.page()


def prepared(scenario: Scenario) -> str:
    """Own cohorts that are skull-stripped: one in MNI space with a split file, the other with quality numbers of only a few
    scans."""

    def of_a_few(table: pd.DataFrame) -> pd.DataFrame:
        scores = {name: np.nan for name in table if name.endswith("_z")}
        return table.head(SMALLEST_COHORT - 1).assign(**scores)

    scenario.edit("results/oasis1/qc.tsv", of_a_few)
    scenario.config["demo_data"] = False
    own = {"source": "table", "path": "scans.csv", "skull_stripped": True, "mni_space": True, "modalities": ["T1w"]}
    native = own | {"source": "bids", "mni_space": False}
    scenario.config["cohorts"] = {"ixi": own | {"split_file": "split.tsv"}, "oasis1": native}
    return scenario.page()


def from_caps(scenario: Scenario) -> str:
    """A cohort from a CAPS folder of Clinica."""
    scenario.config["demo_data"] = False
    scenario.config["cohorts"]["ixi"] = {"source": "caps", "path": "caps", "mni_space": True, "modalities": ["T1w"]}
    return scenario.page()


def unusual(scenario: Scenario) -> str:
    """Every quality number of one scan unusually low, of another unusually high, with the advice for each."""
    scenario.real()

    def extreme(table: pd.DataFrame) -> pd.DataFrame:
        for name in (*quality.LOW, *quality.HIGH):
            table[name] = np.linspace(1.0, 1.1, len(table))
            table[f"{name}_z"] = np.linspace(-1.0, 1.0, len(table))
            table.loc[0, f"{name}_z"], table.loc[1, f"{name}_z"] = -9.0, 9.0
        return table.assign(unknown=1.0, unknown_z=[12.0, *[0.0] * (len(table) - 1)])

    scenario.edit("results/ixi/qc.tsv", extreme)
    return scenario.page()


def only_age(scenario: Scenario) -> str:
    """One regression on one cohort with one site, without an external cohort."""
    return _only(scenario, "brain_age")


def only_dementia(scenario: Scenario) -> str:
    return _only(scenario, "dementia")


def only_tissue(scenario: Scenario) -> str:
    return _only(scenario, "tissue")


def _only(scenario: Scenario, name: str) -> str:
    scenario.real()
    scenario.config["experiments"] = {name: scenario.experiments[name] | {"external": []}}
    (cohort,) = scenario.experiments[name]["cohorts"]
    scenario.config["cohorts"] = {cohort: scenario.config["cohorts"][cohort]}
    for file in ("samples", "predictions", "baselines"):
        scenario.edit(
            f"results/experiments/{name}/{file}.tsv", lambda rows: rows[rows["part"] != "external"].assign(site="one")
        )
    scenario.evaluate(name)
    scenario.edit(f"results/experiments/{name}/flow.tsv", lambda flow: flow[flow["cohort"] == cohort])
    return scenario.page()


def fails_outside(scenario: Scenario) -> str:
    """A network that shrinks to the mean, is worse than a baseline, and fails on the external cohort."""
    scenario.real()
    generator = np.random.default_rng(1)

    def shrunk(rows: pd.DataFrame) -> pd.DataFrame:
        noise = generator.normal(0, 1, len(rows))
        at_home, outside = 53 + 0.3 * (rows["target"] - 53) + noise, 140 + 10 * noise
        return rows.assign(prediction=at_home.where(rows["part"] != "external", outside))

    def close(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(prediction=rows["prediction"].where(rows["model"] != "volumes", rows["target"]))

    scenario.edit("results/experiments/brain_age/predictions.tsv", shrunk)
    scenario.edit("results/experiments/brain_age/baselines.tsv", close)
    scenario.evaluate("brain_age")
    return scenario.page()


def lost(scenario: Scenario) -> str:
    """A run with almost all files missing."""
    scenario.real()
    for path in [*scenario.results.rglob("*.tsv"), *scenario.results.rglob("*.json")]:
        path.unlink()
    for path in scenario.results.rglob("*.webp"):
        path.unlink()
    (scenario.root / "envs" / "requirements.txt").unlink()
    return scenario.page()


def given_and_repeated(scenario: Scenario) -> str:
    """Predictions of another tool for some of the scans, in months; two sessions of everybody, a year apart."""
    folder = scenario.folder("brain_age")
    for name in ("predictions", "baselines"):
        once = read_table(folder / f"{name}.tsv")
        more = once[once["part"] == "validation"]  # enough for prediction intervals
        own = (more["participant_id"] + str(number) for number in range(8))
        once = pd.concat([once, *(more.assign(participant_id=who, scan_id=who + "_ses-1") for who in own)])
        later = {"scan_id": once["scan_id"].str.replace("ses-1", "ses-2"), "age": once["age"] + 1}
        write_table(folder / f"{name}.tsv", pd.concat([once, once.assign(**later)], ignore_index=True))
    _more_validation(scenario, "dementia")
    network = read_table(folder / "predictions.tsv")
    tool = scenario.root / "tool.csv"
    some = network[network.index % 2 == 0].assign(prediction=lambda rows: 12 * rows["target"])
    more = pd.DataFrame({"scan_id": ["sub-unknown_ses-1"], "prediction": [600.0]})
    pd.concat([some[["scan_id", "prediction"]], more]).to_csv(tool, index=False)
    scenario.experiments["brain_age"]["predictors"] = {"tool": {"file": str(tool)}}
    given = read_given(Predictor(file=str(tool)), network, "regression")
    notes = Notes(EVALUATION)
    for sentence in notes_on("tool", given, network, "regression"):
        notes.add(Kind.TABLES, sentence)
    write_notes(folder / "notes.tsv", notes.notes)
    write_table(folder / "predictors.tsv", some.assign(model="given:tool")[list(read_table(folder / "baselines.tsv"))])
    scenario.evaluate("brain_age")
    scenario.evaluate("dementia")
    return scenario.page()


def _more_validation(scenario: Scenario, experiment: str) -> None:
    """Forty more validation participants of either class, enough for conformal sets."""
    for name in ("predictions", "baselines"):
        path = scenario.folder(experiment) / f"{name}.tsv"
        table = read_table(path)
        first = table[table["part"] == "validation"].drop_duplicates("model" if "model" in table else "part")
        more = [
            first.assign(participant_id=f"sub-more{number}", scan_id=f"sub-more{number}_ses-1", target=number % 2)
            for number in range(80)
        ]
        write_table(path, pd.concat([table, *more], ignore_index=True))


def several_sites(scenario: Scenario) -> str:
    """Held-out participants of several sites, whose brains have one size by site; some are harmonised."""
    folder = scenario.folder("brain_age")
    for name in ("predictions", "baselines", "samples"):
        table = read_table(folder / f"{name}.tsv")
        own = table[table["part"] == "held-out"]
        more = []
        for number in range(4):
            names = own["participant_id"] + f"x{number}"
            more.append(own.assign(participant_id=names, scan_id=names + "_ses-1"))
        table = pd.concat([table, *more])
        if name == "baselines":
            table = pd.concat([table, table[table["model"] == "volumes"].assign(model="volumes_combat")])
        write_table(folder / f"{name}.tsv", table)
    samples = read_table(folder / "samples.tsv")
    sizes = samples["site"].map({site: number for number, site in enumerate(samples["site"].unique())})
    write_table(folder / "baseline_inputs.tsv", samples[["cohort", "scan_id"]].assign(**{"input:volumes:1": sizes}))
    scenario.evaluate("brain_age")
    return scenario.page()


def applied(scenario: Scenario) -> str:
    """An external cohort without labels, and scans that were added to the other cohorts after the training."""
    path = scenario.folder("brain_age") / "samples.tsv"
    samples = read_table(path)
    write_table(path, samples[samples["cohort"] != "oasis1"])
    columns = ["cohort", "part", "scan_id", "participant_id"]
    outside = samples.loc[samples["cohort"] == "oasis1", columns].assign(part="external", reason="no value of age")
    added = pd.concat([samples.loc[samples["part"] == "train", columns].assign(reason=ADDED)] * 20).head(MOST_ROWS + 1)
    added["reason"] = [ADDED_SESSION, *added["reason"].iloc[1:]]
    table = pd.concat([outside, added]).assign(prediction=40.0, spread=1.0)
    write_table(scenario.folder("brain_age") / "applied.tsv", table)
    write_table(scenario.folder("tissue") / "applied_samples.tsv", added[added["reason"] == ADDED])
    return scenario.page()


def only_applied_models(scenario: Scenario) -> str:
    """A study without experiments: models of other studies were applied to its cohorts."""
    scenario.real()
    scenario.config |= {"experiments": {}, "models": {name: {"bundle": name} for name in ("all", "none", "few")}}
    samples = read_table(scenario.folder("brain_age") / "samples.tsv")
    ixi = samples[samples["cohort"] == "ixi"].assign(part="external", status="predicted", prediction=50.0, reason=None)
    flags = ["age", "age, quality", *[None] * (len(ixi) - 2)]
    excluded = ixi.assign(cohort="oasis1", status="excluded", flags=None, reason="registration: no match")
    half = ixi.assign(target=ixi["age"].where(ixi.index % 2 == 0), flags=flags)
    many = pd.concat([half, excluded, *[half.assign(cohort="clinic", flags=None)] * 3])
    few = half.assign(target=ixi["age"].where(ixi.index == ixi.index[0]))
    model = {"study": "other", "experiment": "brain_age", "task": "regression", "target": "age", "true_values": "age"}
    for name, table in (("all", many), ("none", half.assign(target=None)), ("few", few)):
        folder = scenario.results / APPLIED_MODELS / name
        tested = table[table["target"].notna() & (table["status"] == "predicted")]
        write_table(folder / "predictions.tsv", table)
        write_table(
            folder / "metrics.tsv", evaluate(tested, tested.head(0).assign(model=""), "regression", Bootstrap(100, 1))
        )
        write_json(folder / "model.json", model | {"classes": [], "demo_data": name == "all"})
    return scenario.page()


PAGES = (
    whole,
    folded,
    tested_once,
    given_weights,
    damaged,
    incomplete,
    nothing_learned,
    three_classes,
    tissue_models,
    one_of_three_classes,
    one_class,
    no_curve,
    prepared,
    from_caps,
    unusual,
    only_age,
    only_dementia,
    only_tissue,
    fails_outside,
    lost,
    given_and_repeated,
    several_sites,
    applied,
    only_applied_models,
)
