# What the stages share: the checked configuration, the package beside this file, and small look-ups.
import functools
import json
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ENVIRONMENT = "../../envs/environment.yaml"  # as each file of this folder sees it

from neurocohort.codehash import code_hash, module_hash
from neurocohort.sources.fingerprints import fingerprint_bids, fingerprint_table
from neurocohort.sources.scan_batches import batch_hash, read_batches
from neurocohort.sources.sources import (
    needed_files,
    read_source,
    source_table,
    store_of,
)
from neurocohort.study.configuration import check_configuration, load_configuration
from neurocohort.errors import InputError
from neurocohort.dataset.packs import PACKS
from neurocohort.study.members import (
    all_experiments,
    control_names,
    draws_of,
    members_of,
    starting_members,
    training_settings,
    transfer_chain,
    without_site_names,
)
from neurocohort.notes import grouped, read_notes
from neurocohort.settings.evaluation import BaselineSettings
from neurocohort.settings.ingest import IngestSettings
from neurocohort.settings.preprocessing import BatchSettings
from neurocohort.settings.selection import SelectionSettings
from neurocohort.settings.split import SplitSettings
from snakemake_support.run import gpu_model, job_prefix, keep_whole, watch

IN_JOB = workflow.remote_exec  # whether this is the Snakemake inside a job of a cluster
CONFIGURATION_FILES = [Path(path) for path in workflow.configfiles]
try:
    load_configuration(
        CONFIGURATION_FILES
    )  # its messages have lines, and it sees a key that stands twice
    # Thousands of jobs are not to search a user's folders for what was checked when they were submitted.
    config = check_configuration(
        config,
        source=", ".join(map(str, CONFIGURATION_FILES)),
        read_cohorts=not IN_JOB,
    )
except InputError as error:
    raise WorkflowError(str(error)) from None

shell.prefix(job_prefix())
watch(workflow)

COHORTS = config["cohorts"]
EXPERIMENTS = all_experiments(config["experiments"])
PREPROCESSING = config["preprocessing"]
SPACING_MM = PREPROCESSING["spacing_mm"]
GPU = 0 if config["device"] == "cpu" else 1
GPU_MODEL = gpu_model(workflow)  # for rules with a GPU: {} where any will do
SYNTHSTRIP = source_table("synthstrip")
SYNTHSTRIP_WEIGHTS = "resources/synthstrip/synthstrip.1.pt"


if PREPROCESSING["registration"] == "deformable":
    from neurocohort.imaging.deformable import deformable_available

    if missing := deformable_available():
        raise WorkflowError(missing)


ATTEMPTS = "NEUROCOHORT_ATTEMPTS"  # an environment variable
NOTES = ["data/{cohort}/notes.tsv", "results/{cohort}/notes.tsv"]
# Priorities. Trainings are the longest jobs. Those on a GPU begin as soon as their cohort is ready, beside the preprocessing of
# others. On CPUs alone, all that any training waits for is done first, so that the last minutes have work for all cores.
TRAINING, BEFORE_TRAINING = 10, 20
PREPROCESSING_SCANS = 0 if GPU else BEFORE_TRAINING
MEMBER = r"(fold-\d+_)?seed-\d+"


def by_attempt(amount):
    """Memory (MB) or time (minutes) of a job: so much, and as much again with each retry."""
    return lambda wildcards, attempt: amount * attempt


def batch_minutes(scans, minutes):
    """Time limit of a batch: so many minutes for each scan and for two that are tried again, and a day at most. A job that is ended
    goes on, at its next attempt, where it stood."""
    return min(minutes * (scans + 2), 24 * 60)


def attempts_allowed(wildcards):
    """How often a job is tried at most: the main process knows it, and hands it to the jobs of a cluster with its environment."""
    if not IN_JOB:
        os.environ[ATTEMPTS] = str(1 + workflow.execution_settings.retries)
    return int(os.environ.get(ATTEMPTS, 1))


def one_of(names):
    """A pattern for a wildcard that takes these names alone; none where there are none."""
    return "|".join(names) or "(?!)"


