"""Test folds in what needs PyTorch: the networks' names, which of them are used, their average, and the choice of a sweep."""

import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.folds import with_test_fold
from neurocohort.errors import InputError
from neurocohort.files import write_json
from neurocohort.learning.ensembles import average_values
from neurocohort.learning.inference import predicted_samples
from neurocohort.learning.network_table import network_table, used_members
from neurocohort.learning.prediction_tables import value_rows
from neurocohort.learning.sweeps import choose
from neurocohort.settings.evaluation import BaselineSettings
from neurocohort.study.baseline_tables import value_table
from neurocohort.study.members import members_of, starting_members

FOLDED = {"training": {"seeds": [1, 2], "cross_validation": True}}
PLAIN = {"training": {"seeds": [1, 2], "cross_validation": False}}


def samples() -> pd.DataFrame:
    """Two test folds of three participants each, one of whom validates, and an external scan."""
    people = [f"sub-{number}" for number in range(7)]
    return pd.DataFrame(
        {
            "cohort": ["ixi"] * 6 + ["other"],
            "part": ["train", "train", "validation"] * 2 + ["external"],
            "scan_id": people,
            "participant_id": people,
            "site": "A",
            "age": 50.0,
            "sex": "F",
            "fold": pd.array([1, 2, 1, 2, 1, 2, None], dtype="Int64"),
            "test_fold": pd.array([1, 1, 1, 2, 2, 2, None], dtype="Int64"),
            "target": np.arange(7.0),
        }
    )


def member(test_fold: int, value: float) -> pd.DataFrame:
    rows = predicted_samples(samples(), 0, test_fold)
    return value_rows(rows, np.full(len(rows), value))


def run(test_fold: int, learned: bool, best_epoch: int | None = 3) -> dict:
    learning = {"learned": learned, "reason": "", "spread": 0.1, "least_spread": 0.05, "edge": "", "attempts": [1]}
    settings = {"fold": 0, "test_fold": test_fold}
    return {"settings": settings, "seed": 1, "epochs_run": 5, "best_epoch": best_epoch, "criterion": 0.1} | {
        "learning": learning
    }


def test_members_are_test_folds_times_folds_times_seeds():
    assert members_of(PLAIN, 3, 2) == ["test-1_seed-1", "test-1_seed-2", "test-2_seed-1", "test-2_seed-2"]
    assert members_of(FOLDED, 2, 2)[:3] == ["test-1_fold-1_seed-1", "test-1_fold-1_seed-2", "test-1_fold-2_seed-1"]
    assert len(members_of(FOLDED, 3, 4)) == 3 * 4 * 2 and members_of(PLAIN, 3) == ["seed-1", "seed-2"]


def test_training_starts_from_a_network_of_its_own_test_fold():
    assert starting_members(PLAIN, 2, "test-2_seed-2", 3) == ["test-2_seed-2", "test-2_seed-1"]
    assert starting_members(FOLDED, 2, "test-3_fold-2_seed-1", 3) == ["test-3_fold-2_seed-1", "test-3_fold-2_seed-2"]


def test_network_predicts_its_validation_and_held_out_scans_and_external_ones():
    rows = predicted_samples(samples(), 0, 2).set_index("scan_id")
    assert rows["part"].to_dict() == {"sub-2": "validation"} | dict.fromkeys(
        ["sub-3", "sub-4", "sub-5"], "held-out"
    ) | {"sub-6": "external"}
    assert rows["test_fold"].dropna().unique().tolist() == [2]
    folded = predicted_samples(samples(), 2, 2)
    assert folded.loc[folded["part"] == "validation", "scan_id"].tolist() == ["sub-1"]
    assert (with_test_fold(samples(), 1)["part"] == "held-out").sum() == 3


def test_ensemble_pools_held_out_scans_and_averages_external_ones_over_all_test_folds():
    tables = {
        "test-1_seed-1": member(1, 10.0),
        "test-1_seed-2": member(1, 20.0),
        "test-2_seed-1": member(2, 30.0),
    }
    found = average_values(tables)
    held_out = found[found["part"] == "held-out"].set_index("scan_id")["prediction"].to_dict()
    assert held_out == dict.fromkeys(["sub-0", "sub-1", "sub-2"], 15.0) | dict.fromkeys(
        ["sub-3", "sub-4", "sub-5"], 30.0
    )
    external = found[found["part"] == "external"]
    assert external["prediction"].tolist() == [20.0] and external["test_fold"].isna().all()
    validation = found[found["part"] == "validation"].set_index("test_fold")["prediction"].to_dict()
    assert validation == {1: 15.0, 2: 30.0}


