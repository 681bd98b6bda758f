"""One CPU and one GPU job of a few seconds, sent through Snakemake and the very profile, and what they saw."""

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
from dataclasses import dataclass, field
from pathlib import Path

from neurocohort.checkout import CHECKOUT
from neurocohort.cluster.asking import ask
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Finding
from neurocohort.cluster.profiles import Profile
from neurocohort.cluster.schedulers import SLURM, SUBMITTED, cancel
from neurocohort.cluster.terminal import size

SNAKEFILE = CHECKOUT / "workflow" / "probe.smk"
CPU, GPU = "cpu", "gpu"
REFUSED = re.compile(r"(?:sbatch: error: |Unable to run job: )(.+)")
RULE = re.compile(r"^rule (cpu|gpu):")
NUMBER = re.compile(r"^ +jobid: (\d+)")
LOOK_S = 0.1
END_S = 90.0  # that Snakemake may take to notice the end of jobs and to leave
CLOCK_S = 2.0  # two machines' clocks may differ by so much without a word


@dataclass
class Sent:
    """A job on its way: the scheduler's ``number``, when it was submitted and seen to be done (time.time()), what it saw."""

    kind: str
    number: str = ""
    submitted: float = 0.0
    shown: float = 0.0
    saw: dict = field(default_factory=dict)


def check_on_cluster(profile: Profile, folder: Path, kinds: list[str], address: str, wait_s: float) -> list[Finding]:
    """Send the jobs of ``kinds`` and tell what became of them; those that have not begun after ``wait_s`` are cancelled.

    ``folder``: the study's, on whose file system they run. ``address``: one that downloads would ask.
    """
    place = Path(tempfile.mkdtemp(prefix="neurocohort-doctor-", dir=folder))
    try:
        run = _Run(profile, place, kinds, address)
        run.follow(wait_s)
        return [finding for kind in kinds for finding in judge_job(run.sent[kind], run, profile, wait_s)]
    except OSError as error:
        said = f"no job can be sent from {folder}: {error}"
        return [Finding(BAD, "jobs sent", said, "give another folder as --directory.")]
    finally:
        shutil.rmtree(place, ignore_errors=True)


class _Run:
    """Snakemake at work on the jobs, its lines read as they come."""

    def __init__(self, profile: Profile, place: Path, kinds: list[str], address: str):
        self.profile, self.place, self.lines = profile, place, []
        self.sent = {kind: Sent(kind) for kind in kinds}
        self.waiting_for = ""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--directory", str(place)]
        command += ["--profile", str(profile.folder), "--retries", "0", "--nocolor"]
        command += ["--config", f"kinds={'+'.join(kinds)}", f"address={address}"]
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("SNAKEMAKE_PROFILE", "NEUROCOHORT_COMMAND")
        }
        self.process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def follow(self, wait_s: float) -> None:
        """Until every job has shown its file, Snakemake has ended, or the wait is over; then nothing of it is left behind."""
        until = time.monotonic() + wait_s
        while self.process.poll() is None and time.monotonic() < until:
            self._look()
            if all(sent.saw for sent in self.sent.values()):
                break
            time.sleep(LOOK_S)
        self._look()
        late = [sent for sent in self.sent.values() if not sent.saw]
        if late and self.process.poll() is None:
            self.waiting_for = "; ".join(filter(None, (_why_waiting(self.profile, sent) for sent in late)))
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.reader.join(LOOK_S * 20)
        cancel(self.profile.executor, {sent.number for sent in late if sent.number})

    def _look(self) -> None:
        for sent in self.sent.values():
            path = self.place / f"{sent.kind}.json"
            # As Snakemake looks: listing the folder would wake a sleepy network file system.
            if not sent.saw and path.exists():
                with suppress(OSError, ValueError):
                    sent.saw, sent.shown = json.loads(path.read_text(encoding="utf-8")), time.time()

    def _read(self) -> None:
        kinds, kind = {}, ""
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if found := RULE.match(line):
                kind = found[1]
            elif found := NUMBER.match(line):
                kinds[found[1]] = kind
            for pattern in SUBMITTED:
                if (found := pattern.search(line)) and kinds.get(found[1]) in self.sent:
                    sent = self.sent[kinds[found[1]]]
                    sent.number, sent.submitted = found[2], time.time()


def judge_job(sent: Sent, run: "_Run", profile: Profile, wait_s: float) -> list[Finding]:
    """The lines on one job."""
    name = f"{sent.kind.upper()} job"
    if not sent.saw and not sent.number:
        fix = f"correct what it names in {profile.folder}; the lines above tell what is there."
        return [Finding(BAD, name, f"isn't submitted: {_refusal(run.lines)}", fix)]
    if not sent.saw and run.process.returncode not in (0, None) and not run.waiting_for:
        fix = f"`{'scontrol show job' if profile.executor == SLURM else 'qacct -j'} {sent.number}` tells more."
        return [Finding(BAD, name, f"failed: {_failure(run.lines, sent.kind)}", fix)]
    if not sent.saw:
        why = run.waiting_for or "nothing"
        said = f"{sent.number} has not begun within {wait_s:g} s and is cancelled; the scheduler says: {why}"
        fix = "wait for longer with --wait, or see the queue: this reason is the scheduler's own."
        return [Finding(BAD, name, said, fix)]
    return [Finding(GOOD, name, described(sent)), *judge_sight(sent)]


