"""Pretraining in a study: what `check` accepts and refuses, whom it learns from, the guard of held-out people, and the plan."""

import copy
import json

import pandas as pd
import pytest
import yaml
from configurations import ROOT, changed, refusal
from neurocohort.cluster.planning.networks import gflops, weights_bytes
from neurocohort.cluster.planning.study import Study as PlannedStudy
from neurocohort.dataset.leakage import check_unseen
from neurocohort.dataset.runs import test_fold_of as fold_of
from neurocohort.dataset.samples import select_samples
from neurocohort.errors import InputError
from neurocohort.study.configuration import check_configuration
from neurocohort.study.learning_curves import applied_source
from neurocohort.study.members import all_experiments, starting_members, training_settings
from neurocohort.study.pretraining import evaluated, pretrained_from, pretrainings

WORKED = ROOT / "tests/studies/pretraining.yaml"
SCANS, AGE = "experiments.masked_scans", "experiments.age_after_masked_scans"


@pytest.fixture
def given() -> dict:
    return json.loads(
        json.dumps(yaml.safe_load(WORKED.read_text()))
    )  # so that no two experiments share a group of keys


def checked(config: dict) -> dict:
    return check_configuration(copy.deepcopy(config), source="study.yaml")


def test_a_pretraining_needs_no_target_and_no_settings_of_its_own(given):
    experiments = checked(given)["experiments"]
    assert experiments["masked_scans"]["target"] == ""
    settings = training_settings(all_experiments(experiments)["masked_scans"], "seed-1")
    assert settings.pretraining is not None and settings.pretraining.method == "masked"
    assert not settings.judged
    assert set(pretrainings(experiments)) == {"masked_scans", "two_views"}
    assert set(evaluated(experiments)) == {"age_after_masked_scans", "age_after_two_views"}


def test_settings_of_other_tasks_stay_as_they_were(given):
    record = training_settings(
        all_experiments(checked(given)["experiments"])["age_after_two_views"], "seed-1"
    ).as_dict()
    assert "pretraining" not in record and record["judged"]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("target", "age", "`experiments.masked_scans.target` is given, and a pretraining learns from scans without labels"),
        ("classes", [0, 1], "without labels; leave it out"),
        ("external", ["oasis1"], "name these cohorts in the experiments that start from it"),
        ("control", "shuffled_target", "predicts nothing"),
        ("leave_one_site_out", ["HH"], "predicts nothing"),
        ("lesions", ["lesion"], "predicts nothing"),
        ("learning_curve", [10], "give the key to the experiments that start from it"),
        ("transfer", {"weights": "two_views"}, "starts from random weights"),
        ("sweep", {"values": {"training.epochs": [1, 2]}}, "the losses of two draws can't be compared"),
        ("training.mixup", 0.2, "no targets to average"),
        ("training.coarse_epochs", 5, "learns on the study's grid"),
        ("training.mirror_averaging", True, "predicts nothing"),
        ("training.patch", [16, 16, 16], "only for segmentation"),
        ("training.loss", "dice_focal", "is for segmentation"),
        ("network.name", "unet", "no features of a whole scan that could be pretrained; expected one of attention_mil, "),
        ("auxiliary", {"sex": 0.3}, "is for regression and classification, and this experiment's task is pretraining"),
        ("network.name", "vit", "is masked, which needs the feature map of a convolutional network"),
        ("pretraining.temperature", 0.5, "is only for `method: contrastive`"),
        ("pretraining.mask_voxels", 40, "expected at most 22, half of the smallest side"),
        ("pretraining.method", "jigsaw", "expected one of `masked`, `contrastive`"),
        ("pretraining.mask_fraction", 1.0, "above 0 and below 1"),
    ],
)  # fmt: skip
def test_keys_that_no_pretraining_has_are_refused(given, key, value, words):
    assert words in refusal(changed(given, f"{SCANS}.{key}", value))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("training.batch_size", 1, "compares the scans of a batch; expected 2 or more"),
        ("training.processes", 2, "compares the scans of a whole batch; expected 1"),
        ("pretraining.mask_value", "noise", "is only for `method: masked`"),
    ],
)
def test_contrastive_pretraining_needs_a_batch_of_scans(given, key, value, words):
    assert words in refusal(changed(given, f"experiments.two_views.{key}", value))


