"""The scans that a model is applied to: image files, with age, sex and site where they are known."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.sources.data_dictionary import SEXES

PATH, KNOWN = "path", ("age", "sex", "site")
SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img")
MODALITY = re.compile(r"[A-Za-z0-9]+w|FLAIR|PDT2|angio")  # BIDS' suffixes of anatomical images


@dataclass(frozen=True)
class RawScan:
    """A scan as it came from the scanner.

    Attributes:
        scan_id: Names its row and its files.
        path: The T1-weighted image: .nii, .nii.gz, or one file of an Analyze or NIfTI pair.
        age: In years.
        sex: ``F`` or ``M``; another text is flagged.
        site: The name of its site.
        extra: Images of other modalities, by BIDS suffix, for models that need them.
    """

    scan_id: str
    path: Path
    age: float | None = None
    sex: str | None = None
    site: str | None = None
    extra: Mapping[str, Path] = field(default_factory=dict)


def scans_from_paths(
    paths: Sequence[Path], *, age: float | None = None, sex: str | None = None, site: str | None = None
) -> list[RawScan]:
    """Scans from image files, in their order; each is named after its file.

    Raises InputError if age or sex are given for more than one.
    """
    if len(paths) > 1 and (age is not None or sex is not None):
        raise InputError(
            f"--age and --sex are those of one scan, and {len(paths)} are given: use --table with the columns path, age and sex."
        )
    sex = _sex(sex)
    return [RawScan(name, path, age, sex, site) for name, path in zip(_names(paths), paths, strict=True)]


def scans_from_table(table: Path) -> list[RawScan]:
    """Scans from a TSV file with the column ``path`` (relative to the table's folder) and, where known, age, sex and site.

    ``scan_id`` names the scans. Other columns with the name of a modality (such as T2w) have the path of its image.

    Raises InputError where a path or an age can't be used, or two scans have the same name.
    """
    rows = read_table(table, required=(PATH,))
    if not len(rows):
        raise InputError(f"{table} has no row; expected one for each scan.")
    if rows[PATH].isna().any():
        raise InputError(
            f"{table}: `path` is empty in row {int(rows[PATH].isna().argmax()) + 1}; name the scan's file."
        )
    paths = [table.parent / Path(str(path)).expanduser() for path in rows[PATH]]
    names = [_safe(str(name)) for name in rows["scan_id"]] if "scan_id" in rows else _names(paths)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{table}: `scan_id` has {twice[0]} more than once; each scan needs a name of its own.")
    modalities = [name for name in rows if MODALITY.fullmatch(name)]
    found = []
    for name, path, row in zip(names, paths, rows.to_dict("records"), strict=True):
        extra = {one: table.parent / str(row[one]) for one in modalities if not pd.isna(row[one])}
        found.append(
            RawScan(name, path, _age(row.get("age"), table, name), _sex(row.get("sex")), _text(row.get("site")), extra)
        )
    return found


def _names(paths: Iterable[Path]) -> list[str]:
    """Names from files, without ``_T1w`` and the suffix; equal names get numbers."""
    names: list[str] = []
    for path in paths:
        name = path.name
        suffix = next((one for one in SUFFIXES if name.lower().endswith(one)), path.suffix)
        name = _safe(name[: len(name) - len(suffix)].removesuffix("_T1w"))
        number, first = 2, name
        while name in names:
            name, number = f"{first}_{number}", number + 1
        names.append(name)
    return names


def _safe(name: str) -> str:
    """A name of letters, digits, ``_``, ``-`` and ``.`` that is no hidden file."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "scan"


def _age(value: object, table: Path, name: str) -> float | None:
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(f"{table}: `age` of {name} is {value!r}; expected a number of years, or n/a.") from None


def _sex(value: object) -> str | None:
    """The sex as the cohorts have it, F or M; another text as it is, so that it is flagged."""
    text = _text(value)
    return None if text is None else SEXES.get(text.strip().lower(), text)


def _text(value: object) -> str | None:
    return None if value is None or pd.isna(value) else str(value)  # type: ignore[call-overload]
