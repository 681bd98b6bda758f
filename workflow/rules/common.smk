# Shared by all stages: the checked configuration, constants, and functions of every rule.
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
from neurocohort.sources.label_tables import own_table
from neurocohort.sources.fingerprints import fingerprint_local
from neurocohort.sources.scan_batches import batch_hash, read_batches
from neurocohort.sources.sources import (
    ixi_files,
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
from neurocohort.imaging.learned_constants import NETWORK, needs_network
from neurocohort.learning.draws import draws_of, final_draws, rounds_of, suggestion
from neurocohort.learning.published import PUBLISHED, grid_fraction
from neurocohort.study.adaptation import adapted_cohorts, new_sites
from neurocohort.study.applied_models import bundle_files
from neurocohort.study.generation import (
    generates,
    generator_settings,
    learner_settings,
    reference_member,
    without_counterfactual,
)
from neurocohort.study.learning_curves import applied_source, curve_points
from neurocohort.study.longitudinal import feature_chain
from neurocohort.study.members import (
    all_experiments,
    control_names,
    members_of,
    starting_members,
    starts_published,
    training_settings,
    transfer_chain,
    without_site_names,
)
from neurocohort.study.pretraining import evaluated, pretrained_from, pretrainings
from neurocohort.study.translation import translations
from neurocohort.study.semi_supervised import labels_only_name, learns_unlabelled
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
STUDIED = evaluated(
    config["experiments"]
)  # the others are pretrainings and translations
TRANSLATIONS = translations(EXPERIMENTS)
EVALUATED = evaluated(EXPERIMENTS)
MODELS = config["models"]  # of other studies
ANALYSES = config.get("longitudinal") or {}
PREPROCESSING = config["preprocessing"]
SPACING_MM = PREPROCESSING["spacing_mm"]
GPU = 0 if config["device"] == "cpu" else 1
GPU_MODEL = gpu_model(workflow)  # for rules with a GPU; empty if any model will do
SYNTHSTRIP = source_table("synthstrip")
SYNTHSTRIP_WEIGHTS = "resources/synthstrip/synthstrip.1.pt"
REGISTRATION_NETWORK = f"results/registration/{NETWORK}"
PUBLISHED_STORES = published_stores(config["experiments"])


if PREPROCESSING["registration"] == "deformable":
    from neurocohort.imaging.deformable import deformable_available

    if missing := deformable_available():
        raise WorkflowError(missing)
if config.get("tracking"):
    from neurocohort.learning.tracking_package import mlflow_available

    if missing := mlflow_available():
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
        for experiment in STUDIED
    }
    evaluated |= {name: [f"results/applied_models/{name}/notes.tsv"] for name in MODELS}
    evaluated |= {name: [f"results/longitudinal/{name}/notes.tsv"] for name in ANALYSES}
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
    if any(notes[experiment] for experiment in STUDIED):
        places += ["results/experiments/<experiment>/*notes.tsv"]
    if any(notes[model] for model in MODELS):
        places += ["results/applied_models/<model>/notes.tsv"]
    if any(notes[name] for name in ANALYSES):
        places += ["results/longitudinal/<analysis>/notes.tsv"]
    if lines := grouped(notes, " and ".join(places)):
        print("\n".join(["", *lines, ""]), file=sys.stderr)


wildcard_constraints:
    cohort="|".join(COHORTS),
    experiment=one_of(EXPERIMENTS),
    model=one_of(MODELS),
    analysis=one_of(ANALYSES),
    batch=r"\d+",
    run=rf"(sweep/draw-\d+/)?{MEMBER_PATTERN}",
    pack=one_of(PACKS),
    test=one_of(TEST_FOLD.format(number) for number in range(1, TEST_FOLDS + 1)),


def launcher(processes):
    """Program that starts the command: neurocohort itself, or torchrun for several processes, which forwards signals."""
    if processes == 1:
        return "neurocohort"
    return (
        f"torchrun --standalone --nproc-per-node={processes} --signals-to-handle=SIGTERM,SIGINT,SIGUSR1"
        " --no-python neurocohort"
    )
