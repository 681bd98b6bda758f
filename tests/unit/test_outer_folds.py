"""Test folds: everybody is held out once, and no network, threshold or line of a test fold depends on its participants. The parts
of this that need PyTorch are in test_outer_folds_networks.py."""

import numpy as np
import pandas as pd
import pytest
from configurations import SOURCE, changed, refusal, study
from neurocohort.dataset.controls import shuffled_by_test_fold
from neurocohort.dataset.folds import rows_to_predict, with_test_fold
from neurocohort.dataset.frozen_split import freeze, frozen_path, load_frozen
from neurocohort.dataset.leakage import check_no_leakage, check_not_held_out
from neurocohort.dataset.packs import all_packs, development_packs, packed_scans
from neurocohort.dataset.runs import RunName, run_name
from neurocohort.dataset.samples import development_samples, select_samples
from neurocohort.dataset.sites import without_site
from neurocohort.dataset.split import split_participants
from neurocohort.dataset.split_file import read_split_file
from neurocohort.errors import InputError
from neurocohort.evaluation.brain_age import fit_bias, regression_details
from neurocohort.evaluation.classification_details import classification_details, confusion_table
from neurocohort.evaluation.combined import combined
from neurocohort.evaluation.details import details
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import with_baselines
from neurocohort.evaluation.operating_point import thresholds_of, youden_threshold
from neurocohort.evaluation.outer_folds import corrected_t_test, test_fold_details, test_to_train
from neurocohort.evaluation.shift import shift_rows
from neurocohort.evaluation.spread import member_spread
from neurocohort.files import write_table
from neurocohort.study.configuration import check_configuration

test_fold_details.__test__ = test_to_train.__test__ = False  # functions of the package, not tests
SETTINGS = {"validation": 0.2, "held_out": 0.2, "seed": 4, "folds": 3, "test_folds": 4}
TINY = Bootstrap(100, 1)


