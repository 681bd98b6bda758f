"""Slurm as the profile meets it: its partitions, their nodes, GPUs and limits, the account, and the accounting."""

import getpass
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

from neurocohort.cluster.asking import ask
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Finding
from neurocohort.cluster.doctor.jobs import Asked
from neurocohort.cluster.profiles import Profile, minutes
from neurocohort.cluster.schedulers import slurm_accounting
from neurocohort.cluster.terminal import duration, size

SINFO = ("sinfo", "--noheader", "--exact", "--format=%R|%a|%l|%D|%c|%m|%G|%T|%N")
USABLE = (
    "idle",
    "mix",
    "alloc",
    "comp",
    "res",
    "power",
    "plan",
    "reboot",
)  # the beginnings of states in which jobs can come
GRES = re.compile(r"gpu(?::([^:,(]+))?:(\d+)")
NAME = "Slurm"


@dataclass
class Partition:
    """As sinfo tells it. ``gpus``: by model (empty where it has no name), the most on one node. ``memory_mb``, ``cpus``: of its
    largest node."""

    name: str
    up: bool = True
    limit_minutes: float = inf
    nodes: dict[str, int] = field(default_factory=dict)
    cpus: int = 0
    memory_mb: int = 0
    gpus: dict[str, int] = field(default_factory=dict)

    def described(self) -> str:
        count = sum(self.nodes.values())
        states = ", ".join(f"{number} {state}" for state, number in sorted(self.nodes.items()))
        gpus = ", ".join(
            f"{number} GPU{'s' * (number > 1)}{f' {model}' * bool(model)}" for model, number in self.gpus.items()
        )
        said = f"{count} node{'s' * (count != 1)} ({states}), up to {self.cpus} CPUs and {size(self.memory_mb * 1e6)}"
        limit = "no time limit" if self.limit_minutes == inf else f"{duration(60 * self.limit_minutes)} at most"
        return f"{said}, {gpus or 'no GPU'}, {limit}"


def read_partitions(text: str) -> dict[str, Partition]:
    """The partitions by name from what `SINFO` prints."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        if line.count("|") < 8:
            continue
        name, available, limit, nodes, cpus, memory, gres, state = (part.strip() for part in line.split("|")[:8])
        partition = found.setdefault(name, Partition(name))
        partition.up = available == "up"
        partition.limit_minutes = inf if limit in ("infinite", "UNLIMITED", "n/a") else minutes(limit)
        state = re.sub(r"[^a-z].*", "", state)
        partition.nodes[state] = partition.nodes.get(state, 0) + int(nodes)
        partition.cpus = max(partition.cpus, _whole(cpus))
        partition.memory_mb = max(partition.memory_mb, _whole(memory))
        for model, number in GRES.findall(gres):
            partition.gpus[model] = max(partition.gpus.get(model, 0), int(number))
    return found


def only_node() -> bool:
    """Whether this machine is the cluster's only node."""
    nodes = {line.split("|")[8].strip() for line in ask(*SINFO).text.splitlines() if line.count("|") >= 8}
    return nodes <= {socket.gethostname(), socket.gethostname().split(".")[0], "localhost"} and bool(nodes)


def check_slurm(profile: Profile | None, *, wanted: bool) -> list[Finding]:
    """Slurm itself, its partitions, and whether those of the profile are among them. ``wanted``: a Slurm was asked for."""
    answer = ask(*SINFO)
    if answer.fault:
        fix = "log in to a machine of the cluster (a login node), or load its module, such as `module load slurm`."
        return [Finding(BAD if wanted else NONE, NAME, f"doesn't answer: {answer.fault}", fix if wanted else "")]
    partitions = read_partitions(answer.text)
    findings = [Finding(GOOD, NAME, ask("sinfo", "--version").text.strip().removeprefix("slurm "))]
    named = list(profile.partitions) if profile else list(partitions)
    findings += [Finding(*_judged(partitions[name])) for name in named if name in partitions]
    others = sorted(set(partitions) - set(named))
    if others:
        findings.append(Finding(NONE, "partitions", f"not in the profile: {', '.join(others)}"))
    if profile:
        findings += judge_names(profile, partitions)
    return findings


def check_accounting(profile: Profile | None) -> list[Finding]:
    """How a run follows its jobs: a profile that has it ask an accounting that isn't there would wait for ever."""
    if ask(*SINFO).fault:
        return [Finding(NONE, "accounting", "Slurm doesn't answer")]
    if slurm_accounting():
        return [Finding(GOOD, "accounting", "sacct answers: jobs are followed by it")]
    if profile and profile.status_command == "sacct":
        fix = f"write `slurm-status-command: squeue` into {profile.file}."
        found = "there is none that sacct could ask, and the profile has it asked: a run would wait for ever"
        return [Finding(BAD, "accounting", found, fix)]
    return [Finding(GOOD, "accounting", "there is none that sacct could ask: jobs are followed by squeue")]


