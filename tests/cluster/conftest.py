"""A real Slurm and a real Grid Engine for the tests in this folder, and a copy of the checkout that runs on each."""

import os
from pathlib import Path

import pytest
from checkouts import copy_checkout, made_once
from grid_engine import GridEngine
from grid_engine import missing_programs as missing_for_grid_engine
from studies import STUDY, ClusterStudy, write_study

from slurm import Slurm
from slurm import missing_programs as missing_for_slurm

PACKAGES = {
    "slurm": "slurm-wlm and munge",
    "sge": "gridengine-master, gridengine-exec and gridengine-client",
}


def started(name: str, folder: Path):
    """The running scheduler. Skips if its programs aren't installed, and fails in CI, which installs them."""
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
    """A new copy of the checkout with a profile for this cluster."""
    return ClusterStudy(copy_checkout(repository, tmp_path_factory.mktemp(f"{cluster.name}-study")), cluster)


@pytest.fixture(scope="session")
def whole_run(study):
    """A complete run of a small study, once per cluster."""
    write_study(study.checkout)
    return study.run("--configfile", *STUDY)


@pytest.fixture(scope="session")
def local_metrics(repository, of_all_processes) -> dict[str, bytes]:
    """metrics.tsv of each experiment of the same study without a cluster, once for both schedulers."""

    def run_locally(folder: Path) -> None:
        checkout = copy_checkout(repository, folder)
        write_study(checkout)
        checkout.snakemake("--quiet", "rules", "--configfile", STUDY[0])

    ran = made_once(of_all_processes / "local", run_locally)
    return {table.parent.name: table.read_bytes() for table in ran.glob("results/experiments/*/metrics.tsv")}