def test_a_network_of_another_shape_cant_start_from_a_pretraining(given):
    assert "its weights don't fit" in refusal(changed(given, f"{AGE}.network.channels", [4, 8, 16, 32, 64]))
    assert "its weights don't fit" in refusal(changed(given, f"{AGE}.network", {"name": "resnet18"}))


def test_the_group_pretraining_is_for_pretrainings_only(given):
    message = refusal(changed(given, f"{AGE}.pretraining", {"method": "masked"}))
    assert "is only for `task: pretraining`" in message and "transfer.weights" in message


def test_a_study_needs_an_experiment_that_predicts(given):
    alone = given | {"experiments": {"masked_scans": given["experiments"]["masked_scans"]}}
    assert "expected at least one that predicts" in refusal(alone)


def test_cohorts_of_a_pretraining_are_no_external_test(given):
    external = changed(given, f"{AGE}.external", ["ixi"])
    assert "scans that a network was trained on are no external test" in refusal(external)


def test_sites_left_out_must_not_be_pretrained_on(given):
    one = changed(given, f"{AGE}.leave_one_site_out", ["WashU"])
    assert "a site must not be trained on before it is tested" in refusal(one)


def test_folds_of_a_pretraining_are_those_of_what_starts_from_it(given):
    config = changed(changed(given, f"{AGE}.training.cross_validation", True), f"{AGE}.learning_curve", [])
    config["split"]["folds"] = 3
    assert "would be validated with scans that they were trained on" in refusal(config)
    experiments = checked(changed(config, f"{SCANS}.training.cross_validation", True))["experiments"]
    assert starting_members(experiments["masked_scans"], 3, "fold-2_seed-1") == ["fold-2_seed-1"]
    assert starting_members(experiments["masked_scans"], 3, "test-2_fold-3_seed-1", 2) == ["test-2_fold-3_seed-1"]


def test_a_pretraining_is_never_applied_and_the_reason_is_stated(given):
    source, reason = applied_source(checked(given)["experiments"], "age_after_masked_scans")
    assert source == "" and "masked_scans is a pretraining, which predicts nothing by itself" in reason


def test_pretrainings_are_found_through_other_experiments():
    experiments = {
        "scans": {"task": "pretraining"},
        "age": {"task": "regression", "transfer": {"weights": "scans"}},
        "dementia": {"task": "classification", "transfer": {"weights": "age"}},
        "alone": {"task": "regression"},
    }
    found = {name: pretrained_from(experiments, name) for name in experiments}
    assert found == {"scans": [], "age": ["scans"], "dementia": ["scans"], "alone": []}


