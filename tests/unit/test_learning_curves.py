"""Learning curves: nested subsets of the participants, the additional experiments, and the comparison of the starts."""

import copy

import numpy as np
import pandas as pd
import pytest
from neurocohort.cluster.planning.study import Study
from neurocohort.dataset.subsets import of_record, with_participants
from neurocohort.dataset.trained_scans import record_of
from neurocohort.errors import InputError
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.learning_curve import LEARNED_NOTHING, Start, learning_curve
from neurocohort.study.configuration import check_configuration, load_configuration
from neurocohort.study.learning_curves import CurvePoint, applied_source, curve_points
from neurocohort.study.members import all_experiments, members_of
from statement_curves import curve, shown

BOOTSTRAP = Bootstrap(200, 1)


def people(count: int = 60, sessions: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Samples of ``count`` participants, of whom 40 % are held out and 20 % validate; and their flow."""
    names = [f"sub-{number:02d}" for number in range(count)]
    parts = np.resize(["train", "train", "validation", "held-out", "held-out"], count)
    ages = np.random.default_rng(3).uniform(20, 90, count)
    table = pd.DataFrame({"cohort": "mine", "participant_id": names, "part": parts, "target": ages})
    table = pd.concat([table.assign(scan_id=table["participant_id"] + f"_ses-{s}") for s in range(sessions)])
    flow = pd.DataFrame([{"cohort": "mine", "step": "ingested", "scans": count, "participants": count}])
    return table.reset_index(drop=True), flow


def development(samples: pd.DataFrame) -> set[str]:
    return set(samples.loc[samples["part"] != "held-out", "participant_id"])


def test_subsets_are_nested_and_the_held_out_part_stays():
    samples, flow = people(sessions=2)
    last: set[str] = set()
    for number in (4, 9, 10, 20, 35):
        left, steps = with_participants(samples, flow, number, seed=1)
        kept = development(left)
        assert len(kept) == number and last < kept
        assert (left["part"] == "held-out").sum() == (samples["part"] == "held-out").sum()
        assert left.groupby("participant_id").size().eq(2).all()  # all scans of a person
        validating = left.loc[left["part"] == "validation", "participant_id"].nunique()
        assert validating == max(1, round(number / 3))
        assert steps["participants"].tolist() == [60, number + 24]
        last = kept


def test_subsets_have_the_quarters_of_the_target_and_depend_on_the_seed():
    samples, flow = people(200)
    for number in (12, 24, 60):
        left, _ = with_participants(samples, flow, number, seed=1)
        ages = left.loc[left["part"] == "train", "target"]
        training = samples.loc[samples["part"] == "train", "target"]
        quarters = pd.cut(ages, training.quantile([0, 0.25, 0.5, 0.75, 1]), include_lowest=True).value_counts()
        assert quarters.max() - quarters.min() <= 2
    other, _ = with_participants(samples, flow, 12, seed=2)
    assert development(other) != development(with_participants(samples, flow, 12, seed=1)[0])


def test_subsets_have_each_class_of_two_cohorts():
    samples, flow = people(100)
    second = samples.assign(cohort="other", participant_id="other-" + samples["participant_id"])
    both = pd.concat([samples, second], ignore_index=True)
    both["target"] = np.resize([0, 0, 0, 1, 0, 0, 1], len(both)).astype(float)
    left, _ = with_participants(both, flow, 24, seed=1)
    trained = left[left["part"] == "train"]
    assert trained.groupby(["cohort", "target"]).size().min() >= 1
    assert len(trained.groupby(["cohort", "target"])) == 4


@pytest.mark.parametrize("number", [36, 50])
def test_number_that_is_not_below_the_participants_is_refused_with_both(number):
    samples, flow = people()
    with pytest.raises(InputError, match=f"has {number}, and the development part .* has 36 participants"):
        with_participants(samples, flow, number, seed=1)


def test_networks_that_stay_keep_their_subset_when_participants_are_added():
    samples, flow = people()
    left, _ = with_participants(samples, flow, 10, seed=1)
    grown = pd.concat([samples, people(100)[0].iloc[60:]], ignore_index=True)
    kept, _ = of_record(grown, flow, 10, record_of(left, {}, ""))
    assert development(kept) == development(left)
    assert (kept["part"] == "held-out").sum() == (grown["part"] == "held-out").sum()


def study(repository, **keys) -> dict:
    """The checked demo with brain age on OASIS-1 that starts from another experiment on IXI."""
    config = load_configuration([repository / "config" / "config.yaml"])
    first = config["experiments"].pop("brain_age")
    own = copy.deepcopy(first) | {"cohorts": ["oasis1"], "transfer": {"weights": "first"}, "learning_curve": [20, 10]}
    config["experiments"] = {"first": first | {"cohorts": ["ixi"], "external": ["oasis1"]}, "own": own | keys}
    if not config["experiments"]["own"]["transfer"]:
        del config["experiments"]["own"]["transfer"]
    return check_configuration(config, source="config.yaml")


def test_configuration_makes_an_experiment_for_each_point(repository):
    config = study(repository, training={"seeds": [1, 2]})
    found = all_experiments(config["experiments"])
    assert list(found) == [
        *("first", "own", "own_participants-10", "own_participants-20"),
        *("own_random-start_participants-10", "own_random-start_participants-20", "own_random-start"),
    ]
    for name, settings in found.items():
        assert bool(settings.get("transfer")) == (name.startswith("own") and "random" not in name)
        assert "learning_curve" not in settings
        if name != "first":
            assert members_of(settings, 0) == [
                "seed-1",
                "seed-2",
            ]  # an ensemble on all would not be comparable with one network
    assert [found[name].get("own_participants") for name in found] == [None, None, 10, 20, 10, 20, 0]
    points = curve_points("own", [20, 10])
    assert points[2] == CurvePoint("own", "fine-tuned") and [one.participants for one in points] == [10, 20, 0] * 2
    without = study(repository, learning_curve=[])
    assert list(all_experiments(without["experiments"])) == ["first", "own"]


def test_plan_counts_the_trainings_and_the_participants_of_each_point(repository, tmp_path):
    planned = Study(study(repository), tmp_path)
    assert sum(len(planned.members(name)) for name in planned.experiments) == 7
    parts = planned.parts("own_random-start_participants-10")
    assert parts.train + parts.validation == pytest.approx(10) and parts.validation == pytest.approx(10 * 0.2 / 0.65)
    assert parts.held_out == planned.parts("own").held_out > 0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"transfer": None}, "compares starts, and `experiments.own.transfer` is missing"),
        (
            {"training": {"cross_validation": True}},
            "can't be combined with `experiments.own.training.cross_validation`",
        ),
        ({"sweep": {"values": {"training.learning_rate": [0.1]}}}, "can't be combined with `experiments.own.sweep`"),
        ({"learning_curve": [3]}, "learning_curve"),
        ({"learning_curve": [10, 10]}, "has 10 more than once"),
    ],
)
def test_keys_that_do_not_go_with_a_curve_are_refused(repository, keys, message):
    with pytest.raises(InputError, match=message):
        study(repository, **keys)


def test_source_is_applied_only_where_it_was_tested_on_the_same_participants(repository):
    experiments = study(repository)["experiments"]
    assert applied_source(experiments, "own") == ("first", "")
    for change, reason in (
        ({"external": []}, "oasis1 would have to be listed under `experiments.first.external`"),
        ({"target": "bmi"}, "it has another target"),
    ):
        changed = experiments | {"first": experiments["first"] | change}
        source, why = applied_source(changed, "own")
        assert source == "" and reason in why
    given = experiments | {"own": experiments["own"] | {"transfer": {"weights": "/models/other.safetensors"}}}
    assert "no experiment of this study" in applied_source(given, "own")[1]


def predictions(error: float, part: str = "held-out", seed: int = 1) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    ages = np.linspace(20, 80, 24)
    names = [f"sub-{number:02d}" for number in range(24)]
    table = pd.DataFrame({"cohort": "mine", "part": part, "scan_id": names, "participant_id": names, "target": ages})
    return table.assign(prediction=ages + error * np.sign(generator.normal(size=24)) + generator.normal(0, 0.1, 24))


def value(table: pd.DataFrame, start: str, participants: int, column: str = "value") -> float:
    rows = table[(table["start"] == start) & (table["participants"] == participants) & (table["metric"] == "mae")]
    return rows[column].item()


def test_curve_has_every_start_on_the_same_participants_with_paired_differences():
    validating = predictions(50, "validation").assign(scan_id="v")
    points = [
        Start("fine-tuned", 10, predictions(5, seed=2)),
        Start("fine-tuned", 20, pd.concat([validating, predictions(3, seed=3)])),
        Start("random", 10, predictions(20, seed=4), learned=False),
        Start("random", 20, predictions(12, seed=5)),
    ]
    applied = Start("applied", 0, predictions(9, "external").sample(frac=1, random_state=1))
    table = learning_curve(points, applied, "", "regression", BOOTSTRAP)
    assert value(table, "applied", 0) == pytest.approx(9, abs=0.1) and value(table, "random", 20, "n") == 24
    assert value(table, "fine-tuned", 20) == pytest.approx(3, abs=0.1)
    assert value(table, "fine-tuned", 20, "minus_random") == pytest.approx(-9, abs=0.1)
    assert value(table, "fine-tuned", 20, "minus_applied_high") < -5.5
    assert value(table, "random", 10, "minus_applied_low") > 10
    assert np.isnan(value(table, "random", 10, "minus_random")) and np.isnan(
        value(table, "applied", 0, "minus_applied")
    )
    assert value(table, "random", 10, "note") == LEARNED_NOTHING
    bias = table[table["metric"] == "bias"]
    assert bias["minus_random"].isna().all()  # neither direction is better


def test_curve_names_why_nothing_was_applied_and_which_scans_are_left_out():
    points = [Start("fine-tuned", 10, predictions(5)), Start("random", 10, predictions(20))]
    table = learning_curve(points, None, "Not applied: a reason.", "regression", BOOTSTRAP)
    assert np.isnan(value(table, "applied", 0)) and value(table, "applied", 0, "note") == "Not applied: a reason."
    fewer = learning_curve(points, Start("applied", 0, predictions(9).head(20)), "", "regression", BOOTSTRAP)
    assert value(fewer, "random", 10, "n") == 20 and "20 of 24" in value(fewer, "random", 10, "note")


def test_report_says_which_start_is_better_with_everybody_and_shows_every_point():
    content = shown(curve(tuned=2, random=9, applied=12))
    assert len(content.sentences) == 2 and len(content.figures) == 1
    first, second = content.sentences
    assert "With all 20 own participants" in first and "minus trained from random weights" in first
    assert "minus applied without training" in second
    for sentence in content.sentences:
        assert "16 held-out participants: MAE −" in sentence and "years [" in sentence
        assert sentence.endswith("The interval excludes 0: the fine-tuned network was better.")
    (table,) = content.details
    assert [row.head for row in table.rows] == [
        "Applied without training",
        *["Fine-tuned"] * 2,
        *["Trained from random weights"] * 2,
    ]
    assert table.rows[3].cells[0].note == "learned nothing"
    assert shown(curve(2, 2, 2)).sentences[0].endswith("which is better.")
    assert shown(curve(2, 9)).sentences[-1] == "Not applied: a reason."
