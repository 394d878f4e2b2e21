"""Exercise 4: against torch.nn.functional.cross_entropy and autograd."""

import math
from types import ModuleType

import torch
import torch.nn.functional as F

from inkling.learn.compare import same
from inkling.learn.numbers import random_ids, random_tensor


def check_log_softmax(mine: ModuleType) -> None:
    """log_softmax: equal to PyTorch's"""
    logits = 3 * random_tensor(4, 7, seed=1)
    mistakes = {
        "This is the softmax; its logarithm is asked for.": logits.softmax(-1),
        "The softmax runs over the last axis, the vocabulary.": logits.log_softmax(0),
        "One sum for all rows: each row has its own (dim=-1, keepdim=True).": logits - logits.exp().sum().log(),
    }
    same("log_softmax of (4, 7)", mine.log_softmax(logits), logits.log_softmax(-1), mistakes)


def check_large_logits(mine: ModuleType) -> None:
    """log_softmax: logits of 10,000 do not overflow, and −10,000 is not rounded to −∞"""
    logits = torch.tensor([[10_000.0, 9_999.0, 0.0], [0.0, -10_000.0, 1.0]])
    reason = "exp(10,000) is infinite. Take the largest logit of the row off first; the softmax does not change."
    naive = (logits.exp() / logits.exp().sum(-1, keepdim=True)).log()
    after = logits.softmax(-1).log()
    late = "log(softmax) rounds small probabilities to 0 and their logarithm to −∞. Subtract the logarithm of the sum."
    expected = logits.log_softmax(-1)
    same("log_softmax", mine.log_softmax(logits), expected, {reason: naive, reason + " ": _logsum(logits), late: after})


def check_cross_entropy(mine: ModuleType) -> None:
    """cross_entropy: the sum of nats and the number of targets"""
    logits, targets = 3 * random_tensor(6, 5, seed=2), random_ids(6, below=5, seed=3)
    total = F.cross_entropy(logits, targets, reduction="sum")
    mistakes = {
        "This is the mean. The sum is asked for: means of unequal batches cannot be put together again.": (
            total / 6,
            6,
        ),
        "The sign: −log p is positive.": (-total, 6),
    }
    same("cross_entropy of six places", _pair(mine.cross_entropy(logits, targets)), (total, 6), mistakes)


def check_ignored(mine: ModuleType) -> None:
    """cross_entropy: targets of −1 do not count"""
    logits, targets = 3 * random_tensor(6, 5, seed=4), torch.tensor([1, -1, 4, -1, -1, 0])
    total = F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
    last = -logits.log_softmax(-1)[torch.arange(6), targets].sum()
    mistakes = {
        "The count holds the ignored ones too.": (total, 6),
        "Index −1 is the last token of the vocabulary: ignored targets were scored as that token.": (last, 3),
        "Index −1 is the last token of the vocabulary: ignored targets were scored and counted.": (last, 6),
    }
    same("cross_entropy, three of six ignored", _pair(mine.cross_entropy(logits, targets)), (total, 3), mistakes)
    nothing = torch.tensor([-1, -1])
    same("cross_entropy, all ignored", _pair(mine.cross_entropy(logits[:2], nothing)), (torch.tensor(0.0), 0))


def check_mean_loss(mine: ModuleType) -> None:
    """mean_loss: weighted by targets"""
    means = "The mean of the means: the batch of 2 targets weighs as much as that of 98. Add up first, divide last."
    same("mean_loss([(8.0, 2), (98.0, 98)])", mine.mean_loss([(8.0, 2), (98.0, 98)]), 1.06, {means: 2.5})
    same("mean_loss([(6.0, 2), (0.0, 0)])", mine.mean_loss([(6.0, 2), (0.0, 0)]), 3.0)
    same("mean_loss([(0.0, 0)])", mine.mean_loss([(0.0, 0)]), 0.0)


def check_gradient(mine: ModuleType) -> None:
    """gradient: equal to autograd's"""
    logits, targets = 2 * random_tensor(5, 4, seed=5), torch.tensor([3, -1, 0, 2, -1])
    traced = logits.clone().requires_grad_()
    F.cross_entropy(traced, targets, ignore_index=-1, reduction="sum").backward()
    expected = traced.grad
    assert expected is not None
    said = logits.softmax(-1)
    unmasked = said - F.one_hot(targets.clamp(min=0), 4)
    mistakes = {
        "The sign: what was said minus what was true, so that going against it raises the true token.": -expected,
        "Rows whose target is −1 must be 0.": unmasked,
        "Rows whose target is −1 must be 0; index −1 is the last token.": said - F.one_hot(targets % 4, 4),
        "This is the gradient of the mean; that of the sum is asked for.": expected / 3,
        "What was true is missing: subtract 1 at the target.": said,
    }
    same("gradient of five places", mine.gradient(logits.clone(), targets), expected, mistakes)


def check_bits_per_byte(mine: ModuleType) -> None:
    """bits_per_byte: nats ÷ ln 2 ÷ bytes"""
    mistakes = {
        "These are nats per byte: a bit is ln 2 nats.": 2.0,
        "Divide by ln 2, do not multiply.": 2 * math.log(2),
    }
    same("bits_per_byte(200.0, 100)", mine.bits_per_byte(200.0, 100), 2 / math.log(2), mistakes)


def _logsum(logits: torch.Tensor) -> torch.Tensor:
    return logits - logits.exp().sum(-1, keepdim=True).log()


def _pair(result: object) -> object:
    """A count may be a number or a tensor with one."""
    if isinstance(result, tuple) and len(result) == 2:
        return result[0], int(result[1])
    return result
