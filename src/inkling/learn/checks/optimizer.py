"""Exercise 5: against torch.optim.AdamW and inkling's Muon, over several steps."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from inkling.learn.compare import right, same
from inkling.learn.numbers import random_tensor
from inkling.train.optim import Muon, orthogonalize

LR, BETAS, EPS, DECAY, STEPS = 0.1, (0.9, 0.95), 1e-3, 0.5, 4  # so large that each mistake shows


def check_adamw_first_step(mine: ModuleType) -> None:
    """adamw_step: the first step is about lr · sign of the gradient"""
    parameter, gradient = torch.zeros(3), torch.tensor([0.001, -5.0, 100.0])
    mine.adamw_step(parameter, gradient, {}, lr=0.1, weight_decay=0.0)
    first = "No bias correction: the averages begin at 0; divide them by 1 − beta^t."
    expected = torch.tensor([-0.1, 0.1, -0.1])
    mistakes = {
        first: expected * 0.1 / math.sqrt(0.05),
        "The mean has no bias correction: divide it by 1 − beta1^t.": expected * 0.1,
        "The square has no bias correction: divide it by 1 − beta2^t.": expected / math.sqrt(0.05),
    }
    same("the parameter", parameter, expected, mistakes | _still(3))


def check_adamw(mine: ModuleType) -> None:
    """adamw_step: four steps, equal to torch.optim.AdamW"""
    start = random_tensor(3, 2, seed=1)
    got = _walk(lambda p, g, state: mine.adamw_step(p, g, state, LR, BETAS, EPS, DECAY), start)
    parameter = start.clone().requires_grad_()
    reference = torch.optim.AdamW([parameter], lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY)
    for t in range(STEPS):
        parameter.grad = _gradient(start, t)
        reference.step()
    mistakes = {reason: _adam_by_mistake(start, **which) for reason, which in _ADAM_MISTAKES.items()}
    same("the parameter after four steps", got, parameter.detach(), {**mistakes, "It did not change.": start})


def check_states_are_apart(mine: ModuleType) -> None:
    """adamw_step: two parameters with two states do not disturb each other"""
    one, two = torch.zeros(2), torch.zeros(2)
    states: list[dict] = [{}, {}]
    for _ in range(2):
        mine.adamw_step(one, torch.ones(2), states[0], lr=0.1)
        mine.adamw_step(two, torch.ones(2), states[1], lr=0.1)
    same("the second parameter", two, one)


def check_orthogonalize(mine: ModuleType) -> None:
    """orthogonalize: equal to inkling's; wide, square and tall"""
    for shape in ((4, 7), (5, 5), (7, 3)):
        matrix = random_tensor(*shape, seed=sum(shape))
        expected = orthogonalize(matrix, 5, torch.float32)
        mistakes = {
            "Divide by the norm of the matrix first: the iteration diverges for singular values above 1.": _unscaled(
                matrix
            ),
            "Five steps, not four.": orthogonalize(matrix, 4, torch.float32),
            "A tall matrix is transposed back at the end.": expected.T,
        }
        same(f"orthogonalize of {shape}", mine.orthogonalize(matrix), expected, mistakes)


def check_singular_values(mine: ModuleType) -> None:
    """orthogonalize: singular values near 1, whatever they were; and zeros stay zeros"""
    u, v = (torch.linalg.qr(random_tensor(6, 6, seed=i)).Q for i in (8, 9))
    matrix = u @ torch.diag(torch.tensor([100.0, 50.0, 20.0, 10.0, 5.0, 2.0])) @ v
    values = torch.linalg.svdvals(mine.orthogonalize(matrix))
    right(
        bool((values > 0.5).all() and (values < 1.3).all()),
        f"Singular values {[round(s, 2) for s in values.tolist()]}.",
    )
    same("orthogonalize of zeros", mine.orthogonalize(torch.zeros(2, 3)), torch.zeros(2, 3))


