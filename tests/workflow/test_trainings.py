"""Sweeps, folds, controls, transfer and more than two classes on the demo's cohorts. The held-out file is opened last."""

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import pandas as pd
import pytest
import yaml
from neurocohort.cli import app
from neurocohort.evaluation.record import EXPERIMENT, evaluation_of, read_record
from neurocohort.files import read_json, sha256_of
from neurocohort.study.configuration import read_checked
from neurocohort.study.members import all_experiments, members_of
from typer.testing import CliRunner

pytestmark = pytest.mark.slow

SMALL = {"name": "sfcn", "channels": [4, 8, 8, 8, 8, 8], "norm": "group", "soft_bins": False}
SHORT = {"epochs": 2, "batch_size": 6, "learning_rate": 0.01}
EXPERIMENTS = {
    "swept": {
        "task": "regression",
        "target": "age",
        "cohorts": ["ixi", "oasis1"],
        "network": SMALL,
        "training": SHORT,
        "control": "shuffled_target",
        "leave_one_site_out": ["Guys"],
        "sweep": {
            "method": "bayesian",
            "draws": 6,
            "at_once": 4,
            "values": {
                "training.learning_rate": {"low": 0.001, "high": 0.05, "log": True},
                "network.dropout": [0.0, 0.5],
            },
        },
    },
    "folded": {
        "task": "classification",
        "target": "dementia",
        "cohorts": ["oasis1"],
        "network": SMALL,
        "training": SHORT | {"cross_validation": True},
    },
    "graded": {
        "task": "classification",
        "target": "cdr",
        "classes": [0, 0.5, [1, 2]],
        "cohorts": ["oasis1"],
        "network": SMALL,
        "training": SHORT,
        "transfer": {"weights": "swept", "frozen_epochs": 1},
    },
    "patched": {
        "task": "segmentation",
        "target": "dseg",
        "cohorts": ["oasis1"],
        "network": {"name": "unet", "channels": [4, 8]},
        "training": SHORT | {"patch": [32, 32, 32], "seeds": [1, 2]},
    },
}


@pytest.fixture(scope="module")
def study(demo):
    """Configuration file of a study with other experiments on the demo's cohorts."""
    content = yaml.safe_load(demo.path("config/config.yaml").read_text()) | {"experiments": EXPERIMENTS}
    path = demo.path("config/trainings.yaml")
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.fixture(scope="module")
def swept(demo, study):
    """Only the sweep, up to the chosen network, in a folder without packed held-out scans."""
    packs = [demo.path(f"results/{cohort}/packed/held-out") for cohort in ("ixi", "oasis1")]
    for pack in packs:
        shutil.rmtree(pack)
    demo.snakemake(
        "--configfile", study, "--quiet", "rules", "--", "results/experiments/swept/seed-1/model.safetensors"
    )
    assert not any(pack.exists() for pack in packs), "nothing before the prediction packs a held-out scan"
    return demo.path("results/experiments/swept")


@pytest.fixture(scope="module")
def finished(demo, study, swept):
    demo.snakemake("--configfile", study, "--quiet", "rules")
    return demo


def table(folder, name):
    return pd.read_csv(folder / name, sep="\t")


def test_a_sweep_of_six_draws_runs_while_the_held_out_file_is_absent(swept):
    draws = table(swept, "sweep/sweep.tsv")
    assert draws["round"].tolist() == [1] * 4 + [2] * 2
    for number, rows in draws.groupby("round"):
        values = read_json(swept / f"sweep/round-{number}.json")
        assert list(values) == rows["draw"].tolist()
        rates = [read_json(swept / draw / "seed-1/run.json")["settings"]["learning_rate"] for draw in values]
        assert rates == rows["training.learning_rate"].tolist(), "what was suggested is what the networks learned with"
    assert len(draws) == 6 and draws["training.learning_rate"].between(0.001, 0.05).all()
    chosen = draws.loc[draws["chosen"] == 1].iloc[0]
    assert chosen["criterion"] == draws["criterion"].min()
    weights = [sha256_of(swept / folder / "seed-1/model.safetensors") for folder in (chosen["draw"], ".")]
    assert weights[0] == weights[1]
    assert set(table(swept, "training/samples.tsv")["part"]) == {"train", "validation"}


