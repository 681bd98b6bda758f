"""What a person is told of a job that failed: which scan, how the scheduler says it ended, the end of its log, the likely cause,
and the command with which to go on."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from neurocohort.cluster.schedulers import CANCELLED, MEMORY, NODE, TIME, Ending

LOG_LINES = 20
SET_RESOURCES = "--set-resources"
LOG_BYTES = 64_000  # of a log's end, in which its last lines are looked for
GPU, DISK, CHECKSUM, INPUT, SUBMISSION, STORAGE = "GPU", "disk", "checksum", "input", "submission", "storage"
SIGNS = (  # in the order in which they are looked for: the first that a log shows is the cause
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
    MEMORY: "it needed more memory than it was given",
    TIME: "it needed more time than it was given",
    NODE: "its machine went down, or was taken for another job",
    CANCELLED: "it was cancelled",
    GPU: "it found no GPU that it can use: look at the GPU queue's name in the profile, and at the driver (`neurocohort doctor`)",
    DISK: "the disk is full, or your quota is used up",
    STORAGE: "a file can't be written where it belongs: its sentence above says which, and why",
    CHECKSUM: "a file isn't what was published, or is cut short: its sentence above says which; delete it, or get it anew",
    INPUT: "something that was given is wrong: its sentence above says what, and what to do",
    SUBMISSION: "the scheduler refused the job: look at the names in the profile (`neurocohort doctor` checks them)",
}
UNKNOWN = "not known: the log above, and the scheduler's words, are all that there is"


@dataclass(frozen=True)
class FailedJob:
    """``scan``: the wildcards in words. ``logs``: the rule's own log first, then the scheduler's. ``number``: the scheduler's id,
    empty for a local job. ``asked``: mem_mb and runtime (minutes). ``attempt`` of ``attempts``, from 1."""

    rule: str
    scan: str
    logs: list[Path]
    number: str = ""
    message: str = ""
    ending: Ending = field(default_factory=Ending)
    asked: dict[str, int] = field(default_factory=dict)
    attempt: int = 1
    attempts: int = 1


def describe(job: FailedJob, command: str) -> str:
    """The message on ``job``, in lines; ``command`` is what was typed to start the run."""
    shown = next((log for log in job.logs if _tail(log)), None)
    cause = likely_cause(job)
    lines = [f"{job.rule}{f' of {job.scan}' if job.scan else ''} failed."]
    if job.number or job.ending.words:
        lines.append(f"  scheduler: job {job.number or '?'}" + (f", {job.ending.words}" if job.ending.words else ""))
    if cause == SUBMISSION:
        lines += [f"  | {line}" for line in job.message.strip().splitlines()[:LOG_LINES]]
    elif shown:
        lines.append(f"  the end of {shown}:")
        lines += [f"  | {line}" for line in _tail(shown)]
    else:
        lines.append(f"  no log was written ({', '.join(map(str, job.logs)) or 'the rule has none'})")
    asked = {MEMORY: ("mem_mb", "{} MB"), TIME: ("runtime", "{} minutes")}.get(cause)
    given = f" ({asked[1].format(job.asked[asked[0]])})" if asked and asked[0] in job.asked else ""
    lines.append(f"  likely cause: {SENTENCES.get(cause, UNKNOWN)}{given}")
    if job.attempt < job.attempts:
        lines.append(f"  it is tried again, with more memory and time (attempt {job.attempt + 1} of {job.attempts})")
    else:
        lines.append(f"  to go on: {going_on(job, cause, command)}")
    return "\n".join(lines)


def likely_cause(job: FailedJob) -> str:
    """A key of SENTENCES, or empty. The scheduler's verdict counts first, then what the logs show."""
    if job.ending.cause in (MEMORY, TIME, NODE):
        return job.ending.cause
    text = "\n".join("\n".join(_tail(log, 200)) for log in job.logs)
    for cause, sign in SIGNS:
        if re.search(sign, text, re.MULTILINE | re.IGNORECASE):
            return cause
    if re.search(r"sbatch failed|submission failed|Error submitting jobscript", job.message):
        return SUBMISSION
    return job.ending.cause


def going_on(job: FailedJob, cause: str, command: str) -> str:
    """The command that takes the run up where it stood: the same again, with more of what was short."""
    resource = {MEMORY: "mem_mb", TIME: "runtime"}.get(cause, "")
    if resource not in job.asked:
        return command
    words, key = shlex.split(command), f"{job.rule}:{resource}="
    end = words.index("--") if "--" in words else len(words)  # what follows -- is targets
    options, targets = [word for word in words[:end] if not word.startswith(key)], words[end:]
    if SET_RESOURCES not in options:
        options.append(SET_RESOURCES)
    at = options.index(SET_RESOURCES) + 1  # Snakemake takes the last of two such options alone, so there is one
    options.insert(at, f"{key}{2 * job.asked[resource]}")
    return shlex.join(options + targets)


def scan_of(wildcards: dict[str, str]) -> str:
    """A job's wildcards in words: the scan and its cohort, or the experiment and its network."""
    rest = dict(wildcards)
    first = [rest.pop(name) for name in ("scan_id", "experiment", "cohort", "file") if name in rest][:1]
    others = [value for name, value in wildcards.items() if value not in first]
    return " ".join(first) + (f" ({', '.join(others)})" if others else "")


def _tail(path: Path, count: int = LOG_LINES) -> list[str]:
    """The last lines of a file, without empty ones at its end; none where it isn't there."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - LOG_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    text = text.split("\nError in rule ")[0]  # a scheduler's log goes on with what Snakemake says of it inside the job
    return [line.rsplit("\r", 1)[-1] for line in text.rstrip().splitlines()[-count:]]
