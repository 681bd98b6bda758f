"""Grid Engine: its jobs and how they ended, its queues, and whether the profile and the study's jobs fit them."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import NamedTuple

from neurocohort.cluster.asking import ANSWER_S, Answer, ask
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Check, Finding
from neurocohort.cluster.jobs import Resources
from neurocohort.cluster.profiles import GRID_ENGINE, SCHEDULERS_CHOICE, SITE_FILE, Profile, minutes
from neurocohort.cluster.scheduler import (
    MEMORY,
    TIME,
    Ending,
    Misfit,
    Scheduler,
    Submission,
    fit_findings,
    output_of,
)
from neurocohort.cluster.site import Site
from neurocohort.errors import InputError
from neurocohort.text import rough_duration, size

LOGS = Path(".snakemake/sge/logs")  # where profiles/sge/submit.py has Grid Engine write a job's output
ACCOUNTING_S = 20.0  # Grid Engine writes its accounting every 15 s
NEARLY_ALL = 0.95  # of the memory limit: a job that used this much was ended for it
SHOWN = 8  # queues that are described
UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


class Resource(NamedTuple):
    """A resource of `qconf -sc`. ``consumable``: YES (per slot), JOB (per job) or NO."""

    kind: str
    requestable: bool
    consumable: str


class Queue(NamedTuple):
    """A queue, with the largest values that its hosts and host groups have."""

    name: str
    limit_minutes: float
    environments: frozenset[str]
    slots: int

    def described(self) -> str:
        """The queue in one line."""
        limit = "no time limit" if self.limit_minutes == inf else f"{rough_duration(60 * self.limit_minutes)} at most"
        return f"{self.slots} slots a host, {limit}, parallel environments {', '.join(sorted(self.environments)) or 'none'}"


@dataclass(frozen=True)
class Names:
    """The names that this Grid Engine has, which those of site.yaml must match."""

    queues: dict[str, Queue]
    resources: dict[str, Resource]
    environments: list[str]


class GridEngine(Scheduler):
    """Grid Engine (SGE, UGE, OGS)."""

    name, profile_name, executor = "Grid Engine", "sge", GRID_ENGINE
    submitted = re.compile(r"Submitted (?:group )?job (\S+) with external jobid '(\d+)'")
    refused = re.compile(r"Unable to run job: (.+)")
    submission_failed = re.compile(r"Error submitting jobscript")
    details_command = "qacct -j"

    def answer(self, seconds: float = ANSWER_S) -> Answer:
        return ask("qconf", "-sql", seconds=seconds)

    def jobs_here(self, jobs: set[str], folder: Path) -> set[str]:
        shown = {job: output_of("qstat", "-j", job) for job in self.present(jobs)}
        places = {job: re.search(r"^cwd: +(.+)$", text, re.MULTILINE) for job, text in shown.items()}
        return {job for job, place in places.items() if place and Path(place[1].strip()).resolve() == folder.resolve()}

    def present(self, jobs: set[str]) -> set[str]:
        return jobs & {line.split()[0] for line in output_of("qstat").splitlines() if line.split()}

    def delete(self, jobs: set[str]) -> None:
        output_of("qdel", *sorted(jobs))

    def ending_of(self, job: str) -> Ending:
        until = time.monotonic() + ACCOUNTING_S
        while not (text := output_of("qacct", "-j", job)) and time.monotonic() < until:
            time.sleep(1)
        return read_ending(text)

    def logs_of(self, job: str) -> list[Path]:
        return sorted(LOGS.glob(f"*.{job}.log"))

    def waiting_reason(self, job: str) -> str:
        found = re.search(r"^scheduling info: +(.*(?:\n +.*)*)", ask("qstat", "-j", job).text, re.MULTILINE)
        reasons = [line.strip() for line in found[1].splitlines()] if found else []
        if not reasons:
            lines = ask("qalter", "-w", "p", job).text.splitlines()
            reasons = [line.strip() for line in lines if "cannot" in line or "not" in line][:2]
        return f"job {job}: {'; '.join(reasons[:3])}" if reasons else f"job {job} waits"

    def queue_of(self, profile: Profile, resources: Resources) -> str:
        return profile.site.queue_of(resources) or SCHEDULERS_CHOICE if profile.site else SCHEDULERS_CHOICE

    def is_single_node(self) -> bool:
        name = socket.gethostname()
        hosts = set(ask("qconf", "-sel").text.split())
        return bool(hosts) and hosts <= {name, name.split(".")[0], socket.getfqdn(), "localhost"}

    def checks(self, profile: Profile | None, *, required: bool, gpu: bool) -> dict[str, Check]:
        return {self.name: partial(self._check, profile, required=required, gpu=gpu)}

    def check_jobs(self, profile: Profile, submissions: Callable[[], list[Submission]]) -> list[Finding]:
        answer, site = self.answer(), _site_or_fault(profile)
        if answer.fault:
            return [Finding(NONE, "jobs", "Grid Engine doesn't answer")]
        if not isinstance(site, Site):
            return [Finding(NONE, "jobs", "site.yaml doesn't state where they go")]
        queues, memory_mb = _queues(answer.text), read_memory_mb(ask("qhost").text)
        misfits = partial(job_misfits, queues=queues, memory_mb=memory_mb, site=site, profile=profile)
        return fit_findings(submissions(), misfits, lambda submission: "their queues")

    def _check(self, profile: Profile | None, *, required: bool, gpu: bool) -> list[Finding]:
        """Grid Engine itself, its queues, and the names of site.yaml."""
        answer = self.answer()
        if answer.fault:
            fix = "log in to a machine of the cluster, or load its settings, such as `. $SGE_ROOT/default/common/settings.sh`."
            return [Finding(BAD if required else NONE, self.name, f"doesn't answer: {answer.fault}", fix * required)]
        queues, site = _queues(answer.text), _site_or_fault(profile)
        findings = [Finding(GOOD, self.name, (ask("qstat", "-help").text.splitlines() or ["?"])[0])]
        named = {site.queue, site.gpu_queue} & set(queues) if isinstance(site, Site) else set()
        shown = [queue for queue in queues.values() if queue.name in named] or list(queues.values())[:SHOWN]
        findings += [Finding(GOOD, f"queue {queue.name}", queue.described()) for queue in shown]
        if profile is None:
            return findings
        if site is None:
            found = f"{profile.folder} has none, so its names aren't checked"
            return [*findings, Finding(NONE, SITE_FILE, found)]
        file = profile.path(SITE_FILE)
        if isinstance(site, str):
            fix = f"correct {file}; the files of sites/, in the same folder, are examples."
            return [*findings, Finding(BAD, SITE_FILE, site, fix)]
        names = Names(queues, read_resources(ask("qconf", "-sc").text), ask("qconf", "-spl").text.split())
        return findings + site_findings(site, file, names, gpu=gpu)


# --- reading what Grid Engine's programs print -------------------------------------------------------------------------


def read_ending(text: str) -> Ending:
    """How a job ended, from `qacct -j`."""
    record = text.rsplit("=====\n", 1)[-1]  # the last one of a job that ran several times
    found = {key: " ".join(value.split()) for key, value in re.findall(r"^(\w+) +(.*)$", record, re.MULTILINE)}
    if not found:
        return Ending()
    limits = dict(re.findall(r"\b(h_rt|h_vmem)=([\d.]+[KMGT]?)", found.get("category", ""), re.IGNORECASE))
    seconds, used = read_amount(found.get("ru_wallclock", "")), read_amount(found.get("maxvmem", ""))
    granted = read_amount(limits.get("h_vmem", "")) * max(1, read_amount(found.get("slots", "1")))
    words = [f"exit status {found.get('exit_status', '?')}", f"failed {found.get('failed', '?')}"]
    words += [f"{seconds:.0f} s" + (f" of {limits['h_rt']} s (h_rt)" if "h_rt" in limits else "")]
    if used:
        words.append(f"{used / 1e6:.0f} MB" + (f" of {granted / 1e6:.0f} MB (h_vmem)" if granted else ""))
    words.append(f"on {found.get('hostname', '?')}")
    cause = ""
    if "h_rt" in limits and seconds >= read_amount(limits["h_rt"]):
        cause = TIME
    elif granted and used >= NEARLY_ALL * granted:
        cause = MEMORY
    return Ending(", ".join(words), cause)


def read_resources(text: str) -> dict[str, Resource]:
    """The resources by name and by short name, from `qconf -sc`."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 7 and not line.startswith("#"):
            name, short, kind, _, requestable, consumable = words[:6]
            found[name] = found[short] = Resource(kind, requestable != "NO", consumable)
    return found


