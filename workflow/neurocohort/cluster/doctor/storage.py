"""The file system of a study: its kind, whether compute nodes can share it, its latency, its locks, and room for the study."""

import fcntl
import getpass
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from neurocohort.cluster.doctor.findings import BAD, GOOD, Finding
from neurocohort.cluster.planning.disk import files_needed, needs
from neurocohort.cluster.planning.study import Study
from neurocohort.cluster.terminal import size

SHARED = (
    "nfs",
    "nfs4",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "glusterfs",
    "fuse.glusterfs",
    "panfs",
    "wekafs",
    "pvfs2",
    "afs",
)
SHARED += ("cifs", "smb3", "9p", "fuse.sshfs", "fuse.cephfs", "virtiofs")
MEMORY = ("tmpfs", "ramfs")
OWN_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # each machine has its own
FILES = 12
FILE_BYTES = 4096
LATENCY_S = 2.0  # after which no further file is written
SLOW_MS = 500.0  # thousands of small files, each of several such waits
QUOTA_S = 1.0
COUNT_S = 4.0
BLOCK = 1024  # the unit of `quota` and `lfs quota`


class Mount(NamedTuple):
    """``kind`` of file system (ext4, nfs4, lustre ...), where it is mounted, and from what."""

    kind: str
    place: str
    source: str


def mount_of(folder: Path, mounts: str | None = None) -> Mount:
    """What ``folder`` lies on. ``mounts``: the text of /proc/self/mountinfo."""
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8") if mounts is None else mounts
    folder, found = folder.resolve(), Mount("unknown", "/", "")
    for line in text.splitlines():
        place, (kind, source) = line.split()[4].replace("\\040", " "), line.split(" - ")[1].split()[:2]
        if folder.is_relative_to(place) and len(place) >= len(found.place):
            found = Mount(kind, place, source)
    return found


def check_kind(folder: Path, scheduler: str, own_nodes: Callable[[], bool], mounts: str | None = None) -> list[Finding]:
    """Whether compute nodes can see the study's folder. ``scheduler``: its name, empty without one. ``own_nodes``: whether this
    machine is its only node."""
    kind, mount, _ = mount_of(folder, mounts)
    said = f"{folder} is on {kind} ({mount})"
    name = "file system"
    if not scheduler or kind in SHARED:
        return [Finding(GOOD, name, said + (", which nodes can share" if kind in SHARED and scheduler else ""))]
    if own_nodes():
        return [Finding(GOOD, name, f"{said}; this machine is the only node of {scheduler}")]
    own = next((each for each in OWN_FOLDERS if str(folder.resolve()).startswith(f"{each}/")), "")
    if kind in MEMORY or own:
        why = f"each machine has a {own} of its own" if own else "that is this machine's memory"
        fix = "run in a folder of the cluster's shared file system (home, scratch, project), or give it as --directory."
        return [Finding(BAD, name, f"{said}: {why}, and the nodes of {scheduler} don't see this one", fix)]
    return [Finding(GOOD, name, f"{said}: a local kind, which nodes see if this machine exports it (--cluster tries)")]


def check_latency(folder: Path) -> list[Finding]:
    """How long it takes to write, sync, rename and read back a small file: the median and the largest of some, in ms."""
    times: list[float] = []
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix=".neurocohort-", dir=folder) as place:
            while len(times) < FILES and time.monotonic() - began < LATENCY_S:
                times.append(_one_file(Path(place), len(times)))
            locks = _locks(Path(place))
    except OSError as error:
        fix = "give a folder that you may write to as --directory."
        return [Finding(BAD, "latency", f"no file can be written in {folder}: {error.strerror}", fix)]
    median, largest = statistics.median(times), max(times)
    said = f"{median:.1f} ms for a small file (written, synced, renamed, read), {largest:.1f} ms at most of {len(times)}; {locks}"
    if median > SLOW_MS:
        fix = "a study has tens of thousands of small files: use the cluster's scratch file system, or try when it is less busy."
        return [Finding(BAD, "latency", said, fix)]
    return [Finding(GOOD, "latency", said)]