def cohort(count: int, repeats: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    scans = pd.DataFrame(
        {
            "participant_id": [f"sub-{i:03d}" for i in range(count)],
            "session_id": "ses-1",
            "site": rng.choice(["Guys", "HH"], count),
            "age": rng.uniform(20, 86, count).round(2),
            "sex": rng.choice(["M", "F"], count),
            "dementia": np.arange(count) % 2,
        }
    )
    scans = pd.concat([scans, scans.head(repeats).assign(session_id="ses-2")], ignore_index=True)
    scans["scan_id"] = scans["participant_id"] + "_" + scans["session_id"]
    return scans.assign(voxels_sha256=scans["scan_id"].map("hash of {}".format))


def selected(count: int = 40, repeats: int = 10, external: int = 0, **changes) -> pd.DataFrame:
    """Samples of a cohort, and of an external one."""
    tables = {}
    for name, size in {"ixi": count, "other": external}.items():
        if size:
            scans = cohort(size, repeats if name == "ixi" else 0)
            scans = scans.assign(**{key: name + scans[key] for key in ("participant_id", "scan_id", "voxels_sha256")})
            qc = scans[["scan_id", "participant_id"]].assign(status="ok", has_labels="no")
            tables[name] = {"scans": scans, "qc": qc, "split": split_participants(scans, **SETTINGS | changes)}
    outside = ["other"] if external else []
    return select_samples(tables, outside, task="regression", target="age", query="", test_folds=4)[0]


def predicted(samples: pd.DataFrame, noise: float = 5.0, seed: int = 0) -> pd.DataFrame:
    """Validation and held-out rows of each test fold, and external rows, as an ensemble has them."""
    rng = np.random.default_rng(seed)
    tables = [with_test_fold(samples, number) for number in range(1, 5)]
    rows = [table[table["part"].isin(["validation", "held-out"])] for table in tables]
    rows = pd.concat([*rows, samples[samples["part"] == "external"]], ignore_index=True)
    return rows.assign(prediction=rows["target"] * 0.7 + 10 + rng.normal(0, noise, len(rows)))


def validating(everything: pd.DataFrame, number: int) -> pd.DataFrame:
    """The validation rows of a test fold."""
    return everything[(everything["part"] == "validation") & (everything["test_fold"] == number).fillna(False)]


def as_classes(predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions.assign(
        target=(predictions["target"] > 53).astype(int), prediction=predictions["prediction"] / 100
    )


# --- the split ------------------------------------------------------------------------------------------------------


def test_everybody_is_in_one_test_fold_and_nobody_in_a_held_out_part():
    split = split_participants(cohort(40, repeats=10), **SETTINGS)
    assert split["participant_id"].is_unique and set(split["part"]) == {"train", "validation"}
    assert split["test_fold"].value_counts().to_dict() == dict.fromkeys(range(1, 5), 10)


@pytest.mark.parametrize("column", ["dementia", "site", "sex"])
def test_test_folds_are_alike(column):
    scans = cohort(200)
    people = scans.merge(split_participants(scans, **SETTINGS), on="participant_id")
    shares = people.groupby("test_fold")[column].value_counts(normalize=True).unstack(fill_value=0)
    assert (shares.max() - shares.min()).max() < 0.07


def test_parts_and_folds_stay_even_whichever_test_fold_is_left_out():
    split = split_participants(cohort(120), **SETTINGS)
    for number in range(1, 5):
        left = split[split["test_fold"] != number]
        assert abs((left["part"] == "validation").mean() - 0.2) < 0.03
        counts = left["fold"].value_counts()
        assert len(counts) == 3 and counts.max() - counts.min() <= 3


def test_split_without_test_folds_has_no_such_column():
    split = split_participants(cohort(40), **SETTINGS | {"test_folds": 0})
    assert list(split) == ["participant_id", "part", "stratum", "fold"]


def test_frozen_test_folds_never_change_and_other_numbers_get_a_column_of_their_own(tmp_path):
    path = frozen_path(tmp_path, "ixi", validation=0.2, held_out=0.2, seed=4, test_folds=4)
    first = split_participants(cohort(30), **SETTINGS)
    freeze(path, first, 3, 4)
    grown = split_participants(cohort(50), **SETTINGS, frozen=load_frozen(path, 3, 4))
    kept = grown.set_index("participant_id").loc[first["participant_id"]]
    assert (kept["test_fold"].to_numpy() == first["test_fold"].to_numpy()).all()
    assert (kept["part"].to_numpy() == first["part"].to_numpy()).all()
    freeze(path, grown, 3, 4)
    other = split_participants(cohort(50), **SETTINGS | {"test_folds": 5}, frozen=load_frozen(path, 3, 5))
    freeze(path, other, 3, 5)
    assert {"test_fold_4", "fold_3_in_4", "test_fold_5", "fold_3_in_5"} < set(
        path.read_text().split("\n")[0].split("\t")
    )
    again = load_frozen(path, 3, 4)
    assert (
        again.set_index("participant_id")["test_fold"].to_dict()
        == grown.set_index("participant_id")["test_fold"].to_dict()
    )


def test_split_with_test_folds_has_a_record_of_its_own(tmp_path):
    names = {frozen_path(tmp_path, "ixi", validation=0.1, held_out=0.2, seed=1, test_folds=k).name for k in (0, 4, 5)}
    assert names == {"validation-0.1_held_out-0.2_seed-1.tsv", "validation-0.1_test-folds_seed-1.tsv"}


def own_file(tmp_path, **columns) -> tuple[pd.DataFrame, str]:
    scans = cohort(8)
    parts = {"participant_id": scans["participant_id"], "part": ["train", "train", "train", "validation"] * 2}
    path = tmp_path / "split.tsv"
    write_table(path, pd.DataFrame(parts | columns))
    return scans, path


def test_split_file_gives_the_test_folds(tmp_path):
    scans, path = own_file(tmp_path, test_fold=[1, 2, 1, 2, 1, 2, 2, 1])
    split = split_participants(scans, **SETTINGS | {"test_folds": 2}, frozen=read_split_file(path, scans, 3, 2))
    assert split["test_fold"].tolist() == [1, 2, 1, 2, 1, 2, 2, 1] and split["fold"].notna().all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "no column test_fold, and `split.test_folds` is 2"),
        ({"test_fold": [1, 2, 1, 2, 1, 2, 2, None]}, "gives 1 participant.s. no test_fold"),
        ({"test_fold": [1, 3] * 4}, "has the test folds 1, 3; expected 1 to 2"),
        ({"test_fold": [1, 2, 1, 2] * 2, "part": ["held-out", *["train", "validation"] * 3, "train"]}, "into held-out"),
        ({"test_fold": [1, 2, 1, 2] * 2}, "all participants of validation in test fold 2"),
    ],
)
def test_split_file_that_does_not_fit_is_refused(tmp_path, columns, message):
    scans, path = own_file(tmp_path, **columns)
    with pytest.raises(InputError, match=message):
        read_split_file(path, scans, 3, 2)


