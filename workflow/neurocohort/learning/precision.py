"""The arithmetic and the memory format of a network on a device, and the global settings of torch for them."""

import contextlib
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from neurocohort.architectures import ARCHITECTURES
from neurocohort.errors import InputError
from neurocohort.learning.settings import TrainingSettings

FLOAT32, BFLOAT16, FLOAT16 = "float32", "bfloat16", "float16"
Volumes = TypeVar("Volumes", torch.Tensor, nn.Module)
TYPES = {BFLOAT16: torch.bfloat16, FLOAT16: torch.float16}


@dataclass(frozen=True)
class Precision:
    """``name``: float32, bfloat16 or float16; ``layout``: memory format of volumes and weights."""

    name: str
    device: torch.device
    layout: torch.memory_format

    def autocast(self) -> contextlib.AbstractContextManager:
        """A context in which convolutions and products are computed in this precision."""
        if self.name == FLOAT32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=TYPES[self.name])

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps gradients in the range of float16; does nothing in the other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == FLOAT16)

    def to_memory_format(self, volumes: Volumes) -> Volumes:
        """A batch (N, C, X, Y, Z) or a network in this memory format."""
        return volumes.to(memory_format=self.layout)  # type: ignore[call-overload]


def choose_precision(settings: TrainingSettings, device: torch.device) -> Precision:
    """The precision of ``settings``: ``auto`` is bfloat16 where the GPU supports it, float16 on other GPUs, float32 on a CPU.

    Raises InputError for float16 on a CPU and for bfloat16 on a GPU without it.
    """
    on_cpu = device.type == "cpu"
    layout = torch.channels_last_3d
    architecture = ARCHITECTURES.get(settings.network)  # a generative model is none of them
    if on_cpu and (architecture is None or architecture.contiguous_on_cpu):
        layout = torch.contiguous_format
    has_bfloat16 = on_cpu or torch.cuda.is_bf16_supported(including_emulation=False)
    name: str = settings.precision
    if name == "auto":
        name = FLOAT32 if on_cpu else BFLOAT16 if has_bfloat16 else FLOAT16
    if name == FLOAT16 and on_cpu:
        raise InputError(
            "`precision: float16` was asked for on a CPU, where it is slower than float32 and less exact; set "
            "`precision: auto`, or run on a GPU."
        )
    if name == BFLOAT16 and not has_bfloat16:
        raise InputError(
            f"`precision: bfloat16` was asked for, and the GPU ({torch.cuda.get_device_name(device)}) doesn't support it; "
            "set `precision: auto`."
        )
    return Precision(name, device, layout)


def set_up_torch(threads: int, device: torch.device, precision: str) -> None:
    """Set torch's global settings: threads, determinism on a CPU, and the multiplication on a GPU.

    With float32 a GPU multiplies exactly. Otherwise it may use ten bits (TF32) for what autocast leaves in float32.
    """
    torch.set_num_threads(threads)  # a setting, not the machine's choice: sums of floats depend on it
    torch.use_deterministic_algorithms(device.type == "cpu")
    # Uninitialised memory is never read here, and filling it takes a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # searches the fastest kernel once, since sizes don't change
        exact = "ieee" if precision == FLOAT32 else "tf32"
        torch.backends.cudnn.conv.fp32_precision = exact  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = exact
