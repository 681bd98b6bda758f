"""What a study's jobs ask of a cluster's queues: the largest of each amount, by where they go."""

from collections.abc import Iterable
from typing import NamedTuple

from neurocohort.running.dry_run import SCAN_GROUP, SCAN_RULE, Job, local_rules
from neurocohort.running.profiles import Profile, queue_of


class Asked(NamedTuple):
    """What the job of one submission asks for, in the rule's own words: threads, gpu, mem_mb, runtime (minutes)."""

    rule: str
    queue: str
    amounts: dict[str, int]


def asked_of(jobs: Iterable[Job], profile: Profile) -> list[Asked]:
    """Of each submission that differs: its rule, where it goes, what it asks for. A group's scans come one after the other."""
    local, found = local_rules(), {}
    for job in jobs:
        if job.rule in local:
            continue
        amounts = {"threads": 1, "gpu": 0, "mem_mb": 0, "runtime": 0} | job.asked
        amounts["threads"] = min(amounts["threads"], profile.cores)
        if job.rule == SCAN_RULE:
            amounts = _of_group(amounts, profile)
        found[job.rule, *amounts.values()] = Asked(job.rule, queue_of(profile, amounts), amounts)
    return list(found.values())


def _of_group(amounts: dict[str, int], profile: Profile) -> dict[str, int]:
    """As Snakemake adds up a group: side by side as many as `resources` and `cores` allow, and those in turn."""
    scans = profile.groups.get(SCAN_GROUP, 1)
    at_once = min(scans, int(profile.resources.get("scans", profile.cores)), profile.cores)
    side_by_side = {name: amounts[name] * at_once for name in ("threads", "gpu", "mem_mb")}
    return side_by_side | {"runtime": amounts["runtime"] * -(-scans // at_once)}
