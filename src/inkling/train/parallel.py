"""Several processes as one: gradients summed over ranks, numbers summed over ranks.

Plain data parallelism: every rank holds the whole model and its share of the global batch's rows. Each
function is the identity when there is one process.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from inkling.runtime import Runtime


def wrap(module: nn.Module, runtime: Runtime) -> nn.Module:
    """The module whose backward pass averages gradients over the ranks."""
    if runtime.world_size == 1:
        return module
    devices = [torch.device(runtime.device)] if runtime.device_type == "cuda" else None
    return nn.parallel.DistributedDataParallel(module, device_ids=devices)


def sync_only_if(last: bool, module: nn.Module) -> AbstractContextManager[Any]:
    """Ranks exchange gradients in the backward pass of the last micro-step; before that they add up locally."""
    if last or not isinstance(module, nn.parallel.DistributedDataParallel):
        return nullcontext()
    return module.no_sync()


def sum_over_ranks(values: list[float], runtime: Runtime) -> list[float]:
    """Each number summed over all ranks, in float64."""
    if runtime.world_size == 1:
        return values
    # On the CPU, by gloo, even where gradients go by NCCL: the GPU's queue need not be waited for.
    total = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(total)
    return total.tolist()


def wait_for_all(runtime: Runtime) -> None:
    """No rank passes before all have arrived: the others must not leave while rank 0 saves."""
    if runtime.world_size > 1:
        dist.barrier()
