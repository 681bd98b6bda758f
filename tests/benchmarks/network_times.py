"""Seconds of one core that each network takes for a scan: in a training step, augmentation and all, and at a look.

    python tests/benchmarks/network_times.py [--network sfcn unet]

Every network has its own channels, and those of the demo the demo's too; each is timed in a process of its own on random volumes,
by CPU time, so that a busy machine does little harm. Nothing is asserted. Dated rows go to
tests/benchmarks/results/network_times.tsv, to which plan_rates.py fits its lines.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import training_throughput
from neurocohort.architectures import ARCHITECTURES
from rows import append_rows
from training_throughput import answer_as_child, context, in_child, new_pack, sample_rows, train_ours

RESULTS = Path(__file__).resolve().parent / "results" / "network_times.tsv"
NETWORKS = {name: one.tasks[0] for name, one in ARCHITECTURES.items()}
NARROW = {"sfcn": [4, 8, 16, 32, 32, 32], "unet": [8, 16, 32]}  # the demo's channels
SHAPES = ([64, 64, 64], [80, 96, 80])
OF_32 = ([64, 64, 64], [64, 96, 64])  # of networks whose sides must be multiples of 32
OWN_SHAPES = {"resencunet": OF_32, "swinunetr": OF_32}
EPOCHS, SCANS, LOOKS = 4, 2, 5


def train_steps(folder: str, settings: dict, shape: list[int]) -> dict:
    """Of a scan, in the best epoch after the first."""
    import torch

    training_throughput.now = lambda device: time.process_time()
    images, labels = new_pack(Path(folder) / "packed", SCANS + 1, shape)
    rng = np.random.default_rng(1)
    for row in range(SCANS + 1):
        images[row] = rng.integers(0, 256, images[row].shape, dtype=np.uint8)
        labels[row] = rng.integers(0, 4, shape, dtype=np.uint8)
    samples = sample_rows(SCANS, 1)
    epochs = train_ours(Path(folder) / "packed", samples, settings, torch.device("cpu"))
    return {"seconds": min(epochs[1:]) / SCANS}


def look(settings: dict, shape: list[int]) -> dict:
    """Of a scan alone in its batch, as a prediction is made, the best of some."""
    import torch
    from neurocohort.learning.networks import build_network
    from neurocohort.learning.precision import choose_precision, set_up_torch
    from neurocohort.learning.settings import read_settings
    from neurocohort.learning.windows import network_outputs

    read, device = read_settings(settings), torch.device("cpu")
    precision = choose_precision(read, device)
    set_up_torch(1, device, precision.name)
    outputs = 4 if read.task == "segmentation" else 40
    network = precision.to_memory_format(build_network(read.network, read.channels or None, outputs).eval())
    inputs, seconds = precision.to_memory_format(torch.randn(1, 1, *shape)), []
    with torch.inference_mode():
        for _ in range(1 + LOOKS):
            started = time.process_time()
            network_outputs(network, inputs, read)
            seconds.append(time.process_time() - started)
    return {"seconds": min(seconds[1:])}


ACTIONS = {"train": train_steps, "look": look}


def measure(names: list[str]) -> list[dict]:
    """A row a network, its channels, a grid, and training or inference."""
    rows = []
    for name in names:
        for channels in [None, NARROW[name]] if name in NARROW else [None]:
            for shape in OWN_SHAPES.get(name, SHAPES):
                settings = {"task": NETWORKS[name], "network": name, "channels": channels or [], "batch_size": SCANS}
                settings |= {"threads": 1, "epochs": EPOCHS, "patch": []}
                with tempfile.TemporaryDirectory(prefix="network_times_") as folder:
                    trained = in_child(__file__, "train", {"folder": folder, "settings": settings, "shape": shape}, 1)
                looked = in_child(__file__, "look", {"settings": settings, "shape": shape}, 1)
                common = {"network": name, "channels": "-".join(map(str, channels or ["own"]))}
                common |= {"shape": "x".join(map(str, shape)), "device": "cpu", "threads": 1}
                for mode, found in (("training", trained), ("inference", looked)):
                    rows.append(common | {"mode": mode, "cpu_seconds": round(found["seconds"], 4)})
                    print(" ".join(str(value) for value in rows[-1].values()), flush=True)
    return [row | context() for row in rows]


def main() -> None:
    if answer_as_child(ACTIONS):
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    append_rows(RESULTS, measure(parser.parse_args().network))


if __name__ == "__main__":
    main()
