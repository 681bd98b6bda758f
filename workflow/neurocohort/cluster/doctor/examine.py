"""All checks of the doctor before a study runs, in parallel: software, scheduler, file system, downloads, configuration."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from neurocohort.cluster.doctor.cluster_jobs import CPU, GPU, NOT_NEEDED, ProbeRun, check_on_cluster
from neurocohort.cluster.doctor.downloads import check_downloads
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, RESTORE, Check, Finding, in_parallel, in_time
from neurocohort.cluster.doctor.jobs import submissions_of
from neurocohort.cluster.doctor.software import check_packages, check_python, check_torch
from neurocohort.cluster.doctor.storage import check_kind, check_latency, check_room
from neurocohort.cluster.dry_run import jobs_of_one_scan
from neurocohort.cluster.planning.study import Study
from neurocohort.cluster.profiles import Profile, read_profile, this_machine
from neurocohort.cluster.scheduler import Scheduler
from neurocohort.cluster.schedulers import SCHEDULERS
from neurocohort.errors import InputError
from neurocohort.study.configuration import read_checked

WHOLE_S = 9.5  # from the start of the process; the checks, which run at once, have the rest of it
LEAST_S = 4.0  # that they have in any case
DETECT_S = 1.5
DEFAULT_ADDRESS = "https://biomedic.doc.ic.ac.uk/"


@dataclass(frozen=True)
class Request:
    """What the user asked the doctor.

    Args:
        studies: Files that together are the configuration.
        directory: The study's folder.
        near: The folder in which the user typed the command, where profiles are looked for first.
        scheduler: The scheduler to examine; None for any that answers.
    """

    studies: Sequence[Path]
    directory: Path
    near: Path
    scheduler: Scheduler | None = None


def seconds_left() -> float:
    """Seconds that the checks of this process have, so that it ends in time."""
    return max(LEAST_S, WHOLE_S - (time.time() - psutil.Process().create_time()))


def examine(request: Request, limit_s: float) -> list[Finding]:
    """All findings, within ``limit_s`` seconds; no jobs are sent."""
    until = time.monotonic() + limit_s
    study, findings = read_study(request)
    found = [request.scheduler] if request.scheduler else schedulers_here()
    profiles: list[Profile | None] = []
    for scheduler in found:
        profile, faults = _profile(scheduler, request.near)
        profiles.append(profile)
        findings += faults
    devices, limit_s = devices_of(study), until - time.monotonic()
    checks: dict[str, Check] = {
        "Python": check_python,
        "packages": check_packages,
        "torch": lambda: check_torch(limit_s - 0.5, devices=devices, on_cluster=bool(found)),
    }
    if not found:
        nothing = Finding(NONE, "scheduler", "neither Slurm nor Grid Engine answers here: jobs run on this machine")
        checks["scheduler"] = lambda: [nothing]
    for scheduler, profile in zip(found, profiles, strict=True):
        checks |= scheduler.checks(profile, required=bool(request.scheduler), gpu=devices != {"cpu"})
        checks[f"jobs on {scheduler.name}"] = partial(_check_jobs, scheduler, profile, study, limit_s - 0.5)
    names = " and ".join(scheduler.name for scheduler in found)
    checks["file system"] = lambda: check_kind(
        request.directory, names, lambda: all(scheduler.is_single_node() for scheduler in found)
    )
    checks["latency"] = lambda: check_latency(request.directory)
    if study:
        jobs = ((profiles[0] if len(profiles) == 1 else None) or this_machine()).jobs
        checks["disk"] = lambda: check_room(study, jobs)
        checks["downloads"] = lambda: check_downloads(study.archives)
    return findings + in_parallel(checks, limit_s)


def examine_jobs(request: Request, wait_s: float) -> list[Finding]:
    """What jobs find that are sent through the scheduler's profile; nothing if either is missing, which `examine` has reported.

    Jobs that have not started after ``wait_s`` seconds are cancelled.
    """
    scheduler = request.scheduler
    if not scheduler or scheduler.answer().fault:
        return []
    study, _ = read_study(request)
    profile, _ = _profile(scheduler, request.near)
    if profile is None:
        return []
    archives = study.archives if study else []
    address = next((archive.addresses[0] for archive in archives if archive.remote), DEFAULT_ADDRESS)
    run = ProbeRun(scheduler, profile, request.directory, address, wait_s)
    if devices_of(study) == {"cpu"}:
        return [*check_on_cluster(run, [CPU]), NOT_NEEDED]
    return check_on_cluster(run, [CPU, GPU])


def read_study(request: Request) -> tuple[Study | None, list[Finding]]:
    """The study with its checked configuration, and a finding about it; None and its faults if it is wrong."""
    name = "configuration"
    if not request.studies:
        return None, [Finding(NONE, name, "no study is given, and there is no config/config.yaml here")]
    try:
        config = read_checked(list(request.studies))
    except InputError as error:
        first, *rest = str(error).splitlines()
        faults = [line.removeprefix("- ") for line in rest] or [first]
        fix = "correct the study file; config/README.md describes every key."
        return None, [Finding(BAD, name, fault, fix) for fault in faults]
    files = ", ".join(map(str, request.studies))
    found = Finding(GOOD, name, f"{files} is valid (study {config['study']})")
    return Study(config, request.directory), [found]


def schedulers_here() -> list[Scheduler]:
    """The schedulers that answer on this machine."""
    answers = in_time([partial(scheduler.answer, DETECT_S) for scheduler in SCHEDULERS], DETECT_S)
    return [each for each, answer in zip(SCHEDULERS, answers, strict=True) if answer and not answer.fault]


def devices_of(study: Study | None) -> set[str]:
    """Where the study's jobs compute: its `device`, and that of preprocessing if it is a GPU. Empty without a study."""
    if study is None:
        return set()
    config = study.config
    return {config["device"]} | ({"cuda"} if config["preprocessing"]["device"] == "cuda" else set())


def _profile(scheduler: Scheduler, near: Path) -> tuple[Profile | None, list[Finding]]:
    """The scheduler's profile, or why it can't be read."""
    try:
        return read_profile(scheduler.profile_name, near), []
    except InputError as error:
        return None, [Finding(BAD, "profile", str(error), RESTORE)]


def _check_jobs(scheduler: Scheduler, profile: Profile | None, study: Study | None, limit_s: float) -> list[Finding]:
    """Whether the study's jobs fit the queues. If the dry run takes too long, that is no fault of the queues."""
    if study is None or profile is None:
        missing = "study" if study is None else "profile"
        return [Finding(NONE, "jobs", f"without a valid {missing}, what they request isn't known")]
    (jobs,) = in_time([partial(jobs_of_one_scan, study.config, profile, study.directory)], limit_s)
    if jobs is None:
        found = f"Snakemake's dry run takes more than {limit_s:.0f} s here: the queues' limits aren't checked"
        return [Finding(NONE, "jobs", found)]
    return scheduler.check_jobs(profile, partial(submissions_of, jobs, profile))
