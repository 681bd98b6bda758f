"""Additions to Snakemake's main process: it takes over from a killed run, explains why a job failed and how to continue, and
cancels its cluster jobs when it ends.

This is the only Python that imports Snakemake. It listens to Snakemake's log and calls Snakemake's methods, and replaces none
of them. tests/unit/test_snakemake_interfaces.py lists each interface that it relies on.
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
from neurocohort.cluster.schedulers import Ending, ending_of, log_of, submitted_number
from neurocohort.cluster.takeover import begin_run, end_run, note_submitted, take_over, who_holds_the_lock
from neurocohort.errors import storage_reason
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

PACKAGE_FOLDER = Path(neurocohort.__file__).resolve().parents[1]
SHOWN_OF_A_GROUP = 3  # failed jobs of one submission; they usually failed for the same reason
ASKED = ("mem_mb", "runtime")
# Folders that Snakemake writes to before a job: without permission it would end with a traceback.
WRITTEN = ("results", "logs", "benchmarks")


def job_prefix() -> str:
    """The beginning of the shell command of every job.

    It selects the same interpreter and the same package, independent of the login shell of a compute node. It also opens a
    descriptor to Snakemake's standard error for messages that a person should see and that the rule's log would hide.
    """
    return (
        f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
        f"PYTHONPATH={shlex.quote(str(PACKAGE_FOLDER))} NEUROCOHORT_MESSAGES=9; exec 9>&2; "
    )


def watch(workflow) -> None:
    """Add handlers to Snakemake's log that take over from a killed run, record submitted jobs and describe failed ones.

    Call this while the Snakefile is read. It does nothing in the Snakemake inside a job.
    """
    # The report shows the command that the user typed; the command line of a job is a different one.
    os.environ.setdefault("NEUROCOHORT_COMMAND", shlex.join(["snakemake", *sys.argv[1:]]))
    os.environ.setdefault("NEUROCOHORT_TERMINAL", "1" if sys.stderr.isatty() else "")
    # The scripts of a profile start with `env python3`: it must be this interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if not workflow.is_main_process:
        return
    command = os.environ["NEUROCOHORT_COMMAND"]
    for handler in (StartOfRun(workflow, command), SubmittedJobs(workflow), FailureMessages(workflow, command)):
        logger.addHandler(handler)


def gpu_model(workflow) -> dict[str, str]:
    """The resource ``gpu_model`` for rules with a GPU, from the profile's default resource ``gpu_type``; empty without it.

    Slurm's plugin asks for a GPU for every job that has a ``gpu_model``, so it can't be a default resource itself.

    Raises:
        WorkflowError: If ``gpu_model`` is a default resource.
    """
    defaults = workflow.resource_settings.default_resources or {}
    if "gpu_model" in defaults:
        raise WorkflowError(
            "default-resources has gpu_model: Slurm's plugin would ask for a GPU for every job. "
            "Write gpu_type instead, in the profile or on the command line; then only jobs with a GPU ask for that model."
        )
    model = str(defaults["gpu_type"].raw).strip("'\"") if "gpu_type" in defaults else ""
    return {"gpu_model": model} if model else {}


WHOLE_FOLDERS: list[tuple[str, tuple[str, ...]]] = []


def keep_whole(folder: str, *names: str) -> None:
    """Have the output directory ``folder`` created again by a run that finds one of its files, ``names``, deleted.

    Snakemake treats a directory as one output: if files in it are missing, it is still complete for Snakemake.
    """
    WHOLE_FOLDERS.append((folder, names))


def _remove_incomplete_folders() -> None:
    for folder, names in WHOLE_FOLDERS:
        missing = [name for name in names if not (Path(folder) / name).exists()]
        if missing and Path(folder).is_dir():
            logger.warning(f"{folder} lacks {missing[0]}: the folder is removed, and created again.")
            shutil.rmtree(folder, ignore_errors=True)


def _refuse(folder: str, reason: str) -> None:
    """End this process with a message; not through Snakemake's log, which is in the same folder."""
    print(f"error: the folder {Path(folder).resolve()} can't be written: {reason}", file=sys.stderr)
    sys.exit(1)


class StartOfRun(logging.Handler):
    """Takes over from a killed run and records this one, just before Snakemake runs jobs.

    Snakemake has no hook before its lock. But it logs that it builds the graph of jobs, when it knows the executor and has not
    locked the folder yet. Commands that run no jobs (``--unlock``, ``--summary``, ``--lint``) have no executor.
    """

    def __init__(self, workflow, command: str):
        super().__init__()
        self.workflow, self.command, self.begun = workflow, command, False

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "exception", None) == "LockException":
            if other := who_holds_the_lock():
                logger.error(other)
            return
        plugin = self.workflow.executor_plugin
        if self.begun or plugin is None or self.workflow.dryrun or self.workflow.touch:
            return
        self.begun = True
        for folder in filter(os.path.isdir, WRITTEN):
            if not os.access(folder, os.W_OK):
                _refuse(folder, "it is read-only. Check its file system, its owner and its permissions.")
        try:
            if what := take_over():
                logger.warning(what)
            if not who_holds_the_lock():  # otherwise another run is writing them, and Snakemake will refuse this one
                _remove_incomplete_folders()
            begin_run(plugin.name, self.command)
        except OSError as error:
            _refuse(".snakemake", storage_reason(error) or f"{error}.")
        atexit.register(end_run)  # also after Ctrl-C, when executors have cancelled the jobs that they know


class SubmittedJobs(logging.Handler):
    """Records the scheduler's number of each submitted job, for a run that takes over, and, in Snakemake's own records, the
    inputs, parameters and code of the job.

    A job that ends while the main process is dead leaves its files without such a record, and Snakemake considers them up to
    date even if something has changed since. With the record, the next run creates them again if something has changed.
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
                    self.workflow.async_run(job.remove_existing_output())  # an old file must not have the new record
                    self.workflow.async_run(self.workflow.persistence.finished(job))
                    self.workflow.persistence.started(job)  # incomplete until the job itself has ended


class FailureMessages(logging.Handler):
    """Describes each job that Snakemake logs as failed; in a group, the jobs that started and left no output."""

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
        except Exception as error:  # the description of a failure must not fail the run
            logger.error(f"This failure can't be described: {error!r}")

    def _describe(self, numbers: list[int], external: str | None, message: str | None, logs: list[str]) -> None:
        executor = self.workflow.executor_plugin.name
        jobs = [job for job in self.workflow.dag.jobs if job.jobid in numbers]
        begun = [job for job in jobs if any(map(os.path.exists, job.log))]
        broken = [job for job in begun if not all(map(os.path.exists, job.output))] or jobs
        ending, further = Ending(), logs
        if external:
            ending, further = ending_of(executor, external), [*logs, *log_of(executor, external)]
        for job in broken[:SHOWN_OF_A_GROUP]:
            failed = FailedJob(
                rule=job.rule.name,
                scan=scan_of(job.wildcards_dict),
                logs=[Path(log) for log in dict.fromkeys(map(str, [*job.log, *further]))],
                number=external or "",
                message=message or "",
                ending=ending,
                asked={name: job.resources[name] for name in ASKED if isinstance(job.resources.get(name), int)},
                attempt=job.attempt,
                attempts=job.restart_times + 1,
            )
            logger.error(describe(failed, self.command))
        if len(broken) > SHOWN_OF_A_GROUP:
            logger.error(f"{len(broken) - SHOWN_OF_A_GROUP} more jobs of the same submission failed with it.")
