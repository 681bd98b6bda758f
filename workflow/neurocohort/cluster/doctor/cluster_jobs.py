"""Send one CPU job and one GPU job of a few seconds through Snakemake and the profile, and judge what they found."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from neurocohort.checkout import CHECKOUT
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Finding
from neurocohort.cluster.probe import Sight, Torch
from neurocohort.cluster.profiles import Profile
from neurocohort.cluster.scheduler import Scheduler
from neurocohort.text import size

SNAKEFILE = CHECKOUT / "workflow" / "probe.smk"
CPU, GPU = "cpu", "gpu"
RULE = re.compile(r"^rule (cpu|gpu):")
NUMBER = re.compile(r"^ +jobid: (\d+)")
POLL_S = 0.1
END_S = 90.0  # that Snakemake may take to notice the end of jobs and to stop
CLOCK_S = 2.0  # difference of two machines' clocks that isn't reported
NOT_NEEDED = Finding(NONE, "GPU job", "not sent: `device: cpu` needs none")  # instead of a GPU job


@dataclass
class Sent:
    """A job that was sent.

    Args:
        kind: CPU or GPU.
        number: The scheduler's number; empty if it isn't submitted.
        submitted: When it was submitted, in seconds since 1970.
        shown: When its file was seen here.
        sight: What it found; None if it hasn't finished.
    """

    kind: str
    number: str = ""
    submitted: float = 0.0
    shown: float = 0.0
    sight: Sight | None = None

    @property
    def name(self) -> str:
        """The name of its findings."""
        return f"{self.kind.upper()} job"


@dataclass(frozen=True)
class ProbeRun:
    """Where and how the jobs are sent.

    Args:
        scheduler: To which they go.
        profile: Through which they go.
        folder: The study's, since they must run on its file system.
        address: One that downloads would use, to test the network.
        wait_s: Seconds after which jobs that have not started are cancelled.
    """

    scheduler: Scheduler
    profile: Profile
    folder: Path
    address: str
    wait_s: float


def check_on_cluster(run: ProbeRun, kinds: list[str]) -> list[Finding]:
    """Send a job of each of ``kinds`` and return what became of them."""
    place = Path(tempfile.mkdtemp(prefix="neurocohort-doctor-", dir=run.folder))
    try:
        snakemake = _Snakemake(run, place, kinds)
        snakemake.follow(run.wait_s)
        return [finding for sent in snakemake.sent.values() for finding in _judge(sent, snakemake, run)]
    except OSError as error:
        found = f"no job can be sent from {run.folder}: {error}"
        return [Finding(BAD, "jobs sent", found, "give another folder as --directory.")]
    finally:
        shutil.rmtree(place, ignore_errors=True)


class _Snakemake:
    """The Snakemake that runs the jobs; its output is read line by line."""

    def __init__(self, run: ProbeRun, place: Path, kinds: list[str]):
        self.scheduler, self.place = run.scheduler, place
        self.lines: list[str] = []
        self.sent = {kind: Sent(kind) for kind in kinds}
        self.waiting_for, self.interrupted = "", False
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--directory", str(place)]
        command += ["--profile", str(run.profile.folder), "--retries", "0", "--nocolor"]
        command += ["--config", f"kinds={'+'.join(kinds)}", f"address={run.address}"]
        unset = ("SNAKEMAKE_PROFILE", "NEUROCOHORT_COMMAND")
        self.process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env={name: value for name, value in os.environ.items() if name not in unset},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    @property
    def failed(self) -> bool:
        """Whether it ended with an error of its own, and not because the wait was over."""
        return self.process.returncode not in (0, None) and not self.interrupted

    def follow(self, wait_s: float) -> None:
        """Wait until every job has shown its file, Snakemake has ended, or the time is over; then cancel what is left."""
        until = time.monotonic() + wait_s
        while self.process.poll() is None and time.monotonic() < until and not all(s.sight for s in self.sent.values()):
            self._look()
            time.sleep(POLL_S)
        self._look()
        late = [sent for sent in self.sent.values() if not sent.sight]
        if late and self.process.poll() is None:
            reasons = [self.scheduler.waiting_reason(sent.number) for sent in late if sent.number]
            self.waiting_for = "; ".join(filter(None, reasons))
            self.interrupted = True
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.reader.join(POLL_S * 20)
        self.scheduler.cancel({sent.number for sent in late if sent.number})

    def _look(self) -> None:
        for sent in self.sent.values():
            path = self.place / f"{sent.kind}.json"
            # As Snakemake looks: listing the folder would make a network file system show the file sooner.
            if not sent.sight and path.exists():
                with suppress(OSError, ValueError):
                    found = json.loads(path.read_text(encoding="utf-8"))
                    sent.sight, sent.shown = Sight(**(found | {"torch": Torch(**found["torch"])})), time.time()

    def _read(self) -> None:
        kinds, kind = {}, ""
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip())
            if found := RULE.match(line):
                kind = found[1]
            elif found := NUMBER.match(line):
                kinds[found[1]] = kind
            elif (found := self.scheduler.submitted.search(line)) and kinds.get(found[1]) in self.sent:
                sent = self.sent[kinds[found[1]]]
                sent.number, sent.submitted = found[2], time.time()


def _judge(sent: Sent, snakemake: _Snakemake, run: ProbeRun) -> list[Finding]:
    """The findings on one job."""
    if sent.sight:
        return [Finding(GOOD, sent.name, described(sent, sent.sight)), *judge_sight(sent, sent.sight)]
    if not sent.number:
        fix = f"correct what it names in {run.profile.folder}; the lines above list what exists."
        found = f"isn't submitted: {_refusal(snakemake.lines, run.scheduler)}"
    elif snakemake.failed:
        fix = f"`{run.scheduler.details_command} {sent.number}` shows more."
        found = f"failed: {_failure(snakemake.lines, sent.kind) or _refusal(snakemake.lines, run.scheduler)}"
    else:
        fix = "wait longer with --wait, or look at the queue: this is the scheduler's own reason."
        found = f"{sent.number} has not started within {run.wait_s:g} s and is cancelled; the scheduler's reason: "
        found += snakemake.waiting_for or "none"
    return [Finding(BAD, sent.name, found, fix)]


def described(sent: Sent, sight: Sight) -> str:
    """Where the job ran and what it was granted, in one line."""
    granted = ", ".join(f"{key} {value}" for key, value in sight.cpus_granted.items())
    limit = sight.memory_limit_bytes
    parts = [
        f"ran on {sight.host} {max(sight.started - sent.submitted, 0):.0f} s after it was submitted",
        f"{sight.cpus} usable CPUs ({granted or 'the scheduler sets no number'})",
        f"memory limit {size(limit)}" if limit else "no memory limit",
        f"torch imported in {sight.torch.import_s:g} s",
        f"its file showed here after {_delay(sent.shown - sight.written)}",
        f"internet: {'yes' if sight.internet else 'no'}",
    ]
    if sent.kind == GPU:
        parts.append(f"CUDA_VISIBLE_DEVICES {sight.cuda_visible_devices or 'not set'}")
        parts.append(f"torch sees {', '.join(sight.torch.gpus) or 'no GPU'}")
    return "; ".join(parts)


def judge_sight(sent: Sent, sight: Sight) -> list[Finding]:
    """What is wrong where the job ran."""
    findings, torch = [], sight.torch
    own = str(CHECKOUT / "workflow" / "neurocohort")
    if sight.package != own:
        fix = "keep the checkout on the file system that the nodes share, under the same path on each."
        findings.append(Finding(BAD, sent.name, f"imported the package from {sight.package}, not from {own}", fix))
    if torch.version is None:
        fix = "check its memory limit (h_vmem counts reserved addresses), and whether the node sees the whole environment."
        findings.append(Finding(BAD, sent.name, f"can't import torch: {torch.error}", fix))
    elif sent.kind == GPU and not torch.gpus:
        if not torch.cuda:
            why = f"torch {torch.version} is built for the CPU only"
            fix = (
                "`make clean`, then `make demo` without TORCH_INDEX; or set `device: cpu`: no job requests a GPU then."
            )
        elif not sight.cuda_visible_devices:
            why = "the scheduler gave it none"
            fix = "check how GPUs are requested here (gres; site.yaml's gpu), and whether that queue has some."
        else:
            why = (
                f"torch is built for CUDA {torch.cuda}, and the node's driver doesn't support it, or there is no device"
            )
            fix = "run nvidia-smi in a job on that queue; ask for a newer driver, or for nodes with another GPU."
        findings.append(Finding(BAD, sent.name, f"was given a GPU and torch sees none: {why}", fix))
    return findings


def _delay(seconds: float) -> str:
    if seconds < -CLOCK_S:
        return f"an unknown time (the node's clock is {-seconds:.0f} s ahead)"
    return f"{max(seconds, 0):.1f} s"


def _refusal(lines: list[str], scheduler: Scheduler) -> str:
    """The scheduler's reason for refusing a job; Snakemake's last line if there is none."""
    found = [match[1].rstrip("'.") for line in lines if (match := scheduler.refused.search(line))]
    last = [line.strip() for line in lines if line.strip()][-1:]
    return "; ".join(dict.fromkeys(found or last)) or "no reason is given"


def _failure(lines: list[str], kind: str) -> str:
    """How the scheduler says that a job ended, the end of its log, and the likely cause, from the run's message about it."""
    message = "\n".join(lines).partition(f"\n{kind} failed.\n")[2]
    patterns = (r"^  scheduler: (.*)$", r"^  \| (.*)$", r"^  likely cause: (.*)$")
    found = [re.findall(pattern, message, re.MULTILINE) for pattern in patterns]
    return "; ".join([*found[0][:1], *found[1][-1:], *found[2][:1]])
