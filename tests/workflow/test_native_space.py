"""A study in native space: CT images of shapes in three orientations, from the check to label maps on each scan's own grid."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

sys.path.append(str(Path(__file__).resolve().parents[1] / "studies"))

import painted_organs

pytestmark = pytest.mark.slow

PARTICIPANTS = 9
STUDY = {
    "study": "chest",
    "demo_data": True,
    "device": "cpu",
    "preprocessing": {"space": "native", "window": [-1000, 400], "spacing_mm": 6.0, "shape": [48, 40, 40]},
    "evaluation": {"resamples": 100},
    "report": {"viewers": 1},
}
EXPERIMENT = {
    "task": "segmentation",
    "target": "dseg",
    "cohorts": ["lung"],
    "lesions": ["nodule"],
    "network": {"name": "unet", "channels": [8, 16, 32]},
    "training": {"epochs": 40, "batch_size": 1, "learning_rate": 0.02},
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """The cohort's folder, with voxels five times as large as in the worked study."""
    folder = tmp_path_factory.mktemp("organs") / "lung"
    painted_organs.write_cohort("lung", folder, PARTICIPANTS, seed=1, coarser=4.0)
    return folder


@pytest.fixture(scope="module")
def done(checkout, cohort):
    """The checkout after the study has run."""
    of_cohort = {"source": "bids", "path": str(cohort), "pattern": "*_ct.nii*", "split_file": str(cohort / "split.tsv")}
    study = {**STUDY, "cohorts": {"lung": of_cohort}, "experiments": {"lung": EXPERIMENT}}
    path = checkout.path("config/chest.yaml")
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    checkout.run("neurocohort", "check", str(path))
    checkout.snakemake("--configfile", str(path), "--quiet", "rules")
    return checkout


def table(checkout, name):
    return pd.read_csv(checkout.path(name), sep="\t", na_values="n/a")


def test_label_maps_lie_on_each_scans_own_grid_and_fit_the_truth_there(done, cohort):
    held_out = table(done, "results/experiments/lung/predictions.tsv").query("part == 'held-out'")
    orientations = set()
    for scan_id in held_out["scan_id"].unique():
        participant = scan_id.split("_")[0]
        truth = nib.load(cohort / participant / "anat" / f"{participant}_dseg.nii.gz")
        (path,) = done.path("results/experiments/lung/label_maps/lung").rglob(f"{scan_id}_space-orig_dseg.nii.gz")
        found = nib.load(path)
        assert found.shape == truth.shape
        np.testing.assert_allclose(found.affine, truth.affine, atol=1e-3)
        orientations.add("".join(nib.aff2axcodes(found.affine)))
        own, reference = np.asarray(found.dataobj), np.asarray(truth.dataobj)
        for label in (1, 2):
            both = np.count_nonzero((own == label) & (reference == label))
            assert 2 * both / (np.count_nonzero(own == label) + np.count_nonzero(reference == label)) > 0.85
    assert len(orientations) > 1


def test_nothing_of_a_brain_is_in_the_results(done):
    quality = table(done, "results/lung/qc.tsv")
    assert (quality["status"] == "ok").all() and quality["foreground_ml"].gt(1000).all()
    assert not {"mask_ml", "template_dice", "volume_brain_ml"} & set(quality.columns)
    names = {path.name.split("_", 1)[1] for path in done.path("results/lung/preproc").rglob("*.nii.gz")}
    assert all(name.startswith(("space-individual", "desc-foreground", "ses-")) for name in names)
    assert not any("MNI" in path.name for path in done.path("results").rglob("*"))
    page = done.path("results/report/index.html").read_text().lower()
    for word in ("the brain", "n4", "registered to", "mni152", "t1-weighted", "t1w volumes", "the template"):
        assert word not in page, word
    details = (
        table(done, "results/experiments/lung/details.tsv").query("model == 'network'").set_index(["group", "metric"])
    )
    assert details.loc[("tissue=nodule", "without_structure"), "value"] >= 1


def test_the_model_segments_a_scan_of_its_own_like_the_workflow(done, cohort, tmp_path):
    scan = cohort / "sub-lung02" / "anat" / "sub-lung02_ct.nii.gz"
    model = str(done.path("results/models/lung"))
    done.run("neurocohort", "predict", str(scan), "--model", model, "--output", str(tmp_path / "out"))
    (labels,) = (tmp_path / "out").rglob("*_dseg.nii.gz")
    found, truth = nib.load(labels), nib.load(str(scan).replace("_ct.", "_dseg."))
    assert found.shape == truth.shape
    assert (np.asarray(truth.dataobj)[np.asarray(found.dataobj) == 1] == 1).mean() > 0.8
    refused = done.run(
        "neurocohort",
        "predict",
        str(scan),
        "--model",
        model,
        "--mni-space",
        "--output",
        str(tmp_path / "no"),
        check=False,
    )
    assert refused.returncode and "native space" in refused.stderr + refused.stdout
