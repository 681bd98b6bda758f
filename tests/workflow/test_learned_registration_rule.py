"""`registration: learned` in the workflow: a network is trained, scans are registered with it, and nothing is left to do."""

import pandas as pd
import pytest
import yaml
from neurocohort.files import read_json

pytestmark = pytest.mark.slow

SMALL = {"name": "sfcn", "channels": [2, 2, 2, 2], "soft_bins": False}
STUDY = {
    "study": "learned",
    "demo_data": True,
    "device": "cpu",
    "cohorts": {"ixi": {"source": "ixi", "base_url": "resources/synthetic/ixi"}},
    "synthetic": {"ixi": {"participants": 8, "spacing_mm": 5.0}},
    "preprocessing": {
        "spacing_mm": 6.0,
        "shape": [32, 40, 32],
        "registration": "learned",
        "learned": {"steps": 2, "refinement_steps": 1},
    },
    "quality": {"min_template_dice": 0, "min_mutual_information": 0},
    "experiments": {"brain_age": {"task": "regression", "target": "age", "cohorts": ["ixi"], "network": SMALL}},
}
TARGET = "results/ixi/qc.tsv"


def test_scans_are_registered_with_the_trained_network_and_a_second_run_has_nothing_to_do(checkout):
    path = checkout.path("config/learned.yaml")
    path.write_text(yaml.safe_dump(STUDY, sort_keys=False))
    checkout.snakemake(TARGET, "--configfile", str(path), "--quiet", "rules")
    losses = pd.read_csv(checkout.path("results/registration/losses.tsv"), sep="\t")
    assert losses["step"].tolist() == [2] and checkout.path("results/registration/network.safetensors").is_file()
    table = pd.read_csv(checkout.path(TARGET), sep="\t", na_values="n/a")
    assert len(table) >= 8 and table["deformed_dice"].notna().mean() > 0.7
    records = [read_json(record) for record in checkout.path("results/ixi/preproc").rglob("*_qc.json")]
    used = [record for record in records if record["status"] == "ok"]
    assert used and all({"displacement", "inverse_displacement"} <= set(record["outputs"]) for record in used)
    assert checkout.would_run("--configfile", str(path), "--", TARGET) == {}
