"""What source code means: its syntax tree without what can't change a result, in a form that every Python writes alike.

Left out are positions, comments, docstrings and other bare texts, `pass`, and the descriptions of options and of configuration
fields. `ast.dump` isn't used, since its text differs between Python versions: 3.12 added fields to functions and classes and
divides f-strings in another way, 3.13 leaves out empty fields.
"""

import ast
import hashlib
from collections.abc import Iterator

# By the name of what is called, the keyword arguments that only describe: typer's options, and a model's fields.
DESCRIPTIONS = {"Option": {"help"}, "Argument": {"help"}, "Field": {"description", "title"}}
# `ctx` follows from where a name stands; `kind` is the u of u"text"; type comments are comments.
WITHOUT_MEANING = {"ctx", "kind", "type_comment", "type_ignores"}


def meaning_of(tree: ast.AST) -> str:
    """The sha256 of the canonical form of ``tree``, hexadecimal: equal for trees that differ in what is left out only."""
    return hashlib.sha256("".join(_form(tree)).encode()).hexdigest()


def imported_names(tree: ast.AST) -> set[str]:
    """What ``tree`` imports anywhere in it, as dotted names: modules, and names from modules, which may be modules themselves.

    Relative imports are not followed: the package has none.
    """
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
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
    """A node's fields that have a meaning; the absent and the empty are left out, since later versions add more of them."""
    fields = {name: getattr(node, name, None) for name in node._fields if name not in WITHOUT_MEANING}
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _joined(node.values)
    elif isinstance(node, ast.FormattedValue) and node.format_spec and not _joined(node.format_spec.values):
        del fields["format_spec"]
    elif isinstance(node, ast.Call):
        described = DESCRIPTIONS.get(_called(node), set())
        fields["keywords"] = [keyword for keyword in node.keywords if keyword.arg not in described]
    return {name: content for name, content in fields.items() if content is not None and content != []}


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, adjacent texts as one and empty ones left out, as far apart as Python versions divide them."""
    joined: list[ast.expr] = []
    for value in values:
        if isinstance(value, ast.JoinedStr):
            joined += _joined(value.values)
        elif not isinstance(value, ast.Constant):
            joined.append(value)
        elif joined and isinstance(joined[-1], ast.Constant):
            joined[-1] = ast.Constant(joined[-1].value + value.value)
        elif value.value:
            joined.append(value)
    return joined


def _called(call: ast.Call) -> str:
    """The last name of what is called: `Option` of `typer.Option(...)`; empty for anything but names."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _is_without_effect(node: object) -> bool:
    """Whether a statement is `pass` or a bare text, such as a docstring."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)
