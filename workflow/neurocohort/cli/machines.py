"""The subcommands about machines: whether they are fit for a study, and what a study needs of them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurocohort.cli.app import command

if TYPE_CHECKING:
    from neurocohort.cluster.doctor.findings import Finding

Studies = Annotated[
    list[Path] | None, typer.Argument(help="study files, merged in their order; config/config.yaml by default")
]
Folder = Annotated[Path, typer.Option(help="the study's folder, with its data and results")]
DEFAULT_STUDY = Path("config/config.yaml")


@command
def plan(
    studies: Studies = None,
    profile: Annotated[
        str, typer.Option(help="slurm, sge, local-gpu, or a profile's folder; none: this machine's cores")
    ] = "",
    directory: Folder = Path("."),
) -> None:
    """Show what a study needs: jobs and their queues, downloads, disk, CPU and GPU hours, and the time of the whole run."""
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
        str, typer.Option(help="slurm or sge: examine it, and send two small jobs through its profile")
    ] = "",
    directory: Folder = Path("."),
    wait: Annotated[float, typer.Option(help="seconds after which jobs that have not started are cancelled")] = 300.0,
) -> None:
    """Check whether this machine, its scheduler, disk and network fit a study: a line per check, and the fix below a cross."""
    from neurocohort.cluster.doctor.examine import Request, examine, examine_jobs, seconds_left
    from neurocohort.cluster.doctor.findings import NONE, Finding
    from neurocohort.cluster.schedulers import BY_PROFILE
    from neurocohort.errors import InputError

    if cluster and cluster not in BY_PROFILE:
        raise InputError(f"--cluster is {cluster!r}; expected one of {', '.join(BY_PROFILE)}.")
    near, given = Path.cwd(), _enter(studies, directory)
    request = Request(given, Path.cwd(), near, BY_PROFILE.get(cluster))
    bad = _show(examine(request, seconds_left()))
    if cluster:
        print(
            f"\nJobs of a few seconds, sent through the profile {cluster}; they may wait in the queue, {wait:g} s at most ...",
            flush=True,
        )
        sent = examine_jobs(request, wait)
        bad |= _show(sent or [Finding(NONE, "jobs", "none was sent: fix the crosses above first")])
    if bad:
        raise typer.Exit(1)


@command
def probe(output: Path, address: str) -> None:
    """Write what a job finds where it runs to OUTPUT; ADDRESS is used to test the network."""
    from dataclasses import asdict

    from neurocohort.cluster.probe import look
    from neurocohort.files import write_json

    write_json(output, asdict(look(address)))


def _show(findings: "list[Finding]") -> bool:
    """Print the findings; whether one of them is bad."""
    from neurocohort.cluster.doctor.findings import BAD, lines_of

    width = max(map(len, (finding.name for finding in findings)), default=0)
    print("\n".join(line for finding in findings for line in lines_of(finding, width)), flush=True)
    return any(finding.mark == BAD for finding in findings)


def _enter(studies: list[Path] | None, directory: Path) -> list[Path]:
    """Go to the study's folder, as Snakemake does, since a study's relative paths start there. Returns the study files."""
    from neurocohort.errors import InputError

    given = [Path(study).resolve() for study in studies or []]
    if not directory.is_dir():
        raise InputError(
            f"--directory {directory} isn't a folder, seen from {Path.cwd()}; make it first, or give another one."
        )
    os.chdir(directory)
    return given or ([DEFAULT_STUDY.resolve()] if DEFAULT_STUDY.is_file() else [])
