"""Snakemake's profiles as far as they say where jobs go and how many at a time, read without Snakemake."""

import os
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import yaml

from neurocohort.checkout import CHECKOUT
from neurocohort.cluster.schedulers import GRID_ENGINE, SLURM
from neurocohort.errors import InputError

FILES = ("profile.yaml", "config.yaml")  # the names under which Snakemake looks, in its order
LOCAL = "local"
THIS_MACHINE = "this machine"
SCHEDULERS_CHOICE = "the scheduler's choice"
# Of a partition's limits in partitions.yaml, what a job asks of each; Snakemake's plugin knows others that no rule here uses.
LIMITS = {"max_runtime": "runtime", "max_mem_mb": "mem_mb", "max_threads": "threads", "max_cpus_per_task": "threads"}


@dataclass(frozen=True)
class Profile:
    """``jobs``: submissions that wait or run at a time. ``cores``: CPUs at a time of this machine, or of one submitted job at
    most. ``resources``: limits at a time, such as gpu. ``defaults``: the resources that jobs get where their rule says nothing.
    ``partitions``: partitions.yaml's, by name. ``status_command``: what asks Slurm for the states of jobs, empty
    where the profile or the plugin chooses when a run starts. ``site``: site.yaml."""

    name: str
    executor: str = LOCAL
    folder: Path | None = None
    jobs: int = 1
    cores: int = 1
    local_cores: int = 1
    resources: dict[str, object] = field(default_factory=dict)
    defaults: dict[str, object] = field(default_factory=dict)
    partitions: dict[str, dict] = field(default_factory=dict)
    status_command: str = ""
    site: dict[str, object] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The profile's own file."""
        return profile_file(self.folder)


def this_machine() -> Profile:
    """What `snakemake --cores N` is without a profile, with all the cores that this process may use."""
    cores = len(os.sched_getaffinity(0))
    return Profile(LOCAL, jobs=cores, cores=cores, local_cores=cores)


def read_profile(name: str, near: Path | None = None) -> Profile:
    """The profile that ``name`` means to Snakemake: a folder seen from ``near`` (by default from here), one of the checkout's, or
    one in ~/.config/snakemake.

    Raises InputError where there is none, where a file of it is not YAML, and where it has an executor that this can't read.
    """
    folder = _find(name, near or Path.cwd())
    path = profile_file(folder)
    content = _read(path)
    executor = content.get("executor", LOCAL)
    if executor not in (LOCAL, SLURM, GRID_ENGINE):
        known = ", ".join((LOCAL, SLURM, GRID_ENGINE))
        raise InputError(
            f"{path} has the executor `{executor}`; expected one of {known}, whose profiles lie in profiles/."
        )
    cores = _cores(path, content.get("cores", "all"))
    partitions = None
    if "slurm-partition-config" in content:
        partitions = folder / _fixed(content, "slurm-partition-config", "partitions.yaml")
    site = folder / "site.yaml"
    return Profile(
        name,
        executor,
        folder,
        jobs=cores if executor == LOCAL else int(content.get("jobs", 1)),
        cores=cores,
        local_cores=cores if executor == LOCAL else int(content.get("local-cores", len(os.sched_getaffinity(0)))),
        resources=_pairs(content.get("resources")),
        defaults=_pairs(content.get("default-resources")),
        partitions=_partitions(partitions) if partitions else {},
        status_command=_fixed(content, "slurm-status-command"),
        site=_read(site) if executor == GRID_ENGINE and site.is_file() else {},
    )


def profile_file(folder: Path) -> Path:
    """The file of a profile's folder that Snakemake reads."""
    return next((folder / name for name in FILES if (folder / name).is_file()), folder / FILES[-1])


