"""The jobs of a study as Snakemake's own dry run tells them, read from what it prints.

Scans are known once a cohort has been ingested. What their jobs ask for is learned before that from a dry run elsewhere, in
which each cohort has one scan.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from neurocohort.checkout import CHECKOUT, SNAKEFILE, workflow_files
from neurocohort.cluster.profiles import Profile
from neurocohort.errors import InputError
from neurocohort.sources.sources import read_source, source_table

JOB = re.compile(r"^( *)(?:local)?(?:rule|checkpoint) (\w+):$", re.MULTILINE)
ASKED = ("gpu", "mem_mb", "runtime")
LOCAL_RULE = re.compile(r"^rule (\w+):\n(?:(?:    .*)?\n)*?    localrule: True\n", re.MULTILINE)
ERROR_LINES = 12
PLACEHOLDER = "sub-placeholder"
PATH_KEYS = (
    "path",
    "base_url",
    "split_file",
    "weights",
    "weights_url",
)  # of the configuration, whose values may be files
SCAN_RULE = "preprocess_batch"  # the one whose jobs are known after the ingest


@dataclass
class Job:
    """One job. ``asked``: threads, gpu, mem_mb and runtime (minutes), those that it has. ``estimated``: it stands for scans that
    aren't known yet, and its files are made up."""

    rule: str
    wildcards: dict[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)
    estimated: bool = False

    @property
    def gpus(self) -> int:
        return self.asked.get("gpu", 0)

    @property
    def threads(self) -> int:
        return self.asked.get("threads", 1)


def jobs_to_run(studies: Sequence[Path], directory: Path, profile: Profile) -> list[Job]:
    """The jobs that a run in ``directory`` would begin with what it knows now.

    Raises InputError with Snakemake's own words where the dry run fails.
    """
    return parse_jobs(_dry_run(studies, directory, profile))


def jobs_of_one_scan(config: dict, profile: Profile, near: Path) -> list[Job]:
    """A job of each kind that the study has from the ingest on, as if nothing were done and each cohort had one scan.

    ``config``: the checked configuration. ``near``: the study's folder, from which its relative paths start.
    """
    with tempfile.TemporaryDirectory(prefix="neurocohort-") as folder:
        place = Path(folder)
        config = _absolute_paths(config, near)
        _write_placeholders(config, place)
        # A cohort that has scans is not ingested any more: each stands there again without them, beside empty archives.
        again = {f"{name}-again": dict(cohort) for name, cohort in config["cohorts"].items()}
        for cohort in again.values():
            if "base_url" in cohort:
                cohort["base_url"] = str(_empty_archives(cohort["source"], place))
        config["cohorts"] |= again
        study = place / "study.json"
        study.write_text(json.dumps(config), encoding="utf-8")
        return parse_jobs(_dry_run([study], place, profile))


def local_rules() -> set[str]:
    """The rules that run where Snakemake runs; its dry run doesn't tell them apart."""
    return {name for file in workflow_files() for name in LOCAL_RULE.findall(file.read_text(encoding="utf-8"))}


def parse_jobs(printed: str) -> list[Job]:
    """The jobs in what a dry run printed."""
    jobs = []
    starts = list(JOB.finditer(printed))
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        block = printed[start.end() : following.start() if following else len(printed)]
        lines = dict(re.findall(rf"^{start[1]}    (\w+): (.*)$", block, re.MULTILINE))
        asked = {name: value for name, value in _pairs(lines.get("resources")).items() if name in ASKED}
        asked = {"threads": lines.get("threads", "1")} | asked
        jobs.append(
            Job(
                start[2],
                _pairs(lines.get("wildcards")),
                lines.get("input", "").split(", ") if lines.get("input") else [],
                lines.get("output", "").split(", ") if lines.get("output") else [],
                {name: int(value) for name, value in asked.items() if value.isdigit()},
            )
        )
    return jobs


def _pairs(text: str | None) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in (text or "").split(", ") if "=" in pair)


def _dry_run(studies: Sequence[Path], directory: Path, profile: Profile) -> str:
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "host", "progress", "reason", "--nocolor"]
    command += ["--snakefile", str(CHECKOUT / SNAKEFILE), "--directory", str(directory)]
    command += ["--profile", str(profile.folder)] if profile.folder else ["--cores", str(profile.cores)]
    command += ["--configfile", *(str(Path(study).resolve()) for study in studies)] if studies else []
    environment = {name: value for name, value in os.environ.items() if name != "SNAKEMAKE_PROFILE"}
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-ERROR_LINES:])
        raise InputError(f"Snakemake's dry run of this study fails, and a run would fail likewise:\n{said}")
    return done.stdout


# --- one scan a cohort --------------------------------------------------------------------------------------------


def _empty_archives(source: str, place: Path) -> Path:
    folder = place / "archives"
    folder.mkdir(exist_ok=True)
    for file in read_source(source_table(source)).files.values():
        (folder / file.name).touch()
    return folder


def _absolute_paths(config: object, near: Path, key: str = "") -> object:
    """A copy of the configuration in which what lies in the study's folder is named from anywhere."""
    if isinstance(config, dict):
        return {name: _absolute_paths(value, near, name) for name, value in config.items()}
    if key in PATH_KEYS and isinstance(config, str) and config and (near / config).exists():
        return str((near / config).resolve())
    return config


def _write_placeholders(config: dict, place: Path) -> None:
    """What the ingest of one scan a cohort would leave, as empty files that are newer than its inputs."""
    from neurocohort.sources.columns import EXCLUSION_COLUMNS, SCAN_COLUMNS

    for name, cohort in config["cohorts"].items():
        folder = place / "data" / name
        folder.mkdir(parents=True)
        image = f"{PLACEHOLDER}_T1w.nii.gz"
        (folder / image).touch()
        paths = {f"path_{modality}": image for modality in cohort["modalities"][1:]}
        row = {
            "participant_id": PLACEHOLDER,
            "session_id": "ses-1",
            "scan_id": f"{PLACEHOLDER}_ses-1",
            "path": image,
        } | paths
        columns = [column for column in SCAN_COLUMNS if column in row or not column.startswith("path_")]
        lines = ["\t".join(columns), "\t".join(row.get(column, "n/a") for column in columns)]
        (folder / "scans.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        # A batch asks for the time of its scans: it is a full one.
        size = config["preprocessing"]["batch_size"]
        batch = [f"{PLACEHOLDER}{number}_ses-1\t000\tn/a" for number in range(size)]
        (folder / "batches.tsv").write_text("\n".join(["scan_id\tbatch\tcontent", *batch]) + "\n", encoding="utf-8")
        (folder / "exclusions.tsv").write_text("\t".join(EXCLUSION_COLUMNS) + "\n", encoding="utf-8")
        for file in ("participants.tsv", "participants.json", "dataset_description.json", "notes.tsv", "inputs.tsv"):
            (folder / file).touch()
