"""What a job sees where it runs: host, granted CPUs and memory, GPUs, the package from the shared folder, and the network."""

import os
import resource
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

SCHEDULERS_CPUS = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS")
CGROUP_FILES = ("memory.max", "memory.limit_in_bytes")  # of version 2, of version 1
UNLIMITED = 1 << 60
NETWORK_S = 4.0


def look(address: str) -> dict:
    """Plain values, ready for JSON. ``address``: one that a download would ask, to see whether the network is open."""
    began = time.time()
    found = {
        "began": began,
        "host": socket.gethostname(),
        "cpus": len(os.sched_getaffinity(0)),
        "cpus_granted": {name: os.environ[name] for name in SCHEDULERS_CPUS if name in os.environ},
        "memory_limit_bytes": memory_limit(),
        "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "python": sys.executable,
        "package": str(Path(__file__).resolve().parents[1]),
        "internet": reaches(address),
    }
    started = time.time()
    try:
        import torch

        gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        found |= {"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}
    except Exception as error:  # a driver that doesn't fit raises its own kinds
        found |= {"torch": None, "cuda": None, "gpus": [], "torch_error": f"{type(error).__name__}: {error}"}
    return found | {"torch_import_s": round(time.time() - started, 2)}


def memory_limit() -> int | None:
    """The smallest limit on this process's memory in bytes, by its cgroups or by h_vmem's kind (address space); None without."""
    limits = [resource.getrlimit(resource.RLIMIT_AS)[0]]
    root = Path("/sys/fs/cgroup")
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers in ("", "memory"):
            folder = root / controllers / place.lstrip("/")
            for each in (folder, *folder.parents):  # a limit of the job stands above its steps
                limits += [int(text) for name in CGROUP_FILES if (text := _text(each / name)).isdigit()]
                if each == root:
                    break
    limits = [limit for limit in limits if 0 < limit < UNLIMITED]
    return min(limits, default=None)


def reaches(address: str) -> bool:
    """Whether a connection to the host of an http(s) address can be made; of a proxy, where one is set."""
    proxy = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY") or ""
    parts = urlsplit(proxy or address)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        with socket.create_connection((parts.hostname, port), timeout=NETWORK_S):
            return True
    except (OSError, TypeError):
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