def test_split_file_without_test_folds_is_refused_before_anything_runs(tmp_path):
    _, path = own_file(tmp_path)
    wanted = study({"source": "ixi", "split_file": str(path)}) | {"split": {"test_folds": 4}}
    found = refusal(wanted)
    assert f"`cohorts.own.split_file`: {path} has no column test_fold" in found
    assert "found participant_id, part, expected a column test_fold or test_fold_4" in found
    check_configuration(wanted | {"split": {"test_folds": 0}}, source=SOURCE)
    check_configuration(wanted, source=SOURCE, read_cohorts=False)  # in each job
    own_file(tmp_path, test_fold_4=[1, 2, 3, 4] * 2)
    check_configuration(wanted, source=SOURCE)


# --- samples, packs and the guard -----------------------------------------------------------------------------------


def test_training_samples_of_a_test_fold_have_none_of_its_participants():
    samples = selected()
    for number in range(1, 5):
        own = development_samples(samples, number)
        check_not_held_out(own, number)
        people = set(samples.loc[samples["test_fold"] == number, "participant_id"])
        assert people and not people & set(own["participant_id"])
        assert len(own) == len(samples) - (samples["test_fold"] == number).sum()
        assert f"test-{number}" not in set(own["pack"])


def test_training_with_a_held_out_scan_is_refused():
    samples = selected()
    with pytest.raises(InputError, match="are held out"):
        check_not_held_out(development_samples(samples, 2), 1)
    moved = development_samples(samples, 1)
    moved.loc[moved.index[0], "pack"] = "test-1"
    with pytest.raises(InputError, match="1 of the samples to train on are held out"):
        check_not_held_out(moved, 1)


def test_each_test_fold_has_a_pack_that_its_trainings_do_not_open():
    assert all_packs(3) == ("test-1", "test-2", "test-3") and all_packs(0) == ("development", "held-out")
    assert development_packs(3, 2) == ("test-1", "test-3") and development_packs(0, 0) == ("development",)
    qc = pd.DataFrame({"scan_id": ["a", "b", "c"], "participant_id": ["p", "q", "r"], "status": "ok"})
    split = pd.DataFrame(
        {"participant_id": ["p", "q", "r"], "part": ["train", "validation", "excluded"], "test_fold": [2, 1, None]}
    )
    assert packed_scans(qc, split).set_index("scan_id")["pack"].to_dict() == {"a": "test-2", "b": "test-1"}


@pytest.mark.parametrize("column", ["participant_id", "voxels_sha256"])
def test_person_or_image_in_two_test_folds_is_refused(column):
    samples = selected(repeats=0)
    check_no_leakage(samples)
    train = samples[samples["part"] == "train"]
    first, other = (train.index[train["test_fold"] == number][0] for number in (1, 2))
    samples.loc[other, column] = samples.loc[first, column]
    with pytest.raises(InputError, match="in test fold 1"):
        check_no_leakage(samples)


def test_test_fold_without_a_part_is_refused():
    with pytest.raises(InputError, match=r"no scan is left in the part '.*' while test fold \d is held out"):
        selected(count=3, repeats=0)


def test_site_that_is_left_out_is_in_no_test_fold():
    left = without_site(selected(count=120), "HH")
    gone = left["part"] == "external"
    assert gone.any() and left.loc[gone, "test_fold"].isna().all() and left.loc[~gone, "test_fold"].notna().all()


