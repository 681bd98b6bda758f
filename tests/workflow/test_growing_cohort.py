"""A cohort of 48 scans that grows, whose files are touched and replaced, and a run of it that is killed: only what is new is
computed."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from checkouts import Checkout, copy_checkout
from neurocohort.cohorts.ixi import ingest_ixi
from neurocohort.cohorts.phantom_archives import write_ixi_archives
from neurocohort.files import sha256_of

SCANS = 48
KILLS = int(os.environ.get("NEUROCOHORT_TEST_KILLS", "3"))
STUDY = "config/growing.yaml"
NETWORK = {"name": "sfcn", "channels": [4, 8]}

pytestmark = pytest.mark.slow


def preprocess(checkout: Checkout) -> str:
    return checkout.snakemake("--quiet", "rules", "--configfile", STUDY, "--", "preprocess")


def computed_since(checkout: Checkout, moment: float) -> set[str]:
    """The scans of which a record was written since ``moment``, in seconds since the epoch."""
    records = checkout.path("results/clinic/preproc").rglob("*_qc.json")
    return {record.name.removesuffix("_qc.json") for record in records if record.stat().st_mtime > moment}


def add(folder: Path, image: Path, participant: str) -> str:
    anat = folder / f"sub-{participant}" / "anat"
    anat.mkdir(parents=True)
    shutil.copy(image, anat / f"sub-{participant}_T1w.nii.gz")
    return f"sub-{participant}_T1w"


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> list[Path]:
    """Images of synthetic people, one more than the cohort has."""
    made = tmp_path_factory.mktemp("people")
    write_ixi_archives(made, participants=SCANS + 4, seed=11, spacing_mm=4.0)
    ingest_ixi([made / "IXI-T1.tar"], made / "IXI.xls", made / "raw")
    paths = pd.read_csv(made / "raw" / "scans.tsv", sep="\t")["path"]
    return [made / "raw" / path for path in paths][: SCANS + 1]


def cohort_of(people: list[Path], folder: Path) -> Path:
    for number, image in enumerate(people):
        add(folder, image, f"P{number:03d}")
    return folder


def study_of(repository: Path, folder: Path, clinic: Path) -> Checkout:
    checkout = copy_checkout(repository, folder)
    study = {
        "study": "growing",
        "preprocessing": {"spacing_mm": 4.0},
        "cohorts": {"clinic": {"source": "bids", "path": str(clinic)}},
        "experiments": {"age": {"task": "regression", "target": "age", "cohorts": ["clinic"], "network": NETWORK}},
    }
    checkout.path(STUDY).write_text(yaml.safe_dump(study))
    return checkout


@pytest.fixture(scope="module")
def clinic(people, tmp_path_factory) -> Path:
    return cohort_of(people[:SCANS], tmp_path_factory.mktemp("clinic"))


@pytest.fixture(scope="module")
def grown(repository, clinic, tmp_path_factory) -> Checkout:
    """A study whose cohort has been preprocessed."""
    checkout = study_of(repository, tmp_path_factory.mktemp("grown"), clinic)
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
    added = add(clinic, people[SCANS], "P999")
    preprocess(grown)
    assert {name.removesuffix("_T1w") for name in computed_since(grown, moment)} == {added.removesuffix("_T1w")}


def test_one_image_that_is_replaced_is_the_only_one_computed(grown, clinic):
    moment = time.time()
    path = next(clinic.glob("sub-P007/anat/*.nii.gz"))
    image = nib.load(path)
    voxels = np.asanyarray(image.dataobj).copy()
    voxels[tuple(size // 2 for size in voxels.shape)] += 1
    nib.save(nib.Nifti1Image(voxels, image.affine, image.header), path)
    preprocess(grown)
    assert {name.split("_")[0] for name in computed_since(grown, moment)} == {"sub-P007"}


def hashes(checkout: Checkout) -> dict[str, str]:
    """Of each result, but for the times that a record states."""
    files = [path for top in ("data", "results") for path in checkout.path(top).rglob("*") if path.is_file()]
    return {str(path.relative_to(checkout.folder)): sha256_of(path) for path in files}


def kill_while_it_preprocesses(checkout: Checkout, wait: float) -> None:
    """Begin a run, and ``wait`` seconds after its first scan, kill it and all its processes at once."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    moment = time.time()
    command = ["snakemake", "--cores", "2", "--quiet", "rules", "--configfile", STUDY, "--", "preprocess"]
    with open(checkout.path("said"), "w") as said:
        main = subprocess.Popen(command, cwd=checkout.folder, env=environment, stdout=said, stderr=said)
    while main.poll() is None and not computed_since(checkout, moment):
        time.sleep(0.05)
    time.sleep(wait)
    tree = [psutil.Process(main.pid), *psutil.Process(main.pid).children(recursive=True)] if main.poll() is None else []
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    main.wait()


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_files(grown, repository, clinic, tmp_path):
    study = study_of(repository, tmp_path, clinic)
    waits = random.Random(1)
    for _ in range(KILLS):
        kill_while_it_preprocesses(study, waits.uniform(0, 2.5))
    killed = len(computed_since(study, 0))
    preprocess(study)
    assert hashes(study) == hashes(grown)
    assert killed < SCANS + 1, "the last kill came after the end"
