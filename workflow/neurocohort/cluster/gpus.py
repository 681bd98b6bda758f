"""This machine's GPUs and their driver, from nvidia-smi."""

from typing import NamedTuple

from neurocohort.cluster.asking import ask

QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits")
ANSWER_S = 6.0


class Gpu(NamedTuple):
    """A GPU: its name, the driver's version, and its memory in MiB."""

    name: str
    driver: str
    memory_mib: int


def gpus_here() -> list[Gpu]:
    """The GPUs; none if nvidia-smi isn't installed or doesn't answer."""
    answer = ask(*QUERY, seconds=ANSWER_S)
    rows = [line.rsplit(", ", 2) for line in answer.text.splitlines() if line.count(", ") >= 2 and not answer.fault]
    return [Gpu(name, driver, int(memory)) for name, driver, memory in rows if memory.isdigit()]
