"""The meaning of source code: its syntax tree without parts that can't change a result, in the same form in every Python version.

It excludes positions, comments, docstrings and other bare texts, `pass`, and the descriptions of options and of configuration
keys. `ast.dump` isn't used, since its text differs between Python versions: 3.12 added fields to functions and classes and
divides f-strings differently, 3.13 leaves out empty fields.
"""

import ast
import hashlib
from collections.abc import Iterator

# Keyword arguments that only describe, by the name of the called object: typer's options, and a model's fields.
DESCRIPTIONS = {"Option": {"help"}, "Argument": {"help"}, "Field": {"description", "title"}}
# `ctx` follows from the position of a name; `kind` is the u of u"text"; type comments are comments.
WITHOUT_MEANING = {"ctx", "kind", "type_comment", "type_ignores"}


def meaning_of(tree: ast.AST) -> str:
    """The sha256 of the canonical form of ``tree``, hexadecimal: equal for trees that differ only in excluded parts."""
    return hashlib.sha256("".join(_form(tree)).encode()).hexdigest()


def imported_names(tree: ast.AST) -> set[str]:
    """All imports in ``tree`` as dotted names: modules, and names from modules, which may be modules themselves.

    Relative imports are ignored: the package has none.
    """
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _form(value: object) -> Iterator[str]:
    """The pieces of the canonical form of a node, a list of nodes, or a plain value of a node's field."""
    if isinstance(value, ast.Constant):
        yield _plain(value.value)
    elif isinstance(value, ast.AST):
        yield f"{type(value).__name__}("
        for name, content in sorted(_fields(value).items()):
            yield f"{name}="
            yield from _form(content)
        yield ")"
    elif isinstance(value, list):
        yield "["
        for element in value:
            if not _is_without_effect(element):
                yield from _form(element)
        yield "]"
    else:
        yield _plain(value)


def _plain(value: object) -> str:
    # ascii() and not repr(): which characters repr() shows as they are follows from Python's version of Unicode.
    return f"{type(value).__name__}:{value!a};"


def _fields(node: ast.AST) -> dict[str, object]:
    """A node's fields that have a meaning. Absent and empty ones are left out, since later Python versions add more of them."""
    fields = {name: getattr(node, name, None) for name in node._fields if name not in WITHOUT_MEANING}
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _joined(node.values)
    elif isinstance(node, ast.FormattedValue) and _has_empty_format(node):
        del fields["format_spec"]
    elif isinstance(node, ast.Call):
        described = DESCRIPTIONS.get(_called(node), set())
        fields["keywords"] = [keyword for keyword in node.keywords if keyword.arg not in described]
    return {name: content for name, content in fields.items() if content is not None and content != []}


def _has_empty_format(node: ast.FormattedValue) -> bool:
    return isinstance(node.format_spec, ast.JoinedStr) and not _joined(node.format_spec.values)


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, with adjacent texts joined and empty ones left out: Python versions divide them differently."""
    joined: list[ast.expr] = []
    for value in values:
        if isinstance(value, ast.JoinedStr):
            joined += _joined(value.values)
        elif not isinstance(value, ast.Constant):
            joined.append(value)
        elif joined and isinstance(last := joined[-1], ast.Constant):
            joined[-1] = ast.Constant(str(last.value) + str(value.value))  # both are texts
        elif value.value:
            joined.append(value)
    return joined


def _called(call: ast.Call) -> str:
    """The last name of the called object: `Option` of `typer.Option(...)`; empty if it isn't a name."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _is_without_effect(node: object) -> bool:
    """Whether a statement is `pass` or a bare text, such as a docstring."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)
