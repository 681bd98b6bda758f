"""Slurm: its jobs and how they ended, its partitions, and whether the profile and the study's jobs fit them."""

import getpass
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path

from neurocohort.cluster.asking import ANSWER_S, Answer, ask
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Check, Finding
from neurocohort.cluster.jobs import Resources
from neurocohort.cluster.profiles import PARTITIONS_FILE, SCHEDULERS_CHOICE, SLURM, Limits, Profile, minutes
from neurocohort.cluster.scheduler import (
    CANCELLED,
    MEMORY,
    NODE,
    RUN_ANSWER_S,
    TIME,
    Ending,
    Misfit,
    Scheduler,
    Submission,
    fit_findings,
    output_of,
)
from neurocohort.text import rough_duration, size

# Columns: partition, availability, time limit, nodes, CPUs, memory in MB, generic resources, state, node names.
SINFO = ("sinfo", "--noheader", "--exact", "--format=%R|%a|%l|%D|%c|%m|%G|%T|%N")
COLUMNS = 9
USABLE = (
    "idle",
    "mix",
    "alloc",
    "comp",
    "res",
    "power",
    "plan",
    "reboot",
)  # beginnings of states in which jobs can start
GPUS = re.compile(r"gpu(?::([^:,(]+))?:(\d+)")
CAUSES = {
    "OUT_OF_MEMORY": MEMORY,
    "TIMEOUT": TIME,
    "DEADLINE": TIME,
    "NODE_FAIL": NODE,
    "BOOT_FAIL": NODE,
    "PREEMPTED": NODE,
    "CANCELLED": CANCELLED,
}


@dataclass
class Partition:
    """A partition.

    Args:
        name: Its name.
        up: Whether it accepts jobs.
        limit_minutes: The longest time that a job may request.
        nodes: Number of nodes, by state.
        cpus: CPUs of its largest node.
        memory_mb: Memory of its largest node.
        gpus: The most GPUs of one node, by model (empty if it has no name).
    """

    name: str
    up: bool = True
    limit_minutes: float = inf
    nodes: dict[str, int] = field(default_factory=dict)
    cpus: int = 0
    memory_mb: int = 0
    gpus: dict[str, int] = field(default_factory=dict)

    def described(self) -> str:
        """The partition in one line."""
        count = sum(self.nodes.values())
        states = ", ".join(f"{number} {state}" for state, number in sorted(self.nodes.items()))
        gpus = [f"{number} GPU{'s' * (number > 1)} {model}".strip() for model, number in self.gpus.items()]
        limit = "no time limit" if self.limit_minutes == inf else f"{rough_duration(60 * self.limit_minutes)} at most"
        nodes = f"{count} node{'s' * (count != 1)} ({states})"
        memory = size(self.memory_mb * 1e6)
        return f"{nodes}, up to {self.cpus} CPUs and {memory}, {', '.join(gpus) or 'no GPU'}, {limit}"


