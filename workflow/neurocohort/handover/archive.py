"""The archive that hands a study over: bundles, report, split, results and provenance without ids, dates and paths.

Everything is first written into a folder, then rewritten, then searched for strings that identify people or machines, and only
then packed. The rows of all tables keep their order, so that the intervals can be computed again: the resampling follows it.
"""

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from neurocohort import __version__
from neurocohort.dataset.frozen_split import LAST_LINE, frozen_path
from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table, sha256_of, write_json, write_text, written_aside
from neurocohort.handover.contents import pieces
from neurocohort.handover.pages import IMAGES, broken_links, handed_over, update_crate
from neurocohort.handover.pseudonyms import Pseudonyms
from neurocohort.handover.strings import Found, Strings
from neurocohort.study.members import all_experiments

MANIFEST, README = "manifest.json", "README.md"
FORMAT = 1  # of the archive
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can store
REWRITTEN = {".tsv", ".json", ".html", ".md", ".yaml", ".svg", ".txt"}
PROGRAM = ("scripts", "code")  # folders with files of this program, the same in every study
PACKED = {".webp", ".png"}
MOST_SHOWN = 10
READ_ME = """# A study handed over by neurocohort {version}

`models/` has the trained models as MONAI bundles, `report/index.html` the report, `split/` the part of each participant,
`experiments/` predictions and results. `report/provenance.json` has the configuration, the versions and the seeds.

Participant and session ids are salted hashes, dates are years, and absolute paths were removed. Rows are in their original order.
Ages and measurements were not changed.

`neurocohort verify` with this archive checks every file and computes the metrics again from the predictions.
"""


@dataclass(frozen=True)
class Place:
    """The folders of a study and its cohorts."""

    results: Path
    data: Path
    splits: Path

    @property
    def provenance(self) -> dict[str, Any]:
        """The report's record of the run. Raises InputError if there is no report."""
        return read_json(self.results / "report" / "provenance.json")


@dataclass(frozen=True)
class Size:
    """Number of files in an archive, their bytes, and the bytes of the archive."""

    files: int
    content_bytes: int
    archive_bytes: int


def export(place: Place, output: Path, strings: Strings, pseudonyms: Pseudonyms, *, images: bool = False) -> Size:
    """Write the archive, if nothing in it identifies anybody.

    Args:
        place: The study.
        output: The zip file.
        strings: What must not be in it.
        pseudonyms: The hashes of the ids.
        images: Whether the pictures and pages of single scans are included.

    Raises:
        InputError: If something identifying is found; nothing is written then.
    """
    with tempfile.TemporaryDirectory(prefix="neurocohort_export_") as scratch:
        folder = Path(scratch)
        original = _copy(place, folder, pseudonyms, images=images)
        pseudonyms.key_table()  # no two people with one hash
        update_crate(folder / "report" / "ro-crate-metadata.json")
        if broken := list(broken_links(folder / "report")):
            raise InputError(
                f"{len(broken)} link(s) of the copied report lead nowhere, such as {broken[0]}; run the rule `report` again."
            )
        write_text(folder / README, READ_ME.format(version=__version__))
        write_json(folder / MANIFEST, _manifest(folder, place.provenance, original, images=images))
        refuse_identifying(folder, strings)
        return _pack(folder, output)


def refuse_identifying(folder: Path, strings: Strings) -> None:
    """Raise InputError if a file in ``folder``, or its name, has one of the strings, with file, kind and line of each."""
    findings, count = [], 0
    for path in files_in(folder):
        for text in sorted(set(findings_in(path, path.relative_to(folder).as_posix(), strings))):
            count += 1
            findings += [text] if count <= MOST_SHOWN else []
    if count:
        more = f"\n  and {count - MOST_SHOWN} more" if count > MOST_SHOWN else ""
        raise InputError(
            f"the archive was not written: {count} string(s) in it could identify somebody.\n  "
            + "\n  ".join(findings)
            + more
            + "\nRemove them where they come from: the file of this name in the study, or its images, tables or settings. Then "
            "run the rule that writes the file again. If a string identifies nobody, allow it: --allow 'the string'."
        )


def findings_in(path: Path, name: str, strings: Strings) -> Iterator[str]:
    """Yield a line for each of the strings in a file or its name."""
    for found in strings.find(name):
        yield f"{name}: {found.kind} {found.text!r} in the file's name"
    for piece in pieces(name, path.read_bytes()):
        for found in strings.find(piece.text, binary=piece.binary):
            yield f"{piece.where}: {found.kind} {found.text!r}{_where(piece.text, found, piece.binary)}"


