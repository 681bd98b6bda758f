"""The schedulers that neurocohort knows, and which of them a run uses."""

from neurocohort.cluster.grid_engine import GridEngine
from neurocohort.cluster.jobs import Resources
from neurocohort.cluster.profiles import THIS_MACHINE, Profile
from neurocohort.cluster.scheduler import Scheduler
from neurocohort.cluster.slurm import Slurm

SCHEDULERS: tuple[Scheduler, ...] = (Slurm(), GridEngine())
BY_PROFILE = {scheduler.profile_name: scheduler for scheduler in SCHEDULERS}
BY_EXECUTOR = {scheduler.executor: scheduler for scheduler in SCHEDULERS}


def queue_of(profile: Profile, resources: Resources) -> str:
    """Where a job that requests ``resources`` goes: a partition, a queue, or this machine; empty if no partition takes it."""
    scheduler = BY_EXECUTOR.get(profile.executor)
    return scheduler.queue_of(profile, resources) if scheduler else THIS_MACHINE


def submitted_number(line: str) -> str:
    """The scheduler's number of the job whose submission this line of Snakemake's log reports; empty for any other line."""
    return next((found[2] for scheduler in SCHEDULERS if (found := scheduler.submitted.search(line))), "")
