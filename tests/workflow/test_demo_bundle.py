"""The bundles of the demo in a separate environment with only MONAI, torch and nibabel."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow  # it installs an environment
PACKAGES = ("monai", "torch", "nibabel")
INSTALL_TIMEOUT_S = 900
TEMPLATE_SPACE = "MNI152NLin2009aSym"


def table(demo, name):
    return pd.read_csv(demo.path(name), sep="\t")


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> Path:
    """Interpreter of a new environment with these three packages and their dependencies."""
    folder = tmp_path_factory.mktemp("bare")
    python = folder / "bin" / "python"
    # Without a local label such as +cpu, so that pip takes the same build if it finds it, and else the published one.
    wanted = [f"{name}=={version(name).split('+')[0]}" for name in PACKAGES]
    commands = (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted],
    )
    refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            refuse(f"no environment for the bundles: {' '.join(command)} took more than {INSTALL_TIMEOUT_S} s")
        if done.returncode:
            refuse(f"no environment for the bundles: {(done.stderr.strip() or 'pip failed').splitlines()[-1]}")
    return python


def run_bundle(python: Path, bundle: Path, scans: Path, output: Path) -> pd.DataFrame:
    """Run the bundle in its folder, as its card describes for environments without fire."""
    given = f"config_file='configs/inference.json', dataset_dir={str(scans)!r}, output_dir={str(output)!r}"
    command = [
        str(python),
        "-I",
        "-B",
        "-c",
        f"from monai.bundle import run; run({given}, device=\"$torch.device('cpu')\")",
    ]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(output / "predictions.tsv", sep="\t")


def test_the_environment_has_nothing_of_the_pipelines(bare_python):
    code = "import importlib.util as u; print([n for n in ('neurocohort', 'safetensors', 'pandas', 'fire') if u.find_spec(n)])"
    done = subprocess.run([str(bare_python), "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("experiment", ["brain_age", "dementia"])
def test_bundle_predicts_as_the_pipeline_did(demo, bare_python, tmp_path, experiment):
    expected = table(demo, f"results/experiments/{experiment}/predictions.tsv")
    for cohort, rows in expected.groupby("cohort"):
        scans = demo.path(f"results/{cohort}/preproc")
        found = run_bundle(bare_python, demo.path(f"results/models/{experiment}"), scans, tmp_path / cohort)
        found = found.set_index("scan_id").loc[rows["scan_id"], "prediction"]
        np.testing.assert_allclose(found, rows["prediction"], rtol=1e-4, atol=1e-5)


def test_segmentation_bundle_writes_the_pipelines_label_maps(demo, bare_python, tmp_path):
    found = run_bundle(bare_python, demo.path("results/models/tissue"), demo.path("results/oasis1/preproc"), tmp_path)
    rows = table(demo, "results/experiments/tissue/predictions.tsv")
    for scan_id, cohort in sorted(set(zip(rows["scan_id"], rows["cohort"], strict=True))):
        name = f"{scan_id}_space-{TEMPLATE_SPACE}_dseg.nii.gz"
        own = nib.load(demo.path(f"results/experiments/tissue/label_maps/{cohort}") / name)
        image = nib.load(tmp_path / name)
        np.testing.assert_allclose(image.affine, own.affine)
        assert (np.asarray(image.dataobj) != np.asarray(own.dataobj)).mean() < 1e-5
    both = found.merge(rows, on=["scan_id", "tissue"], suffixes=("", "_own"))
    assert len(both) == len(rows)
    np.testing.assert_allclose(both["volume_ml"], both["volume_ml_own"], atol=0.1)


def test_saliency_of_each_network_is_there_with_that_of_random_weights(demo):
    for experiment in ("brain_age", "dementia"):
        with np.load(demo.path(f"results/experiments/{experiment}/saliency/saliency.npz")) as maps:
            assert set(maps) == {"network", "random", "mean_image", "mask", "affine"}
            assert maps["network"].max() == maps["random"].max() == 1
            assert not maps["network"][maps["mask"] == 0].any()
