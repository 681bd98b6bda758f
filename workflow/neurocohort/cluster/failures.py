"""The message about a failed job: which scan, how the scheduler says it ended, the end of its log, the likely cause, and the
command that continues the run."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from neurocohort.cluster.jobs import Resources
from neurocohort.cluster.scheduler import CANCELLED, MEMORY, NODE, TIME, Ending
from neurocohort.cluster.schedulers import SCHEDULERS

LOG_LINES = 20
CAUSE_LINES = 200  # at the end of a log, in which the cause is looked for
LOG_BYTES = 64_000  # at the end of a log, from which its last lines are taken
SET_RESOURCES = "--set-resources"
GPU, DISK, CHECKSUM, INPUT, SUBMISSION, STORAGE = "GPU", "disk", "checksum", "input", "submission", "storage"
SIGNS = (  # the first one that a log matches is the cause
    (
        DISK,
        r"No space left on device|Disk quota exceeded|GB free, and [\d.]+ GB are needed|: the disk (is full|quota is used)",
    ),
    (STORAGE, r"could not be written: |Read-only file system"),
    (CHECKSUM, r"the (md5|sha256) is \w+, and|its first download had|is cut short or damaged"),
    (GPU, r"no GPU is visible|CUDA error: no kernel image|CUDA driver version is insufficient|Found no NVIDIA driver"),
    (MEMORY, r"CUDA out of memory|OutOfMemoryError"),
    (
        MEMORY,
        r"MemoryError|Cannot allocate memory|can't allocate memory|Unable to allocate|bad_alloc|oom.kill|Exceeded job memory"
        r"|failed to map segment from shared object|exceeded.*memory limit",
    ),
    (TIME, r"DUE TO TIME LIMIT"),
    (INPUT, r"(?-i:^error: )"),
)
SENTENCES = {
    MEMORY: "it needed more memory than it requested",
    TIME: "it needed more time than it requested",
    NODE: "its machine went down, or was taken for another job",
    CANCELLED: "it was cancelled",
    GPU: "it found no usable GPU: check the GPU queue's name in the profile, and the driver (`neurocohort doctor`)",
    DISK: "the disk is full, or your quota is used up",
    STORAGE: "a file can't be written: the log above names the file and the reason",
    CHECKSUM: "a file differs from the published one, or is cut short: the log above names it; delete it, or download it again",
    INPUT: "an input or a setting is wrong: the log above says which one, and what to do",
    SUBMISSION: "the scheduler refused the job: check the names in the profile (`neurocohort doctor` does)",
}
UNKNOWN = "not known: see the log and the scheduler's message above"
SHORTAGES = {
    MEMORY: ("mem_mb", "{} MB"),
    TIME: ("runtime", "{} minutes"),
}  # the resource that was too small, and its unit


@dataclass(frozen=True)
class FailedJob:
    """A job that failed.

    Args:
        rule: Its rule.
        scan: Its wildcards in words.
        logs: The rule's own log, then the scheduler's.
        number: The scheduler's number of the job; empty for a local job.
        message: What Snakemake reports.
        ending: How the scheduler says that it ended.
        resources: What it requested.
        attempt: Which attempt failed, from 1.
        attempts: How many there are at most.
    """

    rule: str
    scan: str
    logs: list[Path]
    number: str = ""
    message: str = ""
    ending: Ending = field(default_factory=Ending)
    resources: Resources = field(default_factory=Resources)
    attempt: int = 1
    attempts: int = 1


def describe(job: FailedJob, command: str) -> str:
    """The message about ``job``, in lines; ``command`` is what the user typed to start the run."""
    shown = next((log for log in job.logs if _tail(log)), None)
    cause = likely_cause(job)
    lines = [f"{job.rule}{f' of {job.scan}' if job.scan else ''} failed."]
    if job.number or job.ending.words:
        lines.append(f"  scheduler: job {job.number or '?'}" + (f", {job.ending.words}" if job.ending.words else ""))
    if cause == SUBMISSION:
        lines += [f"  | {line}" for line in job.message.strip().splitlines()[:LOG_LINES]]
    elif shown:
        lines += [f"  the end of {shown}:", *(f"  | {line}" for line in _tail(shown))]
    else:
        lines.append(f"  no log was written ({', '.join(map(str, job.logs)) or 'the rule has none'})")
    resource, amount = SHORTAGES.get(cause, ("", ""))
    requested = getattr(job.resources, resource, 0)
    lines.append(
        f"  likely cause: {SENTENCES.get(cause, UNKNOWN)}" + (f" ({amount.format(requested)})" if requested else "")
    )
    if job.attempt < job.attempts:
        lines.append(f"  it is tried again, with more memory and time (attempt {job.attempt + 1} of {job.attempts})")
    else:
        lines.append(f"  to continue: {continuing_command(job, cause, command)}")
    return "\n".join(lines)


def likely_cause(job: FailedJob) -> str:
    """A key of SENTENCES, or empty. The scheduler's verdict comes first, then the logs."""
    if job.ending.cause in (MEMORY, TIME, NODE):
        return job.ending.cause
    text = "\n".join("\n".join(_tail(log, CAUSE_LINES)) for log in job.logs)
    for cause, sign in SIGNS:
        if re.search(sign, text, re.MULTILINE | re.IGNORECASE):
            return cause
    if any(scheduler.submission_failed.search(job.message) for scheduler in SCHEDULERS):
        return SUBMISSION
    return job.ending.cause


def continuing_command(job: FailedJob, cause: str, command: str) -> str:
    """The command that continues the run: the same one, with twice the memory or time if that was too small."""
    resource = SHORTAGES.get(cause, ("", ""))[0]
    requested = getattr(job.resources, resource, 0)
    if not requested:
        return command
    words, key = shlex.split(command), f"{job.rule}:{resource}="
    end = words.index("--") if "--" in words else len(words)  # targets follow
    options, targets = [word for word in words[:end] if not word.startswith(key)], words[end:]
    if SET_RESOURCES not in options:
        options.append(SET_RESOURCES)
    # Snakemake only uses the last one of several such options, so all values follow one.
    options.insert(options.index(SET_RESOURCES) + 1, f"{key}{2 * requested}")
    return shlex.join(options + targets)


def scan_of(wildcards: Mapping[str, str]) -> str:
    """A job's wildcards in words: the scan or cohort, or the experiment, then the others in brackets."""
    first = [wildcards[name] for name in ("scan_id", "experiment", "cohort", "file") if name in wildcards][:1]
    others = [value for value in wildcards.values() if value not in first]
    return " ".join(first) + (f" ({', '.join(others)})" if others else "")


def _tail(path: Path, count: int = LOG_LINES) -> list[str]:
    """The last lines of a file, without empty ones at its end; none if it can't be read."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - LOG_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    text = text.split("\nError in rule ")[0]  # in a scheduler's log, a report of Snakemake inside the job follows
    return [line.rsplit("\r", 1)[-1] for line in text.rstrip().splitlines()[-count:]]
