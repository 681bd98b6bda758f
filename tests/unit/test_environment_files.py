"""The lock, the conda file and the container recipe describe one environment, and the running one is it."""

import importlib.metadata
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ENVS = ROOT / "envs"


def read(path):
    return path.read_text(encoding="utf-8")


def normalised(name):
    """A package's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def maker():
    specification = importlib.util.spec_from_file_location("make_environment_files", ENVS / "make_environment_files.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pins(maker):
    return {normalised(name): version for name, version in maker.pins_of(read(ENVS / "requirements.txt")).items()}


def test_conda_file_and_container_recipe_are_what_the_lock_makes(maker):
    for file_name, text in maker.environment_files(read(ENVS / "requirements.txt")).items():
        assert read(ENVS / file_name) == text, f"run `python envs/make_environment_files.py`: {file_name} has drifted"


def test_conda_file_installs_the_locks_pins_and_no_others(maker):
    conda = yaml.safe_load(read(ENVS / "environment.yaml"))
    (pip_section,) = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    assert conda["name"] == "neurocohort"
    assert pip_section == [
        f"{name}=={version}" for name, version in maker.pins_of(read(ENVS / "requirements.txt")).items()
    ]


def test_a_changed_pin_changes_both_files(maker):
    lock = read(ENVS / "requirements.txt")
    changed = re.sub(r"(?m)^numpy==.*$", "numpy==1.0.0", lock)
    before, after = maker.environment_files(lock), maker.environment_files(changed)
    assert "numpy==1.0.0" in after["environment.yaml"]
    assert all(before[file_name] != after[file_name] for file_name in before)


@pytest.mark.parametrize("line", ["numpy>=2", "numpy", "torch==2.13.0+cpu", "neurocohort @ file:///tmp/x", "-e ."])
def test_a_line_that_is_no_exact_pin_is_refused(maker, line):
    with pytest.raises(ValueError, match="exact pin"):
        maker.pins_of(f"pandas==3.0.0\n{line}\n")


def test_every_package_asked_for_is_pinned_within_what_was_asked(pins):
    requirements = importlib.import_module("packaging.requirements")
    lines = [
        line.split("#")[0].strip()
        for line in (read(ENVS / "requirements.in") + read(ENVS / "development.in")).splitlines()
    ]
    for requirement in map(requirements.Requirement, filter(None, lines)):
        version = pins.get(normalised(requirement.name))
        assert version is not None, f"{requirement.name} is in requirements.in and not in requirements.txt"
        assert requirement.specifier.contains(version), f"{requirement} against the pinned {version}"


def test_the_lock_holds_no_installer_and_no_gpu_libraries(pins):
    assert not [
        name for name in pins if name in ("pip", "setuptools", "wheel") or name.startswith(("nvidia", "triton"))
    ]


def test_the_running_environment_is_the_locked_one(pins):
    installed = {
        normalised(distribution.name): distribution.version.split("+")[0]
        for distribution in importlib.metadata.distributions()
    }
    differences = [
        f"{name}: the lock has {version}, this environment has {installed.get(name, 'none')}"
        for name, version in pins.items()
        if installed.get(name) != version
    ]
    assert not differences, "install envs/requirements.txt again:\n" + "\n".join(differences)


def test_python_is_the_oldest_that_the_package_allows_everywhere(maker):
    requires = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["requires-python"]
    conda = yaml.safe_load(read(ENVS / "environment.yaml"))["dependencies"]
    assert requires == f">={maker.PYTHON}"
    assert f"python={maker.PYTHON}" in conda
