"""AdamW for vectors and tables, Muon for the matrices between them.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") replaces a matrix's
momentum by the nearest matrix whose singular values are all about 1, so that rare directions learn as fast
as frequent ones. `orthogonalize` does that for one matrix, as the text books say; `Muon` stacks matrices of
equal shape and does it for all of them in a few large products, with the same numbers.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from inkling.errors import UserError
from inkling.model.gpt import GPT
from inkling.train.polar import Quintic, polar_coefficients

Coefficients = Literal["quintic", "polar"]


@dataclass(frozen=True)
class OptimizerSettings:
    """optimisation"""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw for everything, or muon for the matrices inside the blocks and adamw for the rest"""
    learning_rate: float = 6e-4
    """peak rate of AdamW"""
    embedding_lr: float | None = None
    """peak rate of the token (and value) embeddings; None: learning_rate"""
    head_lr: float | None = None
    """peak rate of an untied head; None: learning_rate"""
    matrix_lr: float = 0.02
    """peak rate of Muon"""
    weight_decay: float = 0.1
    """AdamW's pull towards 0, on matrices and tables only"""
    matrix_decay: float = 0.0
    """Muon's pull towards 0"""
    beta1: float = 0.9
    """AdamW: memory of the mean gradient"""
    beta2: float = 0.95
    """AdamW: memory of its square; with few tokens a step a longer one (0.99) is steadier"""
    momentum: float = 0.95
    """Muon: memory of the mean gradient"""
    ns_steps: int = 5
    """Muon: Newton-Schulz iterations"""
    ns_coefficients: Coefficients = "quintic"
    """Muon: the same quintic in each iteration, or polar, the best one for each (Polar Express)"""
    grad_clip: float = 1.0
    """scale the gradient down to this norm when it is longer; 0: off"""


def check_optimizer(settings: OptimizerSettings) -> None:
    """Refuse numbers that make no update."""
    for name in ("learning_rate", "matrix_lr", "weight_decay", "matrix_decay", "grad_clip"):
        if not getattr(settings, name) >= 0:
            raise UserError(f"{name}={getattr(settings, name):g} cannot be negative.", status=2)
    if not (0 <= settings.beta1 < 1 and 0 <= settings.beta2 < 1 and 0 <= settings.momentum < 1):
        raise UserError("beta1, beta2 and momentum lie in [0, 1).", status=2)
    if settings.ns_steps < 1:
        raise UserError(f"ns_steps={settings.ns_steps} must be at least 1.", status=2)


