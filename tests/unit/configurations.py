"""Configurations for tests, and the message that refuses one."""

import copy
from pathlib import Path

import pytest
from neurocohort.errors import InputError
from neurocohort.study.configuration import check_configuration

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "config/config.yaml"
SOURCE = "config/study.yaml"
LEFT_OUT = object()
AGE, DEMENTIA, TISSUE = "experiments.brain_age", "experiments.dementia", "experiments.tissue"


def changed(config, key, value):
    """``config`` with one dotted key set, or left out."""
    config = copy.deepcopy(config)
    *groups, last = key.split(".")
    place = config
    for group in groups:
        place = place.setdefault(group, {})
    if value is LEFT_OUT:
        del place[last]
    else:
        place[last] = value
    return config


def refusal(config, **options):
    with pytest.raises(InputError) as caught:
        check_configuration(config, source=SOURCE, **options)
    return str(caught.value)


def study(cohort, **experiment):
    experiment = {"task": "regression", "target": "age", "cohorts": ["own"], "network": {"name": "sfcn"}} | experiment
    return {"study": "own", "cohorts": {"own": cohort}, "experiments": {"e": experiment}}


def experiment_with(demo, **keys):
    """The demo's brain-age experiment with dotted keys, ``__`` for the dot, set."""
    for key, value in keys.items():
        demo = changed(demo, f"{AGE}.{key.replace('__', '.')}", value)
    return demo