def read_queue(text: str) -> Queue:
    """A queue, from `qconf -sq`."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    values = dict(line.split(None, 1) for line in lines if len(line.split(None, 1)) == 2)
    parts = {key: [part.split("=")[-1].strip(" []") for part in value.split(",")] for key, value in values.items()}
    limit = max(minutes(part) for part in parts.get("h_rt", ["INFINITY"]))
    environments = {word for part in parts.get("pe_list", []) for word in part.split()} - {"NONE"}
    slots = max([int(part) for part in parts.get("slots", []) if part.isdigit()], default=0)
    return Queue(values.get("qname", "?").strip(), limit, frozenset(environments), slots)


def read_memory_mb(text: str) -> float:
    """The largest memory of a host, from `qhost`."""
    rows = [line.split() for line in text.splitlines()]
    return max((read_amount(row[7]) / 1e6 for row in rows if len(row) >= 8), default=0.0)


def read_amount(text: str) -> float:
    """A number with Grid Engine's units (``1.5G``, ``1.500GB``, ``35s``), in bytes or seconds; 0 if it is no number."""
    found = re.match(r"([\d.]+) *([KMGT]?)", text, re.IGNORECASE)
    return float(found[1]) * UNITS[found[2].upper()] if found else 0.0


# --- the doctor's questions ----------------------------------------------------------------------------------------------


