# neurocohort: from a cohort's archive to a held-out report. This file is the table of contents; config/README.md explains
# the configuration, and each file of workflow/rules one stage, in the order in which data pass them.
from snakemake.utils import min_version

min_version("9.27")


if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/phantom.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/ingest.smk"
include: "workflow/rules/preprocess.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/learning.smk"
include: "workflow/rules/prediction.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/report.smk"


onsuccess:
    print_notes()


localrules:
    all,
    ingest,
    preprocess,
    evaluate,


rule all:
    """The report with everything behind it, the models to take away, and each table that the README names."""
    default_target: True
    input:
        "results/report",
        expand("results/models/{experiment}", experiment=config["experiments"]),
        SALIENCY_MAPS,
        expand(
            "results/experiments/{experiment}/{table}.tsv",
            experiment=EXPERIMENTS,
            table=(*EVALUATION, "predictions", "members", "networks"),
        ),
        [
            f"results/experiments/{experiment}/label_maps"
            for experiment in EXPERIMENTS
            if segments(experiment)
        ],
        expand(NOTES, cohort=COHORTS),
        expand(
            "results/{cohort}/{table}",
            cohort=COHORTS,
            table=(
                "qc.tsv",
                "exclusions.tsv",
                "split.tsv",
                "preproc/dataset_description.json",
                "preproc/.bidsignore",
            ),
        ),


rule ingest:
    """All cohorts as raw BIDS, with their tables."""
    input:
        expand("data/{cohort}/scans.tsv", cohort=config["cohorts"]),


rule preprocess:
    """All scans on the study's grid, with quality numbers and exclusions."""
    input:
        expand("results/{cohort}/qc.tsv", cohort=config["cohorts"]),


rule evaluate:
    """The metrics of all experiments, without the report."""
    input:
        expand(
            "results/experiments/{experiment}/metrics.tsv",
            experiment=EXPERIMENTS,
        ),
