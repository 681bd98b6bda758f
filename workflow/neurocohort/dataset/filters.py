"""The filter of an experiment: which variables it names, and that it only compares them with values."""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping

from neurocohort.errors import InputError

FILTER_NODES = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.Name, ast.Load),
    *(ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Constant, ast.List),
)


def filter_columns(condition: str) -> set[str]:
    """The variables that a filter names. Raises InputError for anything but comparisons of variables with values."""
    allowed = "a filter compares variables with numbers or quoted texts (<, <=, ==, !=, >=, >, in [...]) and joins "
    allowed += "comparisons by and, or, not"
    try:
        tree = ast.parse(condition.strip(), mode="eval")
    except (SyntaxError, ValueError):
        raise InputError(f"the filter `{condition}` can't be read; {allowed}.") from None
    for node in ast.walk(tree):
        if not isinstance(node, FILTER_NODES) or (
            isinstance(node, ast.Constant) and not isinstance(node.value, int | float | str)
        ):
            part = ast.get_source_segment(condition.strip(), node) or type(node).__name__
            raise InputError(f"the filter `{condition}` has `{part}`, which isn't allowed; {allowed}.")
    if not isinstance(tree.body, ast.Compare | ast.BoolOp | ast.UnaryOp):
        raise InputError(f"the filter `{condition}` compares nothing; {allowed}.")
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def compile_filter(condition: str) -> Callable[[Mapping[str, object]], bool]:
    """A function that says whether a scan, by its variables, fulfils a filter; one that it lacks is missing.

    A missing value (None or NaN) is unequal to everything, in no list, and neither below nor above. The function raises
    InputError where a number is compared with a text by order.
    """
    filter_columns(condition)
    tree = ast.parse(condition.strip(), mode="eval").body
    return lambda row: bool(_value(tree, row, condition))


def named_values(condition: str) -> Iterator[tuple[str, list[object]]]:
    """Each variable of a filter that is compared with ``==`` or ``in``, and the values that would fulfil that comparison."""
    filter_columns(condition)
    for node in ast.walk(ast.parse(condition.strip(), mode="eval")):
        if not isinstance(node, ast.Compare) or len(node.ops) > 1 or not isinstance(node.ops[0], ast.Eq | ast.In):
            continue
        name, given = node.left, node.comparators[0]
        if not isinstance(name, ast.Name):
            name, given = given, name
        values = given.elts if isinstance(given, ast.List) else [given]
        if isinstance(name, ast.Name) and all(isinstance(value, ast.Constant) for value in values):
            yield name.id, [value.value for value in values]


ORDERS = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}


def _value(node: ast.expr, row: Mapping[str, object], condition: str) -> object:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            value = row.get(node.id)
            return None if value is None or value != value else str(value) if isinstance(value, bool) else value
        case ast.List():
            return [_value(item, row, condition) for item in node.elts]
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, row, condition)
        case ast.UnaryOp():
            return -_value(node.operand, row, condition)
        case ast.BoolOp():
            holds = all if isinstance(node.op, ast.And) else any
            return holds(_value(item, row, condition) for item in node.values)
    sides = [_value(side, row, condition) for side in (node.left, *node.comparators)]
    pairs = zip(node.ops, sides[:-1], sides[1:], strict=True)
    return all(_compared(operation, left, right, condition) for operation, left, right in pairs)


def _compared(operation: ast.cmpop, left: object, right: object, condition: str) -> bool:
    if isinstance(operation, ast.In | ast.NotIn):
        within = left is not None and left in (right if isinstance(right, list) else [right])
        return within == isinstance(operation, ast.In)
    if left is None or right is None:
        return isinstance(operation, ast.NotEq)
    if isinstance(operation, ast.Eq | ast.NotEq):
        return (left == right) == isinstance(operation, ast.Eq)
    try:
        return bool(ORDERS[type(operation)](left, right))
    except TypeError:
        raise InputError(
            f"the filter `{condition}` compares {left!r} with {right!r}; expected two numbers, or two texts (which "
            "stand in quotes)."
        ) from None