def site_findings(site: Site, file: Path, names: Names, *, gpu: bool) -> list[Finding]:
    """The names of site.yaml that don't exist here or don't fit; one good finding if all do.

    Args:
        site: The content of ``file``.
        file: site.yaml.
        names: The names that exist.
        gpu: Whether the study has jobs with a GPU.
    """
    faults = [*_queue_faults(site, names), *_environment_faults(site, names, gpu), *_memory_faults(site, names)]
    faults += [*_project_faults(site), *(_gpu_faults(site, names) if gpu else [])]
    bad = [Finding(BAD, f"site.yaml {fault.key}", fault.found, f"{fault.fix} ({file})") for fault in faults]
    good = [] if bad else [Finding(GOOD, SITE_FILE, "its queues, environments and resources exist")]
    if gpu and not any(fault.key == "gpu" for fault in faults):
        good.append(Finding(GOOD, "GPUs", f"requested as -l {site.gpu.format(gpus=1)}, which hosts have"))
    return bad + good


class _Fault(NamedTuple):
    """What is wrong with a key of site.yaml."""

    key: str
    found: str
    fix: str


def _queue_faults(site: Site, names: Names) -> Iterator[_Fault]:
    for key, name in (("queue", site.queue), ("gpu_queue", site.gpu_queue)):
        if name and name not in names.queues:
            found = f"{name} isn't there; the queues are {', '.join(names.queues)}"
            yield _Fault(key, found, "write one of these, or leave it empty")


def _environment_faults(site: Site, names: Names, gpu: bool) -> Iterator[_Fault]:
    used = {"parallel_environment": site.parallel_environment}
    if gpu:
        used["gpu_parallel_environment"] = site.gpu_parallel_environment
    for key, name in used.items():
        if name not in names.environments:
            found = f"{name} isn't there; `qconf -spl` has {', '.join(names.environments) or 'none'}"
            yield _Fault(key, found, "write the one whose jobs stay on one machine")
            continue
        rule = re.search(r"^allocation_rule\s+(\S+)", ask("qconf", "-sp", name).text, re.MULTILINE)
        if rule and rule[1] != "$pe_slots":
            found = f"{name} spreads jobs over machines (allocation_rule {rule[1]})"
            yield _Fault(key, found, "write one with $pe_slots there")


def _memory_faults(site: Site, names: Names) -> Iterator[_Fault]:
    for name in {**site.memory, **site.gpu_memory}:
        resource = names.resources.get(name)
        if resource is None or not resource.requestable:
            yield _Fault("memory", f"{name} is no resource that jobs can request (`qconf -sc`)", "remove or correct it")
            continue
        per, counts = {"YES": ("slot", "each slot"), "JOB": ("job", "the whole job")}.get(resource.consumable, ("", ""))
        if per and site.memory_per != per:
            yield _Fault("memory_per", f"{site.memory_per}, but {name} counts for {counts}", f"write {per}")