def test_control_keeps_the_truth_where_it_is_tested_and_permutes_it_elsewhere():
    samples = selected(repeats=0)
    control = shuffled_by_test_fold(samples, 3)
    assert (control["target"] == samples["target"]).all()
    for number in (1, 2):
        own = with_test_fold(control, number)
        held_out = own["part"] == "held-out"
        assert (own.loc[held_out, "target"] == samples.loc[held_out, "target"]).all()
        trained = own[own["part"] == "train"]
        assert (trained["target"] != samples.loc[trained.index, "target"]).mean() > 0.5
        assert set(trained["target"]) == set(samples.loc[trained.index, "target"]), "none of a held-out participant"
        assert (development_samples(control, number)["target"] == own.loc[~held_out, "target"]).all()


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("seed-3", RunName(3)),
        ("fold-2_seed-3", RunName(3, fold=2)),
        ("test-1_seed-3", RunName(3, test_fold=1)),
        ("test-1_fold-2_seed-3", RunName(3, 2, 1)),
        ("sweep/draw-01/test-1_fold-2_seed-3", RunName(3, 2, 1, "sweep/draw-01")),
    ],
)
def test_names_of_runs_are_read_as_they_are_written(text, name):
    assert run_name(text) == name and str(name) == text


def test_name_that_is_none_is_refused():
    with pytest.raises(InputError, match="'fold-1' is no name of a run"):
        run_name("fold-1")


# --- evaluation -----------------------------------------------------------------------------------------------------


def test_corrected_t_test_is_that_computed_by_hand():
    found = corrected_t_test(np.array([1.0, 2.0, 3.0]), 0.5)
    # Variance 1, times 1/3 + 1/2; with two degrees of freedom p = 1 - t / sqrt(2 + t^2).
    assert found.mean == 2 and found.statistic == pytest.approx(2 / (5 / 6) ** 0.5)
    assert found.p == pytest.approx(1 - found.statistic / (2 + found.statistic**2) ** 0.5)
    assert (found.low, found.high) == pytest.approx((2 - 3.927764, 2 + 3.927764), abs=1e-5)
    same = corrected_t_test(np.array([1.0, 1.0]), 0.5)
    assert (same.low, same.high) == (1, 1) and np.isnan(same.p)


def test_metrics_have_their_form_and_count_everybody_once():
    samples = selected(external=12)
    network = predicted(samples)
    metrics = evaluate(network, network.assign(model="mean", prediction=50.0), "regression", TINY)
    assert list(metrics) == [
        "model",
        "cohort",
        "part",
        "group",
        "metric",
        "value",
        "ci_low",
        "ci_high",
        "interval",
        "n",
    ]
    whole = metrics[metrics["group"] == "all"].groupby(["model", "part"])["n"].max().to_dict()
    assert whole == {
        (model, part): n for model in ("mean", "network") for part, n in (("held-out", 40), ("external", 12))
    }
    held_out = network[network["part"] == "held-out"]
    mae = metrics.query("model == 'network' and part == 'held-out' and group == 'all' and metric == 'mae'")[
        "value"
    ].item()
    assert mae == pytest.approx((held_out["prediction"] - held_out["target"]).abs().mean(), abs=1e-6)


def test_details_have_the_mean_of_network_and_tissue_model_in_each_test_fold_and_no_comparison_with_it():
    samples = selected()
    predictions = predicted(samples)
    tissues = predicted(samples, seed=1).assign(model="tissue_kernel_ridge")
    table = details(predictions, tissues, samples, None, "regression", Bootstrap(50, 1))
    own = table[(table["model"] == "combined") & (table["metric"] == "mae")]
    assert own["group"].tolist() == [*(f"test_fold={number}" for number in range(1, 5)), "all"]
    assert set(table.loc[table["model"] == "combined", "setting"]) == {"by test fold"}
    assert set(table.loc[table["setting"] == "corrected resampled t-test", "model"]) == {"tissue_kernel_ridge"}
    mean = (predictions["prediction"] + tissues["prediction"]) / 2
    third = (predictions["part"] == "held-out") & (predictions["test_fold"] == 3).fillna(False)
    expected = (mean - predictions["target"])[third].abs().mean()
    assert own.query("group == 'test_fold=3'")["value"].item() == pytest.approx(expected, abs=1e-5)


