"""Free memory for data, on a GPU or within the limit of a CPU job."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

LIMIT_FILES = ("memory.max", "memory.limit_in_bytes")  # of control groups, versions 2 and 1


def free_memory(device: torch.device) -> int:
    """Free bytes on ``device``; on a CPU within the limits of the process's control groups."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    # A cluster job sees the memory of the whole node, but is killed at its own limit.
    for file in _limit_files():
        granted = file.read_text().strip()
        if granted.isdigit():  # not for `max`, which is no limit
            memory = psutil.Process().memory_info()
            free = min(
                free, int(granted) - (memory.rss - memory.shared)
            )  # mapped files are released when memory is short
    return max(free, 0)


def _limit_files() -> Iterator[Path]:
    """The limits of this process's control groups and of their parents."""
    listed = Path("/proc/self/cgroup")
    for line in listed.read_text().splitlines() if listed.is_file() else ():
        _, controllers, name = line.split(":", 2)
        if "memory" in controllers.split(",") or not controllers:
            root = Path("/sys/fs/cgroup") / ("memory" if controllers else "")
            group = root / name.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(root):
                    yield from (folder / file for file in LIMIT_FILES if (folder / file).is_file())