def tables_of(people: int) -> dict:
    """A cohort whose second half has no age; parts alternate."""
    names = [f"p{number}" for number in range(people)]
    scans = pd.DataFrame({"scan_id": names, "participant_id": names, "site": "one", "sex": "F", "voxels_sha256": names})
    scans["age"] = [50.0 + number if number < people // 2 else None for number in range(people)]
    qc = pd.DataFrame({"scan_id": names, "participant_id": names, "status": "ok", "has_labels": "no"})
    parts = (["train", "train", "validation", "held-out"] * people)[:people]
    split = pd.DataFrame({"participant_id": names, "part": parts, "fold": 1})
    return {"scans": scans, "qc": qc, "split": split}


def test_participants_without_a_label_are_learned_from_too():
    tables = {"mine": tables_of(16)}
    wanted = {"task": "pretraining", "target": "", "query": ""}
    every, flow = select_samples(tables, [], **wanted)
    labelled, _ = select_samples(tables, [], task="regression", target="age", query="")
    assert (len(every), len(labelled)) == (16, 8)
    assert every["target"].isna().all()
    assert not any("with a value" in step for step in flow["step"])
    parts = every.set_index("scan_id")["part"]
    assert (labelled.set_index("scan_id")["part"] == parts[labelled["scan_id"]]).all()
    some, _ = select_samples(tables, [], **wanted | {"query": "age >= 50"})
    assert len(some) == 8


def samples(*rows: tuple[str, str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["cohort", "scan_id", "participant_id", "part", "voxels_sha256"])


LEARNED = samples(("big", "a_1", "a", "train", "x1"), ("big", "b_1", "b", "validation", "x2"))


def test_scans_that_nobody_tests_may_be_learned_from():
    own = samples(("mine", "a_2", "a", "train", "x3"), ("mine", "c_1", "c", "held-out", "x4"))
    check_unseen(own, LEARNED, "scans")


@pytest.mark.parametrize(
    "breach",
    [
        ("big", "a_2", "a", "held-out", "x9"),  # another scan of a participant
        ("mine", "z_1", "z", "held-out", "x1"),  # the same image under another name in another cohort
        ("mine", "b", "b", "external", "x8"),
    ],
)
def test_held_out_people_whom_a_pretraining_saw_are_found(breach):
    own = samples(("mine", "c_1", "c", "train", "x3"), breach)
    with pytest.raises(
        InputError, match=r"the pretraining scans, .* learned from 1 of the scans that the experiment tests"
    ):
        check_unseen(own, LEARNED, "scans")


def test_people_of_a_test_fold_are_compared_with_what_its_own_pretraining_saw():
    own = samples(("mine", "a_1", "a", "train", "x1"), ("mine", "c_1", "c", "train", "x3")).assign(test_fold=[1, 2])
    check_unseen(own, LEARNED, "scans", 2)
    with pytest.raises(InputError, match="a_1"):
        check_unseen(own, LEARNED, "scans", 1)
    assert [fold_of(name) for name in ("test-12", "training")] == [12, 0]


def test_select_refuses_a_planted_breach(tmp_path, monkeypatch):
    """The command of the rule `select`, with a pretraining that has seen a held-out participant."""
    from neurocohort.cli.data import select
    from neurocohort.files import write_table

    for name, table in tables_of(16).items():
        folder = tmp_path / ("data" if name == "scans" else "results") / "mine"
        write_table(folder / f"{name}.tsv", table)
    paths = {"data": tmp_path / "data", "results": tmp_path / "results", "flow": tmp_path / "flow.tsv"}
    paths |= {"samples": tmp_path / "samples.tsv", "applied": tmp_path / "applied.tsv"}
    batches = pd.DataFrame({"batch": ["0"] * 16, "scan_id": [f"p{n}" for n in range(16)], "content_sha256": "x"})
    write_table(tmp_path / "data" / "mine" / "batches.tsv", batches)
    wanted = {"task": "regression", "target": "age", "cohorts": ["mine"]}
    seen = tmp_path / "scans" / "training" / "samples.tsv"
    people = select_samples({"mine": tables_of(16)}, [], task="pretraining", target="", query="")[0]
    monkeypatch.setattr("neurocohort.dataset.trained_scans.known_scans", lambda *_: {})
    write_table(seen, people[people["part"] != "held-out"])
    select(**paths, settings=json.dumps(wanted), pretrained=[f"scans={seen}"])
    assert paths["samples"].is_file()
    write_table(seen, people.assign(part="train"))
    with pytest.raises(InputError, match="learned from 2 of the scans that the experiment tests"):
        select(**paths, settings=json.dumps(wanted), pretrained=[f"scans={seen}"])


def test_a_plan_counts_all_scans_and_the_arithmetic_of_both_views(given, tmp_path):
    config = checked(given)
    study = PlannedStudy(config, tmp_path)
    scans = study.parts("masked_scans")
    assert scans.train + scans.validation + scans.held_out == pytest.approx(
        sum(c.scans for c in study.cohorts.values())
    )
    every = all_experiments(config["experiments"])
    masked, views, age = (
        training_settings(every[name], "seed-1").as_dict()
        for name in ("masked_scans", "two_views", "age_after_two_views")
    )
    shape = config["preprocessing"]["shape"]
    assert gflops(views, shape) == pytest.approx(2 * gflops(age, shape), rel=0.01)
    assert gflops(masked, shape) > gflops(age, shape)
    assert weights_bytes(masked) > weights_bytes(age)
