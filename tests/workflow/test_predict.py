"""`neurocohort predict` with the demo's models: the workflow's own predictions, for raw scans."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from neurocohort.apply.outcomes import Outcome
from neurocohort.apply.predict import predict_scans
from neurocohort.apply.scans import scans_from_table


def raw_scans(demo, experiment: str, folder, count: int) -> pd.DataFrame:
    """The first held-out scans of an experiment, as a table for the command in ``folder``, with the workflow's predictions."""
    predictions = pd.read_csv(demo.path(f"results/experiments/{experiment}/predictions.tsv"), sep="\t")
    rows = predictions[predictions["part"] == "held-out"].drop_duplicates("scan_id").head(count)
    paths = []
    for row in rows.itertuples():
        data = demo.path(f"data/{row.cohort}")
        scans = pd.read_csv(data / "scans.tsv", sep="\t").set_index("scan_id")
        paths.append(str(data / scans.at[row.scan_id, "path"]))
    rows = rows.assign(path=paths)
    rows[["scan_id", "path", "age", "sex", "site"]].to_csv(folder / "scans.tsv", sep="\t", index=False)
    return rows


def predicted(demo, experiment: str, folder) -> list[Outcome]:
    scans = scans_from_table(folder / "scans.tsv")
    return predict_scans(demo.path(f"results/models/{experiment}"), scans, folder / "out", device="cpu")


@pytest.mark.parametrize("experiment", ["brain_age", "dementia"])
def test_raw_scans_get_the_workflows_predictions_to_the_last_digit_and_no_flag(demo, tmp_path, experiment):
    rows = raw_scans(demo, experiment, tmp_path, 2)
    outcomes = predicted(demo, experiment, tmp_path)
    table = pd.read_csv(tmp_path / "out" / "predictions.tsv", sep="\t")
    assert table["scan_id"].tolist() == rows["scan_id"].tolist()
    assert table["prediction"].tolist() == rows["prediction"].tolist()
    assert [outcome.flags for outcome in outcomes] == [[], []]
    for name in rows["scan_id"]:
        assert (tmp_path / "out" / "scans" / f"{name}.html").is_file()
        assert (tmp_path / "out" / "scans" / f"{name}.png").is_file()


def test_label_map_of_a_raw_scan_is_the_workflows_on_the_scans_own_grid(demo, tmp_path):
    (row,) = raw_scans(demo, "tissue", tmp_path, 1).itertuples()
    (outcome,) = predicted(demo, "tissue", tmp_path)
    found = nib.load(tmp_path / "out" / "scans" / f"{row.scan_id}_dseg.nii.gz")
    maps = demo.path(f"results/experiments/tissue/label_maps/{row.cohort}")
    expected = nib.load(maps / f"{row.scan_id}_space-orig_dseg.nii.gz")
    scan = nib.load(row.path)
    assert found.shape == scan.shape
    np.testing.assert_allclose(found.affine, scan.affine, atol=1e-4)
    assert (np.asarray(found.dataobj) != np.asarray(expected.dataobj)).mean() < 1e-5
    volumes = pd.read_csv(tmp_path / "out" / "volumes.tsv", sep="\t")
    assert volumes["tissue"].tolist() == ["CSF", "GM", "WM"] and outcome.volumes_ml["GM"] > 300


def test_bundle_contains_no_participant_and_no_path(demo):
    for experiment in ("brain_age", "dementia", "tissue"):
        folder = demo.path(f"results/models/{experiment}")
        text = (folder / "configs" / "raw_scans.json").read_text()
        assert "sub-" not in text and "results/" not in text and str(demo.folder) not in text
        assert json.loads(text)["reference"]["calibration_scans"] > 0
