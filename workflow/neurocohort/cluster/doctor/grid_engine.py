"""Grid Engine as the profile meets it: its queues, the names in site.yaml, GPUs, parallel environments and limits."""

import importlib.util
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import NamedTuple

from neurocohort.cluster.asking import ask
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Finding
from neurocohort.cluster.doctor.jobs import Asked
from neurocohort.cluster.profiles import Profile, minutes
from neurocohort.cluster.terminal import duration, size

NAME = "Grid Engine"
QUEUES = ("qconf", "-sql")
SHOWN = 8  # queues that are described
SIZES = {"": 1e-6, "K": 1024 / 1e6, "M": 1024**2 / 1e6, "G": 1024**3 / 1e6, "T": 1024**4 / 1e6}  # in MB


class Resource(NamedTuple):
    """A resource of `qconf -sc`. ``consumable``: YES (of each slot), JOB (of the whole job) or NO."""

    kind: str
    requestable: bool
    consumable: str


@dataclass(frozen=True)
class Queue:
    """As `qconf -sq` tells it: the largest of the values that hosts and host groups have."""

    name: str
    limit_minutes: float
    environments: frozenset[str]
    slots: int

    def described(self) -> str:
        limit = "no time limit" if self.limit_minutes == inf else f"{duration(60 * self.limit_minutes)} at most"
        return f"{self.slots} slots a host, {limit}, parallel environments {', '.join(sorted(self.environments)) or 'none'}"


def read_resources(text: str) -> dict[str, Resource]:
    """By name and by short name, from `qconf -sc`."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 7 and not line.startswith("#"):
            name, short, kind, _, requestable, consumable = words[:6]
            resource = Resource(kind, requestable != "NO", consumable)
            found |= {name: resource, short: resource}
    return found


def read_queue(text: str) -> Queue:
    """From `qconf -sq`."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    values = dict(line.split(None, 1) for line in lines if len(line.split(None, 1)) == 2)
    parts = {key: [part.split("=")[-1].strip(" []") for part in value.split(",")] for key, value in values.items()}
    limit = max(inf if part == "INFINITY" else minutes(part) for part in parts.get("h_rt", ["INFINITY"]))
    environments = {word for part in parts.get("pe_list", []) for word in part.split()} - {"NONE"}
    slots = max([int(part) for part in parts.get("slots", []) if part.isdigit()], default=0)
    return Queue(values.get("qname", "?").strip(), limit, frozenset(environments), slots)


def read_memory_mb(text: str) -> float:
    """The largest memory of a host, from `qhost`."""
    found = [
        re.fullmatch(r"([\d.]+)([KMGT]?)", line.split()[7]) for line in text.splitlines() if len(line.split()) >= 8
    ]
    return max((float(one[1]) * SIZES[one[2]] for one in found if one), default=0.0)


def only_node() -> bool:
    """Whether this machine is the only host that runs jobs."""
    hosts = set(ask("qconf", "-sel").text.split())
    return bool(hosts) and hosts <= {
        socket.gethostname(),
        socket.gethostname().split(".")[0],
        socket.getfqdn(),
        "localhost",
    }


def check_grid_engine(profile: Profile | None, *, wanted: bool, gpu: bool) -> list[Finding]:
    """Grid Engine itself, its queues, and the names of site.yaml. ``wanted``: it was asked for; ``gpu``: the study needs one."""
    answer = ask(*QUEUES)
    if answer.fault:
        fix = "log in to a machine of the cluster, or load its settings, such as `. $SGE_ROOT/default/common/settings.sh`."
        return [Finding(BAD if wanted else NONE, NAME, f"doesn't answer: {answer.fault}", fix if wanted else "")]
    queues = _queues(answer.text)
    version = (ask("qstat", "-help").text.splitlines() or ["?"])[0]
    findings = [Finding(GOOD, NAME, version)]
    named = [str(profile.site.get(key)) for key in ("queue", "gpu_queue") if profile and profile.site.get(key)]
    shown = [queues[name] for name in named if name in queues] or list(queues.values())[:SHOWN]
    findings += [Finding(GOOD, f"queue {queue.name}", queue.described()) for queue in shown]
    if profile is None:
        return findings
    if not profile.site:
        return [
            *findings,
            Finding(NONE, "site.yaml", f"{profile.folder} has none, so the names in it aren't looked at"),
        ]
    site = read_site(profile)
    if isinstance(site, str):
        fix = f"correct {profile.folder / 'site.yaml'}; sites/ beside it has whole examples."
        return [*findings, Finding(BAD, "site.yaml", site, fix)]
    resources = read_resources(ask("qconf", "-sc").text)
    environments = ask("qconf", "-spl").text.split()
    return findings + judge_site(profile, site, queues, resources, environments, gpu=gpu, asking=ask)


