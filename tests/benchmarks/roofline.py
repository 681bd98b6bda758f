"""How close SFCN and a 3D U-Net come to what the device can do: scans a second, memory, and the bound that holds them.

    python tests/benchmarks/roofline.py [--device cpu] [--threads 2] [--shape 160 192 160] [--patch 128 128 128] [--steps 3]
    python tests/benchmarks/roofline.py --device cuda --batch 8 --steps 30 --compile

First the device is measured: the rate of a large matrix product (bfloat16 on a GPU, float32 on a CPU), that of SFCN's costliest
convolution, and the bandwidth of a copy. Then, each in a process of its own:

- ``training loop``: scans a second of learning.training on a pack of random volumes, augmentation and all, in its second epoch.
- ``training step``: forward, backward and the optimiser's step alone, on a batch that lies there.
- ``inference``: the network's outputs alone; for the U-Net of whole volumes, by sliding windows.

SFCN has the published channels and sees whole volumes; the U-Net (MONAI's, with our default channels) learns from patches, of
which each scan gives one.

``tflop`` and ``gigabytes`` of a step are counted, operation by operation, while one runs without compilation: what
torch.utils.flop_counter has a formula for, and the bytes of each operation's arguments and results, as if none of them stayed in
a cache. ``flop_fraction`` and ``copy_fraction`` are the rates reached over those measured. An operation can't be faster than its
arithmetic at the matrix rate nor than its bytes at the bandwidth; the sum of these least times is ``bound_seconds``, ``bound``
says which of the two makes up more of it, and ``of_bound`` is that sum over the time taken. Above 1, caches or a compiler's
fusion spare copies. Nothing is asserted. Dated rows go to tests/benchmarks/results/roofline.tsv.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rows import append_rows
from training_throughput import answer_as_child, context, in_child, new_pack, now, peaks, sample_rows, train_ours

RESULTS = Path(__file__).resolve().parent / "results" / "roofline.tsv"
MEASURED_SECONDS = 1.0  # at least, for each of the device's rates
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**32}  # far more than a cache holds
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
CONVOLUTION = (32, 64)  # SFCN's second, after one halving: half of the network's arithmetic
NETWORKS = {
    "sfcn": {"task": "regression", "network": "sfcn"},
    "unet": {"task": "segmentation", "network": "unet"},
}


def seconds_of(function: Callable[[], object], device) -> float:
    """The least seconds of ``function``, called until `MEASURED_SECONDS` have passed."""
    function()
    took = [_timed(function, device)]
    while sum(took) < MEASURED_SECONDS:
        took.append(_timed(function, device))
    return min(took)


def _timed(function: Callable[[], object], device) -> float:
    started = now(device)
    function()
    return now(device) - started


def device_rates(shape: list[int], threads: int, device: str) -> dict:
    """Matrix rate and convolution rate in TFLOP/s, copy bandwidth (read and written) in GB/s."""
    import torch

    torch.set_num_threads(threads)
    device = torch.device(device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    side, (inputs, outputs) = MATRIX_SIDE[device.type], CONVOLUTION
    left, right = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    matrix = 2 * side**3 / seconds_of(lambda: left @ right, device)
    half = [max(length // 2, 1) for length in shape]
    layer = torch.nn.Conv3d(inputs, outputs, 3, padding=1, bias=False, device=device, dtype=dtype)
    volumes = torch.randn(1, inputs, *half, dtype=dtype, device=device).to(memory_format=torch.channels_last_3d)
    layer = layer.to(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        operations = 2 * layer.weight.numel() * half[0] * half[1] * half[2]
        convolution = operations / seconds_of(lambda: layer(volumes), device)
    source = torch.ones(COPIED_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    bandwidth = 2 * source.numel() / seconds_of(lambda: target.copy_(source), device)
    name = str(dtype).removeprefix("torch.")
    rates = {"rate_dtype": name, "matrix_tflops": matrix / 1e12, "convolution_tflops": convolution / 1e12}
    return rates | {"copy_gb_per_second": bandwidth / 1e9}


def counted(step: Callable[[], object]) -> list[tuple[float, float]]:
    """Floating-point operations and bytes of each operation while ``step`` runs."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import flop_registry

    found = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            result = function(*args, **kwargs)
            formula = flop_registry.get(function.overloadpacket)
            flop = formula(*args, **kwargs, out_val=result) if formula else 0
            # A view moves nothing, and neither does memory that is only reserved.
            if flop or not (function.is_view or "empty" in function.overloadpacket.__name__):
                tensors = [one for one in tree_leaves((args, kwargs, result)) if isinstance(one, torch.Tensor)]
                moved = (min(one.numel() * one.element_size(), one.untyped_storage().nbytes()) for one in tensors)
                found.append((flop, sum(moved)))
            return result

    with Count():
        step()
    return found


