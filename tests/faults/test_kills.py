"""Runs that are killed at random moments: the plain command, typed again, ends with the files of a run that was left alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("kills.py")
ROW = re.compile(r"\| .+ \| (\d+) \| (\d+) \| (\d+) \| `.+` \|")


@pytest.mark.machine
@pytest.mark.parametrize(
    ("kills", "options"),
    [("5", ()), ("3", ("--during", "preprocess-batch", "--begin", "ingest", "--target", "preprocess"))],
    ids=["any moment", "in a batch"],
)
def test_random_kills_end_bit_identical_with_the_plain_command(tmp_path, kills, options):
    command = [sys.executable, str(HARNESS), kills, "--folder", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row = ROW.fullmatch(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else None
    assert row and done.returncode == 0, done.stdout + done.stderr
    assert row.groups() == (kills, kills, "0"), done.stdout
