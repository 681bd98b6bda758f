# Shared by all stages: the checked configuration, constants, and input and parameter functions.
import dataclasses
import functools
import hashlib
import json
import os
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError

ENVIRONMENT = "../../envs/environment.yaml"  # relative to the files in this folder

from neurocohort.codehash import code_hash, module_hash
from neurocohort.sources.fingerprints import fingerprint_local
from neurocohort.sources.scan_batches import batch_hash, read_batches
from neurocohort.sources.sources import (
    needed_files,
    read_source,
    source_table,
    store_of,
)
from neurocohort.study.configuration import check_configuration, load_configuration
from neurocohort.errors import InputError
from neurocohort.dataset.clinicadl_split import split_tables
from neurocohort.dataset.packs import all_packs, development_packs
from neurocohort.dataset.trained_scans import RECORD, WEIGHTS, kept_record, known_scans
from neurocohort.dataset.runs import MEMBER_PATTERN, TEST_FOLD, run_name
from neurocohort.imaging.derivatives import MODULATED_GM, SUFFIXES
from neurocohort.learning.published import PUBLISHED, grid_fraction
from neurocohort.study.applied_models import bundle_files
from neurocohort.study.learning_curves import applied_source, curve_points
from neurocohort.study.members import (
    all_experiments,
    control_names,
    draws_of,
    members_of,
    starting_members,
    starts_published,
    training_settings,
    transfer_chain,
    without_site_names,
)
from neurocohort.study.published import (
    published_file,
    published_path,
    published_stores,
)
from neurocohort.study.structures import structures_to_ingest, structures_to_learn
from neurocohort.notes import grouped, read_notes
from neurocohort.settings.evaluation import BaselineSettings
from neurocohort.settings.ingest import IngestSettings
from neurocohort.settings.models import ApplySettings
from neurocohort.settings.predictors import PredictorSettings
from neurocohort.settings.preprocessing import BatchSettings
from neurocohort.settings.selection import SelectionSettings
from neurocohort.settings.split import SplitSettings
from snakemake_support.run import gpu_model, job_prefix, keep_whole, watch

IN_JOB = workflow.remote_exec  # whether this Snakemake runs inside a cluster job
CONFIGURATION_FILES = [Path(path) for path in workflow.configfiles]
try:
    load_configuration(
        CONFIGURATION_FILES
    )  # gives messages with line numbers, and finds duplicate keys
    # Jobs don't search the user's folders again: they were checked before submission, and there may be thousands of jobs.
    config = check_configuration(
        config,
        source=", ".join(map(str, CONFIGURATION_FILES)),
        read_cohorts=not IN_JOB,
    )
except InputError as error:
    raise WorkflowError(str(error)) from None

# Not in a module: the prefix would also apply to the rules of the importing workflow. `watch` sets PATH in both cases.
if not workflow.modifier.is_module:
    shell.prefix(job_prefix())
watch(workflow)

COHORTS = config["cohorts"]
EXPERIMENTS = all_experiments(config["experiments"])
MODELS = config["models"]  # of other studies
PREPROCESSING = config["preprocessing"]
SPACING_MM = PREPROCESSING["spacing_mm"]
GPU = 0 if config["device"] == "cpu" else 1
GPU_MODEL = gpu_model(workflow)  # for rules with a GPU; empty if any model will do
SYNTHSTRIP = source_table("synthstrip")
SYNTHSTRIP_WEIGHTS = "resources/synthstrip/synthstrip.1.pt"
PUBLISHED_STORES = published_stores(config["experiments"])


if PREPROCESSING["registration"] == "deformable":
    from neurocohort.imaging.deformable import deformable_available

    if missing := deformable_available():
        raise WorkflowError(missing)
if config["evaluation"]["harmonisation"] == "combat":
    from neurocohort.evaluation.combat_package import combat_available

    if missing := combat_available():
        raise WorkflowError(missing)


