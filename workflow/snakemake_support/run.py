"""What a run does around its jobs, in Snakemake's main process: it takes over from a run that was killed, explains why a job
failed and how to continue, and leaves no job on the cluster when it ends.

Only this folder imports Snakemake. It listens to Snakemake's log and calls Snakemake's methods; it replaces none of them.
tests/unit/test_snakemake_interfaces.py lists each interface that it uses.
"""

import atexit
import logging
import os
import shlex
import shutil
import sys
from pathlib import Path

import neurocohort
from neurocohort.cluster.failures import FailedJob, describe, scan_of
from neurocohort.cluster.jobs import JOBS_FILE, Resources
from neurocohort.cluster.scheduler import Ending
from neurocohort.cluster.schedulers import BY_EXECUTOR, submitted_number
from neurocohort.cluster.takeover import begin_run, end_run, lock_holder, note_submitted, take_over
from neurocohort.errors import storage_reason
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_support.events import JobWriter

PACKAGE_FOLDER = Path(neurocohort.__file__).resolve().parents[1]
SHOWN_OF_A_GROUP = 3  # failed jobs of one submission; most of them failed for the same reason
# Folders that Snakemake writes to before a job: without permission it would end with a traceback.
WRITTEN = ("results", "logs", "benchmarks")


def job_prefix() -> str:
    """The beginning of every job's shell command.

    It selects this interpreter and this package, whatever the login shell of a compute node prefers. File descriptor 9 is
    Snakemake's standard error, for sentences that the user should see and the rule's log would hide.
    """
    return (
        f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
        f"PYTHONPATH={shlex.quote(str(PACKAGE_FOLDER))} NEUROCOHORT_MESSAGES=9; exec 9>&2; "
    )


def watch(workflow) -> None:
    """Add handlers to Snakemake's log that take over from a killed run, record submitted jobs and describe failed ones.

    Call this while the Snakefile is read. It does nothing in the Snakemake inside a job.
    """
    # The report shows the command that the user typed; a job's own command line differs.
    os.environ.setdefault("NEUROCOHORT_COMMAND", shlex.join(["snakemake", *sys.argv[1:]]))
    os.environ.setdefault("NEUROCOHORT_TERMINAL", "1" if sys.stderr.isatty() else "")
    # The scripts of a profile start with `env python3` and import this package, whatever else a login node has.
    for name, folder in (("PATH", Path(sys.executable).parent), ("PYTHONPATH", PACKAGE_FOLDER)):
        os.environ[name] = os.pathsep.join(filter(None, [str(folder), os.environ.get(name)]))
    if not workflow.is_main_process:
        return
    if file := os.environ.get(JOBS_FILE):
        logger.addHandler(JobWriter(workflow, Path(file)))
    command = os.environ["NEUROCOHORT_COMMAND"]
    for handler in (StartOfRun(workflow, command), SubmittedJobs(workflow), FailureMessages(workflow, command)):
        logger.addHandler(handler)


def gpu_model(workflow) -> dict[str, str]:
    """The resource ``gpu_model`` of rules with a GPU, from the profile's default resource ``gpu_type``; empty if it has none.

    Slurm's plugin requests a GPU for every job that has a ``gpu_model``, so it can't be a default resource itself.

    Raises:
        WorkflowError: If ``gpu_model`` is a default resource.
    """
    defaults = workflow.resource_settings.default_resources or {}
    if "gpu_model" in defaults:
        raise WorkflowError(
            "default-resources has gpu_model: Slurm's plugin would request a GPU for every job. "
            "Write gpu_type instead, in the profile or on the command line; then only jobs with a GPU request that model."
        )
    model = str(defaults["gpu_type"].raw).strip("'\"") if "gpu_type" in defaults else ""
    return {"gpu_model": model} if model else {}


WHOLE_FOLDERS: list[tuple[str, tuple[str, ...]]] = []


def keep_whole(folder: str, *names: str) -> None:
    """Rebuild the output directory ``folder`` in a run that finds one of its files ``names`` deleted.

    Snakemake only checks that a directory exists, not which files it has.
    """
    WHOLE_FOLDERS.append((folder, names))


def _remove_incomplete_folders() -> None:
    for folder, names in WHOLE_FOLDERS:
        missing = [name for name in names if not (Path(folder) / name).exists()]
        if missing and Path(folder).is_dir():
            logger.warning(f"{folder} lacks {missing[0]}: the folder is removed, so that it is rebuilt.")
            shutil.rmtree(folder, ignore_errors=True)


def _refuse(folder: str, reason: str) -> None:
    """End this process with an error. Snakemake's log can't be used, since it is in the same folder."""
    print(f"error: the folder {Path(folder).resolve()} can't be written: {reason}", file=sys.stderr)
    sys.exit(1)


