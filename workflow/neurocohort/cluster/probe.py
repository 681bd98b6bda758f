"""What a job finds where it runs: host, CPUs and memory, GPUs, the package in the shared folder, and the network."""

import os
import resource
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

CPU_VARIABLES = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS")
CGROUP_FILES = ("memory.max", "memory.limit_in_bytes")  # of version 2, of version 1
UNLIMITED = 1 << 60
NETWORK_S = 4.0


@dataclass(frozen=True)
class Torch:
    """The installed torch.

    Args:
        version: None if it can't be imported.
        cuda: The CUDA version that it is built for; None for the CPU only.
        gpus: The GPUs that it can use, by name.
        error: Why it can't be imported.
        import_s: Seconds that the import took.
    """

    version: str | None
    cuda: str | None
    gpus: list[str]
    error: str
    import_s: float


@dataclass(frozen=True)
class Sight:
    """What a job found.

    Args:
        started: When it started, in seconds since 1970, by its node's clock.
        written: When it had finished, likewise.
        host: Its node.
        cpus: CPUs that it may use.
        cpus_granted: The scheduler's environment variables that state a number of CPUs.
        memory_limit_bytes: None if there is no limit.
        cuda_visible_devices: The environment variable; None if it isn't set.
        package: The folder of the neurocohort that it imported.
        internet: Whether it reached the network.
        torch: Its torch.
    """

    started: float
    written: float
    host: str
    cpus: int
    cpus_granted: dict[str, str]
    memory_limit_bytes: int | None
    cuda_visible_devices: str | None
    package: str
    internet: bool
    torch: Torch


def look(address: str) -> Sight:
    """Look around, on the node of this process. ``address``: one that a download would use, to test the network."""
    started = time.time()
    return Sight(
        started=started,
        host=socket.gethostname(),
        cpus=len(os.sched_getaffinity(0)),
        cpus_granted={name: os.environ[name] for name in CPU_VARIABLES if name in os.environ},
        memory_limit_bytes=memory_limit(),
        cuda_visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        package=str(Path(__file__).resolve().parents[1]),
        internet=reaches(address),
        torch=_torch(),
        written=time.time(),
    )


def memory_limit() -> int | None:
    """The smallest limit on this process's memory in bytes, by its cgroups or by its address space (h_vmem); None without."""
    limits = [resource.getrlimit(resource.RLIMIT_AS)[0]]
    root = Path("/sys/fs/cgroup")
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers in ("", "memory"):
            folder = root / controllers / place.lstrip("/")
            for each in (folder, *folder.parents):  # the limit of a job is set above its steps
                limits += [int(text) for name in CGROUP_FILES if (text := _text(each / name)).isdigit()]
                if each == root:
                    break
    return min((limit for limit in limits if 0 < limit < UNLIMITED), default=None)


def reaches(address: str) -> bool:
    """Whether a connection to the host of an http(s) address, or to the proxy if one is set, can be made."""
    proxy = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY") or ""
    parts = urlsplit(proxy or address)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=NETWORK_S):
            return True
    except OSError:
        return False


def _torch() -> Torch:
    started = time.time()
    try:
        import torch

        gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return Torch(torch.__version__, torch.version.cuda, gpus, "", round(time.time() - started, 2))
    except Exception as error:  # a driver that doesn't fit raises many kinds
        return Torch(None, None, [], f"{type(error).__name__}: {error}", round(time.time() - started, 2))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
