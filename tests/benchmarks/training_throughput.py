"""Scans a second of a training epoch: our loop on a packed cohort beside MONAI's IXI brain-age tutorial on the same files.

    python tests/benchmarks/training_throughput.py [--scans 16] [--epochs 3] [--threads 2] [--device cpu]
    python tests/benchmarks/training_throughput.py --device cuda --precision float32 auto --scans 64 --epochs 5

The tutorial is 3d_regression/densenet_training_array of Project-MONAI/tutorials. In spite of its name it trains MONAI's
Regressor; so ``--network`` has both, ``regressor`` as the tutorial builds it and ``densenet121``. Each method runs in a process
of its own, on the same .nii.gz files (256 x 256 x 150 voxels of int16, as IXI's), with the same network, input (96 x 96 x 96) and
batch size:

- ``monai``: the tutorial's loop: ImageDataset, ScaleIntensity, EnsureChannelFirst, Resize, RandRotate90; a DataLoader with 2
  workers; Adam, square error, float32. Its validation and its TensorBoard writer are left out.
- ``monai-cache``: the same loop with a CacheDataset, which keeps what the transforms before RandRotate90 leave.
- ``ours``: learning.training with its default augmentation (affine, gamma, noise) on the output of the same transforms, packed
  with eight bits a voxel. A row each ``--precision``.

A row has the seconds of the training steps of an epoch (``epoch_seconds``: the mean, without the first epoch;
``best_epoch_seconds``), ``prepare_seconds`` that packing or filling the cache took once, and memory: the process's peak
(``peak_mib``), that of its largest loader process (``worker_peak_mib``), and the GPU's. Nothing is asserted. Dated rows go to
tests/benchmarks/results/training_throughput.tsv.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rows import append_rows  # the standard library alone: a child's peak memory counts what its parent had

RESULTS = Path(__file__).resolve().parent / "results" / "training_throughput.tsv"
SCAN_SHAPE = (256, 256, 150)
SCAN_SPACING_MM = (0.94, 0.94, 1.2)
INPUT_SHAPE = (96, 96, 96)
VALIDATION = 2  # scans that our loop validates on after each epoch; not timed
LOADER_WORKERS = 2
LEARNING_RATE = 1e-4
COHORT = ("bench", "development")


# Shared by the benchmarks of training: children, a pack of their own, and our loop with a clock.


def in_child(script: str, action: str, values: dict, threads: int) -> dict:
    """What ``action`` of ``script`` returns, run in a process of its own with ``threads`` threads for its libraries."""
    command = [sys.executable, script, "--child", action, json.dumps(values)]
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def answer_as_child(actions: dict[str, Callable[..., dict]]) -> bool:
    """Whether this process is a child of `in_child`; if so, it has done what it was asked for."""
    if sys.argv[1:2] != ["--child"]:
        return False
    action, values = sys.argv[2:]
    found = actions[action](**json.loads(values))
    print()
    print(json.dumps(found))
    return True


def context() -> dict:
    """The row's columns ``versions`` and ``command``."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "monai", "numpy")]
    command = shlex.join(["python", f"tests/benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    return {"versions": ", ".join([f"python {platform.python_version()}", *versions]), "command": command}


def peaks(device) -> dict:
    """Peak memory of this process and, of what torch holds, of the GPU, in MiB; and the device's name."""
    import torch

    found = {"device": "cpu", "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}
    if device.type == "cuda":
        found["device"] = torch.cuda.get_device_name(device)
        found["device_peak_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    return found


def now(device) -> float:
    """Seconds on the clock once the device has done what it was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def new_pack(folder: Path, scans: int, shape: list[int]):
    """An empty pack in ``folder``: its images (scans, 1, X, Y, Z) and labels (scans, X, Y, Z), both uint8, mapped."""
    import numpy as np

    folder.mkdir()
    (folder / "channels.tsv").write_text("modality\nT1w\n", encoding="utf-8")
    return (
        np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=size)
        for name, size in (("images", (scans, 1, *shape)), ("labels", (scans, *shape)))
    )


def sample_rows(scans: int, validation: int):
    """Rows of samples.tsv, an age each: the first ``scans`` train, ``validation`` more validate."""
    import numpy as np
    import pandas as pd

    rows = np.arange(scans + validation)
    table = pd.DataFrame({"scan_id": [f"scan{row:05d}" for row in rows], "row": rows, "fold": 1})
    table["participant_id"], table["cohort"], table["pack"] = table["scan_id"], *COHORT
    table["part"] = np.where(rows < scans, "train", "validation")
    return table.assign(target=np.random.default_rng(1).uniform(20, 86, len(rows)).round(2))


def train_ours(folder: Path, samples, settings: dict, device) -> list[float]:
    """Train on the pack in ``folder``; the seconds of each epoch's training steps, without its validation."""
    import numpy as np
    from neurocohort.learning.batches import TrainingBatches
    from neurocohort.learning.data import PackedImages
    from neurocohort.learning.loop import TrainingFiles
    from neurocohort.learning.settings import read_settings
    from neurocohort.learning.training import train

    seconds, batches_of = [], TrainingBatches.epoch

    def clocked(self, *args, **kwargs):
        started = now(device)
        yield from batches_of(self, *args, **kwargs)
        seconds.append(now(device) - started)  # the loop asks for the batch after the last when it has taken its step

    TrainingBatches.epoch = clocked
    images, labels = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "labels"))
    packed = PackedImages({COHORT: images}, {COHORT: labels}, {COHORT: [0]})  # `new_pack` writes no index
    checkpoint = folder / "checkpoint.pt"
    train(samples, packed, read_settings(settings), device, TrainingFiles(checkpoint), _to_error)
    checkpoint.unlink(missing_ok=True)
    return seconds


def _to_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# What the children do here: the scans, the pack, and a training by each method.


def write_scans(folder: str, scans: int) -> dict:
    """Noisy ellipsoids of the size of IXI's scans, .nii.gz; their mean size in MiB."""
    import nibabel as nib
    import numpy as np

    grid = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in SCAN_SHAPE), indexing="ij", sparse=True)
    affine = np.diag([*SCAN_SPACING_MM, 1.0])
    sizes = []
    for number in range(scans):
        rng = np.random.default_rng(number)
        distance = sum((axis / side) ** 2 for axis, side in zip(grid, rng.uniform(0.6, 0.8, 3), strict=True))
        head = np.where(distance < 1, 400 + 200 * np.cos(9 * distance), 0).astype(np.float32)
        head += rng.standard_normal(SCAN_SHAPE, dtype=np.float32) * np.where(distance < 1, 20, 4)
        path = Path(folder) / f"scan{number:05d}.nii.gz"
        nib.save(nib.Nifti1Image(np.abs(head).astype(np.int16), affine), path)
        sizes.append(path.stat().st_size / 2**20)
    return {"scan_mib": round(float(np.mean(sizes)), 1)}


