"""How often Slurm is asked for the jobs of a run."""

import subprocess
import sys

SCRIPT = """
import snakemake.api  # before its parts, which import one another
from neurocohort_run import _look_often_enough
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

class Executor(RemoteExecutor):
    def __init__(self): pass
    def run_job(self, job): pass
    def cancel_jobs(self, active_jobs): pass
    async def check_active_jobs(self, active_jobs): pass

_look_often_enough(60.0)
executor = Executor()
for seconds in (15, 55, 180):
    executor.next_seconds_between_status_checks = seconds
    print(executor.next_seconds_between_status_checks)
"""


def test_two_looks_at_the_jobs_are_never_further_apart_than_asked():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stdout.split() == ["15", "55", "60.0"], done.stderr
