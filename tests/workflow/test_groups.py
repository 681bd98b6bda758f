"""Groups of jobs beside a checkpoint: every job is submitted once, in groups of the size asked for. Snakemake by itself submits
some twice, or without end, when a run begins with the checkpoint done, or when another checkpoint ends while groups run.

The jobs do nothing but note that they ran.
"""

import collections
import re

import pytest
from checkouts import Checkout
from shell_scheduler import shell_scheduler

ITEMS = 5
SIZE = 2
SNAKEFILE = """
import sys
from pathlib import Path

sys.path.insert(0, {workflow!r})
os.environ["NEUROCOHORT_COMMAND"] = "snakemake"
from neurocohort_run import watch

watch(workflow)


rule all:
    input:
        expand("{{cohort}}/done", cohort=["early", "late"]),


checkpoint ingest:
    output:
        "{{cohort}}/items",
    params:
        wait=lambda w: 4 if w.cohort == "late" else 0,
    shell:
        "sleep {{params.wait}}; seq {items} > {{output}}"


rule each:
    input:
        "{{cohort}}/items",
    output:
        "{{cohort}}/{{item}}.made",
    group:
        "several"
    shell:
        "echo {{output}} >> ran; touch {{output}}"


rule gather:
    input:
        lambda w: [
            f"{{w.cohort}}/{{item}}.made"
            for item in Path(checkpoints.ingest.get(**w).output[0]).read_text().split()
        ],
    output:
        "{{cohort}}/done",
    shell:
        "touch {{output}}"
"""


@pytest.fixture
def study(repository, tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(workflow=str(repository / "workflow"), items=ITEMS))
    return Checkout(tmp_path)


def run(study, *targets):
    options = [*shell_scheduler(study.folder), "--group-components", f"several={SIZE}"]
    done = study.run("snakemake", *options, "--", *targets)
    return done.stdout + done.stderr


@pytest.mark.parametrize("begun", [[], ["early/items"], ["early/items", "late/items"]], ids=["fresh", "half", "whole"])
def test_every_job_is_submitted_once_in_groups_of_the_size_asked_for(study, begun):
    if begun:
        run(study, *begun)
    said = run(study, "all")
    ran = collections.Counter(study.path("ran").read_text().split())
    assert len(ran) == 2 * ITEMS and set(ran.values()) == {1}, ran
    submitted = re.findall(r"Submitted group job (\S+)", said)
    least = -(-2 * ITEMS // SIZE)
    assert len(set(submitted)) == len(submitted) and least <= len(submitted) <= least + 2, submitted
