"""What a study needs: jobs and where they go, downloads, disk, hours; from Snakemake's dry run and measured rates."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neurocohort.cluster.dry_run import SCAN_RULE, jobs_of_one_scan, jobs_to_run
from neurocohort.cluster.gpus import gpus_here
from neurocohort.cluster.jobs import Job, Resources
from neurocohort.cluster.planning.cohorts import Archive
from neurocohort.cluster.planning.disk import Need, needs
from neurocohort.cluster.planning.elapsed import Task, elapsed, runs_here
from neurocohort.cluster.planning.study import Study
from neurocohort.cluster.planning.work import Measured, Work, network_bytes, own_measurements, seconds_of
from neurocohort.cluster.profiles import LOCAL, THIS_MACHINE, Profile
from neurocohort.cluster.schedulers import queue_of

KINDS = {  # folder under benchmarks/ of the rules that have another name
    "synthetic_ixi": "synthetic",
    "synthetic_oasis1": "synthetic",
    "ingest_cohort": "ingest",
    "preprocess_batch": "preprocess",
    "predict_segmentation": "predict",
    "ensemble_segmentation": "ensemble",
    "download_weights": "download",
    "download_network": "download",
    "predictors": "control",  # not measured; all of them read a few small tables
    "learning_curve": "control",
    "longitudinal_metrics": "longitudinal",
    "adaptation": "control",
    "adapt": "predict",  # not measured; it passes each scan once for each layer of batch norm
    "few_labels": "control",
    "translate": "predict",  # not measured; it passes each tested scan through each network
    "select_unlabelled": "select",
    "train_generator": "train",  # not measured
    "generate": "predict",  # not measured
    "train_on_generated": "train",
    "generation": "control",
    "counterfactual": "predict",  # not measured
}
TARGETS = ("everything", "all", "ingest", "preprocess", "evaluate")  # rules without a command
# The rules in the order in which data pass through them.
ORDER = (
    *("synthetic_ixi", "synthetic_oasis1", "download", "download_weights", "download_network", "template"),
    "registration_network",
    *("ingest_cohort", SCAN_RULE),
    *("quality", "split", "pack", "select_training", "select_unlabelled", "select"),
    *("suggest", "train", "choose", "adopt", "predict"),
    *("predict_segmentation", "ensemble", "ensemble_segmentation", "saliency", "baselines", "predictors", "metrics"),
    *(
        "regions",
        "control",
        "learning_curve",
        "few_labels",
        "train_generator",
        "generate",
        "train_on_generated",
        "generation",
        "counterfactual",
        "translate",
        "adapt",
        "adaptation",
        "longitudinal",
        "longitudinal_metrics",
    ),
    *("bundle", "apply_model", "tracking", "report"),
)


@dataclass
class Line:
    """The jobs of one rule that go to one place.

    Args:
        rule: The rule.
        queue: The place.
        on_gpu: Whether they run on a GPU.
        jobs: How many there are.
        estimated: Whether that is an estimate.
        seconds: Of one core, or of one GPU if they were measured on one.
        own: Whether the study's own benchmarks show how long they take.
        measured: Whether they were measured on the kind of device on which they will run.
    """

    rule: str
    queue: str
    on_gpu: bool
    jobs: int = 0
    estimated: bool = False
    seconds: float = 0.0
    own: bool = False
    measured: bool = True


@dataclass(frozen=True)
class Plan:
    """What a study needs.

    Args:
        study: The study.
        profile: The profile of the run.
        lines: Its jobs.
        downloads: Files to download.
        disk: Parts of its folder.
        elapsed_s: From beginning to end, without downloads and without waiting in a queue.
        estimated: By cohort, scans that aren't counted yet.
    """

    study: Study
    profile: Profile
    lines: list[Line]
    downloads: list[Archive]
    disk: list[Need]
    elapsed_s: float
    estimated: dict[str, int] = field(default_factory=dict)


def make_plan(config: dict[str, Any], studies: Sequence[Path], directory: Path, profile: Profile) -> Plan:
    """Plan a study.

    Args:
        config: The checked configuration.
        studies: The files that it was read from.
        directory: The study's folder.
        profile: The profile of the run.

    Raises:
        InputError: If Snakemake's dry run fails.
    """
    study = Study(config, directory)
    with ThreadPoolExecutor() as pool:
        listed = pool.submit(jobs_to_run, studies, directory, profile)
        uncounted = any(not cohort.counted for cohort in study.cohorts.values())
        examples = pool.submit(jobs_of_one_scan, config, profile, directory) if uncounted else None
        own = own_measurements(study)
        jobs = [job for job in listed.result() if job.rule not in TARGETS]
        ingested = {job.wildcards["cohort"] for job in jobs if job.rule == "ingest_cohort"}
        estimated = {name: cohort.scans for name, cohort in study.cohorts.items() if name in ingested}
        jobs = with_jobs_of_scans(study, jobs, list(estimated), examples.result() if examples else [])
    # On a cluster a job gets the GPU that it requests; on this machine only if there is one.
    gpus = profile.executor != LOCAL or bool(gpus_here())
    costs = [_cost(study, job, own, gpus) for job in jobs]
    tasks = [Task(job, cost.seconds / job.resources.threads) for job, cost in zip(jobs, costs, strict=True)]
    at_a_time = profile.jobs if profile.executor != LOCAL else profile.cores
    return Plan(
        study,
        profile,
        _lines(jobs, costs, profile),
        [archive for archive in study.archives if archive.remote and not archive.place.exists()],
        needs(study, at_a_time, weights_of=lambda name: network_bytes(study, name)),
        elapsed(tasks, profile),
        estimated,
    )


def work_of(job: Job) -> Work:
    """The work of a job, as its benchmark file names it."""
    kind = KINDS.get(job.rule, job.rule)
    name = job.rule.removeprefix("synthetic_") if kind == "synthetic" else ""
    name = name or job.wildcards.get("cohort") or job.wildcards.get("experiment") or ""
    return Work(kind, name, job.wildcards.get("run", "") or job.wildcards.get("batch", ""))


def with_jobs_of_scans(study: Study, jobs: list[Job], cohorts: list[str], examples: list[Job]) -> list[Job]:
    """Add a job for each batch of scans that the ingest will find, between the cohort's table and its quality control.

    Args:
        study: The study.
        jobs: The jobs that are known.
        cohorts: The cohorts that will be ingested.
        examples: Jobs of a study with one scan per cohort, whose requests are used.
    """
    requests = {job.wildcards["cohort"]: job.resources for job in examples if job.rule == SCAN_RULE}
    made: dict[str, list[Job]] = {}
    for cohort in cohorts:
        inputs = (f"data/{cohort}/scans.tsv", "results/template.npz")
        files = [f"results/{cohort}/preproc_batches/estimated-{number}" for number in range(study.batches(cohort))]
        job = Job(SCAN_RULE, {"cohort": cohort}, inputs, (), requests.get(cohort, Resources()), estimated=True)
        made[cohort] = [replace(job, outputs=(file,)) for file in files]

    def with_inputs(job: Job) -> Job:
        batches = made.get(job.wildcards.get("cohort", ""), []) if job.rule == "quality" else []
        return replace(job, inputs=(*job.inputs, *(batch.outputs[0] for batch in batches)))

    return [*map(with_inputs, jobs), *(job for batches in made.values() for job in batches)]


@dataclass(frozen=True)
class _Cost:
    """Seconds of a job on one core or GPU, whether it runs on a GPU, and whether the study's own benchmarks are of that kind."""

    seconds: float
    on_gpu: bool
    own: bool


def _cost(study: Study, job: Job, own: dict[tuple[str, bool], Measured], gpus: bool) -> _Cost:
    work, on_gpu = work_of(job), gpus and job.resources.gpu > 0
    measured = own.get((work.kind, on_gpu)) or own.get((work.kind, False))
    seconds = seconds_of(study, work) * (measured.ratio if measured else 1.0)
    return _Cost(seconds, on_gpu, (work.kind, on_gpu) in own)


def _lines(jobs: list[Job], costs: list[_Cost], profile: Profile) -> list[Line]:
    """By rule and place, in the order of the rules."""
    places = {rule: place for place, rule in enumerate(ORDER)}
    lines: dict[tuple[str, str], Line] = {}
    for job, cost in sorted(zip(jobs, costs, strict=True), key=lambda pair: places.get(pair[0].rule, len(ORDER))):
        queue = THIS_MACHINE if runs_here(job, profile) else queue_of(profile, job.resources)
        line = lines.setdefault((job.rule, queue), Line(job.rule, queue, cost.on_gpu))
        line.jobs += 1
        line.estimated |= job.estimated
        line.seconds += cost.seconds
        line.own = cost.own
        line.measured = cost.own or not cost.on_gpu
    return list(lines.values())