def check_muon(mine: ModuleType) -> None:
    """muon_step: four steps, equal to inkling's Muon"""
    for shape in ((2, 6), (8, 2)):
        start = random_tensor(*shape, seed=3)
        got = _walk(lambda p, g, state: mine.muon_step(p, g, state, LR, 0.9), start)
        parameter = start.clone().requires_grad_()
        reference = Muon([parameter], lr=LR, momentum=0.9, ns_dtype=torch.float32)
        for t in range(STEPS):
            parameter.grad = _gradient(start, t)
            reference.step()
        mistakes = {reason: _muon_by_mistake(start, **which) for reason, which in _MUON_MISTAKES.items()}
        same(f"a matrix {shape} after four steps", got, parameter.detach(), mistakes | {"It did not change.": start})


# --- walking, rightly and wrongly --------------------------------------------------------------------------


def _gradient(start: Tensor, t: int) -> Tensor:
    return random_tensor(*start.shape, seed=50 + t)


def _walk(step: Callable[[Tensor, Tensor, dict], object], start: Tensor) -> Tensor:
    """Where `step` leads from `start` in STEPS steps."""
    parameter, state = start.clone(), {}  # type: ignore[var-annotated]
    for t in range(STEPS):
        step(parameter, _gradient(start, t), state)
    return parameter


def _still(size: int) -> dict[str, Tensor]:
    return {
        "It did not change. Change it in place (parameter.sub_, mul_); `parameter = …` makes a new one.": torch.zeros(
            size
        )
    }


_ADAM_MISTAKES: dict[str, dict[str, Any]] = {
    "No bias correction: divide mean and square by 1 − beta^t.": {"corrected": False},
    "The decay went through the gradient: that is Adam with L2, not AdamW. Shrink the parameter itself.": {"l2": True},
    "The decay is missing: multiply the parameter by 1 − lr · weight_decay.": {"decay": 0.0},
    "The decay must be lr · weight_decay.": {"decay": DECAY / LR},
    "eps stands outside the root.": {"inside": True},
    "t begins at 1, and grows before it is used.": {"late": True},
    "The root is missing: divide by √square.": {"root": False},
}


def _adam_by_mistake(
    start: Tensor,
    corrected: bool = True,
    l2: bool = False,
    decay: float = DECAY,
    inside: bool = False,
    late: bool = False,
    root: bool = True,
) -> Tensor:
    parameter, mean, square = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for t in range(STEPS):
        gradient = _gradient(start, t) + (decay * parameter if l2 else 0)
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient.square()
        age = max(1, t) if late else t + 1
        m, s = (mean / (1 - BETAS[0] ** age), square / (1 - BETAS[1] ** age)) if corrected else (mean, square)
        if not l2:
            parameter = parameter * (1 - LR * decay)
        below = s + EPS if not root else (s + EPS).sqrt() if inside else s.sqrt() + EPS
        parameter = parameter - LR * m / below
    return parameter


_MUON_MISTAKES: dict[str, dict[str, Any]] = {
    "The factor √max(1, R / C) is missing.": {"scaled": False},
    "Nesterov's look ahead is missing: the update mixes the gradient in once more.": {"ahead": False},
    "The update was not orthogonalised.": {"orthogonal": False},
}


def _muon_by_mistake(start: Tensor, scaled: bool = True, ahead: bool = True, orthogonal: bool = True) -> Tensor:
    parameter, memory = start.clone(), torch.zeros_like(start)
    for t in range(STEPS):
        gradient = _gradient(start, t)
        memory = 0.9 * memory + 0.1 * gradient
        update = 0.9 * memory + 0.1 * gradient if ahead else memory
        if orthogonal:
            update = orthogonalize(update, 5, torch.float32)
        factor = math.sqrt(max(1, start.size(0) / start.size(1))) if scaled else 1.0
        parameter = parameter - LR * factor * update
    return parameter


def _unscaled(matrix: Tensor) -> Tensor:
    x = matrix
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x
