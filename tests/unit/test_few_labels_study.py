"""Segmentations with few label maps in a study: the configuration, who is learned from, the guard, and the comparison."""

import json

import neurocohort.cli.few_labels
import numpy as np
import pandas as pd
import pytest
from configurations import DEMO, SOURCE, TISSUE, changed, refusal
from neurocohort.cluster.planning.study import Study
from neurocohort.cluster.planning.work import Work, seconds_of
from neurocohort.dataset.leakage import check_unlabelled
from neurocohort.dataset.subsets import LABELLED, with_participants
from neurocohort.dataset.unlabelled import unlabelled_samples
from neurocohort.errors import InputError
from neurocohort.evaluation.few_labels import LABELS_ONLY, WITH_UNLABELLED, few_labels
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.record import evaluation_with
from neurocohort.files import read_table, write_table
from neurocohort.learning.settings import read_settings
from neurocohort.study.configuration import check_configuration, load_configuration
from neurocohort.study.members import all_experiments, training_settings
from statement_few_labels import made, overlaps


def demo(**keys: object) -> dict:
    """The demo, whose segmentation has the keys ``semi_supervised``."""
    return changed(load_configuration([DEMO]), f"{TISSUE}.semi_supervised", {"method": "mean_teacher", **keys})


def test_an_experiment_has_a_labels_only_one_and_settings_of_others_stay():
    config = check_configuration(demo(labelled=8), source=SOURCE)
    found = all_experiments(config["experiments"])
    assert "tissue_labels-only" in found and len(found) == 4
    own, other = found["tissue"], found["tissue_labels-only"]
    assert (own["own_participants"], other["own_participants"]) == (8, 8)
    assert own["training"] == other["training"] and other["semi_supervised"] is None
    settings = training_settings(own, "seed-1")
    assert settings.semi_supervised.method == "mean_teacher" and settings.semi_supervised.labelled == 8
    assert read_settings(settings.as_json()) == settings
    assert "semi_supervised" not in json.loads(training_settings(other, "seed-1").as_json())
    plain = all_experiments(check_configuration(load_configuration([DEMO]), source=SOURCE)["experiments"])
    assert set(plain["tissue"]) == set(own) - {"semi_supervised", "own_participants", "drawn_for"}
    kinds = [evaluation_with("s", "e", found[name], {}, {}).kind for name in ("tissue", "tissue_labels-only")]
    assert kinds == ["experiment", "labels_only"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (f"{TISSUE}.learning_curve", [10], "can't be combined with `experiments.tissue.learning_curve`"),
        (
            f"{TISSUE}.sweep",
            {"values": {"training.epochs": [1, 2]}},
            "can't be combined with `experiments.tissue.sweep`",
        ),
        ("split.test_folds", 3, "needs one held-out part, and `split.test_folds` is 3"),
        (f"{TISSUE}.semi_supervised.threshold", 0.8, "threshold` is only for `method: pseudo_labels`"),
        (f"{TISSUE}.semi_supervised.labelled", 3, "semi_supervised.labelled"),
        (
            "experiments.dementia.semi_supervised",
            {"method": "mean_teacher"},
            "is for segmentation, and this experiment's task",
        ),
    ],
)
def test_what_does_not_go_with_it_is_refused(key, value, message):
    assert message in refusal(changed(demo(), key, value))


def test_a_name_that_is_taken_is_refused():
    config = demo()
    config["experiments"]["tissue_labels-only"] = {
        **config["experiments"]["tissue"],
        "semi_supervised": {"weight": 2.0},
    }
    assert "creates an experiment `tissue_labels-only`, a name that another experiment has" in refusal(config)


def test_plan_counts_the_passes_of_scans_without_labels(tmp_path):
    planned = Study(check_configuration(demo(labelled=8), source=SOURCE), tmp_path)
    with_them, alone = (seconds_of(planned, Work("train", name, "seed-1")) for name in ("tissue", "tissue_labels-only"))
    assert 1.2 * alone < with_them < 2.4 * alone


def tables() -> tuple[dict, pd.DataFrame]:
    """A cohort of 20 participants, of whom the first four of each part have label maps; and its labelled samples."""
    names = [f"p{number:02d}" for number in range(20)]
    parts = np.resize(["train", "train", "train", "validation", "held-out"], 20)
    scans = pd.DataFrame({"scan_id": names, "participant_id": names, "site": "a", "age": 50.0, "sex": "F"})
    scans["voxels_sha256"] = [f"v{name}" for name in names]
    has = ["yes" if number < 10 else "no" for number in range(20)]
    qc = pd.DataFrame({"scan_id": names, "participant_id": names, "status": "ok", "has_labels": has})
    qc.loc[19 - 3, "status"] = "excluded"
    split = pd.DataFrame({"participant_id": names, "part": parts, "fold": 1})
    samples = scans.assign(cohort="own", part=parts, fold=1, pack="development", row=0, target="dseg")[:10]
    return {"own": {"scans": scans, "qc": qc, "split": split}}, samples[samples["part"] != "held-out"]


