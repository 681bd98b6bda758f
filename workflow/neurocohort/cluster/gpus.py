"""What nvidia-smi says of this machine's GPUs and their driver; nothing where it isn't installed or doesn't answer."""

import subprocess
from typing import NamedTuple

QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits")
ASK_S = 6.0


class Gpu(NamedTuple):
    name: str
    driver: str
    memory_mib: int


def gpus_here() -> list[Gpu]:
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.rsplit(", ", 2) for line in done.stdout.splitlines() if line.count(", ") >= 2]
    return (
        [Gpu(name, driver, int(memory)) for name, driver, memory in rows if memory.isdigit()]
        if not done.returncode
        else []
    )