def network_step(
    settings: dict, mode: str, shape: list[int], batch: int, steps: int, threads: int, device: str, rates: dict
) -> dict:
    """One network's training step or inference: seconds a step, what a step costs, and memory."""
    import torch
    from neurocohort.learning.networks import build_network
    from neurocohort.learning.precision import choose_precision, set_up_torch
    from neurocohort.learning.settings import read_settings
    from neurocohort.learning.tasks import fit_task
    from neurocohort.learning.windows import network_outputs

    device = torch.device(device)
    settings = read_settings(settings)
    precision = choose_precision(settings, device)
    set_up_torch(threads, device, precision.name)
    torch.manual_seed(1)
    task = fit_task(settings, sample_rows(batch, 0)["target"].to_numpy())
    network = precision.to_memory_format(build_network(settings.network, None, task.outputs).to(device))
    training = mode == "training step"
    sides = (settings.patch or shape) if training else shape
    inputs = precision.to_memory_format(torch.randn(batch, 1, *sides, device=device))
    if settings.task == "segmentation":
        targets = torch.randint(0, 4, (batch, *sides), dtype=torch.uint8, device=device)
    else:
        targets = torch.linspace(30, 70, batch, device=device)
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, fused=device.type == "cuda")

    def train(forward) -> None:
        with precision.autocast():
            outputs = forward(inputs)
        optimiser.zero_grad(set_to_none=True)
        task.loss(outputs.float(), targets).backward()
        optimiser.step()

    @torch.no_grad()
    def infer(forward) -> None:
        with precision.autocast():
            network_outputs(forward, inputs, settings)

    network.train(training)
    step = train if training else infer
    operations = counted(lambda: step(network))
    forward = torch.compile(network) if settings.compile else network
    step(forward)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    started = now(device)
    for _ in range(steps):
        step(forward)
    seconds = (now(device) - started) / steps
    return {"precision": precision.name, "step_seconds": seconds} | bounds(operations, seconds, rates) | peaks(device)


def bounds(operations: list[tuple[float, float]], seconds: float, rates: dict) -> dict:
    """The columns on a step's cost and on how far from the device's bounds it is."""
    flop, moved = (sum(column) for column in zip(*operations, strict=True))
    matrix, bandwidth = rates["matrix_tflops"] * 1e12, rates["copy_gb_per_second"] * 1e9
    least = [(one_flop / matrix, one_moved / bandwidth) for one_flop, one_moved in operations]
    total = sum(max(pair) for pair in least)
    by_matrix = sum(pair[0] for pair in least if pair[0] >= pair[1])
    return {
        "tflop": flop / 1e12,
        "gigabytes": moved / 1e9,
        "flop_fraction": flop / seconds / matrix,
        "copy_fraction": moved / seconds / bandwidth,
        "bound": "matrix rate" if by_matrix >= total / 2 else "copy bandwidth",
        "bound_seconds": total,
        "of_bound": total / seconds,
    }


