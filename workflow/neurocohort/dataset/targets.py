"""The targets of a network: a variable's numbers, or 0, 1, 2, ... for the classes of a classification."""

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
OTHER = -1  # the target of a scan whose value is in no class
MISSING = float("nan")


def target_values(
    scans: dict[str, pd.DataFrame], task: str, target: str, classes: Classes | None = None
) -> dict[str, pd.Series]:
    """Return the target of each scan; it is missing if the variable is, or if the cohort lacks the variable.

    Args:
        scans: By cohort, its scans.tsv.
        task: ``regression``: the target is a number. ``classification``: it is the number of the class, from 0.
        target: The variable.
        classes: Two or more values, or lists of values; of two classes the first is the negative one. The target of other values
            is OTHER. Without classes, values of 0 and 1 are the target, and ``sex`` is F = 0, M = 1.

    Returns:
        By cohort, a series with the index of its scans.

    Raises:
        InputError: If the values are of another kind, or if no cohort has a value of one of the classes.
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
    """Return a name for each class, its values joined by a slash: ``["0", "0.5", "1/2"]`` for ``[0, 0.5, [1, 2]]``."""
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
    """All values, as text."""
    return sorted_texts(value for column in columns.values() for value in column.dropna().unique())
