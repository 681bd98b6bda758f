"""A small study, from the download to the report, through `snakemake --profile slurm` and `--profile sge`, on schedulers that
really run: the figures of a local run, GPU rules on the GPU queue with one counted GPU, and no job submitted twice.
"""

import re

from studies import STUDY

GPU_RULES = ("train", "predict", "saliency")
EXPERIMENTS = {"brain_age"}


def test_metrics_are_those_of_a_local_run(whole_run, study, local_metrics):
    assert local_metrics.keys() == EXPERIMENTS
    for experiment in EXPERIMENTS:
        found = study.path(f"results/experiments/{experiment}/metrics.tsv").read_bytes()
        assert found == local_metrics[experiment], experiment


def test_gpu_rules_are_submitted_to_the_gpu_queue_with_one_gpu(whole_run, study):
    records = {rule: record for rule in GPU_RULES if (record := record_of(whole_run, study, rule))}
    assert {"train", "predict"} <= set(records)
    for rule, record in records.items():
        asked = asked_for(study.cluster.name, record)
        print(f"{study.cluster.name} {rule}: {asked}")
        assert asked["queue"] in ("gpu", "gpu.q") and asked["gpus"] == 1 and asked["slots"] == 1, asked
    asked = asked_for(study.cluster.name, records["train"])
    assert asked["minutes"] == 720 and asked["megabytes"] == {"slurm": 8000, "sge": 8000 + 4000}[study.cluster.name], (
        asked
    )
    asked = asked_for(study.cluster.name, record_of(whole_run, study, "metrics"))
    assert asked["queue"] in ("cpu", "cpu.q") and asked["gpus"] == 0, asked


def test_scans_are_submitted_in_batches_and_no_job_twice(whole_run, study):
    started = re.findall(r"^rule preprocess_batch:", whole_run.said, re.MULTILINE)
    batches = list(study.path("results").glob("*/preproc_batches/*.tsv"))
    scans = list(study.path("results").glob("*/preproc/**/*_qc.json"))
    assert len(started) == len(batches) < len(scans) / 3, (len(started), len(batches), len(scans))
    assert len(whole_run.submitted()) == len(set(whole_run.submitted())) == len(single_jobs(whole_run))


def test_a_second_run_has_nothing_to_do(whole_run, study):
    said = study.run("--configfile", *STUDY).said
    assert "Nothing to be done" in said


def single_jobs(run) -> list[str]:
    """Rules of the submitted jobs, without local ones."""
    return re.findall(r"^(?:rule|checkpoint) (\w+):", run.said, re.MULTILINE)


def record_of(run, study, rule: str) -> str:
    return next((text for text in run.records.values() if re.search(study.cluster.sign_of(rule), text)), "")


def asked_for(cluster: str, record: str) -> dict:
    """Queue, GPUs, slots, minutes and memory of a job, from the scheduler's description."""
    if cluster == "slurm":
        days, hours, minutes = re.search(r"TimeLimit=(?:(\d+)-)?(\d+):(\d+):\d+", record).groups()
        gpus = re.search(r"gres/gpu=(\d+)|TresPerJob=gres:gpu:(\d+)", record)
        return {
            "queue": re.search(r"Partition=(\S+)", record)[1],
            "gpus": int(next(filter(None, gpus.groups()))) if gpus else 0,
            "slots": int(re.search(r"NumCPUs=(\d+)", record)[1]),
            "minutes": int(days or 0) * 1440 + int(hours) * 60 + int(minutes),
            "megabytes": int(re.search(r"MinMemoryNode=(\d+)M", record)[1]),
        }
    hard = dict(entry.split("=") for entry in re.search(r"hard resource_list: +(\S+)", record)[1].split(","))
    slots = re.search(r"parallel environment: +\S+ range: (\d+)", record)
    memory = hard.get("h_vmem", "").removesuffix("M")
    return {
        "queue": re.search(r"hard_queue_list: +(\S+)", record)[1],
        "gpus": int(hard.get("gpu", 0)),
        "slots": int(slots[1]) if slots else 1,
        "minutes": int(hard["h_rt"]) // 60,
        "megabytes": int(memory) if memory else None,
    }