def whole_loop(folder: str, settings: dict, scans: int, shape: list[int], device: str) -> dict:
    """Our training loop on random volumes: the seconds of its second epoch."""
    import numpy as np
    import torch
    from neurocohort.learning.precision import choose_precision
    from neurocohort.learning.settings import read_settings

    device = torch.device(device)
    images, labels = new_pack(Path(folder) / "packed", scans + 1, shape)
    rng = np.random.default_rng(1)
    for row in range(scans + 1):
        images[row] = rng.integers(0, 256, images[row].shape, dtype=np.uint8)
        if settings["task"] == "segmentation":
            labels[row] = rng.integers(0, 4, shape, dtype=np.uint8)
    seconds = train_ours(Path(folder) / "packed", sample_rows(scans, 1), settings, device)[-1]
    precision = choose_precision(read_settings(settings), device).name
    return {"precision": precision, "loop_seconds": seconds} | peaks(device)


ACTIONS = {"rates": device_rates, "step": network_step, "loop": whole_loop}


def measure(options: argparse.Namespace) -> list[dict]:
    """A row a network and mode, and one of the device."""

    def child(action: str, **values) -> dict:
        return in_child(__file__, action, values | {"shape": options.shape, "device": options.device}, options.threads)

    rates = child("rates", threads=options.threads)
    common = {name: getattr(options, name) for name in ("batch", "threads")}
    rows = []
    for name in options.network:
        settings = NETWORKS[name] | {"batch_size": options.batch, "threads": options.threads, "epochs": 2}
        settings |= {"precision": options.precision, "compile": options.compile}
        settings["patch"] = options.patch if name == "unet" else []
        same = {"network": name, "shape": options.shape, "patch": settings["patch"] or None} | common
        for mode in options.modes:
            if mode == "training loop":
                with tempfile.TemporaryDirectory(prefix="roofline_") as folder:
                    scans = options.batch * options.steps
                    found = child("loop", folder=folder, settings=settings, scans=scans)
                found["scans_per_second"] = scans / found.pop("loop_seconds")
            else:
                batch = options.batch if mode == "training step" else 1  # predictions are made one by one
                values = {"settings": settings, "mode": mode, "batch": batch, "steps": options.steps}
                found = child("step", **values, threads=options.threads, rates=rates)
                found |= {"batch": batch, "scans_per_second": batch / found["step_seconds"]}
            rows.append({"mode": mode} | same | {"compile": "yes" if options.compile else "no"} | found | rates)
    return [{name: _shortened(value) for name, value in row.items()} | context() for row in rows]


def _shortened(value):
    if isinstance(value, list):
        return "x".join(map(str, value))
    return float(f"{value:.4g}") if isinstance(value, float) else value


def show(rows: list[dict]) -> None:
    """The device's rates, and a line a row."""
    first = rows[0]
    print(
        f"{first['device']}: {first['matrix_tflops']} TFLOP/s of matrix product and {first['convolution_tflops']} of "
        f"convolution in {first['rate_dtype']}, {first['copy_gb_per_second']} GB/s of copying"
    )
    names = ("network", "mode", "precision", "scans_per_second", "peak_mib", "device_peak_mib", "tflop", "gigabytes")
    names += ("flop_fraction", "copy_fraction", "bound", "of_bound")
    widths = [max(len(name), *(len(str(row.get(name, ""))) for row in rows)) for name in names]
    print("  ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True)))
    for row in rows:
        print("  ".join(f"{row.get(name, '')!s:>{width}}" for name, width in zip(names, widths, strict=True)))


def main() -> None:
    if answer_as_child(ACTIONS):
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", type=int, nargs=3, default=[160, 192, 160], help="of a volume, in voxels")
    parser.add_argument("--patch", type=int, nargs=3, default=[128, 128, 128], help="of the U-Net, in voxels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--network", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    modes = ["training loop", "training step", "inference"]
    parser.add_argument("--modes", nargs="+", choices=modes, default=modes)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    started = time.perf_counter()
    rows = measure(parser.parse_args())
    show(rows)
    append_rows(RESULTS, rows)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
