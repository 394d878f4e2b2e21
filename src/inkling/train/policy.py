"""Policy gradient: answers that the model drew, and how good they were → a batch of the one training loop.

The gradient of an expected reward is the expectation of reward · gradient of log p(answer), over answers that the
model itself draws (Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
Learning"). Here the reward is counted from the mean of a group, the answers to one question, so that what is above it
becomes likelier and what is below it less likely (Shao et al. 2024, "DeepSeekMath", GRPO). A batch is used once, by
the very weights that drew it: no ratio of old to new probabilities, nothing to clip, no second model to stay close to.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inkling.ids import IGNORE


@dataclass(frozen=True)
class Sample:
    """One answer to one question, token by token."""

    prompt: Sequence[int]
    new: Sequence[int]
    """what followed the prompt"""
    drawn: Sequence[bool]
    """of each new token, whether the model drew it; what a tool said was put there, and there is no choice to reward"""


def advantages(rewards: Tensor, divide_by_std: bool = False) -> Tensor:
    """Rewards (G, S), a row for each question → (G, S), how much better each answer was than its group's mean.

    `divide_by_std` gives every group the same spread, as GRPO first did. Then a question that one answer of eight gets
    right weighs as much as one that half of them do; the plain difference gives both the weight that makes the mean
    reward rise fastest (Liu et al. 2025, "Understanding R1-Zero-Like Training", Dr. GRPO).
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)  # (G, S)
    if not divide_by_std:
        return centred
    spread = rewards.std(dim=1, correction=0, keepdim=True)  # (G, 1)
    return centred / spread.clamp(min=1e-6)  # where all are equal: 0 / 1e-6


def has_gradient(rewards: Tensor) -> Tensor:
    """Rewards (G, S) → (G,), whether a group's rewards differ. Where none does, every advantage is 0."""
    return (rewards != rewards[:, :1]).any(dim=1)


def policy_batch(samples: Sequence[Sample], weights: Sequence[float]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Answers and a weight for each → (ids, targets, documents, weights), each (B, T), with a row for each answer.

    Only drawn tokens are targets. Since nats are -log p, the loss Σ weight · nats falls where answers of positive
    weight become likelier. Without samples, a row without targets: a rank with nothing to learn from still takes part.
    """
    longest = max((len(sample.prompt) + len(sample.new) - 1 for sample in samples), default=1)
    shape = max(1, len(samples)), longest
    ids, targets = torch.zeros(shape, dtype=torch.int64), torch.full(shape, IGNORE)
    for row, sample in enumerate(samples):
        text = torch.tensor([*sample.prompt, *sample.new])
        first = len(sample.prompt) - 1  # the last token of the prompt is followed by the first new one
        ids[row, : len(text) - 1] = text[:-1]
        new = text[first + 1 :]
        targets[row, first : len(text) - 1] = new.where(torch.tensor(sample.drawn), IGNORE)
    by_row = torch.tensor([*weights] or [0.0], dtype=torch.float32)
    # What fills a short row up stands behind its end, where no target sees it: a row is one document.
    return ids, targets, torch.zeros(shape, dtype=torch.int64), by_row.unsqueeze(1).expand(shape).contiguous()
