"""Auxiliary variables: what the network also learns, from samples to a row of results, without a change of the main result."""

import numpy as np
import pandas as pd
import pytest
import torch
from configurations import AGE, SOURCE, changed, refusal
from neurocohort.dataset.auxiliary import with_auxiliary
from neurocohort.errors import InputError
from neurocohort.evaluation.auxiliary import MemberFeatures, auxiliary_details
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.learning.auxiliary import Auxiliary, auxiliary_loss, fit_auxiliaries
from neurocohort.learning.checkpoint import Interrupted
from neurocohort.learning.constants import SOFT_BINS
from neurocohort.learning.data import to_input
from neurocohort.learning.features import predict_with_features
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.mixup import Mix
from neurocohort.learning.model_files import read_model, read_run, write_model
from neurocohort.learning.networks import build_network
from neurocohort.learning.tasks import Classification, Regression
from neurocohort.learning.training import train
from neurocohort.study.configuration import check_configuration
from neurocohort.study.members import training_settings
from toy_training import CPU, stopped_at_step, toy_cohort, toy_settings, weights_hash

WANTED = {"large": 0.5, "size": 1.0}


def cohort(task: str = "regression") -> tuple:
    """The toy cohort; ``large`` is known of two thirds of its scans, ``size`` of all."""
    samples, packed = toy_cohort(task)
    targets = samples["target"].astype(float)
    large = (targets > targets.median()).astype(float).mask(np.arange(len(samples)) % 3 == 0)
    return samples.assign(
        auxiliary_large=large, auxiliary_size=2 * targets + 1, participant_id=samples["scan_id"]
    ), packed


def trained(folder, settings, name="checkpoint.pt", report=lambda line: None):
    return train(*cohort(settings.task), settings, CPU, TrainingFiles(folder / name), report)


def test_network_learns_both_variables_and_the_model_predicts_the_target_alone(tmp_path):
    lines = []
    settings = toy_settings(auxiliary=WANTED, soft_bins=False, epochs=40, dropout=0.0, batch_size=6)
    found = trained(tmp_path, settings, report=lines.append)
    assert lines[:2] == [
        "auxiliary large: 6 of 12 training scans have a value",
        "auxiliary size: 12 of 12 training scans have a value",
    ]
    assert [(one.variable, one.kind, one.weight, one.known) for one in found.heads] == [
        ("large", "classification", 0.5, 6),
        ("size", "regression", 1.0, 12),
    ]
    plain = build_network("sfcn", settings.channels, 1)
    assert found.parameters == sum(one.numel() for one in plain.parameters())
    write_model(tmp_path / "model", found, settings, CPU)
    assert [one["variable"] for one in read_run(tmp_path / "model")["auxiliary"]] == ["large", "size"]
    samples, packed = cohort()
    predicted, values = predict_with_features(read_model(tmp_path / "model", CPU), samples, packed)
    assert predicted.shape == (len(samples),)

    heads = {one["variable"]: one for one in read_run(tmp_path / "model")["auxiliary"]}
    member = MemberFeatures(samples[["cohort", "part", "scan_id"]], values, heads)
    rows = list(auxiliary_details([member, member], samples, WANTED, Bootstrap(50, 1)))
    by_metric = {(row.setting, row.estimate.metric): row for row in rows}
    assert {row.part for row in rows} == {"held-out"} and len(rows) == 5
    assert by_metric["auxiliary: size", "pearson_r"].estimate.value > 0.5
    assert by_metric["auxiliary: size", "mae"].estimate.n == 3
    note = by_metric["auxiliary: large", "auc"].note
    assert note.endswith("6 training scans of a network and 3 of these 3 scans have a value.")


@pytest.mark.parametrize("options", [{}, {"mixup": 0.4, "keep": "ema"}])
def test_a_training_with_auxiliary_variables_is_resumed_with_the_same_bits(tmp_path, options):
    settings = toy_settings("classification", auxiliary=WANTED, **options)
    whole = trained(tmp_path, settings)
    with stopped_at_step(5), pytest.raises(Interrupted):
        trained(tmp_path, settings, "cut.pt")
    resumed = trained(tmp_path, settings, "cut.pt")
    assert weights_hash(resumed.weights) == weights_hash(whole.weights) and resumed.history == whole.history
    assert resumed.heads == whole.heads and whole.task.outputs == 1


def test_validation_loss_is_that_of_the_target_alone(tmp_path):
    settings = toy_settings(auxiliary=WANTED, soft_bins=True, epochs=1)
    found = trained(tmp_path, settings)
    assert len(found.weights["classifier.bias"]) == found.task.outputs == SOFT_BINS
    write_model(tmp_path / "model", found, settings, CPU)
    model, (samples, packed) = read_model(tmp_path / "model", CPU), cohort()
    rows = samples[samples["part"] == "validation"]
    inputs = torch.cat([to_input(torch.from_numpy(one)[None], model.intensity) for one in packed.each_image(rows)])
    with torch.no_grad():
        loss = model.task.loss(model.network(inputs), torch.tensor(rows["target"].to_numpy()))
    assert found.history[0].validation_loss == pytest.approx(loss.item(), rel=1e-4)


