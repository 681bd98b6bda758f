"""Messages about invalid values in a configuration: the key, what was found, what was expected, and the fix."""

import difflib
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from neurocohort.settings.base import NAME_PATTERN
from neurocohort.settings.study import json_schema

LONGEST_TEXT = 60
MOST_DIGITS = 18  # of a number that a study could mean
CLOSE = 0.68  # of difflib's ratio: `sfnc` is close to sfcn (0.75), `gpu` isn't to cpu (0.67)
BAD_NAME, MISSING, UNKNOWN = "bad name", "missing", "extra_forbidden"  # kinds of faults; the last two are pydantic's

Schema = Mapping[str, Any]  # a JSON Schema, or a part of it


class Place(NamedTuple):
    """The place of an error: the steps to the value, the value, and its part of the JSON Schema."""

    steps: tuple[str | int, ...]
    value: Any
    schema: Schema

    @property
    def key(self) -> str:
        """``experiments.brain_age.training.seeds``; positions in a list are left out."""
        return ".".join(str(step) for step in self.steps if not isinstance(step, int))

    def below(self, name: object) -> str:
        """The dotted key of ``name`` in this group."""
        return f"{self.key}.{name}" if self.key else str(name)

    def __str__(self) -> str:
        key = f"`{self.key}`" if self.steps else "the configuration"
        last = self.steps[-1] if self.steps else None
        return f"item {last + 1} of {key}" if isinstance(last, int) else key


class Fault(NamedTuple):
    """One error of a configuration.

    Attributes:
        kind: BAD_NAME, or pydantic's type of the error.
        place: The group with a wrong key, or the wrong value.
        name: The key that is missing, unknown or badly named; empty if the value at ``place`` is wrong.
    """

    kind: str
    place: Place
    name: str


def sentences(error: ValidationError, config: object) -> list[str]:
    """Describe what is wrong with a configuration.

    Args:
        error: The error of the configuration's model.
        config: The configuration in plain built-ins.

    Returns:
        One sentence for each wrong place, ordered by key.
    """
    found = [_fault(one, config) for one in error.errors(include_url=False, include_context=False)]
    badly_named = {(*fault.place.steps, fault.name) for fault in found if fault.kind == BAD_NAME}
    by_place: dict[tuple[str, ...], Fault] = {}
    for fault in found:
        steps = fault.place.steps
        if not any(steps[: len(name)] == name for name in badly_named):
            by_place.setdefault((*map(str, steps), fault.name), fault)
    return [sentence for key in sorted(by_place) if (sentence := _sentence(by_place[key]))]


def resolve(schema: Schema) -> Schema:
    """A part of the JSON Schema, merged with the target of its ``$ref``; its own entries have priority."""
    reference = schema.get("$ref")
    return {**json_schema()["$defs"][reference.removeprefix("#/$defs/")], **schema} if reference else schema


def described(value: object) -> str:
    """A value, as messages show it."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text `{value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + '...'}`"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return f"a group of keys ({listed(value) or 'none'})"
    return str(value) if isinstance(value, int | float) else f"the {type(value).__name__} {value}"


def expected(schema: Schema) -> str:
    """A description of the values that a part of the JSON Schema allows."""
    schema = resolve(schema)
    if "title" in schema:
        return schema["title"]
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if "oneOf" in schema:
        return ", or ".join(map(expected, schema["oneOf"]))
    match schema.get("type"):
        case "integer":
            return "a whole number" + _range(schema)
        case "number":
            return "a number" + _range(schema)
        case "boolean":
            return "true or false"
        case "array":
            items = expected(schema["items"]) if schema["items"] else "values"
            several = items.replace("a whole number", "whole numbers").replace("a cohort's name", "cohorts' names")
            several = several.replace("a site's name", "sites' names")
            if schema.get("minItems") == schema.get("maxItems") and "minItems" in schema:
                return f"a list of {schema['minItems']} {several}"
            return f"a list of {several}{', with at least one' if schema.get('minItems') else ''}"
        case "object":
            return f"a group of keys ({listed(schema.get('properties', ()))})"
    return "a text"


def listed(names: Iterable) -> str:
    """Names in their order, separated by commas."""
    return ", ".join(str(name) for name in names)


def did_you_mean(found: object, known: Iterable) -> str:
    """``; did you mean `x`?`` if a known name is similar, else nothing."""
    close = difflib.get_close_matches(str(found).lower(), [str(name) for name in known], n=1, cutoff=CLOSE)
    return f"; did you mean `{close[0]}`?" if close else ""


def in_quotes(found: object) -> str:
    """How to write a value so that YAML reads it as a text. YAML doesn't keep which word for true or false was typed."""
    if isinstance(found, bool):
        words = ("yes", "on", "true") if found else ("no", "off", "false")
        first, *others = [f'"{word}"' for word in words]
        return f"YAML reads it so without quotes; write {first} (or {' or '.join(others)}, if that is what you wrote)"
    return f'put it in quotes, "{found}"'


def _fault(error: ErrorDetails, config: object) -> Fault:
    steps, kind = error["loc"], error["type"]
    if steps[-1:] == ("[key]",):
        return Fault(BAD_NAME, _place(steps[:-2], config), str(steps[-2]))
    if kind in (MISSING, UNKNOWN):
        return Fault(kind, _place(steps[:-1], config), str(steps[-1]))
    return Fault(kind, _place(steps, config), "")


