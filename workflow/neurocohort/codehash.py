"""The content hash of the code behind one subcommand, so that an edit reruns what it changes and a touch reruns nothing.

The hash covers the subcommand's own function in commands/, the package's modules that it imports, directly or through one
another, and the data files that lie beside those modules. It is computed from the sources alone; nothing is imported.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = "neurocohort"
ROOT = Path(__file__).resolve().parent
COMMANDS = ROOT / "commands"


@cache
def code_hash(subcommand: str) -> str:
    """Sixteen hexadecimal digits for the code behind ``neurocohort <subcommand>``. Raises KeyError for an unknown one."""
    source, function = _functions()[subcommand.replace("-", "_")]
    digest = hashlib.sha256(ast.get_source_segment(source, function).encode())
    files = _closure(function)
    files |= {data for file in files for data in _data_files(file.parent)}
    for file in sorted(files):
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _functions() -> dict[str, tuple[str, ast.FunctionDef]]:
    """By name, each subcommand's function with the source that it stands in."""
    found = {}
    for file in sorted(COMMANDS.glob("*.py")):
        source = file.read_text(encoding="utf-8")
        found |= {node.name: (source, node) for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    return found


def _closure(start: ast.AST) -> set[Path]:
    found: set[Path] = set()
    waiting = _imported(start)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting |= _imports_of(file)
    return found


@cache
def _imports_of(file: Path) -> frozenset[Path]:
    return frozenset(_imported(ast.parse(file.read_text(encoding="utf-8"))))


def _imported(tree: ast.AST) -> set[Path]:
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {file for name in modules if (file := _file_of(name))}


def _file_of(module: str) -> Path | None:
    """The source of a module of this package; None for other packages, and for names that are no modules."""
    first, *rest = module.split(".")
    if first != PACKAGE or not rest:
        return None
    place = ROOT.joinpath(*rest)
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def _data_files(folder: Path) -> set[Path]:
    """Templates and the like below ``folder``; not at the package's root, whose folders are other stages."""
    if folder == ROOT:
        return set()
    return {
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