def test_scans_without_a_value_do_not_count():
    both = (
        Auxiliary("a", 2.0, Regression(False, 0.0, 1.0, 10.0, 2.0), 2),
        Auxiliary("b", 0.5, Classification(2, positive_weight=3.0), 2),
    )
    outputs = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 0.0]], requires_grad=True)
    nan = float("nan")
    targets = torch.tensor([[10.0, nan], [nan, 1.0], [12.0, 0.0]])
    loss = auxiliary_loss(both, outputs, targets, None)
    expected = 2 * (1 + 1) / 2 + 0.5 * (3 * np.log(2) + np.log(2)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert outputs.grad[1, 0] == 0 and outputs.grad[0, 1] == 0 and outputs.grad.isfinite().all()
    empty = auxiliary_loss(both, outputs, torch.full((3, 2), nan), None)
    assert empty.item() == 0 and empty.requires_grad
    mix = Mix(0.75, np.array([2, 1, 0]))
    swapped = auxiliary_loss(both, outputs, targets[[2, 1, 0]], None)
    assert auxiliary_loss(both, outputs, targets, mix).item() == pytest.approx(
        0.75 * loss.item() + 0.25 * swapped.item()
    )


def test_a_class_without_a_training_scan_is_refused():
    with pytest.raises(InputError, match=r"`auxiliary` names large, which can't be learned: .* none of class 1"):
        fit_auxiliaries({"large": 1.0}, pd.DataFrame({"auxiliary_large": [0.0, 0.0, np.nan]}))


HEAD = {
    "kind": "classification",
    "weight": 1.0,
    "known": 9,
    "coefficients": [1.0],
    "intercept": 0.0,
    "mean": 0.0,
    "scale": 1.0,
}


def test_a_variable_with_more_values_than_one_network_saw_is_judged_as_a_number():
    scans = pd.DataFrame({"cohort": "a", "part": "held-out", "scan_id": list("12345678")})
    values = np.linspace(-3, 3, 8)[:, None]
    samples = scans.assign(participant_id=scans["scan_id"])
    for second, third, metric in (
        ("classification", 1.0, "auc"),
        ("regression", 1.0, "mae"),
        ("classification", 2.0, "mae"),
    ):
        members = [MemberFeatures(scans, values, {"x": HEAD | {"kind": kind}}) for kind in ("classification", second)]
        own = samples.assign(auxiliary_x=[0.0, 1.0, third, 0.0, 1.0, 0.0, 1.0, 1.0])
        assert metric in {row.estimate.metric for row in auxiliary_details(members, own, ["x"], Bootstrap(50, 1))}


def test_a_tested_part_without_a_value_has_rows_and_a_note():
    scans = pd.DataFrame({"cohort": list("aaaabbbb"), "part": "held-out", "scan_id": list("12345678")})
    members = [MemberFeatures(scans, np.linspace(-3, 3, 8)[:, None], {"x": HEAD})]
    values = [0.0, 1.0, 1.0, 0.0, *[np.nan] * 4]
    samples = scans.assign(participant_id=scans["scan_id"], auxiliary_x=values)
    rows = [row for row in auxiliary_details(members, samples, ["x"], Bootstrap(50, 1)) if row.cohort == "b"]
    assert [(row.estimate.metric, row.estimate.n) for row in rows] == [("auc", 0), ("balanced_accuracy", 0)]
    assert np.isnan(rows[0].estimate.value) and "0 of these 4 scans have a value" in rows[0].note


def test_samples_get_the_values_of_their_scans():
    samples = pd.DataFrame({"cohort": ["a", "b", "a"], "scan_id": ["2", "1", "1"], "part": "train"})
    scans = {
        "a": pd.DataFrame({"scan_id": ["1", "2", "3"], "sex": ["F", "M", "F"], "mmse": [30, np.nan, 20], "note": "x"}),
        "b": pd.DataFrame({"scan_id": ["1"], "sex": [np.nan]}),
    }
    found = with_auxiliary(samples, scans, ["sex", "mmse"])
    np.testing.assert_array_equal(found["auxiliary_sex"], [1, np.nan, 0])
    np.testing.assert_array_equal(found["auxiliary_mmse"], [np.nan, np.nan, 30])
    with pytest.raises(InputError, match="names note, which has texts in a"):
        with_auxiliary(samples, scans, ["note"])
    with pytest.raises(InputError, match="names height, of which no scan"):
        with_auxiliary(samples, scans, ["height"])


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        (f"{AGE}.auxiliary", {"sex": 0.3}, None),
        (f"{AGE}.auxiliary", {"age": 0.3}, ["names `age`, which is the target"]),
        (
            f"{AGE}.auxiliary",
            {"sexx": 0.3},
            ["names `sexx`, which no cohort that is trained on has", "did you mean `sex`?"],
        ),
        (f"{AGE}.auxiliary", {"site": 0.3}, ["names `site`, which is categories; expected a number or two classes"]),
        (f"{AGE}.auxiliary", {"sex": 0}, ["auxiliary", "above 0"]),
        (
            "experiments.tissue.auxiliary",
            {"sex": 0.3},
            ["for regression and classification", "segmentation; leave it out"],
        ),
    ],
)
def test_auxiliary_variables_are_checked(demo_study, key, value, parts):
    config = changed(demo_study, key, value)
    if parts is None:
        checked = check_configuration(config, source=SOURCE)
        own = checked["experiments"]["brain_age"]
        assert training_settings(own, "seed-1").auxiliary == value
        assert "auxiliary" not in training_settings(checked["experiments"]["dementia"], "seed-1").as_dict()
        return
    message = refusal(config)
    assert all(part in message for part in parts), message