def _place(steps: tuple[str | int, ...], config: Any) -> Place:
    """The place of an error. Its steps may also contain names of the members of a union, which are ignored."""
    taken: list[str | int] = []
    value, schema = config, cast(Schema, json_schema())
    for step in steps:
        if isinstance(value, dict) and step in value:
            schema = _group_schema(schema)
            named = [*schema.get("patternProperties", {}).values()]
            schema = named[0] if named else schema.get("properties", {}).get(step, {})
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            schema = next(one["items"] for one in _choices(schema) if "items" in one)
        else:
            continue
        taken.append(step)
        value = value[step]
    return Place(tuple(taken), value, resolve(schema))


def _choices(schema: Schema) -> list[Schema]:
    """The alternatives of a schema with ``oneOf``; otherwise the schema itself."""
    schema = resolve(schema)
    return [*map(resolve, schema.get("oneOf", ()))] or [schema]


def _group_schema(schema: Schema) -> Schema:
    return next((one for one in _choices(schema) if one.get("type") == "object"), {})


def _sentence(fault: Fault) -> str:
    """The message for one error; empty for a missing key if another message corrects its spelling."""
    place, found, schema = fault.place, fault.place.value, fault.place.schema
    match fault.kind:
        case "bad name":
            return _bad_name(place, fault.name)
        case "extra_forbidden":
            return _unknown_key(place, fault.name)
        case "missing":
            return "" if _misspelt(place, fault.name) else _missing_key(place, fault.name)
        case "unique":
            twice = sorted({repr(item) for item in found if found.count(item) > 1})
            return f"`{place.key}` has {', '.join(twice)} more than once; expected each value once."
        case "too_short" if isinstance(found, dict):
            return f"`{place.key}` has no keys; expected {expected(schema)}."
        case "too_short" | "too_long":
            count = f"{len(found)} value{'' if len(found) == 1 else 's'}" if found else "an empty list"
            return f"{place} has {count}; expected {expected(schema)}."
    fix = did_you_mean(found, schema["enum"]) if "enum" in schema else _fix(found, schema)
    return f"{place} is {described(found)}; expected {expected(schema)}{fix or '.'}"


def _bad_name(place: Place, name: str) -> str:
    (pattern,) = _group_schema(place.schema)["patternProperties"]
    if pattern != NAME_PATTERN:
        return f"`{place.key}` has the key `{name}`, which isn't possible there; expected {expected(place.schema)}."
    fitting = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    fix = f"; `{fitting}` would do" if fitting else ""
    return (
        f"`{place.key}` has the name `{name}`; expected lower-case letters, digits, `_` and `-`, the first a letter or "
        f"digit{fix}."
    )


def _unknown_key(place: Place, name: str) -> str:
    known = _group_schema(place.schema)["properties"]
    sentence = f"unknown key `{place.below(name)}`; keys here are {listed(known)}"
    if fix := did_you_mean(name, known):
        return sentence + fix
    deeper = [
        f"`{place.below(group)}`" for group, schema in known.items() if name in resolve(schema).get("properties", ())
    ]
    return sentence + (f"; `{name}` belongs under {' or '.join(deeper)}." if deeper else ".")


def _misspelt(place: Place, name: str) -> bool:
    """Whether an unknown key of the group is similar to ``name``: then a second message would be redundant."""
    known = _group_schema(place.schema)["properties"]
    return any(f"`{name}`" in did_you_mean(other, known) for other in place.value if other not in known)


def _missing_key(place: Place, name: str) -> str:
    schema = resolve(_group_schema(place.schema)["properties"][name])
    meaning = schema["description"].partition(". ")[0].rstrip(".") if "description" in schema else ""
    explained = f" ({meaning[0].lower()}{meaning[1:]})" if meaning else ""
    return f"`{place.below(name)}` is missing; expected {expected(schema)}{explained}."


def _range(schema: Schema) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    ends = [f"of at least {low}" if low is not None else f"above {above}" if above is not None else ""]
    ends += [f"at most {high}" if high is not None else f"below {below}" if below is not None else ""]
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return " " + " and ".join(filter(None, ends)) if any(ends) else ""


def _fix(found: object, schema: Schema) -> str:
    """The end of the message for a value that is nearly right, because YAML reads it as another type than it looks."""
    wanted = {part.get("type") for one in _choices(schema) for part in (one, *one.get("anyOf", ()))}
    if "string" in wanted:
        return "" if isinstance(found, str | list | dict) or found is None else f"; {in_quotes(found)}."
    if wanted & {"number", "integer"}:
        return _fix_of_number(found, whole="integer" in wanted)
    if "boolean" in wanted and isinstance(found, str):
        return ", without quotes."
    if "array" in wanted and isinstance(found, int | float | str):
        return f"; write `[{found}]`."
    return ""


def _fix_of_number(found: object, whole: bool) -> str:
    if isinstance(found, bool):
        return " (YAML reads `on`, `yes` and `true` as true, `off`, `no` and `false` as false)."
    if isinstance(found, float) and whole and found.is_integer():
        return f"; write `{int(found)}`."
    if not isinstance(found, str):
        return ""
    try:
        number = Decimal(found.strip().replace(",", "."))
    except InvalidOperation:
        return ""
    if not number.is_finite() or abs(number.adjusted()) > MOST_DIGITS:
        return ""
    return f"; YAML reads it as a text, so write `{number:f}`."