def check_room(
    study: Study, jobs: int, free_bytes: int | None = None, needed_bytes: float | None = None
) -> list[Finding]:
    """Free disk, files and quota against what the study still needs (or ``free_bytes``, ``needed_bytes`` in their place)."""
    folder = study.directory
    parts = needs(study, jobs, COUNT_S)
    needed = sum(part.to_come for part in parts) if needed_bytes is None else needed_bytes
    free = shutil.disk_usage(folder).free if free_bytes is None else free_bytes
    whole = sum(part.peak for part in parts)
    said = f"{size(free)} free, and the study still needs about {size(needed)} of the {size(whole)} that it takes at its peak"
    findings = [Finding(GOOD, "disk", said)]
    if free < needed:
        fix = f"free {size(needed - free)}, or run in a larger place with --directory; `neurocohort plan` tells what takes it."
        findings = [Finding(BAD, "disk", said, fix)]
    status = os.statvfs(folder)
    files = files_needed(study)
    if status.f_files and status.f_favail < files:
        found = f"{status.f_favail} more files fit on this file system, and the study makes about {files}"
        findings.append(
            Finding(BAD, "files", found, "ask for more inodes, or use another file system with --directory.")
        )
    return [*findings, *quota_findings(folder, needed, files)]


def quota_findings(folder: Path, needed_bytes: float, needed_files: int) -> list[Finding]:
    """What `quota` and `lfs quota` say of this user on the folder's file system, where they answer at once."""
    mount = mount_of(folder)
    commands = [["quota", "-w", "-p"]]
    if mount.kind == "lustre":
        commands.append(["lfs", "quota", "-q", "-u", getpass.getuser(), mount.place])
    findings = []
    for command in commands:
        with suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, text=True, timeout=QUOTA_S)
            findings += judge_quota(done.stdout, (mount.source, mount.place), needed_bytes, needed_files)
    return findings


def judge_quota(text: str, names: tuple[str, ...], needed_bytes: float, needed_files: int) -> list[Finding]:
    """The lines of a quota's output on the file system of one of ``names``: its name, kB used (with * where too many), soft and
    hard limit, grace, files used, soft and hard limit, grace. A limit of 0 is none."""
    findings = []
    for line in text.splitlines():
        name, *words = line.split() or [""]
        numbers = [int(word.rstrip("*")) for word in words if word.rstrip("*").isdigit()]
        if name not in names or len(numbers) < 6:
            continue
        disk, files = (
            numbers[:3],
            numbers[4:7] if len(numbers) == 8 else numbers[3:6],
        )  # lfs writes - where there is no grace
        told = (
            (disk, BLOCK, needed_bytes, lambda count: size(count)),
            (files, 1, needed_files, lambda count: f"{count:.0f} files"),
        )
        for (used, soft, hard), unit, needed, words_for in told:
            if limit := soft or hard:
                left = max(limit - used, 0) * unit
                fix = (
                    ""
                    if left >= needed
                    else "ask for more quota, clear up, or run on another file system with --directory."
                )
                said = f"{words_for(left)} are left to you on {name}, and about {words_for(needed)} are needed"
                findings.append(Finding(BAD if fix else GOOD, "quota", said, fix))
    return findings


def _one_file(place: Path, number: int) -> float:
    """Milliseconds for one file."""
    aside, path, content = place / f".{number}", place / str(number), os.urandom(FILE_BYTES)
    began = time.perf_counter()
    with open(aside, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(aside, path)
    if path.read_bytes() != content:
        raise OSError(0, "a file that was written there reads otherwise")
    return 1000 * (time.perf_counter() - began)


def _locks(place: Path) -> str:
    """Whether flock works: the downloads use it where it does."""
    try:
        with open(place / "lock", "wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return "locks don't work there (don't download from two machines at once)"
    return "locks work"