def _project_faults(site: Site) -> Iterator[_Fault]:
    projects = ask("qconf", "-sprjl").text.split() if site.project else []
    if site.project and site.project not in projects:
        found = f"{site.project} isn't there; the projects are {', '.join(projects) or 'none'}"
        yield _Fault("project", found, "correct it")


def _gpu_faults(site: Site, names: Names) -> Iterator[_Fault]:
    """Faults of the request for a GPU. Its resource comes first, perhaps others after commas: ``gpu=true,gpu_type=a100``."""
    requested = dict(part.partition("=")[::2] for part in site.gpu.split(","))
    for name in requested:
        if name not in names.resources or not names.resources[name].requestable:
            similar = sorted(other for other in names.resources if re.search("gpu|cuda", other, re.IGNORECASE))
            there = f"; there are {', '.join(similar)}" if similar else ""
            found = f"{name} is no resource that jobs can request{there}"
            yield _Fault("gpu", found, "write what `qconf -sc` calls the GPUs")
            return
    name, amount = next(iter(requested.items()))
    resource = names.resources[name]
    if resource.kind == "BOOL" and "{gpus}" in amount:
        yield _Fault("gpu", f"`{site.gpu}` requests a number, but {name} is true or false", f"write {name}=true")
    if resource.consumable == "YES" and site.gpu_slots == "threads":
        yield _Fault("gpu_slots", f"threads, but each slot of a job takes a {name} (consumable YES)", "write gpus")
    if resource.consumable == "JOB" and site.gpu_slots == "gpus":
        yield _Fault("gpu_slots", f"gpus, but {name} counts for the whole job (consumable JOB)", "write threads")
    counted = ask("qhost", "-F", name).text + ask("qstat", "-F", name).text
    if not re.search(rf"\b{re.escape(name)}=", counted):
        fix = "write the resource that hosts have, or set `device: cpu` in the study"
        yield _Fault("gpu", f"no host and no queue has any {name}", fix)


def job_misfits(
    submission: Submission, queues: dict[str, Queue], memory_mb: float, site: Site, profile: Profile
) -> list[Misfit] | None:
    """What a job requests and its queues or hosts don't have; None if its queue doesn't exist.

    Args:
        submission: The job.
        queues: All queues by name.
        memory_mb: Memory of the largest host; 0 if it isn't known.
        site: The profile's site.yaml.
        profile: The profile, whose files the fixes name.
    """
    resources, rule = submission.resources, submission.rule
    name = site.queue_of(resources)
    usable = [queue for queue in queues.values() if name in ("", queue.name)]
    if not usable:
        return None
    where, found = name or "any queue", []
    longest = max(queue.limit_minutes for queue in usable)
    if resources.runtime > longest:
        said = f"{rule} requests {rough_duration(60 * resources.runtime)}, and {where} allows {rough_duration(60 * longest)}"
        fix = f"use another queue in site.yaml, or less time, as in `--set-resources {rule}:runtime={longest:.0f}`; a "
        fix += "training continues from its checkpoint when it is restarted."
        found.append(Misfit("runtime", resources.runtime, Finding(BAD, "jobs", said, fix)))
    slots, environment = site.slots(resources), site.environment_of(resources)
    able = [queue.slots for queue in usable if slots == 1 or environment in queue.environments]
    if slots > max(able, default=0):
        said = (
            f"{rule} requests {slots} slots in {environment}, and {where} has {max(able, default=0)} on a host for that"
        )
        fix = f"write no more as cores in {profile.file}, or another parallel environment or queue in site.yaml."
        found.append(Misfit("threads", slots, Finding(BAD, "jobs", said, fix)))
    if memory_mb and resources.mem_mb > memory_mb:
        said = f"{rule} requests {size(resources.mem_mb * 1e6)}, and the largest host has {size(memory_mb * 1e6)}"
        found.append(Misfit("mem_mb", resources.mem_mb, Finding(BAD, "jobs", said, "use a queue with larger hosts.")))
    return found


def _queues(listed: str) -> dict[str, Queue]:
    return {name: read_queue(ask("qconf", "-sq", name).text) for name in listed.split()}


def _site_or_fault(profile: Profile | None) -> Site | str | None:
    """site.yaml, or why it can't be used; None if there is none."""
    try:
        return profile.site if profile else None
    except InputError as error:
        return str(error)