ATTEMPTS = "NEUROCOHORT_ATTEMPTS"  # an environment variable
NOTES = ["data/{cohort}/notes.tsv", "results/{cohort}/notes.tsv"]
GIVEN_NOTES = {  # on predictions from elsewhere, by experiment
    experiment: f"results/experiments/{experiment}/notes.tsv"
    for experiment in EXPERIMENTS
    if EXPERIMENTS[experiment].get("predictors")
}
# Priorities. Trainings are the longest jobs. With a GPU, a training starts as soon as its cohort is ready, in parallel with the
# preprocessing of other cohorts. Without a GPU, everything that trainings need is done first, so that no core is idle at the end.
TRAINING, BEFORE_TRAINING = 10, 20
PREPROCESSING_SCANS = 0 if GPU else BEFORE_TRAINING
TEST_FOLDS = config["split"]["test_folds"]
PACKS = all_packs(TEST_FOLDS)
# Folder of what training reads: with test folds there is one for each, so that none contains its held-out scans.
TRAINING_FOLDER = "training/{test}" if TEST_FOLDS else "training"
SUFFIX = TRAINING_FOLDER.removeprefix("training")


def by_attempt(amount):
    """Return a function for memory (MB) or time (minutes): the amount times the number of the attempt."""
    return lambda wildcards, attempt: amount * attempt


def batch_minutes(scans, minutes):
    """Time limit of a batch: minutes per scan, with a reserve of two scans for retries, at most one day. A job that is stopped
    continues at its next attempt."""
    return min(minutes * (scans + 2), 24 * 60)


def attempts_allowed(wildcards):
    """Maximal number of attempts of a job. Only the main process knows it; cluster jobs get it from the environment."""
    if not IN_JOB:
        os.environ[ATTEMPTS] = str(1 + workflow.execution_settings.retries)
    return int(os.environ.get(ATTEMPTS, 1))


def model_cohorts(model):
    """The cohorts to which a model of another study is applied."""
    return MODELS[model]["cohorts"] or list(COHORTS)


def model_files(model):
    """The files of a model of another study that its predictions depend on."""
    return bundle_files(Path(MODELS[model]["bundle"]))


def one_of(names):
    """Wildcard pattern that matches only these names, and nothing for an empty list."""
    return "|".join(names) or "(?!)"


def print_notes():
    """Print the notes of ingest, preprocessing and evaluation at the end of a run: at most one screen."""
    files = {
        cohort: [name.format(cohort=cohort) for name in NOTES] for cohort in COHORTS
    }
    evaluated = {
        experiment: [
            f"results/experiments/{experiment}/evaluation_notes.tsv",
            *([GIVEN_NOTES[experiment]] if experiment in GIVEN_NOTES else []),
        ]
        for experiment in config["experiments"]
    }
    evaluated |= {name: [f"results/applied_models/{name}/notes.tsv"] for name in MODELS}
    for experiment, paths in evaluated.items():
        files[experiment] = [*files.get(experiment, []), *paths]
    notes = {
        whose: [
            note
            for path in map(Path, paths)
            if path.is_file()
            for note in read_notes(path)
        ]
        for whose, paths in files.items()
    }
    places = [name.format(cohort="<cohort>") for name in NOTES]
    if any(notes[experiment] for experiment in config["experiments"]):
        places += ["results/experiments/<experiment>/*notes.tsv"]
    if any(notes[model] for model in MODELS):
        places += ["results/applied_models/<model>/notes.tsv"]
    if lines := grouped(notes, " and ".join(places)):
        print("\n".join(["", *lines, ""]), file=sys.stderr)


wildcard_constraints:
    cohort="|".join(COHORTS),
    experiment=one_of(EXPERIMENTS),
    model=one_of(MODELS),
    batch=r"\d+",
    run=rf"(sweep/draw-\d+/)?{MEMBER_PATTERN}",
    pack=one_of(PACKS),
    test=one_of(TEST_FOLD.format(number) for number in range(1, TEST_FOLDS + 1)),


def table_of_source(cohort):
    return source_table(COHORTS[cohort]["source"])


