"""The archives that a study was made from, with the sha256 of each: as recorded by the download, or, for a file of the user's own
that is linked, computed once and kept."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_table, sha256_of, write_table
from neurocohort.report.study import Cohort, Study
from neurocohort.sources.checksums import recorded_sha256
from neurocohort.sources.inputs import read_inputs
from neurocohort.sources.sources import ixi_files, read_source, source_table, store_of

RECORD = "checksums.tsv"  # of the download rule, next to the archives
KEPT = "input_checksums.tsv"  # in the results; not an output of a rule, so Snakemake doesn't delete it
COLUMNS = ("file", "bytes", "modified_ns", "sha256")


@dataclass(frozen=True)
class InputArchive:
    """An archive or table of a public cohort; ``recorded``: whether the sha256 is the download's own. Size and sha256 are None
    where the file isn't there any more."""

    cohort: str
    file: str
    bytes: int | None
    sha256: str | None
    recorded: bool


def input_archives(study: Study) -> list[InputArchive]:
    """The archives and tables of the public cohorts, with size and sha256 of what the ingest read, where it recorded them.

    Cohorts of the user's own have none: scans.tsv has the sha256 of each image.
    """
    return [_archive(study, cohort, name) for cohort in study.cohorts.values() for name in file_names(cohort.settings)]


def file_names(settings: dict) -> list[str]:
    """The names under which a public cohort's archives and table are published; none for a cohort of the user's own."""
    if settings.get("source") == "ixi":
        files = read_source(source_table("ixi")).files
        return [*(files[key].name for key in ixi_files(settings.get("modalities") or ["T1w"])), files["table"].name]
    if settings.get("source") == "oasis1":
        discs = settings.get("discs") or range(1, 13)
        table = settings.get("table") or "oasis_cross-sectional.csv"
        return [*(f"oasis_cross-sectional_disc{disc}.tar.gz" for disc in discs), table]
    return []


def _archive(study: Study, cohort: Cohort, name: str) -> InputArchive:
    resources = study.folders.resources
    path = resources / store_of(cohort.settings) / name
    shown = path.relative_to(resources.parent).as_posix()
    read = read_inputs(cohort.data)
    if name in read:
        size, sha256 = read[name]
        return InputArchive(cohort.name, shown, size, sha256, recorded_sha256(path) == sha256)
    if not path.is_file():
        study.sources.lack(path, f"the sha256 of an input of {cohort.name}")
        return InputArchive(cohort.name, shown, None, None, False)
    size = path.stat().st_size
    recorded = _recorded(path, size)
    sha256 = recorded or _kept(path, shown, size, study.folders.results / KEPT)
    return InputArchive(cohort.name, shown, size, sha256, recorded is not None)


def _recorded(path: Path, size: int) -> str | None:
    """The sha256 that a download recorded of this file or of the file that it links to."""
    for place in dict.fromkeys((path, path.resolve())):
        rows = _rows(place.with_name(RECORD), ("file", "bytes", "sha256"))
        own = rows[(rows["file"] == place.name) & (rows["bytes"] == size)]
        if len(own):
            return str(own["sha256"].iloc[0])
    return None


def _kept(path: Path, shown: str, size: int, record: Path) -> str:
    """The sha256 as it was computed before for this size and time; computed now where it wasn't."""
    modified = path.stat().st_mtime_ns
    rows = _rows(record, COLUMNS)
    known = rows[(rows["file"] == shown) & (rows["bytes"] == size) & (rows["modified_ns"] == modified)]
    if len(known):
        return str(known["sha256"].iloc[0])
    own = pd.DataFrame([(shown, size, modified, sha256_of(path))], columns=list(COLUMNS))
    others = rows[rows["file"] != shown]
    write_table(record, (pd.concat([others, own]) if len(others) else own).sort_values("file"))
    return str(own["sha256"].iloc[0])


def _rows(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        return read_table(path, columns)[list(columns)]
    except InputError:
        return pd.DataFrame(columns=list(columns))