def print_notes():
    """What ingest and preprocessing noticed of each cohort, at the end of a run: at most a screen."""
    notes = {}
    for cohort in COHORTS:
        paths = [Path(name.format(cohort=cohort)) for name in NOTES]
        notes[cohort] = [
            note for path in paths if path.is_file() for note in read_notes(path)
        ]
    if lines := grouped(notes, " and ".join(NOTES).format(cohort="<cohort>")):
        print("\n".join(["", *lines, ""]), file=sys.stderr)


wildcard_constraints:
    cohort="|".join(COHORTS),
    experiment="|".join(EXPERIMENTS),
    batch=r"\d+",
    run=rf"(sweep/draw-\d+/)?{MEMBER}",
    pack=one_of(PACKS),


def table_of_source(cohort):
    return source_table(COHORTS[cohort]["source"])


def source_files(cohort):
    """The files that a public cohort is made of, by their keys in the source's table: its archives, and its table."""
    return needed_files(COHORTS[cohort], read_source(table_of_source(cohort)))


def is_local(cohort):
    return COHORTS[cohort]["source"] in ("bids", "table")


def ingest_inputs(wildcards):
    """The archives and table of a public cohort; of a cohort of one's own the table, where it is one."""
    settings = COHORTS[wildcards.cohort]
    if is_local(wildcards.cohort):
        return settings["path"] if settings["source"] == "table" else []
    archives, table = source_files(wildcards.cohort)
    return [archive(wildcards.cohort, key) for key in [*archives, table]]


def ingest_files(wildcards):
    """Options of the ingest of a public cohort: its table and its archives."""
    if is_local(wildcards.cohort):
        return ""
    archives, table = source_files(wildcards.cohort)
    files = [archive(wildcards.cohort, key) for key in archives]
    return shlex.join([f"--table={archive(wildcards.cohort, table)}", *files])


def ingest_fingerprint(wildcards):
    """What lies in a folder or table of one's own now: another image there makes the ingest run again."""
    settings = COHORTS[wildcards.cohort]
    if not is_local(wildcards.cohort):
        return ""
    of = fingerprint_bids if settings["source"] == "bids" else fingerprint_table
    return of(settings["path"], f"data/{wildcards.cohort}")


def trained_cohorts(experiment):
    return EXPERIMENTS[experiment]["cohorts"]


def all_cohorts(experiment):
    return trained_cohorts(experiment) + EXPERIMENTS[experiment]["external"]


def class_column(wildcards):
    """The classes that the cohort's split is balanced over: those of the first classification that it is used for."""
    targets = [
        experiment["target"]
        for experiment in EXPERIMENTS.values()
        if experiment["task"] == "classification"
        and wildcards.cohort in experiment["cohorts"]
    ]
    return targets[0] if targets else "dementia"


def cohort_tables(cohorts):
    """What the selection of samples reads of each cohort."""
    names = [
        "data/{}/scans.tsv",
        "results/{}/qc.tsv",
        "results/{}/split.tsv",
    ]
    return [name.format(cohort) for cohort in cohorts for name in names]


def selection_settings(experiment, **own):
    """Settings of the selection of an experiment's samples. A control permutes its targets."""
    settings = EXPERIMENTS[experiment]
    if permutation := settings["permutation"]:
        own["shuffle_seed"] = config["split"]["seed"] + permutation
    return SelectionSettings.taken_from(settings, **own).as_json()


def packed_arrays(cohorts, packs):
    return [
        f"results/{cohort}/packed/{pack}/{file}"
        for cohort in cohorts
        for pack in packs
        for file in ("images.npy", "labels.npy", "index.tsv", "channels.tsv")
    ]


def modalities_of(wildcards):
    return ",".join(COHORTS[wildcards.cohort]["modalities"])


def brain_extraction_weights(cohort):
    """The weights that the brain extraction needs, and none where it is left out or brings its own."""
    extracted = not COHORTS[cohort].get("skull_stripped")
    needed = PREPROCESSING["brain_extraction"] == "synthstrip" and extracted
    return SYNTHSTRIP_WEIGHTS if needed else []


