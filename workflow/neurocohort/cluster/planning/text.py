"""A plan as it is printed: aligned tables, estimates marked with ~, and where the numbers come from."""

import shutil
from urllib.parse import urlsplit

from neurocohort.cluster.planning.cohorts import Archive
from neurocohort.cluster.planning.disk import files_needed
from neurocohort.cluster.planning.plan import Line, Plan
from neurocohort.cluster.planning.rates import read_rates
from neurocohort.cluster.profiles import LOCAL
from neurocohort.cluster.terminal import RIGHT, hours, table
from neurocohort.text import rough_duration, size

ESTIMATE = "~"
NOT_MEASURED = "not measured on a GPU"


def plan_text(plan: Plan) -> list[str]:
    """The lines to print."""
    study, profile = plan.study, plan.profile
    place = f"--cores {profile.cores}" if profile.folder is None else f"--profile {profile.name}"
    title = f"Plan of {study.config['study']} in {study.directory}, with {place}"
    sections = [[title], _jobs(plan), _downloads(plan), _disk(plan), _time(plan), _explanations(plan)]
    return "\n\n".join("\n".join(section) for section in sections if section).splitlines()


def _jobs(plan: Plan) -> list[str]:
    if not plan.lines:
        return ["Jobs: none. All results of the study exist."]
    total = f"Jobs: {ESTIMATE if plan.estimated else ''}{sum(line.jobs for line in plan.lines)}"
    head = ["rule", "jobs", "goes to", "CPU time", "GPU time", "by"]
    lines = [total, *table([head, *map(_row, plan.lines)], ["", RIGHT, "", RIGHT, RIGHT])]
    for cohort, scans in plan.estimated.items():
        why = "its ingest runs again, and at most all of them are preprocessed again"
        if not plan.study.cohorts[cohort].counted:
            why = "an estimate: they are counted by the ingest"
        lines.append(f"  {ESTIMATE} {cohort}: {scans} scans, {why}.")
    return lines


def _row(line: Line) -> list[str]:
    count = f"{ESTIMATE if line.estimated else ''}{line.jobs}"
    cpu, gpu = rough_duration(line.seconds), ""
    if line.on_gpu:
        cpu, gpu = ("", cpu) if line.measured else (f"({cpu})", "?")
    by = "this study" if line.own else "rates"
    return [line.rule, count, line.queue or "no partition accepts it", cpu, gpu, by]


def _downloads(plan: Plan) -> list[str]:
    if not plan.downloads:
        return ["Downloads: nothing is left to download."]
    total = sum(archive.missing_bytes for archive in plan.downloads)
    rows = [
        [archive.file.name, _amount(archive), urlsplit(archive.addresses[0]).hostname or ""]
        for archive in plan.downloads
    ]
    return [f"Downloads: {size(total)} to download", *table(rows, ["", RIGHT])]


def _amount(archive: Archive) -> str:
    if not archive.size_bytes:
        return "small"
    mark = "" if archive.file.size_bytes else ESTIMATE
    rest = archive.missing_bytes
    return f"{mark}{size(rest)}" + (f" of {size(archive.size_bytes)}" if rest < archive.size_bytes else "")


def _disk(plan: Plan) -> list[str]:
    peak, there, to_come = (sum(getattr(need, name) for need in plan.disk) for name in ("peak", "there", "to_come"))
    free = shutil.disk_usage(plan.study.directory).free
    rows = [["", "at its peak", "there already"]]
    rows += [[need.part, f"{ESTIMATE}{size(need.peak)}", size(need.there)] for need in plan.disk]
    files = round(files_needed(plan.study), -2)
    total = f"Disk: {ESTIMATE}{size(peak)} at its peak in {ESTIMATE}{files} files, {size(there)} of it there already"
    total += f"; {size(free)} are free"
    if to_come > free:
        total += f", which is TOO LITTLE: {size(to_come - free)} are missing"
    return [total, *table(rows, ["", RIGHT, RIGHT])]


def _time(plan: Plan) -> list[str]:
    if not plan.lines:
        return []
    on_cpu = sum(line.seconds for line in plan.lines if not line.on_gpu)
    on_gpu = [line for line in plan.lines if line.on_gpu]
    lines = [f"CPU hours: {ESTIMATE}{hours(on_cpu)}" + (", in addition to the jobs with a GPU" if on_gpu else "")]
    if unmeasured := sum(line.seconds for line in on_gpu if not line.measured):
        on_a_core = f"on one CPU core each, the same jobs take {ESTIMATE}{hours(unmeasured)} h"
        lines.append(f"GPU hours: {NOT_MEASURED} so far; {on_a_core}")
    elif on_gpu:
        lines.append(f"GPU hours: {ESTIMATE}{hours(sum(line.seconds for line in on_gpu))}")
    at_a_time = f"{plan.profile.cores} cores"
    if plan.profile.executor != LOCAL:
        at_a_time = f"{plan.profile.jobs} jobs at a time, without waiting in the queue"
    whole = f"From beginning to end: {ESTIMATE}{rough_duration(plan.elapsed_s)} with {at_a_time}"
    whole += ", without the downloads" if plan.downloads else ""
    whole += "; on a GPU the networks take less time than on the CPU, which is counted here" if unmeasured else ""
    return [*lines, whole]


def _explanations(plan: Plan) -> list[str]:
    """Where the numbers come from, and what they leave out."""
    rates, study = read_rates().values(), plan.study
    config, experiments = study.config, study.config["experiments"]
    dates = sorted(rate.date for rate in rates if rate.date != "n/a")
    when = " to ".join(sorted({dates[0], dates[-1]}))
    machines = ", ".join(sorted({rate.machine for rate in rates}))
    lines = [
        f"rates: measured on one core of {machines}, {when} (tests/benchmarks/plan_rates.py)."
        " this study: those rates, scaled to its own benchmarks/."
    ]
    if config["preprocessing"]["brain_extraction"] == "synthstrip":
        lines.append("SynthStrip is not measured: deepbet's time is used instead, and SynthStrip takes longer.")
    if not all(study.samples(name).is_file() for name in experiments):
        lines.append(
            "All scans of its cohorts count for an experiment: a filter, missing values and exclusions leave fewer."
        )
    trainings = [experiment["training"] for experiment in experiments.values()]
    if any(training["patience"] for training in trainings):
        lines.append("Trainings with `patience` may end earlier.")
    if any(training["retrain"] for training in trainings):
        lines.append("A network that learned nothing is trained again (`retrain`), which is not counted here.")
    return lines
