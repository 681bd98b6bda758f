"""Snakemake's profiles: where jobs go and how many run at a time. Read without Snakemake."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from neurocohort.checkout import CHECKOUT
from neurocohort.cluster.site import Site, read_mapping, read_site
from neurocohort.errors import InputError

FILES = ("profile.yaml", "config.yaml")  # Snakemake looks for them in this order
SITE_FILE, PARTITIONS_FILE = "site.yaml", "partitions.yaml"
LOCAL, SLURM, GRID_ENGINE = "local", "slurm", "cluster-generic"  # Snakemake's names of the executors
THIS_MACHINE = "this machine"
SCHEDULERS_CHOICE = "the scheduler's choice"
MINUTES = {"d": 1440.0, "h": 60.0, "m": 1.0, "s": 1 / 60}


@dataclass(frozen=True)
class Limits:
    """The limits of a partition in partitions.yaml; Snakemake's plugin has others, which no rule here uses."""

    max_runtime: float = inf
    max_mem_mb: float = inf
    max_threads: float = inf
    max_cpus_per_task: float = inf
    max_gpu: float = 0


@dataclass(frozen=True)
class Profile:
    """A profile.

    Args:
        name: As the user typed it.
        executor: LOCAL, SLURM or GRID_ENGINE.
        folder: Its folder; None for this machine without a profile.
        jobs: Submitted jobs that wait or run at a time.
        cores: CPUs of this machine that are used at a time, or the most that one submitted job gets.
        local_cores: CPUs for jobs that run where Snakemake runs.
        gpus: GPUs of this machine that are used at a time; infinite if the profile sets no limit.
        partition: Slurm partition of all jobs; empty if each job's is chosen.
        account: Slurm account; empty for the default one.
        gpu_model: Slurm's model of GPU that jobs ask for; empty for any.
        partitions: partitions.yaml, by name.
        status_command: Program that Snakemake asks for the states of Slurm jobs; empty if that is chosen when a run starts.
    """

    name: str
    executor: str = LOCAL
    folder: Path | None = None
    jobs: int = 1
    cores: int = 1
    local_cores: int = 1
    gpus: float = inf
    partition: str = ""
    account: str = ""
    gpu_model: str = ""
    partitions: dict[str, Limits] = field(default_factory=dict)
    status_command: str = ""

    @property
    def file(self) -> Path:
        """The file that Snakemake reads."""
        return profile_file(self.path(""))

    @cached_property
    def site(self) -> Site | None:
        """Grid Engine's names; None if the profile has no site.yaml. Raises InputError if it is wrong."""
        found = self.executor == GRID_ENGINE and self.path(SITE_FILE).is_file()
        return read_site(self.path(SITE_FILE)) if found else None

    def path(self, name: str) -> Path:
        """A file of the profile's folder."""
        return (self.folder or Path()) / name


def this_machine() -> Profile:
    """What `snakemake --cores N` does without a profile, with all cores that this process may use."""
    cores = len(os.sched_getaffinity(0))
    return Profile(LOCAL, jobs=cores, cores=cores, local_cores=cores)


def read_profile(name: str, near: Path | None = None) -> Profile:
    """Read the profile that Snakemake would use for ``name``.

    Args:
        name: A folder seen from ``near``, the name of a profile of the checkout, or of one in ~/.config/snakemake.
        near: Folder in which the user typed the name; by default the working directory.

    Raises:
        InputError: If there is no such profile, one of its files is not YAML, or its executor isn't supported.
    """
    folder = _find(name, near or Path.cwd())
    path = profile_file(folder)
    content = read_mapping(path)
    executor, known = content.get("executor", LOCAL), (LOCAL, SLURM, GRID_ENGINE)
    if executor not in known:
        raise InputError(
            f"{path} has the executor `{executor}`; expected one of {', '.join(known)}, whose profiles are in profiles/."
        )
    cores, here = _cores(path, content.get("cores", "all")), len(os.sched_getaffinity(0))
    local = executor == LOCAL
    resources, defaults = _pairs(content.get("resources")), _pairs(content.get("default-resources"))
    partitions = {}
    if "slurm-partition-config" in content:
        partitions = _partitions(folder / _fixed(content, "slurm-partition-config", PARTITIONS_FILE))
    return Profile(
        name,
        executor,
        folder,
        jobs=cores if local else int(content.get("jobs", 1)),
        cores=cores,
        local_cores=cores if local else int(content.get("local-cores", here)),
        gpus=float(resources.get("gpu", inf)) if local else inf,
        partition=str(defaults.get("slurm_partition") or ""),
        account=str(defaults.get("slurm_account") or ""),
        gpu_model=str(defaults.get("gpu_type") or ""),
        partitions=partitions,
        status_command=_fixed(content, "slurm-status-command"),
    )


def profile_file(folder: Path) -> Path:
    """The file of a profile's folder that Snakemake reads."""
    return next((folder / name for name in FILES if (folder / name).is_file()), folder / FILES[-1])


def minutes(limit: object) -> float:
    """Read a time limit: minutes, Slurm's D-HH:MM:SS, HH:MM:SS or MM:SS, or a number with its unit as in 2d or 4h.

    Returns:
        Minutes; infinite if there is no limit.
    """
    text = str(limit).strip()
    try:
        return float(text)
    except ValueError:
        pass
    if text[:-1].isdigit() and text[-1] in MINUTES:
        return int(text[:-1]) * MINUTES[text[-1]]
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in [*parts, days or "0"]):
        return inf  # "infinite", "UNLIMITED"
    hours, mins, secs = (["0", *parts] if len(parts) == 2 and not days else [*parts, "0", "0"])[:3]
    return int(days or 0) * 1440 + int(hours) * 60 + int(mins) + int(secs) / 60


def _find(name: str, near: Path) -> Path:
    places = [near / name, CHECKOUT / name, CHECKOUT / "profiles" / name, Path.home() / ".config/snakemake" / name]
    for place in places:
        if profile_file(place).is_file():
            return place.resolve()
    known = ", ".join(sorted(path.name for path in (CHECKOUT / "profiles").iterdir() if path.name != "default"))
    raise InputError(
        f"There is no profile {name}: expected a folder with {' or '.join(FILES)}, seen from {near}, or one of {known}."
    )


def _fixed(content: Mapping[str, Any], key: str, default: str = "") -> str:
    """A profile's value, or ``default`` if Snakemake evaluates it as Python (?): evaluating may ask a slow scheduler."""
    value = str(content.get(key, "?"))
    return default if value.startswith("?") else value


def _pairs(entries: Any) -> Mapping[str, Any]:
    """A profile's mapping, or its list of texts `key=value`."""
    if isinstance(entries, dict):
        return entries
    return dict(str(entry).split("=", 1) for entry in entries or [] if "=" in str(entry))


def _cores(path: Path, value: Any) -> int:
    if value == "all":
        return len(os.sched_getaffinity(0))
    if isinstance(value, bool) or not str(value).isdigit():
        raise InputError(f"{path} has cores: {value!r}; expected a whole number, or all.")
    return int(value)


def _partitions(path: Path) -> dict[str, Limits]:
    found = read_mapping(path).get("partitions")
    if not isinstance(found, dict) or not found:
        raise InputError(
            f"{path} has no key `partitions` with the names of partitions below it; expected `cpu: {{}}` or the like."
        )
    known = Limits.__dataclass_fields__
    return {
        str(name): Limits(**{key: minutes(value) for key, value in (limits or {}).items() if key in known})
        for name, limits in found.items()
    }
