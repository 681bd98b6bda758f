"""The content hash of the code behind one subcommand, so that an edit reruns what it changes and a touch reruns nothing.

The hash covers the subcommand's own function in commands/, the package's modules that it imports, directly or through one
another, and the data files that lie beside those modules. It is computed from the sources alone; nothing is imported. It is
computed at the start of every Snakemake process, each job of a cluster among them, so the modules are searched for their
import statements and not parsed, which would take ten times as long.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "neurocohort"
ROOT = Path(__file__).resolve().parent
COMMANDS = ROOT / "commands"
# The module and the names of `from neurocohort... import ...`, in parentheses or to the line's end; the modules of `import ...`.
IMPORT = re.compile(
    rf"^[ \t]*(?:from[ ]+({PACKAGE}[.\w]*)[ ]+import[ ]+(\([^)]*\)|.*)|import[ ]+({PACKAGE}[.].*))", re.MULTILINE
)


@cache
def code_hash(subcommand: str) -> str:
    """Sixteen hexadecimal digits for the code behind ``neurocohort <subcommand>``. Raises KeyError for an unknown one."""
    function = _functions()[subcommand.replace("-", "_")]
    digest = hashlib.sha256(function.encode())
    files = _closure(function)
    files |= {data for folder in {file.parent for file in files} for data in _data_files(folder)}
    for file in sorted(files):
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + _content(file))
    return digest.hexdigest()[:16]


@cache
def _functions() -> dict[str, str]:
    """By name, each subcommand's function as it is written."""
    found = {}
    for file in sorted(COMMANDS.glob("*.py")):
        source = file.read_text(encoding="utf-8")
        functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
        found |= {node.name: ast.get_source_segment(source, node) for node in functions}
    return found


def _closure(function: str) -> set[Path]:
    found: set[Path] = set()
    waiting = _imported(function)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting |= _imports_of(file)
    return found


@cache
def _content(file: Path) -> bytes:
    return file.read_bytes()


@cache
def _imports_of(file: Path) -> frozenset[Path]:
    return frozenset(_imported(_content(file).decode("utf-8")))


def _imported(source: str) -> set[Path]:
    return {file for name in _imported_names(source) if (file := _file_of(name))}


def _imported_names(source: str) -> Iterator[str]:
    """The modules of this package that ``source`` imports, and what may be modules: a name from a package, a comment's word."""
    for package, names, modules in IMPORT.findall(source):
        if package:
            yield package
            yield from (f"{package}.{name}" for name in re.findall(r"\w+", names))
        yield from re.findall(rf"{PACKAGE}[.][.\w]+", modules)


@cache
def _file_of(module: str) -> Path | None:
    """The source of a module of this package; None for other packages, and for names that are no modules."""
    first, *rest = module.split(".")
    if first != PACKAGE or not rest:
        return None
    place = ROOT.joinpath(*rest)
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@cache
def _data_files(folder: Path) -> frozenset[Path]:
    """Templates and the like below ``folder``; not at the package's root, whose folders are other stages."""
    if folder == ROOT:
        return frozenset()
    return frozenset(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    )
