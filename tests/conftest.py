"""What tests share: where the repository is, and the real scans beside it, which are used where they lie."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real scans (../shared/data beside the repository) are not here")
    return SHARED_DATA