def test_the_control_is_trained_on_other_targets_and_judged_on_the_true_ones(finished):
    experiments = finished.path("results/experiments")
    true, shuffled = (table(experiments / name, "samples.tsv") for name in ("swept", "swept_shuffled-target-1"))
    development = true["part"] != "held-out"
    assert (true["scan_id"] == shuffled["scan_id"]).all()
    assert (true["target"] == shuffled["target"])[~development].all()
    assert (true["target"] != shuffled["target"])[development].mean() > 0.5
    record = read_json(experiments / "swept/control.json")
    assert record["metric"] == "mae" and record["sentence"] in finished.path("results/report/index.html").read_text()


def test_every_fold_validates_once_and_the_held_out_part_is_predicted_by_all(finished):
    members = table(finished.path("results/experiments/folded"), "members.tsv")
    validated = members[members["part"] == "validation"]
    samples = table(finished.path("results/experiments/folded"), "samples.tsv")
    assert sorted(validated["scan_id"]) == sorted(samples.loc[samples["part"] != "held-out", "scan_id"])
    held_out = members[members["part"] == "held-out"].groupby("scan_id")["member"].nunique()
    assert set(held_out) == {5} and set(held_out.index) == set(samples.loc[samples["part"] == "held-out", "scan_id"])


def test_baselines_of_a_cross_validation_predict_what_the_networks_predict(finished, tmp_path):
    key = ["cohort", "scan_id", "part"]
    folder = finished.path("results/experiments/folded")
    networks = table(folder, "predictions.tsv").set_index(key).sort_index()
    baselines = table(folder, "baselines.tsv")
    assert {"majority", "volumes", "voxel_svm"} <= set(baselines["model"])
    for _, rows in baselines.groupby("model"):
        assert rows.set_index(key).sort_index()["target"].equals(networks["target"])

    samples = finished.path("results/experiments/patched/samples.tsv")
    options = {"samples": samples, "results": finished.path("results"), "output": tmp_path / "atlas.tsv"}
    options["inputs"] = tmp_path / "inputs.tsv"
    settings = {"task": "segmentation", "target": "dseg", "modalities": ["T1w"], "classes": 2, "folds": 5, "seed": 1}
    options["settings"] = json.dumps(settings | {"spacing_mm": 3})
    command = [f"--{name}={value}" for name, value in options.items()]
    assert CliRunner().invoke(app, ["baselines", *command]).exit_code == 0
    atlas = table(tmp_path, "atlas.tsv")
    chosen = table(samples.parent, "samples.tsv")
    assert set(atlas["scan_id"]) == set(chosen["scan_id"]) and set(atlas["part"]) == {"validation", "held-out"}
    assert len(atlas) == 3 * len(chosen) and atlas["dice"].between(0, 1).all()


def test_each_evaluation_is_on_record(finished, study):
    config = read_checked([Path(study)])
    for name, settings in all_experiments(config["experiments"]).items():
        folder = finished.path(f"results/experiments/{name}")
        networks, samples = table(folder, "networks.tsv").set_index("member"), table(folder, "samples.tsv")
        used = [one for one in members_of(settings, config["split"]["folds"]) if networks.loc[one, "used"] == "yes"]
        own = evaluation_of(finished.path("results"), config["study"], name, settings, used)
        held_out = samples[samples["part"] == "held-out"]
        found = read_record(finished.path("evaluations"), held_out, settings["target"], own.key)
        assert found.own and found.problems == (), name
        if own.kind == EXPERIMENT:
            assert f"{config['study']}/{name}" in found.experiments and found.models >= len(found.experiments)
        if name == "swept":
            assert (found.controls, found.without_site) == (3, 1)


def test_three_classes_start_from_another_experiments_weights(finished):
    folder = finished.path("results/experiments/graded")
    predictions = table(folder, "predictions.tsv")
    assert predictions[[f"probability_{k}" for k in range(3)]].sum(axis=1).sub(1).abs().max() < 1e-5
    assert {"accuracy", "balanced_accuracy", "auc_macro"} <= set(table(folder, "metrics.tsv")["metric"])
    assert "swept/seed-1/model.safetensors" in read_json(folder / "seed-1/run.json")["settings"]["weights"]


