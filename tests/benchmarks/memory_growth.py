"""Memory and speed of a training as its cohort grows: 600 scans resident, 600 and 5,000 streamed from the map.

    python tests/benchmarks/memory_growth.py [--cases 600:resident 600:streamed 5000:streamed] [--shape 64 64 64] [--threads 2]
    python tests/benchmarks/memory_growth.py --device cuda --shape 160 192 160    (23 GiB of disk)

Each case trains a narrow SFCN for one epoch, in a process of its own, on a pack of random volumes in a temporary folder (TMPDIR
says where), which is flushed to the disk and dropped from the page cache first. The narrow network leaves most of the time and
memory to the data. Resident memory is read from /proc while the process trains, in two kinds: ``anonymous`` memory is the
process's own, and what a job is killed for; ``file`` memory is mapped pages (libraries and, read from the map, the pack), which
the kernel drops when somebody needs the room. ``before`` is what the imports left. Scans a second are those of the training
steps; the pass over the scans for their intensity statistics and the validation come on top (``seconds``: all of it). Nothing is
asserted. Dated rows go to tests/benchmarks/results/memory_growth.tsv.
"""

import argparse
import math
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from rows import append_rows
from training_throughput import answer_as_child, context, in_child, new_pack, peaks, sample_rows, train_ours

RESULTS = Path(__file__).resolve().parent / "results" / "memory_growth.tsv"
CHANNELS = [8, 8, 8, 8, 8, 8]
VALIDATION = 4  # scans
KINDS = {"RssAnon": "anonymous", "RssFile": "file"}
EVERY_SECONDS = 0.02
DISK_MARGIN = 1.1
BLOCK_BYTES = 2**26


def resident_mib() -> dict[str, float]:
    """This process's resident memory by `KINDS`, MiB."""
    found = {}
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name in KINDS:
            found[KINDS[name]] = int(value.split()[0]) / 1024
    return found


class Watch:
    """While it is entered, a thread follows `resident_mib`; ``peak`` is the highest of each kind."""

    def __enter__(self) -> "Watch":
        self.peak, self._done = resident_mib(), threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _follow(self) -> None:
        while not self._done.wait(EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        self.peak = {
            kind: max(highest, found)
            for (kind, highest), found in zip(self.peak.items(), resident_mib().values(), strict=True)
        }


def write_pack(folder: str, scans: int, shape: list[int]) -> dict:
    """A pack of random volumes on the disk, and not in the page cache."""
    import numpy as np

    images, _ = new_pack(Path(folder) / "packed", scans, shape)
    rng = np.random.default_rng(1)
    step = max(BLOCK_BYTES // math.prod(shape), 1)
    for start in range(0, scans, step):
        block = images[start : start + step]
        block[:] = rng.integers(0, 256, block.shape, dtype=np.uint8)
    images.flush()
    del images, block
    with (Path(folder) / "packed" / "images.npy").open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return {}


def training(folder: str, scans: int, memory: str, batch: int, workers: int, threads: int, device: str) -> dict:
    """One epoch on the pack: its seconds, and resident memory."""
    import neurocohort.learning.training  # noqa: F401
    import torch

    device = torch.device(device)
    settings = {"task": "regression", "network": "sfcn", "channels": CHANNELS, "epochs": 1, "memory": memory}
    settings |= {"batch_size": batch, "workers": workers, "threads": threads}
    before, started = resident_mib(), time.perf_counter()
    with Watch() as watch:
        steps_seconds = sum(train_ours(Path(folder) / "packed", sample_rows(scans, VALIDATION), settings, device))
    seconds = time.perf_counter() - started
    found = {f"{kind}_before_mib": round(value) for kind, value in before.items()}
    found |= {f"{kind}_peak_mib": round(value) for kind, value in watch.peak.items()}
    return found | {"scans_per_second": round(scans / steps_seconds, 2), "seconds": round(seconds, 1)} | peaks(device)


ACTIONS = {"pack": write_pack, "training": training}


def measure(options: argparse.Namespace) -> list[dict]:
    """A row a case."""
    cases = [(int(scans), memory) for scans, memory in (case.split(":") for case in options.cases)]
    largest = (max(scans for scans, _ in cases) + VALIDATION) * math.prod(options.shape)
    with tempfile.TemporaryDirectory(prefix="memory_growth_") as root:
        free = shutil.disk_usage(root).free
        print(f"the largest pack needs {largest / 2**30:.1f} GiB of the {free / 2**30:.1f} GiB that are free in {root}")
        if largest * DISK_MARGIN > free:
            sys.exit("error: that is too little: take a smaller --shape, fewer scans, or set TMPDIR to a larger disk.")
        rows = []
        for scans, memory in cases:
            folder = Path(root) / f"{scans}_{memory}"
            folder.mkdir()
            in_child(__file__, "pack", {"folder": str(folder), "scans": scans + VALIDATION, "shape": options.shape}, 1)
            values = {name: getattr(options, name) for name in ("batch", "workers", "threads", "device")}
            values |= {"scans": scans, "memory": memory}
            found = in_child(__file__, "training", {"folder": str(folder)} | values, options.threads)
            pack_mib = round(scans * math.prod(options.shape) / 2**20)
            rows.append(values | {"shape": "x".join(map(str, options.shape)), "pack_mib": pack_mib} | found | context())
            shutil.rmtree(folder)
    return rows


def show(rows: list[dict]) -> None:
    """A line a row."""
    names = (
        "scans",
        "memory",
        "pack_mib",
        "anonymous_before_mib",
        "anonymous_peak_mib",
        "file_before_mib",
        "file_peak_mib",
    )
    names += ("peak_mib", "device_peak_mib", "scans_per_second", "seconds")
    print("  ".join(names))
    for row in rows:
        print("  ".join(f"{row.get(name, '')!s:>{len(name)}}" for name in names))


def main() -> None:
    if answer_as_child(ACTIONS):
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cases = ["600:resident", "600:streamed", "5000:streamed"]
    parser.add_argument("--cases", nargs="+", default=cases, help="scans and memory (resident, streamed or auto)")
    parser.add_argument("--shape", type=int, nargs=3, default=[64, 64, 64], help="of a volume, in voxels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    rows = measure(parser.parse_args())
    show(rows)
    append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
