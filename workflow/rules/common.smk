# What the stages share: the checked configuration, the package beside this file, and small look-ups.
import json
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

REPOSITORY = Path(workflow.basedir)
sys.path.insert(0, str(REPOSITORY / "workflow"))

from neurocohort.codehash import code_hash
from neurocohort.cohorts.sources import read_source
from neurocohort.configuration import check_configuration, load_configuration
from neurocohort.errors import InputError
from neurocohort.files import read_table

CONFIGURATION_FILES = [Path(path) for path in workflow.configfiles]
try:
    load_configuration(CONFIGURATION_FILES)  # its messages have lines, and it sees a key that stands twice
    config = check_configuration(
        config, source=", ".join(map(str, CONFIGURATION_FILES))
    )
except InputError as error:
    raise WorkflowError(str(error)) from None

# The same interpreter and the same checkout for every job, whatever the login shell of a compute node prefers.
shell.prefix(
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
    f"PYTHONPATH={shlex.quote(str(REPOSITORY / 'workflow'))}; "
)
# The report shows the command that was typed; a job's own command line is another.
os.environ.setdefault("NEUROCOHORT_COMMAND", shlex.join(["snakemake", *sys.argv[1:]]))

COHORTS = config["cohorts"]
EXPERIMENTS = config["experiments"]
PREPROCESSING = config["preprocessing"]
VOXEL_ML = PREPROCESSING["spacing_mm"] ** 3 / 1000
GPU = 0 if config["device"] == "cpu" else 1


wildcard_constraints:
    cohort="|".join(COHORTS),
    experiment="|".join(EXPERIMENTS),
    scan_id=r"[A-Za-z0-9_-]+",
    seed=r"\d+",


def source_table(cohort):
    return REPOSITORY / "config" / "sources" / f"{COHORTS[cohort]['source']}.yaml"


def source_files(cohort):
    """The files that a cohort is made of, by their keys in the source's table: its archives first, its table last."""
    settings, files = COHORTS[cohort], read_source(source_table(cohort)).files
    if settings["source"] == "ixi":
        return ["t1"], "table"
    tables = {file.name: key for key, file in files.items() if key.startswith("table")}
    return [f"disc{disc}" for disc in settings["discs"]], tables[settings["table"]]


def trained_cohorts(experiment):
    return EXPERIMENTS[experiment]["cohorts"]


def all_cohorts(experiment):
    return trained_cohorts(experiment) + EXPERIMENTS[experiment]["external"]


def cohort_tables(cohorts):
    """What the selection of samples reads of each cohort."""
    names = [
        "data/{}/scans.tsv",
        "results/{}/qc.tsv",
        "results/{}/split.tsv",
        "results/{}/packed/index.tsv",
    ]
    return [name.format(cohort) for cohort in cohorts for name in names]


def packed_arrays(cohorts):
    return [
        f"results/{cohort}/packed/{kind}.npy"
        for cohort in cohorts
        for kind in ("images", "labels")
    ]
