"""Pretraining in the workflow: trained, never applied, the start of another experiment, and a section of the report."""

import pandas as pd
import pytest
import yaml
from checkouts import copy_checkout
from neurocohort.files import read_json
from safetensors.torch import load_file

SMALL = {"name": "sfcn", "channels": [2, 2, 2, 2], "soft_bins": False}
SHORT = {"epochs": 2, "batch_size": 4, "retrain": 0}
STUDY = {
    "study": "pretrained",
    "demo_data": True,
    "device": "cpu",
    "cohorts": {"ixi": {"source": "ixi", "base_url": "resources/synthetic/ixi"}},
    "synthetic": {"ixi": {"participants": 10, "spacing_mm": 5.0}},
    "preprocessing": {"spacing_mm": 6.0, "shape": [32, 40, 32]},
    "quality": {"min_template_dice": 0, "min_mutual_information": 0},
    "split": {"validation": 0.3, "held_out": 0.3},
    "experiments": {
        "scans": {"task": "pretraining", "cohorts": ["ixi"], "network": SMALL, "training": SHORT},
        "age": {
            "task": "regression",
            "target": "age",
            "cohorts": ["ixi"],
            "transfer": {"weights": "scans"},
            "network": SMALL,
            "training": SHORT,
        },
    },
    "evaluation": {"resamples": 100},
    "saliency": {"method": "none"},
}


def test_dry_run_trains_pretrainings_and_never_applies_them(repository, tmp_path):
    checkout = copy_checkout(repository, tmp_path)
    jobs = checkout.would_run("--configfile", "tests/studies/pretraining.yaml", "--", "everything")
    # Two pretrainings; age from the first with 10, 20 and all participants, the same from random weights; age from the second.
    trained = [jobs[rule] for rule in ("select_training", "train")]
    applied = [jobs[rule] for rule in ("select", "predict", "baselines", "metrics", "ensemble")]
    assert (trained, applied) == ([9, 9], [7] * 5)
    assert [jobs[rule] for rule in ("learning_curve", "bundle", "saliency", "report")] == [1, 2, 2, 1]


@pytest.mark.slow
def test_an_experiment_starts_from_a_pretraining_and_the_report_shows_both(checkout):
    path = checkout.path("config/pretrained.yaml")
    path.write_text(yaml.safe_dump(STUDY, sort_keys=False))
    checkout.snakemake("--configfile", str(path), "--quiet", "rules")
    folder = checkout.path("results/experiments")
    run = read_json(folder / "scans/seed-1/run.json")
    split = pd.read_csv(checkout.path("results/ixi/split.tsv"), sep="\t")["part"].value_counts()
    assert run["pretraining"]["training_participants"] <= split["train"]
    assert run["pretraining"]["validation_participants"] <= split["validation"]
    assert not {path.name for path in (folder / "scans/seed-1").iterdir()} & {"predictions.tsv", "features.npz"}
    assert set(load_file(folder / "scans/seed-1/model.safetensors")) == {
        name for name in load_file(folder / "age/seed-1/model.safetensors") if not name.startswith("classifier")
    }
    assert "24 of 26 tensors taken" in checkout.path("logs/train/age/seed-1.log").read_text()
    page = checkout.path("results/report/index.html").read_text()
    assert 'id="pretraining"' in page and "It started from the weights of the pretraining scans" in page
    assert "pretrained without labels by masked autoencoding" in checkout.path("results/report/methods.md").read_text()
    assert checkout.would_run("--configfile", str(path)) == {}
