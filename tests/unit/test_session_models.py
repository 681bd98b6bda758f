"""The models of a longitudinal analysis: networks over sessions and their baselines."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from neurocohort.dataset.sessions import select_sessions
from neurocohort.evaluation.mixed_models import fit_mixed_model, follows_time
from neurocohort.evaluation.session_baselines import last_sessions, session_baselines
from neurocohort.evaluation.session_inputs import session_inputs
from neurocohort.files import read_table
from neurocohort.learning.session_networks import SESSION_NETWORKS, network_module
from neurocohort.learning.session_training import standardised, to_sequences, train_session_network
from session_cohort import made_tables, wanted, write_cohort
from sklearn.metrics import roc_auc_score
from statsmodels.regression.mixed_linear_model import MixedLM

INTERVALS = json.dumps({"resamples": 100, "seed": 1})


@pytest.fixture(scope="module")
def analysis():
    """Sessions, inputs and the last sessions of a cohort."""
    tables = made_tables(72)
    sessions = select_sessions({"mine": tables}, wanted()).table
    inputs, _ = session_inputs(sessions, tables["qc"].assign(cohort="mine"), None, wanted())
    return sessions, inputs, last_sessions(sessions)


def sequences_of(sessions, inputs):
    return to_sequences(sessions, standardised(inputs, sessions["part"].to_numpy()))


@pytest.mark.parametrize("name", SESSION_NETWORKS)
def test_padding_and_the_order_of_participants_change_no_prediction(name):
    torch.manual_seed(1)
    network = network_module(name).SessionNetwork(4, 8, 2, 0.1).eval()
    values, years = torch.randn(3, 4, 4), torch.rand(3, 4).cumsum(dim=1)
    mask = torch.arange(4) < torch.tensor([[4], [2], [1]])
    with torch.inference_mode():
        whole = network(values, years, mask)
        alone = network(values[1:2, :2], years[1:2, :2], mask[1:2, :2])
        filled = network(torch.where(mask[..., None], values, 99.0), torch.where(mask, years, 50.0), mask)
        turned = network(values.flip(0), years.flip(0), mask.flip(0)).flip(0)
        other = network(values * torch.tensor([[2.0], [1.0], [1.0], [1.0]]), years, mask)
    torch.testing.assert_close(whole[1:2], alone)
    torch.testing.assert_close(whole, filled)
    torch.testing.assert_close(whole, turned)
    assert not torch.allclose(whole[0], other[0])  # the first session counts


def test_the_transformer_knows_the_time_between_sessions():
    torch.manual_seed(1)
    network = network_module("transformer").SessionNetwork(4, 8, 1, 0.0).eval()
    values, mask = torch.randn(1, 3, 4), torch.ones(1, 3, dtype=torch.bool)
    with torch.inference_mode():
        near, far = (network(values, torch.tensor([[0.0, 1.0, 2.0]]) * step, mask) for step in (1, 3))
    assert not torch.allclose(near, far)


@pytest.mark.parametrize("name", SESSION_NETWORKS)
def test_a_network_learns_from_the_course_what_the_last_session_does_not_tell(name, analysis):
    sessions, inputs, last = analysis
    sequences = sequences_of(sessions, inputs)
    target, parts = last["target"].to_numpy(), last["part"].to_numpy()
    run = train_session_network(name, sequences, target, parts, wanted(epochs=60), 1)
    tested = parts == "held-out"
    assert roc_auc_score(target[tested], run.predictions[tested]) > 0.75
    assert run.history["validation_loss"].min() == run.history.loc[run.history["best"] == 1, "validation_loss"].iloc[-1]


@pytest.mark.parametrize("name", SESSION_NETWORKS)
def test_nothing_of_a_held_out_participant_enters_a_network(name, analysis):
    sessions, inputs, last = analysis
    tested, parts = (sessions["part"] == "held-out").to_numpy(), last["part"].to_numpy()
    other = inputs.mask(np.broadcast_to(tested[:, None], inputs.shape), 1000.0)
    target = last["target"].to_numpy()
    flipped = np.where(parts == "held-out", 1 - target, target)
    first = train_session_network(name, sequences_of(sessions, inputs), target, parts, wanted(epochs=3), 1)
    second = train_session_network(name, sequences_of(sessions, other), flipped, parts, wanted(epochs=3), 1)
    assert all(torch.equal(first.weights[key], second.weights[key]) for key in first.weights)
    pd.testing.assert_frame_equal(first.history, second.history)


def test_predictors_of_the_mixed_model_are_those_of_statsmodels():
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(40), 4)
    years = np.tile(np.arange(4.0), 40)
    values = rng.normal(0, 1, 40)[people] + rng.normal(-0.3, 0.4, 40)[people] * years + rng.normal(0, 0.3, 160)
    found = fit_mixed_model(values, years, people)
    design = np.column_stack([np.ones(160), years])
    reference = MixedLM(values, design, people, exog_re=design).fit(reml=True)
    for person in (0, 17):
        own = people == person
        expected = reference.random_effects[person].to_numpy()
        np.testing.assert_allclose(found.predicted(values[own], years[own]) - reference.fe_params, expected, atol=1e-3)
    average = found.predicted(np.array([np.nan]), np.zeros(1))  # nothing known
    np.testing.assert_array_equal(average, found.fixed)


def test_columns_that_only_follow_time_have_no_mixed_model():
    people, years = np.repeat(np.arange(10), 3), np.tile(np.arange(3.0), 10)
    assert follows_time(60.0 + people + years, years, people)  # age
    assert follows_time(people % 2 * 1.0, years, people)  # sex
    assert not follows_time(np.random.default_rng(1).normal(size=30), years, people)


def test_baselines_see_the_same_participants_and_only_the_mixed_model_sees_the_course(analysis):
    sessions, inputs, last = analysis
    found = session_baselines(sessions, inputs, "classification").predictions
    assert list(found) == ["majority", "visits", "last_session", "mixed_model"]
    assert all(len(values) == len(last) and np.isfinite(values).all() for values in found.values())
    tested, target = (last["part"] == "held-out").to_numpy(), last["target"].to_numpy()
    scores = {name: roc_auc_score(target[tested], values[tested]) for name, values in found.items()}
    assert scores["mixed_model"] > scores["last_session"]
    assert found["majority"][0] == target[~tested].mean()


def test_no_target_of_a_held_out_participant_enters_a_baseline(analysis):
    sessions, inputs, _ = analysis
    flipped = sessions.assign(target=sessions["target"].where(sessions["part"] != "held-out", 1 - sessions["target"]))
    first, second = (session_baselines(one, inputs, "classification").predictions for one in (sessions, flipped))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished analysis in ``results/longitudinal/conversion``."""
    root = tmp_path_factory.mktemp("longitudinal")
    write_cohort(root, made_tables(48))
    run(root, "conversion")
    return root


