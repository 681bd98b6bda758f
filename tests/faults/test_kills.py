"""Runs that are killed at random moments: the plain command, typed again, ends with the files of a run that was left alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

KIND = "SIGKILL of the whole tree at a random moment"

HARNESS = Path(__file__).with_name("kills.py")
ROW = re.compile(r"\| .+ \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| `.+` \|")


@pytest.mark.machine
@pytest.mark.parametrize(
    ("tries", "options"),
    [("3", ("--kills", "3")), ("3", ("--during", "preprocess-batch", "--begin", "ingest", "--target", "preprocess"))],
    ids=["any moment", "in a batch"],
)
def test_random_kills_end_bit_identical_with_the_plain_command(tmp_path, record_property, tries, options):
    command = [sys.executable, str(HARNESS), tries, "--folder", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row = ROW.fullmatch(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else None
    assert row and done.returncode == 0, done.stdout + done.stderr
    killed, tried, survived, lost = row.groups()
    record_property("tries", killed)
    record_property("lost", lost)
    assert (tried, survived, lost) == (tries, tries, "0") and int(killed) > 0, done.stdout
