"""All that a doctor looks at before a study runs, side by side: software, scheduler, file system, downloads, configuration."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import psutil

from neurocohort.cluster.asking import ask
from neurocohort.cluster.doctor import cluster_jobs, grid_engine, slurm
from neurocohort.cluster.doctor.downloads import check_downloads
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Check, Finding, in_time, side_by_side
from neurocohort.cluster.doctor.jobs import asked_of
from neurocohort.cluster.doctor.software import check_packages, check_python, check_torch
from neurocohort.cluster.doctor.storage import check_kind, check_latency, check_room
from neurocohort.cluster.dry_run import jobs_of_one_scan
from neurocohort.cluster.planning.study import Study
from neurocohort.cluster.profiles import Profile, read_profile, this_machine
from neurocohort.errors import InputError
from neurocohort.study.configuration import read_checked

WHOLE_S = 9.5  # from the start of the process; the checks, which run at once, have what is left of it
LEAST_S = 4.0  # that they have in any case
DETECT_S = 1.5
SCHEDULERS = {"slurm": slurm, "sge": grid_engine}  # by the names of the profiles
DETECT = {"slurm": slurm.SINFO, "sge": grid_engine.QUEUES}
DEFAULT_ADDRESS = "https://biomedic.doc.ic.ac.uk/"


def seconds_left() -> float:
    """That the checks of this process have, so that it ends in time whatever they meet."""
    return max(LEAST_S, WHOLE_S - (time.time() - psutil.Process().create_time()))


def examine(studies: Sequence[Path], directory: Path, cluster: str, near: Path, limit_s: float) -> list[Finding]:
    """The findings for ``studies`` (one configuration in several files) in the folder ``directory``.

    ``cluster``: slurm or sge, which must then be there; empty for whichever is. ``near``: from where its profile is seen.
    ``limit_s``: seconds that all of it may take.
    """
    until = time.monotonic() + limit_s
    config, findings = read_configuration(studies)
    found = [cluster] if cluster else schedulers_here()
    read: dict[str, Profile | None] = {}
    for name in found:
        read[name], faults = _profile(name, near)
        findings += faults
    study = Study(config, directory) if config else None
    devices, limit_s = devices_of(config), until - time.monotonic()
    checks: dict[str, Check] = {
        "Python": check_python,
        "packages": check_packages,
        "torch": lambda: check_torch(limit_s - 0.5, devices=devices, on_cluster=bool(found)),
    }
    if not found:
        nothing = Finding(NONE, "scheduler", "neither Slurm nor Grid Engine answers here: jobs run on this machine")
        checks["scheduler"] = lambda: [nothing]
    for name in found:
        checks |= _scheduler_checks(name, read[name], study, devices, wanted=bool(cluster), limit_s=limit_s - 0.5)
    one = found[0] if len(found) == 1 else ""
    shown = SCHEDULERS[one].NAME if one else " and ".join(SCHEDULERS[name].NAME for name in found)
    checks["file system"] = lambda: check_kind(directory, shown, partial(_only_node, found))
    checks["latency"] = lambda: check_latency(directory)
    if study:
        profile = read.get(one) or this_machine()
        checks["disk"] = lambda: check_room(study, profile.jobs)
        checks["downloads"] = lambda: check_downloads(study.archives)
    return findings + side_by_side(checks, limit_s)


def examine_jobs(studies: Sequence[Path], directory: Path, cluster: str, near: Path, wait_s: float) -> list[Finding]:
    """What jobs see that are sent to ``cluster`` through its profile; nothing where either is lacking, which is told already."""
    if ask(*DETECT[cluster]).fault:
        return []
    config, _ = read_configuration(studies)
    profile, _ = _profile(cluster, near)
    if profile is None:
        return []
    gpu = config is None or devices_of(config) != {"cpu"}
    kinds = [cluster_jobs.CPU, *([cluster_jobs.GPU] if gpu else [])]
    archives = Study(config, directory).archives if config else []
    address = next((archive.addresses[0] for archive in archives if archive.remote), DEFAULT_ADDRESS)
    findings = cluster_jobs.check_on_cluster(profile, directory, kinds, address, wait_s)
    return findings if gpu else [*findings, cluster_jobs.not_needed()]


def read_configuration(studies: Sequence[Path]) -> tuple[dict | None, list[Finding]]:
    """The checked configuration and a line on it; None and a line a fault where it isn't in order."""
    name = "configuration"
    if not studies:
        return None, [Finding(NONE, name, "no study is given, and there is no config/config.yaml here")]
    try:
        config = read_checked(list(studies))
    except InputError as error:
        first, *rest = str(error).splitlines()
        said = [line.removeprefix("- ") for line in rest] or [first]
        fix = "correct the study file; config/README.md has every key."
        return None, [Finding(BAD, name, sentence, fix) for sentence in said]
    files = ", ".join(map(str, studies))
    return config, [Finding(GOOD, name, f"{files} in order (study {config['study']})")]


def schedulers_here() -> list[str]:
    """Those that answer on this machine, by the names of their profiles."""
    answers = in_time([partial(ask, *command, seconds=DETECT_S) for command in DETECT.values()], DETECT_S)
    return [name for name, answer in zip(DETECT, answers, strict=True) if answer and not answer.fault]


def _only_node(schedulers: Sequence[str]) -> bool:
    return all(SCHEDULERS[name].only_node() for name in schedulers)


def devices_of(config: dict | None) -> set[str]:
    """Where the study's jobs compute: its `device`, and that of preprocessing where it is a GPU. Empty without a study."""
    if config is None:
        return set()
    return {config["device"]} | ({"cuda"} if config["preprocessing"]["device"] == "cuda" else set())


def _profile(name: str, near: Path) -> tuple[Profile | None, list[Finding]]:
    """The profile, or a line on why it can't be read."""
    try:
        return read_profile(name, near), []
    except InputError as error:
        return None, [Finding(BAD, "profile", str(error), "correct that file, or take it anew from the repository.")]


def _scheduler_checks(
    name: str, profile: Profile | None, study: Study | None, devices: set[str], *, wanted: bool, limit_s: float
) -> dict[str, Check]:
    module = SCHEDULERS[name]
    if name == "slurm":
        own = {
            slurm.NAME: partial(slurm.check_slurm, profile, wanted=wanted),
            "accounting": partial(slurm.check_accounting, profile),
        }
    else:
        gpu = devices != {"cpu"}
        own = {grid_engine.NAME: partial(grid_engine.check_grid_engine, profile, wanted=wanted, gpu=gpu)}
    return own | {f"jobs on {module.NAME}": partial(_check_jobs, module, profile, study, limit_s)}


def _check_jobs(module, profile: Profile | None, study: Study | None, limit_s: float) -> list[Finding]:
    """The needs of jobs are learned from a dry run, which a busy machine may not end in time: that is no fault of the queues."""
    if study is None or profile is None:
        lacking = "study" if study is None else "profile"
        return [Finding(NONE, "jobs", f"without a {lacking} in order it isn't known what they ask for")]
    (jobs,) = in_time([lambda: jobs_of_one_scan(study.config, profile, study.directory)], limit_s)
    if jobs is None:
        said = f"Snakemake's dry run takes more than {limit_s:.0f} s here: they are not held against the queues' limits"
        return [Finding(NONE, "jobs", said)]
    return module.check_jobs(profile, lambda: asked_of(jobs, profile))