class Slurm(Scheduler):
    """Slurm."""

    name, profile_name, executor = "Slurm", "slurm", SLURM
    submitted = re.compile(r"Job (\d+) has been submitted with SLURM jobid (\d+)")
    refused = re.compile(r"sbatch: error: (.+)")
    submission_failed = re.compile(r"sbatch failed|submission failed")
    details_command = "scontrol show job"

    def answer(self, seconds: float = ANSWER_S) -> Answer:
        return ask(*SINFO, seconds=seconds)

    def jobs_here(self, jobs: set[str], folder: Path) -> set[str]:
        rows = [line.split("|", 1) for line in _own_jobs("%i|%Z") if "|" in line]
        return {job for job, place in rows if job in jobs and Path(place).resolve() == folder.resolve()}

    def present(self, jobs: set[str]) -> set[str]:
        return jobs & set(_own_jobs("%i"))

    def delete(self, jobs: set[str]) -> None:
        output_of("scancel", *sorted(jobs))

    def ending_of(self, job: str) -> Ending:
        shown = output_of("scontrol", "show", "job", job)
        found = dict(re.findall(r"(JobState|Reason|ExitCode|NodeList)=(\S+)", shown))
        if "JobState" not in found:  # Slurm has forgotten the job; its accounting may know it
            columns = ("JobState", "ExitCode", "NodeList")
            command = ("sacct", "-X", "--noheader", "--parsable2", f"--jobs={job}", "--format=State,ExitCode,NodeList")
            found = dict(zip(columns, output_of(*command).strip().split("\n")[-1].split("|"), strict=False))
        state = found.get("JobState")
        if not state:
            return Ending()
        words = [state, *(f"{name} {found[name]}" for name in ("Reason", "ExitCode", "NodeList") if found.get(name))]
        return Ending(", ".join(words).replace("Reason None, ", ""), CAUSES.get(state.split()[0], ""))

    def waiting_reason(self, job: str) -> str:
        answer = ask("squeue", "--noheader", f"--jobs={job}", "--format=%T|%r").text
        state, _, reason = answer.strip().partition("|")
        return f"job {job} is {state.lower()} ({reason})" if state else ""

    def queue_of(self, profile: Profile, resources: Resources) -> str:
        if profile.partition:
            return profile.partition
        return best_partition(profile.partitions, resources) if profile.partitions else SCHEDULERS_CHOICE

    def is_single_node(self) -> bool:
        rows = [line.split("|") for line in self.answer().text.splitlines()]
        nodes = {row[-1].strip() for row in rows if len(row) == COLUMNS}
        return bool(nodes) and nodes <= {socket.gethostname(), socket.gethostname().split(".")[0], "localhost"}

    def checks(self, profile: Profile | None, *, required: bool, gpu: bool) -> dict[str, Check]:
        return {
            self.name: partial(self._check, profile, required=required),
            "accounting": partial(self._check_accounting, profile),
        }

    def check_jobs(self, profile: Profile, submissions: Callable[[], list[Submission]]) -> list[Finding]:
        answer = self.answer()
        if answer.fault:
            return [Finding(NONE, "jobs", "Slurm doesn't answer")]
        partitions = read_partitions(answer.text)
        return fit_findings(
            submissions(),
            partial(job_misfits, partitions=partitions, profile=profile),
            lambda submission: f"partition {submission.queue}",
        )

    def _check(self, profile: Profile | None, *, required: bool) -> list[Finding]:
        """Slurm itself, its partitions, and the names in the profile."""
        answer = self.answer()
        if answer.fault:
            fix = "log in to a machine of the cluster (a login node), or load its module, such as `module load slurm`."
            return [Finding(BAD if required else NONE, self.name, f"doesn't answer: {answer.fault}", fix * required)]
        partitions = read_partitions(answer.text)
        findings = [Finding(GOOD, self.name, ask("sinfo", "--version").text.strip().removeprefix("slurm "))]
        named = list(profile.partitions if profile else partitions)
        findings += [_state_finding(partitions[name]) for name in named if name in partitions]
        if others := sorted(set(partitions) - set(named)):
            findings.append(Finding(NONE, "partitions", f"not in the profile: {', '.join(others)}"))
        return findings + (name_findings(profile, partitions) + _account_findings(profile) if profile else [])

    def _check_accounting(self, profile: Profile | None) -> list[Finding]:
        """How a run follows its jobs: with a profile that asks an accounting that doesn't exist, it would never end."""
        if self.answer().fault:
            return [Finding(NONE, "accounting", "Slurm doesn't answer")]
        if accounting_answers():
            return [Finding(GOOD, "accounting", "sacct answers: jobs are followed by it")]
        missing = "sacct finds no accounting database"
        if profile and profile.status_command == "sacct":
            fix = f"write `slurm-status-command: squeue` into {profile.file}."
            return [Finding(BAD, "accounting", f"{missing}, but the profile uses sacct: a run would never end", fix)]
        return [Finding(GOOD, "accounting", f"{missing}: jobs are followed by squeue")]


def accounting_answers() -> bool:
    """Whether sacct has an accounting database; without one it may still succeed, with a warning and no jobs."""
    answer = ask("sacct", "--noheader", "-X", seconds=RUN_ANSWER_S)
    return not answer.fault and "disabled" not in answer.warning


def read_partitions(text: str) -> dict[str, Partition]:
    """The partitions by name, from the output of SINFO."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        row = [part.strip() for part in line.split("|")]
        if len(row) != COLUMNS:
            continue
        name, available, limit, nodes, cpus, memory, gres, state, _ = row
        partition = found.setdefault(name, Partition(name))
        partition.up = available == "up"
        partition.limit_minutes = minutes(limit)
        state = re.sub(r"[^a-z].*", "", state)
        partition.nodes[state] = partition.nodes.get(state, 0) + int(nodes)
        partition.cpus = max(partition.cpus, _leading_number(cpus))
        partition.memory_mb = max(partition.memory_mb, _leading_number(memory))
        for model, number in GPUS.findall(gres):
            partition.gpus[model] = max(partition.gpus.get(model, 0), int(number))
    return found


def best_partition(partitions: dict[str, Limits], resources: Resources) -> str:
    """The partition that Snakemake's plugin chooses: of those that accept the job, the one whose limits it fills best."""
    scores = {}
    for name, limits in partitions.items():
        filled = [
            (resources.runtime, limits.max_runtime),
            (resources.mem_mb, limits.max_mem_mb),
            (resources.threads, limits.max_threads),
            (resources.threads, limits.max_cpus_per_task),
        ]
        if resources.gpu > limits.max_gpu or any(amount > limit for amount, limit in filled):
            continue
        scores[name] = sum(amount / limit for amount, limit in filled)
        scores[name] += resources.gpu / limits.max_gpu if resources.gpu else -1.0 if limits.max_gpu else 0.0
    return max(scores, key=lambda name: scores[name], default="")