def command(root, name) -> list[str]:
    out = root / "results" / "longitudinal" / name
    out.mkdir(parents=True)
    settings = wanted(epochs=5).as_json()
    return [
        *(sys.executable, "-m", "neurocohort", "longitudinal", "--data", str(root / "data")),
        *("--results", str(root / "results"), "--folder", str(out), "--settings", settings),
    ]


def run(root, name) -> None:
    subprocess.run(command(root, name), check=True, capture_output=True)


def test_a_run_that_was_stopped_starts_again_and_ends_with_the_same_bits(folder):
    line = command(folder, "stopped")
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.terminate()
    results = folder / "results" / "longitudinal"
    assert list((results / "stopped").iterdir()) == []  # all or nothing
    subprocess.run(line, check=True, capture_output=True)
    files = sorted(path.name for path in (results / "stopped").iterdir())
    assert "networks.safetensors" in files and "predictions.tsv" in files
    for name in files:
        assert (results / "stopped" / name).read_bytes() == (results / "conversion" / name).read_bytes(), name


def test_metrics_compare_each_network_with_each_baseline_and_are_recorded(folder):
    out = folder / "results" / "longitudinal" / "conversion"
    line = [sys.executable, "-m", "neurocohort", "longitudinal-metrics", "--folder", str(out), "--study", "mine"]
    line += ["--results", str(folder / "results"), "--intervals", INTERVALS, "--settings", wanted(epochs=5).as_json()]
    subprocess.run(line, check=True, capture_output=True)
    predictions, metrics = read_table(out / "predictions.tsv"), read_table(out / "metrics.tsv")
    models = {"gru", "transformer", "majority", "visits", "last_session", "mixed_model"}
    assert set(predictions["model"]) == set(metrics["model"]) == models
    assert set(predictions["part"]) == {"held-out"}
    assert predictions.groupby("model")["participant_id"].apply(sorted).map(tuple).nunique() == 1
    comparisons = read_table(out / "comparisons.tsv")
    assert set(comparisons["model"]) == {"gru", "transformer"}
    own = comparisons[(comparisons["model"] == "gru") & (comparisons["metric"] == "auc")]
    assert set(own["baseline"]) == models - {"gru", "transformer"}
    assert (own["ci_low"] <= own["difference"]).all() and (own["difference"] <= own["ci_high"]).all()
    assert len(list((folder / "evaluations").glob("*.json"))) == 1
