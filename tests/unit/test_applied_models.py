"""`models`: a trained model of another study is applied to the study's cohorts, and nothing is trained."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from neurocohort.apply.bundles import open_bundle
from neurocohort.apply.cohorts import CohortScans, check_template, metrics_of, notes_of, predictions_of, targets_of
from neurocohort.apply.one_scan import apply_networks
from neurocohort.errors import InputError
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.files import read_json, write_json
from neurocohort.imaging.derivatives import channel_output, preproc_name, qc_path
from neurocohort.imaging.scan_record import OutputFile, ScanRecord, write_record
from neurocohort.imaging.template import make_template
from neurocohort.learning.tasks import Classification
from neurocohort.study.configuration import check_configuration
from raw_scan_bundle import SHAPE, SPACING_MM, TYPICAL, write_raw_scan_bundle, write_template

ROOT = Path(__file__).resolve().parents[2]
SCAN_IDS = [f"sub-{number}_ses-1" for number in range(1, 6)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return write_raw_scan_bundle(folder, write_template(folder))


@pytest.fixture(scope="module")
def opened(bundle):
    return open_bundle(bundle, torch.device("cpu"))


@pytest.fixture
def table(tmp_path):
    (tmp_path / "scans.csv").write_text("participant_id,path,age\na,a.nii.gz,60\nb,b.nii.gz,61\nc,c.nii.gz,62\n")
    for name in "abc":
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), tmp_path / f"{name}.nii.gz")
    return tmp_path / "scans.csv"


@pytest.fixture
def cohort(tmp_path):
    """Five preprocessed scans: one is excluded, and one has no age."""
    for number, scan_id in enumerate(SCAN_IDS):
        path = qc_path(tmp_path, scan_id).with_name(preproc_name(scan_id, "T1w"))
        path.parent.mkdir(parents=True)
        voxels = np.random.default_rng(number).random(SHAPE, dtype=np.float32)
        nib.save(nib.Nifti1Image(voxels, np.diag([SPACING_MM] * 3 + [1])), path)
        output = OutputFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
        record = ScanRecord(scan_id, metrics=TYPICAL, outputs={channel_output("T1w"): output})
        write_record(qc_path(tmp_path, scan_id), record)
    people = [scan_id.partition("_")[0] for scan_id in SCAN_IDS]
    scans = pd.DataFrame(
        {"scan_id": SCAN_IDS, "participant_id": people, "site": "Guys", "sex": "F", "path": "x.nii.gz"}
    )
    scans["age"] = [30.0, 40.0, 50.0, 99.0, float("nan")]
    quality = pd.DataFrame({"scan_id": SCAN_IDS, "status": ["excluded", *["ok"] * 4]})
    return CohortScans(scans, quality.assign(stage="registration", reason="no match"), tmp_path)


def study(table, **models):
    return {"study": "own", "cohorts": {"clinic": {"source": "table", "path": str(table)}}, "models": models}


def fault(config) -> str:
    with pytest.raises(InputError) as error:
        check_configuration(config, source="study.yaml")
    return str(error.value)


def test_a_path_is_enough_and_the_preprocessing_is_the_models(bundle, table):
    config = check_configuration(study(table, toy=str(bundle)), source="study.yaml")
    assert config["experiments"] == {}
    assert config["models"] == {"toy": {"bundle": str(bundle), "cohorts": [], "target": ""}}
    assert (config["preprocessing"]["spacing_mm"], config["preprocessing"]["shape"]) == (SPACING_MM, list(SHAPE))


def test_a_setting_that_differs_from_the_models_is_named(bundle, table):
    config = study(table, toy=str(bundle)) | {"preprocessing": {"intensity": "zscore", "batch_size": 5}}
    said = fault(config)
    assert "`preprocessing.intensity` is zscore" in said and "`models.toy` had percentile" in said


def test_a_study_without_models_still_needs_experiments(table):
    config = study(table)
    del config["models"]
    assert "experiments" in fault(config)


def test_a_bundle_that_cannot_be_applied_is_named(bundle, table, tmp_path):
    assert "has no configs/metadata.json" in fault(study(table, toy=str(tmp_path / "absent")))
    old = shutil.copytree(bundle, tmp_path / "old")
    (old / "configs" / "raw_scans.json").unlink()
    assert "made by an earlier version" in fault(study(table, toy=str(old)))
    other = shutil.copytree(bundle, tmp_path / "other")
    content = read_json(other / "configs" / "raw_scans.json")
    write_json(other / "configs" / "raw_scans.json", content | {"task": "segmentation"})
    assert "a segmentation; expected" in fault(study(table, toy=str(other)))
    settings = content["preprocessing"] | {"intensity": "zscore"}
    write_json(other / "configs" / "raw_scans.json", content | {"preprocessing": settings})
    assert "`models.toy` and `models.other`" in fault(study(table, toy=str(bundle), other=str(other)))


def test_a_cohort_that_does_not_exist_or_lacks_a_modality_is_named(bundle, table, tmp_path):
    assert "names `clinik`" in fault(study(table, toy={"bundle": str(bundle), "cohorts": ["clinik"]}))
    two = shutil.copytree(bundle, tmp_path / "two")
    content = read_json(two / "configs" / "raw_scans.json")
    next(iter(content["members"].values()))["settings"]["modalities"] = ["T1w", "T2w"]
    write_json(two / "configs" / "raw_scans.json", content)
    assert "`models.toy` needs T2w" in fault(study(table, toy=str(two)))


def test_scans_get_predictions_flags_and_metrics(opened, cohort):
    rows = predictions_of(opened, {"clinic": cohort}, "age").set_index("scan_id")
    assert list(rows["status"]) == ["excluded", *["predicted"] * 4]
    assert rows["reason"].iloc[0] == "registration: no match" and pd.isna(rows["prediction"].iloc[0])
    voxels = np.random.default_rng(1).random(SHAPE, dtype=np.float32)
    alone = apply_networks(opened, np.rint(voxels * 255).astype(np.uint8)[None])
    assert rows.loc[SCAN_IDS[1], "prediction"] == alone.prediction["prediction"]
    assert "age" in rows.loc[SCAN_IDS[3], "flags"] and "99 years" in rows.loc[SCAN_IDS[3], "flag_sentences"]
    table = rows.reset_index()
    metrics = metrics_of(opened, table, Bootstrap(200, 1)).set_index(["group", "metric"])
    own = rows.iloc[1:4]
    assert metrics.loc[("all", "mae"), "value"] == pytest.approx(
        (own["prediction"] - own["target"]).abs().mean(), abs=1e-5
    )
    assert metrics.loc[("all", "mae"), "n"] == 3
    note, flagged = notes_of(opened, table, "age")
    assert "differ from the training scans" in flagged.note
    assert note.note.startswith("clinic: 1 of 5 scans have no value of `age`")


def test_a_cohort_without_the_target_only_gets_predictions(opened, cohort):
    rows = predictions_of(opened, {"clinic": cohort}, "fluid_age")
    assert rows["target"].isna().all() and (rows["status"] == "predicted").sum() == 4
    assert metrics_of(opened, rows, Bootstrap(200, 1)).empty


def test_values_become_the_models_classes(tmp_path):
    folder = write_raw_scan_bundle(tmp_path, write_template(tmp_path), Classification(positive_weight=1.0))
    classifier = open_bundle(folder, torch.device("cpu"))
    values = targets_of(classifier, "clinic", pd.DataFrame({"dementia": [0.0, 1.0, 2.0, float("nan")]}), "dementia")
    assert list(values[:2]) == [0, 1] and values[2:].isna().all()


def test_another_template_is_refused(opened, tmp_path):
    make_template(tmp_path / "template.npz", SPACING_MM, (42, 48, 40))
    with pytest.raises(InputError, match="isn't the template of"):
        check_template(opened, tmp_path / "template.npz")


@pytest.mark.slow
def test_the_dry_run_trains_nothing(bundle, table, tmp_path):
    (tmp_path / "study.yaml").write_text(json.dumps(study(table, toy=str(bundle)) | {"device": "cpu"}))
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "workflow" / "Snakefile", "--configfile", "study.yaml"]
    run = subprocess.run([*command, "--dry-run", "--cores", "1"], cwd=tmp_path, capture_output=True, text=True)
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    jobs = {line.split()[0] for line in said.split("Job stats:")[1].split("total")[0].splitlines()[3:] if line.split()}
    assert jobs == {"all", "apply_model", "ingest_cohort", "quality", "report", "template"}
