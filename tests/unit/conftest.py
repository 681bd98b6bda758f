"""Fixtures of several unit tests."""

import pytest
from configurations import DEMO
from neurocohort.study.configuration import load_configuration


@pytest.fixture
def demo_study():
    """The demo's configuration, not checked."""
    return load_configuration([DEMO])
