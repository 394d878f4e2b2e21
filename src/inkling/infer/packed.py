"""Weights in the order in which a CPU multiplies them by a few rows fastest.

A kernel that multiplies a matrix by 4 to 64 rows spends up to two thirds of its time on putting the matrix in order.
Weights that do not change can be put in order once. 124M shape, float32, two cores, 16 rows: all products of a step
take 45 ms instead of 75 (benchmarks/serve.md). By one to three rows the matrix is read as it is, which is as fast.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from inkling.model.gpt import GPT
from inkling.model.layers import Linear

FEWEST = 4  # rows


def can_pack(model: GPT) -> bool:
    """Whether this was measured to help: float32 on a CPU for which PyTorch has oneDNN."""
    on_cpu = model.lm_head.weight.device.type == "cpu"
    return on_cpu and model.compute_dtype == torch.float32 and torch.backends.mkldnn.is_available()


def pack(model: GPT) -> None:
    """Keep a second copy of the matrices, ordered: twice the memory. The weights must not change any more."""
    for part in model.modules():
        if type(part) is Linear:
            part.forward = _packed(part)  # type: ignore[assignment]


@torch.inference_mode()
def _packed(linear: Linear) -> Callable[[Tensor], Tensor]:
    ordered = torch.ops.mkldnn._reorder_linear_weight(linear.weight.float(), None)
    bias = None if linear.bias is None else linear.bias.float()
    plain = linear.forward

    def forward(x: Tensor) -> Tensor:
        if x.numel() // x.size(-1) < FEWEST:
            return plain(x)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, ordered, bias, "none", [], "")
        return product

    return forward