def scan_paths(folder: str) -> list[str]:
    """The scans, in the order of `sample_rows`."""
    return sorted(map(str, Path(folder).glob("scan*.nii.gz")))


def pack(folder: str) -> dict:
    """The tutorial's transforms before the random one, with eight bits a voxel, into one array."""
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Resize, ScaleIntensity

    paths = scan_paths(folder)
    started = time.perf_counter()
    transforms = Compose([LoadImage(image_only=True), ScaleIntensity(), EnsureChannelFirst(), Resize(INPUT_SHAPE)])
    images, _ = new_pack(Path(folder) / "packed", len(paths), INPUT_SHAPE)
    for row, path in enumerate(paths):
        images[row] = (transforms(path) * 255).round().numpy()
    images.flush()
    return {"prepare_seconds": round(time.perf_counter() - started, 2)}


def tutorials_network():
    """The network that the tutorial trains."""
    from monai.networks.nets import Regressor

    return Regressor(in_shape=[1, *INPUT_SHAPE], out_shape=1, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2))


def network_named(name: str):
    """The tutorial's network or one of ours, with one output."""
    from neurocohort.learning.networks import build_network

    return tutorials_network() if name == "regressor" else build_network(name, None, 1)


def files_dataset(paths: list[str], ages):
    """The tutorial's data set, and how an item's image and age are named."""
    from monai.data import ImageDataset
    from monai.transforms import Compose, EnsureChannelFirst, RandRotate90, Resize, ScaleIntensity

    transforms = Compose([ScaleIntensity(), EnsureChannelFirst(), Resize(INPUT_SHAPE), RandRotate90()])
    return ImageDataset(image_files=paths, labels=ages, transform=transforms), (0, 1)


def cached_dataset(paths: list[str], ages):
    """The same as a CacheDataset, which takes transforms of dictionaries."""
    from monai.data import CacheDataset
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandRotate90d, Resized, ScaleIntensityd

    kept = [LoadImaged("image"), ScaleIntensityd("image"), EnsureChannelFirstd("image"), Resized("image", INPUT_SHAPE)]
    items = [{"image": path, "age": age} for path, age in zip(paths, ages, strict=True)]
    transforms = Compose([*kept, RandRotate90d("image")])
    return CacheDataset(items, transforms, num_workers=LOADER_WORKERS, progress=False), ("image", "age")