def queue_of(profile: Profile, asked: dict[str, int]) -> str:
    """Where a job that asks for threads, gpu, mem_mb and runtime (minutes) goes: the name of a partition or queue.

    Empty where no partition of partitions.yaml takes it.
    """
    if profile.executor == SLURM:
        if partition := profile.defaults.get("slurm_partition"):
            return str(partition)
        return _best_partition(profile.partitions, asked) if profile.partitions else SCHEDULERS_CHOICE
    if profile.executor == GRID_ENGINE:
        return str(profile.site.get("gpu_queue" if asked.get("gpu") else "queue") or SCHEDULERS_CHOICE)
    return THIS_MACHINE


def _best_partition(partitions: dict[str, dict], asked: dict[str, int]) -> str:
    """As Snakemake's plugin for Slurm chooses: of those that take the job, the one whose limits it fills best."""
    scores = {}
    for name, limits in partitions.items():
        gpus, most = asked.get("gpu", 0), int(limits.get("max_gpu", 0))
        wanted = [(asked.get(resource, 0), minutes(limits.get(limit, inf))) for limit, resource in LIMITS.items()]
        if gpus > most or any(value > limit for value, limit in wanted):
            continue
        scores[name] = sum(value / limit for value, limit in wanted if limit < inf)
        scores[name] += gpus / most if gpus else -1.0 if most else 0.0
    return max(scores, key=scores.get, default="")


def minutes(limit: object) -> float:
    """A limit of partitions.yaml: a number, or of time also Slurm's D-HH:MM:SS, HH:MM:SS, MM:SS, or with a unit as in 2d, 4h."""
    text = str(limit).strip()
    try:
        return float(text)
    except ValueError:
        pass
    if text[:-1].isdigit() and text[-1] in "dhms":
        return int(text[:-1]) * {"d": 1440, "h": 60, "m": 1, "s": 1 / 60}[text[-1]]
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in [*parts, days or "0"]):
        return inf  # infinite, UNLIMITED
    hours, mins, secs = ([0, *parts] if len(parts) == 2 and not days else [*parts, 0, 0])[:3]
    return int(days or 0) * 1440 + int(hours) * 60 + int(mins) + int(secs) / 60


def _find(name: str, near: Path) -> Path:
    places = [near / name, CHECKOUT / name, CHECKOUT / "profiles" / name, Path.home() / ".config/snakemake" / name]
    for place in places:
        if profile_file(place).is_file():
            return place.resolve()
    known = ", ".join(sorted(path.name for path in (CHECKOUT / "profiles").iterdir() if path.name != "default"))
    raise InputError(
        f"There is no profile {name}: expected a folder that holds {' or '.join(FILES)}, seen from {near}, or one of {known}."
    )


def _fixed(content: dict, key: str, otherwise: str = "") -> str:
    """A value of a profile's file; ``otherwise`` where it is missing or a ? that Snakemake evaluates as Python.

    It isn't evaluated here: the profile of Slurm asks the scheduler, which may take long.
    """
    value = str(content.get(key, "?"))
    return otherwise if value.startswith("?") else value


def _read(path: Path) -> dict:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"{path} can't be read as YAML ({error}); correct it, or take it anew from the repository."
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {type(content).__name__}; expected keys with values.")
    return content


def _pairs(entries: object) -> dict[str, object]:
    """A profile's keys with values, or its list of texts `key=value`."""
    if isinstance(entries, dict):
        return entries
    return dict(str(entry).split("=", 1) for entry in entries or [] if "=" in str(entry))


def _cores(path: Path, value: object) -> int:
    if value == "all":
        return len(os.sched_getaffinity(0))
    if isinstance(value, bool) or not str(value).isdigit():
        raise InputError(f"{path} has cores: {value!r}; expected a whole number, or all.")
    return int(value)


def _partitions(path: Path) -> dict[str, dict]:
    found = _read(path).get("partitions")
    if not isinstance(found, dict) or not found:
        raise InputError(
            f"{path} has no key `partitions` with the names of partitions below it; expected `cpu: {{}}` or the like."
        )
    return {str(name): limits or {} for name, limits in found.items()}
