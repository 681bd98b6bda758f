"""How long a run takes from beginning to end: its jobs in the order of their files, as many at a time as the profile allows.

What can't be foreseen is left out: how long jobs wait in a queue, and downloads.
"""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from neurocohort.cluster.dry_run import Job
from neurocohort.cluster.profiles import LOCAL, Profile


class Task(NamedTuple):
    """One job. ``seconds`` from its start to its end; ``here``: where Snakemake runs."""

    job: Job
    seconds: float
    here: bool


def tasks_of(jobs: Sequence[Job], seconds: Sequence[float], profile: Profile, local: set[str]) -> list[Task]:
    """What is submitted. ``seconds``: of each job by itself. ``local``: rules that run where Snakemake runs."""
    return [
        Task(job, each, job.rule in local or profile.executor == LOCAL) for job, each in zip(jobs, seconds, strict=True)
    ]


def elapsed(tasks: Sequence[Task], profile: Profile) -> float:
    """Seconds from the first task to the end of the last, each begun as soon as its inputs are there and there is room; of
    those that could begin, the longest first."""
    makers = {file: number for number, task in enumerate(tasks) for file in task.job.outputs}
    waits = [
        {makers[file] for file in task.job.inputs if file in makers} - {number} for number, task in enumerate(tasks)
    ]
    followers = defaultdict(list)
    for number, needed in enumerate(waits):
        for maker in needed:
            followers[maker].append(number)
    gpus = float(profile.resources.get("gpu", inf)) if profile.executor == LOCAL else inf
    room = {"here": float(profile.local_cores), "submitted": float(profile.jobs), "gpu": gpus}
    ready: dict[bool, list[tuple[float, int]]] = {True: [], False: []}  # by whether a task runs here
    running: list[tuple[float, int]] = []
    now = 0.0

    def put(number: int) -> None:
        heapq.heappush(ready[tasks[number].here], (-tasks[number].seconds, number))

    def take(number: int, sign: int) -> None:
        for name, amount in _asked(tasks[number], profile).items():
            room[name] += sign * amount

    for number, needed in enumerate(waits):
        if not needed:
            put(number)
    while any(ready.values()) or running:
        for here, kind in ((True, "here"), (False, "submitted")):
            passed_over = []
            while ready[here] and room[kind] >= 1:
                entry = heapq.heappop(ready[here])
                if any(room[name] < amount for name, amount in _asked(tasks[entry[1]], profile).items()):
                    passed_over.append(entry)
                    continue
                take(entry[1], -1)
                heapq.heappush(running, (now + tasks[entry[1]].seconds, entry[1]))
            for entry in passed_over:
                heapq.heappush(ready[here], entry)
        now, done = heapq.heappop(running)
        take(done, 1)
        for number in followers[done]:
            waits[number].discard(done)
            if not waits[number]:
                put(number)
    return now


def _asked(task: Task, profile: Profile) -> dict[str, float]:
    if not task.here:
        return {"submitted": 1}
    threads = task.job.threads  # a rule that wants more than there are is scaled down
    gpus = task.job.gpus if profile.resources.get("gpu") else 0
    return {"here": min(threads, profile.local_cores), "gpu": gpus}