def described(sent: Sent) -> str:
    """Where the job ran and what it was granted, in one line."""
    saw = sent.saw
    granted = ", ".join(f"{key} {value}" for key, value in saw["cpus_granted"].items())
    limit = saw["memory_limit_bytes"]
    parts = [
        f"ran on {saw['host']} {max(saw['began'] - sent.submitted, 0):.0f} s after it was submitted",
        f"{saw['cpus']} CPUs to use ({granted or 'the scheduler sets no number'})",
        f"memory limit {size(limit)}" if limit else "no memory limit",
        f"torch imported in {saw['torch_import_s']:g} s",
        f"its file showed here after {_delay(sent)}",
        f"internet: {'yes' if saw['internet'] else 'no'}",
    ]
    if sent.kind == GPU:
        parts.append(f"CUDA_VISIBLE_DEVICES {saw['cuda_visible_devices'] or 'not set'}")
        parts.append(f"torch sees {', '.join(saw['gpus']) or 'no GPU'}")
    return "; ".join(parts)


def judge_sight(sent: Sent) -> list[Finding]:
    """What is wrong with what a job saw."""
    saw, findings = sent.saw, []
    name = f"{sent.kind.upper()} job"
    own = str(CHECKOUT / "workflow" / "neurocohort")
    if saw["package"] != own:
        fix = "keep the checkout on the file system that the nodes share, under the same path there."
        findings.append(Finding(BAD, name, f"took the package from {saw['package']}, and not from {own}", fix))
    if saw["torch"] is None:
        fix = (
            "see its memory limit (h_vmem counts reserved addresses), and whether the node sees the whole environment."
        )
        findings.append(Finding(BAD, name, f"can't import torch: {saw['torch_error']}", fix))
    elif sent.kind == GPU and not saw["gpus"]:
        if not saw["cuda"]:
            why = f"torch {saw['torch']} is built for the CPU alone"
            fix = (
                "`make clean`, then `make demo` without TORCH_INDEX; or set `device: cpu`: no job asks for a GPU then."
            )
        elif not saw["cuda_visible_devices"]:
            why = "the scheduler gave it none"
            fix = "see how GPUs are asked for here (gres; site.yaml's gpu), and whether that queue has some."
        else:
            why = f"torch is built for CUDA {saw['cuda']}, and the node's driver doesn't take it, or there is no device"
            fix = "run nvidia-smi in a job on that queue; ask for a newer driver, or for nodes with another GPU."
        findings.append(Finding(BAD, name, f"was given a GPU and torch sees none: {why}", fix))
    return findings


def not_needed() -> Finding:
    """In place of a GPU job."""
    return Finding(NONE, "GPU job", "not sent: `device: cpu` needs none")


def _delay(sent: Sent) -> str:
    delay = sent.shown - sent.saw["written"]
    if delay < -CLOCK_S:
        return f"a while that can't be told (the node's clock is {-delay:.0f} s ahead)"
    return f"{max(delay, 0):.1f} s"


def _why_waiting(profile: Profile, sent: Sent) -> str:
    """The scheduler's own reason for which a job waits."""
    if not sent.number:
        return ""
    if profile.executor == SLURM:
        told = ask("squeue", "--noheader", f"--jobs={sent.number}", "--format=%T|%r").text
        state, _, reason = told.strip().partition("|")
        return f"job {sent.number} is {state.lower()} ({reason})" if state else ""
    told = ask("qstat", "-j", sent.number).text
    found = re.search(r"^scheduling info: +(.*(?:\n +.*)*)", told, re.MULTILINE)
    reasons = [line.strip() for line in found[1].splitlines()] if found else []
    why = ask("qalter", "-w", "p", sent.number).text if not reasons else ""
    reasons += [line.strip() for line in why.splitlines() if "cannot" in line or "not" in line][:2]
    return f"job {sent.number}: {'; '.join(reasons[:3])}" if reasons else f"job {sent.number} waits"


def _refusal(lines: list[str]) -> str:
    """The scheduler's own words on why it doesn't take a job; else Snakemake's last."""
    found = [match[1].rstrip("'.") for line in lines if (match := REFUSED.search(line))]
    last = [line.strip() for line in lines if line.strip()][-1:]
    return "; ".join(dict.fromkeys(found or last)) or "it says nothing"


def _failure(lines: list[str], kind: str) -> str:
    """Of what a run says of a failed job: how the scheduler says that it ended, the end of its log, and the likely cause."""
    told = "\n".join(lines).partition(f"\n{kind} failed.\n")[2]
    words = re.search(r"^  scheduler: (.*)$", told, re.MULTILINE)
    log = re.findall(r"^  \| (.*)$", told, re.MULTILINE)
    cause = re.search(r"^  likely cause: (.*)$", told, re.MULTILINE)
    parts = [words and words[1], log[-1] if log else None, cause and cause[1]]
    return "; ".join(filter(None, parts)) or _refusal(lines)
