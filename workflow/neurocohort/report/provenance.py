"""What made this report: the command, the configuration, the data, the code, the packages, the machine, the time it took."""

import hashlib
import json
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pandas as pd

import neurocohort
from neurocohort import __version__
from neurocohort.files import sha256_of
from neurocohort.report.inputs import input_archives
from neurocohort.report.sources import Missing, Sources

NAMED = (  # the packages whose versions move results; the others stand in a list to unfold
    "torch", "monai", "numpy", "scipy", "pandas", "scikit-learn", "nibabel", "nilearn", "simpleitk", "deepbet",
    "snakemake", "matplotlib",
)  # fmt: skip


def collect(
    sources: Sources,
    *,
    results: Path,
    data: Path,
    cohorts: list[str],
    experiments: dict[str, dict],
    study: str,
    configuration: dict,
    command: str,
    lock: Path,
    benchmarks: Path,
    created: str,
    resources: Path | None = None,
) -> dict:
    """The provenance as plain values, ready for JSON; what is missing is None there and stands in the ledger.

    ``resources``: the folder of the archives, beside ``data`` where it is None.
    """
    packages = locked_packages(sources, lock)
    timing = rule_times(sources, benchmarks)
    archives = input_archives(sources, configuration, resources or data.parent / "resources", results, data)
    git = git_state(Path(neurocohort.__file__).resolve().parent)
    settled = hashlib.sha256(canonical(configuration).encode()).hexdigest()
    splits = _hashes(sources, sorted(results.glob("*/split.tsv")))
    return {
        "study": study,
        "run_id": run_id(git, settled, splits),
        "created": created,
        "neurocohort": __version__,
        "git": git,
        "command": command,
        "configuration": configuration,
        "configuration_sha256": settled,
        "seeds": seeds_of(configuration),
        "inputs": archives,
        "tables_sha256": _hashes(sources, [data / cohort / "scans.tsv" for cohort in cohorts]),
        "splits_sha256": splits,
        "metrics_sha256": _hashes(sources, [results / "experiments" / name / "metrics.tsv" for name in experiments]),
        "lock": None if isinstance(packages, Missing) else {"file": sources.name(lock), "sha256": sha256_of(lock)},
        "packages": None if isinstance(packages, Missing) else packages,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "gpus": gpus(),
        "runs": _runs(results, experiments),
        "rules": None if isinstance(timing, Missing) else timing,
    }


def canonical(configuration: dict) -> str:
    """The configuration as JSON with sorted keys and no spaces: the text whose sha256 names it."""
    return json.dumps(configuration, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def run_id(git: dict | None, configuration_sha256: str, splits_sha256: dict[str, str | None]) -> str:
    """Ten digits that name the run: the same commit, configuration and splits give the same ones, on every machine."""
    settled = {"commit": git and git["commit"], "configuration": configuration_sha256, "splits": splits_sha256}
    return hashlib.sha256(canonical(settled).encode()).hexdigest()[:10]


def git_state(folder: Path) -> dict | None:
    """Commit and dirty flag of the repository that holds ``folder``; None where git tracks nothing there."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if not git("ls-files", "."):  # a virtual environment inside somebody else's repository is not that repository
        return None
    commit = git("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(git("status", "--porcelain"))} if commit else None


def gpus() -> list[dict]:
    """Name and driver of each GPU that nvidia-smi sees where the report is made; none where there is no nvidia-smi.

    The device that each network was trained on stands in its run.json.
    """
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.rsplit(",", 1) for line in done.stdout.splitlines() if "," in line] if done.returncode == 0 else []
    return [{"name": name.strip(), "driver": driver.strip()} for name, driver in rows]


def seeds_of(configuration: object, key: str = "") -> dict[str, object]:
    """Every seed of the configuration by its dotted key."""
    found: dict[str, object] = {}
    for name, value in configuration.items() if isinstance(configuration, dict) else ():
        dotted = f"{key}.{name}" if key else str(name)
        found |= {dotted: value} if name in ("seed", "seeds") else seeds_of(value, dotted)
    return found


def locked_packages(sources: Sources, lock: Path) -> list[dict] | Missing:
    """Each package of the lock: name, version in the lock, version installed here (None where it is not)."""
    if not lock.is_file():
        return sources.lack(lock, "the versions of the packages")
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    if not pins:
        return sources.lack(lock, "the versions of the packages", "No line of it pins a package as name==version.")
    packages = []
    for name, locked in sorted(pins, key=lambda pin: pin[0].lower()):
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = None
        packages.append({"name": name, "locked": locked, "installed": installed})
    return packages


def rule_times(sources: Sources, benchmarks: Path) -> list[dict] | Missing:
    """Per rule, from Snakemake's benchmark files: jobs, summed and longest wall time (s), largest memory (MB)."""
    rules: dict[str, list[pd.DataFrame]] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        relative = path.relative_to(benchmarks)
        rule = relative.parts[0] if len(relative.parts) > 1 else path.stem
        try:
            rules.setdefault(rule, []).append(pd.read_csv(path, sep="\t"))
        except (OSError, ValueError) as error:
            sources.lack(path, f"the wall time of the rule {rule}", f"The file can't be read: {error}")
    times = []
    for rule, tables in rules.items():
        joined = pd.concat(tables)
        seconds = pd.to_numeric(joined.get("s"), errors="coerce")
        memory = (
            pd.to_numeric(joined.get("max_rss"), errors="coerce") if "max_rss" in joined else pd.Series(dtype=float)
        )
        times.append(
            {
                "rule": rule,
                "jobs": len(joined),
                "wall_s": round(float(seconds.sum()), 2),
                "longest_s": round(float(seconds.max()), 2) if seconds.notna().any() else None,
                "max_rss_mb": round(float(memory.max()), 1) if memory.notna().any() else None,
            }
        )
    if not times:
        return sources.lack(benchmarks, "the wall time of each rule", "The folder holds no benchmark file.")
    return times


def _hashes(sources: Sources, paths: list[Path]) -> dict[str, str | None]:
    return {sources.name(path): sha256_of(path) if path.is_file() else None for path in paths}


def _runs(results: Path, experiments: dict[str, dict]) -> list[dict]:
    runs = []
    for name in experiments:
        for path in sorted((results / "experiments" / name).glob("*seed-*/run.json")):
            try:
                run = json.loads(path.read_text("utf-8"), parse_constant=lambda _: None)
                runs.append({"experiment": name, "run": path.parent.name, **run})
            except (OSError, ValueError, TypeError):
                continue  # the learning section's red box names this file
    return runs
