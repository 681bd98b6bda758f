"""A study of structures with names: a table of scans in MNI space with painted label maps and lesion masks, from the check to the
report."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.slow

LABELS, MASKS = {"hippocampus_left": 17, "hippocampus_right": 53}, {"lesion": "path_lesion"}
NAMES = [*LABELS, *MASKS]
PARTICIPANTS, WITHOUT_LESION = 16, 4  # every fourth has no lesion
SIDE_MM, LESION_MM = 16.0, 14.0  # radii


def painted(number):
    """A skull-stripped brain of 4 mm in MNI space with its label map: two sides, a lesion in most, and a value without a name."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1).slicer[::4, ::4, ::4]
    rng = np.random.default_rng(number)
    data = np.asarray(image.dataobj, dtype=np.float32) * 800
    place = nib.affines.apply_affine(image.affine, np.moveaxis(np.indices(data.shape), 0, -1))
    labels = np.zeros(data.shape, dtype=np.int16)
    centres = {17: (-32, -18, -8), 53: (32, -18, -8), 9: (0, -60, 20)}
    if number % WITHOUT_LESION:
        centres[1 if number % 2 else 4] = (rng.choice([-30, 30]), rng.uniform(10, 35), 30)
    for value, centre in centres.items():
        moved = np.array(centre) + rng.uniform(-4, 4, 3)
        radius = LESION_MM if value in (1, 4) else SIDE_MM
        labels[(np.linalg.norm(place - moved, axis=-1) < radius) & (data > 0)] = value
    data *= np.select([labels == 17, labels == 53, np.isin(labels, (1, 4))], [0.55, 0.55, 0.2], 1.0).astype(np.float32)
    noisy = np.clip(data + rng.normal(0, 15, data.shape), 1, None)
    return nib.Nifti1Image(np.where(data > 0, noisy, 0).astype("<f4"), image.affine), labels


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """The table of scans."""
    folder = tmp_path_factory.mktemp("structures")
    rows = []
    for number in range(PARTICIPANTS):
        image, labels = painted(number)
        nib.save(image, folder / f"t1_{number}.nii.gz")
        lesion = np.isin(labels, (1, 4))
        nib.save(nib.Nifti1Image(np.where(lesion, 0, labels), image.affine), folder / f"labels_{number}.nii.gz")
        nib.save(nib.Nifti1Image(lesion.astype(np.uint8), image.affine), folder / f"lesion_{number}.nii.gz")
        rows.append([f"P{number:02d}", *(f"{name}_{number}.nii.gz" for name in ("t1", "labels", "lesion"))])
    pd.DataFrame(rows, columns=["participant_id", "path", "path_dseg", "path_lesion"]).to_csv(
        folder / "scans.csv", index=False
    )
    return folder / "scans.csv"


def study_of(table):
    cohort = {"source": "table", "path": str(table), "mni_space": True, "skull_stripped": True, "labels": LABELS}
    cohort["masks"] = MASKS
    experiment = {
        "task": "segmentation",
        "target": "dseg",
        "cohorts": ["clinic"],
        "network": {"name": "unet", "channels": [8, 16]},
        "lesions": ["lesion"],
        "training": {"epochs": 30, "batch_size": 2, "learning_rate": 0.01, "mirror_averaging": True},
    }
    return {
        "study": "structures",
        "device": "cpu",
        "cohorts": {"clinic": cohort},
        "preprocessing": {"spacing_mm": 6.0, "shape": [32, 40, 32]},
        "quality": {"min_template_dice": 0, "min_mutual_information": 0, "min_tissue_contrast": -1},
        "split": {"validation": 0.2, "held_out": 0.4},
        "experiments": {"structures": experiment},
        "evaluation": {"resamples": 100},
        "report": {"viewers": 1},
    }


@pytest.fixture(scope="module")
def done(checkout, cohort):
    """The checkout after the study has run."""
    path = checkout.path("config/structures.yaml")
    path.write_text(yaml.safe_dump(study_of(cohort), sort_keys=False))
    checkout.run("neurocohort", "check", str(path))
    checkout.snakemake("--configfile", str(path), "--quiet", "rules")
    return checkout


def table(checkout, name):
    return pd.read_csv(checkout.path(name), sep="\t", na_values="n/a")


def test_a_study_of_structures_runs_from_the_check_to_the_report(done):
    folder = "results/experiments/structures"
    metrics = table(done, f"{folder}/metrics.tsv")
    own = metrics[(metrics["model"] == "network") & (metrics["metric"] == "dice")].set_index("group")["value"]
    assert {name.removeprefix("tissue=") for name in own.index if name.startswith("tissue=")} == {*NAMES}
    assert own["tissue=hippocampus_left"] > 0.6 and own["tissue=hippocampus_right"] > 0.6
    assert {"atlas", "network"} == set(metrics["model"])
    details = table(done, f"{folder}/details.tsv").query("model == 'network'").set_index(["group", "metric"])["value"]
    assert details["tissue=lesion", "with_structure"] + details["tissue=lesion", "without_structure"] == 6
    assert details["tissue=hippocampus_left", "without_structure"] == 0
    assert {f"tissue={name}" for name in NAMES} == {
        group for group, metric in details.index if metric == "volume_bias_ml"
    }
    assert details["tissue=lesion", "lesion_sensitivity"] > 0.5
    assert details["tissue=lesion", "false_lesions"] >= 0
    notes = " ".join(table(done, "data/clinic/notes.tsv")["note"])
    assert f"{PARTICIPANTS // WITHOUT_LESION} of the {PARTICIPANTS} label maps don't have lesion" in notes
    assert "1 value(s) of the label maps belong to no structure and became background: 9" in notes


def test_the_names_are_in_every_file(done):
    names = ["Background", *NAMES]
    for folder in ("results/clinic/preproc", "results/experiments/structures/label_maps/clinic"):
        assert table(done, f"{folder}/dseg.tsv")["name"].tolist() == names
    run = json.loads(done.path("results/experiments/structures/seed-1/run.json").read_text())
    assert run["task"] == {"kind": "segmentation", "structures": [*NAMES], "loss_name": "dice_ce"}
    metadata = json.loads(done.path("results/models/structures/configs/metadata.json").read_text())
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert [*channels.values()] == ["background", *NAMES]
    page = done.path("results/report/index.html").read_text()
    assert "Structures found where the reference has none" in page
    assert "Single lesions, the connected parts of a label map: of lesion" in page
    assert "predicted background and hippocampus_left, hippocampus_right and lesion" in page
    card = done.path("results/models/structures/docs/README.md").read_text()
    assert "The network segments hippocampus_left, hippocampus_right and lesion" in card.replace("\\", "")
    viewers = [
        path for path in done.path("results/report/subjects").rglob("*.html") if 'class="colours"' in path.read_text()
    ]
    assert len(viewers) == 1


def test_the_model_segments_a_scan_of_its_own(done, cohort, tmp_path):
    scan = cohort.parent / "t1_1.nii.gz"
    options = ["--mni-space", "--skull-stripped", "--output", str(tmp_path / "out")]
    done.run("neurocohort", "predict", str(scan), "--model", str(done.path("results/models/structures")), *options)
    (labels,) = (tmp_path / "out").rglob("*_dseg.nii.gz")
    found = np.asarray(nib.load(labels).dataobj)
    reference = np.asarray(nib.load(cohort.parent / "labels_1.nii.gz").dataobj)
    assert found.shape == reference.shape and set(np.unique(found)) <= {0, 1, 2, 3}
    for label, value in ((1, 17), (2, 53)):
        assert (reference[found == label] == value).mean() > 0.5
