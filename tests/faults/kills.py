"""Kills a run's whole process tree with SIGKILL at random moments, types the same command again, and compares all results with
those of a run that was left alone:

    python tests/faults/kills.py 5
    python tests/faults/kills.py 20 --during preprocess-batch --begin ingest --target preprocess
    python tests/faults/kills.py 20 --kills 5 --configfile tests/studies/smallest.yaml tests/studies/smallest_control.yaml

The last kills the run of each try five times, each time after the command was typed again. It prints a row of the table of
faults: kind, kills, tries, survived, lost, command. The exit status is 1 where a try was lost.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from checkouts import copy_checkout  # noqa: E402

COMPARED = ("checkpoints", "data", "resources", "results", "splits")
LEFT_OVER = re.compile(r"\..+\.\d+\..+|.*\.(part|tmp|unreadable)")  # names of files that are being written
NOT_RESULTS = (".snakemake_timestamp", "probabilities.npy")  # the latter is deleted once it was used
# What a file holds of the run itself: how long its jobs took, how much memory, and the command. None: it holds hashes of those.
OF_THE_RUN = {
    r"run\.json": r'"(training_seconds|scans_per_second)": [^,}\n]+',
    r"index\.html": r"(?m)^.*(data-value=\"[\d.]+\">[\d.,]+ MB<|snakemake (--|results/)).*\n",
    r"provenance\.json|ro-crate-metadata\.json|report\.zip": None,
}
DATE = "1700000000"  # of the reports
SMALLEST = "tests/studies/smallest.yaml"
EARLY_S = 3.0  # of a run, in which Snakemake only starts


@dataclass
class Try:
    """A study whose run was killed. ``wrong``: what the run that followed did not bring back; empty where it survived."""

    moments: list[str]
    wrong: list[str] = field(default_factory=list)


class Study:
    """A copy of the checkout in ``folder``, always at the same path, and the command that a user types in it, for ``targets``."""

    def __init__(self, folder: Path, configfiles: list[str], cores: int = 2, targets: tuple[str, ...] = ()):
        self.folder, self.begun = folder, folder.with_name(f"{folder.name}-begun")
        self.path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.command = ["snakemake", *targets, "--cores", str(cores), "--quiet", "rules", "--configfile", *configfiles]

    def fresh(self) -> None:
        """Go back to where nothing has run, or to what `begin` left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.begun.is_dir():
            subprocess.run(["cp", "-a", str(self.begun), str(self.folder)], check=True)
        else:
            self.folder.mkdir(parents=True)
            copy_checkout(REPOSITORY, self.folder)

    def begin(self, target: str) -> None:
        """Run up to ``target``; every try begins there."""
        self.fresh()
        done = self.run(target)
        if done.returncode:
            raise SystemExit(f"the run up to {target} failed: {done.stdout}{done.stderr}")
        self.folder.rename(self.begun)

    def start(self) -> subprocess.Popen:
        """Begin a run; what it prints goes to run.txt."""
        environment = os.environ | {"PATH": self.path, "SOURCE_DATE_EPOCH": DATE}
        environment.pop("NEUROCOHORT_COMMAND", None)
        with open(self.folder / "run.txt", "ab") as said:
            return subprocess.Popen(
                self.command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )

    def finish(self) -> int:
        return self.start().wait()

    def run(self, *targets: str) -> subprocess.CompletedProcess:
        """Type the command for other ``targets`` and return what it printed."""
        command = ["snakemake", *targets, *self.command[self.command.index("--cores") :]]
        environment = os.environ | {"PATH": self.path, "SOURCE_DATE_EPOCH": DATE}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def end_of_output(self) -> str:
        return (self.folder / "run.txt").read_text(errors="replace")[-2000:]

    def hashes(self) -> dict[str, str]:
        """By path, the sha256 of every file that a run leaves."""
        files = (path for name in COMPARED for path in sorted((self.folder / name).rglob("*")) if path.is_file())
        return {str(path.relative_to(self.folder)): _hash(path) for path in files if path.name not in NOT_RESULTS}

    def left_over(self) -> list[str]:
        files = (path for name in COMPARED for path in (self.folder / name).rglob("*"))
        return [str(path.relative_to(self.folder)) for path in files if LEFT_OVER.fullmatch(path.name)]


def _hash(path: Path) -> str:
    content = path.read_bytes()
    for name, of_the_run in OF_THE_RUN.items():
        if re.fullmatch(name, path.name):
            content = re.sub(of_the_run, "", content.decode()).encode() if of_the_run else b""
    return hashlib.sha256(content).hexdigest()


def kill_tree(main: subprocess.Popen) -> None:
    """SIGKILL to a process and all its descendants, which are stopped first so that none begins another."""
    tree = [psutil.Process(main.pid)]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in tree:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        tree = [tree[0], *_children(tree[0])] if number == signal.SIGSTOP else tree
        if number == signal.SIGSTOP:
            for process in tree[1:]:
                _stop(process)
            tree = [tree[0], *_children(tree[0])]
    main.wait()
    psutil.wait_procs(tree[1:], timeout=10)


