"""Read weights from safetensors files, which MONAI can't read. The format: https://github.com/huggingface/safetensors."""

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
LENGTH_BYTES = 8  # a little-endian integer: the length of the JSON header that follows


def loaded(network: nn.Module, files: list[str], device: torch.device) -> list[nn.Module]:
    """Copies of ``network`` with the weights of each of ``files``, in evaluation mode on ``device``.

    Raises:
        ValueError: If names or shapes of tensors differ from the network's.
    """
    return [_with_weights(copy.deepcopy(network), Path(file)).eval().to(device) for file in files]


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file by name.

    Raises:
        ValueError: If the file is incomplete.
    """
    content = bytearray(path.read_bytes())
    start = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    if len(content) < start:
        raise ValueError(f"{path} is not a complete safetensors file. Copy it again.")
    tensors = {}
    for name, entry in json.loads(content[LENGTH_BYTES:start]).items():
        if name == "__metadata__":
            continue
        first, end = (start + offset for offset in entry["data_offsets"])
        if len(content) < end:
            raise ValueError(f"{path} ends before its tensor {name}. Copy it again.")
        dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
        # The slice copies the bytes, so that each tensor is aligned.
        tensors[name] = (
            torch.frombuffer(content[first:end], dtype=dtype).reshape(shape)
            if end > first
            else torch.empty(shape, dtype=dtype)
        )
    return tensors


def _with_weights(network: nn.Module, path: Path) -> nn.Module:
    weights = read_safetensors(path)
    # Not state_dict(): there DynUNet has two names for a layer, and the file has one.
    expected = dict((*network.named_parameters(), *network.named_buffers()))
    differing = sorted(set(expected) ^ set(weights))
    differing += [name for name in expected if name in weights and expected[name].shape != weights[name].shape]
    if differing:
        raise ValueError(f"{path} doesn't fit the network: {len(differing)} tensors differ, such as {differing[0]}.")
    network.load_state_dict(weights, strict=False)
    return network
