"""Which archives a study was made from, with the sha256 of each: what the download recorded, or, where it recorded nothing
(a file of the user's own that is linked), computed once and kept."""

from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_table, sha256_of, write_table
from neurocohort.report.sources import Sources
from neurocohort.sources.checksums import recorded_sha256
from neurocohort.sources.inputs import read_inputs
from neurocohort.sources.sources import store_of

RECORD = "checksums.tsv"  # of the download rule, beside the archives
KEPT = "input_checksums.tsv"  # in the results: no output of a rule, so that Snakemake leaves it there
COLUMNS = ("file", "bytes", "modified_ns", "sha256")


def input_archives(
    sources: Sources, configuration: dict, resources: Path, results: Path, data: Path | None = None
) -> list[dict]:
    """A record for each archive and table of the public cohorts: cohort, file, bytes, sha256, recorded.

    Both are those of what the ingest read, where it left them in ``data``/<cohort>. ``recorded``: whether the sha256 is the
    download's own. An archive that isn't there any more has None for both numbers and
    stands in the ledger. Cohorts of the user's own have none: the sha256 of each of their images is in scans.tsv.
    """
    found = []
    for cohort, settings in (configuration.get("cohorts") or {}).items():
        folder = resources / store_of(settings)
        read = read_inputs(data / cohort) if data else {}
        for name in file_names(settings):
            path = folder / name
            shown = f"{resources.name}/{folder.name}/{name}"
            if name in read:
                size, sha256 = read[name]
                known = recorded_sha256(path) == sha256
                found.append({"cohort": cohort, "file": shown, "bytes": size, "sha256": sha256, "recorded": known})
                continue
            if not path.is_file():
                sources.lack(path, f"the sha256 of an input of {cohort}")
                found.append({"cohort": cohort, "file": shown, "bytes": None, "sha256": None, "recorded": False})
                continue
            size = path.stat().st_size
            recorded = _recorded(path, size)
            sha256 = recorded or _kept(path, shown, size, results / KEPT)
            found.append(
                {"cohort": cohort, "file": shown, "bytes": size, "sha256": sha256, "recorded": recorded is not None}
            )
    return found


def file_names(settings: dict) -> list[str]:
    """The names under which a public cohort's archives and table are published; none for a cohort of the user's own."""
    if settings.get("source") == "ixi":
        return [*(f"IXI-{modality[:2]}.tar" for modality in settings.get("modalities") or ["T1w"]), "IXI.xls"]
    if settings.get("source") == "oasis1":
        discs = settings.get("discs") or range(1, 13)
        table = settings.get("table") or "oasis_cross-sectional.csv"
        return [*(f"oasis_cross-sectional_disc{disc}.tar.gz" for disc in discs), table]
    return []


def _recorded(path: Path, size: int) -> str | None:
    """What a download noted of this file: beside it, or beside the file that it links to."""
    for place in dict.fromkeys((path, path.resolve())):
        for row in _rows(place.with_name(RECORD), ("file", "bytes", "sha256")):
            if row["file"] == place.name and int(row["bytes"]) == size:
                return str(row["sha256"])
    return None


def _kept(path: Path, shown: str, size: int, record: Path) -> str:
    """The sha256 as it was computed of this size and time before; computed now where it wasn't."""
    modified = path.stat().st_mtime_ns
    rows = _rows(record, COLUMNS)
    for row in rows:
        if (row["file"], int(row["bytes"]), int(row["modified_ns"])) == (shown, size, modified):
            return str(row["sha256"])
    own = {"file": shown, "bytes": size, "modified_ns": modified, "sha256": sha256_of(path)}
    others = [row for row in rows if row["file"] != shown]
    write_table(record, pd.DataFrame([*others, own], columns=list(COLUMNS)).sort_values("file"))
    return own["sha256"]


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict]:
    try:
        return read_table(path, columns).to_dict("records") if path.is_file() else []
    except InputError:
        return []
