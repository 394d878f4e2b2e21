"""Exercise 6: the training loop. Batches that depend on the step alone, accumulation, a schedule, an evaluation.

A model here is anything with model(ids, targets) → (sum of nats, number of targets), both ids and targets (B, T).
"""

import math

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor


def get_batch(tokens: np.ndarray, block_size: int, rows: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Ids and targets of a step, both (rows, block_size) int64, from windows at random places of `tokens`.

    The targets are the ids, one place further. A batch depends on the arguments and on nothing else (make a
    generator from `[seed, step]` here), so that a run that was stopped goes on as if nothing had been.
    """
    starts = np.random.default_rng([seed, step]).integers(0, len(tokens) - block_size, size=rows)
    windows = np.stack([tokens[start : start + block_size + 1] for start in starts])  # (rows, T + 1)
    both = torch.from_numpy(windows.astype(np.int64))
    return both[:, :-1], both[:, 1:]


def rate_at(step: int, peak: float, warmup: int, max_iters: int, floor: float = 0.1) -> float:
    """The learning rate at `step` = 0, 1, …: a line up to the peak, then half a cosine down to floor · peak.

    While step < warmup it is peak · (step + 1) / (warmup + 1). At step = warmup it is the peak, and from max_iters on
    floor · peak; between them the share that is left falls from 1 to 0 as (1 + cos(π · progress)) / 2.
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, max_iters - warmup))
    left = 0.5 * (1 + math.cos(math.pi * progress))
    return peak * (floor + (1 - floor) * left)


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: list[tuple[Tensor, Tensor]], clip: float = 1.0
) -> float:
    """One update from several micro-batches; returns the mean loss of their targets.

    The gradient is that of the sum of all nats over the number of all targets, as if they were one batch. It is
    shortened to the norm `clip` when it is longer. No gradient of an earlier step is left in it. A target of -1 does
    not count.
    """
    n_targets = sum(int((targets != -1).sum()) for _, targets in batches)
    optimizer.zero_grad()
    total = 0.0
    for ids, targets in batches:
        nats, _ = model(ids, targets)
        (nats / n_targets).backward()  # gradients add up until somebody sets them to zero
        total += nats.item()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return total / n_targets


@torch.no_grad()
def evaluate(model: nn.Module, tokens: np.ndarray, block_size: int) -> float:
    """The mean loss over all of `tokens` but the first, in windows that do not overlap; the last may be short.

    Dropout is off meanwhile, and on again afterwards if it was on; no gradient is kept.
    """
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for start in range(0, len(tokens) - 1, block_size):
        window = torch.from_numpy(tokens[start : start + block_size + 1].astype(np.int64)).unsqueeze(0)
        nats, n_targets = model(window[:, :-1], window[:, 1:])
        total, count = total + float(nats), count + int(n_targets)
    model.train(was_training)
    return total / count