# Not from `input`: Snakemake doesn't rerun for a change in a value that is made from it, such as that of skull_stripped.
def preprocess_settings(wildcards):
    """What a scan's result depends on beside its files, the template and the code: as JSON, for the command and for its record."""
    of_cohort = COHORTS[wildcards.cohort]
    return BatchSettings.taken_from(
        PREPROCESSING,
        skull_stripped=bool(of_cohort.get("skull_stripped")),
        mni_space=bool(of_cohort.get("mni_space")),
        code=module_hash("imaging.preprocess"),
    ).as_json()


STORES = {
    store_of(settings): cohort
    for cohort, settings in COHORTS.items()
    if not is_local(cohort)
}


def archive(cohort, key):
    name = read_source(table_of_source(cohort)).files[key].name
    return f"resources/{store_of(COHORTS[cohort])}/{name}"


def key_of(store, file):
    files = read_source(table_of_source(STORES[store])).files
    return next(key for key, entry in files.items() if entry.name == file)


def published_of(store, file):
    """What the source's table says of a file, as text: an edit there downloads that file anew."""
    files = read_source(table_of_source(STORES[store])).files
    return str(files[key_of(store, file)])


def local_original(wildcards):
    """The file itself where the base address is a folder, so that a rule may make it first; nothing for a remote one."""
    base = COHORTS[STORES[wildcards.store]]["base_url"] or ""
    base = base.removeprefix("file://")
    return [] if not base or "://" in base else f"{base.rstrip('/')}/{wildcards.file}"


# Kept for the process, since it is asked for several times a batch: once ingest is done, it doesn't run again, and Snakemake's
# exception for an ingest that is still to run is not kept.
@functools.cache
def batches_of(cohort):
    """By batch, its scans with the hash of what preprocessing reads of them."""
    if IN_JOB:
        return read_batches(f"data/{cohort}/batches.tsv")
    return read_batches(checkpoints.ingest_cohort.get(cohort=cohort).output.batches)


def scans_of_batch(wildcards):
    return batches_of(wildcards.cohort).get(wildcards.batch, {})


def batch_results(wildcards):
    return [
        f"results/{wildcards.cohort}/preproc_batches/{batch}.tsv"
        for batch in batches_of(wildcards.cohort)
    ]


def training(key):
    return lambda w: EXPERIMENTS[w.experiment]["training"][key]


def segments(experiment):
    return EXPERIMENTS[experiment]["task"] == "segmentation"


def class_count(wildcards):
    return len(EXPERIMENTS[wildcards.experiment].get("classes") or [0, 1])


def control_metrics(wildcards):
    kind = EXPERIMENTS[wildcards.experiment]["control"]
    names = control_names(wildcards.experiment, kind)
    return expand("results/experiments/{control}/metrics.tsv", control=names)


def without_sites(file):
    """``file`` of each experiment that another one, with a site left out, is trained beside."""
    return [
        f"results/experiments/{other}/{file}"
        for name, experiment in config["experiments"].items()
        for other in without_site_names(name, experiment["leave_one_site_out"])
    ]


def members(experiment):
    return members_of(EXPERIMENTS[experiment], config["split"]["folds"])


def member_files(experiment, file):
    return [
        f"results/experiments/{experiment}/{member}/{file}"
        for member in members(experiment)
    ]


def transfer_file(experiment):
    """The user's file of weights that the experiment's trainings start from; empty where there is none."""
    weights = (EXPERIMENTS[experiment].get("transfer") or {}).get("weights") or ""
    return weights if weights.endswith(".safetensors") else ""


def transfer_networks(wildcards, file):
    """``file`` of the networks of another experiment that a training may start from, the preferred first. The training takes
    the first that learned something."""
    transfer = EXPERIMENTS[wildcards.experiment].get("transfer") or {}
    source = transfer.get("weights")
    if not source or source.endswith(".safetensors"):
        return []
    names = starting_members(
        EXPERIMENTS[source], config["split"]["folds"], wildcards.run
    )
    return [f"results/experiments/{source}/{name}/{file}" for name in names]


def launcher(processes):
    """How the command is started: by itself, or several times by torchrun, which hands signals on."""
    if processes == 1:
        return "neurocohort"
    return (
        f"torchrun --standalone --nproc-per-node={processes} --signals-to-handle=SIGTERM,SIGINT,SIGUSR1"
        " --no-python neurocohort"
    )