def judge_names(profile: Profile, partitions: dict[str, Partition]) -> list[Finding]:
    """The partitions and the account that the profile names, against those that there are."""
    file = profile.folder / "partitions.yaml"
    there = ", ".join(partitions) or "none"
    findings = []
    for name, limits in profile.partitions.items():
        if name not in partitions:
            fix = f"write the name of one that is there in its place in {file}."
            findings.append(Finding(BAD, f"partition {name}", f"isn't there; this Slurm has {there}", fix))
        elif limits.get("max_gpu") and not partitions[name].gpus:
            with_gpus = [other for other in partitions if partitions[other].gpus]
            there_are = f"those with GPUs are {', '.join(with_gpus)}" if with_gpus else "no partition has any"
            fix = f"give max_gpu in {file} to a partition that has GPUs, or set `device: cpu` in the study."
            findings.append(
                Finding(BAD, f"partition {name}", f"has no GPU (gres), and {file.name} says max_gpu; {there_are}", fix)
            )
    account = str(profile.defaults.get("slurm_account") or "")
    if account:
        listed = ask(
            "sacctmgr", "--noheader", "--parsable2", "list", "user", getpass.getuser(), "withassoc", "format=account"
        )
        accounts = sorted(set(listed.text.split()))
        if listed.fault or not accounts:
            findings.append(
                Finding(NONE, "account", f"{account}; which you have isn't told ({listed.fault or 'an empty list'})")
            )
        elif account not in accounts:
            fix = f"write one of these as slurm_account in {profile.file}, or leave it empty for the default one."
            findings.append(Finding(BAD, "account", f"{account} isn't one of yours: {', '.join(accounts)}", fix))
        else:
            findings.append(Finding(GOOD, "account", account))
    return findings


def check_jobs(profile: Profile, asked: Callable[[], list[Asked]]) -> list[Finding]:
    """Whether each job of the study fits the partition that it goes to."""
    answer = ask(*SINFO)
    if answer.fault:
        return [Finding(NONE, "jobs", "Slurm doesn't answer")]
    return judge_jobs(asked(), read_partitions(answer.text), profile)


def judge_jobs(asked: Iterable[Asked], partitions: dict[str, Partition], profile: Profile) -> list[Finding]:
    """``asked`` against what the partitions' nodes have and allow: a line for each way in which some don't, with the worst."""
    worst: dict[tuple[str, str], tuple[float, Asked]] = {}
    model = str(profile.defaults.get("gpu_type") or "")
    fitting: dict[str, set[str]] = {}
    for job in asked:
        if job.queue and job.queue not in partitions:
            continue  # its name is told already
        faults = list(_faults(job, partitions.get(job.queue), model))
        for kind, amount in faults:
            if amount > worst.get((job.queue, kind), (0, None))[0]:
                worst[job.queue, kind] = amount, job
        if not faults:
            fitting.setdefault(job.queue, set()).add(job.rule)
    findings = [
        Finding(GOOD, "jobs", f"those of {len(rules)} rule(s) fit partition {queue}")
        for queue, rules in fitting.items()
    ]
    for (queue, kind), (_, job) in worst.items():
        findings.append(_unfit(kind, job, partitions.get(queue), profile, model))
    return findings


def _faults(job: Asked, partition: Partition | None, model: str) -> Iterable[tuple[str, float]]:
    amounts = job.amounts
    if partition is None:
        yield ("gpu queue" if amounts["gpu"] else "queue"), 1.0
        return
    have = {"runtime": partition.limit_minutes, "mem_mb": partition.memory_mb, "threads": partition.cpus}
    for name, most in have.items():
        if amounts[name] > most:
            yield name, amounts[name]
    gpus = partition.gpus.get(model, 0) if model else max(partition.gpus.values(), default=0)
    if partition.gpus and amounts["gpu"] > gpus:
        yield "gpu", amounts["gpu"]


def _unfit(kind: str, job: Asked, partition: Partition | None, profile: Profile, model: str) -> Finding:
    file, amounts = profile.folder / "partitions.yaml", job.amounts
    if partition is None:
        what = (
            f"asks for {amounts['gpu']} GPU, and none has max_gpu"
            if amounts["gpu"]
            else "asks for more than any allows"
        )
        fix = f"add one to {file}, with max_gpu for GPUs; or set `device: cpu` in the study."
        return Finding(BAD, "jobs", f"no partition of {file.name} takes {job.rule}: it {what}", fix)
    said = {
        "runtime": f"{job.rule} asks for {duration(60 * amounts['runtime'])}, and {partition.name} allows "
        f"{duration(60 * partition.limit_minutes)}",
        "mem_mb": f"{job.rule} asks for {size(amounts['mem_mb'] * 1e6)}, and a node of {partition.name} has "
        f"{size(partition.memory_mb * 1e6)}",
        "threads": f"{job.rule} asks for {amounts['threads']} CPUs, and a node of {partition.name} has {partition.cpus}",
        "gpu": f"{job.rule} asks for {amounts['gpu']} GPU{f' of the model {model}' * bool(model)}, and a node of "
        f"{partition.name} has {', '.join(f'{number} {name}'.strip() for name, number in partition.gpus.items())}",
    }[kind]
    fixes = {
        "runtime": f"give another partition in {file} (with max_runtime each), or ask for less, as in `--set-resources "
        f"{job.rule}:runtime={partition.limit_minutes:.0f}`; a training goes on from its checkpoint when it is begun again.",
        "mem_mb": f"give another partition in {file} (with max_mem_mb each), or fewer scans side by side.",
        "threads": f"write no more than {partition.cpus} as cores in {profile.file}.",
        "gpu": f"correct gpu_type in {profile.file}, or ask for fewer by `training.processes`.",
    }
    return Finding(BAD, "jobs", said, fixes[kind])


def _judged(partition: Partition) -> tuple[str, ...]:
    name = f"partition {partition.name}"
    usable = sum(number for state, number in partition.nodes.items() if state.startswith(USABLE))
    if partition.up and usable:
        return GOOD, name, partition.described()
    why = "no node of it can take jobs now" if partition.up else "it takes no jobs now (down)"
    return (
        BAD,
        name,
        f"{partition.described()}: {why}",
        "wait, ask who looks after the cluster, or use another partition.",
    )


def _whole(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
