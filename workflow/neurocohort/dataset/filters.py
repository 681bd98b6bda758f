"""The filter of an experiment: parse it safely, list its variables, and apply it to scans."""

import ast
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from neurocohort.errors import InputError
from neurocohort.settings.selection import MOST_FILTER_CHARACTERS

ALLOWED = "a filter compares variables with numbers or quoted texts (<, <=, ==, !=, >=, >, in [...]) and joins "
ALLOWED += "comparisons by and, or, not"
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.In, ast.NotIn)
DEEPEST = 40  # nested groups


def filter_columns(condition: str) -> set[str]:
    """Return the variables in a filter.

    Raises:
        InputError: If it isn't comparisons of variables with values.
    """
    return {node.id for node in ast.walk(_parsed(condition)) if isinstance(node, ast.Name)}


def _parsed(condition: str) -> ast.expr:
    """Parse a filter to a tree that `_value` can evaluate; raise InputError for anything else."""
    if len(condition) > MOST_FILTER_CHARACTERS:
        raise InputError(f"the filter has {len(condition)} characters; expected at most {MOST_FILTER_CHARACTERS}.")
    try:
        tree = ast.parse(condition.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two if it is nested very deeply
        raise InputError(f"the filter `{condition}` can't be read; {ALLOWED}.") from None
    for part, problem in _problems(tree, 1):
        found = ast.get_source_segment(condition.strip(), part) or type(part).__name__
        raise InputError(f"the filter `{condition}` has `{found}`, which {problem}; {ALLOWED}.")
    return tree


def _problems(node: ast.expr, depth: int) -> Iterator[tuple[ast.expr, str]]:
    """Yield the parts of a condition that aren't allowed, and why."""
    if depth > DEEPEST:
        yield node, f"is nested more than {DEEPEST} deep"
        return
    match node:
        case ast.BoolOp(values=conditions):
            for one in conditions:
                yield from _problems(one, depth + 1)
        case ast.UnaryOp(op=ast.Not(), operand=condition):
            yield from _problems(condition, depth + 1)
        case ast.Compare():
            *sides, last = (node.left, *node.comparators)
            if not all(isinstance(one, COMPARISONS) for one in node.ops):
                yield node, "isn't allowed"
            if isinstance(node.ops[-1], ast.In | ast.NotIn):
                if not isinstance(last, ast.List):
                    yield node, "has no list after `in`"
                    return
                sides += last.elts
            else:
                sides.append(last)
            for side in sides:
                yield from _value_problems(side)
        case ast.Name() | ast.Constant():
            yield node, "compares nothing"
        case _:
            yield node, "isn't allowed"


def _value_problems(node: ast.expr) -> Iterator[tuple[ast.expr, str]]:
    """Allow a variable, a text, and a number with or without a minus."""
    match node:
        case ast.Name() | ast.Constant(value=str()):
            pass
        case (
            ast.Constant(value=int() | float() as number)
            | ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number))
        ):
            if not number <= sys.float_info.max:
                yield node, "is a larger number than any value"
        case _:
            yield node, "isn't allowed"


def compile_filter(condition: str) -> Callable[[Mapping[str, object]], bool]:
    """Compile a filter to a function of a scan's variables by name.

    A missing value (None, NaN, or a variable that the scan lacks) is unequal to everything, in no list, and neither smaller nor
    larger. The function raises InputError if it orders a number and a text.
    """
    tree = _parsed(condition)
    return lambda row: bool(_value(tree, row, condition))


def named_values(condition: str) -> Iterator[tuple[str, list[object]]]:
    """Yield each variable that a filter compares by ``==`` or ``in``, with the values for which the comparison is true."""
    for node in ast.walk(_parsed(condition)):
        if not isinstance(node, ast.Compare) or len(node.ops) > 1 or not isinstance(node.ops[0], ast.Eq | ast.In):
            continue
        name, given = node.left, node.comparators[0]
        if not isinstance(name, ast.Name):
            name, given = given, name
        values = given.elts if isinstance(given, ast.List) else [given]
        constants = [value.value for value in values if isinstance(value, ast.Constant)]
        if isinstance(name, ast.Name) and len(constants) == len(values):
            yield name.id, list(constants)


ORDERS = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}


def _value(node: ast.expr, row: Mapping[str, object], condition: str) -> Any:
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
        case ast.UnaryOp(operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.BoolOp():
            holds = all if isinstance(node.op, ast.And) else any
            return holds(_value(item, row, condition) for item in node.values)
    if not isinstance(node, ast.Compare):
        raise TypeError(f"_parsed allows no {type(node).__name__}")
    sides = [_value(side, row, condition) for side in (node.left, *node.comparators)]
    pairs = zip(node.ops, sides[:-1], sides[1:], strict=True)
    return all(_compared(operation, left, right, condition) for operation, left, right in pairs)


def _compared(operation: ast.cmpop, left: Any, right: Any, condition: str) -> bool:
    if isinstance(operation, ast.In | ast.NotIn):
        within = left is not None and left in right
        return within == isinstance(operation, ast.In)
    if left is None or right is None:
        return isinstance(operation, ast.NotEq)
    if isinstance(operation, ast.Eq | ast.NotEq):
        return (left == right) == isinstance(operation, ast.Eq)
    try:
        return bool(ORDERS[type(operation)](left, right))
    except TypeError:
        raise InputError(
            f"the filter `{condition}` compares {left!r} with {right!r}; expected two numbers, or two texts (in "
            "quotes)."
        ) from None