def test_each_fold_starts_from_the_same_fold_and_a_control_from_the_first(demo, finished, tmp_path):
    """Dry run of a study in which a second cross-validated experiment starts from the trained one."""
    content = yaml.safe_load(demo.path("config/config.yaml").read_text()) | {"experiments": EXPERIMENTS}
    refined = EXPERIMENTS["folded"] | {"transfer": {"weights": "folded"}, "control": "shuffled_target"}
    content["experiments"] = EXPERIMENTS | {"refined": refined}
    (tmp_path / "refined.yaml").write_text(yaml.safe_dump(content))
    completed = demo.snakemake("--configfile", str(tmp_path / "refined.yaml"), "--dry-run", "--printshellcmds")
    starts = dict(
        re.findall(r"--folder results/experiments/(refined\S+) .*--start=results/experiments/(\S+)", completed)
    )
    assert starts == {
        **{f"refined/fold-{fold}_seed-1": f"folded/fold-{fold}_seed-1/model.safetensors" for fold in range(1, 6)},
        **{f"refined_shuffled-target-{n}/seed-1": "folded/fold-1_seed-1/model.safetensors" for n in (1, 2, 3)},
    }


def test_table_of_networks_says_which_are_in_the_average(finished):
    networks = table(finished.path("results/experiments/folded"), "networks.tsv")
    assert networks["member"].tolist() == [f"fold-{fold}_seed-1" for fold in range(1, 6)]
    used = set(networks.loc[networks["used"] == "yes", "fold"])
    predicted = table(finished.path("results/experiments/folded"), "predictions.tsv")
    validated = predicted.loc[predicted["part"] == "validation", "scan_id"]
    samples = table(finished.path("results/experiments/folded"), "samples.tsv").set_index("scan_id")
    assert set(samples.loc[validated, "fold"]) == used
    for control in (1, 2, 3):
        own = table(finished.path(f"results/experiments/swept_shuffled-target-{control}"), "networks.tsv")
        assert own[["learned", "used", "attempts"]].to_numpy().tolist() == [["not judged", "yes", 1]]


def test_label_maps_lie_on_the_studys_grid_and_on_the_scans_own(finished):
    folder = finished.path("results/experiments/patched")
    scan_id = table(folder, "predictions.tsv")["scan_id"].iloc[0]
    raw = table(finished.path("data/oasis1"), "scans.tsv").set_index("scan_id").loc[scan_id, "path"]
    native = nib.load(folder / f"label_maps/oasis1/{scan_id}_space-orig_dseg.nii.gz")
    original = nib.load(finished.path("data/oasis1") / raw)
    assert native.shape == original.shape[:3] and (abs(native.affine - original.affine) < 1e-3).all()
    (study,) = (folder / "label_maps/oasis1").glob(f"{scan_id}_space-MNI152*_dseg.nii.gz")
    assert nib.load(study).shape == (56, 64, 56)
    assert set(table(folder, "label_maps/volumes.tsv")["tissue"]) == {"CSF", "GM", "WM"}


def test_a_second_run_has_nothing_to_do(finished, study):
    assert finished.would_run("--configfile", study) == {}


def test_left_out_site_is_tested_by_a_network_that_never_saw_it(finished):
    folder = finished.path("results/experiments/swept_without-Guys")
    trained = pd.read_csv(folder / "training" / "samples.tsv", sep="\t")
    tested = pd.read_csv(folder / "predictions.tsv", sep="\t")
    whole = pd.read_csv(finished.path("results/experiments/swept/samples.tsv"), sep="\t")
    assert "Guys" not in set(trained["site"])
    external = tested.loc[tested["part"] == "external", "scan_id"]
    assert set(external) == set(whole.loc[whole["site"] == "Guys", "scan_id"])
    shift = pd.read_csv(folder / "shift.tsv", sep="\t")
    row = shift[(shift["model"] == "network") & (shift["part"] == "external")]
    assert row["seen"].tolist() == ["new site"] and "Guys" not in row["trained_on"].item()
