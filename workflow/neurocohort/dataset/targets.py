"""What a network learns of a variable: a number as it stands, or 0, 1, 2, ... for the classes of a classification."""

import pandas as pd

from neurocohort.dataset.class_values import (
    Classes,
    few_values,
    listed_classes,
    sorted_texts,
    spelt_as_found,
    undecided,
    value_text,
)
from neurocohort.errors import InputError

SEX_CLASSES = {"F": 0, "M": 1}
OTHER = -1  # the target of a scan whose value belongs to none of the classes
MISSING = float("nan")


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


def class_names(classes: Classes) -> list[str]:
    """A name for each class, its values joined by a slash: ``["0", "0.5", "1/2"]`` of ``[0, 0.5, [1, 2]]``."""
    return ["/".join(map(str, values)) for values in listed_classes(classes)]


def _refuse_texts(columns: dict[str, pd.Series], target: str) -> None:
    for name, values in columns.items():
        if not pd.api.types.is_numeric_dtype(values) or values.dtype == bool:
            found = _found({name: values})
            if found:
                raise InputError(
                    f"`target` is {target}, and a regression needs numbers; the cohort {name} has "
                    f"{few_values(found)}. Choose another "
                    "target, or `task: classification` with `classes`."
                )


def _coded(columns: dict[str, pd.Series], target: str, classes: Classes) -> dict[str, pd.Series]:
    found = _found(columns)
    if len(classes) < 2:
        raise InputError(f"`classes` of the target {target} has {len(classes)} class; expected two or more.")
    codes: dict[str, int] = {}
    for code, given in enumerate(listed_classes(classes)):
        values = [spelt_as_found(str(value), found) for value in given]
        if not set(values) & set(found):  # a class of several values may have one that only a larger cohort has
            named = " or ".join(repr(value) for value in given)
            raise InputError(
                f"`classes` of the target {target} names {named}, which no scan has; the values are {few_values(found)}."
            )
        for value in values:
            if value in codes:
                raise InputError(
                    f"`classes` of the target {target} names {value!r} twice; expected each value once, in one class."
                )
            codes[value] = code
    return {
        name: values.astype(object).map(
            lambda value: MISSING if pd.isna(value) else codes.get(value_text(value), OTHER)
        )
        for name, values in columns.items()
    }


def _refuse_undecided(columns: dict[str, pd.Series], target: str) -> None:
    if fault := undecided(_found(columns), target):
        raise InputError(f"{fault} Scans with other values are then left out.")


def _found(columns: dict[str, pd.Series]) -> list[str]:
    """Every value there is, as text."""
    return sorted_texts(value for column in columns.values() for value in column.dropna().unique())