def monai_training(
    folder: str, cached: bool, network: str, scans: int, epochs: int, batch: int, threads: int, device: str
) -> dict:
    """The tutorial's loop for ``epochs`` and one to warm up: seconds each, and memory."""
    import torch
    from monai.data import DataLoader

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    device = torch.device(device)
    ages = sample_rows(scans, 0)["target"].to_numpy()
    started = time.perf_counter()
    dataset, (image, age) = (cached_dataset if cached else files_dataset)(scan_paths(folder)[:scans], ages)
    prepare_seconds = time.perf_counter() - started if cached else 0.0
    on_gpu = device.type == "cuda"
    loader = DataLoader(dataset, batch_size=batch, shuffle=True, num_workers=LOADER_WORKERS, pin_memory=on_gpu)
    model = network_named(network).to(device)
    loss_function = torch.nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    seconds = []
    for epoch in range(1 + epochs):
        started = now(device)
        model.train()
        epoch_loss = 0.0
        for items in loader:
            inputs, ages_of_batch = items[image].to(device), items[age].to(device)
            optimizer.zero_grad()
            outputs = model(inputs)
            loss = loss_function(outputs[:, 0], ages_of_batch.float())
            loss.backward()
            optimizer.step()
            epoch_loss += loss.item()
        seconds.append(now(device) - started)
        _to_error(f"epoch {epoch + 1} average loss: {epoch_loss / len(loader):.4f}")
    worker_peak_mib = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    prepared = {"prepare_seconds": round(prepare_seconds, 2), "worker_peak_mib": worker_peak_mib}
    return {"seconds": seconds, **prepared, **peaks(device)}


def our_training(
    folder: str, settings: dict, network: str, scans: int, epochs: int, batch: int, threads: int, device: str
) -> dict:
    """Our loop on the pack."""
    import torch
    from neurocohort.learning import networks, transfer
    from neurocohort.learning.precision import choose_precision
    from neurocohort.learning.settings import read_settings

    if network == "regressor":  # before the loop's module is imported: it isn't one of ours
        networks.build_network = lambda *args, **kwargs: tutorials_network()
        transfer.stages = lambda network: [torch.nn.ModuleList([network])]
    device = torch.device(device)
    settings |= {"task": "regression", "network": network, "epochs": 1 + epochs, "batch_size": batch}
    settings |= {"learning_rate": LEARNING_RATE, "threads": threads, "soft_bins": False}
    seconds = train_ours(Path(folder) / "packed", sample_rows(scans, VALIDATION), settings, device)
    precision = choose_precision(read_settings(settings), device).name  # which is what `auto` means there
    return {"seconds": seconds, "precision": precision, **peaks(device)}


ACTIONS = {"scans": write_scans, "pack": pack, "monai": monai_training, "ours": our_training}


def measure(options: argparse.Namespace) -> list[dict]:
    """A row a network, method and precision."""

    def child(action: str, **values) -> dict:
        return in_child(__file__, action, {"folder": folder, **values}, options.threads)

    rows = []
    with tempfile.TemporaryDirectory(prefix="training_throughput_") as folder:
        files = child("scans", scans=options.scans + VALIDATION)
        packing = child("pack")
        for network in options.network:
            same = {name: getattr(options, name) for name in ("scans", "epochs", "batch", "threads", "device")}
            same["network"] = network
            measured = [
                {"method": method, "precision": "float32", "compile": "no", **child("monai", cached=cached, **same)}
                for method, cached in (("monai", False), ("monai-cache", True))
                if method in options.methods
            ]
            for precision in options.precision if "ours" in options.methods else ():
                settings = {"precision": precision, "compile": options.compile}
                found = packing | child("ours", settings=settings, **same)
                row = {"method": "ours", "compile": "yes" if options.compile else "no"}
                measured.append(row | found)
            rows += [finished(row, same | files, measured) for row in measured]
    return rows


def finished(row: dict, same: dict, measured: list[dict]) -> dict:
    """The row with scans a second, and how many times those of MONAI's two loops that is."""
    _, *timed = row["seconds"]
    base = {other["method"]: other["seconds"][1:] for other in measured}
    ratios = {
        f"times_{method.replace('-', '_')}": round(sum(base[method]) / sum(timed), 3) if method in base else None
        for method in ("monai", "monai-cache")
    }
    rates = {
        "epoch_seconds": round(sum(timed) / len(timed), 3),
        "best_epoch_seconds": round(min(timed), 3),
        "scans_per_second": round(same["scans"] * len(timed) / sum(timed), 3),
    }
    rest = {name: value for name, value in row.items() if name != "seconds"}
    return rest | same | {"device": row["device"]} | rates | ratios | context()


def show(rows: list[dict]) -> None:
    """A line a row."""
    names = ("network", "method", "precision", "prepare_seconds", "epoch_seconds", "scans_per_second", "peak_mib")
    names += ("worker_peak_mib", "device_peak_mib", "times_monai", "times_monai_cache")
    widths = [max(len(name), 11) for name in names]
    print("  ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True)))
    for row in rows:
        values = ("" if row.get(name) is None else str(row[name]) for name in names)
        print("  ".join(f"{value:>{width}}" for value, width in zip(values, widths, strict=True)))


def main() -> None:
    if answer_as_child(ACTIONS):
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scans", type=int, default=16, help="that train")
    parser.add_argument("--epochs", type=int, default=3, help="that are timed, after one that isn't")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--network", nargs="+", default=["regressor", "densenet121"])
    parser.add_argument("--methods", nargs="+", default=["monai", "monai-cache", "ours"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", nargs="+", default=["auto"], help="of ours")
    parser.add_argument("--compile", action="store_true", help="ours")
    rows = measure(parser.parse_args())
    show(rows)
    append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
