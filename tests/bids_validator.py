"""The official, schema-based BIDS validator (PyPI: bids-validator-deno), run on a dataset."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "bids-validator-deno"


def errors_of(dataset: Path, cache: Path) -> list[dict]:
    """The validator's errors, each with ``code``, ``location`` and, of some, ``subCode`` and ``issueMessage``.

    ``cache``: a folder for the validator's runtime. Without the validator the test is skipped, or fails where CI is ``true``.
    """
    return [issue for issue in issues_of(dataset, cache) if issue["severity"] == "error"]


def issues_of(dataset: Path, cache: Path) -> list[dict]:
    """The validator's errors and warnings."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which(PROGRAM, path=places)
    if program is None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(f"the BIDS validator, an optional package, is not installed: pip install {PROGRAM}")
    command = [program, "--format", "json", str(dataset)]
    environment = os.environ | {"DENO_DIR": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    return json.loads(done.stdout)["issues"]["issues"]