def test_usable_scans_of_the_development_part_without_a_used_label_map_are_selected():
    cohorts, labelled = tables()
    found = unlabelled_samples(cohorts, labelled)
    assert found["scan_id"].tolist() == ["p10", "p11", "p12", "p13", "p15", "p17", "p18"]
    fewer = unlabelled_samples(cohorts, labelled[labelled["scan_id"] > "p02"])
    assert set(fewer["scan_id"]) - set(found["scan_id"]) == {"p00", "p01", "p02"}
    assert "p11" not in set(unlabelled_samples(cohorts, labelled, query="scan_id != 'p11'")["scan_id"])


def test_nobody_who_is_tested_is_learned_from():
    cohorts, labelled = tables()
    found = unlabelled_samples(cohorts, labelled)
    tested = labelled.assign(part="external", scan_id="other", participant_id="q", voxels_sha256="w")
    check_unlabelled(tested, found)
    for column, value in (("participant_id", "p11"), ("voxels_sha256", "vp12")):
        with pytest.raises(InputError, match=r"learns from 7 of the scans.*other \(own: external\)"):
            check_unlabelled(tested[:7].assign(**{column: value}), found)


def test_too_many_labelled_participants_are_refused():
    _, labelled = tables()
    flow = pd.DataFrame([{"cohort": "own", "step": "ingested", "scans": 20, "participants": 20}])
    with pytest.raises(
        InputError, match=r"`semi_supervised.labelled` has 8, and the development part .* has 8 participants"
    ):
        with_participants(labelled, flow, 8, 1, LABELLED)
    left, steps = with_participants(labelled, flow, 5, 1, LABELLED)
    assert len(left) == 5 and steps["step"].iloc[-1] == "5 participants drawn whose label maps are used"


def test_the_difference_is_paired_on_the_same_participants():
    table = made(0.9, 0.8)
    own = table[(table["model"] == WITH_UNLABELLED) & (table["metric"] == "dice")].iloc[0]
    other = table[(table["model"] == LABELS_ONLY) & (table["metric"] == "dice")].iloc[0]
    assert own["difference"] == pytest.approx(own["value"] - other["value"], abs=1e-5)
    assert 0 < own["difference_low"] < own["difference"] < own["difference_high"] and np.isnan(other["difference"])
    fewer = few_labels(overlaps(0.9, 1), overlaps(0.8, 2, 8), (True, False), Bootstrap(50, 1))
    assert set(fewer["n"]) == {8} and fewer["note"].str.contains("learned nothing").any()
    assert few_labels(overlaps(0.9, 1, 2), overlaps(0.8, 2), (True, True), Bootstrap(50, 1)).empty


def test_the_command_reads_both_networks_of_a_study(tmp_path):
    for name, dice in (("tissue", 0.9), ("tissue_labels-only", 0.8)):
        folder = tmp_path / "experiments" / name
        write_table(folder / "predictions.tsv", overlaps(dice, 1))
        write_table(folder / "networks.tsv", pd.DataFrame({"member": ["seed-1"], "learned": ["yes"]}))
    output = tmp_path / "few_labels.tsv"
    intervals = json.dumps({"resamples": 100, "seed": 1})
    neurocohort.cli.few_labels.few_labels(output, tmp_path, intervals, "tissue", "tissue_labels-only")
    first = read_table(output).set_index(["model", "metric"]).loc[(WITH_UNLABELLED, "dice")]
    assert first["difference"] == pytest.approx(0.1, abs=1e-5) and first["n"] == 12


def test_the_command_selects_who_is_learned_from(tmp_path):
    cohorts, labelled = tables()
    for name, table in cohorts["own"].items():
        write_table((tmp_path if name == "scans" else tmp_path / "results") / "own" / f"{name}.tsv", table)
    write_table(tmp_path / "labelled.tsv", labelled)
    settings = {
        "task": "segmentation",
        "target": "dseg",
        "cohorts": ["own"],
        "own_participants": 4,
        "development": True,
    }
    arguments = (tmp_path, tmp_path / "results", tmp_path / "labelled.tsv", tmp_path / "unlabelled.tsv")
    neurocohort.cli.few_labels.select_unlabelled(*arguments, json.dumps(settings))
    found = read_table(tmp_path / "unlabelled.tsv")
    assert found["scan_id"].tolist() == ["p10", "p11", "p12", "p13", "p15", "p17", "p18"]
    assert set(found["part"]) == {"train", "validation"} and found["pack"].eq("development").all()
