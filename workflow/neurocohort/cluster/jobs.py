"""A study's jobs, and what they request."""

from dataclasses import dataclass, field
from typing import NamedTuple

JOBS_FILE = "NEUROCOHORT_JOBS_FILE"  # environment variable: the file to which a dry run writes its jobs


class Resources(NamedTuple):
    """What a job requests: CPUs, GPUs, memory in MB, and time in minutes (0: its rule sets none)."""

    threads: int = 1
    gpu: int = 0
    mem_mb: int = 0
    runtime: int = 0


@dataclass(frozen=True)
class Job:
    """A job that Snakemake would run.

    Args:
        rule: Its rule.
        wildcards: Values of the rule's wildcards, by name.
        inputs: Files that it reads.
        outputs: Files that it writes.
        resources: What it requests.
        local: Whether it runs where Snakemake runs, and is never submitted.
        estimated: Whether it stands for scans that aren't known yet; its files are then made up.
    """

    rule: str
    wildcards: dict[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    local: bool = False
    estimated: bool = False
