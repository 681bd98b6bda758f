"""The tables of config/README.md, generated from the models: every key with its values, default and meaning."""

import json
import re
from collections.abc import Iterator

import yaml

from neurocohort.settings.recipes import RECIPES
from neurocohort.settings.study import json_schema
from neurocohort.study.messages import Schema, expected, resolve

ROW = re.compile(r"^\| `(?P<key>[^`]+)` \|[^|]+\|[^|]+\|[^|]+\|$", re.MULTILINE)  # of three cells behind the key

RECIPE = re.compile(r"(?P<start>^<!-- recipe (?P<name>\w+) -->\n```yaml\n).*?(?P<end>^```)", re.MULTILINE | re.DOTALL)


def with_current_tables(text: str) -> str:
    """Replace the row of every key by the current one.

    Args:
        text: Markdown with tables of ``key``, ``values``, ``default`` and ``meaning``; their order and headings stay.

    Returns:
        The text with current rows, and with current values of recipes. Rows of other tables are left as they are.
    """
    rows = dict(key_rows(json_schema()))
    text = ROW.sub(lambda row: rows.get(row["key"], row[0]), text)
    return RECIPE.sub(lambda block: f"{block['start']}{_recipe(block['name'])}{block['end']}", text)


def _recipe(name: str) -> str:
    """A recipe as a study file would have its keys."""
    values = next(values for recipe, values in RECIPES.items() if recipe == name)
    return yaml.safe_dump(values, default_flow_style=None, sort_keys=False, width=120)


def key_rows(schema: Schema, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield each key below ``key`` that isn't a group, with ``<name>`` for a name that a user gives, and its row of the table."""
    group = resolve(schema)
    for name, below in group.get("properties", {}).items():
        place, below = f"{key}.{name}" if key else name, resolve(below)
        if below.get("type") == "object" and not _names_values(below):
            yield from key_rows(below, place)
        else:
            default = "required" if name in group.get("required", ()) else _default(below)
            yield place, f"| `{place}` | {expected(below)} | {default} | {below['description']} |"
    for named in map(resolve, group.get("patternProperties", {}).values()):
        if named.get("type") == "object":
            yield from key_rows(named, f"{key}.<name>")


def _names_values(schema: Schema) -> bool:
    """Whether a group has names of the user's with plain values, and so is one key."""
    named = [resolve(one) for one in schema.get("patternProperties", {}).values()]
    choices = [resolve(one) for below in named for one in below.get("oneOf", [below])]
    return bool(choices) and all(one.get("type") in ("integer", "number", "array", "string") for one in choices)


def _default(schema: Schema) -> str:
    if "default" not in schema:
        return "none"
    text = json.dumps(schema["default"]).strip('"')
    return f"`{text}`" if text else "empty"