def test_networks_that_learned_nothing_are_left_out_within_their_test_fold():
    runs = {
        "test-1_seed-1": run(1, True),
        "test-1_seed-2": run(1, False),
        "test-2_seed-1": run(2, False),
        "test-2_seed-2": run(2, False),
    }
    assert used_members(runs) == ["test-1_seed-1", "test-2_seed-1", "test-2_seed-2"]
    table = network_table(runs)
    assert table["test_fold"].tolist() == [1, 1, 2, 2]
    assert "no network of test fold 2 learned anything" in table["reason"].iloc[2]
    with pytest.raises(InputError, match="every training of test fold 2"):
        used_members({"test-1_seed-1": run(1, True), "test-2_seed-1": run(2, False, None)})


def test_sweep_chooses_for_each_test_fold_by_its_own_networks(tmp_path):
    criteria = {"sweep/draw-01": {1: 0.1, 2: 0.9}, "sweep/draw-02": {1: 0.5, 2: 0.2}}
    for draw, by_fold in criteria.items():
        for number, value in by_fold.items():
            write_json(
                tmp_path / draw / f"test-{number}_seed-1" / "run.json", {"criterion": value, "validation_loss": value}
            )
    sweep = {"draws": 0, "values": {"training.epochs": [1, 2]}}
    table = choose(tmp_path, sweep, ["test-1_seed-1", "test-2_seed-1"])
    chosen = table[table["chosen"] == 1].set_index("test_fold")["draw"].to_dict()
    assert chosen == {1: "sweep/draw-01", 2: "sweep/draw-02"}


class Volumes:
    """Volumes in which brightness follows the scan's own number."""

    def stack_arrays(self, rows: pd.DataFrame) -> np.ndarray:
        numbers = rows["scan_id"].str.removeprefix("sub-").astype(int).to_numpy()
        noise = np.random.default_rng(0).integers(0, 40, (100, 1, 3, 3, 3))
        return (noise[numbers] + numbers[:, None, None, None, None]).astype(np.uint8)


@pytest.mark.parametrize("folds", [0, 2])
def test_baselines_of_a_test_fold_are_fitted_without_it(folds):
    count = 48
    people = [f"sub-{number}" for number in range(count)]
    table = pd.DataFrame({"scan_id": people, "participant_id": people, "cohort": "ixi", "site": "A", "sex": "F"})
    place = np.arange(count)
    table = table.assign(part=np.where(place % 4 == 3, "validation", "train"), target=place * 1.0, age=place * 1.0)
    table = table.assign(fold=pd.array(place % 2 + 1, dtype="Int64"), test_fold=pd.array(place % 3 + 1, dtype="Int64"))
    outside = place >= 42
    table.loc[outside, ["cohort", "part"]] = ["other", "external"]
    table.loc[outside, ["fold", "test_fold"]] = pd.NA
    volumes = {f"volume_{name}_ml": 100.0 + place for name in ("csf", "gm", "wm", "brain")}
    qc = pd.DataFrame({"scan_id": people} | volumes)
    own = {"task": "regression", "target": "mmse", "modalities": ["T1w"], "classes": 0, "seed": 1, "spacing_mm": 3.0}
    wanted = BaselineSettings(**own, folds=folds)
    found = value_table(table, qc, Volumes(), wanted)
    for model, rows in found.groupby("model"):
        held_out = rows[rows["part"] == "held-out"]
        assert sorted(held_out["scan_id"]) == sorted(table.loc[~outside, "scan_id"]), model
        assert rows.loc[rows["part"] == "external", "scan_id"].tolist() == table.loc[outside, "scan_id"].tolist()
        assert rows.loc[rows["part"] == "external", "test_fold"].isna().all()
        validation = rows[rows["part"] == "validation"]
        assert not validation.duplicated(["scan_id", "test_fold"]).any() and len(validation) == (84 if folds else 20)
    tested = (table["test_fold"] == 1).fillna(False)
    other = table.assign(target=table["target"].mask(tested, 99.0))
    again = value_table(other, qc, Volumes(), wanted)
    first = [one[(one["test_fold"] == 1).fillna(False)]["prediction"].to_numpy() for one in (found, again)]
    np.testing.assert_array_equal(*first)
    assert set(found["model"]) == {"mean", "age_sex", "volumes", "voxel_ridge", "voxel_svm"}
