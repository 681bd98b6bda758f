"""What a network learns of a variable: a number as it stands, or 0 and 1 for the two classes of a classification."""

import pandas as pd

from neurocohort.errors import InputError

SEX_CLASSES = {"F": 0, "M": 1}
OTHER = -1  # the target of a scan whose value is neither of the two classes
MISSING = float("nan")
NAMED = 10  # as many values as a message has room for


def target_values(
    scans: dict[str, pd.DataFrame], task: str, target: str, classes: list[str] | None = None
) -> dict[str, pd.Series]:
    """By cohort, the target of each row of its ``scans``: missing where the variable is, or where the cohort lacks it.

    For a regression the variable's numbers. For a classification 0 and 1: with ``classes`` (two texts, class 0 first) OTHER
    for every other value; without, a column of 0 and 1 is taken as it stands, and ``sex`` is F = 0, M = 1. Raises InputError
    where the values are of another kind, and where no cohort has one of the ``classes``.
    """
    columns = {name: table[target] for name, table in scans.items() if target in table}
    if task == "regression":
        _refuse_texts(columns, target)
        coded = columns
    elif classes:
        coded = _coded(columns, target, classes)
    elif target == "sex":
        coded = {name: values.map(SEX_CLASSES) for name, values in columns.items()}
    else:
        _refuse_undecided(columns, target)
        coded = columns
    empty = {name: pd.Series(MISSING, index=table.index) for name, table in scans.items()}
    return empty | coded


def _refuse_texts(columns: dict[str, pd.Series], target: str) -> None:
    for name, values in columns.items():
        if not pd.api.types.is_numeric_dtype(values) or values.dtype == bool:
            found = _found({name: values})
            if found:
                raise InputError(
                    f"`target` is {target}, and a regression needs numbers; the cohort {name} has {_few(found)}. Choose another "
                    "target, or `task: classification` with `classes`."
                )


def _coded(columns: dict[str, pd.Series], target: str, classes: list[str]) -> dict[str, pd.Series]:
    found = _found(columns)
    first, second = (_spelt_as_found(str(value), found) for value in classes)
    for given, value in zip(classes, (first, second), strict=True):
        if value not in found:
            raise InputError(
                f"`classes` of the target {target} names {given!r}, which no scan has; the values are {_few(found)}."
            )
    if first == second:
        raise InputError(f"`classes` of the target {target} names {classes[0]!r} twice; expected two different values.")
    codes = {first: 0, second: 1}
    return {
        name: values.astype(object).map(lambda value: MISSING if pd.isna(value) else codes.get(_text(value), OTHER))
        for name, values in columns.items()
    }


def _refuse_undecided(columns: dict[str, pd.Series], target: str) -> None:
    found = _found(columns)
    if set(found) <= {"0", "1"}:
        return
    mend = "write `classes: [negative, positive]`"
    if len(found) == 2:
        mend += f", that is `classes: [{found[0]}, {found[1]}]` or the other way round"
    raise InputError(
        f"the target {target} has the values {_few(found)}; which of them is the negative and which the positive class isn't "
        f"known: {mend}. Scans with other values are then left out."
    )


def _found(columns: dict[str, pd.Series]) -> list[str]:
    """Every value there is, as text, numbers by size and before texts."""
    values = {_text(value) for column in columns.values() for value in column.dropna().unique()}
    return sorted(values, key=lambda value: (0, float(value), value) if _is_number(value) else (1, 0.0, value))


def _spelt_as_found(given: str, found: list[str]) -> str:
    """``given``, or what it means where the table spells it otherwise: 1.0 for 1, false for False."""
    if given in found:
        return given
    if _is_number(given):
        return _text(float(given))
    return given.capitalize() if given.capitalize() in ("True", "False") else given


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_number(value: str) -> bool:
    try:
        return abs(float(value)) < float("inf")
    except ValueError:
        return False


def _few(values: list[str]) -> str:
    return (", ".join(values[:NAMED]) or "none at all") + (
        f" and {len(values) - NAMED} more" if len(values) > NAMED else ""
    )
