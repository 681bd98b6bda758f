# What the stages share: the checked configuration, the package beside this file, and small look-ups.
import functools
import hashlib
import json
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

REPOSITORY = Path(workflow.basedir)
ENVIRONMENT = str(REPOSITORY / "envs" / "environment.yaml")
sys.path.insert(0, str(REPOSITORY / "workflow"))

from neurocohort.codehash import code_hash
from neurocohort.cohorts.fingerprints import fingerprint_bids, fingerprint_table
from neurocohort.cohorts.sources import read_source
from neurocohort.configuration import check_configuration, load_configuration
from neurocohort.errors import InputError
from neurocohort.dataset.packs import PACKS
from neurocohort.files import read_table
from neurocohort.members import (
    all_experiments,
    control_names,
    draws_of,
    members_of,
    training_settings,
    without_site_names,
)

CONFIGURATION_FILES = [Path(path) for path in workflow.configfiles]
try:
    load_configuration(
        CONFIGURATION_FILES
    )  # its messages have lines, and it sees a key that stands twice
    config = check_configuration(
        config, source=", ".join(map(str, CONFIGURATION_FILES))
    )
except InputError as error:
    raise WorkflowError(str(error)) from None

# The same interpreter and the same checkout for every job, whatever the login shell of a compute node prefers; and a way
# to Snakemake's own standard error for the sentence that a person should see, which the rule's log would hide.
shell.prefix(
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
    f"PYTHONPATH={shlex.quote(str(REPOSITORY / 'workflow'))} NEUROCOHORT_MESSAGES=9; exec 9>&2; "
)
# The report shows the command that was typed; a job's own command line is another.
os.environ.setdefault("NEUROCOHORT_COMMAND", shlex.join(["snakemake", *sys.argv[1:]]))
os.environ.setdefault("NEUROCOHORT_TERMINAL", "1" if sys.stderr.isatty() else "")

COHORTS = config["cohorts"]
EXPERIMENTS = all_experiments(config["experiments"])
PREPROCESSING = config["preprocessing"]
SPACING_MM = PREPROCESSING["spacing_mm"]
GPU = 0 if config["device"] == "cpu" else 1
SYNTHSTRIP = REPOSITORY / "config" / "sources" / "synthstrip.yaml"
SYNTHSTRIP_WEIGHTS = "resources/synthstrip/synthstrip.1.pt"


if PREPROCESSING["registration"] == "deformable":
    from neurocohort.imaging.deformable import deformable_available

    if missing := deformable_available():
        raise WorkflowError(missing)


MEMBER = r"(fold-\d+_)?seed-\d+"


def one_of(names):
    """A pattern for a wildcard that takes these names alone; none where there are none."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    cohort="|".join(COHORTS),
    experiment="|".join(EXPERIMENTS),
    scan_id=r"[A-Za-z0-9_-]+",
    run=rf"(sweep/draw-\d+/)?{MEMBER}",
    pack=one_of(PACKS),


def source_table(cohort):
    return REPOSITORY / "config" / "sources" / f"{COHORTS[cohort]['source']}.yaml"


def source_files(cohort):
    """The files that a public cohort is made of, by their keys in the source's table: its archives first, its table last."""
    settings, files = COHORTS[cohort], read_source(source_table(cohort)).files
    if settings["source"] == "ixi":
        return [modality[:2].lower() for modality in settings["modalities"]], "table"
    tables = {file.name: key for key, file in files.items() if key.startswith("table")}
    return [f"disc{disc}" for disc in settings["discs"]], tables[settings["table"]]


def is_local(cohort):
    return COHORTS[cohort]["source"] in ("bids", "table")


def ingest_inputs(wildcards):
    """The archives and table of a public cohort; of a cohort of one's own the table, where it is one."""
    settings = COHORTS[wildcards.cohort]
    if is_local(wildcards.cohort):
        return settings["path"] if settings["source"] == "table" else []
    archives, table = source_files(wildcards.cohort)
    return [archive(wildcards.cohort, key) for key in [*archives, table]]


def ingest_options(wildcards):
    """Where the command finds the cohort, by its source."""
    cohort = wildcards.cohort
    settings = COHORTS[cohort]
    if settings["source"] == "bids":
        return shlex.join(
            f"--{key}={settings[key]}" for key in ("path", "pattern", "run")
        )
    if settings["source"] == "table":
        return shlex.join([f"--path={settings['path']}"])
    archives, table = source_files(cohort)
    files = [archive(cohort, key) for key in archives]
    return shlex.join([f"--table={archive(cohort, table)}", *files])


def ingest_fingerprint(wildcards):
    """What lies in a folder or table of one's own now: another image there makes the ingest run again."""
    settings = COHORTS[wildcards.cohort]
    if not is_local(wildcards.cohort):
        return ""
    of = fingerprint_bids if settings["source"] == "bids" else fingerprint_table
    return of(Path(settings["path"]))


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


