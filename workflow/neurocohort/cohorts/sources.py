"""Reading a source's table (``config/sources/<source>.yaml``): where its files are and what is published of them."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from neurocohort.cohorts.verify import MAGIC
from neurocohort.errors import InputError

TEXTS = ("title", "homepage", "licence", "citation")
OPTIONAL_TEXTS = ("acknowledgement", "agreement")
FILE_KEYS = {"name": str, "urls": list, "size_bytes": int, "md5": str, "sha256": str, "magic": str}


@dataclass(frozen=True)
class SourceFile:
    """One file of a source: ``urls`` in order of preference; None where nothing is published."""

    key: str
    name: str
    urls: tuple[str, ...]
    size_bytes: int | None
    md5: str | None
    sha256: str | None
    magic: str | None

    def addresses(self, base: str | None) -> tuple[str, ...]:
        """The addresses to try: the published ones, or this file under ``base``, a folder or an address of your own."""
        return self.urls if base is None else (f"{base.rstrip('/')}/{self.name}",)


@dataclass(frozen=True)
class Source:
    """A cohort as it is published. ``needs_agreement``: whoever downloads it must have accepted its terms."""

    title: str
    homepage: str
    licence: str
    citation: str
    acknowledgement: str | None
    agreement: str | None
    needs_agreement: bool
    files: dict[str, SourceFile]


def read_source(path: Path | str) -> Source:
    """Read and check a source's table. Raises InputError naming the key that is unknown, absent or of a wrong kind."""
    try:
        table = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"The source table {path} can't be read: {error}") from error
    kinds = dict.fromkeys(TEXTS + OPTIONAL_TEXTS, str) | {"needs_agreement": bool, "files": dict}
    _check(path, "", table, kinds, required=(*TEXTS, "needs_agreement", "files"))
    files = {}
    for key, entry in table["files"].items():
        _check(path, f"files.{key}.", entry, FILE_KEYS, required=("name", "urls"))
        if entry.get("magic") not in (None, *MAGIC):
            raise InputError(f"{path}: files.{key}.magic is {entry['magic']!r}; known are {', '.join(MAGIC)}.")
        values = {name: entry.get(name) for name in ("size_bytes", "md5", "sha256", "magic")}
        files[key] = SourceFile(key, entry["name"], tuple(entry["urls"]), **values)
    texts = {name: table.get(name) for name in TEXTS + OPTIONAL_TEXTS}
    return Source(**texts, needs_agreement=table["needs_agreement"], files=files)


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
