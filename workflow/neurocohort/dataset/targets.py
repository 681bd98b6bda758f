"""What a network learns of a variable: a number as it stands, or 0, 1, 2, ... for the classes of a classification."""

import pandas as pd

from neurocohort.errors import InputError

SEX_CLASSES = {"F": 0, "M": 1}
OTHER = -1  # the target of a scan whose value belongs to none of the classes
MISSING = float("nan")
NAMED = 10  # as many values as a message has room for
SEPARATOR = "|"  # between the values of one class on the command line

Classes = list[str | float | list[str | float]]


def target_values(
    scans: dict[str, pd.DataFrame], task: str, target: str, classes: Classes | None = None
) -> dict[str, pd.Series]:
    """By cohort, the target of each row of its ``scans``: missing where the variable is, or where the cohort lacks it.

    For a regression the variable's numbers. For a classification 0, 1 and so on: with ``classes`` (two or more values, or lists
    of values, class 0 first; in two classes the negative one) OTHER for every other value; without, a column of 0 and 1 is
    taken as it stands, and ``sex`` is F = 0, M = 1. Raises InputError where the values are of another kind, and where no
    cohort has any value of one of the ``classes``.
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


def read_classes(options: list[str]) -> list[list[str]]:
    """The classes as the command line gives them, the values of one joined by ``|``: ``["0", "0.5", "1|2"]``.

    Raises InputError for a class with an empty value.
    """
    classes = [[value.strip() for value in option.split(SEPARATOR)] for option in options]
    for option, values in zip(options, classes, strict=True):
        if not all(values):
            raise InputError(
                f"`--classes={option}` has an empty value; expected a value, or several joined by {SEPARATOR}, such as "
                f"--classes=0 --classes=0.5 --classes='1{SEPARATOR}2'."
            )
    return classes


def class_names(classes: Classes) -> list[str]:
    """A name for each class, its values joined by a slash: ``["0", "0.5", "1/2"]`` of ``[0, 0.5, [1, 2]]``."""
    return ["/".join(map(str, values)) for values in _listed(classes)]


def _refuse_texts(columns: dict[str, pd.Series], target: str) -> None:
    for name, values in columns.items():
        if not pd.api.types.is_numeric_dtype(values) or values.dtype == bool:
            found = _found({name: values})
            if found:
                raise InputError(
                    f"`target` is {target}, and a regression needs numbers; the cohort {name} has {_few(found)}. Choose another "
                    "target, or `task: classification` with `classes`."
                )


def _coded(columns: dict[str, pd.Series], target: str, classes: Classes) -> dict[str, pd.Series]:
    found = _found(columns)
    if len(classes) < 2:
        raise InputError(f"`classes` of the target {target} has {len(classes)} class; expected two or more.")
    codes: dict[str, int] = {}
    for code, given in enumerate(_listed(classes)):
        values = [_spelt_as_found(str(value), found) for value in given]
        if not set(values) & set(found):  # a class of several values may have one that only a larger cohort has
            named = " or ".join(repr(value) for value in given)
            raise InputError(
                f"`classes` of the target {target} names {named}, which no scan has; the values are {_few(found)}."
            )
        for value in values:
            if value in codes:
                raise InputError(
                    f"`classes` of the target {target} names {value!r} twice; expected each value once, in one class."
                )
            codes[value] = code
    return {
        name: values.astype(object).map(lambda value: MISSING if pd.isna(value) else codes.get(_text(value), OTHER))
        for name, values in columns.items()
    }


def _listed(classes: Classes) -> list[list]:
    return [values if isinstance(values, list) else [values] for values in classes]


def _refuse_undecided(columns: dict[str, pd.Series], target: str) -> None:
    found = _found(columns)
    if set(found) <= {"0", "1"}:
        return
    mend = "write `classes: [negative, positive]`"
    if len(found) == 2:
        mend += f", that is `classes: [{found[0]}, {found[1]}]` or the other way round"
    elif len(found) > 2:
        mend += ", or more than two: a value each, or a list of values for one class"
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
