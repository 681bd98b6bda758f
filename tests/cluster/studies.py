"""A copy of the checkout that runs Snakemake with a cluster's profile, in the foreground or in the background."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import yaml
from checkouts import Checkout
from daemons import wait_until

# Configuration files of the study. The second has ``device: auto``, which requests GPUs and uses the CPU if there is none.
STUDY = ("config/small.yaml", "config/auto.yaml")
QUICK = ("--cores", "2", "--latency-wait", "20")
QUICK_FOR = {  # short intervals between state checks
    "slurm": ("--slurm-init-seconds-before-status-checks", "2"),
    "sge": ("--seconds-between-status-checks", "4"),
}
SITE = {"queue": "cpu.q", "gpu_queue": "gpu.q", "gpu_memory": {"h_vmem": 4000}}  # no real GPU


def write_study(checkout: Checkout) -> None:
    """Write STUDY: of the smallest study, one cohort and one training, since each job starts Snakemake once more."""
    study = yaml.safe_load(checkout.path("tests/studies/smallest.yaml").read_text(encoding="utf-8"))
    study["synthetic"] = {
        "ixi": study["synthetic"]["ixi"] | {"participants": study["synthetic"]["oasis1"]["participants"]}
    }
    study["cohorts"] = {"ixi": study["cohorts"]["ixi"]}
    experiment = study["experiments"]["brain_age"] | {"cohorts": ["ixi"], "external": []}
    del experiment["sweep"]
    study["experiments"] = {"brain_age": experiment}
    for name, content in zip(STUDY, (study, {"device": "auto"}), strict=True):
        checkout.path(name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


class ClusterStudy:
    """``run`` a Snakemake command until it ends, or ``start`` it and watch it."""

    def __init__(self, checkout: Checkout, cluster):
        self.checkout, self.cluster = checkout, cluster
        self.site = checkout.path("profiles/sge/site.yaml")
        self.set_site(**SITE)

    def set_site(self, **values) -> None:
        """Edit site.yaml of Grid Engine's profile, like a user."""
        self.site.write_text(yaml.safe_dump(yaml.safe_load(self.site.read_text()) | values))

    def start(self, *arguments: str, **environment: str) -> "Run":
        profile = ["--profile", self.cluster.name, *QUICK, *QUICK_FOR[self.cluster.name]]
        return Run(self, ["snakemake", *profile, *arguments], environment)

    def run(self, *arguments: str, check: bool = True, **environment: str) -> "Run":
        run = self.start(*arguments, **environment)
        run.wait()
        assert not check or run.code == 0, run.said
        return run

    def environment(self) -> dict[str, str]:
        own = os.environ | self.cluster.environment
        own.pop("NEUROCOHORT_COMMAND", None)
        own.pop("PYTHONPATH", None)
        return own | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"}

    def path(self, name: str) -> Path:
        return self.checkout.path(name)


class Run:
    """One Snakemake run in its own session, as on a terminal. ``records``: the scheduler's description of each job."""

    def __init__(self, study: ClusterStudy, command: list[str], environment: dict[str, str]):
        self.study, self.records, self.code = study, {}, None
        self.log = study.path(f"said-{time.monotonic_ns()}.log")
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=study.checkout.folder,
                env=study.environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        threading.Thread(target=self._keep_records, daemon=True).start()

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = 1500) -> int:
        try:
            self.code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"still running after {seconds:g} s:\n{self.said[-6000:]}") from None
        return self.code

    def wait_for(self, happened, what: str, seconds: float = 240):
        """Wait until ``happened()`` is true; AssertionError if the run ends before that."""

        def checked():
            value = happened()
            assert value or self.process.poll() is None, f"the run ended before {what}:\n{self.said[-6000:]}"
            return value

        return wait_until(checked, seconds, what)

    def job_of(self, rule: str, other_than: str = "", seconds: float = 240) -> str:
        """Wait until a job of ``rule`` runs, ``other_than`` a known one, and return its id."""

        def found():
            ids = [job for job in self.study.cluster.jobs() if rule in self.study.cluster.name_of(job)]
            ids = [job for job in ids if job != other_than]
            return next((job for job in ids if self.study.cluster.state(job) in ("RUNNING", "r", "Rr")), "")

        return self.wait_for(found, f"a job of {rule} to run", seconds)

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """Kill only the main process (kill -9)."""
        self.process.kill()
        self.process.wait()

    def submitted(self) -> list[str]:
        """Ids of all submitted jobs."""
        return re.findall(r"SLURM jobid (\d+)|external jobid '(\d+)'", self.said)

    def _keep_records(self) -> None:
        while self.process.poll() is None:
            for job in self.study.cluster.jobs():
                if job not in self.records:
                    self.records[job] = self.study.cluster.record(job)
            time.sleep(1)
