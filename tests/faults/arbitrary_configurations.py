"""Studies as YAML that hypothesis draws from the schema: most values are valid, and some are of any other kind."""

import datetime

import yaml
from hypothesis import strategies as st
from neurocohort.settings.study import json_schema

NAMES = ("ixi", "oasis1", "own", "brain_age")
# Of texts with a meaning, those that a study has. No path leads to a folder that is there.
TEXTS = {
    "study": ("a-study", "x", "with\nbreak", "n\n"),
    "path": ("nowhere", "nowhere/scans.tsv", "~nosuchuser/x", "a\0b", "n" * 5000),
    "split_file": ("nowhere.tsv",),
    "base_url": ("", "https://example.org/a", "ftp://example.org"),
    "weights_url": ("", "https://example.org/a"),
    "target": ("age", "dementia", "sex", "dseg", "cdr", "site"),
    "filter": (
        "",
        "age > 30",
        "site == 'HH'",
        "dementia != 1 and age < 90",
        "(" * 300,
        "-sex < 2",
        "not " * 3000 + "age > 1",
    ),
    "weights": ("brain_age", "own", "nowhere.safetensors", "sfcn_ukb"),
    "pattern": ("*_T1w.nii*",),
}
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 3).map(lambda kind: (10**30, -(10**400), 16**5000, 2**63)[kind]),  # too long to be shown
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["1e999999999", "1e-999999", "nan", "0,5", "yes", "1" * 5000, "NaN", "Infinity"]),
    st.dates(datetime.date(1900, 1, 1)),
    st.binary(max_size=4),
)
KEYS = st.one_of(st.text(max_size=6), st.sampled_from([*NAMES, "name\n", True, 1, None, "<<"]))
KEYS |= st.just(0).map(lambda _: 16**5000)
ANYTHING = st.recursive(
    SCALARS,
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(KEYS, below, max_size=3)),
    max_leaves=6,
)
SCHEMA = json_schema()


class _Dumper(yaml.SafeDumper):
    """Integers in base 16 where they have more digits than Python writes."""


_Dumper.add_representer(
    int,
    lambda dumper, value: dumper.represent_scalar(
        "tag:yaml.org,2002:int", str(value) if abs(value) < 2**64 else hex(value)
    ),
)
_Dumper.ignore_aliases = lambda *_: True


@st.composite
def _value(draw, schema: dict, name: str = "", odd: int = 40):
    """A value for ``schema``; one in ``odd`` is of any other kind."""
    if "$ref" in schema:
        schema = {**SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], **schema}
    if draw(st.integers(1, odd)) == odd:
        return draw(ANYTHING)
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    if choices := schema.get("oneOf") or schema.get("anyOf"):
        return draw(_value(draw(st.sampled_from(choices)), name, odd))
    match schema["type"]:
        case "object":
            return draw(_group(schema, odd))
        case "array":
            fewest, items = schema.get("minItems", 0), schema["items"] or {"type": "number"}
            most = min(schema.get("maxItems", 4), max(fewest, 4))
            return draw(st.lists(_value(items, "cohort", odd * 2), min_size=fewest, max_size=most))
        case "boolean":
            return draw(st.booleans())
        case "integer":
            low = schema.get("minimum", -3)
            return draw(st.integers(low, min(schema.get("maximum", low + 200), low + 200)))
        case "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum", -3))
            return draw(st.floats(low, min(schema.get("maximum", schema.get("exclusiveMaximum", low + 5)), low + 5)))
    return draw(st.sampled_from(TEXTS.get(name, NAMES)))


@st.composite
def _group(draw, schema: dict, odd: int):
    group = {}
    for name, below in schema.get("properties", {}).items():
        if draw(st.integers(0, 29)) if name in schema.get("required", ()) else draw(st.integers(0, 3)) == 0:
            group[name] = draw(_value(below, name, odd))
    for below in schema.get("patternProperties", {}).values():
        for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True)):
            group[name] = draw(_value(below, name, odd))
    if draw(st.integers(1, odd)) == odd:
        group[draw(KEYS)] = draw(ANYTHING)
    return group


@st.composite
def configurations(draw) -> str:
    """A study's YAML: one in ten is of anything, and half of the others have nothing odd in them."""
    if draw(st.integers(0, 9)) == 0:
        return yaml.dump(draw(ANYTHING), Dumper=_Dumper, allow_unicode=draw(st.booleans()))
    return yaml.dump(
        draw(_value(SCHEMA, odd=draw(st.sampled_from([10, 60, 100_000])))), Dumper=_Dumper, sort_keys=False
    )
