"""Snakemake inside a cluster job only examines its own job, even if the job depends on many scans."""

import re

import pytest


@pytest.mark.parametrize(
    "job",
    [
        "ingest_cohort:cohort=ixi",
        "preprocess_batch:cohort=ixi,batch=000",
        "quality:cohort=ixi",
        "pack:cohort=ixi,pack=development",
        "train:experiment=tissue,run=seed-1",
    ],
)
def test_a_job_of_a_cluster_builds_the_graph_of_itself_alone(demo, job):
    rule = job.partition(":")[0]
    inner = ("--mode", "remote", "--target-jobs", job, "--allowed-rules", rule, "--force", "--dag")
    found = re.findall(r'label = "(\w+)', demo.snakemake(*inner))
    if rule == "ingest_cohort":  # a checkpoint: Snakemake also examines its inputs, which aren't scans
        found = [name for name in found if name not in ("download", "synthetic_ixi")]
    assert found == [rule]
