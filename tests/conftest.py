"""What tests share: where the repository is, the real scans beside it, which are used where they lie, and the demo, run once
for all tests of the workflow and of its report, on a copy of the checkout."""

from pathlib import Path

import pytest
from checkouts import Checkout, copy_checkout

REPOSITORY = Path(__file__).resolve().parents[1]
SNAKEMAKE = ("browser", "cluster", "workflow")
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that run Snakemake first: they take longest."""
    items.sort(key=lambda item: item.path.parent.name not in SNAKEMAKE)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Where tests run side by side (``-n``): those that run Snakemake on one process, in their order, since they share the
    demo; each other file on whichever is free."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "snakemake" if Path(file).parent.name in SNAKEMAKE else file

    return ByFile(config, log)


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
def demo(repository, tmp_path_factory) -> Checkout:
    """A copy of the repository in which the demo has run.

    Some files add cohorts to it, which changes the experiments' tables; their names come after test_demo.py's.
    """
    copied = copy_checkout(repository, tmp_path_factory.mktemp("demo"))
    copied.snakemake("--quiet", "rules")
    return copied
