"""What a fault of a configuration against its schema is called: one sentence that names the key, what was found, what was
expected, and the fix."""

import difflib
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from jsonschema.exceptions import ValidationError

LONGEST_TEXT = 60
MOST_DIGITS = 18  # of a number that a study could mean
CLOSE = 0.68  # of difflib's ratio: `sfnc` is close to sfcn (0.75), `gpu` isn't to cpu (0.67)


def schema_sentences(error: ValidationError, resolve) -> list[str]:
    """The sentences for one error. ``resolve`` turns a subschema with a ``$ref`` into the whole of it."""
    key, found, schema = dotted(error.absolute_path), error.instance, error.schema
    match error.validator:
        case "additionalProperties" if "patternProperties" in schema:
            return [_bad_name(key, name) for name in found if not _fits_a_pattern(name, schema)]
        case "additionalProperties":
            known = schema["properties"]
            return [_unknown_key(key, name, known, resolve) for name in found if name not in known]
        case "required":
            return [
                _missing_key(_below(key, name), resolve(schema["properties"][name]), resolve)
                for name in schema["required"]
                if name not in found and not _misspelt(name, found, schema["properties"])
            ]
        case "uniqueItems":
            twice = sorted({repr(item) for item in found if found.count(item) > 1})
            return [f"`{key}` holds {', '.join(twice)} more than once; every value may stand there once."]
        case "minItems" | "maxItems":
            count = f"{len(found)} value{'' if len(found) == 1 else 's'}" if found else "an empty list"
            return [f"{_place(error)} has {count}; expected {expected(schema, resolve)}."]
        case "minProperties":
            return [f"`{key}` has no keys; expected {expected(schema, resolve)}."]
    sentence = f"{_place(error)} is {described(found)}; expected {expected(schema, resolve)}"
    fix = did_you_mean(found, schema["enum"]) if error.validator == "enum" else _mend(found, schema)
    return [f"{sentence}{fix or '.'}"]


def dotted(path: Iterable) -> str:
    """``experiments.brain_age.training.seeds`` from the steps of a path; places in a list are left out."""
    return ".".join(str(step) for step in path if not isinstance(step, int))


def described(value: object) -> str:
    """A value as a sentence shows it."""
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


def expected(schema: dict, resolve) -> str:
    """What a subschema asks for, in words."""
    schema = resolve(schema)
    if "title" in schema:
        return schema["title"]
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    match schema["type"]:
        case "integer":
            return "a whole number" + _range(schema)
        case "number":
            return "a number" + _range(schema)
        case "boolean":
            return "true or false"
        case "array":
            items = expected(schema["items"], resolve)
            several = items.replace("a whole number", "whole numbers").replace("a cohort's name", "cohorts' names")
            if schema.get("minItems") == schema.get("maxItems") and "minItems" in schema:
                return f"a list of {schema['minItems']} {several}"
            return f"a list of {several}{', with at least one' if schema.get('minItems') else ''}"
        case "object":
            return f"a group of keys ({listed(schema.get('properties', ()))})"
    return "a text"


def listed(names: Iterable) -> str:
    """Names in the order of the schema, separated by commas."""
    return ", ".join(str(name) for name in names)


def did_you_mean(found: object, known: Iterable) -> str:
    """``; did you mean `x`?`` where a known name is close, else nothing."""
    close = difflib.get_close_matches(str(found).lower(), [str(name) for name in known], n=1, cutoff=CLOSE)
    return f"; did you mean `{close[0]}`?" if close else ""


def _place(error: ValidationError) -> str:
    steps = list(error.absolute_path)
    key = f"`{dotted(steps)}`" if steps else "the configuration"
    return f"item {steps[-1] + 1} of {key}" if steps and isinstance(steps[-1], int) else key


def _range(schema: dict) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    ends = [f"of at least {low}" if low is not None else f"above {above}" if above is not None else ""]
    ends += [f"at most {high}" if high is not None else f"below {below}" if below is not None else ""]
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return " " + " and ".join(filter(None, ends)) if any(ends) else ""


def _below(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _fits_a_pattern(name: str, schema: dict) -> bool:
    return any(re.search(pattern, name) for pattern in schema["patternProperties"])


def _bad_name(key: str, name: str) -> str:
    fitting = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    fix = f"; `{fitting}` would do" if fitting else ""
    return f"`{key}` has the name `{name}`; expected lower-case letters, digits, `_` and `-`, the first a letter or digit{fix}."


def _unknown_key(key: str, name: str, known: dict, resolve) -> str:
    sentence = f"unknown key `{_below(key, name)}`; keys here are {listed(known)}"
    if fix := did_you_mean(name, known):
        return sentence + fix
    deeper = [place for place, schema in known.items() if name in resolve(schema).get("properties", ())]
    return sentence + (f"; `{name}` belongs under `{_below(key, deeper[0])}`." if deeper else ".")


def _misspelt(name: str, found: dict, known: dict) -> bool:
    """Whether an unknown key stands there that will be told to be ``name``: one fault, one sentence."""
    return any(f"`{name}`" in did_you_mean(other, known) for other in found if other not in known)


def _missing_key(key: str, schema: dict, resolve) -> str:
    meaning = schema.get("description", "").partition(". ")[0].rstrip(".")
    told = f" ({meaning[0].lower()}{meaning[1:]})" if meaning else ""
    return f"`{key}` is missing; expected {expected(schema, resolve)}{told}."


def _mend(found: object, schema: dict) -> str:
    """The end of the sentence where the value is nearly right: of another YAML type than it looks."""
    wanted = schema.get("type")
    if wanted in ("number", "integer"):
        if isinstance(found, bool):
            return " (YAML reads `on`, `yes` and `true` as true, `off`, `no` and `false` as false)."
        if isinstance(found, float) and wanted == "integer" and found.is_integer():
            return f"; write `{int(found)}`."
        if isinstance(found, str):
            try:
                number = Decimal(found.strip().replace(",", "."))
            except InvalidOperation:
                return ""
            if not number.is_finite() or abs(number.adjusted()) > MOST_DIGITS:
                return ""
            return f"; YAML reads it as a text, so write `{number:f}`."
    if wanted == "boolean" and isinstance(found, str):
        return ", without quotes."
    if wanted == "array" and isinstance(found, int | float | str):
        return f"; write `[{found}]`."
    if wanted == "string" or (isinstance(wanted, list) and "string" in wanted):
        return "" if isinstance(found, str | list | dict) or found is None else f"; {in_quotes(found)}."
    return ""


def in_quotes(found: object) -> str:
    """How a value must be written to be the text that was typed. YAML doesn't keep which word for true or false that was."""
    if isinstance(found, bool):
        words = ("yes", "on", "true") if found else ("no", "off", "false")
        first, *others = [f'"{word}"' for word in words]
        return f"YAML reads it so where it isn't in quotes; write {first} (or {' or '.join(others)}, if that is what you wrote)"
    return f'put it in quotes, "{found}"'
