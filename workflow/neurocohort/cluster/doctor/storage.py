"""The file system of a study: its kind, whether compute nodes share it, its latency, its locks, and its free space."""

import fcntl
import getpass
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from neurocohort.cluster.asking import ask
from neurocohort.cluster.doctor.findings import BAD, GOOD, Finding
from neurocohort.cluster.planning.disk import files_needed, needs
from neurocohort.cluster.planning.study import Study
from neurocohort.text import size

SHARED = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "fuse.glusterfs", "panfs", "wekafs", "pvfs2"}
SHARED |= {"afs", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.cephfs", "virtiofs"}
MEMORY = ("tmpfs", "ramfs")
OWN_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # every machine has its own
FILES = 12
FILE_BYTES = 4096
LATENCY_S = 2.0  # after which no more files are written
SLOW_MS = 500.0  # a study has thousands of small files, each with several such waits
QUOTA_S = 1.0
COUNT_S = 4.0
BLOCK = 1024  # the unit of `quota` and `lfs quota`


class Mount(NamedTuple):
    """A mounted file system: its kind (ext4, nfs4, lustre ...), where it is mounted, and from what."""

    kind: str
    place: str
    source: str


def mount_of(folder: Path, mounts: str | None = None) -> Mount:
    """The file system of ``folder``. ``mounts``: the text of /proc/self/mountinfo, if it isn't to be read."""
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8") if mounts is None else mounts
    folder, found = folder.resolve(), Mount("unknown", "/", "")
    for line in text.splitlines():
        place, (kind, source) = line.split()[4].replace("\\040", " "), line.split(" - ")[1].split()[:2]
        if folder.is_relative_to(place) and len(place) >= len(found.place):
            found = Mount(kind, place, source)
    return found


def check_kind(
    folder: Path, scheduler: str, is_single_node: Callable[[], bool], mounts: str | None = None
) -> list[Finding]:
    """Whether compute nodes can see the study's folder.

    Args:
        folder: The study's folder.
        scheduler: The scheduler's name; empty without one.
        is_single_node: Whether this machine is its only node.
        mounts: The text of /proc/self/mountinfo, if it isn't to be read.
    """
    kind, mount, _ = mount_of(folder, mounts)
    found, name = f"{folder} is on {kind} ({mount})", "file system"
    if not scheduler or kind in SHARED:
        return [Finding(GOOD, name, found + (", which nodes can share" if kind in SHARED and scheduler else ""))]
    if is_single_node():
        return [Finding(GOOD, name, f"{found}; this machine is the only node of {scheduler}")]
    own = next((each for each in OWN_FOLDERS if str(folder.resolve()).startswith(f"{each}/")), "")
    if kind in MEMORY or own:
        why = f"each machine has a {own} of its own" if own else "that is this machine's memory"
        fix = "run in a folder of the cluster's shared file system (home, scratch, project), or give it as --directory."
        return [Finding(BAD, name, f"{found}: {why}, and the nodes of {scheduler} don't see this one", fix)]
    return [
        Finding(GOOD, name, f"{found}: a local kind, which nodes see if this machine exports it (--cluster tests that)")
    ]


def check_latency(folder: Path) -> list[Finding]:
    """The time to write, sync, rename and read a small file: median and maximum of several, in ms; and whether locks work."""
    times: list[float] = []
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix=".neurocohort-", dir=folder) as place:
            while len(times) < FILES and time.monotonic() - started < LATENCY_S:
                times.append(_one_file(Path(place), len(times)))
            locks = _locks(Path(place))
    except OSError as error:
        fix = "give a folder that you may write to as --directory."
        return [Finding(BAD, "latency", f"no file can be written in {folder}: {error.strerror}", fix)]
    median, largest = statistics.median(times), max(times)
    found = f"{median:.1f} ms for a small file (written, synced, renamed, read), "
    found += f"{largest:.1f} ms at most of {len(times)}; {locks}"
    if median > SLOW_MS:
        fix = "a study has tens of thousands of small files: use the cluster's scratch file system, or try when it is less busy."
        return [Finding(BAD, "latency", found, fix)]
    return [Finding(GOOD, "latency", found)]


