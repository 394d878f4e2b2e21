"""Exercise 4: the loss. How surprised was the model by the tokens that came, and which way is down?

Shapes: N places, V vocabulary. Natural logarithms, so surprise is in nats.
"""

import math

import torch
from torch import Tensor

IGNORE = -1  # a target that does not count


def log_softmax(logits: Tensor) -> Tensor:
    """(N, V) → (N, V): the logarithms of the softmax over the last axis. Logits of 10,000 must not overflow."""
    shifted = logits - logits.max(dim=-1, keepdim=True).values  # softmax does not change; no exponential exceeds 1
    return shifted - shifted.exp().sum(dim=-1, keepdim=True).log()


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Logits (N, V) and targets (N,) → (the sum of −log p of the targets, how many targets count).

    Targets equal to IGNORE are left out of both.
    """
    places = (targets != IGNORE).nonzero().squeeze(1)
    logs = log_softmax(logits[places])
    return -logs[torch.arange(len(places)), targets[places]].sum(), len(places)


def mean_loss(parts: list[tuple[float, int]]) -> float:
    """(nats, targets) of several micro-batches → the mean over all their targets; 0 where there is none.

    Not the mean of their means: a micro-batch with few targets must not weigh as much as one with many.
    """
    nats, targets = sum(part[0] for part in parts), sum(part[1] for part in parts)
    return nats / targets if targets else 0.0


def gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """The gradient of `cross_entropy`'s sum by the logits, (N, V), by hand and without autograd.

    What was said, minus what was true. Rows whose target is IGNORE are 0.
    """
    counted = targets != IGNORE
    said = log_softmax(logits).exp()
    said[torch.arange(len(targets)), targets.clamp(min=0)] -= 1
    return said * counted.unsqueeze(1)


def bits_per_byte(nats: float, n_bytes: int) -> float:
    """The surprise of a whole text, in bits for each byte of it: comparable between tokenizers, unlike a loss."""
    return nats / math.log(2) / n_bytes
