"""Bundles: a prediction comes with the interval or the set of classes that intervals.tsv has for the same scan."""

import json

import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.pack import pack_scans
from neurocohort.evaluation.conformal import calibrations_of, prediction_intervals
from neurocohort.evaluation.conformal_sets import prediction_sets, set_calibrations_of
from neurocohort.export.bundle import Outcome, write_bundle
from neurocohort.learning.data import PackedImages
from neurocohort.learning.ensembles import average_values, member_rows
from neurocohort.learning.inference import predict
from neurocohort.learning.model_files import read_model
from neurocohort.learning.prediction_tables import value_rows
from neurocohort.learning.tasks import Classification
from test_bundle import (  # noqa: F401 - two are fixtures
    CPU,
    SCANS,
    THREE,
    VALUE,
    configuration,
    metrics,
    own_imports,
    preproc,
    run_bundle,
    samples,
    write_member,
)

SEEDS = {"seed-1": 1, "seed-2": 2}
FOLDS = {"fold-1_seed-1": 1, "fold-2_seed-2": 2}
TEST_FOLDS = {"test-1_seed-1": 1, "test-2_seed-2": 2}
PEOPLE = 60


@pytest.fixture(scope="module")
def packed(preproc, tmp_path_factory) -> PackedImages:  # noqa: F811
    folder = tmp_path_factory.mktemp("packed")
    pack_scans(list(SCANS), preproc, folder / "images.npy", folder / "labels.npy", ("T1w",))
    place = ("oasis1", "held-out")
    return PackedImages({place: np.load(folder / "images.npy")}, {}, {place: [0]})


def calibration_rows(task, around: np.ndarray) -> pd.DataFrame:
    """Rows of PEOPLE other participants, whose predictions are near those of the scans."""
    generator = np.random.default_rng(3)
    names = [f"sub-v{number}" for number in range(PEOPLE)]
    rows = pd.DataFrame({"scan_id": names, "participant_id": names, "cohort": "oasis1", "part": "validation"})
    rows = rows.assign(site="WashU", age=50.0, sex="F", target=np.arange(PEOPLE) % getattr(task, "classes", 2))
    if task.kind == "regression":
        return value_rows(rows, rows["target"].to_numpy() + generator.normal(0, 5, PEOPLE))
    noisy = around[generator.integers(0, len(around), PEOPLE)] + generator.uniform(0, 0.2, (PEOPLE, task.classes))
    return value_rows(rows, noisy / noisy.sum(axis=1, keepdims=True))


def outcome_of(task, own: dict[str, np.ndarray]) -> tuple[Outcome, pd.DataFrame]:
    """predictions.tsv and members.tsv with the scans as external ones, and samples.tsv."""
    names, external = list(own), samples().assign(part="external", pack="held-out")
    seen = calibration_rows(task, np.mean(list(own.values()), axis=0))
    number = np.arange(PEOPLE) % len(names) + 1
    tables = {name: value_rows(external, values) for name, values in own.items()}
    predictions, taken = average_values(tables), pd.concat([seen, external], ignore_index=True)
    if "test" in names[0]:
        seen, predictions = seen.assign(test_fold=number, part="held-out"), predictions.assign(test_fold=pd.NA)
        taken = taken.assign(test_fold=[*number, *[pd.NA] * len(SCANS)])
    elif "fold" in names[0]:
        taken = taken.assign(part=taken["part"].replace("validation", "train"), fold=[*number, *[pd.NA] * len(SCANS)])
    table = pd.concat([seen, predictions], ignore_index=True)
    return Outcome(None, table, member_rows(tables)), taken


@pytest.mark.parametrize("names", [SEEDS, FOLDS, TEST_FOLDS], ids=["seeds", "folds", "test folds"])
@pytest.mark.parametrize("task", [VALUE, Classification(), THREE], ids=["regression", "two classes", "three classes"])
def test_bundle_gives_the_interval_or_set_of_the_workflow(preproc, packed, tmp_path, names, task):  # noqa: F811
    members = {name: write_member(tmp_path / "members", "sfcn", task, {}, number) for name, number in names.items()}
    own = {
        name: predict(read_model(path, CPU), samples(), packed, tmp_path / name / "probabilities.npy")
        for name, path in members.items()
    }
    outcome, taken = outcome_of(task, own)
    write_bundle(tmp_path / "bundle", "toy", members, metrics(), taken, configuration(task.kind), outcome)
    found = run_bundle(tmp_path / "bundle", preproc, tmp_path / "predictions")
    tables = (outcome.predictions, outcome.by_member)
    if task.kind == "regression":
        expected = prediction_intervals(*tables, calibrations_of(*tables, taken))
    else:
        expected = prediction_sets(*tables, set_calibrations_of(*tables, taken))
    expected = expected[expected["part"] == "external"].set_index("scan_id").loc[found["scan_id"]]
    if task.kind == "regression":
        limits = ["interval_low", "interval_high"]
        np.testing.assert_allclose(found[limits], expected[limits].astype(float), rtol=1e-5, atol=3e-6)
    else:
        assert found["set"].tolist() == expected["set"].tolist()
    facts = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())["neurocohort"]["conformal"]
    card = (tmp_path / "bundle" / "docs" / "README.md").read_text()
    assert facts["level"] == 0.95 and facts["rule"] in card and set(facts["columns"]) <= set(found)
    if task.kind == "regression" and names is not SEEDS:
        assert facts["half_width"] is None and "CV+" in facts["rule"]
    elif task.kind == "regression":
        assert facts["half_width"] == pytest.approx(
            (found["interval_high"] - found["interval_low"]).iloc[0] / 2, abs=1e-5
        )


def test_bundle_says_why_its_predictions_have_no_interval(preproc, packed, tmp_path):  # noqa: F811
    path = write_member(tmp_path / "members", "sfcn", VALUE, {}, 1)
    own = {"seed-1": predict(read_model(path, CPU), samples(), packed, tmp_path / "probabilities.npy")}
    outcome, taken = outcome_of(VALUE, own)
    few = Outcome(None, outcome.predictions.tail(12), outcome.by_member)
    write_bundle(tmp_path / "bundle", "toy", {"seed-1": path}, metrics(), taken, configuration(), few)
    assert "interval_low" not in run_bundle(tmp_path / "bundle", preproc, tmp_path / "predictions")
    card = (tmp_path / "bundle" / "docs" / "README.md").read_text()
    assert "No intervals: 9 calibration participants, and a finite interval needs 19." in card
