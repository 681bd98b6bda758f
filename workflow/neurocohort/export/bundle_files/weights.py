"""Weights from safetensors files, which MONAI doesn't read itself. The format: https://github.com/huggingface/safetensors."""

import copy
import json
from pathlib import Path

import torch
from torch import nn

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
LENGTH_BYTES = 8  # a little-endian number: the length of the JSON header that follows it


def loaded(network: nn.Module, files: list[str], device: torch.device) -> list[nn.Module]:
    """A copy of ``network`` for each of the ``files`` with its weights, in evaluation mode on ``device``.

    Raises ValueError where names or shapes differ from the network's.
    """
    return [_with_weights(copy.deepcopy(network), Path(file)).eval().to(device) for file in files]


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the file at ``path`` by name. Raises ValueError where it isn't whole."""
    content = bytearray(path.read_bytes())
    start = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    if len(content) < start:
        raise ValueError(f"{path} is not a whole safetensors file: copy it again.")
    tensors = {}
    for name, entry in json.loads(content[LENGTH_BYTES:start]).items():
        if name == "__metadata__":
            continue
        first, end = (start + offset for offset in entry["data_offsets"])
        if len(content) < end:
            raise ValueError(f"{path} ends before its tensor {name}: copy it again.")
        dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
        # A copy of the bytes, so that each tensor begins where its type may begin.
        tensors[name] = (
            torch.frombuffer(content[first:end], dtype=dtype).reshape(shape)
            if end > first
            else torch.empty(shape, dtype=dtype)
        )
    return tensors


def _with_weights(network: nn.Module, path: Path) -> nn.Module:
    weights = read_safetensors(path)
    # Not state_dict(): DynUNet knows its layers there by two names, and the file has each once.
    expected = dict((*network.named_parameters(), *network.named_buffers()))
    differing = sorted(set(expected) ^ set(weights))
    differing += [name for name in expected if name in weights and expected[name].shape != weights[name].shape]
    if differing:
        raise ValueError(f"{path} doesn't fit the network: {len(differing)} tensors differ, such as {differing[0]}.")
    network.load_state_dict(weights, strict=False)
    return network
