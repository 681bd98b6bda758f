"""Syntax trees of the workflow, and what in them changes an object that may be Snakemake's."""

import ast
import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import snakemake.api  # noqa: F401  before its parts, which import one another
from snakemake.parser import parse
from snakemake.sourcecache import LocalSourceFile

REPOSITORY = Path(__file__).resolve().parents[1]
SETTERS = ("setattr", "delattr", "__setattr__", "__delattr__")
INSIDES = ("vars", "globals", "__dict__")  # through which an object can be changed as well
CHANGERS = ("update", "setdefault", "pop", "popitem", "clear")


def python_of_rules(path: Path) -> str:
    """The Python that Snakemake makes of a file of rules."""
    sources = SimpleNamespace(open=lambda source: io.StringIO(path.read_text(encoding="utf-8")))
    stand_in = SimpleNamespace(sourcecache=sources, modifier=SimpleNamespace(is_module=False))
    return parse(LocalSourceFile(str(path)), stand_in, linemap={})[0]


def changed_objects(tree: ast.AST, *, may_hold_snakemake: bool) -> list[str]:
    """The statements of ``tree`` that change an attribute or an entry of an object which they haven't made themselves.

    Everywhere: setattr and its like. Where an object may be Snakemake's (a file of rules, a module that names Snakemake) also an
    assignment to any attribute or entry, apart from those of ``self``, of os.environ, and of a dict or list that the file
    itself makes by a literal.
    """
    found = [node for node in ast.walk(tree) if _names(node, SETTERS)]
    if may_hold_snakemake:
        found += [node for node in ast.walk(tree) if _names(node, INSIDES)]
        own = {name for node in ast.walk(tree) for name in _own_containers(node)}
        found += [target for node in ast.walk(tree) for target in _targets(node) if not _may_be_assigned(target, own)]
        found += [node for node in ast.walk(tree) if _changes_an_entry(node)]
    return [f"line {node.lineno}: {ast.unparse(node)}" for node in found]


def _names(node: ast.AST, names: tuple[str, ...]) -> bool:
    return getattr(node, "attr", getattr(node, "id", None)) in names


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    """Every attribute and entry that is stored to or deleted, however deep in a tuple."""
    if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        yield node


def _may_be_assigned(target: ast.expr, own: set[str]) -> bool:
    if isinstance(target, ast.Attribute):
        return isinstance(target.value, ast.Name) and target.value.id == "self"
    holder = target.value
    return ast.unparse(holder) == "os.environ" or (isinstance(holder, ast.Name) and holder.id in own)


def _own_containers(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict | ast.List | ast.DictComp | ast.ListComp):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _changes_an_entry(node: ast.AST) -> bool:
    """A call such as ``workflow.resource_settings.default_resources.update(...)``."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGERS):
        return False
    return isinstance(node.func.value, ast.Attribute) and ast.unparse(node.func.value) != "os.environ"