def files_in(folder: Path) -> list[Path]:
    """All files under ``folder``, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def sources(place: Place, *, images: bool) -> Iterator[tuple[Path, str]]:
    """Yield each file of the study for the archive, and its name there. Raises InputError if there are no models."""
    results, models = place.results, place.results / "models"
    if not models.is_dir():
        raise InputError(f"{models} is not there; finish the study first: its bundles belong into the archive.")
    left_out = () if images else IMAGES
    for top in (models, results / "report"):
        for path in files_in(top):
            parts = path.relative_to(top).parts
            if parts[0] not in left_out and path.name not in ("report.zip", ".snakemake_timestamp"):
                yield path, path.relative_to(results).as_posix()
    for path in sorted((results / "experiments").glob("*/*.tsv")):
        yield path, path.relative_to(results).as_posix()
    configuration = place.provenance["configuration"]
    chosen = {key: configuration["split"].get(key, 0) for key in ("validation", "held_out", "seed", "test_folds")}
    for cohort in configuration["cohorts"]:
        if (path := results / cohort / "split.tsv").is_file():
            yield path, f"split/{cohort}.tsv"
        frozen = frozen_path(place.splits, cohort, **chosen)
        if frozen.is_file():  # a cohort with a split of the user's own has none
            yield frozen, f"split/{cohort}_frozen/{frozen.name}"


def sealed_split(text: str) -> str:
    """The record of a split with the hash of its lines in its last line (`dataset.frozen_split`)."""
    body = text.rpartition(LAST_LINE)[0]
    return f"{body}{LAST_LINE}{hashlib.sha256(body.encode()).hexdigest()}\n"


def seal_of(text: str) -> str:
    """The hash in the last line of a split's record."""
    return text.rpartition(LAST_LINE)[2].strip()


def columns_of(table: pd.DataFrame) -> dict[str, str]:
    """The type of each column, ``number`` or ``text``; ``empty`` where it has no value."""
    return {
        str(name): "empty" if values.isna().all() else "number" if pd.api.types.is_numeric_dtype(values) else "text"
        for name, values in table.items()
    }


def _copy(place: Place, folder: Path, pseudonyms: Pseudonyms, *, images: bool) -> dict[str, dict[str, str]]:
    """Copy and rewrite the study's files. Return what is known of the originals: ``sha256`` and ``frozen`` by name."""
    original = {}
    for path, name in sources(place, images=images):
        hashed_name = pseudonyms.rewritten(name)
        target = folder / hashed_name
        target.parent.mkdir(parents=True, exist_ok=True)
        original[hashed_name] = {"original_sha256": sha256_of(path)}
        if path.suffix not in REWRITTEN or any(part in PROGRAM for part in Path(name).parts[:-1]):
            shutil.copyfile(path, target)
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".tsv":
            changed = pseudonyms.table(text)
            if LAST_LINE in text:
                changed = sealed_split(changed)
                original[hashed_name] |= {"original_seal": seal_of(text), "seal": seal_of(changed)}
        else:
            changed = pseudonyms.rewritten(text)
            if name == "report/index.html":
                changed = handed_over(changed, images=images)
        write_text(target, changed)
    return original


def _manifest(folder: Path, provenance: dict, original: dict[str, dict[str, str]], *, images: bool) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for path in files_in(folder):
        name = path.relative_to(folder).as_posix()
        files[name] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        if name in original and original[name]["original_sha256"] != files[name]["sha256"]:
            files[name] |= original[name]
        if path.suffix == ".tsv" and "_frozen/" not in name:
            table = read_table(path)
            files[name] |= {"rows": len(table), "columns": columns_of(table)}
    evaluation, known = (
        provenance["configuration"]["evaluation"],
        all_experiments(provenance["configuration"]["experiments"]),
    )
    evaluated = {
        name: {"task": one["task"]} for name, one in known.items() if f"experiments/{name}/metrics.tsv" in files
    }
    return {
        "format": FORMAT,
        "neurocohort": __version__,
        "study": provenance["study"],
        "bootstrap": {"resamples": evaluation["resamples"], "seed": evaluation["seed"]},
        "experiments": evaluated,
        "ids": "first digits of HMAC-SHA256 with a secret salt",
        "row_order": "original",
        "images": images,
        "files": files,
    }


def _where(text: str, found: Found, binary: bool) -> str:
    return " among its bytes" if binary else f", line {text.count(chr(10), 0, found.start) + 1}"


def _pack(folder: Path, output: Path) -> Size:
    """Zip the folder in the order of names, with a fixed date: the bytes depend on the content alone."""
    files, total = files_in(folder), 0
    output.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(output) as aside, zipfile.ZipFile(aside, "w") as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EARLIEST)
            entry.compress_type = zipfile.ZIP_STORED if path.suffix in PACKED else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with open(path, "rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)
            total += path.stat().st_size
    return Size(len(files), total, output.stat().st_size)


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of an unpacked archive. Raises InputError if it is none of this version."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise InputError(f"the archive has the format {manifest['format']}; this version reads {FORMAT}.")
        return manifest
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"the archive has no usable {MANIFEST}: {error}. `neurocohort export` writes it.") from error
