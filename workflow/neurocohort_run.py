"""What a run does around its jobs, in Snakemake's main process alone: it takes over from a run that was killed, says why a job
failed and how to go on, and leaves no job on the cluster when it ends.

It stands beside the package, which has no import of Snakemake. Snakemake has no hook before its lock, so `workflow.execute` is
wrapped.
"""

import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path

from neurocohort.running.failures import FailedJob, describe, scan_of
from neurocohort.running.schedulers import SLURM, Ending, ending_of, log_of, slurm_accounting
from neurocohort.running.takeover import note_submitted, recorded, take_over, who_holds_the_lock
from snakemake.exceptions import LockException
from snakemake.logging import logger
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_logger_plugins.common import LogEvent

TOLD_OF_A_GROUP = 3  # failed jobs of one submission; they mostly failed of the same
PROFILE_FILES = ("partition_config", "submit_cmd", "status_cmd", "cancel_cmd")
ASKED = ("mem_mb", "runtime")
LONGEST_POLL = 4  # times Slurm's first interval between two looks at the jobs


def job_prefix(checkout: Path) -> str:
    """What the shell command of every job begins with: the same interpreter and the same checkout, whatever the login shell of a
    compute node prefers; and a way to Snakemake's own standard error for the sentence that a person should see, which the
    rule's log would hide."""
    return (
        f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
        f"PYTHONPATH={shlex.quote(str(checkout / 'workflow'))} NEUROCOHORT_MESSAGES=9; exec 9>&2; "
    )


def watch(workflow, checkout: Path) -> None:
    """Wrap ``workflow.execute``. ``checkout`` is where the profiles lie."""
    # The report shows the command that was typed; a job's own command line is another.
    os.environ.setdefault("NEUROCOHORT_COMMAND", shlex.join(["snakemake", *sys.argv[1:]]))
    os.environ.setdefault("NEUROCOHORT_TERMINAL", "1" if sys.stderr.isatty() else "")
    # The scripts of a profile start with `env python3`: this one, whatever else a login node has.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    workflow.execute = _watched(workflow, checkout)


def _watched(workflow, checkout: Path) -> Callable:
    execute = workflow.execute

    @wraps(execute)
    def run(*arguments, executor_plugin, executor_settings=None, **named):
        executor, command = executor_plugin.name, os.environ["NEUROCOHORT_COMMAND"]
        named |= {"executor_plugin": executor_plugin, "executor_settings": executor_settings}
        if not workflow.is_main_process:
            return execute(*arguments, **named)
        _ask_gpu_models_with_gpus(workflow.rules)
        if executor in ("dryrun", "touch"):
            return execute(*arguments, **named)
        _find_files(executor_settings, PROFILE_FILES, checkout)
        _find_files(workflow.remote_execution_settings, ["jobscript"], checkout)
        if executor == SLURM:
            _look_often_enough(LONGEST_POLL * executor_settings.init_seconds_before_status_checks)
            if executor_settings.status_command == "sacct" and not slurm_accounting():
                logger.info("This Slurm has no accounting that sacct could ask: jobs are followed by squeue.")
                executor_settings.status_command = "squeue"
        if said := take_over():
            logger.warning(said)
        handlers = [FailureMessages(workflow, executor, command)]
        if not executor_plugin.common_settings.local_exec:
            handlers.append(SubmittedJobs(workflow))
        for handler in handlers:
            logger.addHandler(handler)
        try:
            with recorded(executor, command):
                return execute(*arguments, **named)
        except LockException:
            if said := who_holds_the_lock():
                logger.error(said)
            raise
        finally:
            for handler in handlers:
                logger.removeHandler(handler)

    return run


def _find_files(settings: object, names: Iterable[str], checkout: Path) -> None:
    """Make files that a profile of the checkout names absolute: Snakemake has left the folder in which it read the profile."""
    for name in names:
        value = getattr(settings, name, None)
        if value and not os.path.exists(value) and (checkout / value).exists():
            setattr(settings, name, type(value)(checkout / value))


def _look_often_enough(longest_s: float) -> None:
    """Bound the time between two looks at the jobs. Slurm's plugin lets it grow by 10 s with each look that finds none ended, up
    to three minutes, which a chain of steps would wait for at each."""
    given = RemoteExecutor.next_seconds_between_status_checks

    def bounded(executor, seconds: float) -> None:
        given.fset(executor, min(seconds, longest_s))

    RemoteExecutor.next_seconds_between_status_checks = property(given.fget, bounded)


def _ask_gpu_models_with_gpus(rules: Iterable) -> None:
    """Take a profile's default gpu_model from rules without a GPU: Slurm's plugin would ask one for them."""
    for each in rules:
        gpu = each.resources.get("gpu")
        if gpu is None or not (gpu.is_evaluable() or gpu.value):
            each.resources["gpu_model"] = None


class SubmittedJobs(logging.Handler):
    """Notes each job of a cluster when it is submitted: its number, for whoever takes over, and, in Snakemake's own records, what
    it is made from (inputs, parameters, code).

    A job that ends while the main process is dead leaves its files without such a record, and Snakemake takes those for up to
    date whatever has changed since. With the record, the next run keeps them, or makes them anew if something has changed.
    """

    def __init__(self, workflow):
        super().__init__()
        self.workflow, self.persistence = workflow, None

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) != LogEvent.JOB_STARTED:
            return
        if self.persistence is None:
            self.persistence = self.workflow.persistence
            self.persistence.started = _noting(self.persistence.started)
        numbers = set(record.jobs)
        for submitted in self.workflow.scheduler.running:
            if submitted.jobid in numbers and not submitted.is_local:
                for job in submitted if submitted.is_group() else [submitted]:
                    self.workflow.async_run(job.remove_existing_output())  # an old file must not get the new record
                    self.workflow.async_run(self.persistence.finished(job))
                    self.persistence.started(job)


def _noting(started: Callable) -> Callable:
    """Snakemake's `persistence.started`, which is told the scheduler's id of a job once the job is submitted."""

    @wraps(started)
    def noting(job, external_jobid: str | None = None) -> None:
        if external_jobid:
            note_submitted(external_jobid)
        started(job, external_jobid)

    return noting


class FailureMessages(logging.Handler):
    """Describes each failed job when Snakemake says that it failed; of a group, those that began and left nothing."""

    def __init__(self, workflow, executor: str, command: str):
        super().__init__()
        self.workflow, self.executor, self.command = workflow, executor, command

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        try:
            if event == LogEvent.JOB_ERROR and not record.indent:
                self._tell([record.jobid], record.aux.get("external_jobid"), record.rule_msg, record.log)
            elif event == LogEvent.GROUP_ERROR:
                numbers = [info["jobid"] for info in record.job_error_info]
                self._tell(numbers, getattr(record, "external_jobid", None), "", record.aux_logs)
        except Exception as error:  # what describes a failure must not be another one
            logger.error(f"This failure can't be described: {error!r}")

    def _tell(self, numbers: list[int], external: str | None, message: str | None, logs: list[str]) -> None:
        jobs = [job for job in self.workflow.dag.jobs if job.jobid in numbers]
        begun = [job for job in jobs if any(map(os.path.exists, job.log))]
        broken = [job for job in begun if not all(map(os.path.exists, job.output))] or jobs
        ending, further = Ending(), logs
        if external:
            ending, further = ending_of(self.executor, external), [*logs, *log_of(self.executor, external)]
        for job in broken[:TOLD_OF_A_GROUP]:
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
        if len(broken) > TOLD_OF_A_GROUP:
            logger.error(f"{len(broken) - TOLD_OF_A_GROUP} more jobs of the same submission failed with it.")