class StartOfRun(logging.Handler):
    """Takes over from a killed run and records this one, just before Snakemake runs jobs.

    Snakemake has no hook before its lock, but it logs that it builds the graph of jobs: when it knows the executor, and
    has not yet locked the folder. Commands that run no job (``--unlock``, ``--summary``, ``--lint``) have no executor.
    """

    def __init__(self, workflow, command: str):
        super().__init__()
        self.workflow, self.command, self.started = workflow, command, False

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "exception", None) == "LockException":
            if other := lock_holder():
                logger.error(other)
            return
        plugin = self.workflow.executor_plugin
        if self.started or plugin is None or self.workflow.dryrun or self.workflow.touch:
            return
        self.started = True
        for folder in filter(os.path.isdir, WRITTEN):
            if not os.access(folder, os.W_OK):
                _refuse(folder, "it is read-only. Check how its file system is mounted, its owner and its permissions.")
        try:
            if message := take_over():
                logger.warning(message)
            if not lock_holder():  # otherwise another run is writing them, and Snakemake refuses this one
                _remove_incomplete_folders()
            begin_run(plugin.name, self.command)
        except OSError as error:
            _refuse(".snakemake", storage_reason(error) or f"{error}.")
        atexit.register(end_run)  # also after Ctrl-C: executors only cancel the jobs that they know


class SubmittedJobs(logging.Handler):
    """Records the scheduler's number of each submitted job, for a run that takes over, and writes Snakemake's own record of
    what the job depends on (inputs, parameters, code).

    A job that ends while the main process is dead leaves its files without such a record, and Snakemake then regards them as up
    to date whatever has changed. With the record, the next run keeps them, or rebuilds them if something has changed.
    """

    def __init__(self, workflow):
        super().__init__()
        self.workflow = workflow

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) == LogEvent.JOB_STARTED:
            self._record(set(record.jobs))
        elif number := submitted_number(record.getMessage()):
            note_submitted(number)

    def _record(self, jobs: set[int]) -> None:
        for submitted in self.workflow.scheduler.running:
            if submitted.jobid in jobs and not submitted.is_local:
                for job in submitted if submitted.is_group() else [submitted]:
                    self.workflow.async_run(job.remove_existing_output())  # an old file must not receive the new record
                    self.workflow.async_run(self.workflow.persistence.finished(job))
                    self.workflow.persistence.started(job)  # incomplete until the job itself has ended


class FailureMessages(logging.Handler):
    """Describes each failed job when Snakemake reports it; of a group, those that started and left no output."""

    def __init__(self, workflow, command: str):
        super().__init__()
        self.workflow, self.command = workflow, command

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        try:
            if event == LogEvent.JOB_ERROR and not record.indent:
                self._describe([record.jobid], record.aux.get("external_jobid"), record.rule_msg, record.log)
            elif event == LogEvent.GROUP_ERROR:
                jobs = [info["jobid"] for info in record.job_error_info]
                self._describe(jobs, getattr(record, "external_jobid", None), "", record.aux_logs)
        except Exception as error:  # an error in the description must not end the run
            logger.error(f"This failure can't be described: {error!r}")

    def _describe(self, numbers: list[int], external: str | None, message: str | None, logs: list[str]) -> None:
        jobs = [job for job in self.workflow.dag.jobs if job.jobid in numbers]
        started = [job for job in jobs if any(map(os.path.exists, job.log))]
        broken = [job for job in started if not all(map(os.path.exists, job.output))] or jobs
        scheduler = BY_EXECUTOR.get(self.workflow.executor_plugin.name)
        ending = Ending()
        if external and scheduler:
            ending, logs = scheduler.ending_of(external), [*logs, *map(str, scheduler.logs_of(external))]
        for job in broken[:SHOWN_OF_A_GROUP]:
            requested = {name: job.resources.get(name) for name in ("mem_mb", "runtime")}
            failed = FailedJob(
                rule=job.rule.name,
                scan=scan_of(job.wildcards_dict),
                logs=[Path(log) for log in dict.fromkeys(map(str, [*job.log, *logs]))],
                number=external or "",
                message=message or "",
                ending=ending,
                resources=Resources(**{name: value for name, value in requested.items() if isinstance(value, int)}),
                attempt=job.attempt,
                attempts=job.restart_times + 1,
            )
            logger.error(describe(failed, self.command))
        if len(broken) > SHOWN_OF_A_GROUP:
            logger.error(f"{len(broken) - SHOWN_OF_A_GROUP} more jobs of the same submission failed with it.")