def selection_options(wildcards):
    """The classes of a classification, a list of several values joined by |, the seed of a control's permutation, and the site
    that is left out."""
    experiment = EXPERIMENTS[wildcards.experiment]
    entries = [
        entry if isinstance(entry, list) else [entry]
        for entry in experiment.get("classes") or []
    ]
    options = [f"--classes={'|'.join(map(str, entry))}" for entry in entries]
    if permutation := experiment["permutation"]:
        options.append(f"--shuffle-seed={config['split']['seed'] + permutation}")
    if experiment["left_out_site"]:
        options.append(f"--leave-out-site={experiment['left_out_site']}")
    return shlex.join(options)


def packed_arrays(cohorts, packs):
    return [
        f"results/{cohort}/packed/{pack}/{file}"
        for cohort in cohorts
        for pack in packs
        for file in ("images.npy", "labels.npy", "channels.tsv")
    ]


def modalities_of(wildcards):
    return ",".join(COHORTS[wildcards.cohort]["modalities"])


def further_images(wildcards):
    """The session's images of other modalities, in the order of the cohort's list."""
    row = scans_of(wildcards.cohort)[wildcards.scan_id]
    return [
        f"data/{wildcards.cohort}/{row[f'path_{modality}']}"
        for modality in COHORTS[wildcards.cohort]["modalities"][1:]
    ]


def brain_extraction_weights(wildcards):
    """The weights that the brain extraction needs, and none where it is left out or brings its own."""
    extracted = not COHORTS[wildcards.cohort].get("skull_stripped")
    needed = PREPROCESSING["brain_extraction"] == "synthstrip" and extracted
    return SYNTHSTRIP_WEIGHTS if needed else []


def preprocess_options(wildcards, input):
    """What only some scans have: labels, other modalities, steps that were done already, weights."""
    options, settings = [], COHORTS[wildcards.cohort]
    if input.labels:
        options += [
            f"--labels={input.labels}",
            f"--labels-reference={input.labels_reference}",
        ]
    further = zip(settings["modalities"][1:], further_images(wildcards), strict=True)
    options += [f"--further={modality}={path}" for modality, path in further]
    if input.weights:
        options.append(f"--weights={input.weights}")
    for key in ("skull_stripped", "mni_space"):
        if settings.get(key):
            options.append(f"--{key.replace('_', '-')}")
    return shlex.join(options)


def store_of(cohort):
    """Published archives share one folder; those from an address of one's own have a folder that names the address."""
    settings = COHORTS[cohort]
    base = settings["base_url"]
    if not base:
        return settings["source"]
    return f"{settings['source']}-{hashlib.sha256(base.encode()).hexdigest()[:8]}"


STORES = {store_of(cohort): cohort for cohort in COHORTS if not is_local(cohort)}


def archive(cohort, key):
    name = read_source(source_table(cohort)).files[key].name
    return f"resources/{store_of(cohort)}/{name}"


def key_of(store, file):
    files = read_source(source_table(STORES[store])).files
    return next(key for key, entry in files.items() if entry.name == file)


def published_of(store, file):
    """What the source's table says of a file, as text: an edit there downloads that file anew."""
    files = read_source(source_table(STORES[store])).files
    return str(files[key_of(store, file)])


def local_original(wildcards):
    """The file itself where the base address is a folder, so that a rule may make it first; nothing for a remote one."""
    base = COHORTS[STORES[wildcards.store]]["base_url"] or ""
    base = base.removeprefix("file://")
    return [] if not base or "://" in base else f"{base.rstrip('/')}/{wildcards.file}"


@functools.cache
def read_scans(path, changed):
    return read_table(path).set_index("scan_id").to_dict("index")


def scans_of(cohort):
    path = checkpoints.ingest_cohort.get(cohort=cohort).output.scans
    return read_scans(path, os.stat(path).st_mtime_ns)


def scan_file(key):
    """An input function: the file in column ``key`` of the scan's row, or none where the row has none."""

    def of(wildcards):
        value = scans_of(wildcards.cohort)[wildcards.scan_id][key]
        return f"data/{wildcards.cohort}/{value}" if isinstance(value, str) else []

    return of


def qc_records(wildcards):
    return [
        f"results/{wildcards.cohort}/preproc/{scan_id}/{scan_id}_qc.json"
        for scan_id in scans_of(wildcards.cohort)
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


def transfer_weights(wildcards):
    """The file that the experiment's training starts from: one of the user's, or the first network of another experiment."""
    weights = (EXPERIMENTS[wildcards.experiment].get("transfer") or {}).get("weights")
    if not weights or weights.endswith(".safetensors"):
        return weights or ""
    return member_files(weights, "model.safetensors")[0]


def launcher(processes):
    """How the command is started: by itself, or several times by torchrun, which hands signals on."""
    if processes == 1:
        return "neurocohort"
    return (
        f"torchrun --standalone --nproc-per-node={processes} --signals-to-handle=SIGTERM,SIGINT,SIGUSR1"
        " --no-python neurocohort"
    )
