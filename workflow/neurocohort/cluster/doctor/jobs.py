"""The submitted jobs of a study, as a scheduler sees them."""

from collections.abc import Iterable

from neurocohort.cluster.jobs import Job
from neurocohort.cluster.profiles import Profile
from neurocohort.cluster.scheduler import Submission
from neurocohort.cluster.schedulers import queue_of


def submissions_of(jobs: Iterable[Job], profile: Profile) -> list[Submission]:
    """A submission for each different request of a rule; jobs that run locally have none."""
    found = []
    for job in jobs:
        if not job.local:
            resources = job.resources._replace(threads=min(job.resources.threads, profile.cores))
            found.append(Submission(job.rule, queue_of(profile, resources), resources))
    return list(dict.fromkeys(found))