def read_site(profile: Profile) -> dict | str:
    """site.yaml as the profile's own submit.py reads it; a text where that refuses it."""
    try:
        return _submit(profile).read_site(profile.folder / "site.yaml")
    except SystemExit as refusal:
        return str(refusal)


def judge_site(
    profile: Profile,
    site: dict,
    queues: dict[str, Queue],
    resources: dict[str, Resource],
    environments: list[str],
    *,
    gpu: bool,
    asking: Callable = ask,
) -> list[Finding]:
    """The names of site.yaml against those that there are. ``asking``: what further questions are put with."""
    file = profile.folder / "site.yaml"
    findings: list[Finding] = []

    def cross(key: str, found: str, fix: str) -> None:
        findings.append(Finding(BAD, f"site.yaml {key}", found, f"{fix} ({file})"))

    for key in ("queue", "gpu_queue"):
        if site[key] and site[key] not in queues:
            cross(
                key,
                f"{site[key]} isn't there; the queues are {', '.join(queues)}",
                "write one of these, or leave it empty",
            )
    keys = ("parallel_environment", "gpu_parallel_environment") if gpu else ("parallel_environment",)
    for key in keys:
        name = site[key]
        if name not in environments:
            there = ", ".join(environments) or "there is none"
            cross(key, f"{name} isn't there; `qconf -spl` has {there}", "write the one whose jobs stay on one machine")
        elif "$pe_slots" not in (rule := _value(asking("qconf", "-sp", name).text, "allocation_rule")) and rule:
            cross(key, f"{name} spreads jobs over machines (allocation_rule {rule})", "write one with $pe_slots there")
    for name in {**site["memory"], **site["gpu_memory"]}:
        resource = resources.get(name)
        if resource is None or not resource.requestable:
            cross("memory", f"{name} is no resource that jobs can ask for (`qconf -sc`)", "take it out, or correct it")
            continue
        per, counts = {"YES": ("slot", "each slot"), "JOB": ("job", "the whole job")}.get(resource.consumable, ("", ""))
        if per and site["memory_per"] != per:
            cross("memory_per", f"{site['memory_per']}, and {name} counts for {counts}", f"write {per}")
    if gpu:
        findings += _gpu_findings(site, resources, cross, asking)
    projects = asking("qconf", "-sprjl").text.split() if site["project"] else []
    if site["project"] and site["project"] not in projects:
        cross("project", f"{site['project']} isn't there; there are {', '.join(projects) or 'none'}", "correct it")
    return findings or [Finding(GOOD, "site.yaml", "its queues, environments and resources are there")]


def _gpu_findings(site: dict, resources: dict[str, Resource], cross: Callable, asking: Callable) -> list[Finding]:
    """How a GPU is asked for: its resource first, and perhaps others after commas, as in ``gpu=true,gpu_type=a100``."""
    asked = dict(part.partition("=")[::2] for part in site["gpu"].split(","))
    for name in asked:
        if name not in resources or not resources[name].requestable:
            near = sorted(other for other in resources if re.search("gpu|cuda", other, re.IGNORECASE))
            there = f"; there are {', '.join(near)}" if near else ""
            cross("gpu", f"{name} is no resource that jobs can ask for{there}", "write what `qconf -sc` calls the GPUs")
            return []
    name, amount = next(iter(asked.items()))
    resource = resources[name]
    if resource.kind == "BOOL" and "{gpus}" in amount:
        cross("gpu", f"`{site['gpu']}` asks for a number, and {name} is true or false", f"write {name}=true")
    if resource.consumable == "YES" and site["gpu_slots"] == "threads":
        cross("gpu_slots", f"threads, and each slot of a job takes a {name} (consumable YES)", "write gpus")
    if resource.consumable == "JOB" and site["gpu_slots"] == "gpus":
        cross("gpu_slots", f"gpus, and {name} counts for the whole job (consumable JOB)", "write threads")
    counted = asking("qhost", "-F", name).text + asking("qstat", "-F", name).text
    if not re.search(rf"\b{re.escape(name)}=", counted):
        fix = "write the resource that hosts have, or set `device: cpu` in the study"
        cross("gpu", f"no host and no queue has any {name}", fix)
        return []
    return [Finding(GOOD, "GPUs", f"asked for as -l {site['gpu'].format(gpus=1)}, which hosts have")]


