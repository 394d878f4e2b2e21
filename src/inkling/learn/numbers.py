"""Random numbers of the checks: the same on every machine and every day."""

import torch
from torch import Tensor


def random_tensor(*shape: int, seed: int) -> Tensor:
    """Normal numbers of that shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_ids(*shape: int, below: int, seed: int) -> Tensor:
    """Whole numbers from 0 to below − 1 of that shape."""
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))
