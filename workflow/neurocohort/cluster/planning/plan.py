"""What a study would take: jobs and where they go, downloads, disk, hours; from Snakemake's own dry run and measured rates."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from neurocohort.cluster.dry_run import SCAN_RULE, Job, jobs_of_one_scan, jobs_to_run, local_rules
from neurocohort.cluster.gpus import gpus_here
from neurocohort.cluster.planning.cohorts import Archive
from neurocohort.cluster.planning.disk import Need, needs
from neurocohort.cluster.planning.elapsed import Task, elapsed, tasks_of
from neurocohort.cluster.planning.study import Study
from neurocohort.cluster.planning.work import Measured, network_bytes, own_measurements, seconds_of
from neurocohort.cluster.profiles import LOCAL, THIS_MACHINE, Profile, queue_of

KINDS = {  # the folder under benchmarks/ of rules that are not called as it is
    "synthetic_ixi": "synthetic",
    "synthetic_oasis1": "synthetic",
    "ingest_cohort": "ingest",
    "preprocess_batch": "preprocess",
    "predict_segmentation": "predict",
    "ensemble_segmentation": "ensemble",
    "download_weights": "download",
}
TARGETS = ("everything", "all", "ingest", "preprocess", "evaluate")  # rules without a command


@dataclass
class Line:
    """The jobs of one rule that go to one place. ``seconds``: of one core, or of one GPU where ``on_gpu`` and measured there."""

    rule: str
    queue: str
    on_gpu: bool
    jobs: int = 0
    estimated: bool = False
    seconds: float = 0.0
    own: bool = False  # whether the study's own benchmarks say how fast
    measured: bool = True  # on the kind of device on which it will run


@dataclass(frozen=True)
class Plan:
    """``elapsed_s`` leaves out downloads and waiting. ``estimated``: by cohort, scans that are not counted yet."""

    study: Study
    profile: Profile
    lines: list[Line]
    downloads: list[Archive]
    disk: list[Need]
    elapsed_s: float
    estimated: dict[str, int] = field(default_factory=dict)


def make_plan(config: dict, studies: Sequence[Path], directory: Path, profile: Profile) -> Plan:
    """The plan of the checked ``config`` (of the files ``studies``) in the study's folder ``directory``.

    Raises InputError where Snakemake's dry run fails.
    """
    study = Study(config, directory)
    with ThreadPoolExecutor() as pool:
        listed = pool.submit(jobs_to_run, studies, directory, profile)
        uncounted = [name for name, cohort in study.cohorts.items() if not cohort.counted]
        examples = pool.submit(jobs_of_one_scan, config, profile, directory) if uncounted else None
        own = own_measurements(study)
        jobs = [job for job in listed.result() if job.rule not in TARGETS]
        ingested = {job.wildcards["cohort"] for job in jobs if job.rule == "ingest_cohort"}
        estimated = {name: cohort.scans for name, cohort in study.cohorts.items() if name in ingested}
        jobs += _jobs_of_scans(study, estimated, jobs, examples.result() if examples else [])
    # On a cluster a job is given the GPU that it asks for; on this machine where there is one.
    gpus = profile.executor != LOCAL or bool(gpus_here())
    on_gpu = {id(job): gpus and job.gpus > 0 for job in jobs}
    amounts = [_core_seconds(study, job, own, on_gpu[id(job)]) for job in jobs]
    walls = [amount / job.threads for amount, job in zip(amounts, jobs, strict=True)]
    tasks = tasks_of(jobs, walls, profile, local_rules())
    lines = _lines(jobs, amounts, tasks, on_gpu, own, profile)
    at_a_time = profile.jobs if profile.executor != LOCAL else profile.cores
    return Plan(
        study,
        profile,
        lines,
        [archive for archive in study.archives if archive.remote and not archive.place.exists()],
        needs(study, at_a_time, weights_of=lambda name: network_bytes(study, name)),
        elapsed(tasks, profile),
        estimated,
    )


def kind_and_name(job: Job) -> tuple[str, str, str]:
    """Of a job, its folder under benchmarks/, its cohort or experiment, and its run or its batch of scans."""
    kind = KINDS.get(job.rule, job.rule)
    name = job.rule.removeprefix("synthetic_") if kind == "synthetic" else ""
    name = name or job.wildcards.get("cohort") or job.wildcards.get("experiment") or ""
    return kind, name, job.wildcards.get("run", "") or job.wildcards.get("batch", "")


def _core_seconds(study: Study, job: Job, own: dict[tuple[str, bool], Measured], on_gpu: bool) -> float:
    kind, name, run = kind_and_name(job)
    measured = own.get((kind, on_gpu)) or own.get((kind, False))
    return seconds_of(study, kind, name, run) * (measured.ratio if measured else 1.0)


def _jobs_of_scans(study: Study, estimated: dict[str, int], jobs: list[Job], examples: list[Job]) -> list[Job]:
    """A job for each batch of the scans that ingest will find, between the cohort's table and its quality control."""
    asked = {job.wildcards["cohort"]: job.asked for job in examples if job.rule == SCAN_RULE}
    made = []
    for cohort in estimated:
        outputs = [f"results/{cohort}/preproc_batches/estimated-{number}" for number in range(study.batches(cohort))]
        inputs = [f"data/{cohort}/scans.tsv", "results/template.npz"]
        made += [Job(SCAN_RULE, {"cohort": cohort}, inputs, [file], asked.get(cohort, {}), True) for file in outputs]
        for job in jobs:
            if job.rule == "quality" and job.wildcards["cohort"] == cohort:
                job.inputs += outputs
    return made


def _lines(
    jobs: list[Job],
    amounts: list[float],
    tasks: list[Task],
    on_gpu: dict[int, bool],
    own: dict[tuple[str, bool], Measured],
    profile: Profile,
) -> list[Line]:
    """By rule and place, in the order in which rules appear; those of scans after the ingest."""
    here = {id(task.job): task.here for task in tasks}
    amount_of = {id(job): amount for job, amount in zip(jobs, amounts, strict=True)}
    lines: dict[tuple[str, str], Line] = {}
    for job in sorted(jobs, key=lambda job: _place(job.rule)):
        queue = THIS_MACHINE if here[id(job)] else queue_of(profile, job.asked)
        line = lines.setdefault((job.rule, queue), Line(job.rule, queue, on_gpu[id(job)]))
        line.jobs += 1
        line.estimated |= job.estimated
        line.seconds += amount_of[id(job)]
        kind = kind_and_name(job)[0]
        line.own = (kind, line.on_gpu) in own
        line.measured = line.own or not line.on_gpu
    return list(lines.values())


ORDER = (
    "synthetic_ixi",
    "synthetic_oasis1",
    "download",
    "download_weights",
    "template",
    "ingest_cohort",
    SCAN_RULE,
    "quality",
)
ORDER += ("split", "pack", "select_training", "select", "train", "choose", "adopt", "predict", "predict_segmentation")
ORDER += ("ensemble", "ensemble_segmentation", "saliency", "baselines", "metrics", "control", "bundle", "report")


def _place(rule: str) -> int:
    """Where a rule stands in the order in which data pass the stages; unknown ones last."""
    return ORDER.index(rule) if rule in ORDER else len(ORDER)