def build_optimizers(
    model: GPT, settings: OptimizerSettings, compute_dtype: torch.dtype, device_type: str
) -> list[Optimizer]:
    """One optimizer, or two with Muon. Every group carries its `peak_lr`, which the schedule scales."""
    matrices, split = block_matrices(model) if settings.optimizer == "muon" else ({}, {})
    groups: dict[tuple[float, float], list[Tensor]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if name in matrices:
            continue
        rate = settings.learning_rate
        if "wte" in name or "value_embedding" in name:
            rate = settings.embedding_lr or rate
        elif "lm_head" in name:
            rate = settings.head_lr or rate
        # Biases, norms and scalars have no reason to be near 0; matrices and tables do.
        decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
        groups[rate, decay].append(parameter)
    adamw = torch.optim.AdamW(
        [{"params": found, "lr": rate, "weight_decay": decay} for (rate, decay), found in groups.items()],
        betas=(settings.beta1, settings.beta2),
        fused=device_type in ("cpu", "cuda"),
    )
    optimizers: list[Optimizer] = [adamw]
    if matrices:
        # Newton-Schulz tolerates few bits; it runs in the dtype that this machine multiplies fast.
        ns_dtype = torch.float32 if compute_dtype == torch.float16 else compute_dtype
        optimizers.append(
            Muon(
                list(matrices.values()),
                lr=settings.matrix_lr,
                momentum=settings.momentum,
                weight_decay=settings.matrix_decay,
                ns_steps=settings.ns_steps,
                ns_coefficients=settings.ns_coefficients,
                ns_dtype=ns_dtype,
                split={matrices[name]: rows for name, rows in split.items()},
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def block_matrices(model: GPT) -> tuple[dict[str, Tensor], dict[str, tuple[int, ...]]]:
    """The matrices inside the blocks, by name, and which of them hold several matrices (rows of each)."""
    matrices: dict[str, Tensor] = {}
    split: dict[str, tuple[int, ...]] = {}
    for name, parameter in model.named_parameters():
        if ".h." in name and parameter.ndim == 2 and "value_" not in name:
            matrices[name] = parameter
            if name.endswith("c_attn.weight"):
                split[name] = model.blocks[0].attn.qkv_rows
    return matrices, split


# Coefficients of the odd quintic that pushes singular values in (0, 1] to about 1, chosen by Jordan et al.
# for the steepest start: small singular values grow quickly, large ones end up between 0.7 and 1.2.
QUINTIC = (3.4445, -4.7750, 2.0315)


def quintics_of(coefficients: Coefficients, steps: int) -> Sequence[Quintic]:
    """(a, b, c) of each iteration."""
    return polar_coefficients(steps) if coefficients == "polar" else [QUINTIC] * steps


def orthogonalize(
    matrix: Tensor, steps: int, dtype: torch.dtype = torch.bfloat16, coefficients: Coefficients = "quintic"
) -> Tensor:
    """Newton-Schulz: (R, C) → the same singular vectors with singular values near 1."""
    x = matrix.to(dtype)
    tall = x.size(0) > x.size(1)
    if tall:  # the smaller Gram matrix is the cheaper one
        x = x.T
    x = x / x.norm().clamp(min=1e-7)  # now no singular value exceeds 1
    for a, b, c in quintics_of(coefficients, steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # a·x + (b·g + c·g²)·x
    return x.T if tall else x


def orthogonalize_stack(
    stack: Tensor, steps: int, dtype: torch.dtype = torch.bfloat16, coefficients: Coefficients = "quintic"
) -> Tensor:
    """`orthogonalize` for each of (N, R, C) at once."""
    x = stack.to(dtype)
    tall = x.size(1) > x.size(2)
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    # Few bits do not bear the detour over the Gram matrix: in bfloat16 small singular values come out wrong.
    wide = x.size(2) >= 2 * x.size(1) and torch.finfo(dtype).bits >= 32
    quintics = quintics_of(coefficients, steps)
    x = _iterate_on_gram(x, quintics) if wide else _iterate(x, quintics)
    return x.mT if tall else x


def _iterate(x: Tensor, quintics: Sequence[Quintic]) -> Tensor:
    """Newton-Schulz on (N, R, C): three products in each step, two of them as long as C."""
    for a, b, c in quintics:
        gram = x @ x.mT  # (N, R, R)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _iterate_on_gram(x: Tensor, quintics: Sequence[Quintic], most: int = 3) -> Tensor:
    """The same, with all between the first product and the last on (N, R, R): Gram Newton-Schulz (Zhang et al. 2026).

    Each step multiplies x from the left by a polynomial of x xᵀ. Polynomials of one matrix commute, so they can be
    gathered first. A matrix four times as wide as high takes two thirds of the time. Errors grow with each step, by
    the square of the quintic's slope at 0 where values are small, so after `most` it begins anew.
    """
    for first in range(0, len(quintics), most):
        gram = x @ x.mT  # (N, R, R)
        gathered = factor = _factor(gram, quintics[first])
        for quintic in quintics[first + 1 : first + most]:
            gram = factor @ gram @ factor
            factor = _factor(gram, quintic)
            gathered = factor @ gathered
        x = gathered @ x
    return x


def _factor(gram: Tensor, quintic: Quintic) -> Tensor:
    """a + b·g + c·g², what one step multiplies x by."""
    a, b, c = quintic
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=1, dim2=2).add_(a)
    return factor


class Muon(Optimizer):
    """Momentum, Nesterov's look ahead, orthogonalisation, and a step of √max(1, R/C) · lr.

    `split` names parameters that hold several matrices one above the other, with the rows of each: the
    fused projection of queries, keys and values is three matrices to Muon. `stacked` False takes one
    matrix after the other.
    """

    def __init__(
        self,
        params: Sequence[Tensor],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        ns_steps: int = 5,
        ns_coefficients: Coefficients = "quintic",
        ns_dtype: torch.dtype = torch.bfloat16,
        split: dict[Tensor, tuple[int, ...]] | None = None,
        stacked: bool = True,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "ns_steps": ns_steps}
        super().__init__(params, defaults)
        self.ns_coefficients: Coefficients = ns_coefficients
        self.ns_dtype = ns_dtype
        self.split = split or {}
        self.stacked = stacked

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            parts: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                buffer = state["momentum_buffer"]
                buffer.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(buffer, group["momentum"])
                if group["weight_decay"]:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                rows = self.split.get(parameter, (parameter.size(0),))
                for matrix, its_update in zip(parameter.split(rows), update.split(rows), strict=True):
                    parts[matrix.shape].append((matrix, its_update))
            for shape, pairs in parts.items():
                lr = group["lr"] * max(1, shape[0] / shape[1]) ** 0.5
                updates = self._orthogonalize([update for _, update in pairs], group["ns_steps"])
                for (matrix, _), update in zip(pairs, updates, strict=True):
                    matrix.add_(update, alpha=-lr)

    def _orthogonalize(self, updates: list[Tensor], steps: int) -> Sequence[Tensor]:
        if self.stacked:
            return orthogonalize_stack(torch.stack(updates), steps, self.ns_dtype, self.ns_coefficients).unbind()
        return [orthogonalize(update, steps, self.ns_dtype, self.ns_coefficients) for update in updates]


# --- state by parameter name, for the checkpoint -----------------------------------------------------------


def optimizer_tensors(model: GPT, optimizers: list[Optimizer]) -> dict[str, Tensor]:
    """Everything the optimizers remember, as "parameter name/what" → tensor."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            for what, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{name}/{what}"] = value
    return tensors


def load_optimizer_tensors(model: GPT, optimizers: list[Optimizer], tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    owner = {
        parameter: optimizer for optimizer in optimizers for g in optimizer.param_groups for parameter in g["params"]
    }
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, _, what = key.rpartition("/")
        parameter = parameters[name]
        owner[parameter].state[parameter][what] = value.to(parameter.device)
