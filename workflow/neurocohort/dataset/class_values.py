"""The values of a classification's target as text, and the classes that they belong to. It imports nothing heavy."""

from collections.abc import Iterable, Sequence

NAMED = 10  # values or names in a message
Classes = Sequence[str | float | Sequence[str | float]]


def listed_classes(classes: Classes) -> list[list]:
    """Return each class as a list of values."""
    return [values if isinstance(values, list) else [values] for values in classes]


def value_text(value: object) -> str:
    """Return a value as text, as classes name it: 1.0 is 1."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def sorted_texts(values: Iterable) -> list[str]:
    """Return every value once, as text: numbers by size, then texts."""
    texts = {value_text(value) for value in values}
    return sorted(texts, key=lambda text: (0, float(text), text) if _is_number(text) else (1, 0.0, text))


def spelt_as_found(given: str, found: Iterable[str]) -> str:
    """Return ``given`` in the table's spelling: 1 for 1.0, False for false."""
    if given in found:
        return given
    if _is_number(given):
        return value_text(float(given))
    return given.capitalize() if given.capitalize() in ("True", "False") else given


def undecided(found: list[str], target: str) -> str:
    """Return an error message if a target without ``classes`` isn't 0 and 1: which class is positive? Else return nothing."""
    if set(found) <= {"0", "1"}:
        return ""
    remedy = "write `classes: [negative, positive]`"
    if len(found) == 2:
        remedy += f", that is `classes: [{found[0]}, {found[1]}]` or the other way round"
    elif len(found) > 2:
        remedy += ", or more than two: a value each, or a list of values for one class"
    return (
        f"the target {target} has the values {few_values(found)}; which of them is the negative and which the positive class "
        f"isn't known: {remedy}."
    )


def few_values(values: Sequence[str], separator: str = ", ") -> str:
    """Return the first values, and how many more there are."""
    more = f" and {len(values) - NAMED} more" if len(values) > NAMED else ""
    return (separator.join(values[:NAMED]) or "none at all") + more


def _is_number(value: str) -> bool:
    try:
        return abs(float(value)) < float("inf")
    except ValueError:
        return False
