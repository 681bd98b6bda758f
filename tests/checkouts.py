"""Copies of the checkout in which tests run Snakemake."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

CORES = "2"


class Checkout:
    """A copy of the repository in which tests run Snakemake and change files."""

    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run ``command`` in the checkout, with the programs of this environment first in PATH, and capture its output."""
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        environment.pop("NEUROCOHORT_COMMAND", None)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def snakemake(self, *arguments: str, check: bool = True) -> str:
        """Run Snakemake and return its output."""
        done = self.run("snakemake", "--cores", CORES, "--show-failed-logs", *arguments, check=check)
        return done.stdout + done.stderr

    def would_run(self, *arguments: str) -> dict[str, int]:
        """Number of jobs per rule in a dry run."""
        lines = self.snakemake("--dry-run", "--quiet", "rules", *arguments).splitlines()
        tables = [number for number, line in enumerate(lines) if line.split() == ["job", "count"]]
        counts = {}
        for line in lines[tables[-1] + 2 :] if tables else []:
            if not line.strip():
                break
            rule, count = line.split()
            counts[rule] = int(count)
        counts.pop("total", None)
        return counts

    def path(self, name: str) -> Path:
        return self.folder / name


def copy_checkout(repository: Path, folder: Path) -> Checkout:
    """Copy all files that git doesn't ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (repository / name).is_file() or (repository / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name, follow_symlinks=False)
    return Checkout(folder)


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """``folder``, which the first of several test processes makes. The others wait for it, and fail if it fails."""
    done, failed = folder.with_suffix(".done"), folder.with_suffix(".failed")
    with FileLock(folder.with_suffix(".lock")):
        if failed.exists():
            raise AssertionError(f"another test process failed to make {folder}:\n{failed.read_text(encoding='utf-8')}")
        if not done.exists():
            folder.mkdir()
            try:
                make(folder)
            except BaseException as error:
                failed.write_text(f"{error}", encoding="utf-8")
                raise
            done.touch()
    return folder


LARGEST_DEMO_BYTES = 500e6  # three times the size of the demo; a larger folder also contains another study


def take_demo(repository: Path, copy: Checkout) -> None:
    """Copy the demo's results from ``repository``, if only the demo ran there, so that Snakemake only rebuilds what has changed.

    The copies keep their time stamps, which Snakemake compares.
    """
    try:
        record = json.loads((repository / "results/report/provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    ignored = (repository / ".gitignore").read_text(encoding="utf-8").split()
    made = [*(name.strip("/") for name in ignored if name.startswith("/")), ".snakemake/metadata"]
    folders = [name for name in made if (repository / name).is_dir()]
    files = [path for name in folders for path in (repository / name).rglob("*") if path.is_file()]
    locked = any((repository / ".snakemake/locks").glob("*"))
    if record.get("study") != "demo" or locked or sum(path.stat().st_size for path in files) > LARGEST_DEMO_BYTES:
        return
    for name in folders:
        shutil.copytree(repository / name, copy.folder / name, symlinks=True)
