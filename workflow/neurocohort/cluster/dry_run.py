"""The jobs that Snakemake would run, from the log events of its dry run.

Scans are only known after the ingest. What their jobs request is learned before that from a second dry run, of a copy of the
study in which each cohort has one scan.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neurocohort.checkout import CHECKOUT, SNAKEFILE
from neurocohort.cluster.jobs import JOBS_FILE, Job, Resources
from neurocohort.cluster.profiles import Profile
from neurocohort.errors import InputError
from neurocohort.sources.sources import read_source, source_table

ERROR_LINES = 12
PLACEHOLDER = "sub-placeholder"
PATH_KEYS = (
    "path",
    "participants_tsv",
    "base_url",
    "split_file",
    "file",
    "weights",
    "weights_url",
)  # of the configuration, whose values may be files
SCAN_RULE = "preprocess_batch"  # its jobs are only known after the ingest


def jobs_to_run(studies: Sequence[Path], directory: Path, profile: Profile) -> list[Job]:
    """The jobs that a run in ``directory`` would start with what is known now.

    Raises:
        InputError: If the dry run fails, with Snakemake's own message.
    """
    with tempfile.TemporaryDirectory(prefix="neurocohort-") as folder:
        file = Path(folder) / "jobs.jsonl"
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor", "--quiet", "host", "progress", "reason"]
        command += ["--snakefile", str(CHECKOUT / SNAKEFILE), "--directory", str(directory)]
        command += ["--profile", str(profile.folder)] if profile.folder else ["--cores", str(profile.cores)]
        command += ["--configfile", *(str(Path(study).resolve()) for study in studies)] if studies else []
        environment = {name: value for name, value in os.environ.items() if name != "SNAKEMAKE_PROFILE"}
        environment[JOBS_FILE] = str(file)
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            shown = "\n".join((done.stdout + done.stderr).strip().splitlines()[-ERROR_LINES:])
            raise InputError(f"Snakemake's dry run of this study fails, and a run would fail in the same way:\n{shown}")
        return read_jobs(file.read_text(encoding="utf-8").splitlines()) if file.exists() else []


def jobs_of_one_scan(config: Mapping[str, Any], profile: Profile, near: Path) -> list[Job]:
    """The jobs of the study from the ingest on, as if nothing were done and each cohort had one scan.

    Args:
        config: The checked configuration.
        profile: The profile of the run.
        near: The study's folder, to which its paths are relative.
    """
    with tempfile.TemporaryDirectory(prefix="neurocohort-") as folder:
        place = Path(folder)
        copied = _absolute_paths(config, near)
        _write_placeholders(copied, place)
        # A cohort that has scans is not ingested again: a second copy of each, with empty archives, shows the ingest's job.
        again = {f"{name}-again": dict(cohort) for name, cohort in copied["cohorts"].items()}
        for cohort in again.values():
            if "base_url" in cohort:
                cohort["base_url"] = str(_empty_archives(cohort["source"], place))
        copied["cohorts"] |= again
        study = place / "study.json"
        study.write_text(json.dumps(copied), encoding="utf-8")
        return jobs_to_run([study], place, profile)


def read_jobs(lines: Iterable[str]) -> list[Job]:
    """The jobs in the lines of JOBS_FILE."""
    records = [json.loads(line) for line in lines]
    return [Job(**(record | {"resources": Resources(*record["resources"])})) for record in records]


# --- a copy of the study with one scan per cohort -----------------------------------------------------------------------


def _empty_archives(source: str, place: Path) -> Path:
    folder = place / "archives"
    folder.mkdir(exist_ok=True)
    for file in read_source(source_table(source)).files.values():
        (folder / file.name).touch()
    return folder


def _absolute_paths(config: Any, near: Path, key: str = "") -> Any:
    """A copy of the configuration with absolute paths to files in the study's folder."""
    if isinstance(config, Mapping):
        return {name: _absolute_paths(value, near, name) for name, value in config.items()}
    if key in PATH_KEYS and isinstance(config, str) and config and (near / config).exists():
        return str((near / config).resolve())
    return config


def _write_placeholders(config: Mapping[str, Any], place: Path) -> None:
    """Write what the ingest of one scan per cohort would leave, as empty files that are newer than its inputs."""
    from neurocohort.sources.columns import DIFFUSION_COLUMNS, DIFFUSION_MAPS, EXCLUSION_COLUMNS, columns_of

    image = f"{PLACEHOLDER}_T1w.nii.gz"
    scan_id = f"{PLACEHOLDER}_ses-1"
    scan = {"participant_id": PLACEHOLDER, "session_id": "ses-1", "scan_id": scan_id, "path": image}
    for name, cohort in config["cohorts"].items():
        folder = place / "data" / name
        folder.mkdir(parents=True)
        row = scan | {f"path_{name}": image for name in cohort["modalities"][1:] if name not in DIFFUSION_MAPS}
        if {*DIFFUSION_MAPS} & {*cohort["modalities"]}:
            row |= dict.fromkeys(DIFFUSION_COLUMNS.values(), image)
        columns = columns_of(row)
        # The time that a batch requests follows from its number of scans: this one is full.
        size = config["preprocessing"]["batch_size"]
        tables = {
            "scans.tsv": ["\t".join(columns), "\t".join(row.get(column, "n/a") for column in columns)],
            "batches.tsv": ["scan_id\tbatch\tcontent", *(f"{PLACEHOLDER}{n}_ses-1\t000\tn/a" for n in range(size))],
            "exclusions.tsv": ["\t".join(EXCLUSION_COLUMNS)],
        }
        empty = (image, "participants.tsv", "participants.json", "dataset_description.json", "notes.tsv", "inputs.tsv")
        for file, lines in (tables | {file: [] for file in empty}).items():
            (folder / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