def check_room(study: Study, jobs: int, free_bytes: int | None = None) -> list[Finding]:
    """Free space, files and quota against what the study still needs.

    Args:
        study: The study.
        jobs: Trainings that run at a time.
        free_bytes: Free space, if it isn't to be measured.
    """
    folder, parts = study.directory, needs(study, jobs, COUNT_S)
    needed, peak = sum(part.to_come for part in parts), sum(part.peak for part in parts)
    free = shutil.disk_usage(folder).free if free_bytes is None else free_bytes
    found = f"{size(free)} free, and the study still needs about {size(needed)} of the {size(peak)} that it uses at its peak"
    findings = [Finding(GOOD, "disk", found)]
    if free < needed:
        fix = f"free {size(needed - free)}, or run on a larger disk with --directory; `neurocohort plan` shows what needs it."
        findings = [Finding(BAD, "disk", found, fix)]
    status, files = os.statvfs(folder), files_needed(study)
    if status.f_files and status.f_favail < files:
        found = f"{status.f_favail} more files fit on this file system, and the study makes about {files}"
        fix = "ask for more inodes, or use another file system with --directory."
        findings.append(Finding(BAD, "files", found, fix))
    return [*findings, *quota_findings(folder, needed, files)]


def quota_findings(folder: Path, needed_bytes: float, needed_files: int) -> list[Finding]:
    """This user's quota on the folder's file system, if `quota` and `lfs quota` answer at once."""
    mount = mount_of(folder)
    commands: list[tuple[str, ...]] = [("quota", "-w", "-p")]
    if mount.kind == "lustre":
        commands.append(("lfs", "quota", "-q", "-u", getpass.getuser(), mount.place))
    texts = [ask(*command, seconds=QUOTA_S).text for command in commands]
    names = mount.source, mount.place
    return [finding for text in texts for finding in judge_quota(text, names, needed_bytes, needed_files)]


def judge_quota(text: str, names: tuple[str, ...], needed_bytes: float, needed_files: int) -> list[Finding]:
    """The lines of a quota's output about the file system with one of ``names``.

    Their columns: name; kB used (with * if too many), soft and hard limit, grace; files used, soft and hard limit, grace. A
    limit of 0 is none.
    """
    findings = []
    for line in text.splitlines():
        name, *words = line.split() or [""]
        numbers = [int(word.rstrip("*")) for word in words if word.rstrip("*").isdigit()]
        if name not in names or len(numbers) < 6:
            continue
        second = 4 if len(numbers) == 8 else 3  # lfs writes - if there is no grace
        left_bytes, left_files = _left(numbers[:3]), _left(numbers[second : second + 3])
        if left_bytes is not None:
            findings.append(_quota(name, left_bytes * BLOCK, needed_bytes, size))
        if left_files is not None:
            findings.append(_quota(name, left_files, needed_files, lambda count: f"{count:.0f} files"))
    return findings


def _left(numbers: list[int]) -> int | None:
    """What is left of a quota (used, soft and hard limit); None if there is no limit."""
    used, soft, hard = numbers
    return max((soft or hard) - used, 0) if soft or hard else None


def _quota(name: str, left: float, needed: float, in_words: Callable[[float], str]) -> Finding:
    found = f"you have {in_words(left)} left on {name}, and about {in_words(needed)} are needed"
    if left >= needed:
        return Finding(GOOD, "quota", found)
    return Finding(
        BAD, "quota", found, "ask for a larger quota, delete files, or run on another file system with --directory."
    )


def _one_file(place: Path, number: int) -> float:
    """Milliseconds for one file."""
    aside, path, content = place / f".{number}", place / str(number), os.urandom(FILE_BYTES)
    started = time.perf_counter()
    with open(aside, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(aside, path)
    if path.read_bytes() != content:
        raise OSError(0, "a file has other content than was written to it")
    return 1000 * (time.perf_counter() - started)


def _locks(place: Path) -> str:
    """Whether flock works: downloads use it if it does."""
    try:
        with open(place / "lock", "wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return "locks don't work there (don't download from two machines at once)"
    return "locks work"
