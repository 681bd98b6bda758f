"""Another workflow that takes this one in as a module, as `snakedeploy deploy-workflow` writes it."""

import pytest
import yaml
from checkouts import Checkout

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
        "ls {{input}} > {{output}}"
"""


# A scheduler that runs a job at once, and notes its rule.
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


@pytest.mark.slow
def test_the_smallest_study_runs_to_its_report_inside_another_workflow(importer):
    importer.snakemake("--quiet", "rules")
    assert importer.path("results/report/index.html").is_file() and importer.path("mine.txt").is_file()
    assert importer.would_run() == {}


def test_a_fault_of_the_modules_configuration_names_the_key(importer):
    file = importer.path("config/config.yaml")
    file.write_text(file.read_text().replace("demo_data: true", "demo_dta: true"))
    printed = importer.snakemake("--dry-run", check=False)
    assert "did you mean `demo_data`?" in printed