def source_files(cohort):
    """Files of a public cohort, as keys of the source's table: its archives, and its table of participants."""
    return needed_files(COHORTS[cohort], read_source(table_of_source(cohort)))


def is_local(cohort):
    return COHORTS[cohort]["source"] in ("bids", "caps", "table")


def ingest_inputs(wildcards):
    """Archives and table of a public cohort; for a local cohort its table, if it has one."""
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
    """Fingerprint of a local folder or table, so that a changed or new image there reruns the ingest."""
    settings = COHORTS[wildcards.cohort]
    if not is_local(wildcards.cohort):
        return ""
    return fingerprint_local(settings, f"data/{wildcards.cohort}")


def split_files(cohort):
    """The user's split file of a cohort, or the files of a ClinicaDL split; none if the cohort has no split file."""
    given = COHORTS[cohort].get("split_file")
    if given and os.path.isdir(given):
        return [str(file.path) for file in split_tables(Path(given))]
    return [given] if given else []


def trained_cohorts(experiment):
    return EXPERIMENTS[experiment]["cohorts"]


def all_cohorts(experiment):
    return trained_cohorts(experiment) + EXPERIMENTS[experiment]["external"]


def class_column(wildcards):
    """Column of the classes that the split balances: the target of the first classification that uses the cohort."""
    targets = [
        experiment["target"]
        for experiment in EXPERIMENTS.values()
        if experiment["task"] == "classification"
        and wildcards.cohort in experiment["cohorts"]
    ]
    return targets[0] if targets else "dementia"


def cohort_tables(cohorts):
    """Tables that the selection of samples reads."""
    names = [
        "data/{}/scans.tsv",
        "results/{}/qc.tsv",
        "results/{}/split.tsv",
    ]
    return [name.format(cohort) for cohort in cohorts for name in names]


def selection_settings(experiment, **own):
    """Settings of the selection of an experiment's samples. A control permutes its targets."""
    settings = EXPERIMENTS[experiment]
    permutation = settings["permutation"]
    shuffled = (
        {"shuffle_seed": config["split"]["seed"] + permutation} if permutation else {}
    )
    if settings.get("own_participants"):
        own = own | {"participants_seed": config["split"]["seed"]}
    return SelectionSettings.taken_from(
        config["split"], settings, **own, **shuffled
    ).as_json()


def split_files_of(experiment):
    """`split_files` of each cohort that the experiment trains on."""
    return {cohort: split_files(cohort) for cohort in trained_cohorts(experiment)}