def check_jobs(profile: Profile, asked: Callable[[], list[Asked]]) -> list[Finding]:
    """Whether each job of the study fits a queue that it may go to."""
    answer = ask(*QUEUES)
    site = read_site(profile) if profile.site else "there is no site.yaml"
    if answer.fault or isinstance(site, str):
        said = "Grid Engine doesn't answer" if answer.fault else "site.yaml doesn't tell where they go"
        return [Finding(NONE, "jobs", said)]
    return judge_jobs(asked(), _queues(answer.text), site, read_memory_mb(ask("qhost").text), profile)


def judge_jobs(
    asked: Iterable[Asked], queues: dict[str, Queue], site: dict, memory_mb: float, profile: Profile
) -> list[Finding]:
    """``asked`` against the queues' limits. ``memory_mb``: of the largest host."""
    worst: dict[str, tuple[float, Finding]] = {}
    fitting = set()
    for job in asked:
        gpus = job.amounts["gpu"]
        slots = gpus if gpus and site["gpu_slots"] == "gpus" else job.amounts["threads"]
        environment = site["gpu_parallel_environment" if gpus else "parallel_environment"] if slots > 1 else ""
        name = site["gpu_queue" if gpus else "queue"]
        open_to = [queue for queue in queues.values() if name in ("", queue.name)]
        if not open_to:
            continue  # its name is told already
        faults = dict(_faults(job, open_to, slots, environment, memory_mb, name or "any queue", profile))
        for kind, found in faults.items():
            amount = job.amounts[kind]
            if amount > worst.get(kind, (0, None))[0]:
                worst[kind] = amount, found
        if not faults:
            fitting.add(job.rule)
    findings = [Finding(GOOD, "jobs", f"those of {len(fitting)} rule(s) fit their queues")] if fitting else []
    return findings + [finding for _, finding in worst.values()]


def _faults(
    job: Asked, queues: list[Queue], slots: int, environment: str, memory_mb: float, where: str, profile: Profile
) -> Iterable[tuple[str, Finding]]:
    runtime, mem_mb = job.amounts["runtime"], job.amounts["mem_mb"]
    longest = max(queue.limit_minutes for queue in queues)
    if runtime > longest:
        said = f"{job.rule} asks for {duration(60 * runtime)}, and {where} allows {duration(60 * longest)}"
        fix = f"another queue in site.yaml, or less time, as in `--set-resources {job.rule}:runtime={longest:.0f}`; a training "
        yield "runtime", Finding(BAD, "jobs", said, fix + "goes on from its checkpoint when it is begun again.")
    able = [queue for queue in queues if slots == 1 or environment in queue.environments]
    most = max((queue.slots for queue in able), default=0)
    if slots > most:
        said = f"{job.rule} asks for {slots} slots by {environment}, and {where} has {most} on a host for that"
        fix = f"write no more as cores in {profile.file}, or another parallel environment or queue in site.yaml."
        yield "threads", Finding(BAD, "jobs", said, fix)
    if memory_mb and mem_mb > memory_mb:
        said = f"{job.rule} asks for {size(mem_mb * 1e6)}, and the largest host has {size(memory_mb * 1e6)}"
        yield "mem_mb", Finding(BAD, "jobs", said, "use a queue with larger hosts.")


def _queues(listed: str) -> dict[str, Queue]:
    return {name: read_queue(ask("qconf", "-sq", name).text) for name in listed.split()}


def _value(text: str, key: str) -> str:
    found = re.search(rf"^{key}\s+(\S+)", text, re.MULTILINE)
    return found[1] if found else ""


def _submit(profile: Profile):
    """The profile's submit.py as a module: what it refuses here it would refuse for a job."""
    specification = importlib.util.spec_from_file_location("profile_submit", Path(profile.folder, "submit.py"))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
