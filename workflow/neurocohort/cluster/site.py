"""A Grid Engine site: what its cluster calls GPUs, memory and queues (site.yaml), and the submit options that follow from it.

profiles/sge/submit.py imports this module for every job, so it imports little.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from neurocohort.cluster.jobs import Resources
from neurocohort.errors import InputError


@dataclass(frozen=True)
class Site:
    """The keys of site.yaml; profiles/sge/site.yaml describes each of them."""

    gpu: str
    gpu_slots: Literal["gpus", "threads"]
    parallel_environment: str
    gpu_parallel_environment: str
    memory: dict[str, int]
    gpu_memory: dict[str, int]
    memory_per: Literal["slot", "job"]
    queue: str
    gpu_queue: str
    project: str
    reservation: bool
    options: list[str]

    def slots(self, resources: Resources) -> int:
        """Slots of a job."""
        return resources.gpu if resources.gpu and self.gpu_slots == "gpus" else resources.threads

    def environment_of(self, resources: Resources) -> str:
        """Parallel environment of a job with several slots."""
        return self.gpu_parallel_environment if resources.gpu else self.parallel_environment

    def queue_of(self, resources: Resources) -> str:
        """Queue of a job; empty for the scheduler's choice."""
        return self.gpu_queue if resources.gpu else self.queue


def read_site(path: Path) -> Site:
    """Read site.yaml. Raises InputError if a key is missing, unknown, or has a wrong value."""
    kinds, content = get_type_hints(Site), read_mapping(path)
    if unknown := sorted(set(content) - set(kinds)):
        raise InputError(f"{path} has the key {unknown[0]}; expected {', '.join(kinds)}.")
    for key, kind in kinds.items():
        if key not in content:
            raise InputError(f"{path} lacks the key {key}; the files of sites/, in the same folder, are examples.")
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        type_ = get_origin(kind) or kind
        if content[key] not in choices if choices else not isinstance(content[key], type_):
            expected = " or ".join(choices) or type_.__name__
            raise InputError(f"{path} has {key}: {content[key]!r}; expected {expected}.")
    return Site(**content)


def read_mapping(path: Path) -> Mapping[str, Any]:
    """The keys and values of a YAML file. Raises InputError if it isn't YAML, or has something else."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"{path} can't be read as YAML ({error}); correct it, or restore it from the repository."
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} has {type(content).__name__} at its top level; expected keys with values.")
    return content


def submit_options(site: Site, resources: Resources) -> list[str]:
    """The options of qsub for what a job requests. Raises InputError if the site can't request several GPUs."""
    slots, options = site.slots(resources), []
    if slots > 1:
        options += ["-pe", site.environment_of(resources), str(slots)]
    if resources.gpu:
        gpus = 1 if site.gpu_slots == "gpus" else resources.gpu
        if gpus > 1 and "{gpus}" not in site.gpu:
            raise InputError(
                f"A job needs {gpus} GPUs, but `gpu: {site.gpu}` of site.yaml can't request a number of them."
            )
        options += ["-l", site.gpu.format(gpus=gpus)]
    if resources.mem_mb:
        for name, extra_mb in (site.gpu_memory if resources.gpu else site.memory).items():
            megabytes = (resources.mem_mb + extra_mb) / (slots if site.memory_per == "slot" else 1)
            options += ["-l", f"{name}={math.ceil(megabytes)}M"]
    if resources.runtime:
        options += ["-l", f"h_rt={math.ceil(resources.runtime * 60)}"]
    if queue := site.queue_of(resources):
        options += ["-q", queue]
    if site.project:
        options += ["-P", site.project]
    if site.reservation and (resources.gpu or slots > 1):
        options += ["-R", "y"]
    return options + [str(option) for option in site.options]
