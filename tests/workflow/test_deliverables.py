"""The table "What you get" of the README lists what `all` produces, and deleted files are rebuilt."""

import re

import pytest
from neurocohort.study.configuration import read_checked

PATH = re.compile(r"`([^`]+)`")


def promised(readme: str) -> list[str]:
    """Paths of the README's table, with placeholders. A name without a folder is in the folder of the path before it."""
    table = readme.split("## What you get")[1].split("\n## ")[0].split("\n\n")[1]
    paths: list[str] = []
    for line in table.splitlines()[2:]:
        for name in PATH.findall(line.split("|")[1]):
            paths.append(name if name.startswith(("results/", "data/")) else f"{paths[-1].rsplit('/', 1)[0]}/{name}")
    return paths


def asked_for(study) -> set[str]:
    """Inputs of the rule `all`."""
    said = study.snakemake("--dry-run", "--forcerun", "all")
    (inputs,) = re.findall(r"^(?:local)?rule all:\n    input: (.+)$", said, re.MULTILINE)
    return set(inputs.split(", "))


def test_the_table_of_deliverables_lists_what_all_makes(demo, repository):
    config = read_checked([repository / "config" / "config.yaml"])
    inputs = asked_for(demo)
    paths = promised((repository / "README.md").read_text(encoding="utf-8"))
    assert len(paths) > 15
    for path in paths:
        for cohort in config["cohorts"]:
            for name, experiment in config["experiments"].items():
                segmentation = experiment["task"] == "segmentation"
                of_values = any(name in path for name in ("saliency", "applied"))
                of_some = (
                    "learning_curve",
                    "longitudinal",
                    "adaptation",
                    "few_labels",
                    "generation",
                    "counterfactual",
                    "translat",
                    "scores",
                    "regions",
                    "mlflow",
                )  # by some studies only
                if any(one in path for one in of_some):
                    continue
                if (of_values and segmentation) or ("label_maps" in path and not segmentation):
                    continue
                made = path.replace("<experiment>", name).replace("<cohort>", cohort).rstrip("/").split("/<")[0]
                wanted = any(
                    made == found or found.startswith(f"{made}/") or made.startswith(f"{found}/") for found in inputs
                )
                assert wanted, f"{made} is no output that `all` asks for"


@pytest.mark.parametrize(
    ("deleted", "rule"),
    [
        ("results/experiments/brain_age/metrics.tsv", "metrics"),
        ("results/experiments/brain_age/networks.tsv", "ensemble"),
        ("results/oasis1/exclusions.tsv", "quality"),
        ("results/oasis1/notes.tsv", "quality"),
        ("data/oasis1/notes.tsv", "ingest_cohort"),
        ("results/oasis1/preproc/dataset_description.json", "quality"),
    ],
)
def test_a_deleted_table_is_rebuilt(demo, deleted, rule):
    path = demo.path(deleted)
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    try:
        assert demo.would_run().get(rule), f"{deleted} stays missing"
    finally:
        aside.rename(path)


@pytest.mark.parametrize("deleted", ["results/models/brain_age/LICENSE", "results/report/index.html"])
def test_a_folder_without_one_of_its_files_is_rebuilt(demo, deleted):
    """Snakemake alone considers any existing output directory complete."""
    path = demo.path(deleted)
    before = path.read_bytes()
    path.unlink()
    said = demo.snakemake(deleted.rsplit("/", 1)[0], "--quiet", "rules")
    assert f"lacks {path.name}" in said
    assert path.is_file() and (path.suffix == ".html" or path.read_bytes() == before)
