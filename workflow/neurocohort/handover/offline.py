"""Everything that a machine without a network needs to run a study, in one folder: the code, the packages as wheels, the weights
that a study downloads, its archives if asked for, their hashes, and a script that installs it.

The weights of deepbet are in its wheel, and the template is in nilearn's.
"""

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurocohort.checkout import CHECKOUT
from neurocohort.errors import InputError
from neurocohort.files import sha256_of, write_json, write_text
from neurocohort.sources.checksums import RECORD as CHECKSUMS
from neurocohort.sources.download import download
from neurocohort.sources.sources import SourceFile, needed_files, read_source, source_table, store_of
from neurocohort.study.published import published_file, published_stores

SUMS, MANIFEST, INSTALL, CODE = "SHA256SUMS", "manifest.json", "install.sh", "neurocohort.tar.gz"
REQUIREMENTS = CHECKOUT / "envs" / "requirements.txt"
TOOLS = ("pip", "setuptools>=77", "wheel")  # for the installation itself
PUBLIC = ("ixi", "oasis1")
SYNTHSTRIP = "synthstrip"
LINES_SHOWN = 5  # of pip's output


@dataclass(frozen=True)
class Needed:
    """A file to download: its place under ``resources/``, its addresses, and the user's own address for it, empty without."""

    place: str
    file: SourceFile
    base: str = ""


def bundle_offline(
    folder: Path,
    needed: list[Needed],
    *,
    requirements: Path = REQUIREMENTS,
    extra_index: str = "",
    resources: Path = Path("resources"),
) -> int:
    """Fill ``folder`` for a machine with the same system and Python as this one. SHA256SUMS is written last.

    Args:
        folder: The folder, which may have the files of an interrupted run.
        needed: The files that the study downloads.
        requirements: The lock of the packages.
        extra_index: Address of another package index, such as that of torch's CPU builds.
        resources: Where files may be that were downloaded before.

    Returns:
        The size of all files in bytes.

    Raises:
        InputError: If the code or a file can't be obtained.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUMS).unlink(missing_ok=True)
    _write_code(folder / CODE)
    _write_wheels(folder / "wheels", requirements, extra_index)
    for one in needed:
        _obtain(one, folder / "resources" / one.place, resources / one.place)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    script = (Path(__file__).parent / "offline_files" / INSTALL).read_text(encoding="utf-8")
    write_text(folder / INSTALL, script.replace("@PYTHON@", version))
    return _write_manifest(folder, version)


def files_of(config: dict[str, Any], *, sources: bool) -> Iterator[Needed]:
    """Yield the files that a checked configuration downloads: the weights, and with ``sources`` the cohorts' archives."""
    if config["preprocessing"]["brain_extraction"] == SYNTHSTRIP:
        weights = read_source(source_table(SYNTHSTRIP)).files["weights"]
        yield Needed(f"{SYNTHSTRIP}/{weights.name}", weights, config["preprocessing"]["weights_url"] or "")
    for store, base in published_stores(config["experiments"]).items():
        yield Needed(f"{store}/{published_file().name}", published_file(), base)
    for cohort in config["cohorts"].values() if sources else ():
        if cohort["source"] not in PUBLIC:
            continue
        table = read_source(cohort.get("source_table") or source_table(cohort["source"]))
        archives, participants = needed_files(cohort, table)
        for key in (*archives, participants):
            yield Needed(f"{store_of(cohort)}/{table.files[key].name}", table.files[key], cohort.get("base_url") or "")


def _write_code(target: Path) -> None:
    """The last commit of the checkout as a tar file with the top folder ``neurocohort``."""
    git = ["git", "-C", str(CHECKOUT)]
    packed = ["archive", "--format=tar.gz", "--prefix=neurocohort/", "-o", str(target.resolve()), "HEAD"]
    try:
        subprocess.run([*git, *packed], check=True, capture_output=True, text=True)
        changes = subprocess.run(
            [*git, "status", "--porcelain"], check=True, capture_output=True, text=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip()
        raise InputError(
            f"the code of {CHECKOUT} can't be packed: {reason}. Run this command in a clone of the repository; it needs git."
        ) from error
    if changes:
        print(
            f"note: {CHECKOUT} has {len(changes.splitlines())} uncommitted change(s); {target.name} has the last commit."
        )


def _write_wheels(folder: Path, requirements: Path, extra_index: str, tools: tuple[str, ...] = TOOLS) -> None:
    """The packages of the lock and what they need, as wheels; those without a published wheel are built."""
    command: list[str | Path] = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--wheel-dir", folder]
    command += ["--extra-index-url", extra_index] if extra_index else []
    done = subprocess.run([*command, "-r", requirements, *tools], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        errors = [line for line in said if not line.lstrip().startswith("WARNING")]
        lines = "\n  ".join((errors or said)[-LINES_SHOWN:])
        raise InputError(
            f"the packages of {requirements} can't be downloaded; pip says:\n  {lines}\nRun the command again on a "
            "machine with a network; pip takes what it has from its cache."
        )


def _obtain(needed: Needed, target: Path, before: Path) -> None:
    """Copy a file that is here already, else download it. Both are compared with what is published."""
    target.parent.mkdir(parents=True, exist_ok=True)
    remote = not needed.base or "://" in needed.base.removeprefix("file://")
    local = [before] if remote else [before, Path(needed.base.removeprefix("file://")) / needed.file.name]
    found = next((path for path in local if path.is_file()), None)
    if found and not target.is_file():
        shutil.copyfile(found, target)
    if remote:
        download(needed.file, target, base=needed.base or None)
        target.with_name(f".{CHECKSUMS}.lock").unlink(missing_ok=True)
    elif not target.is_file():
        raise InputError(
            f"{needed.file.name} is neither {before} nor in {needed.base}, the folder in the study file. Put it there, or leave "
            "--sources out."
        )


def _write_manifest(folder: Path, version: str) -> int:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (SUMS, MANIFEST))
    files: dict[str, dict[str, Any]] = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in paths
    }
    write_json(folder / MANIFEST, {"python": version, "platform": platform.platform(), "files": files})
    sums: list[tuple[str, str]] = [
        (MANIFEST, sha256_of(folder / MANIFEST)),
        *((name, one["sha256"]) for name, one in files.items()),
    ]
    write_text(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums))
    return sum(int(one["bytes"]) for one in files.values())
