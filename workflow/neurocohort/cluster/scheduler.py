"""What neurocohort needs from a cluster's scheduler, as one interface. slurm.py and grid_engine.py implement it.

A scheduler that isn't installed or doesn't answer has no jobs and no information about them; the run continues without it.
"""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from neurocohort.cluster.asking import ANSWER_S, Answer, ask
from neurocohort.cluster.doctor.findings import GOOD, Check, Finding
from neurocohort.cluster.jobs import Resources
from neurocohort.cluster.profiles import Profile

MEMORY, TIME, NODE, CANCELLED = "memory", "time", "node", "cancelled"  # why a scheduler ends a job
RUN_ANSWER_S = 30.0  # during a run, where waiting is better than no answer
CANCEL_S = 60.0
POLL_S = 0.5


@dataclass(frozen=True)
class Ending:
    """How a job ended.

    Args:
        words: The scheduler's own description, in one line.
        cause: MEMORY, TIME, NODE or CANCELLED; empty if the scheduler knows none.
    """

    words: str = ""
    cause: str = ""


class Submission(NamedTuple):
    """What a submitted job requests, and the partition or queue that it goes to (empty: none takes it)."""

    rule: str
    queue: str
    resources: Resources


class Misfit(NamedTuple):
    """One way in which a job doesn't fit its queue; of several jobs with the same ``kind``, the largest ``amount`` is shown."""

    kind: str
    amount: float
    finding: Finding


class Scheduler(ABC):
    """A scheduler as this machine reaches it.

    Attributes:
        name: As people write it.
        profile_name: The folder of its profile in profiles/.
        executor: Snakemake's executor for it.
        submitted: Matches the log line of a submission: Snakemake's number of the job, then the scheduler's.
        refused: Matches the error of a refused submission: the reason.
        submission_failed: Matches what Snakemake reports of a refused submission.
        details_command: Shows all that the scheduler knows of a job; the job's number follows.
    """

    name: ClassVar[str]
    profile_name: ClassVar[str]
    executor: ClassVar[str]
    submitted: ClassVar[re.Pattern[str]]
    refused: ClassVar[re.Pattern[str]]
    submission_failed: ClassVar[re.Pattern[str]]
    details_command: ClassVar[str]

    @abstractmethod
    def answer(self, seconds: float = ANSWER_S) -> Answer:
        """Whether the scheduler answers, and its list of partitions or queues."""

    @abstractmethod
    def jobs_here(self, jobs: set[str], folder: Path) -> set[str]:
        """Those of ``jobs`` that wait or run and were submitted from ``folder``."""

    @abstractmethod
    def present(self, jobs: set[str]) -> set[str]:
        """Those of ``jobs`` that wait or run."""

    @abstractmethod
    def delete(self, jobs: set[str]) -> None:
        """Ask the scheduler to end ``jobs``."""

    @abstractmethod
    def ending_of(self, job: str) -> Ending:
        """How ``job`` ended."""

    def logs_of(self, job: str) -> list[Path]:
        """The scheduler's own logs of ``job`` that Snakemake doesn't know."""
        return []

    @abstractmethod
    def waiting_reason(self, job: str) -> str:
        """Why ``job`` has not started; empty if it isn't known."""

    @abstractmethod
    def queue_of(self, profile: Profile, resources: Resources) -> str:
        """The partition or queue of a job that requests ``resources``; empty if the profile has none for it."""

    @abstractmethod
    def is_single_node(self) -> bool:
        """Whether this machine is the cluster's only node."""

    @abstractmethod
    def checks(self, profile: Profile | None, *, required: bool, gpu: bool) -> dict[str, Check]:
        """The doctor's checks of the scheduler and of the names in the profile.

        Args:
            profile: None if it can't be read.
            required: Whether the user asked for this scheduler: it is a fault then if it doesn't answer.
            gpu: Whether the study has jobs with a GPU.
        """

    @abstractmethod
    def check_jobs(self, profile: Profile, submissions: Callable[[], list[Submission]]) -> list[Finding]:
        """The doctor's check that each job of the study fits the queue that it goes to."""

    def cancel(self, jobs: Iterable[str], patience_s: float = CANCEL_S) -> bool:
        """End ``jobs`` and wait until they are gone; False if some are still there after ``patience_s``."""
        jobs = set(jobs)
        if not jobs:
            return True
        self.delete(jobs)
        until = time.monotonic() + patience_s
        while self.present(jobs):
            if time.monotonic() > until:
                return False
            time.sleep(POLL_S)
        return True


def output_of(*command: str) -> str:
    """What ``command`` prints during a run; empty if it isn't installed, fails or takes too long."""
    answer = ask(*command, seconds=RUN_ANSWER_S)
    return "" if answer.fault else answer.text


def fit_findings(
    submissions: Iterable[Submission],
    misfits: Callable[[Submission], list[Misfit] | None],
    place: Callable[[Submission], str],
) -> list[Finding]:
    """How jobs fit their queues: the rules that do, and the worst example of each kind of misfit.

    Args:
        submissions: The study's jobs.
        misfits: The misfits of one job; None if it isn't judged, because the name of its queue is wrong.
        place: The queue of a job in words.
    """
    worst: dict[tuple[str, str], Misfit] = {}
    fitting: dict[str, set[str]] = {}
    for submission in submissions:
        found = misfits(submission)
        if found == []:
            fitting.setdefault(place(submission), set()).add(submission.rule)
        for misfit in found or []:
            key = place(submission), misfit.kind
            if key not in worst or misfit.amount > worst[key].amount:
                worst[key] = misfit
    good = [Finding(GOOD, "jobs", f"those of {len(rules)} rule(s) fit {where}") for where, rules in fitting.items()]
    return good + [misfit.finding for misfit in worst.values()]
