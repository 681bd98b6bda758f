"""The provenance of a report: the command, the configuration, the data, the code, the packages, the machine, and the times."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import neurocohort
from neurocohort import __version__
from neurocohort.files import sha256_of
from neurocohort.report.inputs import InputArchive, input_archives
from neurocohort.report.sources import Missing, Sources
from neurocohort.report.study import Package, Study, found

NAMED = (  # the packages whose versions change results; the others are in a folded list
    "torch", "monai", "numpy", "scipy", "pandas", "scikit-learn", "nibabel", "nilearn", "simpleitk", "deepbet",
    "snakemake", "matplotlib",
)  # fmt: skip
Hashes = dict[str, str | None]  # sha256 by file, None where it is missing


@dataclass(frozen=True)
class Git:
    """The state of the code's repository; ``dirty``: with uncommitted changes."""

    commit: str
    dirty: bool


@dataclass(frozen=True)
class Gpu:
    """A GPU of the machine that the report is made on."""

    name: str
    driver: str


@dataclass(frozen=True)
class Lock:
    """The lock file of the packages."""

    file: str
    sha256: str


@dataclass(frozen=True)
class RuleTime:
    """A rule's number of jobs, their summed and longest wall time (s), and their largest memory (MB)."""

    rule: str
    jobs: int
    wall_s: float
    longest_s: float | None
    max_rss_mb: float | None


@dataclass(frozen=True)
class Provenance:
    """provenance.json. What is missing is None, and is in the ledger. ``runs``: run.json of every training."""

    study: str
    run_id: str
    created: str
    neurocohort: str
    git: Git | None
    command: str
    configuration: dict[str, Any]
    configuration_sha256: str
    seeds: Mapping[str, Any]
    inputs: list[InputArchive]
    tables_sha256: Hashes
    splits_sha256: Hashes
    metrics_sha256: Hashes
    lock: Lock | None
    packages: tuple[Package, ...] | None
    python: str
    platform: str
    gpus: list[Gpu]
    runs: list
    rules: list[RuleTime] | None

    @property
    def named_packages(self) -> list[Package]:
        """The packages whose versions change results."""
        return [one for one in self.packages or () if one.name.lower() in NAMED]

    @property
    def devices(self) -> list[str]:
        """The devices that networks were trained on."""
        return list(dict.fromkeys(str(run["device"]) for run in self.runs if run.get("device")))

    def as_json(self) -> Any:
        """Plain values for JSON."""
        return json.loads(json.dumps(asdict(self), default=str))


def collect(study: Study, created: str) -> Provenance:
    """The provenance of a study's report; ``created``: its time, as ISO 8601."""
    folders, sources = study.folders, study.sources
    git = git_state(Path(neurocohort.__file__).resolve().parent)
    settled = hashlib.sha256(canonical(study.configuration).encode()).hexdigest()
    splits = _hashes(sources, sorted(folders.results.glob("*/split.tsv")))
    packages = found(study.packages)
    return Provenance(
        study=study.name,
        run_id=run_id(git, settled, splits),
        created=created,
        neurocohort=__version__,
        git=git,
        command=study.command,
        configuration=study.configuration,
        configuration_sha256=settled,
        seeds=seeds_of(study.configuration),
        inputs=input_archives(study),
        tables_sha256=_hashes(sources, [cohort.data / "scans.tsv" for cohort in study.cohorts.values()]),
        splits_sha256=splits,
        metrics_sha256=_hashes(sources, [one.folder / "metrics.tsv" for one in study.experiments.values()]),
        lock=Lock(sources.name(folders.lock), sha256_of(folders.lock)) if packages else None,
        packages=packages,
        python=platform.python_version(),
        platform=platform.platform(),
        gpus=gpus(),
        runs=_runs(study),
        rules=found(rule_times(sources, folders.benchmarks)),
    )


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: the text whose sha256 identifies a configuration."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def run_id(git: Git | None, configuration_sha256: str, splits_sha256: Hashes) -> str:
    """Ten hexadecimal digits that identify a run: the same for the same commit, configuration and splits on every machine."""
    settled = {"commit": git and git.commit, "configuration": configuration_sha256, "splits": splits_sha256}
    return hashlib.sha256(canonical(settled).encode()).hexdigest()[:10]


def git_state(folder: Path) -> Git | None:
    """The state of the repository that ``folder`` is tracked in; None where it isn't tracked."""

    def git(*arguments: str) -> str:
        return _output(["git", "-C", str(folder), *arguments])

    if not git("ls-files", "."):  # a virtual environment inside another repository is not tracked by it
        return None
    commit = git("rev-parse", "HEAD")
    return Git(commit, bool(git("status", "--porcelain"))) if commit else None


def gpus() -> list[Gpu]:
    """The GPUs that nvidia-smi lists on this machine; run.json has the device that each network was trained on."""
    listing = _output(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    rows = [line.rsplit(",", 1) for line in listing.splitlines() if "," in line]
    return [Gpu(name.strip(), driver.strip()) for name, driver in rows]


def seeds_of(configuration: object, key: str = "") -> Mapping[str, Any]:
    """Every seed of the configuration by its dotted key."""
    seeds: dict[str, Any] = {}
    for name, value in configuration.items() if isinstance(configuration, dict) else ():
        dotted = f"{key}.{name}" if key else str(name)
        seeds |= {dotted: value} if name in ("seed", "seeds") else seeds_of(value, dotted)
    return seeds


def rule_times(sources: Sources, benchmarks: Path) -> list[RuleTime] | Missing:
    """The time of each rule by Snakemake's benchmark files."""
    rules: dict[str, list[pd.DataFrame]] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        relative = path.relative_to(benchmarks)
        rule = relative.parts[0] if len(relative.parts) > 1 else path.stem
        try:
            rules.setdefault(rule, []).append(pd.read_csv(path, sep="\t"))
        except (OSError, ValueError) as error:
            sources.lack(path, f"the wall time of the rule {rule}", f"The file can't be read: {error}")
    times = [_rule_time(rule, pd.concat(tables)) for rule, tables in rules.items() if tables]
    return times or sources.lack(benchmarks, "the wall time of each rule", "The folder has no benchmark file.")


def _rule_time(rule: str, jobs: pd.DataFrame) -> RuleTime:
    columns = jobs.reindex(columns=["s", "max_rss"])
    seconds, memory = (pd.to_numeric(columns[name], errors="coerce") for name in columns)
    longest = round(float(seconds.max()), 2) if seconds.notna().any() else None
    largest = round(float(memory.max()), 1) if memory.notna().any() else None
    return RuleTime(rule, len(jobs), round(float(seconds.sum()), 2), longest, largest)


def _hashes(sources: Sources, paths: list[Path]) -> Hashes:
    return {sources.name(path): sha256_of(path) if path.is_file() else None for path in paths}


def _runs(study: Study) -> list:
    """run.json of every training, with its experiment and its folder."""
    return [
        {"experiment": one.name, "run": member, **json.loads(run.model_dump_json(exclude_unset=True))}
        for one in study.trained
        for member, run in one.runs.items()
        if not isinstance(run, Missing)
    ]


def _output(command: list[str]) -> str:
    """What a program prints; empty where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
