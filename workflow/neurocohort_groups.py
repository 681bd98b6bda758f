"""Groups of jobs that become one submission (`group-components`), made so that no job is ever submitted twice.

Snakemake 9.27 merges groups in place, and again each time the graph of jobs is looked at: at the start of a run that finds a
checkpoint done, and whenever one ends. The groups of the second time are others than those of the first, and a group whose jobs
change is lost in the sets that hold it: jobs are submitted in two groups, or one group over and over (snakemake issues 1217 and
1628, snakemake-executor-plugin-slurm issue 253). Here a group never changes once it is made, one that runs keeps its jobs, and
those that wait are made anew.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from snakemake.dag import DAG
from snakemake.jobs import GroupJob


def install() -> None:
    """Let every DAG of this process make its groups in this way."""
    DAG.update_groups = _update_groups


def _update_groups(dag: DAG) -> None:
    running = {job: group for group in dag._running if group.is_group() for job in group}
    dag._ready_jobs -= {
        job for job in dag._ready_jobs if job.is_group()
    }  # update_ready, which follows, puts the new ones in
    dag._group = dict(running)
    waiting = [job for job in dag.needrun_jobs() if job.group is not None and job not in running]
    by_name = defaultdict(list)
    for component in _components(dag, waiting):
        by_name[next(iter(component)).group].append(component)
    for name, components in by_name.items():
        settings = dag.workflow.group_settings.group_components
        size = settings.get(dag.workflow.parent_groupids.get(name, name), 1)
        for jobs in _chunks(sorted(components, key=_name), size):
            group = GroupJob(name, jobs, dag.workflow.global_resources)
            group.finalize()
            dag.validate_group(group)
            dag._group.update(dict.fromkeys(jobs, group))
    dag._check_groups()


def _components(dag: DAG, jobs: Iterable) -> Iterator[frozenset]:
    """Jobs of one group that depend on one another, together."""
    jobs, found = set(jobs), {}
    for job in jobs:
        below = dag.bfs(dag._dependencies, job, stop=lambda other, name=job.group: other.group != name)
        joined = {job}.union(other for other in below if other in jobs)
        joined = joined.union(*(found[other] for other in joined if other in found))
        found.update(dict.fromkeys(joined, joined))
    yield from {id(component): frozenset(component) for component in found.values()}.values()


def _chunks(components: list[frozenset], size: int) -> Iterator[frozenset]:
    for first in range(0, len(components), max(1, size)):
        yield frozenset().union(*components[first : first + max(1, size)])


def _name(component: frozenset) -> str:
    """What components are ordered by, so that the same jobs always make the same groups."""
    return min(str(file) for job in component for file in job.output)
