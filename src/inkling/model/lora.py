"""LoRA: finetune a large model by learning a small correction of each matrix, while the matrix itself stays.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models". A correction of rank r to an (out, in) matrix is
a product B A of (out, r) and (r, in): r · (out + in) numbers instead of out · in. Only they have gradients and
AdamW's moments; what is frozen can be kept in the dtype of the forward pass. Adding s·B A to the matrix afterwards
gives an ordinary model, which is what everybody but the training sees.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from inkling.errors import UserError
from inkling.keyed import seed_for
from inkling.model.gpt import GPT
from inkling.model.layers import Linear

A, B = ".lora_a", ".lora_b"


@dataclass(frozen=True)
class LoRASettings:
    """low-rank finetuning"""

    lora_rank: int = 0
    """learn only a correction of this rank to each matrix in the blocks; 8 to 64 are usual; 0: learn everything"""
    lora_alpha: float = 16.0
    """the correction counts lora_alpha / lora_rank times, so that another rank needs no other learning rate"""
    lora_targets: Literal["all", "attention"] = "all"
    """which matrices: all in the blocks, or attention's alone"""


def check_lora(settings: LoRASettings, init_from: str) -> None:
    """Refuse what cannot be meant."""
    if settings.lora_rank < 0:
        raise UserError(f"lora_rank={settings.lora_rank} cannot be negative; 0 is off.", status=2)
    if settings.lora_rank and not settings.lora_alpha > 0:
        raise UserError(f"lora_alpha={settings.lora_alpha:g} must be above 0.", status=2)
    if settings.lora_rank and init_from == "scratch":
        raise UserError("LoRA corrects a trained model, and this run begins from scratch.", "Add --init_from=RUN.", 2)


class LoRALinear(Linear):
    """y = x Wᵀ + b + s · (x Aᵀ) Bᵀ, where only A and B learn."""

    def __init__(self, linear: Linear, rank: int, scale: float) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = scale
        self.lora_a = nn.Parameter(torch.empty(rank, linear.in_features))
        self.lora_b = nn.Parameter(torch.zeros(linear.out_features, rank))  # so that training begins with the model

    def forward(self, x: Tensor) -> Tensor:
        low = F.linear(x, self.lora_a.to(x.dtype))  # (..., r)
        return super().forward(x) + self.scale * F.linear(low, self.lora_b.to(x.dtype))


def add_lora(model: GPT, settings: LoRASettings, seed: int) -> None:
    """Freeze the model, and give each chosen matrix a correction that is nothing yet."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    scale = settings.lora_alpha / settings.lora_rank
    for block_number, block in enumerate(model.blocks):
        parts: list[nn.Module] = [block.attn] if settings.lora_targets == "attention" else [block.attn, block.mlp]
        for part in parts:
            for name, linear in list(part.named_children()):
                if not name.startswith("c_") or not isinstance(linear, Linear):
                    continue
                corrected = LoRALinear(linear, settings.lora_rank, scale)
                key = seed_for("lora", seed, f"{block_number}.{type(part).__name__}.{name}")
                generator = torch.Generator().manual_seed(key)
                with torch.no_grad():
                    corrected.lora_a.normal_(0.0, linear.in_features**-0.5, generator=generator)
                setattr(part, name, corrected)


def narrow_frozen(model: GPT, dtype: torch.dtype) -> None:
    """Keep what does not learn in the dtype of the forward pass, which would cast it on use anyway."""
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def lora_scale(model: GPT) -> float | None:
    """How often the corrections count; None for a model without."""
    return next((part.scale for part in model.modules() if isinstance(part, LoRALinear)), None)


def describe_lora(model: GPT) -> str:
    """What learns, in a line."""
    learns = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in model.parameters()) - learns
    matrices = sum(isinstance(part, LoRALinear) for part in model.modules())
    return f"{learns:,} numbers in {matrices} corrections learn ({learns / total:.2%}); {total:,} parameters stay"


@torch.no_grad()
def merged(names: Sequence[str], read: Callable[[str], Tensor], scale: float) -> Iterator[tuple[str, Tensor]]:
    """A corrected model's parameters → those of the ordinary model with the same logits, one at a time."""
    known = set(names)
    for name in names:
        matrix = name.removesuffix(".weight")
        if matrix + A in known:
            yield name, merge(read(name), read(matrix + A), read(matrix + B), scale)
        elif not name.endswith((A, B)):
            yield name, read(name)


def merge(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """W + s·B A, in float32: in bfloat16 a small correction of a large weight would be rounded away."""
    return weight.float() + scale * (b.float() @ a.float())
