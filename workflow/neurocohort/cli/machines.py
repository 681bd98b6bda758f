"""The subcommands about machines: whether they are fit for a study, and what a study would take of them."""

from pathlib import Path
from typing import Annotated

import typer

from neurocohort.cli.app import command

Studies = Annotated[
    list[Path] | None, typer.Argument(help="study files, merged in their order; config/config.yaml by default")
]
Folder = Annotated[Path, typer.Option(help="the study's folder, where its data and results lie")]
DEFAULT_STUDY = Path("config/config.yaml")


@command
def plan(
    studies: Studies = None,
    profile: Annotated[
        str, typer.Option(help="slurm, sge, local-gpu, or a profile's folder; none: this machine's cores")
    ] = "",
    directory: Folder = Path("."),
) -> None:
    """Say what a study would take: jobs and their queues, downloads, disk, CPU and GPU hours, time from beginning to end."""
    from neurocohort.cluster.planning.plan import make_plan
    from neurocohort.cluster.planning.text import plan_text
    from neurocohort.cluster.profiles import read_profile, this_machine
    from neurocohort.errors import InputError
    from neurocohort.study.configuration import read_checked

    profile_read = read_profile(profile) if profile else this_machine()
    given = _enter(studies, directory)
    if not given:
        raise InputError(f"no study is given, and {Path.cwd()} has no {DEFAULT_STUDY}; give the path of a study file.")
    config = read_checked(given)
    print("\n".join(plan_text(make_plan(config, given, Path.cwd(), profile_read))))


@command
def doctor(
    studies: Studies = None,
    cluster: Annotated[
        str, typer.Option(help="slurm or sge: look at it, and send two small jobs through its profile")
    ] = "",
    directory: Folder = Path("."),
    wait: Annotated[float, typer.Option(help="seconds after which jobs that have not begun are cancelled")] = 300.0,
) -> None:
    """Look whether this machine, its scheduler, disk and network fit a study: a line a check, and under a cross the fix."""
    from neurocohort.cluster.doctor.examine import SCHEDULERS, examine, examine_jobs, seconds_left
    from neurocohort.cluster.doctor.findings import BAD, NONE, Finding, lines_of
    from neurocohort.errors import InputError

    if cluster and cluster not in SCHEDULERS:
        raise InputError(f"--cluster is {cluster!r}; expected one of {', '.join(SCHEDULERS)}.")
    near, given = Path.cwd(), _enter(studies, directory)

    def show(findings: list) -> bool:
        width = max(map(len, (finding.name for finding in findings)), default=0)
        print("\n".join(line for finding in findings for line in lines_of(finding, width)), flush=True)
        return any(finding.mark == BAD for finding in findings)

    bad = show(examine(given, Path.cwd(), cluster, near, seconds_left()))
    if cluster:
        print(
            f"\nJobs of a few seconds, sent through the profile {cluster}; they may wait in the queue, {wait:g} s at most ...",
            flush=True,
        )
        sent = examine_jobs(given, Path.cwd(), cluster, near, wait)
        bad |= show(sent or [Finding(NONE, "jobs", "none was sent: fix the crosses above first")])
    if bad:
        raise typer.Exit(1)


@command
def probe(output: Path, address: str) -> None:
    """Write what a job sees where it runs to OUTPUT; ADDRESS is asked to see whether the network is open."""
    import time

    from neurocohort.cluster.probe import look
    from neurocohort.files import write_json

    write_json(output, look(address) | {"written": time.time()})


def _enter(studies: list[Path] | None, directory: Path) -> list[Path]:
    """Go to the study's folder, as Snakemake does: relative paths of a study start there. Returns the study files."""
    import os

    from neurocohort.errors import InputError

    given = [Path(study).resolve() for study in studies or []]
    if not directory.is_dir():
        raise InputError(
            f"--directory {directory} isn't a folder, seen from {Path.cwd()}; make it first, or give another."
        )
    os.chdir(directory)
    return given or ([DEFAULT_STUDY.resolve()] if DEFAULT_STUDY.is_file() else [])
