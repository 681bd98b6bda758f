"""The tables of config/README.md, from the schema: every key with its values, default and meaning."""

import json
import re
from collections.abc import Callable, Iterator

from neurocohort.study.messages import expected

ROW = re.compile(r"^\| `(?P<key>[^`]+)` \|[^|]+\|[^|]+\|[^|]+\|$", re.MULTILINE)  # of three cells behind the key


def with_current_tables(text: str, schema: dict, resolve: Callable[[dict], dict]) -> str:
    """Make the rows of every key again.

    Args:
        text: Markdown with tables of ``key``, ``values``, ``default`` and ``meaning``; their order and headings stay.
        schema: The JSON Schema of the configuration.
        resolve: Follows the ``$ref`` of a subschema.

    Returns:
        The text with each row as the schema has it. Rows of other tables are left as they are.
    """
    rows = dict(key_rows(schema, resolve))
    return ROW.sub(lambda row: rows.get(row["key"], row[0]), text)


def key_rows(schema: dict, resolve: Callable[[dict], dict], key: str = "") -> Iterator[tuple[str, str]]:
    """Yield each key that isn't a group, dotted and with ``<name>`` for names that a user gives, and its row of the table."""
    group = resolve(schema)
    for name, below in group.get("properties", {}).items():
        place, below = f"{key}.{name}" if key else name, resolve(below)
        if below.get("type") == "object":
            yield from key_rows(below, resolve, place)
        else:
            required = name in group.get("required", ())
            cells = (
                f"`{place}`",
                expected(below, resolve),
                "required" if required else _default(below),
                below["description"],
            )
            yield place, f"| {' | '.join(cells)} |"
    for named in map(resolve, group.get("patternProperties", {}).values()):
        if named.get("type") == "object":
            yield from key_rows(named, resolve, f"{key}.<name>")


def _default(schema: dict) -> str:
    if "default" not in schema:
        return "none"
    text = json.dumps(schema["default"]).strip('"')
    return f"`{text}`" if text else "empty"