def _stop(process: psutil.Process) -> None:
    try:
        process.suspend()
    except psutil.NoSuchProcess:
        return


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for(main: subprocess.Popen, subcommand: str) -> bool:
    """Wait until a job runs ``neurocohort <subcommand>``; False where the run ends before."""
    while main.poll() is None:
        for process in _children(psutil.Process(main.pid)):
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if subcommand in words and any(Path(word).name == "neurocohort" for word in words):
                return True
        time.sleep(0.05)
    return False


def one_kill(study: Study, longest: float, during: str, chance: random.Random) -> str:
    """Type the command, kill its tree at a random moment before ``longest`` seconds, and return that moment; an empty text
    where the run ended before."""
    main = study.start()
    if during and not wait_for(main, during):
        return ""
    wait = chance.uniform(0 if during else EARLY_S, longest)
    try:
        main.wait(wait)
    except subprocess.TimeoutExpired:
        kill_tree(main)
        return f"{wait:.1f} s after the start" + (f" of {during}" if during else "")
    return ""


def one_try(study: Study, reference: dict, kills: int, during: str, chance: random.Random) -> Try:
    """Start from nothing, kill ``kills`` times, run again to the end, compare."""
    study.fresh()
    longest = reference["seconds"] if during else max(reference["seconds"] * min(1, 2 / kills), 2 * EARLY_S)
    moments = [one_kill(study, longest, during, chance) for _ in range(kills)]
    found, expected = Try([moment for moment in moments if moment]), reference["hashes"]
    if study.finish():
        found.wrong.append(f"the command that was typed again failed: {study.end_of_output()}")
    after = study.hashes()
    for path in sorted(expected.keys() | after.keys()):
        if expected.get(path) != after.get(path):
            found.wrong.append(
                f"{path} {'differs' if path in expected and path in after else 'is missing' if path in expected else 'is new'}"
            )
    return Try(found.moments, found.wrong + [f"{path} is left over" for path in study.left_over()])


def main() -> int:
    """Run the tries that the command line asks for, and print the row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("tries", type=int)
    parser.add_argument("--kills", type=int, default=1, help="how often each try's run is killed")
    parser.add_argument(
        "--during", default="", metavar="SUBCOMMAND", help="kill while a job runs it, e.g. preprocess-batch"
    )
    parser.add_argument("--configfile", nargs="+", default=[SMALLEST])
    parser.add_argument("--begin", default="", metavar="TARGET", help="what is made before the tries, and not killed")
    parser.add_argument("--target", nargs="+", default=[], help="what is made; everything if not given")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if not given")
    parser.add_argument("--reference", type=Path, help="a JSON file that keeps the undisturbed run's hashes")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    study = Study(folder / "study", given.configfile, given.cores, tuple(given.target))
    if given.begin and not study.begun.is_dir():
        study.begin(given.begin)
    reference = undisturbed(study, given.during, given.reference)
    chance = random.Random(given.seed)
    lost = killed = 0
    for number in range(1, given.tries + 1):
        found = one_try(study, reference, given.kills, given.during, chance)
        lost += bool(found.wrong)
        killed += len(found.moments)
        killed_at = ", ".join(found.moments) or "never, it ended before"
        print(f"try {number}: killed {killed_at}: {'; '.join(found.wrong[:10]) or 'survived'}", flush=True)
    if not given.folder:
        shutil.rmtree(folder, ignore_errors=True)
    print(row(given, killed, lost))
    return 1 if lost else 0


def row(given: argparse.Namespace, killed: int, lost: int) -> str:
    kind = "SIGKILL of the whole tree " + (f"during {given.during}" if given.during else "at a random moment")
    options = f" --kills {given.kills}" if given.kills > 1 else ""
    options += f" --seed {given.seed}" if given.seed != 1 else ""
    options += f" --during {given.during}" if given.during else ""
    options += f" --begin {given.begin}" if given.begin else ""
    options += f" --target {' '.join(given.target)}" if given.target else ""
    options += f" --configfile {' '.join(given.configfile)}" if given.configfile != [SMALLEST] else ""
    command = f"`.venv/bin/python tests/faults/kills.py {given.tries}{options}`"
    return f"| {kind} | {killed} | {given.tries} | {given.tries - lost} | {lost} | {command} |"


def undisturbed(study: Study, during: str, kept: Path | None) -> dict:
    """``hashes`` of a run that is left alone, and ``seconds`` in which a try is killed: the run's, or those of a job of
    ``during``."""
    if kept and kept.is_file():
        return json.loads(kept.read_text())
    study.fresh()
    began = time.monotonic()
    if study.finish():
        raise SystemExit(f"the undisturbed run failed: {study.end_of_output()}")
    seconds = time.monotonic() - began
    if during:
        found = study.folder.glob(f"benchmarks/{during.split('-')[0]}/**/*.tsv")
        seconds = max(float(path.read_text().splitlines()[1].split("\t")[0]) for path in found)
    reference = {"hashes": study.hashes(), "seconds": seconds}
    if left := study.left_over():
        raise SystemExit(f"the undisturbed run leaves {', '.join(left)}")
    if kept:
        kept.write_text(json.dumps(reference))
    return reference


if __name__ == "__main__":
    sys.exit(main())
