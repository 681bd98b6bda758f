"""The official BIDS validator, run on a dataset before the models are applied. It is an optional program."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurocohort.errors import InputError
from neurocohort.text import counted, few

PROGRAMS = ("bids-validator-deno", "bids-validator")
SHOWN = 10  # errors


def validate(dataset: Path) -> str:
    """Run the validator, if it is installed.

    Returns:
        What was found, in a sentence.

    Raises:
        InputError: If the dataset has errors.
    """
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = next(filter(None, (shutil.which(name, path=places) for name in PROGRAMS)), None)
    if program is None:
        return (
            "The dataset is not validated, because the BIDS validator is not installed (pip install bids-validator-deno); "
            "--skip-bids-validation hides this note."
        )
    done = subprocess.run([program, "--json", str(dataset)], capture_output=True, text=True, check=False)
    errors = _errors(done.stdout)
    if errors is None:
        last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        return f"The dataset is not validated, because {program} failed with status {done.returncode}: {last}"
    if errors:
        raise InputError(
            f"{dataset} is not valid BIDS, by {Path(program).name}: {counted(len(errors), 'error')}. Correct them, or give "
            f"--skip-bids-validation to run all the same.\n  {few(errors, SHOWN, chr(10) + '  ')}"
        )
    return f"The dataset is valid, by {Path(program).name}."


def _errors(output: str) -> list[str] | None:
    """The validator's errors, one a line: the code and the file. None if it printed no result.

    The schema-based validator lists issues with a severity, the earlier one has a list of errors with files.
    """
    try:
        issues = json.loads(output)["issues"]
    except (ValueError, KeyError, TypeError):
        return None
    if isinstance(issues.get("issues"), list):
        return [_shown(one) for one in issues["issues"] if one.get("severity") == "error"]
    return [f"{one.get('key')}: {one.get('reason', '')}" for one in issues.get("errors", [])]


def _shown(issue: Mapping[str, Any]) -> str:
    details = (issue.get("subCode"), issue.get("location"), issue.get("issueMessage"))
    return " ".join(str(part) for part in (issue.get("code"), *details) if part)
