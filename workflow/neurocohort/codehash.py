"""The hash of the code behind one subcommand: an edit reruns what it can change, a reworded comment reruns nothing.

The hash covers the meaning (see `codemeaning`) of the subcommand's function in cli/ and of all modules of the package that it
imports, directly or indirectly, and the data files in the folders of these modules. It is computed from the sources; nothing is
imported. Every Snakemake process computes it, also each job of a cluster, so that the meaning of each file is cached by its
content, next to Python's compiled files.
"""

import ast
import contextlib
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from neurocohort import codemeaning
from neurocohort.files import write_text

PACKAGE = "neurocohort"
ROOT = Path(__file__).resolve().parent
COMMANDS = ROOT / "cli"
# Modules that only print to a terminal or log. The hash leaves them out, so no result may depend on them.
ONLY_SHOWN = {"progress.py"}
CACHE = "codehash.json"
# Packages that import their modules by searching their folder, so that no import statement names them.
SEARCHED = {"architectures/__init__.py", "learning/session_networks/__init__.py"}
WHOLE = ""  # the name of a module's own code


class Code(NamedTuple):
    """``meaning``: hexadecimal digest. ``imports``: dotted names of this package, which may be modules."""

    meaning: str
    imports: list[str]


@cache
def code_hash(subcommand: str) -> str:
    """The hash (16 hexadecimal digits) of the code behind ``neurocohort <subcommand>``. Raises KeyError for an unknown one."""
    function = _functions()[subcommand.replace("-", "_")]
    return _hash(function.meaning, covered_files(subcommand))


@cache
def module_hash(module: str) -> str:
    """The hash (16 hexadecimal digits) of one module, such as ``imaging.preprocess``, and the code behind it.

    Raises FileNotFoundError for an unknown one.
    """
    file = _file_of(f"{PACKAGE}.{module}")
    if file is None:
        raise FileNotFoundError(f"the package has no module {module}")
    return _hash("", _behind({file}))


def covered_files(subcommand: str) -> set[Path]:
    """The modules and data files that the hash covers, in addition to the subcommand's function."""
    return _behind(_files_of(_functions()[subcommand.replace("-", "_")]))


def _hash(meaning: str, files: set[Path]) -> str:
    digest = hashlib.sha256(meaning.encode())
    for file in sorted(files):
        content = _modules()[file].meaning if file.suffix == ".py" else hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(ROOT).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()[:16]


def _behind(files: set[Path]) -> set[Path]:
    """``files``, all modules that they import directly or indirectly, and the data files in their folders."""
    found: set[Path] = set()
    waiting = set(files)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting |= _imported_by(file)
            if file.relative_to(ROOT).as_posix() in SEARCHED:
                waiting |= {other for other in _modules() if other.is_relative_to(file.parent)}
    return found.union(*(_data_files(folder) for folder in {file.parent for file in found}))


def _functions() -> dict[str, Code]:
    """Each subcommand's function, by name."""
    return _package()[1]


def _modules() -> dict[Path, Code]:
    """Every module of the package, by its file."""
    return _package()[0]


@cache
def _package() -> tuple[dict[Path, Code], dict[str, Code]]:
    """`_modules` and `_functions`, from the cache if it has them."""
    kept, used = _read_cache(), {}
    modules: dict[Path, Code] = {}
    functions: dict[str, Code] = {}
    for file in sorted(file for file in ROOT.rglob("*.py") if not _is_hidden(file)):
        source, of_functions = file.read_bytes(), file.parent == COMMANDS and file.name != "__init__.py"
        key = f"{'functions' if of_functions else 'module'} {hashlib.sha256(source).hexdigest()}"
        used[key] = kept.get(key) or _codes(source, of_functions)
        codes = {name: Code(*code) for name, code in used[key].items()}
        modules[file] = codes.pop(WHOLE)
        functions |= codes
    if used != kept:
        _write_cache(used)
    return modules, functions


def _codes(source: bytes, of_functions: bool) -> dict[str, Code]:
    """The code of the WHOLE module and, for a module of subcommands, that of each function by its name."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        # A file that is being edited: subcommands that import it will fail with a reason, others may run.
        return {WHOLE: Code(hashlib.sha256(source).hexdigest(), [])}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)] if of_functions else []
    return {WHOLE: _code(tree)} | {node.name: _code(node) for node in functions}


def _code(tree: ast.AST) -> Code:
    imports = sorted(name for name in codemeaning.imported_names(tree) if name.split(".")[0] == PACKAGE)
    return Code(codemeaning.meaning_of(tree), imports)


@cache
def _imported_by(module: Path) -> frozenset[Path]:
    """`_files_of` a module of the package: most subcommands have many modules in common."""
    return frozenset(_files_of(_modules()[module]))


def _files_of(code: Code) -> set[Path]:
    """The modules that ``code`` imports, with their packages."""
    names = set(code.imports)
    names |= {name[:end] for name in names for end, letter in enumerate(name) if letter == "."}
    files = {file for name in names if (file := _file_of(name))}
    return {file for file in files if file.relative_to(ROOT).as_posix() not in ONLY_SHOWN}


@cache
def _file_of(module: str) -> Path | None:
    """The source of a module of this package; None for the package itself and all other names."""
    first, *rest = module.split(".")
    if first != PACKAGE or not rest:
        return None
    place = ROOT.joinpath(*rest)
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@cache
def _data_files(folder: Path) -> frozenset[Path]:
    """Templates and other data files in ``folder`` and below; none of the package's root, whose folders are other stages."""
    if folder == ROOT:
        return frozenset()
    return frozenset(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts and not _is_hidden(path)
    )


def _is_hidden(path: Path) -> bool:
    """Whether it is an editor's file, such as the lock of an open module."""
    return path.name.startswith(".") or path.name.endswith("~")


def cache_path() -> Path:
    """The file of the cache: next to Python's compiled files."""
    return Path(importlib.util.cache_from_source(str(ROOT / "codehash.py"))).with_name(CACHE)


def _read_cache() -> dict[str, dict[str, list]]:
    """The codes of each file by its sha256; empty if there is no cache, or if it is damaged or was made by other code."""
    try:
        kept = json.loads(cache_path().read_bytes())
        return kept["files"] if kept["seal"] == _seal(kept["files"]) else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _write_cache(files: Mapping[str, Mapping[str, object]]) -> None:
    with contextlib.suppress(OSError):  # a read-only folder: the next process parses again, which takes about a second
        write_text(cache_path(), json.dumps({"files": files, "seal": _seal(files)}))


def _seal(files: Mapping[str, Mapping[str, object]]) -> str:
    """A digest of the cache's content and of the code that made it."""
    own = b"".join(Path(source).read_bytes() for source in (__file__, codemeaning.__file__))
    return hashlib.sha256(own + json.dumps(files, sort_keys=True).encode()).hexdigest()
