"""A real Slurm and a real Grid Engine for the tests in this folder, and a copy of the checkout that runs on each."""

import os
from pathlib import Path

import pytest
import yaml
from checkouts import copy_checkout
from grid_engine import GridEngine
from grid_engine import missing_programs as missing_for_grid_engine
from studies import ClusterStudy

from slurm import Slurm
from slurm import missing_programs as missing_for_slurm

PACKAGES = {
    "slurm": "slurm-wlm and munge",
    "sge": "gridengine-master, gridengine-exec and gridengine-client",
}


def started(name: str, folder: Path):
    """The scheduler, running; skips where its programs aren't installed, and fails in CI, which installs them."""
    made, missing = {"slurm": (Slurm, missing_for_slurm), "sge": (GridEngine, missing_for_grid_engine)}[name]
    if lacking := missing():
        reason = f"needs Debian's packages {PACKAGES[name]}: {', '.join(lacking)} not found"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    cluster = made(folder)
    cluster.start()
    return cluster


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    cluster = started("slurm", tmp_path_factory.mktemp("slurm"))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def grid_engine(tmp_path_factory):
    cluster = started("sge", tmp_path_factory.mktemp("sge"))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session", params=["slurm", "grid_engine"])
def cluster(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def study(cluster, repository, tmp_path_factory) -> ClusterStudy:
    """A copy of the checkout with a profile for this cluster, in which nothing has run."""
    return ClusterStudy(copy_checkout(repository, tmp_path_factory.mktemp(f"{cluster.name}-study")), cluster)


@pytest.fixture(scope="session")
def demo_run(study):
    """The demo, run once on each cluster. ``device: auto`` asks for GPUs, and takes the CPU where there is none to be seen."""
    study.path("config/auto.yaml").write_text(yaml.safe_dump({"device": "auto"}))
    return study.run("--configfile", "config/config.yaml", "config/auto.yaml")
