"""What a study's jobs ask of a cluster's queues: the largest of each amount, by where they go."""

from collections.abc import Iterable
from typing import NamedTuple

from neurocohort.cluster.dry_run import Job, local_rules
from neurocohort.cluster.profiles import Profile, queue_of


class Asked(NamedTuple):
    """What the job of one submission asks for, in the rule's own words: threads, gpu, mem_mb, runtime (minutes)."""

    rule: str
    queue: str
    amounts: dict[str, int]


def asked_of(jobs: Iterable[Job], profile: Profile) -> list[Asked]:
    """Of each submission that differs: its rule, where it goes, what it asks for."""
    local, found = local_rules(), {}
    for job in jobs:
        if job.rule in local:
            continue
        amounts = {"threads": 1, "gpu": 0, "mem_mb": 0, "runtime": 0} | job.asked
        amounts["threads"] = min(amounts["threads"], profile.cores)
        found[job.rule, *amounts.values()] = Asked(job.rule, queue_of(profile, amounts), amounts)
    return list(found.values())
