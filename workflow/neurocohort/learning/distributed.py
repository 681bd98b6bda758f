"""One training over several processes, started by torchrun: one for each GPU, or gloo on CPUs.

Each process computes a part of every batch, and gradients are averaged. All processes decide to save, to stop or which epoch is
best at the same step. Only the main process, which has rank 0, writes.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import distributed, nn

from neurocohort.errors import InputError
from neurocohort.learning.checkpoint import Interrupted


@dataclass(frozen=True)
class Processes:
    """``rank``: number of this process, from 0; ``size``: number of processes; ``device``: that of this process."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main_process(self) -> bool:
        return self.rank == 0

    def most(self, number: int) -> int:
        """The largest ``number`` of all processes. Always over gloo, which doesn't wait for the work queue of a GPU."""
        if self.size == 1:
            return number
        shared = torch.tensor(number)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return int(shared)

    def wait(self) -> None:
        """Wait until every process calls this."""
        self.most(0)

    def total(self, number: float) -> float:
        """The sum of the numbers of all processes, with the same bits in each."""
        return sum(self.gather(number))

    def gather(self, value: object) -> list:
        """The values of all processes in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def share_buffers(self, network: nn.Module) -> None:
        """Copy the main process's batch statistics to all; each process has computed its own from its part of the batches."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)

    def with_common_statistics(self, network: nn.Module) -> nn.Module:
        """``network`` with batch norms over all processes; torch supports this on GPUs only."""
        if self.size > 1 and self.device.type == "cuda":
            return nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return network

    def averaging(self, network: nn.Module) -> nn.Module:
        """A wrapper of ``network`` that averages gradients over the processes; ``network`` itself for a single process."""
        if self.size == 1:
            return network
        # Weights of one channel or voxel are valid in two memory formats, and their gradients are copied if theirs is the other.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        own = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=own, gradient_as_bucket_view=True)


def is_main_process() -> bool:
    """Whether this process is the only one or torchrun's first one; it is the one that writes."""
    return int(os.environ.get("RANK", "0")) == 0


@contextlib.contextmanager
def joined(asked: int, device: torch.device) -> Iterator[Processes]:
    """Connect the processes of this training, ``asked`` in total.

    Raises InputError where torchrun started another number, and where there are fewer GPUs than processes.
    """
    rank, size, local_rank = (int(os.environ.get(name, usual)) for name, usual in _VARIABLES.items())
    if size != asked:
        raise InputError(
            f"`processes` is {asked} and this training was started with {size}: start it by "
            f"`torchrun --standalone --nproc-per-node={asked} --no-python neurocohort ...`, as the rule does, or set "
            f"`processes: {size}`."
        )
    if size == 1:
        yield Processes(0, 1, device)
        return
    backend = "gloo"
    if device.type == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise InputError(
                f"`processes` is {asked} and process {local_rank + 1} on this machine finds {torch.cuda.device_count()} "
                f"visible GPU(s) (CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}); expected one "
                "each. Ask for as many GPUs, or for fewer processes."
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend)
    try:
        yield Processes(rank, size, device)
    except Interrupted:  # all stop at the same step; after another error this call would wait for the others
        distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()


_VARIABLES = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}  # set by torchrun, and their values without it
