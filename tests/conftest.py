"""What tests share: where the repository is, the real scans beside it, which are used where they lie, and the demo, run once
for all tests of the workflow and of its report, on a copy of the checkout."""

import os
import re
from functools import cache
from pathlib import Path

import pytest
from checkouts import Checkout, copy_checkout, take_demo
from fault_table import pytest_terminal_summary  # noqa: F401

REPOSITORY = Path(__file__).resolve().parents[1]
SNAKEMAKE = ("browser", "cluster", "workflow")
SLOW = (
    "browser",
    "cluster",
)  # folders of which every test is slow, as are all tests of real scans; others are marked one by one
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that run Snakemake first: they take longest. Those of some folders and those of real scans are marked as slow."""
    for item in items:
        if item.path.parent.name in SLOW or "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.parent.name not in SNAKEMAKE)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Where tests run side by side (``-n``): those of files that use the demo on one process, in their order, those of each
    scheduler on one of their own, since they wait much, and each other file on whichever is free.

    ``--dist loadgroup`` would do, but xdist 3.8 loses its groups under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            folder = Path(file).parent.name
            if folder == "cluster":
                return "slurm" if "[slurm" in nodeid else "grid engine"
            return "demo" if folder in SNAKEMAKE and uses_demo(config.rootpath / file) else file

    return ByFile(config, log)


@cache
def uses_demo(file: Path) -> bool:
    """Whether a test or a fixture of ``file`` asks for the fixture ``demo``."""
    return re.search(r"^def \w+\([^)]*\bdemo\b", file.read_text(), re.MULTILINE) is not None


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real scans (../shared/data beside the repository) are not here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def checkout(repository, tmp_path_factory) -> Checkout:
    """A copy of the repository in which nothing has run."""
    return copy_checkout(repository, tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def of_all_processes(tmp_path_factory) -> Path:
    """A folder that the processes of one run of the tests share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def demo(repository, tmp_path_factory) -> Checkout:
    """A copy of the repository in which the demo has run: what `make demo` left in the repository, and is current,
    isn't made again.

    Some files add cohorts to it, which changes the experiments' tables; their names come after test_demo.py's.
    """
    copied = copy_checkout(repository, tmp_path_factory.mktemp("demo"))
    take_demo(repository, copied)
    copied.snakemake("--quiet", "rules")
    return copied
