"""A cluster whose jobs take no time, for workflow_scale.py: what is left is what Snakemake itself costs.

The tables come from the real subcommands; every other output is a small file. Snakemake submits, checks, finishes and
records the jobs as it does on a cluster, so that its metadata are those of a real run.
"""

import json
import os
import subprocess
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

REAL_RULES = ("ingest_cohort", "quality", "split", "select_training", "select")
BENCHMARK = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n" + "\t".join(["0"] * 10)
KEY = "f" * 32  # of each scan's record
FILES_OF_A_SCAN = (
    "space-MNI152NLin2009aSym_desc-preproc_T1w.nii.gz",
    "desc-brain_mask.nii.gz",
    "from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.txt",
    "from-MNI152NLin2009aSym_to-T1w_mode-image_xfm.txt",
    "mosaic.webp",
)

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    init_seconds_before_status_checks=0,
)


class Executor(RemoteExecutor):
    def run_job(self, job) -> None:
        self.write_jobscript(job, self.get_jobscript(job))
        for one in job.jobs if job.is_group() else (job,):
            make_outputs(one)
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=str(job.jobid)))

    async def check_active_jobs(self, active_jobs):
        for one in active_jobs:
            self.report_job_success(one)
        return
        yield  # none is still active

    def cancel_jobs(self, active_jobs) -> None:
        pass


def make_outputs(job) -> None:
    """What the job's command and its inner Snakemake would leave."""
    for path in (*job.output, *job.log, job.benchmark):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    if job.rule.name in REAL_RULES:
        package = {"PYTHONPATH": str(Path("workflow").resolve())}
        done = subprocess.run(job.shellcmd, shell=True, executable="/bin/bash", env=os.environ | package)
        if done.returncode:
            raise RuntimeError(f"{job.rule.name} failed:\n" + "".join(Path(path).read_text() for path in job.log))
    elif job.rule.name == "preprocess_batch":
        make_batch(Path(job.output[0]), job.wildcards)
    else:
        for path in job.output:
            file = Path(path) / "index.html" if path.is_directory else Path(path)
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{path}\n", encoding="utf-8")
    Path(job.benchmark).write_text(BENCHMARK + "\n", encoding="utf-8")
    for path in job.log:
        Path(path).touch()


def make_batch(output: Path, wildcards) -> None:
    """The scans of a batch, and its table."""
    # The package is found once the Snakefile has been read.
    from neurocohort.imaging.derivatives import qc_path
    from neurocohort.sources.scan_batches import read_batches

    scans = read_batches(f"data/{wildcards.cohort}/batches.tsv")[wildcards.batch]
    for scan_id in scans:
        make_scan(qc_path(Path("results", wildcards.cohort, "preproc"), scan_id), scan_id)
    lines = ["scan_id\tstatus\tkey_id", *(f"{scan_id}\tok\t{KEY}" for scan_id in scans)]
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_scan(record: Path, scan_id: str) -> None:
    """A scan's folder as preprocessing leaves it; its images are empty."""
    record.parent.mkdir(parents=True, exist_ok=True)
    for name in FILES_OF_A_SCAN:
        (record.parent / f"{scan_id}_{name}").touch()
    number = sum(scan_id.encode()) % 100
    content = {"scan_id": scan_id, "key": KEY, "mni_space": False, "status": "ok", "stage": None, "reason": None}
    content |= {"metrics": {"template_dice": 0.9 + number / 1000}, "volumes_ml": {"brain": 1300 + number}}
    content["outputs"] = {name: {"file": f"{scan_id}_{name}", "sha256": "0" * 64} for name in FILES_OF_A_SCAN}
    record.write_text(json.dumps(content, indent=2), encoding="utf-8")