def test_details_have_each_test_fold_and_the_second_opinion():
    samples = selected()
    everything = with_baselines(predicted(samples), predicted(samples, seed=1).assign(model="mean", prediction=50.0))
    rows = test_fold_details(everything, samples, "regression")
    mae = {row.group: row for row in rows if row.model == "network" and row.estimate.metric == "mae"}
    assert list(mae) == [*(f"test_fold={number}" for number in range(1, 5)), "all"]
    each = [mae[f"test_fold={number}"].estimate.value for number in range(1, 5)]
    assert mae["all"].estimate.value == pytest.approx(np.mean(each))
    tested = [row for row in rows if row.estimate.metric == "mae_difference"]
    assert [row.model for row in tested] == ["mean"] and tested[0].estimate.interval == "corrected_t"
    assert "Nadeau and Bengio" in tested[0].note and f"{test_to_train(samples):.3f}" in tested[0].note
    assert test_to_train(samples) == pytest.approx(1 / 3)
    assert not test_fold_details(everything.drop(columns="test_fold"), samples, "regression")


@pytest.mark.parametrize("number", [1, 3])
def test_threshold_of_a_test_fold_does_not_depend_on_its_participants(number):
    samples = selected(count=200, external=12)
    everything = with_baselines(as_classes(predicted(samples)), pd.DataFrame())
    before = thresholds_of(everything)["network"]
    target, prediction = (validating(everything, number)[name].to_numpy(float) for name in ("target", "prediction"))
    assert before.by_test_fold[number] == youden_threshold(target, prediction)[0]
    people = set(samples.loc[samples["test_fold"] == number, "participant_id"])
    own = everything["participant_id"].isin(people)
    after = thresholds_of(everything.assign(target=everything["target"].mask(own, 1 - everything["target"])))["network"]
    assert after.by_test_fold[number] == before.by_test_fold[number]
    assert after.by_test_fold != before.by_test_fold, "others validate on these participants"


def test_held_out_rows_get_the_threshold_of_their_test_fold_and_external_ones_the_mean():
    everything = with_baselines(as_classes(predicted(selected(external=12))), pd.DataFrame())
    threshold = thresholds_of(everything)["network"]
    rows = everything[everything["part"] != "validation"]
    expected = [threshold.by_test_fold.get(number, threshold.value) for number in rows["test_fold"].fillna(0)]
    assert threshold.of_rows(rows).tolist() == expected
    assert threshold.value == pytest.approx(np.mean(list(threshold.by_test_fold.values())))
    matrix = confusion_table(everything).query("part == 'held-out'")
    called = (rows["prediction"] >= threshold.of_rows(rows))[rows["part"] == "held-out"]
    assert matrix.loc[matrix["called"] == 1, "scans"].sum() == called.sum()
    assert classification_details(everything, None, TINY)


def test_equal_thresholds_are_not_told_as_a_range():
    constant = as_classes(predicted(selected())).assign(prediction=0.5)
    note = thresholds_of(with_baselines(constant, pd.DataFrame()))["network"].note
    assert note.startswith("Threshold 0.500, one for each of 4 test folds") and " to 0.500" not in note


def test_bias_is_corrected_with_the_line_of_each_test_fold():
    samples = selected(external=12)
    everything = with_baselines(predicted(samples), pd.DataFrame())
    rows = regression_details(everything, samples, None, TINY)
    corrected = {row.part: row for row in rows if row.estimate.metric == "mae" and row.setting == "bias-corrected"}
    lines = {number: fit_bias(validating(everything, number)) for number in range(1, 5)}
    errors = {"held-out": [], "external": []}
    for row in everything[everything["part"] != "validation"].itertuples():
        own = [lines[row.test_fold]] if row.part == "held-out" else list(lines.values())
        values = [line.corrected(row.target, row.prediction) for line in own]
        errors[row.part].append(abs(np.mean(values) - row.target))
    for part, found in errors.items():
        assert corrected[part].estimate.value == pytest.approx(np.mean(found))
    assert "4 test folds" in corrected["held-out"].note


