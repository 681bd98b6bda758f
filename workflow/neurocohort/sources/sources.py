"""Reading a source's table (``source_tables/<source>.yaml``): where its files are and what is published of them."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from neurocohort.errors import InputError
from neurocohort.sources.verify import MAGIC

TABLES = Path(__file__).resolve().parents[1] / "source_tables"
TEXTS = ("title", "homepage", "licence", "citation")
OPTIONAL_TEXTS = ("acknowledgement", "agreement")
CHECKED_OF_FILE = {"size_bytes": int, "md5": str, "sha256": str, "magic": str}
ESTIMATES_OF_FILE = {"approximate_gb": float, "scans": int}
FILE_KEYS = {"name": str, "urls": list} | CHECKED_OF_FILE | ESTIMATES_OF_FILE


def source_table(source: str) -> Path:
    """The table of a source that the package knows, such as ``ixi``; or one of the user's own, a path that ends in ``.yaml``."""
    return Path(source) if source.endswith(".yaml") else TABLES / f"{source}.yaml"


@dataclass(frozen=True)
class SourceFile:
    """One file of a source: ``urls`` in order of preference; None where nothing is published.

    ``approximate_gb`` and ``scans`` (those in the file) serve estimates and are held against nothing. They are no part of the
    text of this object, which the download rule depends on: a better estimate must not fetch gigabytes again.
    """

    key: str
    name: str
    urls: tuple[str, ...]
    size_bytes: int | None
    md5: str | None
    sha256: str | None
    magic: str | None
    approximate_gb: float | None = field(default=None, repr=False)
    scans: int | None = field(default=None, repr=False)

    @property
    def estimated_bytes(self) -> float:
        """The file's length as far as it is known; 0 where nothing is said, as of small tables."""
        return self.size_bytes or 1e9 * (self.approximate_gb or 0)

    def addresses(self, base: str | None) -> tuple[str, ...]:
        """The addresses to try: the published ones, or this file under ``base``, a folder or an address of your own."""
        return self.urls if base is None else (f"{base.rstrip('/')}/{self.name}",)


@dataclass(frozen=True)
class Source:
    """A cohort as it is published. ``needs_agreement``: whoever downloads it must have accepted its terms. ``scans_with``: by
    variable, how many of all its scans have a value, for variables that many lack."""

    title: str
    homepage: str
    licence: str
    citation: str
    acknowledgement: str | None
    agreement: str | None
    needs_agreement: bool
    files: dict[str, SourceFile]
    scans_with: dict[str, int]


def read_source(path: Path | str) -> Source:
    """Read and check a source's table. Raises InputError naming the key that is unknown, absent or of a wrong kind."""
    try:
        table = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"The source table {path} can't be read: {error}") from error
    kinds = dict.fromkeys(TEXTS + OPTIONAL_TEXTS, str) | {"needs_agreement": bool, "files": dict, "scans_with": dict}
    _check(path, "", table, kinds, required=(*TEXTS, "needs_agreement", "files"))
    files = {}
    for key, entry in table["files"].items():
        _check(path, f"files.{key}.", entry, FILE_KEYS, required=("name", "urls"))
        if entry.get("magic") not in (None, *MAGIC):
            raise InputError(f"{path}: files.{key}.magic is {entry['magic']!r}; known are {', '.join(MAGIC)}.")
        values = {name: entry.get(name) for name in CHECKED_OF_FILE | ESTIMATES_OF_FILE}
        files[key] = SourceFile(key, entry["name"], tuple(entry["urls"]), **values)
    texts = {name: table.get(name) for name in TEXTS + OPTIONAL_TEXTS}
    with_values = table.get("scans_with") or {}
    return Source(**texts, needs_agreement=table["needs_agreement"], files=files, scans_with=with_values)


def needed_files(cohort: dict, source: Source) -> tuple[list[str], str]:
    """The files that a public cohort is made of, by their keys in ``source``: its archives, and its table.

    ``cohort``: its settings in the configuration.
    """
    if cohort["source"] == "ixi":
        return [modality[:2].lower() for modality in cohort["modalities"]], "table"
    tables = {file.name: key for key, file in source.files.items() if key.startswith("table")}
    return [f"disc{disc}" for disc in cohort["discs"]], tables[cohort["table"]]


def store_of(cohort: dict) -> str:
    """The folder under resources/ of a public cohort's files: published ones share one, and those from an address of one's own
    have one that names the address."""
    base = cohort.get("base_url")
    return f"{cohort['source']}-{hashlib.sha256(base.encode()).hexdigest()[:8]}" if base else cohort["source"]


def _check(path: Path | str, prefix: str, entry: object, kinds: dict[str, type], required: tuple[str, ...]) -> None:
    if not isinstance(entry, dict):
        raise InputError(f"{path}: {prefix.rstrip('.') or 'the file'} is {entry!r}; keys with values are expected.")
    for key in required:
        if key not in entry:
            raise InputError(f"{path}: the key {prefix}{key} is absent.")
    for key, value in entry.items():
        if key not in kinds:
            raise InputError(f"{path}: the key {prefix}{key} is not known; known are {', '.join(kinds)}.")
        if type(value) is not kinds[key] and not (value is None and key not in required):
            raise InputError(f"{path}: {prefix}{key} is {value!r}; {kinds[key].__name__} is expected.")
