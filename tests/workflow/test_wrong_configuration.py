"""A wrong configuration stops the run before any job, with a message that names the key and without a traceback."""

import copy

import pytest
import yaml


def change(config, key, value):
    """``config`` with the dotted ``key`` set to ``value``, or without it if ``value`` is None."""
    changed = copy.deepcopy(config)
    *path, last = key.split(".")
    place = changed
    for name in path:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return changed


WRONG = {
    "unknown key": ("preprocesing", {"spacing_mm": 3}, ["`preprocesing`", "did you mean `preprocessing`?"]),
    "unknown key below": ("experiments.tissue.training.epoch", 3, ["experiments.tissue.training.epoch", "`epochs`"]),
    "wrong type": ("preprocessing.spacing_mm", "fine", ["`preprocessing.spacing_mm`", "fine", "number"]),
    "out of range": ("split.held_out", 1.5, ["`split.held_out`", "1.5"]),
    "parts that fill the cohort": ("split.validation", 0.8, ["split.validation", "split.held_out"]),
    "missing cohort": ("experiments.brain_age.cohorts", ["ixy"], ["`experiments.brain_age.cohorts`", "`ixy`", "ixi"]),
    "variable no cohort has": ("experiments.brain_age.target", "iq", ["`experiments.brain_age.target`", "`iq`", "age"]),
    "task that the target can't have": ("experiments.brain_age.task", "classification", ["experiments.brain_age"]),
    "unknown network": ("experiments.tissue.network.name", "unett", ["experiments.tissue.network.name", "unet"]),
    "terms not accepted": (
        "cohorts.oasis1.accept_data_use_agreement",
        None,
        ["cohorts.oasis1.accept_data_use_agreement", "https://sites.wustl.edu/oasisbrains/"],
    ),
    "filter that calls something": (
        "experiments.brain_age.filter",
        "__import__('os').system('true')",
        ["`experiments.brain_age.filter`", "isn't allowed"],
    ),
    "same seed twice": ("experiments.tissue.training.seeds", [1, 1], ["experiments.tissue.training.seeds"]),
}


@pytest.fixture(scope="module")
def config(repository):
    return yaml.safe_load((repository / "config" / "config.yaml").read_text())


def refused(checkout, path):
    output = checkout.snakemake("--configfile", str(path), check=False)
    assert "Traceback" not in output, output
    assert "Building DAG" not in output and "rule " not in output, "no job may start"
    assert not checkout.path("resources").exists() and not checkout.path("results").exists()
    return output


@pytest.mark.parametrize(("key", "value", "parts"), WRONG.values(), ids=WRONG.keys())
def test_wrong_configuration_ends_in_a_sentence_that_names_the_key(checkout, config, tmp_path, key, value, parts):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(change(config, key, value), sort_keys=False))
    output = refused(checkout, path)
    for part in parts:
        assert part in output, output


NOT_KEYS = {"not YAML": "study: a\ncohorts: [unclosed\n", "a list": "- a\n- list\n", "empty": ""}


@pytest.mark.parametrize("content", NOT_KEYS.values(), ids=NOT_KEYS.keys())
def test_study_file_that_is_not_keys_with_values_ends_in_a_sentence(checkout, tmp_path, content):
    """Snakemake reads the file before the workflow does, and its message has no file name; `neurocohort check` names it."""
    path = tmp_path / "study.yaml"
    path.write_text(content)
    assert "Config file" in refused(checkout, path)
    checked = checkout.run("neurocohort", "check", str(path), check=False)
    assert checked.returncode == 2 and str(path) in checked.stderr and "line" in checked.stderr


def test_study_file_that_does_not_exist_is_named(checkout, tmp_path):
    checked = checkout.run("neurocohort", "check", str(tmp_path / "nothing_here.yaml"), check=False)
    assert checked.returncode == 2 and "nothing_here.yaml: there is no such file" in checked.stderr


def test_configuration_of_the_demo_is_in_order(checkout):
    assert "in order" in checkout.run("neurocohort", "check", "config/config.yaml").stdout
