"""What changes with the step: the learning rate and Muon's momentum. Pure functions of the step."""

import math
from dataclasses import dataclass
from typing import Literal

from inkling.errors import UserError


@dataclass(frozen=True)
class ScheduleSettings:
    """schedule"""

    decay_lr: bool = True
    """False keeps the learning rate constant after the warmup"""
    schedule: Literal["cosine", "linear", "wsd"] = "cosine"
    """the way down: half a cosine, a line, or warmup-stable-decay (flat, then a line)"""
    warmup_iters: int = 0
    """steps of linear warmup; the first step already takes a small, non-zero rate"""
    lr_decay_iters: int | None = None
    """step at which the decay ends; None: max_iters"""
    decay_fraction: float = 0.4
    """wsd: the share of all steps that the final line takes"""
    min_lr: float | None = None
    """where the decay of learning_rate ends (all other rates keep the same proportion); None: a tenth"""
    momentum_warmup_iters: int = 300
    """Muon: steps over which the momentum rises from 0.85 to its value"""


def check_schedule(settings: ScheduleSettings) -> None:
    """Refuse numbers that make no schedule."""
    if settings.warmup_iters < 0 or (settings.lr_decay_iters is not None and settings.lr_decay_iters < 1):
        raise UserError("warmup_iters must be at least 0 and lr_decay_iters at least 1.", status=2)
    if not 0 < settings.decay_fraction <= 1:
        raise UserError(f"decay_fraction={settings.decay_fraction} is not in (0, 1].", status=2)


def lr_factor(settings: ScheduleSettings, step: int, max_iters: int, floor: float) -> float:
    """The share of the peak learning rate at `step`, from just above 0 through 1 down to `floor`."""
    warmup, end = settings.warmup_iters, settings.lr_decay_iters or max_iters
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if not settings.decay_lr:
        return 1.0
    if step >= end:
        return floor
    start = warmup if settings.schedule != "wsd" else max(warmup, round(end * (1 - settings.decay_fraction)))
    progress = max(0.0, (step - start) / max(1, end - start))  # 0 … 1
    left = 0.5 * (1 + math.cos(math.pi * progress)) if settings.schedule == "cosine" else 1 - progress
    return floor + (1 - floor) * left


def muon_momentum(settings: ScheduleSettings, step: int, momentum: float) -> float:
    """Muon's momentum at `step`: early gradients are soon out of date, so it starts lower and rises."""
    share = min(1.0, step / settings.momentum_warmup_iters) if settings.momentum_warmup_iters else 1.0
    return min(0.85, momentum) * (1 - share) + momentum * share
