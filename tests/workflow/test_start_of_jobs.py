"""What Snakemake reads of the workflow inside a cluster job."""

import pytest


@pytest.mark.parametrize("rule", ["quality", "train", "ingest_cohort"])
def test_a_job_knows_the_checkpoint_only_where_it_is_the_checkpoint_itself(checkout, rule):
    """With a checkpoint, each job would build the graph of all scans before it starts."""
    done = checkout.run("snakemake", "--mode", "remote", "--list-rules", "--allowed-rules", rule)
    rules = done.stdout.split()
    assert rule in rules and ("ingest_cohort" in rules) == (rule == "ingest_cohort"), done.stdout


def test_the_main_process_knows_it(checkout):
    assert "ingest_cohort" in checkout.run("snakemake", "--list-rules").stdout.split()
