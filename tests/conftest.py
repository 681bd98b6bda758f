"""Shared fixtures: the repository, the folder of real scans next to it, and the demo, which runs once for all tests in a copy
of the checkout."""

import os
import shutil
from pathlib import Path

import pytest
from checkouts import Checkout, copy_checkout, made_once, take_demo
from fault_table import pytest_terminal_summary  # noqa: F401

REPOSITORY = Path(__file__).resolve().parents[1]
SNAKEMAKE = ("browser", "cluster", "workflow")
SLOW = (
    "browser",
    "cluster",
)  # folders with only slow tests; tests of real scans are slow too; others are marked individually
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of some folders and of real scans as slow, and put them in the order in which they start."""
    for item in items:
        if item.path.parent.name in SLOW or "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    needing = {item.path for item in items if "demo" in getattr(item, "fixturenames", ())}
    first = min(needing, default=None)
    items.sort(key=lambda item: _turn(item.path, first, needing, slow))


def _turn(file: Path, first: Path | None, needing: set[Path], slow: set[Path]) -> tuple[bool, ...]:
    """The turn of a test file, earliest first: files that run Snakemake take longest. One makes the demo, and the others that
    need it come late, since they would wait for it meanwhile. Files with slow tests are before the others."""
    return file.parent.name not in SNAKEMAKE, file != first, file in needing, file not in slow


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Distribute parallel tests (``-n``): those of each scheduler to one process, since they mostly wait, and each other file to
    any free process.

    ``--dist loadgroup`` would be enough, but xdist 3.8 loses its groups with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            if Path(file).parent.name == "cluster":
                return "slurm" if "[slurm" in nodeid else "grid engine"
            return file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans; tests that need it are skipped if it doesn't exist."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real scans (../shared/data beside the repository) are not here")
    return SHARED_DATA


@pytest.fixture(scope="module")
def checkout(repository, tmp_path_factory) -> Checkout:
    """A new copy of the repository, for each test file, so that no file finds the results of another."""
    return copy_checkout(repository, tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def of_all_processes(tmp_path_factory) -> Path:
    """A folder that all processes of one test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def finished_demo(repository, of_all_processes) -> Path:
    """A copy of the repository in which the demo has run, once for all processes. Nothing may change in it. Current results of
    `make demo` in the repository are reused."""

    def run_demo(folder: Path) -> None:
        copied = copy_checkout(repository, folder)
        take_demo(repository, copied)
        copied.snakemake("--quiet", "rules")

    return made_once(of_all_processes / "demo", run_demo)


@pytest.fixture(scope="module")
def demo(finished_demo, tmp_path_factory):
    """A copy of the finished demo for each test file, which may change it."""
    folder = shutil.copytree(finished_demo, tmp_path_factory.mktemp("demo") / "copy", symlinks=True)
    for record in (folder / ".snakemake/metadata").rglob("*"):
        # The report's list of inputs has the absolute path of the lock file: in another folder it would be made again.
        if record.is_file():
            record.write_text(record.read_text().replace(f"{finished_demo}/", f"{folder}/"))
    yield Checkout(folder)
    shutil.rmtree(folder)
