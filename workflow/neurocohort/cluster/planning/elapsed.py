"""How long a run takes: its jobs in the order of their files, as many at a time as the profile allows.

Waiting in a queue and downloads can't be predicted, so they are left out.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from neurocohort.cluster.jobs import Job
from neurocohort.cluster.profiles import LOCAL, Profile

HERE, SUBMITTED, GPU = "here", "submitted", "gpu"  # what limits the jobs that run at a time


class Task(NamedTuple):
    """A job and its duration in seconds."""

    job: Job
    seconds: float


def runs_here(job: Job, profile: Profile) -> bool:
    """Whether a job runs on the machine of Snakemake, and isn't submitted."""
    return job.local or profile.executor == LOCAL


def elapsed(tasks: Sequence[Task], profile: Profile) -> float:
    """Seconds from the start of the first task to the end of the last.

    Each starts when its inputs exist and there is room for it; of those that could start, the longest first.
    """
    followers, waits = _dependencies(tasks)
    room = {HERE: float(profile.local_cores), SUBMITTED: float(profile.jobs), GPU: profile.gpus}
    uses = [_uses(task.job, profile) for task in tasks]
    ready: dict[str, list[tuple[float, int]]] = {
        HERE: [],
        SUBMITTED: [],
    }  # minus the duration of a task, and its number
    running: list[tuple[float, int]] = []  # when a task ends, and its number
    freed = [number for number, needed in enumerate(waits) if not needed]
    now = 0.0
    while True:
        for number in freed:
            heapq.heappush(ready[HERE if HERE in uses[number] else SUBMITTED], (-tasks[number].seconds, number))
        for place, queue in ready.items():
            for number in _start(queue, place, uses, room):
                heapq.heappush(running, (now + tasks[number].seconds, number))
        if not running:
            return now
        now, done = heapq.heappop(running)
        for name, amount in uses[done].items():
            room[name] += amount
        for number in followers[done]:
            waits[number].discard(done)
        freed = [number for number in followers[done] if not waits[number]]


def _start(
    queue: list[tuple[float, int]], place: str, uses: list[dict[str, float]], room: dict[str, float]
) -> Iterator[int]:
    """Take the tasks that fit out of a queue, and their amounts from the room."""
    postponed = []
    while queue and room[place] >= 1:
        entry = heapq.heappop(queue)
        needed = uses[entry[1]]
        if any(room[name] < amount for name, amount in needed.items()):
            postponed.append(entry)
            continue
        for name, amount in needed.items():
            room[name] -= amount
        yield entry[1]
    for entry in postponed:
        heapq.heappush(queue, entry)


def _dependencies(tasks: Sequence[Task]) -> tuple[dict[int, list[int]], list[set[int]]]:
    """By number of a task, those that need its files; and of each task, those whose files it needs."""
    makers = {file: number for number, task in enumerate(tasks) for file in task.job.outputs}
    waits = [{makers[file] for file in task.job.inputs if file in makers} - {n} for n, task in enumerate(tasks)]
    followers: dict[int, list[int]] = defaultdict(list)
    for number, makers_of in enumerate(waits):
        for maker in makers_of:
            followers[maker].append(number)
    return followers, waits


def _uses(job: Job, profile: Profile) -> dict[str, float]:
    if not runs_here(job, profile):
        return {SUBMITTED: 1}
    threads = min(job.resources.threads, profile.local_cores)  # Snakemake reduces the threads of a larger request
    return {HERE: threads, GPU: job.resources.gpu if profile.gpus else 0}
