"""A cohort with added, touched and replaced files: only new content is computed."""

import os
import shutil
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from checkouts import Checkout, copy_checkout
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.synthetic.archives import write_ixi_archives

SCANS = int(os.environ.get("NEUROCOHORT_TEST_SCANS", "6"))
STUDY = "config/growing.yaml"
NETWORK = {"name": "sfcn", "channels": [4, 8]}

pytestmark = pytest.mark.slow


def preprocess(checkout: Checkout) -> str:
    return checkout.snakemake("--quiet", "rules", "--configfile", STUDY, "--", "preprocess")


def computed_since(checkout: Checkout, moment: float) -> set[str]:
    """Participants with a record written since ``moment`` (seconds since the epoch)."""
    records = checkout.path("results/clinic/preproc").rglob("*_qc.json")
    return {record.name.split("_")[0] for record in records if record.stat().st_mtime > moment}


def add(folder: Path, image: Path, participant: str) -> None:
    anat = folder / f"sub-{participant}" / "anat"
    anat.mkdir(parents=True)
    shutil.copy(image, anat / f"sub-{participant}_T1w.nii.gz")
    names = sorted(path.name for path in folder.glob("sub-*"))
    people = pd.DataFrame({"participant_id": names, "age": range(20, 20 + len(names))})
    people.to_csv(folder / "participants.tsv", sep="\t", index=False)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> list[Path]:
    """Images of synthetic participants, one more than the cohort has."""
    made = tmp_path_factory.mktemp("people")
    write_ixi_archives(made, participants=SCANS + 4, seed=11, spacing_mm=4.0)
    ingest_ixi([made / "IXI-T1.tar"], made / "IXI.xls", made / "raw")
    paths = pd.read_csv(made / "raw" / "scans.tsv", sep="\t")["path"]
    return [made / "raw" / path for path in paths][: SCANS + 1]


@pytest.fixture(scope="module")
def clinic(people, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clinic")
    for number, image in enumerate(people[:SCANS]):
        add(folder, image, f"P{number:03d}")
    return folder


@pytest.fixture(scope="module")
def grown(repository, clinic, tmp_path_factory) -> Checkout:
    """A study whose cohort has been preprocessed."""
    checkout = copy_checkout(repository, tmp_path_factory.mktemp("grown"))
    study = {
        "study": "growing",
        "preprocessing": {"spacing_mm": 4.0},
        "cohorts": {"clinic": {"source": "bids", "path": str(clinic)}},
        "experiments": {"age": {"task": "regression", "target": "age", "cohorts": ["clinic"], "network": NETWORK}},
    }
    checkout.path(STUDY).write_text(yaml.safe_dump(study))
    preprocess(checkout)
    assert len(computed_since(checkout, 0)) == SCANS
    return checkout


def test_a_touched_image_computes_nothing(grown, clinic):
    moment = time.time()
    for image in clinic.rglob("*.nii.gz"):
        image.touch()
    preprocess(grown)
    assert computed_since(grown, moment) == set()
    assert "preprocess_batch" not in grown.would_run("--configfile", STUDY, "--", "preprocess")


def test_one_scan_that_is_added_is_the_only_one_computed(grown, clinic, people):
    moment = time.time()
    add(clinic, people[SCANS], "P999")
    preprocess(grown)
    assert computed_since(grown, moment) == {"sub-P999"}


def test_one_image_that_is_replaced_is_the_only_one_computed(grown, clinic):
    moment = time.time()
    path = next(clinic.glob("sub-P003/anat/*.nii.gz"))
    image = nib.load(path)
    voxels = np.asanyarray(image.dataobj).copy()
    voxels[tuple(size // 2 for size in voxels.shape)] += 1
    nib.save(nib.Nifti1Image(voxels, image.affine, image.header), path)
    preprocess(grown)
    assert computed_since(grown, moment) == {"sub-P003"}
