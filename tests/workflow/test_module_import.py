"""The workflow as a module of another workflow: from a local folder, and from a release at a remote address."""

import subprocess
from pathlib import Path

import pytest
import yaml
from checkouts import Checkout, copy_checkout

SNAKEFILE = """
configfile: "config/config.yaml"

module neurocohort:
    snakefile: {snakefile!r}
    config: config["brains"]

use rule * from neurocohort as nc_*

rule mine:
    default_target: True
    localrule: True
    input:
        rules.nc_all.input,
    output:
        "mine.txt",
    shell:
        "env | grep NEUROCOHORT_MESSAGES > {{output}} || echo no prefix > {{output}}"
"""
# What `snakedeploy deploy-workflow https://github.com/owner/neurocohort . --tag v9.9.9` writes.
DEPLOYED = """
configfile: "config/config.yaml"

module neurocohort:
    snakefile:
        github("owner/neurocohort", path="workflow/Snakefile", tag="v9.9.9")
    config:
        config

use rule * from neurocohort
"""


# A scheduler that runs each job at once and writes down its rule.
SUBMIT = r"""
grep -o '"rule": "[^"]*"' "$1" | cut -d '"' -f 4 >> submitted.txt
bash "$1" > /dev/null 2>&1
echo 1
"""


@pytest.fixture
def importer(repository, tmp_path) -> Checkout:
    study = yaml.safe_load((repository / "tests" / "studies" / "smallest.yaml").read_text(encoding="utf-8"))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(yaml.safe_dump({"brains": study, "other": 1}))
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(snakefile=str(repository / "workflow" / "Snakefile")))
    return Checkout(tmp_path)


@pytest.mark.slow
def test_rules_of_the_module_are_renamed_and_downloads_stay_local(importer):
    jobs = importer.would_run()
    assert {"nc_synthetic_ixi", "nc_download", "nc_train", "nc_report", "mine"} <= set(jobs)
    submit = importer.path("submit.sh")
    submit.write_text(SUBMIT)
    cluster = ["--executor", "cluster-generic", "--jobs", "2", "--cluster-generic-submit-cmd", f"bash {submit}"]
    importer.run("snakemake", *cluster, "--quiet", "rules", "--", "nc_ingest")
    submitted = importer.path("submitted.txt").read_text().split()
    assert sorted(submitted) == ["nc_ingest_cohort"] * 2 + ["nc_synthetic_ixi", "nc_synthetic_oasis1"]


@pytest.fixture
def release(repository, tmp_path, monkeypatch) -> Path:
    """A tagged copy of the repository, which git uses instead of GitHub."""
    folder = tmp_path / "github" / "owner" / "neurocohort"
    folder.mkdir(parents=True)
    copy_checkout(repository, folder)
    author = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        [*author, "commit", "--quiet", "-m", "x"],
        ["tag", "v9.9.9"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{tmp_path.as_uri()}/github/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.mark.slow
def test_a_study_runs_to_its_report_inside_another_workflow(importer):
    """Of the smallest study, one cohort and its segmentation: the other tests of this file have all rules."""
    file = importer.path("config/config.yaml")
    whole = yaml.safe_load(file.read_text())
    study = whole["brains"]
    for part in (study["cohorts"], study["synthetic"]):
        del part["ixi"]
    study["experiments"] = {"tissue": study["experiments"]["tissue"]}
    file.write_text(yaml.safe_dump(whole))
    importer.snakemake("--quiet", "rules")
    assert importer.path("results/report/index.html").is_file()
    assert importer.path("mine.txt").read_text() == "no prefix\n", "the importer's own rules are as it wrote them"
    assert importer.would_run() == {}


def test_a_fault_of_the_modules_configuration_names_the_key(importer):
    file = importer.path("config/config.yaml")
    file.write_text(file.read_text().replace("demo_data: true", "demo_dta: true"))
    printed = importer.snakemake("--dry-run", check=False)
    assert "did you mean `demo_data`?" in printed


@pytest.mark.slow
def test_a_release_can_be_deployed_from_its_address(release, tmp_path):
    deployed = Checkout(tmp_path / "study")
    deployed.path("config").mkdir(parents=True)
    deployed.path("config/config.yaml").write_text((release / "tests/studies/smallest.yaml").read_text())
    deployed.path("Snakefile").write_text(DEPLOYED)
    assert {"synthetic_ixi", "download", "train", "report", "all"} <= set(deployed.would_run())
