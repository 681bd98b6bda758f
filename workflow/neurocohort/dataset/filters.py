"""The filter of an experiment: which variables it names, and that it only compares them with values."""

import ast

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