@functools.cache
def training_conditions(experiment):
    """Hash of the settings and the code between the ingested scans and the trainings of an experiment."""
    cohorts = {
        cohort: [preprocess_settings(of_cohort), channels_of(of_cohort)]
        for cohort in trained_cohorts(experiment)
        for of_cohort in [SimpleNamespace(cohort=cohort)]
    }
    grid = [PREPROCESSING["spacing_mm"], PREPROCESSING["shape"]]
    names = ("template", "quality", "split", "pack", "select")
    rules = [code_hash(name) for name in names]
    selection = selection_settings(experiment, external=[], development=True)
    found = [cohorts, grid, config["quality"], config["split"], selection, rules]
    text = json.dumps(found, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def training_folders(experiment):
    """The folders of all trainings of an experiment."""
    draws = draws_of(EXPERIMENTS[experiment]["sweep"])
    runs = [
        f"{draw}/{member}" for draw in (draws or [""]) for member in members(experiment)
    ]
    return [Path(f"results/experiments/{experiment}/{run.lstrip('/')}") for run in runs]


def networks_that_stay(experiment):
    """The record of the scans that an experiment's networks were trained on, if they stay although scans were added; else None."""
    if config["new_scans"] == "retrain":
        return None
    records = [folder / RECORD for folder in training_folders(experiment)]
    tables = [
        Path(f"data/{cohort}/{table}.tsv")
        for cohort in trained_cohorts(experiment)
        for table in ("scans", "batches")
    ]
    records = [path for path in records if path.is_file()]
    if not records or not all(path.is_file() for path in tables):
        return None
    files = [*records, *(path.with_name(WEIGHTS) for path in records), *tables]
    return record_in(experiment, *(modified_ns(path) for path in files))


def modified_ns(path):
    """Time stamp of a file; 0 if there is none."""
    return path.stat().st_mtime_ns if path.is_file() else 0


@functools.cache
def record_in(experiment, *times_ns):
    """`kept_record` of an experiment, read again when one of the time stamps of its files has changed."""
    known = known_scans(
        Path("data"), trained_cohorts(experiment), split_files_of(experiment)
    )
    return kept_record(
        training_folders(experiment), known, training_conditions(experiment)
    )


def after_ingest(wildcards):
    """No files, but a job with this input is examined again after the ingest of the cohorts to train on."""
    for cohort in trained_cohorts(wildcards.experiment):
        batches_of(cohort)
    return []


def unless_networks_stay(experiment, files):
    """``files``, which a training reads; if its networks stay, newer files are no reason to train again."""
    if networks_that_stay(experiment):
        return [ancient(file) for file in files]
    return files


def trained_option(wildcards):
    """The option with the record of the networks that stay; empty if there is none."""
    record = networks_that_stay(wildcards.experiment)
    return f"--trained={record}" if record else ""


def packed_arrays(cohorts, packs):
    return [
        f"results/{cohort}/packed/{pack}/{file}"
        for cohort in cohorts
        for pack in packs
        for file in ("images.npy", "labels.npy", "index.tsv", "channels.tsv")
    ]


def test_fold_of(wildcards):
    """The test fold that a table of training samples leaves out, as a setting; none without test folds."""
    return {"test_fold": int(wildcards.test.rpartition("-")[2])} if TEST_FOLDS else {}


def training_samples(wildcards, file="samples.tsv"):
    """The samples that a training reads, or another ``file`` next to them."""
    test = TEST_FOLD.format(run_name(wildcards.run).test_fold)
    path = f"results/experiments/{wildcards.experiment}/{TRAINING_FOLDER.format(test=test)}/{file}"
    return unless_networks_stay(wildcards.experiment, [path])


def training_arrays(wildcards):
    """The packed scans that a training reads."""
    packs = development_packs(TEST_FOLDS, run_name(wildcards.run).test_fold)
    arrays = packed_arrays(trained_cohorts(wildcards.experiment), packs)
    return unless_networks_stay(wildcards.experiment, arrays)


def channels_of(wildcards):
    """Channels of a cohort's packs: its modalities, and tissue maps if the study has them."""
    maps = SUFFIXES.values() if PREPROCESSING["tissue_maps"] else []
    of_cohort = COHORTS[wildcards.cohort]
    modulated = PREPROCESSING["modulated_gm"] and not of_cohort.get("mni_space")
    return ",".join(
        [*of_cohort["modalities"], *maps, *([MODULATED_GM] if modulated else [])]
    )


def brain_extraction_weights(cohort):
    """Weights to download for the brain extraction; none if it is skipped or includes its weights."""
    extracted = not COHORTS[cohort].get("skull_stripped")
    needed = PREPROCESSING["brain_extraction"] == "synthstrip" and extracted
    return SYNTHSTRIP_WEIGHTS if needed else []


# Not from `input`: Snakemake doesn't rerun for a change in a value that is made from it, such as that of skull_stripped.
def preprocess_settings(wildcards):
    """The settings of a scan and the hash of the code behind it, as JSON, for the command and for its record."""
    of_cohort = COHORTS[wildcards.cohort]
    return BatchSettings.taken_from(
        PREPROCESSING,
        skull_stripped=bool(of_cohort.get("skull_stripped")),
        mni_space=bool(of_cohort.get("mni_space")),
        code=module_hash("imaging.preprocess") + module_hash("imaging.scan_files"),
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
    """Entry of a file in the source's table, as text, so that an edit of the entry downloads the file again."""
    files = read_source(table_of_source(STORES[store])).files
    return str(files[key_of(store, file)])


def local_original(wildcards):
    """The archive as input if `base_url` is a folder, so that a rule can create it first; nothing for a remote address."""
    base = COHORTS[STORES[wildcards.store]]["base_url"] or ""
    base = base.removeprefix("file://")
    return [] if not base or "://" in base else f"{base.rstrip('/')}/{wildcards.file}"


# Cached, since it is called several times per batch. This is safe: ingest runs at most once per process, and the exception
# that Snakemake raises before that isn't cached.
@functools.cache
def batches_of(cohort):
    """Scans of each batch, with the hash of what preprocessing reads of each scan."""
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


def structures_of_experiment(wildcards):
    """The names of the structures that a segmentation predicts; None for CSF, GM and WM, and for other tasks."""
    return structures_to_learn(EXPERIMENTS[wildcards.experiment], COHORTS)


def class_count(wildcards):
    return len(EXPERIMENTS[wildcards.experiment].get("classes") or [0, 1])


def given_tables(wildcards):
    """Tables of predictions that other tools made for the experiment."""
    given = EXPERIMENTS[wildcards.experiment].get("predictors") or {}
    return [predictor["file"] for predictor in given.values()]


def control_metrics(wildcards):
    kind = EXPERIMENTS[wildcards.experiment]["control"]
    names = control_names(wildcards.experiment, kind)
    return expand("results/experiments/{control}/metrics.tsv", control=names)


def points_of(experiment):
    """The points of the learning curve of an experiment; none if it has none."""
    return curve_points(experiment, config["experiments"][experiment]["learning_curve"])


def learning_curve_files(wildcards, file):
    """``file`` of all points of a learning curve."""
    return [
        f"results/experiments/{point.experiment}/{file}"
        for point in points_of(wildcards.experiment)
    ]


def applied_option(wildcards):
    """The experiment that was applied without training as an option, or why there is none."""
    source, reason = applied_source(config["experiments"], wildcards.experiment)
    return f"--applied={source}" if source else f"--reason={reason}"


def without_sites(file):
    """``file`` of each experiment that repeats another one without one of its sites."""
    return [
        f"results/experiments/{other}/{file}"
        for name, experiment in config["experiments"].items()
        for other in without_site_names(name, experiment["leave_one_site_out"])
    ]


def members(experiment):
    return members_of(EXPERIMENTS[experiment], config["split"]["folds"], TEST_FOLDS)


def member_files(experiment, file):
    return [
        f"results/experiments/{experiment}/{member}/{file}"
        for member in members(experiment)
    ]


def transfer_file(experiment):
    """Weights file that the trainings start from, from the user or downloaded; empty if there is none."""
    transfer = EXPERIMENTS[experiment].get("transfer") or {}
    weights = transfer.get("weights") or ""
    if weights == PUBLISHED:
        return published_path(transfer)
    return weights if weights.endswith(".safetensors") else ""


def transfer_fraction(experiment):
    """The part of the published image that the grid covers, for trainings that go back to published weights."""
    if not starts_published(EXPERIMENTS, experiment):
        return None
    return grid_fraction(PREPROCESSING["shape"], SPACING_MM)


def transfer_networks(wildcards, file):
    """``file`` of the networks of another experiment that a training can start from, in order of preference. The training
    uses the first one that learned something."""
    transfer = EXPERIMENTS[wildcards.experiment].get("transfer") or {}
    source = transfer.get("weights")
    if not source or transfer_file(wildcards.experiment):
        return []
    names = starting_members(
        EXPERIMENTS[source], config["split"]["folds"], wildcards.run, TEST_FOLDS
    )
    return [f"results/experiments/{source}/{name}/{file}" for name in names]


def launcher(processes):
    """Program that starts the command: neurocohort itself, or torchrun for several processes, which forwards signals."""
    if processes == 1:
        return "neurocohort"
    return (
        f"torchrun --standalone --nproc-per-node={processes} --signals-to-handle=SIGTERM,SIGINT,SIGUSR1"
        " --no-python neurocohort"
    )