def test_site_counts_as_trained_on_only_if_every_test_fold_trained_on_it():
    samples = selected(repeats=0)
    rare = samples.index[samples["test_fold"] == 2][:3]
    samples.loc[rare, "site"] = "rare"
    network = predicted(samples)
    table = shift_rows(network, network.head(0).assign(model=""), samples, "regression", TINY)
    seen = table.set_index("site")["seen"].to_dict()
    assert seen["Guys"] == "site" and seen["rare"] == "new site" and seen["all"] == "partly new"


def test_spread_is_over_the_networks_that_predict_everybody_together():
    rows = [
        {"member": f"test-{number}_seed-{seed}", "scan_id": f"s{number}{place}", "cohort": "ixi", "part": "held-out"}
        | {"target": 10.0 * place, "prediction": 10.0 * place + seed}
        for seed in (1, 2, 3)
        for number in (1, 2)
        for place in range(3)
        if (seed, number) != (3, 2)  # a network that is left out
    ]
    found = member_spread(pd.DataFrame(rows), "regression").set_index("metric").loc["mae"]
    assert (found["members"], found["lowest"], found["highest"]) == (2, 1, 2)


def test_configuration_of_test_folds_is_checked(demo_study):
    assert "`split.test_folds` is 1; expected 0" in refusal(changed(demo_study, "split.test_folds", 1))
    swept = changed(
        changed(demo_study, "split.test_folds", 4), "experiments.brain_age.sweep.values", {"network.norm": ["batch"]}
    )
    assert "has network.norm, and `split.test_folds` is 4" in refusal(swept)
    found = check_configuration(changed(demo_study, "split.test_folds", 4), source=SOURCE)
    assert found["split"]["test_folds"] == 4


@pytest.mark.parametrize("folds", [0, 2])
def test_predictions_from_elsewhere_are_tested_on_everybody_once(folds):
    place = np.arange(24)
    parts = np.where(place % 4 == 3, "validation", "train")
    table = pd.DataFrame({"scan_id": [f"s{number}" for number in place], "part": parts})
    table["fold"] = pd.array(place % 2 + 1, dtype="Int64")
    table["test_fold"] = pd.array(place % 3 + 1, dtype="Int64")
    table.loc[place >= 21, ["part", "fold", "test_fold"]] = ["external", pd.NA, pd.NA]
    rows = rows_to_predict(table, folds)
    held_out = rows[rows["part"] == "held-out"]
    assert sorted(held_out["scan_id"]) == sorted(table.loc[place < 21, "scan_id"])
    own = table.set_index("scan_id")["test_fold"][held_out["scan_id"]]
    assert held_out["test_fold"].tolist() == own.tolist()
    assert rows.loc[rows["part"] == "external", "scan_id"].tolist() == ["s21", "s22", "s23"]
    validation = rows[rows["part"] == "validation"]
    assert not validation.duplicated(["scan_id", "test_fold"]).any() and len(validation) == (42 if folds else 10)


def test_the_mean_with_the_tissue_model_pairs_the_rows_of_one_test_fold():
    network = pd.DataFrame(
        {
            "cohort": "a",
            "scan_id": ["s1", "s1", "e1"],
            "part": ["held-out", "validation", "external"],
            "test_fold": pd.array([1, 2, pd.NA], dtype="Int64"),
            "target": [50.0, 50.0, 60.0],
            "prediction": [40.0, 44.0, 60.0],
        }
    )
    other = network.assign(model="tissue_kernel_ridge", prediction=[50.0, 60.0, 70.0]).iloc[::-1]
    found = combined(network, other)
    assert found["prediction"].tolist() == [45.0, 52.0, 65.0] and set(found["model"]) == {"combined"}
    assert found["test_fold"].isna().tolist() == [False, False, True]