def name_findings(profile: Profile, partitions: dict[str, Partition]) -> list[Finding]:
    """Faults of the profile's partitions: they must exist, and have GPUs if the profile sends jobs with GPUs there."""
    file, findings = profile.path(PARTITIONS_FILE), []
    for name, limits in profile.partitions.items():
        if name not in partitions:
            found = f"isn't there; this Slurm has {', '.join(partitions) or 'none'}"
            findings.append(Finding(BAD, f"partition {name}", found, f"replace it by one of these in {file}."))
        elif limits.max_gpu and not partitions[name].gpus:
            others = ", ".join(other for other in partitions if partitions[other].gpus)
            there = f"those with GPUs are {others}" if others else "no partition has any"
            fix = f"give max_gpu in {file} to a partition that has GPUs, or set `device: cpu` in the study."
            found = f"has no GPU (gres), but {file.name} sets max_gpu; {there}"
            findings.append(Finding(BAD, f"partition {name}", found, fix))
    return findings


def job_misfits(submission: Submission, partitions: dict[str, Partition], profile: Profile) -> list[Misfit] | None:
    """What a job requests and no node of its partition has or allows; None if the partition doesn't exist."""
    if submission.queue and submission.queue not in partitions:
        return None
    if not submission.queue:
        return [_nowhere(submission, profile.path(PARTITIONS_FILE))]
    return list(_exceeded(submission, partitions[submission.queue], profile))


def _nowhere(submission: Submission, file: Path) -> Misfit:
    """No partition of the profile accepts the job."""
    gpus = submission.resources.gpu
    what = f"requests {gpus} GPU, and none has max_gpu" if gpus else "requests more than any allows"
    fix = f"add one to {file}, with max_gpu for GPUs; or set `device: cpu` in the study."
    found = f"no partition of {file.name} accepts {submission.rule}: it {what}"
    return Misfit("gpu queue" if gpus else "queue", 1, Finding(BAD, "jobs", found, fix))


def _exceeded(submission: Submission, partition: Partition, profile: Profile) -> Iterator[Misfit]:
    resources, rule, name = submission.resources, submission.rule, partition.name
    file, model = profile.path(PARTITIONS_FILE), profile.gpu_model

    def misfit(kind: str, amount: float, requested: str, available: str, fix: str) -> Misfit:
        return Misfit(kind, amount, Finding(BAD, "jobs", f"{rule} requests {requested}, and {available}", fix))

    if resources.runtime > partition.limit_minutes:
        yield misfit(
            "runtime",
            resources.runtime,
            rough_duration(60 * resources.runtime),
            f"{name} allows {rough_duration(60 * partition.limit_minutes)}",
            f"give another partition in {file} (with max_runtime each), or request less, as in `--set-resources "
            f"{rule}:runtime={partition.limit_minutes:.0f}`; a training continues from its checkpoint when it is restarted.",
        )
    if resources.mem_mb > partition.memory_mb:
        yield misfit(
            "mem_mb",
            resources.mem_mb,
            size(resources.mem_mb * 1e6),
            f"a node of {name} has {size(partition.memory_mb * 1e6)}",
            f"give another partition in {file} (with max_mem_mb each), or process fewer scans at a time.",
        )
    if resources.threads > partition.cpus:
        fix = f"write no more than {partition.cpus} as cores in {profile.file}."
        has = f"a node of {name} has {partition.cpus}"
        yield misfit("threads", resources.threads, f"{resources.threads} CPUs", has, fix)
    usable = partition.gpus.get(model, 0) if model else max(partition.gpus.values(), default=0)
    if partition.gpus and resources.gpu > usable:
        has = ", ".join(f"{number} {name}".strip() for name, number in partition.gpus.items())
        requested = f"{resources.gpu} GPU" + f" of the model {model}" * bool(model)
        fix = f"correct gpu_type in {profile.file}, or request fewer with `training.processes`."
        yield misfit("gpu", resources.gpu, requested, f"a node of {name} has {has}", fix)


def _account_findings(profile: Profile) -> list[Finding]:
    if not profile.account:
        return []
    command = (
        "sacctmgr",
        "--noheader",
        "--parsable2",
        "list",
        "user",
        getpass.getuser(),
        "withassoc",
        "format=account",
    )
    answer = ask(*command)
    accounts = sorted(set(answer.text.split()))
    if answer.fault or not accounts:
        reason = answer.fault or "an empty list"
        return [Finding(NONE, "account", f"{profile.account}; Slurm doesn't list your accounts ({reason})")]
    if profile.account in accounts:
        return [Finding(GOOD, "account", profile.account)]
    fix = f"write one of these as slurm_account in {profile.file}, or leave it empty for the default one."
    return [Finding(BAD, "account", f"{profile.account} isn't one of yours: {', '.join(accounts)}", fix)]


def _state_finding(partition: Partition) -> Finding:
    """Whether jobs can start in a partition now."""
    name = f"partition {partition.name}"
    if partition.up and any(state.startswith(USABLE) for state in partition.nodes):
        return Finding(GOOD, name, partition.described())
    why = "no node can take jobs now" if partition.up else "it takes no jobs now (down)"
    fix = "wait, ask the cluster's administrators, or use another partition."
    return Finding(BAD, name, f"{partition.described()}: {why}", fix)


def _own_jobs(columns: str) -> list[str]:
    """A line for each of this user's jobs that wait or run."""
    return output_of("squeue", "--noheader", f"--user={getpass.getuser()}", f"--format={columns}").splitlines()


def _leading_number(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
