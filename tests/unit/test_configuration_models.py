"""The models of the configuration: their schema, their defaults, and the tables of config/README.md."""

import pytest
from configurations import ROOT
from jsonschema import Draft202012Validator
from neurocohort.architectures import ARCHITECTURES
from neurocohort.settings.study import json_schema
from neurocohort.study.cohorts import KEYS_OF_SOURCE, VARIABLES_OF_SOURCE
from neurocohort.study.messages import resolve
from neurocohort.study.reference import ROW, key_rows, with_current_tables


@pytest.fixture(scope="module")
def schema():
    return json_schema()


def groups(node, key=""):
    """Every group of keys in the schema: its dotted key and its subschema, with <name> for names that the user gives."""
    node = resolve(node)
    if node.get("type") == "object":
        yield key, node
        for name, below in node.get("properties", {}).items():
            yield from groups(below, f"{key}.{name}" if key else name)
        for below in node.get("patternProperties", {}).values():
            yield from groups(below, f"{key}.<name>")


def test_the_schema_is_a_schema_that_lets_no_unknown_key_pass(schema):
    Draft202012Validator.check_schema(schema)
    for key, group in groups(schema):
        assert group.get("additionalProperties") is False, key
        for name, below in group.get("properties", {}).items():
            assert resolve(below).get("description", "").endswith("."), f"{key}.{name}"


def test_every_default_is_valid(schema):
    for key, group in groups(schema):
        for name, below in group.get("properties", {}).items():
            if "default" in below and below["default"] != {}:
                root = {"$defs": schema["$defs"], **below}
                assert not list(Draft202012Validator(root).iter_errors(below["default"])), f"{key}.{name}"


def test_networks_and_sources_of_the_schema_are_those_that_the_checks_know(schema):
    network = schema["$defs"]["Network"]["properties"]
    assert set(network["name"]["enum"]) == set(ARCHITECTURES)
    assert set(schema["$defs"]["Cohort"]["properties"]["source"]["enum"]) == set(KEYS_OF_SOURCE)


def test_variables_are_those_that_ingest_writes():
    from neurocohort.sources import ixi_table as ixi
    from neurocohort.sources import oasis1_table as oasis1

    identity = {"participant_id", "session_id", "scan_id"}
    assert set(VARIABLES_OF_SOURCE["ixi"]) == set(ixi.VARIABLES) | identity
    assert set(VARIABLES_OF_SOURCE["oasis1"]) == set(oasis1.VARIABLES) | identity | {"dseg"}


def test_the_tables_of_the_readme_are_those_of_the_schema():
    readme = (ROOT / "config/README.md").read_text(encoding="utf-8")
    assert readme == with_current_tables(readme), "run: python config/make_tables.py"
    keys = [key for key, _ in key_rows(json_schema())]
    assert sorted(keys) == sorted(
        found["key"] for found in ROW.finditer(readme) if "." in found["key"] or found["key"] in keys
    )
