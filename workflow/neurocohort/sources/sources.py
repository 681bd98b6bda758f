"""A source's table (``source_tables/<source>.yaml``): the addresses of its files and their published checksums."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from neurocohort.errors import InputError
from neurocohort.sources.columns import DIFFUSION_MAPS

TABLES = Path(__file__).resolve().parents[1] / "source_tables"
KNOWN_KEYS = ConfigDict(extra="forbid")


def source_table(source: str) -> Path:
    """The table of a source of the package, such as ``ixi``, or of the user's own, a path that ends in ``.yaml``."""
    return Path(source) if source.endswith(".yaml") else TABLES / f"{source}.yaml"


@dataclass(frozen=True, config=KNOWN_KEYS)
class SourceFile:
    """One file of a source.

    ``urls``: in order of preference. ``size_bytes``, ``md5``, ``sha256``: None if not published. ``approximate_gb`` and
    ``scans`` (in the file) only serve estimates. They are not part of this object's text, on which the download rule depends: a
    better estimate must not download gigabytes again. Nor is ``git_blob``, git's name of the content in the repository that
    publishes the file: a key that most files lack must not download them again.
    """

    key: str
    name: str
    urls: tuple[str, ...]
    size_bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    git_blob: str | None = field(default=None, repr=False)
    magic: Literal["tar", "gzip", "xls", "xlsx", "csv"] | None = None
    approximate_gb: float | None = field(default=None, repr=False)
    scans: int | None = field(default=None, repr=False)

    @property
    def estimated_bytes(self) -> float:
        """The file's length if it is known; 0 if not, as for small tables."""
        return self.size_bytes or 1e9 * (self.approximate_gb or 0)

    def addresses(self, base: str | None) -> tuple[str, ...]:
        """The addresses to try: the published ones, or this file under ``base``, a folder or address of the user's own."""
        return self.urls if base is None else (f"{base.rstrip('/')}/{self.name}",)


@dataclass(frozen=True, config=KNOWN_KEYS)
class Source:
    """A published cohort.

    ``needs_agreement``: whether one must accept its terms before the download. ``scans_with``: how many scans have a value of a
    variable, for variables that many lack.
    """

    title: str
    homepage: str
    licence: str
    citation: str
    needs_agreement: bool
    files: dict[str, SourceFile]
    acknowledgement: str | None = None
    agreement: str | None = None
    scans_with: dict[str, int] = field(default_factory=dict)


def read_source(path: Path | str) -> Source:
    """Read and check a source's table. Raises InputError, with the key, if a key is unknown, absent or of a wrong kind."""
    try:
        return _checked_source(path, Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The source table {path} can't be read: {error}") from error


@lru_cache
def _checked_source(path: Path | str, text: str) -> Source:
    """The source of a table's text. Every Snakemake process asks for the same few tables many times."""
    try:
        table = yaml.safe_load(text)
        for key, entry in table["files"].items():
            entry["key"] = key
    except yaml.YAMLError as error:
        raise InputError(f"The source table {path} can't be read: {error}") from error
    except (AttributeError, LookupError, TypeError):  # the check of the keys reports what is wrong
        pass
    try:
        return TypeAdapter(Source).validate_python(table)
    except ValidationError as failure:
        found = failure.errors()[0]
        key = ".".join(map(str, found["loc"]))
        problems = {"missing": f"the key {key} is absent", "unexpected_keyword_argument": f"the key {key} is not known"}
        problem = problems.get(found["type"], f"{key or 'the file'} is {found['input']!r}: {found['msg']}")
        raise InputError(f"{path}: {problem}.") from None


def needed_files(cohort: Mapping[str, Any], source: Source) -> tuple[list[str], str]:
    """The keys of a public cohort's archives, and of its table. ``cohort``: its settings in the configuration."""
    if cohort["source"] == "ixi":
        return ixi_files(cohort["modalities"]), "table"
    tables = {file.name: key for key, file in source.files.items() if key.startswith("table")}
    return [f"disc{disc}" for disc in cohort["discs"]], tables[cohort["table"]]


def ixi_files(modalities: Sequence[str]) -> list[str]:
    """The keys of the files of IXI with these modalities: an archive for each, and three files for FA and MD together."""
    keys = [modality[:2].lower() for modality in modalities if modality not in DIFFUSION_MAPS]
    return keys + (["dti", "bvals", "bvecs"] if {*DIFFUSION_MAPS} & {*modalities} else [])


def store_of(cohort: Mapping[str, Any]) -> str:
    """The folder in resources/ of a public cohort's files. Files from a user's own address have a folder for that address."""
    base = cohort.get("base_url")
    return f"{cohort['source']}-{hashlib.sha256(base.encode()).hexdigest()[:8]}" if base else cohort["source"]
